"""The door to everything that needs LLVM, which takes longer to load than the rest of tengen.

`program` and `view`, which ops are made of, are imported normally. The modules below are imported on first use: when
the first op is compiled, or its kernel is read from the disk. Modules that are imported with tengen itself take them
from here.

The first op may run at any moment: in a signal handler that interrupts such an import, in two threads at once, or in a
process that was forked during one. So a separate thread does the imports, one at a time. No signal handler runs there,
Ctrl-C interrupts nothing, and a fork waits until it is done.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..base.forks import held_at_fork

__all__ = [
    "cache",
    "constants",
    "driver",
    "helper",
    "host",
    "passes",
    "pipeline",
    "plan_store",
    "recompute",
    "target",
]


compiling, _door = held_at_fork(2)
"""The thread that uses LLVM holds `compiling`."""
missed = 0
"""Kernels that this process needed and that were not on the disk."""
threads: Callable[[], int] | None = None
"""Says how many threads may compute at the same time: the runtime's function, which `core.build` enters."""
_importing: set[int] = set()


def _imported(name: str) -> ModuleType:
    """The module, imported in another thread. Raises what its import raises."""
    if _thread.get_ident() in _importing:  # the import of a module behind the door that uses another one at once
        return import_module(name)
    made: list[ModuleType | BaseException] = []
    # A lock that nothing else knows, not a Thread or an Event: a handler may find their locks taken by its own thread.
    done = _thread.allocate_lock()
    done.acquire()

    def work() -> None:
        _importing.add(_thread.get_ident())
        try:
            with _door:
                made.append(import_module(name))
        except BaseException as error:
            made.append(error)
        finally:
            _importing.discard(_thread.get_ident())
            done.release()

    try:
        _thread.start_new_thread(work, ())
    except RuntimeError:  # Python is shutting down
        return import_module(name)
    done.acquire()
    if isinstance(made[0], BaseException):
        raise made[0]
    return made[0]


class _Lazy:
    """Stands for a module of this package. The module is imported on first use."""

    def __init__(self, name: str) -> None:
        self._name = f"{__package__}.{name}"
        self._module: ModuleType | None = None

    def __getattr__(self, name: str) -> Any:
        if self._module is None:
            self._module = _imported(self._name)
        return getattr(self._module, name)


if TYPE_CHECKING:
    from . import cache, helper, passes, pipeline, plan_store
    from .kernels import target
    from .passes import constants, recompute
    from .schedule import driver
    from .targets import host
else:
    cache = _Lazy("cache")
    pipeline, plan_store = _Lazy("pipeline"), _Lazy("plan_store")
    passes, recompute, constants = _Lazy("passes"), _Lazy("passes.recompute"), _Lazy("passes.constants")
    driver, host, helper = _Lazy("schedule.driver"), _Lazy("targets.host"), _Lazy("helper")
    target = _Lazy("kernels.target")
