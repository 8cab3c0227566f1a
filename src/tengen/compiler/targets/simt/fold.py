"""Folds and scans over the threads of a group: exchanges within a warp, then one round through shared memory."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from ...kernels.device import WARP
from ...kernels.dtypes import BITS
from ...kernels.nest import Instr
from ...kernels.nest_threads import BLOCK
from ..flow import I64, i64
from ..nests import fold as nest_fold
from ..nests.fold import Accumulator
from ..vector import ELEMENT, Vec
from .machine import I32, DeviceFlow

DISTANCES = (16, 8, 4, 2, 1)


class ThreadGroup:
    """The threads that compute one item together.

    along x: `size` threads, a power of 2, with consecutive numbers `mine`. along y: the threads of a column of the
    block, whose numbers are `mine`. In the latter case the block is one column after the other in memory.
    """

    def __init__(self, machine: DeviceFlow, axis: str):
        self.machine, self.at, self.axis = machine, machine.at, axis
        self.mine, self.size = machine.thread(axis), machine.threads(axis)

    # -- folds -------------------------------------------------------------------------------------------------------

    def fold(self, instr: Instr, accumulator: Accumulator) -> Accumulator:
        """The fold over all threads of the group, in each of them."""
        if self.axis == "y":
            return self._if_larger(1, accumulator, lambda: self._column(instr, accumulator))
        accumulator = self._butterfly(instr, accumulator)
        return self._if_larger(WARP, accumulator, lambda: self._warps(instr, accumulator))

    def _butterfly(self, instr: Instr, accumulator: Accumulator) -> Accumulator:
        for distance in DISTANCES:
            other = tuple(self._exchanged(v, distance) for v in accumulator)
            joined = nest_fold.combine(str(instr.attr), accumulator, other)
            accumulator = self._where(self.is_larger(distance), joined, accumulator)
        return accumulator

    def _warps(self, instr: Instr, accumulator: Accumulator) -> Accumulator:
        """Of a group of several warps, each of which has its own fold."""
        lane = self.at.and_(self.mine, _i32(WARP - 1))
        first = self._put(accumulator, WARP, lane)
        there = Vec(self.at, self.at.icmp_unsigned("<", lane, self._warp_count()), "bool", 1)
        parts = self._get(accumulator, WARP, self.at.add(first, self.at.select(there.value, lane, _i32(0))))
        neutral = nest_fold.identity(self.at, instr, tuple(v.kind for v in accumulator), 1)
        whole = self._butterfly_of_warps(instr, self._where(there, parts, neutral))
        self.machine.barrier()
        return whole

    def _butterfly_of_warps(self, instr: Instr, parts: Accumulator) -> Accumulator:
        for distance in DISTANCES:
            other = tuple(self._exchanged(v, distance) for v in parts)
            parts = nest_fold.combine(str(instr.attr), parts, other)
        return parts

    def _column(self, instr: Instr, accumulator: Accumulator) -> Accumulator:
        """Of a column: each thread adds what all have left in shared memory, in order."""
        machine, at = self.machine, self.at
        width = machine.threads("x")
        own = at.add(at.mul(self.mine, width), machine.thread("x"))
        for part, v in enumerate(accumulator):
            at.store(_stored(v), self._slot(v.kind, part, BLOCK, own))
        machine.barrier()

        def add(row: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            before = tuple(Vec(at, c, v.kind, 1) for c, v in zip(carried, accumulator, strict=True))
            where = at.add(at.mul(at.trunc(row, I32), width), machine.thread("x"))
            following = self._get(accumulator, BLOCK, where)
            return nest_fold.flat([nest_fold.combine(str(instr.attr), before, following)])

        first = self._get(accumulator, BLOCK, machine.thread("x"))
        whole = machine.loop(i64(1), at.zext(self.size, I64), 1, add, nest_fold.flat([first]))
        machine.barrier()
        return tuple(Vec(at, w, v.kind, 1) for w, v in zip(whole, accumulator, strict=True))

    # -- scans -------------------------------------------------------------------------------------------------------

    def scan(self, instr: Instr, value: Vec) -> tuple[Vec, Vec]:
        """The value folded with those of the threads before, and the fold of all."""
        monoid, at = str(instr.attr), self.at
        prefix = total = value
        for distance in reversed(DISTANCES):
            other, larger = self._exchanged(total, distance), self.is_larger(distance)
            upper = Vec(at, at.icmp_signed("!=", at.and_(self.mine, _i32(distance)), _i32(0)), "bool", 1)
            (below,), (above,) = (
                nest_fold.combine(monoid, (other,), (prefix,)),
                nest_fold.combine(monoid, (total,), (other,)),
            )
            (joined,) = nest_fold.combine(monoid, (other,), (total,))
            prefix = (upper & larger).where(below, prefix)
            total = larger.where(upper.where(joined, above), total)
        return self._if_larger(WARP, (prefix, total), lambda: self._scan_warps(instr, prefix, total))  # type: ignore[return-value]

    def _scan_warps(self, instr: Instr, prefix: Vec, total: Vec) -> Accumulator:
        at, monoid = self.at, str(instr.attr)
        first = self._put((total,), WARP, at.and_(self.mine, _i32(WARP - 1)))
        own = at.zext(at.lshr(self.mine, _i32(5)), I64)
        (neutral,) = nest_fold.identity(at, instr, (total.kind,), 1)

        def add(warp: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            before, whole = (Vec(at, c, total.kind, 1) for c in carried)
            (part,) = self._get((total,), WARP, at.add(first, at.trunc(warp, I32)))
            earlier = Vec(at, at.icmp_signed("<", warp, own), "bool", 1)
            (longer,), (joined,) = (
                nest_fold.combine(monoid, (before,), (part,)),
                nest_fold.combine(monoid, (whole,), (part,)),
            )
            return [earlier.where(longer, before).value, joined.value]

        count = at.zext(self._warp_count(), I64)
        before, whole = self.machine.loop(i64(0), count, 1, add, [neutral.value, neutral.value])
        self.machine.barrier()
        (prefix,) = nest_fold.combine(monoid, (Vec(at, before, total.kind, 1),), (prefix,))
        return prefix, Vec(at, whole, total.kind, 1)

    # -- warps -------------------------------------------------------------------------------------------------------

    def _warp_count(self) -> ir.Value:
        return self.at.lshr(self.size, _i32(5))

    def _put(self, accumulator: Accumulator, room: int, lane: ir.Value) -> ir.Value:
        """Leave the folds of warps in shared memory, and wait for all. Returns the place of the group's first."""
        at, machine = self.at, self.machine
        first = at.mul(machine.thread("y"), self._warp_count())
        with at.if_then(at.icmp_signed("==", lane, _i32(0))):
            own = at.add(first, at.lshr(self.mine, _i32(5)))
            for part, v in enumerate(accumulator):
                at.store(_stored(v), self._slot(v.kind, part, room, own))
        machine.barrier()
        return first

    def _get(self, like: Accumulator, room: int, place: ir.Value) -> Accumulator:
        found = []
        for part, v in enumerate(like):
            raw = self.at.load(self._slot(v.kind, part, room, place), typ=_in_memory(v.kind))
            found.append(Vec(self.at, raw, "i8", 1).ne(0) if v.kind == "bool" else Vec(self.at, raw, v.kind, 1))
        return tuple(found)

    def _slot(self, kind: str, part: int, room: int, place: ir.Value) -> ir.Value:
        memory = self.machine.shared(f"fold_{kind}_{part}", _in_memory(kind), room)
        return self.at.gep(memory, [_i32(0), place])

    def _exchanged(self, v: Vec, distance: int) -> Vec:
        """The value of the thread at this distance in the warp."""
        at = self.at
        if v.kind == "bool":
            return Vec(at, self.machine.exchange(at.zext(v.value, I32), distance), "i32", 1).ne(0)
        if BITS[v.kind] == 32:
            bits = v if v.kind == "i32" else v.bitcast("i32")
            got = Vec(at, self.machine.exchange(bits.value, distance), "i32", 1)
            return got if v.kind == "i32" else got.bitcast(v.kind)
        bits = v if v.kind == "i64" else v.bitcast("i64")
        low, high = bits.to("i32"), bits.lshr(32).to("i32")
        halves = (
            Vec(at, self.machine.exchange(x.value, distance), "i32", 1).to("i64", unsigned=True) for x in (low, high)
        )
        whole = next(halves) | next(halves).shl(32)
        return whole if v.kind == "i64" else whole.bitcast(v.kind)

    # -- choices -----------------------------------------------------------------------------------------------------

    def is_larger(self, count: int) -> Vec:
        """Whether the group has more than so many threads: the same for all threads of a launch."""
        return Vec(self.at, self.at.icmp_unsigned(">", self.size, _i32(count)), "bool", 1)

    def _where(self, condition: Vec, yes: Accumulator, no: Accumulator) -> Accumulator:
        return tuple(condition.where(a, b) for a, b in zip(yes, no, strict=True))

    def _if_larger(self, count: int, small: Accumulator, emit: Callable[[], Accumulator]) -> Accumulator:
        """`small`, or what `emit` gives for a group of more threads."""
        larger = self.is_larger(count).value
        found = self.machine.choose(larger, lambda: nest_fold.flat([emit()]), lambda: nest_fold.flat([small]))
        return tuple(v.like(value) for v, value in zip(small, found, strict=True))


def _i32(number: int) -> ir.Constant:
    return ir.Constant(I32, number)


def _in_memory(kind: str) -> ir.Type:
    return ELEMENT["i8" if kind == "bool" else kind]


def _stored(v: Vec) -> ir.Value:
    return v.to("i8").value if v.kind == "bool" else v.value
