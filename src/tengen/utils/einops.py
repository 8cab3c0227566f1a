"""The backend of einops for tensors: `rearrange`, `reduce`, `repeat`, `pack` and `unpack` take them as they take NumPy arrays.

einops looks for a backend among the subclasses of its own class, so `tengen` has this one defined when einops is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from .. import functional as F
from ..base.dtype import is_float
from ..core import Tensor


class _Functions:
    """The methods of an einops backend, for tensors."""

    framework_name = "tengen"

    def is_appropriate_type(self, tensor: Any) -> bool:
        return isinstance(tensor, Tensor)

    def from_numpy(self, x: Any) -> Tensor:
        return Tensor(x)

    def to_numpy(self, x: Tensor) -> Any:
        return x.numpy()

    def arange(self, start: int, stop: int) -> Tensor:
        return F.arange(start, stop, dtype="int32")

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        return x.reshape(*shape) if len(shape) else x.reshape(())

    def transpose(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        return x.transpose(*axes) if len(axes) else x

    def reduce(self, x: Tensor, operation: str, axes: Sequence[int]) -> Tensor:
        if operation in ("any", "all"):
            return Tensor(getattr(np, operation)(x.numpy(), axis=tuple(axes)))
        return getattr(x, operation)(axis=tuple(axes)) if len(axes) else x

    def stack_on_zeroth_dimension(self, tensors: list[Tensor]) -> Tensor:
        return F.stack(tensors)

    def add_axis(self, x: Tensor, new_position: int) -> Tensor:
        return F.expand_dims(x, new_position)

    def tile(self, x: Tensor, repeats: Sequence[int]) -> Tensor:
        return F.tile(x, tuple(repeats))

    def concat(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
        return F.concat(list(tensors), axis)

    def is_float_type(self, x: Tensor) -> bool:
        return is_float(x.desc.dtype)

    def einsum(self, pattern: str, *x: Tensor) -> Tensor:
        return F.einsum(pattern, *x)


def make_backend(backends: ModuleType) -> None:
    """Define the backend. `backends` is einops's module of that name."""
    # einops finds subclasses through weak references, so this name keeps the class alive.
    backends.TengenBackend = type("TengenBackend", (_Functions, backends.AbstractBackend), {})  # type: ignore[attr-defined]
