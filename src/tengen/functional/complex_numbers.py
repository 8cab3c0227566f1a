"""Complex numbers from their parts, and back."""

from __future__ import annotations

from .._rt import apply
from ..core import Tensor
from ..core.ops.complex import Complex, Part, Polar
from .arguments import (
    as_tensor,
    as_tensors,
)

__all__ = ["complex", "imag", "polar", "real"]

_COMPLEX, _POLAR, _REAL, _IMAG = Complex(), Polar(), Part(0), Part(1)


def complex(real: Tensor, imag: Tensor) -> Tensor:
    """The complex numbers real + i · imag.

    Defined for them are + - * / (also with real numbers), ==, abs, sums, matrix products, and all that only moves
    elements; other functions raise TypeError. The gradient of a complex number is that of its real part + i · that of
    its imaginary part.

    Args:
        real, imag: real numbers, which broadcast.

    Returns: a tensor of complex64, of the broadcast shape.

    >>> F.complex(Tensor([1.0, 2.0]), Tensor([0.0, -1.0])).tolist()
    [(1+0j), (2-1j)]
    """
    return apply(_COMPLEX, *as_tensors(real, imag))


def real(complex: Tensor) -> Tensor:
    """The real part of complex numbers.

    Args:
        complex: a tensor of complex64.

    Returns: a tensor of float32, of this shape.

    Raises:
        TypeError: the tensor is not of complex64.

    >>> F.real(F.complex(Tensor([1.0, 2.0]), Tensor([0.0, -1.0]))).tolist()
    [1.0, 2.0]
    """
    return apply(_REAL, as_tensor(complex))


def imag(complex: Tensor) -> Tensor:
    """The imaginary part of complex numbers.

    Args:
        complex: a tensor of complex64.

    Returns: a tensor of float32, of this shape.

    Raises:
        TypeError: the tensor is not of complex64.

    >>> F.imag(F.complex(Tensor([1.0, 2.0]), Tensor([0.0, -1.0]))).tolist()
    [0.0, -1.0]
    """
    return apply(_IMAG, as_tensor(complex))


def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """The complex numbers abs · cos(angle) + i · abs · sin(angle).

    Args:
        abs: absolute values, real numbers.
        angle: in radians, which broadcast against abs.

    Returns: a tensor of complex64, of the broadcast shape.

    >>> F.polar(Tensor([2.0]), Tensor([0.0])).tolist()
    [(2+0j)]
    """
    return apply(_POLAR, *as_tensors(abs, angle))
