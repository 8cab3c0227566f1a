"""Runs a Loop inside a Plan. Its body is scheduled once; its launches are repeated for each step with other places in
the buffers.

So a loop of a thousand steps compiles the kernels of a single step, and running it calls no Python. A step reads the
states where the step before has put them, in the buffer of the output. What depends on constants alone, such as the
packed copy of a weight, is made once, before the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import NamedTuple

from ..loop import Loop
from ..passes import run
from ..plan import ITEM_BYTES, STATUS
from ..program import Node, Program, Type, Value, build
from ..view import View, contiguous
from .memory.ownership import EVERYWHERE
from .places import Location
from .steps import HostStep, Step, Steps


class StepPlace(NamedTuple):
    """Where a buffer of the body is at step i: in `buffer`, `start + i · step` bytes from its beginning.

    first: where it is at step 0, if that differs. rows: how many places there are; later steps start over.
    """

    buffer: int
    start: int = 0
    step: int = 0
    first: tuple[int, int] | None = None
    rows: int = 0

    def at(self, i: int) -> tuple[int, int]:
        """(buffer, bytes) at the i-th step that runs."""
        if i == 0 and self.first is not None:
            return self.first
        return self.buffer, self.start + (i % self.rows if self.rows else i) * self.step


def repeat(steps: Steps, node: Node, lower: Callable[[Program, Sequence[View], int], Steps]) -> None:
    """Append the steps of a Loop. lower: gives the steps of a Program whose inputs lie like these views and whose first
    outputs are states."""
    op = node.op
    assert isinstance(op, Loop)
    values = node.inputs
    states, sequences = values[: op.states], values[op.states : op.states + op.sequences]
    count = sequences[0].shape[0]
    # The initial state as it lies in the output of a step.
    initial = [_dense(steps, v) for v in states]
    rest = [steps.in_memory(v) for v in values[op.states :]]
    views = [contiguous(v.shape) for v in states]
    views += [_row(view) for _, view in rest[: op.sequences]]
    views += [view._replace(offset=0) for _, view in rest[op.sequences :]]
    inner = lower(run(build(op.body, op.step_types([v.type for v in values]))), views, op.states)
    results = _results(inner, op.states)
    places = _outputs(steps, op, node, results, count, initial)
    if not count:
        return
    # Where the inputs of the body are.
    for i, first in enumerate(initial):
        buffer, start, step, _, rows = places[results[i][0]]
        places[i] = (
            StepPlace(buffer, start - step, step, first, 0) if not rows else StepPlace(buffer, step, -step, first, rows)
        )
    for i, (v, (buffer, view)) in enumerate(zip(values[op.states :], rest, strict=True), op.states):
        size = ITEM_BYTES[v.dtype]
        if i < op.states + op.sequences:
            step = view.strides[0] * size
            start = view.offset * size + (step * (count - 1) if op.reverse else 0)
            places[i] = StepPlace(buffer, start, -step if op.reverse else step)
        else:
            places[i] = StepPlace(buffer, view.offset * size)
    steps.checks += inner.checks
    _emit(steps, inner, places, [buffer for buffer, _ in results], op, count)


def _emit(
    steps: Steps, inner: Steps, places: dict[int, StepPlace], outputs: Sequence[int], op: Loop, count: int
) -> None:
    """Append what depends on constants alone once, and everything else for each step."""
    moving = {*range(op.states + op.sequences), *outputs}
    size = 0
    while size != len(moving):
        size = len(moving)
        for step in inner.steps:
            if any(b in moving for b, _ in (*step.reads, *step.writes)):
                moving |= {b for b, _ in step.writes}
    for buffer in range(len(inner.program.inputs), len(inner.bytes)):
        if buffer not in places:
            steps.bytes.append(inner.bytes[buffer])
            places[buffer] = StepPlace(len(steps.bytes) - 1)
    once = [s for s in inner.steps if all(b not in moving for b, _ in s.writes)]
    for step in once:
        copy = _moved(step, places, 0)
        source = inner.layouts.get(step.skip_for) if step.skip_for is not None else None
        if source is not None and isinstance(copy, Step):
            copy.skip_for = places[step.skip_for or 0].buffer
            outer = places[source].buffer
            if outer < len(steps.program.inputs):  # then it can be kept beside the input
                steps.layouts[copy.skip_for] = outer
        steps.steps.append(copy)
    again = [s for s in inner.steps if s not in once]
    steps.steps += [_moved(step, places, i) for i in range(count) for step in again]


def _results(inner: Steps, states: int) -> list[tuple[int, View]]:
    """For each result of the body, a buffer that holds nothing else, and the layout in it. States are row-major."""
    found: list[tuple[int, View]] = []
    taken = set(range(len(inner.program.inputs)))
    for i, value in enumerate(inner.program.outputs):
        buffer, view = inner.in_memory(value)
        whole = inner.bytes[buffer] == value.size * ITEM_BYTES[value.dtype] and not view.offset and _is_dense(view)
        if buffer in taken or not whole or (i < states and not view.contiguous):
            place = inner.materialise(value)
            buffer, view = place.buffer or 0, place.view
        taken.add(buffer)
        found.append((buffer, view))
    return found


def _outputs(
    steps: Steps,
    op: Loop,
    node: Node,
    results: Sequence[tuple[int, View]],
    count: int,
    initial: Sequence[tuple[int, int]],
) -> dict[int, StepPlace]:
    """Give the outputs of the loop buffers; returns where the results of the body are in them."""
    places = {}
    for i, (out, (inside, view)) in enumerate(zip(node.outputs, results, strict=True)):
        last = op.keeps_last(i)
        kind = Type(out.dtype, view.shape)
        size = kind.size * ITEM_BYTES[out.dtype]
        rows = 2 if last else count
        buffer = steps.buffer(Type(out.dtype, (rows, *view.shape)))
        backwards = op.reverse and not last
        start = size * (count - 1) if backwards else 0
        places[inside] = StepPlace(buffer, start, -size if backwards else size, None, rows if last else 0)
        if not last:
            steps.where[out] = Location(buffer, View(out.shape, (kind.size, *view.strides)))
        elif count:
            steps.where[out] = Location(buffer, view._replace(offset=(count - 1) % rows * kind.size))
        else:
            steps.where[out] = Location(initial[i][0], view._replace(offset=initial[i][1] // ITEM_BYTES[out.dtype]))
    return places


def _moved(step: Step | HostStep, places: dict[int, StepPlace], i: int) -> Step | HostStep:
    """The i-th repetition of a step of the body."""

    def buffers(used: Iterable[tuple[int, View]]) -> list[tuple[int, View]]:
        return [(places[b].at(i)[0], EVERYWHERE) for b, _ in used]

    def pointer(buffer: int, at: int) -> tuple[int, int]:
        if buffer == STATUS:
            return buffer, at
        outer, start = places[buffer].at(i)
        return outer, start + at

    if isinstance(step, HostStep):
        used = [[_shifted(x, *places[x[0]].at(i)) for x in of] for of in (step.inputs, step.outputs)]
        return HostStep(step.op, used[0], used[1])
    parts = step.params, step.tiles, step.work, step.name, buffers(step.reads), buffers(step.writes)
    pointers = [pointer(*b) for b in step.buffers]
    return Step(step.source, pointers, *parts, joined=step.joined, side=step.side, blocks=step.blocks)


def _shifted(used: tuple[int, View, Type], buffer: int, start: int) -> tuple[int, View, Type]:
    _, view, type = used
    return buffer, view._replace(offset=view.offset + start // ITEM_BYTES[type.dtype]), type


def _dense(steps: Steps, value: Value) -> tuple[int, int]:
    """(buffer, offset in bytes) of a value that lies row-major; makes a copy if necessary."""
    buffer, view = steps.in_memory(value)
    if not view.contiguous:
        place = steps.materialise(value)
        buffer, view = place.buffer or 0, place.view
    return buffer, view.offset * ITEM_BYTES[value.dtype]


def _row(view: View) -> View:
    """One place along axis 0."""
    return View(view.shape[1:], view.strides[1:])


def _is_dense(view: View) -> bool:
    """Whether the elements fill their buffer, in any order of dims."""
    reach = 1 + sum((extent - 1) * stride for extent, stride in zip(view.shape, view.strides, strict=True) if extent)
    return view.size == 0 or (reach == prod(view.shape) and min(view.strides, default=0) >= 0)
