"""Which memory each buffer of a Plan gets: inputs as they come, results an allocation each, everything else a place in
one arena.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Protocol

from ..program import Program, Value
from ..view import View
from .arena import Temporary, place


class Uses(Protocol):
    """A step, as far as memory is concerned."""

    @property
    def reads(self) -> Sequence[tuple[int, View]]: ...

    @property
    def writes(self) -> Sequence[tuple[int, View]]: ...

    @property
    def checks(self) -> bool: ...

    joined: bool


def assign(
    steps: Sequence[Uses], sizes: Sequence[int], inputs: int, kept: Sequence[int]
) -> tuple[list[tuple[int, int]], list[int]]:
    """(slot, offset in bytes) of every buffer, and the bytes of every allocation slot.

    Buffers that are never alive at the same time share memory in one of these, the arena.
    """
    slots: list[tuple[int, int]] = [(i, 0) for i in range(inputs)] + [(-1, 0)] * (len(sizes) - inputs)
    allocations: list[int] = []
    for buffer in dict.fromkeys(kept):
        slots[buffer] = (inputs + len(allocations), 0)
        allocations.append(sizes[buffer])
    alive = lifetimes(steps)
    temporary = [b for b in range(inputs, len(sizes)) if slots[b][0] < 0]
    if temporary:
        offsets, arena = place([Temporary(sizes[b], *alive.get(b, (0, 0))) for b in temporary], _moved(alive, sizes))
        for buffer, offset in zip(temporary, offsets, strict=True):
            slots[buffer] = (inputs + len(allocations), offset)
        allocations.append(arena)
    return slots, allocations


def _moved(alive: Mapping[int, tuple[int, int]], sizes: Sequence[int]) -> list[int]:
    """How many bytes have been touched before each time, about: those of a buffer when it is touched first and last."""
    moved = [0] * (2 + max((last for _, last in alive.values()), default=0))
    for buffer, times in alive.items():
        for time in set(times):
            moved[time + 1] += sizes[buffer]
    return list(accumulate(moved))


def lifetimes(steps: Sequence[Uses]) -> dict[int, tuple[int, int]]:
    """The first and the last step that touch each buffer; steps that may run together count as one."""
    alive: dict[int, tuple[int, int]] = {}
    now = 0
    for step in steps:
        now += not step.joined
        for buffer, _ in (*step.reads, *step.writes):
            alive[buffer] = (alive.get(buffer, (now, now))[0], now)
    return alive


def join(steps: Sequence[Uses], donated: Mapping[int, int]) -> None:
    """Mark the kernel launches that may run at the same time as the one before: no buffer that one of them writes is
    touched by another (parts of one result, which are marked already, share only its buffer, and all run together with what is before them
    or none).

    donated: output buffers that may be the memory of an input.
    """
    read: set[int] = set()
    written: set[int] = set()
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
    """Runs of steps of which all but the first are marked."""
    runs: list[list[Uses]] = []
    for step in steps:
        if step.joined and runs:
            runs[-1].append(step)
        else:
            runs.append([step])
    return runs


def last_check(steps: Sequence[Uses]) -> int:
    """The last step that may find a bad index, or -1."""
    return max((i for i, step in enumerate(steps) if step.checks), default=-1)


def donations(
    steps: Sequence[Uses],
    program: Program,
    where: Mapping[Value, Any],
    places: Sequence[tuple[int, View]],
    commit: int = 0,
) -> dict[int, int]:
    """Which output buffers may be the memory of the input of the same index, should the caller give that input away:
    {buffer: input}.

    commit: the first step that may overwrite an input; those before can fail. Safe if both lie alike, nothing reads the input after
    the step that first writes the output, and that step reads it only at the element that it writes.
    """
    safe = {}
    alike = [i for i, (x, y) in enumerate(zip(program.inputs, program.outputs, strict=False)) if x.type == y.type]
    reads, writes = (_by_buffer(steps, kind) if alike else {} for kind in ("reads", "writes"))
    for i in alike:
        place = places[i]
        source, (buffer, view) = where[program.inputs[i]], place
        if buffer < len(program.inputs) or sum(b == buffer for b, _ in places) > 1:
            continue
        written = writes.get(buffer, [])
        whole = view.offset == 0 and view.strides == source.view.strides
        late = all(step >= commit for step, _ in written)
        if whole and late and _dense(view) and _elementwise(reads.get(source.buffer, []), written):
            safe[buffer] = i
    return safe


Used = list[tuple[int, View]]  # at which step, and how


def _by_buffer(steps: Sequence[Uses], kind: str) -> dict[int, Used]:
    """Of each buffer the steps that use it. Parts of one result, which touch different elements, count as the first of them."""
    found: dict[int, Used] = {}
    first = 0
    for number, step in enumerate(steps):
        first = first if step.joined else number
        for buffer, view in getattr(step, kind):
            found.setdefault(buffer, []).append((first, view))
    return found


def _dense(view: View) -> bool:
    order = sorted(range(len(view.shape)), key=lambda d: view.strides[d])
    step = 1
    for d in order:
        if view.shape[d] != 1 and view.strides[d] != step:
            return False
        step *= view.shape[d]
    return True


def _elementwise(reads: Used, writes: Used) -> bool:
    """Whether no step reads after one that writes, and one that does both does it at the same elements."""
    for step, write in writes:
        for other, read in reads:
            same = (read.strides, read.offset, read.edges) == (write.strides, write.offset, write.edges)
            if other > step or (other == step and not same):
                return False
    return True
