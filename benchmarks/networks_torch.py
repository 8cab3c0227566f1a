"""The networks of the benchmarks in PyTorch. Attributes have the names that they have in `networks_tengen.py`."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn


def mlp() -> nn.Module:
    """Two layers, 20-256-10."""
    return nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 10))


class LeNet(nn.Module):
    """The network of `tengen.examples.digits.model`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.classifier = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.classifier(x)


def conv_bn(
    i: int, o: int, k: int, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = nn.ReLU
) -> list[nn.Module]:
    """A convolution that keeps the size but for its stride, batch normalisation, perhaps an activation, in place."""
    conv = nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(o), *([act(inplace=True)] if act else [])]


class Residual(nn.Module):
    """body(x) + shortcut(x), with ReLU after it if `act`."""

    def __init__(self, body: list[nn.Module], shortcut: list[nn.Module], act: bool):
        super().__init__()
        self.body, self.shortcut, self.act = nn.Sequential(*body), nn.Sequential(*shortcut), act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x) + self.shortcut(x)
        return F.relu(y, inplace=True) if self.act else y


def basic_block(i: int, o: int, stride: int) -> nn.Module:
    """Two 3×3 convolutions."""
    shortcut = [] if i == o and stride == 1 else conv_bn(i, o, 1, stride, act=None)
    return Residual([*conv_bn(i, o, 3, stride), *conv_bn(o, o, 3, act=None)], shortcut, True)


def bottleneck(i: int, o: int, stride: int) -> nn.Module:
    """1×1, 3×3 with the stride, 1×1."""
    shortcut = [] if i == o and stride == 1 else conv_bn(i, o, 1, stride, act=None)
    body = [*conv_bn(i, o // 4, 1), *conv_bn(o // 4, o // 4, 3, stride), *conv_bn(o // 4, o, 1, act=None)]
    return Residual(body, shortcut, True)


class ResNet(nn.Module):
    """Four stages of blocks."""

    def __init__(self, block: Callable[[int, int, int], nn.Module], depths: tuple[int, ...], widths: tuple[int, ...]):
        super().__init__()
        self.stem, self.pool = nn.Sequential(*conv_bn(3, 64, 7, 2)), nn.MaxPool2d(3, 2, 1)
        blocks, i = [], 64
        for stage, (depth, o) in enumerate(zip(depths, widths, strict=True)):
            for index in range(depth):
                blocks.append(block(i, o, 2 if stage and not index else 1))
                i = o
        self.blocks, self.classifier = nn.Sequential(*blocks), nn.Linear(i, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.blocks(self.pool(self.stem(x))).mean((2, 3)))


def resnet18() -> nn.Module:
    """ResNet-18."""
    return ResNet(basic_block, (2, 2, 2, 2), (64, 128, 256, 512))


def resnet50() -> nn.Module:
    """ResNet-50, strides in the 3×3 convolutions."""
    return ResNet(bottleneck, (3, 4, 6, 3), (256, 512, 1024, 2048))


def inverted_residual(i: int, o: int, stride: int, expand: int) -> nn.Module:
    """Wider, depthwise, narrower."""
    wide = i * expand
    body = [
        *(conv_bn(i, wide, 1, act=nn.ReLU6) if expand > 1 else []),
        *conv_bn(wide, wide, 3, stride, wide, nn.ReLU6),
        *conv_bn(wide, o, 1, act=None),
    ]
    return Residual(body, [], False) if i == o and stride == 1 else nn.Sequential(*body)


class MobileNetV2(nn.Module):
    """MobileNetV2 without dropout."""

    STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self) -> None:
        super().__init__()
        blocks, i = [], 32
        for expand, o, depth, stride in self.STAGES:
            for index in range(depth):
                blocks.append(inverted_residual(i, o, 1 if index else stride, expand))
                i = o
        self.stem = nn.Sequential(*conv_bn(3, 32, 3, 2, act=nn.ReLU6))
        self.blocks, self.last = nn.Sequential(*blocks), nn.Sequential(*conv_bn(i, 1280, 1, act=nn.ReLU6))
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.last(self.blocks(self.stem(x))).mean((2, 3)))


class Attention(nn.Module):
    """Self-attention with several heads, by PyTorch's fused kernel."""

    def __init__(self, features: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj, self.out_proj = nn.Linear(features, 3 * features), nn.Linear(features, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, features = x.shape
        qkv = self.in_proj(x).view(n, length, 3, self.heads, features // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(*qkv.unbind(0), scale=1 / math.sqrt(features // self.heads))
        return self.out_proj(y.transpose(1, 2).reshape(n, length, features))


class TransformerLayer(nn.Module):
    """An encoder layer, normalised after each half, GELU, no dropout."""

    def __init__(self, features: int = 512, heads: int = 8, hidden: int = 2048):
        super().__init__()
        self.self_attn = Attention(features, heads)
        self.linear1, self.linear2 = nn.Linear(features, hidden), nn.Linear(hidden, features)
        self.norm1, self.norm2 = nn.LayerNorm(features), nn.LayerNorm(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(x + self.self_attn(x))
        return self.norm2(x + self.linear2(F.gelu(self.linear1(x))))


class LSTM(nn.Module):
    """Two layers of LSTM cells along axis 1; the hidden states of the second one."""

    def __init__(self, features: int = 128, hidden: int = 256):
        super().__init__()
        self.cell1, self.cell2, self.hidden = nn.LSTMCell(features, hidden), nn.LSTMCell(hidden, hidden), hidden

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        zeros = x.new_zeros(x.shape[0], self.hidden)
        first = second = (zeros, zeros)
        outputs = []
        for step in range(x.shape[1]):
            first = self.cell1(x[:, step], first)
            second = self.cell2(first[0], second)
            outputs.append(second[0])
        return torch.stack(outputs, 1)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "lenet": LeNet,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "mobilenetv2": MobileNetV2,
    "transformer": TransformerLayer,
    "lstm": LSTM,
}
