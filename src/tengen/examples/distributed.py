"""Processes share each batch and add up their gradients: apart from rounding, the network is that of one process.

python -m tengen.examples.distributed --workers 2        (--help for the options)
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

import tengen
import tengen.distributed as dist
import tengen.functional as F
import tengen.module as M

from ..autodiff import GradManager
from ..jit import trace
from ..optimizer import SGD
from .common import Options, at_least, epochs, run, tensorboard
from .pictures import BLUE, ORANGE, curve, figure, save
from .vae import digits

BATCH = 64


def network() -> M.Module:
    """Images (N, 1, 8, 8) to logits (N, 10)."""
    return M.Sequential(
        M.Conv2d(1, 32, 3, padding=1), M.ReLU(), M.Conv2d(32, 64, 3, padding=1), M.ReLU(), M.MaxPool2d(2, 2),
        M.Conv2d(64, 64, 3, padding=1), M.ReLU(), M.AdaptiveAvgPool2d(2), _Flat(), M.Linear(256, 10),
    )  # fmt: skip


class _Flat(M.Module):
    def forward(self, x: tengen.Tensor) -> tengen.Tensor:
        return F.flatten(x, 1)


def learn(steps: int, seed: int) -> tuple[list[float], float, float]:
    """What each process runs; returns the mean losses of the batches, the share of unseen digits that is read right, and seconds per step."""
    rank, world = dist.get_rank(), dist.get_world_size()
    images, labels = digits()
    order = np.random.default_rng(0).permutation(len(images))
    images, labels, learned, rest = images.reshape(-1, 1, 8, 8), labels.astype(np.int32), order[300:], order[:300]

    tengen.random.seed(seed)
    net = network()
    manager, sgd = GradManager(), SGD(net.parameters(), lr=0.1, momentum=0.9)
    manager.attach(net.parameters(), callbacks=[dist.make_allreduce_cb("mean")] if world > 1 else [])
    if world > 1:
        dist.bcast_list_(net.tensors())  # all begin with the weights of the first

    @trace(without_host=True)
    def step(x: tengen.Tensor, y: tengen.Tensor) -> tengen.Tensor:
        with manager:
            loss = F.nn.cross_entropy(net(x), y)
            manager.backward(loss)
        sgd.step().clear_grad()
        return dist.functional.all_reduce_sum(loss) / world if world > 1 else loss

    # All processes make the same batches, and each takes its part of them.
    batches, losses, began = epochs([images[learned], labels[learned]], BATCH, np.random.default_rng(seed)), [], 0.0
    for number in tqdm(range(steps), f"{world} process(es)", unit=" steps", dynamic_ncols=True, disable=rank > 0):
        if number == steps // 10:  # everything is compiled by then
            began = time.perf_counter()
        losses.append(step(*(tengen.tensor(part[rank::world]) for part in next(batches))).item())
    seconds = (time.perf_counter() - began) / max(1, steps - steps // 10)
    net.eval()
    right = float(np.mean(net(tengen.tensor(images[rest])).numpy().argmax(1) == labels[rest]))
    return losses, right, seconds


def work(options: Namespace) -> None:
    """Train in one process and in several, on the cores of the CPU."""
    with tengen.config.override(default_device="cpux"):
        found = {1: learn(options.steps, options.seed)}
    if options.workers > 1:
        launched = dist.launcher(learn, n_gpus=options.workers, device_type="cpu")
        found[options.workers] = launched(options.steps, options.seed)[0]
    for workers, (losses, right, seconds) in found.items():
        print(f"{workers} process(es): last loss {losses[-1]:.5f}, {right:.2%} right, {1e3 * seconds:.2f} ms a step")
        with tensorboard(options.tensorboard and options.tensorboard / f"{workers}") as log:
            for number, loss in enumerate(losses, 1):
                log(number, loss=loss)

    picture = figure(
        f"One process and {options.workers} learn the same: {found[1][1]:.1%} of unseen digits are read right"
    )
    left, right_axes = picture.subplots(1, 2)
    for (workers, (losses, *_)), colour in zip(found.items(), (BLUE, ORANGE), strict=False):
        curve(left, losses, "loss: 1 process (blue), several (orange)", colour)
        right_axes.bar(f"{workers}", 1e3 * found[workers][2], color=colour)
    right_axes.set(xlabel="processes", ylabel="milliseconds a step")
    save(picture, options.output / "distributed.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; the exit code."""
    options = Options("distributed", "Several processes train one network.", steps=200)
    options.add_argument("--workers", type=at_least(1), default=2, help="processes (2)")
    return run(options, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
