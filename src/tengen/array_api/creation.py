"""Tensors made from nothing or from data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import functional as F
from ..base.dtype import canonical
from ..core import Tensor
from ..core.dlpack import from_dlpack as _from_dlpack

__all__ = "arange asarray empty empty_like eye from_dlpack full full_like linspace meshgrid ones ones_like".split()
__all__ += "tril triu zeros zeros_like e inf nan newaxis pi".split()

e, inf, nan, pi, newaxis = math.e, math.inf, math.nan, math.pi, None


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: Any = None) -> Tensor:
    """A tensor from a tensor, an array, a number, or nested sequences of numbers and tensors. Arrays keep their dtype,
    including float64."""
    if isinstance(obj, Tensor):
        made = obj if dtype is None or obj.dtype == dtype else obj.astype(dtype)
        made = made if device is None else made.to(device)
        return F.copy(made) if copy and made is obj else made
    if dtype is None and isinstance(obj, (np.ndarray, np.generic)):
        dtype = canonical(obj.dtype)
    if dtype is None and isinstance(obj, (list, tuple)) and any(isinstance(item, Tensor) for item in obj):
        return F.stack([asarray(item) for item in obj])
    if copy is False and not hasattr(obj, "__dlpack__"):
        raise ValueError("asarray(copy=False): a tensor cannot be made from this without a copy")
    return Tensor(obj, dtype=dtype, device=device)


def from_dlpack(x: Any, /, *, device: Any = None, copy: Any = None) -> Tensor:
    """A tensor that shares the memory of an array of another library."""
    made = _from_dlpack(x)
    made = made if device is None else made.to(device)
    return F.copy(made) if copy else made


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The numbers from start (or 0) up to stop, which is not included."""
    if dtype is None:
        dtype = "float32" if any(isinstance(number, float) for number in (start, stop, step)) else "int32"
    low, high = (0, start) if stop is None else (start, stop)
    return Tensor(np.arange(low, high, step), dtype=dtype, device=device)


def linspace(
    start: Any, stop: Any, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True
) -> Tensor:
    """`num` numbers in equal steps."""
    return Tensor(np.linspace(start, stop, num, endpoint=endpoint), dtype=dtype or "float32", device=device)


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor filled with one number."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if dtype is None:
        dtype = asarray(fill_value).dtype
    return Tensor(np.full(shape, np.asarray(fill_value)), dtype=dtype, device=device)


def full_like(x: Tensor, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """An array with the shape of a tensor, and by default its dtype."""
    return full(x.shape, fill_value, dtype=dtype or x.dtype, device=device or x.device)


def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Zeros."""
    return full(shape, 0, dtype=dtype or "float32", device=device)


def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones."""
    return full(shape, 1, dtype=dtype or "float32", device=device)


empty = zeros


def zeros_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Zeros with the shape of a tensor, and by default its dtype."""
    return full_like(x, 0, dtype=dtype, device=device)


def ones_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones with the shape of a tensor, and by default its dtype."""
    return full_like(x, 1, dtype=dtype, device=device)


empty_like = zeros_like


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones on a diagonal."""
    return Tensor(np.eye(n_rows, n_cols, k=k), dtype=dtype or "float32", device=device)


def meshgrid(*arrays: Tensor, indexing: str = "xy") -> list[Tensor]:
    """The coordinates of a grid."""
    return list(F.meshgrid(*arrays, indexing=indexing)) if arrays else []


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """Zeros above a diagonal of the last two dims."""
    return F.where(Tensor(np.tri(x.shape[-2], x.shape[-1], k, np.bool_), device=x.device), x, F.zeros_like(x))


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """Zeros below a diagonal of the last two dims."""
    return F.where(Tensor(np.tri(x.shape[-2], x.shape[-1], k - 1, np.bool_), device=x.device), F.zeros_like(x), x)
