"""Sums over the rows of a contraction's result, taken while a register tile of it is in registers.

Each launch tile writes numbers for each column of its rows; another kernel adds up those of all launch tiles
(`schedule/contractions/column_sums.py`). Squares are of distances from a value of the tile itself, so that they keep
their digits if the mean is large compared to the deviation (Chan, Golub and LeVeque 1983, "Algorithms for computing the
sample variance", section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from ...kernels.contraction import ContractionKernel
from ...kernels.epilogue import ColumnSum
from ..flow import Flow
from ..vector import Vec, constant, splat
from .products import multiply_add
from .tile import Rows, TileEmitter


class ColumnSums:
    """Keeps the sums of some vectors of columns as values that loops carry: for each vector, the slots of all sums."""

    def __init__(self, flow: Flow, sums: Sequence[ColumnSum], kind: str, vectors: int = 1, lanes: int = 1):
        self.flow, self.sums, self.kind, self.vectors, self.lanes = flow, sums, kind, vectors, lanes
        self.slots = sum(x.slots for x in sums)

    def begin(self) -> list[ir.Value]:
        """The carried values before the first row."""
        return [constant(0, self.kind, self.lanes)] * (self.vectors * self.slots)

    def add(
        self,
        vector: int,
        values: Callable[[int], Sequence[Vec]],
        rows: Rows,
        carry: Sequence[ir.Value],
    ) -> list[ir.Value]:
        """The carried values after the rows of one vector of columns. values: gives a value of the code, row by row."""
        at, result = vector * self.slots, list(carry)
        for x in self.sums:
            held = [Vec(self.flow.at, value, self.kind, self.lanes) for value in carry[at : at + x.slots]]
            added = (
                self._shifted(values(x.value), rows, held) if x.shifted else self._plain(values(x.value), rows, held)
            )
            result[at : at + x.slots] = [value.value for value in added]
            at += x.slots
        return result

    def _plain(self, values: Sequence[Vec], rows: Rows, held: Sequence[Vec]) -> list[Vec]:
        (total,) = held
        return [total + _tree([_where(there, value) for value, there in zip(values, rows.exist, strict=True)])]

    def _shifted(self, values: Sequence[Vec], rows: Rows, held: Sequence[Vec]) -> list[Vec]:
        shift, first, second = held
        if rows.begin is not None:
            (chosen,) = self.flow.choose(rows.begin, lambda: [middle(values).value], lambda: [shift.value])
            shift = shift.like(chosen)
        distances = [_where(there, value - shift) for value, there in zip(values, rows.exist, strict=True)]
        squares = distances[0] * distances[0]
        for distance in distances[1:]:
            squares = multiply_add(distance, distance, squares)
        return [shift, first + _tree(distances), second + squares]


class ColumnSumsEmitter(ColumnSums):
    """The sums of one panel of a launch tile."""

    def __init__(self, emitter: TileEmitter, spec: ContractionKernel, sums: Sequence[ColumnSum], kind: str):
        super().__init__(emitter, sums, kind, spec.vectors, spec.lanes)
        self.emitter = emitter

    def store(
        self, carry: Sequence[ir.Value], start: ir.Value, rows: ir.Value, masks: Sequence[ir.Value | None]
    ) -> None:
        """Write the sums of `rows` rows. start: the offset of the panel's first column in the first slot."""
        emitter, lanes = self.emitter, self.lanes
        dtype = {"f32": "float32", "f64": "float64"}[self.kind]
        base, step = emitter.element(emitter.buffers["sums"], dtype, start), emitter.part.sum_slot
        count = splat(emitter.at, Vec(emitter.at, rows, "i64", 1).to(self.kind).value, self.kind, lanes)
        counted = [count.value] * any(x.shifted for x in self.sums)
        for vector, mask in enumerate(masks):
            at = vector * self.slots
            for slot, value in enumerate([*carry[at : at + self.slots], *counted]):
                place = emitter.element(base, dtype, emitter.sum(emitter.mul(step, slot), vector * lanes))
                emitter.store(Vec(emitter.at, value, self.kind, lanes), place, dtype, mask)


def middle(values: Sequence[Vec]) -> Vec:
    """A number that these values are not far from. A row that appears twice does no harm."""
    mean = _tree(values) * (1 / len(values))
    return (mean - mean).eq(0.0).where(mean, 0.0)  # distances from an infinite shift would be nan


def _tree(values: Sequence[Vec]) -> Vec:
    """The sum of some vectors, by halves. Those of a register tile are added before they join the earlier tiles, so few
    are added in sequence."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    return _tree(values[:half]) + _tree(values[half:])


def _where(there: Vec | None, value: Vec) -> Vec:
    """The value of a row if it exists, or zeros."""
    return there.where(value, 0.0) if there else value
