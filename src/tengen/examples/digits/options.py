"""The options of the demo, and what follows from them."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from ..common import Parser, at_least
from .checkpoint import DEFAULT_LR, Settings
from .trainer import OPTIMIZERS

OUTPUT, CHECKPOINT = Path("out/digits"), "checkpoint.tg"


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"a number above 0 is needed, got {text!r}")
    return value


def parser() -> Parser:
    """What reads the command line."""
    made = Parser(prog="digits", description="Train LeNet on 1,797 scans of handwritten digits.")
    add, normal = made.add_argument, Settings()
    rates = ", ".join(f"{lr} for {name}" for name, lr in DEFAULT_LR.items())
    add("--epochs", type=at_least(1), help=f"passes over the training scans ({normal.epochs})")
    add("--batch-size", type=at_least(1), help=f"images a step ({normal.batch_size})")
    add("--lr", type=_positive, help=f"learning rate at the start ({rates})")
    add("--optimizer", choices=sorted(OPTIMIZERS), help=f"({normal.optimizer})")
    add("--seed", type=at_least(0), help=f"the same seed gives the same network ({normal.seed})")
    add("--device", help="such as gpu0 or cpu0 (xpux: a GPU if there is one)")
    add("--workers", type=at_least(1), default=1, help="processes that share each batch, on GPUs each with its own (1)")
    add("--tensorboard", type=Path, metavar="FOLDER", help="also write each epoch's figures for TensorBoard")
    add("--trace", action="store_true", help="compile the whole training step and run it without Python")
    add("--output", type=Path, help=f"folder of checkpoint and picture (that of the run to resume, or {OUTPUT})")
    add(
        "--resume",
        type=Path,
        nargs="?",
        const=True,
        metavar="CHECKPOINT",
        help="resume an interrupted run with its settings (the one in the output folder if none is named)",
    )
    return made


def places(options: argparse.Namespace) -> tuple[Path | None, Path]:
    """The checkpoint to resume from, if any, and the one to write: the same, unless an output folder was named."""
    output = OUTPUT if options.output is None else options.output
    if options.resume is None:
        return None, output / CHECKPOINT
    source = output if options.resume is True else options.resume
    if source.is_dir():
        source = source / CHECKPOINT
    return source, source if options.output is None else output / CHECKPOINT


def settings_of(options: argparse.Namespace, saved: Settings | None) -> Settings:
    """The requested settings; for a resumed run, its own. Raises ValueError if the two differ."""
    given = {name: getattr(options, name) for name in asdict(Settings()) if getattr(options, name) is not None}
    if saved is None:
        optimizer = given.get("optimizer", Settings.optimizer)
        return Settings(**{"lr": DEFAULT_LR[optimizer], **given})
    for name, value in given.items():
        if value != getattr(saved, name):
            option = "--" + name.replace("_", "-")
            raise ValueError(f"the run to resume has {option} {getattr(saved, name)}, and cannot continue with {value}")
    return saved


def resuming(options: argparse.Namespace, checkpoint: Path) -> list[str]:
    """The command that resumes a run. Options repeat what is not in the checkpoint."""
    command = [sys.executable, "-m", "tengen.examples.digits", "--resume", str(checkpoint)]
    if options.device is not None:
        command += ["--device", options.device]
    if options.workers > 1:
        command += ["--workers", str(options.workers)]
    if options.tensorboard is not None:
        command += ["--tensorboard", str(options.tensorboard)]
    return [*command, "--trace"] if options.trace else command
