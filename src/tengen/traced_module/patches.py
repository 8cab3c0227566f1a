"""While a thread records, functions, methods and attributes ask the recorder first.

Names are bound to wrappers in every module that has been imported and wherever the traced modules were written, so that
`from tengen.functional import relu` is seen too, and to what they were bound to before when nothing is recorded any more. In a thread
that records nothing a wrapper calls the function.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from .. import _rt
from ..core import Tensor
from ..module import Module
from . import active, known

_lock = threading.RLock()
_depth = 0
_names: dict[int, Any] = {}  # what is bound while something is recorded, by the id of what is bound else
_attributes: list[tuple[type, str, Any]] = []
_other_places: list[dict[str, Any]] = []
_cells: list[Any] = []
_ABSENT = object()


@contextmanager
def installed(module: Module | None = None) -> Iterator[None]:
    """Calls are seen in this block, also in the files that define a module and the modules inside it."""
    global _depth
    with _lock:
        _depth += 1
        if _depth == 1:
            _install()
        if module is not None:
            _see_methods(module)
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _remove()


def _install() -> None:
    for function in known.functions():
        _names[id(function)] = wrapper_of(function)
    _names[id(_rt.apply)] = _apply
    _bind(_names)
    _set(Tensor, "shape", property(_shape))
    for method in known.METHODS:
        if hasattr(Tensor, method):
            _set(Tensor, method, _method(method, getattr(Tensor, method)))
    _set(Module, "__call__", _module_call(Module.__call__))
    _set(Module, "__getattribute__", _module_attribute)
    _set(Module, "__setattr__", _module_assignment(Module.__setattr__))


def _remove() -> None:
    originals = {id(wrapper): getattr(wrapper, "__wrapped__", None) for wrapper in _names.values()}
    _bind(originals)
    _bind_cells(originals)
    _names.clear()
    _cells.clear()
    _other_places.clear()
    while _attributes:
        holder, name, before = _attributes.pop()
        if before is _ABSENT:
            delattr(holder, name)
        else:
            setattr(holder, name, before)


def _set(holder: type, name: str, value: Any) -> None:
    _attributes.append((holder, name, vars(holder).get(name, _ABSENT)))
    setattr(holder, name, value)


def _bind(table: dict[int, Any]) -> None:
    _bind_in([getattr(module, "__dict__", None) for module in list(sys.modules.values())], table)
    _bind_in(_other_places, table)


def _bind_in(places: Iterable[Any], table: dict[int, Any]) -> None:
    for names in places:
        if type(names) is dict and not str(names.get("__name__")).startswith(__package__):
            for name, value in list(names.items()):
                new = table.get(id(value))
                if new is not None:
                    names[name] = new


def _see_methods(module: Module) -> None:
    """The names that the classes of modules see need not be those of an imported module, or are those of a function around."""
    places: dict[int, dict[str, Any]] = {}
    for one in module.modules():
        for kind in type(one).__mro__:
            for member in vars(kind).values():
                if isinstance(member, FunctionType):
                    places[id(member.__globals__)] = member.__globals__
                    _cells.extend(member.__closure__ or ())
    _other_places.extend(places.values())
    _bind_in(places.values(), _names)
    _bind_cells(_names)


def _bind_cells(table: dict[int, Any]) -> None:
    for cell in _cells:
        try:
            new = table.get(id(cell.cell_contents))
        except ValueError:  # it has no value yet
            continue
        if new is not None:
            cell.cell_contents = new


@functools.cache
def wrapper_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """The wrapper that is called in place of a function."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        recorder = active.recorder()
        return function(*args, **kwargs) if recorder is None else recorder.call_function(function, args, kwargs)

    return call


def seen(value: Any) -> Any:
    """A function as a module sees it that holds it in an attribute."""
    return wrapper_of(value) if isinstance(value, FunctionType) and value in known.functions() else value


def _apply(op: Any, *inputs: Any) -> Any:
    recorder = active.recorder()
    original = _apply.__wrapped__  # type: ignore[attr-defined]
    if recorder is None:
        return original(op, *inputs)
    values = [recorder.value_of(value) for value in inputs]
    return recorder.call_apply(op, inputs, lambda: original(op, *values))


_apply.__wrapped__ = _rt.apply  # type: ignore[attr-defined]


def _shape(tensor: Tensor) -> Any:
    recorder = active.recorder()
    shape = _plain_shape(tensor)
    return shape if recorder is None else recorder.call_shape(tensor, shape)


_plain_shape: Callable[[Any], tuple[int, ...]] = _rt.Tensor.shape.__get__


def _method(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        recorder = active.recorder()
        return original(self, *args, **kwargs) if recorder is None else recorder.call_method(self, name, args, kwargs)

    return call


def _module_call(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(self: Module, *args: Any, **kwargs: Any) -> Any:
        recorder = active.recorder()
        return original(self, *args, **kwargs) if recorder is None else recorder.call_module(self, args, kwargs)

    return call


def _module_assignment(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def assign(self: Module, name: str, value: Any) -> None:
        recorder = active.recorder()
        if recorder is not None and isinstance(value, (Tensor, Module)) and recorder.traces(self):
            raise ValueError(
                f"{type(self).__name__}.{name} is assigned a {type(value).__name__} while it is traced: a graph only reads attributes. "
                "Give the value out as a result, or call set_value of the tensor that is there"
            )
        original(self, name, value)

    return assign


def _module_attribute(self: Module, name: str) -> Any:
    value = object.__getattribute__(self, name)
    recorder = active.recorder()
    if recorder is None or name.startswith("__") or name not in object.__getattribute__(self, "__dict__"):
        return value
    return recorder.attribute(self, name, value)
