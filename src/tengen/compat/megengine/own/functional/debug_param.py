"""Of `megengine.functional.debug_param`: how kernels of convolutions are chosen, which tengen does by shape alone."""

from __future__ import annotations

import os
from typing import Any

from ..core._config import _clear_algorithm_cache

__all__ = [
    "_clear_algorithm_cache", "_valid_string_option", "get_conv_execution_strategy", "get_execution_strategy", "set_conv_execution_strategy",
    "set_execution_strategy",
]  # fmt: skip

_valid_string_option = {name: name for name in ("REPRODUCIBLE", "HEURISTIC", "PROFILE")}
_chosen: list[Any] = [os.getenv("MEGENGINE_EXECUTION_STRATEGY", "HEURISTIC")]


def get_execution_strategy() -> Any:
    """What `set_execution_strategy` was given."""
    return _chosen[0]


def set_execution_strategy(option: Any) -> None:
    """Kept, and without effect. Raises ValueError for text that names no strategy."""
    if isinstance(option, str) and not all(part in _valid_string_option for part in option.split("_")):
        names = ", ".join(_valid_string_option)
        raise ValueError(f"a strategy is one of {names}, or some of them joined by '_', got {option!r}")
    _chosen[0] = option


get_conv_execution_strategy = get_execution_strategy
set_conv_execution_strategy = set_execution_strategy
