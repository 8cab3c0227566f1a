"""Reading and writing at indices. Where tengen raises IndexError for an index out of range, ONNX's operators may do
anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from ...compiler.program import Type
from ...core.ops.base import broadcast_shapes
from ...core.ops.index import GatherAlong, IndexingOneHot, OneHot, Put, ScatterAlong, Take
from .graph import Graph, Operand
from .rules import rule

Indexing = TypeVar("Indexing", Take, Put)


@rule(Take)
def take(g: Graph, op: Take, x: Operand, *indices: Operand) -> Operand:
    op, indices = _without_batches(g, op, x, indices)
    if len(op.axes) == 1 and op.index_dims == tuple(range(op.axes[0], op.axes[0] + indices[0].ndim)):
        return g.node("Gather", x, g.cast(indices[0], "int64"), axis=op.axes[0])
    rest = [d for d in range(x.ndim) if d not in op.axes]
    seen = g.node("GatherND", g.transpose(x, [*op.axes, *rest]), _together(g, indices))
    return g.transpose(seen, _from_front(op))


@rule(Put)
def put(g: Graph, op: Put, x: Operand, value: Operand, *indices: Operand) -> Operand:
    op, indices = _without_batches(g, op, x, indices)
    front = [*op.axes, *(d for d in range(x.ndim) if d not in op.axes)]
    base, new = g.working(x, x.dtype), g.working(g.cast(value, x.dtype), x.dtype)
    dims = [*op.index_dims, *(d for d in range(len(op.sources)) if d not in op.index_dims)]
    reduction = "add" if op.mode == "add" else "none"
    inputs = g.transpose(base, front), _together(g, indices), g.transpose(new, dims)
    written = g.node("ScatterND", *inputs, reduction=reduction)
    return g.transpose(written, [front.index(d) for d in range(x.ndim)])


def _without_batches(
    g: Graph, op: Indexing, x: Operand, indices: tuple[Operand, ...]
) -> tuple[Indexing, tuple[Operand, ...]]:
    """The op and its indices, with a running number as the index of each dim that the index and the operand share."""
    batches, indexed = [d for d in op.index_dims if op.sources[d] >= 0], dict(zip(op.axes, indices, strict=True))
    for d in batches:
        axis = op.sources[d]
        along = [x.shape[axis] if other == d else 1 for other in op.index_dims]
        indexed[axis] = g.constant(np.arange(x.shape[axis]).reshape(along), "int64")
    sources, axes = tuple([-1 if d in batches else s for d, s in enumerate(op.sources)]), tuple(sorted(indexed))
    how = (op.mode,) if isinstance(op, Put) else ()
    return type(op)(*how, sources, axes, op.index_dims), tuple([indexed[axis] for axis in axes])


def _from_front(op: Take) -> list[int]:
    """The order that moves the dims of the index from the front to where they belong."""
    dims = iter(range(len(op.index_dims), len(op.sources)))
    return [op.index_dims.index(d) if d in op.index_dims else next(dims) for d in range(len(op.sources))]


def _together(g: Graph, indices: Sequence[Operand]) -> Operand:
    """Index tuples along a new last axis."""
    shape = broadcast_shapes("indexing", *(i.shape for i in indices))
    last = g.integers([-1])
    spread = [
        g.cast(i, "int64") if i.shape == shape else g.node("Expand", g.cast(i, "int64"), g.integers(shape))
        for i in indices
    ]
    parts = [g.node("Unsqueeze", i, last) for i in spread]
    return parts[0] if len(parts) == 1 else g.node("Concat", *parts, axis=-1)


@rule(GatherAlong)
def gather_along(g: Graph, op: GatherAlong, x: Operand, index: Operand) -> Operand | None:
    return g.node("GatherElements", x, g.cast(index, "int64"), axis=op.axis)


@rule(ScatterAlong)
def scatter_along(g: Graph, op: ScatterAlong, x: Operand, index: Operand, source: Operand) -> Operand | None:
    if source.shape != index.shape:
        return None
    base, new = g.working(x, x.dtype), g.working(g.cast(source, x.dtype), x.dtype)
    reduction = "add" if op.mode == "add" else "none"
    return g.node("ScatterElements", base, g.cast(index, "int64"), new, axis=op.axis, reduction=reduction)


@rule(OneHot)
def one_hot(g: Graph, op: OneHot, label: Operand) -> Operand:
    classes = g.constant(np.arange(op.classes), "int64")
    wide = g.node("Unsqueeze", g.cast(label, "int64"), g.integers([-1]))
    return g.cast(g.node("Equal", wide, classes, dtype="bool"), op.dtype)


@rule(IndexingOneHot)
def indexing_one_hot(g: Graph, op: IndexingOneHot, x: Operand, index: Operand) -> Operand:
    wide = g.node("Unsqueeze", g.cast(index, "int64"), g.integers([op.axis]))
    shape = tuple(1 if d == op.axis else s for d, s in enumerate(x.shape))
    return g.node("GatherElements", x, g.typed(wide, Type("int64", shape)), axis=op.axis)
