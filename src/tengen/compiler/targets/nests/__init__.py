"""Loop nests as LLVM IR, for CPUs. `body` is what a Nest means on any machine."""

from __future__ import annotations

from ...kernels.nest import verify
from ...kernels.nest_tiling import NestSource
from ...kernels.target import HostTarget
from .cross import CrossEmitter
from .emit import NestEmitter

__all__ = ["emit_nest"]


def emit_nest(source: NestSource, target: HostTarget) -> str:
    """LLVM IR text of a loop nest. Raises ValueError if the Nest is not well formed."""
    verify(source.nest)
    emitter = NestEmitter if source.nest.cross is None else CrossEmitter
    return emitter(source.nest, target).text()
