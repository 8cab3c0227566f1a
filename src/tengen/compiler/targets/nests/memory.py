"""Loads and stores of a Nest: addresses as linear forms of the loop indices, conditions, vectors of neighbours or of
single lanes.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from ...kernels.dtypes import KINDS
from ...kernels.nest import UNORDERED, Access, blank
from ..flow import Flow, i64
from ..storage import decode, encode
from ..vector import Vec, constant, llvm_type, splat


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
    """Emits the memory instructions of one kernel. How a machine loads and stores bits is left to `read_raw` and
    `write_raw`."""

    def __init__(self, flow: Flow, lane: int, half: bool, status: ir.Value | None):
        self.flow, self.lane, self.half, self.status = flow, lane, half, status
        self.at = flow.at
        self._multiples: dict[tuple[ir.Value, int], Vec] = {}

    # -- places ----------------------------------------------------------------------------------------------------

    def enter(
        self,
        scope: Scope,
        operands: Sequence[AccessOperand],
        dim: int,
        index: ir.Value,
        wanted: Container[int] | None = None,
    ) -> Scope:
        """The scope inside a loop over `dim`. wanted: the operands that are read or written there; None: all."""

        def advance(number: int, start: ir.Value, coefficients: dict[int, ir.Value], offset: bool) -> ir.Value:
            if dim not in coefficients or (wanted is not None and number not in wanted):
                return start
            factors = index, coefficients[dim]
            i, c = self.offset_factors(operands[number], *factors) if offset else factors
            step = i if isinstance(c, ir.Constant) and c.constant == 1 else self.at.mul(i, c)
            return step if isinstance(start, ir.Constant) else self.at.add(start, step)

        pairs = list(enumerate(zip(scope.offsets, scope.sums, operands, strict=True)))
        offsets = tuple([advance(i, offset, operand.strides, True) for i, (offset, _, operand) in pairs])
        sums = tuple(
            [
                tuple([advance(i, s, r.coefficients, False) for s, r in zip(old, operand.ranges, strict=True)])
                for i, (_, old, operand) in pairs
            ]
        )
        return replace(scope, values=dict(scope.values), index={**scope.index, dim: index}, offsets=offsets, sums=sums)

    def offset_factors(self, operand: AccessOperand, index: ir.Value, stride: ir.Value) -> tuple[ir.Value, ir.Value]:
        """An index and a stride in the type of the offsets that their product is added to."""
        return index, stride

    def further(self, offset: ir.Value, elements: ir.Value) -> ir.Value:
        """An offset and so many elements more, an i64."""
        return self.at.add(offset, elements)

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
        apart = step == "2" and not indices and self.takes_every_second(operand)
        jumps = None if apart or step in ("0", "1") else self.multiples(operand.strides[self.lane], lanes)
        if step == "0":
            jumps = Vec(self.at, constant(0, "i64", lanes), "i64", lanes)
        active = scope.mask if scope.mask is not None and scope.mask.lanes == lanes else None
        counted, in_range = [], []
        for position, (index, (stride, size)) in enumerate(zip(indices, operand.indirect, strict=True)):
            index, inside = self._normalise(index, size, active, position)
            counted.append(index)
            in_range.append(inside)
            moved = index * splat(self.at, stride, "i64", index.lanes)
            if index.lanes == 1:
                offset = self.further(offset, moved.value)
            else:
                jumps = moved + (self.multiples(i64(1), lanes) if jumps is None else jumps)
        conditions = self.conditions(scope, operand, number, lanes, self.lane, counted) + in_range
        if active is not None:
            conditions.append(active)
        return AccessPlace(
            operand,
            offset,
            lanes,
            jumps,
            conjunction(c for c in conditions if c.lanes == 1),
            conjunction(c for c in conditions if c.lanes > 1),
            apart,
        )

    def takes_every_second(self, operand: AccessOperand) -> bool:
        """Whether every second one of a row of neighbours is loaded and stored as a vector."""
        return False

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
        if index.lanes == 1:
            single = active if active is not None and active.lanes == 1 else None
            return self._normalise_one(index, length, single, position)
        index = (index < 0).where(index + length, index)
        inside = index.ult(length)
        wrong = ~inside
        if active is not None and index.lanes == active.lanes:
            wrong = wrong & active
        with self.at.if_then(wrong.any(), likely=False):
            self.set_status(i64(1 + position))
        return index, inside

    def _normalise_one(self, index: Vec, length: Vec, active: Vec | None, position: int) -> tuple[Vec, Vec]:
        """The same for a single index. One that is in range and not negative, as most are, costs one comparison."""

        def otherwise() -> list[ir.Value]:
            counted = index + length
            inside = counted.ult(length)
            wrong = ~inside if active is None else ~inside & active
            with self.at.if_then(wrong.value, likely=False):
                self.set_status(i64(1 + position))
            return [counted.value, inside.value]

        at_once = index.ult(length).value
        yes = constant(True, "bool", 1)
        counted, inside = self.flow.choose(at_once, lambda: [index.value, yes], otherwise, likely=True)
        return index.like(counted), index.like(inside, "bool")

    def set_status(self, number: ir.Value) -> None:
        """Write to the status word."""
        self.at.store(number, self.status)

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, place: AccessPlace) -> Vec:
        """The elements there as numbers; `fill` where a condition fails."""
        access = place.operand.access
        value = decode(access.dtype, self.read_raw(place), self.half)
        if blank(access.fill) or (place.allowed is None and not access.bounds):
            return value  # zero bits in place of what is not read: they mean 0 or False in every dtype
        inside = conjunction(self._widen(c, place.lanes) for c in (place.allowed, place.mask) if c is not None)
        return value if inside is None else inside.where(value, access.fill)

    def read_raw(self, place: AccessPlace) -> Vec:
        """The bits there; zeros where a condition fails."""
        raise NotImplementedError

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, place: AccessPlace, value: Vec, how: str = "set") -> None:
        """Store the value where the conditions hold, or add it to what is there."""
        dtype = place.operand.access.dtype
        if place.lanes == 1 and place.operand.indirect and place.allowed is not None:  # they nearly always do
            with self.at.if_then(place.allowed.value, likely=True):
                self.write(replace(place, allowed=None), value, how)
            return
        if how in UNORDERED:
            self.write_at_once(place, encode(dtype, value, self.half), how)
            return
        if how == "add" and place.jumps is not None:
            self.add_lane_by_lane(place, value)
            return
        if how == "add":
            value = summed(dtype, decode(dtype, self.read_raw(place), self.half), value)
        self.write_raw(place, encode(dtype, value, self.half))

    def write_raw(self, place: AccessPlace, raw: Vec) -> None:
        """Store bits where the conditions hold."""
        raise NotImplementedError

    def add_lane_by_lane(self, place: AccessPlace, value: Vec) -> None:
        """Add each lane to what is at its place by then: those of several lanes may be one."""
        raise NotImplementedError("threads of GPUs have one lane where places may be one")

    def write_at_once(self, place: AccessPlace, raw: Vec, how: str) -> None:
        """Write as one of UNORDERED says, while others do the same."""
        raise NotImplementedError("only threads of GPUs write to the same place at once")

    def _widen(self, value: Vec, lanes: int) -> Vec:
        """The value in this many lanes, if it is one for all."""
        return value if value.lanes > 1 or lanes == 1 else splat(self.at, value.value, value.kind, lanes)


def summed(dtype: str, old: Vec, value: Vec) -> Vec:
    """What is there with a value added; of bools, whether either is True."""
    return old | value.to("bool") if dtype == "bool" else old + value.to(old.kind)


def conjunction(conditions: Iterable[Vec]) -> Vec | None:
    """The conjunction; None if there are no conditions."""
    result = None
    for condition in conditions:
        result = condition if result is None else result & condition
    return result
