"""Convolution or linear layer, batch normalisation and ReLU as one layer, so that quantisation can fuse them."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..core import Tensor
from .batchnorm import BatchNorm1d, BatchNorm2d
from .conv import Conv2d, ConvTranspose2d
from .linear import Linear
from .module import Module

__all__ = ["ConvBn2d", "ConvBnRelu2d", "ConvTransposeBn2d", "ConvTransposeBnRelu2d", "LinearBn1d", "LinearBnRelu1d"]

_NORM = ("eps", "momentum", "affine", "track_running_stats")


def _split(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keyword arguments of the first layer, and of the normalisation."""
    return {k: v for k, v in options.items() if k not in _NORM}, {k: v for k, v in options.items() if k in _NORM}


class ConvBn2d(Module):
    """Conv2d followed by BatchNorm2d.

    Args: those of Conv2d, and by keyword eps, momentum, affine and track_running_stats of BatchNorm2d.
    """

    def __init__(self, in_channels: int, out_channels: int, *args: Any, name: str | None = None, **options: Any):
        super().__init__(name)
        conv, norm = _split(options)
        self.conv = Conv2d(in_channels, out_channels, *args, **conv)
        self.bn = BatchNorm2d(out_channels, **norm)

    def forward(self, inp: Tensor) -> Tensor:
        return self.bn(self.conv(inp))


class ConvBnRelu2d(ConvBn2d):
    """Conv2d, BatchNorm2d and ReLU; arguments as ConvBn2d."""

    def forward(self, inp: Tensor) -> Tensor:
        return F.relu(super().forward(inp))


class ConvTransposeBn2d(Module):
    """ConvTranspose2d followed by BatchNorm2d.

    Args: those of ConvTranspose2d, and by keyword eps, momentum, affine and track_running_stats of BatchNorm2d.
    """

    def __init__(self, in_channels: int, out_channels: int, *args: Any, name: str | None = None, **options: Any):
        super().__init__(name)
        conv, norm = _split(options)
        self.conv_transpose2d = ConvTranspose2d(in_channels, out_channels, *args, **conv)
        self.bn = BatchNorm2d(out_channels, **norm)

    def forward(self, inp: Tensor) -> Tensor:
        return self.bn(self.conv_transpose2d(inp))


class ConvTransposeBnRelu2d(ConvTransposeBn2d):
    """ConvTranspose2d, BatchNorm2d and ReLU; arguments as ConvTransposeBn2d."""

    def forward(self, inp: Tensor) -> Tensor:
        return F.relu(super().forward(inp))


class LinearBn1d(Module):
    """Linear followed by BatchNorm1d.

    Args: those of Linear, and by keyword eps, momentum, affine and track_running_stats of BatchNorm1d.
    """

    def __init__(self, in_features: int, out_features: int, *args: Any, name: str | None = None, **options: Any):
        super().__init__(name)
        linear, norm = _split(options)
        self.linear = Linear(in_features, out_features, *args, **linear)
        self.bn = BatchNorm1d(out_features, **norm)

    def forward(self, inp: Tensor) -> Tensor:
        return self.bn(self.linear(inp))


class LinearBnRelu1d(LinearBn1d):
    """Linear, BatchNorm1d and ReLU; arguments as LinearBn1d."""

    def forward(self, inp: Tensor) -> Tensor:
        return F.relu(super().forward(inp))
