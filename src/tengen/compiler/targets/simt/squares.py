"""Kernels of GPUs whose operands are contiguous along different dims, as in a transposed copy: squares of elements, turned
in shared memory.

A block has a square of SIDE places of the lane dim and of the *cross* dim. Threads lie along the cross dim for the operands
that are contiguous along it, and along the lane dim for all else. So neighbours among the threads always read and
write neighbours in memory, and elements change threads in shared memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llvmlite import ir

from ...kernels.dtypes import COMPUTE_KIND
from ...kernels.nest_threads import DOWN, PITCH, SIDE
from ..flow import I64, i64
from ..nests.fold import Folds
from ..nests.memory import AccessPlace, Scope
from ..storage import decode, encode
from ..vector import ELEMENT, Vec
from .block_flow import i32
from .nest import ThreadEmitter

STEPS = range(0, SIDE, DOWN)
"""Where the rows of threads of a block begin in the square, one after the other."""


class SquareEmitter(ThreadEmitter):
    """Emits the kernel of a Nest that has a cross dim. An item is a square, which a block computes."""

    def _all_items(self, scope: Scope) -> None:
        number = self.block_number()
        digits = self._digits(self._long(number) if self.wide else number)
        at, lane, cross = self.at, self.nest.lane, self.nest.cross
        assert cross is not None
        self.first = {dim: at.mul(digits.pop(dim), i64(SIDE)) for dim in (lane, cross)}
        for dim, digit in digits.items():
            scope = self.memory.enter(scope, self.operands, dim, digit)
        self._settle(scope, 0)
        self.across, self.down = (at.zext(self.thread(axis), I64) for axis in "xy")
        loads, stores = (dict(self.structure.crossing(op)) for op in ("load", "store"))
        for i, access in loads.items():
            for step in STEPS:
                place = self._along_cross(scope, access, step)
                at.store(self.memory.read_raw(place).value, self._turned(i, access, step, lane=False))
        if loads:
            self.barrier()

        def row(step: ir.Value, _: object) -> tuple[()]:
            self._row_of(scope, step, loads, stores)
            return ()

        self.loop(i64(0), i64(SIDE), DOWN, row)
        if stores:
            self.barrier()
        for i, access in stores.items():
            for step in STEPS:
                place = self._along_cross(scope, access, step)
                self.memory.write_raw(place, self._waiting(i, access, step, lane=False))

    def _row_of(self, scope: Scope, step: ir.Value, loads: dict[int, int], stores: dict[int, int]) -> None:
        """Compute an element for each thread of the block, threads along the lane dim, and store what lies along that."""
        at, code, lane, cross = self.at, self.nest.code, self.nest.lane, self.nest.cross
        assert cross is not None
        place = {lane: at.add(self.first[lane], self.across)}
        place[cross] = at.add(at.add(self.first[cross], self.down), step)
        others = frozenset(range(len(self.operands))) - self.structure.crossed
        with at.if_then(self._exists(place)):
            inner = self._at(scope, place, others)
            for i, access in loads.items():
                dtype = self.nest.accesses[access].dtype
                value = decode(dtype, self._waiting(i, access, step, lane=True), self.target.half)
                inner.values[i] = value.to(COMPUTE_KIND[code[i].dtype])
            self._find([inner])
            for i in self.structure.row_sinks:
                if i not in stores:
                    self._sink(inner, i)
                    continue
                value = self._lanes_of(inner, code[i].args[0], 1)
                made = encode(self.nest.accesses[stores[i]].dtype, value, self.target.half)
                at.store(made.value, self._turned(i, stores[i], step, lane=True))

    def _finish(self, folds: Folds, carry: Sequence[Any], width: int) -> list[Vec]:
        """A fold is over no dim, so each thread has its own."""
        return [accumulator[-1] for accumulator in folds.apart(carry)]

    # -- places --------------------------------------------------------------------------------------------------------

    def _exists(self, place: dict[int, ir.Value]) -> ir.Value:
        """Whether the square does not stick out there."""
        inside = [self.at.icmp_signed("<", index, self.extents[dim]) for dim, index in place.items()]
        return self.at.and_(*inside)

    def _at(self, scope: Scope, place: dict[int, ir.Value], wanted: frozenset[int]) -> Scope:
        for dim, index in place.items():
            scope = self.memory.enter(scope, self.operands, dim, index, wanted)
        return replace(scope, width=1)

    def _along_cross(self, scope: Scope, access: int, step: int) -> AccessPlace:
        """Where an access of this thread goes, if threads lie along the cross dim."""
        at, lane, cross = self.at, self.nest.lane, self.nest.cross
        assert cross is not None
        place = {cross: at.add(self.first[cross], self.across)}
        place[lane] = at.add(at.add(self.first[lane], self.down), i64(step))
        there = Vec(at, self._exists(place), "bool", 1)
        inner = replace(self._at(scope, place, frozenset([access])), mask=there)
        return self.memory.place(inner, self.operands[access], access, True)

    # -- shared memory -------------------------------------------------------------------------------------------------

    def _turned(self, instr: int, access: int, step: int | ir.Value, lane: bool) -> ir.Value:
        """Where in shared memory the element of an instruction is that belongs to this thread. lane: threads lie along the
        lane dim. Lines are along the cross dim; one element more lets threads find other banks."""
        at, type = self.at, ELEMENT[self.operands[access].kind]
        memory = self.shared(f"square_{instr}", type, SIDE * PITCH)
        down = at.add(self.down, i64(step) if isinstance(step, int) else step)
        line, column = (self.across, down) if lane else (down, self.across)
        return at.gep(memory, [i32(0), at.trunc(at.add(at.mul(line, i64(PITCH)), column), ir.IntType(32))])

    def _waiting(self, instr: int, access: int, step: int | ir.Value, lane: bool) -> Vec:
        kind = self.operands[access].kind
        return Vec(self.at, self.at.load(self._turned(instr, access, step, lane), typ=ELEMENT[kind]), kind, 1)
