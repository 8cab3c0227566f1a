"""Facts about the values of a Program, and ways to record a Program again, as it is or changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .program import Builder, Constant, Elementwise, Iota, Node, Number, Program, Type, Value, ViewOp


def is_reshape(node: Node | None) -> bool:
    return node is not None and isinstance(node.op, ViewOp) and node.op.regroups


def reshape_source(value: Value) -> Value:
    """The value that this one is a reshape of, or itself."""
    while value.node and is_reshape(value.node):
        (value,) = value.node.inputs
    return value


def counts_along(value: Value) -> int | None:
    """The dim along which a value is 0, 1, 2, … and on which alone it depends; None for other values."""
    counted = value
    while isinstance(counted.op, ViewOp) and counted.op.stretches and counted.operands[0].ndim == value.ndim:
        (counted,) = counted.operands
    moving = [d for d, extent in enumerate(counted.shape) if extent > 1]
    alone = isinstance(counted.op, Iota) and counted.ndim == value.ndim and len(moving) == 1
    return moving[0] if alone else None


def uniform_values(program: Program) -> set[Value]:
    """The values that are the same number everywhere, because they depend only on numbers and 0-d inputs. Kernels
    compute them for themselves."""
    found = {v for v in program.inputs if v.shape == ()}
    for node in program.nodes:
        passes_on = isinstance(node.op, Elementwise) or (isinstance(node.op, ViewOp) and not node.op.fills)
        depends = passes_on and bool(node.inputs) and found.issuperset(node.reads)
        if depends or isinstance(node.op, (Constant, Number)):
            found.add(node.outputs[0])
    return found


def rewritten(
    program: Program,
    replacement: Callable[[Node, Sequence[Value]], Value | tuple[Value, ...] | None],
    input_type: Callable[[Type], Type] = lambda type: type,
) -> Program:
    """A new Program with some nodes replaced.

    replacement: called with each node and its inputs in the new Program; returns the value that replaces the node's output, or those of all
    its outputs, or None to keep the node. input_type: the type of an input of the new Program, given the type of the old one.
    """
    builder = Builder()
    made: dict[Value, Value] = {v: builder.input(input_type(v.type)) for v in program.inputs}
    for node in program.nodes:
        inputs = [made[v] for v in node.inputs]
        value = replacement(node, inputs)
        outputs = builder.repeat(node, inputs) if value is None else value if isinstance(value, tuple) else (value,)
        made.update(zip(node.outputs, outputs, strict=True))
    return builder.finish(made[v] for v in program.outputs)


def replay(
    program: Program, builder: Builder, inputs: Sequence[Value], known: Mapping[Value, Value] | None = None
) -> tuple[Value, ...]:
    """Record a Program's nodes again in another builder, on other inputs. known: values that nodes take in place of
    some others."""
    made = replayed(program, builder, inputs, known)
    return tuple(made[v] for v in program.outputs)


def replayed(
    program: Program, builder: Builder, inputs: Sequence[Value], known: Mapping[Value, Value] | None = None
) -> dict[Value, Value]:
    """`replay`, returning the new value for each value of the Program."""
    made: dict[Value, Value] = dict(zip(program.inputs, inputs, strict=True))
    taken = {**(known or {}), **made}
    for node in program.nodes:
        outputs = builder.repeat(node, [taken[v] for v in node.inputs])
        for old, new in zip(node.outputs, outputs, strict=True):
            made[old] = new
            taken.setdefault(old, new)
    return made
