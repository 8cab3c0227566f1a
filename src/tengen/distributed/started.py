"""Joins the world that a process was started in, by `mpiexec`, `srun` or `tengen-run`: importing `tengen.distributed` does so.

The environment says which world it is. Processes that this one starts do not belong to it, so those variables are removed.
"""

from __future__ import annotations

import atexit
import os
import re
import socket
import sys
import time
from contextlib import suppress
from typing import Any

from ..base import config
from ..base.device import set_default_device
from ..base.world import Membership, enter, joined
from . import group, mpi
from .communicator import DistributedError
from .rendezvous import Client, Server

RUN = "TENGEN_RUN"
"""Set by tengen-run, whose other variables have the names that users know from other launchers."""
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
STEP_SIZE = "SLURM_STEP_NUM_TASKS"
"""Set by srun in what it starts; a batch script has SLURM_NTASKS only."""
RAY_WORKER = "RAY_RAYLET_PID"
"""Set in the processes of a Ray cluster."""
FIRST_PORT, PORTS = 15000, 15000
"""Where the server of a Slurm step listens: one of so many ports, below the range that systems use for outgoing connections."""
PASSED_ON = 0.3
"""How long mpiexec gets to forward what a process has written, in seconds; it drops the rest when the process aborts the job."""
LOCAL = (
    ("MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("LOCAL_RANK", "LOCAL_WORLD_SIZE"),
)

_server: Server | None = None  # of the first process under mpiexec, for as long as that lives
_failed = False


def join() -> None:
    """Join the world, if the process was started in one. The process leaves it when it ends."""
    if joined() or RAY_WORKER in os.environ:  # Ray itself may have been started by srun
        return
    by_mpi = False
    if os.environ.pop(RUN, None):
        rank, size, local, port = (
            int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
        )
        share_cores(int(os.environ["LOCAL_WORLD_SIZE"]))
        group.join(os.environ["MASTER_ADDR"], port, size, rank, local, "auto", "xpu")
    elif any(os.environ.get(name, "1") not in ("", "1") for name in SIZES):
        by_mpi = True
        _join_by_mpi()
    elif os.environ.get(STEP_SIZE, "1") not in ("", "1"):
        _join_by_slurm()
    if joined():
        hook = sys.excepthook

        def show(*error: Any) -> None:
            fail()
            hook(*error)
            if by_mpi:  # mpiexec then ends the others; it would not if the process had left first
                sys.stderr.flush()
                time.sleep(PASSED_ON)
                sys.modules["mpi4py.MPI"].COMM_WORLD.Abort(1)

        sys.excepthook = show
        atexit.register(_end)


def is_started() -> bool:
    """Whether this process was started as part of the world that it is in."""
    return joined() and sys.excepthook.__module__ == __name__


def fail() -> None:
    """This process failed, so it does not wait for the others: the program that started them ends them."""
    global _failed
    _failed = True


def _end() -> None:
    if joined() and not _failed:
        with suppress(ConnectionError):  # the first process, which has the server, has failed
            group.leave("has ended")


def share_cores(processes: int) -> None:
    """Let this process, one of several on a machine, use its share of the cores, unless the user has set the number."""
    if processes > 1 and not config.get("num_threads"):
        config.set("num_threads", max(1, len(os.sched_getaffinity(0)) // processes))


def _join_by_slurm() -> None:
    """Join a Slurm step whose processes do not use Slurm's MPI, as with `srun --mpi=none`: the first runs the server, at a port that all can compute.

    MASTER_ADDR and MASTER_PORT say otherwise. Slurm, srun(1), "Output environment variables".
    """
    global _server
    rank, size, local = (
        int(os.environ["SLURM_PROCID"]),
        int(os.environ.pop(STEP_SIZE)),
        int(os.environ["SLURM_LOCALID"]),
    )
    alone = int(os.environ.get("SLURM_STEP_NUM_NODES", "1")) == 1
    job, step = int(os.environ["SLURM_JOB_ID"]), int(os.environ.get("SLURM_STEP_ID", "0"))
    address = os.environ.get("MASTER_ADDR") or ("127.0.0.1" if alone else first_host(os.environ["SLURM_STEP_NODELIST"]))
    port = int(os.environ.get("MASTER_PORT") or FIRST_PORT + (7 * job + step) % PORTS)
    cores = len(os.sched_getaffinity(0))
    bound = cores < int(os.environ.get("SLURM_CPUS_ON_NODE", "0"))  # to cores of its own
    share_cores(1 if bound else _tasks_here())
    if rank == 0:
        try:
            _server = Server(port, "127.0.0.1" if alone else "0.0.0.0")
        except OSError as error:
            raise OSError(
                error.errno, f"import tengen.distributed: {error}, port {port}; set MASTER_PORT to a free one"
            ) from None
    group.join(address, port, size, rank, local, "auto", "xpu")


def _tasks_here() -> int:
    """The number of processes of the step on this machine. Slurm writes those of all machines, in order, as "4(x2),1"."""
    node, counts = int(os.environ.get("SLURM_NODEID", "0")), list[int]()
    for part in os.environ.get("SLURM_STEP_TASKS_PER_NODE", "1").split(","):
        count, _, times = part.partition("(x")
        counts += [int(count)] * int(times.rstrip(")") or 1)
    return counts[node] if node < len(counts) else 1


def first_host(hosts: str) -> str:
    """The first machine of a list in Slurm's notation.

    >>> first_host("rack[0-1]node[07-12,15],login")
    'rack0node07'
    """
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", hosts)
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", first[0] if first else "")


def _join_by_mpi() -> None:
    global _server
    library = mpi.library("import tengen.distributed")
    comm, started = library.COMM_WORLD, {name: os.environ.pop(name, "") for name in (*SIZES, *mpi.NAMES, STEP_SIZE)}
    rank, size = int(comm.rank), int(comm.size)
    mpi.tidy(comm)
    if size == 1:
        told = next(f"{name}={started[name]}" for name in SIZES if started[name] not in ("", "1"))
        version = library.Get_library_version().split(",")[0].splitlines()[0]
        raise DistributedError(
            f"import tengen.distributed: this is one of several processes ({told}), but {version}, which mpi4py found, sees one: it is another MPI "
            "than that of mpiexec; use the mpiexec beside this Python, or srun --mpi=none"
        )
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
