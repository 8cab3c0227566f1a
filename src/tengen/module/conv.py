"""Convolution layers."""

from __future__ import annotations

import math
from typing import Any

from .. import functional as F
from ..core import Parameter, Tensor
from ..core.ops.base import size, sizes
from . import init
from .memory import array_of
from .module import Module

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvRelu2d", "ConvTranspose2d", "ConvTranspose3d", "ConvTransposeRelu2d"]

PAD_MODES = {"reflect": "reflect", "replicate": "edge", "zeros": "constant"}


class _ConvNd(Module):
    """What the convolution layers have in common: the parameters, their shapes and first values, printing."""

    dims: int
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        bias: bool,
        conv_mode: str,
        compute_mode: str,
        name: str | None,
        padding_mode: str = "zeros",
    ):
        super().__init__(name)
        if padding_mode not in PAD_MODES:
            raise ValueError(f"padding_mode must be one of {', '.join(sorted(PAD_MODES))}, got {padding_mode!r}")
        self.padding_mode = padding_mode
        layer = type(self).__name__
        self.in_channels = size(layer, "in_channels", in_channels, 0)
        self.out_channels = size(layer, "out_channels", out_channels, 0)
        self.groups = size(layer, "groups", groups)
        for what in ("in_channels", "out_channels"):
            if getattr(self, what) % self.groups:
                raise ValueError(
                    f"{layer}: {what} must be divisible by groups, got {getattr(self, what)} and {self.groups}"
                )
        if conv_mode != "cross_correlation":
            raise ValueError(f"{layer}: conv_mode must be 'cross_correlation', got {conv_mode!r}")
        self.kernel_size = self._for_each_dim("kernel_size", kernel_size)
        self.stride = self._for_each_dim("stride", stride)
        self.padding = self._for_each_dim("padding", padding, 0)
        self.dilation = self._for_each_dim("dilation", dilation)
        self.conv_mode = conv_mode
        self.compute_mode = compute_mode
        self.weight = Parameter(array_of(self, self._infer_weight_shape()))
        self.bias = Parameter(array_of(self, self._infer_bias_shape())) if bias else None
        self.reset_parameters()

    def _for_each_dim(self, name: str, value: Any, least: int = 1) -> Any:
        """One number for each spatial dimension, from one for all or one for each."""
        numbers = sizes(type(self).__name__, name, value, least)
        if len(numbers) == 1 and not isinstance(value, (list, tuple)):
            return numbers * self.dims
        if len(numbers) != self.dims:
            raise ValueError(f"{type(self).__name__}: {name} must be an int or {self.dims} of them, got {value!r}")
        return numbers

    def _numbers(self, name: str) -> tuple[int, ...]:
        """A parameter for each spatial dimension; Conv1d keeps the number itself."""
        value = getattr(self, name)
        return value if isinstance(value, tuple) else (value,)

    def _infer_weight_shape(self) -> tuple[int, ...]:
        """(out, in, kernel…), or (groups, out / groups, in / groups, kernel…); a transposed one has in before out."""
        channels = (self.out_channels // self.groups, self.in_channels // self.groups)
        shape = (*(channels[::-1] if self.transposed else channels), *self._numbers("kernel_size"))
        return shape if self.groups == 1 else (self.groups, *shape)

    def _infer_bias_shape(self) -> tuple[int, ...]:
        return (1, self.out_channels, *(1,) * self.dims)

    def _get_fanin(self) -> int:
        # Not divided by groups: the first values are those of MegEngine.
        return (self.out_channels if self.transposed else self.in_channels) * math.prod(self._numbers("kernel_size"))

    def reset_parameters(self) -> None:
        """Give the weight first values from N(0, 1 / fan in) and the bias zeros."""
        init.normal_(self.weight, 0.0, math.sqrt(1 / max(self._get_fanin(), 1)))
        if self.bias is not None:
            init.zeros_(self.bias)

    def _module_info_string(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self._numbers('kernel_size')}"]
        for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1)):
            value = self._numbers(name)
            if any(number != usual for number in value):
                parts.append(f"{name}={value}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)

    def get_pad_witdth(self) -> tuple[tuple[int, int], ...]:
        """How much is padded before and after each axis of the input."""
        return ((0, 0), (0, 0), *((pad, pad) for pad in self._numbers("padding")))

    def calc_conv(self, inp: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """What `forward` does, with another weight and bias."""
        padding = self._numbers("padding")
        if self.padding_mode != "zeros":
            inp = F.pad(inp, self.get_pad_witdth(), mode=PAD_MODES[self.padding_mode])
            padding = (0,) * self.dims
        return self._conv(inp, weight, bias, padding)

    def _conv(self, inp: Tensor, weight: Tensor, bias: Tensor | None, padding: Any) -> Tensor:
        raise NotImplementedError

    def forward(self, inp: Tensor) -> Tensor:
        return self.calc_conv(inp, self.weight, self.bias)


class Conv1d(_ConvNd):
    """Convolution over (N, C, L); see Conv2d.

    Args:
        in_channels, out_channels: numbers of channels; both divisible by `groups`.
        kernel_size, stride, padding, dilation: one number, or one for each dim.
        groups: parts that the channels are split into, each convolved by itself.
        bias: whether there is one.
        conv_mode: "cross_correlation" only.
        compute_mode: without effect: sums are always kept in float32 or wider.
        padding_mode: what the border is filled with: "zeros", "reflect" or "replicate".
        name: any text, kept as `.name`.

    >>> M.Conv1d(3, 8, 5, padding=2)(F.ones((1, 3, 32))).shape
    (1, 8, 32)
    """

    dims = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        conv_mode: str = "cross_correlation",
        compute_mode: str = "default",
        padding_mode: str = "zeros",
        name: str | None = None,
    ):
        shape = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        super().__init__(*shape, conv_mode, compute_mode, name, padding_mode)

    def _for_each_dim(self, name: str, value: Any, least: int = 1) -> Any:
        return super()._for_each_dim(name, value, least)[0]

    def _conv(self, inp: Tensor, weight: Tensor, bias: Tensor | None, padding: Any) -> Tensor:
        stride, dilation = self._numbers("stride")[0], self._numbers("dilation")[0]
        return F.conv1d(inp, weight, bias, stride, padding[0], dilation, self.groups, self.conv_mode, self.compute_mode)


class Conv2d(_ConvNd):
    """Convolution (without flipping the kernel) over (N, C, H, W).

    `weight` is (out, in, kernel height, kernel width), with groups (groups, out / groups, in / groups, height, width),
    first drawn from N(0, 1 / (in · height · width)); `bias` is (1, out, 1, 1), first 0, or None.

    Args:
        in_channels, out_channels: numbers of channels; both divisible by `groups`.
        kernel_size, stride, padding, dilation: one number, or one for height and one for width.
        groups: parts that the channels are split into, each convolved by itself.
        bias: whether there is one.
        conv_mode: "cross_correlation".
        compute_mode: "default" or "float32".
        padding_mode: what the border is filled with: "zeros", "reflect" or "replicate".
        name: any text, kept as `.name`.

    >>> M.Conv2d(3, 8, 3, stride=2, padding=1)(F.ones((1, 3, 32, 32))).shape
    (1, 8, 16, 16)
    """

    dims = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        conv_mode: str = "cross_correlation",
        compute_mode: str = "default",
        padding_mode: str = "zeros",
        name: str | None = None,
    ):
        shape = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        super().__init__(*shape, conv_mode, compute_mode, name, padding_mode)

    def _conv(self, inp: Tensor, weight: Tensor, bias: Tensor | None, padding: Any) -> Tensor:
        return F.conv2d(
            inp, weight, bias, self.stride, padding, self.dilation, self.groups, self.conv_mode, self.compute_mode
        )


class ConvTranspose2d(_ConvNd):
    """Transposed convolution over (N, C, H, W): what Conv2d does to a gradient.

    Also called deconvolution. `weight` is (in, out, height, width), with groups (groups, in / groups, out / groups,
    height, width), first drawn from N(0, 1 / (out · height · width)).

    Args:
        in_channels, out_channels: numbers of channels; both divisible by `groups`.
        kernel_size, stride, padding, dilation: one number, or one for each dim.
        output_padding: how much larger the output is at its end.
        groups: parts that the channels are split into, each convolved by itself.
        bias: whether there is one.
        conv_mode: "cross_correlation" only.
        compute_mode: without effect: sums are always kept in float32 or wider.
        name: any text, kept as `.name`.

    >>> M.ConvTranspose2d(3, 8, 2, stride=2)(F.ones((1, 3, 4, 4))).shape
    (1, 8, 8, 8)
    """

    dims = 2
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        output_padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        conv_mode: str = "cross_correlation",
        compute_mode: str = "default",
        name: str | None = None,
    ):
        shape = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        super().__init__(*shape, conv_mode, compute_mode, name)
        self.output_padding = self._for_each_dim("output_padding", output_padding, 0)

    def calc_conv_transpose2d(self, inp: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """What `forward` does, with another weight and bias."""
        return F.conv_transpose2d(
            inp,
            weight,
            bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.dilation,
            self.groups,
            self.conv_mode,
            self.compute_mode,
        )

    def forward(self, inp: Tensor) -> Tensor:
        return self.calc_conv_transpose2d(inp, self.weight, self.bias)


class Conv3d(_ConvNd):
    """Convolution (without flipping the kernel) over (N, C, D, H, W); see Conv2d.

    `weight` is (out, in, kernel depth, height, width), with groups (groups, out / groups, in / groups, depth, height,
    width); `bias` is (1, out, 1, 1, 1), first 0, or None.

    Args:
        in_channels, out_channels: numbers of channels; both divisible by `groups`.
        kernel_size, stride, padding, dilation: one number, or one for depth, height and width.
        groups: parts that the channels are split into, each convolved by itself.
        bias: whether there is one.
        conv_mode: "cross_correlation" only.
        name: any text, kept as `.name`.

    >>> M.Conv3d(3, 8, 3, stride=(1, 2, 2), padding=1)(F.ones((1, 3, 4, 16, 16))).shape
    (1, 8, 4, 8, 8)
    """

    dims = 3

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int, int],
        stride: int | tuple[int, int, int] = 1,
        padding: int | tuple[int, int, int] = 0,
        dilation: int | tuple[int, int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        conv_mode: str = "cross_correlation",
        name: str | None = None,
    ):
        shape = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        super().__init__(*shape, conv_mode, "default", name)

    def _conv(self, inp: Tensor, weight: Tensor, bias: Tensor | None, padding: Any) -> Tensor:
        return F.conv3d(inp, weight, bias, self.stride, padding, self.dilation, self.groups, self.conv_mode)


class ConvTranspose3d(_ConvNd):
    """Transposed convolution over (N, C, D, H, W): what Conv3d does to a gradient; see ConvTranspose2d.

    `weight` is (in, out, depth, height, width), with groups (groups, in / groups, out / groups, depth, height, width).

    Args:
        in_channels, out_channels: numbers of channels; both divisible by `groups`.
        kernel_size, stride, padding, dilation: one number, or one for each dim.
        output_padding: how much larger the output is at its end.
        groups: parts that the channels are split into, each convolved by itself.
        bias: whether there is one.
        name: any text, kept as `.name`.

    >>> M.ConvTranspose3d(3, 8, 2, stride=2)(F.ones((1, 3, 2, 4, 4))).shape
    (1, 8, 4, 8, 8)
    """

    dims = 3
    transposed = True
    output_padding: Any = (0, 0, 0)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int, int],
        stride: int | tuple[int, int, int] = 1,
        padding: int | tuple[int, int, int] = 0,
        output_padding: int | tuple[int, int, int] = 0,
        dilation: int | tuple[int, int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        name: str | None = None,
    ):
        shape = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        super().__init__(*shape, "cross_correlation", "default", name)
        self.output_padding = self._for_each_dim("output_padding", output_padding, 0)

    def forward(self, inp: Tensor) -> Tensor:
        steps = (self.stride, self.padding, self.output_padding, self.dilation)
        return F.conv_transpose3d(inp, self.weight, self.bias, *steps, self.groups)


class ConvRelu2d(Conv2d):
    """Conv2d followed by ReLU.

    Args:
        in_channels, out_channels: numbers of channels; both divisible by `groups`.
        kernel_size, stride, padding, dilation: one number, or one for each dim.
        groups: parts that the channels are split into, each convolved by itself.
        bias: whether there is one.
        conv_mode: "cross_correlation" only.
        compute_mode: without effect: sums are always kept in float32 or wider.
        padding_mode: what the border is filled with: "zeros", "reflect" or "replicate".
        name: any text, kept as `.name`.

    >>> M.ConvRelu2d(3, 8, 3, padding=1)(F.ones((1, 3, 4, 4))).shape
    (1, 8, 4, 4)
    """

    def forward(self, inp: Tensor) -> Tensor:
        return F.relu(super().forward(inp))


class ConvTransposeRelu2d(ConvTranspose2d):
    """ConvTranspose2d followed by ReLU.

    Args:
        in_channels, out_channels: numbers of channels; both divisible by `groups`.
        kernel_size, stride, padding, dilation: one number, or one for each dim.
        output_padding: how much larger the output is at its end.
        groups: parts that the channels are split into, each convolved by itself.
        bias: whether there is one.
        conv_mode: "cross_correlation" only.
        compute_mode: without effect: sums are always kept in float32 or wider.
        name: any text, kept as `.name`.

    >>> M.ConvTransposeRelu2d(3, 8, 2, stride=2)(F.ones((1, 3, 4, 4))).shape
    (1, 8, 8, 8)
    """

    def forward(self, inp: Tensor) -> Tensor:
        return F.relu(super().forward(inp))
