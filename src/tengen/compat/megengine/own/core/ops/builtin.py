"""`megengine.core.ops.builtin`: ops as values, for `apply`. Names, parameters and enums are read from `ops.json`."""

from __future__ import annotations

import json
import operator
import os
from typing import Any, ClassVar

_PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), *[os.pardir] * 3, "ops.json")
_PICKLED_AS = "megengine.core._imperative_rt.ops"
_ENUM_OF = {
    "imode": "interpolationmode",
    "bmode": "bordermode",
    "bordertype": "bordermode",
}  # names that differ


class Member:
    """One value of an enum of an op. It equals its name, in upper or lower case."""

    __slots__ = ("_enum", "name")
    __hash__ = None  # type: ignore[assignment]  # equal to text in several spellings

    def __init__(self, enum: str, name: str):
        self._enum, self.name = enum, name

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return other.upper() == self.name.upper()
        return isinstance(other, Member) and str(other).partition(".")[2] == str(self).partition(".")[2]

    def __str__(self) -> str:
        return f"{self._enum}.{self.name}"

    __repr__ = __str__


class OpDef:
    """An op with its parameters; equal to another of the same kind and parameters."""

    _parameters: ClassVar[dict[str, Any]] = {}
    _enums: ClassVar[dict[str, type]] = {}
    scope: str

    def __init__(self, *values: Any, **parameters: Any):
        kind = type(self)
        if kind is OpDef:
            raise TypeError("OpDef is what the ops have in common; make one of them, such as builtin.Elemwise('add')")
        if len(values) > len(self._parameters):
            raise TypeError(f"{kind.__name__} takes {len(self._parameters)} parameters, got {len(values)}")
        given = dict(zip(self._parameters, values, strict=False))
        if twice := sorted(given.keys() & parameters.keys()):
            raise TypeError(f"{kind.__name__} got {', '.join(twice)} by place and by name")
        given.update(parameters)
        for name in given:
            if name not in self._parameters:
                raise TypeError(f"{name!r} is not a parameter of {kind.__name__}: {', '.join(self._parameters)}")
        self.scope = ""
        for name, default in self._parameters.items():
            setattr(self, name, given.get(name, default))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._parameters and name != "scope":
            raise AttributeError(f"{type(self).__name__} has no parameter {name!r}: {', '.join(self._parameters)}")
        super().__setattr__(name, value if name == "scope" else self._read(name, value))

    def _read(self, name: str, value: Any) -> Any:
        """A parameter in the form in which it is kept: members of enums; numbers and lists of the type of the default."""
        enum, default = self._enum(name), self._parameters[name]
        try:
            if enum is not None:
                text = str(value).rpartition(".")[2]
                return next(member for member in _members(enum) if member == text)
            if isinstance(default, (bool, float)):
                return type(default)(value)
            if isinstance(default, int):
                return operator.index(value)
            return list(value) if isinstance(default, list) else value
        except (StopIteration, TypeError, ValueError):
            wanted = type(default).__name__ if enum is None else f"one of {', '.join(m.name for m in _members(enum))}"
            raise TypeError(f"{type(self).__name__}: {name} must be {wanted}, got {value!r}") from None

    def _enum(self, name: str) -> type | None:
        wanted = name.replace("_", "").lower()
        wanted = _ENUM_OF.get(wanted, wanted)
        return next((enum for key, enum in self._enums.items() if key.lower() == wanted), None)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(
            value.name if isinstance(value, Member) else value
            for value in (getattr(self, key) for key in self._parameters)
        )

    def _key(self) -> tuple[Any, ...]:
        return type(self).__name__, *(str(getattr(self, name)) for name in self._parameters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpDef) and other._key() == self._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return type(self).__name__


def _members(enum: type) -> list[Member]:
    return [member for member in vars(enum).values() if isinstance(member, Member)]


def _made(name: str, row: dict[str, Any]) -> type[OpDef]:
    """The class of one op."""
    enums = {
        enum: type(enum, (), {member: Member(f"{name}.{enum}", member) for member in members})
        for enum, members in row["enums"].items()
    }
    doc = f"{name}({', '.join(row['parameters'])})"
    body = {"_parameters": row["parameters"], "_enums": enums, "__module__": _PICKLED_AS, "__doc__": doc, **enums}
    return type(name, (OpDef,), body)


with open(_PATH, encoding="utf-8") as _file:
    _KINDS = {name: _made(name, row) for name, row in json.load(_file).items()}
globals().update(_KINDS)

original_keys = {"OpDef", "backup_keys", "original_keys"}


def backup_keys() -> None:
    """MegEngine records here which names its module had before the ops were added."""


__all__ = ["OpDef", "backup_keys", "original_keys", *_KINDS]
