"""Loads and stores of a Nest: addresses as linear forms of the loop indices, conditions, vectors of neighbours or of
single lanes.

If a condition concerns a whole vector or a single element, a harmless address replaces the forbidden one, which needs
no branch. If it differs between lanes, it becomes a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llvmlite import ir

from ...kernels.dtypes import BITS, KINDS
from ...kernels.nest import Access, blank
from ...kernels.target import Target
from ..flow import I64, Flow, i64
from ..storage import decode, encode
from ..vector import ELEMENT, Vec, constant, llvm_type, splat
from . import interleave

I32, PTR = ir.IntType(32), ir.PointerType()
LINE = 64  # bytes that enter a cache together
WIDEST = 128  # lanes, of which only every second one may count


@dataclass(frozen=True)
class Range:
    """A bound: its parameters. `coefficients` by loop dim, `values` by position of an index value."""

    offset: ir.Value
    limit: ir.Value
    coefficients: dict[int, ir.Value]
    values: dict[int, ir.Value]
    divisor: ir.Value | None


@dataclass(frozen=True)
class AccessOperand:
    """An access with its buffer and run-time numbers as SSA values."""

    access: Access
    buffer: ir.Value
    strides: dict[int, ir.Value]
    ranges: tuple[Range, ...]
    indirect: tuple[tuple[ir.Value, ir.Value], ...]
    number: ir.Value | None = None

    @property
    def kind(self) -> str:
        """The kind of the bits in memory."""
        return KINDS[self.access.dtype][0]


@dataclass(frozen=True)
class Scope:
    """What is known at one place of the kernel: loop indices, values, and for each operand its address and bounds, as
    far as the indices decide them.

    width: lanes of a value that varies along the lane dim. mask: which lanes count (None: all), and with it `left`, the
    number of elements to the end of the row.
    """

    values: dict[int, Vec]
    index: dict[int, ir.Value]
    offsets: tuple[ir.Value, ...]
    sums: tuple[tuple[ir.Value, ...], ...]
    width: int = 1
    mask: Vec | None = None
    left: ir.Value | None = None


@dataclass(frozen=True)
class AccessPlace:
    """Where an access goes at one scope.

    jumps: what to add to `offset` for each lane if the lanes are not neighbours. apart: they are every second one of
    twice as many neighbours.
    allowed: one condition for all lanes; mask: one for each. None: always.
    """

    operand: AccessOperand
    offset: ir.Value
    lanes: int
    jumps: Vec | None
    allowed: Vec | None
    mask: Vec | None
    apart: bool = False


class Memory:
    """Emits the memory instructions of one kernel."""

    def __init__(self, flow: Flow, lane: int, target: Target, status: ir.Value | None):
        self.flow, self.lane, self.target, self.status = flow, lane, target, status
        self.at = flow.at
        self._multiples: dict[tuple[ir.Value, int], Vec] = {}
        self._discard: ir.Value | None = None

    # -- places ----------------------------------------------------------------------------------------------------

    def enter(self, scope: Scope, operands: Sequence[AccessOperand], dim: int, index: ir.Value) -> Scope:
        """The scope inside a loop over `dim`."""

        def advance(start: ir.Value, coefficients: dict[int, ir.Value]) -> ir.Value:
            if dim not in coefficients:
                return start
            c = coefficients[dim]
            step = index if isinstance(c, ir.Constant) and c.constant == 1 else self.at.mul(index, c)
            return step if isinstance(start, ir.Constant) else self.at.add(start, step)

        offsets = tuple(advance(o, operand.strides) for o, operand in zip(scope.offsets, operands, strict=True))
        sums = tuple(
            tuple(advance(s, r.coefficients) for s, r in zip(old, operand.ranges, strict=True))
            for old, operand in zip(scope.sums, operands, strict=True)
        )
        return replace(scope, values=dict(scope.values), index={**scope.index, dim: index}, offsets=offsets, sums=sums)

    def multiples(self, factor: ir.Value, lanes: int) -> Vec:
        """0, factor, 2 * factor, … as i64 lanes; computed once, at the beginning of the kernel."""
        if (factor, lanes) not in self._multiples:
            with self.at.goto_entry_block():
                counting = Vec(self.at, ir.Constant(llvm_type("i64", lanes), list(range(lanes))), "i64", lanes)
                one = isinstance(factor, ir.Constant) and factor.constant == 1
                result = counting if one else counting * splat(self.at, factor, "i64", lanes)
            self._multiples[factor, lanes] = result
        return self._multiples[factor, lanes]

    def along_lanes(self, start: ir.Value, factor: ir.Value, lanes: int) -> Vec:
        """start + lane * factor."""
        return splat(self.at, start, "i64", lanes) + self.multiples(factor, lanes)

    def place(
        self, scope: Scope, operand: AccessOperand, number: int, varies: bool, indices: Sequence[Vec] = ()
    ) -> AccessPlace:
        """Where operand `number` is at this scope. varies: along the lane dim. indices: of a gather or scatter."""
        lanes = scope.width if varies else 1
        offset = scope.offsets[number]
        step = operand.access.steps[self.lane] if lanes > 1 else "1"
        apart = step == "2" and not indices and BITS[operand.kind] in self.target.masked
        jumps = None if apart or step in ("0", "1") else self.multiples(operand.strides[self.lane], lanes)
        if step == "0":
            jumps = Vec(self.at, constant(0, "i64", lanes), "i64", lanes)
        active = scope.mask if lanes > 1 else None
        counted, in_range = [], []
        for position, (index, (stride, size)) in enumerate(zip(indices, operand.indirect, strict=True)):
            index, inside = self._normalise(index, size, active, position)
            counted.append(index)
            in_range.append(inside)
            moved = index * splat(self.at, stride, "i64", index.lanes)
            if index.lanes == 1:
                offset = self.at.add(offset, moved.value)
            else:
                jumps = moved + (self.multiples(i64(1), lanes) if jumps is None else jumps)
        conditions = self.conditions(scope, operand, number, lanes, self.lane, counted) + in_range
        if lanes > 1 and scope.mask is not None:
            conditions.append(scope.mask)
        return AccessPlace(
            operand,
            offset,
            lanes,
            jumps,
            conjunction(c for c in conditions if c.lanes == 1),
            conjunction(c for c in conditions if c.lanes > 1),
            apart,
        )

    def conditions(
        self, scope: Scope, operand: AccessOperand, number: int, lanes: int, dim: int, indices: Sequence[Vec] = ()
    ) -> list[Vec]:
        """The bounds of operand `number` for consecutive places of a dim, starting at the scope's: one for all, or one
        for each.

        indices: of a gather or scatter, counted from the start.
        """
        found = []
        for r, value in zip(operand.ranges, scope.sums[number], strict=True):
            along = lanes > 1 and dim in r.coefficients
            x = self.along_lanes(value, r.coefficients[dim], lanes) if along else Vec(self.at, value, "i64", 1)
            for position, coefficient in r.values.items():
                moved = indices[position] * splat(self.at, coefficient, "i64", indices[position].lanes)
                x = self._widen(x, moved.lanes) + self._widen(moved, x.lanes)
            inside = x.ult(splat(self.at, r.limit, "i64", x.lanes))
            if r.divisor is not None:
                # Exact below 2**50: a quotient that is not whole differs from whole numbers by at least 1 / divisor.
                quotient = x.to("f64") / splat(self.at, r.divisor, "i64", x.lanes).to("f64")
                inside = inside & quotient.floor().eq(quotient)
            found.append(inside)
        return found

    def _normalise(self, index: Vec, size: ir.Value, active: Vec | None, position: int) -> tuple[Vec, Vec]:
        """An index counted from the start, and whether it is in range. If not, the status word gets the number of the
        index. active: the lanes that count."""
        assert self.status is not None
        length = splat(self.at, size, "i64", index.lanes)
        index = (index < 0).where(index + length, index)
        inside = index.ult(length)
        wrong = ~inside
        if active is not None and index.lanes > 1:
            wrong = wrong & active
        with self.at.if_then(wrong.any(), likely=False):
            self.at.store(i64(1 + position), self.status)
        return index, inside

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, place: AccessPlace) -> Vec:
        """The elements there as numbers; `fill` where a condition fails."""
        access = place.operand.access
        value = decode(access.dtype, self.read_raw(place), self.target.half)
        if blank(access.fill) or (place.allowed is None and not access.bounds):
            return value  # zero bits in place of what is not read: they mean 0 or False in every dtype
        inside = conjunction(self._widen(c, place.lanes) for c in (place.allowed, place.mask) if c is not None)
        return value if inside is None else inside.where(value, access.fill)

    def read_raw(self, place: AccessPlace) -> Vec:
        """The bits there; zeros where a condition fails."""
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
        return [decode(dtype, raw, self.target.half) for raw in apart]

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

    def write(self, place: AccessPlace, value: Vec, add: bool = False) -> None:
        """Store the value where the conditions hold. add: add it to what is there."""
        dtype = place.operand.access.dtype
        if add:
            old = decode(dtype, self.read_raw(place), self.target.half)
            value = old | value.to("bool") if dtype == "bool" else old + value.to(old.kind)
        self.write_raw(place, encode(dtype, value, self.target.half))

    def write_raw(self, place: AccessPlace, raw: Vec) -> None:
        """Store bits where the conditions hold."""
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
        addresses, mask = self._addresses(place)
        if mask is not None:
            addresses = mask.where(addresses, splat(self.at, self.at.ptrtoint(self._trash(), I64), "i64", raw.lanes))
        for lane in range(raw.lanes):
            at = ir.Constant(I32, lane)
            pointer = self.at.inttoptr(self.at.extract_element(addresses.value, at), PTR)
            self.at.store(self.at.extract_element(raw.value, at), pointer, align=BITS[raw.kind] // 8)

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

    def _widen(self, value: Vec, lanes: int) -> Vec:
        """The value in this many lanes, if it is one for all."""
        return value if value.lanes > 1 or lanes == 1 else splat(self.at, value.value, value.kind, lanes)

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


def conjunction(conditions: Iterable[Vec]) -> Vec | None:
    """The conjunction; None if there are no conditions."""
    result = None
    for condition in conditions:
        result = condition if result is None else result & condition
    return result
