"""Gathers and scatters whose indices are the same along one dim, such as the channels of an image: they read and write
whole rows of that dim, if it is the fastest one in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..kernels.target import Target
from ..program import Gather, Node, Scatter, Value
from ..view import View, dense
from .nests.loops import memory_order

READS = 2
"""A copy with rows is made if it is read this often."""
ELEMENTS = 1 << 15
"""Of fewer elements that are read, none is made."""


def row_dim(node: Node, target: Target) -> int | None:
    """The dim of input 0 along whose rows a Gather or Scatter reads or writes: the only one along which the indices stay
    the same, if they are positions in several dims and a row fills more than half a vector. None if there is none."""
    op, source = node.op, node.inputs[0]
    assert isinstance(op, (Gather, Scatter))
    indices, shape = (
        (node.inputs[1:], node.outputs[0].shape) if isinstance(op, Gather) else (node.inputs[2:], node.inputs[1].shape)
    )
    if len(op.axes) < 2 or not target.shuffles:
        return None
    moving = {dim for index in indices for dim in _moving(op, index)}
    still = [d for d, extent in enumerate(shape) if extent > 1 and d not in moving]
    if len(still) != 1 or 2 * shape[still[0]] <= target.lanes:
        return None
    dim = op.sources[still[0]]
    return dim if dim >= 0 and dim not in op.axes and source.shape[dim] > 1 else None


def _moving(op: Gather | Scatter, index: Value) -> list[int]:
    dims = op.index_dims[len(op.index_dims) - index.ndim :]
    return [d for d, extent in zip(dims, index.shape, strict=True) if extent > 1]


def read_in_rows(value: Value, place: View, users: Sequence[Node], target: Target) -> View | None:
    """How a copy should lie of a value that lies at `place`, because its readers with indices read rows often enough. None if it need not
    be copied."""
    found = [(row_dim(u, target), u.outputs[0]) for u in users if isinstance(u.op, Gather) and u.inputs[0] is value]
    dims = {dim for dim, _ in found}
    reads = sum(prod(made.shape) for _, made in found)
    (dim,) = dims if len(dims) == 1 else (None,)
    if dim is None or place.strides[dim] == 1 or reads < max(ELEMENTS, READS * value.size):
        return None
    return in_rows(place, dim)


def in_rows(view: View, dim: int) -> View:
    """A dense layout in the order of a view, but with rows of `dim`."""
    order = memory_order(view.shape, [view])
    return View(view.shape, dense(view.shape, [*(d for d in order if d != dim), dim]))
