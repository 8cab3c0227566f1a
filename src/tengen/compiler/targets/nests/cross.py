"""Kernels whose operands are contiguous along different dims, as in a transposed copy: squares of elements, turned in
registers.

A square has as many places of the lane dim as of the *cross* dim. An operand that is contiguous along the cross dim is
loaded or stored as vectors along that dim, and turned into vectors along the lane dim, which all other instructions
use. Squares that stick out are masked. Vectors outside the square are read at the last place that exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llvmlite import ir

from ...kernels.dtypes import COMPUTE_KIND
from ...kernels.nest import Nest, access_number
from ...kernels.nest_structure import CROSS_BLOCK
from ...kernels.target import HostTarget
from ..flow import i64
from ..storage import decode, encode
from ..vector import Vec, splat
from .emit import NestEmitter
from .memory import AccessPlace, Scope, conjunction


@dataclass(frozen=True)
class Square:
    """Where a square is: the places of both sides as if all existed, and if not, how many do (of the cross dim, of the
    lane dim)."""

    scope: Scope
    places: list[ir.Value]
    lanes: list[ir.Value]
    counts: tuple[ir.Value, ir.Value] | None


class CrossEmitter(NestEmitter):
    """Emits the kernel of a Nest that has a cross dim. An item is CROSS_BLOCK places of it, along one chunk."""

    def __init__(self, nest: Nest, target: HostTarget):
        super().__init__(nest, target)
        assert nest.cross is not None
        self.cross, self.side = nest.cross, self.structure.side(target)
        self.block: ir.Value = i64(0)

    def _count(self, dim: int) -> ir.Value:
        if dim != self.cross:
            return super()._count(dim)
        return self.at.udiv(self.at.add(self.extents[dim], i64(CROSS_BLOCK - 1)), i64(CROSS_BLOCK))

    def _enter(self, scope: Scope, dim: int, digit: ir.Value) -> Scope:
        if dim != self.cross:
            return super()._enter(scope, dim, digit)
        self.block = digit
        return scope

    def _lanes(self, scope: Scope, chunk: ir.Value) -> None:
        """The squares of one item. Squares along the cross dim follow each other, so that long contiguous runs stay in
        the nearest caches."""
        begin, end = self._chunk_limits(chunk)
        low = self.at.mul(self.block, i64(CROSS_BLOCK))
        high = self.minimum(self.at.add(low, i64(CROSS_BLOCK)), self.extents[self.cross])

        def along_lanes(lane: ir.Value, _: list[Any]) -> tuple[()]:
            def along_cross(place: ir.Value, _: list[Any]) -> tuple[()]:
                counts = self.at.sub(high, place), self.at.sub(end, lane)
                whole = self.at.icmp_signed("<=", i64(self.side), self.minimum(*counts))
                with self.at.if_else(whole) as (inside, sticking_out):
                    with inside:
                        self._square(self._square_at(scope, place, lane, None))
                    with sticking_out:
                        self._square(self._square_at(scope, place, lane, counts))
                return ()

            self.loop(low, high, self.side, along_cross)
            return ()

        self.loop(begin, end, self.side, along_lanes)

    # -- one square ------------------------------------------------------------------------------------------------

    def _square_at(
        self, scope: Scope, place: ir.Value, lane: ir.Value, counts: tuple[ir.Value, ir.Value] | None
    ) -> Square:
        sides = [[self.at.add(start, i64(k)) for k in range(self.side)] for start in (place, lane)]
        return Square(scope, sides[0], sides[1], counts)

    def _existing(self, square: Square, number: int) -> ir.Value:
        """A place of the cross dim, or the last one that exists."""
        place = square.places[number]
        if square.counts is None:
            return place
        return self.minimum(place, self.at.add(square.places[0], self.at.sub(square.counts[0], i64(1))))

    def _square(self, square: Square) -> None:
        code, crossed = self.nest.code, self.structure.crossed
        loaded = {
            i: self._turned_load(square, access_number(instr))
            for i, instr in enumerate(code)
            if instr.op == "load" and access_number(instr) in crossed
        }
        stored: dict[int, list[Vec]] = {i: [] for i in self.structure.row_sinks if access_number(code[i]) in crossed}
        for number in range(self.side):
            inner = self._at(square.scope, self._existing(square, number), square.lanes[0])
            inner = replace(inner, width=self.side, mask=self._mask(square, number, along=1))
            inner.values.update({i: column[number].to(COMPUTE_KIND[code[i].dtype]) for i, column in loaded.items()})
            self._find([inner])
            for i in self.structure.row_sinks:
                if i in stored:
                    dtype = self.nest.accesses[access_number(code[i])].dtype
                    value = self._lanes_of(inner, code[i].args[0], self.side)
                    stored[i].append(encode(dtype, value, self.target.half))
                else:
                    self._sink(inner, i)
        for i, vectors in stored.items():
            for number, vector in enumerate(transpose(vectors)):
                self.memory.write_raw(self._along_cross(square, access_number(code[i]), number), vector)

    def _turned_load(self, square: Square, access: int) -> list[Vec]:
        """Vectors along the lane dim, one for each place of the cross dim."""
        rows = [self.memory.read_raw(self._along_cross(square, access, number)) for number in range(self.side)]
        return [decode(self.nest.accesses[access].dtype, v, self.target.half) for v in transpose(rows)]

    def _along_cross(self, square: Square, access: int, number: int) -> AccessPlace:
        """Where an access goes along the cross dim, at one place of the lane dim."""
        start = self._at(square.scope, square.places[0], square.lanes[number])
        found = self.memory.conditions(start, self.operands[access], access, self.side, self.cross)
        if (mask := self._mask(square, number, along=0)) is not None:
            found.append(mask)
        allowed, mask = conjunction(c for c in found if c.lanes == 1), conjunction(c for c in found if c.lanes > 1)
        return AccessPlace(self.operands[access], start.offsets[access], self.side, None, allowed, mask)

    def _at(self, scope: Scope, place: ir.Value, lane: ir.Value) -> Scope:
        inner = self.memory.enter(scope, self.operands, self.cross, place)
        return self.memory.enter(inner, self.operands, self.nest.lane, lane)

    def _mask(self, square: Square, number: int, along: int) -> Vec | None:
        """The lanes that exist in a vector along one side, at place `number` of the other side, if the vector exists."""
        if square.counts is None:
            return None
        exists = self.at.icmp_signed("<", i64(number), square.counts[1 - along])
        return self._first_lanes(square.counts[along], self.side) & splat(self.at, exists, "bool", self.side)


# -- turning ----------------------------------------------------------------------------------------------------------


def transpose(rows: Sequence[Vec]) -> list[Vec]:
    """The columns of a square of 2, 4, 8 or 16 rows. Elements are exchanged first within runs of four lanes (a register
    of 128 bits), then
    between whole runs: machines have these shuffles.
    """
    count = len(rows)
    if count == 2:
        return [_pick(rows[0], rows[1], picks) for picks in ([0, 2], [1, 3])]
    runs = range(0, count, 4)
    low = [4 * (lane // 4) + lane % 4 // 2 + lane % 2 * count for lane in range(count)]
    low_pairs = [4 * (lane // 4) + lane % 2 + lane % 4 // 2 * count for lane in range(count)]
    groups: list[list[Vec]] = []
    for first in runs:
        a, b, c, d = rows[first : first + 4]
        ab, ab_high = _pick(a, b, low), _pick(a, b, [i + 2 for i in low])
        cd, cd_high = _pick(c, d, low), _pick(c, d, [i + 2 for i in low])
        high_pairs = [i + 2 for i in low_pairs]
        groups.append([_pick(x, y, p) for x, y in ((ab, cd), (ab_high, cd_high)) for p in (low_pairs, high_pairs)])
    columns: list[list[Vec]] = [_turn_runs([group[k] for group in groups]) for k in range(4)]
    return [columns[i % 4][i // 4] for i in range(count)]


def _turn_runs(rows: Sequence[Vec]) -> list[Vec]:
    """`turn` for a square of one, two or four runs of four lanes a side."""
    if len(rows) == 1:
        return list(rows)
    lanes = rows[0].lanes
    halves = [list(range(lanes // 2)), list(range(lanes // 2, lanes))]
    pairs = [
        [_pick(a, b, [*half, *(i + lanes for i in half)]) for half in halves]
        for a, b in zip(rows[::2], rows[1::2], strict=True)
    ]
    if len(rows) == 2:
        return pairs[0]
    even = [i for i in range(2 * lanes) if i // 4 % 2 == 0]
    return [_pick(pairs[0][half], pairs[1][half], [i + odd for i in even]) for half in (0, 1) for odd in (0, 4)]


def _pick(a: Vec, b: Vec, lanes: Sequence[int]) -> Vec:
    """These lanes of both vectors, concatenated."""
    picks = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))
    return a.like(a.builder.shuffle_vector(a.value, b.value, picks))
