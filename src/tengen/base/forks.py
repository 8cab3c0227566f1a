"""Locks that are never left taken, in a forked process, by a thread that the process does not have."""

from __future__ import annotations

import os
import threading


def held_at_fork(count: int) -> tuple[threading.RLock, ...]:
    """`count` new locks. A fork takes them first, in order, and so waits for the threads that hold them.

    They are re-entrant, as a signal handler may run where its thread holds one. A thread takes a later one while it holds an earlier one, never
    the other way round.
    """
    locks = tuple(threading.RLock() for _ in range(count))

    def take() -> None:
        for lock in locks:
            lock.acquire()

    def give() -> None:
        for lock in reversed(locks):
            lock.release()

    os.register_at_fork(before=take, after_in_parent=give, after_in_child=give)
    return locks
