"""From a Program to a Plan: runs the groups in order, gives values buffers, writes the steps."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from ..cache import compile_kernels
from ..kernels.dtypes import COMPUTE
from ..kernels.target import Target
from ..loop import Loop
from ..plan import ITEM_BYTES, STATUS, Call, Cost, Launch, Placed, Plan, Stopwatch
from ..program import (
    Concat,
    Contraction,
    Elementwise,
    Gather,
    Host,
    Node,
    Place,
    Prefix,
    Program,
    Reduction,
    Scatter,
    Sort,
    Type,
    Value,
)
from ..values import is_reshape, reshape_source
from ..view import View, contiguous, dense
from .contractions.column_sums import combine, folds_rows
from .contractions.lower import contract
from .groups import Group
from .memory import assign, ownership
from .memory.destinations import destinations
from .nests.loops import memory_order
from .nests.lower import Emitter, Operand, by_importance, dense_like, meeting_dims, reshaped
from .partition import Partition
from .places import Location
from .repeat import repeat
from .sort import order_rows
from .steps import HostStep, Step, Steps

# A reduction to few results is cut into parts of at least this many elements, so that all cores can work on it.
SPLIT_ELEMENTS = 1 << 15
SPLIT_PARTS = 64


class Placement(NamedTuple):
    """places: of the outputs, (buffer, view). slots: (slot, offset in bytes) of each buffer. donated: {buffer: input}. See `Plan`."""

    places: list[tuple[int, View]]
    slots: list[tuple[int, int]]
    allocations: tuple[int, ...]
    donated: dict[int, int]
    commit: int


class Scheduler(Steps):
    """Lowers one Program for inputs that lie like `views`, group by group."""

    def __init__(self, program: Program, views: Sequence[View], target: Target):
        self.parts = Partition(program)
        super().__init__(program, views, target, self.parts.uniform)
        self.users = self.parts.users
        ends = [g.nodes[-1].outputs[0] for g in self.parts.order if getattr(g.nodes[0].op, "any_order", False)]
        if ends:
            self.destinations, wholes = destinations(program, self.users, ends)
            self.wholes = {v: Location(self.buffer(v.type), layout) for v, layout in wholes.items()}

    # -- groups --------------------------------------------------------------------------------------------

    def run(self, watch: Stopwatch | None = None) -> Plan:
        """The Plan, kernels compiled, with the stages that the watch has seen."""
        watch = watch or Stopwatch()
        self.lower()
        watch.stop("kernels")
        placement = self._place()
        watch.stop("memory")
        plan = self._plan(placement)
        watch.stop("machine code")
        return plan._replace(stages=tuple(watch.stages))

    def cost(self, given: int = 0) -> Cost:
        """What the Plan would take, if the first `given` inputs are given away; compiles no kernels.

        Outputs that take an input's place are not counted, nor are those that only lie in another way than it: the next time it
        will lie like them.
        """
        self.lower()
        placement, count = self._place(), len(self.program.inputs)
        pairs = zip(range(given), self.program.inputs, placement.places, strict=False)
        moved = [b for _, v, (b, view) in pairs if b >= count and view.strides != self.where[v].view.strides]
        donated = [b for b, i in placement.donated.items() if i < given]
        taken = {placement.slots[b][0] - count for b in (*donated, *moved)}
        own = [size for slot, size in enumerate(placement.allocations) if slot not in taken]
        return Cost(sum(own), sum(step.work for step in self.steps))

    def lower(self) -> None:
        """Make the steps."""
        for group in self.parts.order:
            op = group.nodes[-1].op
            for node in group.nodes:
                if isinstance(node.op, Gather):
                    self.keep(node.inputs[0])
            if isinstance(op, Host):
                self._host(group.nodes[0], op)
            elif isinstance(op, Sort):
                order_rows(self, group.nodes[0], op)
            elif isinstance(op, Loop):
                repeat(self, group.nodes[0], self._lowered)
            elif isinstance(op, Concat):
                self._concat(group.nodes[0], op)
            elif isinstance(group.nodes[0].op, Contraction):
                contract(self, group.nodes, self._of_rows(group))
            elif any(v in self.taken for v in group.passes):
                self._combine(group)
            elif isinstance(op, (Scatter, Place)):
                self._write_into(group)
            elif self._splits(group):
                self._reduce_in_parts(group)
            else:
                self._nest(group)

    def _lowered(self, program: Program, views: Sequence[View], states: int) -> Scheduler:
        """The steps of the body of a loop."""
        made = Scheduler(program, views, self.target)
        made.repeated = True
        made.row_major = {reshape_source(v) for v in program.outputs[:states]}
        made.lower()
        return made

    def _stored(self, group: Group) -> list[Value]:
        """The group's values that somebody outside reads, but for those that readers compute again for themselves."""
        inside = set(group.nodes)
        found = []
        for v in (v for node in group.nodes for v in node.outputs):
            outside = [u for u in self.users.get(v, ()) if u not in inside]
            if v in self.program.outputs or (outside and not self._again(v, group, outside)):
                found.append(v)
            elif outside:
                self.uniform.add(v)
        return found

    def _again(self, value: Value, group: Group, users: Sequence[Node]) -> bool:
        """Whether users had better compute a value again: one cheap operation on at most one operand of its size, which may be a value that
        they widen for it.
        """
        node = value.node
        if node is None or not isinstance(node.op, Elementwise) or group.passes[value] > 0:
            return False
        if not (node.op.cheap or _widens(value)) or any(not isinstance(u.op, (Elementwise, Reduction)) for u in users):
            return False
        loaded = [v for v in node.inputs if v not in self.uniform]
        widened = [v for v in loaded if v in group.passes and _widens(v) and v.operands[0] not in group.passes]
        if (
            any(v in group.passes for v in loaded if v not in widened)
            or sum(v.shape == value.shape for v in loaded) > 1
        ):
            return False
        self.uniform.update(widened)
        return True

    def _nest(self, group: Group) -> None:
        e = Emitter(self.locate, group.shape)
        for node in group.nodes:
            e.node(node)
        self.launch(e, group.axes or (), group.nodes[-1].op.name, self._store(e, self._stored(group), set()))

    def _store(
        self, e: Emitter, values: Sequence[Value], written: set[int], like: Sequence[View] | None = None
    ) -> set[int]:
        """Give values buffers, in the dim order of what the kernel loads (or of `like`), and store them there.

        Returns all buffers written.
        """
        views = [v for v in e.loads() if values and len(v.shape) == values[0].ndim] if like is None else like
        for value in values:
            layout = contiguous(value.shape) if value in self.row_major else dense_like(value.type, views)
            buffer = self.buffer(value.type)
            e.store(value, buffer, layout)
            self.where[value] = Location(buffer, layout)
            written.add(buffer)
        return written

    # -- reductions of a contraction's rows ----------------------------------------------------------------

    def _of_rows(self, group: Group) -> list[Group]:
        """The groups of which nothing is to be kept but reductions over the rows of the contraction that is `group`."""
        product, made = group.nodes[0].outputs[0], group.nodes[-1].outputs[0]
        users = [v for node in self._readers(made) for v in node.outputs]
        groups = dict.fromkeys(self.parts.home[v] for v in users if v in self.parts.home)
        found = [g for g in groups if not g.closed and folds_rows(g, product)]
        return [g for g in found if all(v.shape != g.shape for v in self._stored(g))]

    def _readers(self, value: Value) -> list[Node]:
        """The nodes that read a value, perhaps reshaped."""
        found = []
        for node in self.users.get(value, ()):
            found += self._readers(node.outputs[0]) if is_reshape(node) else [node]
        return found

    def _combine(self, group: Group) -> None:
        """What reductions make of the sums that a contraction has taken for them."""
        e = combine(self, group, self.taken)
        self.launch(e, (0,), "combine", self._store(e, self._stored(group), set()))

    # -- reductions in parts -------------------------------------------------------------------------------

    def _splits(self, group: Group) -> bool:
        """Few results from many elements, in one pass: worth cutting into parts."""
        if not group.axes or prod(group.shape) < 2 * SPLIT_ELEMENTS or isinstance(group.nodes[-1].op, Prefix):
            return False
        if prod(group.row_shape) * ITEM_BYTES["float32"] > 8192:
            return False
        for node in group.nodes:
            full = node.outputs[0].shape == group.shape
            if isinstance(node.op, Reduction):
                if node.op.monoid.startswith("arg") or group.passes[node.outputs[0]] != 1:
                    return False
            elif full and group.passes[node.outputs[0]] > 0:
                return False
        return True

    def _reduce_in_parts(self, group: Group) -> None:
        """Two kernels: one folds each part, the other folds the parts and does what the group does with the row values."""
        assert group.axes is not None
        axis, parts = self._cut(group)
        if parts == 1:
            self._nest(group)
            return
        cut = (*group.shape[:axis], parts, group.shape[axis] // parts, *group.shape[axis + 1 :])
        axes = tuple(d + (d >= axis) for d in group.axes)  # the parts' dim, at `axis`, is kept
        row = tuple(1 if d in axes else s for d, s in enumerate(cut))
        one = (*group.row_shape[:axis], 1, *group.row_shape[axis:])
        first = Emitter(self.locate, cut, lambda view: reshaped(view.broadcast(group.shape), cut))
        second = Emitter(self.locate, row, lambda view: reshaped(view.broadcast(group.row_shape), one).broadcast(row))
        written, later = set(), []
        for node in group.nodes:
            out = node.outputs[0]
            if isinstance(node.op, Reduction):
                first.node(node)
                dtype = COMPUTE[out.dtype]
                buffer = self.buffer(Type(dtype, row))
                written.add(buffer)
                first(
                    "store",
                    first.value(out),
                    dtype=dtype,
                    attr=first.operand(Operand(buffer, dtype, contiguous(row).broadcast(cut))),
                )
                part = second("load", dtype=dtype, attr=second.operand(Operand(buffer, dtype, contiguous(row))))
                second.define(out, second.narrow(second.reduce([part], node.op.monoid, dtype), out.dtype))
            elif out.shape == group.shape and group.passes[out] == 0:
                first.node(node)
            else:
                later.append(node)
        stored = self._stored(group)
        self._store(first, [v for v in stored if group.passes[v] == 0], written, self._operands(group))
        self.launch(first, axes, group.nodes[-1].op.name, written)
        for node in later:
            second.node(node)
        self.launch(second, (axis,), "combine", self._store(second, [v for v in stored if group.passes[v] > 0], set()))

    def _operands(self, group: Group) -> list[View]:
        """Where the operands of a group's full shape lie."""
        inputs = [v for n in group.nodes for v in n.inputs if v not in group.passes and v.shape == group.shape]
        return by_importance(self.locate(v).view for v in inputs if v not in self.uniform)

    def _cut(self, group: Group) -> tuple[int, int]:
        """The reduced axis to cut (the slowest in memory) and the number of parts, which divides it."""
        axes = [
            d
            for d in memory_order(group.shape, self._operands(group))
            if d in (group.axes or ()) and group.shape[d] > 1
        ]
        most = min(SPLIT_PARTS, prod(group.shape) // SPLIT_ELEMENTS)
        best = (axes[0], 1)
        for axis in axes:
            parts = max(p for p in range(1, most + 1) if group.shape[axis] % p == 0)
            if parts > best[1]:
                best = (axis, parts)
            if best[1] * 2 > most:
                break
        return best

    # -- writing into a copy -------------------------------------------------------------------------------

    def _write_into(self, group: Group) -> None:
        """Scatter and Place: copy the base (or start from it, if it is given away), then write."""
        node = group.nodes[-1]
        base, op = node.inputs[0], node.op
        e = Emitter(self.locate, group.shape)
        for other in group.nodes[:-1]:
            e.node(other)
        e.value(node.inputs[1])
        layout = self._base_layout(base, op, e.loads())
        buffer = self.buffer(base.type)
        whole = isinstance(op, Place) and op.mode == "set" and node.inputs[1].size == base.size
        if not whole:  # then nothing of the base stays
            fill = Emitter(self.locate, base.shape)
            fill.store(base, buffer, layout)
            source = self.locate(base)
            self.launch(fill, (), "copy", {buffer}, (), (buffer, source.buffer if source.view == layout else None))
        target = Location(buffer, layout)
        written = self._store(e, [v for v in self._stored(group) if v is not node.outputs[0]], {buffer})
        if isinstance(op, Scatter):
            e.scatter(op, node, target)
            serial: Sequence[int] = [d for d in op.index_dims if op.sources[d] < 0]
        else:
            assert isinstance(op, Place)
            e.place(op, node, target)
            view = op.where.view(layout)
            assert view is not None
            serial = meeting_dims(view) if op.mode == "add" else ()
        serial = [d for d in serial if d not in (group.axes or ())]
        self.launch(e, group.axes or (), op.name, written, serial, base=None if whole else buffer)
        self.where[node.outputs[0]] = target

    def _base_layout(self, base: Value, op: Any, operands: Sequence[View]) -> View:
        """The dim order of the base, or for one without memory (zeros, as a rule) that of an input of its shape, of the `operands` that are
        placed in it, or of the input that is most like it.
        """
        candidates = [base]
        if base in self.uniform:
            alike = [v for v in self.program.inputs if v.ndim == base.ndim > 0]
            candidates = sorted(alike, key=lambda v: (v.shape != base.shape, -v.size))
        views = [self.locate(v).view for v in candidates[:1]]
        if base in self.uniform and isinstance(op, Place) and not (candidates and candidates[0].shape == base.shape):
            views = [_placed_like(op, base.shape, view) for view in operands]
        return View(base.shape, dense(base.shape, memory_order(base.shape, views)))

    def _concat(self, node: Node, op: Concat) -> None:
        out = node.outputs[0]
        views = [self.locate(v).view for v in node.inputs if v not in self.uniform and len(v.shape) == len(out.shape)]
        place = self.wholes.get(out) or Location(self.buffer(out.type), dense_like(out.type, views[:1]))
        (buffer, layout), start = (place.buffer or 0, place.view), 0
        for value in node.inputs:
            starts = [start if d == op.axis else 0 for d in range(len(out.shape))]
            if value in self.uniform or self.locate(value).buffer != buffer:  # it was not made there
                e = Emitter(self.locate, value.shape)
                e.store(value, buffer, layout.slice(starts, value.shape, [1] * len(starts)))
                self.launch(e, (), "concat", {buffer})
            start += value.shape[op.axis]
        self.where[out] = Location(buffer, layout)

    def _host(self, node: Node, op: Host) -> None:
        inputs = [(*self.in_memory(v), v.type) for v in node.inputs]
        outputs = [(self.buffer(v.type), contiguous(v.shape), v.type) for v in node.outputs]
        for out, (buffer, view, _) in zip(node.outputs, outputs, strict=True):
            self.where[out] = Location(buffer, view)
        self.steps.append(HostStep(op, inputs, outputs))

    @property
    def sources(self) -> list[Any]:
        """What to compile, in the order of the launches."""
        return [s.source for s in self.steps if isinstance(s, Step)]

    # -- the plan ------------------------------------------------------------------------------------------

    def _place(self) -> Placement:
        """Where everything lies, which steps run at the same time, and what may be donated."""
        places = [self.in_memory(v) for v in self.program.outputs]
        count = len(self.program.inputs)
        self._drop_bypassed([buffer for buffer, _ in places])
        for buffer, _ in places:  # whoever gets a result may change it
            self.layouts.pop(buffer, None)
        places = self._write_in_place(places)
        for buffer in [b for b, i in self.layouts.items() if self._is_updated(i)]:
            del self.layouts[buffer]
        kept = [*(buffer for buffer, _ in places if buffer >= count), *self.layouts]
        commit = assign.last_check(self.steps) + 1
        donated = ownership.donations(self.steps, self.program, self.where, places, commit)
        assign.join(self.steps, donated)
        if commit < len(self.steps):
            self.steps[commit].joined = False  # the status must be known before
        ownership.verify(self.steps, count, self.bytes, [buffer for buffer, _ in places], donated)
        slots, allocations = assign.assign(self.steps, self.bytes, count, kept)
        return Placement(places, slots, tuple(allocations), donated, commit)

    def _drop_bypassed(self, outputs: Sequence[int]) -> None:
        """Leave out the steps whose results were to be packed, where that has been made of their operands and nobody else reads them."""
        unread = self.bypassed - {b for step in self.steps for b, _ in step.reads} - set(outputs)
        self.steps = [s for s in self.steps if not s.writes or not {b for b, _ in s.writes} <= unread]
        for buffer in unread:
            if not any(b == buffer for step in self.steps for b, _ in step.writes):
                self.bytes[buffer] = 0

    def _write_in_place(self, places: list[tuple[int, View]]) -> list[tuple[int, View]]:
        """Drop the copies before partial writes whose source nobody wants any more; `places`, where the outputs then lie."""
        outputs = [buffer for buffer, _ in places]
        owner = ownership.in_place(self.steps, len(self.program.inputs), self.bytes, [*outputs, *self.layouts])
        if owner:
            for step in self.steps:
                step.rename(owner)
            self.steps = [step for step in self.steps if not ownership.needless(step, {})]
        return [(owner.get(buffer, buffer), view) for buffer, view in places]

    def _is_updated(self, number: int) -> bool:
        """Whether an output may take the place of an input: then its values change at each call."""
        outputs = self.program.outputs
        return number < len(outputs) and outputs[number].type == self.program.inputs[number].type

    def _plan(self, placement: Placement) -> Plan:
        places, slots, allocations, donated, commit = placement
        count = len(self.program.inputs)
        sources = list({id(source): source for source in self.sources}.values())
        addresses = dict(zip(map(id, sources), compile_kernels(sources, self.target), strict=True))
        steps: list[Launch | Call] = []
        layouts: list[tuple[int, int, int]] = []
        for step in self.steps:
            if isinstance(step, HostStep):
                steps.append(
                    Call(step.op.compute, _placed(step.inputs, slots), _placed(step.outputs, slots), step.op.name)
                )
                continue
            buffers = tuple([(slots[b][0], slots[b][1] + at) if b != STATUS else (b, 0) for b, at in step.buffers])
            if step.skip_for in self.layouts:
                layouts.append((slots[step.skip_for][0], self.layouts[step.skip_for], len(steps)))
            kept = step.skip_for in self.layouts or ownership.needless(step, donated)
            skip = slots[step.skip_for][0] if kept and step.skip_for is not None else None
            how = step.tiles, step.work, step.name, skip, step.joined, step.side and step.joined
            steps.append(Launch(addresses[id(step.source)], buffers, step.params, *how))
        outputs = _placed([(*place, v.type) for place, v in zip(places, self.program.outputs, strict=True)], slots)
        pairs = tuple((slots[b][0], i) for b, i in donated.items())
        return Plan(count, allocations, tuple(steps), outputs, pairs, tuple(self.checks), tuple(layouts), commit)


def _placed(items: Sequence[tuple[int, View, Type]], slots: Sequence[tuple[int, int]]) -> tuple[Placed, ...]:
    return tuple(
        Placed(slots[b][0], slots[b][1] + view.offset * ITEM_BYTES[type.dtype], type, view.strides)
        for b, view, type in items
    )


def _placed_like(op: Place, shape: tuple[int, ...], operand: View) -> View:
    """How a result of this shape would lie if what is placed in it lay like an operand: a dim's stride is the greatest along the dims that
    `op.where` makes of it.
    """
    where, own = op.where.view(contiguous(shape)), contiguous(shape).strides
    assert where is not None
    strides = [0] * len(shape)
    for step, stride in zip(where.strides, operand.strides, strict=True):
        inside = [d for d, s in enumerate(own) if s <= abs(step) and shape[d] > 1]
        if inside:
            d = max(inside, key=lambda d: own[d])
            strides[d] = max(strides[d], abs(stride))
    return View(shape, tuple(strides))


def _widens(value: Value) -> bool:
    """Whether a value is one of fewer bytes as another dtype."""
    if not isinstance(value.op, Elementwise) or not value.op.converts:
        return False
    (given,) = value.operands
    return ITEM_BYTES[given.dtype] < ITEM_BYTES[value.dtype]
