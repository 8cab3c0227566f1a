"""Library functions that are formulae over other ops. Each compiles to one or two kernels, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...compiler.program import Value
from .base import Formula, Grads
from .elemwise import EXP, LOG, RSQRT, SIGMOID, Elemwise, where
from .index import EQ, running
from .reduce import Reduce, mean, total
from .shape import broadcast, reshape

MAX, MIN, ABS, ERF = Elemwise("MAX"), Elemwise("MIN"), Elemwise("ABS"), Elemwise("ERF")
RELU, SOFTPLUS, NOT_EQUAL = Elemwise("RELU"), Elemwise("SOFTPLUS"), Elemwise("NEQ")


@dataclass(frozen=True, eq=False)
class Activation(Formula):
    """The activation function `mode`, a row of ACTIVATIONS; further inputs are its parameters."""

    mode: str

    @property
    def name(self) -> str:
        return self.mode

    def expand(self, *inputs: Value) -> Value:
        return ACTIVATIONS[self.mode](*inputs)


def _clip(x: Value, lower: Value | float, upper: Value | float) -> Value:
    return MAX(MIN(x, upper), lower)


def _logaddexp(a: Value, b: Value) -> Value:
    high = MAX(a, b)
    # Equal infinities would give inf - inf.
    gap = where(EQ(a, b), 0.0, ABS(a - b))
    return high + SOFTPLUS(-gap)


ACTIVATIONS: dict[str, Callable[..., Value]] = {
    "gelu": lambda x: x * 0.5 * (ERF(x * math.sqrt(0.5)) + 1.0),
    "silu": lambda x: x * SIGMOID(x),
    "relu6": lambda x: _clip(x, 0.0, 6.0),
    "hsigmoid": lambda x: _clip(x + 3.0, 0.0, 6.0) / 6.0,
    "hswish": lambda x: x * _clip(x + 3.0, 0.0, 6.0) / 6.0,
    "leaky_relu": lambda x, slope: where(x > 0, x, x * slope),
    "prelu": lambda x, slope: where(x > 0, x, x * slope),
    "logsigmoid": lambda x: -SOFTPLUS(-x),
    "clip": _clip,
    "logaddexp": _logaddexp,
}


@dataclass(frozen=True, eq=False)
class Mean(Formula):
    """The mean over `axes`, which stay with extent 1."""

    axes: tuple[int, ...]

    def expand(self, *inputs: Value) -> Value:
        return mean(inputs[0], self.axes)


@dataclass(frozen=True, eq=False)
class Variance(Formula):
    """The mean squared distance from the mean over `axes` (divided by the count, not by count - 1)."""

    axes: tuple[int, ...]

    def expand(self, *inputs: Value) -> Value:
        x = inputs[0]
        centred = x - mean(x, self.axes)
        return mean(centred * centred, self.axes)


@dataclass(frozen=True, eq=False)
class Softmax(Formula):
    """exp(x) / sum(exp(x)) over `axes`, computed from x - max(x)."""

    axes: tuple[int, ...]

    def expand(self, *inputs: Value) -> Value:
        x = inputs[0]
        powers = EXP(x - Reduce("MAX", self.axes)(x))
        return powers / total(powers, self.axes)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (y,), (g,) = outputs, grads
        return [g and (g - total(g * y, self.axes)) * y]


@dataclass(frozen=True, eq=False)
class LogSumExp(Formula):
    """log(sum(exp(x))) over `axes`, which stay with extent 1; exact where everything is -inf or one value is inf."""

    axes: tuple[int, ...]

    def expand(self, *inputs: Value) -> Value:
        return _logsumexp(inputs[0], self.axes)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x,), (y,), (g,) = inputs, outputs, grads
        return [g and g * EXP(x - y)]


def _logsumexp(x: Value, axes: tuple[int, ...]) -> Value:
    high = Reduce("MAX", axes)(x)
    shift = where(ABS(high) < math.inf, high, 0.0)
    return LOG(total(EXP(x - shift), axes)) + shift


@dataclass(frozen=True, eq=False)
class LogSoftmax(Formula):
    """x - logsumexp(x) over `axes`."""

    axes: tuple[int, ...]

    def expand(self, *inputs: Value) -> Value:
        return inputs[0] - _logsumexp(inputs[0], self.axes)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (y,), (g,) = outputs, grads
        return [g and g - EXP(y) * total(g, self.axes)]


@dataclass(frozen=True, eq=False)
class CrossEntropy(Formula):
    """The negative log-likelihood of integer labels along `axis` (extent 1 stays), from logits or, without, from
    probabilities.

    With label smoothing s, over K classes: (1 - s) of it plus s times the mean over all classes (Szegedy et al. 2016,
    section 7).
    """

    axis: int
    with_logits: bool
    smooth: bool

    def expand(self, *inputs: Value) -> Value:
        x, label, smoothing = inputs
        scores = x - _logsumexp(x, (self.axis,)) if self.with_logits else LOG(x)
        chosen = total(where(self._picked(x, label), scores, 0.0), [self.axis])
        if not self.smooth:
            return -chosen
        return -(chosen * (1.0 - smoothing) + mean(scores, [self.axis]) * smoothing)

    def _picked(self, x: Value, label: Value) -> Value:
        """Where along `axis` the label is."""
        want = tuple(s for d, s in enumerate(x.shape) if d != self.axis)
        if label.shape != want:
            raise ValueError(
                f"{self.name}: labels of shape {label.shape} do not fit scores of shape {x.shape} with axis {self.axis}, which want {want}"
            )
        shape = tuple(1 if d == self.axis else s for d, s in enumerate(x.shape))
        picked: Value = EQ(running(x, self.axis), reshape(label, shape))
        return picked

    @property
    def name(self) -> str:
        return "cross_entropy"

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x, label, smoothing), (g,) = inputs, grads
        if g is None:
            return [None] * 3
        target = where(self._picked(x, label), 1.0, 0.0)
        if self.smooth:
            target = target * (1.0 - smoothing) + smoothing / x.builder.number(float(x.shape[self.axis]))
        if not self.with_logits:
            return [-g * target / x, None, None]
        powers = EXP(x - Reduce("MAX", (self.axis,))(x))
        return [(powers / total(powers, [self.axis]) - target) * g, None, None]


@dataclass(frozen=True, eq=False)
class Normalize(Formula):
    """(x - mean) / sqrt(variance + eps) over `axes`; inputs x, eps, and if affine weight and bias that broadcast
    against x.
    """

    axes: tuple[int, ...]
    affine: bool

    def expand(self, *inputs: Value) -> Value:
        x, eps, *scale_shift = inputs
        centred = x - mean(x, self.axes)
        y = centred * RSQRT(mean(centred * centred, self.axes) + eps)
        if self.affine:
            weight, bias = scale_shift
            y = y * weight + bias
        return y


@dataclass(frozen=True, eq=False)
class BatchNorm(Formula):
    """Training: normalises over `axes` and gives (y, mean, variance), both over the batch; the variance divided by the
    count.

    Inputs x, weight, bias (shaped to broadcast against x), eps. Ioffe and Szegedy 2015, algorithm 1.
    """

    axes: tuple[int, ...]

    def expand(self, *inputs: Value) -> Sequence[Value]:
        x, weight, bias, eps = inputs
        average = mean(x, self.axes)
        centred = x - average
        variance = mean(centred * centred, self.axes)
        return centred * (RSQRT(variance + eps) * weight) + bias, average, variance

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        x, weight, _, eps = inputs
        (_, average, variance), (g, g_mean, g_variance) = outputs, grads
        scale = RSQRT(variance + eps)
        count = x.size / max(average.size, 1)
        n = x.builder.number(float(count))
        centred = x - average
        parts: list[Value] = []
        by_weight = by_bias = None
        if g is not None:
            normal = centred * scale
            by_bias, by_weight = total(g, self.axes), total(g * normal, self.axes)
            parts.append((g - by_bias / n - normal * (by_weight / n)) * (scale * weight))
        if g_mean is not None:
            parts.append(broadcast(g_mean / n, x.shape))
        if g_variance is not None:
            parts.append(g_variance * centred * 2.0 / n)
        if not parts:
            return [None] * 4
        dx = parts[0]
        for part in parts[1:]:
            dx = dx + part
        return [dx, by_weight, by_bias, None]


@dataclass(frozen=True, eq=False)
class BatchNormInference(Formula):
    """(x - mean) / sqrt(variance + eps) * weight + bias with given statistics, all shaped to broadcast against x."""

    def expand(self, *inputs: Value) -> Value:
        x, average, variance, weight, bias, eps = inputs
        return (x - average) * (RSQRT(variance + eps) * weight) + bias
