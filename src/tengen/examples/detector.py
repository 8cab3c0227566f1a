"""A detector without anchors finds circles, squares and triangles in drawn scenes: each cell says which object it is in, and how far the edges are.

Tian et al., FCOS, 2019; boxes of one object are thinned out by non-maximum suppression.

python -m tengen.examples.detector        (--help for the options)
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
from .pictures import BLUE, ORANGE, curve, figure, plain, save
from .unet import CLASSES, SIZE, draw

BATCH, STRIDE = 16, 4
CELLS = SIZE // STRIDE
KINDS = CLASSES[1:]
Boxes = np.ndarray
"""(n, 6): x1, y1, x2, y2, class, score."""


def scene(random: np.random.Generator) -> tuple[np.ndarray, Boxes]:
    """Draw an image; returns it with the boxes of its objects."""
    image, _, shapes = draw(random)
    boxes = []
    for kind, x, y, radius in shapes:
        boxes.append((x - radius, y - radius, x + radius, y + radius, kind - 1, 1))
    return image, np.array(boxes, np.float32).reshape(-1, 6)


def targets(boxes: Boxes) -> tuple[np.ndarray, np.ndarray]:
    """For each cell the class, 1 to 3, or 0 for none, and the distances (4, CELLS, CELLS) to the edges, in pixels. The core of a box counts."""
    kinds, edges = np.zeros((CELLS, CELLS), np.int32), np.zeros((4, CELLS, CELLS), np.float32)
    y, x = (np.mgrid[:CELLS, :CELLS] + 0.5) * STRIDE
    for x1, y1, x2, y2, kind, _ in boxes:
        reach = max(STRIDE * 0.75, (x2 - x1) / 4)
        core = (np.abs(x - (x1 + x2) / 2) < reach) & (np.abs(y - (y1 + y2) / 2) < reach)
        kinds[core] = kind + 1
        edges[:, core] = np.stack([x - x1, y - y1, x2 - x, y2 - y])[:, core]
    return kinds, edges


def batches(random: np.random.Generator) -> Iterator[Batch]:
    """New images, classes of cells, and distances, without end."""
    while True:
        scenes = [scene(random) for _ in range(BATCH)]
        kinds, edges = zip(*(targets(boxes) for _, boxes in scenes), strict=True)
        yield np.stack([image for image, _ in scenes]), np.stack(kinds), np.stack(edges)


class Detector(M.Module):
    """Images (N, 3, SIZE, SIZE) to logits (N, 1 + kinds, CELLS, CELLS), and distances in pixels (N, 4, CELLS, CELLS)."""

    def __init__(self, width: int = 16):
        super().__init__()
        layers: list[M.Module] = []
        for i, o, stride in ((3, width, 2), (width, 2 * width, 2), *((2 * width, 2 * width, 1),) * 4):
            layers += [M.Conv2d(i, o, 3, stride, 1, bias=False), M.BatchNorm2d(o), M.ReLU()]
        self.body = M.Sequential(*layers)
        self.kinds, self.edges = M.Conv2d(2 * width, 1 + len(KINDS), 1), M.Conv2d(2 * width, 4, 1)

    def forward(self, x: tengen.Tensor) -> tuple[tengen.Tensor, tengen.Tensor]:
        x = self.body(x)
        return self.kinds(x), F.exp(F.clip(self.edges(x), -4, 4)) * STRIDE


def loss_of(net: Detector) -> object:
    """Cross entropy of the classes; -log of intersection over union of the boxes where there are any (Yu et al. 2016)."""

    def loss(images: tengen.Tensor, kinds: tengen.Tensor, edges: tengen.Tensor) -> tengen.Tensor:
        logits, found = net(images)
        shared = F.minimum(found, edges)
        both = (shared[:, 0] + shared[:, 2]) * (shared[:, 1] + shared[:, 3])
        areas = [(e[:, 0] + e[:, 2]) * (e[:, 1] + e[:, 3]) for e in (found, edges)]
        inside = (kinds > 0).astype("float32")
        apart = -F.log((both + 1) / (areas[0] + areas[1] - both + 1)) * inside
        return F.nn.cross_entropy(logits, kinds) * 4 + F.sum(apart) / (F.sum(inside) + 1)

    return loss


def detect(net: Detector, images: np.ndarray, least: float = 0.3) -> list[Boxes]:
    """The boxes in each image, best first: from the cells that are certain enough, the most certain box of each object."""
    logits, edges = net(tengen.tensor(images))
    chances, distances = F.softmax(logits, axis=1).numpy(), edges.numpy()
    y, x = (np.mgrid[:CELLS, :CELLS] + 0.5) * STRIDE
    found = []
    for chance, (left, up, right, down) in zip(chances, distances, strict=True):
        kind, score = chance[1:].argmax(0), chance[1:].max(0)
        boxes = np.stack([x - left, y - up, x + right, y + down, kind, score], axis=-1)[score > least]
        kept: np.ndarray = np.zeros(0, np.int32)
        if len(boxes):
            corners, scores = (tengen.tensor(part.astype(np.float32)) for part in (boxes[:, :4], boxes[:, 5]))
            kept = F.vision.nms(corners, scores, 0.5).numpy()
        found.append(boxes[kept])
    return found


def overlaps(box: np.ndarray, others: Boxes) -> np.ndarray:
    """Intersection over union of a box with others."""
    sides = np.minimum(box[2:4], others[:, 2:4]) - np.maximum(box[:2], others[:, :2])
    both = np.prod(np.maximum(sides, 0), axis=1)
    areas = [np.prod(b[..., 2:4] - b[..., :2], axis=-1) for b in (box, others)]
    return both / (areas[0] + areas[1] - both)


def average_precision(found: Sequence[Boxes], true: Sequence[Boxes], least: float = 0.5) -> float:
    """The area under precision over recall, for all classes together. A box is right if it has the class of an object and overlaps it enough."""
    rows, seen = [], set()
    for box, index in sorted(((box, i) for i, boxes in enumerate(found) for box in boxes), key=lambda row: -row[0][5]):
        share = overlaps(box, true[index]) * (true[index][:, 4] == box[4])
        best = (index, int(share.argmax())) if len(share) else None
        right = best is not None and share.max() >= least and best not in seen
        rows.append(right)
        seen |= {best} if right else set()
    right = np.cumsum(rows)
    precision = right / np.arange(1, len(rows) + 1)
    steps = np.diff(right, prepend=0) / max(1, sum(map(len, true)))
    return float(np.sum(np.maximum.accumulate(precision[::-1])[::-1] * steps)) if rows else 0.0


def work(options: Namespace) -> None:
    """Train on scenes that are drawn on the way, measure on new ones, draw a few."""
    net = Detector()
    optimizer = AdamW(net.parameters(), lr=4e-3)
    step = learner(net, optimizer, loss_of(net), clip=10.0)  # type: ignore[arg-type]
    losses = train(step, batches(np.random.default_rng(options.seed)), options.steps, optimizer, options.tensorboard)

    net.eval()
    random = np.random.default_rng([options.seed, 1])
    images, true = zip(*(scene(random) for _ in range(100)), strict=True)
    found = detect(net, np.stack(images))
    reached = average_precision(found, true)
    print(
        f"average precision {reached:.3f} at an overlap of 0.5, {sum(map(len, true))} objects in {len(true)} new scenes"
    )

    picture = figure(f"A detector finds shapes: average precision {reached:.3f}", 13, 6)
    left, right = picture.subfigures(1, 2, width_ratios=(1, 2))
    curve(left.subplots(), losses)
    for axes, image, boxes in zip(right.subplots(2, 4).flat, images, found, strict=False):
        axes.imshow(np.clip(image.transpose(1, 2, 0), 0, 1))
        for x1, y1, x2, y2, kind, score in boxes:
            axes.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color="white", linewidth=2.5)
            axes.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=ORANGE, linewidth=1.2)
            note = f"{KINDS[int(kind)]} {score:.0%}"
            axes.text(
                x1, y1 - 1, note, fontsize=6.5, color="white", backgroundcolor=BLUE, bbox={"pad": 0.8, "color": BLUE}
            )
        axes.set(xlim=(-0.5, SIZE - 0.5), ylim=(SIZE - 0.5, -0.5))
        plain(axes)
    save(picture, options.output / "detector.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; the exit code."""
    return run(Options("detector", "A detector learns to find shapes in drawn scenes.", steps=400), work, arguments)


if __name__ == "__main__":
    sys.exit(main())
