"""Algebra: leaves out ops that do nothing and joins those that are one. What is equal to what, each op says itself (`Op.simplify`)."""

from __future__ import annotations

from ..program import Builder, Program, Value


def simplify(program: Program) -> Program:
    """The Program with every node replaced by the simpler value that its op knows for it, if any."""
    builder = Builder()
    made: dict[Value, Value] = {v: builder.input(v.type) for v in program.inputs}
    for node in program.nodes:
        inputs = [made[v] for v in node.inputs]
        simpler = node.op.simplify(inputs)
        if simpler is not None and simpler.type == node.outputs[0].type:
            made[node.outputs[0]] = simpler
        else:
            made.update(zip(node.outputs, builder.record(node.op, inputs), strict=True))
    return builder.finish(made[v] for v in program.outputs)
