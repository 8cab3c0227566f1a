"""Writes the kernels that find where a mask is set; `kernels/positions.py` describes them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..kernels.dtypes import KINDS
from ..kernels.positions import PARAMETERS, WORD, PositionsKernel
from ..kernels.target import HostTarget
from .flow import I64, i64
from .kernel_emitter import KernelEmitter
from .vector import ELEMENT

_BYTE = ir.IntType(8)


class _PositionsEmitter(KernelEmitter):
    def __init__(self, spec: PositionsKernel, target: HostTarget):
        super().__init__(target, ("mask", "counts", "out", "total") if spec.writes else ("mask", "counts"), PARAMETERS)
        self.spec = spec
        self.position = ELEMENT[KINDS[spec.positions][0]]

    def tile(self, tile: ir.Value) -> tuple[()]:
        first = self.mul(tile, self.param["tile"])
        last = self.minimum(self.sum(first, self.param["tile"]), self.param["length"])
        whole = self.sum(first, self.at.and_(self.at.sub(last, first), i64(-WORD)))
        carry = [self._before(tile)]

        def word(place: ir.Value, carry: list[Any]) -> list[ir.Value]:
            return [self._take(carry[0], place, self._bits(place))]

        def bit(place: ir.Value, carry: list[Any]) -> list[ir.Value]:
            return [self._take(carry[0], place, self.at.zext(self._is_set(place, 1), I64))]

        carry = self.loop(first, whole, WORD, word, carry)
        (end,) = self.loop(whole, last, 1, bit, carry)
        if not self.spec.writes:
            self._put(end, self.buffers["counts"], tile)
            return ()
        is_last = self.at.icmp_signed("==", last, self.param["length"])

        def note() -> list[ir.Value]:
            self._put(end, self.buffers["total"], i64(0))
            return []

        self.choose(is_last, note, list)
        return ()

    def _before(self, tile: ir.Value) -> ir.Value:
        """How many elements are set in the tiles before this one."""
        if not self.spec.writes:
            return i64(0)

        def add(place: ir.Value, carry: list[Any]) -> list[ir.Value]:
            address = self.at.gep(self.buffers["counts"], [place], source_etype=I64)
            return [self.at.add(carry[0], self.at.load(address, typ=I64))]

        (count,) = self.loop(i64(0), tile, 1, add, [i64(0)])
        return count

    def _is_set(self, place: ir.Value, lanes: int) -> ir.Value:
        type = _BYTE if lanes == 1 else ir.VectorType(_BYTE, lanes)
        address = self.at.gep(self.buffers["mask"], [place], source_etype=_BYTE)
        value = self.at.load(address, align=1, typ=type)
        return self.at.icmp_unsigned("!=", value, ir.Constant(type, 0 if lanes == 1 else [0] * lanes))

    def _bits(self, place: ir.Value) -> ir.Value:
        """The word of the elements that begin at a place."""
        return self.at.bitcast(self._is_set(place, WORD), I64)

    def _take(self, count: ir.Value, place: ir.Value, bits: ir.Value) -> ir.Value:
        """Write the positions of a word after the `count` that are there; returns the new count."""
        popcount = self.intrinsic("llvm.ctpop.i64", I64, [I64])
        end = self.at.add(count, self.at.call(popcount, [bits]))
        if self.spec.writes:
            all_set = self.at.icmp_signed("==", bits, i64(-1))
            self.choose(all_set, lambda: self._run(count, place), lambda: self._each(count, end, place, bits))
        return end

    def _run(self, count: ir.Value, place: ir.Value) -> list[ir.Value]:
        """Write running numbers."""
        type = ir.VectorType(self.position, self.spec.lanes)
        start = ir.Constant(type, ir.Undefined)
        for lane in range(self.spec.lanes):
            start = self.at.insert_element(start, self._as_position(place), ir.Constant(ir.IntType(32), lane))
        for first in range(0, WORD, self.spec.lanes):
            steps = ir.Constant(type, list(range(first, first + self.spec.lanes)))
            address = self.at.gep(self.buffers["out"], [self.sum(count, first)], source_etype=self.position)
            self.at.store(self.at.add(start, steps), address, align=self.position.width // 8)
        return []

    def _each(self, count: ir.Value, end: ir.Value, place: ir.Value, bits: ir.Value) -> list[ir.Value]:
        """Take the bits one by one."""
        trailing = self.intrinsic("llvm.cttz.i64", I64, [I64, ir.IntType(1)])

        def one(number: ir.Value, carry: list[Any]) -> list[ir.Value]:
            (left,) = carry
            lowest = self.at.call(trailing, [left, ir.Constant(ir.IntType(1), 1)])
            self._put(self._as_position(self.at.add(place, lowest)), self.buffers["out"], number)
            return [self.at.and_(left, self.at.sub(left, i64(1)))]

        self.loop(count, end, 1, one, [bits])
        return []

    def _as_position(self, number: ir.Value) -> ir.Value:
        return number if self.position == I64 else self.at.trunc(number, self.position)

    def _put(self, value: ir.Value, base: ir.Value, place: ir.Value) -> None:
        self.at.store(value, self.at.gep(base, [place], source_etype=value.type))


def emit(kernel: PositionsKernel, target: HostTarget) -> str:
    """LLVM IR text of the kernel."""
    return _PositionsEmitter(kernel, target).text()
