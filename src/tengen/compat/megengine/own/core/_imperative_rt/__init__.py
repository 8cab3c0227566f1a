"""Parts of `megengine.core._imperative_rt`."""

from ..tensor.dtype import is_dtype_equal, is_quantize

__all__ = ["is_dtype_equal", "is_quantize"]
