"""Decides which buffers may be one piece of memory, and checks that for every Plan.

The rule: a buffer may *take over* the memory of another, its source, if what lies there is not needed any more when the
buffer is first written. Every step that reads the source comes before that, or is that very step and reads each element
where it writes it; nothing writes to the source later; and no output lies in it, because outputs are read after the
last step.

An output takes over an input that the caller gives away (a *donation*, which may or may not happen at a call). A
partial write takes over the value that it starts from; then the copy between the two, and no other step, becomes
unnecessary (`needless`). So what a partial write starts from is always in that memory at that moment. `verify` checks
this anew for each Plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from ...program import Program, Value
from ...view import View

EVERYWHERE = View((), (), -1)
"""The use of a buffer of which a step may read or write any element at any time."""

Used = list[tuple[int, View]]
"""A use of a buffer: by which step, and how."""


class Uses(Protocol):
    """A step, as far as memory is concerned. copied: the buffer whose elements it copies to the same places of the
    buffer `skip_for`, if it does nothing else."""

    @property
    def name(self) -> str: ...

    @property
    def reads(self) -> Sequence[tuple[int, View]]: ...

    @property
    def writes(self) -> Sequence[tuple[int, View]]: ...

    @property
    def skip_for(self) -> int | None: ...

    @property
    def copied(self) -> int | None: ...

    @property
    def checks(self) -> bool: ...

    joined: bool


def needless(step: Uses, owner: Mapping[int, int]) -> bool:
    """Whether a step only copies what is there already. owner: for buffers that take over another's memory, that other
    buffer."""
    target = step.skip_for
    return target is not None and owner.get(target, target) == step.copied


def in_place(steps: Sequence[Uses], inputs: int, sizes: Sequence[int], kept: Sequence[int]) -> dict[int, int]:
    """For buffers into which a part is written, the temporaries that they take over: {buffer: the first that had the
    memory}.

    kept: buffers that are needed after the last step.
    """
    copies = [(i, s.copied, s.skip_for) for i, s in enumerate(steps) if s.copied is not None and s.skip_for is not None]
    if not copies:
        return {}
    last: dict[int, int] = {}
    for number, step in enumerate(steps):
        last.update((b, number) for b, _ in (*step.reads, *step.writes))
    last.update((b, len(steps)) for b in kept)
    owner: dict[int, int] = {}
    for number, copied, target in copies:
        source = owner.get(copied, copied)
        if source >= inputs and last[source] == number and sizes[source] == sizes[target]:
            owner[target], last[source] = source, last[target]
    return owner


def donations(
    steps: Sequence[Uses],
    program: Program,
    where: Mapping[Value, Any],
    places: Sequence[tuple[int, View]],
    commit: int = 0,
) -> dict[int, int]:
    """Which output buffers may be the memory of the input of the same index, if the caller gives that input away:
    {buffer: input}.

    commit: the first step that may overwrite an input; the steps before can fail. Both must lie alike. An output that
    no step writes has no elements.
    """
    safe: dict[int, int] = {}
    alike = [i for i, (x, y) in enumerate(zip(program.inputs, program.outputs, strict=False)) if x.type == y.type]
    if not alike:
        return safe
    reads, writes = _by_buffer(steps, "reads"), _by_buffer(steps, "writes")
    outputs = [buffer for buffer, _ in places]
    for buffer in outputs:
        reads.setdefault(buffer, []).append((len(steps), EVERYWHERE))
    for i in alike:
        source, (buffer, view) = where[program.inputs[i]], places[i]
        if buffer < len(program.inputs) or outputs.count(buffer) > 1:
            continue
        written = writes.get(buffer, [])
        whole = view.offset == 0 and view.strides == source.view.strides
        late = all([step >= commit for step, _ in written])
        if written and whole and late and _dense(view) and takes_over(reads.get(source.buffer, []), written):
            safe[buffer] = i
    return safe


def takes_over(reads: Used, writes: Used) -> bool:
    """Whether no step reads the source after one that writes, and a step that does both does so at the same elements."""
    for step, write in writes:
        for other, read in reads:
            if other > step or (other == step and not _same(read, write)):
                return False
    return True


def _same(read: View, write: View) -> bool:
    return write != EVERYWHERE and read[1:4] == write[1:4]  # strides, offset and edges, over the shape of one kernel


def _by_buffer(steps: Sequence[Uses], kind: str) -> dict[int, Used]:
    """For each buffer, the steps that use it. Parts of one result, which touch different elements, count as the first
    of them."""
    found: dict[int, Used] = {}
    first = 0
    for number, step in enumerate(steps):
        first = first if step.joined else number
        for buffer, view in getattr(step, kind):
            found.setdefault(buffer, []).append((first, view))
    return found


def _dense(view: View) -> bool:
    order = sorted(range(len(view.shape)), key=lambda d: view.strides[d])
    step = 1
    for d in order:
        if view.shape[d] != 1 and view.strides[d] != step:
            return False
        step *= view.shape[d]
    return True


# -- the check -----------------------------------------------------------------------------------------------------


def verify(
    steps: Sequence[Uses], inputs: int, sizes: Sequence[int], outputs: Sequence[int], donated: Mapping[int, int]
) -> None:
    """Follow what lies in each piece of memory, with all donations accepted and with none.

    Raises AssertionError if a step, or a reader of the outputs, would find something else than it needs. sizes: of
    buffers; one of no bytes holds nothing.
    """
    batches = list(_batches(steps))
    for owner in ({}, donated) if donated else ({},):
        # The buffer whose values are in each piece of memory, which is named after its owner.
        holds = dict(zip(range(inputs), range(inputs), strict=True))
        for together in batches:
            for step in together:
                for buffer, _ in step.reads:
                    if (found := holds.get(owner.get(buffer, buffer))) != buffer:
                        _verify_empty(buffer, found, inputs, sizes, step.name)
            _verify_batch(together, owner)
            for step in together:
                written = [step.skip_for] if needless(step, owner) else [b for b, _ in step.writes]
                for b in written:
                    if b is not None:
                        holds[owner.get(b, b)] = b
        for buffer in outputs:
            if (found := holds.get(owner.get(buffer, buffer))) != buffer:
                _verify_empty(buffer, found, inputs, sizes, "an output")


def _verify_empty(buffer: int, found: int | None, inputs: int, sizes: Sequence[int], who: str) -> None:
    """Check that a buffer in whose memory another one is has no bytes."""
    empty = buffer >= inputs and not sizes[buffer]
    assert empty, f"{who} reads buffer {buffer}, but {_named(found)} is in its memory"


def _verify_batch(together: Sequence[Uses], owner: Mapping[int, int]) -> None:
    """Check that steps that run at the same time leave each other's memory alone, and that a step that overwrites what
    it reads does so element by element, as parts of one result may too."""
    writers: dict[int, tuple[int, Uses]] = {}
    for step in together:
        for buffer, _ in () if needless(step, owner) else step.writes:
            other, _ = writers.setdefault(owner.get(buffer, buffer), (buffer, step))
            assert other == buffer, f"{step.name} writes buffer {buffer} while {_named(other)} is written in its memory"
    for step in together:
        for buffer, read in step.reads:
            if (found := writers.get(owner.get(buffer, buffer))) is None:
                continue
            written, writer = found
            own = [view for b, view in step.writes if b == written]
            fine = writer is step if written == buffer else own and all(_same(read, view) for view in own)
            assert fine, f"{step.name} reads buffer {buffer} while {_named(written)} is written in its memory"


def _named(buffer: int | None) -> str:
    return "nothing" if buffer is None else f"buffer {buffer}"


def _batches(steps: Sequence[Uses]) -> Iterator[list[Uses]]:
    """Steps in order; those that may run at the same time come together."""
    batch: list[Uses] = []
    for step in steps:
        if batch and not step.joined:
            yield batch
            batch = []
        batch.append(step)
    if batch:
        yield batch
