"""`megengine.core.tensor.dtype`: what `tengen.dtype` has."""

from __future__ import annotations

from tengen import dtype as _dtype
from tengen.dtype import *  # noqa: F403
from tengen.dtype import (
    _builtin_quant_dtypes,
    _convert_from_quantized_dtype,
    _convert_to_quantized_dtype,
)

__all__ = [*_dtype.__all__, "_builtin_quant_dtypes", "_convert_from_quantized_dtype", "_convert_to_quantized_dtype"]
