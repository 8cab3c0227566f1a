"""Nodes after a contraction that its epilogue can compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from ...program import Node, Value


class Segment(NamedTuple):
    """Nodes that follow the value `start`. Only the output of the last one is used elsewhere."""

    start: Value
    nodes: tuple[Node, ...]

    @property
    def end(self) -> Value:
        return self.nodes[-1].outputs[0]


def segments(
    product: Value,
    users: Mapping[Value, Sequence[Node]],
    order: Mapping[Node, int],
    uses: Mapping[Value, int],
    fits: Callable[[Node, set[Value]], bool],
) -> list[Segment]:
    """The longest sequence of segments from `product` on whose nodes, given the values before them, all fit.

    users: the nodes that read a value; order: where a node stands in the Program; uses: how often a value is read,
    including by the caller of the Program.
    """
    found: list[Segment] = []
    current: list[Node] = []
    start, inside = product, {product}
    waiting = [(order[node], node) for node in set(users.get(product, ()))]
    seen = {node for _, node in waiting}
    unread = uses[product]
    waiting.sort()
    while waiting:
        _, node = heappop(waiting)
        if not fits(node, inside):
            break  # what it reads stays visible
        (out,) = node.outputs
        current.append(node)
        inside.add(out)
        unread += uses[out] - sum(v in inside for v in node.inputs)
        for user in users.get(out, ()):
            if user not in seen:
                seen.add(user)
                heappush(waiting, (order[user], user))
        if unread == uses[out]:
            found.append(Segment(start, tuple(current)))
            start, current = out, []
    return found
