"""The code of a Nest: its parameters, passes, instructions and places. How items, lanes and folds run is another matter:
`emit` says it for CPUs, `targets/simt` for machines of many threads. `kernels/nest.py` says what a Nest means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from llvmlite import ir

from ...kernels.dtypes import COMPUTE_KIND
from ...kernels.nest import SINKS, Access, Instr, Nest, access_number, is_float_sum, mode
from ...kernels.nest_structure import Structure
from ...kernels.target import Target
from .. import arithmetic
from ..flow import Flow, i64
from ..vector import ELEMENT, Vec, splat
from . import fold as nest_fold
from .fold import Accumulator, Maps
from .memory import AccessOperand, Memory, Range, Scope

Scopes = list[Scope]
"""Index tuples that are computed side by side: one, or the rows of a group (see Nest.rows)."""


class NestBody(Flow):
    """Emits one kernel. The position of every parameter follows from the Nest (`pack`, then the numbers of its split)."""

    widths: tuple[int, ...]
    """Lanes of the values in the main loop of each pass."""
    tail: int
    """Lanes of the values in the loop over the rest."""
    chunk: ir.Value
    """Lanes of a chunk, if the lane dim is kept."""

    def __init__(self, nest: Nest, target: Target, tiled: bool):
        super().__init__(tiled)
        self.nest, self.target, self.structure = nest, target, Structure(nest)
        self._position = 0
        self.extents = [self._next() for _ in range(nest.dims)]
        self.operands: list[AccessOperand] = []
        taken = 0
        for access in nest.accesses:
            if access.shared:
                self.operands.append(self._further(access))
            else:
                self.operands.append(self._operand(taken, access))
                taken += 1
        self._read_split()
        self.memory = self._in_memory(self.buffer(taken) if nest.needs_status else None)

    def text(self) -> str:
        """The LLVM IR of the module."""
        scope = Scope(
            {}, {}, (i64(0),) * len(self.operands), tuple(tuple(r.offset for r in o.ranges) for o in self.operands)
        )
        self._items(scope)
        self.at.ret_void()
        return str(self.module)

    # -- parameters ------------------------------------------------------------------------------------------------

    def _next(self) -> ir.Value:
        self._position += 1
        return self.parameter(self._position - 1)

    def _operand(self, number: int, access: Access) -> AccessOperand:
        if access.dtype.startswith("param_"):
            return AccessOperand(access, ir.Constant(ir.PointerType(), None), {}, (), (), self._next())
        strides = {
            d: self._next() if step == "n" else i64(int(step)) for d, step in enumerate(access.steps) if step != "0"
        }
        ranges = self._ranges(access)
        indirect = tuple((self._next(), self._next()) for _ in range(access.indirect))
        buffer = ir.Constant(ir.PointerType(), None) if access.dtype == "iota" else self.buffer(number)
        return AccessOperand(access, buffer, strides, ranges, indirect)

    def _further(self, access: Access) -> AccessOperand:
        """An access in the buffer of the one before it."""
        first = next(x for x in reversed(self.operands) if not x.access.shared)
        buffer = self.at.gep(first.buffer, [self._next()], source_etype=ELEMENT[first.kind])
        return AccessOperand(access, buffer, first.strides, self._ranges(access), ())

    def _ranges(self, access: Access) -> tuple[Range, ...]:
        ranges = []
        for bound in access.bounds:
            offset, limit = self._next(), self._next()
            coefficients = {d: self._next() for d in bound.dims}
            values = {v: self._next() for v in bound.values}
            ranges.append(Range(offset, limit, coefficients, values, self._next() if bound.divisor else None))
        return tuple(ranges)

    # -- how the machine runs it -------------------------------------------------------------------------------------

    def _read_split(self) -> None:
        """Take the numbers of the split from the parameters, and set `widths`, `tail` and `chunk`."""
        raise NotImplementedError

    def _in_memory(self, status: ir.Value | None) -> Memory:
        """What emits loads and stores. status: the address of the status word."""
        raise NotImplementedError

    def _items(self, scope: Scope) -> None:
        """Emit `_item` for all items of a call."""
        raise NotImplementedError

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
        """Loop over the vectors from `begin` to `end`: `main(scopes, carry)` for whole groups of `width`, then
        `tail(scopes, rest)`. Returns what both carry, in one list.

        The tail's loop may do all the work. rest: what it begins with, or a function that computes it from what the
        main loop carried out.
        """
        raise NotImplementedError

    def _turns(self, depth: int) -> tuple[ir.Value, int | ir.Value]:
        """Where the loop over a reduced dim other than the lane begins, and its step. depth: its place among them."""
        return i64(0), 1

    def _across(self, fold: Instr, main: Accumulator, tail: Accumulator, width: int) -> Accumulator:
        """The fold of the row, if the lane dim is reduced, from what the two loops along the lanes have folded."""
        raise NotImplementedError

    def _scan_lanes(self, scope: Scope, number: int, maps: Maps, total: Vec) -> Accumulator:
        """Give a scan along the lanes its value here; returns the next carry. total: the carry so far."""
        raise NotImplementedError

    def _carried_on(self, carry: Sequence[Any]) -> list[Any]:
        """The carries of scans out of the main loop, in the lanes of the tail."""
        raise NotImplementedError

    def _at_places(
        self,
        scopes: Scopes,
        visit: Callable[[Scopes, Sequence[Any]], Sequence[Any]],
        carry: Sequence[Any],
        wanted: frozenset[int] | None = None,
    ) -> Sequence[Any]:
        """Call `visit` for one place of the interleaved dim after the other, if there is one."""
        return visit(scopes, carry)

    def _ask_for_next(self, scopes: Scopes) -> None:
        """Prefetch the operands of what follows these rows, if that helps."""

    # -- loops over kept dims ----------------------------------------------------------------------------------------

    def _item(self, scope: Scope, chunk: ir.Value) -> tuple[()]:
        self._serial(scope, [d for d in range(self.structure.parallel, self.nest.kept) if d != self.nest.lane], chunk)
        return ()

    def _serial(self, scope: Scope, dims: Sequence[int], chunk: ir.Value) -> None:
        """Loops over the kept dims that run in order inside an item."""
        if not dims:
            self._lanes(scope, chunk)
            return

        def body(index: ir.Value, _: list[Any]) -> tuple[()]:
            inner = self.memory.enter(scope, self.operands, dims[0], index)
            self._settle(inner, 0)
            self._serial(inner, dims[1:], chunk)
            return ()

        self.loop(i64(0), self._end(dims[0], [scope]), 1, body)

    def _end(self, dim: int, scopes: Scopes) -> ir.Value:
        """Where the loop over a dim ends: at its extent, or earlier if everything from there on is neutral for all
        lanes."""
        high: ir.Value = self.extents[dim]
        for value in (v for d, v in self.nest.ends if d == dim):
            known = [scope.values[value] for scope in scopes if value in scope.values]
            if len(known) == len(scopes):  # a value of an inner loop is not known here
                ends = [nest_fold.across("max", (v,), 1)[0].value for v in known]
                last: ir.Value = i64(0)
                for end in ends:
                    last = self.at.select(self.at.icmp_signed(">", end, last), end, last)
                high = self.minimum(last, high)
        return high

    def _lanes(self, scope: Scope, chunk: ir.Value) -> None:
        """One chunk of the lane dim if that is kept."""
        if not self.structure.lane_is_kept:
            self._row([scope])
            return
        begin, end = self._chunk_limits(chunk)
        if any(dim == self.nest.lane for dim, _ in self.nest.ends):
            end = self.minimum(end, self._end(self.nest.lane, [scope]))
            end = self.at.select(self.at.icmp_signed("<", end, begin), begin, end)

        def body(inner: Scopes, _: list[Any]) -> tuple[()]:
            if self.structure.reduced:
                self._row(inner)
                return ()
            for scope in inner:
                self._settle(scope, 0)
            self._at_places(inner, place, ())
            return ()

        def place(inner: Scopes, _: Sequence[Any]) -> tuple[()]:
            self._row(inner)
            return ()

        self._along_lanes([scope], self.widths[0], begin, end, body, body, ())

    def _chunk_limits(self, chunk: ir.Value) -> tuple[ir.Value, ir.Value]:
        begin = self.at.mul(chunk, self.chunk)
        return begin, self.minimum(self.at.add(begin, self.chunk), self.extents[self.nest.lane])

    def _lane_scope(self, scope: Scope, index: ir.Value, width: int, mask: Vec | None) -> Scope:
        return replace(self.memory.enter(scope, self.operands, self.nest.lane, index), width=width, mask=mask)

    # -- one kept index tuple (or a vector of them), or several side by side ----------------------------------------------

    def _row(self, scopes: Scopes) -> None:
        self._find(scopes)
        for scope in scopes:
            for i in self.structure.row_sinks:
                self._sink(scope, i)

    def _find(self, scopes: Scopes) -> None:
        """All row values. A Nest without reduced dims may have reduces too; each folds a single value."""
        for scope in scopes:
            self._settle(scope, 0)
        for number, sinks in enumerate(self.structure.passes):
            for scope, results in zip(scopes, self._pass(scopes, number, sinks), strict=True):
                scope.values.update(results)
                self._settle(scope, number + 1)

    def _pass(self, scopes: Scopes, number: int, sinks: tuple[int, ...]) -> list[dict[int, Vec]]:
        """One run over the reduced dims. Returns the values of its reduces for each scope."""
        folds = [i for i in sinks if self.nest.code[i].op == "reduce"]
        scans = [i for i in self.structure.scans if i in self.structure.needed(number)]
        wanted, ready = self.structure.needed(number), self.structure.ready(number)
        leaves = [(value, access) for value, (first, access) in self.structure.spilled.items() if first == number]
        width = scopes[0].width if self.structure.lane_is_kept else self.widths[number]
        dims = [d for d in self.structure.reduced if d not in (self.nest.lane, self.structure.interleaved)]
        every = self._folds((folds or scans) * len(scopes))  # no Nest has both
        begun = every.begin(width) + ([] if self.structure.lane_is_kept else every.begin(self.tail))
        parts = every if any(is_float_sum(self.nest.code[i]) for i in folds) else None

        def level(outer: Scopes, depth: int, carry: Sequence[Any]) -> Sequence[Any]:
            for scope in outer:
                self._settle(scope, number, wanted, ready)
            if depth < len(dims):

                def body(index: ir.Value, carried: list[Any]) -> Sequence[Any]:
                    inner = [self.memory.enter(s, self.operands, dims[depth], index) for s in outer]
                    return level(inner, depth + 1, carried)

                begin, step = self._turns(depth)
                return self._in_parts(parts, dims[depth], begin, self._end(dims[depth], outer), step, body, carry)
            if self.structure.lane_is_kept:
                return visit(outer, carry)
            half = len(carry) // 2
            rest = self._carried_on if scans else carry[half:]
            return self._along_lanes(
                outer, width, i64(0), self._end(self.nest.lane, outer), visit, visit, carry[:half], rest, parts
            )

        def visit(inner: Scopes, carry: Sequence[Any]) -> Sequence[Any]:
            for scope in inner:
                self._settle(scope, number, wanted, ready)
            if self.structure.interleaved in self.structure.reduced:  # otherwise these scopes are at one of its places
                return self._at_places(inner, at_place, carry, wanted)
            return at_place(inner, carry)

        def at_place(inner: Scopes, carry: Sequence[Any]) -> Sequence[Any]:
            """Everything is loaded before anything is stored, because a row may appear here twice."""
            for scope in inner:
                self._settle(scope, number, wanted, ready)
            rest, joined = iter(every.apart(carry)), []
            for scope in inner:
                joined += [self._join(scope, i, next(rest)) for i in folds]
                joined += [self._scan(scope, i, next(rest)) for i in scans]
            if number == 1 and inner[0].width == width:
                self._ask_for_next(inner)
            for scope in inner:
                for value, access in leaves:
                    self._write(scope, access, value)
                for i in sinks:
                    if self.nest.code[i].op in SINKS:
                        self._sink(scope, i)
            return nest_fold.flat(joined)

        carried = level(scopes, 0, begun)
        values = self._finish(every, carried, width) if folds else []
        return [dict(zip(folds, values[len(folds) * k :], strict=False)) for k in range(len(scopes))]

    def _in_parts(
        self,
        folds: nest_fold.Folds | None,
        dim: int,
        low: ir.Value,
        high: ir.Value,
        step: int | ir.Value,
        body: Callable[[ir.Value, list[Any]], Sequence[Any]],
        carry: Sequence[Any],
    ) -> Sequence[Any]:
        """A loop over a reduced dim. If the Nest has parts, it folds each part on its own and then the parts."""
        sizes = [turns for d, turns in self.nest.parts if d == dim and folds is not None]

        def run(sizes: Sequence[int], low: ir.Value, high: ir.Value, carry: Sequence[Any]) -> Sequence[Any]:
            if not sizes:
                return self.loop(low, high, step, body, carry)
            size = sizes[-1]

            def part(start: ir.Value, before: list[Any]) -> Sequence[Any]:
                assert folds is not None
                anew = folds.anew(before)
                end = self.minimum(self.at.add(start, self._times(step, size)), high)
                return folds.joined(before, body(start, anew) if size == 1 else run(sizes[:-1], start, end, anew))

            return self.loop(low, high, self._times(step, size), part, carry)

        return run(sizes, low, high, carry)

    def _times(self, step: int | ir.Value, turns: int) -> ir.Value:
        return i64(step * turns) if isinstance(step, int) else self.at.mul(step, i64(turns))

    def _finish(self, folds: nest_fold.Folds, carry: Sequence[Any], width: int) -> list[Vec]:
        """The value of each reduce, from what the loops carried out. If the lane dim is reduced, the lanes are folded
        too."""
        if self.structure.lane_is_kept:
            finished = folds.apart(carry)
        else:
            half = len(carry) // 2
            pairs = zip(folds.folds, folds.apart(carry[:half]), folds.apart(carry[half:]), strict=True)
            finished = [self._across(i, main, tail, width) for (i, _), main, tail in pairs]
        return [accumulator[-1] for accumulator in finished]

    # -- accumulators ------------------------------------------------------------------------------------------------

    def _folds(self, numbers: Sequence[int]) -> nest_fold.Folds:
        """The accumulators of these reduces or scans."""
        instrs = [self.nest.code[i] for i in numbers]
        pairs = [(i, [i.dtype] if i.op == "scan" else [self.nest.code[a].dtype for a in i.args]) for i in instrs]
        return nest_fold.Folds(self.at, [(i, tuple(COMPUTE_KIND[d] for d in dtypes)) for i, dtypes in pairs])

    def _join(self, scope: Scope, fold: int, accumulator: Accumulator) -> Accumulator:
        instr = self.nest.code[fold]
        factors = self._factors(instr)
        if factors:
            a, b = (self._lanes_of(scope, i, scope.width) for i in factors)
            joined: Accumulator = (a.fma(b, accumulator[0]),)
        else:
            value = tuple(self._lanes_of(scope, a, scope.width) for a in instr.args)
            joined = nest_fold.combine(str(instr.attr), accumulator, value)
        if scope.mask is None:
            return joined
        mask = scope.mask
        return tuple(mask.where(new, old) for new, old in zip(joined, accumulator, strict=True))

    def _scan(self, scope: Scope, number: int, before: Accumulator) -> Accumulator:
        """Give a scan its value here, from the carry so far; returns the next carry. If the lanes run along the scanned
        dim, all lanes of a carry are equal."""
        instr, (total,) = self.nest.code[number], before
        maps = nest_fold.maps(str(instr.attr), [self._lanes_of(scope, a, scope.width) for a in instr.args])
        if not self.structure.lane_is_kept:
            return self._scan_lanes(scope, number, maps, total)
        scope.values[number] = nest_fold.follow(total, maps, self.target.fma)
        return (scope.values[number],)

    def _factors(self, fold: Instr) -> tuple[int, int] | None:
        """The factors of a sum of products, if one instruction multiplies and adds."""
        product = self.nest.code[fold.args[0]]
        if fold.attr != "sum" or not self.target.fma or not product.dtype.startswith("float"):
            return None
        if product.op == "square":
            return product.args[0], product.args[0]
        return (product.args[0], product.args[1]) if product.op == "mul" else None

    # -- instructions --------------------------------------------------------------------------------------------------

    def _settle(
        self, scope: Scope, stage: int, wanted: frozenset[int] | None = None, ready: frozenset[int] = frozenset()
    ) -> None:
        """Emit every needed value that can be known here, as far outside the loops as possible. Values that are `ready`
        are loaded."""
        known = frozenset(scope.index)
        for i, instr in enumerate(self.nest.code):
            if i in scope.values or i not in self.structure.live or instr.op in ("reduce", "scan", *SINKS):
                continue
            if (
                self.structure.stage[i] <= stage
                and self.structure.varies[i] <= known
                and (wanted is None or i in wanted)
            ):
                scope.values[i] = self._reload(scope, i) if i in ready else self._emit(scope, i, instr)

    def _reload(self, scope: Scope, number: int) -> Vec:
        """A value that an earlier pass has stored."""
        _, access = self.structure.spilled[number]
        return self.memory.read(self.memory.place(scope, self.operands[access], access, True))

    def _emit(self, scope: Scope, number: int, instr: Instr) -> Vec:
        kind = COMPUTE_KIND[instr.dtype]
        if instr.op == "const":
            return arithmetic.constant_of(self.at, instr, 1)
        if instr.op == "index":
            assert isinstance(instr.attr, int)
            if instr.attr == self.nest.lane and scope.width > 1:
                return self.memory.along_lanes(scope.index[instr.attr], i64(1), scope.width)
            return Vec(self.at, scope.index[instr.attr], "i64", 1)
        varies = self.nest.lane in self.structure.varies[number]
        if instr.op in ("load", "gather"):
            return self._load(scope, instr, varies).to(kind)
        width = max((scope.values[a].lanes for a in instr.args), default=1)
        return arithmetic.apply(instr, [self._lanes_of(scope, a, width) for a in instr.args], self.target.half)

    def _load(self, scope: Scope, instr: Instr, varies: bool) -> Vec:
        a = access_number(instr)
        operand, dtype = self.operands[a], self.nest.accesses[a].dtype
        if operand.number is not None:
            return arithmetic.parameter(self.at, operand.number, dtype.removeprefix("param_"))
        if dtype == "iota":
            if varies and scope.width > 1:
                return self.memory.along_lanes(scope.offsets[a], operand.strides[self.nest.lane], scope.width)
            return Vec(self.at, scope.offsets[a], "i64", 1)
        indices = [self._lanes_of(scope, i, scope.values[i].lanes) for i in instr.args]
        return self.memory.read(self.memory.place(scope, operand, a, varies, indices))

    def _sink(self, scope: Scope, number: int) -> None:
        """A store or scatter. One that does not move along the lanes writes one element, on which all lanes agree."""
        instr = self.nest.code[number]
        indices = [scope.values[i] for i in instr.args[1:]]
        self._write(scope, access_number(instr), instr.args[0], indices, mode(instr))

    def _write(self, scope: Scope, access: int, value: int, indices: Sequence[Vec] = (), how: str = "set") -> None:
        moves = self.nest.lane in self.structure.moves[access] or any(index.lanes > 1 for index in indices)
        place = self.memory.place(scope, self.operands[access], access, moves, indices)
        self.memory.write(place, self._lanes_of(scope, value, place.lanes), how)

    def _lanes_of(self, scope: Scope, number: int, lanes: int) -> Vec:
        """A value in this many lanes."""
        v = scope.values[number]
        if v.lanes == lanes:
            return v
        if lanes == 1:
            return nest_fold.first_lane(v)
        instr = self.nest.code[number]
        if instr.op == "const":
            return arithmetic.constant_of(self.at, instr, lanes)
        return splat(self.at, v.value, v.kind, lanes)
