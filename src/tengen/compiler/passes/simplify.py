"""Algebra: leaves out ops that do nothing and joins those that are one. What is equal to what, each op says itself (`Op.simplify`)."""

from __future__ import annotations

from collections.abc import Sequence

from ..program import Builder, Composite, Node, Program, Value


def simplify(program: Program) -> Program:
    """The Program with every node replaced by the simpler value that its op knows for it, if any, and composites, which differentiation
    leaves, by what they expand to."""
    if not any(isinstance(node.op, Composite) or _simpler(node, node.inputs) for node in program.nodes):
        return program  # as most are
    builder = Builder()
    made: dict[Value, Value] = {v: builder.input(v.type) for v in program.inputs}
    for node in program.nodes:
        inputs = [made[v] for v in node.inputs]
        simpler = _simpler(node, inputs)
        if simpler is not None:
            made[node.outputs[0]] = simpler
        else:
            made.update(zip(node.outputs, builder.record(node.op, inputs), strict=True))
    return builder.finish(made[v] for v in program.outputs)


def _simpler(node: Node, inputs: Sequence[Value]) -> Value | None:
    """What a node on these inputs can be replaced by."""
    value = node.op.simplify(inputs)
    return value if value is not None and value.type == node.outputs[0].type else None
