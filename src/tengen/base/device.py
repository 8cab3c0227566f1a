"""Names of devices: reading, printing, and the default.

A name is a kind (`cpu`, `gpu`, or `xpu` for "whichever is there"), a number or `x` for "any", and after a colon the
stream,
0 if left out: `xpux`, `cpux`, `cpu0`, `gpu0`, `gpux`, `cpu0:0`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from .. import _rt
from . import config
from .errors import DeviceError
from .usage import warn

_NAME = re.compile(r"(cpu|gpu|xpu)(x|[0-9]+)(?::([0-9]+))?")
_OTHERS = re.compile(r"(cpu|gpu|cuda)(?::?([0-9]+))?")  # names of PyTorch, and kinds without a number


class Device:
    """One device name, read. Equal names give the same object; it also equals the strings that name the same device.

    >>> device = parse("xpux")
    >>> str(device), device.physical, device == "xpux"
    ('xpux:0', 'cpu0', True)
    """

    __slots__ = ("_name", "index", "kind", "stream")

    def __init__(self, kind: str, index: int | None, stream: int):
        self.kind: Final = kind
        self.index: Final = index
        self.stream: Final = stream
        self._name: Final = f"{kind}{'x' if index is None else index}:{stream}"

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return str(self)

    def __eq__(self, other: object) -> bool:
        return str(self) == canonical(other) if isinstance(other, str) and _NAME.fullmatch(other) else self is other

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> tuple[object, ...]:
        return parse, (str(self),)

    @property
    def logical_name(self) -> str:
        """The name as the user gave it, in full: `xpux:0`."""
        return str(self)

    @property
    def physical_name(self) -> str:
        """The device behind the name, in full: `cpu0:0` for `xpux`."""
        return f"{self.physical}:{self.stream}"

    @property
    def physical(self) -> str:
        """The device behind the name, as the runtime calls it: `cpu0` or `gpu0`. Of an `xpu` the GPUs' driver is asked."""
        return f"{best_kind() if self.kind == 'xpu' else self.kind}{self.index or 0}"

    @property
    def memory(self) -> str:
        """Whose memory it uses: `cpu` for all CPUs, `gpu0` for that GPU."""
        physical = self.physical
        return physical if physical.startswith("gpu") else "cpu"


@cache
def _parse(name: str) -> Device:
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(
            f"{name!r} is not a device{_meant(name)}; devices are named xpux, cpux, cpu0, cpu1, gpux, gpu0, gpu1:0 and so on"
        )
    kind, number, stream = found.groups()
    index, line = None if number == "x" else int(number), int(stream or 0)
    full = f"{kind}{'x' if index is None else index}:{line}"
    return Device(kind, index, line) if full == name else _parse(full)


def _meant(name: str) -> str:
    """What to write in place of `cuda:1` or `cpu`."""
    found = _OTHERS.fullmatch(name)
    return f", write {found[1].replace('cuda', 'gpu')}{found[2] or 0}" if found else ""


def parse(name: str | Device) -> Device:
    """The device that `name` names, there or not. Raises ValueError if it is not the name of a device."""
    if isinstance(name, Device):
        return name
    if not isinstance(name, str):
        raise TypeError(f"a device is given by its name, such as 'cpu0', got {type(name).__name__}")
    return _parse(name)


def canonical(name: str | Device) -> str:
    """The full spelling of a device name: `xpux:0` for `xpux`."""
    return str(parse(name))


def gpu_count() -> int:
    """How many GPUs there are. Processes forked afterwards can use them: if need be, a process of its own asks the driver.

    Raises RuntimeError if the environment variable TENGEN_CUDA_LIBRARY names something else than a CUDA driver.
    """
    return _rt.device_count("gpu")


def best_kind() -> str:
    """What "xpu" stands for: "gpu" if the setting `xpu` says so and there is one, else "cpu".

    From then on this process uses the driver. Warns if there may be GPUs that cannot be used.
    """
    return _rt.best_kind()


def apart(one: str | Device, other: str | Device) -> bool:
    """Whether values go from one device to the other by a copy of their bytes, as between a CPU and a GPU."""
    return one != other and parse(one).memory != parse(other).memory


def require(name: str | Device | None = None) -> Device:
    """The device that `name` (or the default) names, known to be usable.

    From then on this process uses the driver of GPUs, if it is a GPU. Raises DeviceError for one that does not exist, ValueError for an unknown
    name.
    """
    device = parse(config.get("default_device") if name is None else name)
    if device.kind == "gpu" or (device.kind == "xpu" and device.index):
        _check_there(device)
    return device


def require_or_default(name: str) -> Device:
    """The device that `name` names, or the default one if that is a GPU that does not exist here."""
    try:
        return require(name)
    except DeviceError:
        return require()


@cache
def _check_there(device: Device) -> None:
    if not _rt.device_exists(device.physical):
        raise _missing(device)


def _missing(device: Device) -> DeviceError:
    asked = f"device {device} was asked for, but tengen finds no such GPU (it can use {gpu_count()} here)"
    if device.kind == "xpu":
        return DeviceError(
            f"{asked}; with TENGEN_XPU=cpu in the environment, or tengen.config.xpu = 'cpu', xpu0, xpu1 and so on are the CPU"
        )
    fault = _rt.device_fault("gpu")
    why = f": {fault}" if fault else ""
    return DeviceError(f"{asked}{why}; use 'xpux', which is the best device there is, or 'cpu0'")


def get_default_device() -> str:
    """The name of the device that new tensors are on, as it was set."""
    return str(config.get("default_device"))


def set_default_device(device: str | Device = "xpux") -> None:
    """Set where new tensors are. Raises ValueError for a bad name, DeviceError for a GPU that does not exist."""
    config.set("default_device", str(device))


def _check_default(name: str) -> None:
    """Only asks: processes that this one forks may be those that use the device."""
    device = parse(name)
    if device.kind == "gpu" and (device.index or 0) >= gpu_count():
        raise _missing(device)


def _tell(fault: str) -> None:
    warn(f"{fault}. So xpux, the default device, is the CPU; TENGEN_XPU=cpu in the environment says that this is meant")


def _use_xpu(kind: str) -> None:
    _check_there.cache_clear()
    _rt.set_best_kind(kind, _tell)


config.watch("xpu", _use_xpu)
config.watch("sync", _rt.set_sync)
parse(config.get("default_device"))  # whether it is there, its first tensor asks
config.watch("default_device", _check_default, now=False)
