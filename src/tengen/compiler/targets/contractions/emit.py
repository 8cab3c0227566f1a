"""Writes the code of a contraction. `kernels/contraction.py` describes its loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from ...kernels.contraction import (
    SUM_PARAMETERS,
    SUM_TILE,
    ContractionKernel,
    PartParameters,
    SumKernel,
    verify,
)
from ...kernels.dtypes import KINDS, QUADS
from ...kernels.target import HostTarget
from ..amx import release
from ..flow import I64, i64
from ..kernel_emitter import KernelEmitter
from ..nests.fold import across
from ..vector import Vec, constant, splat
from .amx import AmxEmitter, AmxOperand, AmxPlace
from .epilogue import EpilogueEmitter
from .products import ones
from .tile import Tile, TileEmitter, rows_there
from .window import WindowEmitter

ZERO = i64(0)
I1 = ir.IntType(1)

AHEAD = 24
"""How many steps of k ahead a tile prefetches operands that come from memory. Later tiles of the block find them in a
cache."""


class ContractionEmitter(TileEmitter):
    """The loops of a kernel around and in its register tiles."""

    def tiles(self) -> None:
        """The launch tiles from tile_begin to tile_end of all parts, one part after the other."""
        parts, here, after, end = (self.function.append_basic_block(name) for name in ("part", "here", "after", "end"))
        start, first = self.at.block, i64(len(self.param))
        size = len(PartParameters._fields)
        self.at.branch(parts)
        self.at.position_at_end(parts)
        # The part's numbers, and the requested tiles, counted from its first one.
        place, low, high = (self.at.phi(I64) for _ in range(3))
        count = self.parameter(place)
        self.at.cbranch(self.at.icmp_signed("<", low, count), here, after)
        self.at.position_at_end(here)
        self.part = PartParameters._make([self.parameter(self.sum(place, i)) for i in range(size)])
        self.epilogue = EpilogueEmitter(self, self.spec, self.spec.epilogue) if self.spec.epilogue else None
        self.window = WindowEmitter(self, self.spec.window, self.epilogue) if self.spec.window else None
        self.amx = AmxEmitter(self, self.epilogue, self.k_loops) if self.spec.amx else None
        self.loop(low, self.minimum(high, count), 1, lambda tile, _: self.tile(tile))
        self.at.branch(after)
        self.at.position_at_end(after)
        passed = self.minimum(low, count)
        following = self.sum(place, size), self.at.sub(low, passed), self.at.sub(high, count)
        begins = first, self.tile_begin, self.tile_end
        for phi, begin, value in zip((place, low, high), begins, following, strict=True):
            phi.add_incoming(begin, start)
            phi.add_incoming(value, after)
        self.at.cbranch(self.at.icmp_signed(">", high, count), parts, end)
        self.at.position_at_end(end)
        if self.spec.amx:
            release(self)

    # -- the launch tile ---------------------------------------------------------------------------------------

    def tile(self, tile: ir.Value) -> tuple[()]:
        p, add, mul = self.part, self.sum, self.mul
        rest, block = self.divmod(tile, p.row_blocks)
        rest, group = self.divmod(rest, p.panel_groups)
        batch, split = self.divmod(rest, p.splits)
        b0, b1 = self.divmod(batch, p.b1)
        at = {x: add(p.of(f"{x}_offset"), mul(b0, p.of(f"{x}_b0")), mul(b1, p.of(f"{x}_b1"))) for x in "abc"}
        at["c"] = add(at["c"], mul(split, p.c_split))
        first_row = mul(block, p.rows_per_block)
        first_channel = first_row if self.spec.channel_rows and not self.amx else 0
        at["channel"] = add(mul(b0, p.channel_b0), mul(b1, p.channel_b1), first_channel)
        at["sums"] = add(*(p.sum_offset, mul(b0, p.sum_b0), mul(b1, p.sum_b1), mul(block, p.sum_block)), at["channel"])
        row_count = self.minimum(p.rows_per_block, self.at.sub(p.rows, first_row))
        if self.amx:
            self.amx.strip_table(first_row, row_count)
        elif not self.window:
            self.row_table(first_row, row_count)
        panel = mul(group, p.panels_per_group)
        panels = self.at.udiv(add(p.columns, self.spec.panel - 1), i64(self.spec.panel))
        last_panel = self.minimum(add(panel, p.panels_per_group), panels)
        if self.window:
            return self.window.launch_tile(split if self.spec.blocked else block, at, panel, last_panel)

        def k_block(first: ir.Value, a: ir.Value, b: ir.Value, extent: ir.Value) -> None:
            here = at | {"a": a, "b": b}
            self.loop(panel, last_panel, 1, lambda j, _: self.panel(j, row_count, here, extent, first))

        self.k_blocks(split, at["a"], at["b"], k_block)
        return ()

    def k_blocks(
        self, split: ir.Value, a: ir.Value, b: ir.Value, body: Callable[[ir.Value, ir.Value, ir.Value, ir.Value], None]
    ) -> None:
        """body(is it the first block?, a, b, extent of the first loop in registers) for the blocks of k that belong to
        `split`."""
        p, add, mul = self.part, self.sum, self.mul
        if not self.spec.blocked:
            body(ir.Constant(I1, 1), a, b, p.k1)
            return
        per_turn = self.at.udiv(self.at.sub(add(p.k2, p.k2_block), i64(1)), p.k2_block)
        low = mul(split, p.blocks_per_split)
        high = self.minimum(add(low, p.blocks_per_split), mul(mul(per_turn, p.k1), p.k0))

        def block(i: ir.Value, _: list[ir.Value]) -> tuple[()]:
            rest, k2 = self.divmod(i, per_turn)
            k0, k1 = self.divmod(rest, p.k1)
            k2 = mul(k2, p.k2_block)
            extent = self.minimum(p.k2_block, self.at.sub(p.k2, k2))
            a_at = add(a, mul(k0, p.a_k0), mul(k1, p.a_k1), mul(k2, p.a_k2))
            b_at = add(b, mul(k0, p.b_k0), mul(k1, p.b_k1), mul(k2, p.b_k2))
            body(self.at.icmp_signed("==", i, low), a_at, b_at, extent)
            return ()

        self.loop(low, high, 1, block)

    def row_table(self, first: ir.Value, count: ir.Value) -> None:
        """Fill a_rows and c_rows with the offsets of `count` rows.

        The tail of the last register tile repeats the last row, which is computed and stored again with equal results.
        So the register tile need not test for rows that do not exist.
        """
        p, add, mul = self.part, self.sum, self.mul

        def entries(done: ir.Value, run: ir.Value, base: dict[str, ir.Value], moves: bool) -> None:
            def entry(i: ir.Value, _: list[ir.Value]) -> tuple[()]:
                for table, x in ((self.a_rows, "a"), (self.c_rows, "c")):
                    slot = self.at.gep(table, [add(done, i)], source_etype=I64)
                    self.at.store(add(base[x], mul(i, p.of(f"{x}_m3"))) if moves else base[x], slot)
                return ()

            self.loop(i64(0), run, 1, entry)

        start = self.at.block
        turn, after = self.function.append_basic_block("run"), self.function.append_basic_block("table")
        self.at.branch(turn)
        self.at.position_at_end(turn)
        done = self.at.phi(I64)
        done.add_incoming(i64(0), start)
        rest, i3 = self.divmod(add(first, done), p.m3)
        rest, i2 = self.divmod(rest, p.m2)
        numbers = (*self.divmod(rest, p.m1), i2, i3)
        base = {x: add(*(mul(i, p.of(f"{x}_m{loop}")) for loop, i in enumerate(numbers))) for x in "ac"}
        run = self.minimum(self.at.sub(p.m3, i3), self.at.sub(count, done))
        entries(done, run, base, moves=True)
        following = add(done, run)
        done.add_incoming(following, self.at.block)
        self.at.cbranch(self.at.icmp_signed("<", following, count), turn, after)
        self.at.position_at_end(after)
        end = self.sum(run, -1)
        last = {x: add(base[x], mul(end, p.of(f"{x}_m3"))) for x in "ac"}
        entries(count, i64(self.spec.rows - 1), last, moves=False)

    # -- one panel of columns ------------------------------------------------------------------------------------

    def panel(
        self,
        panel: ir.Value,
        row_count: ir.Value,
        at: dict[str, ir.Value],
        extent: ir.Value,
        first: ir.Value,
    ) -> tuple[()]:
        """All rows of the block in one panel; `at` are the offsets of A, B, C, the channels and the sums over rows."""
        spec, p = self.spec, self.part
        column = self.mul(panel, spec.panel)
        masks = self.masks(self.at.sub(p.columns, column))
        a = self.element(self.buffers["a"], spec.a, self.sum(at["a"], column) if spec.a_form == "columns" else at["a"])
        b = self.element(self.buffers["b"], spec.b, self.sum(at["b"], self.mul(panel, p.b_panel)))
        c_start = self.sum(at["c"], column)
        c = self.element(self.buffers["c"], spec.c, c_start)
        shift = self.shift(b, masks, extent)
        if self.amx:
            channel = self.sum(at["channel"], ZERO if spec.channel_rows else column)
            last = self.sum(at["channel"], p.m3, -1)
            place_of_sums = self.sum(at["sums"], column)
            return self.amx.panel(
                row_count, extent, AmxPlace(a, b, c_start, channel, last, place_of_sums, masks, first, shift)
            )

        def c_at(row: ir.Value) -> list[ir.Value]:
            starts = [self.element(c, spec.c, self.offset(self.c_rows, row, i)) for i in range(spec.rows)]
            return [self.element(start, spec.c, j * spec.columns) for start in starts for j in range(spec.vectors)]

        def place(row: ir.Value) -> Tile:
            channel = self.sum(at["channel"], row if spec.channel_rows else column)
            last = self.sum(at["channel"], row_count, -1)
            rows = lambda i: self.sum(c_start, self.offset(self.c_rows, row, i))  # noqa: E731
            count = self.minimum(self.at.sub(row_count, row), i64(spec.rows))
            return Tile(rows, channel, last, masks, count, lambda: rows_there(self, row, row_count))

        def register_tile(row: ir.Value, carry: list[ir.Value]) -> Sequence[ir.Value]:
            a_at = self.a_at(a, row)
            begun = shift * spec.rows or self.zeros()

            def sums(extent: ir.Value, a_k: ir.Value, b_k: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
                return self.k_loops(a_at, b, totals, masks, extent, a_k, b_k)

            # Addresses are computed again, because over the k loops they would only push others out of the registers.
            if self.epilogue:
                totals = self.epilogue.while_reading(sums, begun, place(row))
                return self.epilogue.end(totals, place(row), carry)
            totals = [Vec(self.at, v, self.kind, spec.lanes) for v in sums(extent, ZERO, ZERO, begun)]
            folded = [across("sum", (v,), spec.columns)[0] for v in totals]
            places = c_at(row)
            for i, value in enumerate(self.with_result(folded, places, masks, first)):
                self.store(value, places[i], spec.c, masks[i % spec.vectors])
            return ()

        column_sums = self.epilogue and self.epilogue.sums
        carry = self.loop(i64(0), row_count, spec.rows, register_tile, column_sums.begin() if column_sums else ())
        if column_sums:
            column_sums.store(carry, self.sum(at["sums"], column), row_count, masks)
        return ()

    def a_at(self, a: ir.Value, row: ir.Value) -> list[ir.Value]:
        """The addresses of the rows of A from `row` of the block on."""
        spec = self.spec
        if spec.a_rows == "1":
            start = self.element(a, spec.a, self.offset(self.a_rows, row, 0))
            return [self.element(start, spec.a, i) for i in range(spec.rows)]
        return [self.element(a, spec.a, self.offset(self.a_rows, row, i)) for i in range(spec.rows)]

    def shift(self, b: ir.Value, masks: list[ir.Value | None], extent: ir.Value) -> list[ir.Value]:
        """What to add to the sums of the columns of quads if a number other than 0 stands for 0 in A; None if nothing.

        It is as if another row of A were subtracted, which is the same for all rows.
        """
        spec, lanes = self.spec, self.spec.lanes
        if spec.a not in QUADS.values() or not (spec.a_zero == "n" or self.multiplier.offset):
            return []
        sums = self.k_loops([], b, [constant(0, self.kind, lanes)] * spec.vectors, masks, extent, ZERO, ZERO)
        zero = Vec(self.at, self.sum(self.part.a_zero, self.multiplier.offset), "i64", 1).to(self.kind)
        factor = splat(self.at, zero.value, self.kind, lanes)
        return [(-(Vec(self.at, total, self.kind, lanes) * factor)).value for total in sums]

    def zeros(self) -> list[ir.Value]:
        """The accumulators before the first k."""
        return [constant(0, self.kind, self.spec.lanes)] * (self.spec.rows * self.spec.vectors)

    def with_result(
        self, totals: list[Vec], c_at: list[ir.Value], masks: list[ir.Value | None], first: ir.Value
    ) -> list[Vec]:
        """The sums of this block of k, added to those of the blocks before it if C holds some.

        The accumulators do not begin with those: one long sum would lose far more digits than a sum of sums.
        """
        spec = self.spec

        def added() -> list[ir.Value]:
            held = [self.load(at, spec.c, spec.columns, masks[i % spec.vectors]) for i, at in enumerate(c_at)]
            return [(before + total).value for before, total in zip(held, totals, strict=True)]

        if spec.begin == "zeros" and not spec.blocked:
            return totals
        alone = [total.value for total in totals]
        made = added() if spec.begin == "result" else self.choose(first, lambda: alone, added)
        return [total.like(value, self.kind) for total, value in zip(totals, made, strict=True)]

    # -- the register tile -----------------------------------------------------------------------------------------

    def k_loops(
        self,
        a_at: list[ir.Value],
        b: ir.Value,
        totals: list[ir.Value],
        masks: list[ir.Value | None],
        extent: ir.Value,
        a_start: ir.Value,
        b_start: ir.Value,
    ) -> list[ir.Value]:
        """Run the inner k loops over the register tile, from these offsets of A and B on; returns the accumulators.

        extent: of the first loop.
        """
        p, spec = self.part, self.spec
        outside = 2 if spec.blocked else 1
        names = [f"k{i}" for i in range(outside, outside + spec.k_loops)]
        extents = {name: p.of(name) for name in names} | {names[0]: extent}

        def nest(level: int, a_k: ir.Value, b_k: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
            name = names[level]
            if level == spec.k_loops - 1:
                return self.innermost(extents[name], name, (a_at, a_k), (b, b_k), totals, masks)

            def turn(_: ir.Value, carry: list[ir.Value]) -> list[ir.Value]:
                result = nest(level + 1, carry[0], carry[1], carry[2:])
                return [self.sum(carry[0], p.of(f"a_{name}")), self.sum(carry[1], p.of(f"b_{name}")), *result]

            return self.loop(i64(0), extents[name], 1, turn, [a_k, b_k, *totals])[2:]

        return nest(0, a_start, b_start, totals)

    def innermost(
        self,
        extent: ir.Value,
        name: str,
        a: tuple[list[ir.Value], ir.Value],
        b: tuple[ir.Value, ir.Value],
        totals: list[ir.Value],
        masks: list[ir.Value | None],
    ) -> list[ir.Value]:
        """The innermost k loop: `unroll` steps per turn, then the rest one by one. Every `sum_steps` steps have a sum
        of their own."""
        spec = self.spec
        if self.amx and a[0]:
            self.amx.innermost(extent, AmxOperand(*a), AmxOperand((b[0],), b[1]))
            return []
        a_step = i64(1) if spec.a_steps == "1" else self.part.of(f"a_{name}")
        b_step = i64(spec.panel) if spec.b_steps == "panel" else self.part.of(f"b_{name}")
        if spec.folded:
            a_step = b_step = i64(spec.lanes)
            extent = self.at.udiv(extent, a_step)
        a_ahead, b_ahead = self.mul(a_step, AHEAD), self.mul(b_step, AHEAD)

        def steps(count: int) -> Callable[[ir.Value, list[ir.Value]], list[ir.Value]]:
            def turn(_: ir.Value, carry: list[ir.Value]) -> list[ir.Value]:
                a_k, b_k, totals = carry[0], carry[1], carry[2:]
                for _ in range(count):
                    if spec.streams:
                        self.ask_ahead(a[0][0], self.sum(a_k, a_ahead), b[0], self.sum(b_k, b_ahead))
                    totals = self.step([(at, a_k) for at in a[0]], self.element(b[0], spec.b, b_k), totals, masks)
                    a_k, b_k = self.at.add(a_k, a_step), self.at.add(b_k, b_step)
                return [a_k, b_k, *totals]

            return turn

        def run(extent: ir.Value, carry: list[ir.Value]) -> list[ir.Value]:
            whole = i64(0)
            if spec.unroll > 1:
                whole = self.at.sub(extent, self.at.urem(extent, i64(spec.unroll)))
                carry = self.loop(i64(0), whole, spec.unroll, steps(spec.unroll), carry)
            return self.loop(whole, extent, 1, steps(1), carry)

        def sum_of_some(start: ir.Value, carry: list[ir.Value]) -> list[ir.Value]:
            count = self.minimum(i64(spec.sum_steps), self.at.sub(extent, start))
            a_k, b_k, *some = run(count, [*carry[:2], *self.zeros()])
            vectors = [[Vec(self.at, v, self.kind, spec.lanes) for v in values] for values in (carry[2:], some)]
            return [a_k, b_k, *((total + more).value for total, more in zip(*vectors, strict=True))]

        carry = [a[1], b[1], *totals]
        if spec.sum_steps:
            return self.loop(i64(0), extent, spec.sum_steps, sum_of_some, carry)[2:]
        return run(extent, carry)[2:]

    def ask_ahead(self, a: ir.Value, a_k: ir.Value, b: ir.Value, b_k: ir.Value) -> None:
        """Prefetch what the register tile reads at these offsets of A and B, if its rows of A are neighbours."""
        spec = self.spec
        for j in range(spec.vectors):
            self.prefetch(self.element(b, spec.b, self.sum(b_k, j * spec.lanes)))
        if spec.a_rows == "1":
            self.prefetch(self.element(a, spec.a, a_k))

    def step(
        self,
        a: list[tuple[ir.Value, ir.Value]],
        b: ir.Value,
        totals: list[ir.Value],
        masks: list[ir.Value | None],
    ) -> list[ir.Value]:
        """One step of k: totals[i, j] += a[i] * b[j], or a[i, j] * b[j]. If no rows of A are given, it is a row of
        ones."""
        for part in range(self.multiplier.parts):
            if part:  # the operands are loaded again, because there are not enough registers for everything that is made from them
                self.fence()
            totals = self.add_products(a, b, totals, masks, part)
        return totals

    def add_products(
        self,
        a: list[tuple[ir.Value, ir.Value]],
        b: ir.Value,
        totals: list[ir.Value],
        masks: list[ir.Value | None],
        part: int,
    ) -> list[ir.Value]:
        """One part of a step."""
        spec, result = self.spec, []
        apart = self.part.b_column if spec.folded else spec.lanes
        loaded = self.row_of(spec.b, b, [None] * spec.vectors if spec.b_panels == "packed" else masks, apart)
        columns = [self.multiplier.b(column, part) for column in loaded]

        def row(i: int) -> list[Vec]:
            if not a:
                return [self.multiplier.one(ones(self.at, spec.lanes), part)] * spec.vectors
            start, k = a[i]
            return [self.of_a(x, part) for x in self.values_of_a(self.element(start, spec.a, k), masks)]

        for i in range(len(totals) // spec.vectors):
            for j, (column, value) in enumerate(zip(columns, row(i), strict=True)):
                total = Vec(self.at, totals[i * spec.vectors + j], self.kind, spec.lanes)
                result.append(self.multiplier.add(value, column, total).value)
        return result

    def row_of(self, dtype: str, start: ir.Value, masks: list[ir.Value | None], apart: ir.Value | int) -> list[Vec]:
        """The vectors of one row of the panel."""
        starts = [self.element(start, dtype, self.mul(i64(j), apart)) for j in range(len(masks))]
        return [self.load(at, dtype, self.spec.lanes, mask) for at, mask in zip(starts, masks, strict=True)]

    def values_of_a(self, address: ir.Value, masks: list[ir.Value | None]) -> list[Vec]:
        """The factors for the vectors of one row of B: the columns of A there, as many steps of k, or one element of A."""
        spec = self.spec
        if spec.a_form == "columns":
            return self.row_of(spec.a, address, masks, spec.lanes)
        if spec.folded:
            return [self.load(address, spec.a, spec.lanes)] * spec.vectors
        scalar = self.load(address, spec.a, 1)
        return [splat(self.at, scalar.value, scalar.kind, spec.lanes)] * spec.vectors


def emit_contraction(kernel: ContractionKernel, target: HostTarget) -> str:
    """LLVM IR text of a contraction. Raises ValueError if the kernel is not well formed."""
    verify(kernel)
    return ContractionEmitter(kernel, target).text()


class SumEmitter(KernelEmitter):
    def __init__(self, spec: SumKernel, target: HostTarget):
        self.spec = spec
        super().__init__(target, ("partial", "out"), SUM_PARAMETERS)

    def tile(self, tile: ir.Value) -> tuple[()]:
        first = self.mul(tile, SUM_TILE)
        end = self.minimum(self.sum(first, SUM_TILE), self.param["size"])
        whole = self.at.sub(end, self.at.urem(self.at.sub(end, first), i64(self.spec.lanes)))
        self.loop(first, whole, self.spec.lanes, lambda i, _: self.elements(i, self.spec.lanes))
        self.loop(whole, end, 1, lambda i, _: self.elements(i, 1))
        return ()

    def elements(self, i: ir.Value, lanes: int) -> tuple[()]:
        spec = self.spec
        kind = KINDS[spec.partial][1]

        def add(split: ir.Value, carry: list[ir.Value]) -> list[ir.Value]:
            at = self.sum(self.mul(split, self.param["size"]), i)
            value = self.load(self.element(self.buffers["partial"], spec.partial, at), spec.partial, lanes)
            return [(Vec(self.at, carry[0], kind, lanes) + value).value]

        (total,) = self.loop(i64(0), self.param["splits"], 1, add, [constant(0, kind, lanes)])
        self.store(Vec(self.at, total, kind, lanes), self.element(self.buffers["out"], spec.out, i), spec.out)
        return ()


def emit_sum(kernel: SumKernel, target: HostTarget) -> str:
    """LLVM IR text of a kernel that adds the splits of a contraction."""
    return SumEmitter(kernel, target).text()
