"""Finds attention that a traced function has written out, softmax(q kᵀ · scale + mask) v, and makes it the op whose memory grows with the
lengths, not with their product."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..compiler.program import Builder, Constant, Elementwise, Node, Program, Value, ViewOp
from ..compiler.values import replay
from ..core.ops.dot_product import attention, fits
from ..core.ops.elemwise import EQ, Elemwise, Where, where
from ..core.ops.formula import Softmax
from ..core.ops.linalg import MatMul
from ..core.ops.reduce import Reduce, total
from ..core.ops.shape import reshape, transpose

SCALES = (Elemwise("MUL"), Elemwise("TRUE_DIV"))
ADD, EXP = Elemwise("ADD"), Elemwise("EXP")
LAST_TWO = (0, 1, 3, 2)
LOWEST = -1e8
"""A finite number that takes the place of a score is at most this: added to the score, it gives itself, or nothing beside other keys."""


class _Found(NamedTuple):
    """softmax(scale · q' kᵀ + biases) v. turned: kᵀ. product: what q kᵀ is called in the Program. path: the nodes from there to the scores, each with
    the input that leads to the product. standard: whether the Program has the gradient of `Softmax`, if it has one."""

    q: Value
    turned: Value
    biases: tuple[Value, ...]
    product: Value
    path: tuple[tuple[Node, int], ...] = ()
    scale: float = 1.0
    standard: bool = True


class _Gradients(NamedTuple):
    """of_weights, of_q, of_turned, of_v: what the Program calls the gradients, given that of the result."""

    of_result: Value
    of_weights: Value
    of_q: Value
    of_turned: Value
    of_v: Value


def with_attention(program: Program) -> Program:
    """The Program with attention as an op, where nothing else reads what is computed on the way."""
    if not any(_is_largest(node) for node in program.nodes):
        return program
    builder = Builder()
    inputs = tuple(builder.input(v.type) for v in program.inputs)
    outputs = replay(program, builder, inputs)
    nodes = tuple(builder.nodes)
    readers: dict[Value, list[Node]] = {}
    for node in nodes:
        for v in node.inputs:
            readers.setdefault(v, []).append(node)
    known: dict[Value, Value] = {}
    for node in nodes:
        if isinstance(node.op, MatMul) and (found := _written_out(node)):
            gradients = _gradients(node, found, readers, set(nodes))
            if _alone(node, found, gradients, readers, outputs):
                known |= _fused(node, found, gradients)
    return _replaced(Program(inputs, nodes, outputs), known) if known else program


def _replaced(program: Program, known: dict[Value, Value]) -> Program:
    """The Program with other values in the places of some."""
    builder = Builder()
    made: dict[Value, Value] = {v: builder.input(v.type) for v in program.inputs}

    def make(node: Node) -> None:
        """A node after those that it needs, which may come later."""
        waiting = [node]
        while waiting:
            last = waiting[-1]
            needed = [known.get(v, v) for v in last.inputs]
            missing = [v.node for v in needed if v not in made and v.node]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if not all(v in made for v in last.outputs):
                made.update(zip(last.outputs, builder.repeat(last, [made[v] for v in needed]), strict=True))

    for node in program.nodes:
        new = known.get(node.outputs[0], node.outputs[0]) if node.outputs else None
        make(new.node if new is not None and new.node else node)
    return builder.finish([made[known.get(v, v)] for v in program.outputs])


def _gradients(node: Node, found: _Found, readers: dict[Value, list[Node]], nodes: set[Node]) -> _Gradients | None:
    """The gradients that the Program computes by the rules of the ops. Those are recorded here, too: equal nodes are one."""
    weights, v = node.inputs
    ranks = {x.shape[:-2] for x in (found.q, found.turned, weights, v)}
    given = [r.inputs[1] for t in readers[weights] if isinstance(t.op, ViewOp) for r in readers.get(t.outputs[0], ())]
    if len(given) != 1 or not found.standard or len(ranks) > 1:
        return None
    (g,) = given
    of_weights, of_v = node.op.grad(node.inputs, node.outputs, [g])
    (change,) = Softmax((weights.ndim - 1,)).grad([weights], [weights], [of_weights])
    for step, place in reversed(found.path):
        change = step.op.grad(step.inputs, step.outputs, [change])[place]
    product = found.product.node
    assert product
    of_q, of_turned = product.op.grad(product.inputs, product.outputs, [change])
    made = [x for x in (of_weights, of_q, of_turned, of_v) if x is not None and x.node in nodes]
    return _Gradients(g, *made) if len(made) == 4 else None


def _fused(node: Node, found: _Found, gradients: _Gradients | None) -> dict[Value, Value]:
    """What takes the place of the result and of gradients."""
    v = node.inputs[1]
    q4, turned, v4 = (_of_four(x) for x in (found.q, found.turned, v))
    y, levels = made = attention(
        q4, transpose(turned, LAST_TWO), v4, [_of_four(x) for x in found.biases], False, found.scale
    )
    known = {}
    if gradients:
        g = _of_four(gradients.of_result)
        assert y.node
        of_q, of_k, of_v, *_ = y.node.op.grad(y.node.inputs, made, [g, None])
        assert of_q and of_k and of_v
        of_q = reshape(of_q, found.q.shape)
        for step, place in found.path:
            if step.op in SCALES and _number(step.inputs[1 - place]) is None:
                of_q = step.op(of_q, step.inputs[1 - place])
        known[gradients.of_q] = of_q
        known[gradients.of_turned] = reshape(transpose(of_k, LAST_TWO), found.turned.shape)
        known[gradients.of_v] = reshape(of_v, v.shape)
    if found.biases:  # a softmax of -inf alone is NaN
        y = where(EQ(reshape(levels, (*levels.shape, 1)), -math.inf), math.nan, y)
    known[node.outputs[0]] = reshape(y, node.outputs[0].shape)
    return known


def _of_four(x: Value) -> Value:
    return reshape(x, (*(1,) * (4 - x.ndim), *x.shape))


def _alone(
    node: Node,
    found: _Found,
    gradients: _Gradients | None,
    readers: dict[Value, list[Node]],
    outputs: Sequence[Value],
) -> bool:
    """Whether what follows from the product of queries and keys reaches results of products only that are replaced."""
    waiting, seen = [found.product], set()
    ends = {node.outputs[0]}
    if gradients:
        waiting.append(gradients.of_weights)
        ends |= {gradients.of_q, gradients.of_turned, gradients.of_v}
    while waiting:
        value = waiting.pop()
        if value in seen or value in ends:
            continue
        seen.add(value)
        if value in outputs:
            return False
        for reader in readers.get(value, ()):
            if not isinstance(reader.op, (Elementwise, Reduce, ViewOp)) and reader.outputs[0] not in ends:
                return False
            waiting += reader.outputs
    return node.inputs[1] not in seen


def _written_out(node: Node) -> _Found | None:
    """What the first factor of a product is the softmax of, if it is the scores of attention."""
    weights, v = node.inputs
    for scores in _reduced(weights):
        if scores.shape == weights.shape and (standard := _is_softmax(weights, scores)) is not None:
            found = _scores(scores)
            if found and len({x.dtype for x in (found.q, found.turned, weights, v)}) == 1 and v.ndim <= 4:
                q, k = _of_four(found.q), _of_four(found.turned)
                fitting = fits(q, transpose(k, LAST_TWO), _of_four(v))
                return found._replace(standard=standard) if fitting else None
    return None


def _reduced(value: Value, depth: int = 4) -> Iterator[Value]:
    """Values near this one of which the largest is taken along the last axis."""
    node = value.node
    if node is None or not depth:
        return
    if _is_largest(node) and node.op.axes == (value.ndim - 1,):  # type: ignore[attr-defined]
        yield node.inputs[0]
    for v in node.inputs:
        yield from _reduced(v, depth - 1)


def _is_largest(node: Node) -> bool:
    op = node.op
    return isinstance(op, Reduce) and op.mode in ("MAX", "MAX_NUMBER") and len(op.axes) == 1


def _is_softmax(weights: Value, scores: Value) -> bool | None:
    """Whether weights are the softmax of the scores by the op (True) or by exp, max and sum (False). Equal nodes are recorded once, so that is
    this very value."""
    axes = (scores.ndim - 1,)
    if Softmax(axes)(scores) is weights:
        return True
    powers = EXP(scores - Reduce("MAX", axes)(scores))
    return False if powers / total(powers, axes) is weights else None


def _scores(value: Value) -> _Found | None:
    """The product that scores are made of, with factors moved to the queries and everything added to them."""
    node = value.node
    if node is None:
        return None
    if isinstance(node.op, MatMul):
        q, turned = node.inputs
        return _Found(q, turned, (), value) if 2 <= q.ndim == turned.ndim <= 4 else None
    if isinstance(node.op, Where):
        return _masked(node)
    if node.op not in (*SCALES, ADD):
        return None
    for place, (x, other) in enumerate((node.inputs, node.inputs[::-1])):
        if x.shape != value.shape or (found := _scores(x)) is None:
            continue
        found = found._replace(path=(*found.path, (node, place)))
        if node.op is ADD:
            return found._replace(biases=(*found.biases, other))
        if other.shape == () and (node.op is SCALES[0] or place == 0):
            found = found._replace(biases=tuple(node.op(v, other) for v in found.biases))
            if (number := _number(other)) is None:
                return found._replace(q=node.op(found.q, other))
            return found._replace(scale=found.scale * (number if node.op is SCALES[0] else 1 / number))
    return None


def _number(value: Value) -> float | None:
    """What a constant above 0 is."""
    known = value.node.op if value.node else None
    return float(known.value) if isinstance(known, Constant) and 0 < known.value < math.inf else None


def _masked(node: Node) -> _Found | None:
    """where(mask, scores, a low number), or the other way round."""
    mask, yes, no = node.inputs
    for x, low in ((yes, no), (no, yes)):
        if x.shape != node.outputs[0].shape or not low.node or not isinstance(low.node.op, Constant):
            continue
        number = low.node.op.value
        if not number <= LOWEST or (found := _scores(x)) is None:
            continue
        parts = (0.0, number) if x is yes else (number, 0.0)
        path = (*found.path, (node, 1 if x is yes else 2))
        return found._replace(biases=(*found.biases, where(mask, *parts)), path=path)
    return None
