"""Reductions. The axes stay with extent 1 at this level; `keepdims=False` is a reshape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from ...compiler.program import Elementwise, Reduction, Type, Value
from .base import FLOATS, Formula, broadcast_shapes, position_dtype, statistics_dtype
from .elemwise import EQ, cast, where
from .products import others_along
from .shape import broadcast

#: mode → (monoid of the kernel, gradient from (g, y, x, axes))
ROWS: dict[str, tuple[str, Callable[..., Value]]] = {
    "SUM": ("sum", lambda g, y, x, axes: broadcast(g, x.shape)),
    "PRODUCT": ("prod", lambda g, y, x, axes: g * OtherProducts(axes)(x)),
    "MAX": ("max", lambda g, y, x, axes: where(x >= y, g, 0.0)),
    # The largest element that is a number, -inf if there is none. It is cheaper, and enough if nan comes through in
    # another way.
    "MAX_NUMBER": ("max_number", lambda g, y, x, axes: where(x >= y, g, 0.0)),
    "MIN": ("min", lambda g, y, x, axes: where(x <= y, g, 0.0)),
}


class Reduce(Reduction):
    """Folds `axes` with `mode`, a row of ROWS. Booleans are summed and multiplied as int32."""

    mode: str
    axes: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.mode.lower()

    @property
    def monoid(self) -> str:  # type: ignore[override]
        return ROWS[self.mode][0]

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        empty = [d for d in self.axes if x.shape[d] == 0]
        if empty and self.mode in ("MAX", "MIN"):
            raise ValueError(
                f"{self.name} over axis {empty[0]} of a tensor of shape {x.shape}: there is no element to choose from"
            )
        dtype = "int32" if x.dtype == "bool" and self.mode in ("SUM", "PRODUCT") else x.dtype
        return (Type(dtype, _kept(x.shape, self.axes)),)

    def grad(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (x,), (g,) = inputs, grads
        if g is None or x.dtype not in FLOATS:
            return [None]
        return [ROWS[self.mode][1](g, outputs[0], x, self.axes)]


class ArgExtreme(Reduction):
    """The index, counted in row-major order over `axes`, of the first maximum ("argmax") or minimum ("argmin"), as
    int64.
    """

    monoid: str
    axes: tuple[int, ...]

    nondiff = "places are integers"

    @property
    def name(self) -> str:
        return self.monoid

    def infer(self, *types: Type) -> tuple[Type, ...]:
        x = types[0]
        if any(x.shape[d] == 0 for d in self.axes):
            raise ValueError(f"{self.name} over an empty axis of a tensor of shape {x.shape}")
        return (Type("int64", _kept(x.shape, self.axes)),)


class Within(Elementwise):
    """Input 0 where the place along each of `axes` is below a limit, elsewhere `fill`. There is one input with the
    limits for each axis, which does not vary along these axes.

    Reductions for which `fill` is neutral need not look at places beyond the limit.
    """

    axes: tuple[int, ...]
    fill: float

    def infer(self, *types: Type) -> tuple[Type, ...]:
        x, *limits = types
        places, ends = limits[: len(self.axes)], limits[len(self.axes) :]
        if len(limits) != 2 * len(self.axes) or any(t.dtype != "int64" for t in limits):
            raise ValueError(f"within takes the places and the limits along axes {self.axes}, int64, got {limits}")
        if broadcast_shapes("within", x.shape, *(t.shape for t in (*places, *ends))) != x.shape:
            raise ValueError(f"within: places and limits {limits} do not broadcast to shape {x.shape}")
        return (x,)

    def emit(self, e: Any, args: Sequence[int], types: Sequence[Type], out: Type) -> int:
        count = len(self.axes)
        limits = list(zip(self.axes, args[1 : 1 + count], args[1 + count :], strict=True))
        return int(e.within(args[0], limits, self.fill, out.shape))

    def grad(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (g,) = grads
        return [g and Within(self.axes, 0.0)(broadcast(g, outputs[0].shape), *inputs[1:]), *[None] * (len(inputs) - 1)]


def within(x: Value, limits: Mapping[int, Value], fill: float) -> Value:
    """`x` where the place along each axis is below its limit, else `fill`."""
    if not limits:
        return x
    places = [x.builder.iota(tuple(s if d == axis else 1 for d, s in enumerate(x.shape))) for axis in limits]
    made: Value = Within(tuple(limits), fill)(x, *places, *(cast(limit, "int64") for limit in limits.values()))
    return made


def _kept(shape: tuple[int, ...], axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(1 if d in axes else s for d, s in enumerate(shape))


def total(x: Value, axes: Sequence[int]) -> Value:
    """The sum over `axes`, which stay with extent 1."""
    axes = tuple(d for d in axes if x.shape[d] != 1)
    return Reduce("SUM", axes)(x) if axes else x


def mean(x: Value, axes: Sequence[int]) -> Value:
    """The mean over `axes`, which stay with extent 1, in float32 or float64."""
    count = prod(x.shape[d] for d in axes)
    return total(cast(x, statistics_dtype(x.dtype)), axes) / x.builder.number(float(count))


def arg_extreme(x: Value, axes: Sequence[int], monoid: str) -> Value:
    """The index of the first extreme over `axes`, int64, extents 1 kept."""
    order = broadcast(x.builder.iota(tuple(x.shape[d] if d in axes else 1 for d in range(x.ndim))), x.shape)
    return ArgExtreme(monoid, tuple(axes))(x, order)


class ArgReduce(Formula):
    """The index of the first extreme over `axes` ("argmax", "argmin") as int32, or int64 for more than 2**31 elements.
    The axes stay with extent 1."""

    monoid: str
    axes: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.monoid

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        count = prod(x.shape[d] for d in self.axes)
        return cast(arg_extreme(x, self.axes, self.monoid), position_dtype(count))


class OtherProducts(Formula):
    """For each element the product of all others over `axes`: the gradient of a product, also if there are zeros.

    Inputs: x, and directions of its shape. With directions, it is the derivative of that product along them. It does
    not depend on their order, and its gradient by x is the same op with one more direction.
    """

    axes: tuple[int, ...]

    def expand(self, *inputs: Value) -> Value:
        x, *along = inputs
        if len(along) > 1:
            return others_along(x, along, self.axes)
        zero, safe, zeros, rest = self._parts(x)
        if not along:
            return where(zero, where(EQ(zeros, 1), rest, 0.0), where(EQ(zeros, 0), rest / safe, 0.0))
        return self._slope(along[0], zero, safe, zeros, rest)

    def grad(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> list[Value | None]:
        (x, *along), (g,) = inputs, grads
        if g is None:
            return [None] * len(inputs)
        return [self(x, *along, g), *(self(x, *along[:i], *along[i + 1 :], g) for i in range(len(along)))]

    def _slope(self, g: Value, zero: Value, safe: Value, zeros: Value, rest: Value) -> Value:
        """Σ over i of g_i times the product of all but i and k, which takes at most two zeros out."""
        share = where(zero, 0.0, g / safe)
        some, lost = total(share, self.axes), total(where(zero, g, 0.0), self.axes)
        at_zero = where(EQ(zeros, 1), rest * some, where(EQ(zeros, 2), rest * (lost - g), 0.0))
        elsewhere = where(EQ(zeros, 0), some - share, where(EQ(zeros, 1), lost, 0.0)) * rest / safe
        return where(zero, at_zero, elsewhere)

    def _parts(self, x: Value) -> tuple[Value, Value, Value, Value]:
        """Where x is 0; x with 1 there; how many zeros there are; and the product of the other elements."""
        zero = EQ(x, 0.0)
        safe = where(zero, 1.0, x)
        return zero, safe, total(where(zero, 1, 0), self.axes), Reduce("PRODUCT", self.axes)(safe)
