"""Connectionist temporal classification: a sum over all ways to spell a label in a number of steps (Graves et al.
2006).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...compiler.program import Value
from .base import Formula, Grads, statistics_dtype
from .elemwise import EQ, LOG, Elemwise, cast, where
from .formula import BOTH, NOT_EQUAL, Activation
from .index import gather_checked
from .loop import Scan
from .reduce import Reduce
from .shape import Concatenate, Slice, broadcast, pad, reshape

MAX, EXP, LOGADDEXP = Elemwise("MAX"), Elemwise("EXP"), Activation("logaddexp")


class PathSum(Formula):
    """log(exp(a) + exp(b)), where exp(-inf) is 0, a sum over no paths; then neither has a gradient."""

    def expand(self, *inputs: Value) -> Value:
        made: Value = LOGADDEXP(*inputs)
        return made

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (total,), (g,) = outputs, grads
        none = EQ(total, -math.inf)
        return [g and g * EXP(where(none, -math.inf, x - where(none, 0.0, total))) for x in inputs]


PATHS = PathSum()


class CTCStep(Formula):
    """One step of equation 6: the log probabilities of the prefixes of the label, with blanks around each symbol.

    Inputs: the prefixes before (N, L); the log probability of the last symbol of each at this step (N, L); whether the
    sequence goes on (N, 1); where the symbol may follow the one before the last (N, L). Output: the prefixes after the
    step.
    """

    def expand(self, *inputs: Value) -> Value:
        before, said, goes_on, skips = inputs
        one, two = _moved(before, 1), where(skips, _moved(before, 2), -math.inf)
        after = PATHS(PATHS(before, one), two) + said
        return where(goes_on, after, before)


def _moved(x: Value, places: int) -> Value:
    """x[:, i - places], -inf where there is none."""
    wide = pad(x, (0, places), (0, 0), -math.inf)
    seen: Value = Slice((0, 0), x.shape, (1, 1))(wide)
    return seen


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
        paths = Scan(CTCStep(), 1, 2, 1)(start, said, goes_on, skips)
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
