"""Workers that are processes: each has a copy of the dataset and makes every n-th batch; arrays return in shared memory."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.reduction import ForkingPickler
from time import monotonic
from typing import Any

from ..base import config
from ..base.device import get_default_device, parse, set_default_device
from . import shared
from .fetch import Failure, Fetch

AHEAD = 2  # tasks that a worker may hold


class End:
    """The answer of a worker whose stream has ended."""


class _Sent:
    """What a worker process needs, pickled while it starts, when locks may be, and sent once it has been started.

    What Python itself writes while it starts a process must fit into a pipe: if the process fails before it has read that, such as in a
    program that does not guard its main code, the other one waits for ever.
    """

    def __init__(self, value: Any):
        self.value, self.data = value, memoryview(b"")

    def __reduce__(self) -> Any:
        self.data = ForkingPickler.dumps(self.value)
        return type(self), (None,)


class Worker:
    """One worker process, as the process that wants the batches sees it."""

    def __init__(self, context: SpawnContext, number: int, make: Callable[[], Fetch]):
        self.number, self.waiting, self.answered = number, 0, False  # waiting: tasks without an answer
        self.pipe, theirs = context.Pipe()
        sent = _Sent(make)
        self.process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, sent), name=f"tengen-data-{number}", daemon=True
        )
        self.process.start()
        theirs.close()
        self._send(self.pipe.send_bytes, sent.data)

    def ask(self, task: Any) -> None:
        self._send(self.pipe.send, task)
        self.waiting += 1

    def _send(self, send: Callable[[Any], None], value: Any) -> None:
        try:
            send(value)
        except (BrokenPipeError, ConnectionResetError):
            raise self.lost() from None

    def answer(self, timeout: float) -> Any:
        """The next answer. Raises RuntimeError if it takes too long, or if the process has ended."""
        start = monotonic()
        if not wait([self.pipe, self.process.sentinel], timeout or None):
            raise RuntimeError(f"DataLoader timed out after {monotonic() - start:.1f} seconds")
        try:
            if not self.pipe.poll():
                raise EOFError
            made = shared.unpack(self.pipe.recv())
        except (EOFError, ConnectionResetError, FileNotFoundError):
            raise self.lost() from None
        self.waiting, self.answered = self.waiting - 1, True
        if isinstance(made, Failure):
            raise made.raised_by(f"worker process {self.number}")
        return made

    def lost(self) -> RuntimeError:
        self.process.join(1)
        code = self.process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        way = "if the system killed it for want of memory, take fewer workers or smaller batches"
        if code == 1 and not self.answered:
            way = "what it has written says why; each worker imports the program, which must guard its main code by `if __name__ == '__main__':`"
        return RuntimeError(f"DataLoader worker process {self.number} (pid {self.process.pid}) {how}; {way}")

    def stop(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join()
        self.process.close()


def in_processes(make: Callable[[], Fetch], tasks: Iterator[Any], count: int, timeout: float) -> Iterator[Any]:
    """`make()(task)` of each task, in order, made by `count` processes; what `make()` gives lives as long as its process. A worker that
    answers End gets no more tasks. timeout: seconds to wait for a batch; 0 is for ever.

    Raises RuntimeError for what a worker raises, if one dies, and if a batch takes too long.
    """
    context = multiprocessing.get_context("spawn")
    workers: list[Worker] = []
    try:
        for number in range(count):
            workers.append(Worker(context, number, make))
        turns = deque(workers)  # in the order of their next answers
        for worker in [w for _ in range(AHEAD) for w in workers]:
            _give(worker, tasks)
        while turns and turns[0].waiting:
            worker = turns.popleft()
            made = worker.answer(timeout)
            if isinstance(made, End):
                continue
            _give(worker, tasks)
            turns.append(worker)
            yield made
    finally:
        for worker in workers:
            worker.stop()


def _give(worker: Worker, tasks: Iterator[Any]) -> None:
    with suppress(StopIteration):
        worker.ask(next(tasks))


def _leave_gpus() -> None:
    """Let this process make its tensors on the CPU, unless it names a GPU: each process that uses one takes some of its memory."""
    if parse(get_default_device()).kind == "gpu":
        set_default_device("xpux")
    with suppress(RuntimeError):  # the program that it has imported made a tensor on xpux
        config.set("xpu", "cpu")


def _serve(pipe: Connection, _: _Sent) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one decides
    _leave_gpus()
    sent: deque[shared.Packed] = deque()
    with closing(pipe), suppress(EOFError, BrokenPipeError, ConnectionResetError):
        make: Callable[[], Fetch] = pickle.loads(pipe.recv_bytes())
        fetch: Fetch | None = None
        while True:
            task = pipe.recv()
            while len(sent) >= AHEAD:  # this task was given after their answers had come
                sent.popleft().close()
            try:
                fetch = fetch or make()
                packed = shared.pack(fetch(task))
            except Exception as error:
                packed = shared.pack(Failure.of(error)._replace(error=None))
            sent.append(packed)
            pipe.send(packed)
