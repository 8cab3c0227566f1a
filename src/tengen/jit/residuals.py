"""What a traced function keeps for its gradient: the results of expensive operations; cheap ones are computed again."""

from __future__ import annotations

from collections.abc import Sequence

from ..base.dtype import has_gradients
from ..compiler.program import Composite, Constant, Elementwise, Iota, Number, Op, Type, ViewOp, build
from ..core.gradient import backward
from .recorder import Operations, Segment
from .traced import Traced

CHEAP = (Elementwise, ViewOp, Constant, Number, Iota)


def with_residuals(operations: Operations, segment: Segment) -> Traced:
    """The op of a segment with further results after its own: those of its operations that its gradient wants to keep."""
    expensive = [
        slot
        for entry in operations.entries
        if not _is_cheap(entry.op, [_type(operations, i) for i in entry.inputs])
        for slot in range(entry.first, entry.first + entry.outputs)
        if slot not in segment.outputs
    ]
    if not expensive:
        return segment.op
    wide = operations.op(segment.op.title, segment.inputs, (*segment.outputs, *expensive), 0)
    given, made = (tuple(v.type for v in values) for values in (wide.program.inputs, wide.program.outputs))
    own = len(segment.outputs)
    needs, present = (tuple(has_gradients(t.dtype) for t in types) for types in (given, made[:own]))
    used = backward(wide, given, made, needs, (*present, *[False] * len(expensive))).args
    kept = [slot for i, slot in enumerate(expensive, len(given) + own) if i in used]
    return operations.op(segment.op.title, segment.inputs, (*segment.outputs, *kept), 0) if kept else segment.op


def _type(operations: Operations, index: int) -> Type:
    return operations.number_types[~index] if index < 0 else operations.types[index]


def _is_cheap(op: Op, types: Sequence[Type]) -> bool:
    if isinstance(op, Composite):
        return all(isinstance(node.op, CHEAP) for node in build(op, types).nodes)
    return isinstance(op, CHEAP)
