"""While something is recorded, functions, methods and attributes ask the recorder first.

Names are bound to wrappers in every module that has been imported, so that `from tengen.functional import relu` is seen too, and to
what they were bound to before when nothing is recorded any more. In a thread that records nothing a wrapper calls the function.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
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
_ABSENT = object()


@contextmanager
def installed() -> Iterator[None]:
    """Calls are seen inside of this."""
    global _depth
    with _lock:
        _depth += 1
        if _depth == 1:
            _install()
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


def _remove() -> None:
    originals = {id(wrapper): getattr(wrapper, "__wrapped__", None) for wrapper in _names.values()}
    _bind(originals)
    _names.clear()
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
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if type(names) is dict and not str(names.get("__name__")).startswith(__package__):
            for name, value in list(names.items()):
                new = table.get(id(value))
                if new is not None:
                    names[name] = new


@functools.cache
def wrapper_of(function: FunctionType) -> Callable[..., Any]:
    """What is called in the place of a function."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        recorder = active.recorder()
        return function(*args, **kwargs) if recorder is None else recorder.call_function(function, args, kwargs)

    return call


def seen(value: Any) -> Any:
    """A function as a module that holds it in an attribute is to see it."""
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


_plain_shape: Callable[[Any], tuple[int, ...]] = _rt.Tensor.shape.__get__  # type: ignore[attr-defined]


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


def _module_attribute(self: Module, name: str) -> Any:
    value = object.__getattribute__(self, name)
    recorder = active.recorder()
    if recorder is None or name.startswith("__") or name not in object.__getattribute__(self, "__dict__"):
        return value
    return recorder.attribute(self, name, value)
