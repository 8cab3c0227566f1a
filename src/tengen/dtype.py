"""Quantised dtypes: integers q that stand for the real numbers (q - zero point) · scale.

`qint8(0.1)` is a dtype; `x.astype(qint8(0.1))` rounds to it and `q.astype("float32")` gives the real numbers back. `q.numpy()` has
the integers. Dtypes of less than 8 bits take a byte for each number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .base.dtype import QuantDType, bfloat16, canonical, dtype_of
from .base.quantized import KINDS, QuantDtypeMeta, Quantized, make, quantized

__all__ = [
    "QuantDtypeMeta",
    "bfloat16",
    "convert_from_qint1",
    "convert_from_qint4",
    "convert_from_qint8",
    "convert_from_qint32",
    "convert_from_quint4",
    "convert_from_quint8",
    "convert_to_qint1",
    "convert_to_qint4",
    "convert_to_qint8",
    "convert_to_qint32",
    "convert_to_quint4",
    "convert_to_quint8",
    "create_quantized_dtype",
    "get_dtype_bit",
    "get_scale",
    "get_zero_point",
    "is_bfloat16",
    "is_differentible_dtype",
    "is_dtype_equal",
    "is_lowbit",
    "is_quantize",
    "qint1",
    "qint4",
    "qint8",
    "qint32",
    "quint4",
    "quint8",
]  # fmt: skip

_builtin_quant_dtypes = KINDS


def create_quantized_dtype(dtype_meta: QuantDtypeMeta, scale: float, zp: int | None) -> QuantDType:
    """The dtype of a kind, with a scale and, for the unsigned kinds, a zero point.

    Raises ValueError for a kind that no tensor has ("qint2"), a scale that is not positive, a zero point that is out of range or that
    a symmetric kind does not have.

    >>> create_quantized_dtype(QuantDtypeMeta("quint8", "Quantized8Asymm", "uint8", 0, 255), 0.5, 128)
    quint8(0.5,128)
    """
    return QuantDType(make(dtype_meta, scale, zp))


def qint8(scale: float) -> QuantDType:
    """Integers from -128 to 127 times `scale`, a positive number.

    >>> tengen.tensor([0.24, -0.25, 99.0]).astype(tengen.dtype.qint8(0.1)).tolist()
    [2, -3, 127]
    """
    return create_quantized_dtype(KINDS["qint8"], scale, None)


def quint8(scale: float, zero_point: int) -> QuantDType:
    """Integers from 0 to 255, minus `zero_point`, times `scale`."""
    return create_quantized_dtype(KINDS["quint8"], scale, zero_point)


def qint32(scale: float) -> QuantDType:
    """Integers of 32 bits times `scale`: the dtype of sums of products, and of biases."""
    return create_quantized_dtype(KINDS["qint32"], scale, None)


def qint4(scale: float) -> QuantDType:
    """Integers from -8 to 7 times `scale`."""
    return create_quantized_dtype(KINDS["qint4"], scale, None)


def quint4(scale: float, zero_point: int) -> QuantDType:
    """Integers from 0 to 15, minus `zero_point`, times `scale`."""
    return create_quantized_dtype(KINDS["quint4"], scale, zero_point)


def qint1(scale: float) -> QuantDType:
    """0 and 1 times `scale`."""
    return create_quantized_dtype(KINDS["qint1"], scale, None)


def is_quantize(dtype: Any) -> bool:
    """Whether a dtype is a quantised one.

    >>> is_quantize(qint8(0.5)), is_quantize("int8")
    (True, False)
    """
    return isinstance(dtype_of(canonical(dtype)), QuantDType)


def _value(dtype: Any) -> Quantized:
    if isinstance(dtype, QuantDType):
        return dtype.quantized
    found = quantized(canonical(dtype))
    if found is None:
        raise TypeError(f"{dtype!r} is not a quantised dtype")
    return found


def get_scale(dtype: Any) -> float:
    """The scale of a quantised dtype. Raises TypeError for any other."""
    return _value(dtype).scale


def get_zero_point(dtype: Any) -> int:
    """The zero point of a quantised dtype. Raises TypeError for any other, ValueError for a symmetric one, which has none."""
    value = _value(dtype)
    if value.zero_point is None:
        raise ValueError(f"{value.name} is symmetric and has no zero point")
    return value.zero_point


def is_bfloat16(dtype: Any) -> bool:
    """Whether a dtype is bfloat16."""
    return canonical(dtype) == "bfloat16"


def is_differentible_dtype(dtype: Any) -> bool:
    """Whether gradients flow through values of a dtype."""
    return canonical(dtype) in ("float32", "float16", "bfloat16", "float64")


def is_dtype_equal(first: Any, second: Any) -> bool:
    """Whether two dtypes are the same: of quantised ones the scales and zero points too."""
    return canonical(first) == canonical(second)


def is_lowbit(dtype: Any) -> bool:
    """Whether a dtype is of integers of less than 8 bits that are not quantised. tengen has none."""
    canonical(dtype)
    return False


def get_dtype_bit(dtype_name: str) -> int:
    """The bits of a number of the dtype of this name, which is the number at its end.

    Raises ValueError for a name without one.

    >>> get_dtype_bit("qint4"), get_dtype_bit("float32")
    (4, 32)
    """
    digits = dtype_name[len(dtype_name.rstrip("0123456789")) :]
    if not digits:
        raise ValueError(f"the name {dtype_name!r} does not say how many bits there are")
    return int(digits)


def _convert_to_quantized_dtype(arr: Any, dtype: Any, dtype_meta: QuantDtypeMeta) -> np.ndarray[Any, Any]:
    value = _value(dtype)
    if value.kind.cname != dtype_meta.cname:
        raise ValueError(f"a dtype of the kind {dtype_meta.name} is needed, got {value.name}")
    kind = value.kind
    steps = np.rint(np.asarray(arr, np.float32) / np.float32(value.scale)) + np.float32(value.zero)
    # A float32 does not have the largest int32.
    limits = (kind.qmin, kind.qmax) if kind.name != "qint32" else (np.float32(kind.qmin), np.float64(kind.qmax))
    whole = np.nan_to_num(np.clip(steps.astype(np.float64), *limits), nan=max(kind.qmin, 0))
    return whole.astype(QuantDType(value).dtype)


def _convert_from_quantized_dtype(arr: Any, dtype_meta: QuantDtypeMeta) -> np.ndarray[Any, Any]:
    value = quantized(canonical(arr.dtype))
    if value is None or value.kind.cname != dtype_meta.cname:
        raise ValueError(f"an array of the kind {dtype_meta.name} is needed, got {arr.dtype!r} of {arr.dtype.metadata}")
    return (arr.astype(np.float32) - np.float32(value.zero)) * np.float32(value.scale)


def _converters(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def to(arr: Any, q: Any) -> np.ndarray[Any, Any]:
        return _convert_to_quantized_dtype(arr, q, KINDS[name])

    def back(arr: Any) -> np.ndarray[Any, Any]:
        return _convert_from_quantized_dtype(arr, KINDS[name])

    to.__name__ = to.__qualname__ = f"convert_to_{name}"
    back.__name__ = back.__qualname__ = f"convert_from_{name}"
    to.__doc__ = (
        f"Numbers of a NumPy array as integers of `q`, a {name} dtype: the nearest, in the middle the even one, as NumPy rounds.\n\n"
        "    Raises ValueError for another dtype. `Tensor.astype` rounds away from zero there.\n    "
    )
    back.__doc__ = (
        f"The real numbers of a NumPy array of a {name} dtype, as float32. Raises ValueError for another dtype."
    )
    return to, back


convert_to_qint8, convert_from_qint8 = _converters("qint8")
convert_to_quint8, convert_from_quint8 = _converters("quint8")
convert_to_qint32, convert_from_qint32 = _converters("qint32")
convert_to_qint4, convert_from_qint4 = _converters("qint4")
convert_to_quint4, convert_from_quint4 = _converters("quint4")
convert_to_qint1, convert_from_qint1 = _converters("qint1")
