"""Element-wise nodes after a contraction, done by its kernel: which may be, and what they are to the kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from heapq import heappop, heappush
from typing import NamedTuple

from ..program import Node, Value
from ..targets.epilogue import CHANNEL, ELEMENT, NUMBER, Epilogue, Source
from ..view import View, contiguous
from .loops import bits
from .lower import COMPUTE, UNIFORM, Emitter, Location, Operand
from .steps import Steps

SUM = -1
"""Stands for the buffer of the sums, which are in registers."""


class Segment(NamedTuple):
    """Nodes that follow the value `start`, of which nobody else sees anything but the output of the last one."""

    start: Value
    nodes: tuple[Node, ...]

    @property
    def end(self) -> Value:
        return self.nodes[-1].outputs[0]


def segments(
    product: Value,
    users: Mapping[Value, Sequence[Node]],
    order: Mapping[Node, int],
    uses: Mapping[Value, int],
    fits: Callable[[Node, set[Value]], bool],
) -> list[Segment]:
    """The longest row of segments from `product` on whose nodes, given the values before them, all fit.

    users: the nodes that read a value; order: where a node stands in the Program; uses: how often a value is read, by
    the caller of the Program too.
    """
    found: list[Segment] = []
    current: list[Node] = []
    start, inside = product, {product}
    waiting = [(order[node], node) for node in users.get(product, ())]
    seen = {node for _, node in waiting}
    unread = uses[product]
    waiting.sort()
    while waiting:
        _, node = heappop(waiting)
        if not fits(node, inside):
            break  # what it reads stays visible
        (out,) = node.outputs
        current.append(node)
        inside.add(out)
        unread += uses[out] - sum(v in inside for v in node.inputs)
        for user in users.get(out, ()):
            if user not in seen:
                seen.add(user)
                heappush(waiting, (order[user], user))
        if unread == uses[out]:
            found.append(Segment(start, tuple(current)))
            start, current = out, []
    return found


@dataclass(frozen=True)
class Ending:
    """An epilogue and where its sources are: `operands` in the order of `Epilogue.buffers`, over the result's shape, and the
    values of `Epilogue.numbers`.
    """

    epilogue: Epilogue
    operands: tuple[tuple[Operand, Source], ...]
    numbers: tuple[int, ...]


def ending(steps: Steps, product: Value, nodes: Sequence[Node], channel_dim: int | None) -> Ending:
    """What a kernel that computes `product` does to have the output of the last of `nodes`."""
    out = nodes[-1].outputs[0]

    @cache
    def locate(value: Value) -> Location:
        place = steps.locate(value)
        computed = place.buffer is None or place.view.edges
        return steps.materialise(value) if computed and place is not UNIFORM else place

    e = Emitter(locate, product.shape)
    wide = COMPUTE[product.dtype]
    e.define(product, e("load", dtype=wide, attr=e.operand(Operand(SUM, wide, contiguous(product.shape)))))
    for node in nodes:
        e.node(node)
    result = e.cast(e.value(out), out.dtype)
    along_channels = None if channel_dim is None else range(product.ndim)[channel_dim]
    sources: list[Source] = []
    operands: list[tuple[Operand, Source]] = []
    numbers: list[int] = []
    for number, operand in enumerate(e.operands):
        if operand.buffer == SUM:
            sources.append(Source(operand.dtype, ELEMENT))
        elif operand.dtype.startswith("param_"):
            sources.append(Source(operand.dtype.removeprefix("param_"), NUMBER))
            numbers.append(bits(operand.dtype, operand.parameter))
        else:
            sources.append(Source(operand.dtype, _along(operand.view, along_channels), f"operand{number}"))
            operands.append((operand, sources[-1]))
    return Ending(Epilogue(tuple(sources), tuple(e.code), result, out.dtype), tuple(operands), tuple(numbers))


def _along(view: View, channel_dim: int | None) -> int:
    moving = {d for d, (s, extent) in enumerate(zip(view.strides, view.shape, strict=True)) if s and extent > 1}
    return NUMBER if not moving else CHANNEL if moving == {channel_dim} else ELEMENT
