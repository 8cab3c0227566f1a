"""The networks of the benchmarks in tengen. Attributes have the names that they have in `networks_torch.py`."""

from __future__ import annotations

import math
from collections.abc import Callable

import tengen.functional as F
import tengen.module as M
from tengen import Tensor
from tengen.examples.digits.model import LeNet


def mlp() -> M.Module:
    """Two layers, 20-256-10."""
    return M.Sequential(M.Linear(20, 256), M.ReLU(), M.Linear(256, 10))


def conv_bn(
    i: int, o: int, k: int, stride: int = 1, groups: int = 1, act: type[M.Module] | None = M.ReLU
) -> list[M.Module]:
    """A convolution that keeps the size but for its stride, batch normalisation, perhaps an activation."""
    conv = M.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False)
    return [conv, M.BatchNorm2d(o), *([act()] if act else [])]


class ReLU6(M.Module):
    """min(max(x, 0), 6)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x)


class Residual(M.Module):
    """body(x) + shortcut(x), with ReLU after it if `act`."""

    def __init__(self, body: list[M.Module], shortcut: list[M.Module], act: bool):
        super().__init__()
        self.body, self.shortcut, self.act = M.Sequential(*body), M.Sequential(*shortcut), act

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x) + self.shortcut(x)
        return F.relu(y) if self.act else y


def basic_block(i: int, o: int, stride: int) -> M.Module:
    """Two 3×3 convolutions. He et al. 2016, figure 5 left."""
    shortcut = [] if i == o and stride == 1 else conv_bn(i, o, 1, stride, act=None)
    return Residual([*conv_bn(i, o, 3, stride), *conv_bn(o, o, 3, act=None)], shortcut, True)


def bottleneck(i: int, o: int, stride: int) -> M.Module:
    """1×1, 3×3 with the stride, 1×1. He et al. 2016, figure 5 right."""
    shortcut = [] if i == o and stride == 1 else conv_bn(i, o, 1, stride, act=None)
    body = [*conv_bn(i, o // 4, 1), *conv_bn(o // 4, o // 4, 3, stride), *conv_bn(o // 4, o, 1, act=None)]
    return Residual(body, shortcut, True)


class ResNet(M.Module):
    """Four stages of blocks. He et al., Deep Residual Learning, 2016."""

    def __init__(self, block: Callable[[int, int, int], M.Module], depths: tuple[int, ...], widths: tuple[int, ...]):
        super().__init__()
        self.stem, self.pool = M.Sequential(*conv_bn(3, 64, 7, 2)), M.MaxPool2d(3, 2, 1)
        blocks, i = [], 64
        for stage, (depth, o) in enumerate(zip(depths, widths, strict=True)):
            for index in range(depth):
                blocks.append(block(i, o, 2 if stage and not index else 1))
                i = o
        self.blocks, self.classifier = M.Sequential(*blocks), M.Linear(i, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.mean(self.blocks(self.pool(self.stem(x))), (2, 3)))


def resnet18() -> M.Module:
    """ResNet-18."""
    return ResNet(basic_block, (2, 2, 2, 2), (64, 128, 256, 512))


def resnet50() -> M.Module:
    """ResNet-50, strides in the 3×3 convolutions."""
    return ResNet(bottleneck, (3, 4, 6, 3), (256, 512, 1024, 2048))


def inverted_residual(i: int, o: int, stride: int, expand: int) -> M.Module:
    """Wider, depthwise, narrower. Sandler et al. 2018, figure 4d."""
    wide = i * expand
    body = [
        *(conv_bn(i, wide, 1, act=ReLU6) if expand > 1 else []),
        *conv_bn(wide, wide, 3, stride, wide, ReLU6),
        *conv_bn(wide, o, 1, act=None),
    ]
    return Residual(body, [], False) if i == o and stride == 1 else M.Sequential(*body)


class MobileNetV2(M.Module):
    """Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018, table 2; without dropout."""

    STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self) -> None:
        super().__init__()
        blocks, i = [], 32
        for expand, o, depth, stride in self.STAGES:
            for index in range(depth):
                blocks.append(inverted_residual(i, o, 1 if index else stride, expand))
                i = o
        self.stem = M.Sequential(*conv_bn(3, 32, 3, 2, act=ReLU6))
        self.blocks, self.last = M.Sequential(*blocks), M.Sequential(*conv_bn(i, 1280, 1, act=ReLU6))
        self.classifier = M.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.mean(self.last(self.blocks(self.stem(x))), (2, 3)))


class Linear(M.Linear):
    """A layer whose product takes the dtype `dtype`, by casts, if that is not None."""

    dtype: str | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.dtype is None:
            return super().forward(x)
        return F.linear(*(value.astype(self.dtype) for value in (x, self.weight, self.bias)))


class Attention(M.Module):
    """Self-attention with several heads, of (batch, length, features). Vaswani et al. 2017, section 3.2."""

    def __init__(self, features: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj, self.out_proj = Linear(features, 3 * features), Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        n, length, features = x.shape
        size = features // self.heads
        q, k, v = F.split(self.in_proj(x).reshape(n, length, 3 * self.heads, size).transpose(0, 2, 1, 3), 3, axis=1)
        weights = F.softmax(F.matmul(q, k, transpose_b=True) * (1 / math.sqrt(size)), axis=-1)
        return self.out_proj(F.matmul(weights, v).transpose(0, 2, 1, 3).reshape(n, length, features))


class TransformerLayer(M.Module):
    """An encoder layer, normalised after each half, GELU, no dropout. Vaswani et al. 2017, section 3.1."""

    def __init__(self, features: int = 512, heads: int = 8, hidden: int = 2048):
        super().__init__()
        self.self_attn = Attention(features, heads)
        self.linear1, self.linear2 = Linear(features, hidden), Linear(hidden, features)
        self.norm1, self.norm2 = M.LayerNorm(features), M.LayerNorm(features)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.self_attn(x))
        return self.norm2(x + self.linear2(F.gelu(self.linear1(x))))


class LSTM(M.Module):
    """Two layers of LSTM cells along axis 1 of (batch, length, features); the hidden states of the second one."""

    def __init__(self, features: int = 128, hidden: int = 256):
        super().__init__()
        self.cell1, self.cell2, self.hidden = M.LSTMCell(features, hidden), M.LSTMCell(hidden, hidden), hidden

    def forward(self, x: Tensor) -> Tensor:
        zeros = F.zeros((x.shape[0], self.hidden))
        first = second = (zeros, zeros)
        outputs = []
        for step in range(x.shape[1]):
            first = self.cell1(x[:, step], first)
            second = self.cell2(first[0], second)
            outputs.append(second[0])
        return F.stack(outputs, axis=1)


NETWORKS: dict[str, Callable[[], M.Module]] = {
    "mlp": mlp,
    "lenet": LeNet,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "mobilenetv2": MobileNetV2,
    "transformer": TransformerLayer,
    "lstm": LSTM,
}
