"""Of `megengine.utils.tuple_function`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

__all__ = ["_pair", "_pair_nonzero", "_quadruple", "_single", "_triple", "_triple_nonzero", "get_ndtuple"]


def get_ndtuple(value: Any, *, n: int, allow_zero: bool = True) -> tuple[int, ...]:
    """`value`, a number or n of them, as a tuple of n ints."""
    if isinstance(value, Iterable):
        parts = tuple(value)
        assert len(parts) == n, f"tuple len is not equal to n: {value}"
        found = tuple(int(part) for part in parts)
    else:
        found = (int(value),) * n
    assert allow_zero or all(found), f"invalid value: {found}"
    return found


_single = partial(get_ndtuple, n=1)
_pair = partial(get_ndtuple, n=2)
_triple = partial(get_ndtuple, n=3)
_quadruple = partial(get_ndtuple, n=4)
_pair_nonzero = partial(get_ndtuple, n=2, allow_zero=False)
_triple_nonzero = partial(get_ndtuple, n=3, allow_zero=False)
