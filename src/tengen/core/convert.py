"""Converts numbers, lists and NumPy arrays to tensors, and tensors back to NumPy."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from .._rt import Tensor
from ..base.dtype import COMPLEX, NAMES, NUMPY_CLASS, bfloat16_bits, dtype_of
from ..base.quantized import from_numpy, storage
from ..base.usage import no_tensor, warn
from .ops.base import integer_range, not_fitting

# The dtype of a tensor if none is named: the reference has neither 64-bit numbers nor unsigned ones beyond 16 bits.
LONG_DOUBLE = np.dtype(np.longdouble).name  # such as float128, which is float64 on some machines
DEFAULTS = {
    LONG_DOUBLE: "float32",
    "float64": "float32",
    "complex128": "complex64",
    "int64": "int32",
    "uint64": "int32",
    "uint32": "int32",
}


PLAIN = {np.dtype(name): name for name in ("float32", "int32", "uint8", "bool")}  # arrays that are taken as they are
FEW = 32  # elements that Python looks at faster than NumPy


def place_of(values: Iterable[Any]) -> str | None:
    """The device of the first tensor among arguments, or in lists among them: arrays and lists beside it go there. None if there is no tensor,
    which is the default device."""
    values = tuple(values)
    for value in values:
        if isinstance(value, Tensor):
            return value.desc.device
    inside = (place_of(value) for value in values if isinstance(value, (list, tuple)))
    return next((place for place in inside if place is not None), None)


def from_data(data: Any, dtype: str | None, device: str) -> Tensor:
    """A tensor with a copy of `data`: a number, nested sequences, anything NumPy can read. `dtype` is a name; None
    keeps the data's own.

    Raises TypeError for data that holds no numbers.
    """
    made = Tensor()
    assign(made, data, dtype, device)
    return made


def assign(
    tensor: Tensor, data: Any, dtype: str | None, device: str, ahead: bool = False, order: tuple[int, ...] = ()
) -> None:
    """Give a tensor handle the value of `data`; see from_data. ahead: it is used only later, so a GPU goes on with what it does meanwhile.
    order: which dim of `data` each dim of the tensor is, unless they are the same."""
    plain = PLAIN.get(data.dtype) if type(data) is np.ndarray else None
    if plain and dtype in (None, plain) and data.dtype.metadata is None:  # the usual case
        tensor._assign(data if data.flags.c_contiguous else np.ascontiguousarray(data), plain, device, ahead, order)
        return
    given = data
    if isinstance(data, (list, tuple)):
        data = _without_tensors(data)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"a tensor needs sequences of equal lengths: {error}") from None
    if array.dtype == object and all(isinstance(number, (int, float)) for number in array.flat):  # ints beyond 64 bits
        ints = all(isinstance(number, int) for number in array.flat)
        check_ints("tensor", data, dtype or ("int64" if ints else "float32"))
        array = array.astype(np.float64)
    if array.dtype.kind not in "biufc":
        single = array.ndim == 0 and not isinstance(data, np.ndarray)
        raise TypeError(no_tensor(given, "" if single else f"{type(given).__name__} of dtype {array.dtype}"))
    if array.dtype.kind == "c" and dtype not in (None, COMPLEX):
        raise TypeError(f"a tensor of {dtype} cannot hold complex numbers; take their real or imag")
    if array.size == 0 and isinstance(data, (list, tuple)) and dtype is None:
        array = array.astype(np.float32)
    marked = from_numpy(array.dtype) if array.dtype.metadata else None
    own = _name_of(array.dtype) if marked is None else marked.name
    name = dtype or DEFAULTS.get(own, own)
    if name[0] == "q":
        tensor._assign(
            np.ascontiguousarray(_quantized(array, own, name)).reshape(array.shape), name, device, ahead, order
        )
        return
    if name not in NAMES:
        raise TypeError(f"a tensor cannot hold {array.dtype}; convert it, or name one of {', '.join(NAMES)}")
    if dtype is None and array.size and name == "int32" != own:
        _warn_of_wrap(array, own)
    if dtype and array.dtype.kind in "iu" and isinstance(data, (int, list, tuple)) and not _all_fit(array, dtype):
        check_ints("tensor", data, dtype)
    tensor._assign(np.ascontiguousarray(_stored(array, name)).reshape(array.shape), name, device, ahead, order)


@cache
def _name_of(dtype: np.dtype[Any]) -> str:
    """The name of a dtype in this machine's byte order, which NumPy puts together anew each time."""
    return dtype.newbyteorder("=").name


def check_ints(op: str, values: Any, dtype: str) -> None:
    """OverflowError if a Python int, alone or in nested lists, does not fit an integer dtype. Arrays wrap, as in NumPy."""
    limits = integer_range(dtype)
    if limits is None:
        return
    for value in values if isinstance(values, (list, tuple)) else (values,):
        if isinstance(value, (list, tuple)):
            check_ints(op, value, dtype)
        elif isinstance(value, int) and not limits[0] <= value <= limits[1]:
            raise not_fitting(op, value, dtype)


def _all_fit(array: np.ndarray[Any, Any], dtype: str) -> bool:
    limits = integer_range(dtype)
    return limits is None or array.size == 0 or (limits[0] <= array.min() and array.max() <= limits[1])


def as_indices(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Integers as a tensor holds them as indices: int32 if they fit, otherwise int64.

    Raises IndexError if they fit neither.
    """
    narrow = array.astype(np.int32, copy=False)
    if 0 < array.size <= FEW and array.ndim == 1:
        numbers = array.tolist()
        if min(numbers) >= -(1 << 31) and max(numbers) < 1 << 31:
            return narrow
    if narrow is array or array.dtype.itemsize < 4 or (narrow == array).all():
        return narrow
    high = int(array.max())
    if high >= 1 << 63:
        raise IndexError(f"index {high} is out of range for every dimension")
    return array.astype(np.int64, copy=False)


def _warn_of_wrap(array: np.ndarray[Any, Any], own: str) -> None:
    """Warn if integers of 32 or 64 bits do not all fit int32."""
    if array.ndim == 0:
        low = high = int(array)
    elif array.dtype.isnative and np.maximum.reduce(array.view(f"u{array.itemsize}"), axis=None) < 1 << 31:
        return  # the usual case; a negative number looks large there
    else:
        low, high = int(array.min()), int(array.max())
    if low >= -(1 << 31) and high < 1 << 31:
        return
    worst = high if high >= 1 << 31 else low
    wrapped = int(np.array(worst, own).astype(np.int32))
    fix = (
        'give dtype="int64" to keep such numbers' if worst < 1 << 63 else 'give dtype="float64" for about such a number'
    )
    warn(f"{worst} does not fit int32, which a tensor of {own} data gets by default, so it becomes {wrapped}; {fix}")


def _without_tensors(data: Any) -> Any:
    if isinstance(data, Tensor):
        return to_numpy(data)
    if not isinstance(data, (list, tuple)):
        return data
    return [d if type(d) is float or type(d) is int else _without_tensors(d) for d in data]


def _quantized(array: np.ndarray[Any, Any], own: str, name: str) -> np.ndarray[Any, Any]:
    """The integers that a tensor of the quantised dtype `name` takes from an array of dtype `own`."""
    kind = storage(name)
    if own != name and (own[0] == "q" or array.dtype.kind not in "iu"):
        raise TypeError(
            f"a tensor of {name} is made from the integers that it stores, not from {own}; convert numbers with astype"
        )
    if array.size and (array.min() < np.iinfo(kind).min or array.max() > np.iinfo(kind).max):
        raise OverflowError(
            f"a tensor of {name} stores {kind}, which does not hold all of {array.min()} to {array.max()}"
        )
    return array.astype(kind)


def _stored(array: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """The array in the storage form of the dtype; bfloat16 as its bits, rounded to nearest even."""
    if name != "bfloat16":
        return array.astype(NUMPY_CLASS[name], copy=False)
    return bfloat16_bits(array)


def dense_order(array: np.ndarray[Any, Any]) -> tuple[int, ...] | None:
    """The order of an array's dims in memory, slowest first, if its elements lie side by side in another order than
    row-major; otherwise None."""
    strides, shape = array.strides, array.shape
    order = sorted(range(len(shape)), key=lambda d: (-strides[d], -shape[d]))  # a dim of one element may lie anywhere
    if order == list(range(len(shape))) or array.size == 0 or not array.transpose(order).flags.c_contiguous:
        return None
    return tuple(order)


def inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    """Where each dim stands in an order of dims."""
    return tuple([order.index(d) for d in range(len(order))])


def widened(bits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The bits of bfloat16 numbers as float32 numbers, which lie as the bits do."""
    if (order := dense_order(bits)) is not None:  # NumPy would move dims of one element
        return widened(bits.transpose(order)).transpose(inverse(order))
    return (bits.astype(np.uint32) << 16).view(np.float32).reshape(bits.shape)


def to_numpy(tensor: Tensor) -> np.ndarray[Any, Any]:
    """The elements as a read-only NumPy array that shares memory; bfloat16 as a copy in float32."""
    view = tensor._array()
    if tensor.desc.dtype == "bfloat16":
        return widened(view)
    return view.view(dtype_of(tensor.desc.dtype).dtype) if tensor.desc.dtype[0] == "q" else view
