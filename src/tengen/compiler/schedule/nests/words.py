"""Narrow floats that a kernel only moves are words of 16 bits: they need not become float32 and be rounded again on their way."""

from __future__ import annotations

from collections.abc import Sequence

from ...kernels.dtypes import COMPUTE, NARROW_FLOATS
from ...kernels.nest import SINKS, Instr, access_number, blank, mode

WORD = "uint16"
MEMORY = ("load", "gather", *SINKS)


def moved(code: Sequence[Instr], dtypes: Sequence[str], fills: Sequence[float]) -> frozenset[int]:
    """The accesses of narrow floats from which values are loaded and, as they are, stored to others of their dtype. dtypes, fills: of each
    access."""
    narrow = {a for a, dtype in enumerate(dtypes) if dtype in NARROW_FLOATS and blank(fills[a])}
    used: dict[int, set[int]] = {}  # by number of an access: the accesses that it is copied from or to
    calculates: set[int] = set()
    for instr in code:
        own = access_number(instr) if instr.op in MEMORY else None
        if own is not None:
            used.setdefault(own, set())
        for place, a in enumerate(instr.args):
            other = access_number(code[a]) if code[a].op in ("load", "gather") else None
            written = own if instr.op in SINKS and place == 0 else None
            if written is None or other is None or dtypes[written] != dtypes[other] or mode(instr) != "set":
                calculates |= {access for access in (other, written) if access is not None}
            else:
                used[written].add(other)
                used[other].add(written)
    todo = [a for a in used if a in calculates or a not in narrow]
    lost: set[int] = set()
    while todo:  # what is copied to or from an access that stays is calculated with, too
        a = todo.pop()
        if a not in lost:
            lost.add(a)
            todo += used[a]
    return frozenset(used) - lost


def as_words(code: Sequence[Instr], accesses: frozenset[int]) -> tuple[Instr, ...]:
    """The code with these accesses as words."""
    made = list(code)
    for number, instr in enumerate(code):
        if instr.op in MEMORY and access_number(instr) in accesses:
            made[number] = instr._replace(dtype=COMPUTE[WORD])
    return tuple(made)
