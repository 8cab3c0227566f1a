"""Two networks compete: one draws digits from noise, one tells them from scans. Goodfellow et al. 2014; layers as in DCGAN, Radford et al. 2016.

python -m tengen.examples.gan        (--help for the options)
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

import tengen
import tengen.functional as F
import tengen.module as M

from ..autodiff import GradManager
from ..jit import trace
from ..optimizer import Adam
from ..random import normal
from .common import Options, epochs, run, tensorboard
from .interrupts import stopped_early
from .pictures import BLUE, ORANGE, curve, figure, plain, save, tiles
from .vae import digits

NOISE, BATCH = 32, 64


def generator(width: int = 32) -> M.Module:
    """Noise (N, NOISE, 1, 1) to images (N, 1, 8, 8) from -1 to 1."""
    return M.Sequential(
        M.ConvTranspose2d(NOISE, 2 * width, 4, bias=False), M.BatchNorm2d(2 * width), M.ReLU(),
        M.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False), M.BatchNorm2d(2 * width), M.ReLU(),
        M.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False), M.BatchNorm2d(width), M.ReLU(),
        M.Conv2d(width, 1, 3, padding=1), M.Elemwise("tanh"),
    )  # fmt: skip


def critic(width: int = 32) -> M.Module:
    """Images to a score, above 0 for scans."""
    return M.Sequential(
        M.Conv2d(1, width, 3, padding=1), M.LeakyReLU(0.2), M.Conv2d(width, 2 * width, 4, 2, 1), M.LeakyReLU(0.2),
        M.Dropout(0.3), M.Conv2d(2 * width, 2 * width, 4, 2, 1), M.LeakyReLU(0.2), M.Dropout(0.3), M.Conv2d(2 * width, 1, 2),
    )  # fmt: skip


def player(draws: M.Module, judges: M.Module, rate: float) -> Callable[[Any], Any]:
    """One step of both networks on a batch of scans, compiled as one Program; returns their losses."""
    managers = [GradManager().attach(net.parameters()) for net in (judges, draws)]
    optimizers = [Adam(net.parameters(), rate, betas=(0.5, 0.999)) for net in (judges, draws)]

    def cost(scores: tengen.Tensor, scan: float) -> tengen.Tensor:
        return F.loss.binary_cross_entropy(scores, F.full_like(scores, scan))

    @trace(without_host=True)
    def turn(scans: tengen.Tensor) -> tuple[tengen.Tensor, tengen.Tensor]:
        noise = normal(size=(scans.shape[0], NOISE, 1, 1))
        with managers[0]:
            drawn = draws(noise).detach()
            # 0.9: a critic that is never quite certain leaves the generator something to learn from (Salimans et al. 2016, section 3.4).
            told = cost(judges(scans), 0.9) + cost(judges(drawn), 0.0)
            managers[0].backward(told)
        optimizers[0].step().clear_grad()
        with managers[1]:
            fooled = cost(judges(draws(noise)), 1.0)
            managers[1].backward(fooled)
        optimizers[1].step().clear_grad()
        return told, fooled

    return turn


def judged(drawn: np.ndarray, images: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """The distance of drawn digits from the nearest scan, relative to that between scans; and how many there are of each digit."""
    from sklearn.neighbors import KNeighborsClassifier

    nearest = KNeighborsClassifier(1).fit(images, labels)
    apart = nearest.kneighbors(drawn, 1)[0].mean() / nearest.kneighbors(images, 2)[0][:, 1].mean()
    return float(apart), np.bincount(nearest.predict(drawn), minlength=10)


def work(options: Namespace) -> None:
    """Train, then look at a thousand digits."""
    images, labels = digits()
    scans = epochs([images.reshape(-1, 1, 8, 8) * 2 - 1], BATCH, np.random.default_rng(options.seed))
    draws, judges = generator(), critic()
    turn = player(draws, judges, 4e-4)
    losses: list[list[float]] = []
    bar = tqdm(total=options.steps, unit=" steps", dynamic_ncols=True)
    with stopped_early() as stop, tensorboard(options.tensorboard) as log, bar:
        while len(losses) < options.steps and not stop():
            losses.append([loss.item() for loss in turn(tengen.tensor(next(scans)[0]))])
            log(len(losses), critic=losses[-1][0], generator=losses[-1][1])
            bar.set_postfix(critic=f"{losses[-1][0]:.2f}", generator=f"{losses[-1][1]:.2f}", refresh=False)
            bar.update()

    draws.eval()
    drawn = (draws(normal(size=(1000, NOISE, 1, 1))).numpy().reshape(-1, 64) + 1) / 2
    apart, counts = judged(drawn, images, labels)
    print("drawn of each digit:", " ".join(f"{digit}: {count}" for digit, count in enumerate(counts)))
    print(
        f"the nearest scan is {apart:.2f} times as far as scans are from one another; {(counts > 20).sum()} digits of 10"
    )

    picture = figure(
        f"A generator draws digits: {(counts > 20).sum()} of 10, {apart:.2f} of the distance between scans", 14, 5
    )
    left, middle, right = picture.subplots(1, 3)
    curve(left, [told for told, _ in losses], "losses: critic (blue), generator (orange)", BLUE)
    curve(left, [fooled for _, fooled in losses], "losses: critic (blue), generator (orange)", ORANGE)
    for axes, shown, name in ((middle, drawn, "drawn"), (right, images, "scans")):
        axes.imshow(tiles(shown[:100].reshape(-1, 8, 8), 10), cmap="gray_r")
        plain(axes, name)
    save(picture, options.output / "gan.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; the exit code."""
    return run(Options("gan", "A generator learns to draw digits.", steps=3000), work, arguments)


if __name__ == "__main__":
    sys.exit(main())
