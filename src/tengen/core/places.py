"""Values go from one device to another."""

from __future__ import annotations

from typing import Any

from .. import _rt
from .._rt import Tensor, apply
from ..base.device import apart
from .ops.shape import Copy


def copied(x: Any, device: str | None = None) -> Any:
    """A copy of `x` on `device`, or where `x` is. Its gradient goes back to where `x` is."""
    if device is None or not isinstance(x, Tensor) or not apart(x.desc.device, device):
        return apply(Copy(device), x)
    origin = x.desc.device
    made = _rt.unseen([x], _sent, x, device)
    _rt.record([x], [made], lambda gradient: [copied(gradient, origin)])
    return made


def _sent(x: Tensor, device: str) -> Any:
    return apply(Copy(device), x)
