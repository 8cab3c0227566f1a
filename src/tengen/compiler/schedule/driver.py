"""From a Program to a Plan: lowers the groups in order, gives values buffers, writes the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ...base import config
from ..attention import Attention, AttentionGradient
from ..cache import compile_device_kernels, compile_kernels
from ..for_target import for_target
from ..kernels.block_product import BlockProduct
from ..kernels.device import DeviceKernel
from ..kernels.device_sort import DeviceSort
from ..kernels.nest_tiling import NestSource
from ..kernels.target import DeviceTarget, Target
from ..loop import Loop
from ..orders import Positions, Sort
from ..plan import ITEM_BYTES, STATUS, Call, Cost, DeviceLaunch, Launch, Placed, Plan
from ..program import (
    Concat,
    Contraction,
    Gather,
    Host,
    Node,
    Place,
    Program,
    Scatter,
    Type,
)
from ..values import reshape_source
from ..view import View, contiguous
from .attention import attend, attend_backwards
from .contractions.lower import contract
from .groups import Group
from .memory import assign, ownership
from .memory.destinations import destinations, inside_concats, nested
from .partition import Partition
from .parts import reduce_in_parts, splits
from .places import Location
from .positions import find_positions
from .repeat import repeat
from .results import combined, nest
from .sort import order_rows
from .steps import HostStep, Step, Steps
from .writes import chains, concat, write_into


class Placement(NamedTuple):
    """places: (buffer, view) of the outputs. slots: (slot, offset in bytes) of each buffer. donated: {buffer: input}.
    See `Plan`."""

    places: list[tuple[int, View]]
    slots: list[tuple[int, int]]
    allocations: tuple[int, ...]
    donated: dict[int, int]
    commit: int


class Scheduler(Steps):
    """Lowers one Program for inputs that lie like `views`, group by group."""

    def __init__(self, program: Program, views: Sequence[View], target: Target):
        program = for_target(program, target)
        self.parts = Partition(program)
        super().__init__(program, views, target, self.parts.results.uniform)
        self.users = self.parts.users
        ends = [g.nodes[-1].outputs[0] for g in self.parts.order if _any_order(g)]
        ends += [v for node in program.nodes if isinstance(node.op, AttentionGradient) for v in node.outputs]
        if ends:
            self.destinations, wholes = destinations(program, self.users, ends)
            self.wholes = {v: Location(self.buffer(v.type), layout) for v, layout in wholes.items()}
        self.spread = nested(program, self.users, self.wholes)
        self.parts_of = inside_concats(program, self.users, self.spread)

    # -- groups --------------------------------------------------------------------------------------------

    def cost(self, given: int = 0) -> Cost:
        """What the Plan would take if the first `given` inputs are given away. Compiles no kernels.

        Outputs that take an input's place are not counted. Neither are those that only lie differently from it: next
        time the input will lie like them.
        """
        self.lower()
        placement, count = self.place(), len(self.program.inputs)
        pairs = zip(range(given), self.program.inputs, placement.places, strict=False)
        moved = [b for _, v, (b, view) in pairs if b >= count and view.strides != self.where[v].view.strides]
        donated = [b for b, i in placement.donated.items() if i < given]
        taken = {placement.slots[b][0] - count for b in (*donated, *moved)}
        own = [size for slot, size in enumerate(placement.allocations) if slot not in taken]
        return Cost(sum(own), sum(step.work for step in self.steps))

    def lower(self) -> None:
        """Append the steps of all groups."""
        stored = self.parts.results.stored
        joined = {} if self.target.at_once else chains(self.parts.order, self.users, stored, self.program.outputs)
        waiting = {group for chain in joined.values() for group in chain[:-1]}
        for group in self.parts.order:
            if group in waiting:
                continue
            op, groups = group.nodes[-1].op, joined.get(group, [group])
            for node in [node for g in groups for node in g.nodes]:
                if isinstance(node.op, Gather):
                    self.keep(node.inputs[0], self.users[node.inputs[0]])
            if isinstance(op, Host):
                self._host(group.nodes[0], op)
            elif isinstance(op, Sort):
                order_rows(self, group.nodes[0], op)
            elif isinstance(op, Attention):
                attend(self, group.nodes[0], op)
            elif isinstance(op, AttentionGradient):
                attend_backwards(self, group.nodes[0], op)
            elif isinstance(op, Positions):
                find_positions(self, group.nodes[0])
            elif isinstance(op, Loop):
                repeat(self, group.nodes[0], self._lowered)
            elif isinstance(op, Concat):
                concat(self, group.nodes[0], op)
            elif isinstance(group.nodes[0].op, Contraction):
                contract(self, group.nodes, self.parts.results.sums[group])
            elif not self.taken.keys().isdisjoint(group.passes):
                combined(self, group, stored[group])
            elif isinstance(op, (Scatter, Place)):
                write_into(self, groups, stored[group])
            elif splits(group, self.target):
                reduce_in_parts(self, group, stored[group])
            else:
                nest(self, group, stored[group])

    def _lowered(self, program: Program, views: Sequence[View], states: int) -> Scheduler:
        """The steps of the body of a loop."""
        made = Scheduler(program, views, self.target)
        made.repeated = True
        made.row_major = {reshape_source(v) for v in program.outputs[:states]}
        made.lower()
        return made

    def _host(self, node: Node, op: Host) -> None:
        inputs = [(*self.in_memory(v), v.type) for v in node.inputs]
        outputs = [(self.buffer(v.type), contiguous(v.shape), v.type) for v in node.outputs]
        for out, (buffer, view, _) in zip(node.outputs, outputs, strict=True):
            self.where[out] = Location(buffer, view)
        self.steps.append(HostStep(op, inputs, outputs))

    @property
    def sources(self) -> list[Any]:
        """The kernels to compile, in the order of the launches."""
        return [s.source for s in self.steps if isinstance(s, Step)]

    # -- the plan ------------------------------------------------------------------------------------------

    def place(self) -> Placement:
        """Where everything lies, which steps run at the same time, and what may be donated."""
        places = [self.in_memory(v) for v in self.program.outputs]
        count = len(self.program.inputs)
        if self.bypassed:
            self._drop_bypassed([buffer for buffer, _ in places])
        for buffer, _ in places:  # whoever gets a result may change it
            self.layouts.pop(buffer, None)
        places = self._write_in_place(places)
        self.layouts = {b: i for b, i in self.layouts.items() if not self._is_updated(i)}
        outputs = [buffer for buffer, _ in places]
        kept = [*[buffer for buffer in outputs if buffer >= count], *self.layouts]
        commit = assign.last_check(self.steps) + 1
        donated = ownership.donations(self.steps, self.program, self.where, places, commit)
        assign.join(self.steps, donated)
        if commit < len(self.steps):
            self.steps[commit].joined = False  # the status must be known before
        ownership.verify(self.steps, count, self.bytes, outputs, donated)
        apart = isinstance(self.target, DeviceTarget) and not config.get("gpu_cache")
        slots, allocations = assign.assign(self.steps, self.bytes, count, kept, apart)
        return Placement(places, slots, tuple(allocations), donated, commit)

    def _drop_bypassed(self, outputs: Sequence[int]) -> None:
        """Remove the steps whose results were to be packed, if the packed copy was made directly from their operands
        and nobody else reads them."""
        unread = self.bypassed - {b for step in self.steps for b, _ in step.reads} - set(outputs)
        self.steps = [s for s in self.steps if not s.writes or not {b for b, _ in s.writes} <= unread]
        for buffer in unread:
            if not any(b == buffer for step in self.steps for b, _ in step.writes):
                self.bytes[buffer] = 0

    def _write_in_place(self, places: list[tuple[int, View]]) -> list[tuple[int, View]]:
        """Remove the copies before partial writes whose source is not needed any more. Returns where the outputs then
        lie."""
        outputs = [buffer for buffer, _ in places]
        owner = ownership.in_place(self.steps, len(self.program.inputs), self.bytes, [*outputs, *self.layouts])
        if not owner:
            return places
        for step in self.steps:
            step.rename(owner)
        self.steps = [step for step in self.steps if not ownership.needless(step, {})]
        return [(owner.get(buffer, buffer), view) for buffer, view in places]

    def _is_updated(self, number: int) -> bool:
        """Whether an output may take the place of an input; then its values change at each call."""
        outputs = self.program.outputs
        return number < len(outputs) and outputs[number].type == self.program.inputs[number].type

    def _guard(self, commit: int) -> None:
        """Let the kernels that may write to donated memory look at the status word themselves."""
        guarded: dict[int, NestSource | BlockProduct | DeviceSort] = {}
        for step in self.steps[commit:]:
            if isinstance(step, Step) and not step.checks:
                assert isinstance(step.source, (NestSource, BlockProduct, DeviceSort))
                step.source = guarded.setdefault(id(step.source), replace(step.source, guarded=True))
                step.buffers.append((STATUS, 0))

    def _compiled(self, sources: Sequence[Any]) -> Sequence[int | DeviceKernel]:
        """The kernels' addresses, or what a GPU needs of them."""
        if isinstance(self.target, DeviceTarget):
            return compile_device_kernels(sources, self.target)
        return compile_kernels(sources, self.target)

    def finish(self, placement: Placement) -> Plan:
        """The Plan, with its kernels compiled."""
        places, slots, allocations, donated, commit = placement
        count = len(self.program.inputs)
        if self.checks and isinstance(self.target, DeviceTarget):
            self._guard(commit)
        sources = list({id(source): source for source in self.sources}.values())
        made = dict(zip(map(id, sources), self._compiled(sources), strict=True))
        steps: list[Launch | DeviceLaunch | Call] = []
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
            kernel = made[id(step.source)]
            if isinstance(kernel, DeviceKernel):
                assert step.blocks is not None
                steps.append(DeviceLaunch(kernel, buffers, step.blocks, step.work, step.name, skip))
                continue
            how = step.tiles, step.work, step.name, skip, step.joined, step.side and step.joined
            steps.append(Launch(kernel, buffers, step.params, *how))
        outputs = _placed([(*place, v.type) for place, v in zip(places, self.program.outputs, strict=True)], slots)
        pairs = tuple([(slots[b][0], i) for b, i in donated.items()])
        return Plan(count, allocations, tuple(steps), outputs, pairs, tuple(self.checks), tuple(layouts), commit)


def _any_order(group: Group) -> bool:
    """Whether the dims of a group's result may lie in any order."""
    op = group.nodes[0].op
    return isinstance(op, Contraction) and op.roles.any_order


def _placed(items: Sequence[tuple[int, View, Type]], slots: Sequence[tuple[int, int]]) -> tuple[Placed, ...]:
    return tuple(
        [
            Placed(slots[b][0], slots[b][1] + view.offset * ITEM_BYTES[type.dtype], type, view.strides)
            for b, view, type in items
        ]
    )
