"""Saving and loading of tensors and of what holds them.

A file is a magic line, a pickle (`safe_pickle`), and a trailer with the pickle's length and checksum. Plain pickles of
arrays and tensors, such as MegEngine saves, and files of PyTorch are read too (`formats/`).
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, BinaryIO

from .base import device as devices
from .base.errors import DeviceError, SerializationError
from .base.files import append_whole, read_up_to, write_whole
from .base.frames import shorten
from .formats import pytorch, safetensors
from .formats.megengine import MegEngineUnpickler, is_pickle
from .safe_pickle import SafePickler, SafeUnpickler

__all__ = ["load", "save"]

MAGIC = b"tengen-1\n"
_TRAILER = struct.Struct("<QI4s")
_END = b"end\n"

MapLocation = str | Mapping[str, str] | Callable[[str], str] | None


def save(obj: Any, f: Any, pickle_module: ModuleType = pickle, pickle_protocol: int = 4) -> None:
    """Save tensors, arrays, containers and plain values, nested in any way, such as state dicts.

    Args:
        obj: what to save.
        f: path of the file, which is replaced at the end, once all is written; or a file object open for writing bytes,
        which is left
            as it was if something goes wrong (if it can seek).
        pickle_module: only pickle itself.
        pickle_protocol: version of the pickle format, 0 to 5.

    Raises SerializationError (a ValueError) if something in `obj`, such as a function, cannot be saved.

    >>> import io
    >>> file = io.BytesIO()
    >>> tengen.save({"weight": tengen.tensor([1.0, 2.0]), "epoch": 3}, file)
    """
    _only_pickle(pickle_module)
    if isinstance(f, (str, os.PathLike)):
        with write_whole(f) as file:
            _write(obj, file, pickle_protocol)
        return
    if not hasattr(f, "write"):
        raise TypeError(f"save: f takes the path of a file, or a file object open for writing, got {f!r}")
    whole = io.BytesIO()
    _write(obj, whole, pickle_protocol)
    append_whole(f, whole.getbuffer())


def load(f: Any, map_location: MapLocation = None, pickle_module: ModuleType = pickle) -> Any:
    """Load what `save` saved, or MegEngine, PyTorch or safetensors. No code is run from the file, whoever made it.

    Of a module, traced or not, or an optimizer that MegEngine saved as a whole the state dict is loaded, whose `kind` is
    the name of its class; numbers of PyTorch's float8 are loaded as the float32 that they stand for. Tensors of dtypes that tengen lacks, such as
    complex64, are loaded as NumPy arrays. PyTorch's "cuda:1" is called "gpu1", and what is not a GPU "cpu0".

    Args:
        f: path of the file, or a file object open for reading bytes.
        map_location: where tensors go: a device; a dict from devices that they were on to others; or such a function.
            By default they go where they were.
        pickle_module: only pickle itself.

    Raises SerializationError (a ValueError) for a file that is damaged, cut short, of another program, or holds more than data; DeviceError
    for a device that is not there.

    >>> import io
    >>> file = io.BytesIO()
    >>> tengen.save({"weight": tengen.tensor([1.0, 2.0]), "epoch": 3}, file)
    >>> _ = file.seek(0)
    >>> tengen.load(file, map_location="cpu0")
    {'weight': Tensor([1. 2.], device=cpu0:0), 'epoch': 3}
    """
    _only_pickle(pickle_module)
    try:
        if isinstance(f, (str, os.PathLike)):
            with open(f, "rb") as file:
                return _read(file, str(f), map_location)
        if not hasattr(f, "read"):
            raise TypeError(f"load: f takes the path of a file, or a file object open for reading, got {f!r}")
        return _read(f, str(getattr(f, "name", "the file")), map_location)
    except Exception as error:
        shorten(error)
        raise


def _only_pickle(module: ModuleType) -> None:
    if module is not pickle:
        raise ValueError(
            f"save and load have a format of their own, never run as code: pickle_module is pickle, got {module!r}"
        )


# -- writing ---------------------------------------------------------------------------------------------------


class _Summed:
    """A file object that keeps length and checksum of what goes through it, either way."""

    def __init__(self, file: BinaryIO, first: bytes = b""):
        self._file = file
        self._first = first  # read already, to look at it
        self.length = 0
        self.checksum = 0

    def _count(self, data: Any) -> None:
        self.length += len(data)
        self.checksum = zlib.crc32(data, self.checksum)

    def trailer(self) -> bytes:
        """What stands after the data."""
        return _TRAILER.pack(self.length, self.checksum, _END)

    def write(self, data: Any) -> int:
        data = memoryview(data).cast("B")
        self._file.write(data)
        self._count(data)
        return len(data)

    def read(self, size: int) -> bytes:
        data = b""
        if self._first:
            data, self._first = self._first[:size], self._first[size:]
        if len(data) < size:
            data += read_up_to(self._file, size - len(data))
        self._count(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readline(self) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n") and (byte := self.read(1)):
            line += byte
        return bytes(line)


def _write(obj: Any, file: BinaryIO, protocol: int) -> None:
    file.write(MAGIC)
    summed = _Summed(file)
    SafePickler(summed, protocol, fix_imports=False).dump(obj)
    file.write(summed.trailer())


# -- reading ---------------------------------------------------------------------------------------------------


def _read(file: BinaryIO, name: str, map_location: MapLocation) -> Any:
    first = _Summed(file).read(len(MAGIC))
    own = first == MAGIC
    of_torch = first.startswith((pytorch.ZIP, pytorch.LEGACY[: len(MAGIC)]))
    of_safetensors = safetensors.is_safetensors(first)
    if not (own or of_torch or of_safetensors or is_pickle(first)):
        raise SerializationError(
            f"{name}: " + ("not a file that tengen.save has written" if first else "the file is empty")
        )
    summed, locator = _Summed(file, b"" if own else first), _locator(map_location)
    try:
        if of_torch:
            return pytorch.read(file, first, locator)
        if of_safetensors:
            return safetensors.read(file, first, locator)
        reader = SafeUnpickler if own else MegEngineUnpickler
        obj = reader(summed, locator).load()
    except (OSError, MemoryError, ImportError):
        raise
    except _WrongPlace as error:
        raise TypeError(f"load: {error}") from error.__cause__
    except DeviceError as error:
        raise DeviceError(f"{name}: {error}; load(..., map_location='cpu0') puts its tensors elsewhere") from None
    except SerializationError as error:
        advice = "; save it with torch.save" if " torch." in str(error) and not of_torch else ""
        raise SerializationError(f"{name}: {error}{advice}") from None
    except Exception as error:
        raise SerializationError(f"{name}: damaged or cut short ({type(error).__name__}: {error})") from error
    if own and _Summed(file).read(_TRAILER.size) != summed.trailer():
        raise SerializationError(f"{name}: damaged or cut short (the checksum is wrong)")
    return obj


class _WrongPlace(Exception):
    """A map_location that gives no device."""


def _locator(map_location: MapLocation) -> Callable[[str], str]:
    """From the device that a tensor was on to the one that it goes to."""
    if map_location is None:
        return str
    if isinstance(map_location, Mapping):
        table = {devices.canonical(old): devices.canonical(new) for old, new in map_location.items()}
        return lambda device: table.get(devices.canonical(device), device)
    if callable(map_location):
        return partial(_located, map_location)
    devices.require(map_location)
    return lambda _: map_location


def _located(map_location: Callable[[str], str], device: str) -> str:
    """What a function says, which may be one for PyTorch."""
    try:
        return devices.canonical(map_location(device))
    except Exception as error:
        raise _WrongPlace(
            f"map_location takes the name of a device, such as 'cpu0', and returns one; for {device!r}: {error}"
        ) from error
