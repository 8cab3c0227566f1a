"""Runs a function in processes of their own, which are the ranks of a world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tengen.distributed as dist


def ranks(size: int, function: Callable[..., Any], *args: Any, **options: Any) -> list[Any]:
    """What each of `size` processes returns."""
    return dist.launcher(function, n_gpus=size, **options)(*args)
