"""A recorded call as one op that runs without Python: tensors in and out, parameters and other state read and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

from .. import _rt
from ..core import Tensor
from ..core.live import Numbers
from .arguments import rebuild, tensors_of
from .constants import fold
from .recorder import Recorder, Segment
from .residuals import with_residuals
from .traced import Traced


class Source(NamedTuple):
    """Where a call finds a tensor: kind "argument" (what: its number), "handle" (the tensor), "grad" (the tensor whose grad it is),
    "slot" (what the call computed), "none".
    """

    kind: str
    what: Any = None

    def find(self, arguments: Sequence[Tensor]) -> Any:
        """The tensor, of those that there are before the call."""
        return arguments[self.what] if self.kind == "argument" else self.what.grad if self.kind == "grad" else self.what


class Effects(NamedTuple):
    """What a call leaves behind, said while it lasts: `returned` tensors, `written` handles with their new values, and new `grads`
    of tensors. guards: tensors whose grad it read, and whether there was none.
    """

    result: Any
    returned: list[Source]
    returned_slots: list[int]
    written: list[tuple[Source, int]]
    grads: list[tuple[Tensor, Source]]
    guards: list[tuple[Tensor, bool]]


def effects(recorder: Recorder, arguments: Sequence[Tensor], result: Any) -> Effects:
    """What the running call, which has just returned `result`, leaves behind."""
    slot = recorder.recording.slot

    def source(tensor: Tensor | None, made: bool) -> Source:
        """made: the tensor itself belongs to the call, if it does not come from outside."""
        if tensor is None:
            return Source("none")
        for i, argument in enumerate(arguments):
            if argument is tensor:
                return Source("argument", i)
        if not made or slot(tensor) < 0 or any(tensor is h for h in recorder.externals.values()):
            return Source("handle", tensor)
        return Source("slot", slot(tensor))

    handles = {id(h): h for h in (r() for r, _ in recorder.changes) if h is not None}
    returned = tensors_of(result)
    kept = [
        h
        for h in handles.values()
        if slot(h) >= 0 and not any(h is t for t in returned if source(t, True).kind == "slot")
    ]
    grads = [(t, source(t.grad, True)) for t in recorder.new_grads.values()]
    return Effects(
        result,
        [source(t, True) for t in returned],
        [slot(t) for t in returned],
        [(source(h, False), slot(h)) for h in kept],
        grads,
        list(recorder.read_grads.values()),
    )


def _needed(recorder: Recorder, found: Effects) -> Segment:
    """What ran, without the values that only a tape or a variable of the first call held."""
    grads = [source.what for _, source in found.grads if source.kind == "slot"]
    slots = {*found.returned_slots, *(slot for _, slot in found.written), *grads}
    if not recorder.segments:
        return Segment(recorder.operations.op(recorder.title, (), (), 0), (), (), 0)
    segment = recorder.segments[0]
    outputs = tuple(s for i, s in enumerate(segment.outputs) if s in slots or i < segment.donate)
    if outputs == segment.outputs:
        return segment
    op = recorder.operations.op(recorder.title, segment.inputs, outputs, segment.donate)
    return segment._replace(op=op, outputs=outputs)


class Standalone:
    """Runs what one call of a function did, with other arguments of the same types."""

    def __init__(self, recorder: Recorder, arguments: int, found: Effects):
        """After the call has run. arguments: the number of tensors among its arguments, which have the first slots."""
        assert len(recorder.segments) <= 1, "reading values and pausing are refused"
        self.recorder, self.segment = recorder, _needed(recorder, found)
        self.donate, inputs, outputs = self.segment.donate, self.segment.inputs, self.segment.outputs
        self.segments = list(dict.fromkeys((*recorder.segments, self.segment)))  # what has run, or will
        self.place = {slot: i for i, slot in enumerate(outputs)}
        self.found = found
        self.template: list[Any] = [None] * len(inputs)
        self.arguments: list[tuple[int, int]] = []  # (operand, argument)
        self.grads: list[tuple[int, Tensor]] = []  # (operand, the tensor whose grad it is)
        # {read: [(operand, number of what it gives)]}
        self.live: dict[Callable[[], Numbers], list[tuple[int, int]]] = {}
        for operand, index in enumerate(inputs):
            if index < 0:
                read, number = recorder.live[~index]
                self.live.setdefault(read, []).append((operand, number))
            elif index < arguments:
                self.arguments.append((operand, index))
            elif index in recorder.grad_of:
                self.grads.append((operand, recorder.grad_of[index]))
            else:
                self.template[operand] = recorder.externals[index]
        in_place = set(outputs[: self.donate])
        self.written = [(source, self.place[slot]) for source, slot in found.written if slot not in in_place]
        single = found.returned[0] if len(found.returned) == 1 and isinstance(found.result, Tensor) else None
        self.single = self.place[single.what] if single and single.kind == "slot" else -1

    @cached_property
    def folded(self) -> tuple[Traced, list[int] | None, list[Any]]:
        """The op that runs where no tape watches, which operands it takes (None: all), and what follows these: that which depends on
        captured tensors and on numbers alone.
        """
        program = self.segment.op.program
        varies = {operand for operand, _ in (*self.arguments, *self.grads, *chain(*self.live.values()))}
        if not self.recorder.capture:  # what comes from outside may be another value the next time
            varies.update(range(len(self.template)))
        order = sorted(varies)
        known = {v: self.template[i] for i, v in enumerate(program.inputs) if i not in varies}
        rest, values, saves = fold(program, [program.inputs[i] for i in order], known)
        if not saves:
            return self.segment.op, None, []
        made = self.segment._replace(op=self.recorder.operations.traced(self.recorder.title, rest, self.donate))
        self.segments.append(made._replace(note="what depends on constants alone has been computed"))
        return made.op, order, values

    @cached_property
    def op_for_gradients(self) -> Traced:
        """The op where a tape watches: it also gives what its gradient wants to have kept."""
        op = with_residuals(self.recorder.operations, self.segment)
        if op is not self.segment.op:
            self.segments.append(self.segment._replace(op=op, note="its gradient is wanted"))
        return op

    def fits(self) -> bool:
        """Whether the call would read the gradients that it read when it was recorded."""
        return all((tensor.grad is None) == none for tensor, none in self.found.guards)

    def __call__(self, arguments: Sequence[Tensor]) -> Any:
        """Run with these tensors, and return what the function would."""
        if not self.segment.outputs:
            return self._answer(arguments, ())
        operands = self.template.copy()
        for operand, number in self.arguments:
            operands[operand] = arguments[number]
        for operand, tensor in self.grads:
            operands[operand] = tensor.grad
        for read, wanted in self.live.items():
            numbers = read()
            for operand, number in wanted:
                operands[operand] = numbers[number]
        watched = _rt.is_watching() and any(isinstance(x, Tensor) and x._is_watched() for x in operands)
        op, taken, further = (self.op_for_gradients, None, []) if watched else self.folded
        if taken is not None:
            operands = [*(operands[i] for i in taken), *further]
        made = _rt.update(op, self.donate, *operands)
        results = made if isinstance(made, tuple) else (made,)
        for source, place in self.written:
            source.find(arguments)._reset(results[place])
        for tensor, grad in self.found.grads:
            tensor.grad = results[self.place[grad.what]] if grad.kind == "slot" else grad.find(arguments)
        if self.single >= self.donate:
            return results[self.single]
        return self._answer(arguments, results)

    def _answer(self, arguments: Sequence[Tensor], results: Sequence[Tensor]) -> Any:
        sources: Iterator[Source] = iter(self.found.returned)

        def find(_: Tensor) -> Tensor:
            source = next(sources)
            if source.kind != "slot":
                return source.find(arguments)
            place = self.place[source.what]
            return results[place]._detach() if place < self.donate else results[place]

        return rebuild(self.found.result, find)
