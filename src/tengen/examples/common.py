"""What the examples share: options, a training loop, and pictures. It is small enough to read; copy what you need."""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import tengen

from ..autodiff import GradManager
from ..base.files import write_whole
from ..jit import trace
from ..module import Module
from ..optimizer import Optimizer, clip_grad_norm

BAD_INPUT, INTERRUPTED = 2, 130
EXTRA = ("gymnasium", "matplotlib", "mpi4py", "scipy", "sklearn", "tqdm")
BLUE, ORANGE, INK, MUTED = "#2a78b8", "#d9602b", "#222222", "#777777"

Batch = tuple[np.ndarray, ...]


class Options(argparse.ArgumentParser):
    """Options of an example: --steps, --seed and --output, and those that it adds. Errors take one line."""

    def __init__(self, name: str, description: str, steps: int):
        super().__init__(prog=name, description=description)
        self.add_argument("--steps", type=at_least(1), default=steps, help=f"of training ({steps})")
        self.add_argument("--seed", type=at_least(0), default=0, help="the same seed gives the same result (0)")
        folder = Path("out") / name
        self.add_argument("--output", type=Path, default=folder, help=f"folder of the picture ({folder})")

    def error(self, message: str) -> NoReturn:
        """Print the message alone, without the usage."""
        self.exit(BAD_INPUT, f"{self.prog}: error: {message}\n")


def at_least(least: int) -> Callable[[str], int]:
    """What argparse calls for a whole number that is not below `least`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 10) or int(text) < least:
            raise argparse.ArgumentTypeError(f"a whole number of at least {least} is needed, got {text!r}")
        return int(text)

    return parse


def run(options: Options, work: Callable[[argparse.Namespace], None], arguments: Sequence[str] | None = None) -> int:
    """Do the work with these command-line arguments; returns the exit code. A missing package is reported in one line."""
    chosen = options.parse_args(arguments)
    try:
        chosen.output.mkdir(parents=True, exist_ok=True)
        tengen.random.seed(chosen.seed)
        work(chosen)
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        said = f"{error.name} is not installed; run: pip install 'tengen[examples]'"
    except (ArithmeticError, OSError) as error:
        said = str(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    else:
        return 0
    print(f"{options.prog}: error: {said}", file=sys.stderr)
    return BAD_INPUT


def learner(net: Module, optimizer: Optimizer, loss_of: Callable[..., Any], clip: float | None = None) -> Any:
    """A training step as one compiled Program: it takes the tensors that `loss_of` takes, and returns the loss.

    Args:
        net: the network to train.
        optimizer: has its parameters.
        loss_of: the loss of a batch.
        clip: scale the gradients down if their norm exceeds this.
    """
    manager = GradManager().attach(net.parameters())

    @trace(without_host=True)
    def step(*batch: Any) -> Any:
        with manager:
            loss = loss_of(*batch)
            manager.backward(loss)
        if clip is not None:
            clip_grad_norm(net.parameters(), clip)
        optimizer.step().clear_grad()
        return loss

    return step


def train(
    step: Callable[..., Any], batches: Iterator[Batch], steps: int, optimizer: Optimizer | None = None
) -> list[float]:
    """Run training steps with a progress bar; returns the loss of each. Ctrl-C ends it early and keeps what was learnt.

    Args:
        step: takes the tensors of a batch, returns the loss.
        batches: arrays without end.
        steps: how many.
        optimizer: its learning rate rises for a twentieth of the steps, then falls to zero along a cosine (Loshchilov and Hutter 2017).
    """
    from tqdm import tqdm

    losses: list[float] = []
    rates = [group["lr"] for group in optimizer.param_groups] if optimizer else []
    with stopped_early() as stop, tqdm(total=steps, unit=" steps", dynamic_ncols=True) as bar:
        while len(losses) < steps and not stop():
            for group, rate in zip(optimizer.param_groups if optimizer else (), rates, strict=True):
                done = len(losses) / steps
                group["lr"] = rate * min(20 * done + 1 / steps, 0.5 + 0.5 * math.cos(math.pi * done))
            losses.append(step(*map(tengen.tensor, next(batches))).item())
            if not math.isfinite(losses[-1]):
                raise ArithmeticError(f"the loss became {losses[-1]} in step {len(losses)}")
            bar.set_postfix(loss=f"{np.mean(losses[-20:]):.4f}", refresh=False)
            bar.update()
    return losses


@contextmanager
def stopped_early() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, as a function. A second one interrupts at once."""
    pressed = False

    def note(*_: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)
        print("\nThis step is the last; again Ctrl-C ends at once.", file=sys.stderr)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def epochs(arrays: Sequence[np.ndarray], size: int, random: np.random.Generator) -> Iterator[Batch]:
    """Batches of matching rows in random order, epoch after epoch; the last rows of an epoch that do not fill a batch are left out."""
    count = len(arrays[0])
    while True:
        order = random.permutation(count)
        for start in range(0, count - count % min(size, count), min(size, count)):
            chosen = order[start : start + size]
            yield tuple(array[chosen] for array in arrays)


# -- pictures ----------------------------------------------------------------------------------------------------


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
