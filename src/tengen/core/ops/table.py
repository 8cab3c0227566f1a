"""The op table as one dictionary: the classes that may be named where ops come from outside the program, such as in
files.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from ...compiler import program
from ...compiler.program import Op
from . import __name__ as package
from . import __path__ as folders


@cache
def op_classes() -> dict[str, type[Op]]:
    """The classes of all ops of the table, by name.

    Ops that are made while a program runs, from its functions or from recordings, stand in other modules and are not
    included.
    """
    rows = [f"{package}.{found.name}" for found in iter_modules(folders)]
    for row in rows:
        if row != __name__:
            import_module(row)
    modules = {*rows, program.__name__}
    return {cls.__name__: cls for cls in _subclasses(Op) if cls.__module__ in modules and _is_row(cls)}


def _is_row(cls: Any) -> bool:
    return not cls.abstract and not cls.__name__.startswith("_")


def _subclasses(cls: type[Op]) -> Iterator[type[Op]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)
