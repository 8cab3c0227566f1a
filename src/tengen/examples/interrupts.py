"""Ctrl-C ends a training after the current step, and keeps what was learnt."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import active_children

from ..distributed import is_distributed


@contextmanager
def stopped_early() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, as a function. A second one interrupts at once.

    Processes that were started here are told, because the key is meant for all of them. Each may hear of it several times, and their starter
    is the one to end them at once.
    """
    pressed = False

    def note(*_: object) -> None:
        nonlocal pressed
        pressed = True
        for child in active_children():
            os.kill(child.pid or 0, signal.SIGINT)
        if not is_distributed():
            signal.signal(signal.SIGINT, before)
            print("\nThis step is the last; again Ctrl-C ends at once.", file=sys.stderr)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
