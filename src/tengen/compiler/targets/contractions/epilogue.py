"""Writes the epilogue of a contraction, in registers.

Values that are the same in the whole kernel are computed at its beginning, those that belong to a channel once per
vector (or row) of a register tile, and the others once per vector of sums.

Usually the sums stay in their registers. Functions such as exp need many more registers; then the tile goes to the
stack, which is in the nearest cache, and its rows come back one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from llvmlite import ir

from ...kernels.contraction import ContractionKernel
from ...kernels.dtypes import BITS, COMPUTE_KIND, KINDS
from ...kernels.epilogue import CHANNEL, ELEMENT, NUMBER, Epilogue, Source
from .. import arithmetic
from ..flow import i64
from ..vector import Vec, llvm_type
from .column_sums import ColumnSumsEmitter
from .epilogue_values import EpilogueValues
from .tile import Rows, Tile, TileEmitter

I32 = ir.IntType(32)

LINE = 64
"""Bytes of a cache line."""


#: Adds to sums: (steps of k1, where they begin in A and in B, the sums before).
Sums = Callable[[ir.Value, ir.Value, ir.Value, list[ir.Value]], list[ir.Value]]


class EpilogueEmitter(EpilogueValues):
    """Finishes the register tiles of one kernel. Created at the beginning of a part."""

    def __init__(self, emitter: TileEmitter, spec: ContractionKernel, epilogue: Epilogue):
        super().__init__(emitter.at, emitter.half, epilogue)
        self.emitter, self.spec = emitter, spec
        self.kind = COMPUTE_KIND[epilogue.sources[0].dtype]
        self.numbers = self.values(NUMBER, {}, self._number)
        self._ahead = [source for source in epilogue.sources if source.buffer and source.along == ELEMENT]
        if self._ahead and not spec.amx:
            self.cut = self._cut_k()
        self.sums = ColumnSumsEmitter(emitter, spec, epilogue.sums, self.kind) if epilogue.sums else None
        if epilogue.is_costly and not spec.amx:
            vectors = spec.rows * spec.vectors
            self.scratch = emitter.reserve(llvm_type(self.kind, spec.lanes), vectors, "sums")

    # -- reading ahead -------------------------------------------------------------------------------------------

    def _cut_k(self) -> tuple[ir.Value, ir.Value, ir.Value]:
        """How many parts of k a tile is summed in, the steps of k1 in each, and how many rows each part prefetches."""
        emitter, spec = self.emitter, self.spec
        unit = spec.unroll if spec.k_loops == 1 else 1
        units = emitter.at.udiv(emitter.sum(emitter.part.k1, unit - 1), i64(unit))
        some = emitter.at.icmp_signed(">", units, i64(0))
        most = emitter.minimum(emitter.at.select(some, units, i64(1)), i64(spec.rows))
        rows = emitter.at.udiv(emitter.sum(most, spec.rows - 1), most)
        parts = emitter.at.udiv(emitter.sum(rows, spec.rows - 1), rows)
        steps = emitter.at.udiv(emitter.sum(units, parts, -1), parts)
        return parts, emitter.mul(steps, unit), rows

    def while_reading(self, sums: Sums, totals: list[ir.Value], tile: Tile) -> list[ir.Value]:
        """The sums over all of k. Meanwhile, what `end` reads of the result's size is prefetched.

        So many lines at once would make A and B wait, so each part of k is preceded by the requests for some of the
        rows.
        """
        emitter, p, ahead = self.emitter, self.emitter.part, self._ahead
        if not ahead:
            return sums(p.k1, i64(0), i64(0), totals)
        parts, steps, rows = self.cut

        def part(i: ir.Value, carry: list[ir.Value]) -> list[ir.Value]:
            row, done = emitter.mul(i, rows), emitter.minimum(emitter.mul(i, steps), p.k1)
            last = emitter.minimum(emitter.sum(row, rows), i64(self.spec.rows))
            emitter.loop(row, last, 1, lambda r, _: self._ask(ahead, tile.rows(r)))
            extent = emitter.minimum(steps, emitter.at.sub(p.k1, done))
            return sums(extent, emitter.mul(done, p.a_k1), emitter.mul(done, p.b_k1), carry)

        return emitter.loop(i64(0), parts, 1, part, totals)

    @property
    def reads_ahead(self) -> bool:
        """Whether there is anything of the result's size to prefetch."""
        return bool(self._ahead)

    def read_row_ahead(self, row: ir.Value) -> tuple[()]:
        """Prefetch what `row` will read of the result's size."""
        return self._ask(self._ahead, row)

    def read_ahead(self, tile: Tile) -> None:
        """Prefetch everything that `end` will read of the result's size."""
        for i in range(self.spec.rows if self._ahead else 0):
            self._ask(self._ahead, tile.rows(i))

    def _ask(self, sources: Sequence[Source], row: ir.Value) -> tuple[()]:
        """Prefetch one row of these sources."""
        emitter = self.emitter
        for source in sources:
            assert source.buffer
            start = emitter.element(emitter.buffers[source.buffer], source.dtype, row)
            for at in range(0, self.spec.panel * BITS[KINDS[source.dtype][0]] // 8, LINE):
                place = emitter.at.gep(start, [i64(at)], source_etype=ir.IntType(8))
                emitter.prefetch(place)
        return ()

    # -- the end of a tile ---------------------------------------------------------------------------------------

    def end(self, totals: Sequence[ir.Value], tile: Tile, carry: Sequence[ir.Value] = ()) -> list[ir.Value]:
        """Apply the epilogue to the sums `totals` and store the results.

        carry: the sums over rows before this tile; returns those after it.
        """
        spec, width, carried = self.spec, self.spec.vectors, list(carry)
        if self.epilogue.is_costly:
            self._from_stack(totals, tile)
            return carried
        rows = [tile.rows(i) for i in range(spec.rows)]
        by_row = [self._channel(tile, i, 0) for i in range(spec.rows)] if spec.channel_rows else []
        existing = tile.there() if self.sums else None
        for j in range(width):
            known = by_row or [self._channel(tile, 0, j)] * spec.rows
            values = self._elements(totals[j::width], known, rows, j, tile)
            if self.sums and existing:
                carried = self.sums.add(j, partial(self._column, values), existing, carried)
        return carried

    def channels(self, tile: Tile) -> list[Mapping[int, Vec]]:
        """For each vector of columns, the values that belong to its channels, and all numbers."""
        return [self._channel(tile, 0, j) for j in range(self.spec.vectors)]

    def row(
        self,
        totals: Sequence[ir.Value],
        number: ir.Value,
        tile: Tile,
        known: Sequence[Mapping[int, Vec]] | None,
        there: Rows | None,
        carry: Sequence[ir.Value],
    ) -> list[ir.Value]:
        """`end` for a tile of one row.

        known: `channels`, if the channels are columns; otherwise the row is a channel, `number` after the tile's first
        one. there: given if sums over rows are taken.
        """
        carried = list(carry)
        for j, total in enumerate(totals):
            channel = known[j] if known else self._channel(tile, number, j)
            values = self._elements([total], [channel], [tile.rows(0)], j, tile)
            if self.sums and there:
                carried = self.sums.add(j, partial(self._column, values), there, carried)
        return carried

    def _column(self, values: Sequence[Mapping[int, Vec]], number: int) -> list[Vec]:
        """The value `number` of the code in each row."""
        return [self.widened(row, number, self.spec.lanes) for row in values]

    def _from_stack(self, totals: Sequence[ir.Value], tile: Tile) -> None:
        emitter, spec = self.emitter, self.spec
        vector = llvm_type(self.kind, spec.lanes)
        for number, total in enumerate(totals):
            emitter.at.store(total, emitter.at.gep(self.scratch, [i64(number)], source_etype=vector))

        def row(i: ir.Value, _: list[ir.Value]) -> tuple[()]:
            first = emitter.at.gep(self.scratch, [emitter.mul(i, spec.vectors)], source_etype=vector)
            channel = self._channel(tile, i, 0) if spec.channel_rows else None
            for j in range(spec.vectors):
                total = emitter.at.load(emitter.at.gep(first, [i64(j)], source_etype=vector), typ=vector)
                known = self._channel(tile, i, j) if channel is None else channel
                self._elements([total], [known], [tile.rows(i)], j, tile)
            return ()

        emitter.loop(i64(0), tile.count, 1, row)

    # -- values --------------------------------------------------------------------------------------------------

    def _channel(self, tile: Tile, row: ir.Value | int, vector: int) -> dict[int, Vec]:
        """The values that belong to the channel of a row, or to those of a vector of columns, and all numbers."""
        emitter, spec = self.emitter, self.spec
        if spec.channel_rows:
            at, lanes = emitter.minimum(emitter.sum(tile.channel, row), tile.last_channel), 1
        else:
            at, lanes = emitter.sum(tile.channel, vector * spec.lanes), spec.lanes
        mask = None if spec.channel_rows else tile.masks[vector]
        return self.values(CHANNEL, self.numbers, lambda source: self._read(source, at, lanes, mask))

    def _elements(
        self,
        totals: Sequence[ir.Value],
        known: Sequence[Mapping[int, Vec]],
        rows: Sequence[ir.Value],
        vector: int,
        tile: Tile,
    ) -> list[Mapping[int, Vec]]:
        """Store the results for one vector of sums in each row; returns all values.

        Everything is read before anything is stored: the last row may appear here more than once, and the result may be
        where an operand is read.
        """
        emitter, spec, mask = self.emitter, self.spec, tile.masks[vector]
        places = [emitter.sum(row, vector * spec.lanes) for row in rows]
        read = [self._operands(*each, mask) for each in zip(totals, known, places, strict=True)]
        found: list[Mapping[int, Vec]] = []
        for at, loaded in zip(places, read, strict=True):
            values = self.values(ELEMENT, loaded, self._number)
            result = self.widened(values, self.epilogue.result, spec.lanes)
            emitter.store(result, emitter.element(emitter.buffers["c"], spec.c, at), spec.c, mask)
            found.append(values)
        return found

    def _operands(
        self, total: ir.Value, known: Mapping[int, Vec], at: ir.Value, mask: ir.Value | None
    ) -> dict[int, Vec]:
        """The known values, and those that are loaded for one vector of sums."""

        def load(source: int) -> Vec:
            if self.epilogue.sources[source].is_sum:
                return Vec(self.emitter.at, total, self.kind, self.spec.lanes)
            return self._read(source, at, self.spec.lanes, mask)

        loads = [n for n, x in enumerate(self.epilogue.code) if x.op == "load" and self.along[n] == ELEMENT]
        return {**known, **{n: self.value(self.epilogue.code[n], {}, load) for n in loads}}

    def _number(self, number: int) -> Vec:
        emitter, source = self.emitter, self.epilogue.sources[number]
        if source.buffer:
            return self._read(number, i64(0), 1, None)
        return arithmetic.parameter(emitter.at, emitter.param[f"number{number}"], source.dtype)

    def _read(self, number: int, at: ir.Value, lanes: int, mask: ir.Value | None) -> Vec:
        """Elements of a source in memory."""
        emitter, source = self.emitter, self.epilogue.sources[number]
        assert source.buffer is not None
        address = emitter.element(emitter.buffers[source.buffer], source.dtype, at)
        return emitter.load(address, source.dtype, lanes, mask)
