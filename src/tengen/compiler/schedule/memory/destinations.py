"""Where kernels store their results: in the order that their readers need, or inside the output of a `Concat`.

A contraction can store rows anywhere, as long as one of its last two dims is contiguous. Suppose that a reader sees the
result through views that strides cannot express, like `reshape(transpose(y))`, which puts the heads of attention side
by side. Then the result gets the order of dims that saves the copy. If results are concatenated, each is written where
it will be. A loop nest can do that too; the first one that does decides how the whole lies.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from itertools import permutations

from ...program import Concat, Node, Program, Value, ViewOp
from ...view import View, contiguous, dense
from ..places import Destination, Part

MOST_DIMS = 5
"""The most dims of results whose orders of dims are tried."""
LEAST_RUN = 64
"""Turns of the innermost loop that are many. A loop nest that stores a part of a Concat in its place has one for each run
of elements side by side there, while it may go through a value of its own in one; few turns leave lanes empty."""


def destinations(
    program: Program, users: Mapping[Value, Sequence[Node]], made: Sequence[Value]
) -> tuple[dict[Value, Destination], dict[Value, View]]:
    """For results of contractions, `made`, those that should not lie row-major, and how outputs of Concat lie that have
    some of them as parts."""
    found: dict[Value, Destination] = {}
    wholes: dict[Value, View] = {}
    stored = set(made) - set(program.outputs)
    for node in program.nodes:
        if isinstance(node.op, Concat):
            (whole,) = node.outputs
            layout = _spares_copies(whole, users)
            parts = _parts(node, node.op, layout, users, stored)
            if parts:
                wholes[whole] = layout
            found |= {v: Destination(view, whole) for v, view in parts.items()}
    for value in made:
        if value in stored and value not in found and value.ndim <= MOST_DIMS:
            layout = _spares_copies(value, users)
            if layout != contiguous(value.shape):
                found[value] = Destination(layout)
    return found, wholes


def nested(program: Program, users: Mapping[Value, Sequence[Node]], wholes: Container[Value]) -> set[Value]:
    """The outputs of Concat that nothing but another Concat reads, and that need no memory: their parts go there at once."""
    outputs = [node.outputs[0] for node in program.nodes if isinstance(node.op, Concat)]
    if not outputs:
        return set()
    readers = [(v, users.get(v, ())) for v in outputs if v not in wholes and v not in program.outputs]
    return {v for v, nodes in readers if len(nodes) == 1 and isinstance(nodes[0].op, Concat)}


def inside_concats(
    program: Program, users: Mapping[Value, Sequence[Node]], spread: Container[Value]
) -> dict[Value, Part]:
    """The values that only a Concat reads, and once, with their places in its output. spread: see `nested`."""
    found: dict[Value, Part] = {}
    outputs = set(program.outputs)
    for node in program.nodes:
        if not isinstance(node.op, Concat) or node.outputs[0] in spread:
            continue
        axis, start = node.op.axis, 0
        for value in node.inputs:
            starts = tuple([start if d == axis else 0 for d in range(value.ndim)])
            start += value.shape[axis]
            if len(users[value]) == 1 and value not in outputs:
                found[value] = Part(node.outputs[0], starts)
    return found


def fits_inside(own: View, inside: View, loads: Sequence[View]) -> bool:
    """Whether a loop nest that loads operands which lie like `loads` should store a result as `inside`, in a larger
    buffer, rather than as `own`: if its dims lie in the same order and the innermost loop stays long, or as long."""
    moving = [d for d, extent in enumerate(own.shape) if extent > 1]
    order, other = (sorted(moving, key=lambda d: abs(v.strides[d])) for v in (own, inside))
    lengths = [_run([view, *loads], order) for view in (own, inside)]
    return order == other and lengths[1] >= min(LEAST_RUN, lengths[0])


def _run(views: Sequence[View], order: Sequence[int]) -> int:
    """The extent of the innermost loop over elements that lie like all these views. order: the dims, fastest first."""
    length = 1
    for d in order:
        if any(v.strides[d] != v.strides[order[0]] * length for v in views):
            break
        length *= views[0].shape[d]
    return length


def _spares_copies(value: Value, users: Mapping[Value, Sequence[Node]]) -> View:
    """The order of dims in which the fewest readers need a copy; row-major if no other is better. The last dim stays
    the fastest."""
    best = contiguous(value.shape)
    fewest = _copies(value, best, users)
    if fewest and value.ndim <= MOST_DIMS:
        for order in permutations(range(value.ndim - 1)):
            view = View(value.shape, dense(value.shape, (*order, value.ndim - 1)))
            count = _copies(value, view, users)
            if count < fewest:
                best, fewest = view, count
    return best


def _copies(value: Value, view: View, users: Mapping[Value, Sequence[Node]]) -> int:
    """How many of the views of a value that lies like `view` must be copies."""
    count = 0
    for node in users.get(value, ()):
        if isinstance(node.op, ViewOp) and node.inputs[0] is value:
            seen = node.op.view(view)
            count += 1 if seen is None else _copies(node.outputs[0], seen, users)
    return count


def _parts(
    node: Node, op: Concat, layout: View, users: Mapping[Value, Sequence[Node]], stored: set[Value]
) -> dict[Value, View]:
    """The results that a Concat puts together and nothing else reads, and where they are in its output, which lies like
    `layout`."""
    parts, start = {}, 0
    for value in node.inputs:
        starts = [start if d == op.axis else 0 for d in range(value.ndim)]
        view: View | None = layout.slice(starts, value.shape, [1] * value.ndim)
        start += value.shape[op.axis]
        source: Value | None = value
        while view and source and source not in stored:
            source, view = _before(source, view) if len(users[source]) == 1 else (None, None)
        if view and source and len(users[source]) == 1:
            parts[source] = view
    return parts


def _before(value: Value, view: View) -> tuple[Value | None, View | None]:
    """The value that a value is a transpose of, and how that lies if the value lies like `view`."""
    node = value.node
    if node is None or not isinstance(node.op, ViewOp) or len(node.inputs) != 1:
        return None, None
    (source,) = node.inputs
    probe = View(source.shape, tuple(range(1, source.ndim + 1)))  # a dim's stride names it
    seen = node.op.view(probe)
    if seen is None or seen.offset or seen.edges or sorted(seen.strides) != sorted(probe.strides):
        return None, None
    strides = [0] * source.ndim
    for name, extent, stride in zip(seen.strides, seen.shape, view.strides, strict=True):
        if source.shape[name - 1] != extent:
            return None, None
        strides[name - 1] = stride
    return source, View(source.shape, tuple(strides), view.offset)
