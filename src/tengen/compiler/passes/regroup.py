"""Moves element-wise ops after a contraction before a reshape of its result, so that its kernel can do them.

A linear layer multiplies rows, (batch · time, channels), and gives (batch, time, channels). The activation after it and
the addition of a residual are the same numbers under either shape. Values that other ops would read together with them,
such as a mean over the channels, keep their shape.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ..program import Builder, Contraction, Elementwise, Node, Program, Value
from ..values import is_reshape, reshape_source
from ..view import contiguous


def regroup(program: Program) -> Program:
    """The Program with f(reshape(x), y, …) as reshape(f(x, reshaped y, …)) if x follows from a contraction."""
    if not any([is_reshape(node) and node.inputs[0].node for node in program.nodes]):
        return program  # the usual case
    return _Regrouped(program).finish()


class _Regrouped:
    def __init__(self, program: Program):
        self.program, self.builder = program, Builder()
        self.made: dict[Value, Value] = {v: self.builder.input(v.type) for v in program.inputs}
        #: The channel dim of products, and of what element-wise ops make of them.
        self.channels: dict[Value, int | None] = {}
        others = [n for n in program.nodes if not isinstance(n.op, Elementwise) and not is_reshape(n)]
        #: What ops that are not element-wise read, perhaps reshaped.
        self.seen = {reshape_source(v) for v in (*program.outputs, *(v for node in others for v in node.inputs))}

    def finish(self) -> Program:
        for node in self.program.nodes:
            outputs = self._before_reshape(node) or self._as_it_is(node)
            self.made.update(zip(node.outputs, outputs, strict=True))
        return self.builder.finish(self.made[v] for v in self.program.outputs)

    def _as_it_is(self, node: Node) -> tuple[Value, ...]:
        inputs = [self.made[v] for v in node.inputs]
        outputs = self.builder.repeat(node, inputs)
        (out, *_) = outputs
        if isinstance(node.op, Contraction):
            dim = node.op.roles.channels
            self.channels[out] = None if dim is None else range(out.ndim)[dim]
        elif isinstance(node.op, Elementwise):
            for v in inputs:
                if v in self.channels and v.shape == out.shape:
                    self.channels[out] = self.channels[v]
        return outputs

    def _before_reshape(self, node: Node) -> tuple[Value, ...] | None:
        """The outputs of an element-wise node, computed in the shape that an input had before it was reshaped."""
        if not isinstance(node.op, Elementwise):
            return None
        shape = node.outputs[0].shape
        for given in node.inputs:
            value, source = self.made[given], reshape_source(self.made[given])
            if (
                value.node
                and source is not value
                and source in self.channels
                and reshape_source(given) not in self.seen
            ):
                reshape, channel = type(value.node.op), self.channels[source]
                turned = [_under(self.made[v], shape, source.shape, channel, reshape) for v in node.inputs]
                if value.shape != shape or any(v is None for v in turned):
                    return None
                result = node.op(*turned)
                self.channels[result] = channel
                return (reshape(shape)(result),)
        return None


def _under(
    value: Value, old: tuple[int, ...], new: tuple[int, ...], channel: int | None, reshape: type[Any]
) -> Value | None:
    """An operand of a result of shape `old`, as an operand of the same result in the shape `new`. It may be a number,
    vary along the channels, or be as large as the result; None if it is none of these."""
    if value.ndim == 0:
        return value
    source = reshape_source(value)
    if value.shape == old and source.shape == new:
        return source
    view = contiguous(value.shape).broadcast(old).reshape(new)
    if view is None:
        return None
    shape = tuple(extent if stride else 1 for extent, stride in zip(new, view.strides, strict=True))
    wanted = (new, tuple(s if d == channel else 1 for d, s in enumerate(new)), (1,) * len(new))
    if shape not in wanted or prod(shape) != value.size:
        return None
    return value if shape == value.shape else reshape(shape)(value)
