"""One number for each dimension, given as a single number or one by one."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

__all__ = ["get_ndtuple"]


def get_ndtuple(value: Any, *, n: int, allow_zero: bool = True) -> tuple[int, ...]:
    """`n` ints: those of `value`, or one number `n` times. Raises ValueError for a wrong count, or a negative number.

    allow_zero: whether they may be 0.

    >>> get_ndtuple(3, n=2), get_ndtuple([1, 2], n=2)
    ((3, 3), (1, 2))
    """
    parts = tuple(value) if isinstance(value, Iterable) else (value,) * n
    if len(parts) != n:
        raise ValueError(f"one number or {n} of them, got {value!r}")
    numbers = tuple(int(part) for part in parts)
    if any(number < (0 if allow_zero else 1) for number in numbers):
        raise ValueError(f"{'no negative numbers' if allow_zero else 'positive numbers only'}, got {value!r}")
    return numbers


_single = partial(get_ndtuple, n=1)
_pair = partial(get_ndtuple, n=2)
_triple = partial(get_ndtuple, n=3)
_quadruple = partial(get_ndtuple, n=4)
_pair_nonzero = partial(get_ndtuple, n=2, allow_zero=False)
_triple_nonzero = partial(get_ndtuple, n=3, allow_zero=False)
