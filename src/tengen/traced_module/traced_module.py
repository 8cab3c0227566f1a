"""trace_module and TracedModule."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

from ..core import Tensor
from ..module import Module
from ..module.qat import QATModule
from ..random.rng import default_generator
from . import checker, known, patches
from .expr import GetAttr, bind
from .flatten import flattened
from .graph import InternalGraph
from .module_tracer import Record, Tracer, is_builtin, own_handles, register_opaque
from .node import Node
from .pytree import LeafDef, TreeDef, tree_flatten
from .tm_config import _get_default_checker
from .utils import get_subattr

__all__ = ["InternalGraph", "TracedModule", "register_as_builtin", "trace_module", "wrap"]


class TracedModule(Module):
    """A module whose `forward` is a graph that can be read and changed. `trace_module` makes it.

    Args:
        is_top: whether it is the outermost module.
        argdef_graph_map: a graph for each structure of arguments.
        argdef_outdef_map: what each returns.
        is_qat: whether it was a layer of quantisation-aware training.
    """

    argdef_graph_map: Any = None
    argdef_outdef_map: Any = None

    def __init__(
        self,
        is_top: bool,
        argdef_graph_map: Mapping[TreeDef, InternalGraph],
        argdef_outdef_map: Mapping[TreeDef, TreeDef],
        is_qat: bool = False,
    ):
        super().__init__()
        self.argdef_graph_map = dict(argdef_graph_map)
        self.argdef_outdef_map = dict(argdef_outdef_map)
        self._is_top = is_top
        self.is_qat = is_qat
        self._signature: inspect.Signature | None = None
        self._watches = _Watches()
        for graph in self.argdef_graph_map.values():
            graph._belong(self)

    # -- calling it -------------------------------------------------------------------------------------------------

    def _forward_of(self) -> Callable[..., Any]:
        """A function with the signature of the original `forward`."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            return type(self).forward(*args, **kwargs)

        if self._signature is not None:
            forward.__signature__ = self._signature  # type: ignore[attr-defined]
        return forward

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        structure, inputs = self._chosen(args, kwargs)
        graph = self.argdef_graph_map[structure]
        outputs = graph.interpret(*inputs)
        return outputs if graph._end_points else self.argdef_outdef_map[structure].unflatten(outputs)

    def _chosen(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[TreeDef, list[Any]]:
        """The structure of these arguments, and what its graph takes."""
        bound = bind(self._forward_of(), (self, *args), kwargs)
        leaves, structure = tree_flatten(bound)
        found = structure if structure in self.argdef_graph_map else self._alike(leaves, structure)
        if found is None:
            known_ones = "\n".join(f"  forward({one._args_kwargs_repr()})" for one in self.argdef_graph_map)
            raise TypeError(
                f"a traced module takes the arguments that it was traced with:\n{known_ones}\nand got\n  "
                f"forward({structure._args_kwargs_repr()})\nTensors may have other values and shapes; everything else is part of the graph"
            )
        defs = found.leaf_defs()
        return found, [leaf for leaf, kind in zip(leaves, defs, strict=True) if not kind.is_const]

    def _alike(self, leaves: Sequence[Any], structure: TreeDef) -> TreeDef | None:
        """The structure that is equal but for numbers where it has tensors, as the sizes are that a graph computes."""
        for one in self.argdef_graph_map:
            defs = one.leaf_defs()
            if len(defs) == len(leaves) and _same_but_numbers(one, structure):
                return one
        return None

    # -- its graphs -------------------------------------------------------------------------------------------------

    @property
    def graph(self) -> InternalGraph:
        """The graph of a module that was called with one structure of arguments. Raises ValueError if there are several graphs, or none."""
        if len(self.argdef_graph_map) != 1:
            raise ValueError(
                f"this module has {len(self.argdef_graph_map)} graphs, one for each structure of arguments that it was called with: see "
                "argdef_graph_map"
            )
        return next(iter(self.argdef_graph_map.values()))

    def flatten(self) -> TracedModule:
        """Make a copy in whose graph calls of inner modules are replaced by their expressions.

        >>> net = M.Sequential(M.Sequential(M.Linear(2, 2)), M.ReLU())
        >>> print(tengen.traced_module.trace_module(net, F.ones((1, 2))).flatten().graph)
        Sequential.Graph (self, inp) {
                %2:	_1 = getattr(self, "1") -> (ReLU)
                %3:	_0__0 = getattr(self, "0.0") -> (Linear)
                %4:	_0_out = _0__0(inp, )
                %5:	_1_out = _1(_0_out, )
                return _1_out
        }
        """
        made = copy.deepcopy(self)
        made._is_top = True
        made.argdef_graph_map = {key: flattened(graph) for key, graph in made.argdef_graph_map.items()}
        for graph in made.argdef_graph_map.values():
            graph._belong(made)
            graph.compile()
            graph._reset_ids()
        return made

    def set_watch_points(self, nodes: Node | Sequence[Node]) -> None:
        """Keep the values of these nodes in `watch_node_value` at each call; they may be in graphs of inner modules."""
        self.clear_watch_points()
        wanted = _as_nodes(nodes)
        for node in wanted:
            assert node.top_graph is not None
            node.top_graph._watched[node] = None
        self._watches.watched = wanted

    def clear_watch_points(self) -> None:
        """Stop keeping values."""
        for node in self._watches.watched:
            if node.top_graph is not None:
                node.top_graph._watched.pop(node, None)
        self._watches.watched = []

    @property
    def watch_points(self) -> list[Node]:
        """The nodes that are watched."""
        return list(self._watches.watched)

    @property
    def watch_node_value(self) -> dict[Node, Any]:
        """The values of watched nodes in the last call."""
        return {node: node.value for node in self._watches.watched if node.value is not None}  # type: ignore[attr-defined]

    def set_end_points(self, nodes: Node | Sequence[Node]) -> None:
        """Stop each call when these nodes of its own graph have been computed, and return a list of their values."""
        wanted = _as_nodes(nodes)
        own = list(self.argdef_graph_map.values())
        for node in wanted:
            if not any(node.top_graph is graph for graph in own):
                raise ValueError(f"node {node} is not of the graph of this module itself: flatten() it first")
        self.clear_end_points()
        for graph in own:
            graph._end_points = [node for node in wanted if node.top_graph is graph]
            graph._changed()

    def clear_end_points(self) -> None:
        """Let calls run to their end."""
        for graph in self.argdef_graph_map.values():
            graph._end_points = []
            graph._changed()

    # -- what graphs ask for ----------------------------------------------------------------------------------------

    def _key_of(self, graph: InternalGraph) -> TreeDef:
        return next(key for key, one in self.argdef_graph_map.items() if one is graph)

    def _out_def_of(self, graph: InternalGraph) -> TreeDef:
        return self.argdef_outdef_map[self._key_of(graph)]

    def _set_out_def(self, graph: InternalGraph, structure: TreeDef) -> None:
        self.argdef_outdef_map[self._key_of(graph)] = structure

    def _rename_key(self, graph: InternalGraph, structure: TreeDef) -> None:
        old = self._key_of(graph)
        del self.argdef_graph_map[old]
        self.argdef_graph_map[structure] = graph
        self.argdef_outdef_map[structure] = self.argdef_outdef_map.pop(old)

    def _add_argument(self, graph: InternalGraph, name: str) -> None:
        """Take one more tensor, after the positional arguments."""
        args, kwargs = self._key_of(graph).children_defs
        self._rename_key(
            graph, TreeDef(tuple, None, [TreeDef(tuple, None, [*args.children_defs, LeafDef(Tensor)]), kwargs])
        )
        assert self._signature is not None
        parameters = list(self._signature.parameters.values())
        place = sum(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in parameters)
        optional = any(one.default is not one.empty for one in parameters[:place])
        new = inspect.Parameter(
            name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None if optional else inspect.Parameter.empty
        )
        self._signature = self._signature.replace(parameters=[*parameters[:place], new, *parameters[place:]])

    def _set_arguments(self, graph: InternalGraph, structure: TreeDef) -> None:
        """Take arguments of this structure, positional and by these names."""
        self._rename_key(graph, structure)
        kinds = {
            "self": inspect.Parameter.POSITIONAL_OR_KEYWORD,
            "args": inspect.Parameter.VAR_POSITIONAL,
            "kwargs": inspect.Parameter.VAR_KEYWORD,
        }
        self._signature = inspect.Signature([inspect.Parameter(name, kind) for name, kind in kinds.items()])

    # -- copies -----------------------------------------------------------------------------------------------------

    saved_as = "traced_module"  # what `tengen.save` writes it as

    def __deepcopy__(self, memo: dict[int, Any]) -> TracedModule:
        made: TracedModule = type(self).__new__(type(self))
        memo[id(self)] = made
        for name, value in self.__dict__.items():
            if name in ("argdef_graph_map", "argdef_outdef_map"):
                value = {key: copy.deepcopy(one, memo) if name[7] == "g" else one for key, one in value.items()}
            elif name == "_watches":
                value = _Watches()
            elif name != "_signature":
                value = copy.deepcopy(value, memo)
            made.__dict__[name] = value
        for graph in made.argdef_graph_map.values():
            graph._belong(made)
        return made


class _Watches:
    """Kept in an object of its own, as modules look for tensors in lists and dicts."""

    def __init__(self) -> None:
        self.watched: list[Node] = []


def _as_nodes(nodes: Node | Sequence[Node]) -> list[Node]:
    wanted = [nodes] if isinstance(nodes, Node) else list(nodes)
    for node in wanted:
        if not isinstance(node, Node):
            raise TypeError(f"a node of a graph is watched, got {node!r:.60}")
    return wanted


def _same_but_numbers(ours: TreeDef, given: TreeDef) -> bool:
    if isinstance(ours, LeafDef):
        return isinstance(given, LeafDef) and (ours == given or (ours.type is Tensor and given.type in (int, float)))
    return (
        not isinstance(given, LeafDef)
        and ours.type is given.type
        and ours.aux_data == given.aux_data
        and len(ours.children_defs) == len(given.children_defs)
        and all(map(_same_but_numbers, ours.children_defs, given.children_defs))
    )


# -- tracing ---------------------------------------------------------------------------------------------------------


def trace_module(mod: Module, *args: Any, **kwargs: Any) -> TracedModule:
    """Make a module with the same parameters whose graph does what `mod(*args, **kwargs)` does.

    Layers of tengen are called as a whole; modules of the program, and Sequential, get graphs of their own.
    Numbers, texts and branches stay as they are in this call; sizes from `x.shape` are computed anew.

    Args:
        mod: the module.
        args, kwargs: its arguments: tensors, in containers of any kind.

    Raises TypeError for anything but a module, or for arguments that are neither data nor registered; TracedModuleError if the graph does not do
    what the module did.

    >>> net = tengen.traced_module.trace_module(M.Sequential(M.Linear(2, 3), M.ReLU()), F.ones((1, 2)))
    >>> print(net.graph)
    Sequential.Graph (self, inp) {
        %2:	_0 = getattr(self, "0") -> (Linear)
        %3:	_1 = getattr(self, "1") -> (ReLU)
        %4:	_0_out = _0(inp, )
        %5:	_1_out = _1(_0_out, )
        return _1_out
    }
    >>> net(F.ones((5, 2))).shape
    (5, 3)
    """
    if not isinstance(mod, Module):
        raise TypeError(f"trace_module takes a Module, got a {type(mod).__name__}; wrap() is for functions")
    before = _State(mod)
    tracer = Tracer(mod, (TracedModule,))
    record, result = tracer.trace(args, kwargs)
    made = _Builder(tracer.records).build(record, is_top=True)
    for graph in made.argdef_graph_map.values():
        graph._reset_ids()
    if _get_default_checker():
        after = _State(mod)
        before.restore()
        try:
            again_args, again_kwargs = own_handles((args, kwargs))
            checker.compare(made(*again_args, **again_kwargs), result, f"the graph of {type(mod).__name__}")
        finally:
            after.restore()
    return made


class _State:
    """The buffers of a module and the state of the random numbers, which calls change."""

    def __init__(self, module: Module):
        self._buffers = [(tensor, tensor._detach()) for tensor in module.tensors()]
        generator = default_generator()
        self._random = generator._seed, generator._offset

    def restore(self) -> None:
        """Restore everything."""
        for tensor, value in self._buffers:
            tensor._reset(value)
        generator = default_generator()
        generator._seed, generator._offset = self._random


class _Builder:
    """Makes a traced module from each record."""

    def __init__(self, records: Mapping[int, Record]):
        self._records = records
        self._made: dict[int, TracedModule] = {}

    def build(self, record: Record, is_top: bool = False) -> TracedModule:
        """The traced module of a record, with the attributes that its graphs ask for."""
        module = record.module
        found = self._made.get(id(module))
        if found is not None:
            return found
        made = TracedModule(is_top, record.graphs, record.out_defs, isinstance(module, QATModule))
        made._signature = inspect.signature(type(module).forward)
        made.training, made.name = module.training, module.name
        self._made[id(module)] = made
        for graph in record.graphs.values():
            for expr in graph._exprs:
                if isinstance(expr, GetAttr):
                    self._place(made, module, expr.name)
        return made

    def _place(self, made: Module, module: Any, path: str) -> None:
        """Give `made` what `module` has under a dotted name."""
        for name in path.split("."):
            module = get_subattr(module, name)
            held = vars(made).get(name)
            if held is None:
                held = self._counterpart(module)
                setattr(made, name, held)
            made = held

    def _counterpart(self, value: Any) -> Any:
        if isinstance(value, Tensor) or is_builtin(value) or isinstance(value, TracedModule):
            return value
        record = self._records.get(id(value))
        return TracedModule(False, {}, {}) if record is None else self.build(record)


def wrap(func: Any) -> Any:
    """Record calls of a function of the program as single expressions: what it does inside, and decides by values, is not recorded.

    Returns a function that does the same, so it can be a decorator. A saved graph names it, and a program that loads the graph must wrap it, too.

    Raises TypeError for anything but a function written with `def`.

    >>> @tengen.traced_module.wrap
    ... def positive_part(x):
    ...     return x if x.min() > 0 else F.relu(x)
    """
    if not isinstance(func, FunctionType):
        raise TypeError(f"wrap takes a function that was written with def, got {func!r:.60}")
    known.register(func)
    return patches.wrapper_of(func)


def register_as_builtin(mod_cls: type[Module]) -> None:
    """Record calls of modules of a class as single expressions, as those of tengen's layers are.

    A saved graph names the class, and a program that loads the graph must register it, too.

    Raises TypeError for anything but a class of modules.
    """
    if not (isinstance(mod_cls, type) and issubclass(mod_cls, Module)):
        raise TypeError(f"register_as_builtin takes a class of modules, got {mod_cls!r:.60}")
    register_opaque(mod_cls)
