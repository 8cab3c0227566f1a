"""Reductions to few results, cut into parts so that all cores can work on them: one kernel folds each part, another the
parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..kernels.dtypes import COMPUTE
from ..kernels.target import Target
from ..plan import ITEM_BYTES
from ..program import Prefix, Reduction, Type, Value
from ..view import View, contiguous
from .groups import Group
from .nests.loops import memory_order
from .nests.lower import Emitter, Operand, by_importance, reshaped
from .results import nest, store
from .steps import Steps


def splits(group: Group, target: Target) -> bool:
    """Whether few results come from many elements, in one pass, so that cutting is worth while."""
    if not group.axes or prod(group.shape) < 2 * target.part or isinstance(group.nodes[-1].op, Prefix):
        return False
    if prod(group.row_shape) * ITEM_BYTES["float32"] > 8192:
        return False
    for node in group.nodes:
        full = node.outputs[0].shape == group.shape
        if isinstance(node.op, Reduction):
            if node.op.monoid.startswith("arg") or group.passes[node.outputs[0]] != 1:
                return False
        elif full and group.passes[node.outputs[0]] > 0:
            return False
    return True


def reduce_in_parts(steps: Steps, group: Group, stored: Sequence[Value]) -> None:
    """Append two kernels: one folds each part; the other folds the parts and does what the group does with the row
    values."""
    assert group.axes is not None
    axis, parts = _cut(steps, group)
    if parts == 1:
        nest(steps, group, stored)
        return
    cut = (*group.shape[:axis], parts, group.shape[axis] // parts, *group.shape[axis + 1 :])
    axes = tuple(d + (d >= axis) for d in group.axes)  # the parts' dim, at `axis`, is kept
    row = tuple(1 if d in axes else s for d, s in enumerate(cut))
    one = (*group.row_shape[:axis], 1, *group.row_shape[axis:])
    first = Emitter(steps.locate, cut, lambda view: reshaped(view.broadcast(group.shape), cut))
    second = Emitter(steps.locate, row, lambda view: reshaped(view.broadcast(group.row_shape), one).broadcast(row))
    written, later = set(), []
    for node in group.nodes:
        out = node.outputs[0]
        if isinstance(node.op, Reduction):
            first.node(node)
            dtype = COMPUTE[out.dtype]
            buffer = steps.buffer(Type(dtype, row))
            written.add(buffer)
            access = first.operand(Operand(buffer, dtype, contiguous(row).broadcast(cut)))
            first("store", first.value(out), dtype=dtype, attr=access)
            part = second("load", dtype=dtype, attr=second.operand(Operand(buffer, dtype, contiguous(row))))
            second.define(out, second.narrow(second.reduce([part], node.op.monoid, dtype), out.dtype))
        elif out.shape == group.shape and group.passes[out] == 0:
            first.node(node)
        else:
            later.append(node)
    written |= store(steps, first, [v for v in stored if group.passes[v] == 0], _operands(steps, group))
    steps.launch(first, axes, group.nodes[-1].op.name, written)
    for node in later:
        second.node(node)
    steps.launch(second, (axis,), "combine", store(steps, second, [v for v in stored if group.passes[v] > 0]))


def _operands(steps: Steps, group: Group) -> list[View]:
    """Where the operands with the group's full shape lie."""
    inputs = [v for n in group.nodes for v in n.inputs if v not in group.passes and v.shape == group.shape]
    return by_importance([steps.locate(v).view for v in inputs if v not in steps.uniform])


def _cut(steps: Steps, group: Group) -> tuple[int, int]:
    """The reduced axis to cut (the slowest in memory) and the number of parts, which divides it.

    Where results lie further apart in memory than what they are made of, each is a piece of work as it is.
    """
    order = memory_order(group.shape, _operands(steps, group))
    axes = [d for d in order if d in (group.axes or ()) and group.shape[d] > 1]
    apart = prod(group.shape[d] for d in order[: order.index(axes[0])])
    most = min(-(-steps.target.parts // apart), prod(group.shape) // steps.target.part)
    best = (axes[0], 1)
    for axis in axes:
        parts = max(p for p in range(1, most + 1) if group.shape[axis] % p == 0)
        if parts > best[1]:
            best = (axis, parts)
        if best[1] * 2 > most:
            break
    return best
