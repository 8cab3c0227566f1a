"""Decisions about a Nest that depend on its code: which values wait in memory between passes, whether squares are
turned, how many rows run side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import inf, prod

from ...kernels import nest_threads
from ...kernels.nest import (
    Nest,
    instruction_cost,
    is_float_sum,
    passes,
    sources,
    varies,
    why_not_cross,
    why_not_interleave,
    why_not_rows,
    why_not_spill,
)
from ...kernels.nest_structure import Structure
from ...kernels.target import DeviceTarget, HostTarget, Target

WORTH = 15
"""A store and a load cost less than this many instructions: less than any function of several instructions."""

SQUARE_COST = 8  # most instructions of a body that is written out for every vector of a square

ROWS = ((12, 4), (40, 2))  # (most instructions of the body, rows side by side)
ROOM = 2048  # most elements of all these rows: what several passes read must stay in the nearest cache
INTERLEAVED_COST = 100  # most instructions of a body at all places of an interleaved dim
NEAR = 1 << 20  # most elements of all rows: more come from memory, which is fastest with one stream at a time

IN_A_ROW = ((12, 16), (inf, 32))
"""(most instructions of the body, numbers that a sum adds before it begins anew). For up to twice as many, another loop
is not worth it."""


def parts(nest: Nest, extents: Sequence[int], target: Target) -> tuple[tuple[int, int], ...]:
    """Where float sums are cut into sums of sums (see `Nest.parts`), so that errors grow with the logarithm of the
    number of terms."""
    if nest.kept == nest.dims or not any(map(is_float_sum, nest.code)):
        return ()
    interleaved = nest.interleaved[0] if nest.interleaved else None
    found: list[tuple[int, int]] = []
    inside = 1  # additions in sequence in one turn of the loop
    if interleaved is not None and interleaved >= nest.kept:
        inside = extents[interleaved]
    lanes, row = _summed(nest, target)

    def turns_of(dim: int) -> int:
        if isinstance(target, DeviceTarget):
            return nest_threads.turns(nest, extents, dim)
        return -(-extents[dim] // (lanes if dim == nest.lane else 1))

    dims = [d for d in range(nest.dims - 1, nest.kept - 1, -1) if d not in (nest.lane, interleaved)]
    for dim in [nest.lane] * (nest.lane >= nest.kept) + dims:
        turns = turns_of(dim)
        if turns <= 1 or inside * turns <= 2 * row:
            inside *= max(turns, 1)
            continue
        size = max(1, row // inside)
        found.append((dim, size))
        while (inside := -(-turns // size)) > 2 * row:
            size *= row
            found.append((dim, size))
    return tuple(found)


@lru_cache(1024)  # a new shape often gives the same nest
def _summed(nest: Nest, target: Target) -> tuple[int, int]:
    """The lanes of the vectors of float sums (the fewest, if there are several passes), and how many numbers are added
    in sequence."""
    runs = passes(nest)
    widths = Structure(nest).widths(target) if isinstance(target, HostTarget) else (1,) * len(runs)
    sums = [p for p, sinks in enumerate(runs) if any(is_float_sum(nest.code[i]) for i in sinks)]
    cost = max([_cost(nest, sources(nest, runs[p])) for p in sums], default=0)
    return min([widths[p] for p in sums], default=1), next(row for most, row in IN_A_ROW if cost <= most)


def crosses(nest: Nest, target: Target) -> bool:
    """Whether the nest uses its cross dim."""
    if nest.cross is None or why_not_cross(nest, nest.cross):
        return False
    if isinstance(target, DeviceTarget):
        return nest_threads.has_room(nest)
    return sum(map(instruction_cost, nest.code)) <= SQUARE_COST


def rows(nest: Nest, extents: Sequence[int], target: Target) -> int:
    """How many short rows run side by side. A row alone would wait, between passes, for a sum across the lanes and what
    follows from it."""
    cost = _row_cost(nest) if target.shuffles else None
    if cost is None or prod(extents) > NEAR:
        return 1
    most = min(extents[nest.kept - 1], ROOM // max(prod(extents[nest.kept :]), 1))
    return next((count for limit, count in ROWS if cost <= limit and count <= most), 1)


@lru_cache(1024)  # a new shape often gives the same nest
def _row_cost(nest: Nest) -> int | None:
    """Instructions of the body of a nest whose rows may run side by side; None if that gains nothing."""
    return None if why_not_rows(nest) or len(passes(nest)) < 2 else _cost(nest, range(len(nest.code)))


def interleaves(nest: Nest, target: Target) -> bool:
    """Whether the nest uses its interleaved dim, whose places are written out."""
    assert nest.interleaved is not None
    if not target.shuffles:
        return False
    short = sum(map(instruction_cost, nest.code)) * nest.interleaved[1] <= INTERLEAVED_COST
    return short and not why_not_interleave(nest) and not spills(nest)


@lru_cache(1024)  # a new shape often gives the same nest
def spills(nest: Nest) -> tuple[tuple[int, int], ...]:
    """For each access, the last value in order of computation that may wait there: several passes need it, it is
    costly, and the access stores it."""
    if nest.kept == nest.dims or sum(map(instruction_cost, nest.code)) < WORTH:
        return ()
    needs = [sources(nest, sinks) for sinks in passes(nest)]
    often = [
        i
        for i in range(len(nest.code))
        if sum(i in need for need in needs) > 1 and _cost(nest, (i, *sources(nest, (i,)))) >= WORTH
    ]
    free = [instr.attr for instr in nest.code if instr.op == "store" and isinstance(instr.attr, int)]
    chosen: list[tuple[int, int]] = []
    for value in reversed(often):
        access = next((a for a in free if not why_not_spill(nest, value, a)), None)
        if access is not None:
            chosen.append((value, access))
            free.remove(access)
    return tuple(chosen)


def _cost(nest: Nest, values: Iterable[int]) -> int:
    """What these values cost at each index tuple, in instructions."""
    moving = varies(nest)
    full = [i for i in values if not moving[i].isdisjoint(range(nest.kept, nest.dims))]
    return sum(instruction_cost(nest.code[i]) for i in full)
