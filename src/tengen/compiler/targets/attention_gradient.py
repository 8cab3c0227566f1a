"""Writes the kernels of the gradient of attention; `kernels/attention_gradient.py` describes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from ..kernels.attention_gradient import PANELS, PARAMETERS, AttentionGradientKernel
from ..kernels.contraction import AMX_SIDE
from ..kernels.target import HostTarget
from .attention_blocks import LOG2_E, Blocks
from .flow import i64
from .small_products import Matrix
from .vecmath.exponential import exp2_nonpositive
from .vector import Vec, constant


class _GradientEmitter(Blocks):
    def __init__(self, spec: AttentionGradientKernel, target: HostTarget):
        super().__init__(spec, target, PARAMETERS)
        self.zero = self.vec(constant(0, "f32", self.lanes))

    def row_at(self, name: str, n: ir.Value, h: ir.Value, row: ir.Value) -> ir.Value:
        return self.element(self.buffers[name], self.spec.dtype, self.offset(name, n, h, row))

    def panel_at(self, name: str, head: ir.Value, panel: ir.Value) -> ir.Value:
        """The memory of a panel of queries."""
        number = self.sum(self.mul(head, self.param["panels"]), panel)
        return self.at_element(self.buffers[name], self.mul(number, self.spec.sizes[name]))

    def sums_at(self, group: ir.Value, head: ir.Value, panel: ir.Value) -> ir.Value:
        return self.panel_at("sums", self.sum(self.mul(group, self.param["all_heads"]), head), panel)

    def rows_here(self, first: ir.Value) -> ir.Value:
        return self.minimum(i64(self.panel), self.at.sub(self.param["length"], first))


class _Turn(_GradientEmitter):
    def __init__(self, spec: AttentionGradientKernel, target: HostTarget):
        super().__init__(spec, target)
        self.y = self.scratch(spec.sizes["g_turned"], "y")

    def tile(self, tile: ir.Value) -> tuple[()]:
        spec, p = self.spec, self.param
        head, panel = self.divmod(tile, p["panels"])
        n, h = self.divmod(head, p["heads"])
        first = self.mul(panel, self.panel)
        here = self.rows_here(first)
        of = {name: self.panel_at(name, head, panel) for name in PANELS}
        plain = spec.product == "plain"
        for name, width, to, factor in (
            ("q", spec.width, of["q_turned"], LOG2_E),
            ("g", spec.value_width, of["g_turned"], 1.0),
            ("y", spec.value_width, self.y, None),
        ):
            scale = self.scale("scale", factor) if plain and factor else None
            start, row = self.row_at(name, n, h, first), p[f"{name}_row"]
            self.turn_rows(spec.dtype, start, row, here, width, to, scale)
            if name != "y":
                self.pair_rows(spec.dtype, start, row, here, width, of[f"{name}_rows"])

        def add(number: ir.Value, carry: list[Any]) -> list[ir.Value]:
            made = []
            for j, total in enumerate(carry):
                at = self.sum(self.mul(number, self.panel), j * self.lanes)
                g, y = self.vector(of["g_turned"], at), self.vector(self.y, at)
                made.append(self.multiply(g, y, self.vec(total)).value)
            return made

        sums = self.loop(i64(0), i64(self.words(spec.value_width)), 1, add, [self.zero.value for _ in self.vectors])
        levels = self.at_element(self.buffers["levels"], self.sum(self.mul(head, p["length"]), first))
        for j in self.vectors:
            mask = self.first_lanes(self.at.sub(here, i64(j * self.lanes)))
            level = self.load(self.at_element(levels, j * self.lanes), "float32", self.lanes, mask)
            # a level of infinity makes the powers 0: of what is behind the last query, and of a row of which all is left out
            level = Vec(self.at, mask, "bool", self.lanes).where(level, math.inf)
            level = level.eq(-math.inf).where(level.const(math.inf), level)
            self.put(level, of["rows"], j * self.lanes)
            total = self.vec(sums[j])
            self.put(total if plain else total * self.scale("scale"), of["rows"], self.panel + j * self.lanes)
        return ()


class _Sweep(_GradientEmitter):
    """A tile is a group of blocks of keys.

    Powers and changes are factors in two ways: as words along the queries for what the keys and values get (`along`), and as words across
    the keys for what the queries get (`across`). Of float words both are the same.
    """

    k: ir.Value
    v: ir.Value

    def __init__(self, spec: AttentionGradientKernel, target: HostTarget):
        super().__init__(spec, target)
        for name, width in (("k", spec.width), ("v", spec.value_width)):
            setattr(self, name, self.scratch(spec.keys * self.padded(width), name))
        self.dk, self.dv = (self.scratch(spec.keys * self.numbers(x), "sums") for x in (spec.width, spec.value_width))
        self.scores, self.changes = (self.scratch(spec.keys * self.panel, x) for x in ("scores", "changes"))
        self.k_turned, self.along, self.across = self.k, self.changes, self.changes
        if spec.product != "plain":
            words = self.words(spec.keys)
            self.k_turned = self.scratch(words * self.numbers(spec.width), "k_turned")
            self.along, self.across = (self.scratch(words * self.panel, x) for x in ("along", "across"))

    def tile(self, tile: ir.Value) -> tuple[()]:
        spec, p = self.spec, self.param
        self.factor = self.slope = None
        if spec.product != "plain":
            self.factor, self.slope = self.scale("scale", LOG2_E), self.scale("scale")
        head, group = self.divmod(tile, p["groups"])
        n, h = self.divmod(head, p["heads"])
        self.clear(self.sums_at(group, head, i64(0)), self.mul(p["panels"], spec.sizes["sums"]))
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
                self.clear(sums, self.mul(count, self.numbers(width)))
            if spec.product != "plain":
                self.turn_pairs(spec.dtype, self.row_at("k", n, h, key), p["k_row"], count, spec.width, self.k_turned)
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
        spec = self.spec
        first = self.mul(panel, self.panel)
        width, value_width = self.numbers(spec.width), self.numbers(spec.value_width)
        queries = i64(self.words(self.panel))
        q_turned, g_turned = (Matrix(self.panel_at(f"{x}_turned", head, panel), self.panel) for x in "qg")
        q, g = (Matrix(self.panel_at(f"{x}_rows", head, panel), size) for x, size in (("q", width), ("g", value_width)))
        rows = self.panel_at("rows", head, panel)
        scores, changes = Matrix(self.scores, self.panel), Matrix(self.changes, self.panel)
        along = Matrix(self.along, self.words(self.panel))
        k, v = Matrix(self.k, self.padded(spec.width)), Matrix(self.v, self.padded(spec.value_width))

        self.products(k, q_turned, scores, count, i64(self.words(spec.width)), self.panel)
        self.adjust(n, h, first, key, count)
        whole = self._fill_block(self.scores, count, -math.inf)

        def power(place: ir.Value, level: Vec) -> Vec:
            return exp2_nonpositive(self.scaled(self.vector(self.scores, place)) - level)

        def change(place: ir.Value, mean: Vec) -> Vec:
            found = self.vector(self.changes, place)
            found = found if self.slope is None else found * self.slope
            return self.vector(self.scores, place) * (found - mean)

        plain = spec.product == "plain"
        self.each_score(whole, rows, power, self.scores, None if plain else self.along, None)
        powers = scores if plain else along
        self.products(powers, g, Matrix(self.dv, value_width), count, queries, value_width, add=True)
        self.products(v, g_turned, changes, count, i64(self.words(spec.value_width)), self.panel)
        self._fill_block(self.changes, count, 0.0)
        means = self.at_element(rows, self.panel)
        to = (self.changes, None, None) if plain else (None, self.along, self.across)
        self.each_score(whole, means, change, *to)
        self.products(along, q, Matrix(self.dk, width), count, queries, width, add=True)
        sums = Matrix(self.sums_at(group, head, panel), self.panel)
        turned = Matrix(self.k, 1, width) if plain else Matrix(self.k_turned, self.words(spec.keys))
        across = Matrix(self.across, self.panel)
        self.products(turned, across, sums, i64(spec.width), self.words(count), self.panel, add=True)

    def _fill_block(self, base: ir.Value, count: ir.Value, number: float) -> ir.Value:
        """Give keys that words have, and that do not exist, this number; gives how many there are then."""
        whole = self.round_up(count, 2 * AMX_SIDE if self.spec.product == "amx" else self.per_word)
        behind = self.mul(count, self.panel)
        self.clear(self.at_element(base, behind), self.at.sub(self.mul(whole, self.panel), behind), number)
        return whole

    def each_score(
        self,
        count: ir.Value,
        rows: ir.Value,
        function: Callable[[ir.Value, Vec], Vec],
        to: ir.Value | None,
        along: ir.Value | None,
        across: ir.Value | None,
    ) -> None:
        """function(the place of [key, query], rows[query]) for all of them, as numbers, as words along the queries, and as words across the
        keys."""
        of_rows = [self.vector(rows, j * self.lanes).value for j in self.vectors]

        def some(i: ir.Value, _: list[Any]) -> tuple[()]:
            made: list[list[Vec]] = []
            for key in range(self.per_word):
                row = self.sum(i, key)
                places = [self.sum(self.mul(row, self.panel), j * self.lanes) for j in self.vectors]
                found = [function(place, self.vec(x)) for place, x in zip(places, of_rows, strict=True)]
                made.append(found)
                for place, value in zip(places, found, strict=True):
                    if to is not None:
                        self.put(value, to, place)
                if along is not None:
                    begin = self.mul(row, self.words(self.panel))
                    for j, pair in enumerate(zip(found[::2], found[1::2], strict=True)):
                        self.put(self.words_along(*pair), along, self.sum(begin, j * self.lanes))
            if across is not None:
                begin = self.mul(self.words(i), self.panel)
                for j, pair in enumerate(zip(*made, strict=True)):
                    self.put(self.words_across(*pair), across, self.sum(begin, j * self.lanes))
            return ()

        self.loop(i64(0), count, self.per_word, some)

    def store_rows(
        self, name: str, n: ir.Value, h: ir.Value, first: ir.Value, count: ir.Value, width: int, base: ir.Value
    ) -> None:
        dtype, whole = self.spec.dtype, self.numbers(width)

        def one(i: ir.Value, _: list[Any]) -> tuple[()]:
            place = self.row_at(name, n, h, self.sum(first, i))
            for at in range(0, whole, self.lanes):
                value = self.vector(base, self.sum(self.mul(i, whole), at))
                self.store(value, self.element(place, dtype, at), dtype, self.first_lanes(width - at))
            return ()

        self.loop(i64(0), count, 1, one)


class _Gather(_GradientEmitter):
    """A tile is a panel of queries."""

    def __init__(self, spec: AttentionGradientKernel, target: HostTarget):
        super().__init__(spec, target)
        self.total = self.scratch(spec.sizes["sums"], "total")

    def tile(self, tile: ir.Value) -> tuple[()]:
        spec, p = self.spec, self.param
        head, panel = self.divmod(tile, p["panels"])
        n, h = self.divmod(head, p["heads"])
        first = self.mul(panel, self.panel)

        def add(place: ir.Value, _: list[Any]) -> tuple[()]:
            def one(group: ir.Value, carry: list[Any]) -> list[ir.Value]:
                return [(self.vec(carry[0]) + self.vector(self.sums_at(group, head, panel), place)).value]

            (total,) = self.loop(i64(0), p["groups"], 1, one, [self.zero.value])
            self.put(self.vec(total), self.total, place)
            return ()

        def load(number: ir.Value, j: int) -> Vec:
            return self.vector(self.total, self.sum(self.mul(number, self.panel), j * self.lanes))

        def row(number: ir.Value) -> ir.Value:
            return self.row_at("dq", n, h, self.sum(first, number))

        self.loop(i64(0), i64(spec.sizes["sums"]), self.lanes, add)
        self.store_turned(spec.dtype, load, self.rows_here(first), spec.width, row)
        return ()


PARTS = {"turn": _Turn, "sweep": _Sweep, "gather": _Gather}


def emit(kernel: AttentionGradientKernel, target: HostTarget) -> str:
    """LLVM IR text of the kernel."""
    return PARTS[kernel.part](kernel, target).text()
