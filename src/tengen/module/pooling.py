"""Pooling layers."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..core import Tensor
from ..core.ops.base import size, sizes
from .module import Module

__all__ = ["AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "AvgPool2d", "DeformablePSROIPooling", "MaxPool2d"]

Size = int | tuple[int, int]


def as_sizes(module: Module, argument: str, value: Any, least: int = 1) -> Any:
    """Python's ints, one or several as they were given. Raises ValueError for one below `least`."""
    numbers = sizes(type(module).__name__, argument, value, least)
    return numbers if isinstance(value, (list, tuple)) or len(numbers) != 1 else numbers[0]


class _PoolNd(Module):
    """A window that slides over (N, C, H, W)."""

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, name: str | None = None):
        super().__init__(name)
        self.kernel_size = as_sizes(self, "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else as_sizes(self, "stride", stride)
        self.padding = as_sizes(self, "padding", padding, 0)

    def _module_info_string(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool2d(_PoolNd):
    """The largest element of each window of (N, C, H, W); padding never is.

    Args:
        kernel_size, stride, padding: one number, or one for height and one for width; stride is kernel_size if None.
        name: any text, kept as `.name`.

    >>> M.MaxPool2d(2)(F.arange(4).reshape(1, 1, 2, 2)).tolist()
    [[[[3.0]]]]
    """

    def forward(self, inp: Tensor) -> Tensor:
        return F.max_pool2d(inp, self.kernel_size, self.stride, self.padding)


class AvgPool2d(_PoolNd):
    """The mean of each window of (N, C, H, W).

    Args:
        kernel_size, stride, padding: one number, or one for height and one for width; stride is kernel_size if None.
        mode: "average_count_exclude_padding", or "average" to count padding as zeros.
        name: any text, kept as `.name`.

    >>> M.AvgPool2d(2)(F.arange(4).reshape(1, 1, 2, 2)).tolist()
    [[[[1.5]]]]
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        mode: str = "average_count_exclude_padding",
        name: str | None = None,
    ):
        super().__init__(kernel_size, stride, padding, name)
        self.mode = mode

    def forward(self, inp: Tensor) -> Tensor:
        return F.avg_pool2d(inp, self.kernel_size, self.stride, self.padding, self.mode)

    def _module_info_string(self) -> str:
        return f"{super()._module_info_string()}, mode={self.mode}"


class _AdaptivePoolNd(Module):
    """Windows chosen so that the output has the height and width `oshp`."""

    def __init__(self, oshp: Size, name: str | None = None):
        super().__init__(name)
        self.oshp = as_sizes(self, "oshp", oshp)


class AdaptiveAvgPool2d(_AdaptivePoolNd):
    """The mean of windows chosen so that the output has a given height and width.

    Args:
        oshp: height and width of the output, or one number for both.
        name: any text, kept as `.name`.

    >>> M.AdaptiveAvgPool2d(2)(F.ones((1, 3, 8, 8))).shape
    (1, 3, 2, 2)
    """

    def forward(self, inp: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(inp, self.oshp)


class AdaptiveMaxPool2d(_AdaptivePoolNd):
    """The largest element of windows chosen so that the output has a given height and width.

    Args:
        oshp: height and width of the output, or one number for both.
        name: any text, kept as `.name`.

    >>> M.AdaptiveMaxPool2d(2)(F.ones((1, 3, 8, 8))).shape
    (1, 3, 2, 2)
    """

    def forward(self, inp: Tensor) -> Tensor:
        return F.adaptive_max_pool2d(inp, self.oshp)


class DeformablePSROIPooling(Module):
    """Means over the bins of regions, whose bins may be moved.

    The layer takes the input (N, C, H, W), the regions (R, 5) and the shifts (R, 2, part_size, part_size).

    Args:
        no_trans, part_size, pooled_h, pooled_w, sample_per_part, spatial_scale, trans_std: see
            `F.deformable_psroi_pooling`.
        name: any text, kept as `.name`.

    >>> layer = M.DeformablePSROIPooling(True, 1, 2, 2, 2, 1.0)
    >>> layer(F.ones((1, 3, 8, 8)), tengen.tensor([[0.0, 1.0, 1.0, 5.0, 6.0]]), F.zeros((1, 2, 1, 1))).shape
    (1, 3, 2, 2)
    """

    def __init__(
        self,
        no_trans: bool,
        part_size: int,
        pooled_h: int,
        pooled_w: int,
        sample_per_part: int,
        spatial_scale: float,
        trans_std: float = 0.1,
        name: str | None = None,
    ):
        super().__init__(name)
        layer = "DeformablePSROIPooling"
        self.no_trans = no_trans
        self.part_size = size(layer, "part_size", part_size)
        self.pooled_h = size(layer, "pooled_h", pooled_h)
        self.pooled_w = size(layer, "pooled_w", pooled_w)
        self.sample_per_part = size(layer, "sample_per_part", sample_per_part)
        self.spatial_scale = spatial_scale
        self.trans_std = trans_std

    def forward(self, inp: Tensor, rois: Tensor, trans: Tensor) -> Tensor:  # type: ignore[override]
        bins = (self.part_size, self.pooled_h, self.pooled_w, self.sample_per_part)
        scales = (self.spatial_scale, self.trans_std)
        return F.deformable_psroi_pooling(inp, rois, trans, self.no_trans, *bins, *scales)
