"""Chained filters over the nodes and expressions of a graph."""

from __future__ import annotations

import fnmatch
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ..module import Module
from .expr import CallFunction, CallMethod, Expr
from .node import ModuleNode, Node

__all__ = ["BaseFilter", "ExprFilter", "NodeFilter"]


class BaseFilter:
    """The selected nodes or expressions of a graph, in order."""

    def __init__(self, iter: Iterable[Any]):
        self._iter = iter

    def __iter__(self) -> Iterator[Any]:
        return iter(self._iter)

    def as_list(self) -> list[Any]:
        """All of them."""
        return list(self)

    def as_dict(self) -> OrderedDict[int, Any]:
        """All of them by id."""
        return OrderedDict((found._id, found) for found in self)

    def as_unique(self) -> Any:
        """The only one. Raises ValueError if there are several, or none."""
        found = self.as_list()
        if len(found) != 1:
            raise ValueError(f"as_unique: {len(found)} elements found, not one")
        return found[0]

    def as_count(self) -> int:
        """The number of them."""
        return sum(1 for _ in self)


def _ids(ids: int | Sequence[int] | None, what: str) -> set[int]:
    wanted = [ids] if isinstance(ids, int) else list(ids or ())
    if not wanted or not all(isinstance(one, int) for one in wanted):
        raise TypeError(f"{what} are looked for by their id, an int, or several of them, got {ids!r}")
    return set(wanted)


class NodeFilter(BaseFilter):
    """Nodes of a graph."""

    def type(self, owner_type: type) -> NodeFilter:
        """Nodes of a class, or of modules of a class."""
        return NodeFilter(node for node in self if _has_type(node, owner_type))

    def node_id(self, node_id: int | Sequence[int] | None) -> NodeFilter:
        """Those with these ids."""
        wanted = _ids(node_id, "nodes")
        return NodeFilter(node for node in self if node._id in wanted)

    def name(self, name: str, ignorecase: bool = True) -> NodeFilter:
        """Nodes whose name matches a pattern: `*` stands for any text, `?` for one character."""
        pattern = re.compile(fnmatch.translate(name), re.IGNORECASE if ignorecase else 0)
        return NodeFilter(node for node in self if pattern.match(node._name) or pattern.match(node._qualname))


def _has_type(node: Node, wanted: type) -> bool:
    if issubclass(wanted, Node):
        return isinstance(node, wanted)
    return isinstance(node, ModuleNode) and issubclass(wanted, Module) and isinstance(node.owner, wanted)


class ExprFilter(BaseFilter):
    """Expressions of a graph."""

    def call_function(self, func: Callable[..., Any] | None) -> ExprFilter:
        """Calls of a function; None selects calls of any function."""
        return ExprFilter(
            expr for expr in self if isinstance(expr, CallFunction) and (func is None or _same(expr.func, func))
        )

    def call_method(self, method: str | None) -> ExprFilter:
        """Calls of a method; None selects calls of any method or module."""
        return ExprFilter(
            expr for expr in self if isinstance(expr, CallMethod) and (method is None or expr.method == method)
        )

    def expr_id(self, expr_id: int | Sequence[int] | None) -> ExprFilter:
        """Those with these ids."""
        wanted = _ids(expr_id, "expressions")
        return ExprFilter(expr for expr in self if expr._id in wanted)


def _same(function: Callable[..., Any], wanted: Callable[..., Any]) -> bool:
    return function is wanted or function is getattr(wanted, "__wrapped__", None)


def every_expr(graph: Any, recursive: bool) -> Iterator[Expr]:
    """The expressions of a graph; those of a called module follow its call, each graph once."""
    seen: set[int] = set()

    def walk(one: Any) -> Iterator[Expr]:
        seen.add(id(one))
        for expr in list(one._exprs):
            yield expr
            inner = expr.graph if recursive and isinstance(expr, CallMethod) else None
            if inner is not None and id(inner) not in seen:
                yield from walk(inner)

    return walk(graph)


def every_node(graph: Any, recursive: bool) -> Iterator[Node]:
    """The nodes of a graph, in the order in which expressions make them."""
    return (node for expr in every_expr(graph, recursive) for node in expr.outputs)
