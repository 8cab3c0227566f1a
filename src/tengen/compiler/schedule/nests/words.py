"""Narrow floats of which a kernel changes the sign at most are words of 16 bits: they need not become float32 and be rounded again on
their way."""

from __future__ import annotations

from collections.abc import Sequence

from ...kernels.dtypes import COMPUTE, NARROW_FLOATS
from ...kernels.nest import SINKS, Instr, access_number, blank, mode
from ...view import View

WORD, PAIR = "uint16", "int32"
MEMORY = ("load", "gather", *SINKS)
SIGNS = {"abs": ("and", 0x7FFF7FFF), "neg": ("xor", -0x7FFF8000)}
"""What changes the sign alone, as an operation on one word or two side by side."""


def moved(code: Sequence[Instr], dtypes: Sequence[str], fills: Sequence[float], signs: bool = True) -> frozenset[int]:
    """The accesses of narrow floats from which values are loaded and, but for the sign, as they are stored to others of their dtype.
    dtypes, fills: of each access. signs: changed signs count as moved."""
    narrow = {a for a, dtype in enumerate(dtypes) if dtype in NARROW_FLOATS and blank(fills[a])}
    used: dict[int, set[int]] = {}  # by number of an access: the accesses that it is copied from or to
    calculates: set[int] = set()
    for instr in code:
        own = access_number(instr) if instr.op in MEMORY else None
        if own is not None:
            used.setdefault(own, set())
        for place, a in enumerate(instr.args if not (signs and instr.op in SIGNS) else ()):
            while signs and code[a].op in SIGNS:
                (a,) = code[a].args
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
    made: list[Instr] = []
    numbers: list[int] = []  # of what were the instructions of the code
    words: set[int] = set()
    for number, instr in enumerate(code):
        args = tuple([numbers[a] for a in instr.args])
        if instr.op in MEMORY and access_number(instr) in accesses:
            made.append(instr._replace(args=args, dtype=COMPUTE[WORD]))
            words.add(number)
        elif instr.op in SIGNS and words.issuperset(instr.args):
            op, bits = SIGNS[instr.op]
            made.append(Instr("const", (), COMPUTE[WORD], bits))
            made.append(Instr(op, (*args, len(made) - 1), COMPUTE[WORD]))
            words.add(number)
        else:
            made.append(instr._replace(args=args))
        numbers.append(len(made) - 1)
    return tuple(made)


def paired(shape: Sequence[int], pairs: Sequence[View], others: Sequence[View], strides: Sequence[int]) -> int | None:
    """The dim along which two words side by side may be moved as one of 32 bits, if there is one: `pairs`, the views of all words
    over `shape`, are contiguous along it, and everything else moves in whole pairs. others: views of what is no word. strides: of
    indices that are values."""
    if not pairs or any(view.edges for view in (*pairs, *others)) or any(stride % 2 for stride in strides):
        return None
    for d, extent in enumerate(shape):
        along = extent % 2 == 0 and all(view.strides[d] == 1 for view in pairs)
        if along and not any(view.strides[d] for view in others):
            rest = (s for view in pairs for other, s in enumerate(view.strides) if other != d and shape[other] > 1)
            return None if any(s % 2 for s in rest) else d
    return None


def halved(view: View, dim: int) -> View:
    """The view in pairs along a dim."""
    shape = tuple([extent // 2 if d == dim else extent for d, extent in enumerate(view.shape)])
    return view._replace(shape=shape, strides=tuple([s if d == dim else s // 2 for d, s in enumerate(view.strides)]))
