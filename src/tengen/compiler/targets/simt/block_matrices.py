"""The sums of a block's tile where the threads of a warp multiply small matrices together (tensor cores).

A warp has blocks of 16 x 8 sums; each thread has four of each: two neighbours of a row, and those eight rows below.
Blocks of rows alternate between the warps, so that a round of rows is the next block of each.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from ...kernels.block_product import ACROSS, DOWN, MATRIX_COLUMNS, MATRIX_ROWS
from ...kernels.device import WARP
from ...kernels.dtypes import BITS
from ..vector import ELEMENT, constant, llvm_type
from .block_flow import BlockFlow, i32
from .block_operand import OperandTiles

SIDE = 8  # lines of a matrix in shared memory, of 16 bytes each


class MatrixSums:
    """See the module docstring. rounds: blocks of rows of a warp. groups: its blocks of columns."""

    def __init__(self, flow: BlockFlow, x: OperandTiles, y: OperandTiles):
        self.flow, self.at, self.x, self.y = flow, flow.at, x, y
        tile, self.steps = flow.spec.tile, 128 // BITS[x.kind]  # of k that a line has
        self.down, self.across = tile.warps
        self.rounds = tile.thread_rows * DOWN // MATRIX_ROWS
        self.groups = tile.thread_columns * ACROSS // MATRIX_COLUMNS
        warp, self.lane = flow.high(flow.mine, WARP), flow.low(flow.mine, WARP)
        self.column = self.at.mul(flow.low(warp, self.across), i32(MATRIX_COLUMNS * self.groups))
        self.row = self.at.mul(flow.high(warp, self.across), i32(MATRIX_ROWS))

    def begin(self) -> list[ir.Value]:
        return [constant(0, "f32", 1)] * (4 * self.rounds * self.groups)

    def add(self, step: ir.Value, sums: Sequence[ir.Value]) -> list[ir.Value]:
        """The sums after one turn."""
        total, dtype = list(sums), self.x.operand.dtype
        for k in range(0, self.flow.spec.tile.depth, 2 * self.steps):
            a = [self._factors(self.x, step, k, self._first_row(i), 1) for i in range(self.rounds)]
            pairs = range(0, self.groups, 2)
            b = [
                half
                for j in pairs
                for four in [self._factors(self.y, step, k, self.flow.plus(self.column, j * MATRIX_COLUMNS), 2)]
                for half in (four[:2], four[2:])
            ]
            for i in range(self.rounds):
                for j in range(self.groups):
                    at = 4 * (i * self.groups + j)
                    total[at : at + 4] = self.flow.multiply_matrices(dtype, a[i], b[j], total[at : at + 4])
        return total

    def _first_row(self, number: int) -> ir.Value:
        return self.flow.plus(self.row, number * MATRIX_ROWS * self.down)

    def _factors(self, operand: OperandTiles, step: ir.Value, k: int, row: ir.Value, rows_last: int) -> list[ir.Value]:
        """Four matrices: 16 rows, and the steps of k of two lines. rows_last: 1 if rows change from one matrix to the next, 2 if steps
        of k do (of Y, columns are rows)."""
        flow, at = self.flow, self.at
        if operand.kind == "f32":
            return self._words(operand, step, k, row, rows_last)
        line, matrix = flow.low(self.lane, SIDE), flow.high(self.lane, SIDE)
        first, second = (at.mul(n, i32(SIDE)) for n in (flow.low(matrix, 2), flow.high(matrix, 2)))
        below, further = (first, second) if rows_last == 1 else (second, first)
        if operand.by_row:
            below = at.add(below, line)
        else:
            further = at.add(further, line)
        place = operand.place(step, flow.plus(further, k), at.add(row, below))
        return flow.matrices(place, turned=not operand.by_row)

    def _words(self, operand: OperandTiles, step: ir.Value, k: int, row: ir.Value, rows_last: int) -> list[ir.Value]:
        """The same of float32, which no instruction turns: element by element."""
        flow, at, found = self.flow, self.at, []
        below, further = at.add(row, flow.high(self.lane, 4)), flow.plus(flow.low(self.lane, 4), k)
        for matrix in range(4):
            halves = matrix % 2, matrix // 2
            rows, steps = halves if rows_last == 1 else halves[::-1]
            place = operand.place(step, flow.plus(further, steps * self.steps), flow.plus(below, rows * SIDE))
            found.append(flow.shortened(at.load(place, typ=ELEMENT["f32"])))
        return found

    def leave(self, number: int, sums: Sequence[ir.Value], memory: ir.Value, stride: int) -> None:
        """Store a round of rows in shared memory: the next block of each warp."""
        flow, at = self.flow, self.at
        row = at.add(self.row, flow.high(self.lane, 4))
        column = at.add(self.column, at.mul(flow.low(self.lane, 4), i32(2)))
        for j in range(self.groups):
            first = 4 * (number * self.groups + j)
            for half in range(2):
                pair = ir.Constant(llvm_type("f32", 2), ir.Undefined)
                for i in range(2):
                    pair = at.insert_element(pair, sums[first + 2 * half + i], i32(i))
                place = at.add(at.mul(flow.plus(row, SIDE * half), i32(stride)), flow.plus(column, j * MATRIX_COLUMNS))
                at.store(pair, at.gep(memory, [place], source_etype=ELEMENT["f32"]), align=8)
