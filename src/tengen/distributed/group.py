"""The world that this process is in, and groups of its processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.util import Finalize

import numpy as np

from ..base.device import get_default_device, set_default_device
from ..base.world import WORLD, Group, Membership, communicator, enter, joined, membership
from . import mpi
from .communicator import DistributedError
from .rendezvous import Client

__all__ = [
    "WORLD",
    "Group",
    "get_backend",
    "get_client",
    "get_mm_server_addr",
    "get_py_server_addr",
    "get_rank",
    "get_world_size",
    "group_barrier",
    "init_process_group",
    "is_distributed",
    "new_group",
    "override_backend",
]

BACKENDS = ("auto", "mpi", "nccl", "rccl", "cncl", "ucx", "shm")
"""How processes may communicate: "auto" is "mpi" on CPUs, where there is no other for several processes."""


def init_process_group(
    master_ip: str,
    port: int,
    world_size: int,
    rank: int,
    device: int,
    backend: str | None = "auto",
    device_type: str = "xpu",
) -> None:
    """Join a world of processes, and make one of its devices the default of this process.

    It waits until all processes are there.

    Args:
        master_ip, port: where its Server is.
        world_size: how many processes there are. Several need MPI: `pip install 'tengen[mpi]'`.
        rank: which of them this is, from 0.
        device: the index of the device.
        backend: how they communicate; a single process does not.
        device_type: "cpu", "gpu" or "xpu".

    Raises:
        ConnectionError: there is no server.
        TypeError: (or ValueError) an argument is invalid.
        DeviceError: the device does not exist.
        RuntimeError: this process is already in a world, or the server knows another one.
        ImportError: several processes need MPI, which is not installed.
        NotImplementedError: there are several processes, and the backend is not supported yet.

    >>> import tengen.distributed as dist
    >>> @dist.launcher(n_gpus=1)
    ... def train():
    ...     return dist.get_rank(), dist.get_world_size(), dist.is_distributed()
    >>> train()
    [(0, 1, True)]
    """
    join(master_ip, port, world_size, rank, device, backend, device_type)
    if world_size > 1:
        # Also runs at the end of processes of multiprocessing, where atexit does not.
        Finalize(None, _end, exitpriority=0)


def _end() -> None:
    """Other processes may still be busy with the last operation that this one took part in."""
    if joined():
        with suppress(DistributedError, OSError):  # it was reported before, or nobody is left to hear it
            leave("has ended")


def join(
    master_ip: str, port: int, world_size: int, rank: int, device: int, backend: str | None, device_type: str
) -> None:
    """Like init_process_group, for callers that leave the world themselves."""
    for name, value, kind in (
        ("master_ip", master_ip, str),
        ("port", port, int),
        ("world_size", world_size, int),
        ("rank", rank, int),
        ("device", device, int),
        ("device_type", device_type, str),
    ):
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"init_process_group: {name} must be of type {kind.__name__}, got {value!r}")
    if world_size < 1 or not 0 <= rank < world_size:
        raise ValueError(
            f"init_process_group: rank is from 0 to world_size - 1, got rank {rank} and world_size {world_size}"
        )
    if joined():
        if world_size > 1 and (rank, world_size) == (get_rank(), get_world_size()):  # mpiexec or tengen-run started it
            return
        raise RuntimeError("init_process_group: this process has joined a world already")
    chosen = _backend("init_process_group", "auto" if backend is None else backend)
    if world_size > 1 and chosen != "mpi":
        raise NotImplementedError(
            f"init_process_group: tengen lets processes communicate by 'mpi', and has no {chosen!r} yet"
        )
    client, before = Client(master_ip, port), get_default_device()
    set_default_device(f"{device_type}{device}")
    try:
        connect = None
        if world_size > 1:
            client.enter(rank, world_size)
            connect = mpi.join(client, rank, world_size).connect
        enter(Membership(rank, world_size, master_ip, port, chosen, client, connect, {}))
    except BaseException:
        set_default_device(before)
        raise


def leave(said: str) -> None:
    """Leave the world at the end of a program: wait until no other process takes part in operations either. said: why."""
    mine = membership()
    if mine.size > 1:
        for made in mine.communicators.values():
            made.finish()
        mine.client.leave(said, {key: made.ended for key, made in mine.communicators.items()})
    enter(None)


def _backend(op: str, name: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"{op}: the backend must be one of {', '.join(BACKENDS)}, got {name!r}")
    return "mpi" if name == "auto" else name


def is_distributed() -> bool:
    """Whether this process has joined a world.

    Returns: a bool.

    >>> import tengen.distributed as dist
    >>> dist.is_distributed()
    False
    """
    return joined()


def get_rank() -> int:
    """Which process of the world this is; 0 before init_process_group.

    Returns: an int.

    >>> import tengen.distributed as dist
    >>> dist.get_rank()
    0
    """
    return membership().rank if joined() else 0


def get_world_size() -> int:
    """How many processes the world has; 1 before init_process_group.

    Returns: an int.

    >>> import tengen.distributed as dist
    >>> dist.get_world_size()
    1
    """
    return membership().size if joined() else 1


def get_backend() -> str:
    """How the processes communicate.

    Returns: a name.

    Raises:
        RuntimeError: init_process_group has not been called.

    >>> import tengen.distributed as dist
    >>> @dist.launcher(n_gpus=1)
    ... def run():
    ...     return isinstance(dist.get_backend(), str)
    >>> run()
    [True]
    """
    return membership().backend


def get_py_server_addr() -> tuple[str, int]:
    """The address and port of the world's Server.

    Returns: (address, port).

    Raises:
        RuntimeError: init_process_group has not been called.

    >>> import tengen.distributed as dist
    >>> @dist.launcher(n_gpus=1)
    ... def run():
    ...     return len(dist.get_py_server_addr())
    >>> run()
    [2]
    """
    return membership().master_ip, membership().port


def get_mm_server_addr() -> tuple[str, int]:
    """The address and port for communication that is not between Python programs.

    Returns: (address, port).

    Raises:
        RuntimeError: init_process_group has not been called.

    >>> import tengen.distributed as dist
    >>> @dist.launcher(n_gpus=1)
    ... def run():
    ...     return len(dist.get_mm_server_addr())
    >>> run()
    [2]
    """
    return membership().master_ip, membership().client.get_mm_server_port()


def get_client() -> Client:
    """The connection to the world's Server, where programs can store values too (user_set …).

    Returns: a Client.

    Raises:
        RuntimeError: init_process_group has not been called.

    >>> import tengen.distributed as dist
    >>> @dist.launcher(n_gpus=1)
    ... def run():
    ...     dist.get_client().user_set("best", 0.75)
    ...     return dist.get_client().user_get("best")
    >>> run()
    [0.75]
    """
    client: Client = membership().client
    return client


def new_group(proc_ranks: Sequence[int]) -> Group:
    """Make a group of some processes of the world; see Group.

    Args:
        proc_ranks: their ranks in the world, each once.

    Returns: a Group.

    >>> import tengen.distributed as dist
    >>> @dist.launcher(n_gpus=1)
    ... def run():
    ...     return dist.new_group([0]).size
    >>> run()
    [1]
    """
    return Group(proc_ranks)


def group_barrier(group: Group = WORLD) -> None:
    """Wait until all processes of a group have called it.

    It does nothing before init_process_group.

    Args:
        group: the processes; all, by default.

    >>> import tengen.distributed as dist
    >>> dist.group_barrier()
    """
    if joined() and group.size > 1 and group.rank >= 0:
        nothing = np.empty(0, np.uint8)
        communicator(group.key).start("barrier", "uint8", nothing, nothing).wait()


@contextmanager
def override_backend(new_backend: str) -> Iterator[None]:
    """Use another backend in a `with` block.

    Args:
        new_backend: its name.

    Returns: a context manager.

    Raises:
        ValueError: the backend does not exist.
    """
    before = membership()
    enter(before._replace(backend=_backend("override_backend", new_backend)))
    try:
        yield
    finally:
        enter(before)
