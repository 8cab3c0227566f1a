"""What mixed precision computes in: the dtypes that a program asks for, and what this machine makes of them."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any, NamedTuple

from .. import _rt
from ..base import config
from ..base.dtype import canonical
from ..base.usage import warn
from ..compiler.backend import host
from ..compiler.program import Op
from ..core.ops.precision import in_precision

MOST_OPS = 8192
"""Ops that one choice of dtypes knows; of more, all are asked again."""


class Setting(NamedTuple):
    """What `autocast` sets."""

    enabled: bool = False
    low: str = "float16"
    high: str = "float32"


class _Thread(threading.local):
    def __init__(self) -> None:
        self.setting = Setting()
        self.outer: list[Setting] = []  # what held before each autocast that has been entered


_thread = _Thread()


def current() -> Setting:
    """What holds in this thread."""
    return _thread.setting


def switch(setting: Setting) -> None:
    """Have this thread compute as the setting says."""
    _rt.set_substitutes(_table(setting) if setting.enabled else None)
    _thread.setting = setting


def enter(setting: Setting) -> None:
    """`switch` until the `leave` that belongs to it."""
    before = _thread.setting
    switch(setting)
    _thread.outer.append(before)


def leave() -> None:
    switch(_thread.outer.pop())


def float_name(argument: str, dtype: Any) -> str:
    """The name of a dtype that mixed precision can compute in. Raises TypeError or ValueError for any other value."""
    name = canonical(dtype)
    if name not in ("float16", "bfloat16", "float32"):
        raise ValueError(f"autocast: {argument} must be 'float16', 'bfloat16' or 'float32', got {dtype!r}")
    return name


class Table(dict[Any, Any]):
    """Which op runs in the place of each."""

    def __init__(self, low: str, high: str) -> None:
        super().__init__()
        self._dtypes = low, high

    def __missing__(self, op: Any) -> Any:
        if len(self) >= MOST_OPS:
            self.clear()
        chosen = self[op] = self._chosen(op)
        return chosen

    def _chosen(self, op: Any) -> Any:
        return in_precision(op, *self._dtypes) if isinstance(op, Op) else op


# One for each choice, as traces tell their calls apart by it.
_tables = cache(Table)


def _table(setting: Setting) -> Table | None:
    """None where the setting changes nothing."""
    means = config.get("autocast")
    if means == "off":
        return None
    if means == "auto" and not host.host_target().dots:
        _say_that_nothing_changes()
        return None
    low = "bfloat16" if setting.low == "float16" and means != "asked" else setting.low
    return _tables(low, setting.high)


@cache
def _say_that_nothing_changes() -> None:
    warn(
        "autocast changes nothing on this machine, as its CPU has no products of bfloat16 numbers, and without them a lower precision is "
        'not faster; tengen.config.autocast = "bfloat16" has it compute in bfloat16 all the same, and "off" silences this'
    )
