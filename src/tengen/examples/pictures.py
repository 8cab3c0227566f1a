"""Pictures of the examples: a figure with a title, curves of losses, and images side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..base.files import write_whole

BLUE, ORANGE, INK, MUTED = "#2a78b8", "#d9602b", "#222222", "#777777"


def figure(title: str, width: float = 12, height: float = 5) -> Any:
    """An empty picture with a title; sizes in inches."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), dpi=110, facecolor="white", layout="constrained")
    made.suptitle(title, x=0.02, ha="left", fontsize=15, color=INK)
    return made


def save(made: Any, path: Path) -> None:
    """Write a picture as PNG, whole or not at all, and print where."""
    with write_whole(path) as file:
        made.savefig(file, format="png")
    print(f"picture: {path}")


def plain(axes: Any, title: str = "") -> None:
    """Remove the ticks of axes that show an image."""
    axes.set_title(title, fontsize=9, color=MUTED)
    axes.set_xticks([])
    axes.set_yticks([])


def curve(axes: Any, losses: Sequence[float], title: str = "loss of training", colour: str = BLUE) -> None:
    """Plot the losses of the steps, and their running mean."""
    axes.plot(losses, color=colour, alpha=0.25, linewidth=0.8)
    window = max(1, len(losses) // 25)
    smooth = np.convolve(losses, np.ones(window) / window, "valid")
    axes.plot(np.arange(len(smooth)) + window // 2, smooth, color=colour, linewidth=1.8)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel("step", color=MUTED)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=MUTED)


def tiles(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (N, H, W) from 0 to 1, one beside the other, with a pixel of 0 around each."""
    framed = np.pad(images, ((0, -len(images) % columns), (1, 1), (1, 1)))
    rows = framed.reshape(-1, columns, *framed.shape[1:]).transpose(0, 2, 1, 3)
    return rows.reshape(rows.shape[0] * rows.shape[1], -1)
