"""Convolution layers whose weight, window or region differs from place to place."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..core import Tensor
from ..core.ops.base import size
from .conv import PAD_MODES, Conv2d, _ConvNd

__all__ = ["DeformableConv2d", "LocalConv2d", "RegionRestrictedConv"]

Pair = int | tuple[int, int]


class LocalConv2d(Conv2d):
    """Convolution over (N, C, H, W) with a weight of its own for each place of the result, and no bias.

    `weight` is (groups, output height, output width, in / groups, kernel height, width, out / groups), first drawn from
    N(0, 1 / (in · height · width)).

    Args:
        in_channels, out_channels: numbers of channels; both divisible by `groups`.
        input_height, input_width: the size of the images.
        kernel_size, stride, padding, dilation: one number, or one for each dim.
        groups: parts that the channels are split into, each convolved by itself.
        conv_mode: "cross_correlation" only.
        name: any text, kept as `.name`.

    >>> layer = M.LocalConv2d(2, 3, 5, 4, 3, padding=1)
    >>> layer.weight.shape, layer(F.ones((1, 2, 5, 4))).shape
    ((1, 5, 4, 2, 3, 3, 3), (1, 3, 5, 4))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        input_height: int,
        input_width: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        conv_mode: str = "cross_correlation",
        name: str | None = None,
    ):
        self.input_height = size("LocalConv2d", "input_height", input_height)
        self.input_width = size("LocalConv2d", "input_width", input_width)
        shape = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, False)
        super().__init__(*shape, conv_mode, name=name)

    def _infer_weight_shape(self) -> tuple[int, ...]:
        given = self.input_height, self.input_width
        zipped = zip(given, self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        out = [(s + 2 * p - d * (k - 1) - 1) // t + 1 for s, k, t, p, d in zipped]
        if min(out) < 1:
            raise ValueError(f"LocalConv2d: a kernel of {self.kernel_size} does not fit into images of {given}")
        channels = self.in_channels // self.groups, self.out_channels // self.groups
        return (self.groups, *out, channels[0], *self.kernel_size, channels[1])

    def _conv(self, inp: Tensor, weight: Tensor, bias: Tensor | None, padding: Any) -> Tensor:
        return F.local_conv2d(inp, weight, bias, self.stride, padding, self.dilation, self.conv_mode)


class RegionRestrictedConv(_ConvNd):
    """Convolution over (N, C, H, W) in which a place of the result sees only what is of its own region.

    `weight` is (groups, out / groups, in / groups, height, width), also for one group, first drawn from N(0, 1 / (in ·
    height · width)). The layer takes the input, the regions of it (N, H, W) and those of the result (N, OH, OW),
    integers. What padding_mode copies to the border keeps its region; the rest is as in Conv2d.

    Args:
        in_channels, out_channels: numbers of channels; both divisible by `groups`.
        kernel_size, stride, padding, dilation: one number, or one for each dim.
        groups: parts that the channels are split into, each convolved by itself.
        bias: whether there is one.
        conv_mode: "cross_correlation" only.
        compute_mode: without effect: sums are always kept in float32 or wider.
        padding_mode: what the border is filled with: "zeros", "reflect" or "replicate".
        name: any text, kept as `.name`.

    >>> regions = F.zeros((1, 4, 4), dtype="int32")
    >>> M.RegionRestrictedConv(2, 2, 3, groups=2, padding=1)(F.ones((1, 2, 4, 4)), regions, regions).shape
    (1, 2, 4, 4)
    """

    dims = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        groups: int = 1,
        bias: bool = True,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        conv_mode: str = "cross_correlation",
        compute_mode: str = "default",
        padding_mode: str = "zeros",
        name: str | None = None,
    ):
        shape = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        super().__init__(*shape, conv_mode, compute_mode, name, padding_mode)

    def _infer_weight_shape(self) -> tuple[int, ...]:
        channels = self.out_channels // self.groups, self.in_channels // self.groups
        return (self.groups, *channels, *self.kernel_size)

    def get_pad_width(self) -> tuple[tuple[int, int], ...]:
        """How much is padded before and after each axis of the input."""
        return self.get_pad_witdth()

    def calc_conv(  # type: ignore[override]
        self, inp: Tensor, weight: Tensor, rin: Tensor, rout: Tensor, bias: Tensor | None
    ) -> Tensor:
        """What `forward` does, with another weight and bias."""
        padding = self.padding
        if self.padding_mode != "zeros":
            width, mode = self.get_pad_width(), PAD_MODES[self.padding_mode]
            inp, rin, padding = F.pad(inp, width, mode=mode), F.pad(rin, width[1:], mode=mode), (0, 0)
        steps = (self.stride, padding, self.dilation, self.groups)
        return F.region_restricted_conv(inp, weight, rin, rout, bias, *steps, self.conv_mode, self.compute_mode)

    def forward(self, inp: Tensor, rin: Tensor, rout: Tensor) -> Tensor:  # type: ignore[override]
        return self.calc_conv(inp, self.weight, rin, rout, self.bias)


class DeformableConv2d(_ConvNd):
    """Convolution over (N, C, H, W) whose taps look elsewhere, by an offset and with a factor for each tap and place.

    The layer takes the input, the offsets (N, 2 · kernel height · width · parts, OH, OW) and the factors (N, kernel
    height · width · parts, OH, OW), see `F.deformable_conv2d`. Source: Zhu et al. 2019.

    Args:
        in_channels, out_channels: numbers of channels; both divisible by `groups`.
        kernel_size, stride, padding, dilation: one number, or one for each dim.
        groups: parts that the channels are split into, each convolved by itself.
        bias: whether there is one.
        conv_mode: "cross_correlation" only.
        compute_mode: without effect: sums are always kept in float32 or wider.
        name: any text, kept as `.name`.

    >>> layer = M.DeformableConv2d(2, 3, 3, padding=1)
    >>> layer(F.ones((1, 2, 4, 4)), F.zeros((1, 18, 4, 4)), F.ones((1, 9, 4, 4))).shape
    (1, 3, 4, 4)
    """

    dims = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        conv_mode: str = "cross_correlation",
        compute_mode: str = "default",
        name: str | None = None,
    ):
        shape = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        super().__init__(*shape, conv_mode, compute_mode, name)

    def calc_conv(  # type: ignore[override]
        self, inp: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor | None
    ) -> Tensor:
        """What `forward` does, with another weight and bias."""
        steps = (self.stride, self.padding, self.dilation, self.groups)
        return F.deformable_conv2d(inp, weight, offset, mask, bias, *steps, self.conv_mode, self.compute_mode)

    def forward(self, inp: Tensor, offset: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        return self.calc_conv(inp, self.weight, offset, mask, self.bias)
