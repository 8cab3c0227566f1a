"""ShuffleNetV2. Ma et al., ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, 2018."""

from __future__ import annotations

from collections.abc import Sequence

from .. import functional as F
from .. import module as M
from ..core import Tensor
from .layers import draw_convolutions
from .weights import File, load_weights

__all__ = [
    "ShuffleNetV2", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0",
]  # fmt: skip


def _pointwise(i: int, o: int) -> list[M.Module]:
    return [M.Conv2d(i, o, 1, bias=False), M.BatchNorm2d(o), M.ReLU()]


def _depthwise(i: int, stride: int) -> list[M.Module]:
    return [M.Conv2d(i, i, 3, stride, 1, groups=i, bias=False), M.BatchNorm2d(i)]


class _Unit(M.Module):
    """Half of the channels pass unchanged; with a stride, all are computed from all. Then they are shuffled. Figures 3c and 3d."""

    def __init__(self, i: int, o: int, stride: int):
        super().__init__()
        half = o // 2
        self.stride = stride
        self.branch1 = M.Sequential(*([*_depthwise(i, stride), *_pointwise(i, half)] if stride > 1 else []))
        self.branch2 = M.Sequential(
            *_pointwise(i if stride > 1 else half, half), *_depthwise(half, stride), *_pointwise(half, half)
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second = (x, x) if self.stride > 1 else F.split(x, 2, axis=1)
        y = F.stack([self.branch1(first), self.branch2(second)], axis=2)  # shuffled: channels of both halves alternate
        return y.reshape(y.shape[0], y.shape[1] * 2, *y.shape[3:])


class ShuffleNetV2(M.Module):
    """Images (N, 3, H, W), normalised, to logits (N, num_classes). Names of parameters are torchvision's.

    Args:
        depths: units in each of the three stages.
        channels: after the first layer, after each stage, and after the last layer.
        num_classes: the number of classes.
        weights: see `ResNet`.

    Raises:
        StateDictError: the weights are those of another network.

    >>> net = tengen.models.ShuffleNetV2((1, 1, 1), (8, 16, 32, 64, 64), num_classes=5)
    >>> net(F.zeros((2, 3, 32, 32))).shape
    (2, 5)
    """

    def __init__(self, depths: Sequence[int], channels: Sequence[int], num_classes: int = 1000, weights: File = None):
        super().__init__()
        i, *widths, last = channels
        self.conv1 = M.Sequential(M.Conv2d(3, i, 3, 2, 1, bias=False), M.BatchNorm2d(i), M.ReLU())
        self.maxpool, stages = M.MaxPool2d(3, 2, 1), []
        for depth, o in zip(depths, widths, strict=True):
            stages.append(M.Sequential(_Unit(i, o, 2), *(_Unit(o, o, 1) for _ in range(depth - 1))))
            i = o
        self.stage2, self.stage3, self.stage4 = stages
        self.conv5, self.fc = M.Sequential(*_pointwise(i, last)), M.Linear(last, num_classes)
        draw_convolutions(self)
        load_weights(self, weights, head=("fc.weight", "fc.bias"))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage4(self.stage3(self.stage2(self.maxpool(self.conv1(x)))))
        return self.fc(F.mean(self.conv5(x), (2, 3)))


def shufflenet_v2_x0_5(num_classes: int = 1000, weights: File = None) -> ShuffleNetV2:
    """ShuffleNetV2 with half the channels, 1.4 million parameters.

    Args:
        num_classes, weights: see `ShuffleNetV2`.

    Returns: the network.
    """
    return ShuffleNetV2((4, 8, 4), (24, 48, 96, 192, 1024), num_classes, weights)


def shufflenet_v2_x1_0(num_classes: int = 1000, weights: File = None) -> ShuffleNetV2:
    """ShuffleNetV2, with 2.3 million parameters.

    Args:
        num_classes, weights: see `ShuffleNetV2`.

    Returns: the network.
    """
    return ShuffleNetV2((4, 8, 4), (24, 116, 232, 464, 1024), num_classes, weights)


def shufflenet_v2_x1_5(num_classes: int = 1000, weights: File = None) -> ShuffleNetV2:
    """ShuffleNetV2 with 1.5 times the channels, 3.5 million parameters.

    Args:
        num_classes, weights: see `ShuffleNetV2`.

    Returns: the network.
    """
    return ShuffleNetV2((4, 8, 4), (24, 176, 352, 704, 1024), num_classes, weights)


def shufflenet_v2_x2_0(num_classes: int = 1000, weights: File = None) -> ShuffleNetV2:
    """ShuffleNetV2 with twice the channels, 7.4 million parameters.

    Args:
        num_classes, weights: see `ShuffleNetV2`.

    Returns: the network.
    """
    return ShuffleNetV2((4, 8, 4), (24, 244, 488, 976, 2048), num_classes, weights)
