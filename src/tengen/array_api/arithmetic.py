"""Element-wise functions."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functional as F
from ..base.dtype import is_float
from ..core import Tensor
from ..core.convert import place_of
from .creation import asarray
from .dtypes import result_type

# Names of the standard, and the equivalents here. These four lists are complete: functions of one float, of one number
# of any kind, of two numbers, of two bools.
_FLOAT = {
    "acos": F.acos, "acosh": F.acosh, "asin": F.asin, "asinh": F.asinh, "atan": F.atan, "atanh": F.atanh, "cos": F.cos, "cosh": F.cosh,
    "exp": F.exp, "expm1": F.expm1, "log": F.log, "log1p": F.log1p, "sin": F.sin, "sinh": F.sinh, "sqrt": F.sqrt, "tan": F.tan,
    "tanh": F.tanh, "isnan": F.isnan, "isinf": F.isinf,
}  # fmt: skip
_ONE: dict[str, Callable[..., Any]] = {
    "abs": F.abs, "ceil": F.ceil, "floor": F.floor, "negative": operator.neg, "round": F.round, "sign": F.sign, "square": F.square,
    "logical_not": F.logical_not, "bitwise_invert": operator.invert,
}  # fmt: skip
_TWO: dict[str, Callable[..., Any]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
    "floor_divide": operator.floordiv, "equal": operator.eq, "not_equal": operator.ne, "less": operator.lt, "less_equal": operator.le,
    "greater": operator.gt, "greater_equal": operator.ge, "maximum": F.maximum, "minimum": F.minimum, "atan2": F.atan2,
    "logaddexp": F.logaddexp, "logical_and": F.logical_and, "logical_or": F.logical_or, "logical_xor": F.logical_xor,
    "bitwise_and": operator.and_, "bitwise_or": operator.or_, "bitwise_xor": operator.xor, "bitwise_left_shift": operator.lshift,
    "bitwise_right_shift": operator.rshift,
}  # fmt: skip

__all__ = [*_FLOAT, *_ONE, *_TWO]
__all__ += "clip copysign exp2 hypot imag isfinite log2 log10 nextafter positive pow real reciprocal remainder signbit trunc".split()


def _one(name: str, function: Callable[..., Any]) -> Callable[[Any], Tensor]:
    def call(x: Any, /) -> Tensor:
        return function(asarray(x))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{name} of each element, as the array API standard has it."
    return call


def _two(name: str, function: Callable[..., Any]) -> Callable[[Any, Any], Tensor]:
    def call(x1: Any, x2: Any, /) -> Tensor:
        return function(x1 if isinstance(x1, Tensor) or isinstance(x2, Tensor) else asarray(x1), x2)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{name} of pairs of elements, as the array API standard has it."
    return call


globals().update({name: _one(name, function) for name, function in {**_FLOAT, **_ONE}.items()})
globals().update({name: _two(name, function) for name, function in _TWO.items()})


def _beside(other: Any, x: Any, dtype: Any = None) -> Tensor:
    """asarray of x, where the other operand is if x is no tensor."""
    return asarray(x, dtype=dtype, device=None if isinstance(x, Tensor) else place_of((other,)))


def positive(x: Tensor, /) -> Tensor:
    """The elements as they are."""
    return +x


def real(x: Tensor, /) -> Tensor:
    """The elements as they are: there are no complex ones."""
    return +x


def imag(x: Tensor, /) -> Tensor:
    """Zeros, because there are no complex elements."""
    return F.zeros_like(x)


def isfinite(x: Tensor, /) -> Tensor:
    """Whether an element is neither NaN nor infinite."""
    return F.logical_not(F.logical_or(F.isnan(x), F.isinf(x)))


def log2(x: Tensor, /) -> Tensor:
    """The logarithm to base 2."""
    return F.log(x) * (1 / np.log(2.0))


def log10(x: Tensor, /) -> Tensor:
    """The logarithm to base 10."""
    return F.log(x) * (1 / np.log(10.0))


def exp2(x: Tensor, /) -> Tensor:
    """2 to the power of x."""
    return F.exp(x * np.log(2.0).item())


def reciprocal(x: Tensor, /) -> Tensor:
    """1 / x."""
    return 1 / x


def trunc(x: Tensor, /) -> Tensor:
    """The nearest integer towards 0."""
    return F.where(x < 0, F.ceil(x), F.floor(x)) if is_float(x.desc.dtype) else +x


def pow(x1: Any, x2: Any, /) -> Tensor:
    """x1 to the power of x2; integers give an integer."""
    made = x1**x2
    return made if is_float(result_type(x1, x2).name) else _whole(x1, x2)


def _whole(x1: Any, x2: Any) -> Tensor:
    found = np.power(*(x.numpy() if isinstance(x, Tensor) else x for x in (x1, x2)))
    return Tensor(found, dtype=result_type(x1, x2), device=place_of((x1, x2)))


def remainder(x1: Any, x2: Any, /) -> Tensor:
    """The remainder of x1 divided by x2, with the sign of x2. The operator % gives floats the sign of x1."""
    left = x1 % x2
    return F.where(F.logical_and(left != 0, (left < 0) != (_beside(x1, x2) < 0)), left + x2, left)


def hypot(x1: Any, x2: Any, /) -> Tensor:
    """√(x1² + x2²), without overflow in between."""
    a, b = F.abs(_beside(x2, x1)), F.abs(_beside(x1, x2))
    large, small = F.maximum(a, b), F.minimum(a, b)
    ratio = small / F.where(large > 0, large, F.ones_like(large))
    return F.where(F.isinf(large), large, large * F.sqrt(1 + ratio * ratio))


def copysign(x1: Any, x2: Any, /) -> Tensor:
    """The absolute value of x1 with the sign of x2."""
    a = F.abs(_beside(x2, x1))
    return F.where(signbit(_beside(x1, x2)), -a, a)


def signbit(x: Tensor, /) -> Tensor:
    """Whether an element is negative; -0.0 counts as negative."""
    return Tensor(np.signbit(x.numpy()), device=x.device)


def nextafter(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The next floating-point number after x1 in the direction of x2."""
    return asarray(np.nextafter(x1.numpy(), x2.numpy()), device=x1.device)


def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    """x, limited to at least min and at most max."""
    made = x if min is None else F.maximum(x, _beside(x, min, x.dtype))
    made = made if max is None else F.minimum(made, _beside(x, max, x.dtype))
    return +made if made is x else made
