"""Regions of images, pooled over the pixels of their bins or over points inside them."""

from __future__ import annotations

from collections.abc import Sequence

from ...compiler.program import Value
from .base import FLOATS, INTS, Formula, Grads, statistics_dtype
from .elemwise import Elemwise, cast, where
from .index import Take, not_negative
from .reduce import Reduce, arg_extreme, total, within
from .sample import How, as_positions, sample
from .shape import Detach, Slice, reshape

MAX, MIN, FLOOR, CEIL, ROUND, EQ = (Elemwise(mode) for mode in ("MAX", "MIN", "FLOOR", "CEIL", "ROUND", "EQ"))
NOTHING = float("-inf")
INSIDE = (3, 5)  # the axes of the places inside a bin: results are (K, C, bins, places, bins, places)
Pair = tuple[int, int]


class _Regions(Formula, abstract=True):
    """`mode` "max" or "average" over `size` bins of each region, whose coordinates are first multiplied by `scale`.

    Inputs: images (N, C, H, W) and regions (K, 5), each with the number of an image, left, top, right, bottom.
    """

    mode: str
    scale: float
    size: Pair

    def check(self, x: Value, regions: Value) -> None:
        if x.ndim != 4 or not all(x.shape[2:]) or regions.ndim != 2 or regions.shape[1] != 5:
            raise ValueError(
                f"{self.name} takes images (N, C, H, W), not empty, and rois (K, 5), got shapes {x.shape} and {regions.shape}"
            )
        if x.dtype not in (*FLOATS, *INTS):
            raise TypeError(f"{self.name} takes images of numbers, got {x.dtype}")

    def columns(self, x: Value, regions: Value) -> tuple[Value, list[Value]]:
        """The number of each region's image (IndexError if there is no such image), and its scaled coordinates, (K, 1,
        1).

        Regions have no gradient, as in the reference: what they are computed from does not learn through them.
        """
        regions = as_positions(Detach()(regions), x)
        parts = [Slice((0, k), (regions.shape[0], 1), (1, 1))(regions) for k in range(5)]
        scale = regions.builder.number(self.scale)
        return reshape(parts[0], regions.shape[:1]), [
            reshape(part, (regions.shape[0], 1, 1)) * scale for part in parts[1:]
        ]


class ROIAlign(_Regions):
    """Over `points` (rows, columns) of each bin, evenly spaced. 0: enough of them to be at most a pixel apart, for
    regions up to twice the size of the image.

    Coordinates are shifted by -`offset` after scaling. A point is read by bilinear interpolation, with zeros around the
    image (He et al. 2017, Mask R-CNN, section 3).
    """

    mode: str
    scale: float
    offset: float
    size: Pair
    points: Pair

    name = "roi_align"

    def expand(self, *inputs: Value) -> Value:
        x, regions = inputs
        self.check(x, regions)
        image, (left, top, right, bottom) = self.columns(x, regions)
        rows, down = self._positions(top, bottom, x.shape[2], 0)
        columns, across = self._positions(left, right, x.shape[3], 1)
        (count, channels), (k, _), bins = x.shape[:2], regions.shape, self.size
        inside = rows.shape[2], columns.shape[2]
        rows, columns = reshape(rows, (k, bins[0], inside[0], 1, 1)), reshape(columns, (k, 1, 1, bins[1], inside[1]))
        found = {axis: n for axis, n in zip(INSIDE, (down, across), strict=True) if n is not None}
        limits = {axis: reshape(n, (k, *[1] * 5)) for axis, n in found.items()}
        how, places = How("bilinear", "constant"), (rows, columns)
        if self.mode == "max":
            made = FirstMax(INSIDE)(within(sample(x, _image(image, count), places, how), limits, NOTHING))
        else:
            made = total(sample(x, _image(image, count), places, how, limits), INSIDE)
            for axis, points in zip(INSIDE, inside, strict=True):
                made = made / (cast(limits[axis], made.dtype) if axis in limits else x.builder.number(float(points)))
        return cast(reshape(made, (k, channels, *bins)), x.dtype if x.dtype in FLOATS else "float32")

    def _positions(self, low: Value, high: Value, extent: int, dim: int) -> tuple[Value, Value | None]:
        """Where the points are along a dim of the image, (K, bins, points), and how many there are, if regions differ."""
        bins, points, number = self.size[dim], self.points[dim], low.builder.number
        low, high = low - number(self.offset), high - number(self.offset)
        size = MAX(high - low, 0.0)
        step = size / number(float(bins))
        most = points or -(-2 * extent // bins) + 1
        count = None if points else MIN(MAX(CEIL(step), 1.0), number(float(most)))
        bin_, point = cast(low.builder.iota((bins, 1)), low.dtype), cast(low.builder.iota((most,)), low.dtype)
        share = step / (number(float(points)) if count is None else count)
        return low + bin_ * step + (point + 0.5) * share, count


class ROIPooling(_Regions):
    """Over the pixels of each bin, for regions whose corners are rounded to pixels (Girshick 2015, Fast R-CNN, section
    2.1). A bin without pixels gives 0."""

    mode: str
    scale: float
    size: Pair

    name = "roi_pooling"

    def expand(self, *inputs: Value) -> Value:
        x, regions = inputs
        self.check(x, regions)
        image, corners = self.columns(x, regions)
        left, top, right, bottom = (cast(ROUND(corner), "int32") for corner in corners)
        rows, down = self._pixels(top, bottom, x.shape[2], 0)
        columns, across = self._pixels(left, right, x.shape[3], 1)
        (count, channels), (k, _), (high, wide) = x.shape[:2], regions.shape, self.size
        down, across = reshape(down, (k, 1, high, 1, 1, 1)), reshape(across, (k, 1, 1, 1, wide, 1))
        take = Take((-1, 1, *[-1] * 4), (0, 2, 3), (0, 2, 3, 4, 5))
        places = reshape(rows, (*rows.shape, 1, 1)), reshape(columns, (k, 1, 1, *columns.shape[1:]))
        seen = take(x, reshape(_image(image, count), (k, *[1] * 4)), *places)
        limits = dict(zip(INSIDE, (down, across), strict=True))
        seen = cast(seen, statistics_dtype(x.dtype))
        if self.mode == "max":
            best = FirstMax(INSIDE)(within(seen, limits, NOTHING))
            made = where(EQ(down * across, 0), 0.0, best)
        else:
            made = total(within(seen, limits, 0.0), INSIDE) / cast(MAX(down * across, 1), seen.dtype)
        return cast(reshape(made, (k, channels, *self.size)), x.dtype if x.dtype in FLOATS else "float32")

    def _pixels(self, low: Value, high: Value, extent: int, dim: int) -> tuple[Value, Value]:
        """The pixels of the bins along a dim of the image, (K, bins, extent), and how many of these each bin has, (K, bins, 1)."""
        number, bin_ = low.builder.number, low.builder.iota((self.size[dim], 1))
        step = cast(MAX(high - low + 1, 1), "float32") / number(float(self.size[dim]))
        begin = cast(FLOOR(cast(bin_, "float32") * step), "int32") + low
        end = cast(CEIL(cast(bin_ + 1, "float32") * step), "int32") + low
        begin, end = (MIN(MAX(v, 0), number(extent)) for v in (begin, end))
        pixel = MIN(begin + cast(low.builder.iota((extent,)), "int32"), number(extent - 1))
        return pixel, MAX(end - begin, 0)


class FirstMax(Formula):
    """The maximum over `axes`, which stay with extent 1. If several are equal, the first one has the gradient."""

    axes: tuple[int, ...]

    def expand(self, *inputs: Value) -> Value:
        made: Value = Reduce("MAX", self.axes)(inputs[0])
        return made

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x,), (g,) = inputs, grads
        if g is None:
            return [None]
        order = x.builder.iota(tuple(s if d in self.axes else 1 for d, s in enumerate(x.shape)))
        return [where(EQ(order, arg_extreme(x, self.axes, "argmax")), g, 0.0)]


def _image(number: Value, count: int) -> Value:
    """The image that a region reads. If it does not exist, reading it raises IndexError."""
    return not_negative(cast(number, "int32"), count)
