"""Immutable objects that are their parameters: equal parameters give the same object, so they compare by identity."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from inspect import get_annotations
from typing import Any, ClassVar
from weakref import ref

from ..base.usage import argument_of


class Interned(type):
    """Metaclass of such objects. A class's annotations name its parameters, after those of its base; values in the
    class are defaults.

    A class made with `abstract=True` only declares what its subclasses have. Its attribute `abstract` says so.
    """

    # Not a WeakValueDictionary: a Python function removes its entries, in which Ctrl-C would be swallowed. `dict.pop`
    # is not a Python function.
    _table: ClassVar[dict[tuple[Any, ...], ref[Any]]] = {}
    parameters: tuple[str, ...]
    abstract: bool

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], abstract: bool = False) -> Interned:
        cls = super().__new__(mcs, name, bases, namespace)
        inherited = next((b.parameters for b in bases if isinstance(b, Interned)), ())
        own: dict[str, Any] = {} if abstract else get_annotations(cls)
        # Annotations are strings here. Class variables are not parameters.
        added = [p for p in own if p not in inherited and not str(own[p]).startswith("ClassVar")]
        cls.parameters = (*inherited, *added)
        cls.abstract = abstract
        return cls

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], abstract: bool = False) -> None:
        super().__init__(name, bases, namespace)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        # Most calls ask for an object that is known under these very arguments. Floats stand there as text, because 0.0
        # equals -0.0, and NaN not even itself.
        types = tuple(map(type, args))
        exact = args
        if float in types:
            exact = tuple([str(value) if kind is float else value for value, kind in zip(args, types, strict=True)])
        asked = None if kwargs else (cls, exact, types)
        try:
            found = cls._table.get(asked) if asked else None
        except TypeError:
            raise TypeError(cls._refusal(args)) from None
        known = None if found is None else found()
        if known is not None:
            return known
        values = cls._bind(args, kwargs)
        made = _bare(cls)
        made.__dict__.update(zip(cls.parameters, values, strict=True))
        try:
            made = cls._enter((cls, *map(_exact, values)), made)
        except TypeError:
            raise TypeError(cls._refusal(values)) from None
        return cls._enter(asked, made) if asked else made

    def _enter(cls, key: tuple[Any, ...], made: Any) -> Any:
        """The object under the key: `made`, unless another thread was faster."""
        entry = ref(made, partial(cls._table.pop, key))
        while True:
            found = cls._table.setdefault(key, entry)
            known = found()
            if known is not None:
                return known
            if cls._table.get(key) is found:  # it is being destroyed
                del cls._table[key]

    def _refusal(cls, values: Sequence[Any]) -> str:
        """The error text for a value that may change, such as a list: it cannot be a parameter."""
        name, value = next((p, v) for p, v in zip(cls.parameters, values, strict=False) if not isinstance(v, Hashable))
        kinds = (vars(c).get("__annotations__", {}).get(name) for c in cls.__mro__)
        wanted = " takes True or False, got" if "bool" in kinds else " cannot be"
        return f"{argument_of(value) or f'{cls.__name__}: {name}'}{wanted} {value!r}"

    def _bind(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """The value of each parameter. Raises TypeError if one is too many, unknown or missing."""
        if len(args) > len(cls.parameters):
            raise TypeError(f"{cls.__name__} takes {len(cls.parameters)} parameters, got {len(args)}")
        given = dict(zip(cls.parameters, args, strict=False))
        unknown = [k for k in kwargs if k not in cls.parameters or k in given]
        if unknown:
            raise TypeError(
                f"{cls.__name__}: {unknown[0]!r} is not a parameter, or is given twice; it has {cls.parameters}"
            )
        given |= kwargs
        missing = [p for p in cls.parameters if p not in given and not hasattr(cls, p)]
        if missing:
            raise TypeError(f"{cls.__name__} needs {' and '.join(missing)}")
        return [given[p] if p in given else getattr(cls, p) for p in cls.parameters]


def _bare(cls: Any) -> Any:
    return object.__new__(cls)


def _exact(parameter: Any) -> Any:
    """A key under which 1, 1.0 and True differ, and so do 0.0 and -0.0."""
    if isinstance(parameter, tuple):
        return tuple(map(_exact, parameter))
    return (type(parameter), str(parameter)) if isinstance(parameter, float) else (type(parameter), parameter)
