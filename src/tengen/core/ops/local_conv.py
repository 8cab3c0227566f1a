"""Convolutions whose weight or input differs from place to place: each place, each region or each image has its own."""

from __future__ import annotations

from collections.abc import Sequence

from ...compiler.program import Value
from .base import INTS, Formula, promoted_floats, statistics_dtype
from .conv import Convolution, ungrouped
from .elemwise import cast, meeting, where
from .index import EQ
from .linalg import MatMul
from .reduce import total
from .shape import Windows, pad, reshape, transpose

Pair = tuple[int, int]


class _Sliding(Formula):
    """What these convolutions of images have in common."""

    stride: Pair
    padding: Pair
    dilation: Pair

    def check_image(self, x: Value) -> None:
        if x.ndim != 4:
            raise ValueError(f"{self.name} takes an input (N, C, H, W), got shape {x.shape}")

    def windows(self, x: Value, kernel: Sequence[int]) -> Value:
        """The windows (…, OH, OW, kh, kw) of (…, H, W) with zeros around it."""
        lead = x.ndim - 2
        edge = (*[0] * lead, *self.padding)
        room = [size + 2 * p for size, p in zip(x.shape[lead:], self.padding, strict=True)]
        if any(r < d * (k - 1) + 1 for r, k, d in zip(room, kernel, self.dilation, strict=True)):
            raise ValueError(
                f"{self.name}: a kernel of {tuple(kernel)} with dilation {self.dilation} does not fit into {x.shape} with padding "
                f"{self.padding}"
            )
        slide = Windows((lead, lead + 1), tuple(kernel), self.stride, self.dilation)
        seen: Value = slide(pad(x, edge, edge))
        return seen


class LocalConv2d(_Sliding):
    """Each place of the result has a weight of its own: (groups, OH, OW, ic / groups, kh, kw, oc / groups).

    Inputs: x (N, ic, H, W), the weight, perhaps a bias: oc numbers, or a tensor that is added as it is.
    """

    bias: bool

    name = "local_conv2d"

    def expand(self, *inputs: Value) -> Value:
        x, w, *bias = inputs
        self.check_image(x)
        if w.ndim != 7:
            raise ValueError(
                f"{self.name} takes a weight (groups, OH, OW, in / groups, kh, kw, out / groups), got shape {w.shape}"
            )
        groups, oh, ow, ic, kh, kw, oc = w.shape
        dtype = promoted_floats(self.name, (x.type, w.type))
        seen = self.windows(cast(x, dtype), (kh, kw))
        n, channels, *size = seen.shape[:4]
        if channels != groups * ic or [oh, ow] != size:
            raise ValueError(
                f"{self.name}: a weight of shape {w.shape} does not fit an input of shape {x.shape}; it must be (groups, "
                f"{size[0]}, {size[1]}, {channels} / groups, kh, kw, out / groups)"
            )
        seen = transpose(reshape(seen, (n, groups, ic, oh, ow, kh, kw)), (1, 3, 4, 0, 2, 5, 6))
        steps = ic * kh * kw
        y: Value = MatMul()(
            reshape(seen, (groups, oh, ow, n, steps)), reshape(cast(w, dtype), (groups, oh, ow, steps, oc))
        )
        y = reshape(transpose(y, (3, 0, 4, 1, 2)), (n, groups * oc, oh, ow))
        return with_bias(y, bias)


def with_bias(y: Value, bias: Sequence[Value]) -> Value:
    """y (N, C, H, W) plus a bias, if given: C numbers in one dim, or a tensor that broadcasts."""
    for b in bias:
        y = y + cast(reshape(b, (1, b.size, 1, 1)) if b.ndim == 1 else b, y.dtype)
    return y


class RegionRestrictedConv(_Sliding):
    """A place of the result sees only places of the input of its own region.

    Inputs: x (N, ic, H, W), weight (groups, oc / groups, ic / groups, kh, kw) or without its first dim, the regions of the
    input (N, H, W) and of the result (N, OH, OW), integers, and perhaps a bias.
    """

    groups: int
    bias: bool

    name = "region_restricted_conv"

    def expand(self, *inputs: Value) -> Value:
        x, w, rin, rout, *bias = inputs
        self.check_image(x)
        w = ungrouped(w, 2)
        if w.ndim != 4 or x.shape[1] != w.shape[1] * self.groups or w.shape[0] % self.groups:
            raise ValueError(
                f"{self.name}: a weight of shape {w.shape} does not fit an input of shape {x.shape} in {self.groups} groups"
            )
        dtype = promoted_floats(self.name, (x.type, w.type))
        seen = self.windows(cast(x, dtype), w.shape[2:])
        n, _, oh, ow, kh, kw = seen.shape
        self._check_regions(rin, rout, (n, *x.shape[2:]), (n, oh, ow))
        alike = EQ(self.windows(rin, (kh, kw)), reshape(rout, (n, oh, ow, 1, 1)))
        seen = where(reshape(alike, (n, 1, oh, ow, kh, kw)), seen, 0.0)
        if w.shape[1] == 1:  # one pass over the windows, without a copy of them
            wide = statistics_dtype(dtype)
            seen = reshape(seen, (n, self.groups, 1, oh, ow, kh, kw))
            weight = reshape(w, (self.groups, w.shape[0] // self.groups, 1, 1, kh, kw))
            y = total(cast(seen, wide) * cast(weight, wide), (5, 6))
            y = cast(reshape(y, (n, w.shape[0], oh, ow)), dtype)
        else:
            y = of_columns(transpose(seen, (0, 1, 4, 5, 2, 3)), cast(w, dtype), self.groups)
        return with_bias(y, bias)

    def _check_regions(self, rin: Value, rout: Value, size: Sequence[int], out: Sequence[int]) -> None:
        for name, regions, wanted in (("rin", rin, tuple(size)), ("rout", rout, tuple(out))):
            if regions.dtype not in INTS:
                raise TypeError(
                    f"{self.name}: {name} must be integers, got {regions.dtype}; convert it with .astype('int32')"
                )
            if regions.shape != wanted:
                raise ValueError(f"{self.name}: {name} must have shape {wanted}, got {regions.shape}")


def of_columns(columns: Value, w: Value, groups: int) -> Value:
    """A convolution in which each place of the result looks at an input of its own, (N, C, kh, kw, OH, OW)."""
    n, channels, kh, kw, oh, ow = columns.shape
    seen = reshape(columns, (n, channels * kh * kw, oh, ow))
    y: Value = Convolution((1, 1), (0, 0), (1, 1), groups)(seen, reshape(w, (w.shape[0], w.size // w.shape[0], 1, 1)))
    return y


class BatchConv2d(_Sliding):
    """Each image has a weight of its own: (N, oc, ic / groups, kh, kw), or (N, groups, oc / groups, ic / groups, kh, kw).

    Inputs: x (N, ic, H, W), the weight, perhaps a bias.
    """

    groups: int
    bias: bool

    name = "batch_conv2d"

    def expand(self, *inputs: Value) -> Value:
        x, w, *bias = inputs
        self.check_image(x)
        if w.ndim == 6:
            w = reshape(w, (w.shape[0], w.shape[1] * w.shape[2], *w.shape[3:]))
        n, channels, *size = x.shape
        if w.ndim != 5 or w.shape[0] != n or w.shape[2] * self.groups != channels or w.shape[1] % self.groups:
            raise ValueError(
                f"{self.name}: a weight of shape {w.shape} does not fit an input of shape {x.shape} in {self.groups} groups; it "
                "must be (N, out, in / groups, kh, kw)"
            )
        x, w = meeting(self.name, x, w)
        images = max(n, 1)
        convolution = Convolution(self.stride, self.padding, self.dilation, images * self.groups)
        if not n:  # one weight, which no image sees
            w = total(w, (0,))
        else:
            x = reshape(x, (1, n * channels, *size))
        y: Value = convolution(x, reshape(w, (images * w.shape[1], *w.shape[2:])))
        return with_bias(reshape(y, (n, w.shape[1], *y.shape[2:])), bias)
