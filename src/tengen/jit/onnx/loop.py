"""Loops, written out step by step: their number of steps is known, and few tools support ONNX's own Scan."""

from __future__ import annotations

from collections.abc import Sequence

from ...compiler.program import Builder, Value, record
from ...core.ops.loop import Scan
from ...core.ops.shape import Concatenate, Slice, reshape
from .graph import Graph, Operand
from .rules import rule, write_program


@rule(Scan)
def scan(g: Graph, op: Scan, *inputs: Operand) -> Sequence[Operand] | None:
    if not inputs[op.states].shape[0]:
        return None
    builder = Builder(keep_composites=True)
    outputs = _steps(op, [builder.input(x.type) for x in inputs])
    return write_program(g, builder.finish(outputs), inputs)


def _steps(op: Scan, inputs: Sequence[Value]) -> list[Value]:
    """The outputs of the loop. Its body is recorded once for each step."""
    end = op.states + op.sequences
    states, sequences, others = list(inputs[: op.states]), inputs[op.states : end], inputs[end:]
    count = sequences[0].shape[0]
    made: list[Sequence[Value]] = []
    for step in range(count):
        at = count - 1 - step if op.reverse else step
        made.append(record(op.body, *states, *(_at(x, at) for x in sequences), *others))
        states = list(made[-1][: op.states])
    if op.reverse:
        made.reverse()
    together = [[reshape(v, (1, *v.shape)) for v in found] for found in zip(*made, strict=True)]
    return [
        states[i] if op.keeps_last(i) else Concatenate(0)(*found) if count > 1 else found[0]
        for i, found in enumerate(together)
    ]


def _at(x: Value, place: int) -> Value:
    """The place of a sequence."""
    start = (place, *(0,) * (x.ndim - 1))
    return reshape(Slice(start, (1, *x.shape[1:]), (1,) * x.ndim)(x), x.shape[1:])
