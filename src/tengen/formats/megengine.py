"""MegEngine's pickles. Besides data, they may hold modules and optimizers that were saved whole; these are read as
state dicts.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

from ..base.errors import SerializationError
from ..core import Tensor
from ..safe_pickle import MOST_NESTED, SafeUnpickler, Source

_GRAPHS = "megengine.traced_module."
_LAYER = _GRAPHS + "serialization._ModuleState"  # a layer of a traced module
_COST = 600  # the approximate bytes of an empty stand-in


class Foreign(NamedTuple):
    """Stands for a class or function by its name, for what it was called with, and for what that gave. Nothing is
    looked up."""

    module: str
    name: str


class Saved(OrderedDict[str, Any]):
    """The state dict of a module or optimizer that was saved as a whole: `load_state_dict` takes it.

    kind: the full name of its class, which was not imported.
    """

    kind: str = ""
    _attributes: dict[str, Any] | None = None


class MegEngineUnpickler(SafeUnpickler):
    """Reads MegEngine's pickles.

    - A module is read as its state dict, and so is an optimizer (`Saved`). Their classes are never imported; attributes
      that are not tensors, modules or containers of these are left out. Elsewhere objects of classes that are not data
      are refused.
    """

    def __init__(self, file: Source, locate: Callable[[str], str], encoding: str = "ASCII"):
        super().__init__(file, locate, encoding)
        self._unknown = False

    def load(self) -> Any:
        made = super().load()
        if self._unknown:
            for saved in self._outermost(made):
                self._finish(saved)
        return made

    def find_class(self, module: str, name: str) -> Any:
        """The meaning of a name; a `Foreign` for everything that is not data."""
        try:
            return super().find_class(module, name)
        except SerializationError:
            self._unknown = True
            self._spend(_COST)
            return Foreign(module, name)

    # -- stand-ins -----------------------------------------------------------------------------------------------

    def _call(self, function: Any, arguments: Any) -> Any:
        return function if isinstance(function, Foreign) else super()._call(function, arguments)

    def _new(self) -> None:
        if not isinstance(self.stack[-2], Foreign):
            return self._reduce()
        self.stack.pop()
        saved = Saved()
        saved.kind = ".".join(self.stack[-1])
        self._spend(_COST)
        self.stack[-1] = saved
        return None

    def _target(self, *kinds: type) -> Any:
        if isinstance(self.stack[-1], (Foreign, Saved)):
            return kinds[0]()  # and is forgotten
        return super()._target(*kinds)

    def _build(self) -> None:
        state, target = self.stack[-1], self.stack[-2]
        if isinstance(target, Saved) and type(state) is dict:
            target._attributes = state
        elif not isinstance(target, (Foreign, Saved, Tensor)):
            return super()._build()
        self.stack.pop()  # of tensors: notes of quantization
        return None

    # What a traced module keeps by parts of its graph is left out like these.

    def _pairs(self, items: list[Any]) -> Iterator[tuple[Any, Any]]:
        return super()._pairs([one for pair in _pairs_of(items) if not _of_graph(pair[0]) for one in pair])

    def _set_item(self) -> None:
        if _of_graph(self.stack[-2]):
            del self.stack[-2:]
            self._target(dict, OrderedDict)
        else:
            super()._set_item()

    # -- what was saved whole ------------------------------------------------------------------------------------

    def _outermost(self, made: Any) -> list[Saved]:
        """The modules and optimizers in the data. SerializationError for anything else that is not data."""
        found: list[Saved] = []
        waiting, seen = [made], set()
        while waiting:
            item = waiting.pop()
            if isinstance(item, (Foreign, Saved)) and _state_of(item) is None:
                name = ".".join(item) if isinstance(item, Foreign) else item.kind
                raise SerializationError(
                    f"it holds {name}, and only data is loaded, never code or classes; save what state_dict() gives"
                )
            if id(item) in seen or not isinstance(item, (dict, list, tuple, set, frozenset, deque)):
                continue
            seen.add(id(item))
            if isinstance(item, Saved):
                found.append(item)
                continue
            waiting += item
            if isinstance(item, dict):
                waiting += item.values()
        return found

    def _finish(self, saved: Saved) -> None:
        """Give a stand-in the state dict of what it stands for."""
        attributes = saved._attributes
        assert attributes is not None
        if "param_groups" in attributes:
            saved.update(_optimizer_state(attributes))
        else:
            saved.update(self._tensors("", attributes, {id(saved)}, 0))

    def _tensors(self, name: str, value: Any, entered: set[int], depth: int) -> Iterator[tuple[str, Tensor]]:
        """The tensors in an attribute of a module, by their names in its state dict."""
        self._spend(len(name) + 8)
        if depth > 2 * MOST_NESTED:
            raise SerializationError(f"it has modules that are nested more than {MOST_NESTED} deep")
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, Saved):
            if id(value) not in entered:
                entered.add(id(value))
                yield from self._tensors(name, _state_of(value) or {}, entered, depth)
        elif isinstance(value, (dict, list, tuple)):
            pairs = sorted(_named(value)) if isinstance(value, dict) else enumerate(value)
            for key, item in pairs:
                if isinstance(item, (Tensor, Saved, dict, list, tuple)):
                    yield from self._tensors(f"{name}.{key}" if name else str(key), item, entered, depth + 1)

    dispatch: ClassVar[dict[int, Any]] = {
        **SafeUnpickler.dispatch,
        pickle.NEWOBJ[0]: _new,
        pickle.BUILD[0]: _build,
        pickle.SETITEM[0]: _set_item,
    }


def _of_graph(key: Any) -> bool:
    """Whether a key is a part of the graph of a traced module."""
    return isinstance(key, Saved) and key.kind.startswith(_GRAPHS)


def _pairs_of(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(items[::2], items[1::2], strict=True)


def _named(items: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    return ((key, item) for key, item in items.items() if isinstance(key, str))


def _state_of(item: Foreign | Saved) -> dict[str, Any] | None:
    """The attributes of a module or optimizer; None if it is neither."""
    attributes = item._attributes if isinstance(item, Saved) else None
    if isinstance(item, Saved) and item.kind == _LAYER and attributes is not None:
        inner = attributes.get("state")
        attributes = inner if type(inner) is dict else None
    known = attributes is not None and ("_forward_hooks" in attributes or "param_groups" in attributes)
    return attributes if known else None


def _optimizer_state(attributes: dict[str, Any]) -> dict[str, Any]:
    """The state dict of an optimizer: its parameters by number."""
    numbers: dict[int, int] = {}
    groups = []
    for group in attributes["param_groups"]:
        for parameter in group["params"]:
            numbers.setdefault(id(parameter), len(numbers))
        settings = {name: value for name, value in group.items() if name != "params"}
        groups.append(settings | {"params": [numbers[id(parameter)] for parameter in group["params"]]})
    state = {
        numbers[id(parameter)]: {
            key: value.numpy() if isinstance(value, Tensor) else value for key, value in kept.items()
        }
        for parameter, kept in attributes.get("_state", {}).items()
        if id(parameter) in numbers
    }
    return {"param_groups": groups, "state": state}


def is_pickle(first: bytes) -> bool:
    """Whether a file that begins with these bytes is a pickle of protocol 2 or later."""
    return first[:1] == b"\x80" and first[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
