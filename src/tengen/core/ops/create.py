"""Tensors made from numbers: filled, counted, and copies of parts of others on diagonals and grids."""

from __future__ import annotations

from collections.abc import Sequence

from ...compiler.program import Type, Value
from .base import Formula
from .elemwise import Elemwise, cast, where
from .index import take_op
from .shape import Fill, PlaceView, Slice, broadcast, reshape, zeros

EQ = Elemwise("EQ")


class FillLike(Formula):
    """The number input 1 everywhere, in the shape and dtype of input 0."""

    name = "full_like"

    def expand(self, *inputs: Value) -> Value:
        like, number = inputs
        return Fill(like.shape, like.dtype, "")(number)


class Arange(Formula):
    """start, start + step, … (inputs 0 and 1): `count` numbers, computed in float64."""

    count: int
    dtype: str
    device: str

    def expand(self, *inputs: Value) -> Value:
        start, step = inputs
        return cast(cast(start.builder.iota((self.count,)), "float64") * step + start, self.dtype)


class Linspace(Formula):
    """`count` numbers in equal steps from input 0 to input 1, both included, computed in float64."""

    count: int
    dtype: str
    device: str

    def expand(self, *inputs: Value) -> Value:
        start, stop = inputs
        place = start.builder.iota((self.count,))
        last = max(self.count - 1, 1)
        inner = cast(place, "float64") * ((cast(stop, "float64") - start) / start.builder.number(float(last))) + start
        # The last one is exact, whatever the steps add up to.
        return cast(where(EQ(place, last), cast(stop, "float64"), inner), self.dtype)


class Eye(Formula):
    """The number input 0 on the main diagonal of a matrix, 0 elsewhere."""

    rows: int
    columns: int
    dtype: str
    device: str

    def expand(self, *inputs: Value) -> Value:
        (one,) = inputs
        iota = one.builder.iota
        return cast(where(EQ(iota((self.rows, 1)), iota((self.columns,))), one, 0), self.dtype)


class Diag(Formula):
    """A matrix with a vector on its diagonal `k` and 0 elsewhere, or the diagonal `k` of a matrix (k > 0: above the
    main one)."""

    k: int

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        if x.ndim not in (1, 2):
            raise ValueError(f"diag takes a vector or a matrix, got shape {x.shape}")
        return self._matrix(x) if x.ndim == 1 else self._vector(x)

    def _matrix(self, x: Value) -> Value:
        count, size = x.shape[0], x.shape[0] + abs(self.k)
        flat = zeros(x.builder, Type(x.dtype, (size * size,)))
        if count:
            first = self.k if self.k >= 0 else -self.k * size
            flat = PlaceView(Slice((first,), (count,), (size + 1,)), "set")(flat, x)
        return reshape(flat, (size, size))

    def _vector(self, x: Value) -> Value:
        row, column = max(-self.k, 0), max(self.k, 0)
        count = max(min(x.shape[0] - row, x.shape[1] - column), 0)
        place = x.builder.iota((count,))
        return take_op(2, (0, 1), 1)(x, place + row, place + column)


class Meshgrid(Formula):
    """Each of several vectors along a dim of its own, broadcast over those of all others.

    `swapped` puts the second's dim first.
    """

    swapped: bool

    def expand(self, *inputs: Value) -> Sequence[Value]:
        order = list(range(len(inputs)))
        if self.swapped and len(inputs) > 1:
            order[:2] = 1, 0
        shape = [inputs[i].size for i in order]
        return [
            broadcast(reshape(x, [x.size if i == d else 1 for i in order]), tuple(shape)) for d, x in enumerate(inputs)
        ]
