"""Ops that write into a part of a buffer: Scatter and Place into a copy of their base, and Concat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from ..kernels.nest_tiling import cut
from ..program import Concat, Node, Place, Scatter, Value
from ..values import counts_along
from ..view import View, contiguous, dense
from .groups import Group
from .nests.loops import memory_order
from .nests.lower import Emitter, dense_like, meeting_dims
from .places import Location
from .results import store
from .rows import in_rows, row_dim
from .steps import Step, Steps
from .writes_at_once import ADDED_IN_PLACE, at_once, set_at_once, sum_at_once

MOST_CHAINED = 16  # Scatters in one kernel


def write_into(steps: Steps, groups: Sequence[Group], stored: Sequence[Value]) -> None:
    """Scatter and Place: copy the base (or start from it, if it is donated), then write. groups: several Scatters that
    `chains` has found, or one group."""
    group, nodes = groups[-1], [g.nodes[-1] for g in groups]
    node, base = nodes[-1], nodes[0].inputs[0]
    op = node.op
    e = Emitter(steps.locate, group.shape)
    for g in groups:
        for other in g.nodes[:-1]:
            e.node(other)
        e.value(g.nodes[-1].inputs[1])
    assert isinstance(op, (Scatter, Place))
    layout = _base_layout(steps, base, op, e.loads())
    if base in steps.uniform and isinstance(op, Scatter) and (dim := row_dim(node, steps.target)) is not None:
        layout = in_rows(layout, dim)
    buffer = steps.buffer(base.type)
    result = Location(buffer, layout)
    others = [v for v in stored if v is not node.outputs[0]]
    serial = [] if group.axes else sorted({d for n in nodes for d in _meeting(n, layout)})
    meeting, size = prod(group.shape[d] for d in serial), prod(group.shape)
    if at_once(steps.target, op, base.dtype, size // max(meeting, 1), meeting):
        if op.mode == "set" or base.dtype in ADDED_IN_PLACE:
            _copy_base(steps, base, buffer, layout)
        written = store(steps, e, others)
        if op.mode == "set":
            set_at_once(steps, e, node, result, sorted(serial), written)
        else:
            sum_at_once(steps, group, e, result, meeting, written)
    else:
        whole = isinstance(op, Place) and op.mode == "set" and node.inputs[1].size == base.size
        if not whole:  # then nothing of the base remains
            _copy_base(steps, base, buffer, layout)
        written = {buffer} | store(steps, e, others)
        for n in nodes:
            assert isinstance(n.op, (Scatter, Place))
            e.write(n.op, n, result)
        if group.axes:
            serial = [d for d in _meeting(node, layout) if d not in group.axes]
        steps.launch(e, group.axes or (), op.name, written, serial, bases=() if whole else (buffer,))
    steps.where[node.outputs[0]] = result


def chains(
    order: Sequence[Group],
    users: Mapping[Value, Sequence[Node]],
    stored: Mapping[Group, Sequence[Value]],
    outputs: Sequence[Value],
) -> dict[Group, list[Group]]:
    """The groups of Scatters that become one kernel, by the last of them: each adds to the sums of the one before, at
    other places of the same kind, as the gradients of the taps of a filter do. Nothing else reads these sums, and no
    output is one of them."""
    found: dict[Group, list[Group]] = {}
    home = {g.nodes[-1].outputs[0]: g for g in order if isinstance(g.nodes[-1].op, Scatter)}
    for group in order:
        node = group.nodes[-1]
        if not isinstance(node.op, Scatter):
            continue
        base = node.inputs[0]
        before = home.get(base)
        alone = base not in outputs and users[base] == [node]
        alike = before and _adds_alike(group, before) and stored[before] == [base]
        if before and alone and alike and len(found.get(before, [before])) < MOST_CHAINED:
            found[group] = [*found.pop(before, [before]), group]
    return found


def _adds_alike(group: Group, before: Group) -> bool:
    op = group.nodes[-1].op
    assert isinstance(op, Scatter)
    plain = group.axes is None and before.axes is None and group.shape == before.shape
    return plain and op.mode == "add" and op == before.nodes[-1].op


def _copy_base(steps: Steps, base: Value, buffer: int, layout: View) -> None:
    fill = Emitter(steps.locate, base.shape)
    fill.store(base, buffer, layout)
    source = steps.locate(base)
    steps.launch(fill, (), "copy", {buffer}, (), (buffer, source.buffer if source.view == layout else None))


def _meeting(node: Node, layout: View) -> list[int]:
    """The dims along which writes of a Scatter, or additions of a Place, may meet."""
    op = node.op
    if isinstance(op, Scatter):
        apart = _apart(op, node.inputs[2:])
        return [d for d in op.index_dims if op.sources[d] < 0 and d not in apart]
    assert isinstance(op, Place)
    view = op.where.view(layout)
    assert view is not None
    return meeting_dims(view) if op.mode == "add" else []


def _apart(op: Scatter, indices: Sequence[Value]) -> set[int]:
    """Dims of the loop along which an index is a running number, so that what is written at two places there never meets."""
    places = [(index, counts_along(index)) for index in indices]
    return {op.index_dims[place - index.ndim] for index, place in places if place is not None}


def _base_layout(steps: Steps, base: Value, op: Any, operands: Sequence[View]) -> View:
    """The dim order of the result: that of the base. If the base has no memory (usually zeros), it is that of an input
    of its shape, of the `operands` placed in it, or of the input most like it."""
    candidates = [base]
    if base in steps.uniform:
        alike = [v for v in steps.program.inputs if v.ndim == base.ndim > 0]
        candidates = sorted(alike, key=lambda v: (v.shape != base.shape, -v.size))
    views = [steps.locate(v).view for v in candidates[:1]]
    if base in steps.uniform and isinstance(op, Place) and not (candidates and candidates[0].shape == base.shape):
        views = [_placed_like(op, base.shape, view) for view in operands]
    return View(base.shape, dense(base.shape, memory_order(base.shape, views)))


def _placed_like(op: Place, shape: tuple[int, ...], operand: View) -> View:
    """The layout of a result of this shape, if what is placed in it lay like an operand. A dim has the greatest stride
    of the dims that `op.where` makes from it."""
    where, own = op.where.view(contiguous(shape)), contiguous(shape).strides
    assert where is not None
    strides = [0] * len(shape)
    for step, stride in zip(where.strides, operand.strides, strict=True):
        inside = [d for d, s in enumerate(own) if s <= abs(step) and shape[d] > 1]
        if inside:
            d = max(inside, key=lambda d: own[d])
            strides[d] = max(strides[d], abs(stride))
    return View(shape, tuple(strides))


def concat(steps: Steps, node: Node, op: Concat) -> None:
    """Append copies of the parts that were not made in their place. The parts of a part that is a Concat go there at once."""
    out = node.outputs[0]
    if out in steps.spread:
        return
    pieces = list(_pieces(steps, node, op, (0,) * len(out.shape)))
    views = [steps.locate(v).view for v, _ in pieces if v not in steps.uniform and len(v.shape) == len(out.shape)]
    place = steps.wholes.get(out) or Location(steps.buffer(out.type), dense_like(out.type, views[:1]))
    buffer, layout = place.buffer or 0, place.view
    copies: list[Step] = []
    for value, starts in pieces:
        before = len(steps.steps)
        if value in steps.uniform or steps.locate(value).buffer != buffer:  # it was not made there
            e = Emitter(steps.locate, value.shape)
            e.store(value, buffer, layout.slice(starts, value.shape, [1] * len(starts)))
            steps.launch(e, (), "concat", {buffer})
            made = steps.steps[before:]
            if made and isinstance(last := made[-1], Step):
                last.joined = len(made) == 1 and bool(copies) and copies[-1] is steps.steps[before - 1]
                copies.append(last)
    _cut_alike(copies)
    steps.where[out] = Location(buffer, layout)


def _cut_alike(copies: Sequence[Step]) -> None:
    """Cut copies into equally many tiles. A thread begins with the same share of each, so it writes into lines into which it
    has written already, not another one."""
    most = max([step.tiles for step in copies], default=0)
    for step in copies:
        if step.blocks is None:
            step.params, step.tiles = cut(step.params, most)


def _pieces(steps: Steps, node: Node, op: Concat, start: tuple[int, ...]) -> Iterator[tuple[Value, tuple[int, ...]]]:
    """The values that a Concat puts together, each with the place of its first element; start: that of the whole."""
    for value in node.inputs:
        inner = value.node
        if inner is not None and isinstance(inner.op, Concat) and value in steps.spread:
            yield from _pieces(steps, inner, inner.op, start)
        else:
            yield value, start
        start = (*start[: op.axis], start[op.axis] + value.shape[op.axis], *start[op.axis + 1 :])
