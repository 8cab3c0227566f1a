"""Layers that do next to nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import functional as F
from ..core import Tensor
from .module import Module

__all__ = ["Concat", "DequantStub", "Identity", "QuantStub"]


class Identity(Module):
    """Returns its input."""

    def forward(self, x: Any) -> Any:
        return x


class Concat(Module):
    """`functional.concat` as a layer."""

    def forward(self, inps: Iterable[Tensor], axis: int = 0) -> Tensor:
        return F.concat(inps, axis)


class QuantStub(Module):
    """Marks where quantised computing begins; returns its input until the network is quantised."""

    def forward(self, inp: Tensor) -> Tensor:
        return inp


class DequantStub(Module):
    """Marks where quantised computing ends; returns its input until the network is quantised."""

    def forward(self, inp: Tensor) -> Tensor:
        return inp
