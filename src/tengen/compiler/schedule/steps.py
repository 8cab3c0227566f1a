"""The state while the steps of a Plan are made: where values lie, their buffers, and kernel launches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar

from ...base.errors import NoKernelError
from ..kernels.device import DeviceGrid
from ..kernels.nest import Nest, access_number, is_number
from ..kernels.target import HostTarget, Target
from ..plan import HOST_WORK, ITEM_BYTES, STATUS
from ..program import Host, Iota, Node, Program, Type, Value, ViewOp
from ..view import View, contiguous, dense
from .memory.destinations import fits_inside
from .memory.ownership import EVERYWHERE
from .nests.loops import Loops
from .nests.lower import Emitter, dense_like
from .places import UNIFORM, Destination, Location, Part, Taken
from .rows import read_in_rows

# An operand that jumps along the lanes is copied first if each element is read this often, in a kernel of at least this
# many elements.
STRAIGHTEN_READS = 4
STRAIGHTEN_ELEMENTS = 1 << 15

MOST_WORK = 1 << 50
"""The most that the work of one step counts as, so that the work of many steps can be added up."""


@dataclass(eq=False)
class Step:
    """A step under construction. Its buffers are still the scheduler's numbers."""

    source: Any  # a cache.KernelSource
    buffers: list[tuple[int, int]]  # (buffer, offset in bytes)
    params: tuple[int, ...]
    tiles: int
    work: int
    name: str
    reads: list[tuple[int, View]] = field(default_factory=list)
    writes: list[tuple[int, View]] = field(default_factory=list)
    skip_for: int | None = None  # it copies into this buffer, and may be skipped if that holds the elements already
    copied: int | None = None  # it copies from this buffer, element by element to the same places
    joined: bool = False  # may run at the same time as the step before it
    side: bool = False  # it and the step before are sides of one whole
    blocks: DeviceGrid | None = None  # how a GPU runs it

    @property
    def checks(self) -> bool:
        """Whether it may set the status word."""
        return self.buffers[-1][0] == STATUS

    def rename(self, names: Mapping[int, int]) -> None:
        """Replace some buffers by others."""
        self.buffers = [(names.get(b, b), at) for b, at in self.buffers]
        self.reads = [(names.get(b, b), v) for b, v in self.reads]
        self.writes = [(names.get(b, b), v) for b, v in self.writes]
        self.skip_for, self.copied = (b if b is None else names.get(b, b) for b in (self.skip_for, self.copied))


@dataclass(eq=False)
class HostStep:
    op: Host
    inputs: list[tuple[int, View, Type]]
    outputs: list[tuple[int, View, Type]]
    joined: bool = False
    checks: ClassVar[bool] = True  # it may raise
    work: ClassVar[int] = HOST_WORK
    skip_for: ClassVar[int | None] = None
    copied: ClassVar[int | None] = None

    @property
    def name(self) -> str:
        return self.op.name

    def rename(self, names: Mapping[int, int]) -> None:
        """Replace some buffers by others."""
        self.inputs = [(names.get(b, b), v, t) for b, v, t in self.inputs]
        self.outputs = [(names.get(b, b), v, t) for b, v, t in self.outputs]

    @property
    def reads(self) -> list[tuple[int, View]]:
        return [(b, EVERYWHERE) for b, _, _ in self.inputs]

    @property
    def writes(self) -> list[tuple[int, View]]:
        return [(b, EVERYWHERE) for b, _, _ in self.outputs]


class Steps:
    """The steps of a Plan under construction, for a Program whose inputs lie like `views`.

    uniform: values that every kernel computes for itself.
    """

    def __init__(self, program: Program, views: Sequence[View], target: Target, uniform: frozenset[Value]):
        self.program, self.target, self.uniform = program, target, uniform
        self.steps: list[Step | HostStep] = []
        self.bytes: list[int] = [0] * len(program.inputs)  # of each buffer; inputs first
        self.checks: list[str] = []
        self.layouts: dict[int, int] = {}  # buffers that hold an input in another layout: {buffer: input}
        self.copies: dict[Any, tuple[int, View]] = {}  # inputs in other layouts: where they are, by input and layout
        self.repeated = False  # whether these are the steps of a loop's body
        self.row_major: set[Value] = set()  # what a kernel of the body should store in row-major order
        self.bypassed: set[int] = set()  # buffers of inputs in another dtype that a copy does not need
        self.taken: dict[Value, Taken] = {}  # results of reductions whose sums have been taken already
        self.destinations: dict[
            Value, Destination
        ] = {}  # of results that should lie elsewhere than in a row-major buffer of their own
        self.wholes: dict[Value, Location] = {}  # outputs of Concat that such results are parts of
        self.parts_of: dict[Value, Part] = {}  # values that only a Concat reads, and their places in its output
        self.spread: set[Value] = set()  # outputs of Concat whose parts lie in the output of another one
        self.straightened: dict[Any, int] = {}  # buffers of copies of operands that jumped, by operand and layout
        self.stored: dict[Value, Location] = {}  # values computed where they are read, for readers with indices
        self.where: dict[Value, Location] = {
            v: Location(i, view) for i, (v, view) in enumerate(zip(program.inputs, views, strict=True))
        }

    def host(self, op: str) -> HostTarget:
        """The CPU that an op's kernel is for. Raises NoKernelError on a GPU, which has no kernel for it."""
        if isinstance(self.target, HostTarget):
            return self.target
        raise NoKernelError(f"{op} has no kernel for {self.target.name} yet")

    def buffer(self, type: Type) -> int:
        """A new buffer for a dense value of this type."""
        self.bytes.append(type.size * ITEM_BYTES[type.dtype])
        return len(self.bytes) - 1

    def destination(self, value: Value, layout: View) -> Location:
        """Where to store a value: in a new buffer, laid out like `layout`, unless it has a destination."""
        place = self.destinations.get(value)
        if place is None:
            return Location(self.buffer(value.type), layout)
        if place.whole is None:
            return Location(self.buffer(value.type), place.view)
        return Location(self.wholes[place.whole].buffer, place.view)

    def own_place(self, value: Value, views: Sequence[View]) -> Location:
        """Where a loop nest that loads operands which lie like `views` should store a value: in the output of the
        Concat that alone reads it, if it fits there, or else in a new buffer."""
        layout = contiguous(value.shape) if value in self.row_major else dense_like(value.type, views)
        if part := self.parts_of.get(value):
            whole = part.whole
            own = contiguous(whole.shape) if whole in self.row_major else dense_like(whole.type, [layout])
            place = self.wholes.get(whole) or Location(None, own)
            inside = place.view.slice(part.starts, value.shape, [1] * value.ndim)
            if fits_inside(layout, inside, views):
                if place.buffer is None:
                    place = self.wholes[whole] = Location(self.buffer(whole.type), own)
                return Location(place.buffer, inside)
        return Location(self.buffer(value.type), layout)

    def knows(self, value: Value) -> bool:
        """Whether a value lies somewhere already, or can be computed where it is read, from values that do."""
        node = value.node
        if value in self.where or node is None or isinstance(node.op, Iota):
            return True
        return (value in self.uniform or isinstance(node.op, ViewOp)) and all(map(self.knows, node.reads))

    def holds(self, value: Value) -> bool:
        """Whether a known value lies in memory, or is computed where it is read, from values that do."""
        if not self.knows(value):
            return False
        if value in self.uniform:
            return value.node is None or all(map(self.holds, value.node.inputs))
        place = self.locate(value)
        return place is UNIFORM or (place.buffer is not None and not place.view.edges)

    def locate(self, value: Value, indexed: bool = False) -> Location:
        """Where a value lies. Makes a copy if strides cannot express a view op. indexed: for a reader with indices."""
        if indexed and value in self.stored:
            return self.stored[value]
        if value in self.where:
            return self.where[value]
        node = value.node
        assert node is not None
        if value in self.uniform:
            return UNIFORM
        if isinstance(node.op, Iota):
            return Location(None, contiguous(value.shape))
        assert isinstance(node.op, ViewOp), f"{node.op.name} has not been computed yet"
        source = self.locate(node.inputs[0])
        if source is UNIFORM:
            source = self.materialise(node.inputs[0])
        view = node.op.view(source.view)
        if view is None or (source.buffer is None and view.edges):  # a running number is one everywhere
            source = self.materialise(node.inputs[0])
            view = node.op.view(source.view)
            assert view is not None, f"{node.op.name} cannot view a row-major buffer"
        self.where[value] = Location(source.buffer, view)
        return self.where[value]

    def materialise(self, value: Value, layout: View | None = None) -> Location:
        """A dense copy of a value, row-major unless `layout` says how."""
        layout = layout or contiguous(value.shape)
        buffer = self.buffer(value.type)
        e = Emitter(self.locate, value.shape)
        e.store(value, buffer, layout)
        self.launch(e, (), "copy", {buffer})
        return Location(buffer, layout)

    def keep(self, value: Value, users: Sequence[Node]) -> None:
        """Store a value that is computed where it is read, for readers with indices. Others go on computing it: their loops
        may be over a view of it, in which such a copy does not lie like the loops. Readers of rows may get a copy, too.
        """
        if value in self.stored:
            return
        place = self.locate(value)
        rows = None if place is UNIFORM else read_in_rows(value, place.view, users, self.target)
        if rows or place.buffer is None:
            self.stored[value] = self.materialise(value, rows)

    def in_memory(self, value: Value) -> tuple[int, View]:
        """The buffer that holds a value, with nothing left to compute, and how the value lies there."""
        place = self.locate(value)
        if place.buffer is None or place.view.edges:
            place = self.materialise(value)
        assert place.buffer is not None
        return place.buffer, place.view

    def launch(
        self,
        e: Emitter,
        reduced: Sequence[int],
        name: str,
        written: set[int],
        serial: Sequence[int] = (),
        copy: tuple[int, int | None] | None = None,
        bases: Sequence[int] = (),
    ) -> None:
        """Make a step from what an emitter has collected. Makes none if it writes nothing, because all readers compute
        the values again.

        copy: (buffer, source) if the step only fills the buffer with the elements of the source, if there is one, at
        the same places. bases: buffers of which the step writes a part; the rest stays as it is.
        """
        if not written:
            return
        made = e.finish(reduced, self.target, serial)
        if self._straighten(e, made.source.nest, made.loops, written):
            made = e.finish(reduced, self.target, serial)
        scattered = {access_number(i) for i in e.code if i.op == "scatter"}  # it may come before a later pass
        buffers: list[tuple[int, int]] = []
        reads: list[tuple[int, View]] = []
        writes: list[tuple[int, View]] = []
        for number, o in enumerate(e.operands):
            if o.buffer is None:
                buffers.append((0, 0))
                continue
            buffers.append((o.buffer, o.view.offset * ITEM_BYTES[o.dtype]))
            view = EVERYWHERE if o.indirect or number in scattered else o.view
            (writes if o.buffer in written else reads).append((o.buffer, view))
        reads += [(base, EVERYWHERE) for base in bases]
        if made.source.nest.needs_status:
            self.checks.append(name)
            buffers.append((STATUS, 0))
        skip = copy or (None, None)
        self.add_step(
            made.source, buffers, made.params, made.tiles, made.work, name, reads, writes, *skip, blocks=made.blocks
        )

    def _straighten(self, e: Emitter, nest: Nest, loops: Loops, written: set[int]) -> bool:
        """Copy operands that jump along the lanes, and whose elements are read often, into the order of the loops.
        Returns whether there are any."""
        found, total = False, prod(loops.extents)
        if total < STRAIGHTEN_ELEMENTS:
            return False
        rows = self._scatters_rows(nest)
        for i, (access, operand) in enumerate(zip(nest.accesses, e.operands, strict=True)):
            jumps = access.steps[nest.lane] == "n" and not (access.bounds or access.indirect or is_number(access))
            if not jumps or operand.buffer in written:
                continue
            own = prod(s for s, stride in zip(operand.view.shape, operand.view.strides, strict=True) if stride)
            if own * STRAIGHTEN_READS > total and not rows:
                continue
            lane = loops.dims[loops.lane]
            order = [d for run in loops.dims if run is not lane for d in run] + list(lane)
            still = [d for d in range(len(e.shape)) if d not in order]
            shape = tuple(
                s if stride else 1 for s, stride in zip(operand.view.shape, operand.view.strides, strict=True)
            )
            layout = View(shape, dense(shape, [*still, *order]))
            key = operand.buffer, operand.dtype, operand.view._replace(shape=shape), layout
            if (buffer := self.straightened.get(key)) is None:
                buffer = self.straightened[key] = self.buffer(Type(operand.dtype, shape))
                copy = Emitter(self.locate, shape)
                copy.copy(operand.dtype, operand.buffer, operand.view._replace(shape=shape), buffer, layout)
                self.launch(copy, (), "layout", {buffer})
            e.operands[i] = operand._replace(buffer=buffer, view=layout.broadcast(operand.view.shape))
            found = True
        return found

    def _scatters_rows(self, nest: Nest) -> bool:
        """Whether a kernel writes vectors where indices lead, one after the other. What jumps along the lanes would slow them down."""
        if not self.target.shuffles or nest.serial_from is None or nest.lane >= nest.serial_from:
            return False
        return any(i.op == "scatter" and nest.accesses[access_number(i)].indirect for i in nest.code)

    def add_step(self, *parts: Any, **more: Any) -> None:
        """Append a kernel launch, unless it has nothing to do. The arguments are the fields of Step."""
        step = Step(*parts, **more)
        step.work = min(step.work, MOST_WORK)
        if step.tiles:
            self.steps.append(step)
