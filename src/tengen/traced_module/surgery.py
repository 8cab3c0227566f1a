"""Inserts expressions: inside `graph.insert_exprs()`, functions, operators and modules take and return nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core import Tensor
from ..module import Module
from . import active, patches
from .expr import CallMethod, Expr, Input, bind
from .node import ModuleNode, Node, TensorNode
from .pytree import tree_map
from .recorder import Recorder, Scope
from .shape import TracedShape, plain
from .utils import get_subattr


class InsertScope(Scope):
    """Expressions that wait to be inserted into a graph."""

    def __init__(self, graph: Any):
        super().__init__(graph, graph.module)
        self.new: list[Expr] = []

    def insert(self, expr: Expr) -> None:
        expr._graph = self.graph  # it is placed among the others at the end
        self.new.append(expr)


class InsertExprs(Recorder):
    """The context that `graph.insert_exprs(expr)` returns.

    Args:
        graph: where they go.
        expr: after which of its expressions; by default after what they read.
    """

    takes_nodes = True

    def __init__(self, graph: Any, expr: Expr | None = None):
        super().__init__()
        if expr is not None and expr.top_graph is not graph:
            raise ValueError(f"insert_exprs: {expr!r} is not an expression of graph {graph.name}")
        self.graph, self.after = graph, expr
        self._values: dict[int, Any] = {}  # of nodes, by id: what to compute with

    def __enter__(self) -> InsertExprs:
        if active.recorder() is not None:
            raise RuntimeError("insert_exprs within a trace, or within another insert_exprs")
        self.scopes.append(InsertScope(self.graph))
        self._patches = patches.installed()
        self._patches.__enter__()
        self._before = active.set_recorder(self)
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        active.set_recorder(self._before)
        self._patches.__exit__(None, None, None)
        scope = self.scopes.pop()
        assert isinstance(scope, InsertScope)
        if kind is not None:
            for expr in scope.new:
                expr._take_inputs(())
                for node in expr.outputs:
                    self.graph._names.unassociate_name_with_obj(node)
            return
        self._put_in(scope.new)

    def _put_in(self, new: list[Expr]) -> None:
        exprs = self.graph._exprs
        places = {id(expr): place for place, expr in enumerate(exprs)}
        own = {id(expr) for expr in new}
        needed = [node.expr for expr in new for node in expr.inputs if id(node.expr) not in own]
        earliest = max((places[id(expr)] for expr in needed), default=-1)
        if self.after is not None:
            if places[id(self.after)] < earliest:
                raise ValueError(
                    f"insert_exprs: what is inserted after {self.after!r} reads {exprs[earliest].outputs[0]}, which is made later"
                )
            earliest = places[id(self.after)]
        inputs = sum(isinstance(expr, Input) for expr in exprs[: len(self.graph._inputs)])
        place = max(earliest + 1, inputs)
        for expr in new:
            self.graph._insert(expr, place)
            place += 1

    # -- nodes in the place of values -------------------------------------------------------------------------------

    def _taken(self, node: Node) -> Node:
        if node.top_graph is not self.graph:
            raise ValueError(
                f"node {node} stands in {node.top_graph and node.top_graph.name}, and expressions are inserted into {self.graph.name}"
            )
        return node

    def value_of(self, leaf: Any) -> Any:
        if isinstance(leaf, ModuleNode):
            return self._values.get(id(leaf)) or leaf.owner
        if isinstance(leaf, TensorNode):
            if id(leaf) not in self._values:
                self._values[id(leaf)] = leaf.stand_in()
            return self._values[id(leaf)]
        return plain(leaf)

    def _output(self, leaf: Any, expr: Expr, name: str, qualname: str) -> Any:
        node = super()._output(leaf, expr, name, qualname)
        if isinstance(node, Node):
            self._values[id(node)] = leaf
        return node

    def shown(self, result: Any, nodes: Any) -> Any:
        return nodes

    def attribute(self, holder: Module, name: str, value: Any) -> Any:
        """Access to attributes of the modules themselves is not recorded here."""
        return value

    def attribute_of(self, holder: ModuleNode, name: str) -> Any:
        """The node of an attribute of the module that a node stands for."""
        value = get_subattr(self.value_of(holder), name)
        if not isinstance(value, (Module, Tensor)):
            return value
        holder, name = self._rooted(holder, name)
        node = self.get_attribute(holder, name, value)
        self._values[id(node)] = value
        return node

    def _rooted(self, holder: ModuleNode, name: str) -> tuple[ModuleNode, str]:
        expr: Any = holder.expr
        if isinstance(expr, Input):
            return holder, name
        return expr.inputs[0], f"{expr.name}.{name}"

    def method_of(self, node: TensorNode, name: str) -> Any:
        """A method of a tensor, to be called."""
        if name == "T":
            return self.call_method(node, "transpose", (), {})
        if not hasattr(Tensor, name):
            raise AttributeError(f"tensors have no {name!r}")
        return lambda *args, **kwargs: self.call_method(node, name, args, kwargs)

    def call_module(self, node: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a module and record the call."""
        if isinstance(node, Module):
            node = self.module_node(node)
        module = self.value_of(node)
        function = module._forward_of() if hasattr(module, "_forward_of") else type(module).forward
        bound = bind(function, (node, *args), kwargs)
        expr = CallMethod("__call__")
        self._give(expr, bound)
        with self._as_one():
            inner_args, inner_kwargs = tree_map(self.value_of, bound)
            result = module(*inner_args[1:], **inner_kwargs)
        return self.finish(expr, result, f"{node._name}_out", f"{node._qualname}.[out]", bound)

    def call_shape(self, target: Any, shape: tuple[int, ...]) -> Any:
        return TracedShape(shape)
