"""The functions and methods whose calls are expressions, and their names in graphs and files."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

from .. import random
from ..functional import distributed, elemwise, loss, math, metric, nn, quantized, tensor, vision

# If several of them have a function, the first one names it.
_MODULES = {
    "loss": loss,
    "metric": metric,
    "vision": vision,
    "elemwise": elemwise,
    "math": math,
    "tensor": tensor,
    "nn": nn,
    "quantized": quantized,
    "distributed": distributed,
    "random": random,
}
_NO_FUNCTIONS = ("RNG", "seed", "shuffle")

_BINARY = (
    (
        "add sub mul matmul truediv floordiv mod pow lshift rshift and or xor"  # each has a reflected and an in-place method too
    ).split()
)
_SPELT = {"and": "and_", "or": "or_"}


def _reflected(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, b: function(b, a)


def _operators() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {
        f"__{name}__": getattr(operator, name)
        for name in "lt le gt ge eq ne neg pos abs invert getitem setitem".split()
    }
    for name in _BINARY:
        function = getattr(operator, _SPELT.get(name, name))
        found[f"__{name}__"] = function
        found[f"__r{name}__"] = _reflected(function)
        found[f"__i{name}__"] = getattr(operator, f"i{name}")
    return found


OPERATORS: dict[str, Callable[..., Any]] = _operators()
"""Methods that are operators; numbers have them, too."""

WRITING = frozenset(
    {
        "__setitem__",
        "set_value",
        "reset_zero",
        "_reset",
        *(name for name in OPERATORS if name.startswith("__i") and name != "__invert__"),
    }
)
"""Methods that change the value of the tensor itself."""

METHODS = (
    *OPERATORS,
    *("__round__", "reshape", "flatten", "transpose", "astype", "to", "detach", "sum", "mean", "prod", "max", "min"),
    *("set_value", "reset_zero"),
)
"""Methods of tensors whose calls are expressions."""

_wrapped: dict[Callable[..., Any], str] = {}


@cache
def _library() -> dict[Callable[..., Any], str]:
    found: dict[Callable[..., Any], str] = {}
    for place, module in _MODULES.items():
        for name in module.__all__:
            function = getattr(module, name)
            if callable(function) and not isinstance(function, type) and name not in _NO_FUNCTIONS:
                found.setdefault(function, f"{place}.{name}")
    return found


def register(function: FunctionType) -> None:
    """Register a function of the program, so that its calls become expressions."""
    _wrapped[function] = f"{function.__module__}.{function.__qualname__}"


def functions() -> dict[Callable[..., Any], str]:
    """The functions whose calls are expressions, with their names."""
    return {**_library(), **_wrapped}


def function_name(function: Callable[..., Any]) -> str:
    """The name of a function in the text of a graph."""
    found = functions().get(function)
    return str(found or f"{function.__module__.rpartition('.')[2]}.{function.__name__}")


def function_named(name: str) -> Callable[..., Any] | None:
    """The function with a name in graphs; None if there is none, or the program has not wrapped it."""
    return next((function for function, known in functions().items() if known == name), None)
