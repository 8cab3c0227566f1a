"""Networks as they are quantised: layers that quantisation knows between stubs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import tengen.functional as F
import tengen.module as M
from tengen import Tensor

from .networks_tengen import MobileNetV2


class Block(M.Module):
    """Two 3 x 3 convolutions and a shortcut. He et al. 2016, figure 5 left."""

    def __init__(self, i: int, o: int, stride: int):
        super().__init__()
        self.first = M.ConvBnRelu2d(i, o, 3, stride, 1, bias=False)
        self.second = M.ConvBn2d(o, o, 3, 1, 1, bias=False)
        self.shortcut = M.Identity() if i == o and stride == 1 else M.ConvBn2d(i, o, 1, stride, bias=False)
        self.add = M.Elemwise("fuse_add_relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.add(self.second(self.first(x)), self.shortcut(x))


class _Classifier(M.Module):
    """stem, perhaps a pool, blocks, and the mean of all pixels into a linear layer."""

    def __init__(self, stem: M.Module, blocks: list[M.Module], features: int):
        super().__init__()
        self.quant, self.dequant = M.QuantStub(), M.DequantStub()
        self.stem, self.blocks, self.head = stem, M.Sequential(*blocks), M.Linear(features, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(self.quant(x)))
        return self.dequant(self.head(F.flatten(F.adaptive_avg_pool2d(x, 1), 1)))


def resnet18() -> M.Module:
    """ResNet-18."""
    widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
    blocks = [Block(i, o, 1 if i == o else 2) for i, o in itertools.pairwise(widths)]
    stem = M.Sequential(M.ConvBnRelu2d(3, 64, 7, 2, 3, bias=False), M.MaxPool2d(3, 2, 1))
    return _Classifier(stem, list(blocks), 512)


class Inverted(M.Module):
    """Wider, depthwise, narrower. Sandler et al. 2018, figure 4d, with ReLU in the place of ReLU6."""

    def __init__(self, i: int, o: int, stride: int, expand: int):
        super().__init__()
        wide = i * expand
        first = [M.ConvBnRelu2d(i, wide, 1, bias=False)] if expand > 1 else []
        depthwise = M.ConvBnRelu2d(wide, wide, 3, stride, 1, groups=wide, bias=False)
        self.body = M.Sequential(*first, depthwise, M.ConvBn2d(wide, o, 1, bias=False))
        self.add = M.Elemwise("add") if i == o and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) if self.add is None else self.add(self.body(x), x)


def mobilenetv2() -> M.Module:
    """MobileNetV2."""
    blocks: list[M.Module] = []
    i = 32
    for expand, o, depth, stride in MobileNetV2.STAGES:
        for index in range(depth):
            blocks.append(Inverted(i, o, 1 if index else stride, expand))
            i = o
    last = M.ConvBnRelu2d(i, 1280, 1, bias=False)
    return _Classifier(M.ConvBnRelu2d(3, 32, 3, 2, 1, bias=False), [*blocks, last], 1280)


class Encoder(M.Module):
    """A layer of BERT: products with weights are of integers, all else of floats. Devlin et al. 2019."""

    def __init__(self, features: int, heads: int, hidden: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = M.Linear(features, 3 * features), M.Linear(features, features)
        self.wide, self.narrow = M.Linear(features, hidden), M.Linear(hidden, features)
        self.norm1, self.norm2 = M.LayerNorm(features), M.LayerNorm(features)

    def forward(self, x: Tensor) -> Tensor:
        n, length, features = x.shape
        size = features // self.heads
        q, k, v = F.split(self.qkv(x).reshape(n, length, 3 * self.heads, size).transpose(0, 2, 1, 3), 3, axis=1)
        weights = F.softmax(F.matmul(q, k, transpose_b=True) * (1 / math.sqrt(size)), axis=-1)
        seen = self.out(F.matmul(weights, v).transpose(0, 2, 1, 3).reshape(n, length, features))
        x = self.norm1(x + seen)
        return self.norm2(x + self.narrow(F.gelu(self.wide(x))))


class Bert(M.Module):
    """The encoder of BERT-base, from embeddings on."""

    def __init__(self, layers: int = 12, features: int = 768, heads: int = 12, hidden: int = 3072):
        super().__init__()
        self.layers = [Encoder(features, heads, hidden) for _ in range(layers)]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


ROWS: dict[str, tuple[Callable[[], M.Module], tuple[int, ...]]] = {
    "resnet18 b8": (resnet18, (8, 3, 224, 224)),
    "resnet18 b1": (resnet18, (1, 3, 224, 224)),
    "mobilenetv2 b8": (mobilenetv2, (8, 3, 224, 224)),
    "mobilenetv2 b1": (mobilenetv2, (1, 3, 224, 224)),
    "bert 1x128": (Bert, (1, 128, 768)),
}
