"""Runs kernels for AMX on machines without it: its instructions become calls of the functions below, which keep its registers in NumPy arrays.

Intel SDM, volume 2: LDTILECFG, TILELOADD, TILESTORED, TDPBF16PS.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from tengen.base import config
from tengen.compiler.kernels.target import HostTarget
from tengen.compiler.targets import host

TARGET = host._AMX._replace(name="emulated amx", features=host._BFLOAT.features + ",-prefer-256-bit")

_REGISTER, _POINTER, _STRIDE = ctypes.c_int8, ctypes.c_void_p, ctypes.c_int64
_shapes: dict[int, tuple[int, int]] = {}
"""Rows, and bytes of a row."""
_contents: dict[int, np.ndarray] = {}


def _memory(address: int, count: int) -> np.ndarray:
    return np.frombuffer((ctypes.c_uint8 * count).from_address(address), np.uint8)


def ldtilecfg(address: int) -> None:
    memory = _memory(address, 64)
    assert memory[0] == 1
    widths, heights = memory[16:32].view(np.uint16), memory[48:56]
    _shapes.update((i, (int(heights[i]), int(widths[i]))) for i in range(8))


def tilerelease() -> None:
    _shapes.clear()
    _contents.clear()


def tilezero(register: int) -> None:
    _contents[register] = np.zeros(_shapes[register], np.uint8)


def tileloadd64(register: int, address: int, stride: int) -> None:
    rows, width = _shapes[register]
    _contents[register] = np.stack([_memory(address + i * stride, width).copy() for i in range(rows)])


def tilestored64(register: int, address: int, stride: int) -> None:
    for i, row in enumerate(_contents[register]):
        _memory(address + i * stride, len(row))[:] = row


def tdpbf16ps(sums: int, a: int, b: int) -> None:
    """The lower number of a word, then the higher one. Rounding of sums is not emulated."""
    x, y = (_floats(_contents[r]) for r in (a, b))
    total = _contents[sums].view(np.float32)
    with np.errstate(all="ignore"):  # memory behind a matrix may hold anything
        for half in (0, 1):
            total = total + x[:, half::2] @ y[:, half::2]
    _contents[sums] = np.ascontiguousarray(total, np.float32).view(np.uint8)


def _floats(register: np.ndarray) -> np.ndarray:
    return (register.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


_FUNCTIONS = {
    function.__name__: ctypes.CFUNCTYPE(None, *arguments)(function)
    for function, arguments in (
        (ldtilecfg, (_POINTER,)),
        (tilerelease, ()),
        (tilezero, (_REGISTER,)),
        (tileloadd64, (_REGISTER, _POINTER, _STRIDE)),
        (tilestored64, (_REGISTER, _POINTER, _STRIDE)),
        (tdpbf16ps, (_REGISTER,) * 3),
    )
}


def _with_calls(text: str) -> str:
    def call(found: re.Match[str]) -> str:
        address = ctypes.cast(_FUNCTIONS[found[1]], ctypes.c_void_p).value
        return f"call void inttoptr (i64 {address} to ptr)("

    text = re.sub(r'^declare void @"llvm\.x86\.(?:ldtilecfg|t\w+)".*$', "", text, flags=re.MULTILINE)
    return re.sub(r'call void @"llvm\.x86\.(ldtilecfg|t\w+)"\(', call, text)


@contextmanager
def amx_machine(folder: Path) -> Iterator[HostTarget]:
    """A target with AMX: this machine if it has that, and otherwise one with emulated registers."""
    if "amx" in host.available():
        with config.override(isa="amx"):
            yield host.host_target()
    elif "avx512bf16" in host.available():
        with _emulated(folder) as target:
            yield target
    else:
        pytest.skip("the code around the registers of AMX has instructions for bfloat16")


@contextmanager
def _emulated(folder: Path) -> Iterator[HostTarget]:
    """A target with AMX. Kernels are kept in `folder`, because they hold the addresses of this process. One thread at a time."""
    make = host.compile_object

    def compile_object(text: str, target: HostTarget) -> bytes:
        return make(_with_calls(text), target)

    with mock.patch.object(host, "compile_object", compile_object), config.override(cache_dir=str(folder)):
        yield TARGET
