"""The door to everything that stands on LLVM, which takes longer to load than the rest of tengen.

What ops are made of (`program`, `view`) is imported as such. The modules below are imported when something of them is first used:
when the first op is compiled, or its kernel read from the disk. Whoever is imported with tengen itself takes them from here.

The first op may come at any moment: in a signal handler that interrupts such an import, in two threads at once, in a process that was forked
meanwhile. So modules are imported by a thread of their own, where no handler runs and Ctrl-C breaks nothing off, one at a time, and a
fork waits for it.
"""

from __future__ import annotations

import _thread
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..base.forks import held_at_fork

__all__ = [
    "constants",
    "driver",
    "host",
    "passes",
    "pipeline",
    "plan_store",
    "recompute",
    "vecmath",
]


compiling, _door = held_at_fork(2)
"""`compiling` is held by the thread that uses LLVM."""
_importing: set[int] = set()


def _imported(name: str) -> ModuleType:
    """The module, imported elsewhere. Raises what its import raises."""
    if _thread.get_ident() in _importing:  # that of a module behind the door, which uses another one at once
        return import_module(name)
    made: list[ModuleType | BaseException] = []
    # A lock that nobody else knows, not a Thread or an Event: those have locks that a handler may find taken by its own thread.
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
    except RuntimeError:  # Python is about to end
        return import_module(name)
    done.acquire()
    if isinstance(made[0], BaseException):
        raise made[0]
    return made[0]


class _Lazy:
    """Stands for a module of this package until, and after, something of it is used."""

    def __init__(self, name: str) -> None:
        self._name = f"{__package__}.{name}"
        self._module: ModuleType | None = None

    def __getattr__(self, name: str) -> Any:
        if self._module is None:
            self._module = _imported(self._name)
        return getattr(self._module, name)


if TYPE_CHECKING:
    from . import passes, pipeline, plan_store
    from .passes import constants, recompute
    from .schedule import driver
    from .targets import host, vecmath
else:
    pipeline, plan_store = _Lazy("pipeline"), _Lazy("plan_store")
    passes, recompute, constants = _Lazy("passes"), _Lazy("passes.recompute"), _Lazy("passes.constants")
    driver, host = _Lazy("schedule.driver"), _Lazy("targets.host")
    vecmath = _Lazy("targets.vecmath")
