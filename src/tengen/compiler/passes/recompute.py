"""Recomputation: values that late nodes need are computed again from others instead of being kept.

A training step has a *turning point*, the value whose descendants (the backward) read the most bytes that do not depend
on it (the forward). Every computed value that is read on both sides of it waits in memory. A *plan* is a set of values
that are kept. The others are computed again, from kept ones and inputs, when the first late node needs them (`After`
makes the repetition wait until then). The plans, in the order of the work that they add:

1. Values that element-wise formulas give from other kept values are dropped, such as an activation, or the normalised
value of a convolution's result.

2. The forward is also cut into segments where few bytes cross. Inside some segments all values are dropped,
contractions included; only what crosses the cuts is kept. Chen et al., Training Deep Nets with Sublinear Memory Cost,
2016.

The memory planner says what a plan really costs. The first one that fits the limit is taken.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from math import isqrt, prod
from typing import NamedTuple

from ..effects import After
from ..plan import Cost
from ..program import Builder, Contraction, Node, Program, Reduction, Value, ViewOp
from .liveness import Liveness, bytes_of

CHAIN_BYTES = 16
"""A value is dropped if computing it again reads at most this many bytes per element."""
SEGMENTS = (2, 4, 8, 16)
"""About how many segments the forward is cut into."""
OPENED = (1 / 4, 1 / 2, 3 / 4, 1)
"""The share of the segments whose inside is dropped."""
LEAST = 1.01
"""If no plan fits the limit, the first one is taken that needs at most this many times the fewest bytes."""


class Fitted(NamedTuple):
    """A Program under a limit, its cost, and the cost of the Program without the limit."""

    program: Program
    cost: Cost
    unlimited: Cost


def fit(program: Program, limit: int, measure: Callable[[Program], Cost], smallest: int = 0) -> Fitted:
    """The Program with values computed again: by the plan with the least work among those that take at most `limit`
    bytes, or if there is none, by the one with the fewest bytes.

    measure: what a Program costs. smallest: values of fewer bytes are always kept.
    """
    unlimited = measure(program)
    tried = [Fitted(program, unlimited, unlimited)]
    if unlimited.bytes > limit:
        live = Liveness(program, smallest)
        cheap = cheaply_kept(live)
        for kept in plans(live, cheap):
            changed = rewrite(live, kept, cheap)
            tried.append(Fitted(changed, measure(changed), unlimited))
            if tried[-1].cost.bytes <= limit:
                return tried[-1]
    least = min(fitted.cost.bytes for fitted in tried)
    return next(fitted for fitted in tried if fitted.cost.bytes <= LEAST * least)


def plans(live: Liveness, cheap: frozenset[Value]) -> list[frozenset[Value]]:
    """Sets of values to keep, roughly in the order of the work that computing the others again adds. cheap: see
    `cheaply_kept`."""
    found = [cheap]
    for count in SEGMENTS:
        segments = sorted(cut(live, cheap, count), key=lambda s: s.work / s.freed)
        found += [opened(cheap, segments[: max(1, round(share * len(segments)))]) for share in OPENED if segments]
    return sorted(dict.fromkeys(found), key=lambda kept: added_work(live, kept))


# -- plans ---------------------------------------------------------------------------------------------------------


def cheaply_kept(live: Liveness) -> frozenset[Value]:
    """The least that must be kept if only element-wise work is repeated: saved values, or the results of contractions
    that they are made from."""
    kept: set[Value] = set()
    for value in live.saved:
        nodes, sources = live.origin([value], kept, stop=live.is_costly)
        results = {v for n in nodes if live.is_costly(n) for v in n.outputs}
        written = {live.base[v] for n in nodes if isinstance(n.op, Reduction) for v in n.inputs}
        traffic = sum(live.large.get(v, 0) for v in sources | results) + sum(2 * live.large.get(v, 0) for v in written)
        if traffic > CHAIN_BYTES * value.size or sum(map(bytes_of, results)) > bytes_of(value):
            kept.add(value)
        else:
            kept |= results
    return frozenset(kept)


class ForwardPart(NamedTuple):
    """A part of the forward.

    borders: the values that cross its ends; inside: all other values that could be kept; freed: how many bytes of what
    was kept; work: that of computing it again.
    """

    borders: frozenset[Value]
    inside: frozenset[Value]
    freed: int
    work: int


def cut(live: Liveness, kept: frozenset[Value], count: int) -> list[ForwardPart]:
    """About `count` segments with equally many kept bytes, cut where few bytes cross."""
    held = list(accumulate(sum(bytes_of(v) for v in n.outputs if v in kept) for n in live.forward))
    ends: list[int] = []
    start, share = 0.0, held[-1] / count
    while share > 0:
        first, last = bisect_left(held, start + share / 2), bisect_right(held, held[-1] - share / 2)
        if first >= last:
            break
        last = min(last, bisect_right(held, max(held[first], start + share) + share / 2))
        near = [(live.crossings[i], abs(held[i] - start - share), -i) for i in range(first, last)]
        ends.append(-min(near)[2])
        start = held[ends[-1]]
    borders = [-1, *ends, len(live.forward) - 1]
    found = [_segment(live, kept, first + 1, last + 1) for first, last in pairwise(borders)]
    return [s for s in found if s.freed > 0]


def _segment(live: Liveness, kept: frozenset[Value], start: int, stop: int) -> ForwardPart:
    nodes = live.forward[start:stop]
    borders = frozenset(v for at in (start - 1, stop - 1) if at >= 0 for v in live.crossing(at))
    inside = frozenset(v for n in nodes for v in n.outputs) - borders
    freed = sum(bytes_of(v) for v in inside & kept) - sum(bytes_of(v) for v in borders - kept)
    return ForwardPart(borders, inside, freed, sum(map(work_of, nodes)))


def opened(kept: frozenset[Value], segments: Sequence[ForwardPart]) -> frozenset[Value]:
    """The plan that drops the values inside these segments."""
    inside = frozenset(v for s in segments for v in s.inside)
    return (kept - inside) | frozenset(v for s in segments for v in s.borders)


def added_work(live: Liveness, kept: frozenset[Value]) -> int:
    """About how much work computing again adds."""
    nodes, _ = live.origin((v for v in live.saved if v not in kept), kept)
    return sum(map(work_of, nodes))


def work_of(node: Node) -> int:
    """Roughly the bytes that a node moves plus its operations."""
    if isinstance(node.op, ViewOp):
        return 0
    moved = sum(map(bytes_of, (*node.inputs, *node.outputs)))
    if not isinstance(node.op, Contraction):
        return moved
    # The product of the sizes of both operands and of the result of a matrix product is (m·k·n)².
    return moved + 2 * isqrt(prod(v.size for v in (*node.inputs[:2], *node.outputs)))


# -- the rewrite ---------------------------------------------------------------------------------------------------


def rewrite(live: Liveness, kept: frozenset[Value], held: frozenset[Value]) -> Program:
    """The Program in which late nodes get early values that are not in `kept` from repetitions.

    held: values that are computed again at most once, such as results of contractions. Others are computed whenever
    they are needed at another time.
    """
    return _Rewriter(live, kept, held).run()


class _Rewriter:
    def __init__(self, live: Liveness, kept: frozenset[Value], held: frozenset[Value]):
        self.live, self.kept, self.held = live, kept, held
        self.builder = Builder()
        self.made: dict[Value, Value] = {}
        self.again: dict[Value, Value] = {}  # what has been computed again, of the values that are held
        self.fresh: dict[Value, dict[Value, Value]] = {}  # for each token, what is computed again after it

    def run(self) -> Program:
        program = self.live.program
        self.made = {v: self.builder.input(v.type) for v in program.inputs}
        for node in program.nodes:
            inputs = self._repeated(node) if node in self.live.late else [self.made[v] for v in node.inputs]
            self.made.update(zip(node.outputs, self.builder.repeat(node, inputs), strict=True))
        return self.builder.finish(self.made[v] for v in program.outputs)

    def _repeated(self, user: Node) -> list[Value]:
        """The inputs of a late node: as they are, or computed again if they are not kept."""
        live, kept = self.live, self.kept
        wanted = [v for v in user.inputs if live.is_dropped(v, kept)]
        if not wanted:
            return [self.made[v] for v in user.inputs]
        token = self.made[live.token(user)]
        fresh = self.fresh.setdefault(token, {})
        known = self.again.keys() | fresh.keys()
        for node in live.origin((v for v in wanted if v not in known), kept, known)[0]:
            outputs = self.builder.repeat(node, [fresh.get(v) or self._after(v, token) for v in node.inputs])
            fresh.update(zip(node.outputs, outputs, strict=True))
            self.again.update((v, fresh[v]) for v in node.outputs if v in self.held or live.is_costly(node))
        return [fresh.get(v) or self.again.get(v) or self.made[v] for v in user.inputs]

    def _after(self, value: Value, token: Value) -> Value:
        made = self.again.get(value) or self.made[value]
        return made if value in self.live.uniform else self.builder.record(After(), (made, token))[0]
