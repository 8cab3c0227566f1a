"""Converts a TracedModule and its graphs to data and back; see serialization.py."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

from ..base.errors import SerializationError
from ..core import Tensor
from ..module import Module
from .expr import Apply, CallFunction, CallMethod, Constant, Expr, GetAttr, Input
from .graph import InternalGraph
from .known import METHODS
from .node import ModuleNode, Node, TensorNode
from .pytree import LeafDef, TreeDef, tree_flatten
from .serialization import Placeholder, Reader, Writer, to_text
from .shape import GetVarShape
from .traced_module import TracedModule

VERSION = 1
_OWN = ("argdef_graph_map", "argdef_outdef_map", "_signature", "_watches", "_forward_hooks", "_forward_pre_hooks")


def to_data(module: TracedModule) -> tuple[str, list[Any]]:
    """Convert a traced module to a text and the tensors that it refers to."""
    writer = _Writer()
    writer.value(module)
    return to_text({"version": VERSION, "modules": writer.modules}), writer.tensors


def from_data(text: str, tensors: list[Any]) -> TracedModule:
    """Build the traced module that `to_data` converted. Raises SerializationError for values that it does not write."""
    data = json.loads(text)
    if data["version"] != VERSION:
        raise SerializationError(f"a traced module of version {data['version']!r:.20}; this tengen reads {VERSION}")
    reader = _Reader(tensors, data["modules"])
    made = reader.value({"module": 0})
    if not isinstance(made, TracedModule):
        raise SerializationError("a file of a traced module without one")
    top = next(iter(made.argdef_graph_map.values()), None)
    for one in made.modules():
        for graph in getattr(one, "argdef_graph_map", {}).values():
            graph._top_graph = None if one is made else top
    for graph in made.argdef_graph_map.values():
        graph._reset_ids()
    return made


class _Writer(Writer):
    def __init__(self) -> None:
        super().__init__()
        self.module_data = self._any_module
        self._nodes: dict[int, int] = {}

    def _any_module(self, module: Module) -> Any:
        return {"traced": self._traced(module)} if isinstance(module, TracedModule) else self._layer(module)

    def _traced(self, module: TracedModule) -> Any:
        graphs = [
            [self._structure(key), self._structure(module.argdef_outdef_map[key]), self._graph(graph)]
            for key, graph in module.argdef_graph_map.items()
        ]
        state = [[key, self.value(item)] for key, item in vars(module).items() if key not in _OWN]
        return {"state": state, "signature": self._signature(module._signature), "graphs": graphs}

    def _signature(self, signature: inspect.Signature | None) -> Any:
        if signature is None:
            return None
        rows = []
        for one in signature.parameters.values():
            row = [one.name, int(one.kind)]
            rows.append(row if one.default is one.empty else [*row, self.value(one.default)])
        return rows

    def _structure(self, structure: TreeDef) -> Any:
        leaves = [leaf.const_val if leaf.is_const else Placeholder(leaf.type) for leaf in structure.leaf_defs()]
        return self.value(structure.unflatten(leaves))

    def value(self, value: Any) -> Any:
        return {"node": self._nodes[id(value)]} if isinstance(value, Node) else super().value(value)

    def _graph(self, graph: InternalGraph) -> Any:
        before, self._nodes = self._nodes, {}
        exprs = [self._expr(expr) for expr in graph._exprs]
        outputs = [self.value(leaf) for leaf in graph._outputs]
        inputs = [self._nodes[id(node)] for node in graph._inputs]
        self._nodes = before
        return {"name": graph.name, "qualname": graph.qualname, "exprs": exprs, "inputs": inputs, "outputs": outputs}

    def _expr(self, expr: Expr) -> Any:
        data: dict[str, Any] = {"kind": type(expr).__name__, "id": expr._id, "removable": expr._removable}
        if expr.arg_def is not None:
            args, kwargs = expr.unflatten_args(expr.inputs)
            data["args"], data["kwargs"] = self.value(args), self.value(kwargs)
        if isinstance(expr, GetAttr):
            data["module"], data["name"] = self.value(expr.inputs[0]), expr.name
        elif isinstance(expr, CallMethod):
            data["method"] = expr.method
        elif isinstance(expr, CallFunction):
            data["function"] = self.value(expr.func)["function"]
        elif isinstance(expr, Apply):
            data["op"] = None if isinstance(expr.opdef, GetVarShape) else self.value(expr.opdef)
        elif isinstance(expr, Constant):
            data["value"] = self.value(expr.value)
        data["nodes"] = [self._node(node) for node in expr.outputs]
        data["out"] = self.value(expr.return_val)
        return data

    def _node(self, node: Node) -> Any:
        self._nodes[id(node)] = len(self._nodes)
        data: dict[str, Any] = {"id": node._id, "name": node._name, "qualname": node._qualname}
        if isinstance(node, ModuleNode):
            data["module"] = node.shown_type
        elif isinstance(node, TensorNode):
            shape = None if node.shape is None else list(map(int, node.shape))
            data.update(
                shape=shape,
                dtype=self.value(node.dtype),
                qparams=self.value(node.qparams),
                device=self.value(node.device),
            )
        return data


class _Reader(Reader):
    def __init__(self, tensors: list[Any], modules: list[Any]):
        super().__init__(tensors, modules)
        self.new_traced = lambda: TracedModule(False, {}, {})
        self.traced = self._fill
        self._nodes: list[Node] = []

    def value(self, data: Any) -> Any:
        if isinstance(data, dict) and "node" in data:
            place = data["node"]
            if type(place) is not int or not 0 <= place < len(self._nodes):
                raise SerializationError(f"an expression reads node {place!r:.40}, which is not made before it")
            return self._nodes[place]
        return super().value(data)

    def _fill(self, made: TracedModule, data: Any) -> None:
        for key, item in data["state"]:
            if not isinstance(key, str) or key in _OWN or callable(getattr(TracedModule, key, None)):
                raise SerializationError(f"a traced module with the attribute {key!r:.40}")
            made.__dict__[key] = self.value(item)
        if data["signature"] is not None:
            made._signature = inspect.Signature([self._parameter(*row) for row in data["signature"]])
        for key, out, graph in data["graphs"]:
            structure = self._structure(key)
            made.argdef_graph_map[structure] = self._graph(graph)
            made.argdef_outdef_map[structure] = self._structure(out)
            made.argdef_graph_map[structure]._belong(made)

    def _parameter(self, name: str, kind: int, *default: Any) -> inspect.Parameter:
        kind_class: Any = type(inspect.Parameter.KEYWORD_ONLY)
        kinds = list(kind_class)
        given = self.value(default[0]) if default else inspect.Parameter.empty
        return inspect.Parameter(name, kinds[kind], default=given)

    def _structure(self, data: Any) -> TreeDef:
        def kind(leaf: Any) -> Any:
            return leaf.kind if isinstance(leaf, Placeholder) else type(leaf)

        return tree_flatten(self.value(data), kind, lambda leaf: True, lambda leaf: not isinstance(leaf, Placeholder))[
            1
        ]

    def _graph(self, data: Any) -> InternalGraph:
        before, self._nodes = self._nodes, []
        graph = InternalGraph(str(data["name"]), str(data["qualname"]))
        for one in data["exprs"]:
            graph._exprs.append(self._expr(one, graph))
        graph._inputs = [self.value({"node": place}) for place in data["inputs"]]
        graph._outputs = [self.value(leaf) for leaf in data["outputs"]]
        graph._names.keep(self._nodes)
        if not graph._inputs or not all(isinstance(node.expr, Input) for node in graph._inputs):
            raise SerializationError("a graph whose inputs are none")
        self._nodes = before
        return graph

    def _expr(self, data: Any, graph: InternalGraph) -> Expr:
        args = None if "args" not in data else (self.value(data["args"]), self.value(data["kwargs"]))
        holder = self.value(data["module"]) if data["kind"] == "GetAttr" else None
        inputs = len(self._nodes)
        self._nodes += map(self._node, data["nodes"])
        made = self._nodes[inputs:]
        expr = _MAKERS[data["kind"]](self, data, holder, made)
        expr._graph, expr._id, expr._removable = graph, int(data["id"]), bool(data["removable"])
        if args is not None:
            expr._set_leaves(*tree_flatten(args))
        out = self.value(data["out"])
        expr._set_outputs(*tree_flatten(out))
        if expr.outputs != made:
            raise SerializationError("an expression that makes other nodes than it has")
        if isinstance(out, Node):
            expr.out_def = LeafDef(Tensor)
        for node in made:
            node.expr = expr
        return expr

    def _node(self, data: Any) -> Node:
        if "module" in data:
            node: Node = ModuleNode(None, str(data["name"]), str(data["qualname"]))
            node.module_name = str(data["module"])  # type: ignore[attr-defined]
        else:
            shape = None if data["shape"] is None else tuple(map(int, data["shape"]))
            kinds = {key: self.value(data[key]) for key in ("dtype", "qparams", "device")}
            node = TensorNode(None, str(data["name"]), str(data["qualname"]), shape, **kinds)
        node._id = int(data["id"])
        return node

    def _method(self, data: Any) -> CallMethod:
        if data["method"] != "__call__" and data["method"] not in METHODS:
            raise SerializationError(f"it calls the method {data['method']!r:.40}")
        return CallMethod(data["method"])


def _get_attr(reader: _Reader, data: Any, holder: Any, made: list[Node]) -> GetAttr:
    if not isinstance(holder, ModuleNode) or not isinstance(data["name"], str):
        raise SerializationError("an attribute of what is no module")
    return GetAttr(holder, made[0], data["name"])


_MAKERS: dict[str, Callable[[_Reader, Any, Any, list[Node]], Expr]] = {
    "Input": lambda reader, data, holder, made: Input(made[0], made[0]._name),
    "GetAttr": _get_attr,
    "CallMethod": lambda reader, data, holder, made: reader._method(data),
    "CallFunction": lambda reader, data, holder, made: CallFunction(reader.value({"function": data["function"]})),
    "Apply": lambda reader, data, holder, made: Apply(
        GetVarShape() if data["op"] is None else reader.value(data["op"])
    ),
    "Constant": lambda reader, data, holder, made: Constant(reader.value(data["value"]), made[0]),
}
