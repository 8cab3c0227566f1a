"""Parts of `megengine.core.tensor.array_method`."""

from __future__ import annotations

from typing import Any

from .._imperative_rt.core2 import apply
from ..ops import builtin
from .utils import _normalize_axis

__all__ = ["_elwise", "_elwise_apply", "_normalize_axis", "apply"]


def _elwise_apply(args: Any, mode: Any) -> Any:
    """The element-wise function of a mode."""
    return apply(builtin.Elemwise(mode), *args)[0]


def _elwise(*args: Any, mode: Any) -> Any:
    """The element-wise function of a mode."""
    return _elwise_apply(args, mode)
