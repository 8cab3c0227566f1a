"""Parts of `megengine.module.module`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..... import Parameter, Tensor
from .....module import Module

__all__ = ["_expand_structure", "_is_module", "_is_parameter"]


def _is_module(obj: Any) -> bool:
    """Whether `obj` is a module."""
    return isinstance(obj, Module)


def _is_parameter(obj: Any) -> bool:
    """Whether `obj` is a parameter."""
    return isinstance(obj, Parameter)


def _expand_structure(prefix: str, obj: Any) -> Iterator[tuple[str, Any]]:
    """The tensors and modules in nested lists, tuples and dicts, each with its name."""
    if isinstance(obj, (Tensor, Module)):
        yield prefix, obj
    elif isinstance(obj, (list, tuple)):
        for number, item in enumerate(obj):
            yield from _expand_structure(f"{prefix}.{number}", item)
    elif isinstance(obj, dict):
        for key in sorted(obj):
            yield from _expand_structure(f"{prefix}.{key}", obj[key])
