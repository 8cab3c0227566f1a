"""Machine code: `host` is the machine and its LLVM; `emit` writes a kernel as LLVM IR."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ...base.errors import NoKernelError
from ..kernels.attention import AttentionKernel
from ..kernels.attention_gradient import AttentionGradientKernel
from ..kernels.block_product import BlockProduct
from ..kernels.contraction import ContractionKernel, SumKernel
from ..kernels.device_sort import DeviceSort
from ..kernels.nest_tiling import NestSource
from ..kernels.positions import PositionsKernel
from ..kernels.sort import SortKernel
from ..kernels.target import DeviceTarget, HostTarget, Target
from . import attention, attention_gradient, positions, sort
from .contractions.emit import emit_contraction, emit_sum
from .nests import emit_nest
from .simt import emit_block_product, emit_device_sort, emit_threads

EMITTERS: Mapping[type, Mapping[type, Callable[[Any, Any], str]]] = {
    HostTarget: {
        NestSource: emit_nest,
        ContractionKernel: emit_contraction,
        SumKernel: emit_sum,
        PositionsKernel: positions.emit,
        SortKernel: sort.emit,
        AttentionKernel: attention.emit,
        AttentionGradientKernel: attention_gradient.emit,
    },
    DeviceTarget: {
        NestSource: emit_threads,
        BlockProduct: emit_block_product,
        DeviceSort: emit_device_sort,
    },
}


def emit(kernel: Any, target: Target) -> str:
    """LLVM IR text of a module with one function `kernel` of the kernel ABI of the target.

    Raises ValueError if the kernel is not well formed, NoKernelError if the target has no kernels of its class.
    """
    emitter = EMITTERS.get(type(target), {}).get(type(kernel))
    if emitter is None:
        raise NoKernelError(f"{target.name} has no kernels of class {type(kernel).__name__} yet")
    with _nothing_collected():
        return emitter(kernel, target)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Pause the garbage collector. A kernel in the making is tens of thousands of objects, all of them in use, and looking through them
    again and again takes longer than making them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
