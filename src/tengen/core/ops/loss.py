"""Losses and their reduction, as one op each. Forward and backward are one or two kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...compiler.program import Value
from .base import Formula, Grads, normal_axis, statistics_dtype
from .elemwise import EXP, LOG, Elemwise, cast, where
from .formula import RELU, SOFTPLUS, largest_and_spread
from .index import EQ, gather_checked, running
from .reduce import Reduce, mean, total
from .shape import broadcast, reshape

LOG1P, MAX = Elemwise("LOG1P"), Elemwise("MAX")
ABS, SQUARE, LESS = Elemwise("ABS"), Elemwise("SQUARE"), Elemwise("LT")

#: mode → the loss of each element from (prediction, target)
ELEMENTWISE: dict[str, Callable[[Value, Value], Value]] = {
    "l1_loss": lambda x, y: ABS(x - y),
    "square_loss": lambda x, y: SQUARE(x - y),
    "binary_cross_entropy_with_logits": lambda x, y: _from_logits(x, y),
    "binary_cross_entropy": lambda x, y: BinaryCrossEntropy()(x, y),
    "hinge_loss_L1": lambda x, y: total(RELU(1.0 - x * y), [1]),
    "hinge_loss_L2": lambda x, y: total(SQUARE(RELU(1.0 - x * y)), [1]),
}


class BinaryCrossEntropy(Formula):
    """-(y log(x) + (1 - y) log(1 - x)) of probabilities x and labels y, with logarithms limited to at least -100.

    So a probability of exactly 0 or 1, such as that of a saturated sigmoid, has a finite loss and a finite gradient.
    """

    def expand(self, *inputs: Value) -> Value:
        x, y = inputs
        yes, no = self._logarithms(x)
        return -(y * yes + (1.0 - y) * no)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x, y), (g,) = inputs, grads
        if g is None:
            return [None, None]
        yes, no = self._logarithms(x)
        return [g * (x - y) / MAX(x * (1.0 - x), 1e-12), g * (no - yes)]

    def _logarithms(self, x: Value) -> tuple[Value, Value]:
        return MAX(LOG(x), -100.0), MAX(LOG1P(-x), -100.0)


def _from_logits(x: Value, y: Value) -> Value:
    """-(y log(sigmoid(x)) + (1 - y) log(1 - sigmoid(x))), in a form that neither overflows nor loses a small loss."""
    positive = x > 0.0
    return SOFTPLUS(where(positive, -x, x)) + x * (where(positive, 1.0, 0.0) - y)


def reduced(losses: Value, reduction: str) -> Value:
    """All losses ("none"), their sum ("sum") or mean ("mean")."""
    if reduction == "none":
        return losses
    axes = range(losses.ndim)
    return reshape(total(losses, axes) if reduction == "sum" else mean(losses, axes), ())


class ElementwiseLoss(Formula):
    """The loss `mode`, a row of ELEMENTWISE, reduced."""

    mode: str
    reduction: str

    @property
    def name(self) -> str:
        return "hinge_loss" if self.mode.startswith("hinge") else self.mode.removesuffix("_with_logits")

    def expand(self, *inputs: Value) -> Value:
        x, y = (cast(v, statistics_dtype(v.dtype)) for v in inputs)
        losses = ELEMENTWISE[self.mode](x, y)
        if self.mode.startswith("hinge"):
            losses = reshape(losses, (losses.shape[0], *losses.shape[2:]))
        return reduced(losses, self.reduction)


class CrossEntropy(Formula):
    """The negative log-likelihood of integer labels along `axis`, from logits or from probabilities; reduced.

    With label smoothing s (input 2) over K classes: (1 - s) times the loss, plus s times its mean over all classes
    (Szegedy et al. 2016, section 7). Labels outside 0 … K - 1 raise IndexError.
    """

    axis: int
    with_logits: bool
    smooth: bool
    reduction: str

    name = "cross_entropy"

    def expand(self, *inputs: Value) -> Value:
        x, label, smoothing = inputs
        x = cast(x, statistics_dtype(x.dtype))
        index = label_index(self.name, x, label, self.axis)
        if self.with_logits:
            high, spread = largest_and_spread(x, (self.axis,))
            loss = spread - (gather_checked(x, index, self.axis) - high)
            every = spread - mean(x - high, [self.axis]) if self.smooth else None
        else:
            loss = -LOG(gather_checked(x, index, self.axis))
            every = -mean(LOG(x), [self.axis]) if self.smooth else None
        if every is not None:
            share = cast(smoothing, x.dtype)  # the difference of infinite losses would be nan
            loss = loss * (1.0 - share) + every * share
        return reduced(reshape(loss, label.shape), self.reduction)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x, label, smoothing), (g,) = inputs, grads
        if g is None:
            return [None] * 3
        x = cast(x, statistics_dtype(x.dtype))
        index = label_index(self.name, x, label, self.axis)
        if self.reduction == "mean":
            g = g / x.builder.number(float(index.size))
        g = reshape(g, index.shape) if self.reduction == "none" else broadcast(g, index.shape)
        target = cast(EQ(running(x, self.axis), index), x.dtype)
        if self.smooth:
            target = target + (x.builder.number(1.0 / x.shape[self.axis]) - target) * smoothing
        if not self.with_logits:
            return [where(EQ(target, 0.0), 0.0, -g * target / x), None, None]
        powers = EXP(x - Reduce("MAX", (self.axis,))(x))
        return [(powers / total(powers, [self.axis]) - target) * g, None, None]


class NegativeLogLikelihood(Formula):
    """-x at the labels along `axis`, reduced."""

    axis: int
    reduction: str

    name = "nll_loss"

    def expand(self, *inputs: Value) -> Value:
        x, label = inputs
        x = cast(x, statistics_dtype(x.dtype))
        chosen = gather_checked(x, label_index(self.name, x, label, self.axis), self.axis)
        return reduced(reshape(-chosen, label.shape), self.reduction)


def label_index(op: str, x: Value, label: Value, axis: int) -> Value:
    """The labels in the shape of `x` with extent 1 along `axis`."""
    want = tuple(s for d, s in enumerate(x.shape) if d != axis)
    if label.shape != want:
        raise ValueError(
            f"{op}: labels of shape {label.shape} do not fit scores of shape {x.shape} with classes along axis {axis}; "
            f"the labels must have the shape {want}"
        )
    return reshape(label, tuple(1 if d == axis else s for d, s in enumerate(x.shape)))


class TopKAccuracy(Formula):
    """The share of rows of (N, classes) in which fewer than `k` classes stand before the labelled one.

    Among equal scores the first one stands first.
    """

    k: int

    name = "topk_accuracy"

    def expand(self, *inputs: Value) -> Value:
        x, label = inputs
        axis = normal_axis(self.name, -1, x.ndim)
        index = reshape(label, (*label.shape, 1))
        chosen = gather_checked(x, index, axis)
        tied_before = where(EQ(x, chosen), LESS(running(x, axis), index), False)
        before = total(where(x > chosen, 1, cast(tied_before, "int32")), [axis])
        hits = where(LESS(before, self.k), 1.0, 0.0)
        return reduced(hits, "mean")
