"""Quantised numbers are the integers that store them: kernels know nothing of scales and zero points.

What computes with quantised numbers has been recorded as arithmetic on integers and floats already; what is left of their dtypes are
the types of inputs, of outputs and of what is only moved.
"""

from __future__ import annotations

from ...base.quantized import storage
from ..program import Builder, Program, Type, Value, ViewOp


def stored(program: Program) -> Program:
    """The Program with the integers that store them in the place of quantised numbers."""
    values = [*program.inputs, *(v for node in program.nodes for v in node.outputs)]
    if all(v.dtype[0] != "q" for v in values):
        return program  # as nearly always
    builder = Builder()
    made: dict[Value, Value] = {v: builder.input(Type(storage(v.dtype), v.shape)) for v in program.inputs}
    for node in program.nodes:
        if isinstance(node.op, ViewOp) and node.op.rereads:
            made[node.outputs[0]] = made[node.inputs[0]]
        else:
            made.update(zip(node.outputs, builder.repeat(node, [made[v] for v in node.inputs]), strict=True))
    return builder.finish(made[v] for v in program.outputs)
