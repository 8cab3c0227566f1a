"""Replaces quantised dtypes by the integers that store them: kernels know nothing of scales and zero points.

Computations with quantised numbers have already been recorded as arithmetic on integers and floats. Only inputs, outputs and values that
are moved, not computed with, still have such a dtype.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...base.quantized import storage
from ..program import Node, Program, Type, Value, ViewOp
from ..values import rewritten


def stored(program: Program) -> Program:
    """The Program with each quantised dtype replaced by the integer dtype that stores it."""
    values = [*program.inputs, *[v for node in program.nodes for v in node.outputs]]
    if "q" not in [v.dtype[0] for v in values]:
        return program  # the usual case
    return rewritten(program, _reread, lambda type: Type(storage(type.dtype), type.shape))


def _reread(node: Node, inputs: Sequence[Value]) -> Value | None:
    """The input of an op that only gives the same bits another dtype."""
    return inputs[0] if isinstance(node.op, ViewOp) and node.op.rereads else None
