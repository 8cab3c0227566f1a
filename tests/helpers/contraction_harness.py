"""Runs a `Contraction` with NumPy arrays: a reference interpreter of `Relayout`, and launches one after the other."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from itertools import product

import numpy as np
from plans import backward_groups

from tengen.base import config
from tengen.compiler.cache import compile_kernels
from tengen.compiler.geometry import ConvShape
from tengen.compiler.kernels.epilogue import CHANNEL, ELEMENT, Epilogue, Source
from tengen.compiler.kernels.nest import Instr
from tengen.compiler.kernels.target import Target
from tengen.compiler.schedule.contractions.matmul import Batch, matmul
from tengen.compiler.schedule.contractions.problem import ContractionPlan, Relayout, Unit
from tengen.compiler.targets.host import available, host_target

random = np.random.default_rng(0)
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)

BIAS = Epilogue(
    (Source("float32", ELEMENT), Source("float32", CHANNEL, "operand1")),
    (Instr("load", attr=0), Instr("load", attr=1), Instr("add", (0, 1))),
    result=2,
    dtype="float32",
)


def host_targets(integers: bool = False) -> list[Target]:
    """One target for each instruction set of this machine, widest first. Of those that multiply 8-bit integers alike one, if these are what
    is to be tested, and else of those that multiply floats alike."""
    targets = []
    for name in available():
        if name in (("avx512bf16",) if integers else ("avx512vnni", "avxvnni")):
            continue
        with config.override(isa=name):
            targets.append(host_target())
    return targets


def unit_of(target: Target) -> Unit:
    return Unit(target.lanes, target.registers, target.dots, amx=target.amx)


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape, np.float32)


def to_bits(array: np.ndarray) -> np.ndarray:
    """float32 as bfloat16 bits, rounded to nearest even."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16).astype(np.uint16)


def from_bits(array: np.ndarray) -> np.ndarray:
    return (array.astype(np.uint32) << 16).view(np.float32)


def elements(array: np.ndarray) -> tuple[int, ...]:
    """Strides in elements."""
    return tuple(stride // array.itemsize for stride in array.strides)


def plan_matmul(a: np.ndarray, b: np.ndarray, target: Target, **options):
    """The contraction of a @ b for arrays of equal rank with any strides."""
    batch = [max(p, q) for p, q in zip(a.shape[:-2], b.shape[:-2], strict=True)]
    a = np.broadcast_to(a, (*batch, *a.shape[-2:]))
    b = np.broadcast_to(b, (*batch, *b.shape[-2:]))
    sa, sb = elements(a), elements(b)
    loops = [Batch(e, x, y) for e, x, y in zip(batch, sa, sb, strict=False)]
    problem = matmul(a.shape[-2], a.shape[-1], b.shape[-1], sa[-2:], sb[-2:], unit_of(target), loops, **options)
    return problem, a, b, (*batch, a.shape[-2], b.shape[-1])


def materialise(relayout: Relayout, source: np.ndarray) -> np.ndarray:
    """The physical buffer that a relayout describes, element by element as its docstring says."""
    if relayout.along is not None:
        numbers = []
        for number in range(relayout.numbers):
            axes = list(relayout.axes)
            axes[relayout.along] = axes[relayout.along]._replace(offset=axes[relayout.along].offset + number)
            numbers.append(materialise(Relayout(relayout.shape, tuple(axes)), source))
        return np.ascontiguousarray(np.stack(numbers, axis=-1)).view(np.uint32)[..., 0]
    index = np.indices(relayout.shape)
    valid = np.ones(relayout.shape, bool)
    where = [np.zeros(relayout.shape, np.int64) for _ in range(source.ndim)]
    for axis in relayout.axes:
        position = axis.offset + sum(c * i for c, i in zip(axis.coefficients, index, strict=True))
        valid &= (position >= 0) & (position < axis.limit)
        where[axis.dim] += axis.scale * position
    where = [np.where(valid, w, 0) for w in where]
    if not source.size:
        return np.zeros(relayout.shape, source.dtype)
    return np.where(valid, source[tuple(where)], source.dtype.type(0))


def before_unreadable_page(array: np.ndarray) -> np.ndarray:
    """A copy whose last byte is the last one that may be read."""
    page = mmap.PAGESIZE
    room = -(-array.nbytes // page) * page
    memory = mmap.mmap(-1, room + page)
    copy = np.frombuffer(memory, array.dtype, array.size, room - array.nbytes).reshape(array.shape)
    copy[...] = array
    end = np.frombuffer(memory, np.uint8).ctypes.data + room
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(end), ctypes.c_size_t(page), 0) == 0
    return copy


def run(
    contraction: ContractionPlan,
    target: Target,
    a: np.ndarray,
    b: np.ndarray,
    shape: tuple[int, ...],
    dtype: type = np.float32,
    bias: np.ndarray | None = None,
    out: np.ndarray | None = None,
    backwards: bool = False,
    at_end_of_page: bool = False,
    step: int = 1 << 30,
    in_place: bool = False,
    sums: np.ndarray | None = None,
) -> np.ndarray:
    """The result of a contraction of the logical arrays `a` and `b` (any strides), as an array of the logical `shape`.

    `out`: what the result buffer holds before; the buffer lies between guards that must stay untouched. `backwards`:
    run the tiles, and launches that may run together, last first, as threads may do. `step`: or so many tiles in a call. `bias`: operand
    of an epilogue such as BIAS. `in_place`: that operand is what the result buffer holds. `sums`: where
    an epilogue puts sums over rows.
    """
    guard = 64
    margin = np.full(guard, 77, dtype)
    memory = np.concatenate([margin, np.full(contraction.out_size, 55, dtype), margin])
    result = memory[guard : guard + contraction.out_size]
    if out is not None:
        result[:] = out.ravel()
    operands = ((a, contraction.a), (b, contraction.b))
    prepared = [x if layout is None else materialise(layout, x) for x, layout in operands]
    if at_end_of_page:
        prepared = [before_unreadable_page(x) for x in prepared]
        bias = bias if bias is None else before_unreadable_page(bias)
    workspace = np.full(contraction.workspace, 0x7F, np.uint8)
    held = {
        "a": prepared[0],
        "b": prepared[1],
        "operand1": result if in_place else bias,
        "workspace": workspace,
        "out": result,
        "sums": sums,
    }
    launches = list(contraction.launches)
    if contraction.prepared:
        first, size = contraction.prepared
        held["prepared"] = np.full(size, 0x7F, np.uint8)
        launches = [first, *launches]
    for launch in backward_groups(launches) if backwards else launches:
        (address,) = compile_kernels([launch.kernel], target)
        kernel = KERNEL(address)
        pointers = [held[name].ctypes.data + offset for name, offset in launch.buffers]
        buffers = (ctypes.c_void_p * len(launch.buffers))(*pointers)
        params = (ctypes.c_int64 * len(launch.params))(*launch.params)
        begins = reversed(range(launch.tiles)) if backwards else range(0, launch.tiles, step)
        for begin in begins:
            end = min(launch.tiles, begin + (1 if backwards else step))
            kernel(ctypes.addressof(buffers), ctypes.addressof(params), begin, end)
    assert (memory[:guard] == 77).all() and (memory[-guard:] == 77).all(), "the kernel wrote outside its result"
    strides = [stride * result.itemsize for stride in contraction.out_strides]
    return np.lib.stride_tricks.as_strided(result, shape, strides).copy()


def volume(
    n: int,
    ic: int,
    size: tuple,
    oc: int,
    kernel: tuple,
    stride=(1, 1, 1),
    padding=(0, 0, 0),
    dilation=(1, 1, 1),
    groups=1,
) -> ConvShape:
    """A convolution of images with depth."""
    return ConvShape(n, ic, size, oc, kernel, stride, padding, dilation, groups)


def reference(x: np.ndarray, w: np.ndarray, dy: np.ndarray, s: ConvShape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, dx and dw in float64."""
    return forward(x, w, s), by_data(w, dy, s), by_weight(x, dy, s)


def forward(x: np.ndarray, w: np.ndarray, s: ConvShape) -> np.ndarray:
    """Tap by tap: each sees every output's pixel of a padded input."""
    x, w, y = padded(x, s), w.astype(np.float64), np.zeros((s.n, s.oc, *s.out))
    for i, o, tap, seen in taps(s):
        y[:, o] += np.moveaxis(np.tensordot(x[:, i][seen], w[o][(..., *tap)], (1, 1)), -1, 1)
    return y


def by_data(w: np.ndarray, dy: np.ndarray, s: ConvShape) -> np.ndarray:
    """Adds up, at the pixels that a tap has seen, what it makes of dy."""
    w, dy = w.astype(np.float64), dy.astype(np.float64)
    dx = padded(np.zeros((s.n, s.ic, *s.size)), s)
    for i, o, tap, seen in taps(s):
        dx[:, i][seen] += np.moveaxis(np.tensordot(dy[:, o], w[o][(..., *tap)], (1, 0)), -1, 1)
    return dx[(..., *[slice(p, p + size) for p, size in zip(s.padding, s.size, strict=True)])]


def by_weight(x: np.ndarray, dy: np.ndarray, s: ConvShape) -> np.ndarray:
    x, dy, dw = padded(x, s), dy.astype(np.float64), np.zeros((s.oc, s.ic_group, *s.kernel))
    for i, o, tap, seen in taps(s):
        dw[o][(..., *tap)] = np.tensordot(dy[:, o], x[:, i][seen], ((0, *range(2, x.ndim)),) * 2)
    return dw


def padded(x: np.ndarray, s: ConvShape) -> np.ndarray:
    return np.pad(x.astype(np.float64), ((0, 0), (0, 0), *((p, p) for p in s.padding)))


def taps(s: ConvShape) -> Iterator[tuple[slice, slice, tuple[int, ...], tuple]]:
    """For each group and tap: channels of the input and of the result, the tap, and which pixels it sees."""
    for g, *tap in product(range(s.groups), *map(range, s.kernel)):
        i, o = slice(g * s.ic_group, (g + 1) * s.ic_group), slice(g * s.oc_group, (g + 1) * s.oc_group)
        firsts = [t * d for t, d in zip(tap, s.dilation, strict=True)]
        lines = [slice(f, f + (n - 1) * t + 1, t) for f, n, t in zip(firsts, s.out, s.stride, strict=True)]
        yield i, o, tuple(tap), (slice(None), slice(None), *lines)
