"""Normalisation: to mean 0 and variance 1 over some axes, or by the neighbouring channels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...compiler.program import Value
from .base import Formula, Grads, statistics_dtype
from .elemwise import EQ, POW, RSQRT, Elemwise, cast, where
from .reduce import mean, total
from .shape import Slice, Windows, broadcast, pad, reshape, zeros_of

MAX = Elemwise("MAX")
SAMPLE = 4
"""Places along each axis whose mean is the value from which distances are measured."""


def standardized(x: Value, axes: Sequence[int], eps: Value) -> Value:
    """(x - mean) / sqrt(variance + eps) over `axes`."""
    centred = x - mean(x, axes)
    return centred * RSQRT(mean(centred * centred, axes) + eps)


def standardized_gradient(
    x: Value, eps: Value, axes: Sequence[int], g: Value, affine: Sequence[Value], along: Sequence[int]
) -> list[Value]:
    """The gradients of x, and of weight and bias if `affine` has them, which have extents at `along` alone.

    Written out, it needs no more passes over a row than the result itself; eps has no gradient.
    """
    dtype = statistics_dtype(x.dtype)
    centred, g = cast(x, dtype) - mean(x, axes), cast(g, dtype)
    scale = RSQRT(mean(centred * centred, axes) + eps)
    found: list[Value] = []
    if affine:
        others = [d for d in range(x.ndim) if d not in along]
        found = [total(g * (centred * scale), others), total(g, others)]
        g = g * affine[0]
    slope = scale * scale * scale * mean(g * centred, axes)
    return [cast((g - mean(g, axes)) * scale - centred * slope, x.dtype), *found]


def moments(x: Value, axes: tuple[int, ...]) -> tuple[Value, Value]:
    """Mean and variance over `axes` in one pass over x.

    The squares of x lose digits if the mean is large compared to the deviation. Those of its distances from some value
    in the middle of x do not (Chan et al. 1983, "Algorithms for computing the sample variance", section 3). The middle
    is the mean of S of the N values. Its squared distance from the mean of all is at most N / S times the variance,
    wherever they lie. So the relative error is at most about N / S roundings, and for values of one kind only a few. If
    an element of S is infinite, the middle is 0, so that the mean is infinite as well.
    """
    sizes = tuple(min(s, SAMPLE) if d in axes else s for d, s in enumerate(x.shape))
    middle = mean(Slice((0,) * x.ndim, sizes, (1,) * x.ndim)(x), axes)
    middle = where(EQ(middle - middle, 0.0), middle, 0.0)
    moved = cast(x, middle.dtype) - middle
    first, second = mean(moved, axes), mean(moved * moved, axes)
    return middle + first, MAX(second - first * first, x.builder.number(0.0))


def _fitted(v: Value, shape: Sequence[int]) -> Value:
    """A value with as many elements in this shape; a number stays one."""
    return reshape(v, tuple(shape)) if v.ndim else v


class Normalize(Formula):
    """`standardized`, and if affine times a weight plus a bias, which have the extents of `axes`.

    Inputs: x, eps, weight, bias. Layer normalisation (Ba et al. 2016, section 3.1) and the like.
    """

    axes: tuple[int, ...]
    affine: bool
    title: str

    @property
    def name(self) -> str:
        return self.title

    @property
    def precision(self) -> str:
        return "high" if self.title == "layer_norm" else ""

    def expand(self, *inputs: Value) -> Value:
        x, eps, *scale_shift = inputs
        y = standardized(cast(x, statistics_dtype(x.dtype)), self.axes, eps)
        if self.affine:
            shape = tuple(s if d in self.axes else 1 for d, s in enumerate(x.shape))
            weight, bias = (self._fit(v, shape) for v in scale_shift)
            y = y * weight + bias
        return cast(y, x.dtype)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x, eps, *scale_shift), (g,) = inputs, grads
        if g is None:
            return [None] * len(inputs)
        shape = tuple(s if d in self.axes else 1 for d, s in enumerate(x.shape))
        dx, *affine = standardized_gradient(x, eps, self.axes, g, [self._fit(v, shape) for v in scale_shift], self.axes)
        return [dx, None, *(reshape(cast(d, v.dtype), v.shape) for d, v in zip(affine, scale_shift, strict=True))]

    def _fit(self, v: Value, shape: tuple[int, ...]) -> Value:
        if v.size != prod(shape):
            raise ValueError(
                f"{self.title}: a weight or bias of shape {v.shape} does not fit the normalized dimensions {tuple(s for s in shape if s != 1)}"
            )
        return reshape(v, shape)


class GroupNorm(Formula):
    """`standardized` over each of `groups` groups of channels (axis 1) of each sample.

    Weight and bias one number per channel. Wu and He 2018, section 3.1. Inputs x, eps, and if affine weight and bias.
    """

    groups: int
    affine: bool
    title: str

    @property
    def name(self) -> str:
        return self.title

    @property
    def precision(self) -> str:
        return "high" if self.title == "group_norm" else ""

    def expand(self, *inputs: Value) -> Value:
        x, eps, *scale_shift = inputs
        wide = cast(x, statistics_dtype(x.dtype))
        shape = (1, self.groups, x.shape[1] // self.groups, 1)
        y = standardized(reshape(wide, (x.shape[0], *shape[1:3], prod(x.shape[2:]))), (2, 3), eps)
        if self.affine:  # in the shape of the groups, so that all is one kernel
            weight, bias = (_fitted(v, shape) for v in scale_shift)
            y = y * weight + bias
        return cast(reshape(y, x.shape), x.dtype)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x, eps, *scale_shift), (g,) = inputs, grads
        if g is None:
            return [None] * len(inputs)
        shape = (1, self.groups, x.shape[1] // self.groups, 1)
        cut = (x.shape[0], *shape[1:3], prod(x.shape[2:]))
        parts = [broadcast(_fitted(v, shape), shape) for v in scale_shift]
        dx, *affine = standardized_gradient(reshape(x, cut), eps, (2, 3), reshape(g, cut), parts, (1, 2))
        back = [total(d, tuple(range(d.ndim))) if not v.ndim else d for d, v in zip(affine, scale_shift, strict=True)]
        made = [reshape(cast(d, v.dtype), v.shape) for d, v in zip(back, scale_shift, strict=True)]
        return [reshape(dx, x.shape), None, *made]


class BatchNorm(Formula):
    """Training: normalises over all axes but 1 and gives (y, mean, variance), both over the batch.

    This variance is divided by the count. Inputs: x, weight, bias, eps, and if `track` running_mean, running_var,
    momentum. Then the new running statistics follow, whose variance is divided by the count - 1. Ioffe and Szegedy
    2015, algorithm 1.
    """

    track: bool

    name = "batch_norm"
    precision = "low"
    converted = 1  # statistics kept beside x stay as exact as they are

    def expand(self, *inputs: Value) -> Sequence[Value]:
        x, weight, bias, eps, *running = inputs
        axes, shape = _batch_axes(x)
        wide = cast(x, statistics_dtype(x.dtype))
        average, variance = moments(x, axes)
        y = (wide - average) * (RSQRT(variance + eps) * _fitted(weight, shape)) + _fitted(bias, shape)
        made = [cast(y, x.dtype), average, variance]
        if self.track:
            *old, momentum = running
            if not x.size:  # nothing was seen, so the statistics stay
                return [*made, *old]
            count = x.size // max(average.size, 1)
            unbiased = variance * x.builder.number(count / max(count - 1, 1))
            for before, batch in zip(old, (average, unbiased), strict=True):
                now, keep = reshape(batch, before.shape), cast(momentum, batch.dtype)
                made.append(cast(before * keep + now * (1.0 - keep), before.dtype))
        return made

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        # The running statistics are not differentiated.
        x, weight, bias, eps = inputs[:4]
        if not x.size:
            return [
                zeros_of(x),
                *(zeros_of(v) if v.ndim else None for v in (weight, bias)),
                *[None] * (len(inputs) - 3),
            ]
        (_, average, variance), (g, g_mean, g_variance) = outputs[:3], grads[:3]
        axes, shape = _batch_axes(x)
        scale = RSQRT(variance + eps)
        n = x.builder.number(float(x.size // max(average.size, 1)))
        centred = cast(x, average.dtype) - average
        parts: list[Value] = []
        by_weight = by_bias = None
        if g is not None:
            # Both sums first, then dx with one coefficient per channel for each operand: two passes over g and x.
            g = cast(g, average.dtype)
            by_bias, by_weight = total(g, axes), total(g * centred, axes) * scale
            slope = scale * _fitted(weight, shape)
            parts.append(g * slope - (centred * (slope * scale * by_weight / n) + slope * by_bias / n))
            by_bias, by_weight = _fitted_like(by_bias, bias), _fitted_like(by_weight, weight)
        if g_mean is not None:
            parts.append(broadcast(g_mean / n, x.shape))
        if g_variance is not None:
            parts.append(g_variance * centred * 2.0 / n)
        dx = None
        for part in parts:
            dx = part if dx is None else dx + part
        return [dx, by_weight, by_bias, *[None] * (len(inputs) - 3)]


def _batch_axes(x: Value) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """All axes but the channels, and the shape of one number per channel."""
    axes = tuple(d for d in range(x.ndim) if d != 1)
    return axes, tuple(1 if d in axes else s for d, s in enumerate(x.shape))


def _fitted_like(grad: Value, like: Value) -> Value:
    return reshape(grad, like.shape) if like.ndim else grad


class BatchNormInference(Formula):
    """(x - mean) / sqrt(variance + eps) * weight + bias with given statistics, one number per channel (axis 1)."""

    name = "batch_norm"
    precision = "low"
    converted = 1

    def expand(self, *inputs: Value) -> Value:
        x, *per_channel, eps = inputs
        _, shape = _batch_axes(x)
        average, variance, weight, bias = (_fitted(v, shape) for v in per_channel)
        wide = cast(x, statistics_dtype(x.dtype))
        return cast((wide - average) * (RSQRT(variance + eps) * weight) + bias, x.dtype)


class LocalResponseNorm(Formula):
    """x / (k + alpha · sum of x² over `size` neighbouring channels) ^ beta. Inputs x, k, alpha, beta.

    Krizhevsky et al. 2012, section 3.3.
    """

    size: int

    name = "local_response_norm"

    def expand(self, *inputs: Value) -> Value:
        x, k, alpha, beta = inputs
        wide = cast(x, statistics_dtype(x.dtype))
        edge = tuple(self.size // 2 if d == 1 else 0 for d in range(x.ndim))
        near = Windows((1,), (self.size,), (1,), (1,))(pad(wide * wide, edge, edge))
        energy = reshape(total(near, [x.ndim]), x.shape)
        return cast(wide * POW(energy * alpha + k, -cast(beta, wide.dtype)), x.dtype)
