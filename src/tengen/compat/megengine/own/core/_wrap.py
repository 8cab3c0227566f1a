"""Parts of `megengine.core._wrap`."""

from __future__ import annotations

from typing import Any

import tengen.base.device as devices

from ..... import Tensor

__all__ = ["Device", "as_device"]


class Device:
    """A device, given by its name, by a tensor on it, or as another device."""

    def __init__(self, device: Any = None):
        given = device.device if isinstance(device, Tensor) else device
        self._device: devices.Device = device._device if isinstance(device, Device) else devices.require(given)

    @property
    def logical_name(self) -> str:
        """The name that users call it by."""
        return self._device.logical_name

    def to_c(self) -> devices.Device:
        """The name that tensors have."""
        return self._device

    def __str__(self) -> str:
        return str(self._device)

    def __repr__(self) -> str:
        return f"Device({self._device!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other._device == self._device

    def __hash__(self) -> int:
        return hash(self._device)


def as_device(obj: Any) -> Device:
    """The device of a name, a tensor or another device."""
    return obj if isinstance(obj, Device) else Device(obj)
