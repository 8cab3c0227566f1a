"""Writes the kernel of attention for few queries, as in decoding: vectors run along the features, so none of them is filled with queries
that do not exist, and keys and values are read where they lie."""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from ..kernels.attention import PARAMETERS, AttentionKernel
from ..kernels.target import HostTarget
from .attention_blocks import LOG2_E, Blocks
from .flow import i64
from .nests.cross import transpose
from .nests.fold import across
from .vecmath import emitter
from .vecmath.exponential import exp2_nonpositive
from .vector import Vec, constant, splat


class FewQueriesEmitter(Blocks):
    """A tile is one query of one head."""

    def __init__(self, spec: AttentionKernel, target: HostTarget):
        super().__init__(spec, target, PARAMETERS)
        self.q = self.scratch(self.padded(spec.width), "q")
        self.scores = self.scratch(spec.keys, "scores")
        self.sums = range(0, self.numbers(spec.value_width), self.lanes)

    def tile(self, tile: ir.Value) -> tuple[()]:
        spec, p = self.spec, self.param
        head, query = self.divmod(tile, p["length"])
        n, h = self.divmod(head, p["heads"])
        self.factor = self.scale("scale", LOG2_E)
        row = self.element(self.buffers["q"], spec.dtype, self.offset("q", n, h, query))
        for first in range(0, self.padded(spec.width), self.lanes):
            self.put(self.row_of_words(spec.dtype, row, first, spec.width - first * self.per_word), self.q, first)
        end = self.minimum(p["keys"], self.sum(query, 1)) if spec.causal else p["keys"]

        def block(key: ir.Value, carry: list[Any]) -> list[ir.Value]:
            high, total, *sums = map(self.vec, carry)
            count = self.minimum(i64(spec.keys), self.at.sub(end, key))
            best = self._put_scores(n, h, query, key, count, high)
            shift = best.eq(-math.inf).where(best.const(0.0), best)  # if all is left out so far
            factor = exp2_nonpositive(high - shift)
            added = self._put_powers(count, shift)
            sums = self._add_values(n, h, key, count, [x * factor for x in sums])
            return [x.value for x in (best, total * factor + added, *sums)]

        zero = constant(0, "f32", self.lanes)
        low = constant(-math.inf, "f32", self.lanes)
        high, total, *sums = map(
            self.vec, self.loop(i64(0), end, spec.keys, block, [low, zero, *[zero] * len(self.sums)])
        )
        self._end(n, h, head, query, high, total, sums)
        return ()

    def _put_scores(self, n: ir.Value, h: ir.Value, query: ir.Value, key: ir.Value, count: ir.Value, high: Vec) -> Vec:
        """Scores of a block of keys, -inf behind the last one. Gives the largest so far, in all lanes."""
        spec, p = self.spec, self.param
        last = self.sum(count, -1)
        start = self.element(self.buffers["k"], spec.dtype, self.offset("k", n, h, key))

        def group(first: ir.Value, carry: list[Any]) -> list[ir.Value]:
            rows = []
            for i in range(self.lanes):
                number = self.minimum(self.sum(first, i), last)
                rows.append(self.element(start, spec.dtype, self.mul(number, p["k_row"])))
            totals = [self.vec(constant(0, "f32", self.lanes))] * self.lanes
            for word in range(0, self.padded(spec.width), self.lanes):
                q, left = self.vector(self.q, word), spec.width - word * self.per_word
                totals = [
                    self.multiply(self.row_of_words(spec.dtype, row, word, left), q, total)
                    for row, total in zip(rows, totals, strict=True)
                ]
            columns = transpose(totals)
            while len(columns) > 1:
                columns = [a + b for a, b in zip(columns[::2], columns[1::2], strict=True)]
            score = columns[0] * self.factor
            if spec.bias:
                score = self._bias(n, h, query, self.sum(key, first), self.at.sub(last, first)).fma(LOG2_E, score)
            exists = Vec(self.at, self.first_lanes(self.at.sub(count, first)), "bool", self.lanes)
            score = exists.where(score, -math.inf)
            self.put(score, self.scores, first)
            best = self.vec(carry[0])
            return [(score > best).where(score, best).value]

        (best,) = self.loop(i64(0), count, self.lanes, group, [high.value])
        return self._everywhere(across("max_number", (self.vec(best),), 1)[0])

    def _bias(self, n: ir.Value, h: ir.Value, query: ir.Value, key: ir.Value, last: ir.Value) -> Vec:
        """Of a group of keys; `last`: the number of the last one in it."""
        p = self.param
        start = self.sum(*(self.mul(i, p[f"bias_{x}"]) for i, x in ((n, "n"), (h, "h"), (query, "row"), (key, "key"))))
        base = self.at_element(self.buffers["bias"], start)
        result = ir.Constant(ir.VectorType(ir.FloatType(), self.lanes), ir.Undefined)
        for lane in range(self.lanes):
            place = self.mul(self.minimum(i64(lane), last), p["bias_key"])
            value = self.load(self.at_element(base, place), "float32", 1)
            result = self.at.insert_element(result, value.value, ir.Constant(ir.IntType(32), lane))
        return self.vec(result)

    def _put_powers(self, count: ir.Value, shift: Vec) -> Vec:
        """Gives their sum, in all lanes."""

        def group(first: ir.Value, carry: list[Any]) -> list[ir.Value]:
            power = exp2_nonpositive(self.vector(self.scores, first) - shift)
            self.put(power, self.scores, first)
            return [(self.vec(carry[0]) + power).value]

        (total,) = self.loop(i64(0), count, self.lanes, group, [constant(0, "f32", self.lanes)])
        return self._everywhere(across("sum", (self.vec(total),), 1)[0])

    def _add_values(self, n: ir.Value, h: ir.Value, key: ir.Value, count: ir.Value, sums: list[Vec]) -> list[Vec]:
        spec, p = self.spec, self.param
        start = self.element(self.buffers["v"], spec.dtype, self.offset("v", n, h, key))

        def one(i: ir.Value, carry: list[Any]) -> list[ir.Value]:
            power = self.everywhere(self.scores, i)
            row = self.element(start, spec.dtype, self.mul(i, p["v_row"]))
            made = []
            for first, total in zip(self.sums, carry, strict=True):
                mask = self.first_lanes(spec.value_width - first)
                value = self.load(self.element(row, spec.dtype, first), spec.dtype, self.lanes, mask)
                made.append(power.intrinsic("llvm.fmuladd", None, value, self.vec(total)).value)
            return made

        return [self.vec(x) for x in self.loop(i64(0), count, 1, one, [x.value for x in sums])]

    def _end(
        self, n: ir.Value, h: ir.Value, head: ir.Value, query: ir.Value, high: Vec, total: Vec, sums: list[Vec]
    ) -> None:
        spec, p = self.spec, self.param
        factor = total.eq(0.0).where(total, 1.0 / total)
        row = self.element(self.buffers["out"], spec.dtype, self.offset("out", n, h, query))
        for first, value in zip(self.sums, sums, strict=True):
            mask = self.first_lanes(spec.value_width - first)
            self.store(value * factor, self.element(row, spec.dtype, first), spec.dtype, mask)
        level = emitter("log")(total).fma(LOG2_E, high)
        place = self.at_element(self.buffers["levels"], self.sum(self.mul(head, p["length"]), query))
        self.store(level, place, "float32", self.first_lanes(1))

    def _everywhere(self, number: Vec) -> Vec:
        return splat(self.at, number.value, "f32", self.lanes)
