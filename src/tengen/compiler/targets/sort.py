"""Writes the kernels that sort rows; `kernels/sort.py` describes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir

from ..kernels.dtypes import BITS, KINDS
from ..kernels.sort import MOST_INSERTED, PARAMETERS, SHARE, SPARE, STRETCH, SortKernel, key_bytes
from ..kernels.target import HostTarget
from .flow import I64, PTR, i64
from .kernel_emitter import KernelEmitter
from .vector import ELEMENT, Vec, is_float


class _SortEmitter(KernelEmitter):
    """The rows of a tile, and the form of keys."""

    def __init__(self, spec: SortKernel, target: HostTarget):
        super().__init__(target, ("x", "out") if spec.insertion else ("x", "out", "scratch"), PARAMETERS)
        self.spec = spec
        self.bits = 8 * key_bytes(spec.dtype)
        self.key_type = ir.IntType(self.bits)
        self.index_type = ELEMENT[KINDS[spec.positions][0]]

    def tile(self, tile: ir.Value) -> tuple[()]:
        first = self.mul(tile, self.param["tile_rows"])
        last = self.minimum(self.sum(first, self.param["tile_rows"]), self.param["rows"])

        def body(row: ir.Value, _: list[Any]) -> tuple[()]:
            x = self.element(self.buffers["x"], self.spec.dtype, self.mul(row, self.param["length"]))
            out = self.element(self.buffers["out"], self.spec.positions, self.mul(row, self.param["k"]))
            self.row(tile, x, out)
            return ()

        self.loop(first, last, 1, body)
        return ()

    def row(self, tile: ir.Value, x: ir.Value, out: ir.Value) -> None:
        raise NotImplementedError

    def keys(self, x: ir.Value, place: ir.Value, lanes: int) -> ir.Value:
        """The keys of neighbouring elements."""
        v = self.load(self.element(x, self.spec.dtype, place), self.spec.dtype, lanes)
        if is_float(v.kind):
            kind = f"i{BITS[v.kind]}"
            bits = (v + 0.0).bitcast(kind)  # -0 becomes 0
            top = -(1 << self.bits - 1)
            key = bits ^ (bits.ashr(self.bits - 1) | top)
            key = v.is_nan().where(v.const(-1, kind), key)
        else:
            v = v.to("i32", unsigned=True) if v.kind == "bool" else v
            key = v ^ -(1 << self.bits - 1)
        return (key ^ -1).value if self.spec.descending else key.value

    def spread(self, key: ir.Value, lanes: int) -> ir.Value:
        """The key in each lane."""
        made = ir.Constant(ir.VectorType(key.type, lanes), ir.Undefined)
        for lane in range(lanes):
            made = self.at.insert_element(made, key, ir.Constant(ir.IntType(32), lane))
        return made

    # -- memory by type --------------------------------------------------------------------------------------------

    def get(self, base: ir.Value, place: ir.Value, type: ir.Type) -> ir.Value:
        return self.at.load(self.at.gep(base, [place], source_etype=type), typ=type)

    def put(self, value: ir.Value, base: ir.Value, place: ir.Value) -> None:
        self.at.store(value, self.at.gep(base, [place], source_etype=value.type))

    def index(self, number: ir.Value) -> ir.Value:
        """An int64 in the dtype in which positions are stored."""
        return number if self.index_type == I64 else self.at.trunc(number, self.index_type)


class _Insertion(_SortEmitter):
    def row(self, tile: ir.Value, x: ir.Value, out: ir.Value) -> None:
        best = self.reserve(self.key_type, MOST_INSERTED, "best")
        k, length, lanes = self.param["k"], self.param["length"], self.spec.lanes
        last = self.at.sub(k, i64(1))

        def begin(place: ir.Value, _: list[Any]) -> tuple[()]:
            self._insert(best, out, self.keys(x, place, 1), place, place)
            return ()

        def one(place: ir.Value, carry: list[Any]) -> list[ir.Value]:
            key = self.keys(x, place, 1)

            def enters() -> list[ir.Value]:
                self._insert(best, out, key, place, last)
                return [self.get(best, last, self.key_type)]

            return self.choose(self.at.icmp_unsigned("<", key, carry[0]), enters, lambda: [carry[0]])

        def group(place: ir.Value, carry: list[Any]) -> list[ir.Value]:
            keys, (worst,) = self.keys(x, place, lanes), carry
            better = Vec(self.at, self.at.icmp_unsigned("<", keys, self.spread(worst, lanes)), "bool", lanes).any()
            return self.choose(better, lambda: self.loop(place, self.sum(place, lanes), 1, one, carry), lambda: [worst])

        self.loop(i64(0), k, 1, begin)
        worst = self.get(best, last, self.key_type)
        middle = self.at.sub(length, self.at.urem(self.at.sub(length, k), i64(lanes)))
        (worst,) = self.loop(k, middle, lanes, group, [worst])
        self.loop(middle, length, 1, one, [worst])

    def _insert(self, best: ir.Value, out: ir.Value, key: ir.Value, position: ir.Value, free: ir.Value) -> None:
        """Insert a key and its position after all keys that are not above it. `free`: the place whose old content is
        dropped."""

        def moves(place: ir.Value) -> ir.Value:
            """Whether the key before this place is above the new one."""
            before = self.at.sub(place, i64(1))
            there = self.at.icmp_signed(">", place, i64(0))
            (above,) = self.choose(
                there,
                lambda: [self.at.icmp_unsigned(">", self.get(best, before, self.key_type), key)],
                lambda: [ir.Constant(ir.IntType(1), 0)],
            )
            return above

        def move(place: ir.Value) -> ir.Value:
            before = self.at.sub(place, i64(1))
            self.put(self.get(best, before, self.key_type), best, place)
            self.put(self.get(out, before, self.index_type), out, place)
            return before

        place = self._while(free, moves, move)
        self.put(key, best, place)
        self.put(self.index(position), out, place)

    def _while(
        self, start: ir.Value, condition: Callable[[ir.Value], ir.Value], body: Callable[[ir.Value], ir.Value]
    ) -> ir.Value:
        before = self.at.block
        test, inside, after = (self.function.append_basic_block(name) for name in ("while", "do", "done"))
        self.at.branch(test)
        self.at.position_at_end(test)
        value = self.at.phi(start.type)
        value.add_incoming(start, before)
        self.at.cbranch(condition(value), inside, after)
        self.at.position_at_end(inside)
        following = body(value)
        value.add_incoming(following, self.at.block)
        self.at.branch(test)
        self.at.position_at_end(after)
        return value


class _Radix(_SortEmitter):
    @property
    def bins(self) -> int:
        return 1 << self.spec.digit

    @property
    def shifts(self) -> range:
        """Where the digits begin, the lowest first."""
        return range(0, self.bits, self.spec.digit)

    def row(self, tile: ir.Value, x: ir.Value, out: ir.Value) -> None:
        counts = self.reserve(I64, self.bins * len(self.shifts), "counts")
        length = self.param["length"]
        base = self.element(self.buffers["scratch"], "int8", self.mul(tile, self.param["tile_scratch"]))
        keys, other_keys = base, self.at.gep(base, [length], source_etype=self.key_type)
        places = self.at.gep(other_keys, [length], source_etype=self.key_type)
        other_places = self.at.gep(places, [length], source_etype=self.index_type)
        ends = [keys, places, other_keys, other_places]
        if self.spec.whole:
            self._all(x, keys, places, counts)
            ends = self._sorted(ends, length, counts)
        else:
            self._best(x, ends, counts)

        def write(place: ir.Value, _: list[Any]) -> tuple[()]:
            self.put(self.get(ends[1], place, self.index_type), out, place)
            return ()

        self.loop(i64(0), self.param["k"], 1, write)

    def _sorted(self, ends: list[ir.Value], kept: ir.Value, counts: ir.Value) -> list[ir.Value]:
        """Sort the first keys, whose digits are counted, with their positions; returns the ends with the sorted ones first."""
        for number, shift in enumerate(self.shifts):
            bins = self._bins(counts, number)
            first = self._digit(self.get(ends[0], i64(0), self.key_type), shift)  # the set of keys stays the same
            alike = self.at.icmp_signed("==", self.get(bins, first, I64), kept)
            ends = self.choose(alike, partial(list, ends), partial(self._pass, ends, kept, bins, shift))
        return ends

    def _bins(self, counts: ir.Value, number: int) -> ir.Value:
        return self.at.gep(counts, [i64(number * self.bins)], source_etype=I64)

    def _digit(self, key: ir.Value, shift: int) -> ir.Value:
        digit = self.at.and_(
            self.at.lshr(key, ir.Constant(self.key_type, shift)), ir.Constant(self.key_type, self.bins - 1)
        )
        return digit if self.bits == 64 else self.at.zext(digit, I64)

    def _clear(self, counts: ir.Value, number: int) -> None:
        fill = self.intrinsic("llvm.memset.p0.i64", ir.VoidType(), [PTR, ir.IntType(8), I64, ir.IntType(1)])
        self.at.call(fill, [counts, ir.Constant(ir.IntType(8), 0), i64(number * 8), ir.Constant(ir.IntType(1), 0)])

    def _add(self, bins: ir.Value, digit: ir.Value) -> None:
        self.put(self.at.add(self.get(bins, digit, I64), i64(1)), bins, digit)

    def _all(self, x: ir.Value, keys: ir.Value, places: ir.Value, counts: ir.Value) -> None:
        """Write all keys, with their positions, and count their digits."""
        self._clear(counts, self.bins * len(self.shifts))

        def note(place: ir.Value, _: list[Any]) -> tuple[()]:
            key = self.keys(x, place, 1)
            self.put(key, keys, place)
            self.put(self.index(place), places, place)
            self._add_digits(key, counts)
            return ()

        self.loop(i64(0), self.param["length"], 1, note)

    def _add_digits(self, key: ir.Value, counts: ir.Value) -> None:
        for number, shift in enumerate(self.shifts):
            self._add(self._bins(counts, number), self._digit(key, shift))

    def _best(self, x: ir.Value, ends: list[ir.Value], counts: ir.Value) -> None:
        """Sort the first k keys, with their positions, into the first two of `ends`.

        Candidates are collected until there are several times k. Then all but the best k are dropped, and from there on
        only what is below the last of these becomes one.
        """
        (keys, places, *_), (length, k) = ends, (self.param[name] for name in ("length", "k"))
        none = ir.Constant(self.key_type, -1)
        most = self.sum(self.mul(k, SPARE), self.at.udiv(length, i64(SHARE)))

        def drop(count: ir.Value) -> list[ir.Value]:
            self._count(keys, count, counts)
            best = self._sorted(ends, count, counts)

            def back(place: ir.Value, _: list[Any]) -> tuple[()]:
                self.put(self.get(best[0], place, self.key_type), keys, place)
                self.put(self.get(best[1], place, self.index_type), places, place)
                return ()

            self.loop(i64(0), self.minimum(count, k), 1, back)
            # If the last one is 0, nothing is below it; then the limit is that of the beginning, which is right, too.
            last = self.get(keys, self.at.sub(k, i64(1)), self.key_type)
            return [self.minimum(count, k), self.at.sub(last, ir.Constant(self.key_type, 1))]

        def stretch(start: ir.Value, carry: list[Any]) -> list[ir.Value]:
            end = self.minimum(self.sum(start, STRETCH), length)
            count, limit = self._collect(x, ends, (start, end), carry)
            many = self.at.icmp_signed(">=", count, most)
            drops = self.at.or_(many, self.at.icmp_signed("==", end, length))
            return self.choose(drops, lambda: drop(count), lambda: [count, limit])

        self.loop(i64(0), length, STRETCH, stretch, [i64(0), none])

    def _collect(
        self, x: ir.Value, ends: list[ir.Value], stretch: tuple[ir.Value, ir.Value], carry: list[Any]
    ) -> list[ir.Value]:
        """Append those keys of a stretch of the row that are not above the limit, with their positions. carry: the
        number of candidates, and the limit."""
        (keys, places, *_), (start, end), (count, limit), lanes = ends, stretch, carry, self.spec.lanes

        def one(place: ir.Value, carry: list[Any]) -> list[ir.Value]:
            key = self.keys(x, place, 1)
            self.put(key, keys, carry[0])
            self.put(self.index(place), places, carry[0])
            return [self.at.add(carry[0], self.at.zext(self.at.icmp_unsigned("<=", key, limit), I64))]

        def group(place: ir.Value, carry: list[Any]) -> list[ir.Value]:
            found = self.keys(x, place, lanes)
            better = self.at.icmp_unsigned("<=", found, self.spread(limit, lanes))
            return self.choose(
                Vec(self.at, better, "bool", lanes).any(),
                lambda: self.loop(place, self.sum(place, lanes), 1, one, carry),
                lambda: carry,
            )

        middle = self.at.sub(end, self.at.urem(self.at.sub(end, start), i64(lanes)))
        (count,) = self.loop(start, middle, lanes, group, [count])
        (count,) = self.loop(middle, end, 1, one, [count])
        return [count, limit]

    def _count(self, keys: ir.Value, kept: ir.Value, counts: ir.Value) -> None:
        """How often each digit occurs."""
        self._clear(counts, self.bins * len(self.shifts))

        def note(place: ir.Value, _: list[Any]) -> tuple[()]:
            self._add_digits(self.get(keys, place, self.key_type), counts)
            return ()

        self.loop(i64(0), kept, 1, note)

    def _pass(self, ends: list[ir.Value], kept: ir.Value, bins: ir.Value, shift: int) -> list[ir.Value]:
        """Sort by one digit, from the first two of `ends` into the other two; returns the ends with these two first."""
        keys, places, other_keys, other_places = ends

        def begin(bin: ir.Value, carry: list[Any]) -> list[ir.Value]:
            count = self.get(bins, bin, I64)
            self.put(carry[0], bins, bin)
            return [self.at.add(carry[0], count)]

        def move(place: ir.Value, _: list[Any]) -> tuple[()]:
            key = self.get(keys, place, self.key_type)
            digit = self._digit(key, shift)
            target = self.get(bins, digit, I64)
            self.put(self.at.add(target, i64(1)), bins, digit)
            self.put(key, other_keys, target)
            self.put(self.get(places, place, self.index_type), other_places, target)
            return ()

        self.loop(i64(0), i64(self.bins), 1, begin, [i64(0)])
        self.loop(i64(0), kept, 1, move)
        return [other_keys, other_places, keys, places]


def emit(kernel: SortKernel, target: HostTarget) -> str:
    """LLVM IR text of the kernel."""
    return (_Insertion if kernel.insertion else _Radix)(kernel, target).text()
