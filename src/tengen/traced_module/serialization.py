"""Traced modules as data: a text in JSON that refers to a list of tensors and arrays.

What the text names (layers, functions, ops) is looked up among those of tengen and those that the program has registered; all else
is refused, so a file cannot bring code. The text is as long as what it describes, so a small file cannot expand to something large.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .. import module as layers
from ..base import device as devices
from ..base.device import Device
from ..base.dtype import DType, canonical, dtype_of
from ..base.errors import SerializationError
from ..base.quantized import QuantDtypeMeta, from_numpy
from ..compiler.program import Op
from ..core import Tensor
from ..core.qparams import LSQParams, QParams, QuantMode
from ..jit.op_json import op_from_json, op_to_json
from ..module import Module, qat, quantized
from ..module.quantization import fake_quant as quantization_fake_quant
from ..module.quantization import observer
from . import fake_quant, known, pytree
from .module_tracer import registered_modules

_LAYERS: dict[str, tuple[Any, ...]] = {
    "": (layers,),
    "qat.": (qat,),
    "quantized.": (quantized,),
    "quantization.": (observer, quantization_fake_quant),
    "traced_module.": (fake_quant,),
}
_SKIPPED = ("_forward_hooks", "_forward_pre_hooks")


@cache
def _library_classes() -> dict[str, type[Module]]:
    found: dict[str, type[Module]] = {}
    for prefix, places in _LAYERS.items():
        for name, kind in [item for place in places for item in vars(place).items()]:
            if isinstance(kind, type) and issubclass(kind, Module) and kind not in (Module, layers.Sequential):
                found.setdefault(f"{prefix}{name}", kind)
    return found


def _classes() -> dict[str, type[Module]]:
    """The classes whose modules a file may hold, by name."""
    return {**_library_classes(), **{full_name(kind): kind for kind in registered_modules()}}


@cache
def _library_names() -> dict[type[Module], str]:
    return {kind: name for name, kind in reversed(_library_classes().items())}


def _class_name(kind: type[Module]) -> str | None:
    return full_name(kind) if kind in registered_modules() else _library_names().get(kind)


def full_name(kind: Any) -> str:
    """The full name of a class or function of the program."""
    return f"{kind.__module__}.{kind.__qualname__}"


class Placeholder:
    """Stands for a tensor or a module in a structure."""

    def __init__(self, kind: type):
        self.kind = kind


class Writer:
    """Converts values to JSON; tensors and modules go into tables."""

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        self.modules: list[Any] = []
        self._tensor_places: dict[int, int] = {}
        self._module_places: dict[int, int] = {}
        self.module_data: Callable[[Any], Any] = self._layer

    def value(self, value: Any) -> Any:
        """Raises SerializationError for anything but data."""
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": str(value)}
        if isinstance(value, (Tensor, np.ndarray, np.generic)):
            return {"tensor": self._tensor(value)}
        if isinstance(value, Module):
            return {"module": self._module(value)}
        return self._container(value) or self._other(value)

    def _container(self, value: Any) -> Any:
        kind = type(value)
        if kind in (list, tuple):
            return {kind.__name__: [self.value(item) for item in value]}
        if kind in (dict, OrderedDict):
            return {kind.__name__: [[self.value(key), self.value(item)] for key, item in value.items()]}
        if kind is slice:
            return {"slice": [self.value(item) for item in (value.start, value.stop, value.step)]}
        if kind in pytree.USER_REGISTERED_CONTAINER_TYPE:
            items, aux = pytree.SUPPORTED_TYPE[kind].flatten(value)
            return {"registered": [full_name(kind), self.value(list(items)), self.value(aux)]}
        return None

    def _other(self, value: Any) -> Any:
        if value is ...:
            return {"ellipsis": True}
        if isinstance(value, Placeholder):
            return {"leaf": value.kind.__name__}
        if isinstance(value, QuantDtypeMeta):
            return {"meta": list(value)}
        if isinstance(value, QuantMode):
            return {"mode": value.name}
        if type(value) in (QParams, LSQParams):
            return {type(value).__name__: [[name, self.value(getattr(value, name))] for name in value._fields()]}
        if isinstance(value, DType) or (isinstance(value, np.dtype) and from_numpy(value)):
            return {"dtype_of": canonical(value)}  # with the scale of a quantised one
        if isinstance(value, (np.dtype, Device)):
            return {"dtype": value.name} if isinstance(value, np.dtype) else {"device": str(value)}
        if isinstance(value, type) and issubclass(value, np.generic):
            return {"scalar": value.__name__}
        if isinstance(value, Op):
            return {"op": op_to_json(value)}
        name = known.functions().get(getattr(value, "__wrapped__", value)) if callable(value) else None
        if name is None:
            what = repr(value.__qualname__) if hasattr(value, "__qualname__") else f"a {type(value).__name__}"
            raise SerializationError(
                f"a traced module holds {what}, which is no data; functions are saved by name once they are wrap()ped, layers "
                "once their class is given to register_as_builtin()"
            )
        return {"function": name}

    def _tensor(self, value: Any) -> int:
        place = self._tensor_places.get(id(value))
        if place is None:
            place = self._tensor_places[id(value)] = len(self.tensors)
            self.tensors.append(value)
        return place

    def _module(self, module: Module) -> int:
        place = self._module_places.get(id(module))
        if place is None:
            place = self._module_places[id(module)] = len(self.modules)
            self.modules.append(None)
            self.modules[place] = self.module_data(module)
        return place

    def _layer(self, module: Module) -> Any:
        name = _class_name(type(module))
        if name is None:
            raise SerializationError(
                f"a traced module calls a module of {full_name(type(module))}, which is not one of tengen's: trace it, or call register_as_builtin"
            )
        state = [[key, self.value(item)] for key, item in vars(module).items() if key not in _SKIPPED]
        return {"class": name, "state": state}


class Reader:
    """Builds values from what a Writer wrote. Raises SerializationError, or another exception for data that no Writer writes."""

    def __init__(self, tensors: list[Any], modules: list[Any]):
        self._tensors, self._modules = tensors, modules
        self._made: dict[int, Any] = {}
        self.traced: Callable[[Any, Any], Any] | None = None  # fills a traced module
        self.new_traced: Callable[[], Any] | None = None
        self._depth = 0

    def value(self, data: Any) -> Any:
        """The value."""
        if not isinstance(data, dict):
            if isinstance(data, list):
                raise SerializationError("a list without a kind")
            return data
        ((kind, inner),) = data.items()
        reader = _READERS.get(kind)
        if reader is None:
            raise SerializationError(f"a value of the kind {kind!r:.40}")
        return reader(self, inner)

    def _values(self, data: Any) -> list[Any]:
        return [self.value(item) for item in _list(data)]

    def _pairs(self, data: Any) -> list[tuple[Any, Any]]:
        return [(self.value(key), self.value(item)) for key, item in _list(data)]

    def _tensor(self, place: Any) -> Any:
        value = self._tensors[_place(place, self._tensors)]
        if not isinstance(value, (Tensor, np.ndarray, np.generic)):
            raise SerializationError(f"a {type(value).__name__} among the tensors")
        return value

    def _module(self, place: Any) -> Any:
        place = _place(place, self._modules)
        if place not in self._made:
            data = self._modules[place]
            if "traced" in data and self.new_traced is not None and self.traced is not None:
                self._made[place] = self.new_traced()
                self.traced(self._made[place], data["traced"])
            else:
                self._made[place] = self._layer(place, data)
        return self._made[place]

    def _layer(self, place: int, data: Any) -> Module:
        kind = _classes().get(data["class"])
        if kind is None:
            raise SerializationError(
                f"it holds a module of {data['class']!r:.80}, which is neither tengen's nor given to register_as_builtin by this program"
            )
        made = kind.__new__(kind)
        self._made[place] = made
        made.__dict__["_forward_pre_hooks"], made.__dict__["_forward_hooks"] = {}, {}
        for key, item in _list(data["state"]):
            if not isinstance(key, str) or key in _SKIPPED or callable(getattr(kind, key, None)):
                raise SerializationError(f"a {data['class']} with the attribute {key!r:.40}")
            made.__dict__[key] = self.value(item)
        return made

    def _function(self, name: Any) -> Any:
        function = known.function_named(name) if isinstance(name, str) else None
        if function is None:
            raise SerializationError(
                f"it calls {name!r:.80}, which is neither tengen's nor given to wrap by this program"
            )
        return function

    def _registered(self, data: Any) -> Any:
        name, items, aux = data
        for kind in pytree.USER_REGISTERED_CONTAINER_TYPE:
            if full_name(kind) == name:
                return pytree.SUPPORTED_TYPE[kind].unflatten(self.value(items), self.value(aux))
        raise SerializationError(
            f"it holds a {name!r:.80}, which this program has not given to register_supported_type"
        )

    def _quantised(self, data: Any, kind: type) -> Any:
        made = kind(None, None)
        for name, item in _list(data):
            if name not in made._fields():
                raise SerializationError(f"quantisation parameters with {name!r:.40}")
            setattr(made, name, self.value(item))
        return made


def _list(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise SerializationError(f"a {type(data).__name__} in the place of a list")
    return data


def _place(place: Any, table: list[Any]) -> int:
    if type(place) is not int or not 0 <= place < len(table):
        raise SerializationError(f"number {place!r:.40} of {len(table)}")
    return place


_READERS: dict[str, Callable[[Reader, Any], Any]] = {
    "float": lambda reader, data: float(data),
    "list": lambda reader, data: reader._values(data),
    "tuple": lambda reader, data: tuple(reader._values(data)),
    "dict": lambda reader, data: dict(reader._pairs(data)),
    "OrderedDict": lambda reader, data: OrderedDict(reader._pairs(data)),
    "slice": lambda reader, data: slice(*reader._values(data)),
    "ellipsis": lambda reader, data: ...,
    "registered": Reader._registered,
    "tensor": Reader._tensor,
    "module": Reader._module,
    "function": Reader._function,
    "leaf": lambda reader, data: Placeholder({"Tensor": Tensor, "Module": Module}[data]),
    "meta": lambda reader, data: QuantDtypeMeta(*data),
    "mode": lambda reader, data: QuantMode[data],
    "QParams": lambda reader, data: reader._quantised(data, QParams),
    "LSQParams": lambda reader, data: reader._quantised(data, LSQParams),
    "dtype": lambda reader, data: _numpy_dtype(data),
    "dtype_of": lambda reader, data: dtype_of(data),
    "scalar": lambda reader, data: _numpy_dtype(data).type,
    "device": lambda reader, data: devices.parse(data),
    "op": lambda reader, data: op_from_json(data),
}


def _numpy_dtype(name: Any) -> np.dtype[Any]:
    made = np.dtype(str(name))
    if made.kind not in "biuf" or made.fields:
        raise SerializationError(f"the dtype {name!r:.40}")
    return made


def to_text(data: Any) -> str:
    """JSON."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)
