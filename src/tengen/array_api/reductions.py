"""Reductions over dims."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from ..base.dtype import is_float
from ..core import Tensor
from .shapes import moveaxis

__all__ = "all any cumulative_prod cumulative_sum diff max mean min prod std sum var".split()


def _axes(x: Tensor, axis: Any) -> Any:
    """An axis in the form that the functions here take; all axes for None."""
    return tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, int) else tuple(axis)


def _reduced(x: Tensor, how: str, axis: Any, keepdims: bool) -> Tensor:
    axes = _axes(x, axis)
    if axes == ():
        return +x
    return getattr(x, how)(axis=axes, keepdims=keepdims)


def sum(x: Tensor, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """The sum."""
    return _reduced(_wide(x, dtype), "sum", axis, keepdims)


def prod(x: Tensor, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """The product."""
    return _reduced(_wide(x, dtype), "prod", axis, keepdims)


def _wide(x: Tensor, dtype: Any) -> Tensor:
    """As the standard requires, sums of narrow integers have at least the default integer dtype."""
    if dtype is not None:
        return x.astype(dtype)
    return x.astype("int32") if x.desc.dtype in ("bool", "int8", "int16", "uint8", "uint16") else x


def mean(x: Tensor, /, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The mean."""
    return _reduced(x, "mean", axis, keepdims)


def max(x: Tensor, /, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The largest."""
    return _reduced(x, "max", axis, keepdims)


def min(x: Tensor, /, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The smallest."""
    return _reduced(x, "min", axis, keepdims)


def var(x: Tensor, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The mean squared distance from the mean; `correction` is subtracted from the count."""
    axes = _axes(x, axis)
    count = np.prod([x.shape[one] for one in ([axes] if isinstance(axes, int) else axes)], dtype=np.int64).item()
    distance = x - mean(x, axis=axes, keepdims=True)
    total = sum(distance * distance, axis=axes, keepdims=keepdims)
    return total / (count - correction) if count > correction else total * float("nan")


def std(x: Tensor, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The root of `var`."""
    return F.sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims))


def all(x: Tensor, /, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether all elements are true."""
    return Tensor(np.all(x.numpy(), axis=_axes(x, axis), keepdims=keepdims), device=x.device)


def any(x: Tensor, /, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether any element is true."""
    return Tensor(np.any(x.numpy(), axis=_axes(x, axis), keepdims=keepdims), device=x.device)


def cumulative_sum(
    x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Tensor:
    """The running sums along a dim."""
    axis = _only(x, axis)
    made = F.cumsum(_wide(x, dtype), axis)
    return _with_initial(made, axis, 0) if include_initial else made


def cumulative_prod(
    x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Tensor:
    """The running products along a dim, by NumPy and without a gradient."""
    axis, wide = _only(x, axis), _wide(x, dtype)
    made = Tensor(np.cumprod(wide.numpy(), axis=axis), dtype=wide.dtype, device=x.device)
    return _with_initial(made, axis, 1) if include_initial else made


def _only(x: Tensor, axis: int | None) -> int:
    if axis is None and x.ndim != 1:
        raise ValueError(f"a cumulative sum or product of shape {tuple(x.shape)} needs an axis")
    return (axis or 0) % x.ndim


def _with_initial(x: Tensor, axis: int, number: int) -> Tensor:
    first = F.full((*x.shape[:axis], 1, *x.shape[axis + 1 :]), number, dtype=x.dtype, device=x.device)
    return F.concat([first, x], axis)


def diff(
    x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """The differences between neighbours, taken `n` times."""
    parts = [part for part in (prepend, x, append) if part is not None]
    front = moveaxis(F.concat(parts, axis) if len(parts) > 1 else x, axis, 0)
    for _ in range(n):
        front = front[1:] - front[:-1] if is_float(x.desc.dtype) or x.desc.dtype != "bool" else front[1:] != front[:-1]
    return moveaxis(front, 0, axis)
