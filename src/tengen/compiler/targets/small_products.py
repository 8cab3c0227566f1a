"""Products of small matrices that lie in the nearest caches, for kernels that need several of them in a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir

from ..kernels.target import HostTarget
from .contractions.products import multiply_add
from .flow import PTR, i64
from .kernel_emitter import KernelEmitter
from .vector import Vec, constant, splat

MOST_ROWS = 12


class Matrix(NamedTuple):
    """Where a matrix of float32 begins, and how many elements apart its rows and its columns are; numbers in the code."""

    base: ir.Value
    row: int
    column: int = 1


class Products(KernelEmitter):
    """C[m, n] = A[m, k] B[k, n], where n is a whole number of vectors, and the sums stay in registers."""

    def __init__(self, target: HostTarget, lanes: int, accumulators: int, buffers: Any, parameters: Any):
        super().__init__(target, buffers, parameters)
        self.target, self.lanes, self.accumulators = target, lanes, accumulators

    def scratch(self, count: int, name: str) -> ir.Value:
        """Memory for so many float32, on a line of the cache."""
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
        """One element in all lanes."""
        scalar = self.load(self.at_element(base, offset), "float32", 1)
        return splat(self.at, scalar.value, "f32", self.lanes)

    def products(
        self,
        a: Matrix,
        b: Matrix,
        c: Matrix,
        rows: ir.Value,
        steps: ir.Value,
        columns: int,
        begin: Callable[[Vec, ir.Value], Vec] | None = None,
    ) -> None:
        """begin(what C holds, the row) is added to the products; without it they take the place of that."""
        count = -(-columns // self.lanes)
        groups = -(-count // (4 if self.accumulators == 24 else 2))
        first = 0
        for group in range(groups):
            vectors = (count - first) // (groups - group)
            apart = first * self.lanes
            b_part, c_part = (x._replace(base=self.at_element(x.base, apart)) for x in (b, c))
            self._panel(a, b_part, c_part, rows, steps, vectors, begin)
            first += vectors

    def _panel(
        self, a: Matrix, b: Matrix, c: Matrix, rows: ir.Value, steps: ir.Value, vectors: int, begin: Any
    ) -> None:
        most = min(self.accumulators // vectors, MOST_ROWS)
        done = i64(0)
        for height in dict.fromkeys((most, 4, 2, 1)):
            if height > most:
                continue
            left = self.at.sub(rows, done)
            end = self.at.add(done, self.at.sub(left, self.at.urem(left, i64(height))))

            def tile(row: ir.Value, _: list[Any], height: int = height) -> tuple[()]:
                self._tile(a, b, c, row, height, steps, vectors, begin)
                return ()

            self.loop(done, end, height, tile)
            done = end

    def _tile(
        self, a: Matrix, b: Matrix, c: Matrix, row: ir.Value, height: int, steps: ir.Value, vectors: int, begin: Any
    ) -> None:
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
                    made.append(multiply_add(value, column, total).value)
            return made

        zero = constant(0, "f32", self.lanes)
        totals = self.loop(i64(0), steps, 1, step, [zero] * (height * vectors))
        c_at = self.at_element(c.base, self.mul(row, c.row))
        for i in range(height):
            for j in range(vectors):
                total = Vec(self.at, totals[i * vectors + j], "f32", self.lanes)
                place = i * c.row + j * self.lanes
                if begin is not None:
                    total = begin(self.vector(c_at, place), self.sum(row, i)) + total
                self.put(total, c_at, place)
