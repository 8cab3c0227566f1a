"""Parts of `megengine.core._config` and `megengine.config`: settings that tengen does not need, and its own under
MegEngine's names.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ..... import config
from ._imperative_rt.core2 import get_auto_format_convert, get_option, set_auto_format_convert, set_option

_OURS = (
    "async_level",
    "benchmark_kernel",
    "benchmark_with_subprocess",
    "deterministic_kernel",
    "disable_memory_forwarding",
)

# tengen always has float32 sums, and layouts follow the operations
_compute_mode = "default"
_bn_format = "dim_1c11"
_auto_format_convert = False
__compute_mode = "default"

__all__ = [
    "__compute_mode",
    "_auto_format_convert",
    "_bn_format",
    "_clear_algorithm_cache",
    "_compute_mode",
    "_override",
    "_reset_execution_config",
    "get_auto_format_convert",
    "get_option",
    "set_auto_format_convert",
    "set_option",
    *_OURS,
]


def _clear_algorithm_cache() -> None:
    """Kernels are not chosen by measurements, so there is nothing to forget."""


def _reset_execution_config(
    benchmark_kernel: bool | None = None,
    deterministic_kernel: bool | None = None,
    async_level: int | None = None,
    compute_mode: str | None = None,
) -> tuple[Any, ...]:
    """Set the given ones; returns what they were before."""
    here = sys.modules[__name__]
    given = {
        "benchmark_kernel": benchmark_kernel,
        "deterministic_kernel": deterministic_kernel,
        "async_level": async_level,
        "_compute_mode": compute_mode,
    }
    before = tuple(getattr(here, name) for name in given)
    for name, value in given.items():
        if value is not None:
            setattr(here, name, value)
    return before


@contextmanager
def _override(
    benchmark_kernel: bool | None = None,
    deterministic_kernel: bool | None = None,
    async_level: int | None = None,
    compute_mode: str | None = None,
) -> Iterator[None]:
    """Set the given ones inside a `with` block."""
    before = _reset_execution_config(benchmark_kernel, deterministic_kernel, async_level, compute_mode)
    try:
        yield
    finally:
        _reset_execution_config(*before)


class _Settings(ModuleType):
    """This module, with tengen's settings as attributes."""

    def __getattr__(self, name: str) -> Any:
        if name in _OURS:
            return getattr(config, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OURS:
            setattr(config, name, value)
        else:
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Settings
