"""Running folds along an axis."""

from __future__ import annotations

from collections.abc import Sequence

from ...compiler.program import Prefix, Type, Value
from .base import Formula, Grads, statistics_dtype
from .elemwise import Elemwise, cast
from .shape import Slice, moved, pad, reshape

# monoid → (the op of two elements, its neutral element)
MONOIDS = {"sum": (Elemwise("ADD"), 0), "prod": (Elemwise("MUL"), 1)}

PARTS = 64
LEAST_PART = 1 << 12
FEW_ROWS = 16  # more than these keep the cores busy without parts


class PrefixFold(Prefix):
    """Each element folded with those before it along `axis`, in the dtype in which such numbers are computed."""

    monoid: str
    axis: int

    nondiff = "what is made of it has a gradient of its own"

    @property
    def name(self) -> str:
        return f"cum{self.monoid}"

    @property
    def no_onnx(self) -> str:
        return "has no operator for it" if self.monoid == "prod" else ""

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return types


class Recurrence(Prefix):
    """y[i] = a[i] · y[i - 1] + b[i] along `axis`, which begins as 0. Use `recurrence`, which also runs from the end."""

    axis: int

    monoid = "linear"
    no_onnx = "has no operator for it"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        a, b = types
        if a != b:
            raise ValueError(f"Recurrence takes operands of one type, got {a} and {b}")
        return (a,)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (a, _), (y,), (g,) = inputs, outputs, grads
        if g is None:
            return [None, None]
        by_b = recurrence(moved(a, self.axis, -1, 1.0), g, self.axis, reverse=True)
        return [by_b * moved(y, self.axis, 1), by_b]


def recurrence(a: Value, b: Value, axis: int, reverse: bool = False) -> Value:
    """y[i] = a[i] · y[i - 1] + b[i] along `axis`, or with `reverse` a[i] · y[i + 1] + b[i] from its end."""
    if a.shape[axis] < 2:
        return b
    if reverse:
        return _turned(recurrence(_turned(a, axis), _turned(b, axis), axis), axis)
    y: Value = Recurrence(axis)(a, b)
    return y


class CumSum(Formula):
    """Running sums along `axis`, with `reverse` from its end. Booleans are summed as int32."""

    axis: int
    reverse: bool = False

    name = "cumsum"

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        x = cast(x, "int32") if x.dtype == "bool" else x
        if self.reverse:
            return _turned(running("sum", _turned(x, self.axis), self.axis), self.axis)
        return running("sum", x, self.axis)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        return [grads[0] and CumSum(self.axis, not self.reverse)(grads[0])]


class CumProd(Formula):
    """Running products along `axis`. Booleans are multiplied as int32."""

    axis: int

    name = "cumprod"

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        return running("prod", cast(x, "int32") if x.dtype == "bool" else x, self.axis)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        """The product before an element, times the sum of gradients over the products after it. Nothing is divided, so
        zeros need no special case."""
        (x,), (y,), (g,) = inputs, outputs, grads
        if g is None:
            return [None]
        work = statistics_dtype(x.dtype)
        after = recurrence(moved(cast(x, work), self.axis, -1, 1.0), cast(g, work), self.axis, reverse=True)
        return [after * moved(y, self.axis, 1, 1.0)]


def running(monoid: str, x: Value, axis: int) -> Value:
    """The running fold. A few long rows are cut into parts, so that all cores can work on them; not of floats that are multiplied, as the
    product of a part may be too large or too small while those from the beginning are not."""
    extent = x.shape[axis]
    if extent < 2:
        return x
    in_order = monoid == "prod" and "float" in x.dtype
    if in_order or x.size // extent >= FEW_ROWS or extent < 2 * LEAST_PART:
        return PrefixFold(monoid, axis)(x)
    return cast(_in_parts(monoid, cast(x, statistics_dtype(x.dtype)) if "float" in x.dtype else x, axis), x.dtype)


def _in_parts(monoid: str, x: Value, axis: int) -> Value:
    """The running fold of each part, combined with that of all elements before the part."""
    join, neutral = MONOIDS[monoid]
    extent, most = x.shape[axis], min(PARTS, x.shape[axis] // LEAST_PART)
    parts = next((n for n in range(most, most // 4, -1) if extent % n == 0), most)
    length = -(-extent // parts)
    whole = pad(x, (0,) * x.ndim, [parts * length - extent if d == axis else 0 for d in range(x.ndim)])
    cut = reshape(whole, (*x.shape[:axis], parts, length, *x.shape[axis + 1 :]))
    inside = PrefixFold(monoid, axis + 1)(cut)
    ends = _part(inside, axis + 1, length - 1, 1)
    through = (
        PrefixFold(monoid, axis)(_part(ends, axis, 0, parts - 1)) if parts > 2 else _part(ends, axis, 0, parts - 1)
    )
    before = pad(through, [int(d == axis) for d in range(through.ndim)], (0,) * through.ndim, neutral)
    return _part(reshape(join(inside, before), whole.shape), axis, 0, extent)


def _part(x: Value, axis: int, start: int, extent: int) -> Value:
    starts = [start if d == axis else 0 for d in range(x.ndim)]
    extents = [extent if d == axis else s for d, s in enumerate(x.shape)]
    return Slice(tuple(starts), tuple(extents), (1,) * x.ndim)(x)


def _turned(x: Value, axis: int) -> Value:
    """`x` with the elements along an axis in the other order."""
    starts = [max(s - 1, 0) if d == axis else 0 for d, s in enumerate(x.shape)]
    return Slice(tuple(starts), x.shape, tuple([-1 if d == axis else 1 for d in range(x.ndim)]))(x)
