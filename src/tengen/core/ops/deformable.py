"""Convolution and pooling at positions that a tensor of offsets gives (Dai et al. 2017; with masks Zhu et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from ...compiler.program import Value
from .base import FLOATS, Formula, statistics_dtype
from .conv import Convolution, ungrouped
from .elemwise import Elemwise, cast, where
from .index import take_op
from .local_conv import of_columns, with_bias
from .reduce import total
from .sample import How, sample
from .shape import Slice, reshape

Pair = tuple[int, int]
MAX, FLOOR, ROUND = (Elemwise(mode) for mode in ("MAX", "FLOOR", "ROUND"))
LEAST_EXTENT = 0.1  # of a region, in pixels


def _part(x: Value, axis: int, index: int) -> Value:
    """One element along an axis, which stays."""
    starts = [index if d == axis else 0 for d in range(x.ndim)]
    extents = [1 if d == axis else size for d, size in enumerate(x.shape)]
    part: Value = Slice(tuple(starts), tuple(extents), (1,) * x.ndim)(x)
    return part


class DeformableConv2d(Formula):
    """A convolution each of whose taps looks at a distance that depends on the place of the result, and is multiplied
    by a mask.

    Inputs: x (N, ic, H, W); weight (oc, ic / groups, kh, kw); offset (N, parts * kh * kw * 2, OH, OW), down and right
    for each tap; mask (N, parts * kh * kw, OH, OW); perhaps a bias. Channels in `parts` equal parts have offsets of
    their own. x is interpolated between pixels and is 0 outside.
    """

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    bias: bool

    name = "deformable_conv2d"

    def expand(self, *inputs: Value) -> Value:
        x, w, offset, mask, *bias = inputs
        w = ungrouped(w, 2)
        window = Convolution(self.stride, self.padding, self.dilation, self.groups)
        out = window.result(self.name, x.type, w.type)
        parts = self._parts(x, w, offset, mask, out.shape[2:])
        (n, channels, *size), (kh, kw), taps = x.shape, w.shape[2:], w.shape[2] * w.shape[3]
        rows, columns = self._positions(offset, n * parts, (kh, kw))
        image = reshape(x, (n * parts, channels // parts, *size))
        seen = sample(image, None, (rows, columns), How("bilinear", "constant"))
        seen = seen * cast(reshape(mask, (n * parts, 1, taps, *out.shape[2:])), seen.dtype)
        y = of_columns(
            cast(reshape(seen, (n, channels, kh, kw, *out.shape[2:])), out.dtype), cast(w, out.dtype), self.groups
        )
        return with_bias(y, bias)

    def _parts(self, x: Value, w: Value, offset: Value, mask: Value, size: tuple[int, ...]) -> int:
        """How many parts of the channels have offsets of their own."""
        taps = w.shape[2] * w.shape[3]
        parts = mask.shape[1] // taps if mask.ndim == 4 else 0
        wanted = (x.shape[0], parts * taps, *size)
        if not parts or mask.shape != wanted or offset.shape != (x.shape[0], 2 * parts * taps, *size):
            raise ValueError(
                f"{self.name}: offset of shape {offset.shape} and mask of shape {mask.shape} do not fit a result of {size}; they must be "
                f"({x.shape[0]}, 2 * {taps} * parts, {size[0]}, {size[1]}) and ({x.shape[0]}, {taps} * parts, {size[0]}, {size[1]})"
            )
        if x.shape[1] % parts:
            raise ValueError(f"{self.name}: an offset for {parts} parts does not fit {x.shape[1]} channels")
        for name, value in (("offset", offset), ("mask", mask)):
            if value.dtype not in FLOATS:
                raise TypeError(f"{self.name}: {name} must be floats, got {value.dtype}")
        return parts

    def _positions(self, offset: Value, images: int, kernel: Pair) -> tuple[Value, Value]:
        """Rows and columns (images, taps, OH, OW) where each tap of each place looks."""
        dtype, iota = statistics_dtype(offset.dtype), offset.builder.iota
        taps, (oh, ow) = kernel[0] * kernel[1], offset.shape[2:]
        apart = cast(reshape(offset, (images, taps, 2, oh, ow)), dtype)
        tap = iota((1, taps, 1, 1))
        found = []
        places = (iota((1, 1, oh, 1)), tap // kernel[1]), (iota((1, 1, 1, ow)), tap % kernel[1])
        for axis, (place, step) in enumerate(places):
            start = place * self.stride[axis] - self.padding[axis] + step * self.dilation[axis]
            shift = reshape(_part(apart, 2, axis), (images, taps, oh, ow))
            found.append(cast(start, dtype) + shift)
        return found[0], found[1]


class DeformablePSROIPooling(Formula):
    """The mean of sample x sample points of each bin of each region. The bins of a region may be shifted by `trans`.

    Inputs: x (N, C, H, W); regions (R, 5): image and two corners (column, row); and unless `no_trans`, trans (R, 2,
    part, part): shifts right and down of the bins of a part, in units of the region's size times `trans_std`. A bin's
    points begin at its corner. Points more than half a pixel outside do not count. Result: (R, C, *size).
    """

    no_trans: bool
    part: int
    size: Pair
    sample: int
    scale: float
    trans_std: float

    name = "deformable_psroi_pooling"

    def expand(self, *inputs: Value) -> Value:
        x, regions, *trans = inputs
        self._check(x, regions, trans)
        dtype = statistics_dtype(x.dtype)
        edges = [cast(_part(regions, 1, i), dtype) for i in range(5)]
        positions, inside = [], []
        for axis in (0, 1):  # down, right
            position = self._position(edges[2 - axis], edges[4 - axis], trans, axis, dtype)
            least, most = -0.5, float(x.shape[2 + axis]) - 0.5
            positions.append(position)
            inside.append((position >= least) & (position <= x.builder.number(most)))
        image = cast(reshape(edges[0], (regions.shape[0],)), "int32")
        seen = sample(cast(x, dtype), image, positions, How("bilinear", "replicate"))
        there = inside[0] & inside[1]
        there = reshape(there, (there.shape[0], 1, *there.shape[1:]))
        points = (4, 5)
        count = total(cast(there, dtype), points)
        mean = total(where(there, seen, 0.0), points) / MAX(count, 1.0)
        return cast(reshape(mean, (regions.shape[0], x.shape[1], *self.size)), x.dtype)

    def _position(self, low: Value, high: Value, trans: Sequence[Value], axis: int, dtype: str) -> Value:
        """Where the points of all bins are along an axis: (R, bins down, bins right, points down, points right), with
        extent 1 where they do not differ."""
        count, iota = low.shape[0], low.builder.iota
        start = reshape(ROUND(low) * self.scale - 0.5, (count, 1, 1, 1, 1))
        end = reshape((ROUND(high) + 1.0) * self.scale - 0.5, (count, 1, 1, 1, 1))
        extent = MAX(end - start, LEAST_EXTENT)
        bins, along = self.size[axis], [1, 1, 1, 1, 1]
        along[1 + axis] = bins
        place = cast(iota(tuple(along)), dtype)
        within = [1, 1, 1, 1, 1]
        within[3 + axis] = self.sample
        point = cast(iota(tuple(within)), dtype)
        found = start + (place + point / float(self.sample)) * (extent / float(bins))
        if self.no_trans:
            return found
        return found + self._shift(trans[0], 1 - axis, dtype) * extent

    def _shift(self, trans: Value, which: int, dtype: str) -> Value:
        """The shift of each bin: that of its part in `trans`."""
        shift = reshape(_part(trans, 1, which), (trans.shape[0], self.part, self.part))
        for axis, bins in enumerate(self.size, 1):
            shift = take_op(3, (axis,), 1)(shift, trans.builder.iota((bins,)) * self.part // bins)
        return cast(reshape(shift, (trans.shape[0], *self.size, 1, 1)), dtype) * self.trans_std

    def _check(self, x: Value, regions: Value, trans: Sequence[Value]) -> None:
        if x.ndim != 4 or not all(x.shape[2:]) or x.dtype not in FLOATS:
            raise ValueError(f"{self.name} takes floats (N, C, H, W), not empty, got {x.dtype} of shape {x.shape}")
        if regions.ndim != 2 or regions.shape[1] != 5:
            raise ValueError(f"{self.name}: rois must have shape (R, 5), got {regions.shape}")
        wanted = (regions.shape[0], 2, self.part, self.part)
        if not self.no_trans and [t.shape for t in trans] != [wanted]:
            raise ValueError(
                f"{self.name}: trans must have shape {wanted}, got {', '.join(str(t.shape) for t in trans)}"
            )
