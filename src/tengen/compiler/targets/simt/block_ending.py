"""What a block does with the sums of its tile: the epilogue, sums over rows, and the stores.

The sums come through shared memory, some rows at a time, so that threads that are neighbours have columns that are
neighbours, and the code is written once for all elements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llvmlite import ir

from ...kernels.dtypes import BITS, KINDS
from ...kernels.epilogue import CHANNEL, NUMBER, Epilogue
from ...kernels.epilogue import ELEMENT as EACH
from .. import arithmetic
from ..contractions.column_sums import ColumnSums, middle
from ..contractions.epilogue_values import EpilogueValues
from ..contractions.tile import Rows
from ..flow import I64, i64
from ..storage import decode, encode
from ..vector import ELEMENT, Vec
from .block_flow import BlockFlow, i32
from .block_sums import BlockSums
from .machine import I32


class BlockEnding:
    """Finishes a tile. memory: shared, where the tiles of the operands were."""

    def __init__(self, flow: BlockFlow, memory: ir.Value):
        self.flow, self.at, self.spec, self.memory = flow, flow.at, flow.spec, memory
        tile, self.end = flow.spec.tile, flow.spec.epilogue
        sizes = {"row": tile.rows, "column": tile.columns}
        self.places = {loops: flow.table(f"{loops}_c", I64, size) for loops, size in sizes.items()}
        self.of_channels = "row" if flow.spec.channel_rows else "column"
        if self.end and (self.end.has_channels or self.end.sums):
            self.channels = flow.table("channels", I64, sizes[self.of_channels])

    def fill(self, i: ir.Value, digits: Sequence[ir.Value], loops: str) -> None:
        """Enter the row or column with this number in the tile, which has these indices."""
        self.places[loops].put(i, self.flow.moved(digits, loops, "c"))
        if self.end and (self.end.has_channels or self.end.sums) and loops == self.of_channels:
            self.channels.put(i, self.flow.moved(digits, loops, "channel"))

    def finish(self, sums: BlockSums, totals: Sequence[ir.Value]) -> None:
        """Store the tile."""
        flow, at, tile = self.flow, self.at, self.spec.tile
        rows, self.stride = self.spec.round
        self.start = at.add(
            flow.moved(flow.batch, "batch", "c"), at.mul(at.zext(flow.part, I64), flow.numbers["c_part"])
        )
        across = min(tile.columns, tile.threads)
        self.first_row, self.row_step = flow.high(flow.mine, across), tile.threads // across
        self.values = ThreadEpilogue(flow, self.end) if self.end else None
        self.sums = ColumnSums(flow, self.end.sums, self.spec.kind) if self.end and self.end.sums else None
        columns = [flow.plus(flow.low(flow.mine, across), first) for first in range(0, tile.columns, across)]
        carried = [self.sums.begin() if self.sums else [] for _ in columns]
        for number in range(sums.rounds):
            flow.barrier()
            sums.leave(number, totals, self.memory, self.stride)
            flow.barrier()
            carried = [
                self._inside(column, (number * rows, rows), carry)
                for column, carry in zip(columns, carried, strict=True)
            ]
        if self.sums:
            flow.barrier()
            for column, carry in zip(columns, carried, strict=True):
                self._leave_sums(self.sums, column, carry)

    def _inside(self, column: ir.Value, rows: tuple[int, int], carry: list[ir.Value]) -> list[ir.Value]:
        """What a thread has of a column, if there is such a column."""
        flow, at = self.flow, self.at
        inside = at.icmp_unsigned("<", at.add(flow.first["column"], column), flow.count("columns"))
        return flow.choose(inside, lambda: self._column(column, rows, carry), lambda: carry)

    def _column(self, column: ir.Value, rows: tuple[int, int], carry: list[ir.Value]) -> list[ir.Value]:
        """Store what a thread has of a column, in rows of the tile: (the first, how many). carry: the sums over rows
        before."""
        flow, at, values, sums = self.flow, self.at, self.values, self.sums
        above, count = rows
        place = at.add(self.start, self.places["column"].get(column))
        by_row = self.spec.channel_rows
        known = None if values is None or by_row else self._known(values, column)
        left = at.sub(at.sub(flow.count("rows"), flow.first["row"]), i32(above))
        most = at.select(at.icmp_signed("<", left, i32(count)), left, i32(count))

        def read(row: ir.Value) -> tuple[Vec, ir.Value, ir.Value]:
            """The sum, its row of the tile, and its offset in C."""
            where = at.add(at.mul(row, i32(self.stride)), column)
            element = ELEMENT[self.spec.kind]
            total = at.load(at.gep(self.memory, [where], source_etype=element), typ=element)
            inside = flow.plus(row, above)
            return Vec(at, total, self.spec.kind, 1), inside, at.add(place, self.places["row"].get(inside))

        def ended(row: ir.Value) -> tuple[Mapping[int, Vec], ir.Value]:
            assert values is not None
            total, inside, offset = read(row)
            found = self._known(values, inside) if known is None else known
            return values.of_sum(total, found, offset), offset

        if sums and above == 0:
            carry = _begun(sums, ended(i32(0))[0], carry)

        def one(number: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            row = at.trunc(number, I32)
            if values is None:
                total, _, offset = read(row)
                self._store(total, offset)
                return carried
            found, offset = ended(row)
            self._store(values.widened(found, values.epilogue.result, 1), offset)
            rows_of = Rows(None, [None])
            return sums.add(0, lambda number: [found[number]], rows_of, carried) if sums else carried

        return flow.loop(at.zext(self.first_row, I64), at.sext(most, I64), self.row_step, one, carry)

    def _known(self, values: ThreadEpilogue, place: ir.Value) -> Mapping[int, Vec]:
        """The numbers, and what belongs to the channel of a row or column of the tile."""
        return values.channel(self._channel(place)) if values.epilogue.has_channels else values.numbers

    def _channel(self, place: ir.Value) -> ir.Value:
        return self.at.add(self.flow.moved(self.flow.batch, "batch", "channel"), self.channels.get(place))

    def _store(self, value: Vec, offset: ir.Value) -> None:
        dtype = self.spec.c
        kind = KINDS[dtype][0]
        raw = encode(dtype, value, self.flow.half)
        self.at.store(raw.value, self.flow.element(self.flow.buffers["c"], dtype, offset), align=BITS[kind] // 8)

    # -- sums over rows ------------------------------------------------------------------------------------------------

    def _leave_sums(self, sums: ColumnSums, column: ir.Value, carry: Sequence[ir.Value]) -> None:
        """Add up what the threads of a column have, in order, and store it."""
        flow, at, kind = self.flow, self.at, self.spec.kind
        tile, element = self.spec.tile, ELEMENT[self.spec.kind]

        def place(slot: int, row: ir.Value) -> ir.Value:
            line = at.add(i32(slot * self.row_step), row)
            return at.gep(self.memory, [at.add(at.mul(line, i32(tile.columns)), column)], source_etype=element)

        for slot, value in enumerate(carry):
            at.store(value, place(slot, self.first_row))
        flow.barrier()
        inside = at.icmp_unsigned("<", at.add(flow.first["column"], column), flow.count("columns"))
        with at.if_then(at.and_(inside, at.icmp_signed("==", self.first_row, i32(0)))):
            shifts = _shifts(sums)
            for slot, mine in enumerate(carry):
                total = Vec(at, mine, kind, 1)
                for row in range(1, self.row_step if slot not in shifts else 1):
                    total = total + Vec(at, at.load(place(slot, i32(row)), typ=element), kind, 1)
                self._store_sum(total, slot, column)
            if shifts:
                left = at.sub(flow.count("rows"), flow.first["row"])
                count = Vec(at, at.select(at.icmp_signed("<", left, i32(tile.rows)), left, i32(tile.rows)), "i32", 1)
                self._store_sum(count.to(kind), sums.slots, column)

    def _store_sum(self, value: Vec, slot: int, column: ir.Value) -> None:
        flow, at = self.flow, self.at
        offset = at.add(flow.numbers["sums_offset"], flow.moved(flow.batch, "batch", "sums"))
        offset = at.add(offset, at.mul(at.zext(flow.row_block, I64), flow.numbers["sums_block"]))
        offset = at.add(offset, at.mul(i64(slot), flow.numbers["sums_slot"]))
        offset = at.add(offset, self._channel(column))
        place = at.gep(flow.buffers["sums"], [offset], source_etype=ELEMENT[self.spec.kind])
        at.store(value.value, place, align=BITS[self.spec.kind] // 8)


def _shifts(sums: ColumnSums) -> list[int]:
    """The slots that hold a shift."""
    found, slot = [], 0
    for x in sums.sums:
        if x.shifted:
            found.append(slot)
        slot += x.slots
    return found


def _begun(sums: ColumnSums, first: Mapping[int, Vec], carry: Sequence[ir.Value]) -> list[ir.Value]:
    """The carried values before the first row, with shifts that follow from that row, so that all threads of a column
    have the same."""
    result, shifted = list(carry), [x for x in sums.sums if x.shifted]
    for slot, x in zip(_shifts(sums), shifted, strict=True):
        result[slot] = middle([first[x.value]]).value
    return result


class ThreadEpilogue(EpilogueValues):
    """The epilogue of one element after the other. Created where the sums are complete."""

    def __init__(self, flow: BlockFlow, epilogue: Epilogue):
        super().__init__(flow.at, flow.half, epilogue)
        self.flow = flow
        self.numbers = self.values(NUMBER, {}, self._number)

    def channel(self, channel: ir.Value) -> Mapping[int, Vec]:
        """The values that belong to a channel, and all numbers."""
        return self.values(CHANNEL, self.numbers, lambda source: self._read(source, channel))

    def of_sum(self, total: Vec, known: Mapping[int, Vec], offset: ir.Value) -> Mapping[int, Vec]:
        """All values. offset: of the element in C."""

        def load(source: int) -> Vec:
            return total if self.epilogue.sources[source].is_sum else self._read(source, offset)

        return self.values(EACH, known, load)

    def _number(self, number: int) -> Vec:
        source = self.epilogue.sources[number]
        if source.buffer:
            return self._read(number, i64(0))
        return arithmetic.parameter(self.at, self.flow.numbers[f"number{number}"], source.dtype)

    def _read(self, number: int, offset: ir.Value) -> Vec:
        source = self.epilogue.sources[number]
        assert source.buffer is not None
        kind = KINDS[source.dtype][0]
        place = self.flow.element(self.flow.buffers[source.buffer], source.dtype, offset)
        raw = self.at.load(place, align=BITS[kind] // 8, typ=ELEMENT[kind])
        return decode(source.dtype, Vec(self.at, raw, kind, 1), self.flow.half)
