"""One training step of LeNet, tengen against PyTorch, in one process: `python benchmarks/lenet.py [threads]`.

Prints a table with the median time of a step (forward, cross entropy, backward, SGD with momentum; float32). The two
take turns, A B A B, so that what else the machine does meets both alike. Needs PyTorch, which nothing else here does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from networks_torch import LeNet as TorchLeNet
from torch import nn

import tengen
import tengen.functional as F
from tengen.autodiff import GradManager
from tengen.examples.digits.model import LeNet
from tengen.optimizer import SGD


def tengen_step(images: np.ndarray, labels: np.ndarray) -> Callable[[], None]:
    """A training step of tengen's LeNet on one batch."""
    net = LeNet()
    gm = GradManager().attach(net.parameters())
    optimizer = SGD(net.parameters(), lr=0.01, momentum=0.9)
    x, y = tengen.tensor(images), tengen.tensor(labels)

    def step() -> None:
        with gm:
            gm.backward(F.nn.cross_entropy(net(x), y))
        optimizer.step().clear_grad()

    return step


def torch_step(images: np.ndarray, labels: np.ndarray) -> Callable[[], None]:
    """A training step of PyTorch's LeNet on one batch."""
    net = TorchLeNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    x, y = torch.from_numpy(images), torch.from_numpy(labels).long()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], None], steps: int) -> list[float]:
    """The time of each of `steps` calls."""
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("threads", type=int, nargs="?", default=cores, help="for each of the two (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="turns that each of the two has (%(default)s)")
    options = parser.parse_args()
    tengen.config.num_threads = options.threads
    torch.set_num_threads(options.threads)

    random = np.random.default_rng(0)
    images = random.standard_normal((options.batch_size, 1, 32, 32), dtype=np.float32)
    labels = random.integers(0, 10, options.batch_size, dtype=np.int32)
    steps = {"tengen": tengen_step(images, labels), "PyTorch": torch_step(images, labels)}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        seconds(step, 20)
    for _ in range(options.rounds):
        for name, step in steps.items():
            times[name] += seconds(step, 20)

    print(f"LeNet, batch {options.batch_size}, training step, float32, {options.threads} threads\n")
    print("| | median | fastest tenth | slowest tenth |\n|---|---|---|---|")
    versions = {"tengen": tengen.__version__, "PyTorch": torch.__version__}
    for name, taken in times.items():
        deciles = [f"{1e3 * t:.2f} ms" for t in statistics.quantiles(taken, n=10)]
        print(f"| {name} {versions[name]} | {deciles[4]} | ≤ {deciles[0]} | ≥ {deciles[8]} |")
    ratio = statistics.median(times["tengen"]) / statistics.median(times["PyTorch"])
    print(f"\ntengen takes {ratio:.2f} times as long as PyTorch.")


if __name__ == "__main__":
    main()
