"""The values of an epilogue's code, one after the other, in registers: for any kernel that has sums to finish."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llvmlite import ir

from ...kernels.dtypes import COMPUTE_KIND
from ...kernels.epilogue import Epilogue
from ...kernels.nest import Instr
from .. import arithmetic
from ..vector import Vec, splat


class EpilogueValues:
    """Emits the code of an epilogue where `at` is. half: the machine has instructions for float16 conversions."""

    def __init__(self, at: ir.IRBuilder, half: bool, epilogue: Epilogue):
        self.at, self.half, self.epilogue = at, half, epilogue
        self.along = epilogue.along()

    def values(self, along: int, known: Mapping[int, Vec], load: Callable[[int], Vec]) -> dict[int, Vec]:
        """The values that vary along `along`, with those that are already known. load: loads a source by its number."""
        values = dict(known)
        for number, instr in enumerate(self.epilogue.code):
            if self.along[number] == along and number not in values:
                values[number] = self.value(instr, values, load)
        return values

    def value(self, instr: Instr, values: Mapping[int, Vec], load: Callable[[int], Vec]) -> Vec:
        if instr.op == "load":
            assert isinstance(instr.attr, int)
            return load(instr.attr).to(COMPUTE_KIND[instr.dtype])
        if instr.op == "const":
            return arithmetic.constant_of(self.at, instr, 1)
        width = max((values[a].lanes for a in instr.args), default=1)
        return arithmetic.apply(instr, [self.widened(values, a, width) for a in instr.args], self.half)

    def widened(self, values: Mapping[int, Vec], number: int, lanes: int) -> Vec:
        value, instr = values[number], self.epilogue.code[number]
        if value.lanes == lanes:
            return value
        if instr.op == "const":
            return arithmetic.constant_of(self.at, instr, lanes)
        return splat(self.at, value.value, value.kind, lanes)
