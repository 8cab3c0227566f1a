"""The line of the user's program that is running, and warnings that point there."""

from __future__ import annotations

import os
import sys
import warnings
from inspect import CO_VARARGS
from types import FrameType
from typing import Any

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_EXAMPLES = os.path.join(_PACKAGE, "examples") + os.sep


class UsageWarning(UserWarning):
    """The program does something that has a result, but probably not the one it wants. The message says what to do instead."""


def is_ours(filename: str) -> bool:
    """Whether a file of code is a part of tengen; its examples are programs that use it."""
    return filename.startswith(_PACKAGE) and not filename.startswith(_EXAMPLES)


def user_frame() -> FrameType:
    """The innermost frame outside tengen; the outermost of all if there is none."""
    frame = sys._getframe(1)
    while frame.f_back is not None and is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def argument_of(value: object) -> str:
    """`function: argument` by which a program gave tengen `value`; empty if it is what tengen made itself.

    That is looked up in the frames, when the value is refused: so no call pays for it, and no function has to say its name.
    """
    found, frame = "", sys._getframe(1)
    while is_ours(frame.f_code.co_filename):
        found = _named(frame, value) or found
        if frame.f_back is None:
            break
        frame = frame.f_back
    return found


def no_tensor(value: object, kind: str = "") -> str:
    """What to say of a value that stands where a tensor must be. kind: what it is, where its class does not tell."""
    shown = kind or ("None" if value is None else repr(value) if isinstance(value, (str, bytes)) else _a(value))
    hint = " (what a function gives that returns nothing)" if value is None else ""
    shown = shown if len(shown) <= 80 else f"{shown[:76]} ..."
    return f"{argument_of(value) or 'a tensor'} cannot be {shown}{hint}; give a Tensor, an array, or numbers: bool, integers, floats or complex"


def _a(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _named(frame: FrameType, value: object) -> str:
    """Which argument of a public function, or of a method, this is, if the frame is that of one."""
    code, given = frame.f_code, frame.f_locals
    owner = given.get("self") if code.co_varnames[:1] == ("self",) else None
    where: dict[str, Any] = (
        frame.f_globals if owner is None else {code.co_name: getattr(type(owner), code.co_name, None)}
    )
    function = where.get(code.co_name)
    public = code.co_name == "__init__" or not code.co_name.startswith("_")
    if not public or getattr(function, "__code__", None) is not code:
        return ""
    if owner is None and code.co_name not in where.get("__all__", ()):
        return ""
    name = type(owner).__name__ if code.co_name in ("__init__", "forward") else code.co_name
    left_out = _defaults(function)
    several = code.co_argcount + code.co_kwonlyargcount
    for argument in code.co_varnames[: several + bool(code.co_flags & CO_VARARGS)]:
        held = given.get(argument)
        if held is value and (argument not in left_out or left_out[argument] is not value):
            return f"{name}: {argument}"
        if isinstance(held, (list, tuple)) and any(part is value for part in held):
            return f"{name}: {argument}[{next(i for i, part in enumerate(held) if part is value)}]"
    return ""


def _defaults(function: Any) -> dict[str, object]:
    code, last = function.__code__, function.__defaults__ or ()
    return dict(zip(code.co_varnames[code.co_argcount - len(last) : code.co_argcount], last, strict=True)) | (
        function.__kwdefaults__ or {}
    )


def warn(message: str, category: type[Warning] = UsageWarning) -> None:
    """Show a warning for the user's line: once for each line, unless warning filters say otherwise."""
    frame = user_frame()
    module, registry = frame.f_globals.get("__name__"), frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, module, registry)


def deprecated(name: str, instead: str, *, since: str = "", until: str = "") -> None:
    """Say, where a name is used that is to go, what to write instead: a DeprecationWarning for the user's line.

    name: what is used, as the program spells it. since, until: versions; none where only MegEngine calls it old, and it stays.
    """
    when = f" since tengen {since}" if since else ""
    end = f", and will not be there in tengen {until}" if until else ""
    warn(f"{name} is deprecated{when}{end}: use {instead}", DeprecationWarning)
