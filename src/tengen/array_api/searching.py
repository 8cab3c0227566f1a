"""Sorting, searching and sets. Where tengen has no function, NumPy does it, without a gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import functional as F
from ..core import Tensor
from ..core.indexing import positions
from .creation import asarray
from .shapes import moveaxis

__all__ = "argmax argmin argsort count_nonzero nonzero searchsorted sort take take_along_axis unique_all".split()
__all__ += "unique_counts unique_inverse unique_values where".split()


def where(condition: Tensor, x1: Any, x2: Any, /) -> Tensor:
    """Elements of x1 where the condition is true, elsewhere those of x2."""
    return F.where(condition, x1, x2)


def argmax(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the largest element."""
    return Tensor(np.argmax(x.numpy(), axis=axis, keepdims=keepdims), dtype="int32", device=x.device)


def argmin(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the smallest element."""
    return Tensor(np.argmin(x.numpy(), axis=axis, keepdims=keepdims), dtype="int32", device=x.device)


def argsort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The indices that sort the elements in ascending order; the sort is stable."""
    array = x.numpy()
    if not descending:
        return Tensor(np.argsort(array, axis=axis, kind="stable"), dtype="int32", device=x.device)
    # Reversed twice, so that equal elements keep their order.
    turned = np.flip(np.argsort(np.flip(array, axis), axis=axis, kind="stable"), axis)
    return Tensor(array.shape[axis] - 1 - turned, dtype="int32", device=x.device)


def sort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements in ascending order."""
    return take_along_axis(x, argsort(x, axis=axis, descending=descending), axis=axis)


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """The elements at these indices along a dim."""
    if axis is None and x.ndim != 1:
        raise ValueError(f"take of shape {tuple(x.shape)} needs an axis")
    axis = (axis or 0) % x.ndim
    return moveaxis(moveaxis(x, axis, 0)[indices], 0, axis)


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """The elements at these indices along a dim; the indices differ along the other dims."""
    grid = list(np.indices(tuple(indices.shape), sparse=True))
    axis %= x.ndim
    places: list[Any] = [Tensor(index, dtype="int32", device=x.device) for index in grid]
    places[axis] = indices
    return x[tuple(places)]


def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """The indices of the elements that are not 0, one tensor per dim."""
    if not x.ndim:
        raise ValueError("nonzero: a number has no dims, so it has no positions; reshape it to (1,)")
    mask = x if x.desc.dtype == "bool" else F.not_equal(x, 0)
    places, found = positions(mask, mask.desc.device), []
    for extent in reversed(tuple(x.shape)):
        rest = F.floor_div(places, max(extent, 1))
        found.append(places - rest * extent)
        places = rest
    return tuple(reversed(found))


def count_nonzero(x: Tensor, /, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """How many elements are not 0."""
    return Tensor(np.count_nonzero(x.numpy(), axis=axis, keepdims=keepdims), dtype="int32", device=x.device)


def searchsorted(x1: Tensor, x2: Tensor, /, *, side: str = "left", sorter: Tensor | None = None) -> Tensor:
    """Where the elements of x2 would be inserted into x1, which is sorted."""
    order = None if sorter is None else sorter.numpy()
    found = np.searchsorted(x1.numpy(), x2.numpy(), side=side, sorter=order)  # type: ignore[call-overload]
    return Tensor(found, dtype="int32", device=x1.device)


class UniqueAll(NamedTuple):
    """See `unique_all`."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """See `unique_counts`."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """See `unique_inverse`."""

    values: Tensor
    inverse_indices: Tensor


def unique_all(x: Tensor, /) -> UniqueAll:
    """The distinct elements, where each occurs first, which of them each element is, and how often each occurs."""
    array = x.numpy()
    found = np.unique_all(array) if hasattr(np, "unique_all") else _unique_all(array)
    values, *numbers = found
    return UniqueAll(
        asarray(values, dtype=x.dtype, device=x.device),
        *(Tensor(number, dtype="int32", device=x.device) for number in numbers),
    )


def _unique_all(array: Any) -> tuple[Any, ...]:
    """For NumPy before 2."""
    values, first, inverse, counts = np.unique(
        array, return_index=True, return_inverse=True, return_counts=True, equal_nan=False
    )
    return values, first, inverse.reshape(array.shape), counts


def unique_counts(x: Tensor, /) -> UniqueCounts:
    """The distinct elements, and how often each occurs."""
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: Tensor, /) -> UniqueInverse:
    """The distinct elements, and which of them each element is."""
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: Tensor, /) -> Tensor:
    """The distinct elements, in ascending order."""
    return unique_all(x).values
