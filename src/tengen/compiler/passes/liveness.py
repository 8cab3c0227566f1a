"""What a Program keeps in memory across its turning point; see `recompute`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import cached_property
from itertools import accumulate

from ..loop import Loop
from ..plan import ITEM_BYTES
from ..program import (
    Concat,
    Contraction,
    Elementwise,
    Gather,
    Host,
    Iota,
    Node,
    Place,
    Program,
    Reduction,
    Scatter,
    Value,
    ViewOp,
)
from ..values import uniform_values

SMALL = 256
"""Values are always kept if the largest one has more than this many times their bytes."""


def bytes_of(value: Value) -> int:
    return value.size * ITEM_BYTES[value.dtype]


class Liveness:
    """Which nodes of a Program are *late*, because they depend on the turning point, and which values of the other,
    *early* nodes they read.

    smallest: values of fewer bytes do not count; they are always kept.
    """

    def __init__(self, program: Program, smallest: int = 0):
        self.program = program
        self.index = {node: i for i, node in enumerate(program.nodes)}
        self.uniform = uniform_values(program)
        self.base: dict[Value, Value] = {v: v for v in program.inputs}
        self.users: dict[Value, int] = {}  # which nodes read a value, directly or through views; a bit for each
        for i, node in enumerate(program.nodes):
            for out in node.outputs:
                self.base[out] = self.base[node.inputs[0]] if isinstance(node.op, ViewOp) else out
            for v in () if isinstance(node.op, ViewOp) else node.inputs:
                self.users[self.base[v]] = self.users.get(self.base[v], 0) | 1 << i
        computed = [v for n in program.nodes for v in n.outputs if self._takes_memory(v)]
        smallest = max(smallest, max(map(bytes_of, computed), default=0) // SMALL, 1)
        #: Values that may be computed again, with their bytes.
        self.large = {v: bytes_of(v) for v in computed if bytes_of(v) >= smallest}
        self.results = {self.base[v] for v in program.outputs}
        self.turning = self._turning_point()
        after = self.descendants[self.turning]
        self.late = {n for i, n in enumerate(program.nodes) if after >> i & 1}
        #: The large early values that late nodes read.
        self.saved = [v for v in self.large if v.node not in self.late and self.users.get(v, 0) & after]
        #: The early nodes before the turning point.
        self.forward = [n for n in program.nodes[: self.turning + 1] if n not in self.late]

    def _takes_memory(self, value: Value) -> bool:
        # Ops such as Gather may find a bad index, and all errors must come before a step overwrites donated memory.
        never = isinstance(value.op, (Iota, Host, Gather, Scatter))
        return not never and value not in self.uniform and self.base[value] is value

    @cached_property
    def descendants(self) -> list[int]:
        """For each node, those that depend on it, as one bit each."""
        nodes = self.program.nodes
        found = [0] * len(nodes)
        for i in reversed(range(len(nodes))):
            for v in nodes[i].inputs:
                if v.node is not None:
                    found[self.index[v.node]] |= found[i] | 1 << i
        return found

    def _turning_point(self) -> int:
        """The node whose descendants read the most bytes that do not depend on it."""
        values = [(self.index[v.node], self.users.get(v, 0), size) for v, size in self.large.items() if v.node]
        live = [0] * (len(self.program.nodes) + 1)
        for first, users, size in values:
            live[first] += size
            live[max(first, users.bit_length() - 1)] -= size
        live = list(accumulate(live))
        enough = max(live) * 3 / 4  # it is never far from the maximum in the order of nodes
        waiting = {}
        for i, after in enumerate(self.descendants):
            if live[i] >= enough and self._takes_memory(self.program.nodes[i].outputs[0]):
                waiting[i] = sum(size for first, users, size in values if users & after and not after >> first & 1)
        # At the end of the forward little changes from node to node. The last one leaves most to it.
        most = max(waiting.values(), default=0)
        return max((i for i, size in waiting.items() if size >= 0.98 * most), default=0)

    def is_dropped(self, value: Value, kept: Collection[Value]) -> bool:
        """Whether a value is early and computed again, if only the values of `kept` are kept."""
        base = self.base[value]
        return base in self.large and base not in kept and base.node not in self.late and base not in self.results

    def origin(
        self,
        values: Iterable[Value],
        kept: Collection[Value],
        known: Collection[Value] = (),
        stop: Callable[[Node], bool] | None = None,
    ) -> tuple[list[Node], set[Value]]:
        """The nodes that compute dropped values again from what is there, in order, and the values that these read.

        known: values that have been computed again. stop: nodes beyond which not to look.
        """
        nodes: set[Node] = set()
        sources: set[Value] = set()
        stack = [v.node for v in values]
        while stack:
            node = stack.pop()
            if node is None or node in nodes:
                continue
            nodes.add(node)
            for v in () if stop is not None and stop(node) else node.inputs:
                if v not in known and self.is_dropped(v, kept):
                    stack.append(v.node)
                elif v not in self.uniform:
                    sources.add(self.base[v])
        return sorted(nodes, key=self.index.__getitem__), sources

    @cached_property
    def crossings(self) -> list[int]:
        """How many bytes cross the end of each forward node: computed before it, and read later in the forward."""
        change = [0] * (len(self.program.nodes) + 1)
        for first, last, value in self._spans:
            change[first] += self.large[value]
            change[last] -= self.large[value]
        waiting = list(accumulate(change))
        return [waiting[self.index[n]] for n in self.forward]

    def crossing(self, at: int) -> list[Value]:
        """The values that cross the end of forward node number `at`."""
        here = self.index[self.forward[at]]
        return [value for first, last, value in self._spans if first <= here < last]

    @cached_property
    def _spans(self) -> list[tuple[int, int, Value]]:
        """(first, last, value): the nodes that compute large values, and those that read them last in the forward."""
        forward = sum(1 << self.index[n] for n in self.forward)
        spans = (
            (self.index[v.node], (self.users.get(v, 0) & forward).bit_length() - 1, v) for v in self.large if v.node
        )
        return [span for span in spans if span[0] < span[1]]

    def is_costly(self, node: Node) -> bool:
        """Whether computing it again costs more than a pass over its operands, or a contraction computes it in its epilogue
        now."""
        if isinstance(node.op, Elementwise):
            return any(isinstance(v.op, Contraction) and self.users[v].bit_count() == 1 for v in node.inputs)
        return isinstance(node.op, (Contraction, Place, Concat, Loop))

    def token(self, user: Node) -> Value:
        """The value to wait for before computing what a late node reads.

        It is the last value that the node needs and that no kernel fuses with what follows: if the repetition had to
        wait for a fused one, it could not be fused with the node.
        """
        found, stack, seen = self.program.nodes[self.turning], [user], {user}
        while stack:
            for v in stack.pop().inputs:
                node = v.node
                if node is None or node in seen or node not in self.late:
                    continue
                seen.add(node)
                if isinstance(node.op, (Elementwise, Reduction, ViewOp)):
                    stack.append(node)
                elif self.index[node] > self.index[found]:
                    found = node
        return found.outputs[0]
