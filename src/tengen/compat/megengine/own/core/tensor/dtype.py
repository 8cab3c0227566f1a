"""`megengine.core.tensor.dtype`: what `tengen.dtype` has."""

from __future__ import annotations

from ...... import dtype as _dtype
from ......dtype import *  # noqa: F403
from ......dtype import _builtin_quant_dtypes, _convert_from_quantized_dtype, _convert_to_quantized_dtype

__all__ = [*_dtype.__all__, "_builtin_quant_dtypes", "_convert_from_quantized_dtype", "_convert_to_quantized_dtype"]
