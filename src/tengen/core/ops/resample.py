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
        made = x
        for axis, extent in enumerate(self.size, 2):
            made = self._along(made, axis, extent)
        return stored(made, x.dtype)

    def _along(self, x: Value, axis: int, new: int) -> Value:
        old, take = x.shape[axis], take_op(x.ndim, (axis,), 1)
        number, place = x.builder.number, x.builder.iota((new,))
        if self.mode == "nearest":
            found: Value = take(x, place * number(old) // number(new))
            return found
        steps = cast(place, "float64")
        centred = (steps + 0.5) * number(old / new) - 0.5
        position = steps * number((old - 1) / max(new - 1, 1)) if self.align_corners else centred
        if self.mode == "bilinear":
            position = MIN(MAX(position, 0.0), number(float(old - 1)))
        dtype, shape = statistics_dtype(x.dtype), (new, *(1,) * (x.ndim - axis - 1))
        read = taps(position, old, self.mode, "replicate")
        return weighted(take, x, (), [[Tap(t.pixel, cast(reshape(t.weight, shape), dtype)) for t in read]])
