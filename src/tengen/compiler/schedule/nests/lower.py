"""Turns a map/reduce group into a `Nest`: operands become accesses, nodes become instructions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import lru_cache
from math import inf, prod
from typing import Any, NamedTuple

from ...kernels.device import DeviceGrid
from ...kernels.dtypes import COMPUTE, NARROW_FLOATS, NARROW_INTS
from ...kernels.nest import (
    SINKS,
    Access,
    AccessNumbers,
    Instr,
    Nest,
    access_number,
    instruction_cost,
    mode,
    pack,
    why_not_end,
)
from ...kernels.nest_tiling import NestSource
from ...kernels.target import DeviceTarget, Target
from ...program import (
    Constant,
    Elementwise,
    Gather,
    Node,
    Number,
    Place,
    Prefix,
    Reduction,
    Scatter,
    Type,
    Value,
    ViewOp,
)
from ...view import Edge, View, contiguous, dense
from ..places import UNIFORM, Location
from .loops import Index, Jumps, Loops, arrange, memory_order, without_cross
from .refine import crosses, interleaves, parts, rows, spills
from .words import PAIR, WORD, as_words, halved, moved, paired

NARROW = frozenset(NARROW_FLOATS)


class Operand(NamedTuple):
    """One buffer of the kernel: its number, where its elements lie over the iteration shape, and how each index that is
    a value moves in it."""

    buffer: int | None
    dtype: str
    view: View
    indirect: tuple[Index, ...] = ()
    parameter: float | int = 0


class Emitter:
    """Collects the instructions and operands of one kernel. Ops get it as `e` in `Elementwise.emit`."""

    def __init__(
        self, locate: Callable[..., Location], shape: Sequence[int], over: Callable[[View], View] | None = None
    ):
        shape = tuple(shape)
        self.locate, self.shape = locate, shape  # of the loops
        self.over = over or (lambda view: view.broadcast(shape))  # a view of a value, as the loops see it
        self.order: tuple[View, ...] = ()  # what the order of the loops follows, before the operands
        self.code: list[Instr] = []
        self.operands: list[Operand] = []
        self._places: dict[Any, int] = {}
        self._numbers: dict[Value, int] = {}
        self._known: dict[Any, int] = {}
        self._guards: dict[int, Guard] = {}  # values that are the same from some places on
        self._rows: dict[int, View] = {}  # accesses with indices that read rows: how their results would lie alike

    def seen(self, over: Callable[[View], View]) -> Emitter:
        """An emitter for the same kernel whose loops see values in another way. Both append to the same code."""
        other = copy(self)
        other.over = over
        return other

    def __call__(self, op: str, *args: int, dtype: str, attr: object = None) -> int:
        """Append one instruction (or find an equal one); returns the number of its value."""
        instr, number = Instr(op, args, dtype, attr), len(self.code)
        if op not in SINKS:
            key: Any = (instr, repr(attr)) if op == "const" else instr  # 0.0 equals -0.0
            if (known := self._known.setdefault(key, number)) != number:
                return known
        self.code.append(instr)
        return number

    @staticmethod
    def compute(dtype: str) -> str:
        """The dtype in which values stored as `dtype` are computed."""
        return COMPUTE[dtype]

    def cast(self, value: int, dtype: str) -> int:
        """Convert to the compute dtype of the storage dtype `dtype`."""
        compute, own = COMPUTE[dtype], self.code[value].dtype
        if own == compute:
            return value
        odd = dtype in NARROW_FLOATS and (own == "float64" or (dtype == "bfloat16" and self._is_long(value)))
        return self("cast", value, dtype=compute, attr="odd" if odd else None)

    def _is_long(self, value: int) -> bool:
        """Whether a value is an integer that float32 may not hold exactly. Beyond 2²⁴, a float16 is infinite anyway."""
        instr = self.code[value]
        if instr.op == "load":
            return self.operands[access_number(instr)].dtype in ("int32", "int64", "weak_int", "param_int64", "iota")
        return instr.dtype in ("int32", "int64") and instr.op != "wrap"

    def narrow(self, value: int, dtype: str) -> int:
        """Wrap an int32 value to a narrow integer's range, as storing it would."""
        return self("wrap", value, dtype="int32", attr=dtype) if dtype in NARROW_INTS else value

    def within(self, value: int, limits: Sequence[tuple[int, int, int]], fill: float, shape: Sequence[int]) -> int:
        """A value of this shape where the place along each axis of `limits`, (axis, place, limit), is below its limit,
        otherwise `fill`."""
        inside = None
        for _, place, limit in limits:
            here = self("lt", place, limit, dtype="bool")
            inside = here if inside is None else self("and", inside, here, dtype="bool")
        if inside is None:
            return value
        dtype = self.code[value].dtype
        made = self("select", inside, value, self("const", dtype=dtype, attr=fill), dtype=dtype)
        if tuple(shape) == self.shape:
            self._guards[made] = Guard(fill, tuple([(axis, limit) for axis, _, limit in limits]))
        return made

    def define(self, value: Value, number: int) -> None:
        """Say which instruction computes a value."""
        self._numbers[value] = number

    def operand(self, operand: Operand) -> int:
        """The number of the access to this buffer."""
        key: Any = operand
        if operand.buffer is None or operand.view.edges:
            key = operand, repr((operand.view.fill, operand.parameter))  # 0.0 equals -0.0
        number = self._places.setdefault(key, len(self.operands))
        if number == len(self.operands):
            self.operands.append(operand)
        return number

    def value(self, value: Value) -> int:
        """The number of a value: it is computed here, a constant, or loaded."""
        if value not in self._numbers:
            self._numbers[value] = self._make(value)
        return self._numbers[value]

    def _make(self, value: Value) -> int:
        node = value.node
        if node is not None and isinstance(node.op, Constant):
            return self("const", dtype=COMPUTE[node.op.dtype], attr=node.op.value)
        if node is not None and isinstance(node.op, Number):
            compute = COMPUTE[node.op.dtype]
            operand = Operand(None, f"param_{compute}", View((), ()).broadcast(self.shape), parameter=node.op.value)
            return self("load", dtype=compute, attr=self.operand(operand))
        if node is not None and self.locate(value) is UNIFORM:
            self.node(node)
            return self._numbers[value]
        place = self.locate(value)
        return self.load(value, place, place.view)

    def load(self, value: Value, place: Location, view: View) -> int:
        """The number of an element of `place`, at `view`. `value` gives the dtype."""
        if place.buffer is not None:
            return self(
                "load",
                dtype=COMPUTE[value.dtype],
                attr=self.operand(Operand(place.buffer, value.dtype, self.over(view))),
            )
        # A running number is the address itself.
        address = self(
            "load", dtype="int64", attr=self.operand(Operand(None, "iota", self.over(view._replace(offset=0))))
        )
        return (
            self("add", address, self("const", dtype="int64", attr=view.offset), dtype="int64")
            if view.offset
            else address
        )

    def node(self, node: Node) -> None:
        """Append the instructions of an element-wise, reducing or gathering node."""
        op, out = node.op, node.outputs[0]
        if isinstance(op, Elementwise):
            types = [v.type for v in node.inputs]
            number = op.emit(self, [self.value(v) for v in node.inputs], types, out.type)
        elif isinstance(op, ViewOp):
            number = self.value(node.inputs[0])
        elif isinstance(op, Reduction):
            args = [self.value(v) for v in node.inputs]
            number = self.reduce(args, op.monoid, out.dtype)
        elif isinstance(op, Prefix):
            args = [self.cast(self.value(v), out.dtype) for v in node.inputs]
            number = self("scan", *args, dtype=COMPUTE[out.dtype], attr=op.monoid)
        else:
            assert isinstance(op, Gather)
            number = self._gather(op, node)
        self._numbers[out] = number

    def reduce(self, args: Sequence[int], monoid: str, dtype: str) -> int:
        """Fold a value (for argmax and argmin with its index) into a row value of this dtype."""
        if monoid.startswith("arg"):
            if self.code[args[0]].dtype == "bool":
                args = [self.cast(args[0], "int32"), args[1]]
            return self("reduce", *args, dtype=COMPUTE[dtype], attr=monoid)
        if dtype == "bool":
            monoid = {"max": "any", "max_number": "any", "min": "all"}[monoid]
        number = self("reduce", self.cast(args[0], dtype), dtype=COMPUTE[dtype], attr=monoid)
        return self.narrow(number, dtype) if monoid in ("sum", "prod") else number

    def _gather(self, op: Gather, node: Node) -> int:
        source, *indices = node.inputs
        place = self.locate(source, indexed=True)
        access = self._indexed(place, source.dtype, op, node.outputs[0].shape)
        if rows := rows_like(op, place.view, node.outputs[0].shape):
            self._rows[access] = self.over(rows)
        return self(
            "gather", *self._indices(op, indices, node.outputs[0].shape), dtype=COMPUTE[source.dtype], attr=access
        )

    def _indices(self, op: Gather | Scatter, indices: Sequence[Value], shape: tuple[int, ...]) -> list[int]:
        extents = tuple(shape[d] for d in op.index_dims)
        numbers = []
        for index in indices:
            place = self.locate(index)
            if place is UNIFORM:
                numbers.append(self.cast(self.value(index), "int64"))
                continue
            # The index's own dims become `index_dims` of the output; along the others the index does not move.
            view = reshaped(place.view.broadcast(extents), (*extents, *[1] * (len(shape) - len(extents))))
            rest = iter(range(len(extents), len(shape)))
            order = [op.index_dims.index(d) if d in op.index_dims else next(rest) for d in range(len(shape))]
            numbers.append(self.cast(self.load(index, place, view.permute(order)), "int64"))
        return numbers

    def _indexed(
        self, place: Location, dtype: str, op: Gather | Scatter, shape: tuple[int, ...], chosen: bool = False
    ) -> int:
        """The access to `place`, indexed as `op` says, where the op's output or update has shape `shape`.

        chosen: there is one more index, 1 where the element is there and 0 where it is not.
        """
        view = place.view
        if chosen:
            view = view._replace(edges=(*view.edges, Edge((0,) * len(view.shape), -1, 1)))
        moved = view.along(shape, [None if d < 0 else d for d in op.sources])
        indirect = tuple(
            Index(view.strides[d], view.shape[d], tuple([e.coefficients[d] for e in view.edges])) for d in op.axes
        )
        if chosen:
            indirect = (*indirect, Index(0, 2, (*(0 for _ in view.edges[1:]), 1)))
        return self.operand(Operand(place.buffer, dtype, self.over(moved), indirect))

    def set_last(self, op: Scatter, node: Node, base: Location, last: Location, number: int) -> None:
        """Append the write of input 1 into the buffer of `base` where `last`, which lies like it, holds this number."""
        value, dtype = node.inputs[1], node.inputs[0].dtype
        indices = self._indices(op, node.inputs[2:], value.shape)
        seen = self("gather", *indices, dtype="int32", attr=self._indexed(last, "int32", op, value.shape))
        chosen = self("cast", self("eq", seen, number, dtype="bool"), dtype="int64")
        access = self._indexed(base, dtype, op, value.shape, chosen=True)
        written = self.cast(self.value(value), dtype)
        self("scatter", written, *indices, chosen, dtype=COMPUTE[dtype], attr=(access, "set"))

    def write(self, op: Scatter | Place, node: Node, base: Location) -> None:
        """Append the write of input 1 into the buffer of `base`, which already holds input 0."""
        target, value = node.inputs[:2]
        number = self.cast(self.value(value), target.dtype)
        if isinstance(op, Place) and op.mode == "set":
            access, _ = self._written(op, node, base, target.dtype)
            self("store", number, dtype=COMPUTE[target.dtype], attr=access)
        else:
            self.put(op, node, base, number, target.dtype, op.mode)

    def put(self, op: Scatter | Place, node: Node, base: Location, number: int, dtype: str, mode: str) -> None:
        """Append a scatter of a number where a node writes, into a buffer of this dtype that lies like its input 0."""
        access, indices = self._written(op, node, base, dtype)
        self("scatter", number, *indices, dtype=COMPUTE[dtype], attr=(access, mode))

    def _written(self, op: Scatter | Place, node: Node, base: Location, dtype: str) -> tuple[int, list[int]]:
        """The access and the indices of a write into `base`."""
        if isinstance(op, Scatter):
            shape = node.inputs[1].shape
            return self._indexed(base, dtype, op, shape), self._indices(op, node.inputs[2:], shape)
        view = op.where.view(base.view)
        assert view is not None, "a dense buffer can be viewed"
        return self.operand(Operand(base.buffer, dtype, self.over(view))), []

    def store(self, value: Value, buffer: int, view: View) -> None:
        """Append the store of a value; `view` is over the value's own shape."""
        access = self.operand(Operand(buffer, value.dtype, self.over(view)))
        self("store", self.cast(self.value(value), value.dtype), dtype=COMPUTE[value.dtype], attr=access)

    def copy(
        self, dtype: str, source: int | None, where: View, target: int, layout: View, stored: str | None = None
    ) -> None:
        """Append a copy between two buffers. Both views are over the loops' shape. stored: the dtype to convert to."""
        element = self("load", dtype=COMPUTE[dtype], attr=self.operand(Operand(source, dtype, where)))
        stored = stored or dtype
        number = self.cast(element, stored)
        self("store", number, dtype=COMPUTE[stored], attr=self.operand(Operand(target, stored, layout)))

    def fill(self, dtype: str, target: int, layout: View) -> None:
        """Append a store of zeros."""
        compute = COMPUTE[dtype]
        zero = self("const", dtype=compute, attr=0)
        self("store", zero, dtype=compute, attr=self.operand(Operand(target, dtype, layout)))

    def copy_words(self, source: int, parts: Sequence[View], target: int, layout: View) -> None:
        """Append a copy of two 16-bit or four 8-bit elements into words of 32 bits. The views say where the parts lie,
        the lowest first."""
        width = 32 // len(parts)
        loads = [self.operand(Operand(source, f"uint{width}", view)) for view in parts]
        word, *higher = (self("load", dtype="int32", attr=access) for access in loads)
        for number, part in enumerate(higher, 1):
            bits = self("const", dtype="int32", attr=number * width)
            word = self("or", word, self("shl", part, bits, dtype="int32"), dtype="int32")
        self("store", word, dtype="int32", attr=self.operand(Operand(target, "int32", layout)))

    def round_pairs(self, source: int, halves: Sequence[View], target: int, layout: View) -> None:
        """Append a copy of pairs of float32 elements into words, rounded to bfloat16: to nearest, and to even from the
        middle."""

        def number(value: int) -> int:
            return self("const", dtype="int32", attr=value)

        def rounded(view: View) -> int:
            """An element's bits; the upper half is that of the bfloat16."""
            bits = self("load", dtype="int32", attr=self.operand(Operand(source, "int32", view)))
            odd = self("and", self("shr", bits, number(16), dtype="int32"), number(1), dtype="int32")
            up = self("add", bits, self("add", odd, number(0x7FFF), dtype="int32"), dtype="int32")
            size = self("and", bits, number(0x7FFFFFFF), dtype="int32")
            nan = self("gt", size, number(0x7F800000), dtype="bool")
            return self("select", nan, self("or", bits, number(0x400000), dtype="int32"), up, dtype="int32")

        low, high = map(rounded, halves)
        lower = self("and", self("shr", low, number(16), dtype="int32"), number(0xFFFF), dtype="int32")
        word = self("or", lower, self("and", high, number(-0x10000), dtype="int32"), dtype="int32")
        self("store", word, dtype="int32", attr=self.operand(Operand(target, "int32", layout)))

    def loads(self) -> list[View]:
        """The views of everything loaded so far. The most important ones for the order of loops and results come first."""
        return by_importance([self._rows.get(i, o.view) for i, o in enumerate(self.operands)])

    def finish(self, reduced: Sequence[int], target: Target, serial: Sequence[int] = ()) -> Finished:
        """The kernel and what its launch needs, computed once for all emitters that do the same with operands that lie
        alike."""
        code: Sequence[Instr] = self.code
        dtypes = [o.dtype for o in self.operands]
        words: frozenset[int] = frozenset()
        if not NARROW.isdisjoint(dtypes):
            words = moved(code, dtypes, [o.view.fill for o in self.operands], signs=not self._guards)
            code, dtypes = as_words(code, words), [WORD if a in words else dtype for a, dtype in enumerate(dtypes)]
        places: Places = tuple(
            [(t, o.view, o.indirect, o.parameter) for t, o in zip(dtypes, self.operands, strict=True)]
        )
        shape, order = self.shape, self.order
        if words and not (
            reduced or serial or self._guards or isinstance(target, DeviceTarget)
        ):  # GPUs want aligned words
            shape, places, order = _in_pairs(shape, places, order, words)
        given = [o.parameter for o in self.operands if o.buffer is None]
        exact = exactly(code, places) + (repr(given) if given else "")
        ends = _ends(self.code, self._guards) if self._guards else ()
        how = tuple(reduced), target, tuple(serial), ends
        return _finished(shape, tuple(code), places, order, *how, exact)


class Guard(NamedTuple):
    """The value that a value has from some places on. ends: pairs (iteration axis, number of the value that says from
    where)."""

    fill: float
    ends: tuple[tuple[int, int], ...]


#: monoid → its neutral number
NEUTRAL = {"sum": 0.0, **dict.fromkeys(("max", "max_number", "argmax"), -inf), **dict.fromkeys(("min", "argmin"), inf)}


def _ends(code: Sequence[Instr], guards: Mapping[int, Guard]) -> tuple[tuple[int, int], ...]:
    """Where loops over iteration axes may end, because everything that the kernel folds or adds to memory is neutral
    from there on."""
    found: set[tuple[int, int]] | None = None
    for instr in code:
        if instr.op == "reduce":
            neutral = NEUTRAL.get(str(instr.attr))
        elif instr.op == "scatter":
            neutral = None if mode(instr) == "set" else 0.0
        else:
            continue
        ends = set() if neutral is None else _guarded(code, guards, instr.args[0], neutral)
        found = ends if found is None else found & ends
    return tuple(sorted(found or ()))


def _guarded(code: Sequence[Instr], guards: Mapping[int, Guard], number: int, fill: float) -> set[tuple[int, int]]:
    """The places from which on a value is `fill`. A product has the places of a factor that becomes 0."""
    if number in guards:
        return set(guards[number].ends) if guards[number].fill == fill else set()
    instr = code[number]
    if instr.op == "cast" or (instr.op == "mul" and fill == 0):
        return set().union(*(_guarded(code, guards, a, fill) for a in instr.args))
    return set()


class Finished(NamedTuple):
    """A kernel with its loops, and the parameters, tiles and work of a launch. blocks: how a GPU runs it; its tiles are
    blocks."""

    source: NestSource
    loops: Loops
    params: tuple[int, ...]
    tiles: int
    work: int
    blocks: DeviceGrid | None = None


Places = tuple[tuple[str, View, tuple[Index, ...], float], ...]
"""Everything about operands but their buffers."""


def _in_pairs(
    shape: tuple[int, ...], places: Places, order: tuple[View, ...], words: frozenset[int]
) -> tuple[tuple[int, ...], Places, tuple[View, ...]]:
    """The same with words in pairs, if their number allows that."""
    both = [(*(view for a, (_, view, *_) in enumerate(places) if (a in words) == wanted),) for wanted in (True, False)]
    indices = [index.stride for a in words for index in places[a][2]]
    if (dim := paired(shape, (*both[0], *order), both[1], indices)) is None:
        return shape, places, order
    made = list(places)
    for a in words:
        _, view, indirect, parameter = places[a]
        half = tuple([index._replace(stride=index.stride // 2) for index in indirect])
        made[a] = PAIR, halved(view, dim), half, parameter
    for a in set(range(len(places))) - words:
        dtype, view, indirect, parameter = places[a]
        made[a] = dtype, view._replace(shape=halved(view, dim).shape), indirect, parameter
    return halved(View(shape, shape), dim).shape, tuple(made), tuple([halved(view, dim) for view in order])


@lru_cache(256)
def _finished(
    shape: tuple[int, ...],
    code: tuple[Instr, ...],
    places: Places,
    order: tuple[View, ...],
    reduced: tuple[int, ...],
    target: Target,
    serial: tuple[int, ...],
    ends: tuple[tuple[int, int], ...],
    _: str,
) -> Finished:
    views = *order, *by_importance([view for _, view, *_ in places])
    ragged, threads = [axis for axis, _ in ends], not target.shuffles
    how = target.lanes, serial, ragged, threads, _jumps(code, places)
    loops = arrange(shape, reduced, views, *how, weaves=target.shuffles)
    nest, numbers = _over(loops, code, places)
    if loops.cross is not None and not crosses(nest, target):
        loops = without_cross(loops, views)
        nest, numbers = _over(loops, code, places)
    if loops.interleaved is not None and not interleaves(nest, target):
        loops = arrange(shape, reduced, views, *how, weaves=False)._replace(cross=None)
        nest, numbers = _over(loops, code, places)
    if ends:
        runs = {run[0]: dim for dim, run in enumerate(loops.dims) if len(run) == 1}
        known = [(runs[axis], value) for axis, value in ends if axis in runs]
        nest = nest._replace(ends=tuple([end for end in known if not why_not_end(nest, *end)]))
    if nest.kept < nest.dims:
        nest = nest._replace(rows=rows(nest, loops.extents, target))
        nest = nest._replace(parts=parts(nest, loops.extents, target))
    source = _source(nest, exactly(code, places))
    given, work = pack(loops.extents, numbers), prod(loops.extents) * (_cost(code) + 2 * len(places))
    if isinstance(target, DeviceTarget):
        source = source.on_device(loops.extents, numbers)
        blocks = source.blocks(loops.extents, given)
        return Finished(source, loops, blocks.params, blocks.grid[0], work, blocks)
    return Finished(source, loops, *source.split(loops.extents, given), work)


def _jumps(code: Sequence[Instr], places: Places) -> list[Jumps]:
    """The gathers and scatters of a kernel, and along which iteration dims their indices move."""
    if not any(indirect for _, _, indirect, _ in places):
        return []
    found, moving = [], list[frozenset[int]]()
    for instr in code:
        dims = frozenset[int]().union(*(moving[a] for a in instr.args))
        if instr.op in ("load", "gather", *SINKS):
            view = places[access_number(instr)][1]
            if instr.op in ("gather", "scatter"):
                first = 1 if instr.op == "scatter" else 0
                own = frozenset[int]().union(*(moving[a] for a in instr.args[first:]))
                found.append(Jumps(view, own, instr.op == "scatter"))
            numbers = view.strides, *(edge.coefficients for edge in view.edges)
            dims |= {d for strides in numbers for d, stride in enumerate(strides) if stride}
        moving.append(dims)
    return found


@lru_cache(1024)  # a new shape often gives the same nest
def _source(nest: Nest, _: str) -> NestSource:
    return NestSource(nest._replace(spills=spills(nest)))


def exactly(code: Sequence[Instr], places: Places = ()) -> str:
    """The numbers in a kernel, where equal ones may be others: 0.0 equals -0.0."""
    numbers = [i.attr for i in code if i.op == "const"] + [view.fill for _, view, *_ in places if view.edges]
    return repr(numbers) if numbers else ""


def _over(loops: Loops, code: tuple[Instr, ...], places: Places) -> tuple[Nest, tuple[AccessNumbers, ...]]:
    accesses: list[Access] = []
    numbers: list[AccessNumbers] = []
    plain: dict[tuple[str, tuple[int, ...]], int] = {}  # many operands lie alike
    for place in places:
        dtype, view, indirect, _ = place
        number = len(accesses)
        if not (view.edges or indirect or dtype.startswith("param_")):
            number = plain.setdefault((dtype, view.strides), number)
        access, own = loops.access(*place) if number == len(accesses) else (accesses[number], numbers[number])
        accesses.append(access)
        numbers.append(own)
    kept, lane, inside = loops.kept, loops.lane, loops.interleaved
    parts = len(loops.dims), kept, lane, tuple(accesses), code, loops.serial_from
    return Nest(*parts, cross=loops.cross, interleaved=inside), tuple(numbers)


@lru_cache(1024)  # a new shape often has the same code
def _cost(code: tuple[Instr, ...]) -> int:
    """Operations per element. A function such as exp counts as ten."""
    return sum(10 if i.op in ("gather", "scatter") or instruction_cost(i) > 6 else 1 for i in code)


def reshaped(view: View, shape: tuple[int, ...]) -> View:
    """A reshape that certainly needs no copy: it cuts a dim in two, or adds or drops dims of extent 1."""
    result = view.reshape(shape)
    assert result is not None
    return result


def by_importance(views: list[View]) -> list[View]:
    """Views that move along the most dims first. Among them, those that are not row-major come first: some kernel chose
    such a layout, while row-major is only where data come from."""
    if len(views) < 2 or views.count(views[0]) == len(views):
        return views
    return sorted(views, key=lambda v: (v.strides.count(0) - len(v.strides), _descends(v)))


def _descends(view: View) -> bool:
    strides = [abs(s) for s, extent in zip(view.strides, view.shape, strict=True) if s and extent > 1]
    return strides == sorted(strides, reverse=True)


def dense_like(value: Type, views: Sequence[View]) -> View:
    """A dense layout for a result, with the dim order of the operands that it is computed from."""
    if not views:
        return contiguous(value.shape)
    return View(value.shape, dense(value.shape, memory_order(value.shape, views)))


def rows_like(op: Gather | Scatter, source: View, shape: Sequence[int]) -> View | None:
    """How the result of a Gather of this shape lies, if it lies like the source with the dims of the index in place of
    the indexed ones. None if single elements lie side by side."""
    order = memory_order(source.shape, [source])
    if next((d for d in reversed(order) if source.shape[d] > 1), op.axes[0]) in op.axes:
        return None
    fresh, found = [d for d in op.index_dims if op.sources[d] < 0], list[int]()
    for dim in order:
        if dim in op.axes:
            found += fresh
            fresh = []
        else:
            found += [d for d, own in enumerate(op.sources) if own == dim]
    return View(tuple(shape), dense(shape, found))


def meeting_dims(view: View) -> list[int]:
    """The dims along which a view may see an element twice: all but those that provably separate.

    With dims sorted by stride, a dim separates if everything above it moves in multiples of its whole span (inner), or
    if its stride exceeds the span of everything below it (outer).
    """
    order = sorted((d for d, s in enumerate(view.shape) if s > 1), key=lambda d: abs(view.strides[d]))
    inner = 0
    for i, d in enumerate(order):
        span = abs(view.strides[d]) * view.shape[d]
        if not span or any(abs(view.strides[o]) % span for o in order[i + 1 :]):
            break
        inner = i + 1
    outer = len(order)
    while outer > inner:
        below = sum(abs(view.strides[d]) * (view.shape[d] - 1) for d in order[: outer - 1])
        if abs(view.strides[order[outer - 1]]) <= below:
            break
        outer -= 1
    return order[inner:outer]
