"""Names of what a program computes, in scopes: what graphs are annotated with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

__all__ = ["AutoNaming", "pop_scope", "push_scope", "record_scope"]


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
                for number, op in enumerate(ops):
                    op.name = f"{name}[{number}]"
                    cls.name2ops[op.name] = [op]


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
