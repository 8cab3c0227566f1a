"""What the examples share: options, and a loop of training. It is small enough to read; copy what you need."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import tengen

from ..autodiff import GradManager
from ..jit import trace
from ..module import Module
from ..optimizer import Optimizer, clip_grad_norm
from .interrupts import stopped_early

BAD_INPUT, INTERRUPTED = 2, 130
EXTRA = ("gymnasium", "matplotlib", "mpi4py", "scipy", "sklearn", "tensorboardX", "tqdm")

Batch = tuple[np.ndarray, ...]


class Parser(argparse.ArgumentParser):
    """Errors take one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message alone, without the usage."""
        self.exit(BAD_INPUT, f"{self.prog}: error: {message}\n")


class Options(Parser):
    """Options of an example: --steps, --seed, --output and --tensorboard, and those that it adds."""

    def __init__(self, name: str, description: str, steps: int):
        super().__init__(prog=name, description=description)
        self.add_argument("--steps", type=at_least(1), default=steps, help=f"of training ({steps})")
        self.add_argument("--seed", type=at_least(0), default=0, help="the same seed gives the same result (0)")
        folder = Path("out") / name
        self.add_argument("--output", type=Path, default=folder, help=f"folder of the picture ({folder})")
        self.add_argument(
            "--tensorboard", type=Path, metavar="FOLDER", help="also write each step's figures for TensorBoard"
        )


def at_least(least: int) -> Callable[[str], int]:
    """What argparse calls for a whole number that is not below `least`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 19) or int(text) < least:
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
    step: Callable[..., Any],
    batches: Iterator[Batch],
    steps: int,
    optimizer: Optimizer | None = None,
    folder: Path | None = None,
) -> list[float]:
    """Run training steps with a progress bar; returns the loss of each. Ctrl-C ends it early and keeps what was learnt.

    Args:
        step: takes the tensors of a batch, returns the loss.
        batches: arrays without end.
        steps: how many.
        optimizer: its learning rate rises for a twentieth of the steps, then falls to zero along a cosine (Loshchilov and Hutter 2017).
        folder: where losses and learning rates are written for TensorBoard.
    """
    from tqdm import tqdm

    losses: list[float] = []
    rates = [group["lr"] for group in optimizer.param_groups] if optimizer else []
    with (
        stopped_early() as stop,
        tensorboard(folder) as log,
        tqdm(total=steps, unit=" steps", dynamic_ncols=True) as bar,
    ):
        while len(losses) < steps and not stop():
            for group, rate in zip(optimizer.param_groups if optimizer else (), rates, strict=True):
                done = len(losses) / steps
                group["lr"] = rate * min(20 * done + 1 / steps, 0.5 + 0.5 * math.cos(math.pi * done))
            losses.append(step(*map(tengen.tensor, next(batches))).item())
            if not math.isfinite(losses[-1]):
                raise ArithmeticError(f"the loss became {losses[-1]} in step {len(losses)}")
            log(len(losses), loss=losses[-1], **({"lr": optimizer.param_groups[0]["lr"]} if optimizer else {}))
            bar.set_postfix(loss=f"{np.mean(losses[-20:]):.4f}", refresh=False)
            bar.update()
    return losses


@contextmanager
def tensorboard(folder: Path | None) -> Iterator[Callable[..., None]]:
    """What writes figures into a folder for TensorBoard: `log(step, loss=0.5)`. Without a folder it does nothing."""
    if folder is None:
        yield lambda step, **figures: None
        return
    from tensorboardX import SummaryWriter

    def log(step: int, **figures: float) -> None:
        for name, figure in figures.items():
            writer.add_scalar(name, figure, step)

    with SummaryWriter(str(folder)) as writer:
        yield log


def epochs(arrays: Sequence[np.ndarray], size: int, random: np.random.Generator) -> Iterator[Batch]:
    """Batches of matching rows in random order, epoch after epoch; the last rows of an epoch that do not fill a batch are left out."""
    count = len(arrays[0])
    while True:
        order = random.permutation(count)
        for start in range(0, count - count % min(size, count), min(size, count)):
            chosen = order[start : start + size]
            yield tuple(array[chosen] for array in arrays)
