"""Every setting of tengen in one table.

A setting has its value from, in this order: `tengen.config.<name> = value`, its environment variable at import, its
default. Code that must act on a change registers with `watch`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Knob(NamedTuple):
    """One setting.

    env: variables that set it, the first one found wins. least, most, choices: what is allowed.
    """

    name: str
    type: type
    default: Any
    doc: str
    env: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    choices: tuple[str | int, ...] = ()

    def check(self, value: Any) -> Any:
        """The value as it is kept. Raises TypeError or ValueError, saying what is allowed."""
        if self.type is bool and type(value) is int and value in (0, 1):
            value = bool(value)
        if self.type is str and isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not isinstance(value, self.type) or (self.type is int and isinstance(value, bool)):
            raise TypeError(f"config.{self.name} must be {self._expected()}, got {type(value).__name__} {value!r}")
        kept: Any = value
        low = self.least is not None and kept < self.least
        high = self.most is not None and kept > self.most
        if low or high or (self.choices and kept not in self.choices):
            raise ValueError(f"config.{self.name} must be {self._expected()}, got {value!r}")
        return kept

    def parse(self, text: str) -> Any:
        """The value that an environment variable spells."""
        if self.type is bool:
            words = {
                "1": True,
                "true": True,
                "on": True,
                "yes": True,
                "0": False,
                "false": False,
                "off": False,
                "no": False,
            }
            return self.check(words.get(text.strip().lower(), text))
        if self.type is int:
            try:
                return self.check(int(text))
            except ValueError:
                raise ValueError(f"config.{self.name} must be {self._expected()}, got {text!r}") from None
        return self.check(text)

    def _expected(self) -> str:
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        name = {bool: "True or False", int: "an integer", str: "a string"}[self.type]
        least = "" if self.least is None else f" >= {self.least}"
        return name + least + ("" if self.most is None else f" and <= {self.most}")


KNOBS = (
    Knob(
        "num_threads",
        int,
        0,
        "Threads that one operation may use; 0: as many as cores the process may run on.",
        ("TENGEN_NUM_THREADS",),
        least=0,
    ),
    Knob("default_device", str, "xpux", "Where new tensors are.", ("TENGEN_DEFAULT_DEVICE", "MGE_DEFAULT_DEVICE")),
    Knob(
        "xpu",
        str,
        "gpu",
        "What xpux stands for: a GPU if there is one (gpu), or always the CPU (cpu). It can change until the first tensor is on xpux.",
        ("TENGEN_XPU",),
        choices=("cpu", "gpu"),
    ),
    Knob(
        "sync",
        bool,
        False,
        "Wait for a GPU after each operation, so that an error is raised by the operation itself. Otherwise it is raised where the program next "
        "waits, as for a value that it reads.",
        ("TENGEN_SYNC",),
    ),
    Knob(
        "gpu_cache",
        bool,
        True,
        "Whether memory of a GPU is kept for the next tensors. Otherwise each tensor, and each temporary of a trace, is a piece of memory of its "
        "own from the driver: slow, but tools that look for accesses out of bounds see where it ends. It counts when a GPU is first used.",
        ("TENGEN_GPU_CACHE",),
    ),
    Knob(
        "isa",
        str,
        "native",
        "Instruction set that kernels are made for; tests ask for a narrower one than the machine has.",
        ("TENGEN_ISA",),
        choices=("native", "amx", "avx512bf16", "avx512vnni", "avx512", "avxvnni", "avx2", "x86-64", "neon"),
    ),
    Knob(
        "cache_dir",
        str,
        "",
        "Folder of compiled kernels; empty: `tengen` in the user's cache folder.",
        ("TENGEN_CACHE_DIR",),
    ),
    Knob(
        "hub_dir",
        str,
        "",
        "Folder of what `hub` downloads; empty: `tengen-hub` in the user's cache folder.",
        ("TENGEN_HUB_DIR", "MGE_HOME"),
    ),
    Knob(
        "winograd",
        int,
        2,
        "Convolutions of float32 with a 3 x 3 window and stride 1, where that is faster, by Winograd's F(m x m, 3 x 3): 2 (about as exact as the "
        "direct way), 4 (faster, with some five times the rounding error), or 0 (always the direct way).",
        ("TENGEN_WINOGRAD",),
        choices=(0, 2, 4),
    ),
    Knob(
        "tf32",
        bool,
        False,
        "Products and convolutions of float32 on GPUs by tensor cores, which are made for more operations a second but multiply numbers of 11 "
        "significant bits (TensorFloat-32): each factor is off by up to 1 in 2000.",
        ("TENGEN_TF32",),
    ),
    Knob(
        "autocast",
        str,
        "auto",
        "What amp.autocast computes in: bfloat16 where the CPU multiplies that faster than float32, and elsewhere as without it (auto); bfloat16 "
        "on any machine (bfloat16); the dtypes that the program asks for (asked); as without it (off). It counts when autocast is entered.",
        ("TENGEN_AUTOCAST",),
        choices=("auto", "bfloat16", "asked", "off"),
    ),
    Knob(
        "distributed_timeout",
        int,
        1800,
        "For how many seconds a process waits for the others of its world before it is an error.",
        ("TENGEN_DISTRIBUTED_TIMEOUT",),
        least=1,
    ),
    Knob(
        "compile_notice",
        bool,
        True,
        "Whether a process whose kernels take more than 2 seconds to compile says so on stderr, once.",
        ("TENGEN_COMPILE_NOTICE",),
    ),
    Knob("dump", str, "", "Folder that each stage of each Plan is written to; empty: none.", ("TENGEN_DUMP",)),
    Knob(
        "traceback",
        str,
        "short",
        "short: the traceback of an error leads from line to line of the program, and leaves out those of tengen in between; full: all lines.",
        ("TENGEN_TRACEBACK",),
        choices=("short", "full"),
    ),
    Knob(
        "plan_cache_limit",
        int,
        16384,
        "Plans that are kept; the least recently used goes first.",
        ("TENGEN_PLAN_CACHE_LIMIT",),
        least=1,
    ),
    # Settings of MegEngine programs. What they ask for always holds here, so they change nothing.
    Knob("async_level", int, 2, "An error of an operation is raised at its call.", least=0, most=2),
    Knob("benchmark_kernel", bool, False, "Kernels are generated, there are none to choose from."),
    Knob("benchmark_with_subprocess", bool, False, "See benchmark_kernel."),
    Knob("deterministic_kernel", bool, False, "Kernels give the same result in every run, on any number of threads."),
    Knob("disable_memory_forwarding", bool, False, "Views share memory, and no write to one is seen in another."),
)

_BY_NAME = {knob.name: knob for knob in KNOBS}
_values: dict[str, Any] = {}
_watchers: dict[str, list[Callable[[Any], None]]] = {}


def _knob(name: str) -> Knob:
    if name not in _BY_NAME:
        raise AttributeError(f"tengen.config has no setting {name!r}; it has {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def get(name: str) -> Any:
    """The value of a setting. Raises AttributeError for an unknown one, ValueError for a bad environment variable."""
    if name not in _values:
        _values[name] = _initial(_knob(name))
    return _values[name]


def set(name: str, value: Any) -> None:
    """Change a setting. Raises TypeError or ValueError for a value that it cannot have; the old one then stays."""
    value = _knob(name).check(value)
    for watcher in _watchers.get(name, ()):
        watcher(value)
    _values[name] = value


def watch(name: str, watcher: Callable[[Any], None], now: bool = True) -> None:
    """Call `watcher` with the setting's value before each change, and `now` too; if it raises, the change does not happen."""
    if now:
        watcher(get(name))
    _watchers.setdefault(name, []).append(watcher)


@contextmanager
def override(**settings: Any) -> Iterator[None]:
    """Settings that hold inside a `with` block.

    >>> with override(num_threads=1):
    ...     get("num_threads")
    1
    """
    before = {name: get(name) for name in settings}
    try:
        for name, value in settings.items():
            set(name, value)
        yield
    finally:
        for name, value in before.items():
            set(name, value)


def _initial(knob: Knob) -> Any:
    for variable in knob.env:
        if text := os.environ.get(variable):
            try:
                return knob.parse(text)
            except (TypeError, ValueError) as error:
                raise ValueError(f"environment variable {variable}: {error}") from None
    return knob.default
