"""Reading images between their pixels: sums of pixels at computed positions, each with a weight.

A position along an axis becomes a few `Tap`s: the pixels next to it, and their weights. `WeightedTaps` reads them.
Everything that resizes, warps or aligns is made of these two. They also give its gradients: by the image at the places
that are read, by the position through the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from ...compiler.program import Value
from .base import FLOATS, Formula, Grads, integer_range, statistics_dtype
from .elemwise import Elemwise, cast, where
from .index import Put, Take
from .reduce import within
from .shape import broadcast, pad, reshape, zeros_of

MAX, MIN, FLOOR, ROUND, MOD, EQ = (Elemwise(mode) for mode in ("MAX", "MIN", "FLOOR", "ROUND", "MOD", "EQ"))
SIN = Elemwise("SIN")
SHARPNESS = -0.75  # of the cubic kernel: Keys 1981, equation 15


class Tap(NamedTuple):
    """A pixel along one axis: its place, and its weight."""

    pixel: Value
    weight: Value


def _cubic(distance: Value, near: bool) -> Value:
    """The cubic convolution kernel at a distance of 0 … 1 (near) or 1 … 2."""
    d, a = distance, SHARPNESS
    if near:
        return ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    return ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a


def _lanczos(f: Value) -> list[Value]:
    """The kernel sinc(d) · sinc(d / 4) at the distances of eight pixels, three below the position, divided by their sum."""
    found = []
    for k in range(-3, 5):
        zero = EQ(f, float(k))
        d = where(zero, 1.0, (f - float(k)) * math.pi)
        found.append(where(zero, 1.0, SIN(d) / d * (SIN(d * 0.25) / (d * 0.25))))
    whole = sum(found[1:], found[0])
    return [w / whole for w in found]


#: filter → how far below the position the first pixel lies, and the weights of the pixels from there on
FILTERS: dict[str, tuple[int, Callable[[Value], list[Value]]]] = {
    "bilinear": (0, lambda f: [1.0 - f, f]),
    "bicubic": (-1, lambda f: [_cubic(f + 1.0, False), _cubic(f, True), _cubic(1.0 - f, True), _cubic(2.0 - f, False)]),
    "lanczos4": (-3, _lanczos),
}


def _mirrored(index: Value, extent: int, twice: bool) -> Value:
    """The pixels forwards and backwards in turn, the ones at the ends twice or once."""
    period = 2 * extent if twice else max(2 * extent - 2, 1)
    place = MOD(index, index.builder.number(period))
    return MIN(place, index.builder.number(2 * extent - 1 if twice else period) - place)


#: border → the pixel that stands for one that may be outside, given the extent of the axis. "constant" is a border of
#: one pixel around the image, repeated.
BORDERS: dict[str, Callable[[Value, int], Value]] = {
    "replicate": lambda index, extent: MIN(MAX(index, 0), index.builder.number(extent - 1)),
    "constant": lambda index, extent: MIN(MAX(index + 1, 0), index.builder.number(extent + 1)),
    "reflect": lambda index, extent: _mirrored(index, extent, True),
    "reflect_101": lambda index, extent: _mirrored(index, extent, False),
    "wrap": lambda index, extent: MOD(index, index.builder.number(extent)),
}


def half_even(position: Value) -> Value:
    """The nearest whole number; of two, the even one."""
    up = FLOOR(position + 0.5)
    odd = up - FLOOR(up * 0.5) * 2.0
    return where(EQ(up, position + 0.5), up - odd, up)


def half_up(position: Value) -> Value:
    """The nearest whole number; of two, the upper one."""
    return FLOOR(position + 0.5)


def _indices(whole: Value, offset: int, extent: int, border: str) -> Value:
    return BORDERS[border](cast(whole, "int32") + offset, extent)


def _near(position: Value, extent: int, border: str, reach: int = 1) -> Value:
    """The position, moved so that it is not farther outside than the border requires; so an infinite one is in the
    border too.

    reach: how many pixels above the position a filter reads. The border ends half-way between two pixels, because a
    weight of 0 would make NaN of an infinite pixel.
    """
    if border not in ("replicate", "constant"):
        return position
    out = reach + (0.5 if border == "constant" else -0.5)
    return MIN(MAX(position, -out), position.builder.number(extent - 1 + out))


def taps(position: Value, extent: int, filter: str, border: str) -> list[Tap]:
    """The pixels that a filter takes at a position along an axis of `extent` pixels, and their weights."""
    first, weights = FILTERS[filter]
    position = _near(position, extent, border, 1 - first)
    below = FLOOR(position)
    found = enumerate(weights(position - below), first)
    return [Tap(_indices(below, offset, extent, border), weight) for offset, weight in found]


class WeightedTaps(Formula):
    """Σ of weights · take(x, …) over the taps of the last `len(counts)` indexed axes, each pixel with the product of
    its weights.

    Inputs: x; indices of the axes before those; for each of those axes the indices of its taps, then their weights,
    which have the rank of the result and extent 1 where they do not vary; for each axis of the result in `limited`, the
    place from which on it is 0. Sums are in the dtype of x, at least float32.
    """

    take: Take
    counts: tuple[int, ...]
    limited: tuple[int, ...] = ()

    name = "sample"

    def expand(self, *inputs: Value) -> Value:
        x, lead, axes, limits = self._parts(inputs)
        return within(self._sum(x, lead, axes), limits, 0.0)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        """One pass per tap adds what it takes of x to one gradient. The gradient of a weight is what the result would
        be with a weight of 1."""
        (g,), (x, lead, axes, limits) = grads, self._parts(inputs)
        if g is None:
            return [None] * len(inputs)
        found: list[Value | None] = [self._spread(x, lead, axes, limits, g), *[None] * len(lead)]
        for axis, along in enumerate(axes):
            found += [None] * len(along)
            for tap in along:
                alone = [[Tap(tap.pixel, g)] if other == axis else rest for other, rest in enumerate(axes)]
                found.append(within(self._sum(x, lead, alone), limits, 0.0))
        return [*found, *[None] * len(limits)]

    def _parts(self, inputs: Sequence[Value]) -> tuple[Value, Sequence[Value], list[list[Tap]], dict[int, Value]]:
        start = 1 + len(self.take.axes) - len(self.counts)
        lead, axes = inputs[1:start], []
        for count in self.counts:
            indices, weights = inputs[start : start + count], inputs[start + count : start + 2 * count]
            axes.append([Tap(*pair) for pair in zip(indices, weights, strict=True)])
            start += 2 * count
        return inputs[0], lead, axes, dict(zip(self.limited, inputs[start:], strict=True))

    def _sum(self, x: Value, indices: Sequence[Value], axes: Sequence[Sequence[Tap]]) -> Value:
        if not axes:
            seen = self.take(x, *indices)
            return cast(seen, statistics_dtype(x.dtype))
        parts = [tap.weight * self._sum(x, (*indices, tap.pixel), axes[1:]) for tap in axes[0]]
        return sum(parts[1:], parts[0])

    def _spread(
        self, x: Value, lead: Sequence[Value], axes: Sequence[Sequence[Tap]], limits: Mapping[int, Value], g: Value
    ) -> Value:
        put = Put("add", self.take.sources, self.take.axes, self.take.index_dims)
        made = cast(zeros_of(x), g.dtype)
        for chosen in product(*axes):
            share = g
            for tap in chosen:
                share = share * tap.weight
            share = within(broadcast(cast(share, g.dtype), g.shape), limits, 0.0)
            made = put(made, share, *lead, *(tap.pixel for tap in chosen))
        return made


def weighted(
    take: Take,
    x: Value,
    lead: Sequence[Value],
    axes: Sequence[Sequence[Tap]],
    limits: Mapping[int, Value] | None = None,
) -> Value:
    """WeightedTaps of these taps."""
    ends = limits or {}
    inputs = [v for along in axes for v in (*(t.pixel for t in along), *(t.weight for t in along))]
    op = WeightedTaps(take, tuple(map(len, axes)), tuple(ends))
    made: Value = op(x, *lead, *inputs, *ends.values())
    return made


class How(NamedTuple):
    """How an image is read: a filter or "nearest"; the border and, if that is "constant", its number; and which of two
    equally near pixels is taken."""

    filter: str
    border: str
    fill: float = 0.0
    nearest: Callable[[Value], Value] = half_even


def sample(
    x: Value,
    image: Value | None,
    positions: Sequence[Value],
    how: How,
    limits: Mapping[int, Value] | None = None,
) -> Value:
    """(N, C, H, W) at positions, rows and columns, of one rank (M, …) that broadcast against each other: (M, C, …).

    image: the image that each of the M reads; None: its own, with M = N. Floats give floats; integers give their own
    dtype if nearest, otherwise float32. limits: where the result is 0 along some axes, but not if nearest.
    """
    extents = x.shape[2:]
    if how.border == "constant":
        x = pad(x, (0, 0, 1, 1), (0, 0, 1, 1), how.fill)
    rank = positions[0].ndim
    many = (0, *range(2, rank + 1))
    lead: list[Value] = []
    if image is None:
        take = Take((0, 1, *[-1] * (rank - 1)), (2, 3), many)
    else:
        take = Take((-1, 1, *[-1] * (rank - 1)), (0, 2, 3), many)
        lead = [reshape(image, (image.size, *[1] * (rank - 1)))]
    if how.filter == "nearest":
        near = [how.nearest(_near(p, e, how.border)) for p, e in zip(positions, extents, strict=True)]
        found: Value = take(x, *lead, *(_indices(p, 0, e, how.border) for p, e in zip(near, extents, strict=True)))
        return found
    axes = []
    for position, extent in zip(positions, extents, strict=True):
        read = taps(position, extent, how.filter, how.border)
        axes.append([Tap(t.pixel, reshape(t.weight, _for_channels(t.weight.shape))) for t in read])
    return weighted(take, x, lead, axes, limits)


def _for_channels(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], 1, *shape[1:])


def as_positions(places: Value, x: Value) -> Value:
    """The dtype that positions in `x` are computed in: float64 if either is, otherwise float32."""
    return cast(places, "float64" if "float64" in (places.dtype, x.dtype) else "float32")


def stored(x: Value, dtype: str) -> Value:
    """A result as `dtype`. Integers are rounded to the nearest one that the dtype holds."""
    limits = integer_range(dtype)
    if limits is None or x.dtype not in FLOATS:
        return cast(x, dtype)
    low, high = limits
    return cast(MIN(MAX(ROUND(x), float(low)), float(high)), dtype)
