"""Library functions that are formulae over other ops. Each compiles to one or two kernels, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from math import prod

from ...compiler.program import Op, Value
from .base import Formula, Grads, as_float, broadcast_shapes, promoted, statistics_dtype
from .elemwise import COS, EQ, EXP_NONPOSITIVE, LOG, POW, ROWS, SIGMOID, SIGN, SIN, SQRT, Elemwise, cast, where
from .reduce import Reduce, mean, total

MAX, MIN, ABS, NORMCDF = Elemwise("MAX"), Elemwise("MIN"), Elemwise("ABS"), Elemwise("NORMCDF")
NOT_EQUAL, BOTH = Elemwise("NEQ"), Elemwise("LOGICAL_AND")
RELU, SOFTPLUS, ROUND, FLOOR = (Elemwise(mode) for mode in ("RELU", "SOFTPLUS", "ROUND", "FLOOR"))


class Activation(Formula):
    """The element-wise function `mode`, a row of ACTIVATIONS. Further inputs are its parameters."""

    mode: str

    @property
    def name(self) -> str:
        return self.mode

    @property
    def precision(self) -> str:
        return "high" if self.mode in ("hsigmoid", "logsigmoid", "logaddexp") else ""

    def expand(self, *inputs: Value) -> Value:
        formula = ACTIVATIONS[self.mode]
        if len(inputs) != (arity := formula.__code__.co_argcount):
            raise TypeError(f"{self.mode} takes {arity} operand{'s' * (arity > 1)}, got {len(inputs)}")
        if arity > 1:
            broadcast_shapes(
                self.mode, *(v.shape for v in inputs)
            )  # so that the error names the function that was called
        return formula(*inputs)

    @property
    def has_rule(self) -> bool:
        return self.mode in GRADIENTS

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (y,), (g,) = outputs, grads
        if g is None:
            return [None] * len(inputs)
        made = GRADIENTS[self.mode](g, y, *inputs)
        return [made] if isinstance(made, Value) else made


def _clip(x: Value, lower: Value | float, upper: Value | float) -> Value:
    return MIN(MAX(x, lower), upper)  # in NumPy's order: if the bounds are the wrong way round, upper wins


def _floating(x: Value) -> Value:
    """Floats as they are; integers as float32, because negating unsigned ones would wrap."""
    return cast(x, as_float(x.dtype)) if not x.dtype.startswith("weak_") else x


def _logaddexp(a: Value, b: Value) -> Value:
    a, b = _floating(a), _floating(b)
    high = MAX(a, b)
    # Equal infinities would give inf - inf.
    gap = where(EQ(a, b), 0.0, ABS(a - b))
    return high + SOFTPLUS(-gap)


ACTIVATIONS: dict[str, Callable[..., Value]] = {
    "gelu": lambda x: x * NORMCDF(x),
    "silu": lambda x: x * SIGMOID(x),
    "relu6": lambda x: _clip(x, 0, 6),
    "hsigmoid": lambda x: _clip(x + 3.0, 0.0, 6.0) / 6.0,
    "hswish": lambda x: x * _clip(x + 3.0, 0.0, 6.0) / 6.0,
    "leaky_relu": lambda x, slope: where(x > 0, x, x * slope),
    "prelu": lambda x, slope: where(x > 0, x, x * slope),
    "logsigmoid": lambda x: -SOFTPLUS(-_floating(x)),
    "clip": _clip,
    "logaddexp": _logaddexp,
    "sinc": lambda x: _sinc(x),
    # modes of the reference's Elemwise that have no function of their own: chosen, fused, approximate
    "fast_tanh": lambda x: x * (x * x + 27.0) / (x * x * 9.0 + 27.0),
    "switch_gt0": lambda x, y: _chosen(x > 0, y, x),
    "cond_leq_mov": lambda x, y, z: _chosen(x <= y, z, x, y),
    "cond_lt_mov": lambda x, y, z: _chosen(x < y, z, x, y),
    "fuse_add_relu": lambda x, y: RELU(x + y),
    "fuse_add_sigmoid": lambda x, y: SIGMOID(x + y),
    "fuse_add_tanh": lambda x, y: Elemwise("TANH")(x + y),
    "fuse_add_h_swish": lambda x, y: ACTIVATIONS["hswish"](x + y),
    "fuse_mul_add3": lambda x, y, z: x * y + z,
    "fuse_mul_add4": lambda x, y, z, w: x * y + z * w,
    "rmulh": lambda x, y: _rounded_high_product(x, y),
    # and gradients as functions of the operand (for sigmoid and tanh of the result) and the gradient of the result
    "abs_grad": lambda x, g: where(x > 0, *(_common(v, x) for v in (g, -g))),
    "acosh_grad": lambda x, g: _slope("ACOSH", x, g),
    "asinh_grad": lambda x, g: _slope("ASINH", x, g),
    "atanh_grad": lambda x, g: _slope("ATANH", x, g),
    "sigmoid_grad": lambda y, g: _slope("SIGMOID", y, g),
    "tanh_grad": lambda y, g: _slope("TANH", y, g),
    "softplus_grad": lambda x, g: _slope("SOFTPLUS", x, g),
    "fast_tanh_grad": lambda x, g: g * ((27.0 + x * x * 3.0) / (x * x * 9.0 + 27.0) - _fast_tanh_share(x)),
    "gelu_grad": lambda x, g: _gradient("gelu", g, x),
    "silu_grad": lambda x, g: _gradient("silu", g, x),
    "relu6_grad": lambda x, g: _gradient("relu6", g, x),
    "hsigmoid_grad": lambda x, g: _gradient("hsigmoid", g, x),
    "h_swish_grad": lambda x, g: g * (_clip(x + 3.0, 0.0, 6.0) / 6.0 + where(BOTH(x >= -3.0, x <= 3.0), x / 6.0, 0.0)),
    "prelu_grad": lambda x, g, slope: where(x >= 0, _common(g, x, slope), g * slope),
}
#: Modes of the reference whose names differ from those of their rows.
_OTHER_NAMES = {"h_swish": "hswish", "log_sum_exp": "logaddexp"}


def elementwise(mode: str) -> Op:
    """The op of an element-wise mode, in upper or lower case: a row of elemwise.ROWS or of ACTIVATIONS.

    Raises ValueError for another name.
    """
    upper, lower = mode.upper(), mode.lower()
    if upper in ROWS:
        return Elemwise(upper)
    name = _OTHER_NAMES.get(lower, lower)
    if name not in ACTIVATIONS:
        raise ValueError(f"{mode!r} is not an element-wise method; those are {', '.join(modes())}")
    return Activation(name)


def modes() -> list[str]:
    """The names that `elementwise` knows, in lower case."""
    return sorted({*(mode.lower() for mode in ROWS), *ACTIVATIONS, *_OTHER_NAMES})


def _sinc(x: Value) -> Value:
    """sin(u) / u with u = πx, and 1 at 0. The sine is that of the distance from the nearest integer, so the result is 0
    at all other integers."""
    zero, nearest = EQ(x, 0.0), ROUND(x)
    sine = SIN((x - nearest) * math.pi)
    odd = EQ(nearest - FLOOR(nearest * 0.5) * 2.0, 1.0)
    return where(zero, 1.0, where(odd, -sine, sine) / where(zero, 1.0, x * math.pi))


def _sinc_slope(x: Value) -> Value:
    """(cos(u) - sin(u) / u) / x. For |u| < 1, where digits would cancel, its series Σ (-1)^k 2k/(2k+1)! u^(2k-1), times
    π."""
    u = x * math.pi
    near = ABS(u) < 1.0
    series: Value | float = 0.0
    for k in range(8, 0, -1):
        series = series * (u * u) + (-1) ** k * 2 * k / math.factorial(2 * k + 1) * math.pi
    safe = where(near, 1.0, x)
    return where(near, series * u, (COS(safe * math.pi) - _sinc(safe)) / safe)


def _slope(mode: str, x: Value, g: Value) -> Value:
    """The gradient that the row of a mode gives for an operand, or for a result, of `x`."""
    rule = ROWS[mode].grad
    assert rule is not None
    (found,) = rule(g, x, x)
    assert found is not None
    return found


def _gradient(mode: str, g: Value, x: Value) -> Value:
    """The gradient that GRADIENTS gives for the operand `x`."""
    found = GRADIENTS[mode](_common(g, x), x, x)
    assert isinstance(found, Value)
    return found


def _chosen(where_set: Value, value: Value, *others: Value) -> Value:
    """`value` where the condition is true, else 0, in the common dtype of all operands."""
    return where(where_set, _common(value, *others), 0)


def _common(value: Value, *others: Value) -> Value:
    """`value` in the common dtype of all operands."""
    return cast(value, promoted("elementwise", [v.type for v in (value, *others)]))


def _fast_tanh_share(x: Value) -> Value:
    """The part of fast_tanh's derivative that comes from its divisor."""
    divisor = x * x * 9.0 + 27.0
    return x * x * 18.0 * (x * x + 27.0) / (divisor * divisor)


def _rounded_high_product(x: Value, y: Value) -> Value:
    """The upper half of the product of fixed-point numbers (apart from their sign), rounded half up and saturated."""
    dtype = promoted("rmulh", [x.type, y.type])
    if dtype not in _FRACTION_BITS:
        raise TypeError(f"rmulh is for {', '.join(_FRACTION_BITS)}, got {x.dtype} and {y.dtype}")
    bits = _FRACTION_BITS[dtype]
    product = cast(x, "int64") * cast(y, "int64") + (1 << bits - 1)
    return cast(MIN(Elemwise("SHR")(product, bits), (1 << bits) - 1), dtype)


_FRACTION_BITS = {"int8": 7, "uint8": 8, "int16": 15, "uint16": 16, "int32": 31}

#: Gradients from (g, y, x) of modes whose formula would give another one, or would mix g with costly functions. If
#: these are apart from g, a traced step computes them together with the activation and keeps one number for the
#: backward.
GRADIENTS: dict[str, Callable[..., Value | Sequence[Value]]] = {
    "gelu": lambda g, y, x: g * (NORMCDF(x) + x * (EXP_NONPOSITIVE(x * x * -0.5) * (1.0 / math.sqrt(2.0 * math.pi)))),
    "silu": lambda g, y, x: g * (SIGMOID(x) * (1.0 + x * (1.0 - SIGMOID(x)))),
    # 0 at the corners, where clip has 1
    "relu6": lambda g, y, x: where(BOTH(y > 0, y < 6), g, 0.0),
    # smooth where its operands are equal, although it is made of max and abs
    "logaddexp": lambda g, y, a, b: (
        g * SIGMOID(_floating(a) - _floating(b)),
        g * SIGMOID(_floating(b) - _floating(a)),
    ),
    "sinc": lambda g, y, x: g * _sinc_slope(x),
    "hsigmoid": lambda g, y, x: where(BOTH(x > -3.0, x < 3.0), g / 6.0, 0.0),
    # at 0, where they are slope * 0, the gradient is that from above
    "leaky_relu": lambda g, y, x, slope: (where(x >= 0, g, g * slope), where(x >= 0, 0.0, g * x)),
    "prelu": lambda g, y, x, slope: (where(x >= 0, g, g * slope), where(x >= 0, 0.0, g * x)),
}


class Mean(Formula):
    """The mean over `axes`, which stay with extent 1."""

    axes: tuple[int, ...]

    def expand(self, *inputs: Value) -> Value:
        return mean(inputs[0], self.axes)


class Variance(Formula):
    """The mean squared distance from the mean over `axes` (divided by the count, not by count - 1), or with `root` the
    square root of that."""

    axes: tuple[int, ...]
    root: bool

    @property
    def name(self) -> str:
        return "std" if self.root else "var"

    def expand(self, *inputs: Value) -> Value:
        x = inputs[0]
        centred = cast(x, statistics_dtype(x.dtype)) - mean(x, self.axes)
        variance = mean(centred * centred, self.axes)
        return SQRT(variance) if self.root else variance

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        """For equal elements the result is 0. The square root has no gradient there; the smallest one is taken."""
        (x,), (y,), (g,) = inputs, outputs, grads
        if g is None:
            return [None]
        centred = cast(x, y.dtype) - mean(x, self.axes)
        slope = _masked_quotient(g, y) if self.root else g * 2.0
        return [centred * (slope / x.builder.number(float(prod(x.shape[d] for d in self.axes))))]


def _masked_quotient(g: Value, y: Value) -> Value:
    """g / y, and 0 where y is 0, so that its own gradient is finite too."""
    zero = EQ(y, 0.0)
    return where(zero, 0.0, g) / where(zero, 1.0, y)


class Norm(Formula):
    """The p-norm of order `order` over `axes`, which stay with extent 1: (Σ|x|^p)^(1/p).

    For ±inf it is the largest or smallest |x|, for 0 the number of elements that are not 0.
    """

    order: float
    axes: tuple[int, ...]

    @property
    def precision(self) -> str:
        return "" if self.order == 0 or math.isinf(self.order) else "high"

    def expand(self, *inputs: Value) -> Value:
        return norm(inputs[0], self.order, self.axes)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        """The smallest gradient if there are several: 0 for a zero vector, and for a zero if the order is below 1."""
        (x,), (y,), (g,) = inputs, outputs, grads
        if g is None or self.order == 0:
            return [None]
        if math.isinf(self.order):
            return [where(EQ(ABS(x), y), g, 0.0) * SIGN(x)]
        if self.order == 1:
            return [g * SIGN(x)]
        if self.order == 2:
            return [x * _masked_quotient(g, y)]
        zero = EQ(x, 0.0)
        nothing = EQ(y, 0.0)
        ratio = where(zero, 1.0, ABS(x)) / where(nothing, 1.0, y)
        power = where(zero, 0.0, POW(ratio, self.order - 1.0))
        return [power * SIGN(x) * where(nothing, 0.0, g)]


class UnitNorm(Formula):
    """x / max(norm of order `order` over `axes`, eps). Inputs x, eps."""

    order: float
    axes: tuple[int, ...]

    name = "normalize"
    precision = "high"

    def expand(self, *inputs: Value) -> Value:
        x, eps = inputs
        return x / MAX(Norm(self.order, self.axes)(x), eps)


def norm(x: Value, order: float, axes: tuple[int, ...]) -> Value:
    """The p-norm over `axes`; see Norm."""
    x = cast(x, as_float(x.dtype))
    if order == 2:
        return SQRT(total(x * x, axes))
    if order == 1:
        return total(ABS(x), axes)
    if order == 0:
        return total(where(NOT_EQUAL(x, 0.0), 1, 0), axes)
    if math.isinf(order):
        return Reduce("MAX" if order > 0 else "MIN", axes)(ABS(x))
    return POW(total(POW(ABS(x), order), axes), 1.0 / order)


class Softmax(Formula):
    """exp(x) / sum(exp(x)) over `axes`, computed from x - max(x)."""

    axes: tuple[int, ...]

    def expand(self, *inputs: Value) -> Value:
        x = inputs[0]
        powers = EXP_NONPOSITIVE(x - Reduce("MAX_NUMBER", self.axes)(x))
        return powers * (1.0 / total(powers, self.axes))  # the sum is at least 1

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (y,), (g,) = outputs, grads
        return [g and (g - total(g * y, self.axes)) * y]


class LogSumExp(Formula):
    """log(sum(exp(x))) over `axes`, which stay with extent 1; exact where everything is -inf or one value is inf."""

    axes: tuple[int, ...]

    precision = "high"

    def expand(self, *inputs: Value) -> Value:
        return logsumexp(inputs[0], self.axes)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x,), (y,), (g,) = inputs, outputs, grads
        return [g and g * EXP_NONPOSITIVE(x - y)]


def logsumexp(x: Value, axes: tuple[int, ...]) -> Value:
    """log(sum(exp(x))) over `axes`, which stay with extent 1."""
    high = Reduce("MAX_NUMBER", axes)(x)
    shift = where(ABS(high) < math.inf, high, 0.0)
    # If the largest is inf, nothing is shifted; the sum need only be finite then.
    return LOG(total(EXP_NONPOSITIVE(MIN(x - shift, 0.0)), axes)) + high


def largest_and_spread(x: Value, axes: tuple[int, ...]) -> tuple[Value, Value]:
    """max(x) over `axes`, and log(sum(exp(x - max(x)))). They are subtracted from x one after the other, because their
    sum loses the digits of the second if the first is large. One element of inf makes everything NaN."""
    high = Reduce("MAX_NUMBER", axes)(x)
    return high, LOG(total(EXP_NONPOSITIVE(x - high), axes))


class LogSoftmax(Formula):
    """x - log(sum(exp(x))) over `axes`."""

    axes: tuple[int, ...]

    precision = "high"

    def expand(self, *inputs: Value) -> Value:
        high, spread = largest_and_spread(inputs[0], self.axes)
        return inputs[0] - high - spread

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (y,), (g,) = outputs, grads
        return [g and g - EXP_NONPOSITIVE(y) * total(g, self.axes)]


class ScaledSum(Formula):
    """alpha · x + beta · y in the dtype of x. Inputs x, y, alpha, beta."""

    name = "inplace_add"

    def expand(self, *inputs: Value) -> Value:
        x, y, alpha, beta = inputs
        return cast(alpha * x + beta * y, x.dtype)
