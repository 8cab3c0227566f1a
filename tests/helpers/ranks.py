"""Runs a function in processes of their own, which are the ranks of a world."""

from __future__ import annotations

import glob
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tengen.distributed as dist


def ranks(size: int, function: Callable[..., Any], *args: Any, **options: Any) -> list[Any]:
    """What each of `size` processes returns."""
    return dist.launcher(function, n_gpus=size, **options)(*args)


@contextmanager
def nothing_left() -> Iterator[None]:
    """Checks that no file of shared memory stays behind. Another test may be starting a world, so they may be there for a moment."""
    before = set(glob.glob("/dev/shm/mpich_shm*"))
    yield
    left, until = set(glob.glob("/dev/shm/mpich_shm*")) - before, time.monotonic() + 10
    while any(map(os.path.exists, left)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(os.path.exists, left))


@contextmanager
def ended(program: subprocess.Popen[str]) -> Iterator[None]:
    """A program, and the processes that it has started, do not outlive the block, whatever fails in there."""
    try:
        yield
    finally:
        program.kill()  # of one that has ended nothing happens
