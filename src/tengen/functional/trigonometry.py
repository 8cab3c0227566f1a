"""Trigonometric and hyperbolic functions of each element, angles in radians."""

from __future__ import annotations

from .._rt import apply
from ..core import Tensor
from ..core.ops.elemwise import Elemwise
from ..core.ops.formula import Activation
from .arguments import Operand

__all__ = [
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "sin", "sinc", "sinh", "tan", "tanh",
]  # fmt: skip

_SIN, _COS, _TAN, _ASIN, _ACOS, _ATAN, _ATAN2 = (Elemwise(mode) for mode in "SIN COS TAN ASIN ACOS ATAN ATAN2".split())
_SINH, _COSH, _TANH, _ASINH, _ACOSH, _ATANH = (Elemwise(mode) for mode in "SINH COSH TANH ASINH ACOSH ATANH".split())
_SINC = Activation("sinc")


def sin(x: Operand) -> Tensor:
    """The sine of an angle in radians.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.sin(Tensor([0.0, np.pi / 2])).tolist()
    [0.0, 1.0]
    """
    return apply(_SIN, x)


def sinc(x: Operand) -> Tensor:
    """sin(πx) / (πx), and 1 at 0.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.sinc(Tensor([0.0, 0.5])).numpy().round(4).tolist()
    [1.0, 0.6366000175476074]
    """
    return apply(_SINC, x)


def cos(x: Operand) -> Tensor:
    """The cosine of an angle in radians.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.cos(Tensor([0.0, np.pi])).tolist()
    [1.0, -1.0]
    """
    return apply(_COS, x)


def tan(x: Operand) -> Tensor:
    """The tangent of an angle in radians.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.tan(Tensor([0.0, np.pi / 4])).numpy().round(4).tolist()
    [0.0, 1.0]
    """
    return apply(_TAN, x)


def asin(x: Operand) -> Tensor:
    """The inverse sine in radians, in [-π/2, π/2]; NaN outside [-1, 1].

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.asin(Tensor([0.0, 1.0])).numpy().round(4).tolist()
    [0.0, 1.5707999467849731]
    """
    return apply(_ASIN, x)


def acos(x: Operand) -> Tensor:
    """The inverse cosine in radians, in [0, π]; NaN outside [-1, 1].

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.acos(Tensor([1.0, 0.0])).numpy().round(4).tolist()
    [0.0, 1.5707999467849731]
    """
    return apply(_ACOS, x)


def atan(x: Operand) -> Tensor:
    """The inverse tangent in radians, in (-π/2, π/2).

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.atan(Tensor([0.0, 1.0])).numpy().round(4).tolist()
    [0.0, 0.7853999733924866]
    """
    return apply(_ATAN, x)


def sinh(x: Operand) -> Tensor:
    """The hyperbolic sine (exp(x) - exp(-x)) / 2.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.sinh(Tensor([0.0, 1.0])).numpy().round(4).tolist()
    [0.0, 1.1751999855041504]
    """
    return apply(_SINH, x)


def cosh(x: Operand) -> Tensor:
    """The hyperbolic cosine (exp(x) + exp(-x)) / 2.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.cosh(Tensor([0.0, 1.0])).numpy().round(4).tolist()
    [1.0, 1.5430999994277954]
    """
    return apply(_COSH, x)


def tanh(x: Operand) -> Tensor:
    """The hyperbolic tangent sinh(x) / cosh(x).

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.tanh(Tensor([0.0, 1.0])).numpy().round(4).tolist()
    [0.0, 0.7616000175476074]
    """
    return apply(_TANH, x)


def asinh(x: Operand) -> Tensor:
    """The inverse hyperbolic sine.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.asinh(Tensor([0.0, 1.0])).numpy().round(4).tolist()
    [0.0, 0.8813999891281128]
    """
    return apply(_ASINH, x)


def acosh(x: Operand) -> Tensor:
    """The inverse hyperbolic cosine; NaN below 1.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.acosh(Tensor([1.0, 2.0])).numpy().round(4).tolist()
    [0.0, 1.3170000314712524]
    """
    return apply(_ACOSH, x)


def atanh(x: Operand) -> Tensor:
    """The inverse hyperbolic tangent; ±inf at ±1, NaN beyond.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.atanh(Tensor([0.0, 0.5])).numpy().round(4).tolist()
    [0.0, 0.5493000149726868]
    """
    return apply(_ATANH, x)


def atan2(y: Operand, x: Operand) -> Tensor:
    """The angle of the point (x, y) in radians, in (-π, π].

    Args:
        y: the vertical coordinates: numbers of any shape.
        x: the horizontal coordinates, which broadcast against y.

    Returns: a tensor of the broadcast shape: floats, float32 for integers.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.atan2(Tensor([1.0, 0.0]), Tensor([0.0, 1.0])).numpy().round(4).tolist()
    [1.5707999467849731, 0.0]
    """
    return apply(_ATAN2, y, x)
