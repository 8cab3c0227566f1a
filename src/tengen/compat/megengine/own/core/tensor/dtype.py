"""Of `megengine.core.tensor.dtype`, what does not depend on quantisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from tengen.base.dtype import bfloat16, canonical

__all__ = ["bfloat16", "is_bfloat16", "is_differentible_dtype", "is_dtype_equal", "is_quantize"]


def is_bfloat16(dtype: Any) -> bool:
    """Whether a dtype is bfloat16."""
    return canonical(dtype) == "bfloat16"


def is_differentible_dtype(dtype: Any) -> bool:
    """Whether gradients flow through values of a dtype."""
    return canonical(dtype) in ("float32", "float16", "bfloat16", "float64")


def is_dtype_equal(first: Any, second: Any) -> bool:
    """Whether two dtypes are the same."""
    return canonical(first) == canonical(second)


def is_quantize(dtype: Any) -> bool:
    """Whether a dtype is one of quantised values; there are none here yet."""
    return bool((np.dtype(dtype).metadata or {}).get("mgb_dtype", False)) if isinstance(dtype, np.dtype) else False
