"""The table of rules: how ops are written in ONNX.

A rule gets the graph, the op and its operands. It writes nodes and returns the operand that is the result, or a tuple
of several. It returns None if ONNX cannot express the op exactly; then a composite is written as what it is made of.
The result of a rule is cast to the dtype of the op's result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...base.errors import ExportError
from ...compiler.program import Builder, Composite, Op, Program, Value
from .graph import Graph, Operand

Rule = Callable[..., "Operand | Sequence[Operand] | None"]
RULES: dict[type[Op], Rule] = {}
QUANTIZED_RULES: dict[type[Op], Rule] = {}
"""Rules for quantised numbers, and classes of ops that do the same with the integers that store them."""
AS_THEY_ARE: set[type[Op]] = set()


def rule(*classes: type[Op]) -> Callable[[Rule], Rule]:
    """Enter a function into the table as the rule of these classes."""

    def put(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(classes, function))
        return function

    return put


def write_program(graph: Graph, program: Program, inputs: Sequence[Operand]) -> list[Operand]:
    """Write the nodes of a Program on these inputs; returns its outputs."""
    operands = dict(zip(program.inputs, inputs, strict=True))
    for node in program.nodes:
        made = write_op(graph, node.op, [operands[v] for v in node.inputs])
        operands.update(zip(node.outputs, made, strict=True))
    return [operands[v] for v in program.outputs]


def _rule(op: Op, inputs: Sequence[Operand]) -> Rule | None:
    """The rule for an op on these inputs."""
    dtypes = [x.dtype for x in inputs] + [getattr(op, "dtype", None) or "-"]
    if all(dtype[0] != "q" for dtype in dtypes):
        return RULES.get(type(op))
    moves = isinstance(op, tuple(AS_THEY_ARE))
    return QUANTIZED_RULES.get(type(op)) or (RULES.get(type(op)) if moves else None)


def write_op(graph: Graph, op: Op, inputs: Sequence[Operand]) -> Sequence[Operand]:
    """Write an op: its value if that is known, what its rule writes, or what it is made of.

    Raises ExportError, naming the op, if ONNX can express none of these.
    """
    known = graph.compute(op, inputs)
    if known is not None:
        return known
    outer, graph.origin = graph.origin, graph.origin or op.name
    try:
        found = _rule(op, inputs)
        made: Any = found(graph, op, *inputs) if found else None
        if made is not None:
            outputs = [made] if isinstance(made, Operand) else made
            types = op.infer(*(x.type for x in inputs))
            return [graph.typed(x, t) for x, t in zip(outputs, types, strict=True)]
        if not isinstance(op, Composite):
            part = f", which is made of {op.name}," if graph.origin != op.name else ""
            reason = op.no_onnx or "has no operator for it"
            raise ExportError(f"{graph.origin}{part} cannot be exported to ONNX, which {reason}")
        builder = Builder(keep_composites=True)
        values = [builder.input(x.type) for x in inputs]
        expanded = op.expand(*values)
        results = [expanded] if isinstance(expanded, Value) else expanded
        return write_program(graph, builder.finish(results), inputs)
    finally:
        graph.origin = outer
