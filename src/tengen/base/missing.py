"""The message for a missing name that users may expect: one of PyTorch, one of MegEngine that is not here yet, one
that stands elsewhere.

Nothing of this costs anything where names are found: a Tensor gets descriptors that raise, as `__getattr__` would make every access slower,
and a module a `__getattr__`, which Python asks last.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache, partial
from importlib import import_module
from types import FrameType, ModuleType
from typing import Any, ClassVar, NoReturn

from . import habits

ROOT = __name__.partition(".")[0]
LATER = ("utils",)  # packages that are imported when they are asked for
_HERE = os.path.dirname(os.path.abspath(__file__))
PLANNED = os.path.join(_HERE, "planned.txt")
PYTORCH = os.path.join(_HERE, "pytorch.txt")  # the table that the documentation shows
_CALLED = re.compile(r"(?:torch|nn|optim)\.(?:\w+\.)*(\w+)")


class Elsewhere:
    """Stands on a class in place of a missing name: reading it raises an error that says what to write here."""

    def __init__(self, name: str, way: str):
        self.name = name
        self.way = self.__doc__ = way  # help() shows the latter

    def __get__(self, instance: object, owner: type | None = None) -> NoReturn:
        kind = owner.__name__ if owner is not None else type(instance).__name__
        raise AttributeError(f"{kind!r} object has no attribute {self.name!r}; {self.way}")

    def __repr__(self) -> str:
        return f"<{self.way}>"


class Unsettable(Elsewhere):
    """A missing name that would do nothing if it were set, so setting it raises, too."""

    def __set__(self, instance: object, value: object) -> NoReturn:
        self.__get__(instance, type(instance))


def explain_tensor(tensor: type) -> None:
    """Let the tensor class say what to write in place of PyTorch's names that it does not have."""
    for name, way in habits.TENSOR.items():
        if not hasattr(tensor, name):
            kind = Unsettable if name == "requires_grad" else Elsewhere
            setattr(tensor, name, kind(name, f"PyTorch's, in tengen: {way}"))


def explain_functions(tensor: type, functions: ModuleType) -> None:
    """Let the tensor class say which of its missing methods are functions of a module."""
    for name in functions.__all__:
        if callable(getattr(functions, name)) and not any(name in vars(kind) for kind in tensor.__mro__):
            setattr(tensor, name, Elsewhere(name, f"it is a function, {functions.__name__}.{name}(x)"))


def shown(instance: object) -> list[str]:
    """What dir() lists of a tensor: without the names that only explain themselves."""
    own, kinds = vars(instance), type(instance).__mro__
    return [
        name
        for name in object.__dir__(instance)
        if name in own
        or not isinstance(next((vars(kind)[name] for kind in kinds if name in vars(kind)), None), Elsewhere)
    ]


def explain_module(module: str, *others: ModuleType) -> None:
    """Let a module of tengen say more about a name that it does not have. others: where it may stand instead."""
    # Not a function in the module itself: type checkers would then accept every name.
    vars(sys.modules[module])["__getattr__"] = partial(_missing, module, others)


def _missing(module: str, others: tuple[ModuleType, ...], name: str) -> Any:
    here = sys.modules[module]
    if name == "__version__" and module == ROOT:  # few ask, and it takes a while to read
        vars(here)[name] = found = _version()
        return found
    if module == ROOT and name in LATER:
        return import_module(f"{ROOT}.{name}")
    plain = f"module {module!r} has no attribute {name!r}"
    if name.startswith("__"):
        raise AttributeError(plain, name=name, obj=here)
    place = module.partition(".")[2]
    if name in planned().get(place, ()):
        raise AttributeError(
            f"tengen {sys.modules[ROOT].__version__} does not have {f'{place}.{name}'.strip('.')} of MegEngine yet"
        )
    if way := _way(here, others, name, place):
        if _imports(sys._getframe(1)):  # Python would show nothing of an AttributeError
            raise ImportError(f"cannot import name {name!r} from {module!r}; {way}", name=module)
        raise AttributeError(f"{plain}; {way}")
    raise AttributeError(plain, name=name, obj=here)


def _way(here: ModuleType, others: tuple[ModuleType, ...], name: str, place: str) -> str:
    """What to write in place of a name that a module does not have; "" if nobody knows."""
    if package := _givers().get((place, name)):
        return f"MegEngine's, and there with `import {package}`"
    if any(os.path.exists(os.path.join(folder, name, "__init__.py")) for folder in getattr(here, "__path__", ())):
        return f"it is there after `import {here.__name__}.{name}`"
    if way := habits.PACKAGE.get(name):
        return f"PyTorch's, in tengen: {way}"
    for other in others:
        if name in getattr(other, "__all__", ()):
            return f"it is {other.__name__}.{name}"
    return f"PyTorch's, in tengen: {pytorch()[name]}" if name in pytorch() else ""


def _imports(frame: FrameType) -> bool:
    """Whether a frame has come to `from module import name`."""
    from opcode import opmap

    return frame.f_code.co_code[frame.f_lasti] == opmap["IMPORT_FROM"]


def _version() -> str:
    """That of the package as it is installed: of the tag that it was built from, or how far after it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(ROOT)
    except PackageNotFoundError:  # its files were copied without what pip writes about them
        return "0+unknown"


@cache
def planned() -> Mapping[str, frozenset[str]]:
    """The names of MegEngine that tengen does not have yet, by module ("" is the package itself)."""
    return {module.strip("."): frozenset(names) for module, *names in _lines() if "@" not in module}


@cache
def _givers() -> Mapping[tuple[str, str], str]:
    """(module, name) of what another package gives to programs that are written for MegEngine → that package."""
    rows = [(*module.partition("@"), names) for module, *names in _lines()]
    return {(module, name): package for module, at, package, names in rows if at for name in names}


@cache
def pytorch() -> Mapping[str, str]:
    """Names of PyTorch's functions and classes → a call of tengen's, and the call of PyTorch's that it stands for."""
    found: dict[str, str] = {}
    with open(PYTORCH, encoding="utf-8") as file:
        for theirs, ours, *_ in (line.strip().split(" | ") for line in file if " | " in line and line[0] != "#"):
            if ours != "-" and (called := _CALLED.match(theirs)):
                found.setdefault(called[1], f"{ours} for {theirs}" if theirs[called.end() :] else ours)
    return found


def _lines() -> list[list[str]]:
    with open(PLANNED, encoding="utf-8") as file:
        return [line.split() for line in file if not line.startswith("#")]


def module_hint(name: str) -> str:
    """What to write in place of PyTorch's name of a layer's method; "" if it is not one."""
    way = habits.MODULE.get(name)
    return f"; PyTorch's, in tengen: {way}" if way else ""


class _Signature:
    """What inspect.signature of a class gives: that of `__init__`, not of `__new__`."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        whole = inspect.signature(owner.__init__)  # type: ignore[misc]
        return whole.replace(parameters=list(whole.parameters.values())[1:])


class Explained:
    """A class that says what to write in place of an argument that PyTorch has by keyword."""

    __signature__: ClassVar[Any] = _Signature()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            _refuse_habits(cls, kwargs)
        try:
            return super().__new__(cls)
        except TypeError:
            if unfinished := sorted(getattr(cls, "__abstractmethods__", ())):
                raise TypeError(_to_define(cls, unfinished)) from None
            raise


def _to_define(kind: type, methods: list[str]) -> str:
    """What to write in a class that lacks methods which its base declares."""
    if any(name in vars(kind) for name in methods):
        return f"{kind.__name__} is a base class: derive a class from it that defines {', '.join(methods)}"
    wanted = [f"`def {name}{_call(getattr(kind, name))}: ...`" for name in methods]
    text = f"{kind.__name__} does not define {', '.join(methods)}: add {' and '.join(wanted)} to class {kind.__name__}"
    near = import_module("difflib").get_close_matches
    for name in methods:
        for other, value in vars(kind).items():
            if name in {
                getattr(part, "co_name", "") for part in getattr(getattr(value, "__code__", None), "co_consts", ())
            }:
                return f"{text}; one stands inside {other}: indent it less"
        if found := near(name, list(vars(kind)), 1):
            return f"{text}; is its {found[0]} meant?"
    return text


def _call(method: Any) -> str:
    """The parameters of a method, without their types."""
    return f"({', '.join(inspect.signature(getattr(method, '__func__', method)).parameters)})"


def _refuse_habits(kind: type, keywords: Iterable[str]) -> None:
    """TypeError for an argument that PyTorch's class takes by keyword, and `__init__` of this one does not."""
    code = getattr(kind.__init__, "__code__", None)  # type: ignore[misc]
    if code is None or code.co_flags & inspect.CO_VARKEYWORDS:
        return
    taken = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    for name in keywords:
        if name in habits.KEYWORDS and name not in taken:
            way = habits.KEYWORDS[name]
            raise TypeError(
                f"{kind.__name__}() got an unexpected keyword argument {name!r}; PyTorch's, in tengen: {way}"
            )
