"""What training with rounded numbers costs: a traced step of ResNet-18, with floats and with fake quantisation, taking turns.

python -m benchmarks.qat            # 8 images of 224 × 224 pixels, 10 turns
python -m benchmarks.qat 2 64 3     # images, pixels, turns
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

import tengen
import tengen.functional as F
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.jit import trace
from tengen.optimizer import SGD
from tengen.quantization import QConfig, ema_fakequant_qconfig, quantize_qat, tqt_qconfig

from .networks_quantized import resnet18

CONFIGS = {"float32": None, "ema_fakequant": ema_fakequant_qconfig, "tqt": tqt_qconfig}


def step_of(config: QConfig | None) -> Callable[[Tensor, Tensor], Tensor]:
    """A training step as one Program."""
    net = resnet18()
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
