"""The tiles of an operand in shared memory: what a block needs of X or Y for one turn, and for the next one."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from ...kernels.block_product import BlockOperand
from ...kernels.dtypes import BITS, KINDS
from ..flow import I64, i64
from ..storage import decode
from ..vector import ELEMENT, Vec, constant
from .block_flow import BlockFlow, i32
from .machine import I32

ASYNCHRONOUS = (8, 0)
"""The first GPUs that copy to shared memory while their threads go on."""


class OperandTiles:
    """Two tiles of [k][rows] (of Y, columns are rows), one of which is read while the other one is filled.

    asynchronous: whether elements are copied as they are. Others go through registers: they are read before a turn, and
    stored as the kind of the sums after it. `size` rows; from one step of k to the next there are `stride` elements.
    """

    def __init__(self, flow: BlockFlow, memory: ir.Value, name: str, operand: BlockOperand, loops: str, size: int):
        self.flow, self.at, self.name, self.operand, self.loops, self.size = flow, flow.at, name, operand, loops, size
        spec, self.memory = flow.spec, memory
        self.kind, self.depth, self.stride = spec.kind, spec.tile.depth, spec.stride(size)
        self.bytes = BITS[KINDS[operand.dtype][0]] // 8
        same = KINDS[operand.dtype] == (self.kind, self.kind) and not operand.zero
        self.asynchronous = same and flow.target.capability >= ASYNCHRONOUS
        self.width = operand.width if self.asynchronous else 1
        self.rows = flow.table(f"{name}_rows", I64, size)
        self.edges = [flow.table(f"{name}_edge{e}", I32, size) for e in range(operand.edges)]
        self.start = flow.at.gep(
            flow.buffers[name], [flow.moved(flow.batch, "batch", name)], source_etype=self._element
        )
        if self.width > 1:
            rest = flow.at.and_(flow.at.ptrtoint(self.start, I64), i64(self.bytes * self.width - 1))
            self.whole = flow.at.icmp_signed("==", rest, i64(0))

    @property
    def _element(self) -> ir.Type:
        return ELEMENT[KINDS[self.operand.dtype][0]]

    def fill(self, i: ir.Value, digits: Sequence[ir.Value]) -> None:
        """Enter the row with this number in the tile, which has these indices."""
        flow, at = self.flow, self.at
        self.rows.put(i, flow.moved(digits, self.loops, self.name))
        for e, edge in enumerate(self.edges):
            place = at.add(flow.moved(digits, self.loops, f"edge{e}"), flow.numbers[f"edge{e}_base"])
            edge.put(i, at.trunc(place, I32))

    def place(self, step: ir.Value, k: ir.Value, row: ir.Value) -> ir.Value:
        """The address of an element in the tile of a turn."""
        at = self.at
        line = at.add(self.flow.slot(step), k)
        return at.gep(self.memory, [at.add(at.mul(line, i32(self.stride)), row)], source_etype=ELEMENT[self.kind])

    # -- the next turn -------------------------------------------------------------------------------------------------

    def fetch(self, step: ir.Value) -> list[Vec]:
        """Begin to copy the tile of a turn; or read the thread's part of it, which `put` stores."""
        found = []
        left = self._k_left(step)
        for k, row in self._parts():
            slot = self.at.add(self.flow.slot(step), k)
            offset = self.at.add(self.rows.get(row), self.flow.k_moves[self.name].get(slot))
            source = self.at.gep(self.start, [offset], source_etype=self._element)
            there = self.at.icmp_signed("<", k, left)
            for e, edge in enumerate(self.edges):
                position = self.at.add(edge.get(row), self.flow.k_edges[e].get(slot))
                there = self.at.and_(there, self.at.icmp_unsigned("<", position, self.flow.count(f"edge{e}_size")))
            if self.asynchronous:
                self._copy(self.place(step, k, row), source, there, row)
            else:
                found.append(self._read(source, there))
        return found

    def put(self, step: ir.Value, values: Sequence[Vec]) -> None:
        """Store what `fetch` has read."""
        for (k, row), value in zip(self._parts(), values, strict=False):
            self.at.store(value.value, self.place(step, k, row), align=BITS[self.kind] // 8)

    def _k_left(self, step: ir.Value) -> ir.Value:
        """How many steps of k there are from the first one of a turn on."""
        flow, at = self.flow, self.at
        return at.sub(at.sub(flow.end, flow.begin), at.mul(step, i32(self.depth)))

    def _parts(self) -> list[tuple[ir.Value, ir.Value]]:
        """What the thread copies: (k, the first of `width` rows)."""
        flow, threads, found = self.flow, self.flow.spec.tile.threads, []
        groups = self.size // self.width
        assert self.depth * groups % threads == 0
        for first in range(0, self.depth * groups, threads):
            if self.operand.along_k:
                k, group = (
                    flow.low(flow.mine, self.depth),
                    flow.plus(flow.high(flow.mine, self.depth), first // self.depth),
                )
            elif threads % groups == 0:
                k, group = flow.plus(flow.high(flow.mine, groups), first // groups), flow.low(flow.mine, groups)
            else:
                number = flow.plus(flow.mine, first)
                k, group = flow.high(number, groups), flow.low(number, groups)
            found.append((k, self.at.mul(group, i32(self.width)) if self.width > 1 else group))
        return found

    # -- elements ------------------------------------------------------------------------------------------------------

    def _copy(self, to: ir.Value, source: ir.Value, there: ir.Value, row: ir.Value) -> None:
        flow, at, size = self.flow, self.at, self.bytes
        if self.width == 1:
            flow.copy_to_shared(to, source, size, at.select(there, i32(size), i32(0)))
            return
        rest = at.sub(at.sub(flow.count(f"{self.loops}s"), flow.first[self.loops]), row)
        rest = at.select(at.icmp_signed("<", rest, i32(0)), i32(0), rest)
        many = at.select(there, flow.least(rest, i32(self.width)), i32(0))
        with at.if_else(self.whole) as (whole, single):
            with whole:
                flow.copy_to_shared(to, source, size * self.width, at.mul(many, i32(size)))
            with single:
                for i in range(self.width):
                    given = at.select(at.icmp_signed(">", many, i32(i)), i32(size), i32(0))
                    to_i = at.gep(to, [i32(i)], source_etype=ELEMENT[self.kind])
                    source_i = at.gep(source, [i64(i)], source_etype=self._element)
                    flow.copy_to_shared(to_i, source_i, size, given)

    def _read(self, source: ir.Value, there: ir.Value) -> Vec:
        flow, at, dtype = self.flow, self.at, self.operand.dtype
        kind = KINDS[dtype][0]

        def number() -> list[ir.Value]:
            raw = Vec(at, at.load(source, align=self.bytes, typ=ELEMENT[kind]), kind, 1)
            value = decode(dtype, raw, flow.half).to(self.kind)
            if self.operand.zero:
                value = value - Vec(at, flow.count("zero"), "i32", 1).to(self.kind)
            return [value.value]

        (value,) = flow.choose(there, number, lambda: [constant(0, self.kind, 1)])
        return Vec(at, value, self.kind, 1)
