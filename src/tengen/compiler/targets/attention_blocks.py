"""What the kernels of attention and of its gradient share: blocks of rows copied beside each other or turned, scores, powers as factors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from llvmlite import ir

from ..kernels.target import HostTarget
from .flow import i64
from .nests.cross import transpose
from .small_products import Products
from .vector import BFLOAT, Vec, constant, splat

LOG2_E = math.log2(math.e)


class Blocks(Products):
    """Blocks of keys and panels of queries in scratch memory, as words (see `Products`), and their scores, [key][query] of float32."""

    scores: ir.Value
    factor: Vec | None
    """What scores are still to be multiplied by: bfloat16 queries are turned as they are."""

    def __init__(self, spec: Any, target: HostTarget, parameters: Sequence[str]):
        super().__init__(target, spec, parameters)
        self.spec = spec
        self.panel = spec.panel
        self.vectors = range(spec.panel // spec.lanes)

    def numbers(self, width: int) -> int:
        """A width in whole vectors of float32."""
        return -(-width // self.lanes) * self.lanes

    def words(self, width: int | ir.Value) -> Any:
        """How many words so many numbers are."""
        if isinstance(width, int):
            return -(-width // self.per_word)
        return self.at.udiv(self.sum(width, self.per_word - 1), i64(self.per_word))

    def padded(self, width: int) -> int:
        """Words of a row of so many numbers, in whole vectors."""
        return self.numbers(self.words(width))

    def lane_numbers(self, lanes: int = 0) -> Vec:
        lanes = lanes or self.lanes
        return Vec(self.at, ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(lanes))), "i32", lanes)

    def first_lanes(self, count: int | ir.Value, lanes: int = 0) -> ir.Value | None:
        """The mask of as many lanes; None for all."""
        lanes = lanes or self.lanes
        if isinstance(count, int):
            if count >= lanes:
                return None
            return ir.Constant(ir.VectorType(ir.IntType(1), lanes), [int(i < count) for i in range(lanes)])
        limit = splat(self.at, self.at.trunc(count, ir.IntType(32)), "i32", lanes)
        return (self.lane_numbers(lanes) < limit).value

    # -- words ---------------------------------------------------------------------------------------------------

    def row_of_words(self, dtype: str, row: ir.Value, first: ir.Value | int, left: int | ir.Value) -> Vec:
        """Words `first` … of a row that has `left` numbers from there on; zeros behind."""
        if self.per_word == 1:
            return self.load(self.element(row, dtype, first), dtype, self.lanes, self.first_lanes(left))
        lanes = 2 * self.lanes
        address = self.element(row, dtype, self.sum(first, first))
        numbers = self.raw(address, "i16", lanes, self.first_lanes(left, lanes))
        return self._as_words(numbers.value)

    def column_of_words(self, dtype: str, rows: Sequence[ir.Value], first: ir.Value | int, masks: Sequence[Any]) -> Vec:
        """Words of a number of each of these rows (one, or two neighbours), for all numbers from `first` on."""
        if self.per_word == 1:
            return self.load(self.element(rows[0], dtype, first), dtype, self.lanes, masks[0])
        low, high = (
            self.raw(self.element(row, dtype, first), "i16", self.lanes, mask).to("i32", unsigned=True)
            for row, mask in zip(rows, masks, strict=True)
        )
        return (low | high.shl(16)).bitcast("f32")

    def words_along(self, low: Vec, high: Vec) -> Vec:
        """Numbers in the order in which they are, as words."""
        return self._as_words(self._rounded(low, high))

    def words_across(self, low: Vec, high: Vec) -> Vec:
        """Words of a number of each of two vectors."""
        order = [half + i for i in range(self.lanes) for half in (0, self.lanes)]
        picks = ir.Constant(ir.VectorType(ir.IntType(32), 2 * self.lanes), order)
        rounded = self._rounded(low, high)
        return self._as_words(self.at.shuffle_vector(rounded, rounded, picks))

    def _rounded(self, low: Vec, high: Vec) -> ir.Value:
        """Both vectors as bfloat16, one after the other, by the instruction vcvtne2ps2bf16."""
        lanes = 2 * self.lanes
        result, vector = ir.VectorType(BFLOAT, lanes), low.value.type
        function = self.intrinsic(f"llvm.x86.avx512bf16.cvtne2ps2bf16.{16 * lanes}", result, [vector, vector])
        rounded = self.at.call(function, [high.value, low.value])
        return self.at.bitcast(rounded, ir.VectorType(ir.IntType(16), lanes))

    def _as_words(self, numbers: ir.Value) -> Vec:
        return self.vec(self.at.bitcast(numbers, ir.VectorType(ir.FloatType(), self.lanes)))

    # -- blocks of rows ------------------------------------------------------------------------------------------

    def copy_rows(self, dtype: str, start: ir.Value, row: ir.Value, count: ir.Value, width: int, to: ir.Value) -> None:
        """Words along rows of `width` numbers, which are `row` elements apart: to[row][word], with zeros up to whole vectors."""
        whole = self.padded(width)

        def one(i: ir.Value, _: list[Any]) -> tuple[()]:
            source, place = self.element(start, dtype, self.at.mul(i, row)), self.at_element(to, self.mul(i, whole))
            for first in range(0, whole, self.lanes):
                self.put(self.row_of_words(dtype, source, first, width - first * self.per_word), place, first)
            return ()

        self.loop(i64(0), count, 1, one)

    def turn_rows(
        self, dtype: str, start: ir.Value, row: ir.Value, count: ir.Value, width: int, to: ir.Value, factor: Vec | None
    ) -> None:
        """A panel to[word][row] of `count` rows, at most as many as a panel has; those behind the last are like it."""
        last = self.at.sub(count, i64(1))
        for group in self.vectors:
            sources = []
            for i in range(self.lanes):
                number = self.minimum(i64(group * self.lanes + i), last)
                sources.append(self.element(start, dtype, self.at.mul(number, row)))

            def load(first: ir.Value, left: int | ir.Value, sources: list[ir.Value] = sources) -> list[Vec]:
                rows = [self.row_of_words(dtype, source, first, left) for source in sources]
                return [r * factor for r in rows] if factor is not None else rows

            self._squares(width, self.per_word, load, self.at_element(to, group * self.lanes), self.panel)

    def _squares(
        self, width: int, numbers: int, load: Callable[[ir.Value, int], list[Vec]], to: ir.Value, apart: int
    ) -> None:
        """Turn squares: load(first, numbers left) gives rows of them, of as many `numbers` in each lane, and columns are `apart`."""
        side = self.lanes * numbers

        def square(first: ir.Value, left: int) -> tuple[()]:
            place = self.at_element(to, self.mul(first, apart))
            for number, column in enumerate(transpose(load(first, left))):
                self.put(column, place, number * apart)
            return ()

        full = width // side
        self.loop(i64(0), i64(full * self.lanes), self.lanes, lambda first, _: square(first, side))
        if width % side:
            square(i64(full * self.lanes), width % side)

    def pair_rows(self, dtype: str, start: ir.Value, row: ir.Value, count: ir.Value, width: int, to: ir.Value) -> None:
        """Words across a panel of rows: to[word][number], with zeros behind the last row and up to whole vectors."""
        whole = self.numbers(width)

        def one(i: ir.Value, _: list[Any]) -> tuple[()]:
            rows, exist = self._rows(dtype, start, row, count, i)
            for first in range(0, whole, self.lanes):
                masks = [self._masked(width - first, x) for x in exist]
                self.put(self.column_of_words(dtype, rows, first, masks), to, self.sum(self.mul(i, whole), first))
            return ()

        self.loop(i64(0), i64(self.words(self.panel)), 1, one)

    def turn_pairs(self, dtype: str, start: ir.Value, row: ir.Value, count: ir.Value, width: int, to: ir.Value) -> None:
        """Words across a block of keys, turned: to[number][word], with zeros behind the last row and up to whole vectors."""
        words = self.words(self.spec.keys)
        full = self.at.icmp_signed("==", count, i64(self.spec.keys))
        for group in range(words // self.lanes):

            def turn(whole: bool, group: int = group) -> list[ir.Value]:
                def load(first: ir.Value, left: int) -> list[Vec]:
                    found = []
                    for i in range(self.lanes):
                        rows, exist = self._rows(dtype, start, row, count, i64(group * self.lanes + i))
                        masks = [self.first_lanes(left) if whole else self._masked(left, x) for x in exist]
                        found.append(self.column_of_words(dtype, rows, first, masks))
                    return found

                self._squares(width, 1, load, self.at_element(to, group * self.lanes), words)
                return []

            self.choose(full, partial(turn, True), partial(turn, False))

    def _rows(
        self, dtype: str, start: ir.Value, row: ir.Value, count: ir.Value, word: ir.Value
    ) -> tuple[list[ir.Value], list[ir.Value]]:
        """The rows of which a word across has numbers, and whether they exist. In place of one that does not is the last one."""
        numbers = [self.sum(self.mul(word, self.per_word), i) for i in range(self.per_word)]
        there = [self.minimum(number, self.sum(count, -1)) for number in numbers]
        rows = [self.element(start, dtype, self.at.mul(number, row)) for number in there]
        return rows, [self.at.icmp_signed("<", number, count) for number in numbers]

    def _masked(self, left: int | ir.Value, exists: ir.Value) -> ir.Value | None:
        width = i64(left) if isinstance(left, int) else left
        return self.first_lanes(self.at.select(exists, width, i64(0)))

    def store_turned(
        self,
        dtype: str,
        load: Callable[[ir.Value, int], Vec],
        count: ir.Value,
        width: int,
        row_at: Callable[[ir.Value], ir.Value],
    ) -> None:
        """Store rows of which load(number, vector) gives a number of each."""

        def square(first: ir.Value, left: int | ir.Value) -> tuple[()]:
            for j in self.vectors:
                rows = transpose([load(self.sum(first, i), j) for i in range(self.lanes)])
                for i, value in enumerate(rows):
                    number = i64(j * self.lanes + i)
                    exists = self.at.icmp_signed("<", number, count)
                    address = self.element(row_at(number), dtype, first)
                    self.store(value, address, dtype, self._masked(left, exists))
            return ()

        full = width - width % self.lanes
        self.loop(i64(0), i64(full), self.lanes, lambda first, _: square(first, self.lanes))
        if full < width:
            square(i64(full), width - full)

    def clear(self, base: ir.Value, count: ir.Value, number: float = 0.0) -> None:
        """So many words, whole vectors of them, become a number."""
        value = self.vec(constant(number, "f32", self.lanes))

        def one(place: ir.Value, _: list[Any]) -> tuple[()]:
            self.put(value, base, place)
            return ()

        self.loop(i64(0), count, self.lanes, one)

    # -- numbers -------------------------------------------------------------------------------------------------

    def offset(self, name: str, n: ir.Value, h: ir.Value, row: ir.Value) -> ir.Value:
        p = self.param
        return self.sum(*(self.mul(i, p[f"{name}_{dim}"]) for i, dim in ((n, "n"), (h, "h"), (row, "row"))))

    def scale(self, name: str, factor: float = 1.0) -> Vec:
        """A float64 among the parameters, times a number, as float32."""
        number = self.at.bitcast(self.param[name], ir.DoubleType())
        number = self.at.fmul(number, ir.Constant(ir.DoubleType(), factor))
        return splat(self.at, self.at.fptrunc(number, ir.FloatType()), "f32", self.lanes)

    def vec(self, value: ir.Value) -> Vec:
        return Vec(self.at, value, "f32", self.lanes)

    # -- scores --------------------------------------------------------------------------------------------------

    def scaled(self, score: Vec) -> Vec:
        """A score after `adjust`, as a power of 2 takes it."""
        return score if self.factor is None or self.spec.bias else score * self.factor

    def adjust(self, n: ir.Value, h: ir.Value, query: ir.Value, key: ir.Value, count: ir.Value) -> None:
        """Add the bias, and take out the keys behind a query. With a bias the scores are scaled here. What lies behind the last key is lost."""
        spec = self.spec
        if not (spec.bias or spec.causal):
            return
        queries = []
        for j in self.vectors:
            start = splat(self.at, self.at.trunc(self.sum(query, j * self.lanes), ir.IntType(32)), "i32", self.lanes)
            queries.append(start + self.lane_numbers())

        def put(i: ir.Value, j: int, bias: Vec | None) -> None:
            where = self.sum(self.mul(i, self.panel), j * self.lanes)
            score = self.vector(self.scores, where)
            if bias is not None:
                score = bias.fma(LOG2_E, score * self.factor if self.factor else score)
            if spec.causal:
                place = splat(self.at, self.at.trunc(self.sum(key, i), ir.IntType(32)), "i32", self.lanes)
                score = (queries[j] < place).where(score.const(-math.inf), score)
            self.put(score, self.scores, where)

        def one(i: ir.Value, _: list[Any]) -> tuple[()]:
            for j, places in enumerate(queries):
                put(i, j, self.bias(n, h, places, self.sum(key, i)) if spec.bias else None)
            return ()

        def square(first: ir.Value, _: list[Any]) -> tuple[()]:
            for j in self.vectors:
                begin = self.sum(query, j * self.lanes)
                columns = self._bias_square(n, h, begin, self.sum(key, first), self.at.sub(count, first))
                for i, bias in enumerate(columns):
                    put(self.sum(first, i), j, bias)
            return ()

        def each_key() -> list[ir.Value]:
            self.loop(i64(0), count, 1, one)
            return []

        def squares() -> list[ir.Value]:
            self.loop(i64(0), count, self.lanes, square)
            return []

        if not spec.bias:
            self.choose(self.at.icmp_signed(">", self.sum(key, count, -1), query), each_key, list)
            return
        p = self.param
        differ = self.at.icmp_signed("!=", p["bias_row"], i64(0))
        beside = self.at.icmp_signed("==", p["bias_key"], i64(1))
        self.choose(self.at.and_(differ, beside), squares, each_key)

    def _bias_square(self, n: ir.Value, h: ir.Value, query: ir.Value, key: ir.Value, left: ir.Value) -> list[Vec]:
        """Of a vector of queries, for each of as many keys, of which `left` exist; they lie side by side."""
        p, mask = self.param, self.first_lanes(left)
        rows = []
        for i in range(self.lanes):
            row = self.minimum(self.sum(query, i), self.sum(p["length"], -1))
            at = self.sum(self.mul(n, p["bias_n"]), self.mul(h, p["bias_h"]), self.mul(row, p["bias_row"]), key)
            rows.append(self.load(self.at_element(self.buffers["bias"], at), "float32", self.lanes, mask))
        return transpose(rows)

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
