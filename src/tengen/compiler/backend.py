"""The door to everything that stands on LLVM, which takes longer to load than the rest of tengen.

What ops are made of (`program`, `view`) is imported as such. The modules below are imported when something of them is first used:
when the first op is compiled, or its kernel read from the disk. Whoever is imported with tengen itself takes them from here.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = [
    "constants",
    "contraction",
    "convolution",
    "driver",
    "dump",
    "host",
    "matmul",
    "passes",
    "plan_store",
    "recompute",
]


class _Lazy:
    """Stands for a module of this package until, and after, something of it is used."""

    def __init__(self, name: str) -> None:
        self._name = f"{__package__}.{name}"
        self._module: ModuleType | None = None

    def __getattr__(self, name: str) -> Any:
        if self._module is None:
            self._module = import_module(self._name)
        return getattr(self._module, name)


if TYPE_CHECKING:
    from . import dump, passes, plan_store
    from .passes import constants, recompute
    from .schedule import contraction, convolution, driver, matmul
    from .targets import host
else:
    dump, plan_store = _Lazy("dump"), _Lazy("plan_store")
    passes, recompute, constants = _Lazy("passes"), _Lazy("passes.recompute"), _Lazy("passes.constants")
    contraction, convolution = _Lazy("schedule.contraction"), _Lazy("schedule.convolution")
    driver, matmul = _Lazy("schedule.driver"), _Lazy("schedule.matmul")
    host = _Lazy("targets.host")
