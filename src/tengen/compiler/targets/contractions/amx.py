"""The register tile in AMX registers: products of small matrices of words, pairs or quads.

One instruction adds to 16 x 16 sums the product of 16 rows of A, 16 words each, and 16 words of rows of B. The rows of
an operand lie at a constant distance, so rows of the contraction come in *strips*: up to 16 neighbours of its innermost
row loop, all of the same length. If strips do not divide that loop, its last strip begins early; then its first rows
are not new, and only new ones are stored. A rest of k shorter than 16 words has registers of its own shape. Intel SDM,
volume 1, chapter 18.

The sums of a complete tile go to the stack, which is in the nearest cache, and come back as rows of vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

from llvmlite import ir

from ...kernels.contraction import AMX_SIDE, AMX_SUMS
from ...kernels.dtypes import PAIR, QUADS
from ..amx import WORD, configure, instruct
from ..flow import I64, i64
from ..vector import Vec, constant, llvm_type
from .epilogue import EpilogueEmitter
from .tile import Rows, Tile, TileEmitter

A, B, REST_OF_A, REST_OF_B = range(AMX_SUMS, AMX_SUMS + 4)
"""Registers of the operands; the ones before hold sums."""

INSTRUCTIONS = {PAIR: "tdpbf16ps", QUADS["int8"]: "tdpbssd", QUADS["uint8"]: "tdpbusd"}
"""What multiplies, by the dtype of A."""

KLoops = Callable[..., Sequence[ir.Value]]
"""Writes the inner k loops of a register tile: see `ContractionEmitter.k_loops`."""


class AmxOperand(NamedTuple):
    """Where the strips of A, or the panel of B, begin, and how many elements a step of k moves."""

    starts: Sequence[ir.Value]
    k: ir.Value


class AmxPlace(NamedTuple):
    """A panel of a launch tile: where its columns begin in A, B and C, its first channel and the last existing one,
    where its sums over rows go, which lanes of each vector count, whether these are the first steps of k, and what is
    added to the sums of every row, if anything."""

    a: ir.Value
    b: ir.Value
    c: ir.Value
    channel: ir.Value
    last_channel: ir.Value
    sums: ir.Value
    masks: list[ir.Value | None]
    first: ir.Value
    shift: Sequence[ir.Value]


class Row(NamedTuple):
    """A new row of a register tile: its offset in C, its number among the rows on the stack, and its number in the
    innermost row loop."""

    c: ir.Value
    sums: ir.Value
    number: ir.Value


class AmxEmitter:
    """The register tiles of one kernel. Created at the beginning of a part. `rows` of the launch are strips."""

    def __init__(self, emitter: TileEmitter, epilogue: EpilogueEmitter | None, k_loops: KLoops):
        self.epilogue, self.k_loops = epilogue, k_loops
        self.emitter, self.spec = emitter, emitter.spec
        spec, p = self.spec, emitter.part
        self.strips = spec.rows // AMX_SIDE
        capacity = emitter.capacity
        self.new_rows, self.numbers = (emitter.reserve(I64, capacity, name) for name in ("new_rows", "numbers"))
        self.scratch = emitter.reserve(llvm_type(emitter.kind, AMX_SIDE), spec.rows * spec.vectors, "sums")
        self.name = f"k{(2 if spec.blocked else 1) + spec.k_loops - 1}"
        self.b_step = i64(spec.panel) if spec.b_steps == "panel" else p.of(f"b_{self.name}")
        self.a_bytes, self.b_bytes = emitter.mul(p.a_m3, WORD), emitter.mul(self.b_step, WORD)
        self.configure()

    # -- instructions --------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Give registers their shapes: rows of a strip, and the rest of the innermost k loop after whole steps."""
        emitter, p = self.emitter, self.emitter.part
        height, rest = p.strip_rows, emitter.at.urem(p.of(self.name), i64(AMX_SIDE))
        shapes = dict.fromkeys(range(AMX_SUMS), (height, i64(AMX_SIDE)))
        shapes |= {A: (height, i64(AMX_SIDE)), B: (i64(AMX_SIDE), i64(AMX_SIDE))}
        some = emitter.at.icmp_signed(">", rest, i64(0))  # a register has both rows and columns, or neither
        shapes |= {REST_OF_A: (emitter.at.select(some, height, i64(0)), rest)}
        shapes |= {REST_OF_B: (rest, emitter.at.select(some, i64(AMX_SIDE), i64(0)))}
        configure(emitter, shapes)

    # -- strips --------------------------------------------------------------------------------------------------

    def strip_table(self, first: ir.Value, count: ir.Value) -> None:
        """Tables for `count` strips: offsets in A of the first row and in C of the first new row, how many rows are
        new, and the number of the first one. The tail of the last register tile repeats the last strip without new
        rows.
        """
        emitter, p, spec = self.emitter, self.emitter.part, self.spec
        rows = p.strip_rows

        def entry(i: ir.Value, _: list[ir.Value]) -> tuple[()]:
            rest, strip = emitter.divmod(emitter.sum(first, i), p.strips)
            rest, i2 = emitter.divmod(rest, p.m2)
            outer = *emitter.divmod(rest, p.m1), i2
            base = {
                x: emitter.sum(*(emitter.mul(n, p.of(f"{x}_m{loop}")) for loop, n in enumerate(outer))) for x in "ac"
            }
            number = emitter.mul(strip, rows)
            begin = emitter.minimum(number, emitter.at.sub(p.m3, rows))
            new = emitter.sum(rows, emitter.at.sub(begin, number))
            self.enter(i, base["a"], begin, base["c"], number, new)
            return ()

        emitter.loop(i64(0), count, 1, entry)
        last = emitter.sum(count, -1)
        for i in range(spec.rows // AMX_SIDE - 1):
            after = emitter.sum(count, i)
            for table in (emitter.a_rows, emitter.c_rows, self.numbers):
                emitter.at.store(emitter.offset(table, last, 0), self.slot(table, after))
            emitter.at.store(i64(0), self.slot(self.new_rows, after))

    def enter(self, i: ir.Value, a: ir.Value, begin: ir.Value, c: ir.Value, number: ir.Value, new: ir.Value) -> None:
        """Fill the tables at strip i."""
        emitter, p = self.emitter, self.emitter.part
        entries = (
            (emitter.a_rows, emitter.sum(a, emitter.mul(begin, p.a_m3))),
            (emitter.c_rows, emitter.sum(c, emitter.mul(number, p.c_m3))),
            (self.new_rows, new),
            (self.numbers, number),
        )
        for table, value in entries:
            emitter.at.store(value, self.slot(table, i))

    def slot(self, table: ir.Value, i: ir.Value) -> ir.Value:
        return self.emitter.at.gep(table, [i], source_etype=I64)

    # -- register tiles ------------------------------------------------------------------------------------------

    def panel(self, count: ir.Value, extent: ir.Value, place: AmxPlace) -> tuple[()]:
        """All strips of the block in one panel; extent: of the first k loop."""
        emitter, spec, end = self.emitter, self.spec, self.epilogue
        known = None if end is None or spec.channel_rows else end.channels(self.tile(place, i64(0)))
        sums = end.sums if end else None

        def register_tile(strip: ir.Value, carry: list[ir.Value]) -> list[ir.Value]:
            if end and end.reads_ahead:
                self.each_row(strip, place, lambda row, _: end.read_row_ahead(row.c), [])
            self.products(strip, extent, place)

            def row(row: Row, carry: list[ir.Value]) -> list[ir.Value]:
                if not end:
                    return self.store_row(row, place)
                totals, tile = self.totals(row, place), self.tile(place, row.c)
                if not sums:
                    return end.row(totals, row.number, tile, known, None, [])
                *carry, counted = carry
                there = Rows(emitter.at.icmp_signed("==", counted, i64(0)), [None])
                return [*end.row(totals, row.number, tile, known, there, carry), emitter.sum(counted, 1)]

            return self.each_row(strip, place, row, carry)

        carry = emitter.loop(i64(0), count, self.strips, register_tile, [*sums.begin(), i64(0)] if sums else ())
        if sums:
            *carry, counted = carry
            sums.store(carry, place.sums, counted, place.masks)
        return ()

    def products(self, strip: ir.Value, extent: ir.Value, place: AmxPlace) -> None:
        """Store the sums of a register tile on the stack."""
        emitter, spec = self.emitter, self.spec
        rows = [emitter.offset(emitter.a_rows, strip, i) for i in range(self.strips)]
        numbers = [(i * spec.vectors + j, i, j) for i, j in product(range(self.strips), range(spec.vectors))]
        for number, _, _ in numbers:
            instruct(emitter, "tilezero", number)
        starts = [emitter.element(place.a, spec.a, row) for row in rows]
        self.k_loops(starts, place.b, [], place.masks, extent, i64(0), i64(0))
        for number, i, j in numbers:
            instruct(
                emitter, "tilestored64", number, self.sum_at(i64(i * AMX_SIDE), j), i64(spec.vectors * AMX_SIDE * WORD)
            )

    def each_row(
        self,
        strip: ir.Value,
        place: AmxPlace,
        body: Callable[[Row, list[ir.Value]], Sequence[ir.Value]],
        carry: Sequence[ir.Value],
    ) -> list[ir.Value]:
        """carry = body(row, carry) for all new rows of a register tile that begins with this strip."""
        emitter, p = self.emitter, self.emitter.part

        def rows(i: ir.Value, carry: list[ir.Value]) -> list[ir.Value]:
            start, number, new = (
                emitter.offset(table, strip, i) for table in (emitter.c_rows, self.numbers, self.new_rows)
            )
            known = emitter.sum(emitter.mul(i, AMX_SIDE), emitter.at.sub(p.strip_rows, new))
            first = Row(emitter.sum(place.c, start), known, number)

            def one(j: ir.Value, carry: list[ir.Value]) -> Sequence[ir.Value]:
                c = emitter.sum(first.c, emitter.mul(j, p.c_m3))
                return body(Row(c, emitter.sum(first.sums, j), emitter.sum(first.number, j)), carry)

            return emitter.loop(i64(0), new, 1, one, carry)

        return emitter.loop(i64(0), i64(self.strips), 1, rows, carry)

    def tile(self, place: AmxPlace, row: ir.Value) -> Tile:
        """What an epilogue needs to know about one row."""
        rows = lambda _: row  # noqa: E731
        return Tile(rows, place.channel, place.last_channel, place.masks, i64(1), lambda: Rows(place.first, [None]))

    def sum_at(self, row: ir.Value, vector: int) -> ir.Value:
        number = self.emitter.sum(self.emitter.mul(row, self.spec.vectors), vector)
        return self.emitter.at.gep(self.scratch, [number], source_etype=llvm_type(self.emitter.kind, AMX_SIDE))

    def totals(self, row: Row, place: AmxPlace) -> list[ir.Value]:
        """The sums of a row."""
        at, vector = self.emitter.at, llvm_type(self.emitter.kind, AMX_SIDE)
        sums = [at.load(self.sum_at(row.sums, j), typ=vector) for j in range(self.spec.vectors)]
        return [at.add(*pair) for pair in zip(sums, place.shift, strict=True)] if place.shift else sums

    def store_row(self, row: Row, place: AmxPlace) -> list[ir.Value]:
        """Store sums, or add them to the contents of C."""
        emitter, spec = self.emitter, self.spec
        start = emitter.element(emitter.buffers["c"], spec.c, row.c)
        places = [emitter.element(start, spec.c, j * AMX_SIDE) for j in range(spec.vectors)]

        def held() -> list[ir.Value]:
            return [emitter.load(p, spec.c, AMX_SIDE, mask).value for p, mask in zip(places, place.masks, strict=True)]

        def zeros() -> list[ir.Value]:
            return [constant(0, emitter.kind, AMX_SIDE)] * spec.vectors

        before = (
            held() if spec.begin == "result" else emitter.choose(place.first, zeros, held) if spec.blocked else None
        )
        for j, total in enumerate(self.totals(row, place)):
            value = Vec(emitter.at, total, emitter.kind, AMX_SIDE)
            value = value if before is None else value.like(before[j]) + value
            emitter.store(value, places[j], spec.c, place.masks[j])
        return []

    # -- steps of k ----------------------------------------------------------------------------------------------

    def innermost(self, extent: ir.Value, a: AmxOperand, b: AmxOperand) -> None:
        """The innermost k loop: whole steps, then the rest."""
        emitter, b_step = self.emitter, self.emitter.mul(self.b_step, AMX_SIDE)
        whole = emitter.at.and_(extent, i64(-AMX_SIDE))

        def step(_: ir.Value, carry: list[ir.Value]) -> list[ir.Value]:
            a_k, b_k = carry
            self.multiply(a._replace(k=a_k), b._replace(k=b_k), A, B)
            return [emitter.sum(a_k, AMX_SIDE), emitter.at.add(b_k, b_step)]

        def rest() -> list[ir.Value]:
            self.multiply(a._replace(k=a_k), b._replace(k=b_k), REST_OF_A, REST_OF_B)
            return []

        a_k, b_k = emitter.loop(i64(0), whole, AMX_SIDE, step, [a.k, b.k])
        emitter.choose(emitter.at.icmp_signed("<", whole, extent), rest, lambda: [])

    def multiply(self, a: AmxOperand, b: AmxOperand, a_register: int, b_register: int) -> None:
        """Add to all sums. Columns are taken forwards and backwards in turn, so that consecutive strips share one."""
        emitter, spec = self.emitter, self.spec
        (panel,) = b.starts
        loaded = None
        columns = list(range(spec.vectors))
        for i, strip in enumerate(a.starts):
            instruct(emitter, "tileloadd64", a_register, emitter.element(strip, spec.a, a.k), self.a_bytes)
            for j in columns:
                if j != loaded:
                    address = emitter.element(panel, spec.b, emitter.sum(b.k, j * AMX_SIDE))
                    instruct(emitter, "tileloadd64", b_register, address, self.b_bytes)
                loaded = j
                instruct(emitter, INSTRUCTIONS[spec.a], i * spec.vectors + j, a_register, b_register)
            columns.reverse()
