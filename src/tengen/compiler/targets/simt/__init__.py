"""Kernels for GPUs: many threads that run the same code, in step by warps."""

from __future__ import annotations

from .contraction import emit_block_product
from .nest import emit_threads
from .ptx import to_ptx
from .sort import emit_device_sort

__all__ = ["emit_block_product", "emit_device_sort", "emit_threads", "to_ptx"]
