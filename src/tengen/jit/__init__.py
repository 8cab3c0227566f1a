"""Traced functions: whole training steps and networks as one compiled Program."""

from .config import DTRConfig, GraphOptimizationConfig, SublinearMemoryConfig
from .errors import TraceError
from .loaded import Loaded, load
from .scopes import exclude_from_trace, fuse, partial_trace, xla_trace
from .trace import trace

__all__ = [
    "DTRConfig",
    "GraphOptimizationConfig",
    "Loaded",
    "SublinearMemoryConfig",
    "TraceError",
    "exclude_from_trace",
    "fuse",
    "load",
    "partial_trace",
    "trace",
    "xla_trace",
]
