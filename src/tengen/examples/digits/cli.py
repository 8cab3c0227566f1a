"""The command line of the demo."""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from multiprocessing import active_children
from pathlib import Path
from typing import NoReturn

import tengen
import tengen.distributed as dist

from ...base.errors import DeviceError
from .data import load
from .report import draw
from .trainer import DEFAULT_LR, OPTIMIZERS, Diverged, Settings, Trainer, load_checkpoint

BAD_INPUT, INTERRUPTED = 2, 130
OUTPUT, CHECKPOINT = Path("out/digits"), "checkpoint.tg"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print the message in one line, without the usage."""
        self.exit(BAD_INPUT, f"{self.prog}: error: {message}\n")


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 19) or int(text) < least:
            raise argparse.ArgumentTypeError(f"a whole number of at least {least} is needed, got {text!r}")
        return int(text)

    return parse


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"a number above 0 is needed, got {text!r}")
    return value


def _parser() -> _Parser:
    parser = _Parser(prog="digits", description="Train LeNet on 1,797 scans of handwritten digits.")
    add, normal = parser.add_argument, Settings()
    rates = ", ".join(f"{lr} for {name}" for name, lr in DEFAULT_LR.items())
    add("--epochs", type=_at_least(1), help=f"passes over the training scans ({normal.epochs})")
    add("--batch-size", type=_at_least(1), help=f"images a step ({normal.batch_size})")
    add("--lr", type=_positive, help=f"learning rate at the start ({rates})")
    add("--optimizer", choices=sorted(OPTIMIZERS), help=f"({normal.optimizer})")
    add("--seed", type=_at_least(0), help=f"the same seed gives the same network ({normal.seed})")
    add("--device", help="such as cpu0 (xpux: the best there is)")
    add("--workers", type=_at_least(1), default=1, help="processes that share each batch (1)")
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
    return parser


def _places(options: argparse.Namespace) -> tuple[Path | None, Path]:
    """The checkpoint to resume from, if any, and the one to write: the same, unless an output folder was named."""
    output = OUTPUT if options.output is None else options.output
    if options.resume is None:
        return None, output / CHECKPOINT
    source = output if options.resume is True else options.resume
    if source.is_dir():
        source = source / CHECKPOINT
    return source, source if options.output is None else output / CHECKPOINT


def _settings(options: argparse.Namespace, saved: Settings | None) -> Settings:
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


@contextmanager
def _watch_for_interrupt() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, as a function. The first one only sets it; a second one interrupts at once.

    Processes that were started here are told, because the key is meant for all of them. Each may hear of it several times, and their starter
    is the one to end them at once.
    """
    pressed = False

    def note(*_: object) -> None:
        nonlocal pressed
        pressed = True
        for child in active_children():
            os.kill(child.pid or 0, signal.SIGINT)
        if not dist.is_distributed():
            signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _agreed(stop: Callable[[], bool]) -> Callable[[], bool]:
    """Whether all processes are to stop, because one of them is."""
    return lambda: dist.functional.all_reduce_max(tengen.tensor([int(stop())])).item() > 0


def _run(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    if options.device is not None:
        tengen.set_default_device(options.device)
    source, checkpoint = _places(options)
    state = None if source is None else load_checkpoint(source)
    settings = _settings(options, None if state is None else state["settings"])
    checkpoint.parent.mkdir(parents=True, exist_ok=True)

    train, test = load()
    trainer = Trainer(settings, train, test, checkpoint, options.trace)
    if state is not None:
        trainer.restore(state)
    with _watch_for_interrupt() as stop:
        done = trainer.run(_agreed(stop) if dist.is_distributed() else stop)
        if dist.get_rank() > 0:
            return 0
        if not done:
            print(f"Interrupted. The run is saved in {checkpoint}; resume it with:", file=sys.stderr)
            print(f"  {shlex.join(_resuming(options, checkpoint))}", file=sys.stderr)
            return INTERRUPTED

    trainer.load_best()
    logits = trainer.predict(test.images)
    picture = checkpoint.with_name("report.png")
    draw(picture, trainer.history, trainer.best["epoch"], test, logits)
    right = int((logits.argmax(1) == test.labels).sum())
    print(f"Test accuracy {right / len(test):.2%}: {right} of {len(test)} scans (epoch {trainer.best['epoch'] + 1})")
    print(f"{time.perf_counter() - started:.1f} s; picture: {picture}, checkpoint: {checkpoint}")
    return 0


def _resuming(options: argparse.Namespace, checkpoint: Path) -> list[str]:
    """The command that resumes a run. Options repeat what is not in the checkpoint."""
    command = [sys.executable, "-m", "tengen.examples.digits", "--resume", str(checkpoint)]
    if options.device is not None:
        command += ["--device", options.device]
    if options.workers > 1:
        command += ["--workers", str(options.workers)]
    return [*command, "--trace"] if options.trace else command


def _sentence(error: OSError) -> str:
    """A sentence for people about what is wrong with a file or folder."""
    path = error.filename
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return f"{path} cannot be a folder: there is a file of that name"
    if error.errno == errno.ENOENT:
        return f"{path} is not there"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; what was saved before is still there"
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return f"{path} cannot be used: {reason}" if path else reason


def _guarded(run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """The exit code of a run. An error is reported in one line, which only the first process prints if all of them know it."""
    try:
        return run(options)
    except KeyboardInterrupt:
        message = "interrupted"
        code = INTERRUPTED
    except (ValueError, Diverged, DeviceError) as error:
        message, code = f"error: {error}", BAD_INPUT
    except OSError as error:
        message, code = f"error: {_sentence(error)}", BAD_INPUT
    except dist.WorkerError as error:
        if "\n" in str(error):  # it raised something else, so the traceback is needed
            raise
        message, code = f"error: {error}; --resume continues the run", BAD_INPUT
    except dist.DistributedError:
        if dist.get_rank() == 0:
            raise
        return BAD_INPUT  # the first one has ended, and reports why
    if dist.get_rank() == 0:
        print(f"digits: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code


def _run_together(options: argparse.Namespace) -> int:
    """Do the run in processes of its own."""
    if find_spec("mpi4py") is None:
        raise ValueError("--workers needs the extra 'mpi'; run: pip install 'tengen[mpi]'")
    with _watch_for_interrupt():
        codes = dist.launcher(_guarded, n_gpus=options.workers)(_run, options)
    return int(codes[0])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo with these command-line arguments; the exit code."""
    try:
        options = _parser().parse_args(arguments)
    except KeyboardInterrupt:
        print("digits: interrupted", file=sys.stderr)
        return INTERRUPTED
    return _guarded(_run if options.workers == 1 else _run_together, options)
