"""A recorded call as one op that runs without Python: tensors in and out, parameters and other state read and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Any
from weakref import ref

import numpy as np

from .. import _rt
from ..core import Tensor
from ..core.live import Numbers
from .arguments import Hole, rebuild
from .constants import fold
from .effects import Effects, Source, function_inside
from .names import Name
from .recorder import Recorder, Segment
from .residuals import with_residuals
from .traced import StaleTrace, Traced


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

    def __init__(
        self,
        recorder: Recorder,
        arguments: int,
        found: Effects,
        names: Sequence[Name],
        named: Sequence[tuple[int, ref[Tensor]]],
    ):
        """Made after the call has run.

        arguments: the number of tensors among its arguments, which have the first slots. names: those that the function
        reads. named: arguments, by number, that were also found under one of these names, so that it cannot be told
        which was meant.
        """
        assert len(recorder.segments) <= 1, "reading values and pausing are refused"
        self.recorder, self.segment = recorder, _needed(recorder, found)
        self.donate, inputs, outputs = self.segment.donate, self.segment.inputs, self.segment.outputs
        self.segments = list(dict.fromkeys((*recorder.segments, self.segment)))  # what has run, or will
        self.place = {slot: i for i, slot in enumerate(outputs)}
        self.found, self.names, self.named = found, names, named
        self.template: list[Any] = [None] * len(inputs)  # those that stay
        self.outside: list[tuple[int, ref[Tensor]]] = []  # (operand, the tensor)
        self.arguments: list[tuple[int, int]] = []  # (operand, argument)
        self.grads: list[tuple[int, Source]] = []  # (operand, a grad)
        # {read: [(operand, number of what it gives)]}
        # Includes those that no result needs: reading them counts, in the order of the function.
        self.live: dict[Callable[[], Numbers], list[tuple[int, int]]] = {read: [] for read, _ in recorder.live.values()}
        for operand, index in enumerate(inputs):
            if index < 0:
                read, number = recorder.live[~index]
                self.live[read].append((operand, number))
            elif index < arguments:
                self.arguments.append((operand, index))
            elif (grad := found.grads_read.get(id(recorder.externals[index]))) is not None:
                self.grads.append((operand, grad))
            elif index in recorder.captured and id(recorder.externals[index]) not in found.written_ids:
                self.template[operand] = recorder.captured[index]
            elif index in recorder.constants:
                self.template[operand] = recorder.externals[index]
            else:
                self.outside.append((operand, ref(recorder.externals[index])))
        found_written = [(source, self.place[slot]) for source, slot in found.written]
        given = self._sources()  # those of them that give their memory take over the results by themselves
        self.written = [(s, i) for s, i in found_written if i >= self.donate or not s.is_same(given[i])]
        single = found.returned[0] if len(found.returned) == 1 and isinstance(found.result, Hole) else None
        self.single = self.place[single.what] if single and single.kind == "slot" else -1
        sources = (*found.returned, *chain(*found.grads), *(source for source, _ in found.written))
        there = {id(handle()) for _, handle in self.outside}
        # What must exist besides the operands.
        self.others = [handle for source in sources for handle in source.handles() if id(handle()) not in there]
        # Parameters whose grad becomes what the call computed, or None (-1), are by far the most frequent, so they do
        # without a Source.
        self.new_grads: list[tuple[ref[Tensor], int]] = []
        self.other_grads: list[tuple[Source, Source]] = []
        for owner, grad in found.grads:
            if owner.kind == "handle" and grad.kind in ("slot", "none"):
                self.new_grads.append((owner.what, self.place[grad.what] if grad.kind == "slot" else -1))
            else:
                self.other_grads.append((owner, grad))
        self.guards = [(source.what, none) for source, none in found.guards if source.kind == "handle"]
        self.other_guards = [(source, none) for source, none in found.guards if source.kind != "handle"]
        self.seen_types: list[Any] = []  # of the tensors from outside, at the last call that looked
        recorder.release()

    def _sources(self) -> list[Source]:
        """Where the operands come from."""
        sources = [Source("none")] * len(self.template)
        for operand, handle in self.outside:
            sources[operand] = Source("handle", handle)
        for operand, number in self.arguments:
            sources[operand] = Source("argument", number)
        for operand, grad in self.grads:
            sources[operand] = grad
        return sources

    @cached_property
    def folded(self) -> tuple[Traced, list[int] | None, list[Any]]:
        """The op that runs if no tape watches, which operands it takes (None: all), and the constants: what depends on
        captured tensors and on numbers alone."""
        program = self.segment.op.program
        order = [i for i, x in enumerate(self.template) if x is None or not self.recorder.capture]
        known = {v: self.template[i] for i, v in enumerate(program.inputs) if i not in set(order)}
        rest, values, saves = fold(program, [program.inputs[i] for i in order], known)
        if not saves:
            return self.segment.op, None, []
        made = self.segment._replace(op=self.recorder.operations.traced(self.recorder.title, rest, self.donate))
        self.segments.append(made._replace(note="what depends on constants alone has been computed"))
        return made.op, order, values

    @cached_property
    def op_for_gradients(self) -> Traced:
        """The op that runs if a tape watches: it also gives what its gradient wants to keep."""
        op = with_residuals(self.recorder.operations, self.segment)
        if op is not self.segment.op:
            self.segments.append(self.segment._replace(op=op, note="its gradient is wanted"))
        return op

    def fits(self, arguments: Sequence[Tensor]) -> bool:
        """Whether the call would find the same tensors, gradients and values read by Python as when it was recorded."""
        for look, handle in self.names:
            tensor = handle()
            if tensor is None or look() is not tensor:
                return False
        for number, handle in self.named:
            if arguments[number] is not handle():
                return False
        for handle, none in self.guards:
            tensor = handle()
            if tensor is None or (tensor.grad is None) != none:
                return False
        for source, none in self.other_guards:
            tensor = source.find(arguments)
            if tensor is None or (tensor.grad is None) != none:
                return False
        return not self.recorder.looks or self.recorder.sees_the_same()

    def __call__(self, arguments: Sequence[Tensor]) -> Any:
        """Run with these tensors and return what the function would. Raises StaleTrace if something that it found
        outside is gone."""
        if self.others and any(handle() is None for handle in self.others):
            raise StaleTrace(self.segment.op.title)
        results = self._run(arguments)
        for source, place in self.written:
            target = source.find(arguments)
            if target is not None:
                target._reset(results[place])
        if self.other_grads:
            grads = [self._result(grad, arguments, results) for _, grad in self.other_grads]
            for (owner, _), grad in zip(self.other_grads, grads, strict=True):
                owner.find(arguments).grad = grad
        for handle, place in self.new_grads:
            handle().grad = results[place] if place >= 0 else None  # type: ignore[union-attr]  # they are there, see `others`
        if self.single >= 0:
            return results[self.single]
        sources: Iterator[Source] = iter(self.found.returned)

        def filled(place: Any) -> Any:
            return self._result(next(sources), arguments, results) if isinstance(place, Hole) else place.copy()

        return rebuild(self.found.result, filled, (Hole, np.ndarray))

    def _run(self, arguments: Sequence[Tensor]) -> Sequence[Tensor]:
        operands = self.template.copy()
        for operand, handle in self.outside:
            tensor = handle()
            if tensor is None:
                raise StaleTrace(self.segment.op.title)
            operands[operand] = tensor
        for operand, number in self.arguments:
            operands[operand] = arguments[number]
        for operand, grad in self.grads:
            operands[operand] = grad.find(arguments)
        if self.live:  # reading them counts, so it must not be in vain
            self._check_types(operands)
        for read, wanted in self.live.items():
            numbers = read()
            for operand, number in wanted:
                operands[operand] = numbers[number]
        if not self.segment.outputs and not self.segment.op.effect:
            return ()
        watched = _rt.is_watching() and any(isinstance(x, Tensor) and x._is_watched() for x in operands)
        if watched and self.recorder.functions:
            raise function_inside(self.recorder.title)
        op, taken, further = (self.op_for_gradients, None, []) if watched else self.folded
        if taken is not None:
            operands = [*(operands[i] for i in taken), *further]
        made = _rt.update(op, self.donate, *operands)
        return made if isinstance(made, tuple) else (made,)

    def _check_types(self, operands: Sequence[Any]) -> None:
        """Raise StaleTrace for a tensor of another type than when the call was recorded."""
        places = [operand for operand, _ in chain(self.outside, self.grads)]
        types = [operands[operand].desc for operand in places]
        if types == self.seen_types:
            return
        inputs = self.segment.op.program.inputs
        for operand, found in zip(places, types, strict=True):
            wanted = inputs[operand]
            if found.dtype != wanted.dtype or found.shape != wanted.shape:
                raise StaleTrace(self.segment.op.title)
        self.seen_types = types

    def _result(self, source: Source, arguments: Sequence[Tensor], results: Sequence[Tensor]) -> Any:
        if source.kind != "slot":
            return source.find(arguments)
        return results[self.place[source.what]]
