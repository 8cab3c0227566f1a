"""A limit on memory for everything that is traced, under the names of dynamic tensor rematerialisation (Kirisame et al. 2021).

There, values are dropped when memory runs out, and computed again when they are needed. tengen plans that when a trace is compiled
(`jit.DTRConfig`): each Program that is compiled between `enable` and `disable`, and whose trace has no limit of its own, takes at most
`eviction_threshold` bytes beside the tensors that are there before the call, if that can be reached at all (a warning is logged where
not). Operations outside traces are not affected: they keep what their gradients need.

    enable()  disable()
    eviction_threshold      bytes, or text such as "5GB"; 0, as at the start: no limit
    evictee_minimum_size    bytes, or text: values of fewer are always kept; "1MB" at the start
    enable_sqrt_sampling    taken for the sake of programs that set it; which values are computed again is not searched for at run time

>>> import tengen.dtr as dtr
>>> dtr.eviction_threshold = "2 GB"
>>> dtr.eviction_threshold
2147483648
>>> dtr.eviction_threshold = 0
"""

from __future__ import annotations

import re
import sys
from types import ModuleType

from .jit.memory import everywhere

__all__ = ["disable", "enable"]

enable_sqrt_sampling: bool
eviction_threshold: int
evictee_minimum_size: int

_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


def enable() -> None:
    """Have traces that are compiled from now on keep to `eviction_threshold`."""
    everywhere.enabled = True


def disable() -> None:
    """Compile traces without that limit again. Those that are compiled stay as they are."""
    everywhere.enabled = False


def _bytes(name: str, value: int | str) -> int:
    """A number of bytes from an int, or from text with a unit. Raises TypeError or ValueError for anything else."""
    if isinstance(value, str):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB)", value.strip().upper())
        if found is None:
            raise ValueError(f'dtr.{name} must be a number of B, KB, MB or GB, such as "5GB", got {value!r}')
        return int(float(found[1]) * _UNITS[found[2]])
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f'dtr.{name} must be an int or text such as "5GB", got {type(value).__name__} {value!r}')
    if value < 0:
        raise ValueError(f"dtr.{name} must be at least 0, got {value}")
    return value


class _Module(ModuleType):
    """This module, with its settings as attributes."""

    @property
    def eviction_threshold(self) -> int:
        """How many bytes a traced call may take beside the tensors that are there before it; 0: no limit."""
        return everywhere.threshold

    @eviction_threshold.setter
    def eviction_threshold(self, value: int | str) -> None:
        everywhere.threshold = _bytes("eviction_threshold", value)

    @property
    def evictee_minimum_size(self) -> int:
        """Values of fewer bytes are always kept."""
        return everywhere.smallest

    @evictee_minimum_size.setter
    def evictee_minimum_size(self, value: int | str) -> None:
        everywhere.smallest = _bytes("evictee_minimum_size", value)

    @property
    def enable_sqrt_sampling(self) -> bool:
        """Changes nothing."""
        return everywhere.sampling

    @enable_sqrt_sampling.setter
    def enable_sqrt_sampling(self, value: bool) -> None:
        if not isinstance(value, int):
            raise TypeError(f"dtr.enable_sqrt_sampling must be True or False, got {type(value).__name__} {value!r}")
        everywhere.sampling = bool(value)


sys.modules[__name__].__class__ = _Module
