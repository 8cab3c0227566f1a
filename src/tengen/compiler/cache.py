"""Compiled kernels: in memory for this process, on disk for the next ones.

The folder is the setting `cache_dir` (TENGEN_CACHE_DIR), or `tengen` in the user's cache folder. It holds code that will be run, so it is
used only if it belongs to the user and nobody else may write to it. An entry is written whole or not at all, and one that is damaged
is compiled again. A disk that is full or read-only costs time, nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import llvmlite

from ..base import config
from .targets import host
from .targets.host import Target

MAX_BYTES = 1 << 30
CHECK_EVERY = 512  # entries written between two looks at the folder's size
DIGEST_BYTES = 32


class KernelSource(Protocol):
    """What makes one kernel."""

    @property
    def key(self) -> str:
        """Says all that the code depends on but the target: equal keys, equal code."""

    def emit(self, target: Target) -> str:
        """LLVM IR text of a module with one function `kernel` of the kernel ABI."""


_lock = threading.RLock()
_addresses: dict[tuple[str, Target], int] = {}
_written = 0


def compile_kernels(sources: Sequence[KernelSource], target: Target) -> list[int]:
    """The addresses of these kernels, compiled unless they are known. Safe to call from several threads."""
    keys = [(source.key, target) for source in sources]
    with _lock:
        for key, source in zip(keys, sources, strict=True):
            if key not in _addresses:
                _addresses[key] = _obtain(key[0], source, target)
    return [_addresses[key] for key in keys]


def dump(source: KernelSource, target: Target) -> dict[str, str]:
    """A kernel for people to read: its LLVM IR and assembly by file suffix."""
    text = source.emit(target)
    return {"ll": text, "s": host.assembly(text, target)}


def _obtain(key: str, source: KernelSource, target: Target) -> int:
    folder = _folder()
    path = folder / _entry_name(key, target) if folder else None
    code = _read(path) if path else None
    if code is None:
        code = host.compile_object(source.emit(target), target)
        if path:
            _write(path, code)
    return host.load(code)


# -- entries -------------------------------------------------------------------------------------------------------


def _entry_name(key: str, target: Target) -> str:
    parts = (key, repr(target), llvmlite.__version__, _compiler_digest())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@cache
def _compiler_digest() -> str:
    """Changes with the source of the compiler."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> bytes | None:
    """The object code of an entry; None if there is none or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, code = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == checksum else None


def _write(path: Path, code: bytes) -> None:
    """Put an entry in place, if the disk takes it."""
    global _written
    with contextlib.suppress(OSError):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix="new-")
        try:
            with open(handle, "wb") as file:
                file.write(hashlib.sha256(code).digest() + code)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
        if _written % CHECK_EVERY == 0:
            _shrink(path.parent)
        _written += 1


def _shrink(folder: Path) -> None:
    """Remove the oldest entries of a folder that has grown too large. Other processes may be doing the same."""
    entries = []
    with os.scandir(folder) as found:
        for entry in found:
            with contextlib.suppress(FileNotFoundError):
                stat = entry.stat()
                entries.append((stat.st_mtime, stat.st_size, entry.path))
    excess = sum(size for _, size, _ in entries) - MAX_BYTES
    if excess <= 0:
        return
    for _, size, path in sorted(entries):
        if excess <= -MAX_BYTES // 4:  # leave some room
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        excess -= size


# -- the folder ----------------------------------------------------------------------------------------------------


def _folder() -> Path | None:
    """Where entries are; None if there is no place that can be trusted."""
    chosen = config.get("cache_dir")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return _trusted(os.path.abspath(chosen or os.path.join(base, "tengen")))


@cache
def _trusted(path: str) -> Path | None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        stat = os.stat(path)
    except OSError:
        return None
    if stat.st_uid != os.geteuid() or stat.st_mode & 0o022:
        warnings.warn(
            f"compiled kernels are not kept: {path} belongs to another user or others may write to it",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return Path(path)
