"""Products of small matrices that lie in the nearest caches, for kernels that need several of them in a row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product as pairs_of
from typing import Any, NamedTuple

from llvmlite import ir

from ..kernels.contraction import AMX_SIDE
from ..kernels.target import HostTarget
from .amx import WORD, configure, instruct, release
from .contractions.products import add_pairs, multiply_add
from .flow import PTR, i64
from .kernel_emitter import KernelEmitter
from .vector import Vec, constant, splat

MOST_ROWS = 12
AMX_REGISTERS = 8
A_REGISTERS, B_REGISTERS = (4, 5), (6, 7)
"""Those before hold sums."""


class Matrix(NamedTuple):
    """Where a matrix of words begins, and how many of them its rows and its columns are apart; numbers in the code."""

    base: ir.Value
    row: int
    column: int = 1


class Products(KernelEmitter):
    """C[m, n] = A[m, k] B[k, n], where n is a whole number of vectors, and the sums, float32, stay in registers.

    Elements of A and B are words (`per_word` numbers each): floats, or if `product` is "pairs" or "amx" two bfloat16 numbers, neighbours
    along k. "amx" takes whole registers: memory of A and C goes on to a multiple of AMX_SIDE rows, and that of A and B to a multiple of as
    many words along k, where one of them holds zeros and the other finite numbers.
    """

    def __init__(self, target: HostTarget, spec: Any, parameters: Sequence[str]):
        super().__init__(target, spec.buffers, parameters)
        self.target, self.lanes, self.accumulators = target, spec.lanes, spec.accumulators
        self.product: str = spec.product
        self.per_word: int = spec.per_word
        self.flushes = self.product != "plain"  # so do the sums

    def tiles(self) -> None:
        if self.product != "amx":
            return super().tiles()
        configure(self, dict.fromkeys(range(AMX_REGISTERS), (i64(AMX_SIDE), i64(AMX_SIDE))))
        super().tiles()
        return release(self)

    def scratch(self, count: int, name: str) -> ir.Value:
        """Memory for so many words, on a line of the cache."""
        memory = self.reserve(ir.FloatType(), count, name)
        memory.align = 64
        memory.type = PTR  # vectors lie there, too
        return memory

    def at_element(self, base: ir.Value, offset: ir.Value | int) -> ir.Value:
        return self.element(base, "float32", offset)

    def vector(self, base: ir.Value, offset: ir.Value | int = 0) -> Vec:
        return self.load(self.at_element(base, offset), "float32", self.lanes)

    def put(self, value: Vec, base: ir.Value, offset: ir.Value | int = 0) -> None:
        self.store(value, self.at_element(base, offset), "float32")

    def everywhere(self, base: ir.Value, offset: ir.Value | int = 0) -> Vec:
        """One word in all lanes."""
        scalar = self.load(self.at_element(base, offset), "float32", 1)
        return splat(self.at, scalar.value, "f32", self.lanes)

    def multiply(self, a: Vec, b: Vec, total: Vec) -> Vec:
        """total plus the product of words."""
        return multiply_add(a, b, total) if self.per_word == 1 else add_pairs(a, b, total)

    def products(
        self,
        a: Matrix,
        b: Matrix,
        c: Matrix,
        rows: ir.Value,
        steps: ir.Value,
        columns: int,
        add: bool = False,
        factors: Sequence[Vec] = (),
    ) -> None:
        """add: to what C holds, first multiplied by `factors`, one for each vector of a row."""
        count = -(-columns // self.lanes)
        most = 2 if self.product == "amx" or self.accumulators < 24 else 4
        groups = -(-count // most)
        first = 0
        for group in range(groups):
            vectors = (count - first) // (groups - group)
            apart = first * self.lanes
            b_part, c_part = (x._replace(base=self.at_element(x.base, apart)) for x in (b, c))
            part = _Columns(a, b_part, c_part, steps, vectors, add, factors[first : first + vectors])
            if self.product == "amx":
                self._registers(part, rows)
            else:
                self._panel(part, rows)
            first += vectors

    # -- vectors -------------------------------------------------------------------------------------------------

    def _panel(self, part: _Columns, rows: ir.Value) -> None:
        most = min(self.accumulators // part.vectors, MOST_ROWS)
        done = i64(0)
        for height in dict.fromkeys((most, 4, 2, 1)):
            if height <= most:
                end = self._whole(done, rows, height)
                self.loop(done, end, height, partial(self._tile, part, height))
                done = end

    def _whole(self, done: ir.Value, rows: ir.Value, height: int) -> ir.Value:
        """Where tiles of so many rows end."""
        left = self.at.sub(rows, done)
        return self.at.add(done, self.at.sub(left, self.at.urem(left, i64(height))))

    def _tile(self, part: _Columns, height: int, row: ir.Value, _: list[Any]) -> tuple[()]:
        a, b, c, vectors = part.a, part.b, part.c, part.vectors
        a_start = self.at_element(a.base, self.mul(row, a.row))

        def step(k: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
            a_at = self.at_element(a_start, self.mul(k, a.column))
            b_at = self.at_element(b.base, self.mul(k, b.row))
            columns = [self.vector(b_at, j * self.lanes) for j in range(vectors)]
            made = []
            for i in range(height):
                value = self.everywhere(a_at, i * a.row)
                for j, column in enumerate(columns):
                    total = Vec(self.at, totals[i * vectors + j], "f32", self.lanes)
                    made.append(self.multiply(value, column, total).value)
            return made

        zero = constant(0, "f32", self.lanes)
        totals = self.loop(i64(0), part.steps, 1, step, [zero] * (height * vectors))
        c_at = self.at_element(c.base, self.mul(row, c.row))
        for i in range(height):
            for j in range(vectors):
                total = Vec(self.at, totals[i * vectors + j], "f32", self.lanes)
                place = i * c.row + j * self.lanes
                if part.add:
                    before = self.vector(c_at, place)
                    total = multiply_add(before, part.factors[j], total) if part.factors else before + total
                self.put(total, c_at, place)
        return ()

    # -- registers of AMX ----------------------------------------------------------------------------------------

    def _registers(self, part: _Columns, rows: ir.Value) -> None:
        if part.factors:
            self._scale(part, rows)
        rows = self.round_up(rows, AMX_SIDE)
        end = self._whole(i64(0), rows, 2 * AMX_SIDE)
        self.loop(i64(0), end, 2 * AMX_SIDE, partial(self._sums, part, 2))
        self.loop(end, rows, AMX_SIDE, partial(self._sums, part, 1))

    def _scale(self, part: _Columns, rows: ir.Value) -> None:
        def one(row: ir.Value, _: list[Any]) -> tuple[()]:
            place = self.mul(row, part.c.row)
            for j, factor in enumerate(part.factors):
                at = self.sum(place, j * self.lanes)
                self.put(self.vector(part.c.base, at) * factor, part.c.base, at)
            return ()

        self.loop(i64(0), rows, 1, one)

    def _sums(self, part: _Columns, height: int, row: ir.Value, _: list[Any]) -> tuple[()]:
        a, b, c = part.a, part.b, part.c
        apart = {x: i64(x.row * WORD) for x in (a, b, c)}
        numbers = [(i * part.vectors + j, i, j) for i, j in pairs_of(range(height), range(part.vectors))]

        def at(x: Matrix, line: ir.Value, i: int, column: ir.Value | int) -> ir.Value:
            return self.at_element(x.base, self.sum(self.mul(self.sum(line, i * AMX_SIDE), x.row), column))

        for number, i, j in numbers:
            if part.add:
                instruct(self, "tileloadd64", number, at(c, row, i, j * AMX_SIDE), apart[c])
            else:
                instruct(self, "tilezero", number)

        def step(k: ir.Value, _: list[Any]) -> tuple[()]:
            for i in range(height):
                instruct(self, "tileloadd64", A_REGISTERS[i], at(a, row, i, k), apart[a])
            for j in range(part.vectors):
                instruct(self, "tileloadd64", B_REGISTERS[j], at(b, k, 0, j * AMX_SIDE), apart[b])
            for number, i, j in numbers:
                instruct(self, "tdpbf16ps", number, A_REGISTERS[i], B_REGISTERS[j])
            return ()

        self.loop(i64(0), part.steps, AMX_SIDE, step)
        for number, i, j in numbers:
            instruct(self, "tilestored64", number, at(c, row, i, j * AMX_SIDE), apart[c])
        return ()

    def round_up(self, count: ir.Value, to: int) -> ir.Value:
        """A power of two is what it is rounded to."""
        return self.at.and_(self.sum(count, to - 1), i64(-to))


class _Columns(NamedTuple):
    """Columns of a product that are computed together."""

    a: Matrix
    b: Matrix
    c: Matrix
    steps: ir.Value
    vectors: int
    add: bool
    factors: Sequence[Vec]
