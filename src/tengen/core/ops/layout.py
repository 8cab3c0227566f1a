"""Formulas over views: stacking, splitting, repeating, rolling, and layouts of pixels and windows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...compiler.program import Value
from .base import Formula, Grads, normal_axis, promoted
from .elemwise import cast
from .shape import Concatenate, PlaceView, Slice, Windows, broadcast, pad, reshape, transpose, zeros_of

Pair = tuple[int, int]


def _part(x: Value, axis: int, start: int, extent: int) -> Value:
    """`extent` elements along `axis` from `start` on."""
    starts = tuple(start if d == axis else 0 for d in range(x.ndim))
    return Slice(starts, (*x.shape[:axis], extent, *x.shape[axis + 1 :]), (1,) * x.ndim)(x)


def _joined(parts: Sequence[Value], axis: int) -> Value:
    dtype = promoted("concat", [p.type for p in parts])
    return Concatenate(axis)(*(cast(p, dtype) for p in parts))


class Join(Formula):
    """Values side by side along `axis`; numbers count as vectors of one element."""

    axis: int

    name = "concat"

    def expand(self, *inputs: Value) -> Value:
        parts = [reshape(x, (1,)) if x.ndim == 0 else x for x in inputs]
        return _joined(parts, normal_axis(self.name, self.axis, parts[0].ndim))


class Stack(Formula):
    """Values of one shape side by side along a new axis."""

    axis: int

    def expand(self, *inputs: Value) -> Value:
        shape = inputs[0].shape
        for number, x in enumerate(inputs):
            if x.shape != shape:
                raise ValueError(
                    f"stack: tensor {number} has the shape {x.shape}, the first one {shape}; they must be equal"
                )
        axis = normal_axis("stack", self.axis, len(shape) + 1)
        return _joined([reshape(x, (*shape[:axis], 1, *shape[axis:])) for x in inputs], axis)


class Split(Formula):
    """The parts along `axis` between `bounds`, which start with 0 and end with the extent."""

    axis: int
    bounds: tuple[int, ...]

    def expand(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        pairs = zip(self.bounds, self.bounds[1:], strict=False)
        return [_part(x, self.axis, start, stop - start) for start, stop in pairs]

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        """The parts joined again: each element is written once, while the parts' own rules would add up as many tensors
        of zeros."""
        parts = [zeros_of(y) if g is None else g for y, g in zip(outputs, grads, strict=True)]
        return [Concatenate(self.axis)(*parts)]


class Repeat(Formula):
    """Every element along `axis` `count` times in a row."""

    count: int
    axis: int

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        before, extent, after = x.shape[: self.axis], x.shape[self.axis], x.shape[self.axis + 1 :]
        wide = broadcast(reshape(x, (*before, extent, 1, *after)), (*before, extent, self.count, *after))
        return reshape(wide, (*before, extent * self.count, *after))


class Tile(Formula):
    """The whole tensor `counts[d]` times along each dim; missing leading dims are added."""

    counts: tuple[int, ...]

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        shape = (*(1,) * (len(self.counts) - x.ndim), *x.shape)
        split = [e for s in shape for e in (1, s)]
        wide = [e for c, s in zip(self.counts, shape, strict=True) for e in (c, s)]
        return reshape(
            broadcast(reshape(x, split), tuple(wide)), [c * s for c, s in zip(self.counts, shape, strict=True)]
        )


class Roll(Formula):
    """Moves the elements `shifts[i]` places along `axes[i]`; those that leave at the end come in at the start."""

    shifts: tuple[int, ...]
    axes: tuple[int, ...]

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        for shift, axis in zip(self.shifts, self.axes, strict=True):
            extent = x.shape[axis]
            moved = shift % extent if extent else 0
            if moved:
                tail, head = _part(x, axis, extent - moved, moved), _part(x, axis, 0, extent - moved)
                x = _joined([tail, head], axis)
        return x


class RollFlat(Formula):
    """Roll of the elements in row-major order."""

    shift: int

    name = "roll"

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        return reshape(Roll((self.shift,), (0,)).expand(reshape(x, (x.size,))), x.shape)


class PadBy(Formula):
    """Padding that repeats elements: `mode` "edge" the outermost one, "reflect" the ones next to it, mirrored."""

    mode: str
    before: tuple[int, ...]
    after: tuple[int, ...]

    name = "pad"

    def expand(self, *inputs: Value) -> Value:
        return self._around(inputs[0], 0)

    def _around(self, x: Value, axis: int) -> Value:
        """`x` padded along `axis` and those after it; each part on its own, so that all are made of the input."""
        while axis < x.ndim and not self.before[axis] + self.after[axis]:
            axis += 1
        if axis == x.ndim:
            return x
        before, after, last = self.before[axis], self.after[axis], x.shape[axis] - 1
        sides = self._repeated(x, axis, 0, 1, before), self._repeated(x, axis, last, last - after, after)
        parts = [self._around(part, axis + 1) for part in (sides[0], x, sides[1]) if part.shape[axis]]
        return _joined(parts, axis) if len(parts) > 1 else parts[0]

    def _repeated(self, x: Value, axis: int, edge: int, start: int, count: int) -> Value:
        """`count` elements to stand before or after: the one at `edge` over and over, or those from `start` on in the other order."""
        if self.mode == "edge":
            return broadcast(_part(x, axis, edge, 1), (*x.shape[:axis], count, *x.shape[axis + 1 :]))
        starts = tuple(start + count - 1 if d == axis and count else 0 for d in range(x.ndim))
        steps = tuple(-1 if d == axis else 1 for d in range(x.ndim))
        return Slice(starts, (*x.shape[:axis], count, *x.shape[axis + 1 :]), steps)(x)


class PixelShuffle(Formula):
    """(…, C·r², H, W) → (…, C, H·r, W·r): channels become the pixels of r × r blocks. Shi et al. 2016, section 3.2."""

    factor: int

    name = "pixel_shuffle"

    def expand(self, *inputs: Value) -> Value:
        (x,), r = inputs, self.factor
        if x.ndim < 3 or x.shape[-3] % (r * r):
            raise ValueError(
                f"pixel_shuffle by {r} takes (…, C, H, W) with C a multiple of {r * r}, got shape {x.shape}"
            )
        *lead, channels, height, width = x.shape
        rows = prod(lead)
        blocks = reshape(x, (rows, channels // (r * r), r, r, height, width))
        return reshape(transpose(blocks, (0, 1, 4, 2, 5, 3)), (*lead, channels // (r * r), height * r, width * r))


class SlidingWindow(Formula):
    """(N, C, H, W) → (N, C, OH, OW, kh, kw): what each window sees."""

    kernel: Pair
    padding: Pair
    stride: Pair
    dilation: Pair

    name = "sliding_window"

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        if x.ndim != 4:
            raise ValueError(f"sliding_window takes a tensor (N, C, H, W), got shape {x.shape}")
        edge = (0, 0, *self.padding)
        return Windows((2, 3), self.kernel, self.stride, self.dilation)(pad(x, edge, edge))


class SlidingWindowTranspose(Formula):
    """(N, C, OH, OW, kh, kw) → (N, C, H, W): adds up the elements of windows where they stand; the transpose of
    SlidingWindow."""

    size: Pair
    kernel: Pair
    padding: Pair
    stride: Pair
    dilation: Pair

    name = "sliding_window_transpose"

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        windows = Windows((2, 3), self.kernel, self.stride, self.dilation)
        room = tuple(s + 2 * p for s, p in zip(self.size, self.padding, strict=True))
        if x.ndim != 6 or x.shape[4:] != self.kernel or x.shape[2:4] != windows.counts((0, 0, *room)):
            raise ValueError(
                f"{self.name}: a tensor of shape {x.shape} does not fit an output of {self.size}; it must be "
                f"(N, C, {', '.join(map(str, (*windows.counts((0, 0, *room)), *self.kernel)))})"
            )
        zeros = broadcast(cast(x.builder.constant(0), x.dtype), (*x.shape[:2], *room))
        summed = PlaceView(windows, "add")(zeros, x)
        return Slice((0, 0, *self.padding), (*x.shape[:2], *self.size), (1,) * 4)(summed)
