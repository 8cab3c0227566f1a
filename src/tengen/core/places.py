"""Values go from one device to another."""

from __future__ import annotations

from typing import Any

from .. import _rt
from .._rt import Tensor, apply
from ..base.device import apart
from .ops.shape import Copy


def copied(x: Any, device: str | None = None) -> Any:
    """A copy of `x` on `device`, or where `x` is. Its gradient goes back to where `x` is.

    A Program runs on one device. So a copy to another one is no part of a traced function around it, but runs at once.
    """
    if device is None or not isinstance(x, Tensor) or not apart(x.desc.device, device):
        return apply(Copy(device), x)
    origin, recording = x.desc.device, _rt.recording()
    if recording is not None:
        recording.pause()
    try:
        made = _rt.unseen([x], apply, Copy(device), x)
    finally:
        if recording is not None:
            recording.resume()
    _rt.record([x], [made], lambda gradient: [copied(gradient, origin)])
    return made
