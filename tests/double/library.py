"""The double as a file: compiled once, loaded, given its compiler of PTX. And what tests ask of it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path

from . import ptx

CAPABILITY, PTX_VERSION = 90, (9, 0)  # as devices.c says: an H200, and the driver of CUDA 13.0
INVALID_PTX = 218
HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent.parent / ".pytest_cache" / "double"
FLAGS = ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-shared", "-fPIC", "-fvisibility=hidden"]


def library(*flags: str) -> str:
    """The path of the double, compiled by the system's C compiler (CC) if this source was not compiled yet."""
    sources = sorted((HERE / "native").glob("*.[ch]"))
    command = [*shlex.split(os.environ.get("CC", "cc")), *FLAGS, f'-DTESTS="{HERE.parent}"', *flags]
    digest = hashlib.sha256(" ".join(command).encode())
    for path in sources:
        digest.update(path.name.encode() + path.read_bytes())
    path = FOLDER / f"libcuda-double-{digest.hexdigest()[:16]}.so"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        forget_the_old()
        part = path.with_suffix(f".{os.getpid()}")
        files = [str(p) for p in sources if p.suffix == ".c"]
        subprocess.run([*command, "-o", str(part), *files, "-lpthread", "-lm", "-Wl,-z,defs"], check=True)
        os.replace(part, path)  # another process may do the same at the same time
    return str(path)


def forget_the_old() -> None:
    """Remove what was compiled more than a week ago: the sources have changed since, or it is made again quickly."""
    for path in FOLDER.iterdir():
        with suppress(OSError):  # another process does the same
            if path.stat().st_mtime < time.time() - 7 * 86400:
                path.unlink()


def install() -> Double:
    """Make the double the driver of this process: tengen, if it has not looked for a GPU yet, finds two devices."""
    os.environ["TENGEN_CUDA_LIBRARY"] = library()
    return double()


def is_driver() -> bool:
    """Whether the double is what tengen loads."""
    return "libcuda-double" in os.environ.get("TENGEN_CUDA_LIBRARY", "")


@cache
def double() -> Double:
    return Double(library())


class Double:
    """What a test may ask of the double, beside the driver's functions (`driver`)."""

    def __init__(self, path: str):
        self.path = path
        self.compiling = threading.Lock()
        self.linked: dict[bytes, tuple[ptx.Compiled, dict[str, int]]] = {}  # code does not depend on the module
        self.driver = ctypes.CDLL(path)
        self.driver.double_problems.restype = ctypes.c_char_p
        self.driver.double_count.restype = ctypes.c_long
        self.driver.double_used_memory.restype = ctypes.c_uint64
        self.symbols = {n: address_of(getattr(self.driver, n)) for n in ptx.FUNCTIONS}
        prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        self.compiler = prototype(self._compile)  # held: C keeps only its address
        self.driver.double_set_compiler(self.compiler)

    def _too_new(self, text: bytes) -> tuple[int, str]:
        """The driver's code and the reason, if the text is for a later GPU or driver than the double is."""
        target, version = re.search(rb"\.target\s+sm_(\d+)", text), re.search(rb"\.version\s+(\d+)\.(\d+)", text)
        if target and int(target[1]) > CAPABILITY:
            return 209, f"text for sm_{target[1].decode()}, the device is sm_{CAPABILITY}"
        if version and (int(version[1]), int(version[2])) > PTX_VERSION:
            return 222, f"PTX {version[1].decode()}.{version[2].decode()}, the driver knows {PTX_VERSION}"
        return 0, ""

    def _compile(self, text: bytes, module: int, message: int, room: int) -> int:
        """What cuModuleLoadData calls. Nothing may be raised into C."""
        code, why = self._too_new(text)
        try:
            if code:
                raise ptx.PtxError(why)
            with self.compiling:
                if text not in self.linked:
                    found = ptx.compiled(text.decode(), FOLDER)
                    self.linked[text] = found, ptx.link(found, self.symbols)
                self._describe(module, *self.linked[text])
            return 0
        except Exception as error:
            why = f"{'' if isinstance(error, ptx.PtxError) else type(error).__name__ + ': '}{error}"
            data = why.encode()[: room - 1] + b"\0"
            ctypes.memmove(message, data, len(data))
            return code or INVALID_PTX

    def _describe(self, module: int, found: ptx.Compiled, addresses: dict[str, int]) -> None:
        pointer = ctypes.c_void_p(module)
        for f in found.functions:
            count = len(f["offsets"])
            numbers = [(ctypes.c_uint32 * max(len(f[k]), 1))(*f[k]) for k in ("offsets", "bytes", "limits")]
            address = ctypes.c_void_p(addresses[f["name"]])
            self.driver.double_add_function(pointer, f["name"].encode(), address, count, *numbers)
        for name, offset, size in found.variables:
            self.driver.double_add_variable(pointer, name.encode(), ctypes.c_uint64(offset), ctypes.c_uint64(size))
        if found.image:
            self.driver.double_set_image(pointer, found.image, ctypes.c_uint64(len(found.image)))

    # -- what a test asks --------------------------------------------------------------------------------------------
    def problems(self) -> list[str]:
        """What the program did wrong, from the first on."""
        return self.driver.double_problems().decode().splitlines()

    def forget(self) -> None:
        """Forget problems, planned failures and lost devices."""
        self.driver.double_forget_problems()
        self.driver.double_forget_failures()

    def count(self, what: str) -> int:
        """launches, threads, barriers, collectives, copies, waits, operations, compilations of text, graph launches done
        so far; allocations, pinned, streams, events, modules, graphs alive now."""
        number = self.driver.double_count(what.encode())
        if number < 0:
            raise KeyError(what)
        return number

    def fail(self, function: str, calls: int = 1, code: int = 2) -> None:
        """The `calls`-th call of a driver's function from now on returns `code`. "kernel": the launch is accepted, and
        the device fails when it runs it."""
        self.driver.double_fail(function.encode(), ctypes.c_long(calls), code)

    def run(self, device: int) -> None:
        """All that a device was given so far has run, as on a fast one; nobody has waited for it."""
        self.driver.double_run(device)

    def lose(self, device: int, code: int = 719) -> None:
        """Every call on the device returns `code` from now on."""
        self.driver.double_lose(device, code)

    def set_memory(self, device: int, size: int) -> None:
        """Bytes that the device has."""
        self.driver.double_set_memory(device, ctypes.c_uint64(size))

    def used_memory(self, device: int) -> int:
        return self.driver.double_used_memory(device)

    def order(self, number: int) -> AbstractContextManager[None]:
        """The order in which threads of a block run: 0 forward, 1 backward, 2 pseudo-random, 3 warp by warp."""
        return _during(self.driver.double_set_order, number)

    def races(self, launches: int) -> AbstractContextManager[None]:
        """Look for races only in so many of the launches that are alike (0: in all, the default)."""
        return _during(self.driver.double_watch_races, launches)

    def others_first(self) -> AbstractContextManager[None]:
        """Who waits for a stream lets all other streams run before it, in place of those that it needs alone."""
        return _during(self.driver.double_set_others_first, 1)


@contextmanager
def _during(setting: Callable[[int], object], value: int) -> Iterator[None]:
    """A setting of the driver within a block; afterwards it is 0 again."""
    setting(value)
    try:
        yield
    finally:
        setting(0)


def address_of(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]
