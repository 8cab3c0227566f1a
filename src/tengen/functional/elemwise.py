"""Element-wise functions. Operands are tensors, numbers or arrays and broadcast.

Numbers never widen a tensor's dtype. Those of neighbouring modules are gathered here.
"""

from __future__ import annotations

from .._rt import apply
from ..core import Tensor
from ..core.ops.elemwise import Elemwise
from ..core.ops.formula import Activation, elementwise
from . import comparison, trigonometry
from .arguments import Operand
from .comparison import *  # noqa: F403
from .trigonometry import *  # noqa: F403

__all__ = [
    "abs", "add", "ceil", "clip", "div", "erfcx", "exp", "expm1", "floor", "floor_div", "log", "log1p", "logaddexp",
    "maximum", "minimum", "mod", "mul", "neg", "pow", "round", "sqrt", "square", "sub",
]  # fmt: skip
__all__ += comparison.__all__
__all__ += trigonometry.__all__

# The ops, made once: a call costs one apply.
_ADD, _SUB, _MUL, _TRUE_DIV, _FLOOR_DIV, _MOD, _POW, _MAX = (
    Elemwise(mode) for mode in "ADD SUB MUL TRUE_DIV FLOOR_DIV MOD POW MAX".split()
)
_MIN, _NEGATE, _ABS, _SQRT, _SQUARE, _CEIL, _FLOOR, _ROUND = (
    Elemwise(mode) for mode in "MIN NEGATE ABS SQRT SQUARE CEIL FLOOR ROUND".split()
)
_EXP, _EXPM1, _LOG, _LOG1P, _ERFCX = (Elemwise(mode) for mode in "EXP EXPM1 LOG LOG1P ERFCX".split())
_LOGADDEXP, _CLIP = Activation("logaddexp"), Activation("clip")

# -- arithmetic


def add(x: Operand, y: Operand) -> Tensor:
    """The sum x + y.

    Integers stay integers; an integer and a Python float give float32.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of the broadcast shape and the promoted dtype.

    Raises:
        ValueError: the shapes do not broadcast. All functions of two operands raise it.

    >>> F.add(Tensor([1.0, 2.0]), 3).tolist()
    [4.0, 5.0]
    """
    return apply(_ADD, x, y)


def sub(x: Operand, y: Operand) -> Tensor:
    """The difference x - y.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of the broadcast shape and the promoted dtype.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.sub(Tensor([3.0, 5.0]), 1).tolist()
    [2.0, 4.0]
    """
    return apply(_SUB, x, y)


def mul(x: Operand, y: Operand) -> Tensor:
    """The product x · y.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of the broadcast shape and the promoted dtype.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.mul(Tensor([[1.0], [2.0]]), Tensor([3.0, 4.0])).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    return apply(_MUL, x, y)


def div(x: Operand, y: Operand) -> Tensor:
    """The quotient x / y.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of the broadcast shape: floats, float32 for integers.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.div(Tensor([1, 3]), 2).tolist()
    [0.5, 1.5]
    """
    return apply(_TRUE_DIV, x, y)


def floor_div(x: Operand, y: Operand) -> Tensor:
    """The quotient x / y rounded down.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of the broadcast shape and the promoted dtype.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.floor_div(Tensor([7, -7]), 2).tolist()
    [3, -4]
    """
    return apply(_FLOOR_DIV, x, y)


def mod(x: Operand, y: Operand) -> Tensor:
    """The remainder of x / y.

    Of integers it has the sign of y, of floats that of x.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of the broadcast shape and the promoted dtype.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.mod(Tensor([-7, 7]), 3).tolist(), F.mod(Tensor([-7.0]), 3.0).tolist()
    ([2, 1], [-1.0])
    """
    return apply(_MOD, x, y)


def pow(x: Operand, y: Operand) -> Tensor:
    """x to the power y.

    NaN for a negative x and a y that is not a whole number.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of the broadcast shape: floats, float32 for integers.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.pow(Tensor([2.0, 3.0]), 2).tolist()
    [4.0, 9.0]
    """
    return apply(_POW, x, y)


def maximum(x: Operand, y: Operand) -> Tensor:
    """The larger of x and y; NaN where either is.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of the broadcast shape and the promoted dtype.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.maximum(Tensor([1.0, 5.0]), 3.0).tolist()
    [3.0, 5.0]
    """
    return apply(_MAX, x, y)


def minimum(x: Operand, y: Operand) -> Tensor:
    """The smaller of x and y; NaN where either is.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of the broadcast shape and the promoted dtype.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.minimum(Tensor([1.0, 5.0]), 3.0).tolist()
    [1.0, 3.0]
    """
    return apply(_MIN, x, y)


def neg(x: Operand) -> Tensor:
    """The negative -x.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape and dtype of x.

    >>> F.neg(Tensor([1.0, -2.0])).tolist()
    [-1.0, 2.0]
    """
    return apply(_NEGATE, x)


def abs(x: Operand) -> Tensor:
    """The absolute value |x|.

    The gradient at 0 is 0, as in PyTorch; MegEngine has -1 there.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape and dtype of x; float32 for complex64.

    >>> F.abs(Tensor([1.0, -2.0])).tolist()
    [1.0, 2.0]
    """
    return apply(_ABS, x)


def sqrt(x: Operand) -> Tensor:
    """The square root; NaN for negative numbers.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.sqrt(Tensor([4, 9])).tolist()
    [2.0, 3.0]
    """
    return apply(_SQRT, x)


def square(x: Operand) -> Tensor:
    """The square x · x.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape and dtype of x.

    >>> F.square(Tensor([3.0, -2.0])).tolist()
    [9.0, 4.0]
    """
    return apply(_SQUARE, x)


def ceil(x: Operand) -> Tensor:
    """x rounded up to a whole number.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape and dtype of x.

    >>> F.ceil(Tensor([1.2, -1.2])).tolist()
    [2.0, -1.0]
    """
    return apply(_CEIL, x)


def floor(x: Operand) -> Tensor:
    """x rounded down to a whole number.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape and dtype of x.

    >>> F.floor(Tensor([1.2, -1.2])).tolist()
    [1.0, -2.0]
    """
    return apply(_FLOOR, x)


def round(x: Operand) -> Tensor:
    """x rounded to the nearest whole number, halves away from zero.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape and dtype of x.

    >>> F.round(Tensor([0.5, -1.5, 1.2])).tolist()
    [1.0, -2.0, 1.0]
    """
    return apply(_ROUND, x)


# -- exponentials


def exp(x: Operand) -> Tensor:
    """e to the power x.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.exp(Tensor([0.0, 1.0])).numpy().round(3).tolist()
    [1.0, 2.7179999351501465]
    """
    return apply(_EXP, x)


def expm1(x: Operand) -> Tensor:
    """exp(x) - 1, exact near 0.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.expm1(Tensor([0.0, 1e-6])).tolist()[0]
    0.0
    """
    return apply(_EXPM1, x)


def log(x: Operand) -> Tensor:
    """The natural logarithm; NaN for negative numbers, -inf for 0.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.log(Tensor([1.0, 0.0])).tolist()
    [0.0, -inf]
    """
    return apply(_LOG, x)


def log1p(x: Operand) -> Tensor:
    """log(1 + x), exact near 0; NaN below -1.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.log1p(Tensor([0.0, -1.0])).tolist()
    [0.0, -inf]
    """
    return apply(_LOG1P, x)


def erfcx(x: Operand) -> Tensor:
    """exp(x²) · erfc(x), the scaled complement of the error function.

    It keeps its digits where erfc(x) underflows.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.erfcx(Tensor([0.0, 1.0])).numpy().round(4).tolist()
    [1.0, 0.4275999963283539]
    """
    return apply(_ERFCX, x)


def logaddexp(x: Operand, y: Operand) -> Tensor:
    """log(exp(x) + exp(y)), without overflow.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of the broadcast shape: floats, float32 for integers.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.logaddexp(Tensor([0.0, 1000.0]), Tensor([0.0, 0.0])).numpy().round(4).tolist()
    [0.6930999755859375, 1000.0]
    """
    return apply(_LOGADDEXP, x, y)


# -- limits


def clip(x: Operand, lower: Operand | None = None, upper: Operand | None = None) -> Tensor:
    """x limited to [lower, upper].

    Args:
        x: numbers of any shape.
        lower, upper: numbers or tensors that broadcast against x; None sets no limit.

    Returns: a tensor of the broadcast shape.

    Raises:
        ValueError: both limits are None.

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
