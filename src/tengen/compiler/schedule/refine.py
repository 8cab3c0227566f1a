"""What is decided about a Nest once its code is known: which values wait in memory between passes, whether squares are turned."""

from __future__ import annotations

from functools import lru_cache

from ..kernel import Nest, passes, sources, varies, why_not_cross, why_not_spill
from ..targets import arithmetic

WORTH = 15  # a store and a load are cheaper than so many instructions: any function that is not a single one

SQUARE_COST = 8  # most instructions of a body that is written out for every vector of a square


def crosses(nest: Nest) -> bool:
    """Whether the nest works with its cross dim."""
    cheap = sum(map(arithmetic.cost, nest.code)) <= SQUARE_COST
    return nest.cross is not None and cheap and not why_not_cross(nest, nest.cross)


@lru_cache(1024)  # a new shape often gives the same nest
def spills(nest: Nest) -> tuple[tuple[int, int], ...]:
    """For each access that is stored to the last value, in order of computation, that several passes need, costs much and may wait there."""
    if nest.kept == nest.dims or sum(map(arithmetic.cost, nest.code)) < WORTH:
        return ()
    needs = [sources(nest, sinks) for sinks in passes(nest)]
    often = [i for i in range(len(nest.code)) if sum(i in need for need in needs) > 1 and _cost(nest, i) >= WORTH]
    free = [instr.attr for instr in nest.code if instr.op == "store" and isinstance(instr.attr, int)]
    chosen: list[tuple[int, int]] = []
    for value in reversed(often):
        access = next((a for a in free if not why_not_spill(nest, value, a)), None)
        if access is not None:
            chosen.append((value, access))
            free.remove(access)
    return tuple(chosen)


def _cost(nest: Nest, value: int) -> int:
    """Instructions to compute a value at each index tuple."""
    moving = varies(nest)
    full = [i for i in (value, *sources(nest, (value,))) if not moving[i].isdisjoint(range(nest.kept, nest.dims))]
    return sum(arithmetic.cost(nest.code[i]) for i in full)
