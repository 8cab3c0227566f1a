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
LEAST_COPY = 4
"""Bytes of such a copy, at least."""


class OperandTiles:
    """`stages` tiles of an operand, of which one is read while others are filled (of Y, columns are rows).

    asynchronous: whether elements are copied as they are while the threads go on. Others go through registers: they are
    read before a turn, and stored after it. by_row: whether the elements of a line are steps of k.
    """

    def __init__(self, flow: BlockFlow, memory: ir.Value, name: str, operand: BlockOperand, loops: str, size: int):
        self.flow, self.at, self.name, self.operand, self.loops, self.size = flow, flow.at, name, operand, loops, size
        spec, self.memory = flow.spec, memory
        self.kind, self.depth = spec.kept(operand), spec.tile.depth
        (self.lines, self.stride), self.by_row = spec.lines(operand, size), spec.by_row(operand)
        self.bytes = BITS[KINDS[operand.dtype][0]] // 8
        stays = KINDS[operand.dtype][0] == self.kind and not operand.zero and self.bytes * operand.width >= LEAST_COPY
        self.asynchronous = stays and flow.target.capability >= ASYNCHRONOUS
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
        at, (line, element) = self.at, (row, k) if self.by_row else (k, row)
        line = at.add(at.mul(self.flow.stage(step), i32(self.lines)), line)
        return at.gep(self.memory, [at.add(at.mul(line, i32(self.stride)), element)], source_etype=ELEMENT[self.kind])

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
                self._copy(self.place(step, k, row), source, there, self._left(left, k, row))
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
        """What the thread copies: the first of `width` elements, (k, row)."""
        flow, threads, found, width = self.flow, self.flow.spec.tile.threads, [], self.width
        along = (self.depth if self.operand.along_k else self.size) // width
        count = self.depth * self.size // width
        assert count % threads == 0
        for first in range(0, count, threads):
            if threads % along == 0:
                line, group = flow.plus(flow.high(flow.mine, along), first // along), flow.low(flow.mine, along)
            else:
                number = flow.plus(flow.mine, first)
                line, group = flow.high(number, along), flow.low(number, along)
            element = self.at.mul(group, i32(width)) if width > 1 else group
            found.append((element, line) if self.operand.along_k else (line, element))
        return found

    # -- elements ------------------------------------------------------------------------------------------------------

    def _left(self, left: ir.Value, k: ir.Value, row: ir.Value) -> ir.Value:
        """How many elements there are from the first one of a copy on, along the way that it goes."""
        if self.operand.along_k:
            return self.at.sub(left, k)
        return self.at.sub(self.at.sub(self.flow.count(f"{self.loops}s"), self.flow.first[self.loops]), row)

    def _copy(self, to: ir.Value, source: ir.Value, there: ir.Value, left: ir.Value) -> None:
        flow, at, size = self.flow, self.at, self.bytes
        if self.width == 1:
            flow.copy_to_shared(to, source, size, at.select(there, i32(size), i32(0)))
            return
        left = at.select(at.icmp_signed("<", left, i32(0)), i32(0), left)
        many = at.select(there, flow.least(left, i32(self.width)), i32(0))
        with at.if_else(self.whole) as (whole, single):
            with whole:
                flow.copy_to_shared(to, source, size * self.width, at.mul(many, i32(size)))
            with single:
                for i in range(self.width):
                    to_i = at.gep(to, [i32(i)], source_etype=ELEMENT[self.kind])
                    source_i = at.gep(source, [i64(i)], source_etype=self._element)
                    inside = at.icmp_signed(">", many, i32(i))
                    if size >= LEAST_COPY:
                        flow.copy_to_shared(to_i, source_i, size, at.select(inside, i32(size), i32(0)))
                    else:
                        at.store(self._read(source_i, inside).value, to_i, align=size)

    def _read(self, source: ir.Value, there: ir.Value) -> Vec:
        flow, at, dtype = self.flow, self.at, self.operand.dtype
        kind = KINDS[dtype][0]

        def number() -> list[ir.Value]:
            raw = Vec(at, at.load(source, align=self.bytes, typ=ELEMENT[kind]), kind, 1)
            value = raw if flow.spec.product != "fma" else decode(dtype, raw, flow.half).to(self.kind)
            if self.operand.zero:
                value = value - Vec(at, flow.count("zero"), "i32", 1).to(self.kind)
            return [value.value]

        (value,) = flow.choose(there, number, lambda: [constant(0, self.kind, 1)])
        return Vec(at, value, self.kind, 1)
