"""A variational autoencoder maps handwritten digits to the plane. Kingma and Welling, Auto-Encoding Variational Bayes, 2014.

python -m tengen.examples.vae        (--help for the options)
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence

import numpy as np

import tengen
import tengen.functional as F
import tengen.module as M

from ..optimizer import Adam
from ..random import normal
from .common import Options, epochs, learner, run, train
from .pictures import curve, figure, plain, save, tiles

PIXELS = 64


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 digits of scikit-learn: brightness from 0 to 1, (N, 64), and what they are."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.data / 16).astype(np.float32), data.target


class VAE(M.Module):
    """From pixels to the mean and log variance of a point in the plane, and from a point to pixels."""

    def __init__(self, hidden: int = 256, places: int = 2):
        super().__init__()
        self.places = places
        self.encoder = M.Sequential(
            M.Linear(PIXELS, hidden), M.SiLU(), M.Linear(hidden, hidden), M.SiLU(), M.Linear(hidden, 2 * places)
        )
        self.decoder = M.Sequential(
            M.Linear(places, hidden), M.SiLU(), M.Linear(hidden, hidden), M.SiLU(), M.Linear(hidden, PIXELS)
        )

    def forward(self, x: tengen.Tensor) -> tuple[tengen.Tensor, tengen.Tensor, tengen.Tensor]:
        mean, log_variance = F.split(self.encoder(x), 2, axis=1)
        place = mean + F.exp(0.5 * log_variance) * normal(size=mean.shape)
        return self.decoder(place), mean, log_variance


def bound(net: VAE, x: tengen.Tensor) -> tengen.Tensor:
    """The negative evidence lower bound, in nats per digit: the cost of the pixels, and that of the point (appendix B)."""
    logits, mean, log_variance = net(x)
    pixels = F.sum(F.loss.binary_cross_entropy(logits, x, reduction="none"), axis=1)
    place = 0.5 * F.sum(mean**2 + F.exp(log_variance) - 1 - log_variance, axis=1)
    return F.mean(pixels + place)


def work(options: Namespace) -> None:
    """Train on five sixths of the digits, measure on the rest, draw the plane."""
    images, labels = digits()
    random = np.random.default_rng(options.seed)
    order = np.random.default_rng(0).permutation(len(images))  # the same digits are left out, whatever the seed
    rest, learned = order[:300], order[300:]
    net = VAE()
    optimizer = Adam(net.parameters(), lr=2e-3)
    step = learner(net, optimizer, lambda x: bound(net, x))
    losses = train(step, epochs([images[learned]], 128, random), options.steps, optimizer, options.tensorboard)

    unseen = tengen.tensor(images[rest])
    reached = np.mean([bound(net, unseen).item() for _ in range(16)])
    always = images[learned].mean(0)
    blind = -np.mean((images[rest] * np.log(always + 1e-6) + (1 - images[rest]) * np.log(1 - always + 1e-6)).sum(1))
    print(f"{reached:.2f} nats a digit on {len(rest)} unseen ones; without looking at them it would be {blind:.2f}")

    picture = figure(f"A variational autoencoder: {reached:.2f} nats a digit", 14, 5)
    left, middle, right = picture.subplots(1, 3)
    curve(left, losses, "nats a digit")
    places = net(tengen.tensor(images))[1].numpy()
    for digit in range(10):
        middle.scatter(*places[labels == digit].T, s=7, color=f"C{digit}", label=str(digit))
    middle.legend(frameon=False, fontsize=8, ncols=2, loc="upper left", bbox_to_anchor=(1, 1))
    middle.set_title("where digits lie; what they are was never told", loc="left", fontsize=11)
    side = np.linspace(-2, 2, 16, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side[::-1]), axis=-1).reshape(-1, 2)
    drawn = F.sigmoid(net.decoder(tengen.tensor(grid))).numpy().reshape(-1, 8, 8)
    right.imshow(tiles(drawn, 16), cmap="gray_r")
    plain(right, "what is drawn at each place from -2 to 2")
    save(picture, options.output / "vae.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; the exit code."""
    return run(Options("vae", "A variational autoencoder of handwritten digits.", steps=3000), work, arguments)


if __name__ == "__main__":
    sys.exit(main())
