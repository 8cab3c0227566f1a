"""Shapes while a module is traced: tuples of ints that remember where they come from.

So a graph computes `x.shape[0] * 2` for each new input, where the program does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..core import Tensor
from . import active


class GetVarShape:
    """The shape of a tensor: `x.shape` in a graph."""

    def __call__(self, x: Any) -> tuple[int, ...]:
        return tuple(map(int, tuple(x.shape)))

    def __eq__(self, other: object) -> bool:
        return type(other) is GetVarShape

    def __hash__(self) -> int:
        return hash(GetVarShape)

    def __repr__(self) -> str:
        return "GetVarShape"


class TracedInt(int):
    """An int that a graph computes."""

    def __reduce__(self) -> Any:
        return int, (int(self),)


class TracedFloat(float):
    """A float that a graph computes."""

    def __reduce__(self) -> Any:
        return float, (float(self),)


class TracedShape(tuple[int, ...]):
    """A tuple of ints that a graph computes."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        recorder = active.recorder()
        if recorder is None or recorder.scope.node(self) is None:
            return tuple.__getitem__(self, index)
        return recorder.call_method(self, "__getitem__", (index,), {})

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __add__(self, other: Any) -> Any:
        recorder = active.recorder()
        if recorder is None or recorder.scope.node(self) is None:
            return tuple.__add__(self, tuple(other))
        return recorder.call_method(self, "__add__", (tuple(other),), {})

    def __radd__(self, other: Any) -> Any:
        return tuple(other) + tuple(self)

    def __reduce__(self) -> Any:
        return tuple, (list(map(int, tuple.__iter__(self))),)


def traced(value: Any) -> Any:
    """A number or shape as an object that can be told from equal ones; other values as they are."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return TracedInt(value)
    if isinstance(value, float):
        return TracedFloat(value)
    return TracedShape(value) if isinstance(value, tuple) and all(isinstance(v, int) for v in value) else value


def plain(value: Any) -> Any:
    """A number or shape as a plain value."""
    if isinstance(value, TracedInt):
        return int(value)
    if isinstance(value, TracedFloat):
        return float(value)
    return tuple(map(int, tuple.__iter__(value))) if isinstance(value, TracedShape) else value


KINDS = (TracedInt, TracedFloat, TracedShape)


def _arithmetic(name: str, base: type) -> Callable[..., Any]:
    original = getattr(base, name)

    def method(self: Any, *others: Any) -> Any:
        recorder = active.recorder()
        if recorder is None or any(isinstance(other, Tensor) for other in others):
            return original(self, *others)
        result = original(self, *others)
        if result is NotImplemented and base is int and isinstance(others[0], float):
            result = getattr(float, name)(float(self), *others)
        if result is NotImplemented or recorder.scope.node(self) is None:
            return result
        return recorder.call_method(self, name, others, {})

    method.__name__ = name
    return method


for _kind, _base in ((TracedInt, int), (TracedFloat, float)):
    for (
        _name
    ) in "add sub mul truediv floordiv mod pow radd rsub rmul rtruediv rfloordiv rmod rpow neg lt le gt ge".split():
        setattr(_kind, f"__{_name}__", _arithmetic(f"__{_name}__", _base))
