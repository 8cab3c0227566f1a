"""Decides which values of a group get memory, and stores them there.

A value needs no memory if only its group reads it, or if its readers should compute it again for themselves. Both are
decided once, as soon as the groups are known (`decided`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..plan import ITEM_BYTES
from ..program import Contraction, Elementwise, Node, Program, Reduction, Value
from ..values import is_reshape
from ..view import View
from .contractions.column_sums import combine, folds_rows
from .groups import Group
from .nests.lower import Emitter
from .steps import Steps


class Results(NamedTuple):
    """stored: for each group, its values that others read from memory. sums: the groups after a contraction of which
    only reductions over its rows are kept. uniform: values that every kernel computes for itself, because they are the
    same number everywhere or computed again.
    """

    stored: Mapping[Group, Sequence[Value]]
    sums: Mapping[Group, Sequence[Group]]
    uniform: frozenset[Value]


class Users(NamedTuple):
    """The readers of each value of a Program, and the group that computes it."""

    program: Program
    users: Mapping[Value, Sequence[Node]]
    home: Mapping[Value, Group]

    def outside(self, value: Value, group: Group) -> list[Node]:
        """The nodes of other groups that read a value."""
        inside = set(group.nodes)
        return [u for u in self.users.get(value, ()) if u not in inside]

    def readers(self, value: Value) -> list[Node]:
        """The nodes that read a value, perhaps reshaped."""
        found = []
        for node in self.users.get(value, ()):
            found += self.readers(node.outputs[0]) if is_reshape(node) else [node]
        return found

    def over_rows(self, group: Group) -> list[Group]:
        """The groups of reductions over the rows of the contraction `group`."""
        product, made = group.nodes[0].outputs[0], group.nodes[-1].outputs[0]
        values = [v for node in self.readers(made) for v in node.outputs]
        groups = dict.fromkeys(self.home[v] for v in values if v in self.home)
        return [g for g in groups if not g.closed and folds_rows(g, product)]


def decided(order: Sequence[Group], users: Users, uniform: set[Value]) -> Results:
    """Decide what is stored, for groups that run in this order. uniform: values that are the same number everywhere."""
    again, stored, sums = set(uniform), {}, {}
    for group in order:
        if isinstance(group.nodes[0].op, Contraction):
            found = users.over_rows(group)
            for other in found:
                stored[other], more = _stored(other, users, again)
                again |= more
            sums[group] = [g for g in found if all(v.shape != g.shape for v in stored[g])]
        else:
            stored[group], more = _stored(group, users, again)
            again |= more
    return Results(stored, sums, frozenset(again))


def _stored(group: Group, users: Users, uniform: set[Value]) -> tuple[list[Value], set[Value]]:
    """The group's values that others read from memory, and the values that readers compute again, with what they widen
    for it."""
    found: list[Value] = []
    again: set[Value] = set()
    for v in [v for node in group.nodes for v in node.outputs]:
        outside = users.outside(v, group)
        if v in users.program.outputs:
            found.append(v)
        elif outside:
            needs = _needs(v, group, outside, uniform | again)
            if needs is None:
                found.append(v)
            else:
                again |= {v, *needs}
    return found, again


def _needs(value: Value, group: Group, readers: Sequence[Node], uniform: set[Value]) -> list[Value] | None:
    """What readers widen in order to compute a value again; None if they should not compute it. It must be one cheap
    operation on at most one operand of its size, which may be a value that they widen."""
    node = value.node
    if node is None or not isinstance(node.op, Elementwise) or group.passes[value] > 0:
        return None
    if not (node.op.cheap or _widens(value)) or any(not isinstance(u.op, (Elementwise, Reduction)) for u in readers):
        return None
    loaded = [v for v in node.inputs if v not in uniform]
    widened = [v for v in loaded if v in group.passes and _widens(v) and v.operands[0] not in group.passes]
    if any(v in group.passes for v in loaded if v not in widened):
        return None
    return widened if sum(v.shape == value.shape for v in loaded) <= 1 else None


def _widens(value: Value) -> bool:
    """Whether a value is a narrower one converted to a wider dtype."""
    if not isinstance(value.op, Elementwise) or not value.op.converts:
        return False
    (given,) = value.operands
    return ITEM_BYTES[given.dtype] < ITEM_BYTES[value.dtype]


# -- storing -----------------------------------------------------------------------------------------------------------


def nest(steps: Steps, group: Group, stored: Sequence[Value]) -> None:
    """Append a group as one kernel."""
    e = Emitter(steps.locate, group.shape)
    for node in group.nodes:
        e.node(node)
    steps.launch(e, group.axes or (), group.nodes[-1].op.name, store(steps, e, stored))


def store(steps: Steps, e: Emitter, values: Sequence[Value], like: Sequence[View] | None = None) -> set[int]:
    """Give values buffers, in the dim order of what the kernel loads (or of `like`), and store them there. Returns the
    buffers."""
    views = [v for v in e.loads() if values and len(v.shape) == values[0].ndim] if like is None else like
    written = set()
    for value in values:
        steps.where[value] = place = steps.own_place(value, views)
        e.store(value, place.buffer or 0, place.view)
        written.add(place.buffer or 0)
    return written


def combined(steps: Steps, group: Group, stored: Sequence[Value]) -> None:
    """Append what reductions compute from the sums that a contraction has taken for them."""
    e = combine(steps, group, steps.taken)
    steps.launch(e, (0,), "combine", store(steps, e, stored))
