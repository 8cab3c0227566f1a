"""Padding and rearranging as layers."""

from __future__ import annotations

from .. import functional as F
from ..core import Tensor
from ..core.ops.base import integers, size
from .module import Module

__all__ = ["Pad", "PixelShuffle"]


class Pad(Module):
    """Puts elements around each axis.

    Args:
        pad_width: (before, after) for each axis, from the first; axes that are left out stay.
        mode: "constant", "edge", "replicate" or "reflect".
        constant_val: the number of "constant".
        name: any text, kept as `.name`.

    >>> M.Pad(((0, 0), (1, 1)))(F.ones((1, 2))).tolist()
    [[0.0, 1.0, 1.0, 0.0]]
    """

    def __init__(
        self,
        pad_width: tuple[tuple[int, int], ...],
        mode: str = "constant",
        constant_val: float = 0.0,
        name: str | None = None,
    ):
        super().__init__(name)
        self.pad_width = tuple(integers("Pad", "pad_width", ends) for ends in pad_width)
        self.mode = mode
        self.pad_val = constant_val

    def forward(self, src: Tensor) -> Tensor:
        return F.pad(src, self.pad_width, mode=self.mode, constant_value=self.pad_val)


class PixelShuffle(Module):
    """Channels become pixels: (N, C · r², H, W) to (N, C, H · r, W · r), with r = `upscale_factor`.

    Source: Shi et al. 2016.

    Args:
        upscale_factor: r.
        name: any text, kept as `.name`.

    >>> M.PixelShuffle(2)(F.ones((1, 4, 3, 3))).shape
    (1, 1, 6, 6)
    """

    def __init__(self, upscale_factor: int, name: str | None = None):
        super().__init__(name)
        self.upscale_factor = size("PixelShuffle", "upscale_factor", upscale_factor)

    def forward(self, inp: Tensor) -> Tensor:
        return F.pixel_shuffle(inp, self.upscale_factor)
