"""Traced functions: whole training steps and networks as one compiled Program."""

from .errors import TraceError
from .loaded import Loaded, load
from .trace import exclude_from_trace, fuse, partial_trace, trace

__all__ = [
    "Loaded",
    "TraceError",
    "exclude_from_trace",
    "fuse",
    "load",
    "partial_trace",
    "trace",
]
