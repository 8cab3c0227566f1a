"""Images in another size: each axis by itself, every result from 1, 2 or 4 elements along it."""

from __future__ import annotations

from collections.abc import Callable

from ...compiler.program import Value
from .base import FLOATS, Formula, statistics_dtype
from .elemwise import Elemwise, cast
from .index import take_op
from .shape import reshape

MAX, MIN, FLOOR, ROUND = (Elemwise(mode) for mode in ("MAX", "MIN", "FLOOR", "ROUND"))
SHARPNESS = -0.75  # of the cubic kernel: Keys 1981, equation 15


def _cubic(distance: Value, near: bool) -> Value:
    """The cubic convolution kernel at a distance of 0 … 1 (near) or 1 … 2."""
    d, a = distance, SHARPNESS
    if near:
        return ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    return ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a


#: mode → weights of the elements from (first offset) on, given the position past the element below
WEIGHTS: dict[str, tuple[int, Callable[[Value], list[Value]]]] = {
    "bilinear": (0, lambda f: [1.0 - f, f]),
    "bicubic": (-1, lambda f: [_cubic(f + 1.0, False), _cubic(f, True), _cubic(1.0 - f, True), _cubic(2.0 - f, False)]),
}


class Interpolate(Formula):
    """The last axes of (N, C, …) resized to `size` with `mode` "nearest", "bilinear" or "bicubic".

    Result i is at (i + 0.5) · old / new - 0.5 of the old axis, or with `align_corners` at i · (old - 1) / (new - 1);
    "nearest" is the element i · old // new. Elements beyond the ends are those at the ends.
    """

    size: tuple[int, ...]
    mode: str
    align_corners: bool

    name = "interpolate"

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        made = x if self.mode == "nearest" else cast(x, statistics_dtype(x.dtype))
        for axis, extent in enumerate(self.size, 2):
            made = self._along(made, axis, extent)
        return cast(made if x.dtype in FLOATS else ROUND(made), x.dtype)

    def _along(self, x: Value, axis: int, new: int) -> Value:
        old, take = x.shape[axis], take_op(x.ndim, (axis,), 1)
        number, place = x.builder.number, x.builder.iota((new,))
        if self.mode == "nearest":
            return take(x, place * number(old) // number(new))
        steps = cast(place, "float64")
        centred = (steps + 0.5) * number(old / new) - 0.5
        position = steps * number((old - 1) / max(new - 1, 1)) if self.align_corners else centred
        if self.mode == "bilinear":
            position = MIN(MAX(position, 0.0), number(float(old - 1)))
        below = FLOOR(position)
        first, weights = WEIGHTS[self.mode]
        made = None
        for offset, weight in enumerate(weights(position - below), first):
            index = MIN(MAX(cast(below, "int64") + offset, 0), number(old - 1))
            shape = (new, *(1,) * (x.ndim - axis - 1))
            part = take(x, index) * cast(reshape(weight, shape), x.dtype)
            made = part if made is None else made + part
        assert made is not None
        return made
