"""Adapts a network to another batch size: changes the shapes in its ops where they mean the batch."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from ...compiler.program import Op, Type
from ...core.ops.index import PutIndexed, TakeIndexed
from ...core.ops.shape import Broadcast, Fill, SetSubtensor, Slice, Subtensor
from ...core.ops.shape import Reshape as ReshapeOp
from ..network_node import ConstOpBase, Host2DeviceCopy, OpNode

Shape = tuple[int, ...]


class Grown(NamedTuple):
    """What has changed in a dim: it now holds `times` times as many blocks, each of `inner` adjacent elements."""

    times: int
    inner: int


Dims = dict[int, Grown]


class Retyped:
    """The types of values after arguments have changed their shapes, and the ops that compute them. Nothing is changed
    before `commit`. Raises ValueError, naming the op, if that is impossible.
    """

    def __init__(self, order: Sequence[OpNode]):
        self.ops: dict[OpNode, Op] = {}
        self.types: dict[Any, Type] = {}
        self.grown: dict[Any, Dims] = {}
        sizes = {(*op.outputs[0].shape[:1], *op.shape[:1]) for op in order if isinstance(op, Host2DeviceCopy)}
        changed = [pair for pair in sizes if len(pair) == 2 and pair[0] != pair[1]]
        # A table that depends on no argument may have been made for the batch size: as its first dim, or, as of states, the second.
        tables = [(*changed[0], axis) for axis in (0, 1)] if len(changed) == 1 else []
        problem: ValueError | None = None
        for table in (None, *tables):
            try:
                self._infer(order, table)
                return
            except ValueError as error:
                problem = problem or error
        assert problem is not None
        raise problem

    def _infer(self, order: Sequence[OpNode], table: tuple[int, int, int] | None) -> None:
        self.ops.clear()
        self.types.clear()
        self.grown.clear()
        for node in order:
            if isinstance(node, Host2DeviceCopy):
                (var,) = node.outputs
                self.types[var] = Type(node.dtype, node.shape)
                changed = [d for d, (a, b) in enumerate(zip(var.shape, node.shape, strict=False)) if a != b]
                self.grown[var] = {d: Grown(var.shape[d], 1) for d in changed}
            elif isinstance(node, ConstOpBase):
                self.types[node.outputs[0]] = node.outputs[0].type
            else:
                self._op(node, table)

    def _op(self, node: OpNode, table: tuple[int, int, int] | None) -> None:
        assert node.op is not None
        old, new = [v.type for v in node.inputs], [self.types[v] for v in node.inputs]
        self.ops[node], known = node.op, None
        try:
            if isinstance(node.op, ReshapeOp) and old != new:
                given = self.grown.get(node.inputs[0], {})
                shape, known = reshaped(node.op.shape, old[0].shape, new[0].shape, given)
                self.ops[node] = ReshapeOp(shape)
            elif old != new:
                self.ops[node] = adapted(node.op, old, new)
            elif table:
                self.ops[node] = _table(node.op, *table)
            made = self.ops[node].infer(*new)
        except (TypeError, ValueError, AssertionError) as error:
            shapes = ", ".join(str(t.shape) for t in new)
            raise ValueError(
                f"{node.name} cannot take inputs of the shapes {shapes}: {error}; dump the function once more, called with arguments of "
                "the new shapes"
            ) from error
        self.types.update(zip(node.outputs, made, strict=True))
        for var in node.outputs:
            self.grown[var] = self._followed(var, node.inputs) if known is None else known

    def _followed(self, var: Any, inputs: Sequence[Any]) -> Dims:
        """What has changed in the dims of a result: the same as in the dim of an input that changed in the same way."""
        changes: dict[tuple[int, int], Grown] = {}
        for x in inputs:
            for d, grown in self.grown.get(x, {}).items():
                changes.setdefault((x.shape[d], self.types[x].shape[d]), grown)
        pairs = enumerate(zip(var.shape, self.types[var].shape, strict=False))
        return {d: changes.get((a, b), Grown(a, 1)) for d, (a, b) in pairs if a != b}

    def commit(self) -> None:
        """Change the nodes."""
        for node, op in self.ops.items():
            node.op = op
        for var, type in self.types.items():
            var.retype(type)


def adapted(op: Op, old: Sequence[Type], new: Sequence[Type]) -> Op:
    """The op that does to inputs of types `new` what `op` does to inputs of types `old`."""
    before, after = old[0].shape, new[0].shape
    if isinstance(op, Broadcast):
        lead = len(op.shape) - len(before)
        pairs = zip(op.shape[lead:], before, after, strict=True)
        return Broadcast((*op.shape[:lead], *(b if s == a else s for s, a, b in pairs)))
    if isinstance(op, Slice):
        return _whole(op, before, after)
    if isinstance(op, (Subtensor, SetSubtensor, TakeIndexed, PutIndexed)):
        part = _whole(op.part, before, after)
        shape, _ = reshaped(op.shape, op.part.extents, part.extents, {})
        rest = [getattr(op, name) for name in type(op).parameters[2:]]
        return type(op)(part, shape, *rest)
    return op


def _whole(part: Slice, before: Shape, after: Shape) -> Slice:
    """A slice that takes a whole dim still takes the whole dim when it is longer."""
    starts, extents = list(part.starts), list(part.extents)
    for d, (a, b) in enumerate(zip(before, after, strict=True)):
        if a != b and extents[d] == a:
            extents[d], starts[d] = b, 0 if part.steps[d] > 0 else b - 1
    return Slice(tuple(starts), tuple(extents), part.steps)


def reshaped(shape: Shape, before: Shape, after: Shape, grown: Dims) -> tuple[Shape, Dims]:
    """The result shape of a reshape when its input changes from `before` to `after`, and what has changed in its dims.

    What has grown has a place in row-major order; the dim of the result that holds this place grows too.

    >>> reshaped((2, 12, 5), (2, 3, 4, 5), (8, 3, 4, 5), {0: Grown(2, 1)})
    ((8, 12, 5), {0: Grown(times=2, inner=1)})
    >>> reshaped((6, 20), (2, 3, 4, 5), (8, 3, 4, 5), {0: Grown(2, 1)})
    ((24, 20), {0: Grown(times=2, inner=3)})
    """
    made, now, found = list(shape), list(before), Dims()
    for d in reversed(range(len(before))):
        if before[d] == after[d]:
            continue
        times, inner = grown.get(d, Grown(before[d], 1))
        stride = inner * prod(now[d + 1 :])
        strides = [prod(made[i + 1 :]) for i in range(len(made))]
        # Of those that hold it, that which holds nothing else inside; where there is one of it, others of one may be beside it.
        holding = [
            i for i, s in enumerate(strides) if s and times and stride % s == 0 and s * made[i] % (stride * times) == 0
        ]
        if not holding:
            raise ValueError(f"no dim of {shape} holds what changes in dim {d} of {before}")
        i = next((i for i in holding if strides[i] == stride), holding[0])
        made[i], now[d] = made[i] * after[d] // before[d], after[d]
        found[i] = Grown(times, stride // strides[i])
    return tuple(made), found


def _table(op: Op, old: int, new: int, axis: int) -> Op:
    """A constant whose dim `axis` is the batch, for another batch size; other ops stay as they are."""
    if isinstance(op, (Broadcast, Fill)) and op.shape[axis : axis + 1] == (old,):
        shape = (*op.shape[:axis], new, *op.shape[axis + 1 :])
        return type(op)(shape, *(getattr(op, name) for name in type(op).parameters[1:]))
    return op
