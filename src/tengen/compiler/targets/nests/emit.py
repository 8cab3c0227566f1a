"""How a CPU runs a Nest: tiles of items, vectors along the lanes, and the lanes folded at the end of a row.
`kernels/nest_tiling.py` describes the loops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from llvmlite import ir

from ...kernels.dtypes import COMPUTE_KIND
from ...kernels.nest import Instr, Nest, access_number
from ...kernels.target import HostTarget
from ..flow import I64, i64
from ..storage import encode
from ..vector import Vec, is_float, llvm_type, splat
from . import fold as nest_fold
from . import interleave
from .body import NestBody, Scopes
from .fold import Accumulator, Maps
from .memory import AccessPlace, Scope
from .vector_memory import VectorMemory


class NestEmitter(NestBody):
    """Emits the kernel of a Nest for a CPU. The numbers of its split are those of a `Tiling`."""

    target: HostTarget
    memory: VectorMemory

    def __init__(self, nest: Nest, target: HostTarget):
        super().__init__(nest, target, tiled=True)
        self._unwritten: dict[int, list[Vec]] = {}  # the values of woven accesses, for the places so far

    def _read_split(self) -> None:
        self.widths, self.tail = self.structure.widths(self.target), self.structure.tail_width(self.target)
        self.items, self.items_per_tile, self.chunk, self.chunks = (self._next() for _ in range(4))

    def _in_memory(self, status: ir.Value | None) -> VectorMemory:
        return VectorMemory(self, self.nest.lane, self.target, status)

    # -- loops over kept dims ----------------------------------------------------------------------------------------

    def _items(self, scope: Scope) -> None:
        """All items of the tiles: a loop over the last item dim, inside a loop in which the indices of the others count
        up like an odometer."""
        self._settle(scope, 0)
        dims = self.structure.item_dims
        first = self.at.mul(self.tile_begin, self.items_per_tile)
        last = self.minimum(self.at.mul(self.tile_end, self.items_per_tile), self.items)
        limits = [self._count(d) for d in dims]
        if not dims:
            self.loop(first, last, 1, lambda *_: self._item(scope, i64(0)))
            return
        length = limits.pop()
        low, high = self.at.udiv(first, length), self.at.udiv(self.at.add(last, self.at.sub(length, i64(1))), length)
        start: list[ir.Value] = []
        rest = low
        for limit in reversed(limits[1:]):
            start.insert(0, self.at.urem(rest, limit))
            rest = self.at.udiv(rest, limit)
        start = [rest, *start] if limits else []

        def run(number: ir.Value, digits: list[ir.Value]) -> list[ir.Value]:
            outer, chunk = scope, i64(0)
            for d, digit in zip(dims, digits, strict=False):
                outer, chunk = self._enter(outer, d, digit), digit if d == self.nest.lane else chunk
            self._settle(outer, 0)
            before = self.at.mul(number, length)
            begin, end = self.at.sub(first, before), self.minimum(self.at.sub(last, before), length)

            def item(digit: ir.Value, _: list[Any]) -> tuple[()]:
                if self.nest.rows > 1:
                    last = self.at.sub(end, i64(1))
                    places = [self.minimum(self.at.add(digit, i64(k)), last) for k in range(self.nest.rows)]
                    self._row([self._enter(outer, dims[-1], place) for place in places])
                    return ()
                inner = self._enter(outer, dims[-1], digit)
                self._settle(inner, 0)
                return self._item(inner, digit if dims[-1] == self.nest.lane else chunk)

            begin = self.at.select(self.at.icmp_signed("<", begin, i64(0)), i64(0), begin)
            self.loop(begin, end, self.nest.rows, item)
            return self._count_up(digits, limits)

        self.loop(low, high, 1, run, start)

    def _count(self, dim: int) -> ir.Value:
        """How many values the digit of an item dim has."""
        return self.chunks if dim == self.nest.lane else self.extents[dim]

    def _enter(self, scope: Scope, dim: int, digit: ir.Value) -> Scope:
        """The scope of the items with this digit."""
        return scope if dim == self.nest.lane else self.memory.enter(scope, self.operands, dim, digit)

    def _count_up(self, digits: Sequence[ir.Value], limits: Sequence[ir.Value]) -> list[ir.Value]:
        result: list[ir.Value] = []
        carry: ir.Value = i64(1)
        for digit, limit in zip(reversed(digits), reversed(limits), strict=True):
            following = self.at.add(digit, carry)
            full = self.at.icmp_signed(">=", following, limit)
            result.insert(0, self.at.select(full, i64(0), following))
            carry = self.at.zext(full, I64)
        return result

    # -- lanes -------------------------------------------------------------------------------------------------------

    def _along_lanes(
        self,
        scopes: Scopes,
        width: int,
        begin: ir.Value,
        end: ir.Value,
        main: Any,
        tail: Any,
        carry: Sequence[Any],
        rest: Sequence[Any] | Callable[[Sequence[Any]], Sequence[Any]] = (),
        parts: nest_fold.Folds | None = None,
    ) -> list[Any]:
        middle, done = begin, list(carry)
        if not self.structure.one_loop(width, self.target):
            length = self.at.sub(end, begin)
            middle = self.at.sub(end, self.at.and_(length, i64(width - 1)))

            def whole(index: ir.Value, carried: list[Any]) -> Sequence[Any]:
                return main([self._lane_scope(s, index, width, None) for s in scopes], carried)

            done = list(self._in_parts(parts, self.nest.lane, begin, middle, width, whole, carry))
            parts = None  # only a few turns are left

        def remaining(index: ir.Value, carried: list[Any]) -> Sequence[Any]:
            left = self.at.sub(end, index)
            mask = self._first_lanes(left, self.tail) if self.tail > 1 else None
            inner = [replace(self._lane_scope(s, index, self.tail, mask), left=left) for s in scopes]
            return tail(inner, carried)

        start = rest(done) if callable(rest) else rest
        return [*done, *self._in_parts(parts, self.nest.lane, middle, end, self.tail, remaining, start)]

    def _first_lanes(self, count: ir.Value, width: int) -> Vec:
        """The mask of the first `count` of `width` lanes."""
        limit = self.at.trunc(self.minimum(count, i64(width)), ir.IntType(32))
        lanes = Vec(self.at, ir.Constant(llvm_type("i32", width), list(range(width))), "i32", width)
        return lanes < splat(self.at, limit, "i32", width)

    # -- one kept index tuple (or a vector of them), or several side by side ----------------------------------------------

    def _across(self, fold: Instr, main: Accumulator, tail: Accumulator, width: int) -> Accumulator:
        monoid = str(fold.attr)
        if not self.structure.one_loop(width, self.target):
            tail = nest_fold.combine(monoid, nest_fold.across(monoid, main, self.tail), tail)
        return nest_fold.across(monoid, tail, 1)

    def _scan_lanes(self, scope: Scope, number: int, maps: Maps, total: Vec) -> Accumulator:
        fma = self.target.fma
        if scope.width == 1:
            scope.values[number] = nest_fold.follow(total, maps, fma)
            return (scope.values[number],)
        if scope.mask is not None:
            maps = nest_fold.neutral_behind(scope.mask, maps)
        tree = nest_fold.prefixes(maps, fma)

        def everywhere(v: Vec) -> Vec:
            last = nest_fold.last_lane(v)
            return splat(self.at, last.value, last.kind, scope.width)

        def by_tree() -> list[ir.Value]:
            """The next group need not wait for the values, but for the map of the last lane only."""
            factor, term = (v and everywhere(v) for v in tree)
            return [nest_fold.follow(total, m, fma).value for m in (tree, (factor, term))]

        def in_order() -> list[ir.Value]:
            value = nest_fold.in_order(total, maps, fma)
            return [value.value, everywhere(value).value]

        product = tree[0]
        rounds = product is not None and is_float(product.kind)
        found = self.choose(nest_fold.has_lost(product), in_order, by_tree) if product and rounds else by_tree()
        scope.values[number], carried = (total.like(v) for v in found)
        return (carried,)

    def _carried_on(self, carry: Sequence[Any]) -> list[Any]:
        firsts = [nest_fold.first_lane(v) for (v,) in self._folds(self.structure.scans).apart(carry)]
        return [splat(self.at, v.value, v.kind, self.tail).value if self.tail > 1 else v.value for v in firsts]

    def _ask_for_next(self, scopes: Scopes) -> None:
        """In the second pass over short rows, whose operands are in the nearest caches: prefetch the operands of the
        rows after them."""
        dim = self.nest.kept - 1
        for a in self.structure.fresh if self.nest.rows > 1 else ():
            operand = self.operands[a]
            step = self.at.mul(operand.strides[dim], i64(self.nest.rows))
            for scope in scopes:
                self.memory.ask(operand, self.at.add(scope.offsets[a], step), scope.width)

    # -- places of an interleaved dim ---------------------------------------------------------------------------------

    def _at_places(
        self,
        scopes: Scopes,
        visit: Callable[[Scopes, Sequence[Any]], Sequence[Any]],
        carry: Sequence[Any],
        wanted: frozenset[int] | None = None,
    ) -> Sequence[Any]:
        """Call `visit` for one place of the interleaved dim after the other. Woven accesses are read before and written
        afterwards."""
        if self.nest.interleaved is None:
            return visit(scopes, carry)
        (scope,) = scopes
        dim, extent = self.nest.interleaved
        starts = self.memory.enter(scope, self.operands, dim, i64(0)).offsets
        apart: dict[int, list[Vec]] = {}
        for i, instr in enumerate(self.nest.code if scope.width > 1 else ()):
            used = i in self.structure.live and (wanted is None or i in wanted)
            if instr.op == "load" and used and (a := access_number(instr)) in self.structure.woven:
                vectors = self.memory.read_apart(self._contiguous(scope, a, starts[a], extent))
                apart[i] = [v.to(COMPUTE_KIND[instr.dtype]) for v in vectors]
        for place in range(extent):
            inner = self.memory.enter(scope, self.operands, dim, i64(place))
            inner.values.update({i: vectors[place] for i, vectors in apart.items()})
            carry = visit([inner], carry)
        for a, vectors in self._unwritten.items():
            for where, vector in zip(
                self._contiguous(scope, a, starts[a], extent), interleave.weave(vectors), strict=True
            ):
                self.memory.write_raw(where, vector)
        self._unwritten = {}
        return carry

    def _contiguous(self, scope: Scope, access: int, start: ir.Value, extent: int) -> list[AccessPlace]:
        """Where the elements of all places are for a group of lanes, vector by vector."""
        places = []
        for number in range(extent):
            before, mask = i64(number * scope.width), None
            if scope.mask is not None:
                assert scope.left is not None
                mask = self._first_lanes(self.at.sub(self.at.mul(scope.left, i64(extent)), before), scope.width)
            places.append(AccessPlace(self.operands[access], self.at.add(start, before), scope.width, None, None, mask))
        return places

    # -- accumulators ------------------------------------------------------------------------------------------------

    def _write(self, scope: Scope, access: int, value: int, indices: Sequence[Vec] = (), how: str = "set") -> None:
        if access in self.structure.woven and scope.width > 1:
            element = encode(
                self.nest.accesses[access].dtype, self._lanes_of(scope, value, scope.width), self.target.half
            )
            self._unwritten.setdefault(access, []).append(element)
            return
        super()._write(scope, access, value, indices, how)
