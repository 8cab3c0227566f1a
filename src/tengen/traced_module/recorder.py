"""Records calls as expressions of a graph, while a module is traced and while expressions are inserted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..core import Tensor
from ..module import Module
from . import checker
from .expr import Apply, CallFunction, CallMethod, Constant, Expr, GetAttr, bind, op_name
from .known import OPERATORS, WRITING
from .node import ModuleNode, Node, TensorNode
from .pytree import tree_flatten, tree_map
from .shape import KINDS, GetVarShape, TracedShape, plain, traced
from .utils import find_path


class Scope:
    """One graph that is being recorded, and the nodes that stand for values in it.

    Args:
        graph: the graph.
        module: the module that the graph belongs to.
    """

    def __init__(self, graph: Any, module: Module | None):
        self.graph, self.module = graph, module
        self._nodes: dict[int, tuple[Any, Node]] = {}  # the value too, so that no other gets its id
        self.paths: dict[int, str] = {}  # of module nodes, by id

    def bind(self, value: Any, node: Node) -> None:
        """Make a node stand for a value."""
        self._nodes[id(value)] = value, node

    def forget(self, value: Any) -> None:
        """Forget the node of a value."""
        self._nodes.pop(id(value), None)

    def node(self, value: Any) -> Node | None:
        """The node that stands for a value."""
        found = self._nodes.get(id(value))
        return None if found is None else found[1]

    def insert(self, expr: Expr) -> None:
        """Append an expression."""
        self.graph._insert(expr)

    def name(self, node: Node, name: str, qualname: str) -> None:
        """Give a new node a name that no other has."""
        node._name = self.graph._names.create_unique_name(name, node)
        node._qualname = qualname


class Recorder:
    """Records calls in the open scope. `inside` counts the recorded calls that are running: calls inside them are not recorded."""

    takes_nodes = False

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.inside = 0

    @property
    def scope(self) -> Scope:
        """The scope that is open."""
        return self.scopes[-1]

    @contextmanager
    def _as_one(self) -> Iterator[None]:
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    # -- from values to nodes ---------------------------------------------------------------------------------------

    def node_of(self, leaf: Any) -> Any:
        """The node that stands for a leaf of some arguments; constants stay as they are."""
        if isinstance(leaf, Node):
            return self._taken(leaf)
        found = self.scope.node(leaf)
        if found is not None:
            return found
        if isinstance(leaf, KINDS):
            return plain(leaf)
        if isinstance(leaf, Module):
            return self.module_node(leaf)
        return self._met(leaf) if isinstance(leaf, Tensor) else leaf

    def _taken(self, node: Node) -> Node:
        raise TypeError(f"node {node} is not a value; nodes are for graph.insert_exprs()")

    def value_of(self, leaf: Any) -> Any:
        """The value to compute with."""
        return plain(leaf)

    def _met(self, tensor: Tensor) -> Node:
        """The node of a tensor that no recorded call made: an attribute of the module, or a constant."""
        module = self.scope.module
        path = None if module is None else find_path(module, tensor)
        if path is not None:
            return self.get_attribute(self.scope.graph.inputs[0], path, tensor)
        node = TensorNode(None)
        node.describe(tensor)
        expr = Constant(tensor, node)
        self.scope.name(node, expr.default_name, f"{self.scope.graph.qualname}.[{expr.default_name}]")
        self.scope.insert(expr)
        self.scope.bind(tensor, node)
        return node

    def traces(self, module: Module) -> bool:
        """Whether a module is part of what is recorded."""
        root = self.scopes[0].module
        return root is not None and any(one is module for one in root.modules())

    def module_node(self, module: Module) -> ModuleNode:
        """The node of a module that is inside the module of the open scope."""
        found = self.scope.node(module)
        if isinstance(found, ModuleNode):
            return found
        root = self.scope.module
        path = None if root is None else find_path(root, module)
        if path is None:
            raise ValueError(
                f"a {type(module).__name__} is called that is not part of {self.scope.graph.qualname}: a traced module calls what its "
                "attributes hold; make it one of them"
            )
        made = self.get_attribute(self.scope.graph.inputs[0], path, module)
        assert isinstance(made, ModuleNode)
        return made

    def get_attribute(self, holder: ModuleNode, name: str, value: Any) -> Node:
        """A new node for an attribute of the module that `holder` stands for."""
        scope = self.scope
        way = scope.paths.get(id(holder), "")
        path = f"{way}.{name}" if way else name
        node: Node = ModuleNode(None) if isinstance(value, Module) else TensorNode(None)
        if isinstance(node, ModuleNode):
            node.module_type = self._shown_class(value)
            scope.paths[id(node)] = path
        else:
            node.describe(value)  # type: ignore[attr-defined]
        scope.name(node, path.replace(".", "_"), f"{scope.graph.qualname}.{path}")
        scope.insert(GetAttr(holder, node, name))
        scope.bind(value, node)
        return node

    def _shown_class(self, module: Module) -> type[Module]:
        return type(module)

    # -- calls ------------------------------------------------------------------------------------------------------

    def call_function(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a function and record the call."""
        try:
            bound = bind(function, args, kwargs)
        except TypeError:
            return function(*args, **kwargs)  # which says what is wrong
        expr = CallFunction(function)
        self._give(expr, bound)
        with self._as_one():
            args, kwargs = tree_map(self.value_of, bound)
            result = function(*args, **kwargs)
        name = function.__name__
        return self.finish(expr, result, f"{name}_out", self._made(f"func_{name}"), bound)

    def call_method(self, target: Any, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a method of a tensor, a number or a shape, and record the call."""
        function = getattr(Tensor, method, None)
        original: Any = getattr(function, "__wrapped__", function)
        if isinstance(target, KINDS):
            original = OPERATORS[method]
        try:
            bound = ((target, *args), {}) if method in OPERATORS else bind(original, (target, *args), kwargs)
        except TypeError:
            return original(target, *args, **kwargs)
        with self._as_one():
            inner_args, inner_kwargs = tree_map(self.value_of, bound)
            result = original(*inner_args, **inner_kwargs)
        if result is NotImplemented:
            return result
        expr = CallMethod(method)
        self._give(expr, bound)
        if method in WRITING and result is None:
            result = self.value_of(target)
        if isinstance(target, KINDS):
            result = traced(result)
        name = method.strip("_")
        made = self.finish(expr, result, f"{name}_out", self._made(f"method_{name}"), bound)
        if method == "__setitem__":
            self.scope.bind(target, expr.outputs[0])
            return None
        return made

    def call_shape(self, target: Any, shape: tuple[int, ...]) -> Any:
        """Record an access to the shape of a tensor."""
        return self.call_apply(GetVarShape(), (target,), lambda: TracedShape(shape))

    def call_apply(self, op: Any, inputs: Sequence[Any], compute: Callable[[], Any]) -> Any:
        """Apply an op and record it."""
        expr = Apply(op)
        self._give(expr, (tuple(inputs), {}))
        with self._as_one():
            result = compute()
        name = op_name(op).lower()
        return self.finish(expr, result, f"{name}_out", self._made(f"def_{name}"), (tuple(inputs), {}))

    def _made(self, how: str) -> str:
        return f"{self.scope.graph.qualname}.[{how}]"

    def _give(self, expr: Expr, bound: Any) -> None:
        leaves, structure = tree_flatten(tree_map(self.node_of, bound))
        expr._set_leaves(leaves, structure)

    def finish(self, expr: Expr, result: Any, name: str, qualname: str, bound: Any) -> Any:
        """Append an expression whose call returned `result`; returns what the program continues with."""
        if checker.checks_expressions() and expr._removable:
            checker.check_expression(expr, bound, result, self)
        result = tree_map(lambda leaf: self._own_value(leaf, expr), result)
        nodes = tree_map(lambda leaf: self._output(leaf, expr, name, qualname), result)
        expr._set_outputs(*tree_flatten(nodes))
        self.scope.insert(expr)
        return self.shown(result, nodes)

    def shown(self, result: Any, nodes: Any) -> Any:
        """What the program gets: values, while a module is traced."""
        return result

    def _own_value(self, leaf: Any, expr: Expr) -> Any:
        """A value that no other node stands for, unlike one that a function was given and returns."""
        if isinstance(leaf, Tensor) and expr._removable and self.scope.node(leaf) is not None:
            made = leaf._detach()
            made.__dict__.update(leaf.__dict__)
            return made
        return traced(leaf) if type(leaf) in (int, float) else leaf

    def _output(self, leaf: Any, expr: Expr, name: str, qualname: str) -> Any:
        if not isinstance(leaf, (Tensor, *KINDS)):
            return leaf
        node = TensorNode(expr)
        node.describe(leaf)
        self.scope.name(node, name, qualname)
        self.scope.bind(leaf, node)
        return node
