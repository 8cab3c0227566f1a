"""What dtypes are to the truth: how they combine, how exact they are, what they can hold. Independent of tengen's own rules."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTS = ("int8", "uint8", "int16", "uint16", "int32", "int64")
DTYPES = ("bool", *INTS, *FLOATS)

#: Half a unit in the last place of 1: the largest relative error of one rounding.
ROUNDING = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
LARGEST = {"float16": 65504.0, "bfloat16": 3.3895e38, "float32": float(np.finfo("f4").max), "float64": np.inf}


def kind(dtype: str) -> str:
    """ "float", "int" or "bool"."""
    return "float" if dtype in FLOATS else "int" if dtype in INTS else "bool"


def promoted(*dtypes: str) -> str:
    """The common dtype of operands, as the documentation has it; "number int" and "number float" are Python numbers, which never widen.

    Integers meet in the narrowest signed one that holds both; floats that differ, and bool or integers and floats, in float32, or in
    float64 if one is.
    """
    strong = {d for d in dtypes if not d.startswith("number")}
    found = strong.pop() if len(strong) == 1 else _met(strong)
    if kind(found) == "float":
        return found
    return "float32" if "number float" in dtypes or ("number int" in dtypes and found == "bool") else found


def _met(dtypes: set[str]) -> str:
    if "float64" in dtypes:
        return "float64"
    if not dtypes <= set(INTS):
        return "float32"
    first, *others = dtypes
    for dtype in others:
        first = str(np.promote_types(first, dtype))
    return first


def as_float(dtype: str) -> str:
    return dtype if dtype in FLOATS else "float32"


def statistics(dtype: str) -> str:
    return "float64" if dtype == "float64" else "float32"


def wide(dtype: str) -> str:
    """The NumPy dtype in which the truth holds values of `dtype`."""
    return {"float": "float64", "int": "int64", "bool": "bool"}[kind(dtype)]


def settled(values: Any, dtype: str) -> Array:
    """`values` as a tensor of `dtype` holds them, but for rounding: integers wrap, what is too large for a float is infinite."""
    array = np.asarray(values)
    if dtype == "bool":
        return array.astype(bool)
    if dtype in INTS:
        return array.astype(np.int64).astype(dtype).astype(np.int64)
    array = array.astype(np.float64)
    limit = LARGEST[dtype] * (1 + ROUNDING[dtype])
    return np.where(np.abs(array) > limit, np.copysign(np.inf, array), array)


def rounded(values: Any, dtype: str) -> Array:
    """The nearest values that `dtype` has, in the wide dtype."""
    array = settled(values, dtype)
    if dtype == "bfloat16":
        bits = array.astype(np.float32).reshape(-1).view(np.uint32)
        even = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
        kept = np.where(np.isfinite(bits.view(np.float32)), even, bits & np.uint32(0xFFFF0000)).astype(np.uint32)
        return kept.view(np.float32).reshape(array.shape).astype(np.float64)
    return array.astype(dtype).astype(wide(dtype)) if dtype in FLOATS else array
