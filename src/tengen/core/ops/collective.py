"""What processes do together. Shapes and gradients hold for any number of them; one alone has everything already.

`group` is the key of a `distributed.Group`, `size` the number of its processes.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...base.world import not_yet
from ...compiler.program import Type, Value
from .base import Formula, Grads
from .elemwise import EQ, where
from .shape import reshape


class _Collective(Formula):
    """An op of one input and one output."""

    group: str
    size: int

    def shape(self, x: tuple[int, ...]) -> tuple[int, ...]:
        """Of the result."""
        return x

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        return (Type(x.dtype, self.shape(x.shape)),)

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        if self.size != 1:
            raise not_yet(self.name)
        return reshape(x, self.shape(x.shape))

    def transposed(self, g: Value) -> Value:
        """The gradient of the input, from that of the result."""
        raise NotImplementedError

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x,), (g,) = inputs, grads
        return [None if g is None else reshape(self.transposed(g), x.shape)]


class AllReduce(_Collective):
    """The sum, maximum or minimum ("SUM", "MAX", "MIN") of what all have, for all."""

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
    """The sum of what all have, for the root."""

    name = "reduce_sum"

    def transposed(self, g: Value) -> Value:
        made: Value = BroadcastFrom(self.group, self.size)(g)
        return made


class BroadcastFrom(_Collective):
    """What the root has, for all."""

    name = "broadcast"

    def transposed(self, g: Value) -> Value:
        made: Value = ReduceSum(self.group, self.size)(g)
        return made


class _Joining(_Collective):
    """What all have, side by side along `axis`; numbers make a vector."""

    axis: int

    def shape(self, x: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(s * (self.size if d == self.axis else 1) for d, s in enumerate(x or (1,)))


class _Parting(_Collective):
    """Equal parts along `axis`, one for each."""

    axis: int

    def shape(self, x: tuple[int, ...]) -> tuple[int, ...]:
        return _parted(self.name, x, self.axis, self.size)


def _parted(op: str, x: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    if x[axis] % size:
        raise ValueError(f"{op}: axis {axis} of shape {x} cannot be cut into {size} equal parts")
    return tuple(s // (size if d == axis else 1) for d, s in enumerate(x))


class AllGather(_Joining):
    """For all."""

    name = "all_gather"

    def transposed(self, g: Value) -> Value:
        made: Value = ReduceScatter(self.group, self.size, self.axis)(g)
        return made


class ReduceScatter(_Parting):
    """Of the sum of what all have."""

    name = "reduce_scatter_sum"

    def transposed(self, g: Value) -> Value:
        made: Value = AllGather(self.group, self.size, self.axis)(g)
        return made


class GatherTo(_Joining):
    """For the root."""

    name = "gather"

    def transposed(self, g: Value) -> Value:
        made: Value = ScatterFrom(self.group, self.size, self.axis)(g)
        return made


class ScatterFrom(_Parting):
    """Of what the root has."""

    name = "scatter"

    def transposed(self, g: Value) -> Value:
        made: Value = GatherTo(self.group, self.size, self.axis)(g)
        return made


class AllToAll(_Collective):
    """Each cuts along `split_axis` and gives every other a part; what it gets it joins along `concat_axis`."""

    split_axis: int
    concat_axis: int

    name = "all_to_all"

    def shape(self, x: tuple[int, ...]) -> tuple[int, ...]:
        part = _parted(self.name, x, self.split_axis, self.size)
        return tuple(s * (self.size if d == self.concat_axis else 1) for d, s in enumerate(part))

    def transposed(self, g: Value) -> Value:
        made: Value = AllToAll(self.group, self.size, self.concat_axis, self.split_axis)(g)
        return made
