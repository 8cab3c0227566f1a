"""ResNet, ResNeXt and wide ResNets. He et al., Deep Residual Learning for Image Recognition, 2016."""

from __future__ import annotations

from collections.abc import Sequence

from .. import functional as F
from .. import module as M
from ..core import Tensor
from .layers import draw_convolutions
from .weights import File, load_weights

__all__ = [
    "ResNet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d",
    "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2",
]  # fmt: skip


class _Basic(M.Module):
    """Two 3×3 convolutions. Figure 5, left."""

    expansion = 1

    def __init__(self, i: int, width: int, stride: int, downsample: M.Module, groups: int, base: int):
        super().__init__()
        self.conv1 = M.Conv2d(i, width, 3, stride, 1, bias=False)
        self.bn1 = M.BatchNorm2d(width)
        self.conv2 = M.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = M.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class _Bottleneck(M.Module):
    """1×1, 3×3 with the stride, 1×1. Figure 5, right."""

    expansion = 4

    def __init__(self, i: int, width: int, stride: int, downsample: M.Module, groups: int, base: int):
        super().__init__()
        inner = width * base // 64 * groups
        self.conv1 = M.Conv2d(i, inner, 1, bias=False)
        self.bn1 = M.BatchNorm2d(inner)
        self.conv2 = M.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = M.BatchNorm2d(inner)
        self.conv3 = M.Conv2d(inner, 4 * width, 1, bias=False)
        self.bn3 = M.BatchNorm2d(4 * width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet(M.Module):
    """Images (N, 3, H, W), normalised, to logits (N, num_classes). Names of parameters are torchvision's.

    Args:
        depths: blocks in each of the four stages.
        bottleneck: use blocks of 1×1, 3×3 and 1×1 convolutions in place of two 3×3 convolutions.
        num_classes: the number of classes.
        groups: of the 3×3 convolutions in bottlenecks (Xie et al. 2017).
        base: channels of each group in a stage with 64.
        weights: a file of PyTorch, safetensors or tengen with the values of all parameters, or a state dict. The classifier keeps its initial
            values if the file is for another number of classes.

    Raises:
        StateDictError: the weights are those of another network.

    >>> net = tengen.models.ResNet((1, 1, 1, 1), num_classes=5)
    >>> net(F.zeros((2, 3, 32, 32))).shape
    (2, 5)
    """

    def __init__(
        self,
        depths: Sequence[int],
        bottleneck: bool = False,
        num_classes: int = 1000,
        groups: int = 1,
        base: int = 64,
        weights: File = None,
    ):
        super().__init__()
        self.conv1 = M.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = M.BatchNorm2d(64)
        self.maxpool = M.MaxPool2d(3, 2, 1)
        kind, channels, stages = _Bottleneck if bottleneck else _Basic, 64, []
        for stage, depth in enumerate(depths):
            blocks, width = [], 64 << stage
            for index in range(depth):
                stride, out = 2 if stage and not index else 1, width * kind.expansion
                shortcut: M.Module = M.Identity()
                if stride > 1 or channels != out:
                    shortcut = M.Sequential(M.Conv2d(channels, out, 1, stride, bias=False), M.BatchNorm2d(out))
                blocks.append(kind(channels, width, stride, shortcut, groups, base))
                channels = out
            stages.append(M.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = M.Linear(channels, num_classes)
        draw_convolutions(self)
        load_weights(self, weights, head=("fc.weight", "fc.bias"))

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The results of the four stages, for detectors and segmentation.

        Args:
            x: images (N, 3, H, W).

        Returns: four tensors, 4, 8, 16 and 32 times smaller than the images.
        """
        x = self.layer1(self.maxpool(F.relu(self.bn1(self.conv1(x)))))
        second = self.layer2(x)
        third = self.layer3(second)
        return x, second, third, self.layer4(third)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.mean(self.features(x)[-1], (2, 3)))


def resnet18(num_classes: int = 1000, weights: File = None) -> ResNet:
    """ResNet-18, with 11.7 million parameters.

    Args:
        num_classes, weights: see `ResNet`.

    Returns: the network.
    """
    return ResNet((2, 2, 2, 2), False, num_classes, weights=weights)


def resnet34(num_classes: int = 1000, weights: File = None) -> ResNet:
    """ResNet-34, with 21.8 million parameters.

    Args:
        num_classes, weights: see `ResNet`.

    Returns: the network.
    """
    return ResNet((3, 4, 6, 3), False, num_classes, weights=weights)


def resnet50(num_classes: int = 1000, weights: File = None) -> ResNet:
    """ResNet-50 with strides in the 3×3 convolutions, with 25.6 million parameters.

    Args:
        num_classes, weights: see `ResNet`.

    Returns: the network.
    """
    return ResNet((3, 4, 6, 3), True, num_classes, weights=weights)


def resnet101(num_classes: int = 1000, weights: File = None) -> ResNet:
    """ResNet-101, with 44.5 million parameters.

    Args:
        num_classes, weights: see `ResNet`.

    Returns: the network.
    """
    return ResNet((3, 4, 23, 3), True, num_classes, weights=weights)


def resnet152(num_classes: int = 1000, weights: File = None) -> ResNet:
    """ResNet-152, with 60.2 million parameters.

    Args:
        num_classes, weights: see `ResNet`.

    Returns: the network.
    """
    return ResNet((3, 8, 36, 3), True, num_classes, weights=weights)


def resnext50_32x4d(num_classes: int = 1000, weights: File = None) -> ResNet:
    """ResNeXt-50 with 32 groups of 4 channels, with 25.0 million parameters.

    Args:
        num_classes, weights: see `ResNet`.

    Returns: the network.
    """
    return ResNet((3, 4, 6, 3), True, num_classes, 32, 4, weights)


def resnext101_32x8d(num_classes: int = 1000, weights: File = None) -> ResNet:
    """ResNeXt-101 with 32 groups of 8 channels, with 88.8 million parameters.

    Args:
        num_classes, weights: see `ResNet`.

    Returns: the network.
    """
    return ResNet((3, 4, 23, 3), True, num_classes, 32, 8, weights)


def resnext101_64x4d(num_classes: int = 1000, weights: File = None) -> ResNet:
    """ResNeXt-101 with 64 groups of 4 channels, with 83.5 million parameters.

    Args:
        num_classes, weights: see `ResNet`.

    Returns: the network.
    """
    return ResNet((3, 4, 23, 3), True, num_classes, 64, 4, weights)


def wide_resnet50_2(num_classes: int = 1000, weights: File = None) -> ResNet:
    """Wide ResNet-50-2, with twice the channels between the 1×1 convolutions, with 68.9 million parameters.

    Args:
        num_classes, weights: see `ResNet`.

    Returns: the network.
    """
    return ResNet((3, 4, 6, 3), True, num_classes, 1, 128, weights)


def wide_resnet101_2(num_classes: int = 1000, weights: File = None) -> ResNet:
    """Wide ResNet-101-2, with 126.9 million parameters.

    Args:
        num_classes, weights: see `ResNet`.

    Returns: the network.
    """
    return ResNet((3, 4, 23, 3), True, num_classes, 1, 128, weights)
