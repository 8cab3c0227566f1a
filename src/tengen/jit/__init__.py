"""Traced functions: whole training steps and networks as one compiled Program."""

from .errors import TraceError
from .trace import exclude_from_trace, fuse, partial_trace, trace

__all__ = [
    "TraceError",
    "exclude_from_trace",
    "fuse",
    "partial_trace",
    "trace",
]
