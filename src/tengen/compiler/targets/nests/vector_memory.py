"""Loads and stores of a CPU.

If a condition concerns a whole vector or a single element, a harmless address replaces the forbidden one, which needs
no branch. If it differs between lanes, it becomes a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llvmlite import ir

from ...kernels.dtypes import BITS
from ...kernels.target import HostTarget
from ..flow import I64, Flow, i64
from ..storage import decode, encode
from ..vector import ELEMENT, Vec, constant, llvm_type, splat
from . import interleave
from .memory import AccessOperand, AccessPlace, Memory, conjunction, summed

I32, PTR = ir.IntType(32), ir.PointerType()
LINE = 64  # bytes that enter a cache together
WIDEST = 128  # lanes, of which only every second one may count


class VectorMemory(Memory):
    """Emits the memory instructions of one kernel of a CPU."""

    def __init__(self, flow: Flow, lane: int, target: HostTarget, status: ir.Value | None):
        super().__init__(flow, lane, target.half, status)
        self.target = target
        self._discard: ir.Value | None = None

    def takes_every_second(self, operand: AccessOperand) -> bool:
        return BITS[operand.kind] in self.target.masked

    # -- reading -----------------------------------------------------------------------------------------------------

    def read_raw(self, place: AccessPlace) -> Vec:
        kind, lanes, size = place.operand.kind, place.lanes, BITS[place.operand.kind] // 8
        if place.jumps is not None or (place.mask is not None and size * 8 not in self.target.masked):
            return self._raw_single(place)
        pointer = self._pointer(place, self._nothing)
        if place.apart:
            mask, zero = self._every_second(place), constant(0, kind, 2 * lanes)
            args = [pointer, ir.Constant(I32, size), mask, zero]
            both = self._masked("load", kind, 2 * lanes, zero.type, args).value
            return Vec(self.at, self._shuffled(both, range(0, 2 * lanes, 2)), kind, lanes)
        if place.mask is None:
            return Vec(self.at, self.at.load(pointer, align=size, typ=llvm_type(kind, lanes)), kind, lanes)
        zero = constant(0, kind, lanes)
        return self._masked("load", kind, lanes, zero.type, [pointer, ir.Constant(I32, size), place.mask.value, zero])

    def read_apart(self, places: Sequence[AccessPlace]) -> list[Vec]:
        """The elements of consecutive vectors as numbers. Of n vectors, the i-th result has every n-th element from the
        i-th on."""
        dtype = places[0].operand.access.dtype
        apart = interleave.take_apart([self.read_raw(place) for place in places])
        return [decode(dtype, raw, self.half) for raw in apart]

    def _raw_single(self, place: AccessPlace) -> Vec:
        """Lane by lane."""
        kind, lanes, size = place.operand.kind, place.lanes, BITS[place.operand.kind] // 8
        addresses, mask = self._addresses(place)
        if size * 8 in self.target.gathered:
            pointers = self.at.inttoptr(addresses.value, ir.VectorType(PTR, lanes))
            inside = mask.value if mask is not None else constant(True, "bool", lanes)
            zero = constant(0, kind, lanes)
            return self._masked("gather", kind, lanes, zero.type, [pointers, ir.Constant(I32, size), inside, zero])
        if mask is not None:
            addresses = mask.where(addresses, splat(self.at, self.at.ptrtoint(self._nothing(), I64), "i64", lanes))
        result: Any = ir.Constant(llvm_type(kind, lanes), ir.Undefined)
        for lane in range(lanes):
            pointer = self.at.inttoptr(self.at.extract_element(addresses.value, ir.Constant(I32, lane)), PTR)
            element = self.at.load(pointer, align=size, typ=ELEMENT[kind])
            result = self.at.insert_element(result, element, ir.Constant(I32, lane))
        return Vec(self.at, result, kind, lanes)

    def ask(self, operand: AccessOperand, offset: ir.Value, lanes: int) -> None:
        """Prefetch this many neighbours. They need not exist."""
        module = self.flow.module
        signature = ir.FunctionType(ir.VoidType(), [PTR, I32, I32, I32])
        prefetch = module.globals.get("llvm.prefetch.p0") or ir.Function(module, signature, "llvm.prefetch.p0")
        start = self.at.gep(operand.buffer, [offset], source_etype=ELEMENT[operand.kind])
        for place in range(0, lanes * BITS[operand.kind] // 8, LINE):
            pointer = self.at.gep(start, [i64(place)], source_etype=ir.IntType(8))
            self.at.call(prefetch, [pointer, *(ir.Constant(I32, x) for x in (0, 3, 1))])  # read, keep, data

    # -- writing -----------------------------------------------------------------------------------------------------

    def write_raw(self, place: AccessPlace, raw: Vec) -> None:
        kind, lanes, size = raw.kind, place.lanes, BITS[raw.kind] // 8
        if place.jumps is not None or (place.mask is not None and size * 8 not in self.target.masked):
            return self._write_single(place, raw)
        pointer = self._pointer(place, self._trash)
        if place.apart:
            twice = self._shuffled(raw.value, [lane // 2 for lane in range(2 * lanes)])
            args = [twice, pointer, ir.Constant(I32, size), self._every_second(place)]
            self._masked("store", kind, 2 * lanes, ir.VoidType(), args)
        elif place.mask is None:
            self.at.store(raw.value, pointer, align=size)
        else:
            self._masked(
                "store", kind, lanes, ir.VoidType(), [raw.value, pointer, ir.Constant(I32, size), place.mask.value]
            )

    def _write_single(self, place: AccessPlace, raw: Vec) -> None:
        """Lane by lane, in order."""
        for lane, pointer in enumerate(self._written(place)):
            element = self.at.extract_element(raw.value, ir.Constant(I32, lane))
            self.at.store(element, pointer, align=BITS[raw.kind] // 8)

    def add_lane_by_lane(self, place: AccessPlace, value: Vec) -> None:
        dtype, kind, size = place.operand.access.dtype, place.operand.kind, BITS[place.operand.kind] // 8
        for lane, pointer in enumerate(self._written(place)):
            added = Vec(self.at, self.at.extract_element(value.value, ir.Constant(I32, lane)), value.kind, 1)
            old = decode(dtype, Vec(self.at, self.at.load(pointer, align=size, typ=ELEMENT[kind]), kind, 1), self.half)
            new = summed(dtype, old, added)
            self.at.store(encode(dtype, new, self.half).value, pointer, align=size)

    def _written(self, place: AccessPlace) -> Iterator[ir.Value]:
        """The address of each lane to write to."""
        addresses, mask = self._addresses(place)
        if mask is not None:
            addresses = mask.where(addresses, splat(self.at, self.at.ptrtoint(self._trash(), I64), "i64", place.lanes))
        for lane in range(place.lanes):
            yield self.at.inttoptr(self.at.extract_element(addresses.value, ir.Constant(I32, lane)), PTR)

    def _every_second(self, place: AccessPlace) -> ir.Value:
        """The mask of the even lanes among twice as many, restricted by the place's mask."""
        even = ir.Constant(llvm_type("bool", 2 * place.lanes), [lane % 2 == 0 for lane in range(2 * place.lanes)])
        if place.mask is None:
            return even
        return self.at.and_(self._shuffled(place.mask.value, [lane // 2 for lane in range(2 * place.lanes)]), even)

    def _shuffled(self, vector: ir.Value, lanes: Sequence[int]) -> ir.Value:
        picked = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
        return self.at.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), picked)

    # -- addresses -----------------------------------------------------------------------------------------------------

    def _pointer(self, place: AccessPlace, instead: Callable[[], ir.Value]) -> ir.Value:
        """The address, or `instead` if it must not be touched."""
        pointer = self.at.gep(place.operand.buffer, [place.offset], source_etype=ELEMENT[place.operand.kind])
        if place.allowed is None:
            return pointer
        return self.at.select(place.allowed.value, pointer, instead())

    def _addresses(self, place: AccessPlace) -> tuple[Vec, Vec | None]:
        """The address of each lane as an i64, and which lanes may be touched."""
        lanes, size = place.lanes, BITS[place.operand.kind] // 8
        base = self.at.gep(place.operand.buffer, [place.offset], source_etype=ELEMENT[place.operand.kind])
        jumps = place.jumps or self.multiples(i64(1), lanes)
        addresses = splat(self.at, self.at.ptrtoint(base, I64), "i64", lanes) + jumps * size
        return addresses, conjunction(self._widen(c, lanes) for c in (place.allowed, place.mask) if c is not None)

    def _nothing(self) -> ir.Value:
        """Zeros to read from when there is nothing to read."""
        name = "nothing"
        if name not in self.flow.module.globals:
            kind = ir.ArrayType(I64, WIDEST)
            zeros = ir.GlobalVariable(self.flow.module, kind, name)
            zeros.global_constant, zeros.linkage, zeros.initializer = True, "internal", ir.Constant(kind, None)
        return self.flow.module.globals[name]

    def _trash(self) -> ir.Value:
        """A place to write to that nothing reads."""
        if self._discard is None:
            with self.at.goto_entry_block():
                self._discard = self.at.alloca(ir.ArrayType(I64, WIDEST))
        return self._discard

    def _masked(self, name: str, kind: str, lanes: int, result: ir.Type, args: Sequence[ir.Value]) -> Vec:
        pointers = f"v{lanes}p0" if name in ("gather", "scatter") else "p0"
        full = f"llvm.masked.{name}.v{lanes}{kind}.{pointers}"
        module = self.flow.module
        function = module.globals.get(full) or ir.Function(
            module, ir.FunctionType(result, [a.type for a in args]), full
        )
        return Vec(self.at, self.at.call(function, args), kind, lanes)
