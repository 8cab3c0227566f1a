"""The sums of a block's tile, in the registers of its threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from llvmlite import ir

from ..flow import i64
from ..vector import ELEMENT, Vec, constant, llvm_type
from .block_flow import BlockFlow, i32
from .block_operand import OperandTiles
from .machine import I32

UNROLL = 2  # steps of k that are written out


class BlockSums(Protocol):
    """The sums of a tile, as values that the loop along k carries. rounds: how many times some of its rows are left."""

    rounds: int

    def begin(self) -> list[ir.Value]: ...

    def add(self, step: ir.Value, sums: Sequence[ir.Value]) -> list[ir.Value]:
        """The sums after one turn."""

    def leave(self, number: int, sums: Sequence[ir.Value], memory: ir.Value, stride: int) -> None:
        """Store a round of rows in shared memory."""


class FmaSums:
    """Each thread has thread_rows x thread_columns sums, in groups of 16 bytes: first a group of each thread, then the
    next of each. So threads that are neighbours load neighbours from shared memory."""

    def __init__(self, flow: BlockFlow, x: OperandTiles, y: OperandTiles):
        self.flow, self.at, self.x, self.y = flow, flow.at, x, y
        spec, tile = flow.spec, flow.spec.tile
        self.kind, self.vector = spec.kind, spec.vector
        self.row_step, self.column_step = tile.down * self.vector, tile.across * self.vector
        self.rounds, self.groups = tile.thread_rows // self.vector, tile.thread_columns // self.vector

    def begin(self) -> list[ir.Value]:
        tile = self.flow.spec.tile
        return [constant(0, self.kind, 1)] * (tile.thread_rows * tile.thread_columns)

    def add(self, step: ir.Value, sums: Sequence[ir.Value]) -> list[ir.Value]:
        """The sums after one turn."""

        def some(k: ir.Value, carried: Sequence[ir.Value]) -> list[ir.Value]:
            return self._some(step, self.at.trunc(k, I32), carried)

        return self.flow.loop(i64(0), i64(self.flow.spec.tile.depth), UNROLL, some, sums)

    def _some(self, step: ir.Value, k: ir.Value, sums: Sequence[ir.Value]) -> list[ir.Value]:
        total = [Vec(self.at, value, self.kind, 1) for value in sums]
        columns = self.flow.spec.tile.thread_columns
        for further in range(UNROLL):
            here = self.flow.plus(k, further)
            a = self._factors(self.x, step, here, self.flow.row, self.rounds, self.row_step)
            b = self._factors(self.y, step, here, self.flow.column, self.groups, self.column_step)
            for i, left in enumerate(a):
                for j, right in enumerate(b):
                    at = i * columns + j
                    total[at] = left.fma(right, total[at]) if self.kind[0] == "f" else left * right + total[at]
        return [value.value for value in total]

    def _factors(
        self, operand: OperandTiles, step: ir.Value, k: ir.Value, mine: ir.Value, groups: int, distance: int
    ) -> list[Vec]:
        at, found = self.at, []
        for group in range(groups):
            row = self.flow.plus(at.mul(mine, i32(self.vector)), group * distance)
            loaded = at.load(operand.place(step, k, row), align=16, typ=llvm_type(self.kind, self.vector))
            found += [Vec(at, at.extract_element(loaded, i32(i)), self.kind, 1) for i in range(self.vector)]
        return found

    def leave(self, number: int, sums: Sequence[ir.Value], memory: ir.Value, stride: int) -> None:
        """Store a round of rows, `row_step` of them, in shared memory."""
        at, columns = self.at, self.flow.spec.tile.thread_columns
        for i in range(self.vector):
            row = self.flow.plus(at.mul(self.flow.row, i32(self.vector)), i)
            for group in range(self.groups):
                column = self.flow.plus(at.mul(self.flow.column, i32(self.vector)), group * self.column_step)
                first = (number * self.vector + i) * columns + group * self.vector
                vector = ir.Constant(llvm_type(self.kind, self.vector), ir.Undefined)
                for j in range(self.vector):
                    vector = at.insert_element(vector, sums[first + j], i32(j))
                place = at.add(at.mul(row, i32(stride)), column)
                at.store(vector, at.gep(memory, [place], source_etype=ELEMENT[self.kind]), align=16)
