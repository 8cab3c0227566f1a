"""Training in several processes, on one machine or many. They communicate by MPI: `pip install 'tengen[mpi]'`.

>>> import tengen.distributed as dist
>>> @dist.launcher
... def train(steps):
...     w = tengen.Parameter([1.0])
...     dist.bcast_list_([w])
...     return dist.functional.all_reduce_sum(w * steps).item()
>>> train(3)
[3.0]
"""

from ..base.missing import explain_module
from . import checkpoint, functional, group, helper, ray, started, util
from .buckets import make_allreduce_cb
from .communicator import DistributedError
from .group import (
    WORLD,
    Group,
    get_backend,
    get_client,
    get_mm_server_addr,
    get_py_server_addr,
    get_rank,
    get_world_size,
    group_barrier,
    init_process_group,
    is_distributed,
    new_group,
    override_backend,
)
from .helper import bcast_list_, synchronized
from .launcher import WorkerError, launcher
from .rendezvous import Client, Server
from .sharded import sharded
from .util import get_free_ports

__all__ = [
    "WORLD", "Client", "DistributedError", "Group", "Server", "WorkerError", "bcast_list_", "checkpoint", "functional", "get_backend",
    "get_client", "get_free_ports", "get_mm_server_addr", "get_py_server_addr", "get_rank", "get_world_size", "group",
    "group_barrier", "group_end", "group_start", "helper", "init_process_group", "is_distributed", "launcher",
    "make_allreduce_cb", "new_group", "override_backend", "ray", "sharded", "synchronized", "util",
]  # fmt: skip


def group_start() -> None:
    """Start to collect operations that are to run together.

    GPUs need this; on CPUs each operation starts on its own.

    >>> import tengen.distributed as dist
    >>> dist.group_start()
    """


def group_end() -> None:
    """End the group that group_start began.

    >>> import tengen.distributed as dist
    >>> dist.group_end()
    """


explain_module(__name__)
started.join()
