"""Chained filters over nodes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import translate
from typing import Any

from ...compiler.program import Op
from ..network_node import ConstOpBase, Host2DeviceCopy, NetworkNode, OpNode, VarNode
from .edges import in_order


def as_varnode(obj: Any) -> VarNode:
    """The VarNode that an object stands for.

    Args:
        obj: a VarNode, an OpNode with one output, or an iterable of one of these.

    Returns: the VarNode.

    Raises:
        ValueError: there is none, or there are several.

    >>> as_varnode(tengen.utils.network.Network().make_input_node((2, 3), "float32", "x"))
    VarNode:x
    """
    if isinstance(obj, VarNode):
        return obj
    found = obj.outputs if isinstance(obj, OpNode) else _listed(obj)
    if len(found) != 1:
        raise ValueError(f"{obj!r:.80} stands for no VarNode, or for several ({len(found)}); name one")
    return as_varnode(found[0])


def as_oprnode(obj: Any) -> OpNode:
    """The OpNode that an object stands for.

    Args:
        obj: an OpNode, a VarNode, or an iterable of one of these.

    Returns: the OpNode.

    Raises:
        ValueError: there is none, or there are several.

    >>> as_oprnode(tengen.utils.network.Network().make_input_node((2, 3), "float32", "x"))
    x{Host2DeviceCopy}
    """
    if isinstance(obj, OpNode):
        return obj
    if isinstance(obj, VarNode):
        return obj.owner
    found = _listed(obj)
    if len(found) != 1:
        raise ValueError(f"{obj!r:.80} stands for no OpNode, or for several ({len(found)}); name one")
    return as_oprnode(found[0])


def _listed(obj: Any) -> list[Any]:
    return list(obj) if isinstance(obj, Iterable) and not isinstance(obj, (str, bytes)) else []


class NodeFilter:
    """A selection of nodes; each method narrows it.

    Args:
        node_iter: nodes; or a single one, which stands for all ops that compute it.

    >>> net = tengen.utils.network.Network()
    >>> x = net.make_input_node((2, 3), "float32", name="x")
    >>> net.add_output(F.relu(x) + 1.0)
    >>> net.opr_filter.type(tengen.utils.network_node.Elemwise).as_count()
    2
    """

    def __init__(self, node_iter: Any):
        if isinstance(node_iter, (VarNode, OpNode)):
            node_iter = in_order([as_varnode(node_iter)])
        self._iter: Iterator[Any] = iter(node_iter)

    @classmethod
    def make_all_deps(cls, *dest_vars: Any) -> NodeFilter:
        """All ops that these values depend on."""
        return cls(in_order(map(as_varnode, dest_vars)))

    def type(self, node_type: Any) -> NodeFilter:
        """The nodes of a class, or whose op is of a class of the op table."""
        return NodeFilterType(self, node_type)

    def check_type(self, node_type: Any) -> NodeFilter:
        """All nodes, each of which must be of this class. Raises TypeError when it meets anything else."""
        return NodeFilterCheckType(self, node_type)

    def not_type(self, node_type: Any) -> NodeFilter:
        """The nodes that are not of a class."""
        return NodeFilterNotType(self, node_type)

    def param_provider(self) -> NodeFilter:
        """The weights."""
        return self.type(ConstOpBase)

    def data_provider(self) -> NodeFilter:
        """The arguments."""
        return self.type(Host2DeviceCopy)

    def name(self, pattern: str, ignorecase: bool = True) -> NodeFilter:
        """The nodes whose name matches a pattern, in which * stands for any characters and ? for one."""
        return NodeFilterName(self, pattern, ignorecase)

    def has_input(self, var: Any) -> NodeFilter:
        """The ops that read a value."""
        return NodeFilterHasInput(self, var)

    def __iter__(self) -> Iterator[Any]:
        return self._iter

    def as_list(self) -> list[Any]:
        """The selected nodes."""
        return list(self)

    def as_unique(self) -> Any:
        """The only selected node. Raises ValueError if there is none, or if there are several."""
        found = self.as_list()
        if len(found) != 1:
            raise ValueError(f"there are {len(found)} such nodes, not one{': ' if found else ''}{_names(found)}")
        return found[0]

    def as_dict(self) -> dict[str, Any]:
        """The selected nodes, by name."""
        return {node.name: node for node in self}

    def as_count(self) -> int:
        """The number of selected nodes."""
        return len(self.as_list())


def _names(nodes: list[Any]) -> str:
    shown = ", ".join(node.name for node in nodes[:8])
    return f"{shown}, …" if len(nodes) > 8 else shown


class NodeFilterType(NodeFilter):
    """See `NodeFilter.type`."""

    def __init__(self, node_iter: Any, node_type: Any):
        kinds = node_type if isinstance(node_type, tuple) else (node_type,)
        if not all(isinstance(kind, type) and issubclass(kind, (NetworkNode, Op)) for kind in kinds):
            raise TypeError(f"expected a class of nodes, such as network_node.Elemwise, not {node_type!r}")
        self._kinds = kinds
        super().__init__(self._kept(node_iter))

    def _is(self, node: Any) -> bool:
        return isinstance(node, self._kinds) or isinstance(getattr(node, "op", None), self._kinds)

    def _kept(self, nodes: Iterable[Any]) -> Iterator[Any]:
        return (node for node in nodes if self._is(node))


class NodeFilterNotType(NodeFilterType):
    """See `NodeFilter.not_type`."""

    def _kept(self, nodes: Iterable[Any]) -> Iterator[Any]:
        return (node for node in nodes if not self._is(node))


class NodeFilterCheckType(NodeFilterType):
    """See `NodeFilter.check_type`."""

    def _kept(self, nodes: Iterable[Any]) -> Iterator[Any]:
        for node in nodes:
            if not self._is(node):
                wanted = " or ".join(kind.__name__ for kind in self._kinds)
                raise TypeError(f"all nodes should be {wanted}, but {node!r} is a {type(node).__name__}")
            yield node


class NodeFilterName(NodeFilter):
    """See `NodeFilter.name`."""

    def __init__(self, node_iter: Any, pattern: str, ignorecase: bool = True):
        matches = self.make_re(pattern, ignorecase).match
        super().__init__(node for node in node_iter if matches(node.name))

    @classmethod
    def make_re(cls, pattern: str, ignorecase: bool = True) -> re.Pattern[str]:
        """The pattern as a regular expression."""
        return re.compile(translate(pattern), re.IGNORECASE if ignorecase else 0)


class NodeFilterHasInput(NodeFilter):
    """See `NodeFilter.has_input`."""

    def __init__(self, node_iter: Any, var: Any):
        wanted = as_varnode(var)
        super().__init__(node for node in node_iter if any(v is wanted for v in as_oprnode(node).inputs))
