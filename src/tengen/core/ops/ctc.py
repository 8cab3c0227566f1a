"""Connectionist temporal classification: a sum over all ways to spell a label in a number of steps (Graves et al.
2006).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...compiler.program import Value
from .base import Formula, Grads, statistics_dtype
from .elemwise import EQ, LOG, Elemwise, cast, where
from .formula import BOTH, NOT_EQUAL
from .index import gather_checked
from .loop import Scan, previous
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


def _ways(before: Value, skips: Value) -> list[Value]:
    """The prefixes that each prefix (…, L) may come from: itself, and those one and two symbols shorter."""
    return [before, _moved(before, 1, -math.inf), where(skips, _moved(before, 2, -math.inf), -math.inf)]


def _moved(x: Value, places: int, fill: float) -> Value:
    """x[…, i - places], and `fill` where there is none."""
    lead = (0,) * (x.ndim - 1)
    wide = pad(x, (*lead, max(places, 0)), (*lead, max(-places, 0)), fill)
    seen: Value = Slice((*lead, max(-places, 0)), x.shape, (1,) * x.ndim)(wide)
    return seen


class CTCStep(Formula):
    """One step of equation 6: the log probabilities of the prefixes of the label, with blanks around each symbol.

    Inputs: the prefixes before (N, L); the log probability of the last symbol of each at this step (N, L); whether the
    sequence goes on (N, 1); where the symbol may follow the one before the last (N, L). Output: the prefixes after the
    step.
    """

    def expand(self, *inputs: Value) -> Value:
        before, said, goes_on, skips = inputs
        return where(goes_on, PATHS(*_ways(before, skips)) + said, before)


class CTCStepBack(Formula):
    """The gradients of the prefixes before a step, and of the log probabilities at it, from those of the prefixes after it.

    Inputs: these (N, L); for each prefix what shares itself and those one and two symbols shorter have in it; whether
    the sequence goes on (N, 1).
    """

    def expand(self, *inputs: Value) -> tuple[Value, Value]:
        g, own, one, two, goes_on = inputs
        longer = [_moved(g, -places, 0.0) * _moved(share, -places, 0.0) for places, share in ((1, one), (2, two))]
        return where(goes_on, g * own + longer[0] + longer[1], g), where(goes_on, g, 0.0)


class CTCPaths(Formula):
    """The prefixes after all steps. Inputs: those at the start, and then what CTCStep takes, for all steps (T, N, …) but the last."""

    def expand(self, *inputs: Value) -> Value:
        made: Value = Scan(CTCStep(), 1, 2, 1)(*inputs)
        return made

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        """All shares are known before the first step back, which then only multiplies and adds."""
        (start, said, goes_on, skips), (g,) = inputs, grads
        if g is None:
            return [None] * 4
        if not said.shape[0]:
            return [g, zeros_of(said), None, None]
        after: Value = Scan(CTCStep(), 1, 2, 0)(*inputs)
        shares = _shares(_ways(previous(after, start, False), skips))
        of_start, of_said = Scan(CTCStepBack(), 1, 4, 1, True)(g, *shares, goes_on)
        return [of_start, of_said, None, None]


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
        skips = BOTH(EQ(place % 2, 1), NOT_EQUAL(symbols, earlier))
        goes_on = reshape(pred.builder.iota((count, 1)), (count, 1, 1)) < reshape(steps, (1, batch, 1))
        start = broadcast(where(EQ(place, 0), cast(pred.builder.constant(0.0), pred.dtype), -math.inf), (batch, width))
        paths = CTCPaths()(start, said, goes_on, skips)
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
