"""Swin transformers. Liu et al., Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, 2021."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .. import functional as F
from .. import module as M
from ..core import Parameter, Tensor
from .layers import StochasticDepth, draw_linear, mlp
from .weights import File, load_weights

__all__ = ["SwinTransformer", "swin_b", "swin_s", "swin_t"]


class _Attention(M.Module):
    """Attention inside windows, which are shifted by `shift` in every second block. Section 3.2."""

    def __init__(self, features: int, heads: int, window: int, shift: int):
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv, self.proj = M.Linear(features, 3 * features), M.Linear(features, features)
        self.relative_position_bias_table = Parameter(F.zeros(((2 * window - 1) ** 2, heads)))
        M.init.normal_(self.relative_position_bias_table, 0.0, 0.02)
        place = np.indices((window, window)).reshape(2, -1)
        apart = place[:, :, None] - place[:, None] + window - 1
        self._rows = (apart[0] * (2 * window - 1) + apart[1]).astype(np.int32)

    def _apart(self, height: int, width: int, shifts: tuple[int, int]) -> np.ndarray:
        """(windows, 1, L, L), -100 where two positions of a window are not neighbours but come from opposite edges."""
        parts = [
            np.searchsorted([size - self.window, size - shift], np.arange(size), "right")
            if shift
            else np.zeros(size, int)
            for size, shift in zip((height, width), shifts, strict=True)
        ]
        part = (3 * parts[0][:, None] + parts[1]).reshape(height // self.window, self.window, -1, self.window)
        part = part.transpose(0, 2, 1, 3).reshape(-1, self.window**2)
        return np.where(part[:, :, None] != part[:, None], np.float32(-100), np.float32(0))[:, None]

    def forward(self, x: Tensor) -> Tensor:
        n, tall, wide, features = x.shape
        side = self.window
        x = F.nn.pad(x, ((0, 0), (0, -tall % side), (0, -wide % side), (0, 0)))
        height, width = x.shape[1:3]
        shifts = (self.shift if height > side else 0, self.shift if width > side else 0)
        if any(shifts):
            x = F.roll(x, (-shifts[0], -shifts[1]), (1, 2))
        down, across = height // side, width // side
        x = x.reshape(n, down, side, across, side, features).transpose(0, 1, 3, 2, 4, 5)
        y = self._inside(x.reshape(n * down * across, side * side, features), n, (height, width), shifts)
        y = y.reshape(n, down, across, side, side, features).transpose(0, 1, 3, 2, 4, 5)
        y = y.reshape(n, height, width, features)
        return (F.roll(y, shifts, (1, 2)) if any(shifts) else y)[:, :tall, :wide]

    def _inside(self, x: Tensor, n: int, size: tuple[int, int], shifts: tuple[int, int]) -> Tensor:
        count, length, features = x.shape
        head = features // self.heads
        parts = self.qkv(x).reshape(count, length, 3, self.heads, head).transpose(2, 0, 3, 1, 4)
        scores = F.matmul(parts[0] * (1 / math.sqrt(head)), parts[1], transpose_b=True)
        bias = self.relative_position_bias_table[Tensor(self._rows.ravel(), device=x.device)]
        scores = scores + bias.reshape(1, length, length, self.heads).transpose(0, 3, 1, 2)
        if any(shifts):
            apart = Tensor(self._apart(*size, shifts), device=x.device)
            scores = scores.reshape(n, count // n, self.heads, length, length) + apart
            scores = scores.reshape(count, self.heads, length, length)
        mixed = F.matmul(F.softmax(scores, axis=3), parts[2])
        return self.proj(mixed.transpose(0, 2, 1, 3).reshape(count, length, features))


class _Block(M.Module):
    """Figure 3b."""

    def __init__(self, features: int, heads: int, window: int, shift: int, drop: float):
        super().__init__()
        self.norm1, self.attn = M.LayerNorm(features), _Attention(features, heads, window, shift)
        self.norm2, self.mlp = M.LayerNorm(features), mlp(features, 4 * features)
        self.drop = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attn(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))


class _Merge(M.Module):
    """Merges four neighbours into one position with twice the features."""

    def __init__(self, features: int):
        super().__init__()
        self.reduction, self.norm = M.Linear(4 * features, 2 * features, bias=False), M.LayerNorm(4 * features)

    def forward(self, x: Tensor) -> Tensor:
        _, height, width, _ = x.shape
        x = F.nn.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
        parts = [x[:, down::2, right::2] for right in (0, 1) for down in (0, 1)]
        return self.reduction(self.norm(F.concat(parts, axis=3)))


class _ChannelsLast(M.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(0, 2, 3, 1)


class SwinTransformer(M.Module):
    """Images (N, 3, H, W), normalised, to logits (N, num_classes). Names of parameters are torchvision's.

    Args:
        features: of the first stage; each later one has twice as many.
        depths: blocks per stage.
        heads: attention heads per stage.
        window: positions along each side of a window.
        drop: the probability with which the last block is skipped in training; it falls linearly to 0 at the first.
        num_classes: the number of classes.
        weights: see `ResNet`.

    Raises:
        StateDictError: the weights are those of another network.

    >>> net = tengen.models.SwinTransformer(8, (1, 1), (2, 2), window=2, num_classes=5)
    >>> net(F.zeros((2, 3, 32, 32))).shape
    (2, 5)
    """

    def __init__(
        self,
        features: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window: int = 7,
        drop: float = 0.0,
        num_classes: int = 1000,
        weights: File = None,
    ):
        super().__init__()
        layers: list[M.Module] = [M.Sequential(M.Conv2d(3, features, 4, 4), _ChannelsLast(), M.LayerNorm(features))]
        done, last = 0, max(1, sum(depths) - 1)
        for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
            if stage:
                layers.append(_Merge(features))
                features *= 2
            blocks = []
            for index in range(depth):
                blocks.append(_Block(features, count, window, index % 2 * (window // 2), drop * done / last))
                done += 1
            layers.append(M.Sequential(*blocks))
        self.features, self.norm = M.Sequential(*layers), M.LayerNorm(features)
        self.head = M.Linear(features, num_classes)
        draw_linear(self, 0.02)
        load_weights(self, weights, beside=r"\.relative_position_index$", head=("head.weight", "head.bias"))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.mean(self.norm(self.features(x)), (1, 2)))


def swin_t(num_classes: int = 1000, weights: File = None) -> SwinTransformer:
    """Swin-T, with 28.3 million parameters.

    Args:
        num_classes, weights: see `SwinTransformer`.

    Returns: the network.
    """
    return SwinTransformer(96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 0.2, num_classes, weights)


def swin_s(num_classes: int = 1000, weights: File = None) -> SwinTransformer:
    """Swin-S, with 49.6 million parameters.

    Args:
        num_classes, weights: see `SwinTransformer`.

    Returns: the network.
    """
    return SwinTransformer(96, (2, 2, 18, 2), (3, 6, 12, 24), 7, 0.3, num_classes, weights)


def swin_b(num_classes: int = 1000, weights: File = None) -> SwinTransformer:
    """Swin-B, with 87.8 million parameters.

    Args:
        num_classes, weights: see `SwinTransformer`.

    Returns: the network.
    """
    return SwinTransformer(128, (2, 2, 18, 2), (4, 8, 16, 32), 7, 0.5, num_classes, weights)
