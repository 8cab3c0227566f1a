"""Workers that are threads: batches in the order of their tasks, some of them made ahead of time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

from .fetch import Failure, Fetch

AHEAD = 2  # batches that each worker may be ahead


class _Shared:
    """The state that the workers share with the consumer of the batches. They hold nothing else, so an abandoned iterator is collected."""

    def __init__(self, fetch: Fetch, tasks: Iterator[Any], ahead: int):
        self.fetch, self.tasks, self.ahead = fetch, tasks, ahead
        self.source = threading.Lock()  # held by the worker while it takes a task
        self.changed = threading.Condition()  # guards what follows
        self.results: dict[int, tuple[int, Any]] = {}  # (worker, batch or Failure)
        self.started = self.taken = 0
        self.ended = self.stopped = False

    def work(self, worker: int) -> None:
        """Make batches until there is nothing left to do."""
        while True:
            with self.source:
                with self.changed:
                    self.changed.wait_for(lambda: self.stopped or self.started - self.taken < self.ahead)
                    if self.stopped or self.ended:
                        return
                    number = self.started
                try:
                    task = next(self.tasks)
                except StopIteration:
                    self._end()
                    return
                except BaseException as error:
                    self._put(number, worker, Failure.of(error))
                    self._end()
                    return
                with self.changed:
                    self.started += 1
            try:
                made = self.fetch(task)
            except BaseException as error:
                made = Failure.of(error)
            self._put(number, worker, made)

    def _put(self, number: int, worker: int, made: Any) -> None:
        with self.changed:
            self.started = max(self.started, number + 1)
            self.results[number] = worker, made
            self.changed.notify_all()

    def _end(self) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def take(self, number: int, timeout: float) -> tuple[int, Any] | None:
        """The batch of this number and who made it, or None if there is none. Raises TimeoutError."""
        with self.changed:
            there = self.changed.wait_for(
                lambda: number in self.results or (self.ended and number >= self.started), timeout or None
            )
            if not there:
                raise TimeoutError
            found = self.results.pop(number, None)
            self.taken = number + 1
            self.changed.notify_all()
            return found

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.results.clear()
            self.changed.notify_all()


def in_threads(fetch: Fetch, tasks: Iterator[Any], count: int, timeout: float) -> Iterator[Any]:
    """`fetch(task)` of each task, in order, made by `count` threads. timeout: seconds to wait for a batch; 0 is for ever.

    Raises RuntimeError for what a worker or the tasks raise, and if a batch takes too long.
    """
    shared = _Shared(fetch, tasks, AHEAD * count)
    workers = [
        threading.Thread(target=shared.work, args=(i,), name=f"tengen-data-{i}", daemon=True) for i in range(count)
    ]
    try:
        for worker in workers:
            worker.start()
        number = 0
        while True:
            start = monotonic()
            try:
                found = shared.take(number, timeout)
            except TimeoutError:
                raise RuntimeError(f"DataLoader timed out after {monotonic() - start:.1f} seconds") from None
            if found is None:
                return
            which, made = found
            if isinstance(made, Failure):
                raise made.raised_by(f"worker thread {which}") from made.error
            yield made
            number += 1
    finally:
        shared.stop()
