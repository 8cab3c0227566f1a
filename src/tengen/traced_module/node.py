"""The values of a graph: modules and tensors, and the expression that makes each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import Tensor
from ..module import Module
from . import active
from .known import OPERATORS

__all__ = ["ModuleNode", "Node", "NodeMixin", "TensorNode"]


class Node:
    """A value of a graph.

    Attributes:
        expr: the expression that makes it.
        users: the expressions that read it.
    """

    def __init__(self, expr: Any, name: str = "", qualname: str = ""):
        self.expr = expr
        self.users: list[Any] = []
        self._name, self._qualname = name, qualname
        self._id = -1

    @property
    def id(self) -> int:
        """Its number, for `graph.get_node_by_id`."""
        return self._id

    @property
    def name(self) -> str:
        """Its name in the text of the graph, which no other node has. It can be set."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        graph = self.top_graph
        if not name.isidentifier():
            raise ValueError(f"{name!r} cannot be the name of a node: letters, digits and _ make one")
        if graph is not None:
            graph._names.rename(self, name)
        self._name = name

    @property
    def qualname(self) -> str:
        """Where it comes from: the path of the module, and in brackets the expression there."""
        return self._qualname

    @property
    def top_graph(self) -> Any:
        """The graph that it belongs to."""
        return None if self.expr is None else self.expr.top_graph

    def __repr__(self) -> str:
        return self._name


class ModuleNode(Node):
    """A module in a graph. While expressions are inserted, access to its attributes and calls of it add expressions."""

    module_type: Any = Module
    module_name: str | None = None

    @property
    def owner(self) -> Any:
        """The module itself."""
        return None if self.expr is None else self.expr._module_of(self)

    @property
    def shown_type(self) -> str:
        """The class name of a layer; "Module" for a module with a graph of its own."""
        return self.module_name or self.module_type.__name__

    def __getattr__(self, name: str) -> Any:
        inserting = None if name.startswith("__") else active.inserting()
        if inserting is None:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}; the attributes of the module are .owner's, or nodes "
                "within graph.insert_exprs()"
            )
        return inserting.attribute_of(self, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        inserting = active.inserting()
        if inserting is None:
            raise RuntimeError(
                f"module node {self._name} is called outside of graph.insert_exprs(), which is where calls can be added"
            )
        return inserting.call_module(self, args, kwargs)


class TensorNode(Node):
    """A tensor in a graph. While expressions are inserted, operators and methods of tensors add expressions.

    Attributes:
        shape, dtype, device, qparams: of the tensor when the graph was made; None if unknown.
    """

    def __init__(
        self,
        expr: Any,
        name: str = "",
        qualname: str = "",
        shape: tuple[int, ...] | None = None,
        dtype: Any = None,
        qparams: Any = None,
        device: Any = None,
    ):
        super().__init__(expr, name, qualname)
        self.shape, self.dtype, self.qparams, self.device = shape, dtype, qparams, device

    @property
    def value(self) -> Any:
        """Its value in the last call, if `set_watch_points` named this node; else None."""
        graph = self.top_graph
        return None if graph is None else graph._watched.get(self)

    def describe(self, value: Any) -> None:
        """Remember what kind of value it was."""
        if isinstance(value, Tensor):
            self.shape, self.dtype, self.device = tuple(value.desc.shape), value.dtype, value.device
            if hasattr(np, value.desc.dtype):
                self.dtype = np.dtype(value.desc.dtype)
            found = value.__dict__.get("_qparams")
            self.qparams = None if found is None or found.scale is None else found
        elif isinstance(value, tuple):
            self.shape, self.dtype = (len(value),), np.dtype(np.int32)
        else:
            self.shape, self.dtype = (), np.dtype(np.int32 if isinstance(value, int) else np.float32)

    def stand_in(self) -> Any:
        """Zeros of its shape and dtype."""
        dtype = self.dtype or np.float32
        return Tensor(np.zeros(self.shape or (), np.float32), dtype=dtype, device=self.device)

    def __getattr__(self, name: str) -> Any:
        inserting = None if name.startswith("__") else active.inserting()
        if inserting is None:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}; methods of tensors are added within graph.insert_exprs()"
            )
        return inserting.method_of(self, name)


def _operator(name: str) -> Callable[..., Any]:
    def method(self: TensorNode, *args: Any, **kwargs: Any) -> Any:
        inserting = active.inserting()
        if inserting is None:
            raise TypeError(f"node {self._name} has no operators outside of graph.insert_exprs()")
        return inserting.call_method(self, name, args, kwargs)

    method.__name__ = name
    return method


for _name in OPERATORS.keys() - {"__eq__", "__ne__"}:  # by which dicts tell nodes apart
    setattr(TensorNode, _name, _operator(_name))


class NodeMixin:
    """Connects a value to the node that stands for it while a module is traced."""

    @classmethod
    def wrap(cls, value: Any, node: Node | Callable[[], Node]) -> None:
        """Let `node` stand for `value` in what is being traced."""
        scope = active.scope()
        if scope is not None and value is not None:
            scope.bind(value, node if isinstance(node, Node) else node())

    wrap_safe = wrap

    @classmethod
    def clear_node(cls, value: Any) -> None:
        """Let no node stand for `value`."""
        scope = active.scope()
        if scope is not None:
            scope.forget(value)

    @classmethod
    def get(cls, value: Any, *default: Any) -> Any:
        """The node that stands for `value` in what is being traced."""
        scope = active.scope()
        found = None if scope is None else scope.node(value)
        if found is None and not default:
            raise LookupError(f"no node stands for a {type(value).__name__} here: nothing traced has made it")
        return default[0] if found is None else found

    @classmethod
    def get_wrapped_type(cls, value: Any) -> type[Node]:
        """The class of the nodes that stand for such values."""
        return ModuleNode if isinstance(value, Module) else TensorNode
