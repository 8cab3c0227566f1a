"""The result of compiling: a flat list of kernel launches and host calls over numbered buffers, as plain data.

Slots: first the inputs, then the allocations. The runtime turns a Plan into its own form once and runs that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from .program import ITEM_BYTES as ITEM_BYTES
from .program import Type

if TYPE_CHECKING:
    from .kernels.device import DeviceGrid, DeviceKernel

HOST_WORK = 1 << 20  # the work that a call of a Python function counts as

STATUS = -1  # the slot of the status word


class Launch(NamedTuple):
    """Run a kernel over its tiles. `buffers` are (slot, byte offset); `work` is about bytes moved plus operations."""

    address: int
    buffers: tuple[tuple[int, int], ...]
    params: tuple[int, ...]
    tiles: int
    work: int
    name: str
    skip_if_donated: int | None = None
    joined: bool = False  # may run at the same time as the launch before it
    side: bool = False  # another side of the same whole: threads take one of them each, not parts of both


class DeviceLaunch(NamedTuple):
    """Run a kernel of a GPU. Buffers, work and skip_if_donated are those of a Launch."""

    kernel: DeviceKernel
    buffers: tuple[tuple[int, int], ...]
    grid: DeviceGrid
    work: int
    name: str
    skip_if_donated: int | None = None

    @property
    def from_memory(self) -> bool:
        """Whether the kernel reads its addresses and numbers from memory."""
        return self.grid.from_memory(len(self.buffers))


class Placed(NamedTuple):
    """A value in a buffer: slot, byte offset, type, strides in elements."""

    slot: int
    offset: int
    type: Type
    strides: tuple[int, ...]


class Call(NamedTuple):
    """Run a Python function over NumPy arrays of the placed values."""

    function: Callable[[Sequence[Any], Sequence[Any]], None]
    inputs: tuple[Placed, ...]
    outputs: tuple[Placed, ...]
    name: str


class Cost(NamedTuple):
    """What running a Plan takes: bytes of memory besides its inputs, and work (about bytes moved plus operations)."""

    bytes: int
    work: int


class Stopwatch:
    """The seconds of consecutive stages."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, float]] = []
        self._last = perf_counter()

    def stop(self, stage: str) -> None:
        """The stage with this name has just ended."""
        now = perf_counter()
        self.stages.append((stage, now - self._last))
        self._last = now

    def resume(self) -> None:
        """The time since then belongs to no stage."""
        self._last = perf_counter()


class Plan(NamedTuple):
    """See the module docstring. `donations` are pairs (allocation slot, input) that may share memory when the caller
    gives the input away.
    """

    inputs: int
    allocations: tuple[int, ...]
    steps: tuple[Launch | DeviceLaunch | Call, ...]
    outputs: tuple[Placed, ...]
    donations: tuple[tuple[int, int], ...]
    checks: tuple[str, ...]  # the meaning of a non-zero status word, by value - 1
    layouts: tuple[tuple[int, int, int], ...] = ()  # (slot, input, the step that fills the slot from it): worth keeping
    commit: int = 0  # the steps from here on may write to donated memory: all checks come before
    stages: tuple[tuple[str, float], ...] = ()  # how it was made, and the seconds that each stage took

    @property
    def work(self) -> int:
        return sum([HOST_WORK if isinstance(step, Call) else step.work for step in self.steps])
