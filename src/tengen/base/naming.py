"""Names of what a program computes, in scopes: what graphs are annotated with, and where in its modules the program stands."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, ClassVar

#: The code of what calls a module, whose first argument is the module, put here by the layer that defines modules.
CALLS: set[CodeType] = set()


def running_modules(frame: FrameType | None = None) -> tuple[Any, ...]:
    """The modules whose calls are running, the outermost first."""
    found = []
    frame = frame or sys._getframe(1)
    while frame is not None:
        if frame.f_code in CALLS:
            found.append(frame.f_locals["self"])
        frame = frame.f_back
    return tuple(reversed(found))


def unique(names: Iterable[str]) -> list[str]:
    """The names in order; one that comes several times gets numbers.

    >>> unique(["conv", "relu", "conv"])
    ['conv[0]', 'relu', 'conv[1]']
    """
    names = list(names)
    times, given = Counter(names), Counter[str]()
    made = []
    for name in names:
        made.append(f"{name}[{given[name]}]" if times[name] > 1 else name)
        given[name] += 1
    return made


class AutoNaming:
    """Names of variables and ops of a graph; one state for the whole process.

    >>> AutoNaming.push_scope("block")
    >>> AutoNaming.gen_name(tengen.tensor([1.0], name="x"))
    'block.x'
    >>> AutoNaming.clear()
    """

    scopes: ClassVar[list[str]] = []
    c_ops: ClassVar[list[Any]] = []
    name2ops: ClassVar[dict[str, list[Any]]] = {}
    handle2names: ClassVar[dict[Any, str]] = {}

    @classmethod
    def clear(cls) -> None:
        """Forget everything."""
        for known in (cls.scopes, cls.c_ops, cls.name2ops, cls.handle2names):
            known.clear()

    @classmethod
    def push_scope(cls, scope: str) -> None:
        """Names are in this scope from now on, within those before it."""
        cls.scopes.append(scope)

    @classmethod
    def pop_scope(cls) -> str:
        """Leave the innermost scope; gives its name. Raises IndexError if there is none."""
        return cls.scopes.pop()

    @classmethod
    def get_scope(cls) -> str:
        """The names of the scopes with dots, the outermost first."""
        return ".".join(cls.scopes)

    @classmethod
    def gen_name(cls, x: Any) -> str:
        """The name of a tensor or module, in its scope."""
        return ".".join(filter(None, [cls.get_scope(), getattr(x, "name", None) or ""]))

    @classmethod
    def record_var_name(cls, handle: Any, name: str) -> None:
        """Keep the name of a variable."""
        cls.handle2names[handle] = name

    @classmethod
    def get_var_name(cls, handle: Any) -> str | None:
        """The name that a variable was given, or None."""
        return cls.handle2names.get(handle)

    @classmethod
    def record_opnode(cls, op: Any) -> None:
        """Keep an op, which has a `name`."""
        cls.c_ops.append(op)
        cls.name2ops.setdefault(op.name, []).append(op)

    @classmethod
    def remove_duplicate_names(cls) -> None:
        """Give ops of the same name a number each: "conv", "conv" become "conv[0]", "conv[1]"."""
        for name, ops in list(cls.name2ops.items()):
            if len(ops) > 1:
                del cls.name2ops[name]
                for op, numbered in zip(ops, unique([name] * len(ops)), strict=True):
                    op.name = numbered
                    cls.name2ops[numbered] = [op]


def push_scope(name: str) -> None:
    """Names are in this scope from now on."""
    AutoNaming.push_scope(name)


def pop_scope(name: str) -> None:
    """Leave the scope of this name, the innermost. Raises ValueError if another one is."""
    if not AutoNaming.scopes or AutoNaming.scopes[-1] != name:
        raise ValueError(f"the innermost scope is {AutoNaming.scopes[-1:] or None}, not {name!r}")
    AutoNaming.pop_scope()


@contextmanager
def record_scope(name: str) -> Iterator[None]:
    """Names are in this scope in the `with` block."""
    push_scope(name)
    try:
        yield
    finally:
        pop_scope(name)
