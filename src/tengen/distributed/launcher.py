"""Runs a function in processes that form a world, and reports how they end."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial, update_wrapper
from multiprocessing.connection import Connection, wait
from typing import Any

from .. import _rt
from ..base.errors import DeviceError
from ..base.frames import shorten
from ..base.usage import warn
from ..base.world import joined
from ..device import get_device_count, what_is_xpu
from .group import BACKENDS, join, leave
from .rendezvous import Server
from .started import is_started, share_cores

GRACE_SECONDS = 3.0
"""How long a process may take to end when it is asked to, in seconds."""
RESTARTS = "TENGEN_RESTART_COUNT"
"""Tells a process how often all processes have been restarted."""


class WorkerError(RuntimeError):
    """A process of a launched function ended badly.

    Args:
        rank: which one.
        text: its traceback, or how it ended.

    >>> issubclass(WorkerError, RuntimeError)
    True
    """

    def __init__(self, rank: int, text: str) -> None:
        super().__init__(text)
        self.rank = rank

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.rank, str(self))


class launcher:
    """Run a function in several processes that form a world: a decorator, with arguments or without.

    Calling it runs the function with the arguments in every process and gives the list of their results, which are
    pickled. Processes are forked, so the function need not be importable by name. If one raises, is killed or ends
    by sys.exit with a code other than 0, the others are ended, and WorkerError has its traceback; sys.exit(0) gives
    None and a warning.

    In a process that mpiexec or tengen-run started as part of a world, it just calls the function; the
    list has that result alone.

    Args:
        args, options: the function and the settings below; without the function this is a decorator.
        func: the function.
        n_gpus: the number of processes on this machine, which share its cores; by default one for each GPU, or one if there is none. On
            GPUs there are at most as many as GPUs.
        world_size: the number on all machines together, each of which has a launcher; by default n_gpus.
        rank_start: the rank of the first process of this launcher.
        master_ip, port: where the world's Server is. The launcher of rank 0 starts it; port 0 takes a free one.
        device_type, backend: see init_process_group.
        max_restarts: how often all processes are restarted if one of them fails; the environment variable
            TENGEN_RESTART_COUNT says how often that has happened. The function resumes from what it has saved, such as a checkpoint.

    Raises:
        ValueError: the numbers of processes are invalid.
        RuntimeError: this process has used a GPU, so those that it forks cannot.

    >>> import tengen.distributed as dist
    >>> @dist.launcher(n_gpus=1)
    ... def add(x, y):
    ...     return x + y + dist.get_rank()
    >>> add(1, y=2)
    [3]
    """

    def __new__(cls, *args: Any, **options: Any) -> Any:
        if not args:
            return partial(cls, **options)
        return super().__new__(cls)

    def __init__(
        self,
        func: Callable[..., Any],
        n_gpus: int | None = None,
        world_size: int | None = None,
        rank_start: int = 0,
        master_ip: str = "localhost",
        port: int = 0,
        device_type: str = "xpu",
        backend: str = "auto",
        max_restarts: int = 0,
    ) -> None:
        if not callable(func):
            raise TypeError(f"launcher takes a function, got {type(func).__name__}")
        update_wrapper(self, func)  # first, so that no attribute of the function overwrites one of these
        self.func, self._n_gpus, self._world_size, self.rank_start = func, n_gpus, world_size, rank_start
        self.master_ip, self.port, self.device_type, self.backend = master_ip, port, device_type, backend
        if n_gpus is not None or rank_start < 0 or (rank_start and world_size is None):
            self._check_ranks()
        if backend not in BACKENDS:
            raise ValueError(f"launcher: the backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
        if rank_start > 0 and port == 0:
            raise ValueError(
                f"launcher: rank_start={rank_start} needs the port of the server, which the launcher of rank 0 starts"
            )
        self.max_restarts = max_restarts

    @property
    def n_gpus(self) -> int:
        """The number of processes on this machine."""
        if self._n_gpus is None:
            self._n_gpus = max(get_device_count("gpu"), 1) if self._on_gpus() else 1
        return self._n_gpus

    @property
    def world_size(self) -> int:
        """The number of processes on all machines."""
        return self.n_gpus if self._world_size is None else self._world_size

    def _on_gpus(self) -> bool:
        return self.device_type == "gpu" or (self.device_type == "xpu" and what_is_xpu() == "gpu")

    def _check_ranks(self) -> None:
        if self.n_gpus < 1 or self.rank_start < 0 or self.rank_start + self.n_gpus > self.world_size:
            raise ValueError(
                f"launcher: ranks {self.rank_start} to {self.rank_start + self.n_gpus - 1} (n_gpus={self.n_gpus}) are not those of a world of "
                f"{self.world_size}"
            )

    def _check_devices(self) -> None:
        """That each process can have its device."""
        if not self._on_gpus():
            return
        if _rt.devices_begun("gpu"):
            raise RuntimeError(
                "launcher: this process has used a GPU, so the processes that it forks could not; use GPUs within the launched function alone, "
                "or compute on CPUs with device_type='cpu'"
            )
        if self.n_gpus > (count := get_device_count("gpu")):
            raise DeviceError(
                f"launcher: each of n_gpus={self.n_gpus} processes needs a GPU of its own, and there are {count}; compute on CPUs with "
                "device_type='cpu'"
            )

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> list[Any]:
        if is_started():  # by mpiexec or tengen-run, as one of several already
            return [self.func(*args, **kwargs)]
        self._check_ranks()
        self._check_devices()
        try:
            return restarting("launcher", lambda restarts: self._run(restarts, args, kwargs), self.max_restarts)
        except WorkerError as error:
            shorten(error)
            raise

    def _run(self, restarts: int, args: Any, kwargs: Any) -> list[Any]:
        with self._server() as port:
            workers: list[Worker] = []
            try:
                for rank in range(self.rank_start, self.rank_start + self.n_gpus):
                    workers.append(Worker(rank, partial(self._work, rank, port, restarts, args, kwargs)))
                results = _results(workers)
            finally:
                end(workers)
        tell_early("launcher", [w.rank for w in workers if w.left_early])
        return results

    @contextmanager
    def _server(self) -> Iterator[int]:
        """The port of the world's server, which is started here if rank 0 is."""
        if self.rank_start > 0:
            yield self.port
            return
        alone = self.world_size == self.n_gpus
        with Server(self.port, "127.0.0.1" if alone else "0.0.0.0") as server:
            yield server.py_server_port

    def _work(self, rank: int, port: int, restarts: int, args: Any, kwargs: Any) -> Any:
        os.environ[RESTARTS] = str(restarts)
        share_cores(self.n_gpus)
        number = rank - self.rank_start
        join(self.master_ip, port, self.world_size, rank, number, self.backend, self.device_type)
        return self.func(*args, **kwargs)


class Worker:
    """A process that runs `work`, as the process that started it sees it."""

    def __init__(self, rank: int, work: Callable[[], Any]) -> None:
        self.rank, self.result, self.left_early = rank, None, False
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=_run, args=(theirs, work, os.getpid()), name=f"tengen-rank-{rank}")
        with warnings.catch_warnings():
            # Python warns of forks in programs with threads: those of tengen's runtime handle forks, and the child does not use the server.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        theirs.close()

    def read(self) -> bool:
        """Read what the process reports; returns whether it may report more. Raises WorkerError if it reports an error."""
        try:
            kind, value = self.pipe.recv()
        except EOFError:
            return False
        if kind == "error":
            raise WorkerError(self.rank, f"rank {self.rank} raised\n{value}")
        self.result, self.left_early = value, kind == "early"
        return True

    def ended(self) -> None:
        """The process has ended. Raises WorkerError if it failed."""
        while self.pipe.poll() and self.read():
            pass
        self.process.join()
        code = self.process.exitcode
        if code:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
            hint = (
                "; if the system killed it for want of memory, take smaller batches" if code == -signal.SIGKILL else ""
            )
            raise WorkerError(self.rank, f"rank {self.rank} {how}{hint}")


def _results(workers: Sequence[Worker]) -> list[Any]:
    """What each returns. Raises WorkerError for the first process that fails."""
    speaking = {w.pipe: w for w in workers}
    living = {w.process.sentinel: w for w in workers}
    while living:
        # With a timeout, so that Ctrl-C is noticed on every platform.
        for ready in wait([*speaking, *living], timeout=1.0):
            if isinstance(ready, Connection) and ready in speaking:
                if not speaking[ready].read():
                    del speaking[ready]
            elif isinstance(ready, int) and ready in living:
                living.pop(ready).ended()
    return [w.result for w in workers]


def end(workers: Sequence[Worker]) -> None:
    """End the processes that are still running."""
    for worker in workers:
        if worker.process.is_alive():
            worker.process.terminate()
    for worker in workers:
        worker.process.join(GRACE_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()


def restarting(op: str, attempt: Callable[[int], list[Any]], max_restarts: int) -> list[Any]:
    """Return what `attempt(restarts so far)` returns; call it again where it raises WorkerError, as long as restarts are left."""
    for restarts in range(max_restarts):
        try:
            return attempt(restarts)
        except WorkerError as error:
            warn(f"{op}: {error}; all processes are restarted ({restarts + 1} of {max_restarts} times)")
    return attempt(max_restarts)


def tell_early(op: str, ranks: Sequence[int]) -> None:
    """Warn about processes that did not reach the end of their function."""
    if ranks:
        warn(f"{op}: rank {', '.join(map(str, ranks))} ended by sys.exit(0), so its result is None")


def _run(pipe: Connection, work: Callable[[], Any], parent: int) -> None:
    """The life of a process."""
    # What the parent left to its collector is the parent's to free: a destructor may wait for threads that only the parent has.
    gc.freeze()
    die_with(parent)
    live("launcher", pipe.send, work)


def live(op: str, tell: Callable[[tuple[str, Any]], None], work: Callable[[], Any]) -> None:
    """Do the work of a process, `tell` the result, and leave the world. Raises SystemExit if it failed.

    What is told is ("result", value), ("early", None) after sys.exit(0), or ("error", traceback); the last one counts. `tell` pickles.
    """
    try:
        said = _finish(op, tell, work)
        if joined():
            leave(said)
    except SystemExit:
        raise
    except BaseException as error:
        shorten(error)
        first = error.__traceback__
        shown = first and (first.tb_next or first)  # without the frame above
        shown = shown and (shown.tb_next or shown)
        tell(("error", "".join(traceback.format_exception(type(error), error, shown)).rstrip()))
        sys.exit(1)


def _finish(op: str, tell: Callable[[tuple[str, Any]], None], work: Callable[[], Any]) -> str:
    """Do the work and send its result; returns how it ended."""
    try:
        _tell_result(op, tell, work())
    except SystemExit as leaving:
        if leaving.code:
            raise
        tell(("early", None))
        return "has ended by sys.exit(0)"
    return "has ended, as its function has returned"


def _tell_result(op: str, tell: Callable[[tuple[str, Any]], None], result: Any) -> None:
    try:
        tell(("result", result))
    except OSError:
        raise
    except Exception as error:  # each kind of object raises another exception when it cannot be pickled
        raise TypeError(f"{op}: the result cannot be sent to the launcher: {error}") from None


def die_with(parent: int) -> None:
    """Have this process killed when its parent ends; only Linux offers that."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
