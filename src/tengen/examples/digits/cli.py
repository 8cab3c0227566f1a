"""The command line of the demo."""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec

import tengen
import tengen.distributed as dist

from ...base.device import parse
from ...base.errors import DeviceError
from ..common import BAD_INPUT, INTERRUPTED, tensorboard
from ..interrupts import stopped_early
from .checkpoint import load_checkpoint
from .data import load
from .options import parser, places, resuming, settings_of
from .report import draw
from .trainer import Diverged, Trainer


def _agreed(stop: Callable[[], bool]) -> Callable[[], bool]:
    """Whether all processes are to stop, because one of them is."""
    return lambda: dist.functional.all_reduce_max(tengen.tensor([int(stop())])).item() > 0


def _run(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    if options.device is not None and not dist.is_distributed():
        tengen.set_default_device(options.device)
    source, checkpoint = places(options)
    state = None if source is None else load_checkpoint(source)
    settings = settings_of(options, None if state is None else state["settings"])
    checkpoint.parent.mkdir(parents=True, exist_ok=True)

    train, test = load()
    trainer = Trainer(settings, train, test, checkpoint, options.trace)
    if state is not None:
        trainer.restore(state)
    first = dist.get_rank() == 0
    with stopped_early() as stop, tensorboard(options.tensorboard if first else None) as log:
        done = trainer.run(_agreed(stop) if dist.is_distributed() else stop, log)
        if not first:
            return 0
        if not done:
            print(f"Interrupted. The run is saved in {checkpoint}; resume it with:", file=sys.stderr)
            print(f"  {shlex.join(resuming(options, checkpoint))}", file=sys.stderr)
            return INTERRUPTED

    trainer.load_best()
    logits = trainer.predict(test.images)
    picture = checkpoint.with_name("report.png")
    draw(picture, trainer.history, trainer.best["epoch"], test, logits)
    right = int((logits.argmax(1) == test.labels).sum())
    print(f"Test accuracy {right / len(test):.2%}: {right} of {len(test)} scans (epoch {trainer.best['epoch'] + 1})")
    print(f"{time.perf_counter() - started:.1f} s; picture: {picture}, checkpoint: {checkpoint}")
    return 0


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
    with stopped_early():
        kind = parse(options.device or tengen.get_default_device()).kind
        codes = dist.launcher(_guarded, n_gpus=options.workers, device_type=kind)(_run, options)
    return int(codes[0])


def _start(options: argparse.Namespace) -> int:
    """Look for the packages that the options need, then do the run."""
    if options.workers > 1 and find_spec("mpi4py") is None:
        raise ValueError("--workers needs the extra 'mpi'; run: pip install 'tengen[mpi]'")
    if options.tensorboard is not None and find_spec("tensorboardX") is None:
        raise ValueError("--tensorboard needs the package tensorboardX; run: pip install tensorboardX")
    return _run(options) if options.workers == 1 else _run_together(options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo with these command-line arguments; the exit code."""
    try:
        options = parser().parse_args(arguments)
    except KeyboardInterrupt:
        print("digits: interrupted", file=sys.stderr)
        return INTERRUPTED
    return _guarded(_start, options)
