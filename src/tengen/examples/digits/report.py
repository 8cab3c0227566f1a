"""The picture of a run: learning curves, confusion matrix, and the hardest scans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ...base.files import write_whole
from ..pictures import BLUE as TRAIN
from ..pictures import INK, MUTED
from ..pictures import ORANGE as TEST
from .checkpoint import History
from .data import Scans

# How many of the hardest scans are shown.
SHOWN = 16


def draw(path: Path, history: History, best: int, test: Scans, logits: np.ndarray) -> None:
    """Write the picture as PNG; it replaces the file once it is complete.

    Args:
        path: where to.
        history: of the run.
        best: the epoch that `logits` are from, counted from 0.
        test: the test scans.
        logits: the results of the network for them.
    """
    figure = Figure(figsize=(13.5, 6.2), dpi=110, facecolor="white")
    accuracy = float(np.mean(logits.argmax(1) == test.labels))
    title = f"LeNet reads handwritten digits: {accuracy:.2%} of {len(test)} test scans right"
    figure.text(0.05, 0.94, title, fontsize=16, color=INK)
    left = figure.add_gridspec(2, 1, left=0.05, right=0.315, top=0.83, bottom=0.09, hspace=0.5)
    loss, score = figure.add_subplot(left[0]), figure.add_subplot(left[1])
    _curves(loss, "Loss", history.train_loss, history.test_loss, best)
    loss.legend(frameon=False, fontsize=9)
    _curves(score, "Accuracy", history.train_accuracy, history.test_accuracy, best)
    score.set_ylim(min(0.9, history.test_accuracy[best]), 1.003)
    score.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    middle = figure.add_gridspec(1, 1, left=0.365, right=0.68, top=0.83, bottom=0.09)
    _confusion(figure.add_subplot(middle[0], anchor="N"), test.labels, logits.argmax(1))
    _hardest(figure, test, logits)

    with write_whole(path) as file:
        figure.savefig(file, format="png")


def _title(axes: Any, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=11, color=INK, pad=8)


def _curves(axes: Any, title: str, train: list[float], test: list[float], best: int) -> None:
    epochs = np.arange(1, len(train) + 1)
    axes.axvline(best + 1, color=MUTED, linewidth=0.8, linestyle=":", label="best epoch")
    axes.plot(epochs, train, color=TRAIN, linewidth=1.6, label="training (shifted scans)")
    axes.plot(epochs, test, color=TEST, linewidth=1.6, label="test")
    _title(axes, title)
    axes.set_xlabel("epoch", color=MUTED)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=MUTED)


def _confusion(axes: Any, labels: np.ndarray, predicted: np.ndarray) -> None:
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predicted), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    # The root lets a single mistake show beside the full diagonal.
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        dark = shares[row, column] > 0.3
        axes.text(
            column, row, counts[row, column], ha="center", va="center", fontsize=10,
            color="white" if dark else TEST, fontweight="normal" if dark else "bold",
        )  # fmt: skip
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    axes.tick_params(length=0, labelsize=10, colors=MUTED)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("what the network reads", color=MUTED)
    axes.set_ylabel("what was written", color=MUTED)
    _title(axes, "Confusion matrix (scans)")


def _hardest(figure: Figure, test: Scans, logits: np.ndarray) -> None:
    """The misread scans, and after them those that were read right but with the least confidence."""
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    predicted = logits.argmax(1)
    confidence = probabilities.max(1)
    wrong = predicted != test.labels
    # Misread scans first, the surest mistake leading; then right ones, the least sure leading.
    order = np.argsort(np.where(wrong, -confidence, confidence))[:SHOWN]
    title = f"Misread scans ({wrong.sum()}), then the least certain"
    figure.text(0.725, 0.848, title, fontsize=11, color=INK)
    grid = figure.add_gridspec(4, 4, left=0.725, right=0.975, top=0.8, bottom=0.06, hspace=0.45, wspace=0.2)
    for place, scan in enumerate(order):
        axes = figure.add_subplot(grid[divmod(place, 4)])
        axes.imshow(test.images[scan, 0], cmap="gray_r", vmin=0, vmax=1)
        verdict = f"{test.labels[scan]} → {predicted[scan]}" if wrong[scan] else f"{predicted[scan]}"
        colour = TEST if wrong[scan] else MUTED
        axes.set_title(f"{verdict}, {confidence[scan]:.0%}", fontsize=8.5, color=colour, pad=4)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color(colour)
        axes.spines[:].set_linewidth(2.0 if wrong[scan] else 0.8)
