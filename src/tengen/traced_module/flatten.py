"""Merges a graph and the graphs that it calls."""

from __future__ import annotations

import copy
from typing import Any

from .expr import CallMethod, GetAttr, Input
from .graph import InternalGraph, copy_expr
from .node import ModuleNode, Node


def flattened(graph: InternalGraph) -> InternalGraph:
    """The graph with calls of modules replaced by their expressions; other names stay."""
    made = InternalGraph(graph.name, graph.qualname)
    nodes: dict[int, Node] = {}
    for node in graph._inputs:
        new = nodes[id(node)] = copy.copy(node)
        new.users = []
        made._add_input(new)
    made._names.keep(node for expr in graph._exprs for node in expr.outputs)
    _Inliner(made).inline(graph, nodes, "", "")
    made._outputs = [nodes[id(leaf)] if isinstance(leaf, Node) else leaf for leaf in graph._outputs]
    made._names.keep(node for expr in made._exprs for node in expr.outputs)
    return made


class _Inliner:
    def __init__(self, made: InternalGraph):
        self.made = made
        self.paths: dict[int, str] = {}  # of new module nodes, by id

    def inline(self, graph: InternalGraph, nodes: dict[int, Node], prefix: str, path: str) -> None:
        """Add the expressions of a graph; `nodes` has the new nodes for its inputs, and gets those for the rest."""
        for expr in graph._exprs:
            if isinstance(expr, Input):
                continue
            inner = expr.graph if isinstance(expr, CallMethod) else None
            if inner is not None:
                self._call(expr, inner, nodes, prefix)
                continue
            new = copy_expr(expr, nodes, {})
            if isinstance(new, GetAttr):
                self._rooted(new, nodes[id(expr.inputs[0])])
            for node in new.outputs:
                if prefix:
                    node._name = self.made._names.create_unique_name(f"{prefix}_{node._name}", node)
            self.made._insert(new)

    def _rooted(self, expr: GetAttr, holder: Node) -> None:
        """Turn an attribute of an inner module into one of the whole."""
        way = self.paths.get(id(holder), "")
        expr.name = f"{way}.{expr.name}" if way else expr.name
        expr._take_inputs([self.made._inputs[0]])
        self.paths[id(expr.outputs[0])] = expr.name

    def _call(self, expr: Any, inner: InternalGraph, nodes: dict[int, Node], prefix: str) -> None:
        given = [nodes[id(node)] for node in expr.inputs]
        module = given[0]
        assert isinstance(module, ModuleNode)
        within = dict(zip(map(id, inner._inputs), given, strict=True))
        before = set(within)
        self.inline(inner, within, module._name, self.paths.get(id(module), ""))
        for old, leaf in zip(expr.outputs, inner.outputs, strict=True):
            new = nodes[id(old)] = within[id(leaf)]
            if id(leaf) not in before:
                before.add(id(leaf))
                self.made._names.unassociate_name_with_obj(new)
                name = f"{prefix}_{old._name}" if prefix else old._name
                new._name = self.made._names.create_unique_name(name, new) if prefix else name
