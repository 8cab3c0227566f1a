"""`megengine.core.ops.builtin`: ops as values, which `apply` takes. Names, parameters and enums are read from `ops.json`."""

from __future__ import annotations

import json
import os
from typing import Any

from ... import __name__ as _own

_PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), *[os.pardir] * 3, "ops.json")


class OpDef:
    """An op with its parameters; equal to another of the same kind and parameters."""

    _parameters: dict[str, Any]
    _enums: dict[str, type]
    scope = ""

    def __init__(self, *values: Any, **parameters: Any):
        if len(values) > len(self._parameters):
            raise TypeError(f"{type(self).__name__} takes {len(self._parameters)} parameters, got {len(values)}")
        given = {**dict(zip(self._parameters, values, strict=False)), **parameters}
        for name in given:
            if name not in self._parameters:
                raise TypeError(f"{name!r} is not a parameter of {type(self).__name__}: {', '.join(self._parameters)}")
        for name, default in self._parameters.items():
            setattr(self, name, self._read(name, given.get(name, default)))

    def _read(self, name: str, value: Any) -> Any:
        """A parameter as it is kept: members of enums by their upper-case name."""
        members = self._choices(name)
        if members is None:
            return value
        text = str(value).rpartition(".")[2].upper()
        if text not in members:
            raise ValueError(f"{type(self).__name__}: {name} is one of {', '.join(members)}, got {value!r}")
        return text

    def _choices(self, name: str) -> list[str] | None:
        wanted = name.replace("_", "").lower()
        aliases = {"imode": "interpolationmode", "bmode": "bordermode", "bordertype": "bordermode"}
        for enum, kind in self._enums.items():
            if enum.lower() == aliases.get(wanted, wanted):
                return [member for member in vars(kind) if member.isupper()]
        return None

    def _key(self) -> tuple[Any, ...]:
        return (type(self).__name__, *(str(getattr(self, name)) for name in self._parameters))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpDef) and other._key() == self._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return type(self).__name__


def _made(name: str, row: dict[str, Any]) -> type[OpDef]:
    """The class of one op."""
    enums = {
        enum: type(enum, (), {member: f"{name}.{enum}.{member}" for member in members})
        for enum, members in row["enums"].items()
    }
    body = {"_parameters": row["parameters"], "_enums": enums, "__module__": _own.replace(".own", ".builtin"), **enums}
    return type(name, (OpDef,), body)


with open(_PATH, encoding="utf-8") as _file:
    _KINDS = {name: _made(name, row) for name, row in json.load(_file).items()}
globals().update(_KINDS)

__all__ = ["OpDef", *_KINDS]
