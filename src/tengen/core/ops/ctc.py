"""Connectionist temporal classification: a sum over all ways to spell a label in a number of steps (Graves et al.
2006).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ...compiler.program import Value
from .base import Formula, Grads, statistics_dtype
from .elemwise import EQ, LOG, Elemwise, cast, where
from .formula import BOTH, NOT_EQUAL
from .index import gather_checked
from .loop import Scan, at_end, previous
from .reduce import Reduce
from .shape import Concatenate, Slice, broadcast, pad, reshape, zeros_of

MAX, EXP, ABS = Elemwise("MAX"), Elemwise("EXP"), Elemwise("ABS")


class PathSum(Formula):
    """log(Σ exp(x)) of the inputs, where exp(-inf) is 0, a sum over no paths; then none has a gradient."""

    def expand(self, *inputs: Value) -> Value:
        level, parts = _parts(inputs)
        made: Value = LOG(_total(parts)) + level
        return made

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (g,) = grads
        return [g and g * share for share in _shares(inputs)]


PATHS = PathSum()


def _parts(inputs: Sequence[Value]) -> tuple[Value, list[Value]]:
    """The largest of the inputs, if it is finite, or else 0; and the exponentials of what they are above it."""
    top = inputs[0]
    for x in inputs[1:]:
        top = MAX(top, x)
    level = where(EQ(ABS(top), math.inf), 0.0, top)
    return level, [EXP(x - level) for x in inputs]


def _total(parts: Sequence[Value]) -> Value:
    return sum(parts[1:], parts[0])


def _shares(inputs: Sequence[Value]) -> list[Value]:
    """Which part of their PathSum each input is; 0 of a sum over no paths."""
    _, parts = _parts(inputs)
    total = _total(parts)
    some = total > 0.0
    scale = where(some, 1.0, 0.0) / where(some, total, 1.0)
    return [part * scale for part in parts]


class Links(NamedTuple):
    """Which prefixes another one may grow from: where there is one that is a symbol shorter, and where one two symbols
    shorter, (N · L,)."""

    one: Value
    two: Value

    def ways(self, before: Value) -> list[Value]:
        """The prefixes that each prefix (…, N · L) may come from: itself, and those one and two symbols shorter."""
        shorter = [where(link, _moved(before, places, -math.inf), -math.inf) for places, link in enumerate(self, 1)]
        return [before, *shorter]


def _moved(x: Value, places: int, fill: float) -> Value:
    """x[…, i - places], and `fill` where there is none."""
    lead = (0,) * (x.ndim - 1)
    wide = pad(x, (*lead, max(places, 0)), (*lead, max(-places, 0)), fill)
    seen: Value = Slice((*lead, max(-places, 0)), x.shape, (1,) * x.ndim)(wide)
    return seen


class CTCStep(Formula):
    """One step of equation 6: the log probabilities of the prefixes of all labels, with blanks around each symbol.

    Inputs, each (N · L,): the prefixes before; the log probability of the last symbol of each at this step; whether the
    sequence goes on; and Links. Output: the prefixes after the step.
    """

    def expand(self, *inputs: Value) -> Value:
        before, said, goes_on, *links = inputs
        return where(goes_on, PATHS(*Links(*links).ways(before)) + said, before)


class CTCStepBack(Formula):
    """The gradients of the prefixes before a step, from those of the prefixes after it.

    Inputs, each (N · L,): these; for each prefix what shares itself and those one and two symbols shorter have in it;
    whether the sequence goes on.
    """

    def expand(self, *inputs: Value) -> Value:
        g, own, one, two, goes_on = inputs
        longer = [_moved(g, -places, 0.0) * _moved(share, -places, 0.0) for places, share in ((1, one), (2, two))]
        return where(goes_on, g * own + longer[0] + longer[1], g)


class CTCPaths(Formula):
    """The prefixes after all steps. Inputs: those at the start, and then what CTCStep takes, its sequences for all steps."""

    def expand(self, *inputs: Value) -> Value:
        return at_end(self._after(inputs), inputs[0], False)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        """All shares are known before the first step back, which then only multiplies and adds."""
        (start, said, goes_on, *links), (g,) = inputs, grads
        if g is None:
            return [None] * len(inputs)
        if not said.shape[0]:
            return [g, zeros_of(said), *[None] * (len(inputs) - 2)]
        shares = _shares(Links(*links).ways(previous(self._after(inputs), start, False)))
        before: Value = Scan(CTCStepBack(), 1, 4, 0, True)(g, *shares, goes_on)
        of_said = where(goes_on, previous(before, g, True), 0.0)
        return [at_end(before, g, True), of_said, *[None] * (len(inputs) - 2)]

    @staticmethod
    def _after(inputs: Sequence[Value]) -> Value:
        """The prefixes after each step. In a Program that has the gradient too, it is recorded once."""
        made: Value = Scan(CTCStep(), 1, 2)(*inputs)
        return made


class CTCLoss(Formula):
    """-log of the probability that the steps spell the label once blanks and repetitions are left out: one per
    sequence, or reduced.

    "mean" divides each by the length of its label first. Inputs: probabilities (T, N, C), how many steps count (N,),
    labels (N, S), and their lengths (N,). A label that cannot be spelled has the loss inf and no gradient.
    """

    blank: int
    reduction: str

    name = "ctc_loss"

    def expand(self, *inputs: Value) -> Value:
        pred, steps, label, lengths = inputs
        count, batch, _ = pred.shape
        lengths = reshape(lengths, (batch, 1))
        symbols = self._with_blanks(label, lengths)
        width = symbols.shape[1]
        pred = cast(pred, statistics_dtype(pred.dtype))
        said = _logarithm(
            gather_checked(pred, broadcast(reshape(symbols, (1, batch, width)), (count, batch, width)), 2)
        )
        place = pred.builder.iota((1, width))
        earlier = Slice((0, 0), symbols.shape, (1, 1))(pad(symbols, (0, 2), (0, 0), float(self.blank)))
        links = place > 0, BOTH(BOTH(place > 1, EQ(place % 2, 1)), NOT_EQUAL(symbols, earlier))
        goes_on = reshape(pred.builder.iota((count, 1)), (count, 1, 1)) < reshape(steps, (1, batch, 1))
        start = where(EQ(place, 0), cast(pred.builder.constant(0.0), pred.dtype), -math.inf)

        def side_by_side(x: Value, *lead: int) -> Value:
            """All labels one after the other: vectors are full."""
            return reshape(broadcast(x, (*lead, batch, width)), (*lead, batch * width))

        whole = side_by_side(start), side_by_side(said, count), side_by_side(goes_on, count), *map(side_by_side, links)
        paths = reshape(CTCPaths()(*whole), (batch, width))
        losses = -self._ends(paths, lengths, place)
        if self.reduction == "none":
            return losses
        if self.reduction == "mean":
            losses = losses / cast(reshape(MAX(lengths, 1), (batch,)), losses.dtype)
        total = reshape(Reduce("SUM", (0,))(losses), ())
        return total / pred.builder.number(float(batch)) if self.reduction == "mean" else total

    def _with_blanks(self, label: Value, lengths: Value) -> Value:
        """(N, 2 S + 1): a blank, then each symbol and a blank; blanks past the end."""
        batch, size = label.shape
        label = where(label.builder.iota((1, size)) < lengths, label, self.blank)
        blanks = broadcast(cast(label.builder.constant(self.blank), label.dtype), (batch, size, 1))
        pairs = reshape(Concatenate(2)(blanks, reshape(label, (batch, size, 1))), (batch, 2 * size))
        last = broadcast(cast(label.builder.constant(self.blank), label.dtype), (batch, 1))
        return Concatenate(1)(pairs, last)

    @staticmethod
    def _ends(paths: Value, lengths: Value, place: Value) -> Value:
        """The log probability of the whole label, with a blank after it or without, (N,)."""
        ends = [where(EQ(place, at), paths, -math.inf) for at in (lengths * 2, where(lengths > 0, lengths * 2 - 1, -1))]
        last, before = (reshape(Reduce("MAX", (1,))(end), (paths.shape[0],)) for end in ends)
        made: Value = PATHS(last, before)
        return made


def _logarithm(x: Value) -> Value:
    """log(x); -inf without a gradient where x is 0."""
    some = x > 0.0
    return where(some, LOG(where(some, x, 1.0)), where(EQ(x, 0.0), -math.inf, math.nan))
