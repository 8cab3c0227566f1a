"""Gradients of ops: their rules run symbolically, once, and the recording becomes an op of its own.

The backward of an op is again an op (`Recorded`), run by the same apply as every other, so it can be differentiated
too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from ..base.dtype import has_gradients
from ..compiler.program import OPERATORS, Builder, Composite, Node, Op, Program, Type, Value, meaning
from .ops.elemwise import cast
from .ops.reduce import total
from .ops.shape import reshape
from .recorded import Recorded


class Backward(NamedTuple):
    """What the runtime needs to run an op's gradient.

    op: computes gradients from `args`, which index inputs + outputs + output gradients. results[i]: the input that its
    i-th output is the gradient of.
    """

    op: Op | None
    args: tuple[int, ...]
    results: tuple[int, ...]


@lru_cache(maxsize=8192)
def backward(
    op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...], needs: tuple[bool, ...], present: tuple[bool, ...]
) -> Backward:
    """The gradient of `op` with respect to the inputs that `needs` marks, given the output gradients that are
    `present`."""
    builder = Builder(keep_rules=True)
    xs = [builder.input(t) for t in inputs]
    ys = [builder.input(t) for t in outputs]
    gs = [builder.input(t) if here else None for t, here in zip(outputs, present, strict=True)]
    wanted = [x for x, need in zip(xs, needs, strict=True) if need]
    pulled = zip(wanted, pull_back(op, xs, ys, gs, wanted), strict=True)
    found = {x: g for x, g in pulled if g is not None}
    results = tuple(i for i, x in enumerate(xs) if x in found)
    if not results:
        return Backward(None, (), ())
    program = builder.finish(found[xs[i]] for i in results)
    used = {v for node in program.nodes for v in node.inputs} | set(program.outputs)
    slots = [*xs, *ys, *(g for g in gs if g is not None)]
    positions = [*range(len(xs) + len(ys)), *(len(xs) + len(ys) + i for i, g in enumerate(gs) if g is not None)]
    args = tuple(p for v, p in zip(slots, positions, strict=True) if v in used)
    kept = tuple(v for v in slots if v in used)
    if not kept:  # a gradient that depends on nothing still needs an input that says where it lives
        args, kept = (positions[-1],), (slots[-1],)
    return Backward(Recorded(f"grad_{op.name}", Program(kept, program.nodes, program.outputs)), args, results)


def pull_back(
    op: Op, xs: Sequence[Value], ys: Sequence[Value], gs: Sequence[Value | None], wanted: Sequence[Value]
) -> list[Value | None]:
    """The gradients of `wanted` (among `xs`) by one reverse sweep over what `op` expands to.

    If the formula's results appear in rules or in the formula itself, the values `ys` that were kept from the forward
    run stand for them.
    """
    op = meaning(op, xs)
    if op.has_rule or not isinstance(op, Composite):
        found = op.grad(xs, ys, gs)
        return [fit(found[i], x) if x in wanted else None for i, x in enumerate(xs) if x in wanted]
    made, nodes = _expanded(op, xs, ys)
    kept = dict(zip(made, ys, strict=True))
    grads: dict[Value, Value | None] = {}
    for value, g in zip(made, gs, strict=True):
        _accumulate(grads, value, g)
    reached = set(wanted)
    for node in nodes:
        if any(v in reached for v in node.inputs) and node.op.differentiable():
            reached.update(node.outputs)
            reached.update(kept[v] for v in node.outputs if v in kept)
    for node in reversed(nodes):
        for v in node.outputs:  # nodes after it may have used what was kept
            if v in kept:
                _accumulate(grads, v, grads.get(kept[v]))
        incoming = [grads.get(v) for v in node.outputs]
        if not any(g is not None for g in incoming) or not any(v in reached for v in node.inputs):
            continue
        if not node.op.differentiable():  # its outputs are constants
            continue
        outputs = [kept.get(v, v) for v in node.outputs]
        for value, g in zip(node.inputs, node.op.grad(node.inputs, outputs, incoming), strict=True):
            if value in reached:
                _accumulate(grads, value, fit(g, value))
    return [grads.get(x) for x in wanted]


def _expanded(op: Composite, xs: Sequence[Value], ys: Sequence[Value]) -> tuple[Sequence[Value], list[Node]]:
    """The results of a formula and the nodes that it records. Nodes that read one of the results read its value in `ys`
    instead."""
    builder = xs[0].builder
    mark = len(builder.nodes)
    made = op.expand_on(xs, ys)
    nodes = builder.nodes[mark:]
    known = {v: y for v, y in zip(made, ys, strict=True) if v.node in nodes}  # a result may be an input, too
    if not any(v in known for node in nodes for v in node.inputs) or any(node.op.effect for node in nodes):
        return made, nodes
    again: dict[Value, Value] = {}
    for node in nodes:
        outputs = builder.repeat(node, [known.get(v, again.get(v, v)) for v in node.inputs])
        again.update(zip(node.outputs, outputs, strict=True))
    repeated = dict.fromkeys(v.node for v in again.values())
    return [again.get(v, v) for v in made], [node for node in repeated if node]


def fit(grad: Value | None, like: Value) -> Value | None:
    """A gradient summed over broadcast axes and cast to the type of the value that it belongs to; None for dtypes that
    have no gradient."""
    if grad is None or not has_gradients(like.dtype):
        return None
    if grad.shape != like.shape:
        lead = grad.ndim - like.ndim
        axes = [d for d in range(grad.ndim) if d < lead or (like.shape[d - lead] == 1 and grad.shape[d] != 1)]
        grad = reshape(total(grad, axes), like.shape)
    return grad if like.dtype == "weak_float" else cast(grad, like.dtype)


def _accumulate(grads: dict[Value, Value | None], value: Value, grad: Value | None) -> None:
    if grad is not None:
        known = grads.get(value)
        grads[value] = grad if known is None else OPERATORS["add"](known, grad)


def saved(
    op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...], needs: tuple[bool, ...]
) -> tuple[int, ...] | None:
    """Which inputs and outputs (indices into inputs + outputs) the backward will need; None if `op` is not
    differentiable."""
    if not op.differentiable() or not any(has_gradients(t.dtype) for t in outputs):
        return None
    found = backward(op, inputs, outputs, needs, tuple(has_gradients(t.dtype) for t in outputs))
    if found.op is None:
        return None
    return tuple(a for a in found.args if a < len(inputs) + len(outputs))
