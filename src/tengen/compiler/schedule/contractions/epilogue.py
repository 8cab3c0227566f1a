"""The element-wise nodes after a contraction as the epilogue of its kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from ...kernels.dtypes import COMPUTE
from ...kernels.epilogue import CHANNEL, ELEMENT, NUMBER, ColumnSum, Epilogue, Source, slots
from ...kernels.nest import Instr
from ...plan import ITEM_BYTES
from ...program import Node, Value
from ...view import View, contiguous
from ..groups import Group
from ..nests.loops import bits
from ..nests.lower import Emitter, Operand, exactly
from ..places import UNIFORM, Location, Wanted
from ..steps import Steps
from .column_sums import column_sums, wanted

SUM = -1
"""Stands for the buffer of the sums, which are in registers. Smaller numbers stand for buffers that do not exist yet."""


@dataclass(frozen=True)
class Ending:
    """An epilogue and where its sources are.

    operands: in the order of `Epilogue.buffers`, over the result's shape. uncopied: numbers that stand for buffers in `operands`, and the
    values to copy there before the kernel runs. numbers: the values of `Epilogue.numbers`. reductions: those whose sums the epilogue
    takes, for each of `channels`.
    """

    epilogue: Epilogue
    operands: tuple[tuple[Operand, Source], ...]
    uncopied: Mapping[int, Value]
    numbers: tuple[int, ...]
    reductions: Mapping[Value, Wanted]
    channels: int

    @property
    def sum_bytes(self) -> int:
        """Bytes of the sums of one part of the rows."""
        return self.channels * slots(self.epilogue.sums) * ITEM_BYTES[self.epilogue.sources[0].dtype]


def ending(
    steps: Steps,
    product: Value,
    nodes: Sequence[Node],
    channel_dim: int | None,
    reductions: Sequence[Group] = (),
) -> Ending:
    """The epilogue of a kernel that computes `product`. Its result is the output of the last of `nodes`, or the product if there are none.
    It also takes the sums that `reductions` of that result want, if it can."""
    out = nodes[-1].outputs[0] if nodes else product
    later: dict[int | None, Value] = {}  # values that are not known before the contraction has run
    uncopied: dict[int, Value] = {}  # values that are computed where they are read, which an epilogue cannot do

    @cache
    def locate(value: Value) -> Location:
        place = steps.locate(value) if steps.knows(value) else None
        if place is UNIFORM or (place and place.buffer is not None and not place.view.edges):
            return place
        buffer = SUM - 1 - len(later) - len(uncopied)
        (uncopied if place else later)[buffer] = value
        return Location(buffer, contiguous(value.shape))

    e = Emitter(locate, product.shape)
    wide = COMPUTE[product.dtype]
    e.define(product, e("load", dtype=wide, attr=e.operand(Operand(SUM, wide, contiguous(product.shape)))))
    for node in nodes:
        e.node(node)
    result = e.cast(e.value(out), out.dtype)
    found: dict[Value, Wanted] = {}
    for group in reductions:
        found |= wanted(steps, e, group, out, later)
    code, names = _needed(e.code, [result, *[x.number for x in found.values()]])
    found = {v: x._replace(number=names[x.number]) for v, x in found.items()}
    along_channels = None if channel_dim is None else range(product.ndim)[channel_dim]
    sources: list[Source] = []
    operands: list[tuple[Operand, Source]] = []
    numbers: list[int] = []
    names_of = {number: i for i, number in enumerate(_read(code))}
    for operand in [e.operands[number] for number in names_of]:
        if operand.buffer == SUM:
            sources.append(Source(operand.dtype, ELEMENT))
        elif operand.dtype.startswith("param_"):
            sources.append(Source(operand.dtype.removeprefix("param_"), NUMBER))
            numbers.append(bits(operand.dtype, operand.parameter))
        else:
            assert operand.buffer not in later, "an epilogue reads what is not computed yet"
            sources.append(Source(operand.dtype, _along(operand.view, along_channels), f"operand{len(sources)}"))
            operands.append((operand, sources[-1]))
    code = [Instr(x.op, x.args, x.dtype, names_of[x.attr]) if x.op == "load" else x for x in code]
    parts = tuple(sources), tuple(code), names[result], out.dtype, column_sums(found)
    channels = 1 if along_channels is None else product.shape[along_channels]
    return Ending(_epilogue(*parts, exactly(code)), tuple(operands), uncopied, tuple(numbers), found, channels)


@lru_cache(1024)  # a new shape often gives the same one
def _epilogue(
    sources: tuple[Source, ...],
    code: tuple[Instr, ...],
    result: int,
    dtype: str,
    sums: tuple[ColumnSum, ...],
    _: str,
) -> Epilogue:
    return Epilogue(sources, code, result, dtype, sums)


def _needed(code: Sequence[Instr], results: Sequence[int]) -> tuple[list[Instr], dict[int, int]]:
    """The part of the code that these values need, and the new number of each value in it."""
    needed, waiting = set(), list(results)
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed.add(number)
            waiting.extend(code[number].args)
    names = {number: i for i, number in enumerate(sorted(needed))}
    if len(names) == len(code):
        return list(code), names
    return [code[n]._replace(args=tuple(names[a] for a in code[n].args)) for n in names], names


def _read(code: Sequence[Instr]) -> list[Any]:
    """The numbers of the operands that the code loads, after that of the sums."""
    return sorted({0, *[x.attr for x in code if x.op == "load"]})


def _along(view: View, channel_dim: int | None) -> int:
    moving = {d for d, (s, extent) in enumerate(zip(view.strides, view.shape, strict=True)) if s and extent > 1}
    return NUMBER if not moving else CHANNEL if moving == {channel_dim} else ELEMENT
