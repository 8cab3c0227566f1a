"""MobileNets. Sandler et al., MobileNetV2, 2018; Howard et al., Searching for MobileNetV3, 2019."""

from __future__ import annotations

from collections.abc import Sequence

from .. import functional as F
from .. import module as M
from ..core import Tensor
from .layers import Hardswish, ReLU6, SqueezeExcite, conv_norm_act, draw_convolutions
from .weights import File, load_weights

__all__ = ["MobileNetV2", "MobileNetV3", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"]


def divisible(channels: float, by: int = 8) -> int:
    """The nearest multiple that is not smaller by more than a tenth."""
    near = max(by, int(channels + by / 2) // by * by)
    return near + by if near < 0.9 * channels else near


class _InvertedV2(M.Module):
    """Expand, convolve depthwise, project. Figure 4d."""

    def __init__(self, i: int, o: int, stride: int, expand: int):
        super().__init__()
        wide = i * expand
        first = [conv_norm_act(i, wide, 1, act=ReLU6)] if expand > 1 else []
        narrow = (M.Conv2d(wide, o, 1, bias=False), M.BatchNorm2d(o))
        self.conv = M.Sequential(*first, conv_norm_act(wide, wide, 3, stride, wide, ReLU6), *narrow)
        self.residual = stride == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(M.Module):
    """Images (N, 3, H, W), normalised, to logits (N, num_classes). Names of parameters are torchvision's.

    Args:
        width: multiplies all channels.
        num_classes: the number of classes.
        weights: see `ResNet`.

    Raises:
        StateDictError: the weights are those of another network.

    >>> tengen.models.MobileNetV2(width=0.25, num_classes=5)(F.zeros((2, 3, 32, 32))).shape
    (2, 5)
    """

    STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self, width: float = 1.0, num_classes: int = 1000, weights: File = None):
        super().__init__()
        i, last = divisible(32 * width), divisible(1280 * max(1.0, width))
        layers: list[M.Module] = [conv_norm_act(3, i, 3, 2, act=ReLU6)]
        for expand, channels, depth, stride in self.STAGES:
            o = divisible(channels * width)
            for index in range(depth):
                layers.append(_InvertedV2(i, o, 1 if index else stride, expand))
                i = o
        self.features = M.Sequential(*layers, conv_norm_act(i, last, 1, act=ReLU6))
        self.classifier = M.Sequential(M.Dropout(0.2), M.Linear(last, num_classes))
        draw_convolutions(self)
        load_weights(self, weights, head=("classifier.1.weight", "classifier.1.bias"))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.mean(self.features(x), (2, 3)))


class _InvertedV3(M.Module):
    """Expand, convolve depthwise, weight channels, project. Figure 4."""

    def __init__(self, i: int, kernel: int, wide: int, o: int, weighed: bool, hard: bool, stride: int):
        super().__init__()
        act = Hardswish if hard else M.ReLU
        layers = [_normed(i, wide, 1, act=act)] if wide != i else []
        layers.append(_normed(wide, wide, kernel, stride, wide, act))
        if weighed:
            layers.append(SqueezeExcite(wide, divisible(wide // 4), F.relu, F.hsigmoid))
        self.block = M.Sequential(*layers, _normed(wide, o, 1, act=None))
        self.residual = stride == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.residual else self.block(x)


def _normed(
    i: int, o: int, kernel: int, stride: int = 1, groups: int = 1, act: type[M.Module] | None = Hardswish
) -> M.Module:
    return conv_norm_act(i, o, kernel, stride, groups, act, 1e-3, 0.99)


# Kernel, channels inside, channels, squeeze and excitation, hard swish, stride. Tables 1 and 2.
_LARGE = (
    (3, 16, 16, False, False, 1), (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1), (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1), (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1), (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1),
)  # fmt: skip
_SMALL = (
    (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1), (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1), (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2), (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1),
)  # fmt: skip


class MobileNetV3(M.Module):
    """Images (N, 3, H, W), normalised, to logits (N, num_classes). Names of parameters are torchvision's.

    Args:
        blocks: for each, the kernel, channels inside and after it, whether it has squeeze and excitation, whether it uses hard swish, stride.
        hidden: units before the classifier.
        num_classes: the number of classes.
        weights: see `ResNet`.

    Raises:
        StateDictError: the weights are those of another network.

    >>> net = tengen.models.MobileNetV3([(3, 16, 16, True, True, 2)], hidden=32, num_classes=5)
    >>> net(F.zeros((2, 3, 32, 32))).shape
    (2, 5)
    """

    def __init__(
        self,
        blocks: Sequence[tuple[int, int, int, bool, bool, int]],
        hidden: int,
        num_classes: int = 1000,
        weights: File = None,
    ):
        super().__init__()
        i, layers = 16, [_normed(3, 16, 3, 2)]
        for kernel, wide, o, weighed, hard, stride in blocks:
            layers.append(_InvertedV3(i, kernel, wide, o, weighed, hard, stride))
            i = o
        self.features = M.Sequential(*layers, _normed(i, 6 * i, 1))
        self.classifier = M.Sequential(
            M.Linear(6 * i, hidden), Hardswish(), M.Dropout(0.2), M.Linear(hidden, num_classes)
        )
        draw_convolutions(self)
        load_weights(self, weights, head=("classifier.3.weight", "classifier.3.bias"))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.mean(self.features(x), (2, 3)))


def mobilenet_v2(num_classes: int = 1000, weights: File = None) -> MobileNetV2:
    """MobileNetV2, with 3.5 million parameters.

    Args:
        num_classes, weights: see `MobileNetV2`.

    Returns: the network.
    """
    return MobileNetV2(1.0, num_classes, weights)


def mobilenet_v3_large(num_classes: int = 1000, weights: File = None) -> MobileNetV3:
    """MobileNetV3-Large, with 5.5 million parameters.

    Args:
        num_classes, weights: see `MobileNetV3`.

    Returns: the network.
    """
    return MobileNetV3(_LARGE, 1280, num_classes, weights)


def mobilenet_v3_small(num_classes: int = 1000, weights: File = None) -> MobileNetV3:
    """MobileNetV3-Small, with 2.5 million parameters.

    Args:
        num_classes, weights: see `MobileNetV3`.

    Returns: the network.
    """
    return MobileNetV3(_SMALL, 1024, num_classes, weights)
