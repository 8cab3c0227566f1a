"""Exchanges tensors with other frameworks without a copy, by the DLPack protocol."""

from ..core.dlpack import from_dlpack, to_dlpack

__all__ = ["from_dlpack", "to_dlpack"]
