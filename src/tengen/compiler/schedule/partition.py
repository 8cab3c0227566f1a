"""Decides which nodes become one kernel: puts the nodes of a Program into groups.

A map/reduce group works over one shape and, once a reduction has joined, over one set of reduced axes. Its values are
*full* (of that shape) or *row* (extent 1 along the reduced axes). A node joins the group of its operands if it fits
there and no other group would then have to run both before and after it. Values that are the same number everywhere are
*uniform*: every group computes them for itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import prod

from ..attention import Attention, AttentionGradient
from ..loop import Loop
from ..orders import Positions, Sort
from ..plan import ITEM_BYTES
from ..program import (
    Concat,
    Contraction,
    Elementwise,
    Gather,
    Host,
    Iota,
    Node,
    Op,
    Place,
    Prefix,
    Program,
    Reduction,
    Scatter,
    Value,
    ViewOp,
)
from ..values import uniform_values
from .contractions.column_sums import folds_rows
from .contractions.segments import Segment, segments
from .groups import Group, needs_complete
from .results import Users, decided

# From this many elements on, sums that a contraction gives save more than a second kernel costs.
MANY_SUMMED = 1 << 15
# A group waits for everything that it reads, which must be kept until then. So a sum of many gradients should be taken
# in parts, as they come.
MOST_READS = 8
ROUNDED = ("int8", "uint8")
"""Dtypes in which a value from a contraction should lie in memory, if it has had one of them."""


def _is_late(op: Op) -> bool:
    return isinstance(op, Host) and op.late


def _read_by_both(group: Group, other: Group) -> set[Value]:
    """What two groups would read as one group."""
    return (group.reads | other.reads) - group.passes.keys() - other.passes.keys()


class Partition:
    """The groups of a Program, in an order in which they can run, and the group that computes each value."""

    def __init__(self, program: Program):
        self.groups: dict[int, Group] = {}
        self.home: dict[Value, Group] = {}
        self.uniform = uniform_values(program)
        self._order = {node: i for i, node in enumerate(program.nodes)}
        self.users: dict[Value, list[Node]] = {}  # a node is listed as often as it reads the value
        for node in program.nodes:
            for v in node.reads:
                self.users.setdefault(v, []).append(node)
        self._uses = defaultdict(int, [(v, len(nodes)) for v, nodes in self.users.items()])
        for v in program.outputs:
            self._uses[v] += 1
        self._effect: Group | None = None  # of the last node with an effect
        self._segments: dict[Node, Segment] = {}  # of the nodes that may end a contraction's kernel
        for node in program.nodes:
            if node not in self._segments:
                self._place(node)
            elif node is self._segments[node].nodes[-1]:
                self._place_segment(self._segments[node])
        self.order = self._sorted()
        self.results = decided(self.order, Users(program, self.users, self.home), self.uniform)

    # -- placing a node ------------------------------------------------------------------------------------

    def _place(self, node: Node) -> None:
        op = node.op
        if node.outputs[0] in self.uniform:
            return
        if isinstance(op, ViewOp) and op.stretches and node.inputs[0] in self.home:
            group, shape = self.home[node.inputs[0]], node.outputs[0].shape
            if self._fits(node, group, shape, None, node.inputs):
                self._enter(group, node)
        elif isinstance(op, (Iota, ViewOp)):
            return  # strides, not work
        elif isinstance(op, Elementwise):
            self._join(node, node.outputs[0].shape, None, node.inputs)
        elif isinstance(op, Reduction):
            self._join(node, node.inputs[0].shape, op.axes, node.inputs)
        elif isinstance(op, Prefix):
            self._place_prefix(node, op.axis)
        elif isinstance(op, Gather):
            self._join(node, node.outputs[0].shape, None, ())
        elif isinstance(op, (Scatter, Place)):
            self._join(node, node.inputs[1].shape, None, (node.inputs[1],))
        elif isinstance(op, (Contraction, Host, Concat, Loop, Positions, Sort, Attention, AttentionGradient)):
            self._enter(self._new(closed=True), node)
            if op.effect and not _is_late(op):
                self._follow(self.home[node.outputs[0]])
            if isinstance(op, Contraction) and node.outputs[0] in self.users:
                self._foresee(node, op)
        else:
            raise TypeError(f"{op.name} is not of a kind that the scheduler knows")

    def _follow(self, group: Group) -> None:
        """Effects run in the order in which they were recorded."""
        if self._effect is not None:
            self._depend(group, self._effect.bit | self._effect.ancestors)
        self._effect = group

    def _place_prefix(self, node: Node, axis: int) -> None:
        """A scan ends a group that reduces nothing."""
        shape = node.outputs[0].shape
        homes = [self.home[v] for v in node.inputs if v in self.home and self.home[v].axes is None]
        group = next((h for h in homes if self._fits(node, h, shape, None, node.inputs)), None) or self._new(shape)
        group.axes = (axis,)
        self._enter(group, node)
        group.closed = True

    # -- after a contraction -----------------------------------------------------------------------------------

    def _foresee(self, node: Node, op: Contraction) -> None:
        """Find the nodes after a contraction that its kernel may compute. They wait until their other operands are
        known."""
        (product,) = node.outputs
        channels = op.roles.channels
        dim = None if channels is None else range(product.ndim)[channels]
        one = (1,) * product.ndim
        shapes = product.shape, one, tuple(s if d == dim else 1 for d, s in enumerate(product.shape))

        def fits(node: Node, inside: set[Value]) -> bool:
            others = [v for v in node.inputs if v not in inside and v not in self.uniform]
            handed_on = all(self._uses[v] == 1 for v in node.inputs if v in inside)
            if handed_on and any(self._belongs_to(v, product) for v in others):
                return False
            free = isinstance(node.op, Elementwise) and node not in self._segments  # it belongs to another contraction
            return free and all(one[v.ndim :] + v.shape in shapes for v in others)

        found = segments(product, self.users, self._order, self._uses, fits)
        while (
            found and ITEM_BYTES[found[-1].end.dtype] > ITEM_BYTES[product.dtype] and not self._reads_as_much(found[-1])
        ):
            found.pop()  # its readers should widen it
        rounded = [i for i, segment in enumerate(found, 1) if segment.end.dtype in ROUNDED]
        if rounded and not any(map(self._reads_as_much, found[rounded[-1] :])):
            del found[rounded[-1] :]  # the same
        for segment in found:
            self._segments.update(dict.fromkeys(segment.nodes, segment))

    @staticmethod
    def _reads_as_much(segment: Segment) -> bool:
        """Whether nodes read a value as large as their last one, as the addition of a residual does. A kernel of their
        own would read it too."""
        end = segment.end.type
        inside = {segment.start, *(v for node in segment.nodes for v in node.outputs)}
        others = [v.type for node in segment.nodes for v in node.inputs if v not in inside]
        return any(t.size == end.size and ITEM_BYTES[t.dtype] >= ITEM_BYTES[end.dtype] for t in others)

    def _place_segment(self, segment: Segment) -> None:
        """Put nodes into the group of the contraction before them, unless another of their operands waits for that
        group."""
        group = self.home[segment.start]
        inside = {segment.start, *(v for node in segment.nodes for v in node.outputs)}
        before = self._before([v for node in segment.nodes for v in node.inputs if v not in inside])
        late = before & group.bit or any(g.ancestors & group.bit for g in self._members(before))
        for node in segment.nodes:
            if late:
                del self._segments[node]
                self._place(node)
            else:
                self._enter(group, node)

    def _belongs_to(self, value: Value, product: Value) -> bool:
        """Whether a value is a later product. Its kernel should then compute what uses both; the kernel of this product
        would have to wait."""
        assert product.node is not None
        return (
            value.node is not None
            and isinstance(value.op, Contraction)
            and self._uses[value] == 1
            and self._order[value.node] > self._order[product.node]
        )

    def _join(
        self, node: Node, shape: tuple[int, ...], axes: tuple[int, ...] | None, fusable: tuple[Value, ...]
    ) -> None:
        homes = {self.home[v].bit: self.home[v] for v in fusable if v in self.home}
        fitting = [g for g in homes.values() if self._fits(node, g, shape, axes, fusable)]
        if not fitting:
            group = self._new(shape)
        else:
            group = fitting[0]
            for other in fitting[1:]:
                if self._may_merge(group, other):
                    self._merge(group, other)
        if axes is not None:
            group.axes = axes
        self._enter(group, node)
        if axes is not None:
            self._join_sibling(group)

    def _fits(
        self, node: Node, group: Group, shape: tuple[int, ...], axes: tuple[int, ...] | None, fusable: tuple[Value, ...]
    ) -> bool:
        if group.closed:
            return False
        if shape != group.shape and not (axes is None and group.is_row(shape)):
            return False
        if axes is not None and group.axes not in (None, axes):
            return False
        inside = [v for v in node.inputs if v in group.passes]
        if any(v not in fusable for v in inside) or any(v in group.passes for v in needs_complete(node)):
            return False
        if len(group.reads | group.added_reads(node)) > MOST_READS:
            return False
        # Full values after a reduction need one more pass over the reduced dims.
        late = [v for v in inside if group.passes[v] > 0]
        if late and shape == group.shape and (not group.allows_another_pass() or self._has_sums(group)):
            return False
        outside = self._before([v for v in node.inputs if v not in group.passes])
        return not outside & group.bit and not any(g.ancestors & group.bit for g in self._members(outside))

    def _has_sums(self, group: Group) -> bool:
        """Whether a contraction's kernel may give the group's sums over its many rows, so that no pass over them is
        left."""
        if prod(group.shape) < MANY_SUMMED:
            return False
        made = [self.home[v].nodes[0].outputs[0] for v in group.reads if v in self.home and self.home[v].closed]
        return any(folds_rows(group, product) for product in made)

    def _enter(self, group: Group, node: Node) -> None:
        level = max([group.passes.get(v, 0) for v in node.inputs], default=0)
        if isinstance(node.op, Reduction):
            level += 1
        group.nodes.append(node)
        group.reads |= group.added_reads(node)
        for out in node.outputs:
            self.home[out] = group
            group.passes[out] = level
        if isinstance(node.op, (Scatter, Place)):
            group.closed = True
        self._depend(group, self._before(node.inputs))

    def _may_merge(self, group: Group, other: Group) -> bool:
        """Whether two groups may become one: not if a third stands between them, their axes differ, or they would read
        too much."""
        if other.shape != group.shape or (group.axes and other.axes and group.axes != other.axes):
            return False
        if len(_read_by_both(group, other)) > MOST_READS:
            return False
        pair = group.bit | other.bit
        before = (group.ancestors | other.ancestors) & ~pair
        return not any(g.ancestors & pair for g in self._members(before))

    def _merge(self, group: Group, other: Group) -> None:
        """Merge two groups."""
        pair = group.bit | other.bit
        before = (group.ancestors | other.ancestors) & ~pair
        reads = _read_by_both(group, other)
        group.nodes = self._by_dependence(group.nodes + other.nodes)
        group.axes = group.axes or other.axes
        group.passes.update(other.passes)
        group.reads = reads
        for value in other.passes:
            self.home[value] = group
        del self.groups[other.bit]
        for g in self.groups.values():
            if g.ancestors & other.bit:
                g.ancestors = (g.ancestors & ~other.bit) | group.bit
        self._depend(group, before)
        group.ancestors &= ~pair

    def _join_sibling(self, group: Group) -> None:
        """Merge reductions over the same axes that read the same values, but not each other's results, so that these
        are read once."""
        for other in self.groups.values():
            alike = other is not group and other.shape == group.shape and other.axes == group.axes and not other.closed
            if alike and not (group.ancestors & other.bit or other.ancestors & group.bit) and group.reads & other.reads:
                if self._may_merge(group, other):
                    self._merge(group, other)
                return

    # -- groups --------------------------------------------------------------------------------------------

    def _new(self, shape: tuple[int, ...] = (), closed: bool = False) -> Group:
        bit = 1 << (max(self.groups, default=0).bit_length())
        group = self.groups[bit] = Group(bit, shape, closed=closed)
        return group

    def _members(self, mask: int) -> list[Group]:
        return [g for bit, g in self.groups.items() if bit & mask]

    def _before(self, values: Sequence[Value]) -> int:
        """The groups that these values need, seen through views."""
        mask, stack = 0, list(values)
        while stack:
            value = stack.pop()
            if value in self.home:
                mask |= self.home[value].bit | self.home[value].ancestors
            elif value.node is not None:
                stack.extend(value.node.inputs)
        return mask

    def _depend(self, group: Group, mask: int) -> None:
        group.ancestors |= mask & ~group.bit
        for g in self.groups.values():
            if g.ancestors & group.bit:
                g.ancestors |= group.ancestors

    @staticmethod
    def _by_dependence(nodes: list[Node]) -> list[Node]:
        pending, result = list(nodes), []
        done: set[Value] = set()
        made = {v for n in nodes for v in n.outputs}
        while pending:
            for node in pending:
                if all(v in done or v not in made for v in node.inputs):
                    break
            pending.remove(node)
            result.append(node)
            done.update(node.outputs)
        return result

    def _sorted(self) -> list[Group]:
        done, order, pending = 0, [], list(self.groups.values())
        if len(pending) == 1:
            return pending
        while pending:
            ready = [g for g in pending if not g.ancestors & ~done]
            assert ready, "the groups depend on each other in a circle"
            ready = [g for g in ready if not _is_late(g.nodes[0].op)] or ready
            order += ready
            pending = [g for g in pending if g not in ready]
            for g in ready:
                done |= g.bit
        return order
