"""Checks and conversions that public functions apply to their arguments before they call an op."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from .._rt import Tensor
from ..base import device as devices
from ..base.device import Device
from ..compiler.program import Value
from ..core import Tensor as UserTensor
from ..core.convert import as_indices, place_of
from ..core.ops.base import INTS, integer_range
from ..core.ops.base import integer as integer
from ..core.ops.base import integer_axis as integer_axis
from ..core.ops.base import integers as integers
from ..core.ops.base import listed as listed
from ..core.ops.base import normal_axes as normal_axes
from ..core.ops.base import normal_axis as normal_axis
from ..core.ops.base import number as number
from ..core.ops.base import remembered as remembered
from ..core.ops.base import several as several

Axes = int | Sequence[int] | None
Operand = Any  # a tensor, a number, or what NumPy can read
REDUCTIONS = ("mean", "sum", "none")


def as_tensor(value: Any, *beside: Any) -> Any:
    """A tensor from a number, nested sequences or a NumPy array; tensors, and values of a Program, as they are.

    beside: the other arguments. What is made goes to where the tensors among them are.
    """
    return value if isinstance(value, (Tensor, Value)) else UserTensor(value, device=place_of((*beside, value)))


def as_tensors(*values: Any) -> list[Any]:
    """as_tensor of each of them; arrays and lists go to where the tensors among them are."""
    return [as_tensor(value, *values) for value in values]


def as_index(value: Any, *beside: Any) -> Any:
    """as_tensor for indices and labels: integers that int32 does not hold stay what they are, as int64.

    Raises IndexError for integers beyond int64.
    """
    if isinstance(value, (Tensor, Value)):
        return value
    if (array := host_index(value)) is None:
        return as_tensor(value, *beside)
    return UserTensor(array, dtype=None if array.itemsize == 4 else "int64", device=place_of(beside))


def host_index(value: Any) -> np.ndarray[Any, Any] | None:
    """What as_index makes a tensor of, if that is integers of at least 32 bits and no tensor; otherwise None."""
    plain = type(value) is list and set(map(type, value)) == {int}  # the usual case, told at once
    if not plain and (isinstance(value, (Tensor, Value)) or _holds_tensors(value)):
        return None
    with suppress(ValueError):  # of sequences of different lengths, of which as_tensor says what is wrong
        array = np.asarray(value)
        if array.dtype.kind in "iu" and array.dtype.itemsize >= 4:
            return as_indices(array)
    return None


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(isinstance(x, Tensor) or _holds_tensors(x) for x in value)


def dtype_of(x: Any) -> str:
    """The name of the dtype of a tensor or a value of a Program."""
    return str(x.desc.dtype if isinstance(x, Tensor) else x.dtype)


def device_name(device: str | Device | None) -> str:
    """The full name of a usable device, the default one for None. Raises DeviceError if it does not exist."""
    return devices.canonical(devices.require(device))


def pair(op: str, argument: str, value: Any, least: int = 0) -> tuple[int, int]:
    """Two ints from one or two. Raises ValueError for a wrong count or a number below `least`."""
    if type(value) is int and value >= least:  # as in most calls, which should cost little
        return value, value
    first, second = _one_or(2, "two", op, argument, value, least)
    return first, second


def triple(op: str, argument: str, value: Any, least: int = 0) -> tuple[int, int, int]:
    """Three ints from one or three. Raises ValueError for a wrong count or a number below `least`."""
    first, second, third = _one_or(3, "three", op, argument, value, least)
    return first, second, third


def _one_or(count: int, word: str, op: str, argument: str, value: Any, least: int) -> tuple[int, ...]:
    numbers = _integers(op, argument, value)
    if len(numbers) == 1 and not isinstance(value, (list, tuple)):
        numbers *= count
    if len(numbers) != count or min(numbers) < least:
        raise ValueError(f"{op}: {argument} takes one or {word} integers >= {least}, got {value!r}")
    return numbers


def single(op: str, argument: str, value: Any, least: int = 0) -> int:
    """One int, perhaps alone in a sequence. Raises ValueError for anything else or a number below `least`."""
    if type(value) is int and value >= least:
        return value
    numbers = _integers(op, argument, value)
    if len(numbers) != 1 or numbers[0] < least:
        raise ValueError(f"{op}: {argument} takes one integer >= {least}, got {value!r}")
    return numbers[0]


def _integers(op: str, argument: str, value: Any) -> tuple[int, ...]:
    """The integers in `value`; none if there is anything else in it."""
    try:
        return integers(op, argument, value)
    except TypeError:
        return ()


def need_fitting(op: str, argument: str, number: float, dtype: str) -> None:
    """Raises OverflowError for a number that does not fit an integer dtype."""
    limits = integer_range(dtype)
    if limits and not limits[0] <= number <= limits[1]:
        raise OverflowError(f"{op}: {argument} {number} does not fit {dtype}, which holds {limits[0]} to {limits[1]}")


def need_rank(op: str, x: Any, *ranks: int) -> None:
    """Raises ValueError unless `x` has one of these numbers of dimensions."""
    if x.ndim not in ranks:
        raise ValueError(
            f"{op} takes a tensor of {' or '.join(map(str, ranks))} dimensions, got shape {tuple(x.shape)}"
        )


def need_integers(op: str, argument: str, x: Any) -> Any:
    """Raises TypeError unless the tensor `x` holds integers."""
    if dtype_of(x) not in INTS:
        raise TypeError(f"{op}: {argument} must be integers, got {dtype_of(x)}; convert it with .astype('int32')")
    return x


def need_mask(op: str, mask: Any) -> Any:
    """Raises ValueError unless the tensor `mask` is boolean."""
    if dtype_of(mask) != "bool":
        raise ValueError(
            f"{op}: the mask must be bool, got {dtype_of(mask)}; compare, or convert it with .astype('bool')"
        )
    return mask


def need_choice(op: str, argument: str, value: Any, choices: Iterable[str]) -> str:
    """Raises ValueError unless `value` is one of the choices."""
    if value not in choices:
        raise ValueError(f"{op}: {argument} must be one of {', '.join(choices)}, got {value!r}")
    return str(value)
