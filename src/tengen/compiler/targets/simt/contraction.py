"""How a block of threads computes a tile of a sum of products. `kernels/block_product.py` describes the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from llvmlite import ir

from ...kernels.block_product import BlockProduct
from ...kernels.target import DeviceTarget
from ..flow import I64, i64
from ..vector import Vec
from .block_ending import BlockEnding
from .block_flow import BlockFlow, i32
from .block_matrices import MatrixSums
from .block_operand import OperandTiles
from .block_sums import FmaSums
from .machine import I32, SHARED

THREADS = 512  # of a multiprocessor, at least: each has up to 128 registers
THROUGH_REGISTERS = 384  # the same, if what is copied goes through registers
GROUP = 8  # blocks of rows whose blocks follow one another, so that they find what they read in the cache


def emit_block_product(kernel: BlockProduct, target: DeviceTarget) -> str:
    """LLVM IR text of a sum of products for a GPU."""
    return BlockEmitter(kernel, target).text()


class BlockEmitter(BlockFlow):
    """Emits the kernel of a sum of products."""

    def text(self) -> str:
        with self.unless_failed(self.buffer(len(self.spec.buffers)) if self.spec.guarded else None):
            self._block()
        self.at.ret_void()
        threads, asynchronous = self.spec.tile.threads, all(side.asynchronous for side in self.sides)
        blocks = max((THREADS if asynchronous else THROUGH_REGISTERS) // threads, 1)
        addresses = len(self.spec.buffers) + self.spec.guarded
        return self.module_text(addresses, len(self.spec.numbers), threads, blocks)

    # -- the block -----------------------------------------------------------------------------------------------------

    def _block(self) -> None:
        self._find_tile()
        spec = self.spec
        first, room = spec.room
        byte = ir.IntType(8)
        tiles = self.shared("tiles", byte, room, 16) if spec.stages == 2 else self.shared_of_launch("tiles")
        memory = ir.FormattedConstant(SHARED, tiles.get_reference())
        places = memory, self.at.gep(memory, [i32(first)], source_etype=byte)
        self.sides = [OperandTiles(self, place, *each) for place, each in zip(places, spec.operands, strict=True)]
        ending = BlockEnding(self, memory)
        self._sums = (FmaSums if spec.product == "fma" else MatrixSums)(self, *self.sides)
        self._steps_of_k()
        self._rows_and_columns(ending)
        ending.finish(self._sums, self._along_k())

    def _find_tile(self) -> None:
        """Which tile the block makes: `first` of its rows and columns, its part of k, its indices of the batch."""
        at, number = self.at, self.block_number()
        parts, rows, columns = (self.count(name) for name in ("parts", "row_blocks", "column_blocks"))
        number, part = self.divided(number, parts)
        batch, number = self.divided(number, at.mul(rows, columns))
        group, within = self.divided(number, at.mul(columns, i32(GROUP)))
        above = at.mul(group, i32(GROUP))
        column, row = self.divided(within, self.least(at.sub(rows, above), i32(GROUP)))
        self.row_block, self.part = at.add(above, row), part
        tile = self.spec.tile
        self.first = {"row": at.mul(self.row_block, i32(tile.rows)), "column": at.mul(column, i32(tile.columns))}
        self.batch = self.digits(batch, "batch", self.spec.batch)
        self.begin = at.mul(part, self.count("part"))
        self.end = self.least(at.add(self.begin, self.count("part")), self.count("k"))

    def _rows_and_columns(self, ending: BlockEnding) -> None:
        """Fill the tables of where rows and columns are. Those beyond the last repeat it."""
        for side, (_, operand, loops, size) in zip(self.sides, self.spec.operands, strict=True):
            last = self.at.sub(self.count(f"{loops}s"), i32(1))

            self.each(size, partial(self._fill, side, ending, loops, operand.loops, last))

    def _fill(
        self, side: OperandTiles, ending: BlockEnding, loops: str, many: int, last: ir.Value, number: ir.Value
    ) -> None:
        digits = self.digits(self.least(self.at.add(self.first[loops], number), last), loops, many)
        side.fill(number, digits)
        ending.fill(number, digits, loops)

    # -- k -------------------------------------------------------------------------------------------------------------

    def _steps_of_k(self) -> None:
        depth, edges = self.spec.tile.depth, self.spec.edges
        self.k_moves = {name: self.table(f"k_{name}", I64, 2 * depth) for name in ("x", "y")}
        self.k_edges = [self.table(f"k_edge{e}", I32, 2 * depth) for e in range(edges)]

    def _describe(self, step: ir.Value) -> None:
        """Fill the table of where the steps of k of a turn are."""
        depth = self.spec.tile.depth

        def fill(i: ir.Value) -> None:
            at = self.at
            number = at.add(at.add(self.begin, at.mul(step, i32(depth))), i)
            digits = self._k_digits(self.least(number, at.sub(self.count("k"), i32(1))))
            slot = at.add(self.slot(step), i)
            for name, table in self.k_moves.items():
                table.put(slot, self.moved(digits, "k", name))
            for e, edge in enumerate(self.k_edges):
                edge.put(slot, at.trunc(self.moved(digits, "k", f"edge{e}"), I32))

        self.each(depth, fill)

    def _k_digits(self, number: ir.Value) -> list[ir.Value]:
        """`digits`, without divisions."""
        at, found = self.at, list[ir.Value]()
        for i in reversed(range(1, self.spec.k)):
            wide = at.mul(at.zext(number, I64), self.numbers[f"k{i}_magic"])
            quotient = at.trunc(at.lshr(wide, self.numbers[f"k{i}_shift"]), I32)
            found.insert(0, at.sub(number, at.mul(quotient, self.count(f"k{i}_extent"))))
            number = quotient
        return [number, *found][: self.spec.k]

    def _along_k(self) -> list[ir.Value]:
        """The sums over the block's part of k. What is copied is `stages` - 1 turns ahead."""
        at, depth, ahead = self.at, self.spec.tile.depth, self.spec.stages - 1
        length = at.sub(self.end, self.begin)
        steps = self.high(self.plus(length, depth - 1), depth)
        self._describe(i32(0))
        for step in range(ahead):
            self.barrier()
            self._describe(i32(step + 1))
            self._put(i32(step), self._fetch(i32(step)))

        def turn(number: ir.Value, sums: list[ir.Value]) -> Sequence[ir.Value]:
            step = at.trunc(number, I32)
            following = self.plus(step, ahead)
            self._wait(ahead - 1)
            self.barrier()
            self._describe(self.plus(following, 1))
            values = self._fetch(following)
            sums = self._sums.add(step, sums)
            self._put(following, values)
            return sums

        sums = self.loop(i64(0), at.zext(steps, I64), 1, turn, self._sums.begin())
        self._wait(0)
        return sums

    @property
    def _asynchronous(self) -> bool:
        return any(side.asynchronous for side in self.sides)

    def _wait(self, left: int) -> None:
        if self._asynchronous:
            self.wait_for_groups(left)

    def _fetch(self, step: ir.Value) -> list[list[Vec]]:
        values = [side.fetch(step) for side in self.sides]
        if self._asynchronous:
            self.end_group()
        return values

    def _put(self, step: ir.Value, values: Sequence[Sequence[Vec]]) -> None:
        for side, value in zip(self.sides, values, strict=True):
            side.put(step, value)
