"""Convolution or linear layer, batch normalisation and ReLU as one layer, so that quantisation can fuse them."""

from __future__ import annotations

from .. import functional as F
from ..core import Parameter, Tensor
from .batchnorm import BatchNorm1d, BatchNorm2d
from .conv import Conv2d, ConvTranspose2d
from .linear import Linear
from .memory import array_of
from .module import Module

__all__ = ["ConvBn2d", "ConvBnRelu2d", "ConvTransposeBn2d", "ConvTransposeBnRelu2d", "LinearBn1d", "LinearBnRelu1d"]


class ConvBn2d(Module):
    """Conv2d followed by BatchNorm2d.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, conv_mode, compute_mode,
            padding_mode: of Conv2d.
        eps, momentum, affine, track_running_stats: of BatchNorm2d.
        name: any text, kept as `.name`.

    >>> M.ConvBn2d(3, 8, 3, padding=1)(F.ones((1, 3, 4, 4))).shape
    (1, 8, 4, 4)
    """

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
        eps: float = 1e-5,
        momentum: float = 0.9,
        affine: bool = True,
        track_running_stats: bool = True,
        padding_mode: str = "zeros",
        name: str | None = None,
    ):
        super().__init__(name)
        geometry = kernel_size, stride, padding, dilation, groups
        self.conv = Conv2d(in_channels, out_channels, *geometry, bias, conv_mode, compute_mode, padding_mode)
        self.bn = BatchNorm2d(out_channels, eps, momentum, affine, track_running_stats)

    def forward(self, inp: Tensor) -> Tensor:
        return self.bn(self.conv(inp))


class ConvBnRelu2d(ConvBn2d):
    """Conv2d, BatchNorm2d and ReLU, one after the other.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, conv_mode, compute_mode,
            padding_mode: of Conv2d.
        eps, momentum, affine, track_running_stats: of BatchNorm2d.
        name: any text, kept as `.name`.

    >>> M.ConvBnRelu2d(3, 8, 3, padding=1)(F.ones((1, 3, 4, 4))).shape
    (1, 8, 4, 4)
    """

    def forward(self, inp: Tensor) -> Tensor:
        return F.relu(super().forward(inp))


class ConvTransposeBn2d(Module):
    """ConvTranspose2d followed by BatchNorm2d.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation, groups, bias, conv_mode,
            compute_mode: of ConvTranspose2d.
        eps, momentum, affine, track_running_stats: of BatchNorm2d.
        name: any text, kept as `.name`.

    >>> M.ConvTransposeBn2d(3, 8, 2, stride=2)(F.ones((1, 3, 4, 4))).shape
    (1, 8, 8, 8)
    """

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
        eps: float = 1e-5,
        momentum: float = 0.9,
        affine: bool = True,
        track_running_stats: bool = True,
        name: str | None = None,
    ):
        super().__init__(name)
        geometry = kernel_size, stride, padding, output_padding, dilation, groups
        self.conv_transpose2d = ConvTranspose2d(in_channels, out_channels, *geometry, bias, conv_mode, compute_mode)
        self.bn = BatchNorm2d(out_channels, eps, momentum, affine, track_running_stats)

    def forward(self, inp: Tensor) -> Tensor:
        return self.bn(self.conv_transpose2d(inp))


class ConvTransposeBnRelu2d(ConvTransposeBn2d):
    """ConvTranspose2d, BatchNorm2d and ReLU, one after the other.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation, groups, bias, conv_mode,
            compute_mode: of ConvTranspose2d.
        eps, momentum, affine, track_running_stats: of BatchNorm2d.
        name: any text, kept as `.name`.

    >>> M.ConvTransposeBnRelu2d(3, 8, 2, stride=2)(F.ones((1, 3, 4, 4))).shape
    (1, 8, 8, 8)
    """

    def forward(self, inp: Tensor) -> Tensor:
        return F.relu(super().forward(inp))


class LinearBn1d(Module):
    """Linear followed by BatchNorm1d.

    Args:
        in_features, out_features, bias, compute_mode: of Linear.
        eps, momentum, affine, track_running_stats: of BatchNorm1d.
        name: any text, kept as `.name`.

    >>> M.LinearBn1d(3, 2)(F.ones((4, 3))).shape
    (4, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        compute_mode: str = "default",
        eps: float = 1e-5,
        momentum: float = 0.9,
        affine: bool = True,
        track_running_stats: bool = True,
        name: str | None = None,
    ):
        super().__init__(name)
        self.linear = Linear(in_features, out_features, bias, compute_mode)
        # Not used, but MegEngine's state dicts have it.
        self.bias = Parameter(array_of(self, self.linear.out_features, 0.0)) if bias else None
        self.bn = BatchNorm1d(out_features, eps, momentum, affine, track_running_stats)

    def forward(self, inp: Tensor) -> Tensor:
        return self.bn(self.linear(inp))


class LinearBnRelu1d(LinearBn1d):
    """Linear, BatchNorm1d and ReLU, one after the other.

    Args:
        in_features, out_features, bias, compute_mode: of Linear.
        eps, momentum, affine, track_running_stats: of BatchNorm1d.
        name: any text, kept as `.name`.

    >>> M.LinearBnRelu1d(3, 2)(F.ones((4, 3))).shape
    (4, 2)
    """

    def forward(self, inp: Tensor) -> Tensor:
        return F.relu(super().forward(inp))
