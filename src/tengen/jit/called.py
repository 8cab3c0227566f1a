"""Names for the parts of a recorded function: weights and operations are named by their places in the modules that ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..base.naming import unique
from ..compiler.program import Node, Op, Value
from ..core import Tensor
from ..core.ops.elemwise import Elemwise
from ..core.ops.formula import Activation
from .frozen import Frozen
from .recorder import Entry


def label(op: Op) -> str:
    """A word for an op: its class, or the function that it computes if the class stands for many."""
    return op.mode.upper() if isinstance(op, (Elemwise, Activation)) else type(op).__name__


def called_constants(entries: Sequence[Entry], tensors: Mapping[Value, Any]) -> dict[Value | Node, str]:
    """Names of constants: their places in the outermost module that ran, otherwise their own names."""
    roots = {id(entry.modules[0]): entry.modules[0] for entry in entries if entry.modules}
    places: dict[int, str] = {}
    for root in roots.values():
        for path, tensor in root.named_tensors():
            places.setdefault(id(tensor), path)
    named = {v: places.get(id(x)) or _own_name(x) for v, x in tensors.items()}
    named = {v: name for v, name in named.items() if name}
    return dict(zip(named, unique(named.values()), strict=True))


def _own_name(tensor: Any) -> str:
    return tensor.name if isinstance(tensor, Tensor) else ""


def called_nodes(made: Iterable[tuple[Entry, Sequence[Value]]]) -> dict[Value | Node, str]:
    """Names of nodes and of their outputs: a word for the op, in the place in the modules where it was applied."""
    paths: dict[int, dict[int, str]] = {}
    nodes: dict[Node, str] = {}
    for entry, outputs in made:
        scopes = [entry.scope, _path(entry.modules, paths)]
        for node in {v.node: None for v in outputs if v.node is not None and v.node not in nodes}:
            nodes[node] = ".".join(filter(None, [*scopes, label(node.op)]))
    named: dict[Value | Node, str] = dict(zip(nodes, unique(nodes.values()), strict=True))
    for node in nodes:
        several = len(node.outputs) > 1
        named |= {v: f"{named[node]}:{i}" if several else named[node] for i, v in enumerate(node.outputs)}
    return named


def _path(modules: Sequence[Any], known: dict[int, dict[int, str]]) -> str:
    """The place in the outermost module of the innermost module that it contains."""
    if not modules:
        return ""
    root = modules[0]
    if id(root) not in known:
        known[id(root)] = {id(module): path for path, module in root.named_modules()}
    return next((known[id(root)][id(m)] for m in reversed(modules) if id(m) in known[id(root)]), "")


class Kept(NamedTuple):
    """Which names go into a file: those of weights and results of nodes (keep_var_name at least 1), of nodes, of
    weights."""

    keep_var_name: int = 1
    keep_opr_name: bool = False
    keep_param_name: bool = False

    def of(self, function: Frozen) -> Frozen:
        """The function with only these names."""

        def wanted(what: Value | Node) -> bool:
            if isinstance(what, Node):
                return self.keep_opr_name
            return self.keep_var_name > 0 or (self.keep_param_name and what in function.constants)

        return function._replace(names={what: name for what, name in function.names.items() if wanted(what)})
