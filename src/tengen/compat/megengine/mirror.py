"""Modules with MegEngine's names and tengen's values."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from . import table
from .earlier import advice
from .missing import Missing

ROOT = "megengine"
_OURS, _OWN = "tengen", f"{__package__}.own"
_ABSENT = object()


@cache
def _imported(name: str) -> ModuleType | None:
    """The module with a name; None if there is none."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        return None


def _own(place: str) -> ModuleType | None:
    """What MegEngine's module `place` has and tengen does not."""
    return _imported(f"{_OWN}.{place or 'package'}")


def _holder(place: str, name: str) -> ModuleType | None:
    """The module, of tengen or of `own`, where a name of MegEngine's module `place` is kept."""
    places = table.places(place, name)
    for own in map(
        _own, places
    ):  # before all of tengen's modules, which import functions with other uses by the same names: `apply`
        if own is not None and name in own.__all__:
            return own
    for other in places:
        ours = _imported(f"{_OURS}.{other}".strip("."))
        # Names that earlier or later versions of MegEngine may have as well.
        known = name in table.modules().get(place, ()) or name in getattr(ours, "__all__", ())
        if known and hasattr(ours, name):
            return ours
    return None


def _find(place: str, name: str) -> Any:
    """The value of a name of MegEngine's module `place`; `_ABSENT` if MegEngine has no such name."""
    holder = _holder(place, name)
    value = _ABSENT if holder is None else getattr(holder, name)
    inner = f"{place}.{name}".strip(".")
    if holder is None and name in table.modules().get(place, ()):
        return Missing(f"{ROOT}.{inner}")
    if name in table.submodules(place) and (holder is None or isinstance(value, ModuleType)):
        return import_module(f"{ROOT}.{inner}")
    return value


class Mirror(ModuleType):
    """A module of MegEngine. Names are looked up in tengen when they are asked for, so what is added to tengen appears
    here at once."""

    def __getattr__(self, name: str) -> Any:
        place = self.__name__.partition(".")[2]
        if name == "__all__":
            return [key for key in dir(self) if not key.startswith("_")]
        value = _find(place, name)
        if value is _ABSENT:
            hint = advice(f"{place}.{name}".strip("."))
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}{hint}", name=name, obj=self)
        if callable(value) or isinstance(value, ModuleType):  # others may change, such as settings
            self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        place = self.__name__.partition(".")[2]
        dunder = name.startswith("__") and name.endswith("__")
        if dunder or isinstance(value, Mirror):
            # An imported module then becomes an attribute of its package, unless a function or class has the same name.
            if dunder or isinstance(_find(place, name), ModuleType):
                super().__setattr__(name, value)
            return
        holder = _holder(place, name)
        if holder is None:
            super().__setattr__(name, value)
        else:
            self.__dict__.pop(name, None)
            setattr(holder, name, value)

    def __dir__(self) -> list[str]:
        place = self.__name__.partition(".")[2]
        own = _own(place)
        names = {*table.modules().get(place, ()), *table.submodules(place), *(own.__all__ if own is not None else ())}
        return sorted({*names, *self.__dict__})
