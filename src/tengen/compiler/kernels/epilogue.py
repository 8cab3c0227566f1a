"""What a contraction kernel makes of its sums before it stores them: the element-wise nodes that follow, as data.

An `Epilogue` is code as in a `Nest`, over one element of the result; `load` names one of its `sources`. A `ColumnSum` is a sum over
the rows of a value of that code, which the kernel takes on the way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .nest import Instr, instruction_cost


class ColumnSum(NamedTuple):
    """The sum over rows of the value with the number `value` of an epilogue's code.

    shifted: three sums' worth of numbers instead: a shift (the mean of the launch tile's first rows), the sum of the distances
    from it, and the sum of their squares.
    """

    value: int
    shifted: bool = False

    @property
    def slots(self) -> int:
        """Numbers for each column."""
        return 3 if self.shifted else 1


def slots(sums: Sequence[ColumnSum]) -> int:
    """Numbers that a launch tile writes for each column: those of all sums, and if one is shifted, how many rows there were."""
    return sum(x.slots for x in sums) + any(x.shifted for x in sums)


NUMBER, CHANNEL, ELEMENT = range(3)
"""Along what a value varies: nothing, the channels (as a bias does), all of the result."""

COSTLY = 8
"""An instruction that takes more vector instructions than this needs registers of its own."""


class Source(NamedTuple):
    """What a `load` of an epilogue reads: a value stored in `dtype` that varies as `along` says.

    buffer: the operand of the kernel that it is in. Without one it is the sum itself, if it varies, or else a number of
    the launch, and `dtype` is a compute dtype.
    """

    dtype: str
    along: int
    buffer: str | None = None

    @property
    def is_sum(self) -> bool:
        return self.buffer is None and self.along == ELEMENT

    @property
    def is_parameter(self) -> bool:
        return self.buffer is None and self.along == NUMBER


@dataclass(frozen=True, eq=False)
class Epilogue:
    """The value `result` of `code`, stored in `dtype`; the sums of products are source 0. Compares by `identity`.

    sums: what else the kernel gives, sums of values over the rows (see `column_sums`).
    """

    sources: tuple[Source, ...]
    code: tuple[Instr, ...]
    result: int
    dtype: str
    sums: tuple[ColumnSum, ...] = ()
    identity: str = field(init=False)
    """Stands for all of it, also in keys of kernels. It tells 0.0 from -0.0, which are equal."""

    def __post_init__(self) -> None:
        text = repr((self.sources, self.code, self.result, self.dtype, self.sums))
        object.__setattr__(self, "identity", hashlib.sha256(text.encode()).hexdigest()[:32])

    def __str__(self) -> str:
        return self.identity

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Epilogue) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    @property
    def buffers(self) -> tuple[str, ...]:
        """Operands of the kernel that it reads."""
        return tuple(source.buffer for source in self.sources if source.buffer)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the run-time numbers that follow the kernel's own, in the order of `sources`."""
        return tuple(f"number{i}" for i, source in enumerate(self.sources) if source.is_parameter)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The dtypes of those numbers."""
        return tuple(source.dtype for source in self.sources if source.is_parameter)

    @property
    def has_channels(self) -> bool:
        return any(source.along == CHANNEL for source in self.sources)

    @property
    def is_costly(self) -> bool:
        """It needs many registers, so rows come one by one."""
        return any(instruction_cost(instr) > COSTLY for instr in self.code)

    def along(self) -> tuple[int, ...]:
        """Along what each value varies."""
        found: list[int] = []
        for instr in self.code:
            if instr.op == "load":
                assert isinstance(instr.attr, int)
                found.append(self.sources[instr.attr].along)
            else:
                found.append(max((found[a] for a in instr.args), default=NUMBER))
        return tuple(found)
