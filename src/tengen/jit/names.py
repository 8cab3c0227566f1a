"""The tensors under names that a function reads: variables of its module and of the functions around it."""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterator
from functools import partial
from types import CellType, CodeType, FunctionType
from typing import Any
from weakref import ref

from ..core import Tensor

READS = ("LOAD_GLOBAL", "LOAD_NAME")
Name = tuple[Callable[[], Any], ref[Tensor]]
"""How to look a name up, and the tensor that was found there."""


def names_of(function: Callable[..., Any]) -> list[Name]:
    """The names that refer to a tensor now, among those read by a function and by the functions that it calls by such
    names: variables of its own module, and local ones."""
    found: list[Name] = []
    waiting, known = [_plain(function)], set()
    while waiting:
        one = waiting.pop()
        if one is None or one in known:
            continue
        known.add(one)
        for look in _lookups(one):
            value = look()
            if isinstance(value, Tensor):
                found.append((look, ref(value)))
            elif isinstance(value, FunctionType) and value.__globals__ is one.__globals__:
                waiting.append(value)
    return found


def _plain(function: Any) -> FunctionType | None:
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    return function if isinstance(function, FunctionType) else None


def _lookups(function: FunctionType) -> Iterator[Callable[[], Any]]:
    for cell in function.__closure__ or ():
        yield partial(_content, cell)
    variables = function.__globals__
    read = {i.argval for code in _codes(function.__code__) for i in dis.get_instructions(code) if i.opname in READS}
    for name in read & variables.keys():
        yield partial(variables.get, name)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet assigned
        return None


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
