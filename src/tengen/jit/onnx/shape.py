"""Views, and ops that put values side by side or into others."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ...compiler.program import Iota, ViewOp
from ...compiler.view import contiguous
from ...core.ops.einsum import Diagonal
from ...core.ops.shape import Broadcast, Concatenate, Pad, PlaceView, Reshape, Slice, Transpose, Windows
from ..frozen import Array
from .graph import Graph, Operand
from .rules import rule

BEFORE_THE_START = -(2**63)  # the end of a slice that runs backwards to element 0


@rule(Reshape)
def reshape(g: Graph, op: Reshape, x: Operand) -> Operand:
    return g.reshape(x, op.shape)


@rule(Transpose)
def transpose(g: Graph, op: Transpose, x: Operand) -> Operand:
    return g.transpose(x, op.order)


@rule(Broadcast)
def broadcast(g: Graph, op: Broadcast, x: Operand) -> Operand:
    return g.node("Expand", x, g.integers(op.shape))


@rule(Iota)
def iota(g: Graph, op: Iota) -> Operand:
    numbers = g.node("Range", *(g.constant(n, "int64") for n in (0, prod(op.shape), 1)))
    return g.reshape(numbers, op.shape)


@rule(Slice)
def slice_(g: Graph, op: Slice, x: Operand) -> Operand:
    cut = _cut(op, x.shape)
    if not cut:
        return x
    ends = [op.starts[d] + op.extents[d] * op.steps[d] for d in cut]
    parts = [
        [op.starts[d] for d in cut],
        [end if end >= 0 else BEFORE_THE_START for end in ends],
        cut,
        [op.steps[d] for d in cut],
    ]
    return g.node("Slice", x, *map(g.integers, parts))


@rule(Diagonal)
def diagonal(g: Graph, op: Diagonal, x: Operand) -> Operand:
    """Every (n + 1)-th element of the squares whose two dims are moved to the end first."""
    n, rest = x.shape[op.first], [d for d in range(x.ndim) if d not in (op.first, op.second)]
    lead = [x.shape[d] for d in rest]
    squares = g.reshape(g.transpose(x, [*rest, op.first, op.second]), [*lead, n * n])
    made = g.node("Slice", squares, *map(g.integers, ([0], [n * n], [len(lead)], [n + 1])))
    return g.transpose(made, [*range(op.first), len(lead), *range(op.first, len(lead))])


def _cut(op: Slice, shape: Sequence[int]) -> list[int]:
    """The axes along which a slice does not show all elements in order."""
    return [d for d, s in enumerate(shape) if (op.starts[d], op.extents[d]) != (0, s) or (op.steps[d] != 1 and s > 1)]


@rule(Pad)
def pad(g: Graph, op: Pad, x: Operand) -> Operand:
    y = g.working(x, x.dtype)
    return g.node("Pad", y, g.integers((*op.before, *op.after)), g.constant(op.fill, y.dtype), mode="constant")


@rule(Windows)
def windows(g: Graph, op: Windows, x: Operand) -> Operand:
    """Each axis is gathered into two, the window and the place in it; then the places are moved to the end."""
    counts = op.counts(x.shape)
    y = x
    for added, n in enumerate(sorted(range(len(op.axes)), key=op.axes.__getitem__)):
        index = np.arange(counts[n])[:, None] * op.strides[n] + np.arange(op.sizes[n]) * op.dilations[n]
        y = g.node("Gather", y, g.constant(index, "int64"), axis=op.axes[n] + added)
    moved = [d + sum(a < d for a in op.axes) for d in range(x.ndim)]
    return g.transpose(y, [*moved, *(moved[a] + 1 for a in op.axes)])


@rule(Concatenate)
def concatenate(g: Graph, op: Concatenate, *xs: Operand) -> Operand:
    return g.node("Concat", *xs, axis=op.axis)


@rule(PlaceView)
def place(g: Graph, op: PlaceView, x: Operand, value: Operand) -> Operand:
    base, new = g.working(x, x.dtype), g.working(g.cast(value, x.dtype), x.dtype)
    if isinstance(op.where, Slice):
        return _place_slice(g, op.where, x.shape, base, new, op.mode == "add")
    flat = g.reshape(base, [x.type.size])
    index = g.integers(_seen(op.where, x.shape))
    reduction = "add" if op.mode == "add" else "none"
    written = g.node("ScatterElements", flat, index, g.reshape(new, [value.type.size]), axis=0, reduction=reduction)
    return g.reshape(written, x.shape)


def _seen(where: ViewOp, shape: tuple[int, ...]) -> Array:
    """Which elements, counted in row-major order, a view shows."""
    view = where.view(contiguous(shape))
    assert view is not None and view.plain
    places = np.asarray(view.offset)
    for extent, stride in zip(view.shape, view.strides, strict=True):
        places = places[..., None] + np.arange(extent) * stride
    return places.reshape(-1)


def _place_slice(g: Graph, where: Slice, shape: tuple[int, ...], base: Operand, value: Operand, adds: bool) -> Operand:
    """Spread the value along each axis that is cut, and take it where a mask says that it belongs."""
    mask: Operand | None = None
    for d in _cut(where, shape):
        source, seen = np.zeros(shape[d], np.int64), np.zeros(shape[d], bool)
        places = where.starts[d] + np.arange(where.extents[d]) * where.steps[d]
        source[places], seen[places] = np.arange(where.extents[d]), True
        if not where.extents[d]:
            return base
        value = g.node("Gather", value, g.constant(source, "int64"), axis=d)
        along = g.constant(seen.reshape(-1, *(1,) * (len(shape) - d - 1)), "bool")
        mask = along if mask is None else mask & along
    new = base + value if adds else value
    return new if mask is None else g.where(mask, new, base)
