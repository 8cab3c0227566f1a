"""The windows of images as layers."""

from __future__ import annotations

from .. import functional as F
from ..core import Tensor
from .module import Module
from .pooling import Size, as_sizes

__all__ = ["SlidingWindow", "SlidingWindowTranspose"]


class SlidingWindow(Module):
    """The windows of (N, C, H, W), padded with zeros: (N, C, OH, OW, kernel height, width).

    Args:
        kernel_size, padding, stride, dilation: one number, or one for height and one for width.
        name: any text, kept as `.name`.

    >>> M.SlidingWindow(2)(F.arange(6).reshape(1, 1, 2, 3)).tolist()
    [[[[[[0.0, 1.0], [3.0, 4.0]], [[1.0, 2.0], [4.0, 5.0]]]]]]
    """

    def __init__(
        self, kernel_size: Size, padding: Size = 0, stride: Size = 1, dilation: Size = 1, name: str | None = None
    ):
        super().__init__(name)
        self.kernel_size = as_sizes(self, "kernel_size", kernel_size)
        self.padding = as_sizes(self, "padding", padding, 0)
        self.stride = as_sizes(self, "stride", stride)
        self.dilation = as_sizes(self, "dilation", dilation)

    def forward(self, inp: Tensor) -> Tensor:
        return F.sliding_window(inp, self.kernel_size, self.padding, self.stride, self.dilation)


class SlidingWindowTranspose(Module):
    """Windows (N, C, OH, OW, kernel height, width) added up where SlidingWindow reads them: (N, C, *output_size).

    Args:
        output_size, kernel_size, padding, stride, dilation: one number, or one for height and one for width.
        name: any text, kept as `.name`.

    >>> M.SlidingWindowTranspose((2, 3), 2)(F.ones((1, 1, 1, 2, 2, 2))).tolist()
    [[[[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]]]]
    """

    def __init__(
        self,
        output_size: Size,
        kernel_size: Size,
        padding: Size = 0,
        stride: Size = 1,
        dilation: Size = 1,
        name: str | None = None,
    ):
        super().__init__(name)
        self.output_size = as_sizes(self, "output_size", output_size)
        self.kernel_size = as_sizes(self, "kernel_size", kernel_size)
        self.padding = as_sizes(self, "padding", padding, 0)
        self.stride = as_sizes(self, "stride", stride)
        self.dilation = as_sizes(self, "dilation", dilation)

    def forward(self, inp: Tensor) -> Tensor:
        steps = (self.padding, self.stride, self.dilation)
        return F.sliding_window_transpose(inp, self.output_size, self.kernel_size, *steps)
