"""Turns the operations of a traced function into Programs: answers the runtime's Recording while the first call runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar
from weakref import ref

from .. import _rt
from ..base.naming import AutoNaming, running_modules
from ..compiler.program import Builder, Op, Program, Type, Value
from ..compiler.values import replay
from ..core import Tensor
from ..core.build import device_of, type_of
from ..core.live import Numbers, plain, source_of
from ..core.ops.shape import Detach, Reshape, zeros
from .errors import TraceError, user_line
from .memory import MemoryLimit
from .traced import PlanLog, Traced

Result = TypeVar("Result")


class Entry(NamedTuple):
    """One operation of the function. inputs: slots, or ~i for the i-th number. Its outputs have the slots from `first`
    on.

    scope and modules: the names and the modules in which it ran; only for files.
    """

    op: Op
    inputs: tuple[int, ...]
    first: int
    outputs: int
    line: str
    scope: str = ""
    modules: tuple[Any, ...] = ()


class Operations:
    """What a call did, without the tensors that it did it to.

    limit: makes the limit on the memory of a Program, if there is one. profiling: whether runs are timed. types: of
    slots. numbers: with their types; fixed: those that are the same at each call.
    """

    def __init__(self, limit: Callable[[int], MemoryLimit | None], profiling: bool) -> None:
        self.limit, self.profiling = limit, profiling
        self.entries: list[Entry] = []
        self.types: list[Type] = []
        self.numbers: list[float] = []
        self.number_types: list[Type] = []
        self.fixed: set[int] = set()

    def section(self, start: int, stop: int, keep_composites: bool = False) -> Section:
        """Operations start .. stop - 1."""
        section = Section(self, start, keep_composites)
        for entry in self.entries[start:stop]:
            section.record(entry.op, entry.inputs, entry.first)
        return section

    def traced(
        self, title: str, program: Program, donate: int, composed: Callable[[], Program] | None = None
    ) -> Traced:
        """The op of a Program whose first `donate` inputs give their memory to the output of the same index. composed:
        see `Traced`."""
        return Traced(title, program, PlanLog(self.profiling), composed, self.limit(donate))

    def op(self, title: str, inputs: Sequence[int], outputs: Sequence[int], donate: int) -> Traced:
        """All operations as one op with these inputs and outputs."""
        stop = len(self.entries)
        section = self.section(0, stop)
        finished = section.builder.finish(section.values[slot] for slot in outputs)
        program = Program(tuple(section.value(i) for i in inputs), finished.nodes, finished.outputs)
        return self.traced(title, program, donate, partial(self.composed, 0, stop, tuple(inputs), tuple(outputs)))

    def composed(self, start: int, stop: int, inputs: Sequence[int], outputs: Sequence[int]) -> Program:
        """A Program of the ops that the function applied, with these inputs and outputs."""
        section = self.section(start, stop, keep_composites=True)
        finished = section.builder.finish(section.values[slot] for slot in outputs)
        given = tuple(section.value(i) for i in inputs)
        made = Program(given, finished.nodes, finished.outputs)
        read = {v for node in made.nodes for v in node.inputs}
        unread = [v for v in section.inputs if v in read and v not in given]
        if not unread:
            return made
        # Only their types count, as in ones_like, so the Program does not have them, and any value may stand for them.
        builder = Builder(keep_composites=True)
        values = [builder.input(v.type) for v in given]
        outputs_again = replay(made, builder, values, {v: zeros(builder, v.type) for v in unread})
        return Program(tuple(values), builder.finish(outputs_again).nodes, outputs_again)


class Section:
    """A Program under construction, of consecutive operations. Slots from before are its inputs.

    fixed: whether all numbers are constants.
    """

    def __init__(self, operations: Operations, start: int, keep_composites: bool = False, fixed: bool = False):
        self.operations, self.start, self.stop, self.fixed = operations, start, start, fixed
        self.builder = Builder(keep_composites=keep_composites)
        self.values: dict[int, Value] = {}
        self.inputs: dict[Value, int] = {}

    def record(self, op: Op, inputs: Sequence[int], first: int) -> tuple[Value, ...]:
        """Add an operation, whose outputs get the slots from `first` on."""
        outputs = self.builder.record(op, [self.value(i) for i in inputs])
        self.values.update(enumerate(outputs, first))
        self.stop += 1
        return outputs

    def value(self, index: int) -> Value:
        """The value of a slot, or of number ~index."""
        if index not in self.values:
            self.values[index] = self._enter(index)
        return self.values[index]

    def _enter(self, index: int) -> Value:
        known = self.operations
        if index < 0 and (self.fixed or ~index in known.fixed):
            return self.builder.constant(known.numbers[~index])
        value = self.builder.input(known.number_types[~index] if index < 0 else known.types[index])
        self.inputs[value] = index
        return value


class Recorder:
    """The operations of one call of a traced function, and what it took from outside.

    title: the name of the Programs. without_host: later calls run without Python, so numbers become constants and no
    value of the function may be read. capture: record what came from outside, for files; keep: with its values in this
    call. limit: makes the limit on the memory of a Program, if there is one. profiling: whether runs are timed.
    """

    def __init__(
        self,
        title: str,
        without_host: bool,
        capture: bool = False,
        limit: Callable[[int], MemoryLimit | None] = lambda _: None,
        profiling: bool = False,
        keep: bool = False,
    ):
        self.title, self.without_host, self.capture, self.keep = title, without_host, capture, keep
        self.limit, self.profiling = limit, profiling
        self.recording = _rt.Recording(self, without_host or capture)
        self.complete = False
        self._restart()

    def run(self, tensors: Sequence[Tensor], function: Callable[[], Result], execute: bool = True) -> Result:
        """`function()`, whose operations belong to the recording. `tensors` get the first slots. execute: run the
        operations.

        If it raises, what it has done until then takes effect, as it would without trace.
        """
        self.arguments = len(tensors)
        self.looks.clear()
        self.recording.begin(tensors)
        try:
            result = function()
            if execute:
                self.recording.end()
            else:
                self.recording.drop()
        except BaseException:
            with suppress(Exception):  # the first error counts. If this one fails too, tensors keep their values
                self.recording.abandon()
            if not self.complete:
                self._restart()
            raise
        self.complete = True
        self._made.clear()
        for slot in range(self.arguments):  # the next call has others
            self.externals.pop(slot, None)
            self.captured.pop(slot, None)
        return result

    def _restart(self) -> None:
        """Forget everything: the next call is the first."""
        self.operations = Operations(self.limit, self.profiling)
        # Without host: what computes the numbers that differ from call to call.
        self.live: dict[int, tuple[Callable[[], Numbers], int]] = {}
        # Handles that got another value, and the slot of the one before.
        self.changes: list[tuple[ref[Tensor], int]] = []
        self.changes_state = False  # one of them existed before the call
        # Only without host or to capture: slots of values from outside, with their handles; slots of what the call made
        # from data, with handles of their own; and if they are to be kept, values.
        self.externals: dict[int, Tensor] = {}
        self.constants: set[int] = set()
        self.captured: dict[int, Tensor] = {}
        # Those whose values Python has read, with the values, by id.
        self.looks: dict[int, tuple[ref[Tensor], Tensor]] = {}
        # Only without host, by id: tensors whose grad was read, with the grad before the call; and tensors that got a
        # grad or lost theirs.
        self.read_grads: dict[int, tuple[Tensor, Tensor | None]] = {}
        self.new_grads: dict[int, Tensor] = {}
        self.functions = False  # there are gradients of the user's own
        self.pauses = False
        self._made: list[ref[Tensor]] = []
        self.segments: list[Segment] = []
        self._section = Section(self.operations, 0)
        self._cause = ""
        self._causes: dict[int, str] = {}  # of the segments that start at these operations

    @property
    def made_tensors(self) -> list[Tensor]:
        """The tensors that the call has made and that still exist."""
        return [tensor for tensor in (r() for r in self._made) if tensor is not None]

    def is_made(self, tensor: Tensor) -> bool:
        """Whether the running call has made it."""
        return self.recording.has_made(tensor)

    @property
    def written_handles(self) -> list[Tensor]:
        """The tensors from outside that got another value."""
        handles = {id(h): h for h in (r() for r, _ in self.changes) if h is not None}
        return [h for h in handles.values() if not self.is_made(h)]

    def owner(self, grad: Tensor | None) -> Tensor | None:
        """The tensor whose grad this was before the call, if the call has read it there."""
        return next((t for t, before in self.read_grads.values() if before is not None and before is grad), None)

    def is_like(self, other: Recorder) -> bool:
        """Whether another call did the same operations on the same tensors from outside."""
        mine, others = self.operations, other.operations
        return (
            [e[:4] for e in mine.entries] == [e[:4] for e in others.entries]
            and mine.types == others.types
            and self.constants == other.constants
            and self.externals.keys() == other.externals.keys()
            and all(h is other.externals[slot] for slot, h in self.externals.items() if slot not in self.constants)
        )

    def sees_the_same(self) -> bool:
        """Whether tensors from outside whose values Python has read still have these values."""
        found = [(r(), value) for r, value in self.looks.values()]
        return all(x is not None and x._data_ptr() == v._data_ptr() and x.desc is v.desc for x, v in found)

    def release(self) -> None:
        """Release tensors from outside, which the program may replace, except those that belong to a file."""
        if not self.capture:
            self.externals.clear()
        self.read_grads.clear()
        self.new_grads.clear()

    def outside(self, slot: int) -> Tensor | None:
        """The value from outside in this slot, as a call would find it now; None if that is not known."""
        return self.captured.get(slot, self.externals.get(slot))

    # -- called by the Recording -----------------------------------------------------------------------------

    def number(self, index: int, desc: _rt.Descriptor, number: Any) -> None:
        known = self.operations
        if index < len(known.numbers):  # a later call, whose numbers files keep
            known.numbers[index] = plain(number)
            return
        known.number_types.append(type_of(desc))
        known.numbers.append(plain(number))
        source = source_of(number)
        if self.without_host and source is not None:
            self.live[index] = source
        elif self.without_host:
            known.fixed.add(index)

    def external(self, slot: int, desc: _rt.Descriptor, handle: Tensor | None) -> None:
        if not self.complete:
            assert slot == len(self.operations.types)
            self.operations.types.append(type_of(desc))
        if not (self.without_host or self.capture):
            return
        self.constants.discard(slot)
        if handle is None and self.without_host:
            raise TraceError(
                f"{self.title} runs at {user_line()} the backward of values computed outside it; later calls cannot do that "
                "again: compute it inside, or trace with without_host=False"
            )
        if handle is None:
            self.externals.pop(slot, None)
        elif self.is_made(handle):
            self.externals[slot] = handle._detach()
            self.constants.add(slot)
        else:
            self.externals[slot] = handle
            if self.keep:
                self.captured[slot] = handle._detach()

    def same(self, desc: _rt.Descriptor, detached: bool) -> Op:
        """The op whose result is its input, so that a value from outside that gets another handle is read at each call."""
        return Detach() if detached else Reshape(desc.shape)

    def made(self, tensor: Tensor) -> None:
        self._made.append(ref(tensor))

    def has_function(self) -> None:
        self.functions = True

    def written(self, handle: Tensor) -> None:
        self.changes.append((ref(handle), self.recording.slot(handle)))
        self.changes_state = self.changes_state or not self.is_made(handle)

    def grad_get(self, handle: Tensor, none: bool) -> None:
        if self.without_host and id(handle) not in self.new_grads and not self.is_made(handle):
            self.read_grads.setdefault(id(handle), (handle, handle.grad))

    def grad_set(self, handle: Tensor) -> None:
        if self.without_host:
            self.new_grads[id(handle)] = handle

    def paused(self) -> None:
        self.pauses = True
        self._cause = f"operations are excluded from it at {user_line()}"
        if self.without_host:
            raise TraceError(
                f"{self.title} excludes operations from the trace at {user_line()}, and with without_host=True later calls run no "
                "Python that could do them; trace with without_host=False"
            )

    def read(self, slot: int, tensor: Tensor) -> None:
        if slot < 0 or (slot >= self.arguments and slot in self.externals):  # there before the call
            if (self.without_host or self.capture) and not self.keep and not self.is_made(tensor):
                self.looks.setdefault(id(tensor), (ref(tensor), tensor._detach()))
            return
        self._cause = f"a value is read at {user_line()}"
        if self.without_host:
            raise TraceError(
                f"{self.title} reads the value of a tensor at {user_line()}, and with without_host=True later calls run no Python "
                "that could; return the tensor, compute with tensors instead (functional.where for an if), or trace with "
                "without_host=False"
            )

    def record(self, op: Op, inputs: Sequence[int], descs: Sequence[_rt.Descriptor]) -> list[_rt.Descriptor]:
        """Add an operation. Returns the descriptors of its outputs. Raises what the op's shape rule raises."""
        device, known = device_of(op, descs), self.operations
        first = len(known.types)
        outputs = self._section.record(op, inputs, first)
        known.types += [v.type for v in outputs]
        scope = (AutoNaming.get_scope(), running_modules()) if self.capture else ()
        known.entries.append(Entry(op, tuple(inputs), first, len(outputs), user_line(), *scope))
        return [_rt.Descriptor(v.dtype, v.shape, None, device) for v in outputs]

    def has_effect(self, start: int, stop: int) -> bool:
        """Whether one of the operations start .. stop - 1 has an effect even if nothing uses its result."""
        return any(entry.op.effect for entry in self.operations.entries[start:stop])

    def segment(self, start: int, stop: int, wanted: Sequence[int]) -> tuple[Op, list[int], list[int], int]:
        """Operations start .. stop - 1 as one op that gives the slots `wanted`: the op, its inputs, the slots of its
        outputs, and how many of the first inputs may give their memory to the output of the same index."""
        section, known = self._section, (self._section.start, self._section.stop) == (start, stop)
        if known:
            self._section = Section(self.operations, stop)
        else:
            section = self.operations.section(start, stop)
        made = make_segment(self, section, wanted, (start, stop))
        cause = self._causes.setdefault(start, self._cause if start else "")
        self.segments.append(made._replace(cause=cause, operations=stop - start, repeats=not known))
        return made.op, list(made.inputs), list(made.outputs), made.donate

    def mismatch(self, index: int, op: Op | None) -> None:
        """Raise the TraceError of a call that differs at operation `index`."""
        entries = self.operations.entries
        known = entries[index] if index < len(entries) else None
        recorded = f"{known.op.name} of {known.line}" if known else "nothing more"
        if op is None:
            happened = f"ends after {index} operations"
        elif known and op is known.op:
            happened = f"runs operation {index}, {op.name}, on other inputs at {user_line()}"
        else:
            happened = f"runs {op.name} as operation {index} at {user_line()}"
        raise TraceError(
            f"a call of {self.title} {happened}, where the recording has {recorded}; a traced function must run the same "
            "operations at each call with arguments of the same shapes: make what differs an argument, or do not trace it"
        )


class Segment(NamedTuple):
    """Operations that run as one op.

    inputs: slots or ~numbers; outputs: slots; donate: how many of the first inputs give their memory to the output of
    the same index; `op.memory` has the effect of a limit on memory. operations: how many there are. cause: what ended
    the segment before. repeats: another section has the same operations, but other values of it were wanted. note:
    anything else about it.
    """

    op: Traced
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    donate: int
    operations: int = 0
    cause: str = ""
    repeats: bool = False
    note: str = ""


def make_segment(recorder: Recorder, section: Section, wanted: Sequence[int], place: tuple[int, int]) -> Segment:
    """The op of a section that gives the slots `wanted`. place: its first operation, and the one after the last."""
    values = section.values
    finished = section.builder.finish(values[slot] for slot in wanted)
    used = {v for node in finished.nodes for v in node.inputs} | set(finished.outputs)
    inputs = {section.inputs[v]: v for v in finished.inputs if v in used}
    pairs = _in_place(recorder, inputs, wanted, values)
    rest = [i for i in inputs if i not in pairs]
    outputs = [*pairs.values(), *(s for s in wanted if s not in set(pairs.values()))]
    order = (*pairs, *rest)
    program = Program(tuple(inputs[i] for i in order), finished.nodes, tuple(values[s] for s in outputs))
    composed = partial(recorder.operations.composed, *place, order, tuple(outputs))
    op = recorder.operations.traced(recorder.title, program, len(pairs), composed)
    return Segment(op, order, tuple(outputs), len(pairs))


def _in_place(
    recorder: Recorder, inputs: dict[int, Value], wanted: Sequence[int], values: dict[int, Value]
) -> dict[int, int]:
    """Slots of handles' values before the section, with the slot of the value that replaces each."""
    pairs: dict[int, int] = {}
    for reference, before in recorder.changes:
        handle = reference()
        after = -1 if handle is None else recorder.recording.slot(handle)
        mine = not recorder.without_host or recorder.externals.get(before) is handle
        fits = before in inputs and after in wanted and before != after and before not in pairs
        if mine and fits and after not in pairs.values() and inputs[before].type == values[after].type:
            pairs[before] = after
    return pairs
