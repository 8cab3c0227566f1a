"""What training with rounded numbers costs: a traced step of ResNet-18, with floats and with fake quantisation, taking turns.

python benchmarks/qat.py            # 8 images of 224 × 224 pixels, 10 turns
python benchmarks/qat.py 2 64 3     # images, pixels, turns
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.jit import trace
from tengen.optimizer import SGD
from tengen.quantization import QConfig, ema_fakequant_qconfig, quantize_qat, tqt_qconfig

CONFIGS = {"float32": None, "ema_fakequant": ema_fakequant_qconfig, "tqt": tqt_qconfig}


class Block(M.Module):
    """Two 3 × 3 convolutions and a shortcut, as layers that quantisation knows."""

    def __init__(self, i: int, o: int, stride: int):
        super().__init__()
        self.first = M.ConvBnRelu2d(i, o, 3, stride, 1, bias=False)
        self.second = M.ConvBn2d(o, o, 3, 1, 1, bias=False)
        self.shortcut = M.Identity() if i == o and stride == 1 else M.ConvBn2d(i, o, 1, stride, bias=False)
        self.add = M.Elemwise("fuse_add_relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.add(self.second(self.first(x)), self.shortcut(x))


class ResNet18(M.Module):
    """He et al., Deep Residual Learning, 2016."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = M.QuantStub(), M.DequantStub()
        self.stem = M.ConvBnRelu2d(3, 64, 7, 2, 3, bias=False)
        widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
        blocks = [Block(i, o, 1 if i == o else 2) for i, o in itertools.pairwise(widths)]
        self.blocks, self.head = M.Sequential(*blocks), M.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.max_pool2d(self.stem(self.quant(x)), 3, 2, 1))
        return self.dequant(self.head(F.mean(x, (2, 3))))


def step_of(config: QConfig | None) -> Callable[[Tensor, Tensor], Tensor]:
    """A training step as one Program."""
    net = ResNet18()
    if config is not None:
        quantize_qat(net, qconfig=config)
    manager, sgd = GradManager().attach(net.parameters()), SGD(net.parameters(), lr=0.01, momentum=0.9)

    @trace(without_host=True)
    def step(x: Tensor, y: Tensor) -> Tensor:
        with manager:
            loss = F.nn.cross_entropy(net(x), y)
            manager.backward(loss)
        sgd.step().clear_grad()
        return loss

    return step


def main(images: int = 8, pixels: int = 224, turns: int = 10) -> None:
    """Print the times of a step and their ratios."""
    x = tengen.tensor(np.random.default_rng(0).standard_normal((images, 3, pixels, pixels), np.float32))
    y = tengen.tensor(np.arange(images, dtype=np.int32))
    steps = {name: step_of(config) for name, config in CONFIGS.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(turns + 3):
        for name, step in steps.items():
            start = time.perf_counter()
            step(x, y).numpy()
            if turn >= 3:
                times[name].append(1e3 * (time.perf_counter() - start))
    print("| | median, ms | fastest, ms | fastest, to float32 |\n|---|---|---|---|")
    for name, taken in times.items():
        ratio = min(taken) / min(times["float32"])
        print(f"| {name} | {statistics.median(taken):.1f} | {min(taken):.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
