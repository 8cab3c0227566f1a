"""Writes the kernels of attention; `kernels/attention.py` describes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from ..kernels.attention import PANEL_VECTORS, PARAMETERS, AttentionKernel, verify
from ..kernels.target import HostTarget
from .flow import i64
from .nests.cross import transpose
from .small_products import Matrix, Products
from .vecmath import emitter
from .vecmath.exponential import exp2_nonpositive
from .vector import Vec, constant, splat

LOG2_E = math.log2(math.e)
TOGETHER = 4
"""Keys whose scores are folded, or whose powers are computed, side by side."""


class Blocks(Products):
    """What forward and backward share: blocks of rows copied beside each other or turned into panels, and what is left out of the scores, which
    lie in `scores`."""

    scores: ir.Value

    def __init__(self, spec: Any, target: HostTarget, parameters: Sequence[str]):
        super().__init__(target, spec.lanes, spec.accumulators, spec.buffers, parameters)
        self.spec = spec
        self.panel = spec.panel

    def padded(self, width: int) -> int:
        """A width in whole vectors."""
        return -(-width // self.lanes) * self.lanes

    def lane_numbers(self) -> Vec:
        return Vec(
            self.at, ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), list(range(self.lanes))), "i32", self.lanes
        )

    def first_lanes(self, count: int | ir.Value) -> ir.Value | None:
        """The mask of as many lanes; None for all."""
        if isinstance(count, int):
            if count >= self.lanes:
                return None
            return ir.Constant(ir.VectorType(ir.IntType(1), self.lanes), [int(i < count) for i in range(self.lanes)])
        limit = splat(self.at, self.at.trunc(count, ir.IntType(32)), "i32", self.lanes)
        return (self.lane_numbers() < limit).value

    def copy_rows(self, dtype: str, start: ir.Value, row: ir.Value, count: ir.Value, width: int, to: ir.Value) -> None:
        """Rows of `width` numbers, `row` elements apart, as float32 beside each other, with zeros up to whole vectors."""
        whole = self.padded(width)

        def one(i: ir.Value, _: list[Any]) -> tuple[()]:
            source, place = self.element(start, dtype, self.at.mul(i, row)), self.at_element(to, self.mul(i, whole))
            for first in range(0, whole, self.lanes):
                mask = self.first_lanes(width - first)
                self.put(self.load(self.element(source, dtype, first), dtype, self.lanes, mask), place, first)
            return ()

        self.loop(i64(0), count, 1, one)

    def turn_rows(
        self, dtype: str, start: ir.Value, row: ir.Value, count: ir.Value, width: int, to: ir.Value, factor: Vec | None
    ) -> None:
        """A panel [number][row] of `count` rows, at most as many as a panel has; those behind the last are like it."""
        whole, last = self.padded(width), self.at.sub(count, i64(1))
        for group in range(self.panel // self.lanes):
            sources = []
            for i in range(self.lanes):
                number = self.minimum(i64(group * self.lanes + i), last)
                sources.append(self.element(start, dtype, self.at.mul(number, row)))

            def square(
                first: ir.Value, _: list[Any], group: int = group, sources: list[ir.Value] = sources
            ) -> tuple[()]:
                self._square(dtype, sources, first, None, to, group, factor)
                return ()

            full = width - width % self.lanes
            self.loop(i64(0), i64(full), self.lanes, square)
            if full < whole:
                self._square(dtype, sources, i64(full), self.first_lanes(width - full), to, group, factor)

    def _square(
        self,
        dtype: str,
        sources: list[ir.Value],
        first: ir.Value,
        mask: ir.Value | None,
        to: ir.Value,
        group: int,
        factor: Vec | None,
    ) -> None:
        rows = [self.load(self.element(source, dtype, first), dtype, self.lanes, mask) for source in sources]
        rows = [r * factor for r in rows] if factor is not None else rows
        place = self.at_element(to, self.mul(first, self.panel))
        for number, column in enumerate(transpose(rows)):
            self.put(column, place, number * self.panel + group * self.lanes)

    def offset(self, name: str, n: ir.Value, h: ir.Value, row: ir.Value) -> ir.Value:
        p = self.param
        return self.sum(*(self.mul(i, p[f"{name}_{dim}"]) for i, dim in ((n, "n"), (h, "h"), (row, "row"))))

    def scale(self, name: str, factor: float = 1.0) -> Vec:
        """A float64 among the parameters, times a number, as float32."""
        number = self.at.bitcast(self.param[name], ir.DoubleType())
        number = self.at.fmul(number, ir.Constant(ir.DoubleType(), factor))
        return splat(self.at, self.at.fptrunc(number, ir.FloatType()), "f32", self.lanes)

    def each(
        self, count: ir.Value, together: int, body: Callable[[ir.Value, int, list[Any]], list[Any]], carry: list[Any]
    ) -> list[Any]:
        """carry = body(i, how many from i on, carry) for all below `count`, several at a time."""
        whole = self.at.sub(count, self.at.urem(count, i64(together)))
        carry = self.loop(i64(0), whole, together, lambda i, c: body(i, together, c), carry)
        return self.loop(whole, count, 1, lambda i, c: body(i, 1, c), carry)

    def vec(self, value: ir.Value) -> Vec:
        return Vec(self.at, value, "f32", self.lanes)

    def adjust(self, n: ir.Value, h: ir.Value, query: ir.Value, key: ir.Value, count: ir.Value) -> None:
        """Add the bias, and take out the keys behind a query."""
        spec = self.spec
        if not (spec.bias or spec.causal):
            return
        queries = []
        for j in range(self.panel // self.lanes):
            start = splat(self.at, self.at.trunc(self.sum(query, j * self.lanes), ir.IntType(32)), "i32", self.lanes)
            queries.append(start + self.lane_numbers())

        def one(i: ir.Value, _: list[Any]) -> tuple[()]:
            at = self.sum(key, i)
            for j, places in enumerate(queries):
                where = self.sum(self.mul(i, self.panel), j * self.lanes)
                score = self.vector(self.scores, where)
                if spec.bias:
                    score = self.bias(n, h, places, at).fma(LOG2_E, score)
                if spec.causal:
                    place = splat(self.at, self.at.trunc(at, ir.IntType(32)), "i32", self.lanes)
                    score = (places < place).where(score.const(-math.inf), score)
                self.put(score, self.scores, where)
            return ()

        needed = ir.Constant(ir.IntType(1), 1)
        if not spec.bias:
            needed = self.at.icmp_signed(">", self.sum(key, count, -1), query)

        def all_keys() -> list[ir.Value]:
            self.loop(i64(0), count, 1, one)
            return []

        self.choose(needed, all_keys, list)

    def bias(self, n: ir.Value, h: ir.Value, places: Vec, key: ir.Value) -> Vec:
        p = self.param
        last = splat(self.at, self.at.trunc(self.sum(p["length"], -1), ir.IntType(32)), "i32", self.lanes)
        rows = (places < last).where(places, last).to("i64")
        start = self.sum(self.mul(n, p["bias_n"]), self.mul(h, p["bias_h"]), self.mul(key, p["bias_key"]))
        base = self.at_element(self.buffers["bias"], start)

        def same() -> list[ir.Value]:
            return [self.everywhere(base).value]

        def each() -> list[ir.Value]:
            offsets = (rows * splat(self.at, p["bias_row"], "i64", self.lanes)).value
            result = ir.Constant(ir.VectorType(ir.FloatType(), self.lanes), ir.Undefined)
            for lane in range(self.lanes):
                where = ir.Constant(ir.IntType(32), lane)
                value = self.load(self.at_element(base, self.at.extract_element(offsets, where)), "float32", 1)
                result = self.at.insert_element(result, value.value, where)
            return [result]

        (value,) = self.choose(self.at.icmp_signed("==", p["bias_row"], i64(0)), same, each)
        return self.vec(value)


class _AttentionEmitter(Blocks):
    def __init__(self, spec: AttentionKernel, target: HostTarget):
        super().__init__(spec, target, PARAMETERS)
        panel, panels = spec.panel, spec.queries // spec.panel
        self.width, self.value_width = self.padded(spec.width), self.padded(spec.value_width)
        self.turned = self.scratch(panels * panel * self.width, "turned")
        self.k = self.scratch(spec.keys * self.width, "k")
        self.v = self.scratch(spec.keys * self.value_width, "v")
        self.scores = self.scratch(spec.keys * panel, "scores")
        self.sums = self.scratch(spec.queries * self.value_width, "sums")
        self.largest, self.totals, self.factors = (
            self.scratch(spec.queries, x) for x in ("largest", "totals", "factors")
        )

    def tile(self, tile: ir.Value) -> tuple[()]:
        spec, p = self.spec, self.param
        head, block = self.divmod(tile, p["blocks"])
        n, h = self.divmod(head, p["heads"])
        first = self.mul(block, p["block"])
        rows = self.minimum(p["block"], self.at.sub(p["length"], first))
        panels = self.at.udiv(self.sum(rows, self.panel - 1), i64(self.panel))
        self._begin(n, h, first, rows, panels)
        end = self.minimum(p["keys"], self.sum(first, rows)) if spec.causal else p["keys"]

        def keys(key: ir.Value, _: list[Any]) -> tuple[()]:
            count = self.minimum(i64(spec.keys), self.at.sub(end, key))
            for name, width, to in (("k", spec.width, self.k), ("v", spec.value_width, self.v)):
                start = self.element(self.buffers[name], spec.dtype, self.offset(name, n, h, key))
                self.copy_rows(spec.dtype, start, p[f"{name}_row"], count, width, to)

            def panel(number: ir.Value, _: list[Any]) -> tuple[()]:
                self._panel_of_block(n, h, first, rows, key, count, number)
                return ()

            self.loop(i64(0), panels, 1, panel)
            return ()

        self.loop(i64(0), end, spec.keys, keys)
        self._end(n, h, head, first, rows, panels)
        return ()

    def _begin(self, n: ir.Value, h: ir.Value, first: ir.Value, rows: ir.Value, panels: ir.Value) -> None:
        spec, zero = self.spec, self.vec(constant(0, "f32", self.lanes))
        factor = self.scale("scale", LOG2_E)

        def panel(number: ir.Value, _: list[Any]) -> tuple[()]:
            begin = self.mul(number, self.panel)
            start = self.element(self.buffers["q"], spec.dtype, self.offset("q", n, h, self.sum(first, begin)))
            to = self.at_element(self.turned, self.mul(begin, self.width))
            self.turn_rows(spec.dtype, start, self.param["q_row"], self.at.sub(rows, begin), spec.width, to, factor)
            for j in range(PANEL_VECTORS):
                at = self.sum(begin, j * self.lanes)
                self.put(zero.const(-math.inf), self.largest, at)
                self.put(zero, self.totals, at)
            return ()

        def clear(place: ir.Value, _: list[Any]) -> tuple[()]:
            self.put(zero, self.sums, place)
            return ()

        self.loop(i64(0), panels, 1, panel)
        self.loop(i64(0), self.mul(rows, self.value_width), self.lanes, clear)

    def _panel_of_block(
        self,
        n: ir.Value,
        h: ir.Value,
        first: ir.Value,
        rows: ir.Value,
        key: ir.Value,
        count: ir.Value,
        number: ir.Value,
    ) -> None:
        """One block of keys for one panel of queries."""
        spec, begin = self.spec, self.mul(number, self.panel)
        turned = Matrix(self.at_element(self.turned, self.mul(begin, self.width)), self.panel)
        scores = Matrix(self.scores, self.panel)
        self.products(Matrix(self.k, self.width), turned, scores, count, i64(spec.width), self.panel)
        self.adjust(n, h, self.sum(first, begin), key, count)
        self._powers(begin, count)
        factors = self.at_element(self.factors, begin)
        here = self.minimum(i64(self.panel), self.at.sub(rows, begin))
        sums = Matrix(self.at_element(self.sums, self.mul(begin, self.value_width)), self.value_width)
        of_queries = Matrix(self.scores, 1, self.panel)
        self.products(
            of_queries,
            Matrix(self.v, self.value_width),
            sums,
            here,
            count,
            self.value_width,
            lambda before, row: before * self.everywhere(factors, row),
        )

    def _powers(self, begin: ir.Value, count: ir.Value) -> None:
        """Put powers in the place of scores, and find what the sums so far must be multiplied by."""
        lanes, vectors = self.lanes, range(PANEL_VECTORS)
        before = [self.vector(self.largest, self.sum(begin, j * lanes)) for j in vectors]

        def fold(i: ir.Value, together: int, carry: list[Any]) -> list[Any]:
            made = list(carry)
            for t in range(together):
                for j in vectors:
                    score = self.vector(self.scores, self.sum(self.mul(i, self.panel), t * self.panel + j * lanes))
                    slot = t * PANEL_VECTORS + j
                    high = self.vec(carry[slot])
                    made[slot] = (score > high).where(score, high).value
            return made

        found = self.each(count, TOGETHER, fold, [b.value for b in before] * TOGETHER)
        high = []
        for j in vectors:
            best = self.vec(found[j])
            for t in range(1, TOGETHER):
                other = self.vec(found[t * PANEL_VECTORS + j])
                best = (other > best).where(other, best)
            high.append(best)
        # a row of which all is left out so far stays at 0
        shift = [x.eq(-math.inf).where(x.const(0.0), x) for x in high]

        def power(i: ir.Value, together: int, carry: list[Any]) -> list[Any]:
            made = list(carry)
            for t in range(together):
                for j in vectors:
                    place = self.sum(self.mul(i, self.panel), t * self.panel + j * lanes)
                    value = exp2_nonpositive(self.vector(self.scores, place) - self.vec(shift[j].value))
                    self.put(value, self.scores, place)
                    slot = t * PANEL_VECTORS + j
                    made[slot] = (self.vec(carry[slot]) + value).value
            return made

        zero = constant(0, "f32", lanes)
        sums = self.each(count, TOGETHER, power, [zero] * (TOGETHER * PANEL_VECTORS))
        for j in vectors:
            parts = [self.vec(sums[t * PANEL_VECTORS + j]) for t in range(TOGETHER)]
            while len(parts) > 1:
                parts = [a + b for a, b in zip(parts[::2], parts[1::2], strict=True)]
            at = self.sum(begin, j * lanes)
            factor = exp2_nonpositive(before[j] - shift[j])
            self.put(self.vector(self.totals, at) * factor + parts[0], self.totals, at)
            self.put(factor, self.factors, at)
            self.put(high[j], self.largest, at)

    def _end(self, n: ir.Value, h: ir.Value, head: ir.Value, first: ir.Value, rows: ir.Value, panels: ir.Value) -> None:
        """Divide by the sums and store."""
        spec, p = self.spec, self.param

        def level(number: ir.Value, _: list[Any]) -> tuple[()]:
            for j in range(PANEL_VECTORS):
                at = self.sum(self.mul(number, self.panel), j * self.lanes)
                total, high = self.vector(self.totals, at), self.vector(self.largest, at)
                # a row of which all is left out has a level of -inf
                self.put(total.eq(0.0).where(total, 1.0 / total), self.factors, at)
                value = emitter("log")(total).fma(LOG2_E, high)
                place = self.sum(self.mul(head, p["length"]), first, at)
                mask = self.first_lanes(self.at.sub(rows, at))
                self.store(value, self.at_element(self.buffers["levels"], place), "float32", mask)
            return ()

        def row(i: ir.Value, _: list[Any]) -> tuple[()]:
            factor = self.everywhere(self.factors, i)
            source = self.at_element(self.sums, self.mul(i, self.value_width))
            start = self.element(self.buffers["out"], spec.dtype, self.offset("out", n, h, self.sum(first, i)))
            for at in range(0, self.value_width, self.lanes):
                value, mask = self.vector(source, at) * factor, self.first_lanes(spec.value_width - at)
                self.store(value, self.element(start, spec.dtype, at), spec.dtype, mask)
            return ()

        self.loop(i64(0), panels, 1, level)
        self.loop(i64(0), rows, 1, row)


def emit(kernel: AttentionKernel, target: HostTarget) -> str:
    """LLVM IR text of the kernel. Raises ValueError if it means nothing."""
    verify(kernel)
    return _AttentionEmitter(kernel, target).text()
