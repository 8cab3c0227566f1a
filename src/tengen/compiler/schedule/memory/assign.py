"""Assigns memory to each buffer of a Plan: inputs stay where they are, results get an allocation each, everything else
a place in one arena.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from .arena import Temporary, place
from .ownership import Uses


def assign(
    steps: Sequence[Uses], sizes: Sequence[int], inputs: int, kept: Sequence[int], apart: bool = False
) -> tuple[list[tuple[int, int]], list[int]]:
    """(slot, offset in bytes) of every buffer, and the bytes of every allocation slot.

    Buffers that are never alive at the same time share memory in one of these slots, the arena. apart: there is none, each has a slot of its own.
    """
    slots: list[tuple[int, int]] = [(i, 0) for i in range(inputs)] + [(-1, 0)] * (len(sizes) - inputs)
    allocations: list[int] = []
    alive = lifetimes(steps)
    own = sorted(b for b in alive if b >= inputs) if apart else ()
    for buffer in dict.fromkeys([*kept, *own]):
        slots[buffer] = (inputs + len(allocations), 0)
        allocations.append(sizes[buffer])
    temporary = [b for b in range(inputs, len(sizes)) if slots[b][0] < 0]
    if temporary:
        alive = lifetimes(steps)
        offsets, arena = place([Temporary(sizes[b], *alive.get(b, (0, 0))) for b in temporary], _moved(alive, sizes))
        for buffer, offset in zip(temporary, offsets, strict=True):
            slots[buffer] = (inputs + len(allocations), offset)
        allocations.append(arena)
    return slots, allocations


def _moved(alive: Mapping[int, tuple[int, int]], sizes: Sequence[int]) -> list[int]:
    """About how many bytes have been touched before each time. A buffer counts when it is first and last touched."""
    moved = [0] * (2 + max((last for _, last in alive.values()), default=0))
    for buffer, times in alive.items():
        for time in set(times):
            moved[time + 1] += sizes[buffer]
    return list(accumulate(moved))


def lifetimes(steps: Sequence[Uses]) -> dict[int, tuple[int, int]]:
    """The first and the last step that touch each buffer. Steps that may run together count as one."""
    alive: dict[int, tuple[int, int]] = {}
    now = 0
    for step in steps:
        now += not step.joined
        for buffer, _ in (*step.reads, *step.writes):
            alive[buffer] = (alive.get(buffer, (now, now))[0], now)
    return alive


def join(steps: Sequence[Uses], donated: Mapping[int, int]) -> None:
    """Mark the kernel launches that may run at the same time as the one before them.

    Among launches that run together, no buffer that one writes is touched by another. Parts of one result, which are
    marked already, share only its buffer; all of them run together with what is before them, or none does. donated:
    output buffers that may be the memory of an input.
    """
    read: set[int] = set()
    written: set[int] = set()
    if len(steps) == 1:
        steps[0].joined = False
        return
    for first, *others in _parts(steps):
        reads = {b for step in (first, *others) for b, _ in step.reads}
        own = {b for step in (first, *others) for b, _ in step.writes}
        writes = own | {donated[b] for b in own if b in donated}
        first.joined = bool(read or written) and not (reads & written or writes & (read | written))
        if not first.joined:
            read, written = set(), set()
        read |= reads
        written |= writes


def _parts(steps: Sequence[Uses]) -> list[list[Uses]]:
    """Runs of steps; all but the first of each are marked."""
    runs: list[list[Uses]] = []
    for step in steps:
        if step.joined and runs:
            runs[-1].append(step)
        else:
            runs.append([step])
    return runs


def last_check(steps: Sequence[Uses]) -> int:
    """The last step that may find a bad index, or -1."""
    return next((i for i in reversed(range(len(steps))) if steps[i].checks), -1)
