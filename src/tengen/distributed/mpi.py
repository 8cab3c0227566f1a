"""Joins a world of MPI processes: those that the server of the world connects, or those that mpiexec started."""

from __future__ import annotations

import ctypes
import os
import re
import socket
import sys
import zlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from .communicator import DistributedError, MpiCommunicator
from .rendezvous import Client

TAGS = 1 << 15
"""MPI guarantees at least this many tags."""
NAMES = ("PMI_FD", "PMI_ID", "PMI_PORT", "PMI_RANK", "PMI_SIZE")


def library(op: str) -> Any:
    """Import mpi4py.MPI, which joins its world. Raises ImportError that says how to install it, and DistributedError if there is no world."""
    try:
        import mpi4py
    except ImportError:
        raise ImportError(
            f"{op}: several processes communicate by MPI, which is not installed; pip install 'tengen[mpi]'"
        ) from None
    # Processes end without MPI_Finalize, which would wait for processes that never call it.
    mpi4py.rc.finalize = mpi4py.rc.initialize = False
    from mpi4py import MPI

    if not MPI.Is_initialized():
        # By ctypes, so that other threads keep running: the server that all wait for may be in this process.
        status = ctypes.CDLL(MPI.__file__).MPI_Init_thread(
            None, None, MPI.THREAD_MULTIPLE, ctypes.byref(ctypes.c_int())
        )
        if status:
            raise DistributedError(f"{op}: MPI_Init_thread returned {status}")
        MPI.COMM_WORLD.Set_errhandler(MPI.ERRORS_RETURN)  # errors are exceptions
    return MPI


class World:
    """The MPI world of this process."""

    def __init__(self, client: Client) -> None:
        self._client, self._mpi = client, sys.modules["mpi4py.MPI"]

    def connect(self, key: str, ranks: Sequence[int]) -> MpiCommunicator:
        """The communicator of these ranks, all of which call this with the same key."""
        whole = self._mpi.COMM_WORLD

        def make() -> Any:
            made = whole.Create_group(whole.group.Incl(list(ranks)), zlib.crc32(key.encode()) % TAGS)
            tidy(made)
            return made

        return MpiCommunicator(self._mpi, make, key, ranks, self._client)


def join(client: Client, rank: int, size: int) -> World:
    """Join the world of the `size` processes that call this, through the server of `client`. Raises DistributedError if a different world forms."""
    kept = {name: os.environ.pop(name, None) for name in NAMES}
    os.environ.update(
        PMI_PORT=f"{socket.gethostbyname(client.master_ip)}:{client.port}",
        PMI_ID=str(rank),
        PMI_RANK=str(rank),
        PMI_SIZE=str(size),
    )
    try:
        if "mpi4py.MPI" in sys.modules:
            raise DistributedError(
                "init_process_group: this process used MPI before it joined the world, and MPI can be initialised only once"
            )
        found = library("init_process_group").COMM_WORLD
    finally:
        for name, value in kept.items():  # not for processes that this one starts
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    if (found.rank, found.size) != (rank, size):
        raise DistributedError(
            f"init_process_group: joined as rank {found.rank} of {found.size}, not as {rank} of {size}; the MPI library that mpi4py found, "
            f"{sys.modules['mpi4py.MPI'].Get_library_version().split(',')[0].splitlines()[0]}, does not ask PMI-1; MPICH and Intel MPI do"
        )
    tidy(found)
    return World(client)


def tidy(comm: Any) -> None:
    """Remove the shared-memory files that the processes of a communicator have opened: if one is killed, nobody else would."""
    comm.Barrier()
    with suppress(OSError), open("/proc/self/maps") as maps:
        found = set(re.findall(r"/dev/shm/mpich_shm\S+", maps.read()))
        for path in found:
            with suppress(OSError):
                os.unlink(path)
