"""Kernels for GPUs: many threads that run the same code, in step by warps."""

from __future__ import annotations

from ...kernels.nest import verify
from ...kernels.nest_tiling import NestSource
from ...kernels.target import DeviceTarget
from .contraction import emit_block_product
from .nest import ThreadEmitter
from .ptx import to_ptx
from .sort import emit_device_sort
from .squares import SquareEmitter

__all__ = ["emit_block_product", "emit_device_sort", "emit_threads", "to_ptx"]


def emit_threads(source: NestSource, target: DeviceTarget) -> str:
    """LLVM IR text of a loop nest for a GPU. Raises ValueError if the Nest is not well formed, NoKernelError for a
    function that GPUs have no code for."""
    verify(source.nest)
    emitter = ThreadEmitter if source.nest.cross is None else SquareEmitter
    return emitter(source.nest, target, source.guarded, source.wide).text()
