"""What the parts of a kernel of a sum of products on a GPU share: numbers, places, tables in shared memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from ...kernels.block_product import ACROSS, DOWN, BlockProduct
from ...kernels.dtypes import KINDS
from ...kernels.target import DeviceTarget
from ..flow import I64, i64
from ..vector import ELEMENT
from .machine import I32, DeviceFlow


class BlockFlow(DeviceFlow):
    """Names for what a kernel is given.

    buffers, numbers: by name; numbers are i64, and `count` gives those that fit 32 bits as i32. mine: the number of the
    thread in its block. column, row: where it lies among the threads of the tile.

    Of the block: its indices of the batch, the first row and column of its tile, the number of its block of rows and of
    its part of k, and where that begins and ends. k_moves, k_edges: where steps of k are, for two turns.
    """

    batch: list[ir.Value]
    first: dict[str, ir.Value]
    row_block: ir.Value
    part: ir.Value
    begin: ir.Value
    end: ir.Value
    k_moves: dict[str, Table]
    k_edges: list[Table]

    def __init__(self, spec: BlockProduct, target: DeviceTarget):
        super().__init__(tiled=False)
        self.spec, self.target, self.half = spec, target, target.half
        self.buffers = {name: self.buffer(i) for i, name in enumerate(spec.buffers)}
        self.numbers = {name: self.parameter(i) for i, name in enumerate(spec.numbers)}
        self.mine = self.thread("x")
        self.column, self.row = self._place()

    def _place(self) -> tuple[ir.Value, ir.Value]:
        """The threads of a warp lie ACROSS and DOWN, the warps of a tile likewise."""
        at, warps = self.at, self.spec.tile.across // ACROSS
        lane, warp = self.low(self.mine, ACROSS * DOWN), self.high(self.mine, ACROSS * DOWN)
        column = at.add(self.low(lane, ACROSS), at.mul(self.low(warp, warps), i32(ACROSS)))
        return column, at.add(self.high(lane, ACROSS), at.mul(self.high(warp, warps), i32(DOWN)))

    # -- integers of 32 bits -------------------------------------------------------------------------------------------

    def count(self, name: str) -> ir.Value:
        return self.at.trunc(self.numbers[name], I32)

    def low(self, number: ir.Value, power: int) -> ir.Value:
        """The rest after a division by a power of 2."""
        return self.at.and_(number, i32(power - 1))

    def high(self, number: ir.Value, power: int) -> ir.Value:
        return self.at.lshr(number, i32(power.bit_length() - 1))

    def plus(self, number: ir.Value, more: int) -> ir.Value:
        return self.at.add(number, i32(more)) if more else number

    def least(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.at.select(self.at.icmp_unsigned("<", a, b), a, b)

    def digits(self, number: ir.Value, loops: str, many: int) -> list[ir.Value]:
        """The indices of loops, slowest first, that a number counts."""
        at, found = self.at, list[ir.Value]()
        for i in reversed(range(1, many)):
            extent = self.count(f"{loops}{i}_extent")
            quotient = at.udiv(number, extent)
            found.insert(0, at.sub(number, at.mul(quotient, extent)))
            number = quotient
        return [number, *found][:many]

    def moved(self, digits: Sequence[ir.Value], loops: str, of: str) -> ir.Value:
        """How far these indices move in something (elements, i64)."""
        total: ir.Value = i64(0)
        for i, digit in enumerate(digits):
            total = self.at.add(total, self.at.mul(self.at.zext(digit, I64), self.numbers[f"{loops}{i}_{of}"]))
        return total

    def stage(self, step: ir.Value) -> ir.Value:
        """Which of the tiles of an operand is that of a turn."""
        return self.low(step, self.spec.stages)

    def slot(self, step: ir.Value) -> ir.Value:
        """Where in tables of two turns this one begins."""
        return self.at.mul(self.low(step, 2), i32(self.spec.tile.depth))

    # -- memory --------------------------------------------------------------------------------------------------------

    def element(self, base: ir.Value, dtype: str, offset: ir.Value) -> ir.Value:
        return self.at.gep(base, [offset], source_etype=ELEMENT[KINDS[dtype][0]])

    def table(self, name: str, type: ir.Type, count: int) -> Table:
        return Table(self, name, type, count)

    def each(self, count: int, body: Callable[[ir.Value], None]) -> None:
        """`body` for numbers below count, shared by the threads."""
        threads = self.spec.tile.threads
        for first in range(0, count, threads):
            number = self.plus(self.mine, first)
            if first + threads <= count:
                body(number)
            else:
                with self.at.if_then(self.at.icmp_unsigned("<", number, i32(count))):
                    body(number)

    def divided(self, number: ir.Value, by: ir.Value) -> tuple[ir.Value, ir.Value]:
        quotient = self.at.udiv(number, by)
        return quotient, self.at.sub(number, self.at.mul(quotient, by))


class Table:
    """Numbers in shared memory."""

    def __init__(self, flow: DeviceFlow, name: str, type: ir.Type, count: int):
        self.at, self.type = flow.at, type
        self.memory = flow.shared(name, type, count)

    def put(self, place: ir.Value, value: ir.Value) -> None:
        self.at.store(value, self._place(place))

    def get(self, place: ir.Value) -> ir.Value:
        return self.at.load(self._place(place), typ=self.type)

    def _place(self, place: ir.Value) -> ir.Value:
        return self.at.gep(self.memory, [i32(0), place])


def i32(number: int) -> ir.Constant:
    return ir.Constant(I32, number)
