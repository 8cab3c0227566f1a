"""Algebra: removes ops that do nothing and joins those that are one. Each op knows its own simpler forms (`Op.simplify`)."""

from __future__ import annotations

from collections.abc import Sequence

from ..program import Composite, Node, Program, Value
from ..values import rewritten


def simplify(program: Program) -> Program:
    """The Program with each node replaced by the simpler value that its op knows for it, if any. Composites, which differentiation
    leaves behind, are replaced by what they expand to."""
    if not any(isinstance(node.op, Composite) or _simpler(node, node.inputs) for node in program.nodes):
        return program  # the usual case
    return rewritten(program, _simpler)


def _simpler(node: Node, inputs: Sequence[Value]) -> Value | None:
    """The simpler value for a node on these inputs, or None."""
    value = node.op.simplify(inputs)
    return value if value is not None and value.type == node.outputs[0].type else None
