"""Recorded functions to files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any, BinaryIO

from ..compiler.program import Value
from ..core import Tensor
from .called import Kept, called_constants, called_nodes
from .errors import TraceError
from .frozen import Frozen, freeze
from .program_file import save_program
from .recorded_call import RecordedCall
from .recorder import Recorder, Section


def dump(
    title: str,
    recorded: RecordedCall | None,
    other_batch: RecordedCall | None,
    file: str | os.PathLike[str] | BinaryIO,
    arg_names: Sequence[str] | None,
    output_names: Sequence[str] | None,
    user_info: Any,
    dump_format: str | None,
    names: Kept,
) -> None:
    """Write a recording; see `trace.dump`."""
    if recorded is None:
        raise TraceError(
            f"{title} has not been called, so there is nothing to dump: call it once with tensors of the right shapes"
        )
    if dump_format is None and str(getattr(file, "name", file)).lower().endswith(".onnx"):
        dump_format = "ONNX"
    if dump_format not in (None, "tengen", "ONNX"):
        raise ValueError(f"dump: dump_format must be 'tengen' or 'ONNX', got {dump_format!r}")
    metadata = {} if user_info is None else {"user_info": user_info}
    function, *others = (
        frozen(title, r, arg_names, output_names, metadata) for r in (recorded, other_batch) if r is not None
    )
    if dump_format == "ONNX":
        import_module(".onnx", __package__).export(function, file, *others)  # few programs need it
    elif others:
        raise ValueError("dump: only ONNX models take any batch size; leave dynamic_batch out")
    else:
        save_program(file, names.of(function))


def frozen(
    title: str,
    recorded: RecordedCall,
    arg_names: Sequence[str] | None,
    output_names: Sequence[str] | None,
    metadata: dict[str, Any],
) -> Frozen:
    """A recording as a Program of the ops that the function applied, with the tensors from outside as constants."""
    recorder, returned = recorded.recorder, recorded.effects.returned_slots
    if not recorder.capture:
        raise TraceError(
            f"{title} must be traced with capture_as_const=True to be dumped: its parameters go into the file"
        )
    if recorder.pauses:
        raise TraceError(f"{title} excludes operations from the trace, which a file cannot express")
    if not recorder.sees_the_same():
        raise TraceError(
            f"{title} reads the value of a tensor from outside, which has changed since; call it again before you dump it"
        )
    if recorder.changes_state:
        raise TraceError(
            f"{title} changes tensors that it has not computed, which a file cannot express; dump an inference function of a network in "
            "eval(), and write into copies, as x = x + 0 makes them"
        )
    if not returned or min(returned) < 0:
        raise TraceError(f"{title} must return tensors that it has computed or was given, to be dumped")
    known = recorder.operations
    section = Section(known, 0, keep_composites=True, fixed=True)
    arguments = [section.value(slot) for slot in range(recorded.arguments)]
    made = [(entry, section.record(entry.op, entry.inputs, entry.first)) for entry in known.entries]
    program = section.builder.finish(section.value(slot) for slot in returned)
    constants = {v: _constant(title, recorder, v, slot) for v, slot in section.inputs.items() if v not in arguments}
    names = _names("arg", arg_names, len(arguments)), _names("output", output_names, len(returned))
    tensors = {v: recorder.externals[slot] for v, slot in section.inputs.items() if slot in recorder.externals}
    called = called_constants(known.entries, tensors) | called_nodes(made)
    return freeze(program, *names, constants, metadata, called)


def _constant(title: str, recorder: Recorder, value: Value, slot: int) -> Tensor:
    """The present value of a tensor from outside."""
    found = recorder.outside(slot)
    if found is None:
        raise TraceError(f"{title} computes gradients of values computed outside it, which a file cannot express")
    if (found.desc.dtype, found.shape) != (value.dtype, value.shape):
        raise TraceError(
            f"{title}: a tensor from outside was {value.type} when it was called, and is {found.desc.dtype}{list(found.shape)} now; call "
            "it again"
        )
    return found


def _names(kind: str, given: Sequence[str] | None, count: int) -> Sequence[str]:
    return [f"{kind}_{i}" for i in range(count)] if given is None else given
