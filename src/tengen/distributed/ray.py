"""Trains in the actors of a Ray cluster: `pip install 'tengen[ray]'` on each of its machines.

Ray starts the processes, forwards their output to the program that waits for them, and reports when one of them dies. They communicate by MPI.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any

from ..base import config
from ..base.frames import shorten
from ..base.usage import warn
from . import group
from .launcher import RESTARTS, WorkerError, launcher, live, restarting, tell_early
from .rendezvous import Server

__all__ = ["run"]

OP = "distributed.ray.run"
ROOT_CAUSE_SECONDS = 2.0
"""How long to look for a process that failed first, before one that has merely lost the others is blamed, in seconds."""
OWN_OPTIONS = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
"""Resources for which Ray has an option of its own."""


def run(
    train: Callable[..., Any],
    *args: Any,
    workers: int = 1,
    resources: Mapping[str, float] | None = None,
    max_restarts: int = 0,
) -> list[Any]:
    """Run a function in actors of a Ray cluster that form a world.

    The cluster is the one that the program is connected to, or else the one that Ray finds; without one, or with RAY_ADDRESS=local in the
    environment, this machine becomes a cluster for the duration of the call. The program must run on a machine of the cluster, as one
    started by `ray job submit` does.

    Ray prints the output of the processes here, each line with its rank. A process that is killed, raises or exits ends all, and so does Ctrl-C.

    Args:
        train: the function, which Ray pickles; it may have the decorator `@launcher`.
        args: its arguments.
        workers: how many processes.
        resources: Ray resources of each process, such as {"CPU": 4, "memory": 8 << 30} (memory in bytes); by default {"CPU": 1}. A process has
            as many threads as CPUs, unless `config.num_threads` is set.
        max_restarts: how often all processes are restarted, on the machines that are there then; see `launcher`. All processes read checkpoints,
            so these must be where all machines see them.

    Returns the results in the order of ranks; those of one machine are next to each other. Raises WorkerError if a process fails, with
    its rank and traceback; ImportError without Ray; ValueError for impossible numbers of processes or resources; RuntimeError if the
    program is connected from outside the cluster, or the resources do not come within `config.distributed_timeout` seconds.

        import tengen.distributed as dist

        losses = dist.ray.run(train, "/shared/checkpoints", workers=8, resources={"CPU": 4}, max_restarts=3)
    """
    wanted = _check(train, workers, resources, max_restarts)
    ray = _library()
    function = train.func if isinstance(train, launcher) else train
    try:
        with _cluster(ray) as own:
            _compare(ray, workers, wanted, own)
            return restarting(
                OP, lambda restarts: _attempt(ray, workers, wanted, restarts, partial(function, *args)), max_restarts
            )
    except WorkerError as error:
        shorten(error)
        raise


def _check(train: Any, workers: int, resources: Mapping[str, float] | None, max_restarts: int) -> dict[str, float]:
    """Check the arguments; returns the resources of each process."""
    if not callable(train):
        raise TypeError(f"{OP} takes a function, got {type(train).__name__}")
    for name, value, least in (("workers", workers, 1), ("max_restarts", max_restarts, 0)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{OP}: {name} must be an int, got {value!r}")
        if value < least:
            raise ValueError(f"{OP}: {name} must be at least {least}, got {value}")
    wanted = {"CPU": 1.0} if resources is None else dict(resources)
    for name, amount in wanted.items():
        if not isinstance(name, str) or isinstance(amount, bool) or not isinstance(amount, (int, float)):
            raise TypeError(f'{OP}: resources must be numbers by name, such as {{"CPU": 4}}, got {resources!r}')
        if not 0 <= amount < float("inf"):
            raise ValueError(f"{OP}: resources[{name!r}] is not an amount: {amount}")
    if not any(wanted.values()):
        raise ValueError(f'{OP}: resources={resources!r} are none; a process needs some, such as {{"CPU": 0.5}}')
    return {name: float(amount) for name, amount in wanted.items() if amount}


def _library() -> Any:
    # Otherwise Ray merges lines that differ only in numbers, such as the losses of two processes. It reads this at import.
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    try:
        import ray
    except ImportError:
        raise ImportError(f"{OP}: Ray is not installed; pip install 'tengen[ray]'") from None
    return ray


@contextmanager
def _cluster(ray: Any) -> Iterator[bool]:
    """Connect to a cluster; returns whether this call started it."""
    if ray.util.client.ray.is_connected():
        raise RuntimeError(
            f"{OP}: the program is connected to Ray by ray:// from outside of the cluster, where the processes do not reach it; start it by "
            "`ray job submit`, or on a machine of the cluster"
        )
    if ray.is_initialized():
        yield False
        return
    own = os.environ.get("RAY_ADDRESS") == "local"
    if not own:
        try:
            ray.init("auto", logging_level="error")
        except ConnectionError:  # there is none
            own = True
    if own:
        ray.init("local", logging_level="error", include_dashboard=False)
    try:
        yield own
    finally:
        ray.shutdown()


def _compare(ray: Any, workers: int, wanted: Mapping[str, float], own: bool) -> None:
    """Report at once what the cluster has too little of. More machines may join it, unless it was made for this call."""
    there = ray.cluster_resources()
    short = [name for name, amount in wanted.items() if workers * amount > there.get(name, 0)]
    if short:
        said = ", ".join(f"{workers} × {wanted[n]:g} {n}, where there is {there.get(n, 0):g}" for n in short)
        if own:
            raise ValueError(f"{OP}: the processes want {said}; ask for fewer workers, or less resources=")
        warn(f"{OP}: the processes want {said}, and wait until the cluster has more")


# -- one world ---------------------------------------------------------------------------------------------------------


class Rank:
    """An actor: one process of a world."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def __repr__(self) -> str:  # what Ray puts before each line that it prints
        return f"rank {self.rank}"

    def work(self, world: tuple[str, int, int, int, int], cpus: float, restarts: int, packed: bytes) -> list[bytes]:
        """What `live` reports about the function, pickled. world: address and port of its server, its size, the rank, and the local rank."""
        from ray import cloudpickle

        os.environ[RESTARTS] = str(restarts)
        if not config.get("num_threads"):
            config.set("num_threads", max(1, int(cpus)))
        told: list[bytes] = []

        def work() -> Any:
            group.join(*world, "auto", "xpu")
            return cloudpickle.loads(packed)()

        try:
            live(OP, lambda message: told.append(cloudpickle.dumps(message)), work)
        except SystemExit as leaving:
            if not told:
                told.append(cloudpickle.dumps(("exit", leaving.code)))
        return told


def _attempt(
    ray: Any, workers: int, wanted: Mapping[str, float], restarts: int, function: Callable[[], Any]
) -> list[Any]:
    packed = ray.cloudpickle.dumps(function)
    bundles = ray.util.placement_group([dict(wanted)] * workers, strategy="PACK")
    actors: list[Any] = []  # Ray ends actors without references
    try:
        _wait_for_room(ray, bundles, workers, wanted)
        nodes = ray.util.placement_group_table(bundles)["bundles_to_node_id"]
        here = ray.get_runtime_context().get_node_id()
        address = "127.0.0.1" if set(nodes.values()) == {here} else ray.util.get_node_ip_address()
        with Server(0, address) as server:
            calls, local = {}, Counter[str]()
            for rank, bundle in enumerate(sorted(nodes, key=lambda number: (nodes[number] != here, nodes[number]))):
                world = (address, server.py_server_port, workers, rank, local[nodes[bundle]])
                local[nodes[bundle]] += 1
                actors.append(_actor(ray, rank, bundles, bundle, wanted))
                calls[actors[-1].work.remote(world, wanted.get("CPU", 1), restarts, packed)] = rank
            told = [ray.cloudpickle.loads(messages[0]) for messages in _get(ray, calls)]
    finally:
        ray.util.remove_placement_group(bundles)  # and its actors are killed
    tell_early(OP, [rank for rank, (kind, _) in enumerate(told) if kind == "early"])
    return [value for _, value in told]


def _wait_for_room(ray: Any, bundles: Any, workers: int, wanted: Mapping[str, float]) -> None:
    until = monotonic() + float(config.get("distributed_timeout"))
    while not bundles.wait(1):
        if monotonic() > until:
            raise RuntimeError(
                f"{OP}: the cluster had no room for {workers} × {dict(wanted)} within {config.get('distributed_timeout')} s; free are "
                f"{ray.available_resources()}"
            )


def _actor(ray: Any, rank: int, bundles: Any, bundle: int, wanted: Mapping[str, float]) -> Any:
    strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(bundles, bundle)
    options = {option: wanted.get(name, 0) for name, option in OWN_OPTIONS.items()}
    others = {name: amount for name, amount in wanted.items() if name not in OWN_OPTIONS}
    made = ray.remote(Rank).options(**options, resources=others, scheduling_strategy=strategy, max_restarts=0)
    return made.remote(rank)


def _get(ray: Any, calls: Mapping[Any, int]) -> list[Any]:
    """The results of the calls, in the order of ranks. Raises WorkerError for the first process that fails on its own."""
    pending, found = list(calls), {}
    failed: WorkerError | None = None
    until = float("inf")
    while pending and monotonic() < until:
        # With a limit, so that Ctrl-C is noticed.
        done, pending = ray.wait(pending, timeout=min(1.0, max(0.0, until - monotonic())))
        for call in done:
            error, found[calls[call]] = _outcome(ray, call, calls[call])
            if error is not None and not _has_lost_others(error):
                raise error
            if error is not None and failed is None:  # another process has failed, and Ray may be about to report it
                failed, until = error, monotonic() + ROOT_CAUSE_SECONDS
    if failed is not None:
        raise failed
    return [found[rank] for rank in sorted(found)]


def _outcome(ray: Any, call: Any, rank: int) -> tuple[WorkerError | None, Any]:
    try:
        value = ray.get(call)
    except ray.exceptions.RayTaskError as error:  # outside the function
        return WorkerError(rank, f"rank {rank} raised\n{error}"), None
    except ray.exceptions.RayError as error:
        return WorkerError(rank, f"rank {rank} {_how_it_died(error)}"), None
    if isinstance(value, list):
        kind, said = ray.cloudpickle.loads(value[-1])
        if kind == "error":
            return WorkerError(rank, f"rank {rank} raised\n{said}"), None
        if kind == "exit":
            return WorkerError(rank, f"rank {rank} exited with {said}"), None
    return None, value


def _has_lost_others(error: WorkerError) -> bool:
    return any(f"{kind}Error: " in str(error).rpartition("\n")[2] for kind in ("Distributed", "Connection"))


def _how_it_died(error: Exception) -> str:
    """The part of Ray's message that concerns the process."""
    lines: Sequence[str] = str(error).splitlines()
    found = next((line for line in lines if line.startswith("The actor is dead")), lines[0] if lines else "")
    return f"died: {type(error).__name__}: {found.partition(' Some common causes')[0]}"
