"""Collective operations of processes. Shapes and gradients are defined for any number of them; a single process already
has everything.

`group` is the key of a `distributed.Group`, `size` the number of its processes. All these ops are formulas over one
pair of ops: `Start` makes the group's communicator begin an exchange, and `Finish` waits for it. Everything between
them is computed meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from math import prod
from typing import Any, ClassVar

import numpy as np

from ...base.world import Work, communicator
from ...compiler.effects import After, Begun
from ...compiler.program import Composite, Host, Type, Value
from .base import Formula, Grads
from .elemwise import EQ, cast, where
from .shape import Concatenate, Pad, Slice, reshape, transpose

_under_way: dict[int, tuple[Work, Any]] = {}  # exchanges that have been started, by ticket
_tickets = count()


class Start(Begun):
    """Begins an exchange. Gives the place of its result, and a ticket for Finish. whole: it has ended at return."""

    group: str
    size: int
    kind: str
    dtype: str
    layout: str = ""
    whole: bool = False

    nondiff = "it is half of an operation, which has a gradient"
    no_onnx = "knows one process"
    effect = True

    @property
    def name(self) -> str:
        return self.kind

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        shape = x.shape
        if self.kind in ("all_gather", "gather"):
            shape = (self.size, *shape)
        elif self.kind in ("scatter", "reduce_scatter_sum"):
            shape = shape[1:]
        return Type(x.dtype, shape), Type("int64", ())

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        (given,), (out, ticket) = inputs, outputs
        given = np.ascontiguousarray(given).reshape(given.shape)  # this makes a vector of a number
        work = communicator(self.group).start(self.kind, self.dtype, given, out, self.layout)
        ticket[...] = number = next(_tickets)
        _under_way[number] = work, (given, out)
        if self.whole:
            work.wait()

    def in_ops(self, *inputs: Value) -> Sequence[Value]:
        return Start(self.group, self.size, self.kind, self.dtype, self.layout, True)(*inputs)


class Finish(Host):
    """Waits for an exchange. Inputs: the place of the result, the ticket, and what was given, which must stay until
    now. Gives a token for After."""

    name = "wait"
    nondiff = no_onnx = "it is half of an operation"
    effect = True
    late: ClassVar[bool] = True

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return (Type("int64", ()),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        work, _ = _under_way.pop(int(inputs[1]))
        work.wait()
        outputs[0][...] = 0


class Send(Host):
    """Sends to process `b` of the pair "a>b" without waiting for it to arrive. Gives a number, whose gradient is
    received from there."""

    pair: str
    dtype: str

    name = "remote_send"
    no_onnx = "knows one process"
    effect = True

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return (Type("float32", ()),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        sent = inputs[0].copy()
        communicator(self.pair).start("broadcast", self.dtype, sent, sent)
        outputs[0][...] = 0

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x,), (g,) = inputs, grads
        return [g and Receive(_reverse(self.pair), x.shape, x.dtype, False)(g)]


class Receive(Host):
    """What process `a` of the pair "a>b" sends. The input only says what it comes after; it gets a gradient if that is
    to be sent back."""

    pair: str
    shape: tuple[int, ...]
    dtype: str
    returns: bool

    name = "remote_recv"
    no_onnx = "knows one process"
    effect = True

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return (Type(self.dtype, self.shape),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        communicator(self.pair).start("broadcast", self.dtype, outputs[0], outputs[0]).wait()

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (g,) = grads
        return [Send(_reverse(self.pair), self.dtype)(g) if g is not None and self.returns else None]


def _reverse(pair: str) -> str:
    return ">".join(reversed(pair.split(">")))


class Await(Composite):
    """The result of an exchange once it has arrived. Inputs: what Start gave, and what was given to it."""

    effect = True

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return types[:1]

    def expand(self, *inputs: Value) -> Value:
        buffer, ticket, given = inputs
        made: Value = After()(buffer, Finish()(buffer, ticket, given))
        return made


def exchange(kind: str, group: str, size: int, x: Value) -> Value:
    """The result of an exchange. `distributed.exchange.KINDS` gives its shape."""
    made: Value = Await()(*Start(group, size, kind, x.dtype)(x), x)
    return made


def joined(parts: Value, axis: int) -> Value:
    """(n, …), the parts of n processes, joined along `axis` of a part."""
    n, *shape = parts.shape
    if not shape:
        return parts
    order = [*range(1, axis + 1), 0, *range(axis + 1, parts.ndim)]
    shape[axis] *= n
    return reshape(transpose(parts, order), shape)


def parted(x: Value, axis: int, size: int) -> Value:
    """Equal parts along `axis`, one per process: (n, …)."""
    shape = x.shape
    cut = reshape(x, (*shape[:axis], size, shape[axis] // size, *shape[axis + 1 :]))
    return transpose(cut, [axis, *(d for d in range(cut.ndim) if d != axis)])


class _Collective(Formula):
    """An op of one input and one output."""

    group: str
    size: int

    def shape(self, x: tuple[int, ...]) -> tuple[int, ...]:
        """The type of the result."""
        return x

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        return (Type(x.dtype, self.shape(x.shape)),)

    @property
    def effect(self) -> bool:
        return self.size > 1

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        return self.together(x) if self.size > 1 else reshape(x, self.shape(x.shape))

    def together(self, x: Value) -> Value:
        """An operation that several processes do together."""
        return exchange(self.name, self.group, self.size, x)

    def transposed(self, g: Value) -> Value:
        """The gradient of the input, given that of the result."""
        raise NotImplementedError

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x,), (g,) = inputs, grads
        return [None if g is None else reshape(self.transposed(g), x.shape)]


class AllReduce(_Collective):
    """The sum, maximum or minimum ("SUM", "MAX", "MIN") of the values of all processes, for all."""

    mode: str

    @property
    def name(self) -> str:
        return f"all_reduce_{self.mode.lower()}"

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x,), (y,), (g,) = inputs, outputs, grads
        if g is None:
            return [None]
        whole = AllReduce(self.group, self.size, "SUM")(g)
        return [whole if self.mode == "SUM" or self.size == 1 else where(EQ(x, y), whole, 0.0)]


class ReduceSum(_Collective):
    """The sum of the values of all processes, for the root."""

    name = "reduce_sum"

    def transposed(self, g: Value) -> Value:
        made: Value = BroadcastFrom(self.group, self.size)(g)
        return made


class BroadcastFrom(_Collective):
    """The root's value, for all."""

    name = "broadcast"

    def transposed(self, g: Value) -> Value:
        made: Value = ReduceSum(self.group, self.size)(g)
        return made


class _Joining(_Collective):
    """The values of all processes, joined along `axis`; numbers make a vector."""

    axis: int

    def together(self, x: Value) -> Value:
        return joined(super().together(x), self.axis)

    def shape(self, x: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(s * (self.size if d == self.axis else 1) for d, s in enumerate(x or (1,)))


class _Parting(_Collective):
    """Equal parts along `axis`, one for each process."""

    axis: int

    def together(self, x: Value) -> Value:
        return super().together(parted(x, self.axis, self.size))

    def shape(self, x: tuple[int, ...]) -> tuple[int, ...]:
        return _parted(self.name, x, self.axis, self.size)


def _parted(op: str, x: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    if x[axis] % size:
        raise ValueError(f"{op}: axis {axis} of shape {x} cannot be cut into {size} equal parts")
    return tuple(s // (size if d == axis else 1) for d, s in enumerate(x))


class AllGather(_Joining):
    """The values of all, for all."""

    name = "all_gather"

    def transposed(self, g: Value) -> Value:
        made: Value = ReduceScatter(self.group, self.size, self.axis)(g)
        return made


class ReduceScatter(_Parting):
    """Each process's part of the sum of all values."""

    name = "reduce_scatter_sum"

    def transposed(self, g: Value) -> Value:
        made: Value = AllGather(self.group, self.size, self.axis)(g)
        return made


class GatherTo(_Joining):
    """The values of all, for the root."""

    name = "gather"

    def transposed(self, g: Value) -> Value:
        made: Value = ScatterFrom(self.group, self.size, self.axis)(g)
        return made


class ScatterFrom(_Parting):
    """Each process's part of the root's value."""

    name = "scatter"

    def transposed(self, g: Value) -> Value:
        made: Value = GatherTo(self.group, self.size, self.axis)(g)
        return made


class AllToAll(_Collective):
    """Each process cuts its value along `split_axis` and gives every other one a part. It joins the parts that it gets
    along `concat_axis`."""

    split_axis: int
    concat_axis: int

    name = "all_to_all"

    def together(self, x: Value) -> Value:
        return joined(super().together(parted(x, self.split_axis, self.size)), self.concat_axis)

    def shape(self, x: tuple[int, ...]) -> tuple[int, ...]:
        part = _parted(self.name, x, self.split_axis, self.size)
        return tuple(s * (self.size if d == self.concat_axis else 1) for d, s in enumerate(part))

    def transposed(self, g: Value) -> Value:
        made: Value = AllToAll(self.group, self.size, self.concat_axis, self.split_axis)(g)
        return made


# -- buckets -------------------------------------------------------------------------------------------------------


class Pack(Formula):
    """Tensors of one dtype as parts of one vector of `dtype`. The elements of each are in the order of dims given in
    `orders`: the order in which they lie, so that packing copies memory as it is."""

    orders: tuple[tuple[int, ...], ...]
    dtype: str

    def expand(self, *inputs: Value) -> Value:
        parts = [reshape(transpose(x, order), (x.size,)) for x, order in zip(inputs, self.orders, strict=True)]
        whole: Value = Concatenate(0)(*parts)
        return cast(whole, self.dtype)  # rounded to their own dtype first, whichever kernel makes them


class Unpack(Formula):
    """The parts of such a vector, divided by a number, as tensors of these shapes and one dtype."""

    shapes: tuple[tuple[int, ...], ...]
    orders: tuple[tuple[int, ...], ...]
    dtype: str
    divisor: int

    def expand(self, *inputs: Value) -> Sequence[Value]:
        (whole,), start, found = inputs, 0, []
        for shape, order in zip(self.shapes, self.orders, strict=True):
            size = prod(shape)
            part = Slice((start,), (size,), (1,))(whole)
            lying = reshape(part if self.divisor == 1 else part / self.divisor, [shape[d] for d in order])
            back = [order.index(d) for d in range(len(order))]
            found.append(cast(transpose(lying, back), self.dtype))
            start += size
        return found


# -- sharded tensors ----------------------------------------------------------------------------------------------


def part_length(elements: int, size: int) -> int:
    """How many elements of a tensor each of `size` processes has. The last ones are filled up with zeros."""
    return -(-elements // size)


def _rows(x: Value, size: int) -> Value:
    """The parts of a tensor, whose elements are taken in order: (size, length)."""
    length = part_length(x.size, size)
    flat = reshape(x, (x.size,))
    if missing := size * length - x.size:
        flat = Pad((0,), (missing,), 0.0)(flat)
    return reshape(flat, (size, length))


class OwnParts(Formula):
    """The parts of tensors that belong to process `rank` of `size`. Inputs: the values that they replace, then the
    tensors."""

    rank: int
    size: int

    def expand(self, *inputs: Value) -> Sequence[Value]:
        rows = [_rows(x, self.size) for x in inputs[len(inputs) // 2 :]]
        return [
            reshape(Slice((self.rank, 0), (1, row.shape[1]), (1, 1))(row), (row.shape[1],))
            if row.size
            else reshape(row, (0,))
            for row in rows
        ]


class PackParts(Formula):
    """The parts of tensors of one dtype as `dtype`, those of a process side by side: (size, length of all)."""

    size: int
    dtype: str

    def expand(self, *inputs: Value) -> Value:
        whole: Value = Concatenate(1)(*(_rows(x, self.size) for x in inputs))
        return cast(whole, self.dtype)


class TakeParts(Formula):
    """The tensors that such a whole, the last input, consists of. The inputs before it are the values that they
    replace."""

    def expand(self, *inputs: Value) -> Sequence[Value]:
        *targets, whole = inputs
        found, start = [], 0
        for target in targets:
            length = part_length(target.size, whole.shape[0])
            rows = Slice((0, start), (whole.shape[0], length), (1, 1))(whole)
            flat = Slice((0,), (target.size,), (1,))(reshape(rows, (rows.size,)))
            found.append(cast(reshape(flat, target.shape), target.dtype))
            start += length
        return found
