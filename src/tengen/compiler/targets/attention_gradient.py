"""Writes the kernels of the gradient of attention; `kernels/attention_gradient.py` describes them."""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from ..kernels.attention_gradient import PARAMETERS, AttentionGradientKernel
from ..kernels.target import HostTarget
from .attention import LOG2_E, Blocks
from .flow import i64
from .small_products import Matrix
from .vecmath.exponential import exp2_nonpositive
from .vector import Vec, constant


class _GradientEmitter(Blocks):
    def __init__(self, spec: AttentionGradientKernel, target: HostTarget):
        super().__init__(spec, target, PARAMETERS)
        self.width, self.value_width = self.padded(spec.width), self.padded(spec.value_width)
        self.zero = self.vec(constant(0, "f32", self.lanes))

    def row_at(self, name: str, n: ir.Value, h: ir.Value, row: ir.Value) -> ir.Value:
        return self.element(self.buffers[name], self.spec.dtype, self.offset(name, n, h, row))

    def panel_at(self, name: str, head: ir.Value, panel: ir.Value, size: int) -> ir.Value:
        """The memory of a panel of queries; `size` numbers each."""
        number = self.sum(self.mul(head, self.param["panels"]), panel)
        return self.at_element(self.buffers[name], self.mul(number, size))

    def sums_at(self, group: ir.Value, head: ir.Value, row: ir.Value) -> ir.Value:
        whole = self.sum(self.mul(group, self.param["all_heads"]), head)
        place = self.sum(self.mul(whole, self.param["length"]), row)
        return self.at_element(self.buffers["sums"], self.mul(place, self.width))

    def clear(self, base: ir.Value, count: ir.Value) -> None:
        def one(place: ir.Value, _: list[Any]) -> tuple[()]:
            self.put(self.zero, base, place)
            return ()

        self.loop(i64(0), count, self.lanes, one)

    def rows_here(self, first: ir.Value) -> ir.Value:
        return self.minimum(i64(self.panel), self.at.sub(self.param["length"], first))


class _Turn(_GradientEmitter):
    def __init__(self, spec: AttentionGradientKernel, target: HostTarget):
        super().__init__(spec, target)
        self.y = self.scratch(self.panel * self.value_width, "y")

    def tile(self, tile: ir.Value) -> tuple[()]:
        spec, p = self.spec, self.param
        head, panel = self.divmod(tile, p["panels"])
        n, h = self.divmod(head, p["heads"])
        first = self.mul(panel, self.panel)
        here = self.rows_here(first)
        q, g = (
            self.panel_at(name, head, panel, self.panel * width)
            for name, width in (("q_turned", self.width), ("g_turned", self.value_width))
        )
        for name, width, to, factor in (
            ("q", spec.width, q, self.scale("scale", LOG2_E)),
            ("g", spec.value_width, g, self.scale("scale")),
            ("y", spec.value_width, self.y, None),
        ):
            self.turn_rows(spec.dtype, self.row_at(name, n, h, first), p[f"{name}_row"], here, width, to, factor)

        vectors = range(self.panel // self.lanes)

        def add(number: ir.Value, carry: list[Any]) -> list[ir.Value]:
            place = self.mul(number, self.panel)
            made = []
            for j in vectors:
                at = self.sum(place, j * self.lanes)
                made.append((self.vec(carry[j]) + self.vector(g, at) * self.vector(self.y, at)).value)
            return made

        sums = self.loop(i64(0), i64(spec.value_width), 1, add, [self.zero.value for _ in vectors])
        rows = self.panel_at("rows", head, panel, 2 * self.panel)
        levels = self.at_element(self.buffers["levels"], self.sum(self.mul(head, p["length"]), first))
        for j in vectors:
            count = self.at.sub(here, i64(j * self.lanes))
            mask = self.first_lanes(count)
            level = self.load(self.at_element(levels, j * self.lanes), "float32", self.lanes, mask)
            # a level of infinity makes the powers 0: of what is behind the last query, and of a row of which all is left out
            level = Vec(self.at, mask, "bool", self.lanes).where(level, math.inf)
            level = level.eq(-math.inf).where(level.const(math.inf), level)
            self.put(level, rows, j * self.lanes)
            self.put(self.vec(sums[j]), rows, self.panel + j * self.lanes)
        return ()


class _Sweep(_GradientEmitter):
    def __init__(self, spec: AttentionGradientKernel, target: HostTarget):
        super().__init__(spec, target)
        panel = self.panel
        widths = {"k": self.width, "v": self.value_width, "q": self.width, "g": self.value_width}
        for name, width in widths.items():
            setattr(self, name, self.scratch((spec.keys if name in "kv" else panel) * width, name))
        self.dk, self.dv = (self.scratch(spec.keys * widths[x], f"d{x}") for x in "kv")
        self.scores, self.changes = (self.scratch(spec.keys * panel, x) for x in ("scores", "changes"))

    k: ir.Value
    v: ir.Value
    q: ir.Value
    g: ir.Value

    def tile(self, tile: ir.Value) -> tuple[()]:
        spec, p = self.spec, self.param
        head, group = self.divmod(tile, p["groups"])
        n, h = self.divmod(head, p["heads"])
        self.clear(self.sums_at(group, head, i64(0)), self.mul(p["length"], self.width))
        blocks = self.at.udiv(self.sum(p["keys"], spec.keys - 1), i64(spec.keys))
        turns = self.at.udiv(self.sum(self.at.sub(blocks, group), p["groups"], -1), p["groups"])

        def block(turn: ir.Value, _: list[Any]) -> tuple[()]:
            key = self.mul(self.sum(group, self.mul(turn, p["groups"])), spec.keys)
            count = self.minimum(i64(spec.keys), self.at.sub(p["keys"], key))
            for name, width, to, sums in (
                ("k", spec.width, self.k, self.dk),
                ("v", spec.value_width, self.v, self.dv),
            ):
                self.copy_rows(spec.dtype, self.row_at(name, n, h, key), p[f"{name}_row"], count, width, to)
                self.clear(sums, self.mul(count, self.padded(width)))
            first = self.at.udiv(key, i64(self.panel)) if spec.causal else i64(0)

            def panel(number: ir.Value, _: list[Any]) -> tuple[()]:
                self.panel_of_block(n, h, head, group, number, key, count)
                return ()

            self.loop(first, p["panels"], 1, panel)
            self.store_rows("dk", n, h, key, count, spec.width, self.dk)
            self.store_rows("dv", n, h, key, count, spec.value_width, self.dv)
            return ()

        self.loop(i64(0), turns, 1, block)
        return ()

    def panel_of_block(
        self, n: ir.Value, h: ir.Value, head: ir.Value, group: ir.Value, panel: ir.Value, key: ir.Value, count: ir.Value
    ) -> None:
        spec, p = self.spec, self.param
        first = self.mul(panel, self.panel)
        here = self.rows_here(first)
        for name, width, to in (("q", spec.width, self.q), ("g", spec.value_width, self.g)):
            self.copy_rows(spec.dtype, self.row_at(name, n, h, first), p[f"{name}_row"], here, width, to)
        q_turned = self.panel_at("q_turned", head, panel, self.panel * self.width)
        g_turned = self.panel_at("g_turned", head, panel, self.panel * self.value_width)
        rows = self.panel_at("rows", head, panel, 2 * self.panel)
        scores, changes = Matrix(self.scores, self.panel), Matrix(self.changes, self.panel)
        k, v = Matrix(self.k, self.width), Matrix(self.v, self.value_width)

        def add(before: Vec, row: ir.Value) -> Vec:
            return before

        self.products(k, Matrix(q_turned, self.panel), scores, count, i64(spec.width), self.panel)
        self.adjust(n, h, first, key, count)
        self.each_score(count, self.scores, rows, lambda score, level, _: exp2_nonpositive(score - level))
        dv, g = Matrix(self.dv, self.value_width), Matrix(self.g, self.value_width)
        self.products(scores, g, dv, count, here, self.value_width, add)
        self.products(v, Matrix(g_turned, self.panel), changes, count, i64(spec.value_width), self.panel)
        own = self.at_element(rows, self.panel)
        self.each_score(count, self.changes, own, lambda change, mean, power: power * (change - mean))
        self.products(changes, Matrix(self.q, self.width), Matrix(self.dk, self.width), count, here, self.width, add)
        sums = Matrix(self.sums_at(group, head, first), self.width)
        self.products(Matrix(self.changes, 1, self.panel), k, sums, here, count, self.width, add)

    def each_score(self, count: ir.Value, base: ir.Value, rows: ir.Value, function: Any) -> None:
        """base[key, query] = function(base[key, query], rows[query], scores[key, query])."""
        vectors = range(self.panel // self.lanes)
        of_rows = [self.vector(rows, j * self.lanes) for j in vectors]

        def one(i: ir.Value, _: list[Any]) -> tuple[()]:
            for j in vectors:
                place = self.sum(self.mul(i, self.panel), j * self.lanes)
                own, power = self.vector(base, place), self.vector(self.scores, place)
                self.put(function(own, self.vec(of_rows[j].value), power), base, place)
            return ()

        self.loop(i64(0), count, 1, one)

    def store_rows(
        self,
        name: str,
        n: ir.Value,
        h: ir.Value,
        first: ir.Value,
        count: ir.Value,
        width: int,
        base: ir.Value,
    ) -> None:
        dtype, whole = self.spec.dtype, self.padded(width)

        def one(i: ir.Value, _: list[Any]) -> tuple[()]:
            place = self.row_at(name, n, h, self.sum(first, i))
            for at in range(0, whole, self.lanes):
                value = self.vector(base, self.sum(self.mul(i, whole), at))
                self.store(value, self.element(place, dtype, at), dtype, self.first_lanes(width - at))
            return ()

        self.loop(i64(0), count, 1, one)


class _Gather(_GradientEmitter):
    """A tile is a panel of queries."""

    def tile(self, tile: ir.Value) -> tuple[()]:
        spec, p = self.spec, self.param
        head, panel = self.divmod(tile, p["panels"])
        n, h = self.divmod(head, p["heads"])
        first = self.mul(panel, self.panel)

        def row(i: ir.Value, _: list[Any]) -> tuple[()]:
            number = self.sum(first, i)
            place = self.row_at("dq", n, h, number)

            def add(group: ir.Value, carry: list[Any]) -> list[ir.Value]:
                source = self.sums_at(group, head, number)
                return [(self.vec(x) + self.vector(source, j * self.lanes)).value for j, x in enumerate(carry)]

            sums = self.loop(i64(0), p["groups"], 1, add, [self.zero.value] * (self.width // self.lanes))
            for j, x in enumerate(sums):
                at = j * self.lanes
                self.store(
                    self.vec(x), self.element(place, spec.dtype, at), spec.dtype, self.first_lanes(spec.width - at)
                )
            return ()

        self.loop(i64(0), self.rows_here(first), 1, row)
        return ()


PARTS = {"turn": _Turn, "sweep": _Sweep, "gather": _Gather}


def emit(kernel: AttentionGradientKernel, target: HostTarget) -> str:
    """LLVM IR text of the kernel."""
    return PARTS[kernel.part](kernel, target).text()
