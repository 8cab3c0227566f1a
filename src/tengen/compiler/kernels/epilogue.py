"""The epilogue of a contraction kernel as data: the element-wise nodes that it applies to its sums before it stores
them.

The code of an `Epilogue` is like that of a `Nest`, for one element of the result. A `load` reads one of its `sources`.
A `ColumnSum` is a sum of a value of that code over the rows, which the kernel takes at the same time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .nest import Instr, instruction_cost


class ColumnSum(NamedTuple):
    """The sum over rows of the value with the number `value` in an epilogue's code.

    shifted: three numbers instead of one: a shift (the mean of the first rows of the launch tile), the sum of the
    distances from it, and the sum of their squares.
    """

    value: int
    shifted: bool = False

    @property
    def slots(self) -> int:
        """Numbers for each column."""
        return 3 if self.shifted else 1


def slots(sums: Sequence[ColumnSum]) -> int:
    """Numbers that a launch tile writes for each column: those of all sums, and the count of rows if one sum is
    shifted."""
    return sum(x.slots for x in sums) + any(x.shifted for x in sums)


NUMBER, CHANNEL, ELEMENT = range(3)
"""What a value varies along: nothing, the channels (like a bias), or all elements of the result."""

COSTLY = 8
"""An instruction that takes more vector instructions than this needs registers of its own."""


class Source(NamedTuple):
    """What a `load` of an epilogue reads: a value stored in `dtype` that varies along `along`.

    buffer: the operand of the kernel that holds it. Without one, the source is the sum itself if it varies, or else a
    number of the launch; then `dtype` is a compute dtype.
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
    """The value `result` of `code`, stored in `dtype`. Source 0 is the sum of products. Epilogues compare by
    `identity`.

    sums: sums over the rows that the kernel gives as well (see `column_sums`).
    """

    sources: tuple[Source, ...]
    code: tuple[Instr, ...]
    result: int
    dtype: str
    sums: tuple[ColumnSum, ...] = ()
    identity: str = field(init=False)
    """Stands for the whole epilogue, in the keys of kernels too. It distinguishes 0.0 from -0.0, which are equal."""

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
        """The operands of the kernel that the epilogue reads."""
        return tuple([source.buffer for source in self.sources if source.buffer])

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
        return CHANNEL in [source.along for source in self.sources]

    @property
    def is_costly(self) -> bool:
        """Whether it needs so many registers that rows come one at a time."""
        return any(instruction_cost(instr) > COSTLY for instr in self.code)

    def emitted(self, emit: Callable[..., int], value: int, places: Mapping[int, int]) -> list[int]:
        """The values of its code in a Nest, for one sum. emit: appends an instruction. places: the accesses of its
        sources."""
        numbers: list[int] = []
        for instr in self.code:
            if instr.op != "load":
                numbers.append(emit(instr.op, *[numbers[a] for a in instr.args], dtype=instr.dtype, attr=instr.attr))
                continue
            assert isinstance(instr.attr, int)
            is_sum = self.sources[instr.attr].is_sum
            numbers.append(value if is_sum else emit("load", dtype=instr.dtype, attr=places[instr.attr]))
        return numbers

    def along(self) -> tuple[int, ...]:
        """What each value varies along."""
        found: list[int] = []
        for instr in self.code:
            if instr.op == "load":
                assert isinstance(instr.attr, int)
                found.append(self.sources[instr.attr].along)
            else:
                found.append(max((found[a] for a in instr.args), default=NUMBER))
        return tuple(found)
