"""Attributes of modules by dotted names."""

from __future__ import annotations

from typing import Any

from ..core import Tensor
from ..module import Module

__all__ = ["assign_attr", "get_subattr"]


def get_subattr(module: Any, target: str) -> Any:
    """The attribute with a dotted name, such as "block.0.weight"; indices and keys name the items of lists and dicts."""
    for name in target.split(".") if target else ():
        module = _step(module, name)
    return module


def _step(holder: Any, name: str) -> Any:
    if isinstance(holder, (list, tuple)):
        return holder[int(name)]
    return holder[name] if isinstance(holder, dict) else getattr(holder, name)


def member(module: Any, target: str) -> Any:
    """The module or tensor with a dotted name, as a graph may read it: without running code of a class."""
    for name in target.split("."):
        if isinstance(module, (list, tuple)):
            module = module[int(name)]
        else:
            held = module if isinstance(module, dict) else vars(module) if isinstance(module, Module) else {}
            if name not in held:
                raise ValueError(f"a graph reads {target!r}, which the {type(module).__name__} does not have")
            module = held[name]
    if not isinstance(module, (Module, Tensor)):
        raise ValueError(f"a graph reads {target!r}, which is a {type(module).__name__}, not a module or tensor")
    return module


def assign_attr(obj: Module | Tensor, module: Module, target: str) -> None:
    """Set the attribute with a dotted name to `obj`; the modules on the way must exist.

    >>> from tengen.traced_module.utils import assign_attr, get_subattr
    >>> net = M.Sequential(M.Sequential(M.Linear(2, 3)))
    >>> assign_attr(M.ReLU(), net, "0.act")
    >>> get_subattr(net, "0.act")
    ReLU()
    """
    way, _, name = target.rpartition(".")
    holder = get_subattr(module, way)
    if isinstance(holder, list):
        holder[int(name)] = obj
    elif isinstance(holder, dict):
        holder[name] = obj
    else:
        setattr(holder, name, obj)


def find_path(root: Module, value: Any) -> str | None:
    """The dotted name of a module or tensor inside `root`; None if it is not there."""
    members: Any = root.named_modules() if isinstance(value, Module) else root.named_tensors()
    return next((name for name, member in members if member is value), None)
