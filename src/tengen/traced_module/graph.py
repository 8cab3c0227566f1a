"""InternalGraph: the list of calls that a module makes."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core import Tensor
from . import filters
from .expr import CallMethod, Constant, Expr, GetAttr, Input
from .filters import ExprFilter, NodeFilter
from .names import NameSpace
from .node import ModuleNode, Node, TensorNode
from .pytree import LeafDef, TreeDef, tree_flatten
from .surgery import InsertExprs

__all__ = ["InternalGraph"]


class InternalGraph:
    """The calls that a module makes for arguments of one structure, in order.

    A call is an expression (`Expr`); what it reads and makes are nodes (`Node`). A graph prints as the text of a function. You change it by
    inserting expressions (`insert_exprs`), by letting others read their results (`replace_node`), and by removing what nothing reads (`compile`).
    """

    def __init__(self, name: str, qualname: str):
        self._names = NameSpace(name, qualname)
        self._exprs: list[Expr] = []
        self._inputs: list[Node] = []
        self._outputs: list[Any] = []
        self._top_graph: InternalGraph | None = None
        self._next_ids = [0, 0]
        self._module: Callable[[], Any] = lambda: None
        self._watched: dict[Node, Any] = {}
        self._end_points: list[Node] = []
        self._last_uses: list[list[Node]] | None = None

    # -- what it is -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The class of the traced module, and the path to the inner module of this graph."""
        return self._names.name

    @property
    def qualname(self) -> str:
        """The same with dots."""
        return self._names.qualname

    @property
    def inputs(self) -> list[Node]:
        """The nodes that the caller provides; the first is the module itself."""
        return self._inputs

    @property
    def outputs(self) -> list[Any]:
        """The nodes that are returned."""
        return [leaf for leaf in self._outputs if isinstance(leaf, Node)]

    @property
    def top_graph(self) -> InternalGraph | None:
        """The graph of the outermost module; None for that graph itself."""
        return self._top_graph

    @property
    def module(self) -> Any:
        """The traced module that it belongs to."""
        return self._module()

    def __repr__(self) -> str:
        lines = "\n\t".join(repr(expr) for expr in self._exprs if not isinstance(expr, Input))
        outputs = ", ".join(map(str, self._outputs))
        inputs = ", ".join(map(str, self._inputs))
        return f"{self.name}.Graph ({inputs}) {{\n\t{lines}\n\treturn {outputs}\n}}"

    # -- looking for something --------------------------------------------------------------------------------------

    def exprs(self, recursive: bool = True) -> ExprFilter:
        """The expressions; with `recursive`, also those of the graphs of called modules."""
        return ExprFilter(list(filters.every_expr(self, recursive)))

    def nodes(self, recursive: bool = True) -> NodeFilter:
        """The nodes; with `recursive`, also those of the graphs of called modules."""
        return NodeFilter(list(filters.every_node(self, recursive)))

    def get_function_by_type(self, func: Callable[..., Any] | None = None, recursive: bool = True) -> ExprFilter:
        """The calls of a function."""
        return self.exprs(recursive).call_function(func)

    def get_method_by_type(self, method: str | None = None, recursive: bool = True) -> ExprFilter:
        """The calls of a method, "__call__" for modules."""
        return self.exprs(recursive).call_method(method)

    def get_expr_by_id(self, expr_id: int | Sequence[int] | None = None, recursive: bool = True) -> ExprFilter:
        """The expressions with these ids."""
        return self.exprs(recursive).expr_id(expr_id)

    def get_module_by_type(self, module_cls: type, recursive: bool = True) -> NodeFilter:
        """The nodes of modules of a class."""
        if not isinstance(module_cls, type):
            raise TypeError(f"get_module_by_type takes a class of modules, got {module_cls!r}")
        return self.nodes(recursive).type(module_cls)

    def get_node_by_id(self, node_id: int | Sequence[int] | None = None, recursive: bool = True) -> NodeFilter:
        """The nodes with these ids."""
        return self.nodes(recursive).node_id(node_id)

    def get_node_by_name(self, name: str, ignorecase: bool = True, recursive: bool = True) -> NodeFilter:
        """The nodes whose name or path matches a pattern, in which `*` stands for any text."""
        return self.nodes(recursive).name(name, ignorecase)

    def get_dep_exprs(self, nodes: Node | Sequence[Node]) -> list[Expr]:
        """The expressions that these nodes depend on, nearest first."""
        waiting = [nodes] if isinstance(nodes, Node) else list(nodes)
        found: list[Expr] = []
        seen: set[int] = set()
        while waiting:
            expr = waiting.pop(0).expr
            if expr is not None and id(expr) not in seen:
                seen.add(id(expr))
                found.append(expr)
                waiting += expr.inputs
        return found

    # -- building it ------------------------------------------------------------------------------------------------

    def _root(self) -> InternalGraph:
        return self if self._top_graph is None else self._top_graph._root()

    def _changed(self) -> None:
        self._last_uses = None

    def _insert(self, expr: Expr, place: int | None = None) -> None:
        """Insert an expression, with new ids for it and its nodes."""
        root = self._root()
        expr._graph = self
        expr._id, root._next_ids[0] = root._next_ids[0], root._next_ids[0] + 1
        for node in expr.outputs:
            node._id, root._next_ids[1] = root._next_ids[1], root._next_ids[1] + 1
        self._exprs.insert(len(self._exprs) if place is None else place, expr)
        self._changed()

    def _add_input(self, node: Node) -> None:
        place = max((self._exprs.index(one.expr) + 1 for one in self._inputs if one.expr in self._exprs), default=0)
        self._insert(Input(node, node._name), place)
        self._inputs.append(node)

    def _reset_ids(self) -> None:
        """Renumber expressions and nodes, in order."""
        root = self._root()
        root._next_ids = [0, 0]
        for expr in filters.every_expr(root, True):
            expr._id, root._next_ids[0] = root._next_ids[0], root._next_ids[0] + 1
            for node in expr.outputs:
                node._id, root._next_ids[1] = root._next_ids[1], root._next_ids[1] + 1

    # -- changing it ------------------------------------------------------------------------------------------------

    def insert_exprs(self, expr: Expr | None = None) -> Any:
        """A context in which functions, operators and modules that are applied to nodes of this graph become expressions of it.

        Args:
            expr: the new expressions come after this one; by default after what they read.

        >>> net = tengen.traced_module.trace_module(M.Sequential(M.ReLU()), tengen.tensor([-1.0, 2.0]))
        >>> relu = net.graph.get_method_by_type("__call__").as_unique()
        >>> with net.graph.insert_exprs():
        ...     doubled = F.exp(relu.inputs[1]) * 2
        >>> net.graph.replace_node({relu.outputs[0]: doubled})
        >>> net.graph.compile()
        >>> print(net.graph)
        Sequential.Graph (self, inp) {
                %4:	exp_out = elemwise.exp(inp, )
                %5:	mul_out = exp_out.__mul__(2, )
                return mul_out
        }
        """
        return InsertExprs(self, expr)

    def replace_node(self, repl_dict: Mapping[Node, Node]) -> None:
        """Make all readers of some nodes read others, except readers that these others depend on.

        Args:
            repl_dict: from nodes to those that take their places.

        Raises ValueError for nodes of another graph, or if a reader comes before the new node.
        """
        for old, new in repl_dict.items():
            if old.top_graph is not self or new.top_graph is not self:
                raise ValueError(
                    f"replace_node: {old if old.top_graph is not self else new} is no node of graph {self.name}"
                )
        places = {id(expr): place for place, expr in enumerate(self._exprs)}
        for old, new in repl_dict.items():
            needed = {id(expr) for expr in self.get_dep_exprs(new)}
            for user in list(old.users):
                if id(user) in needed:
                    continue
                assert new.expr is not None
                if places[id(new.expr)] > places[id(user)]:
                    raise ValueError(f"replace_node: {user!r} would read {new}, which is made after it")
                user.replace_inputs({old: new})
            self._outputs = [new if leaf is old else leaf for leaf in self._outputs]
        self._changed()

    def compile(self) -> None:
        """Remove expressions whose outputs nothing reads, and merge chains of attributes."""
        merge_attributes(self)
        wanted = {id(node) for node in self.outputs} | {id(node) for node in self._end_points}
        kept: list[Expr] = []
        for expr in reversed(self._exprs):
            needed = isinstance(expr, Input) or not expr._removable or any(id(node) in wanted for node in expr.outputs)
            if needed:
                wanted |= {id(node) for node in expr.inputs}
                kept.append(expr)
            else:
                expr._take_inputs(())
        self._exprs = kept[::-1]
        self._names.keep(node for expr in self._exprs for node in expr.outputs)
        self._changed()

    def add_input_node(self, shape: Sequence[int], dtype: Any = "float32", name: str = "args") -> TensorNode:
        """Add a tensor as a new input, which the traced module takes after the others.

        Args:
            shape, dtype: of the tensor.
            name: of the node.
        """
        self._only_top("add_input_node")
        node = TensorNode(None, shape=tuple(shape), dtype=np.dtype(dtype))
        node._name = self._names.create_unique_name(name, node)
        node._qualname = f"{self.qualname}.[{name}]"
        self._add_input(node)
        self.module._add_argument(self, node._name)
        return node

    def add_output_node(self, node: TensorNode) -> None:
        """Return `node` as well: the traced module then returns (its former result, node)."""
        self._only_top("add_output_node")
        self._own(node)
        module = self.module
        structure = module._out_def_of(self)
        module._set_out_def(self, TreeDef(tuple, None, [structure, LeafDef(Tensor)]))
        self._outputs = [*self._outputs, node]
        self._changed()

    def reset_outputs(self, outputs: Any) -> None:
        """Set the outputs: a node, or a container of nodes."""
        self._only_top("reset_outputs")
        leaves, structure = tree_flatten(outputs)
        for leaf in leaves:
            self._own(leaf)
        self.module._set_out_def(self, structure)
        self._outputs = leaves
        self._changed()

    def reset_inputs(self, *args: Any, **kwargs: Any) -> list[Node]:
        """Set the arguments: the structure given, whose tensors are the new inputs. Returns their nodes."""
        self._only_top("reset_inputs")
        used = [node for node in self._inputs[1:] if node.users or any(node is leaf for leaf in self._outputs)]
        if used:
            raise ValueError(f"reset_inputs: input {used[0]} is still read; replace it first, and compile()")
        self._exprs = [
            expr for expr in self._exprs if not (isinstance(expr, Input) and expr.outputs[0] in self._inputs[1:])
        ]
        del self._inputs[1:]
        self._names.keep(node for expr in self._exprs for node in expr.outputs)
        leaves, structure = tree_flatten(((self.module, *args), kwargs))
        nodes: list[Node] = []
        for leaf in leaves:
            if isinstance(leaf, Tensor):
                node = TensorNode(None, shape=tuple(leaf.shape), dtype=leaf.dtype)
                node._name = self._names.create_unique_name("args", node)
                node._qualname = f"{self.qualname}.[{node._name}]"
                self._add_input(node)
                nodes.append(node)
        self.module._set_arguments(self, structure)
        self._changed()
        return nodes

    def _only_top(self, what: str) -> None:
        module = self.module
        if self._top_graph is not None or module is None:
            raise ValueError(
                f"{what}: graph {self.name} is called by another one, which would not know; flatten() the module first"
            )

    def _own(self, node: Any) -> None:
        if not isinstance(node, TensorNode) or node.top_graph is not self:
            raise ValueError(f"{node!r:.60} is no tensor node of graph {self.name}")

    # -- running it -------------------------------------------------------------------------------------------------

    def _frees(self) -> list[list[Node]]:
        """For each expression, the nodes that nothing reads after it."""
        if self._last_uses is None:
            seen = {id(node) for node in (*self.outputs, *self._end_points)}
            frees: list[list[Node]] = []
            for expr in reversed(self._exprs):
                last = []
                for node in (*expr.inputs, *expr.outputs):
                    if id(node) not in seen:
                        seen.add(id(node))
                        last.append(node)
                frees.append(last)
            self._last_uses = frees[::-1]
        return self._last_uses

    def interpret(self, *inputs: Any) -> list[Any]:
        """Compute the values of `outputs` from those of `inputs`; the first input is the module."""
        if len(inputs) != len(self._inputs):
            raise TypeError(f"graph {self.name} takes {len(self._inputs)} inputs ({self._inputs}), got {len(inputs)}")
        values: dict[Node, Any] = dict(zip(self._inputs, inputs, strict=True))
        ends = list(self._end_points)
        for expr, done in zip(self._exprs, self._frees(), strict=True):
            if not isinstance(expr, Input):
                results = expr.interpret(*[values[node] for node in expr.inputs])
                values.update(zip(expr.outputs, results, strict=True))
            if self._watched:
                self._watched.update({node: values[node] for node in expr.outputs if node in self._watched})
            if ends and all(node in values for node in ends):
                return [values[node] for node in ends]
            for node in done:
                values.pop(node, None)
        return [values[leaf] if isinstance(leaf, Node) else leaf for leaf in self._outputs]

    def eval(self, *inputs: Tensor) -> list[Any]:
        """Compute the outputs for these inputs; the module is that of the graph."""
        return self.interpret(self.module, *inputs)

    # -- copies -----------------------------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any]) -> InternalGraph:
        made = InternalGraph(self.name, self.qualname)
        memo[id(self)] = made
        nodes: dict[int, Node] = {}
        for expr in self._exprs:
            new = copy_expr(expr, nodes, memo)
            new._graph = made
            made._exprs.append(new)
        made._inputs = [nodes[id(node)] for node in self._inputs]
        made._outputs = [
            nodes[id(leaf)] if isinstance(leaf, Node) else copy.deepcopy(leaf, memo) for leaf in self._outputs
        ]
        made._names.keep(nodes.values())
        made._top_graph = copy.deepcopy(self._top_graph, memo)
        made._next_ids = list(self._next_ids)
        return made

    def _belong(self, module: Any) -> None:
        self._module = weakref.ref(module)


def copy_expr(expr: Expr, nodes: dict[int, Node], memo: dict[int, Any]) -> Expr:
    """Copy an expression: it reads the copies of its inputs, and the copies of its outputs are put into `nodes`."""
    new = copy.copy(expr)
    new.inputs, new.outputs, new._out_leaves = [], [], []
    for node in expr.outputs:
        made = nodes[id(node)] = copy.copy(node)
        made.expr, made.users = new, []
    new._set_outputs(
        [nodes[id(leaf)] if isinstance(leaf, Node) else copy.deepcopy(leaf, memo) for leaf in expr._out_leaves],
        expr.out_def,
    )
    new._graph = None
    if expr.arg_def is None:
        new._take_inputs([nodes[id(node)] for node in expr.inputs])
    else:
        leaves = [nodes[id(leaf)] if isinstance(leaf, Node) else copy.deepcopy(leaf, memo) for leaf in expr._leaves]
        new._set_leaves(leaves, expr.arg_def)
    if isinstance(new, Constant):
        new.value = copy.deepcopy(new.value, memo)
    return new


def merge_attributes(graph: InternalGraph) -> None:
    """Keep one expression, the first, for each attribute of `self`, and none for modules on the way to it."""
    first: dict[str, Node] = {}
    myself = graph.inputs[0] if graph.inputs else None
    for expr in graph._exprs:
        if not isinstance(expr, GetAttr):
            continue
        holder = expr.inputs[0].expr
        if isinstance(holder, GetAttr) and holder.inputs[0] is myself:
            expr.name = f"{holder.name}.{expr.name}"
            expr._take_inputs(holder.inputs)
        if expr.inputs[0] is not myself:
            continue
        kept = first.setdefault(expr.name, expr.outputs[0])
        made = expr.outputs[0]
        if kept is not made:
            for user in list(made.users):
                user.replace_inputs({made: kept})
            graph._outputs = [kept if leaf is made else leaf for leaf in graph._outputs]


def own_nodes(graph: InternalGraph) -> Iterable[Node]:
    """The nodes of the graph itself."""
    return (node for expr in graph._exprs for node in expr.outputs)


def called_modules(graph: InternalGraph) -> Iterable[tuple[CallMethod, Any]]:
    """The calls of modules, with the modules."""
    for expr in graph._exprs:
        if isinstance(expr, CallMethod) and isinstance(expr.inputs[0], ModuleNode):
            yield expr, expr.inputs[0].owner
