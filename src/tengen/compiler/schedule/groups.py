"""Groups: nodes that become one kernel."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from ..program import Gather, Node, Place, Scatter, Value

# A later pass over the reduced dims reads them again, which is worth while if they stay in the L2 cache.
ROW_BYTES = 128 << 10
# If the reduced axes are not the last ones, a row is spread over memory, with a cache line for each element.
SPREAD_ROW = 2048


@dataclass(eq=False)
class Group:
    """Nodes that run as one step. `axes` is None until a reduction joins; `bit` names the group in ancestor masks."""

    bit: int
    shape: tuple[int, ...] = ()
    axes: tuple[int, ...] | None = None
    nodes: list[Node] = field(default_factory=list)
    ancestors: int = 0
    closed: bool = False  # contractions, host calls, copies: nothing joins them
    passes: dict[Value, int] = field(default_factory=dict)
    reads: set[Value] = field(default_factory=set)  # values of the group's full shape that come from outside

    @property
    def row_shape(self) -> tuple[int, ...]:
        return tuple(1 if d in (self.axes or ()) else s for d, s in enumerate(self.shape))

    def added_reads(self, node: Node) -> set[Value]:
        """What the group would read in addition if the node joined it."""
        return {v for v in node.inputs if v.shape == self.shape and v not in self.passes}

    def is_row(self, shape: tuple[int, ...]) -> bool:
        return self.axes is not None and shape == self.row_shape and shape != self.shape

    def allows_another_pass(self) -> bool:
        assert self.axes is not None
        length = prod(self.shape[d] for d in self.axes)
        if self.axes == tuple(range(len(self.shape) - len(self.axes), len(self.shape))):
            return length * 4 <= ROW_BYTES
        return length <= SPREAD_ROW


def needs_complete(node: Node) -> tuple[Value, ...]:
    """The inputs that must lie in memory before the group's kernel runs, because it reads or writes them at any place.
    The same value may be written to as well."""
    if isinstance(node.op, Gather):
        return node.inputs
    return (node.inputs[0], *node.inputs[2:]) if isinstance(node.op, (Scatter, Place)) else ()
