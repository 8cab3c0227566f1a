"""Lists, tuples and dicts of modules and tensors, as a module sees them while it is traced: each access to an item is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..core import Tensor
from ..module import Module

Take = Callable[[str, Any], Any]


def holds_members(value: Any) -> bool:
    """Whether a list, tuple or dict holds modules or tensors."""
    if isinstance(value, (Module, Tensor)):
        return True
    if isinstance(value, dict):
        return any(map(holds_members, value.values()))
    return isinstance(value, (list, tuple)) and any(map(holds_members, value))


class SeenList(list[Any]):
    """A list whose items are accessed through `take(name, item)`."""

    def __init__(self, items: Any, take: Take):
        super().__init__(items)
        self._take = take

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return self._take(str(place), super().__getitem__(place))

    def __iter__(self) -> Iterator[Any]:
        return (self[place] for place in range(len(self)))


class SeenTuple(tuple[Any, ...]):
    """The same for a tuple."""

    _take: Take

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        place = range(len(self))[index]
        return self._take(str(place), super().__getitem__(place))

    def __iter__(self) -> Iterator[Any]:
        return (self[place] for place in range(len(self)))


class SeenDict(dict[Any, Any]):
    """The same for a dict."""

    def __init__(self, items: Any, take: Take):
        super().__init__(items)
        self._take = take

    def __getitem__(self, key: Any) -> Any:
        return self._take(str(key), super().__getitem__(key))

    def get(self, key: Any, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401 - dict.get is what this is

    def values(self) -> Any:
        return [self[key] for key in self]

    def items(self) -> Any:
        return [(key, self[key]) for key in self]


def seen(value: Any, take: Take) -> Any:
    """A container whose items are accessed through `take`; other values stay as they are."""
    if isinstance(value, dict):
        return SeenDict(value, take)
    if isinstance(value, list):
        return SeenList(value, take)
    if type(value) is tuple:
        made = SeenTuple(value)
        made._take = take
        return made
    return value
