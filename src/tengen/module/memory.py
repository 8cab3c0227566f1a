"""Memory for parameters."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..core.memory import amount


def array_of(layer: object, shape: int | Sequence[int], value: float | None = None) -> np.ndarray[Any, Any]:
    """A float32 array for a parameter of `layer`, filled with `value`, or with anything. Raises MemoryError, naming the layer and the shape."""
    extents = (shape,) if isinstance(shape, int) else tuple(shape)
    try:
        return np.empty(extents, np.float32) if value is None else np.full(extents, value, np.float32)
    except (MemoryError, ValueError):  # the latter for what cannot be addressed
        wanted = f"a parameter of shape {extents} takes {amount(4 * prod(extents))}"
        raise MemoryError(f"{type(layer).__name__}: {wanted}, more than there is; take fewer features") from None
