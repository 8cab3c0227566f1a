"""Ops that only say where elements are (reshape, transpose, broadcast, slice, pad, windows), and ops that put values
side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import isfinite, prod
from typing import Any

from ...base.dtype import has_gradients
from ...compiler.program import Builder, Concat, Elementwise, Op, Place, Type, Value, ViewOp
from ...compiler.view import View, contiguous
from .base import FLOATS, Formula, Grads, check_stretches, integer_range
from .elemwise import cast


def _viewed(op: ViewOp, x: Type) -> Type:
    view = op.view(contiguous(x.shape))
    assert view is not None
    return Type(x.dtype, view.shape)


class Reshape(ViewOp):
    """The elements in row-major order, in another shape of the same size."""

    shape: tuple[int, ...]

    regroups = True

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        if prod(self.shape) != x.size or any(s < 0 for s in self.shape):
            raise ValueError(f"reshape: {x.size} elements of shape {x.shape} cannot have the shape {self.shape}")
        return (Type(x.dtype, self.shape),)

    def view(self, view: View) -> View | None:
        return view.reshape(self.shape)

    def simplify(self, inputs: Sequence[Value]) -> Value | None:
        (x,) = inputs
        if isinstance(x.op, Reshape):
            return reshape(x.operands[0], self.shape)
        return x

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        return [grads[0] and reshape(grads[0], inputs[0].shape)]


class Transpose(ViewOp):
    """Dim i of the result is dim order[i] of the input."""

    order: tuple[int, ...]

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        if sorted(self.order) != list(range(len(x.shape))):
            raise ValueError(
                f"transpose: {self.order} is not an order of the {len(x.shape)} dimensions of shape {x.shape}"
            )
        return (Type(x.dtype, tuple(x.shape[d] for d in self.order)),)

    def view(self, view: View) -> View | None:
        return view.permute(self.order)

    def simplify(self, inputs: Sequence[Value]) -> Value | None:
        (x,) = inputs
        if isinstance(x.op, Transpose):
            inner = x.op.order
            return transpose(x.operands[0], [inner[d] for d in self.order])
        return x if self.order == tuple(range(x.ndim)) else None

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        back = tuple(self.order.index(d) for d in range(len(self.order)))
        return [grads[0] and transpose(grads[0], back)]


class Broadcast(ViewOp):
    """Dims of extent 1, and missing leading ones, stretched to `shape`."""

    stretches = True
    shape: tuple[int, ...]

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        check_stretches("broadcast_to", "a tensor", x.shape, self.shape)
        return (Type(x.dtype, self.shape),)

    def view(self, view: View) -> View | None:
        return view.broadcast(self.shape)

    def simplify(self, inputs: Sequence[Value]) -> Value | None:
        return inputs[0]  # the pass takes it only if the types are equal

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        return [grads[0]]


class Slice(ViewOp):
    """`extents[d]` elements of each dim from `starts[d]` on, `steps[d]` apart; steps may be negative."""

    starts: tuple[int, ...]
    extents: tuple[int, ...]
    steps: tuple[int, ...]

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        for size, start, extent, step in zip(x.shape, self.starts, self.extents, self.steps, strict=True):
            last = start + (extent - 1) * step
            if extent < 0 or (extent and not (0 <= start < size and 0 <= last < size)):
                raise ValueError(
                    f"a slice of {extent} elements from {start} on, {step} apart, is not inside an axis of {size}"
                )
        return (Type(x.dtype, self.extents),)

    def view(self, view: View) -> View | None:
        return view.slice(self.starts, self.extents, self.steps)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x,), (g,) = inputs, grads
        if g is None or not has_gradients(x.dtype):
            return [None]
        if all(abs(s) == 1 for s in self.steps):
            turned = [s < 0 and e > 0 for s, e in zip(self.steps, self.extents, strict=True)]
            if any(turned):
                starts = tuple(e - 1 if t else 0 for t, e in zip(turned, self.extents, strict=True))
                g = Slice(starts, self.extents, tuple(-1 if t else 1 for t in turned))(g)
            before = [b - e + 1 if t else b for t, b, e in zip(turned, self.starts, self.extents, strict=True)]
            after = [n - b - e for n, b, e in zip(x.shape, before, self.extents, strict=True)]
            return [pad(g, before, after)]
        return [PlaceView(self, "set")(zeros_of(x), g)]


class Pad(ViewOp):
    """`fill` around the elements: before[d] and after[d] of it along each dim."""

    fills = True
    before: tuple[int, ...]
    after: tuple[int, ...]
    fill: float

    def infer(self, *types: Type) -> tuple[Type, ...]:
        if min((*self.before, *self.after), default=0) < 0:
            raise ValueError(f"pad: {self.before} before and {self.after} after a tensor must not be negative")
        if types[0].dtype not in FLOATS and not isfinite(self.fill):
            raise ValueError(f"pad: a tensor of {types[0].dtype} cannot be padded with {self.fill}")
        return (_viewed(self, types[0]),)

    def view(self, view: View) -> View | None:
        return view.pad(self.before, self.after, self.fill)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        return [grads[0] and Slice(self.before, inputs[0].shape, (1,) * inputs[0].ndim)(grads[0])]


class Windows(ViewOp):
    """Sliding windows along `axes` of a (padded) input. The axes become window positions; the places inside a window
    come last."""

    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]

    def counts(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """How many windows fit along each axis."""
        zipped = zip(self.axes, self.sizes, self.strides, self.dilations, strict=True)
        return tuple((shape[a] - d * (k - 1) - 1) // s + 1 for a, k, s, d in zipped)

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        least = min((*self.sizes, *self.strides, *self.dilations), default=1)
        if least < 1 or any(c <= 0 for c in self.counts(x.shape)):
            raise ValueError(f"windows of {self.sizes} with dilation {self.dilations} do not fit into shape {x.shape}")
        return (_viewed(self, x),)

    def view(self, view: View) -> View | None:
        return view.windows(self.axes, self.counts(view.shape), self.sizes, self.strides, self.dilations)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x,), (g,) = inputs, grads
        apart = all(s >= d * (k - 1) + 1 for k, s, d in zip(self.sizes, self.strides, self.dilations, strict=True))
        return [g and PlaceView(self, "set" if apart else "add")(zeros_of(x), g)]


class Concatenate(Concat):
    """Values side by side along `axis`."""

    axis: int

    name = "concat"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        first = types[0]
        if not 0 <= self.axis < len(first.shape):
            raise ValueError(f"concat: shape {first.shape} has no axis {self.axis}")
        if len({t.dtype for t in types}) > 1:
            raise TypeError(f"concat takes values of one dtype, got {', '.join(t.dtype for t in types)}")
        for t in types[1:]:
            same = len(t.shape) == len(first.shape) and all(
                a == b for d, (a, b) in enumerate(zip(t.shape, first.shape, strict=True)) if d != self.axis
            )
            if not same:
                raise ValueError(
                    f"concat along axis {self.axis}: shapes {first.shape} and {t.shape} differ elsewhere too"
                )
        extent = sum(t.shape[self.axis] for t in types)
        shape = (*first.shape[: self.axis], extent, *first.shape[self.axis + 1 :])
        return (Type(first.dtype, shape),)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (g,), start, parts = grads, 0, []
        for x in inputs:
            starts = tuple(start if d == self.axis else 0 for d in range(x.ndim))
            parts.append(g and Slice(starts, x.shape, (1,) * x.ndim)(g))
            start += x.shape[self.axis]
        return parts


class PlaceView(Place):
    """Input 0 with input 1 written or added ("set", "add") where the view op `where` of input 0 looks."""

    where: ViewOp
    mode: str

    def infer(self, *types: Type) -> tuple[Type, ...]:
        base, value = types
        (seen,) = self.where.infer(base)
        if value.shape != seen.shape:
            raise ValueError(f"index assignment: a value of shape {value.shape} does not fit shape {seen.shape}")
        return (base,)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (_, value), (g,) = inputs, grads
        if g is None:
            return [None, None]
        seen = self.where(g)
        outside = g if self.mode == "add" else PlaceView(self.where, "set")(g, 0.0 * value)
        return [outside, seen]


class Unpack(Formula):
    """Parts with these shapes, which follow one another among the elements of the input."""

    shapes: tuple[tuple[int, ...], ...]

    def expand(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        flat = reshape(x, (x.size,))
        ends = accumulate([prod(s) for s in self.shapes], initial=0)
        return [
            reshape(Slice((start,), (end - start,), (1,))(flat), shape)
            for (start, end), shape in zip(pairwise(ends), self.shapes, strict=True)
        ]

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        parts = [zeros_of(y) if g is None else g for y, g in zip(outputs, grads, strict=True)]
        return [reshape(Concatenate(0)(*(reshape(g, (g.size,)) for g in parts)), inputs[0].shape)]


class Reduced(Formula):
    """The reduction `op` over `axes`, which keep extent 1. They are dropped unless `keepdims`."""

    op: Op
    axes: tuple[int, ...]
    keepdims: bool

    @property
    def name(self) -> str:
        return self.op.name

    @property
    def precision(self) -> str:
        return self.op.precision

    def expand(self, *inputs: Value) -> Value:
        y: Value = self.op(*inputs)
        return y if self.keepdims else reshape(y, tuple(s for d, s in enumerate(y.shape) if d not in self.axes))


class Subtensor(Formula):
    """Basic indexing: a slice of each dim; then dims of extent 1 are dropped or added to get `shape`."""

    part: Slice
    shape: tuple[int, ...]

    name = "indexing"

    def expand(self, *inputs: Value) -> Value:
        return reshape(self.part(inputs[0]), self.shape)


class SetSubtensor(Formula):
    """Input 0 with input 1, broadcast to `shape`, written where a Subtensor with the same parameters reads."""

    part: Slice
    shape: tuple[int, ...]

    name = "index assignment"

    def expand(self, *inputs: Value) -> Value:
        x, value = inputs
        check_stretches(self.name, "a value", value.shape, self.shape)
        return PlaceView(self.part, "set")(x, reshape(broadcast(cast(value, x.dtype), self.shape), self.part.extents))


class Copy(Elementwise):
    """A copy, on `device` if one is named."""

    device: str | None = None

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return (types[0],)

    def emit(self, e: Any, args: Sequence[int], types: Sequence[Type], out: Type) -> int:
        return args[0]

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        return [grads[0]]


class Detach(Formula):
    """The value of the input, through which gradients do not flow."""

    nondiff = "it is there to stop gradients"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        return (x,)

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        return x

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        return [None]

    @classmethod
    def differentiable(cls) -> bool:
        return False


class Fill(Elementwise):
    """A new tensor filled with the number input 0."""

    shape: tuple[int, ...]
    dtype: str
    device: str

    nondiff = "it makes a tensor of a number"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        check_stretches("full", "a number", types[0].shape, self.shape)
        return (Type(self.dtype, self.shape),)

    def emit(self, e: Any, args: Sequence[int], types: Sequence[Type], out: Type) -> int:
        return int(e.narrow(e.cast(args[0], self.dtype), self.dtype))

    def number_range(self, position: int, out: Type) -> tuple[int, int] | None:
        return integer_range(out.dtype)


def reshape(x: Value, shape: Sequence[int]) -> Value:
    """`x` under another shape of the same size."""
    return x if x.shape == tuple(shape) else Reshape(tuple(shape))(x)


def transpose(x: Value, order: Sequence[int]) -> Value:
    """`x` with its dims in another order."""
    return x if tuple(order) == tuple(range(x.ndim)) else Transpose(tuple(order))(x)


def broadcast(x: Value, shape: Sequence[int]) -> Value:
    """`x` stretched to `shape`."""
    return x if x.shape == tuple(shape) else Broadcast(tuple(shape))(x)


def pad(x: Value, before: Sequence[int], after: Sequence[int], fill: float = 0.0) -> Value:
    """`x` with `fill` around it."""
    return Pad(tuple(before), tuple(after), float(fill))(x) if any(before) or any(after) else x


def moved(x: Value, axis: int, places: int, fill: float = 0.0) -> Value:
    """`x` moved by some places (1 or -1) towards the end of `axis`, with `fill` where nothing comes."""
    if x.shape[axis] == 0:
        return x
    before, after = ([max(n, 0) if d == axis else 0 for d in range(x.ndim)] for n in (places, -places))
    start = [max(-places, 0) if d == axis else 0 for d in range(x.ndim)]
    return Slice(tuple(start), x.shape, (1,) * x.ndim)(pad(x, before, after, fill))


def zeros_of(x: Value) -> Value:
    """Zeros of the type of `x`."""
    return zeros(x.builder, x.type)


def zeros(builder: Builder, type: Type) -> Value:
    """Zeros of a type."""
    return broadcast(cast(builder.constant(0.0), type.dtype), type.shape)
