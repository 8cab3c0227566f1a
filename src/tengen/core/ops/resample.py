"""Images in another size: each axis by itself, every result from 1, 2 or 4 elements along it."""

from __future__ import annotations

from ...compiler.program import Value
from .base import Formula, statistics_dtype
from .elemwise import cast
from .index import take_op
from .sample import MAX, MIN, Tap, stored, taps, weighted
from .shape import reshape


class Interpolate(Formula):
    """The last axes of (N, C, …) resized to `size` with `mode` "nearest", "bilinear" or "bicubic" (Keys 1981).

    Result i is at (i + 0.5) · old / new - 0.5 of the old axis, or with `align_corners` at i · (old - 1) / (new - 1);
    "nearest" is the element i · old // new. Elements beyond the ends are those at the ends.
    """

    size: tuple[int, ...]
    mode: str
    align_corners: bool

    name = "interpolate"

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        # Along the last axis elements are gathered one by one: it comes where the other axes are shortest.
        axes = range(2, x.ndim)
        made = x
        for axis in sorted(axes, key=lambda axis: axis == x.ndim - 1 or 2 * (self.size[axis - 2] > x.shape[axis])):
            made = self._along(made, axis, self.size[axis - 2])
        return stored(made, x.dtype)

    def at_once(self, x: Value) -> Value:
        """The result of "bilinear" before it gets the dtype of x, in one sum over the taps of all axes: nothing lies in memory between."""
        rank, places = len(self.size), range(2, x.ndim)
        read = []
        for d, (axis, extent) in enumerate(zip(places, self.size, strict=True)):
            shape = [extent if other == d else 1 for other in range(rank)]
            found = self._taps(x, axis, extent, statistics_dtype(x.dtype))
            read.append([Tap(reshape(t.pixel, shape), reshape(t.weight, shape)) for t in found])
        return weighted(take_op(x.ndim, tuple(places), rank), x, (), read)

    def _along(self, x: Value, axis: int, new: int) -> Value:
        take = take_op(x.ndim, (axis,), 1)
        if self.mode == "nearest":
            number, place = x.builder.number, x.builder.iota((new,))
            found: Value = take(x, place * number(x.shape[axis]) // number(new))
            return found
        shape = (new, *(1,) * (x.ndim - axis - 1))
        read = self._taps(x, axis, new, statistics_dtype(x.dtype))
        return weighted(take, x, (), [[Tap(t.pixel, reshape(t.weight, shape)) for t in read]])

    def _taps(self, x: Value, axis: int, new: int, dtype: str) -> list[Tap]:
        """The pixels along an axis that each of the `new` ones is made of, and their weights."""
        old, number = x.shape[axis], x.builder.number
        steps = cast(x.builder.iota((new,)), "float64")
        centred = (steps + 0.5) * number(old / new) - 0.5
        position = steps * number((old - 1) / max(new - 1, 1)) if self.align_corners else centred
        if self.mode == "bilinear":
            position = MIN(MAX(position, 0.0), number(float(old - 1)))
        return [Tap(t.pixel, cast(t.weight, dtype)) for t in taps(position, old, self.mode, "replicate")]
