"""Compiled kernels: in memory for this process, on disk for the next ones. Plans are kept there too (`plan_store`).

The folder is the setting `cache_dir` (TENGEN_CACHE_DIR), or `tengen` in the user's cache folder. It holds code that will be run, so it is
used only if it belongs to the user and nobody else may write to it. An entry is written whole or not at all, and a
damaged one is compiled again. A disk that is full or read-only costs only time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from time import perf_counter
from typing import Any, NamedTuple, Protocol, TypeVar

import llvmlite

from ..base import config
from ..base.files import remove_unfinished, replacing
from . import backend, notice
from .backend import compiling
from .kernels import functions
from .kernels.device import DeviceGrid, DeviceKernel
from .kernels.target import DeviceTarget, HostTarget, Target
from .targets import emit, host
from .targets.simt import to_ptx

MAX_BYTES = 1 << 30  # unless the folder's own limit says another
CHECK_EVERY = 512  # entries written between two looks at the folder's size
DIGEST_BYTES = 32
FOLDER = os.path.dirname(__file__)


class KernelSource(Protocol):
    """One kernel, in the form that `targets.emit` takes."""

    @property
    def key(self) -> str:
        """Everything the code depends on except the target: equal keys, equal code."""


class DeviceSource(KernelSource, Protocol):
    """One kernel that GPUs may run."""

    def blocks(self, extents: Sequence[int], params: Sequence[int]) -> DeviceGrid:
        """A launch with these extents and parameters."""


Known = TypeVar("Known")

ENTRY = "kernel"
"""The name of the function of each kernel."""

_addresses: dict[str, int] = {}  # by the name of the entry
_names: dict[int, str] = {}
_written = 0


def compile_kernels(sources: Sequence[KernelSource], target: HostTarget) -> list[int]:
    """The addresses of these kernels, compiled unless they are known. Safe to call from several threads."""
    names = [kernel_name(source, target) for source in sources]
    if not _addresses.keys() >= set(names):
        with compiling:
            new = {name: source for name, source in zip(names, sources, strict=True) if name not in _addresses}
            for name, code in _obtained(new, target):
                _load(name, code)
    return [_addresses[name] for name in names]


_device_kernels: dict[str, DeviceKernel] = {}  # by the name of the entry


def compile_device_kernels(sources: Sequence[DeviceSource], target: DeviceTarget) -> list[DeviceKernel]:
    """These kernels as text for the driver of a GPU, compiled unless they are known. Safe to call from several threads.

    Raises NoKernelError for a kernel or a function that GPUs have no code for yet.
    """
    names = [kernel_name(source, target) for source in sources]
    with compiling:
        new = {name: source for name, source in zip(names, sources, strict=True) if name not in _device_kernels}
        for name, text in _obtained(new, target):
            _load_text(name, text)
    return [_device_kernels[name] for name in names]


def expect_kernels(sources: Sequence[KernelSource], target: Target) -> None:
    """Have these kernels compiled beforehand, if there can be a helper: they will be asked for."""
    with compiling:
        named = {kernel_name(source, target): source for source in sources}
        loaded = _addresses if isinstance(target, HostTarget) else _device_kernels
        missing = {name: source for name, source in named.items() if name not in loaded and not has(name)}
        backend.helper.tell(missing, target)


def _obtained(sources: Mapping[str, KernelSource], target: Target) -> Iterator[tuple[str, bytes]]:
    """The names of these kernels' entries and their code, from the disk or compiled."""
    found = {name: read(name) for name in sources}
    missing = {name: source for name, source in sources.items() if found[name] is None}
    if len(missing) > 1:
        backend.helper.tell(missing, target)
    for name, source in sources.items():
        yield name, found[name] or _made(name, source, target)


def _made(name: str, source: KernelSource, target: Target) -> bytes:
    """The code of a kernel that was not on the disk."""
    start = perf_counter()
    code = backend.helper.awaited(name)
    if code is None:
        code = compiled(source, target)
        write(name, code)
    backend.missed += 1
    notice.add(perf_counter() - start, trusted_folder())
    return code


def compiled(source: KernelSource, target: Target) -> bytes:
    """The code of a kernel: an object file, or the text for the driver of a GPU."""
    text = emit(source, target)
    return host.compile_object(text, target) if isinstance(target, HostTarget) else to_ptx(text, target).encode()


def load_kernels(names: Sequence[str]) -> list[int] | None:
    """The addresses of kernels that were compiled before, by their entries; None if one of them is missing."""
    return _known(names, _addresses, _load)


def load_device_kernels(names: Sequence[str]) -> list[DeviceKernel] | None:
    """The same for kernels of GPUs."""
    return _known(names, _device_kernels, _load_text)


def _known(names: Sequence[str], known: Mapping[str, Known], load: Callable[[str, bytes], None]) -> list[Known] | None:
    with compiling:
        for name in names:
            if name not in known:
                code = read(name)
                if code is None:
                    return None
                load(name, code)
    return [known[name] for name in names]


def _load(name: str, code: bytes) -> None:
    _addresses[name] = address = host.load(code)
    _names[address] = name


def _load_text(name: str, text: bytes) -> None:
    _device_kernels[name] = DeviceKernel(ENTRY, text.decode(), name)


def names_of(addresses: Sequence[int]) -> list[str]:
    """The entries of kernels."""
    return [_names[address] for address in addresses]


def dump(source: KernelSource, target: Target) -> dict[str, str]:
    """A kernel in a form that people can read: its LLVM IR and assembly, by file suffix."""
    text = emit(source, target)
    if isinstance(target, DeviceTarget):
        return {"ll": text, "ptx": to_ptx(text, target)}
    return {"ll": text, "s": host.assembly(text, target)}


# -- entries -------------------------------------------------------------------------------------------------------


def kernel_name(source: KernelSource, target: Target) -> str:
    """The name of a kernel's entry."""
    return _kernel_entry(source.key, target, _compiler_digest())


@lru_cache(4096)  # each Plan asks for the names of its kernels
def _kernel_entry(key: str, target: Target, made_by: str) -> str:
    return entry_name(key, target, made_by)


def entry_name(key: str, target: Target, made_by: str) -> str:
    """The name of an entry. key: everything that it depends on, except the target, LLVM and the source of tengen, which
    `made_by` stands for."""
    digest = _digest_of(target, made_by).copy()
    digest.update(key.encode())
    return digest.hexdigest()


@cache
def _digest_of(target: Target, made_by: str) -> Any:
    return hashlib.sha256("\0".join((repr(target), llvmlite.__version__, made_by, "")).encode())


@cache
def _compiler_digest() -> str:
    """A digest of the source of the compiler, and of functions beside their rows in the op table."""
    digest = hashlib.sha256(source_digest(FOLDER).encode())
    for path in functions.sources():
        with open(path, "rb") as source:
            digest.update(source.read())
    return digest.hexdigest()


@cache
def source_digest(folder: str) -> str:
    """A digest of the Python source in a folder."""
    digest = hashlib.sha256()
    for place, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            if file.endswith(".py"):
                path = os.path.join(place, file)
                digest.update(os.path.relpath(path, folder).encode() + b"\0")
                with open(path, "rb") as source:
                    digest.update(source.read())
    return digest.hexdigest()


def read(name: str) -> bytes | None:
    """The content of an entry; None if it is missing or damaged."""
    folder = trusted_folder()
    if folder is None:
        return None
    path = os.path.join(folder, name)
    if not os.access(path, os.R_OK):  # the usual case for a Plan; an error would take eight times as long
        return None
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        return None
    checksum, kept = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    return kept if _checksum(name, kept) == checksum else None


def has(name: str) -> bool:
    """Whether there is such an entry, as it seems."""
    folder = trusted_folder()
    return folder is not None and os.path.exists(os.path.join(folder, name))


def write(name: str, content: bytes) -> None:
    """Write an entry, if the disk allows it."""
    global _written
    folder = trusted_folder()
    if folder is None:
        return
    with contextlib.suppress(OSError):
        with replacing(os.path.join(folder, name), mode=0o600) as file:
            file.write(_checksum(name, content) + content)
        if _written % CHECK_EVERY == 0:
            remove_unfinished(folder)
            _shrink(folder)
        _written += 1


def _checksum(name: str, content: bytes) -> bytes:
    """The checksum of an entry. It includes the name, so that an entry under another's name is not accepted."""
    return hashlib.sha256(name.encode() + b"\0" + content).digest()


def _shrink(folder: str, most: int | None = None) -> None:
    """Remove the oldest entries of a folder that has grown too large. Other processes may be doing the same. most: bytes; None: its limit."""
    entries = _entries(folder)
    kept = _limit(folder) * 3 // 4 if most is None else most  # leave some room
    size = sum(entry.size for entry in entries)
    if size <= (_limit(folder) if most is None else most):
        return
    for entry in sorted(entries):
        if size <= kept:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(entry.path)
        size -= entry.size


class _Entry(NamedTuple):
    modified: float
    size: int
    path: str


def _entries(folder: str) -> list[_Entry]:
    """The entries in a folder, which may have other files as well."""
    entries = []
    with os.scandir(folder) as found:
        for file in found:
            if _ENTRY.fullmatch(file.name):
                with contextlib.suppress(FileNotFoundError):
                    stat = file.stat()
                    entries.append(_Entry(stat.st_mtime, stat.st_size, file.path))
    return entries


_ENTRY = re.compile("[0-9a-f]{64}")


# -- the folder ----------------------------------------------------------------------------------------------------


class Usage(NamedTuple):
    """The folder (None: no place can be trusted), entries in it and their bytes, and how many bytes it may hold."""

    folder: str | None
    entries: int
    bytes: int
    limit: int


def usage() -> Usage:
    """What is kept on disk."""
    folder = trusted_folder()
    entries = _entries(folder) if folder is not None else []
    return Usage(folder, len(entries), sum(entry.size for entry in entries), _limit(folder))


def clear() -> Usage:
    """Remove all entries, and tell what there was. Running processes go on with what they have in memory."""
    before = usage()
    if before.folder is not None:
        remove_unfinished(before.folder)
        _shrink(before.folder, 0)
    return before


def set_limit(size: int) -> None:
    """How many bytes the folder may hold from now on, in all processes; the oldest entries beyond them go at once.

    Raises OSError if there is no folder that can be written to.
    """
    folder = trusted_folder()
    if folder is None:
        raise OSError("there is no folder of compiled kernels that can be used")
    with replacing(os.path.join(folder, _LIMIT), mode=0o600) as file:
        file.write(str(size).encode())
    _shrink(folder, size)


_LIMIT = "limit"  # the file in the folder that `set_limit` writes


def _limit(folder: str | None) -> int:
    if folder is None:
        return MAX_BYTES
    try:
        with open(os.path.join(folder, _LIMIT), encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return MAX_BYTES


def trusted_folder() -> str | None:
    """Where entries are; None if there is no place that can be trusted."""
    chosen = config.get("cache_dir")
    if not chosen:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        chosen = os.path.join(base, "tengen")
    return _trusted(os.path.abspath(chosen))


@cache
def _trusted(path: str) -> str | None:
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
    return path
