"""Kernels whose operands are contiguous along different dims, as in a transposed copy: squares of elements, turned in
registers.

A square has as many places of the lane dim as of the *cross* dim. An operand that is contiguous along the cross dim is
loaded or stored as vectors along that dim, and turned into vectors along the lane dim, which all other instructions
use. Of squares that stick out, loops go through what exists, under masks, and vectors wait in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from llvmlite import ir

from ...kernels.dtypes import BITS, COMPUTE_KIND
from ...kernels.nest import Nest, access_number
from ...kernels.nest_structure import CROSS_BLOCK
from ...kernels.target import HostTarget
from ..flow import i64
from ..storage import decode, encode
from ..vector import Vec, llvm_type
from .emit import NestEmitter
from .memory import AccessPlace, Scope, conjunction


@dataclass(frozen=True)
class Square:
    """Where a square is: its first places. If it sticks out, how many places exist (of the cross dim, of the lane dim),
    and the masks of those."""

    scope: Scope
    place: ir.Value
    lane: ir.Value
    counts: tuple[ir.Value, ir.Value] | None = None
    masks: tuple[Vec | None, Vec | None] = None, None


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
                        self._whole(Square(scope, place, lane))
                    with sticking_out:
                        few = self.minimum(counts[0], i64(self.side)), self.minimum(counts[1], i64(self.side))
                        masks = self._first_lanes(few[0], self.side), self._first_lanes(few[1], self.side)
                        self._part(Square(scope, place, lane, few, masks))
                return ()

            self.loop(low, high, self.side, along_cross)
            return ()

        self.loop(begin, end, self.side, along_lanes)

    # -- one square ------------------------------------------------------------------------------------------------

    def _whole(self, square: Square) -> None:
        """All places exist: they are written out, and everything stays in registers."""
        numbers = [i64(k) for k in range(self.side)]
        loaded = {i: transpose([self._read(square, a, k) for k in numbers]) for i, a in self.structure.crossing("load")}
        stored: dict[int, list[Vec]] = {i: [] for i, _ in self.structure.crossing("store")}
        for k, number in enumerate(numbers):
            row = self._row_of(square, number, {i: columns[k] for i, columns in loaded.items()})
            for i, vectors in stored.items():
                vectors.append(row[i])
        for i, a in self.structure.crossing("store"):
            for number, vector in zip(numbers, transpose(stored[i]), strict=True):
                self.memory.write_raw(self._along_cross(square, a, number), vector)

    def _part(self, square: Square) -> None:
        """Few places exist: loops go through those, and vectors wait in memory. Written out, this would be most of the
        code."""
        assert square.counts is not None
        places, lanes = square.counts
        loads, stores = self.structure.crossing("load"), self.structure.crossing("store")
        tiles = {i: self._tile(a) for i, a in (*loads, *stores)}
        for i, a in loads:
            self._each(lanes, partial(self._fetch, square, a, tiles[i]))
            tiles[i].turn()

        def across(number: ir.Value) -> None:
            row = self._row_of(square, number, {i: tiles[i].read(number) for i, _ in loads})
            for i, _ in stores:
                tiles[i].write(number, row[i])

        self._each(places, across)
        for i, a in stores:
            tiles[i].turn()
            self._each(lanes, partial(self._put, square, a, tiles[i]))

    def _fetch(self, square: Square, access: int, tile: _Tile, number: ir.Value) -> None:
        tile.write(number, self._read(square, access, number))

    def _put(self, square: Square, access: int, tile: _Tile, number: ir.Value) -> None:
        self.memory.write_raw(self._along_cross(square, access, number), tile.read(number))

    def _each(self, count: ir.Value, do: Callable[[ir.Value], None]) -> None:
        """Do something for each number below a count."""

        def body(number: ir.Value, _: list[Any]) -> tuple[()]:
            do(number)
            return ()

        self.loop(i64(0), count, 1, body)

    def _row_of(self, square: Square, number: ir.Value, loaded: Mapping[int, Vec]) -> dict[int, Vec]:
        """Compute one vector along the lane dim, at a place of the cross dim, and store what lies along it. Returns the
        bits of what lies along the cross dim. loaded: those of what does, by instruction."""
        code, crossed = self.nest.code, self.structure.crossed
        others = frozenset(range(len(self.operands))) - crossed
        inner = self._at(square.scope, self.at.add(square.place, number), square.lane, others)
        inner = replace(inner, width=self.side, mask=square.masks[1])
        for i, raw in loaded.items():
            value = decode(self.nest.accesses[access_number(code[i])].dtype, raw, self.target.half)
            inner.values[i] = value.to(COMPUTE_KIND[code[i].dtype])
        self._find([inner])
        made = {}
        for i in self.structure.row_sinks:
            if (a := access_number(code[i])) in crossed:
                value = self._lanes_of(inner, code[i].args[0], self.side)
                made[i] = encode(self.nest.accesses[a].dtype, value, self.target.half)
            else:
                self._sink(inner, i)
        return made

    def _read(self, square: Square, access: int, number: ir.Value) -> Vec:
        return self.memory.read_raw(self._along_cross(square, access, number))

    def _along_cross(self, square: Square, access: int, number: ir.Value) -> AccessPlace:
        """Where an access goes along the cross dim, at one place of the lane dim."""
        start = self._at(square.scope, square.place, self.at.add(square.lane, number), (access,))
        found = self.memory.conditions(start, self.operands[access], access, self.side, self.cross)
        if (mask := square.masks[0]) is not None:
            found.append(mask)
        allowed, mask = conjunction(c for c in found if c.lanes == 1), conjunction(c for c in found if c.lanes > 1)
        return AccessPlace(self.operands[access], start.offsets[access], self.side, None, allowed, mask)

    def _at(self, scope: Scope, place: ir.Value, lane: ir.Value, wanted: Container[int]) -> Scope:
        inner = self.memory.enter(scope, self.operands, self.cross, place, wanted)
        return self.memory.enter(inner, self.operands, self.nest.lane, lane, wanted)

    def _tile(self, access: int) -> _Tile:
        kind = self.operands[access].kind
        with self.at.goto_entry_block():
            memory = self.at.alloca(llvm_type(kind, self.side), self.side)
        return _Tile(self.at, memory, kind, self.side)


class _Tile:
    """Vectors of a square in memory."""

    def __init__(self, at: ir.IRBuilder, memory: ir.Value, kind: str, side: int):
        self.at, self.memory, self.kind, self.side = at, memory, kind, side

    def _place(self, number: ir.Value) -> ir.Value:
        return self.at.gep(self.memory, [number])

    def read(self, number: ir.Value) -> Vec:
        value = self.at.load(self._place(number), align=BITS[self.kind] // 8, typ=llvm_type(self.kind, self.side))
        return Vec(self.at, value, self.kind, self.side)

    def write(self, number: ir.Value, vector: Vec) -> None:
        self.at.store(vector.value, self._place(number), align=BITS[self.kind] // 8)

    def turn(self) -> None:
        """Exchange rows and columns."""
        numbers = [i64(k) for k in range(self.side)]
        for number, vector in zip(numbers, transpose([self.read(k) for k in numbers]), strict=True):
            self.write(number, vector)


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
    return a.like(a.builder.shuffle_vector(a.value, b.value, _picks(tuple(lanes))))


@cache
def _picks(lanes: tuple[int, ...]) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))
