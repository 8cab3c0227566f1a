"""Collective operations over MPI, in a thread of their own, and errors that say what is wrong when one of them cannot finish.

A communicator runs its operations one after the other, in the order in which they were started, while the program continues. Before
each of them, the processes compare what they are about to do: different shapes, dtypes or operations are an error that all of them
raise, not a hang and not a wrong sum. A process that waits for long reads the board of the world's server, which knows which processes are
gone, and where the missing ones are.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from hashlib import blake2b
from time import perf_counter, sleep
from typing import Any, NamedTuple

import numpy as np

from ..base import config
from ..base.usage import is_ours
from .exchange import KINDS, Array, Exchange
from .rendezvous import Client

LOOK_SECONDS = 0.5
"""A process that waits checks on the others each time that so many seconds have passed."""
SPIN_SECONDS = 50e-6
"""How long a thread polls for the others before it begins to sleep, in seconds."""
LONGEST_NAP = 1e-3


class DistributedError(RuntimeError):
    """Processes do different things, or one of them is gone or late.

    The message says which one, and what it was doing.

    >>> issubclass(DistributedError, RuntimeError)
    True
    """


class Started:
    """An operation on its way."""

    def __init__(self, communicator: MpiCommunicator, number: int, what: str) -> None:
        self.number, self.what, self._communicator = number, f"#{number} {what}", communicator
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self.seen = False  # by the code that started it

    def wait(self) -> None:
        """Wait until it has ended. Raises DistributedError if it failed, or if another process is gone or late."""
        if not self.ended.wait(LOOK_SECONDS):
            self._communicator.wait_for(self)
        self.seen = True
        if self.error is not None:
            raise self.error


class _Order(NamedTuple):
    """What the thread is to do."""

    work: Started
    kind: str
    dtype: str
    given: Array
    out: Array


class MpiCommunicator:
    """The processes `ranks`, in this order. connect: makes their mpi4py communicator, and waits for all of them."""

    def __init__(self, mpi: Any, connect: Callable[[], Any], key: str, ranks: Sequence[int], client: Client) -> None:
        self._mpi, self._connect, self.key, self._ranks, self._client = mpi, connect, key, list(ranks), client
        self._comm: Any = None
        self.rank, self.size = self._ranks.index(client.rank), len(self._ranks)
        self._latest: Started | None = None
        self._broken: str = ""
        self._count, self._process = 0, os.getpid()
        self.ended = 0  # how many operations have ended
        self._last = "before its first operation"
        self._queue: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._main = threading.main_thread().ident
        threading.Thread(target=self._run, name="tengen-communicator", daemon=True).start()

    def start(self, kind: str, dtype: str, given: Array, out: Array, layout: str = "") -> Started:
        """Start an exchange; see base.world.Communicator. Raises DistributedError if an earlier one failed."""
        self._count += 1
        shape = ",".join(map(str, given.shape))
        work = Started(self, self._count, kind if kind == "barrier" else f"{kind} of {dtype}[{shape}]{layout}")
        if self._broken:
            raise DistributedError(f"{work.what}: the group of {self._ranks} is broken: {self._broken}")
        if os.getpid() != self._process:
            raise DistributedError(f"{work.what}: this process was forked from one of a world, and is not in it")
        self._queue.put(_Order(work, kind, dtype, given, out))
        self._latest = work
        return work

    def finish(self) -> None:
        """Wait for all that was started. Raises the error of one that failed, unless the program has already seen it."""
        if self._latest is not None and not self._latest.seen:
            self._latest.wait()

    # -- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                order = self._queue.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                self._say_where()
                continue
            if order is None:
                return
            self._do(order)
            del order

    def _do(self, order: _Order) -> None:
        work = order.work
        try:
            if self._broken:
                raise DistributedError(f"{work.what}: the group of {self._ranks} is broken: {self._broken}")
            if self._comm is None:
                self._comm = self._connect()
                self._comm.Set_errhandler(self._mpi.ERRORS_RETURN)
            self._agree(work.what)
            KINDS[order.kind](Exchange(self._mpi, self._comm, order.dtype, order.given, order.out))
        except BaseException as error:
            self._broken = self._broken or str(error)
            work.error = error
        self.ended, self._last = work.number, f"after {work.what}"
        work.ended.set()

    def _agree(self, what: str) -> None:
        """Raise DistributedError in every process unless all are about to do the same."""
        digest = int.from_bytes(blake2b(what.encode(), digest_size=7).digest(), "little")
        mine = np.array([digest, -digest], np.int64)
        most = np.empty_like(mine)
        self._poll(self._comm.Iallreduce(mine, most, self._mpi.MAX))
        if most[0] != -most[1]:
            said = [f"rank {rank}: {text}" for rank, text in zip(self._ranks, self._comm.allgather(what), strict=True)]
            raise DistributedError("the processes do different things: " + "; ".join(said))

    def _poll(self, request: Any) -> None:
        """Wait for late processes without burning a core."""
        began, nap = perf_counter(), 0.0
        while not request.Test():
            if self._broken:
                raise DistributedError(self._broken)
            if perf_counter() - began > SPIN_SECONDS:
                nap = min(LONGEST_NAP, nap + 20e-6)
                sleep(nap)

    # -- those who wait for long -------------------------------------------------------------------------------

    def wait_for(self, work: Started) -> None:
        """Wait until an operation has ended, or cannot end any more: then the communicator is broken, and the operation has an error."""
        began = perf_counter()
        self._client.report(f"waits in {work.what} at {self._place()}")
        limit = float(config.get("distributed_timeout"))
        while not work.ended.wait(LOOK_SECONDS):
            late = [
                row for row in self._client.board() if row[0] in self._ranks and f"waits in {work.what} " not in row[2]
            ]
            lost = [
                (rank, said)
                for rank, state, said, counts in late
                if state != "in" and counts.get(self.key, 0) < work.number
            ]
            if lost:
                self._give_up(work, f"{work.what}: {', '.join(f'rank {rank} {said}' for rank, said in lost)}")
            elif perf_counter() - began > limit:
                missing = "; ".join(f"rank {rank} {said}" for rank, _, said, _ in late)
                self._give_up(work, f"{work.what}: not all processes came within {limit:g} s: {missing}")

    def _give_up(self, work: Started, why: str) -> None:
        self._broken = self._broken or why
        work.error = work.error or DistributedError(why)
        work.ended.set()

    def _say_where(self) -> None:
        """Tell the board where the program is, because it has not started anything for a while."""
        try:
            self._client.report(f"is at {self._place()}, {self._last}")
        except (OSError, RuntimeError):  # the world ends
            self._queue.put(None)

    def _place(self) -> str:
        """The line of the program, not of tengen, that the main thread is running."""
        frame = sys._current_frames().get(self._main or 0)
        while frame is not None and is_ours(frame.f_code.co_filename):
            frame = frame.f_back
        return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}" if frame else "an unknown line"
