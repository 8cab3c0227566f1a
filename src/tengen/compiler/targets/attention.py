"""Writes the kernels of attention; `kernels/attention.py` describes them."""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from ..kernels.attention import PARAMETERS, AttentionKernel, verify
from ..kernels.contraction import AMX_SIDE
from ..kernels.target import HostTarget
from .attention_blocks import LOG2_E, Blocks
from .attention_few import FewQueriesEmitter
from .flow import i64
from .small_products import Matrix
from .vecmath import emitter
from .vecmath.exponential import exp2_nonpositive
from .vector import Vec, constant

TOGETHER = 4
"""Keys whose scores are folded, or whose powers are computed, side by side."""


class _AttentionEmitter(Blocks):
    def __init__(self, spec: AttentionKernel, target: HostTarget):
        super().__init__(spec, target, PARAMETERS)
        panels = spec.queries // spec.panel
        self.width, self.value_width = self.padded(spec.width), self.numbers(spec.value_width)
        self.turned = self.scratch(panels * self.panel * self.width, "turned")
        self.k = self.scratch(spec.keys * self.width, "k")
        self.v = self.scratch(self.words(spec.keys) * self.value_width, "v")
        self.scores = self.scratch(spec.keys * self.panel, "scores")
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
        scale = self.scale("scale", LOG2_E)
        self.factor = None if spec.product == "plain" else scale
        self._begin(n, h, first, rows, panels, scale if self.factor is None else None)
        end = self.minimum(p["keys"], self.sum(first, rows)) if spec.causal else p["keys"]

        def keys(key: ir.Value, _: list[Any]) -> tuple[()]:
            count = self.minimum(i64(spec.keys), self.at.sub(end, key))
            k, v = (self.element(self.buffers[x], spec.dtype, self.offset(x, n, h, key)) for x in "kv")
            self.copy_rows(spec.dtype, k, p["k_row"], count, spec.width, self.k)
            copy = self.copy_rows if spec.product == "plain" else self.turn_pairs
            copy(spec.dtype, v, p["v_row"], count, spec.value_width, self.v)

            def panel(number: ir.Value, _: list[Any]) -> tuple[()]:
                self._panel_of_block(n, h, first, key, count, number)
                return ()

            seeing = i64(0)
            if spec.causal:  # panels before these keys do not see them
                behind = self.at.sub(key, self.minimum(key, first))
                seeing = self.at.udiv(behind, i64(self.panel))
            self.loop(seeing, panels, 1, panel)
            return ()

        self.loop(i64(0), end, spec.keys, keys)
        self._end(n, h, head, first, rows, panels)
        return ()

    def _begin(
        self, n: ir.Value, h: ir.Value, first: ir.Value, rows: ir.Value, panels: ir.Value, factor: Vec | None
    ) -> None:
        spec = self.spec

        def panel(number: ir.Value, _: list[Any]) -> tuple[()]:
            begin = self.mul(number, self.panel)
            start = self.element(self.buffers["q"], spec.dtype, self.offset("q", n, h, self.sum(first, begin)))
            to = self.at_element(self.turned, self.mul(begin, self.width))
            self.turn_rows(spec.dtype, start, self.param["q_row"], self.at.sub(rows, begin), spec.width, to, factor)
            return ()

        self.loop(i64(0), panels, 1, panel)
        whole = self.mul(panels, self.panel)
        self.clear(self.largest, whole, -math.inf)
        self.clear(self.totals, whole)
        self.clear(self.sums, self.mul(whole, self.value_width))

    def _panel_of_block(
        self, n: ir.Value, h: ir.Value, first: ir.Value, key: ir.Value, count: ir.Value, number: ir.Value
    ) -> None:
        """One block of keys for one panel of queries."""
        spec, begin = self.spec, self.mul(number, self.panel)
        turned = Matrix(self.at_element(self.turned, self.mul(begin, self.width)), self.panel)
        scores = Matrix(self.scores, self.panel)
        self.products(Matrix(self.k, self.width), turned, scores, count, i64(self.words(spec.width)), self.panel)
        self.adjust(n, h, self.sum(first, begin), key, count)
        factors = self._powers(begin, count)
        sums = Matrix(self.at_element(self.sums, self.mul(begin, self.value_width)), self.panel)
        value = (1, self.value_width) if spec.product == "plain" else (self.words(spec.keys), 1)
        self.products(
            Matrix(self.v, *value),
            scores,
            sums,
            i64(spec.value_width),
            self.words(count),
            self.panel,
            add=True,
            factors=factors,
        )

    def _powers(self, begin: ir.Value, count: ir.Value) -> list[Vec]:
        """Put powers, as words across keys, in the place of scores; gives what the sums so far must be multiplied by."""
        lanes, vectors = self.lanes, self.vectors
        before = [self.vector(self.largest, self.sum(begin, j * lanes)) for j in vectors]
        whole = self.round_up(count, 2 * AMX_SIDE if self.spec.product == "amx" else TOGETHER)
        behind = self.mul(count, self.panel)
        self.clear(self.at_element(self.scores, behind), self.at.sub(self.mul(whole, self.panel), behind), -math.inf)

        def fold(i: ir.Value, carry: list[Any]) -> list[Any]:
            made = []
            for slot, value in enumerate(carry):
                t, j = divmod(slot, len(vectors))
                score = self.vector(self.scores, self.sum(self.mul(i, self.panel), t * self.panel + j * lanes))
                high = self.vec(value)
                made.append((score > high).where(score, high).value)
            return made

        low = constant(-math.inf, "f32", lanes)
        found = self.loop(i64(0), whole, TOGETHER, fold, [low] * (TOGETHER * len(vectors)))
        high = []
        for j in vectors:
            best = self.vec(found[j])
            for other in map(self.vec, found[len(vectors) + j :: len(vectors)]):
                best = (other > best).where(other, best)
            best = self.scaled(best)
            high.append((best > before[j]).where(best, before[j]))
        # a row of which all is left out so far stays at 0
        shift = [x.eq(-math.inf).where(x.const(0.0), x) for x in high]
        sums = self._put_powers(whole, shift)
        factors = [exp2_nonpositive(b - s) for b, s in zip(before, shift, strict=True)]
        for j in vectors:
            at = self.sum(begin, j * lanes)
            self.put(self.vector(self.totals, at) * factors[j] + sums[j], self.totals, at)
            self.put(high[j], self.largest, at)
        return factors

    def _put_powers(self, count: ir.Value, shift: list[Vec]) -> list[Vec]:
        """Their sums."""
        lanes, vectors, size = self.lanes, self.vectors, self.per_word

        def power(i: ir.Value, carry: list[Any]) -> list[Any]:
            made = list(carry)
            for t in range(0, TOGETHER, size):
                for j in vectors:
                    found = []
                    for key in range(t, t + size):
                        place = self.sum(self.mul(i, self.panel), key * self.panel + j * lanes)
                        found.append(exp2_nonpositive(self.scaled(self.vector(self.scores, place)) - shift[j]))
                        slot = key * len(vectors) + j
                        made[slot] = (self.vec(carry[slot]) + found[-1]).value
                    word = found[0] if size == 1 else self.words_across(*found)
                    row = self.sum(self.words(i), t // size)
                    self.put(word, self.scores, self.sum(self.mul(row, self.panel), j * lanes))
            return made

        zero = constant(0, "f32", lanes)
        sums = self.loop(i64(0), count, TOGETHER, power, [zero] * (TOGETHER * len(vectors)))
        found = []
        for j in vectors:
            parts = [self.vec(x) for x in sums[j :: len(vectors)]]
            while len(parts) > 1:
                parts = [a + b for a, b in zip(parts[::2], parts[1::2], strict=True)]
            found.append(parts[0])
        return found

    def _end(self, n: ir.Value, h: ir.Value, head: ir.Value, first: ir.Value, rows: ir.Value, panels: ir.Value) -> None:
        """Divide by the sums and store."""
        spec, p = self.spec, self.param

        def panel(number: ir.Value, _: list[Any]) -> tuple[()]:
            begin = self.mul(number, self.panel)
            factors = []
            for j in self.vectors:
                at = self.sum(begin, j * self.lanes)
                total, high = self.vector(self.totals, at), self.vector(self.largest, at)
                # a row of which all is left out has a level of -inf
                factors.append(total.eq(0.0).where(total, 1.0 / total))
                value = emitter("log")(total).fma(LOG2_E, high)
                place = self.sum(self.mul(head, p["length"]), first, at)
                mask = self.first_lanes(self.at.sub(rows, at))
                self.store(value, self.at_element(self.buffers["levels"], place), "float32", mask)
            sums = self.at_element(self.sums, self.mul(begin, self.value_width))

            def load(number: ir.Value, j: int) -> Vec:
                return self.vector(sums, self.sum(self.mul(number, self.panel), j * self.lanes)) * factors[j]

            def row(number: ir.Value) -> ir.Value:
                place = self.offset("out", n, h, self.sum(first, begin, number))
                return self.element(self.buffers["out"], spec.dtype, place)

            self.store_turned(spec.dtype, load, self.at.sub(rows, begin), spec.value_width, row)
            return ()

        self.loop(i64(0), panels, 1, panel)


def emit(kernel: AttentionKernel, target: HostTarget) -> str:
    """LLVM IR text of the kernel. Raises ValueError if it means nothing."""
    verify(kernel)
    return (FewQueriesEmitter if kernel.queries == 1 else _AttentionEmitter)(kernel, target).text()
