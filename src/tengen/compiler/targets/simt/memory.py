"""Loads and stores of a thread: single elements and vectors of neighbours. A condition is a branch around the access."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import replace

from llvmlite import ir

from ...kernels.dtypes import BITS
from ...kernels.nest import is_number
from ..flow import I64, i64
from ..nests.memory import AccessOperand, AccessPlace, Memory, Scope
from ..vector import ELEMENT, Vec, constant, llvm_type
from .machine import I32, DeviceFlow


def short(at: ir.IRBuilder, number: ir.Value) -> ir.Value:
    """The lower half of an i64."""
    return ir.Constant(I32, number.constant) if isinstance(number, ir.Constant) else at.trunc(number, I32)


class ThreadMemory(Memory):
    """Emits the memory instructions of one kernel of a GPU. width: elements of a vector. wide: offsets have 64 bits, in
    place of 32.

    Where a vector's address is no multiple of its size, its elements are loaded one by one. That is known for all
    vectors of an operand when the kernel begins.
    """

    flow: DeviceFlow

    def __init__(self, flow: DeviceFlow, lane: int, kept: int, width: int, wide: bool, status: ir.Value | None):
        super().__init__(flow, lane, True, status)
        self.kept, self.width, self.wide = kept, width, wide
        self._whole: dict[ir.Value, ir.Value] = {}

    def enter(
        self,
        scope: Scope,
        operands: Sequence[AccessOperand],
        dim: int,
        index: ir.Value,
        wanted: Container[int] | None = None,
    ) -> Scope:
        inner = super().enter(scope, operands, dim, index, wanted)
        return replace(inner, mask=None) if dim >= self.kept else inner  # threads without an item run no such loop

    def offset_factors(self, operand: AccessOperand, index: ir.Value, stride: ir.Value) -> tuple[ir.Value, ir.Value]:
        if self.wide or is_number(operand.access):
            return index, stride
        return short(self.at, index), short(self.at, stride)

    def further(self, offset: ir.Value, elements: ir.Value) -> ir.Value:
        return super().further(offset if offset.type == I64 else self.at.sext(offset, I64), elements)

    def look_at(self, operands: Sequence[AccessOperand]) -> None:
        """Find, where the kernel begins, which operands have vectors at multiples of their size."""
        for operand in operands if self.width > 1 else ():
            access = operand.access
            if not is_number(access) and access.steps[self.lane] == "1":
                bits = self.at.ptrtoint(operand.buffer, I32)  # the lowest are enough
                size = BITS[operand.kind] // 8
                further = [stride for stride, _ in operand.indirect]
                for stride in [*(s for d, s in operand.strides.items() if d != self.lane), *further]:
                    bits = self.at.or_(bits, self.at.mul(short(self.at, stride), ir.Constant(I32, size)))
                rest = self.at.and_(bits, ir.Constant(I32, size * self.width - 1))
                self._whole[operand.buffer] = self.at.icmp_signed("==", rest, ir.Constant(I32, 0))

    def set_status(self, number: ir.Value) -> None:
        self.flow.raise_to(self.status, number)

    # -- bits --------------------------------------------------------------------------------------------------------

    def read_raw(self, place: AccessPlace) -> Vec:
        """The bits there; zeros where a condition fails."""
        kind, lanes = place.operand.kind, place.lanes
        zero = constant(0, kind, lanes)
        value = self._if(place.allowed, lambda: self._load(place), lambda: zero)
        return Vec(self.at, value, kind, lanes)

    def write_raw(self, place: AccessPlace, raw: Vec) -> None:
        """Store bits where the conditions hold."""
        if place.allowed is None:
            self._store(place, raw)
        else:
            with self.at.if_then(place.allowed.value):
                self._store(place, raw)

    def write_at_once(self, place: AccessPlace, raw: Vec, how: str) -> None:
        start = self._start(place)

        def write() -> None:
            for lane in range(raw.lanes):
                one = raw.value if raw.lanes == 1 else self.at.extract_element(raw.value, ir.Constant(I32, lane))
                where = self._beyond(start, raw.kind, lane)
                if place.operand.access.dtype == "bool":
                    with self.at.if_then(self.at.icmp_signed("!=", one, ir.Constant(one.type, 0))):
                        self.flow.set_byte(where)
                elif how == "greatest":
                    self.flow.raise_to(where, one)
                else:
                    self.flow.add(where, one)

        if place.allowed is None:
            write()
        else:
            with self.at.if_then(place.allowed.value):
                write()

    def _load(self, place: AccessPlace) -> ir.Value:
        kind, lanes, size = place.operand.kind, place.lanes, BITS[place.operand.kind] // 8
        start = self._start(place)
        if lanes == 1:
            return self.at.load(start, align=size, typ=ELEMENT[kind])

        def single() -> ir.Value:
            result = ir.Constant(llvm_type(kind, lanes), ir.Undefined)
            for lane in range(lanes):
                element = self.at.load(self._beyond(start, kind, lane), align=size, typ=ELEMENT[kind])
                result = self.at.insert_element(result, element, ir.Constant(I32, lane))
            return result

        def vector() -> ir.Value:
            return self.at.load(start, align=size * lanes, typ=llvm_type(kind, lanes))

        return self._if(self._is_whole(place), vector, single)

    def _store(self, place: AccessPlace, raw: Vec) -> None:
        kind, lanes, size = raw.kind, place.lanes, BITS[raw.kind] // 8
        start = self._start(place)
        if lanes == 1:
            self.at.store(raw.value, start, align=size)
            return
        with self.at.if_else(self._is_whole(place).value) as (whole, single):
            with whole:
                self.at.store(raw.value, start, align=size * lanes)
            with single:
                for lane in range(lanes):
                    element = self.at.extract_element(raw.value, ir.Constant(I32, lane))
                    self.at.store(element, self._beyond(start, kind, lane), align=size)

    def _start(self, place: AccessPlace) -> ir.Value:
        assert place.jumps is None and place.mask is None, "a thread has no vectors of lanes that jump"
        return self.at.gep(place.operand.buffer, [place.offset], source_etype=ELEMENT[place.operand.kind])

    def _beyond(self, start: ir.Value, kind: str, elements: int) -> ir.Value:
        return self.at.gep(start, [i64(elements)], source_etype=ELEMENT[kind]) if elements else start

    def _is_whole(self, place: AccessPlace) -> Vec:
        return Vec(self.at, self._whole[place.operand.buffer], "bool", 1)

    def _if(self, condition: Vec | None, yes: Callable[[], ir.Value], no: Callable[[], ir.Value]) -> ir.Value:
        """The value of `yes()` where the condition holds or is None, otherwise that of `no()`."""
        return yes() if condition is None else self.flow.choose(condition.value, lambda: [yes()], lambda: [no()])[0]
