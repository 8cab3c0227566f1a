"""ConvNeXt. Liu et al., A ConvNet for the 2020s, 2022."""

from __future__ import annotations

from collections.abc import Sequence

from .. import functional as F
from .. import module as M
from ..core import Parameter, Tensor
from .layers import StochasticDepth
from .weights import File, load_weights

__all__ = ["ConvNeXt", "convnext_base", "convnext_large", "convnext_small", "convnext_tiny"]


class _ChannelNorm(M.LayerNorm):
    """Layer normalisation over the channels of (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


class _Permute(M.Module):
    def __init__(self, *axes: int):
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(*self.axes)


class _Block(M.Module):
    """Depthwise 7×7 convolution, then two layers at each pixel. Figure 4."""

    def __init__(self, channels: int, drop: float):
        super().__init__()
        self.layer_scale = Parameter(F.full((channels, 1, 1), 1e-6))
        self.block = M.Sequential(
            M.Conv2d(channels, channels, 7, padding=3, groups=channels), _Permute(0, 2, 3, 1), M.LayerNorm(channels, 1e-6),
            M.Linear(channels, 4 * channels), M.GELU(), M.Linear(4 * channels, channels), _Permute(0, 3, 1, 2),
        )  # fmt: skip
        self.drop = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.layer_scale * self.block(x))


class ConvNeXt(M.Module):
    """Images (N, 3, H, W), normalised, to logits (N, num_classes). Names of parameters are torchvision's.

    Args:
        depths: blocks per stage.
        channels: channels per stage.
        drop: the probability with which the last block is skipped in training; it falls linearly to 0 at the first.
        num_classes: the number of classes.
        weights: see `ResNet`.

    Raises:
        StateDictError: the weights are those of another network.

    >>> net = tengen.models.ConvNeXt((1, 1), (8, 16), num_classes=5)
    >>> net(F.zeros((2, 3, 32, 32))).shape
    (2, 5)
    """

    def __init__(
        self,
        depths: Sequence[int],
        channels: Sequence[int],
        drop: float = 0.0,
        num_classes: int = 1000,
        weights: File = None,
    ):
        super().__init__()
        layers: list[M.Module] = [M.Sequential(M.Conv2d(3, channels[0], 4, 4), _ChannelNorm(channels[0], 1e-6))]
        done, last = 0, max(1, sum(depths) - 1)
        for stage, (depth, width) in enumerate(zip(depths, channels, strict=True)):
            if stage:
                before = channels[stage - 1]
                layers.append(M.Sequential(_ChannelNorm(before, 1e-6), M.Conv2d(before, width, 2, 2)))
            layers.append(M.Sequential(*(_Block(width, drop * (done + index) / last) for index in range(depth))))
            done += depth
        self.features, end = M.Sequential(*layers), channels[-1]
        self.classifier = M.Sequential(_ChannelNorm(end, 1e-6), _Flat(), M.Linear(end, num_classes))
        for layer in self.modules():
            if isinstance(layer, (M.Conv2d, M.Linear)):
                M.init.normal_(layer.weight, 0.0, 0.02)
        load_weights(self, weights, head=("classifier.2.weight", "classifier.2.bias"))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.mean(self.features(x), (2, 3), keepdims=True))


class _Flat(M.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.flatten(x, 1)


def convnext_tiny(num_classes: int = 1000, weights: File = None) -> ConvNeXt:
    """ConvNeXt-T, with 28.6 million parameters.

    Args:
        num_classes, weights: see `ConvNeXt`.

    Returns: the network.
    """
    return ConvNeXt((3, 3, 9, 3), (96, 192, 384, 768), 0.1, num_classes, weights)


def convnext_small(num_classes: int = 1000, weights: File = None) -> ConvNeXt:
    """ConvNeXt-S, with 50.2 million parameters.

    Args:
        num_classes, weights: see `ConvNeXt`.

    Returns: the network.
    """
    return ConvNeXt((3, 3, 27, 3), (96, 192, 384, 768), 0.4, num_classes, weights)


def convnext_base(num_classes: int = 1000, weights: File = None) -> ConvNeXt:
    """ConvNeXt-B, with 88.6 million parameters.

    Args:
        num_classes, weights: see `ConvNeXt`.

    Returns: the network.
    """
    return ConvNeXt((3, 3, 27, 3), (128, 256, 512, 1024), 0.5, num_classes, weights)


def convnext_large(num_classes: int = 1000, weights: File = None) -> ConvNeXt:
    """ConvNeXt-L, with 197.8 million parameters.

    Args:
        num_classes, weights: see `ConvNeXt`.

    Returns: the network.
    """
    return ConvNeXt((3, 3, 27, 3), (192, 384, 768, 1536), 0.5, num_classes, weights)
