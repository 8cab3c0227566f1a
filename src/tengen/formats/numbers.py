"""Dtypes of files: how their elements lie there, and what becomes of those that tengen lacks."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..base.dtype import NUMPY_CLASS

# The elements of each dtype as NumPy reads them. bfloat16 and the float8s are bits, from which the numbers are
# computed.
BITS: dict[str, str] = {name: np.dtype(cls).name for name, cls in NUMPY_CLASS.items() if name != "bfloat16"}
BITS |= {name: name for name in ("uint32", "uint64", "complex64", "complex128")}
BITS |= {"bfloat16": "uint16", "float8_e4m3fn": "uint8", "float8_e5m2": "uint8"}


def held(dtype: str) -> str | None:
    """The dtype of the tensor that holds such numbers; None if there is none and an array holds them."""
    return "float32" if dtype.startswith("float8") else dtype if dtype in NUMPY_CLASS else None


@cache
def float8(dtype: str) -> Any:
    """The 256 numbers of a float8, as float32. Source: Micikevicius et al. 2022, "FP8 Formats for Deep Learning"."""
    mantissa_bits, bias = (3, 7) if dtype == "float8_e4m3fn" else (2, 15)
    bits = np.arange(128)
    exponent, mantissa = bits >> mantissa_bits, bits & (1 << mantissa_bits) - 1
    fraction = mantissa / (1 << mantissa_bits) + (exponent > 0)
    numbers = np.ldexp(fraction, np.maximum(exponent, 1) - bias)
    if dtype == "float8_e4m3fn":
        numbers[127] = np.nan
    else:
        numbers[124], numbers[125:] = np.inf, np.nan
    return np.concatenate([numbers, -numbers]).astype(np.float32)
