"""Functions of VarNodes that examine, change and run graphs."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from ..jit.loaded import Loaded
from .network.edges import copied, dependencies, in_order
from .network.filters import as_varnode
from .network.network import Network
from .network_node import Host2DeviceCopy, ImmutableTensor, OpNode, VarNode

__all__ = [
    "GraphInference",
    "embed_inputs",
    "find_vars_by_name",
    "get_dep_vars",
    "get_opr_type",
    "get_oprs_seq",
    "get_owner_opr_inputs",
    "get_owner_opr_type",
    "graph_traversal",
    "replace_oprs",
    "replace_vars",
    "set_priority_to_id",
]


def _vars(vars: Any) -> list[VarNode]:
    return list(map(as_varnode, vars if isinstance(vars, (list, tuple)) else [vars]))


def get_opr_type(opr: OpNode) -> str:
    """The type of an op, such as "ConvolutionForward" or "Elemwise".

    Args:
        opr: an OpNode.

    Returns: the name of its class in `network_node`.

    Raises:
        TypeError: `opr` is not an OpNode.

    >>> x = Network().make_input_node((2,), "float32", name="x")
    >>> get_opr_type((x + 1).owner)
    'Elemwise'
    """
    if not isinstance(opr, OpNode):
        raise TypeError(f"get_opr_type takes an OpNode, got {opr!r:.80}")
    return type(opr).__name__


def get_owner_opr_type(var: Any) -> str:
    """The type of the op that computes a value.

    Args:
        var: a VarNode.

    Returns: the name of the op's class in `network_node`.

    >>> get_owner_opr_type(Network().make_input_node((2,), "float32"))
    'Host2DeviceCopy'
    """
    return get_opr_type(as_varnode(var).owner)


def get_owner_opr_inputs(var: Any) -> list[VarNode]:
    """The inputs of the op that computes a value.

    Args:
        var: a VarNode.

    Returns: the inputs of the op, in order.

    >>> x = Network().make_input_node((2,), "float32", name="x")
    >>> get_owner_opr_inputs(F.exp(x))
    [VarNode:x]
    """
    return list(as_varnode(var).owner.inputs)


def get_dep_vars(var: Any, var_type: str | Sequence[str] | None = None) -> list[VarNode]:
    """The values that one or several values depend on, themselves included.

    Args:
        var: a VarNode, or a list of them.
        var_type: only values computed by ops of this type, or of these types.

    Returns: the values, nearest first.

    >>> x = Network().make_input_node((2,), "float32", name="x")
    >>> get_dep_vars(F.exp(x) + 1, "Host2DeviceCopy")
    [VarNode:x]
    """
    wanted = [var_type] if isinstance(var_type, str) else var_type
    return [v for v in dependencies(_vars(var)) if wanted is None or get_owner_opr_type(v) in wanted]


def get_oprs_seq(outputs: Any, prune_reshape: bool = False, prune_immtensor: bool = True) -> list[OpNode]:
    """The ops that compute some values, each after the ops that it reads.

    Args:
        outputs: a VarNode, or a list of them.
        prune_reshape: leave out ops that only compute shapes; there are none here, because shapes are parameters of ops.
        prune_immtensor: leave out weights.

    Returns: the ops in an order in which they can be computed.

    >>> x = Network().make_input_node((2,), "float32", name="x")
    >>> [get_opr_type(op) for op in get_oprs_seq(F.exp(x))]
    ['Host2DeviceCopy', 'Elemwise']
    """
    ops = in_order(_vars(outputs))
    return [op for op in ops if not (prune_immtensor and isinstance(op, ImmutableTensor))]


def graph_traversal(outputs: Any) -> tuple[dict[Any, Any], ...]:
    """The graph around some values, as six dicts.

    Args:
        outputs: a VarNode, or a list of them.

    Returns: six dicts: from the id of an op to the op; from the id of a value to the value; from the id of a value to the ops that read it,
        as (id, index of the input); from the id of an op to the ids of ops that read its results; from a number of inputs to the ids of ops
        that have so many; from the id of an op to its number of inputs.

    >>> x = Network().make_input_node((2,), "float32", name="x")
    >>> oprs, *_ = graph_traversal(F.exp(x))
    >>> [get_opr_type(op) for op in oprs.values()]
    ['Host2DeviceCopy', 'Elemwise']
    """
    map_oprs: dict[int, OpNode] = {}
    map_vars: dict[int, VarNode] = {}
    var2oprs: dict[int, list[tuple[int, int]]] = defaultdict(list)
    opr2receivers: dict[int, list[int]] = defaultdict(list)
    indegree2opr: dict[int, set[int]] = defaultdict(set)
    opr2indegree: dict[int, int] = {}
    for op in in_order(_vars(outputs)):
        map_oprs[op.id] = op
        map_vars.update({var.id: var for var in op.outputs})
        opr2indegree[op.id] = len(op.inputs)
        indegree2opr[len(op.inputs)].add(op.id)
        for index, var in enumerate(op.inputs):
            var2oprs[var.id].append((op.id, index))
            opr2receivers[var.owner.id].append(op.id)
    return map_oprs, map_vars, var2oprs, opr2receivers, indegree2opr, opr2indegree


def find_vars_by_name(dst: Any, names: Iterable[str]) -> list[VarNode]:
    """Find values by name among those that others depend on.

    Args:
        dst: a VarNode, or a list of them.
        names: names of the values.

    Returns: a value for each name.

    Raises:
        ValueError: there is no value of that name.

    >>> x = Network().make_input_node((2,), "float32", name="x")
    >>> find_vars_by_name(F.exp(x), ["x"])
    [VarNode:x]
    """
    known = {var.name: var for var in reversed(dependencies(_vars(dst)))}
    wanted = list(names)
    if missing := [name for name in wanted if name not in known]:
        raise ValueError(f"there is no value named {' or '.join(map(repr, missing))}; there are {', '.join(known)}")
    return [known[name] for name in wanted]


def replace_vars(dst: Any, varmap: Mapping[Any, Any]) -> list[VarNode]:
    """Recompute values with some of the values that they depend on replaced; the old graph stays as it is.

    `Network.replace_vars` changes a network.

    Args:
        dst: a VarNode, or a list of them.
        varmap: {value: replacement}.

    Returns: a value for each of `dst`.

    >>> x = Network().make_input_node((2,), "float32", name="x")
    >>> (y,) = replace_vars(F.exp(x), {x: F.relu(x)})
    >>> [op.label for op in get_oprs_seq(y)]
    ['Host2DeviceCopy', 'RELU', 'EXP']
    """
    return copied(_vars(dst), {as_varnode(old): as_varnode(new) for old, new in varmap.items()})


def replace_oprs(dst: Any, oprmap: Mapping[Any, Any]) -> list[VarNode]:
    """Recompute values with some ops replaced; see `replace_vars`.

    Args:
        dst: a VarNode, or a list of them.
        oprmap: {op: replacement with as many outputs}.

    Returns: a value for each of `dst`.

    >>> x = Network().make_input_node((2,), "float32", name="x")
    >>> y = F.exp(x)
    >>> (z,) = replace_oprs(y + 1, {y.owner: F.relu(x).owner})
    >>> [op.label for op in get_oprs_seq(z)]
    ['Host2DeviceCopy', 'Constant', 'RELU', 'ADD']
    """
    pairs = [zip(old.outputs, new.outputs, strict=True) for old, new in oprmap.items()]
    return replace_vars(dst, {old: new for pair in pairs for old, new in pair})


def embed_inputs(dst: Any, data: Sequence[Any], inputs: Any = None) -> tuple[list[VarNode], dict[str, VarNode]]:
    """Recompute values with arrays in place of arguments.

    Args:
        dst: a VarNode, or a list of them.
        data: an array for each argument.
        inputs: the arguments; by default all that the values depend on.

    Returns: (a value for each of `dst`, {name: what replaces the argument}).

    Raises:
        ValueError: the number of arrays is not that of the arguments.

    >>> x = Network().make_input_node((2,), "float32", name="x")
    >>> (y,), _ = embed_inputs(F.exp(x), [np.ones(2, np.float32)])
    >>> [get_opr_type(op) for op in get_oprs_seq(y, prune_immtensor=False)]
    ['ImmutableTensor', 'Elemwise']
    """
    given = _vars(inputs) if inputs is not None else get_dep_vars(dst, Host2DeviceCopy.__name__)
    if len(given) != len(data):
        raise ValueError(f"embed_inputs: {len(data)} arrays for {len(given)} inputs, {given}")
    made = {v: ImmutableTensor(x, v.name).outputs[0] for v, x in zip(given, data, strict=True)}
    return replace_vars(dst, made), {v.name: new for v, new in made.items()}


def set_priority_to_id(dest_vars: Any) -> None:
    """Set the priority of the ops that compute some values to their numbers.

    Args:
        dest_vars: a VarNode, or a list of them.

    >>> x = Network().make_input_node((2,), "float32", name="x")
    >>> set_priority_to_id(x)
    >>> x.owner.priority == x.owner.id
    True
    """
    for op in in_order(_vars(dest_vars)):
        op.priority = op.id


class GraphInference:
    """Loads a network from a file and runs it on arrays.

    Args:
        file: what `dump` of a traced function or of a Network wrote: a path, or a binary file object.
        outputs: names of values to compute in place of the outputs.
        profiling, optimize_for_inference, kwargs: have no effect; tengen always optimises.

    >>> import io
    >>> net = Network()
    >>> y = F.exp(net.make_input_node((2,), "float32", name="x"))
    >>> y.name = "y"
    >>> net.add_output(y)
    >>> file = io.BytesIO()
    >>> _ = net.dump(file)
    >>> GraphInference(io.BytesIO(file.getvalue())).run(np.zeros(2, np.float32))["y"].tolist()
    [1.0, 1.0]
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | BinaryIO,
        outputs: Sequence[str] | None = None,
        profiling: bool = False,
        optimize_for_inference: bool = False,
        **kwargs: Any,
    ):
        self._net = Network.load(file, outputs)
        self._runs: dict[tuple[tuple[int, ...], ...], Loaded] = {}
        self._arguments: list[Host2DeviceCopy] = [v.owner for v in self._net.arguments]

    def run(self, *inp_args: Any, inp_dict: Mapping[str, Any] | None = None) -> dict[str, np.ndarray[Any, Any]]:
        """The outputs by name.

        Args:
            inp_args: arrays, in the order of the arguments. They may have other shapes than the file says, if the ops allow it.
            inp_dict: arrays by name.

        Returns: {name of an output: array}.

        Raises:
            ValueError: an argument is missing, unknown or given twice, or an op cannot take the shapes.
        """
        names = [op.outputs[0].name for op in self._arguments]
        if len(inp_args) > len(names):
            raise ValueError(f"the network takes {len(names)} inputs, {', '.join(names)}, got {len(inp_args)}")
        given = {**dict(zip(names, inp_args, strict=False)), **(inp_dict or {})}
        if given.keys() != set(names) or len(given) != len(inp_args) + len(inp_dict or {}):
            raise ValueError(
                f"the network takes the inputs {names}, each once, got {[*names[: len(inp_args)], *(inp_dict or {})]}"
            )
        arrays = [given[name] for name in names]
        made = self._at(tuple(tuple(np.shape(x)) for x in arrays))(*arrays)
        results = made if isinstance(made, tuple) else (made,)
        return {out.name: x.numpy() for out, x in zip(self._net.dest_vars, results, strict=True)}

    def _at(self, shapes: tuple[tuple[int, ...], ...]) -> Loaded:
        """The network compiled for arguments of these shapes."""
        if shapes not in self._runs:
            before = [op.shape for op in self._arguments]
            try:
                for op, shape in zip(self._arguments, shapes, strict=True):
                    op.shape = shape
                self._runs[shapes] = Loaded(self._net.frozen(), "the network")
            except BaseException:  # Ctrl-C too
                for op, shape in zip(self._arguments, before, strict=True):
                    op.shape = shape
                raise
        return self._runs[shapes]
