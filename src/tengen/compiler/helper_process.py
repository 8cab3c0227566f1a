"""What the helper runs (see `helper`)."""

from __future__ import annotations

import _thread
import os
import pickle
from contextlib import suppress
from time import perf_counter, sleep
from typing import Any

from ..base import config
from . import cache
from .helper import claim, give_up
from .kernels.target import Target

PAUSE = 0.005  # seconds between two looks for work


def serve(jobs: int, life: int, idle: float, folder: str) -> None:
    """Compile the kernels that are told in the file `jobs` into the folder, until none has come for `idle` seconds or the pipe
    `life` is closed. The last one comes first, as the other process begins with the first one."""
    _thread.start_new_thread(_end_with, (life,))
    os.nice(10)  # kernels that run go first
    config.set("cache_dir", folder)
    place, waiting, busy = 0, list[tuple[str, Any, Target]](), perf_counter()
    while perf_counter() - busy < idle:
        place = _read(jobs, place, waiting)
        if waiting:
            _compile(jobs, *waiting.pop())
            busy = perf_counter()
        else:
            sleep(PAUSE)


def _end_with(life: int) -> None:
    os.read(life, 1)
    os._exit(0)


def _read(jobs: int, place: int, found: list[tuple[str, Any, Target]]) -> int:
    """Append the kernels that were told since this place in the file. Returns the place after them."""
    content = os.pread(jobs, os.fstat(jobs).st_size - place, place)
    at = 0
    while at + 8 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 8], "little")
        if end > len(content):  # it is being written
            break
        found.append(pickle.loads(content[at + 8 : end]))
        at = end
    return place + at


def _compile(jobs: int, name: str, source: Any, target: Target) -> None:
    if not claim(jobs, name):
        return
    # A function that the program has added to the IR is not known here, and the name is another one.
    if not cache.has(name) and cache.kernel_name(source, target) == name:
        with suppress(Exception):  # the other process will meet it too, and tell the user
            cache.write(name, cache.compiled(source, target))
    if not cache.has(name):
        give_up(jobs, name)
