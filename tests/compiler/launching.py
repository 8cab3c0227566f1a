"""Runs the kernel of a Nest on NumPy arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from tengen.compiler.cache import compile_kernels
from tengen.compiler.kernel import Access, AccessNumbers, Bound, Instr, Nest
from tengen.compiler.targets.host import Target, host_target
from tengen.compiler.targets.nest import NestSource, launch_parameters

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class Code:
    """Collects instructions: `c = Code(); x = c.load(0); c.store(c("exp", x), 1)`."""

    def __init__(self) -> None:
        self.instrs: list[Instr] = []

    def __call__(self, op: str, *args: int, dtype: str = "float32", attr: object = None) -> int:
        self.instrs.append(Instr(op, args, dtype, attr))
        return len(self.instrs) - 1

    def load(self, access: int, dtype: str = "float32") -> int:
        return self("load", dtype=dtype, attr=access)

    def store(self, value: int, access: int) -> None:
        self("store", value, dtype=self.instrs[value].dtype, attr=access)

    def const(self, number: float, dtype: str = "float32") -> int:
        return self("const", dtype=dtype, attr=number)


def access(dtype: str, strides: Sequence[int], lane: int, bounds: Sequence[tuple[int, int, dict[int, int], int]] = (), **rest: object) -> tuple[Access, AccessNumbers]:
    """An access with these strides. bounds: (offset, limit, coefficients by dim, divisor or 0); indirect: (stride, size) for each index."""
    steps = tuple("0" if s == 0 else "1" if s == 1 and d == lane else "n" for d, s in enumerate(strides))
    indirect = rest.pop("indirect", ())
    shapes = tuple(Bound(tuple(coefficients), bool(divisor)) for _, _, coefficients, divisor in bounds)
    limits = tuple((o, m, *c.values(), *([d] if d else [])) for o, m, c, d in bounds)
    numbers = AccessNumbers(tuple(s for s, step in zip(strides, steps, strict=True) if step == "n"), limits, tuple(indirect))
    return Access(dtype, steps, shapes, indirect=len(indirect), **rest), numbers


def run(
    nest: Nest,
    extents: Sequence[int],
    numbers: Sequence[AccessNumbers],
    buffers: Sequence[np.ndarray],
    target: Target | None = None,
    order: Sequence[tuple[int, int]] | None = None,
) -> int:
    """Run all tiles, or the ranges of tiles in `order`; arrays are addressed from their first element. Returns the status word."""
    (address,) = compile_kernels([NestSource(nest)], target or host_target())
    params, tiles = launch_parameters(nest, extents, numbers)
    status = np.zeros(1, np.int64)
    pointers = np.array([b.ctypes.data for b in buffers] + [status.ctypes.data], np.int64)
    packed = np.array(params, np.int64)
    for begin, end in [(0, tiles)] if order is None else order:
        KERNEL(address)(pointers.ctypes.data, packed.ctypes.data, begin, end)
    return int(status[0])
