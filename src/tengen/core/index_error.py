"""The message for an index that is out of range. Kernels only say that there was one; this module looks for it on the
host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import _rt
from ..compiler.program import Gather, Op, Program, Scatter, Type, Value, needed
from ..compiler.values import is_reshape
from .ops.elemwise import TypeCvt
from .ops.index import label_of
from .recorded import Recorded

_IGNORED = -100


class _Source(NamedTuple):
    """Where the numbers of an index come from, and whether negative numbers are out of range too."""

    value: Value
    label: bool


def index_error(op: Op, inputs: Sequence[Any]) -> IndexError:
    """The error of `op`, whose kernels met an index out of range on these inputs. It names the user's op, the index and
    the limit."""
    types = tuple(Type(x.desc.dtype, x.desc.shape) for x in inputs)
    program = op.as_program(types)
    for node in program.nodes:
        if not isinstance(node.op, (Gather, Scatter)):
            continue
        first = 1 if isinstance(node.op, Gather) else 2
        for axis, index in zip(node.op.axes, node.inputs[first:], strict=True):
            extent, source = node.inputs[0].shape[axis], _source(index)
            numbers = _numbers(program, source.value, inputs)
            wrong = np.argwhere((numbers < (0 if source.label else -extent)) | (numbers >= extent))
            if len(wrong):
                origin = node.origin or node.op
                return IndexError(_message(origin, numbers, tuple(wrong[0].tolist()), axis, extent, source.label))
    return IndexError(f"{op.name}: an index is out of range")


def _source(value: Value) -> _Source:
    label = False
    while value.node is not None:
        seen = label_of(value)
        if seen is not None:
            value, label = seen, True
        elif is_reshape(value.node) or isinstance(value.op, TypeCvt):
            value = value.operands[0]
        else:
            break
    return _Source(value, label)


def _numbers(program: Program, value: Value, inputs: Sequence[Any]) -> np.ndarray[Any, Any]:
    if value in program.inputs:
        found = inputs[program.inputs.index(value)]
    else:  # an index that was computed: everything it depends on comes before it and is in range
        found = _rt.apply(
            Recorded("index", Program(program.inputs, needed(program.nodes, (value,)), (value,))), *inputs
        )
    made: np.ndarray[Any, Any] = found._array()
    return made


def _message(op: Op, numbers: np.ndarray[Any, Any], place: tuple[int, ...], axis: int, extent: int, label: bool) -> str:
    number, name = int(numbers[place]), op.name.removeprefix("grad_")
    at = f" at position {place if len(place) != 1 else place[0]}" if place else ""
    from_end = "" if label else f", or -{extent} … -1 from the end"
    allowed = f"it must be 0 … {extent - 1}{from_end}" if extent else "there is none"
    text = f"{name}: {'label' if label else 'index'} {number}{at} is out of range for axis {axis} of extent {extent}: {allowed}"
    if label and number == _IGNORED:
        text += "; to ignore some labels, give them any class and multiply the losses (reduction='none') by a mask"
    return text
