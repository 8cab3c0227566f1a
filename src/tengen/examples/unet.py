"""A U-Net learns to tell circles, squares and triangles from a noisy background, pixel by pixel. Ronneberger et al. 2015.

python -m tengen.examples.unet        (--help for the options)
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence

import numpy as np

import tengen
import tengen.functional as F
import tengen.module as M

from ..optimizer import AdamW
from .common import Batch, Options, learner, run, train
from .pictures import curve, figure, plain, save

SIZE, BATCH = 64, 16
CLASSES = ("background", "circle", "square", "triangle")


def draw(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[tuple[int, float, float, float]]]:
    """Draw an image (3, SIZE, SIZE) with one to four shapes; returns it, the class of each pixel, and (class, x, y, radius) of the visible shapes."""
    down, right = np.mgrid[:SIZE, :SIZE]
    image = random.uniform(0, 0.4, (3, 1, 1)) * np.ones((3, SIZE, SIZE))
    mask, shapes = np.zeros((SIZE, SIZE), np.int32), []
    for number in range(random.integers(1, 5)):
        kind, radius = int(random.integers(1, 4)), random.uniform(7, 13)
        x, y = random.uniform(radius, SIZE - radius, 2)
        across, below = np.abs(right - x), down - y
        inside = (
            across**2 + below**2 < radius**2,
            (across < radius) & (np.abs(below) < radius),
            (np.abs(below) < radius) & (across < (below + radius) / 2),
        )[kind - 1]
        if (mask[inside] > 0).any() and number:
            continue  # they do not overlap
        image[:, inside] = random.uniform(0.4, 1, (3, 1))
        mask[inside] = kind
        shapes.append((kind, x, y, radius))
    return (image + random.normal(0, 0.1, image.shape)).astype(np.float32), mask, shapes


def batches(random: np.random.Generator) -> Iterator[Batch]:
    """New images and masks without end."""
    while True:
        images, masks, _ = zip(*(draw(random) for _ in range(BATCH)), strict=True)
        yield np.stack(images), np.stack(masks)


def double(i: int, o: int) -> M.Module:
    """Two 3×3 convolutions with batch normalisation."""
    first = (M.Conv2d(i, o, 3, padding=1, bias=False), M.BatchNorm2d(o), M.ReLU())
    return M.Sequential(*first, M.Conv2d(o, o, 3, padding=1, bias=False), M.BatchNorm2d(o), M.ReLU())


class UNet(M.Module):
    """From images (N, 3, H, W) to logits (N, classes, H, W): down in steps and up again, with skip connections."""

    def __init__(self, classes: int, width: int = 12, depth: int = 3):
        super().__init__()
        widths = [width << level for level in range(depth + 1)]
        self.down = [double(i, o) for i, o in zip([3, *widths[:-1]], widths, strict=True)]
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = [M.ConvTranspose2d(i, o, 2, 2) for i, o in pairs]
        self.join = [double(2 * o, o) for _, o in pairs]
        self.pool, self.last = M.MaxPool2d(2, 2), M.Conv2d(width, classes, 1)

    def forward(self, x: tengen.Tensor) -> tengen.Tensor:
        x, kept = self.down[0](x), []
        for layer in self.down[1:]:
            kept.append(x)
            x = layer(self.pool(x))
        for up, join in zip(self.up, self.join, strict=True):
            x = join(F.concat([up(x), kept.pop()], axis=1))
        return self.last(x)


def overlap(found: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Intersection over union of each class."""
    pairs = [(found == number, masks == number) for number in range(len(CLASSES))]
    return np.array([(a & b).sum() / max(1, (a | b).sum()) for a, b in pairs])


def work(options: Namespace) -> None:
    """Train on images that are drawn on the way, measure on new ones, draw a few."""
    net = UNet(len(CLASSES))
    optimizer = AdamW(net.parameters(), lr=5e-3)
    step = learner(net, optimizer, lambda images, masks: F.nn.cross_entropy(net(images), masks))
    losses = train(step, batches(np.random.default_rng(options.seed)), options.steps, optimizer, options.tensorboard)

    net.eval()
    fresh = batches(np.random.default_rng([options.seed, 1]))
    images, masks = (np.concatenate(parts) for parts in zip(*(next(fresh) for _ in range(4)), strict=True))
    found = net(tengen.tensor(images)).numpy().argmax(1)
    scores = overlap(found, masks)
    for name, score in zip(CLASSES, scores, strict=True):
        print(f"{name:12} {score:.3f}")
    print(f"mean intersection over union {scores.mean():.3f} on {len(images)} new images")

    picture = figure(f"A U-Net finds shapes: mean intersection over union {scores.mean():.3f}", 13, 6)
    left, right = picture.subfigures(1, 2, width_ratios=(1, 2))
    curve(left.subplots(), losses)
    grid = right.subplots(3, 6)
    for column in range(6):
        shown = (np.clip(images[column].transpose(1, 2, 0), 0, 1), masks[column], found[column])
        for axes, what, name in zip(grid[:, column], shown, ("image", "is", "found"), strict=True):
            axes.imshow(what, **({} if what.ndim == 3 else {"cmap": "viridis", "vmin": 0, "vmax": 3}))
            plain(axes, name)
    save(picture, options.output / "unet.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; the exit code."""
    return run(Options("unet", "A U-Net learns to find shapes, pixel by pixel.", steps=300), work, arguments)


if __name__ == "__main__":
    sys.exit(main())
