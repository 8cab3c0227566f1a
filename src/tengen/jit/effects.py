"""What one call of a traced function leaves behind, so that it can be repeated without Python."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from ..core import Tensor
from .arguments import Hole, rebuild, tensors_of
from .errors import TraceError
from .recorder import Recorder


class Source(NamedTuple):
    """Where a call finds a tensor, by kind: "argument" (what: its number), "handle" (a weak reference to a tensor from
    outside), "kept" (one to a tensor that a call has made), "grad" (the Source of the tensor whose grad it is), "slot"
    (a value that the call computed), "none".
    """

    kind: str
    what: Any = None

    def find(self, arguments: Sequence[Tensor]) -> Any:
        """The tensor, if it exists before the call; None if it is gone."""
        if self.kind == "argument":
            return arguments[self.what]
        if self.kind == "grad":
            return self.what.find(arguments).grad
        return self.what() if self.kind in ("handle", "kept") else self.what

    def handles(self) -> list[ref[Tensor]]:
        """The reference to a tensor from outside that must still exist."""
        return self.what.handles() if self.kind == "grad" else [self.what] if self.kind == "handle" else []

    def is_same(self, other: Source) -> bool:
        """Whether they name one tensor (== would compare element by element)."""
        if self.kind != other.kind:
            return False
        if self.kind == "grad":
            return bool(self.what.is_same(other.what))
        return self.what() is other.what() if self.kind in ("handle", "kept") else bool(self.what == other.what)


class Effects(NamedTuple):
    """What a call leaves behind.

    result: with a Hole for each of the `returned` tensors, and arrays that nothing else holds. written: tensors from
    outside (their ids are `written_ids`), with the slots of their new values. grads: tensors with their new grad.
    guards: tensors whose grad the call read, and whether there was none. grads_read: the grads that there were, by id.
    made: tensors made by the call that the program keeps elsewhere than in the result. held: keeps alive what must be
    computed.
    """

    result: Any
    returned: list[Source]
    returned_slots: list[int]
    written: list[tuple[Source, int]]
    written_ids: set[int]
    grads: list[tuple[Source, Source]]
    guards: list[tuple[Source, bool]]
    grads_read: dict[int, Source]
    made: list[ref[Tensor]]
    held: list[Tensor]


class _Places:
    """Names what the running call leaves behind, in terms of what later calls will find."""

    def __init__(self, recorder: Recorder, arguments: Sequence[Tensor]):
        self.recorder, self.arguments = recorder, arguments
        self.held: list[Tensor] = []
        self.given: dict[int, int] = {}  # slots of tensors whose value the function itself had not computed, by id

    def tensor(self, tensor: Tensor | None) -> Source:
        """The tensor itself; for one that the call has made, its value."""
        if tensor is None:
            return Source("none")
        for i, argument in enumerate(self.arguments):
            if argument is tensor:
                return Source("argument", i)
        if self.recorder.is_made(tensor):
            return Source("slot", self.slot(tensor))
        owner = self.recorder.owner(tensor)
        return Source("handle", ref(tensor)) if owner is None else Source("grad", self.tensor(owner))

    def slot(self, tensor: Tensor) -> int:
        """The slot of the tensor's value, computed by the call."""
        slot = self.recorder.recording.slot(tensor)
        if slot >= 0 and slot not in self.recorder.externals:
            return slot
        if id(tensor) not in self.given:
            self.held.append(tensor._detach())
            self.given[id(tensor)] = self.recorder.recording.slot(self.held[-1])
        return self.given[id(tensor)]


def effects(recorder: Recorder, arguments: Sequence[Tensor], box: list[Any]) -> Effects:
    """What the running call leaves behind. Its result is in `box` and nowhere else."""
    slot = recorder.recording.slot
    result = rebuild(box[0], lambda x: Hole() if isinstance(x, Tensor) else x.copy(), (Tensor, np.ndarray))
    if not recorder.without_host:  # only files ask
        return Effects(result, [], [slot(t) for t in tensors_of(box)], [], set(), [], [], {}, [], [])
    rebuild(box[0], partial(_refuse_spent, recorder.title), (Iterator, Coroutine))
    made = _kept(recorder, box)
    places = _Places(recorder, arguments)
    returned = tensors_of(box)
    if recorder.functions and any(t._is_watched() for t in returned):
        raise function_inside(recorder.title)
    sources = [places.tensor(t) for t in returned]
    slots = [s.what if s.kind == "slot" else slot(t) for s, t in zip(sources, returned, strict=True)]
    written = [(places.tensor(h), places.slot(h)) for h in recorder.written_handles]
    ids = {id(h) for h in recorder.written_handles}
    written += [(Source("kept", ref(t)), places.slot(t)) for t in made]
    owners = [t for t in recorder.new_grads.values() if not recorder.is_made(t)]
    grads = [(places.tensor(t), places.tensor(t.grad)) for t in owners]
    guards = [(places.tensor(t), before is None) for t, before in recorder.read_grads.values()]
    before = {id(grad): places.tensor(grad) for _, grad in recorder.read_grads.values() if grad is not None}
    return Effects(result, sources, slots, written, ids, grads, guards, before, [ref(t) for t in made], places.held)


def _refuse_spent(title: str, result: Any) -> None:
    """Refuse results that can be iterated over only once: a later call would give them already used up."""
    raise TraceError(
        f"{title} returns a {type(result).__name__}, which later calls could not return with without_host=True: return a list or a tuple, or "
        "trace with without_host=False"
    )


def function_inside(title: str) -> TraceError:
    """The error for a GradManager outside a trace that meets a Function inside it."""
    return TraceError(
        f"{title} has a gradient of the user's own (a Function), which later calls cannot give to a GradManager outside of it; compute "
        "the gradient inside, or trace with without_host=False"
    )


def _kept(recorder: Recorder, box: list[Any]) -> list[Tensor]:
    """The tensors made by the call that something other than its result and gradients holds."""
    if _held_elsewhere(recorder, box):
        gc.collect()  # without what only reference cycles hold
    return _held_elsewhere(recorder, box)


def _held_elsewhere(recorder: Recorder, box: list[Any]) -> list[Tensor]:
    known = Counter(map(id, tensors_of(box)))
    known.update(id(t.grad) for t in recorder.new_grads.values())
    known.update({id(h) for h in (r() for r, _ in recorder.changes)})  # the runtime holds them in order to restore them
    found = []
    alone = 0  # references to what only the list holds
    for each in [object(), *recorder.made_tensors]:
        references = sys.getrefcount(each) - known[id(each)]
        alone = alone or references
        if references > alone and isinstance(each, Tensor):
            found.append(each)
    return found
