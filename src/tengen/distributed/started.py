"""Joins the world that a process was started in, by `mpiexec`, `srun` or `tengen-run`: importing `tengen.distributed` does so.

Which one it is, the environment says. Processes that this one starts are not in it, so what says so is removed.
"""

from __future__ import annotations

import atexit
import os
import socket
import sys
import time
from contextlib import suppress
from typing import Any

from ..base import config
from ..base.device import set_default_device
from ..base.world import Membership, enter, joined
from . import group, mpi
from .rendezvous import Client, Server

RUN = "TENGEN_RUN"
"""Set by tengen-run, whose other variables have the names that users know from elsewhere."""
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS")
RAY_WORKER = "RAY_RAYLET_PID"
"""Set in the processes of a Ray cluster."""
PASSED_ON = 0.3
"""Seconds in which mpiexec passes on what a process has written; it drops the rest of it when the process ends all."""
LOCAL = (
    ("MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("LOCAL_RANK", "LOCAL_WORLD_SIZE"),
)

_server: Server | None = None  # of the first process under mpiexec, for as long as that lives
_failed = False


def join() -> None:
    """Join the world, if the process was started in one. It leaves it by itself when it ends."""
    if joined() or RAY_WORKER in os.environ:  # Ray itself may have been started by srun
        return
    by_mpi = RUN not in os.environ
    if os.environ.pop(RUN, None):
        rank, size, local, port = (
            int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
        )
        share_cores(int(os.environ["LOCAL_WORLD_SIZE"]))
        group.join(os.environ["MASTER_ADDR"], port, size, rank, local, "auto", "xpu")
    elif any(os.environ.get(name, "1") not in ("", "1") for name in SIZES):
        _join_by_mpi()
    if joined():
        hook = sys.excepthook

        def show(*error: Any) -> None:
            fail()
            hook(*error)
            if by_mpi:  # mpiexec then ends the others; it does not where a process has left first
                sys.stderr.flush()
                time.sleep(PASSED_ON)
                sys.modules["mpi4py.MPI"].COMM_WORLD.Abort(1)

        sys.excepthook = show
        atexit.register(_end)


def is_started() -> bool:
    """Whether this process was started as one of the world that it is in."""
    return joined() and sys.excepthook.__module__ == __name__


def fail() -> None:
    """This process ends badly, so it does not wait for the others: who has started it ends them."""
    global _failed
    _failed = True


def _end() -> None:
    if joined() and not _failed:
        with suppress(ConnectionError):  # the first process, which has the server, has failed
            group.leave("has ended")


def share_cores(processes: int) -> None:
    """Have this process, one of several on a machine, use its part of the cores, unless the user has said how many."""
    if processes > 1 and not config.get("num_threads"):
        config.set("num_threads", max(1, len(os.sched_getaffinity(0)) // processes))


def _join_by_mpi() -> None:
    global _server
    comm = mpi.library("import tengen.distributed").COMM_WORLD
    for name in (*SIZES, *mpi.NAMES):
        os.environ.pop(name, None)
    rank, size = int(comm.rank), int(comm.size)
    if size == 1:  # such as a batch script, which has the variables of the steps that it starts
        return
    mpi.tidy(comm)
    found = [(os.environ.get(a), os.environ.get(b)) for a, b in LOCAL]
    local, count = next(((int(a), int(b)) for a, b in found if a and b), (rank, size))
    share_cores(count)
    alone = len(set(comm.allgather(socket.gethostname()))) == 1
    if rank == 0:
        _server = Server(0, "127.0.0.1" if alone else "0.0.0.0")
    address = "127.0.0.1" if alone else socket.gethostbyname(socket.gethostname())
    address, port = comm.bcast((address, _server.py_server_port) if _server else None)
    client = Client(address, port)
    client.enter(rank, size)
    set_default_device(f"xpu{local}")
    enter(Membership(rank, size, address, port, "mpi", client, mpi.World(client).connect, {}))
