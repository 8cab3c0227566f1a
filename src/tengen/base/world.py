"""Which processes compute together: the world that this process is in, and groups of its processes.

`tengen.distributed` fills it in. It stands here for what is above that: collective operations name groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from .device import get_default_device


class Work(Protocol):
    """A collective operation that has been started. Until it has ended nobody else touches the arrays that it was given."""

    def wait(self) -> None:
        """Until it has ended. Raises DistributedError if it has failed."""


class Communicator(Protocol):
    """Exchanges arrays between the processes of a group; collective operations, on whatever device, know this much of how they communicate.

    Operations run in the order in which they are started, and every process starts the same ones. Arrays are C-contiguous.
    """

    rank: int
    size: int
    ended: int
    """How many operations have ended."""

    def finish(self) -> None:
        """Wait for all that has been started. Raises DistributedError if any of them has failed."""

    def start(self, kind: str, dtype: str, given: Any, out: Any, layout: str = "") -> Work:
        """Begin an exchange. kind: a key of `distributed.exchange.KINDS`, which says what shapes `given` and `out` have. layout: what else
        must be equal in all processes.
        """


class Membership(NamedTuple):
    """This process in its world.

    client: the `distributed.Client` of the world's server. connect: makes the communicator of a key, for some ranks.
    """

    rank: int
    size: int
    master_ip: str
    port: int
    backend: str
    client: Any
    connect: Callable[[str, Sequence[int]], Communicator] | None = None
    communicators: dict[str, Communicator] = {}  # noqa: RUF012 given anew for each world


_membership: Membership | None = None


def membership() -> Membership:
    """Raises RuntimeError if this process has not joined a world."""
    if _membership is None:
        raise RuntimeError("please call init_process_group first")
    return _membership


def joined() -> bool:
    """Whether this process has joined a world."""
    return _membership is not None


def enter(made: Membership | None) -> None:
    """Join a world, or leave it."""
    global _membership
    _membership = made
    WORLD.reset(list(range(made.size)) if made else None)


def communicator(key: str) -> Communicator:
    """That of the group with this key, or of "a>b", from process a to process b. All its processes must ask for it; the first time they wait
    for each other.

    Raises RuntimeError if this process has not joined a world.
    """
    mine = membership()
    found = mine.communicators.get(key)
    if found is None:
        assert mine.connect is not None, "a process alone exchanges nothing"
        found = mine.communicators[key] = mine.connect(key, [int(rank) for rank in key.replace(">", ",").split(",")])
    return found


class Group:
    """Some processes of the world, which communicate among themselves; the first of them is their root.

    Args:
        proc_ranks: their ranks in the world, each once.

    Raises:
        RuntimeError: init_process_group has not been called.
        ValueError: the world does not have one of the ranks.

    >>> import tengen.distributed as dist
    >>> @dist.launcher(n_gpus=1)
    ... def run():
    ...     return dist.Group([0]).size
    >>> run()
    [1]
    """

    proc_ranks: list[int] | None

    def __init__(self, proc_ranks: Sequence[int]) -> None:
        self.reset(proc_ranks)

    def reset(self, proc_ranks: Sequence[int] | None) -> None:
        """Change the processes of the group. None: no processes, like the world before init_process_group."""
        if proc_ranks is not None:
            self.check(proc_ranks)
        self.proc_ranks = None if proc_ranks is None else list(proc_ranks)

    def check(self, proc_ranks: Any) -> None:
        """Raises TypeError or ValueError unless these are ranks of the world."""
        size = membership().size
        if isinstance(proc_ranks, str) or not all(isinstance(r, int) and not isinstance(r, bool) for r in proc_ranks):
            raise TypeError(f"a group must be made of ranks, which are integers, got {proc_ranks!r}")
        wrong = [rank for rank in proc_ranks if not 0 <= rank < size]
        if wrong or not proc_ranks or len(set(proc_ranks)) < len(proc_ranks):
            what = f"{wrong[0]} is none" if wrong else "one is there twice" if proc_ranks else "it needs at least one"
            raise ValueError(f"a group is made of different ranks from 0 to {size - 1}; of {list(proc_ranks)} {what}")

    @property
    def _ranks(self) -> list[int]:
        membership()
        assert self.proc_ranks is not None
        return self.proc_ranks

    @property
    def size(self) -> int:
        """How many processes there are."""
        return len(self._ranks)

    @property
    def key(self) -> str:
        """The group as text: equal for groups of the same processes in the same order."""
        return ",".join(map(str, self._ranks))

    @property
    def rank(self) -> int:
        """The place of this process in the group. Raises ValueError if it is not in it."""
        own = membership().rank
        if own not in self._ranks:
            raise ValueError(f"the process of rank {own} is not in the group of {self._ranks}")
        return self._ranks.index(own)

    @property
    def comp_node(self) -> str:
        """The device that this process communicates from."""
        return get_default_device()

    @property
    def is_single_machine(self) -> bool:
        """Whether all processes run on one machine."""
        return self.size == 1

    def __repr__(self) -> str:
        return "WORLD" if self is globals().get("WORLD") else f"Group({self.proc_ranks})"


WORLD: Group = Group.__new__(Group)
WORLD.proc_ranks = None
