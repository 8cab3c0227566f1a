"""EfficientNets. Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019."""

from __future__ import annotations

import math

from .. import functional as F
from .. import module as M
from ..core import Tensor
from .layers import SqueezeExcite, StochasticDepth, conv_norm_act, draw_convolutions
from .mobilenet import divisible
from .weights import File, load_weights

__all__ = [
    "EfficientNet", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4",
    "efficientnet_b5", "efficientnet_b6", "efficientnet_b7",
]  # fmt: skip


class _MBConv(M.Module):
    """Expand, convolve depthwise, weight channels, project."""

    def __init__(self, i: int, o: int, kernel: int, stride: int, expand: int, drop: float, norm: tuple[float, float]):
        super().__init__()
        wide = i * expand
        layers: list[M.Module] = [conv_norm_act(i, wide, 1, 1, 1, M.SiLU, *norm)] if expand > 1 else []
        layers.append(conv_norm_act(wide, wide, kernel, stride, wide, M.SiLU, *norm))
        layers.append(SqueezeExcite(wide, max(1, i // 4), F.silu, F.sigmoid))
        self.block = M.Sequential(*layers, conv_norm_act(wide, o, 1, 1, 1, None, *norm))
        self.drop = StochasticDepth(drop) if stride == 1 and i == o else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(x)
        return y if self.drop is None else x + self.drop(y)


class EfficientNet(M.Module):
    """Images (N, 3, H, W), normalised, to logits (N, num_classes). Names of parameters are torchvision's.

    Args:
        width: multiplies all channels.
        depth: multiplies the blocks of each stage.
        dropout: the probability with which elements before the classifier are dropped in training.
        num_classes: the number of classes.
        eps, momentum: of batch normalisation.
        weights: see `ResNet`.

    Raises:
        StateDictError: the weights are those of another network.

    >>> tengen.models.EfficientNet(width=0.25, depth=0.2, num_classes=5)(F.zeros((2, 3, 32, 32))).shape
    (2, 5)
    """

    # Of each stage, what is multiplied inside, kernel, stride, channels, blocks. Table 1.
    STAGES = (
        (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1)
    )  # fmt: skip

    def __init__(
        self,
        width: float = 1.0,
        depth: float = 1.0,
        dropout: float = 0.2,
        num_classes: int = 1000,
        eps: float = 1e-5,
        momentum: float = 0.9,
        weights: File = None,
    ):
        super().__init__()
        norm, i = (eps, momentum), divisible(32 * width)
        depths = [math.ceil(blocks * depth) for *_, blocks in self.STAGES]
        layers, done = [conv_norm_act(3, i, 3, 2, 1, M.SiLU, *norm)], 0
        for (expand, kernel, stride, channels, _), blocks in zip(self.STAGES, depths, strict=True):
            stage, o = [], divisible(channels * width)
            for index in range(blocks):
                stage.append(_MBConv(i, o, kernel, 1 if index else stride, expand, 0.2 * done / sum(depths), norm))
                i, done = o, done + 1
            layers.append(M.Sequential(*stage))
        self.features = M.Sequential(*layers, conv_norm_act(i, 4 * i, 1, 1, 1, M.SiLU, *norm))
        self.classifier = M.Sequential(M.Dropout(dropout), M.Linear(4 * i, num_classes))
        draw_convolutions(self)
        load_weights(self, weights, head=("classifier.1.weight", "classifier.1.bias"))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.mean(self.features(x), (2, 3)))


def efficientnet_b0(num_classes: int = 1000, weights: File = None) -> EfficientNet:
    """EfficientNet-B0, with 5.3 million parameters, for images of 224×224 pixels.

    Args:
        num_classes, weights: see `EfficientNet`.

    Returns: the network.
    """
    return EfficientNet(1.0, 1.0, 0.2, num_classes, weights=weights)


def efficientnet_b1(num_classes: int = 1000, weights: File = None) -> EfficientNet:
    """EfficientNet-B1, with 7.8 million parameters, for images of 240×240 pixels.

    Args:
        num_classes, weights: see `EfficientNet`.

    Returns: the network.
    """
    return EfficientNet(1.0, 1.1, 0.2, num_classes, weights=weights)


def efficientnet_b2(num_classes: int = 1000, weights: File = None) -> EfficientNet:
    """EfficientNet-B2, with 9.1 million parameters, for images of 260×260 pixels.

    Args:
        num_classes, weights: see `EfficientNet`.

    Returns: the network.
    """
    return EfficientNet(1.1, 1.2, 0.3, num_classes, weights=weights)


def efficientnet_b3(num_classes: int = 1000, weights: File = None) -> EfficientNet:
    """EfficientNet-B3, with 12.2 million parameters, for images of 300×300 pixels.

    Args:
        num_classes, weights: see `EfficientNet`.

    Returns: the network.
    """
    return EfficientNet(1.2, 1.4, 0.3, num_classes, weights=weights)


def efficientnet_b4(num_classes: int = 1000, weights: File = None) -> EfficientNet:
    """EfficientNet-B4, with 19.3 million parameters, for images of 380×380 pixels.

    Args:
        num_classes, weights: see `EfficientNet`.

    Returns: the network.
    """
    return EfficientNet(1.4, 1.8, 0.4, num_classes, weights=weights)


def efficientnet_b5(num_classes: int = 1000, weights: File = None) -> EfficientNet:
    """EfficientNet-B5, with 30.4 million parameters, for images of 456×456 pixels.

    Args:
        num_classes, weights: see `EfficientNet`.

    Returns: the network.
    """
    return EfficientNet(1.6, 2.2, 0.4, num_classes, 1e-3, 0.99, weights)


def efficientnet_b6(num_classes: int = 1000, weights: File = None) -> EfficientNet:
    """EfficientNet-B6, with 43.0 million parameters, for images of 528×528 pixels.

    Args:
        num_classes, weights: see `EfficientNet`.

    Returns: the network.
    """
    return EfficientNet(1.8, 2.6, 0.5, num_classes, 1e-3, 0.99, weights)


def efficientnet_b7(num_classes: int = 1000, weights: File = None) -> EfficientNet:
    """EfficientNet-B7, with 66.3 million parameters, for images of 600×600 pixels.

    Args:
        num_classes, weights: see `EfficientNet`.

    Returns: the network.
    """
    return EfficientNet(2.0, 3.1, 0.5, num_classes, 1e-3, 0.99, weights)
