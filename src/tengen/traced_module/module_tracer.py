"""Tracing: calls a module and records what it does in graphs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import module as layers
from ..core import Tensor
from ..module import Module, Sequential
from . import active, containers, patches
from .expr import CallMethod, bind
from .graph import InternalGraph
from .known import METHODS
from .node import ModuleNode, Node, TensorNode
from .pytree import TreeDef, tree_flatten, tree_map
from .recorder import Recorder, Scope

BUILTIN_ARRAY_METHOD = [name for name in METHODS if name not in ("set_value", "reset_zero", "detach", "to", "astype")]
BUILTIN_TENSOR_WRAP_METHOD = ["shape", "detach", "to", "astype", "set_value", "reset_zero"]

_OF_LAYERS = f"{layers.__name__}."
_opaque: dict[type[Module], None] = {}  # in the order in which they were registered


def register_opaque(kind: type[Module]) -> None:
    """Register a class of modules, so that each call is a single expression."""
    _opaque[kind] = None


def registered_modules() -> list[type[Module]]:
    """The registered classes of the program."""
    return list(_opaque)


def is_builtin(module: Any) -> bool:
    """Whether a call of the module is a single expression, as those of tengen's layers are."""
    kind = type(module)
    return kind in _opaque or (f"{kind.__module__}.".startswith(_OF_LAYERS) and kind is not Sequential)


class Record:
    """The recording of one module: a graph for each structure of arguments, and what each returns.

    Args:
        module: the module.
        qualname: the path by which it was first reached.
    """

    def __init__(self, module: Module, qualname: str):
        self.module, self.qualname = module, qualname
        self.graphs: dict[TreeDef, InternalGraph] = {}
        self.out_defs: dict[TreeDef, TreeDef] = {}


class Tracer(Recorder):
    """Records a call of a module, in graphs for it and for the modules inside."""

    def __init__(self, root: Module, kinds: tuple[type[Module], ...] = ()):
        super().__init__()
        self.root = root
        self.records: dict[int, Record] = {}
        self._kinds = kinds  # classes whose modules have been traced already

    def trace(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Record, Any]:
        """Call the module; returns its record and its result."""
        bound = bind(type(self.root).forward, (self.root, *args), kwargs)
        bound = own_handles(bound)
        record = self.records[id(self.root)] = Record(self.root, type(self.root).__name__)
        with patches.installed(self.root):
            before = active.set_recorder(self)
            try:
                result = self._run(record, bound)
            finally:
                active.set_recorder(before)
        graph = record.graphs[next(iter(record.graphs))]
        for one in self.records.values():
            for inner in one.graphs.values():
                inner._top_graph = None if inner is graph else graph
        return record, result

    # -- what the module does ---------------------------------------------------------------------------------------

    def attribute(self, holder: Module, name: str, value: Any) -> Any:
        """The attribute of a module as the program sees it; modules and tensors get nodes."""
        if isinstance(value, (Module, Tensor)):
            self._see(holder, name, value)
            return value
        if isinstance(value, (list, tuple, dict)) and containers.holds_members(value):
            return containers.seen(value, lambda item, inner: self.attribute(holder, f"{name}.{item}", inner))
        return patches.seen(value)

    def _see(self, holder: Module, name: str, value: Any) -> None:
        node = self.scope.node(holder)
        if not isinstance(node, ModuleNode):
            if self.scope.module is None or not any(one is holder for one in self.scope.module.modules()):
                return
            node = self.module_node(holder)
        self.get_attribute(node, name, value)

    def _shown_class(self, module: Module) -> type[Module]:
        return type(module) if is_builtin(module) else Module

    def call_module(self, module: Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a module and record the call; record what is inside, too, unless it is a layer."""
        function = module._forward_of() if isinstance(module, self._kinds) else type(module).forward
        try:
            bound = bind(function, (module, *args), kwargs)
        except TypeError:
            return module.forward(*args, **kwargs)
        node = self.module_node(module)
        expr = CallMethod("__call__")
        self._give(expr, bound)
        if is_builtin(module) or isinstance(module, self._kinds):
            with self._as_one():
                inner_args, inner_kwargs = tree_map(self.value_of, bound)
                result = Module.__call__(*inner_args, **inner_kwargs)
        else:
            record = self.records.get(id(module))
            if record is None:
                record = self.records[id(module)] = Record(module, node._qualname)
            result = self._run(record, bound)
        return self.finish(expr, result, f"{node._name}_out", f"{node._qualname}.[out]", bound)

    def _run(self, record: Record, bound: Any) -> Any:
        """Call a module in a scope of its own."""
        args, kwargs = bound
        _, structure = tree_flatten(tree_map(self._outer, bound))
        if structure in record.graphs:
            with self._as_one():
                return _original_call()(*tree_map(self.value_of, args), **tree_map(self.value_of, kwargs))
        graph = InternalGraph(record.qualname.replace(".", "_"), record.qualname)
        scope = Scope(graph, record.module)
        self.scopes.append(scope)
        try:
            self._take_arguments(record, scope, bound)
            result = _original_call()(*args, **kwargs)
            nodes = tree_map(self._returned, result)
            graph._outputs, out_def = tree_flatten(nodes)
        finally:
            self.scopes.pop()
        graph.compile()
        record.graphs[structure], record.out_defs[structure] = graph, out_def
        return result

    def _outer(self, leaf: Any) -> Any:
        """A leaf in the structure of the arguments: a node in place of the value that it stands for."""
        if self.scopes and not isinstance(leaf, (Tensor, Module)):
            return self.scope.node(leaf) or self.value_of(leaf)
        return leaf

    def _take_arguments(self, record: Record, scope: Scope, bound: Any) -> None:
        args, kwargs = bound
        names = argument_names(type(record.module).forward, args, kwargs)
        outside = self.scopes[-2] if len(self.scopes) > 1 else None
        for leaf, name in zip(tree_flatten_values(bound), names, strict=True):
            if leaf is record.module:
                name = "self"
                node: Node = ModuleNode(None)
                node.module_type = Module  # type: ignore[attr-defined]
                qualname = record.qualname
                scope.paths[id(node)] = ""
            elif isinstance(leaf, Tensor) or (outside is not None and outside.node(leaf) is not None):
                node, qualname = TensorNode(None), f"{record.qualname}.[{name}]"
                node.describe(leaf)
            else:
                continue
            scope.name(node, name, qualname)
            scope.graph._add_input(node)
            scope.bind(leaf, node)

    def _returned(self, leaf: Any) -> Any:
        if isinstance(leaf, Module):
            raise TypeError(
                f"{self.scope.graph.qualname} returns a module ({type(leaf).__name__}); a traced module returns tensors"
            )
        if isinstance(leaf, (np.ndarray, np.generic)):
            raise TypeError(
                f"{self.scope.graph.qualname} returns a NumPy array, which a graph would give for every input; return a tensor, or wrap() the "
                "function that computes with NumPy"
            )
        return self.node_of(leaf)


def tree_flatten_values(bound: Any) -> list[Any]:
    """The leaves of arguments, unchanged."""
    leaves: list[Any] = []
    tree_map(leaves.append, bound)
    return leaves


def argument_names(forward: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[str]:
    """A name for each leaf of the arguments: the parameter's, with a number for each leaf of a container."""
    names: list[str] = []

    def add(name: str, value: Any) -> None:
        count = len(tree_flatten_values(value))
        single = count == 1 and not isinstance(value, (list, tuple, dict))
        names.extend([name] if single else [f"{name}_{index}" for index in range(count)])

    rest = list(args)
    for parameter in inspect.signature(forward).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            add(parameter.name, tuple(rest))
            rest = []
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) and rest:
            add(parameter.name, rest.pop(0))
    for key in sorted(kwargs):
        add(key, kwargs[key])
    return names


def own_handles(values: Any) -> Any:
    """Copy a container with a new handle for each tensor, so that writes are not seen elsewhere."""

    def own(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        made = leaf._detach()
        made.__dict__.update(leaf.__dict__)
        return made

    return tree_map(own, values)


def _original_call() -> Any:
    return Module.__call__.__wrapped__  # type: ignore[attr-defined]
