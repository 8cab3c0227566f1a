"""Flattens nested containers of tensors into their leaves, and builds them again."""

from __future__ import annotations

import inspect
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..base.device import Device
from ..base.dtype import DType
from ..base.quantized import QuantDtypeMeta
from ..compiler.program import Op
from ..core import Parameter, Tensor
from ..core.qparams import LSQParams, QParams, QuantMode
from ..module import Module
from .node import ModuleNode, Node, NodeMixin, TensorNode

__all__ = ["LeafDef", "TreeDef", "register_supported_type", "tree_flatten"]


class NodeType(NamedTuple):
    """How to flatten a container: `flatten(value)` returns (items, context), `unflatten(items, context)` the container."""

    flatten: Callable[[Any], tuple[list[Any], Any]]
    unflatten: Callable[[list[Any], Any], Any]


class ArgsIndex:
    """The position of an argument."""

    def __init__(self, index: int = 0, name: str = ""):
        self.index, self.name = index, name

    def __repr__(self) -> str:
        return self.name


SUPPORTED_TYPE: dict[type, NodeType] = {}
SUPPORTED_LEAF_TYPE: set[type] = {
    *(Tensor, Parameter, Device, QuantDtypeMeta, QuantMode, ArgsIndex, inspect.FullArgSpec),
    *(bool, int, float, str, bytes, bytearray, type(None), type(...)),
}
SUPPORTED_LEAF_CLS: list[type] = [
    *(Module, Node, NodeMixin, np.dtype, np.ndarray, np.number, np.bool_, Op, DType),
]
USER_REGISTERED_LEAF_TYPE: list[type] = []
USER_REGISTERED_CONTAINER_TYPE: list[type] = []


def register_supported_type(
    type: type,
    flatten_fn: Callable[[Any], tuple[list[Any], Any]] | None = None,
    unflatten_fn: Callable[[list[Any], Any], Any] | None = None,
) -> None:
    """Allow values of a class among the arguments and results of traced modules.

    Args:
        type: the class.
        flatten_fn: returns (the list of items inside, the context that is needed to build the value again); without the two
            functions, values of the class are constants.
        unflatten_fn: builds a value from these two.

    >>> class Pair:
    ...     def __init__(self, a, b):
    ...         self.a, self.b = a, b
    >>> tengen.traced_module.register_supported_type(Pair, lambda p: ([p.a, p.b], None), lambda items, _: Pair(*items))
    """
    _register_supported_type(type, flatten_fn, unflatten_fn)
    (USER_REGISTERED_CONTAINER_TYPE if flatten_fn and unflatten_fn else USER_REGISTERED_LEAF_TYPE).append(type)


def _register_supported_type(
    type: type,
    flatten_fn: Callable[[Any], tuple[list[Any], Any]] | None = None,
    unflatten_fn: Callable[[list[Any], Any], Any] | None = None,
) -> None:
    if (flatten_fn is None) != (unflatten_fn is None):
        raise ValueError(f"register_supported_type: {type.__name__} needs both flatten_fn and unflatten_fn, or neither")
    if flatten_fn is None or unflatten_fn is None:
        SUPPORTED_LEAF_CLS.append(type)
    else:
        SUPPORTED_TYPE[type] = NodeType(flatten_fn, unflatten_fn)


def _dict_flatten(ordered: bool, inp: dict[Any, Any]) -> tuple[list[Any], Any]:
    keys = list(inp) if ordered else sorted(inp, key=str)
    return [inp[key] for key in keys], tuple(keys)


def _defaultdict_flatten(inp: defaultdict[Any, Any]) -> tuple[list[Any], Any]:
    items, keys = _dict_flatten(False, inp)
    return items, (inp.default_factory, keys)


_register_supported_type(list, lambda v: (v, None), lambda items, _: list(items))
_register_supported_type(tuple, lambda v: (list(v), None), lambda items, _: tuple(items))
_register_supported_type(
    dict, lambda v: _dict_flatten(False, v), lambda items, keys: dict(zip(keys, items, strict=True))
)
_register_supported_type(
    defaultdict,
    _defaultdict_flatten,
    lambda items, aux: defaultdict(aux[0], zip(aux[1], items, strict=True)),
)
_register_supported_type(
    OrderedDict, lambda v: _dict_flatten(True, v), lambda items, keys: OrderedDict(zip(keys, items, strict=True))
)
_register_supported_type(slice, lambda v: ([v.start, v.stop, v.step], None), lambda items, _: slice(*items))
_register_supported_type(
    QParams,
    lambda v: ([v.scale, v.zero_point], (v.mode, v.dtype_meta)),
    lambda items, aux: QParams(aux[0], aux[1], *items),
)
_register_supported_type(
    LSQParams,
    lambda v: ([v.scale, v.zero_point, v.grad_scale], (v.mode, v.dtype_meta)),
    lambda items, aux: LSQParams(aux[0], aux[1], *items),
)


def _is_leaf(obj: Any) -> bool:
    """Whether a value may be a leaf."""
    kind = obj if isinstance(obj, type) else type(obj)
    return kind in SUPPORTED_LEAF_TYPE or issubclass(kind, (*SUPPORTED_LEAF_CLS, int, float, str))


def _leaf_type(node: Any) -> type | tuple[type, ...]:
    """The kind of a leaf when structures are compared: a tensor, a module, or its own class."""
    if isinstance(node, (Tensor, TensorNode)):
        return Tensor
    if isinstance(node, (Module, ModuleNode, NodeMixin)):
        return Module
    return type(node)


def _is_const_leaf(node: Any) -> bool:
    """Whether a leaf is part of the structure, as numbers and texts are."""
    return not isinstance(node, (Tensor, Module, Node, NodeMixin))


class TreeDef:
    """The structure of a container: its class, its context, and the structures inside. Structures compare by value, including constants."""

    def __init__(self, type: Any, aux_data: Any, children_defs: Sequence[TreeDef]):
        self.type, self.aux_data, self.children_defs = type, aux_data, list(children_defs)
        self.num_leaves: int = sum(child.num_leaves for child in self.children_defs)

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """Build the container with these leaves."""
        items, start = [], 0
        for child in self.children_defs:
            items.append(child.unflatten(leaves[start : start + child.num_leaves]))
            start += child.num_leaves
        return SUPPORTED_TYPE[self.type].unflatten(items, self.aux_data)

    def _key(self) -> Any:
        return self.type, self.aux_data, tuple(child._key() for child in self.children_defs)

    def __hash__(self) -> int:
        return hash((self.type, len(self.children_defs), tuple(map(hash, self.children_defs))))

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is TreeDef
            and self.type is other.type
            and self.aux_data == other.aux_data
            and self.children_defs == other.children_defs
        )

    def text(self, leaves: Sequence[str]) -> str:
        """The container as text, with these texts for its leaves."""
        parts, start = [], 0
        for child in self.children_defs:
            parts.append(child.text(leaves[start : start + child.num_leaves]))
            start += child.num_leaves
        if issubclass(self.type, dict):
            keys = self.aux_data[1] if self.type is defaultdict else self.aux_data
            return "{" + ", ".join(f"{key!r}:{part}" for key, part in zip(keys, parts, strict=True)) + "}"
        inner = ", ".join(parts)
        if self.type is list:
            return f"[{inner}]"
        return f"({inner})" if self.type is tuple else f"{self.type.__name__}({inner})"

    def _args_kwargs_repr(self) -> str:
        args, kwargs = self.children_defs
        parts = [repr(child) for child in args.children_defs]
        parts += [f"{key}={child!r}" for key, child in zip(kwargs.aux_data, kwargs.children_defs, strict=True)]
        return ", ".join(parts)

    def leaf_defs(self) -> list[LeafDef]:
        """The leaves, in order."""
        return [leaf for child in self.children_defs for leaf in child.leaf_defs()]

    def __repr__(self) -> str:
        return self.text([repr(leaf) for leaf in self.leaf_defs()])


class LeafDef(TreeDef):
    """A leaf: what it is, and its value if that is constant."""

    def __init__(self, type: Any, const_val: Any = None):
        self.const_val = const_val
        super().__init__(type, None, ())
        self.num_leaves = 1

    @property
    def is_const(self) -> bool:
        """Whether it is a constant."""
        return self.type not in (Tensor, Module)

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        return leaves[0]

    def text(self, leaves: Sequence[str]) -> str:
        return leaves[0]

    def leaf_defs(self) -> list[LeafDef]:
        return [self]

    def __hash__(self) -> int:
        return hash(self.type)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LeafDef) or self.type is not other.type:
            return False
        a, b = self.const_val, other.const_val
        return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else bool(a is b or a == b)

    def __repr__(self) -> str:
        if not self.is_const:
            return str(self.type.__name__)
        return str(self.const_val) if not isinstance(self.const_val, Op) else self.const_val.name


def tree_flatten(
    values: Any,
    leaf_type: Callable[[Any], Any] = _leaf_type,
    is_leaf: Callable[[Any], bool] = _is_leaf,
    is_const_leaf: Callable[[Any], bool] = _is_const_leaf,
) -> tuple[list[Any], TreeDef]:
    """The leaves of a nested container, and its structure, whose `unflatten(leaves)` builds it again.

    Args:
        values: the container.
        leaf_type: returns the kind of a leaf.
        is_leaf: whether a value that is not a known container may be a leaf.
        is_const_leaf: whether the value of a leaf is part of the structure.

    Raises TypeError for a value of a class that is neither; see `register_supported_type`.

    >>> from tengen.traced_module.pytree import tree_flatten
    >>> leaves, structure = tree_flatten({"a": [tengen.tensor(1.0), 2], "b": tengen.tensor(3.0)})
    >>> structure
    {'a':[Tensor, 2], 'b':Tensor}
    """
    container = SUPPORTED_TYPE.get(type(values))
    if container is None:
        if not is_leaf(values):
            raise TypeError(
                f"a value of {type(values).__module__}.{type(values).__qualname__} is none that a traced module takes or gives: use "
                "tensors, numbers, texts and containers of them, or register_supported_type"
            )
        return [values], LeafDef(leaf_type(values), values if is_const_leaf(values) else None)
    items, aux = container.flatten(values)
    leaves, children = [], []
    for item in items:
        inner, structure = tree_flatten(item, leaf_type, is_leaf, is_const_leaf)
        leaves += inner
        children.append(structure)
    return leaves, TreeDef(type(values), aux, children)


def tree_map(function: Callable[[Any], Any], values: Any) -> Any:
    """Replace each leaf of a container by `function(leaf)`."""
    container = SUPPORTED_TYPE.get(type(values))
    if container is None:
        return function(values)
    items, aux = container.flatten(values)
    return container.unflatten([tree_map(function, item) for item in items], aux)
