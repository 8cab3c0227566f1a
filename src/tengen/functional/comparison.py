"""Comparison, logic and bits of each element."""

from __future__ import annotations

from .._rt import apply
from ..core import Tensor
from ..core.ops.elemwise import Elemwise
from .arguments import Operand

__all__ = [
    "equal", "greater", "greater_equal", "left_shift", "less", "less_equal", "logical_and", "logical_not",
    "logical_or", "logical_xor", "not_equal", "right_shift",
]  # fmt: skip

_EQ, _NEQ, _LT, _LEQ, _GT, _GEQ = (Elemwise(mode) for mode in "EQ NEQ LT LEQ GT GEQ".split())
_LOGICAL_AND, _LOGICAL_OR, _LOGICAL_XOR, _NOT = (
    Elemwise(mode) for mode in "LOGICAL_AND LOGICAL_OR LOGICAL_XOR NOT".split()
)
_SHL, _SHR = Elemwise("SHL"), Elemwise("SHR")


def equal(x: Operand, y: Operand) -> Tensor:
    """Where x == y.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of bool, of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.equal(Tensor([1, 2]), 2).tolist()
    [False, True]
    """
    return apply(_EQ, x, y)


def not_equal(x: Operand, y: Operand) -> Tensor:
    """Where x != y.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of bool, of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.not_equal(Tensor([1, 2]), 2).tolist()
    [True, False]
    """
    return apply(_NEQ, x, y)


def less(x: Operand, y: Operand) -> Tensor:
    """Where x < y.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of bool, of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.less(Tensor([1, 2]), 2).tolist()
    [True, False]
    """
    return apply(_LT, x, y)


def less_equal(x: Operand, y: Operand) -> Tensor:
    """Where x <= y.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of bool, of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.less_equal(Tensor([1, 3]), 2).tolist()
    [True, False]
    """
    return apply(_LEQ, x, y)


def greater(x: Operand, y: Operand) -> Tensor:
    """Where x > y.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of bool, of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.greater(Tensor([1, 3]), 2).tolist()
    [False, True]
    """
    return apply(_GT, x, y)


def greater_equal(x: Operand, y: Operand) -> Tensor:
    """Where x >= y.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of bool, of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.greater_equal(Tensor([1, 2]), 2).tolist()
    [False, True]
    """
    return apply(_GEQ, x, y)


def logical_and(x: Operand, y: Operand) -> Tensor:
    """Where both x and y are true, that is, not 0.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of bool, of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.logical_and(Tensor([True, True]), Tensor([True, False])).tolist()
    [True, False]
    """
    return apply(_LOGICAL_AND, x, y)


def logical_or(x: Operand, y: Operand) -> Tensor:
    """Where at least one of x and y is true, that is, not 0.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of bool, of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.logical_or(Tensor([False, True]), Tensor([False, False])).tolist()
    [False, True]
    """
    return apply(_LOGICAL_OR, x, y)


def logical_xor(x: Operand, y: Operand) -> Tensor:
    """Where exactly one of x and y is true, that is, not 0.

    Args:
        x, y: tensors, numbers, or what NumPy can read; their shapes broadcast, and a Python number never widens the
            dtype.

    Returns: a tensor of bool, of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> F.logical_xor(Tensor([True, True]), Tensor([True, False])).tolist()
    [False, True]
    """
    return apply(_LOGICAL_XOR, x, y)


def logical_not(x: Operand) -> Tensor:
    """Where x is false, that is, 0.

    Args:
        x: numbers of any shape: a tensor, a Python number, or what NumPy can read.

    Returns: a tensor of bool, of the shape of x.

    >>> F.logical_not(Tensor([True, False])).tolist()
    [False, True]
    """
    return apply(_NOT, x)


def left_shift(x: Operand, y: Operand) -> Tensor:
    """The bits of x moved y places up.

    Args:
        x, y: integers of any shapes that broadcast.

    Returns: a tensor of the broadcast shape and the promoted dtype.

    Raises:
        TypeError: an operand is not an integer.

    >>> F.left_shift(Tensor([1, 3]), 2).tolist()
    [4, 12]
    """
    return apply(_SHL, x, y)


def right_shift(x: Operand, y: Operand) -> Tensor:
    """The bits of x moved y places down; the sign stays.

    Args:
        x, y: integers of any shapes that broadcast.

    Returns: a tensor of the broadcast shape and the promoted dtype.

    Raises:
        TypeError: an operand is not an integer.

    >>> F.right_shift(Tensor([8, -8]), 2).tolist()
    [2, -2]
    """
    return apply(_SHR, x, y)
