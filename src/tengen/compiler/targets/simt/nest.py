"""How threads run a Nest. `kernels/nest_threads.py` describes which thread does what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from llvmlite import ir

from ....base.errors import NoKernelError
from ...kernels.nest import Instr, Nest, access_number, is_number
from ...kernels.nest_threads import BLOCK, buffers, most_threads, neighbours, plain, scans_alone, thread_dims
from ...kernels.target import DeviceTarget
from ..flow import I64, i64
from ..nests import fold as nest_fold
from ..nests.body import NestBody, Scopes
from ..nests.fold import Accumulator, Maps
from ..nests.memory import Scope
from ..vector import Vec
from .fold import ThreadGroup
from .machine import I32, DeviceFlow
from .memory import ThreadMemory


class ThreadEmitter(NestBody, DeviceFlow):
    """Emits the kernel of a Nest for a GPU. The numbers of its split are those of `nest_threads.split`."""

    memory: ThreadMemory

    def __init__(self, nest: Nest, target: DeviceTarget, guarded: bool = False, wide: bool = False):
        self.active: ir.Value | None = None  # whether the thread has an item; None: those that have none are gone
        self.wide = wide
        super().__init__(plain(nest), target, tiled=False)
        self.guard = self.buffer(buffers(nest)) if guarded else None
        self.memory.look_at(self.operands)

    def _read_split(self) -> None:
        structure = self.structure
        width = neighbours(structure)
        self.widths, self.tail, self.width = (width,) * max(len(structure.passes), 1), 1, width
        self.items = self._next()
        self.counts = [(self._next(), self._next(), self._next()) for _ in thread_dims(structure)]
        self.chunk = i64(width) if structure.chunked else self.extents[self.nest.lane]
        self.group = ThreadGroup(self, "y" if structure.lane_is_kept else "x")
        if not structure.lane_is_kept:
            shift = self.at.trunc(self._next(), I32)
            mask = self.at.sub(self.at.shl(ir.Constant(I32, 1), shift), ir.Constant(I32, 1))
            self.column = self.at.zext(self.at.and_(self.group.mine, mask), I64)
            self.columns = self.at.zext(self.at.add(mask, ir.Constant(I32, 1)), I64)
            self.row = self.at.zext(self.at.lshr(self.group.mine, shift), I64)
            self.rows = self.at.zext(self.at.lshr(self.group.size, shift), I64)
        else:
            self.row, self.rows = (self.at.zext(n, I64) for n in (self.group.mine, self.group.size))

    def _in_memory(self, status: ir.Value | None) -> ThreadMemory:
        return ThreadMemory(self, self.nest.lane, self.nest.kept, self.width, self.wide, status)

    def text(self) -> str:
        super().text()
        status = self.nest.needs_status or self.guard is not None
        most = most_threads(self.structure)
        bounds = (most, 1) if most > BLOCK else ()  # for 256 threads there are registers, whatever a kernel needs
        return self.module_text(buffers(self.nest) + status, self._position, *bounds)

    # -- items -------------------------------------------------------------------------------------------------------

    def _items(self, scope: Scope) -> None:
        with self.unless_failed(self.guard):
            self._all_items(scope)

    def _all_items(self, scope: Scope) -> None:
        at, axis = self.at, "x" if self.structure.lane_is_kept else "y"
        block, threads, thread = self.block_number(), self.threads(axis), self.thread(axis)
        if self.wide:
            block, threads, thread = (at.zext(n, I64) for n in (block, threads, thread))
        number = at.add(at.mul(block, threads), thread)
        there = at.icmp_unsigned("<", number, self.items if self.wide else at.trunc(self.items, I32))
        if not self.structure.passes:
            with at.if_then(there):
                self._item_of(scope, number)
            return
        # All threads take part in barriers and exchanges. Those without an item look at the last one.
        last = at.sub(self.items, i64(1))
        last = last if self.wide else at.trunc(last, I32)
        self.active = there
        scope = replace(scope, mask=Vec(at, there, "bool", 1))
        self._item_of(scope, at.select(there, number, last))

    def _item_of(self, scope: Scope, number: ir.Value) -> None:
        """The item with this number."""
        digits = self._digits(number)
        chunk = digits.pop(self.nest.lane, i64(0))
        for dim, digit in digits.items():
            scope = self.memory.enter(scope, self.operands, dim, digit)
        self._settle(scope, 0)
        self._item(scope, chunk)

    def _digits(self, number: ir.Value) -> dict[int, ir.Value]:
        """The indices of an item by dims, which are the digits of its number."""
        at, rest, digits = self.at, number, list[ir.Value]()
        for count, factor, shift in reversed(self.counts[1:]):
            if self.wide:
                quotient = at.udiv(rest, count)
            else:
                count = at.trunc(count, I32)
                whole = at.mul(at.zext(rest, I64), at.and_(factor, i64(0xFFFFFFFF)))
                quotient = at.trunc(at.lshr(whole, shift), I32)
            digits.insert(0, at.sub(rest, at.mul(quotient, count)))
            rest = quotient
        digits = [rest, *digits] if self.counts else []
        return dict(zip(thread_dims(self.structure), map(self._long, digits), strict=True))

    def _long(self, number: ir.Value) -> ir.Value:
        return number if number.type == I64 else self.at.zext(number, I64)

    def _lanes(self, scope: Scope, chunk: ir.Value) -> None:
        if not (self.structure.lane_is_kept and self.structure.chunked):
            super()._lanes(scope, chunk)
        elif self.width == 1:  # one element: no loop
            self._row([self._lane_scope(scope, chunk, 1, scope.mask)])
        else:
            self._vector(scope, self.at.mul(chunk, self.chunk))

    def _vector(self, scope: Scope, begin: ir.Value) -> None:
        """The neighbours from one on. At the end of a row there may be fewer."""
        at, extent = self.at, self.extents[self.nest.lane]

        def one(index: ir.Value, _: list[Any]) -> tuple[()]:
            self._row([self._lane_scope(scope, index, 1, scope.mask)])
            return ()

        fits = at.icmp_signed("<=", at.add(begin, self.chunk), extent)
        with at.if_else(fits) as (whole, part):
            with whole:
                self._row([self._lane_scope(scope, begin, self.width, None)])
            with part:
                self.loop(begin, extent, 1, one)

    def _row(self, scopes: Scopes) -> None:
        self._find(scopes)
        (scope,) = scopes
        if not self.structure.row_sinks:
            return
        if not self.structure.passes:
            self._sinks(scope)
            return
        if self._reads_rows():  # perhaps from where the first thread writes now
            with self.at.if_then(self.group.is_larger(1).value):
                self.barrier()
        with self.at.if_then(self.at.icmp_signed("==", self.group.mine, ir.Constant(I32, 0))):
            self._sinks(scope)

    def _reads_rows(self) -> bool:
        """Whether all threads of a group read what belongs to a row."""
        code, full = self.nest.code, self.structure.is_full
        loads = [i for i in self.structure.live if code[i].op in ("load", "gather") and not full(i)]
        return any(not is_number(self.nest.accesses[access_number(code[i])]) for i in loads)

    def _sinks(self, scope: Scope) -> None:
        for i in self.structure.row_sinks:
            self._sink(scope, i)

    # -- loops -------------------------------------------------------------------------------------------------------

    def _turns(self, depth: int) -> tuple[ir.Value, int | ir.Value]:
        """The threads of a group go round the outermost dim; one without an item does nothing."""
        if depth:
            return i64(0), 1
        return self._begin(self.row), self.rows

    def _begin(self, mine: ir.Value) -> ir.Value:
        """Where a thread's loop begins: beyond all ends if it has no item."""
        return mine if self.active is None else self.at.select(self.active, mine, i64((1 << 62) - 1))

    def _along_lanes(
        self,
        scopes: Scopes,
        width: int,
        begin: ir.Value,
        end: ir.Value,
        main: Any,
        tail: Any,
        carry: Sequence[Any],
        rest: Sequence[Any] | Callable[[Sequence[Any]], Sequence[Any]] = (),
        parts: nest_fold.Folds | None = None,
    ) -> list[Any]:
        at = self.at
        if self.structure.scans and not self.structure.lane_is_kept:
            return self._in_step(scopes, end, tail, carry)

        def whole(index: ir.Value, carried: list[Any]) -> Sequence[Any]:
            return main([self._lane_scope(s, index, width, None) for s in scopes], carried)

        def one(index: ir.Value, carried: list[Any]) -> Sequence[Any]:
            return tail([self._lane_scope(s, index, 1, s.mask) for s in scopes], carried)

        first, step, start = begin, i64(1), rest(carry) if callable(rest) else rest
        done, middle = list(carry), begin
        kept = self.structure.lane_is_kept
        if not kept:
            first, step = self._begin(self.column), self.columns
        if width > 1:
            middle = at.sub(end, at.and_(at.sub(end, begin), i64(width - 1)))
            low = first if kept else self._begin(at.mul(self.column, i64(width)))
            done = list(self._in_parts(parts, self.nest.lane, low, middle, self._times(step, width), whole, carry))
        if not kept:
            middle = self._begin(at.add(middle, self.column))
        return [*done, *self._in_parts(None, self.nest.lane, middle, end, step, one, start)]

    def _in_step(self, scopes: Scopes, end: ir.Value, visit: Any, carry: Sequence[Any]) -> list[Any]:
        """A loop along the lanes in which all threads of a group take part to the end."""
        (scope,), at = scopes, self.at
        assert self.active is not None

        def body(base: ir.Value, carried: list[Any]) -> Sequence[Any]:
            index = at.add(base, self.column)
            there = at.and_(self.active, at.icmp_signed("<", index, end))
            return visit([self._lane_scope(scope, index, 1, Vec(at, there, "bool", 1))], carried)

        return [*carry, *self.loop(i64(0), end, self.columns, body, carry)]

    # -- folds -------------------------------------------------------------------------------------------------------

    def _finish(self, folds: nest_fold.Folds, carry: Sequence[Any], width: int) -> list[Vec]:
        if not self.structure.lane_is_kept:
            return super()._finish(folds, carry, width)
        pairs = zip(folds.folds, folds.apart(carry), strict=True)
        return [self.group.fold(i, accumulator)[-1] for (i, _), accumulator in pairs]

    def _across(self, fold: Instr, main: Accumulator, tail: Accumulator, width: int) -> Accumulator:
        monoid = str(fold.attr)
        if width > 1:
            tail = nest_fold.combine(monoid, nest_fold.across(monoid, main, 1), tail)
        return self.group.fold(fold, tail)

    def _scan_lanes(self, scope: Scope, number: int, maps: Maps, total: Vec) -> Accumulator:
        assert scope.mask is not None
        maps = nest_fold.neutral_behind(scope.mask, maps)
        if scans_alone(self.structure):
            scope.values[number] = nest_fold.follow(total, maps, self.target.fma)
            return (scope.values[number],)
        instr = self.nest.code[number]
        (value,) = (v for v in maps if v is not None)
        prefix, whole = self.group.scan(instr, value)
        scope.values[number] = nest_fold.combine(str(instr.attr), (total,), (prefix,))[0]
        return nest_fold.combine(str(instr.attr), (total,), (whole,))

    def _carried_on(self, carry: Sequence[Any]) -> list[Any]:
        return list(carry)

    # -- instructions ------------------------------------------------------------------------------------------------

    def _emit(self, scope: Scope, number: int, instr: Instr) -> Vec:
        known = len(self.module.globals)
        value = super()._emit(scope, number, instr)
        for name in list(self.module.globals)[known:]:
            found = self.module.globals[name]
            if isinstance(found, ir.Function) and not name.startswith("llvm."):
                raise NoKernelError(f"{instr.op} of {instr.dtype} has no code for {self.target.name} yet")
        return value
