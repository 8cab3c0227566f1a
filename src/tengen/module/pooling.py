"""Pooling layers."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..core import Tensor
from ..core.ops.base import sizes
from .module import Module

__all__ = ["AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "AvgPool2d", "MaxPool2d"]

Size = int | tuple[int, int]


def _size(module: Module, argument: str, value: Any, least: int = 1) -> Any:
    """Python's ints, one or several as they were given. Raises ValueError for one below `least`."""
    numbers = sizes(type(module).__name__, argument, value, least)
    return numbers if isinstance(value, (list, tuple)) or len(numbers) != 1 else numbers[0]


class MaxPool2d(Module):
    """The largest of each window of (N, C, H, W); padding never is.

    Args:
        kernel_size, stride, padding: one number, or one for height and one for width; stride is kernel_size if None.
    """

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, name: str | None = None):
        super().__init__(name)
        self.kernel_size = _size(self, "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else _size(self, "stride", stride)
        self.padding = _size(self, "padding", padding, 0)

    def forward(self, inp: Tensor) -> Tensor:
        return F.max_pool2d(inp, self.kernel_size, self.stride, self.padding)

    def _module_info_string(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """The mean of each window of (N, C, H, W).

    Args:
        kernel_size, stride, padding: as in MaxPool2d.
        mode: "average_count_exclude_padding", or "average" to count padding as zeros.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        mode: str = "average_count_exclude_padding",
        name: str | None = None,
    ):
        super().__init__(name)
        self.kernel_size = _size(self, "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else _size(self, "stride", stride)
        self.padding = _size(self, "padding", padding, 0)
        self.mode = mode

    def forward(self, inp: Tensor) -> Tensor:
        return F.avg_pool2d(inp, self.kernel_size, self.stride, self.padding, self.mode)

    def _module_info_string(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, mode={self.mode}"


class AdaptiveAvgPool2d(Module):
    """The mean of windows chosen so that the output has the height and width `oshp` (one number for both)."""

    def __init__(self, oshp: Size, name: str | None = None):
        super().__init__(name)
        self.oshp = _size(self, "oshp", oshp)

    def forward(self, inp: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(inp, self.oshp)


class AdaptiveMaxPool2d(Module):
    """The largest of windows chosen so that the output has the height and width `oshp` (one number for both)."""

    def __init__(self, oshp: Size, name: str | None = None):
        super().__init__(name)
        self.oshp = _size(self, "oshp", oshp)

    def forward(self, inp: Tensor) -> Tensor:
        return F.adaptive_max_pool2d(inp, self.oshp)
