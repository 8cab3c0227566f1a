"""Element-wise functions. Operands are tensors, numbers or arrays and broadcast.

Numbers never widen a tensor's dtype.
"""

from __future__ import annotations

from typing import Any

from .._rt import apply
from ..core import Tensor
from ..core.ops.elemwise import Elemwise
from ..core.ops.formula import Activation, elementwise

__all__ = [
    "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "clip", "cos", "cosh", "div",
    "equal", "erfcx", "exp", "expm1", "floor", "floor_div", "greater", "greater_equal", "left_shift", "less", "less_equal",
    "log", "log1p", "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum", "minimum", "mod",
    "mul", "neg", "not_equal", "pow", "right_shift", "round", "sin", "sinc", "sinh", "sqrt", "square", "sub", "tan", "tanh",
]  # fmt: skip

Operand = Any  # a tensor, a number, or what NumPy can read

# The ops, made once: a call costs one apply.
_ADD, _SUB, _MUL, _TRUE_DIV, _FLOOR_DIV, _MOD, _POW, _MAX = (
    Elemwise(mode) for mode in "ADD SUB MUL TRUE_DIV FLOOR_DIV MOD POW MAX".split()
)
_MIN, _ATAN2, _NEGATE, _ABS, _SQRT, _SQUARE, _CEIL, _FLOOR = (
    Elemwise(mode) for mode in "MIN ATAN2 NEGATE ABS SQRT SQUARE CEIL FLOOR".split()
)
_ROUND, _EXP, _EXPM1, _LOG, _LOG1P, _SIN, _COS, _TAN = (
    Elemwise(mode) for mode in "ROUND EXP EXPM1 LOG LOG1P SIN COS TAN".split()
)
_ASIN, _ACOS, _ATAN, _SINH, _COSH, _TANH, _ASINH, _ACOSH = (
    Elemwise(mode) for mode in "ASIN ACOS ATAN SINH COSH TANH ASINH ACOSH".split()
)
_ATANH, _EQ, _NEQ, _LT, _LEQ, _GT, _GEQ, _LOGICAL_AND = (
    Elemwise(mode) for mode in "ATANH EQ NEQ LT LEQ GT GEQ LOGICAL_AND".split()
)
_LOGICAL_OR, _LOGICAL_XOR, _NOT, _SHL, _SHR = (Elemwise(mode) for mode in "LOGICAL_OR LOGICAL_XOR NOT SHL SHR".split())
_ERFCX = Elemwise("ERFCX")
_LOGADDEXP, _CLIP, _SINC = Activation("logaddexp"), Activation("clip"), Activation("sinc")

# -- arithmetic


def add(x: Operand, y: Operand) -> Tensor:
    """The sum x + y.

    Integers stay integers, with a Python float they become float32; shapes broadcast, ValueError if they cannot.

    >>> F.add(Tensor([1.0, 2.0]), 3).tolist()
    [4.0, 5.0]
    """
    return apply(_ADD, x, y)


def sub(x: Operand, y: Operand) -> Tensor:
    """The difference x - y."""
    return apply(_SUB, x, y)


def mul(x: Operand, y: Operand) -> Tensor:
    """The product x · y."""
    return apply(_MUL, x, y)


def div(x: Operand, y: Operand) -> Tensor:
    """The quotient x / y; of integers in float32."""
    return apply(_TRUE_DIV, x, y)


def floor_div(x: Operand, y: Operand) -> Tensor:
    """The quotient x / y rounded down."""
    return apply(_FLOOR_DIV, x, y)


def mod(x: Operand, y: Operand) -> Tensor:
    """The remainder of x / y: of integers with the sign of y, of floats with the sign of x."""
    return apply(_MOD, x, y)


def pow(x: Operand, y: Operand) -> Tensor:
    """x to the power y; of integers in float32. NaN for a negative x and a y that is no whole number."""
    return apply(_POW, x, y)


def maximum(x: Operand, y: Operand) -> Tensor:
    """The larger of x and y."""
    return apply(_MAX, x, y)


def minimum(x: Operand, y: Operand) -> Tensor:
    """The smaller of x and y."""
    return apply(_MIN, x, y)


def atan2(y: Operand, x: Operand) -> Tensor:
    """The angle of the point (x, y) in (-π, π]."""
    return apply(_ATAN2, y, x)


def neg(x: Operand) -> Tensor:
    """-x."""
    return apply(_NEGATE, x)


def abs(x: Operand) -> Tensor:
    """The absolute value. Its gradient at 0 is 0, as in PyTorch; MegEngine has -1 there."""
    return apply(_ABS, x)


def sqrt(x: Operand) -> Tensor:
    """The square root; NaN for negative numbers."""
    return apply(_SQRT, x)


def square(x: Operand) -> Tensor:
    """x · x."""
    return apply(_SQUARE, x)


def ceil(x: Operand) -> Tensor:
    """Rounded up to a whole number; the dtype stays."""
    return apply(_CEIL, x)


def floor(x: Operand) -> Tensor:
    """Rounded down to a whole number; the dtype stays."""
    return apply(_FLOOR, x)


def round(x: Operand) -> Tensor:
    """Rounded to the nearest whole number, halves away from zero; the dtype stays."""
    return apply(_ROUND, x)


# -- exponentials


def exp(x: Operand) -> Tensor:
    """e to the power x; of integers in float32.

    >>> F.exp(Tensor([0.0, 1.0])).numpy().round(3).tolist()
    [1.0, 2.7179999351501465]
    """
    return apply(_EXP, x)


def expm1(x: Operand) -> Tensor:
    """exp(x) - 1, exact near 0."""
    return apply(_EXPM1, x)


def log(x: Operand) -> Tensor:
    """The natural logarithm; NaN for negative numbers."""
    return apply(_LOG, x)


def log1p(x: Operand) -> Tensor:
    """log(1 + x), exact near 0."""
    return apply(_LOG1P, x)


def erfcx(x: Operand) -> Tensor:
    """exp(x²) · erfc(x), the scaled complement of the error function: its digits stay where erfc(x) underflows; of integers in float32.

    >>> F.erfcx(Tensor([0.0, 1.0])).numpy().round(4).tolist()
    [1.0, 0.4275999963283539]
    """
    return apply(_ERFCX, x)


def logaddexp(x: Operand, y: Operand) -> Tensor:
    """log(exp(x) + exp(y)), without overflow."""
    return apply(_LOGADDEXP, x, y)


# -- trigonometry


def sin(x: Operand) -> Tensor:
    """The sine of an angle in radians."""
    return apply(_SIN, x)


def sinc(x: Operand) -> Tensor:
    """sin(πx) / (πx), and 1 at 0; of integers in float32.

    >>> F.sinc(Tensor([0.0, 0.5])).numpy().round(4).tolist()
    [1.0, 0.6366000175476074]
    """
    return apply(_SINC, x)


def cos(x: Operand) -> Tensor:
    """The cosine of an angle in radians."""
    return apply(_COS, x)


def tan(x: Operand) -> Tensor:
    """The tangent of an angle in radians."""
    return apply(_TAN, x)


def asin(x: Operand) -> Tensor:
    """The inverse sine in radians; NaN outside [-1, 1]."""
    return apply(_ASIN, x)


def acos(x: Operand) -> Tensor:
    """The inverse cosine in radians; NaN outside [-1, 1]."""
    return apply(_ACOS, x)


def atan(x: Operand) -> Tensor:
    """The inverse tangent in radians."""
    return apply(_ATAN, x)


def sinh(x: Operand) -> Tensor:
    """The hyperbolic sine."""
    return apply(_SINH, x)


def cosh(x: Operand) -> Tensor:
    """The hyperbolic cosine."""
    return apply(_COSH, x)


def tanh(x: Operand) -> Tensor:
    """The hyperbolic tangent."""
    return apply(_TANH, x)


def asinh(x: Operand) -> Tensor:
    """The inverse hyperbolic sine."""
    return apply(_ASINH, x)


def acosh(x: Operand) -> Tensor:
    """The inverse hyperbolic cosine; NaN below 1."""
    return apply(_ACOSH, x)


def atanh(x: Operand) -> Tensor:
    """The inverse hyperbolic tangent; NaN outside [-1, 1]."""
    return apply(_ATANH, x)


# -- comparison, logic, bits


def equal(x: Operand, y: Operand) -> Tensor:
    """Where x == y, as bool."""
    return apply(_EQ, x, y)


def not_equal(x: Operand, y: Operand) -> Tensor:
    """Where x != y, as bool."""
    return apply(_NEQ, x, y)


def less(x: Operand, y: Operand) -> Tensor:
    """Where x < y, as bool."""
    return apply(_LT, x, y)


def less_equal(x: Operand, y: Operand) -> Tensor:
    """Where x <= y, as bool."""
    return apply(_LEQ, x, y)


def greater(x: Operand, y: Operand) -> Tensor:
    """Where x > y, as bool."""
    return apply(_GT, x, y)


def greater_equal(x: Operand, y: Operand) -> Tensor:
    """Where x >= y, as bool."""
    return apply(_GEQ, x, y)


def logical_and(x: Operand, y: Operand) -> Tensor:
    """Where both are true, as bool."""
    return apply(_LOGICAL_AND, x, y)


def logical_or(x: Operand, y: Operand) -> Tensor:
    """Where at least one is true, as bool."""
    return apply(_LOGICAL_OR, x, y)


def logical_xor(x: Operand, y: Operand) -> Tensor:
    """Where exactly one is true, as bool."""
    return apply(_LOGICAL_XOR, x, y)


def logical_not(x: Operand) -> Tensor:
    """Where x is false, as bool."""
    return apply(_NOT, x)


def left_shift(x: Operand, y: Operand) -> Tensor:
    """The bits of integers moved y places up."""
    return apply(_SHL, x, y)


def right_shift(x: Operand, y: Operand) -> Tensor:
    """The bits of integers moved y places down; the sign stays."""
    return apply(_SHR, x, y)


# -- limits


def clip(x: Operand, lower: Operand | None = None, upper: Operand | None = None) -> Tensor:
    """x limited to [lower, upper]; None sets no limit. Raises ValueError if both are None.

    >>> F.clip(Tensor([-2.0, 0.5, 9.0]), 0, 1).tolist()
    [0.0, 0.5, 1.0]
    """
    if lower is None and upper is None:
        raise ValueError("clip needs a lower or an upper limit, both are None")
    if lower is None:
        return apply(_MIN, x, upper)
    if upper is None:
        return apply(_MAX, x, lower)
    return apply(_CLIP, x, lower, upper)


def _elwise(*args: Operand, mode: str) -> Tensor:
    """The element-wise op `mode`, such as "ADD" or "FUSE_ADD_RELU"; see module.Elemwise."""
    return apply(elementwise(mode), *args)
