"""Layers that only pass values on or join them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import functional as F
from ..core import Tensor
from .module import Module

__all__ = ["Concat", "DequantStub", "Identity", "QuantStub"]


class Identity(Module):
    """Returns its input.

    Args:
        name: any text, kept as `.name`.

    >>> M.Identity()(tengen.tensor([1.0])).tolist()
    [1.0]
    """

    def forward(self, x: Any) -> Any:
        return x


class Concat(Module):
    """`functional.concat` as a layer.

    Args:
        name: any text, kept as `.name`.

    >>> M.Concat()([F.zeros((1, 2)), F.ones((2, 2))]).shape
    (3, 2)
    """

    def forward(self, inps: Iterable[Tensor], axis: int = 0) -> Tensor:
        return F.concat(inps, axis)


class QuantStub(Module):
    """Marks where quantised computing begins.

    It returns its input until the network is quantised.

    Args:
        name: any text, kept as `.name`.

    >>> M.QuantStub()(tengen.tensor([1.0])).tolist()
    [1.0]
    """

    def forward(self, inp: Tensor) -> Tensor:
        return inp


class DequantStub(Module):
    """Marks where quantised computing ends.

    It returns its input until the network is quantised.

    Args:
        name: any text, kept as `.name`.

    >>> M.DequantStub()(tengen.tensor([1.0])).tolist()
    [1.0]
    """

    def forward(self, inp: Tensor) -> Tensor:
        return inp
