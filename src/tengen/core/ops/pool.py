"""Pooling: a reduction over sliding windows, which are strides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod

from ...compiler.program import Value
from .base import Formula, Grads
from .elemwise import Elemwise, cast, where
from .index import EQ
from .reduce import Reduce, total
from .shape import PlaceView, Reshape, Slice, Windows, broadcast, pad, reshape, transpose, zeros_of

Pair = tuple[int, int]
WINDOW = (4, 5)  # the axes of the places inside a window
NOWHERE = 255  # more than the number of places inside a window


Change = Callable[[Value], Value]


def _same(x: Value) -> Value:
    return x


class Pooling(Formula):
    """Pools (N, C, H, W) with mode "max", "average" (padding counts) or "average_count_exclude_padding"."""

    mode: str
    kernel: Pair
    stride: Pair
    padding: Pair

    @property
    def name(self) -> str:
        return f"{'max' if self.mode == 'max' else 'avg'}_pool2d"

    def _padded(self, x: Value, fill: float) -> Value:
        edge = (0, 0, *self.padding)
        return pad(x, edge, edge, fill)

    def _windows(self, x: Value) -> Windows:
        if x.ndim != 4:
            raise ValueError(f"{self.name} takes a tensor (N, C, H, W), got shape {x.shape}")
        room = [s + 2 * p for s, p in zip(x.shape[2:], self.padding, strict=True)]
        if any(k > r for k, r in zip(self.kernel, room, strict=True)):
            raise ValueError(
                f"{self.name}: a window of {self.kernel} does not fit into {tuple(room)}, the padded size of shape {x.shape}"
            )
        return Windows((2, 3), self.kernel, self.stride, (1, 1))

    def expand(self, *inputs: Value) -> Value:
        return self.pooled(inputs[0])

    def pooled(self, x: Value, read: Change = _same, fill: float = 0.0, end: Change = _same) -> Value:
        """The result for x. For a mean, `read` is applied to what the windows show, with `fill` around the image, and
        `end` to the means."""
        windows = self._windows(x)
        if self.mode == "max":
            y = Reduce("MAX", WINDOW)(windows(self._padded(x, _lowest(x.dtype))))
        else:
            seen = read(windows(self._padded(x, fill)))
            y = total(seen, WINDOW)
            y = reshape(y, (*y.shape[:4], *[1] * (y.ndim - 4)))
            y = end(y / self._count(x, windows, seen.dtype))
        return reshape(y, y.shape[:4])

    def _count(self, x: Value, windows: Windows, dtype: str) -> Value:
        if self.mode == "average" or not any(self.padding):
            return x.builder.number(float(self.kernel[0] * self.kernel[1]))
        ones = broadcast(cast(x.builder.constant(1.0), dtype), (1, 1, *x.shape[2:]))
        return total(windows(self._padded(ones, 0.0)), WINDOW)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x,), (g,) = inputs, grads
        if g is None:
            return [None]
        windows = self._windows(x)
        if not any(s % step for s, step in zip(x.shape[2:], self.stride, strict=True)) and prod(self.kernel) < NOWHERE:
            return [self._gathered(x, g, windows)]
        wide = reshape(g, (*g.shape, 1, 1))
        if self.mode == "max":
            place, chosen = self._places(x, windows)
            value = where(EQ(place, chosen), wide, 0.0)
        else:
            share = wide / self._count(x, windows, x.dtype)
            value = broadcast(share, (*g.shape, *self.kernel))
        if (
            self.stride == self.kernel
            and not any(self.padding)
            and not any(s % k for s, k in zip(x.shape[2:], self.kernel, strict=True))
        ):
            # The windows are all of x, and lie in memory like it.
            return [reshape(transpose(value, (0, 1, 2, 4, 3, 5)), x.shape)]
        apart = all(s >= k for s, k in zip(self.stride, self.kernel, strict=True))
        room = zeros_of(self._padded(x, 0.0))
        spread = PlaceView(windows, "set" if apart else "add")(room, value)
        return [Slice((0, 0, *self.padding), x.shape, (1,) * 4)(spread) if any(self.padding) else spread]

    def _gathered(self, x: Value, g: Value, windows: Windows) -> Value:
        """The gradient pixel by pixel: each adds up the windows that it is in. Scattering would write it once for each
        of them.

        Pixel i = stride · u + t of a dimension, t < stride, is at place t + padding - stride · shift of window u +
        shift. Everything that depends on t is a number to the kernel.
        """
        pixels = [s // step for s, step in zip(x.shape[2:], self.stride, strict=True)]
        if self.mode == "max":
            chosen = reshape(cast(self._places(x, windows)[1], "uint8"), g.shape)
        else:
            count = self._count(x, windows, x.dtype)
            g = g / (reshape(count, count.shape[:4]) if count.ndim else count)
        summed = None
        for down, right in product(*(self._shifts(d) for d in (0, 1))):
            place, inside = self._place(x, (down, right))
            part = _moved(g, (down, right), pixels, 0.0)
            if self.mode == "max":
                places = _moved(chosen, (down, right), pixels, float(NOWHERE))
                part = where(EQ(places, cast(where(inside, place, NOWHERE - 1), "uint8")), part, 0.0)
            else:
                part = where(inside, part, 0.0)
            summed = part if summed is None else summed + part
        assert summed is not None
        n, c = x.shape[:2]
        apart = (n, c, pixels[0], self.stride[0], pixels[1], self.stride[1])
        return PlaceView(Reshape(apart), "set")(zeros_of(x), broadcast(summed, apart))

    def _places(self, x: Value, windows: Windows) -> tuple[Value, Value]:
        """The places inside windows, int32, and the place of each window's maximum, the first of several (nan is larger
        than any number).

        Two folds of numbers of x's width, the first of which is the one of the forward, cost less than one fold of
        pairs of a number and an int64.
        """
        seen = windows(self._padded(x, _lowest(x.dtype)))
        place = cast(broadcast(x.builder.iota(self.kernel), seen.shape), "int32")
        found = EQ(seen, Reduce("MAX", WINDOW)(seen))
        if x.dtype.startswith(("float", "bfloat")):
            found = found | Elemwise("NEQ")(seen, seen)
        return place, Reduce("MIN", WINDOW)(where(found, place, prod(self.kernel)))

    def _shifts(self, dim: int) -> range:
        """The windows that some pixel of a dimension is in, counted from its own."""
        k, s, p = self.kernel[dim], self.stride[dim], self.padding[dim]
        return range(-((k - 1 - p) // s), (s - 1 + p) // s + 1)

    def _place(self, x: Value, shift: Pair) -> tuple[Value, Value]:
        """The place of pixels (1, 1, 1, stride, 1, stride) inside their window at `shift`, and whether they are in it."""
        numbers = []
        for dim in (0, 1):
            step = self.stride[dim]
            t = reshape(x.builder.iota((step,)), (1, 1, 1, step, 1, 1) if dim == 0 else (1, 1, 1, 1, 1, step))
            numbers.append(t + (self.padding[dim] - step * shift[dim]))
        (row, column), (height, width) = numbers, self.kernel
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        return row * width + column, inside


class AdaptivePooling(Formula):
    """Pools (N, C, H, W) with `mode`, see Pooling, using windows that give the result the height and width `shape`."""

    mode: str
    shape: Pair

    @property
    def name(self) -> str:
        return f"adaptive_{'max' if self.mode == 'max' else 'avg'}_pool2d"

    def expand(self, *inputs: Value) -> Value:
        return self.pooled(inputs[0])

    def pooled(self, x: Value, read: Change = _same, fill: float = 0.0, end: Change = _same) -> Value:
        """As `Pooling.pooled`."""
        if x.ndim != 4:
            raise ValueError(f"{self.name} takes a tensor of 4 dimensions, got shape {x.shape}")
        if any(o > s for o, s in zip(self.shape, x.shape[2:], strict=True)):
            raise ValueError(f"{self.name}: the output {self.shape} is larger than the input of shape {x.shape}")
        stride = tuple(s // o for o, s in zip(self.shape, x.shape[2:], strict=True))
        kernel = tuple(s - (o - 1) * t for o, s, t in zip(self.shape, x.shape[2:], stride, strict=True))
        op: Pooling = Pooling(self.mode, kernel, stride, (0, 0))
        return op(x) if read is _same else op.pooled(x, read, fill, end)


def _moved(v: Value, shift: Pair, pixels: Sequence[int], fill: float) -> Value:
    """Element u + shift of (n, c, h, w) at u, for each u below `extents`, and `fill` outside; as (n, c, u, 1, u, 1)."""
    before = [max(0, -d) for d in shift]
    after = [max(0, d + u - s) for d, u, s in zip(shift, pixels, v.shape[2:], strict=True)]
    padded = pad(v, (0, 0, *before), (0, 0, *after), fill)
    starts = (0, 0, *(max(0, d) for d in shift))
    n, c = v.shape[:2]
    seen = Slice(starts, (n, c, *pixels), (1,) * 4)(padded)
    return reshape(seen, (n, c, pixels[0], 1, pixels[1], 1))


def _lowest(dtype: str) -> float:
    """The padding that is never the maximum."""
    return {"int8": -128.0, "uint8": 0.0, "int16": -32768.0, "int32": -2147483648.0}.get(dtype, float("-inf"))
