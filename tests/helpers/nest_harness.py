"""Runs a Nest twice on the same memory: as a kernel, and element by element as the page of the loop IR says it, with NumPy in float64."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

import numpy as np
from double.library import double
from gpu import launch, uploaded

from tengen.base import config
from tengen.compiler.cache import compile_device_kernels, compile_kernels
from tengen.compiler.kernels.nest import Access, AccessNumbers, Bound, Instr, Nest
from tengen.compiler.kernels.nest_tiling import TILING_NAMES, NestSource, launch_parameters
from tengen.compiler.kernels.target import DeviceTarget, Target
from tengen.compiler.schedule.nests.refine import rows, spills
from tengen.compiler.targets.host import available, host_target

MACHINES = (*available(), "sm_90")
"""The instruction sets of CPUs that this machine has, and a GPU."""


@contextmanager
def machine(name: str) -> Iterator[Target]:
    """The target of this name."""
    if name.startswith("sm_"):
        yield DeviceTarget("nvidia", (int(name[3:-1]), int(name[-1])))
    else:
        with config.override(isa=name):
            yield host_target()


KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
STORED = {
    "bfloat16": np.uint16,
    "weak_int": np.int64,
    "weak_float": np.float64,
}  # storage dtypes that NumPy has no name for


def stored(dtype: str) -> np.dtype:
    return np.dtype(STORED.get(dtype, dtype))


def numbers_of(dtype: str, raw: np.ndarray) -> np.ndarray:
    """Memory as numbers."""
    return (raw.astype(np.uint32) << 16).view(np.float32) if dtype == "bfloat16" else raw


def bits_of(dtype: str, values: np.ndarray) -> np.ndarray:
    """Numbers as memory: bfloat16 rounds to nearest even, integers wrap."""
    if dtype == "bfloat16":
        single = values.astype(np.float32)
        bits = single.view(np.uint32)
        rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
        return np.where(np.isnan(single), bits >> 16 | 0x40, rounded).astype(np.uint16)
    with np.errstate(over="ignore"):
        return values.astype(stored(dtype))


@dataclass
class Memory:
    """An operand: `flat` memory, the element at index 0 … 0, and how the loops move over it.

    bounds: (offset, limit, {dim: coefficient}, divisor or 0); indirect: (stride, size) for each index; values: for each bound, if any,
    {position of an index: coefficient}.
    """

    dtype: str
    flat: np.ndarray
    strides: tuple[int, ...]
    origin: int = 0
    bounds: tuple[tuple[int, int, dict[int, int], int], ...] = ()
    fill: float = 0.0
    indirect: tuple[tuple[int, int], ...] = ()
    values: tuple[dict[int, int], ...] = ()

    def access(self, *unit: int | None, extent: int = 2) -> Access:
        """unit: the lane dim, and the cross dim or the interleaved dim if there is one; extent: of the latter."""
        shapes = tuple(
            Bound(tuple(c), bool(d), tuple(v))
            for (_, _, c, d), v in zip_longest(self.bounds, self.values, fillvalue=())
        )
        return Access(self.dtype, self._steps(unit, extent), shapes, self.fill, len(self.indirect))

    def numbers(self, *unit: int | None, extent: int = 2) -> AccessNumbers:
        strides = tuple(s for s, step in zip(self.strides, self._steps(unit, extent), strict=True) if step == "n")
        limits = tuple(
            (o, m, *c.values(), *dict(v).values(), *([d] if d else []))
            for (o, m, c, d), v in zip_longest(self.bounds, self.values, fillvalue=())
        )
        return AccessNumbers(strides, limits, self.indirect)

    def _steps(self, unit: Sequence[int | None], extent: int) -> tuple[str, ...]:
        contiguous = any(d is not None and self.strides[d] == 1 for d in unit[1:]) and not self.bounds

        def step(d: int, stride: int) -> str:
            if d == unit[0] and (stride == 2 or (stride == extent and contiguous)):
                return str(stride)
            return "0" if stride == 0 else "1" if stride == 1 and d in unit else "n"

        return tuple(step(d, s) for d, s in enumerate(self.strides))

    @property
    def pointer(self) -> int:
        return self.flat.ctypes.data + self.origin * self.flat.itemsize

    def places(self, index: Sequence[np.ndarray], values: Sequence[np.ndarray] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Positions in `flat` and whether the bounds hold, for arrays of loop indices and of index values."""
        at = sum((s * i for s, i in zip(self.strides, index, strict=True)), np.int64(self.origin))
        inside = np.ones(np.broadcast_shapes(*(i.shape for i in (*index, *values))), bool)
        for (offset, limit, coefficients, divisor), further in zip_longest(self.bounds, self.values, fillvalue=()):
            x = offset + sum(c * index[d] for d, c in coefficients.items())
            x = x + sum(c * values[v] for v, c in dict(further).items())
            inside = inside & (x >= 0) & (x < limit) & ((x % divisor == 0) if divisor else True)
        return np.broadcast_to(at, inside.shape), inside


def array(dtype: str, values: Any, strides: Sequence[int] | None = None, **rest: Any) -> Memory:
    """An operand that holds `values`; by default moved over in row-major order."""
    raw = np.ascontiguousarray(bits_of(dtype, np.asarray(values)))
    own = tuple(s // raw.itemsize for s in raw.strides)
    return Memory(dtype, raw.reshape(-1), own if strides is None else tuple(strides), **rest)


@dataclass
class Code:
    """Collects instructions: `c = Code(); c.store(c("exp", c.load(0)), 1)`."""

    instrs: list[Instr] = field(default_factory=list)

    def __call__(self, op: str, *args: int, dtype: str = "float32", attr: object = None) -> int:
        self.instrs.append(Instr(op, args, dtype, attr))
        return len(self.instrs) - 1

    def load(self, access: int, dtype: str = "float32") -> int:
        return self("load", dtype=dtype, attr=access)

    def store(self, value: int, access: int) -> None:
        self("store", value, dtype=self.instrs[value].dtype, attr=access)

    def const(self, number: float, dtype: str = "float32") -> int:
        return self("const", dtype=dtype, attr=number)

    def reduce(self, how: str, *args: int) -> int:
        dtype = "int64" if how.startswith("arg") else self.instrs[args[0]].dtype
        return self("reduce", *args, dtype=dtype, attr=how)

    def index(self, dim: int) -> int:
        return self("index", dtype="int64", attr=dim)


@dataclass
class Problem:
    """A Nest with the memory that it runs on."""

    extents: tuple[int, ...]
    kept: int
    lane: int
    operands: Sequence[Memory]
    code: Code
    serial_from: int | None = None
    cross: int | None = None
    interleaved: int | None = None
    parts: tuple[tuple[int, int], ...] = ()

    @property
    def nest(self) -> Nest:
        """With the spills and the rows side by side that the scheduler would choose."""
        accesses = tuple(o.access(*self._units(), extent=self._places()) for o in self.operands)
        nest = Nest(len(self.extents), self.kept, self.lane, accesses, tuple(self.code.instrs), self.serial_from)
        nest = nest._replace(parts=self.parts)
        if self.interleaved is not None:
            return nest._replace(interleaved=(self.interleaved, self._places()))
        return nest._replace(spills=spills(nest), rows=rows(nest, self.extents, host_target()), cross=self.cross)

    def _units(self) -> tuple[int | None, ...]:
        return self.lane, self.cross if self.interleaved is None else self.interleaved

    def _places(self) -> int:
        return 2 if self.interleaved is None else self.extents[self.interleaved]

    def launch(self) -> tuple[tuple[int, ...], int]:
        return launch_parameters(self.nest, self.extents, self.numbers())

    def numbers(self) -> list[AccessNumbers]:
        """Of each operand, for the launch."""
        return [o.numbers(*self._units(), extent=self._places()) for o in self.operands]

    def run(
        self,
        target: Target | None = None,
        order: Callable[[int], Sequence[tuple[int, int]]] = lambda tiles: [(0, tiles)],
    ) -> int:
        """Run the kernel on the operands' memory, ranges of tiles in any order. Returns the status word."""
        if isinstance(target, DeviceTarget):
            return self._run_on_device(target)
        (address,) = compile_kernels([NestSource(self.nest)], target or host_target())
        params, tiles = self.launch()
        status = np.zeros(1, np.int64)
        pointers = np.array([*(o.pointer for o in self.operands), status.ctypes.data], np.int64)
        packed = np.array(params, np.int64)
        for begin, end in order(tiles):
            KERNEL(address)(pointers.ctypes.data, packed.ctypes.data, begin, end)
        return int(status[0])

    def _run_on_device(self, target: DeviceTarget) -> int:
        """Run the kernel's PTX on a copy of the operands' memory, and bring that back."""
        source = NestSource(self.nest).on_device(self.extents, self.numbers())
        (kernel,) = compile_device_kernels([source], target)
        params, _ = self.launch()
        grid = source.blocks(self.extents, params[: len(params) - len(TILING_NAMES)])
        status = np.zeros(1, np.int64)
        flats = list({id(o.flat): o.flat for o in self.operands}.values())
        with uploaded([*flats, status]) as held:
            places = {id(flat): address for flat, address in zip([*flats, status], held, strict=True)}
            starts = [places[id(o.flat)] + o.origin * o.flat.itemsize for o in self.operands]
            launch(kernel, grid, [*starts, held[-1]])
        return int(status[0])

    def expected(self) -> list[np.ndarray]:
        """The operands' memory as it should be after a run; floats are computed in float64."""
        return Interpreter(self).memory


def unary(op: str, x: np.ndarray, dtype: str, out: str, **attr: object) -> Problem:
    """out[i] = op(x[i])."""
    compute = {
        "bool": "bool",
        "int64": "int64",
        "float32": "float32",
        "float64": "float64",
        "float16": "float32",
        "bfloat16": "float32",
    }
    c = Code()
    v = c(op, c.load(0, compute.get(dtype, "int32")), dtype=compute.get(out, "int32"), **attr)
    c.store(v, 1)
    return Problem((x.size,), 1, 0, [array(dtype, x), array(out, np.zeros(x.size))], c)


def copies(problem: Problem) -> Problem:
    """The same problem on memory of its own."""
    moved = [Memory(**{**o.__dict__, "flat": o.flat.copy()}) for o in problem.operands]
    return replace(problem, operands=moved)


NUMPY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt,
    "square": np.square, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "exp": np.exp, "tanh": np.tanh, "sin": np.sin,
    "rsqrt": lambda x: 1 / np.sqrt(x), "max": np.maximum, "min": np.minimum, "eq": np.equal, "ne": np.not_equal, "lt": np.less,
    "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "not": np.invert, "isnan": np.isnan, "isinf": np.isinf, "select": np.where, "fma": lambda a, b, c: a * b + c,
    "shl": lambda x, n: x << (n & (8 * x.itemsize - 1)), "shr": lambda x, n: x >> (n & (8 * x.itemsize - 1)),
    "floor_div": np.floor_divide, "mod": np.mod,
}  # fmt: skip
COMPUTED = {"bool": np.bool_, "int32": np.int32, "int64": np.int64, "float32": np.float64, "float64": np.float64}
FOLDS = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "any": np.logical_or,
    "all": np.logical_and,
}


def accumulate(how: str, args: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """The values of a scan."""
    if how != "linear":
        return FOLDS[how].accumulate(args[0], axis=axis)
    a, b = (np.moveaxis(x, axis, 0) for x in args)
    y = [b[0]]
    for factor, term in zip(a[1:], b[1:], strict=True):
        y.append(factor * y[-1] + term)
    return np.moveaxis(np.stack(y), 0, axis)


class Interpreter:
    """Values are arrays over all loop dims; along a dim that a value does not vary over they have extent 1."""

    def __init__(self, problem: Problem):
        self.problem = problem
        self.memory = [o.flat.copy() for o in problem.operands]
        self.reduced = tuple(range(problem.kept, len(problem.extents)))
        rank = len(problem.extents)
        self.index = [
            np.arange(e).reshape([-1 if i == d else 1 for i in range(rank)]) for d, e in enumerate(problem.extents)
        ]
        self.values: list[Any] = []
        with np.errstate(all="ignore"):
            for instr in problem.code.instrs:
                value = self._value(instr)
                self.values.append(None if value is None else np.asarray(value).astype(COMPUTED[instr.dtype]))

    def _value(self, instr: Instr) -> Any:
        args = [self.values[a] for a in instr.args]
        if instr.op == "const":
            return np.full((1,) * len(self.index), instr.attr)
        if instr.op == "index":
            return self.index[instr.attr]
        if instr.op == "cast":
            return args[0]
        if instr.op in ("wrap", "round_to"):
            return numbers_of(instr.attr, bits_of(instr.attr, args[0]))
        if instr.op == "reduce":
            return self._fold(instr.attr, args)
        if instr.op == "scan":
            shape = [
                e if d in self.reduced else s
                for d, (s, e) in enumerate(zip(args[0].shape, self.problem.extents, strict=True))
            ]
            return accumulate(instr.attr, [np.broadcast_to(a, shape) for a in args], self.reduced[0])
        if instr.op in ("load", "gather"):
            return self._read(instr.attr, args)
        if instr.op == "store":
            return self._write(instr.attr, args[0], [], "set")
        if instr.op == "scatter":
            return self._write(instr.attr[0], args[0], args[1:], instr.attr[1])
        return NUMPY[instr.op](*args)

    def _loops(self, operand: Memory, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The loop indices of one memory instruction: only along dims over which it varies."""
        moving = {d for d, s in enumerate(operand.strides) if s}.union(*(c for _, _, c, _ in operand.bounds))
        shape = np.broadcast_shapes(*(v.shape for v in values)) if values else (1,) * len(self.index)
        still = np.zeros((1,) * len(self.index), np.int64)
        return [i if d in moving or shape[d] == i.size else still for d, i in enumerate(self.index)]

    def _fold(self, how: str, args: Sequence[np.ndarray]) -> np.ndarray:
        extents = self.problem.extents
        shape = [
            max(a, extents[d]) if d in self.reduced else a
            for d, a in enumerate(np.broadcast_shapes(*(a.shape for a in args)))
        ]
        shape = [extents[d] if d in self.reduced else s for d, s in enumerate(shape)]
        full = [np.broadcast_to(a, shape) for a in args]
        if not how.startswith("arg"):
            return FOLDS[how].reduce(full[0], axis=self.reduced, keepdims=True)
        value, index = full
        extreme = (np.max if how == "argmax" else np.min)(
            value, axis=self.reduced, keepdims=True
        )  # nan if there is one
        hit = np.isnan(value) if value.dtype.kind == "f" else np.zeros(value.shape, bool)
        hit = np.where(np.isnan(extreme), hit, value == extreme)
        return np.where(hit, index, np.iinfo(np.int64).max).min(axis=self.reduced, keepdims=True)

    def _places(
        self, number: int, values: Sequence[np.ndarray], indices: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        operand = self.problem.operands[number]
        counted = [np.where(i < 0, i + size, i) for i, (_, size) in zip(indices, operand.indirect, strict=True)]
        at, inside = operand.places(self._loops(operand, values), counted)
        for index, (stride, size) in zip(counted, operand.indirect, strict=True):
            inside = inside & (index >= 0) & (index < size)
            at = at + stride * index
        return np.broadcast_arrays(at, inside)

    def _read(self, number: int, indices: Sequence[np.ndarray]) -> np.ndarray:
        operand, memory = self.problem.operands[number], self.problem.operands[number].flat
        at, inside = self._places(number, indices, indices)
        read = numbers_of(operand.dtype, memory[np.where(inside, at, 0)]) if memory.size else np.zeros(at.shape)
        return np.where(inside, read, np.asarray(operand.fill).astype(read.dtype))

    def _write(self, number: int, value: np.ndarray, indices: Sequence[np.ndarray], how: str) -> None:
        dtype, memory = self.problem.operands[number].dtype, self.memory[number]
        at, inside, value = np.broadcast_arrays(*self._places(number, [value, *indices], indices), value)
        at, inside, value = at.ravel(), inside.ravel(), value.ravel()
        for p, v in zip(at[inside], value[inside], strict=True):
            v = numbers_of(dtype, memory[p : p + 1])[0].astype(v.dtype) + v if how == "add" else v
            memory[p] = bits_of(dtype, np.asarray([v]))[0]


def check(problem: Problem, target: Target | None = None, tolerance: float = 1e-5, splits: bool = True) -> int:
    """Run the kernel and compare all memory with what it should be; then run it again in other tiles, which must give the same bits."""
    want, whole = problem.expected(), copies(problem)
    status = whole.run(target)
    for number, (operand, expected) in enumerate(zip(whole.operands, want, strict=True)):
        got, expected = numbers_of(operand.dtype, operand.flat), numbers_of(operand.dtype, expected)
        if operand.dtype in ("float32", "float64", "weak_float"):
            scale = np.abs(expected[np.isfinite(expected)]).max(initial=1.0)
            np.testing.assert_allclose(
                got, expected, rtol=tolerance, atol=tolerance * scale, err_msg=f"operand {number}"
            )
        elif operand.dtype in ("float16", "bfloat16"):
            np.testing.assert_allclose(
                got, expected, rtol=1e-3 if operand.dtype == "float16" else 1e-2, err_msg=f"operand {number}"
            )
        else:
            np.testing.assert_array_equal(got, expected, err_msg=f"operand {number}")
    if splits:
        parts = copies(problem)
        with double().order(3 if isinstance(target, DeviceTarget) else 0):  # threads too may run in any order
            parts.run(target, lambda tiles: [(t, t + 1) for t in reversed(range(tiles))])
        for a, b in zip(whole.operands, parts.operands, strict=True):
            assert a.flat.tobytes() == b.flat.tobytes(), "results depend on how tiles are split"
    return status
