"""Ops as JSON: the class's name in the op table and its parameters.

Tuples become arrays, ops among the parameters become objects like the op itself, and floats that JSON lacks become
{"float": "inf"} and so on. What is read has been checked against the annotations of the class, so every op from a file
has parameters of the right kinds.
"""

from __future__ import annotations

import math
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ..compiler.program import Composite, Op
from ..core.ops.table import op_classes

_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def writable(op: Op) -> bool:
    """Whether the op is in the table and its parameters are data. The parameters of other ops are functions or
    Programs."""
    return type(op) is op_classes().get(type(op).__name__) and all(
        map(_writable, (getattr(op, p) for p in type(op).parameters))
    )


def _writable(parameter: Any) -> bool:
    if isinstance(parameter, tuple):
        return all(map(_writable, parameter))
    return writable(parameter) if isinstance(parameter, Op) else type(parameter) in (bool, int, float, str, NoneType)


def op_to_json(op: Op) -> dict[str, Any]:
    """Raises ValueError for an op that is not `writable`."""
    if not writable(op):
        hint = "" if isinstance(op, Composite) else "; only ops of the op table can"
        raise ValueError(f"{op.name} cannot be written to a file{hint}")
    return {"op": type(op).__name__, "parameters": {p: _to_json(getattr(op, p)) for p in type(op).parameters}}


def _to_json(parameter: Any) -> Any:
    if isinstance(parameter, tuple):
        return list(map(_to_json, parameter))
    if isinstance(parameter, Op):
        return op_to_json(parameter)
    if isinstance(parameter, float) and not math.isfinite(parameter):
        return {"float": str(parameter)}
    return parameter


def op_from_json(data: Any) -> Op:
    """Raises ValueError for data that do not describe an op of the table."""
    if not isinstance(data, dict) or not isinstance(data.get("parameters"), dict):
        raise ValueError("an op must be an object with a name and parameters")
    name, given = data.get("op"), data["parameters"]
    cls = op_classes().get(name) if isinstance(name, str) else None
    if cls is None:
        raise ValueError(f"{name!r} is not an op of this version of tengen")
    if set(given) != set(cls.parameters):
        raise ValueError(f"{name} has the parameters {', '.join(cls.parameters) or 'none'}, not {', '.join(given)}")
    hints = _hints(cls)
    return cls(*(_from_json(given[p], hints[p], f"{name}.{p}") for p in cls.parameters))


@cache
def _hints(cls: type[Op]) -> dict[str, Any]:
    return get_type_hints(cls)


def _from_json(data: Any, hint: Any, what: str) -> Any:
    """The parameter that `data` stands for. Raises ValueError if it is not of the kind `hint`."""
    if get_origin(hint) in (Union, UnionType):
        for choice in get_args(hint):
            try:
                return _from_json(data, choice, what)
            except ValueError:
                continue
    elif get_origin(hint) is tuple and isinstance(data, list):
        inner = get_args(hint)
        kinds = [inner[0]] * len(data) if inner[-1] is Ellipsis else inner
        if len(kinds) == len(data):
            return tuple(_from_json(d, kind, what) for d, kind in zip(data, kinds, strict=True))
    elif isinstance(hint, type) and issubclass(hint, Op):
        op = op_from_json(data)
        if isinstance(op, hint):
            return op
    elif hint is float and isinstance(data, dict) and data.get("float") in ("inf", "-inf", "nan"):
        return _NOT_FINITE[data["float"]]
    elif type(data) is hint or (hint is float and type(data) is int):
        return data
    raise ValueError(f"{what} cannot be {data!r:.80}")
