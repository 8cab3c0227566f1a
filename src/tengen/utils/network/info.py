"""Describes as text what a network consists of and costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ...base.quantized import storage
from ...compiler.program import ITEM_BYTES, Type
from ..flops import flops
from ..module_stats import sizeof_fmt
from ..network_node import ConstOpBase, Host2DeviceCopy, OpNode, VarNode
from ..table import table
from .network import Network


def operations(op: OpNode) -> int:
    """The operations of a node; a multiplication and the addition that follows it count as one."""
    made: Any = op.op  # None for inputs and weights
    return 0 if made is None else flops(made, [v.type for v in op.inputs], [v.type for v in op.outputs])


def bytes_of(type: Type) -> int:
    """The bytes of a value."""
    return type.size * ITEM_BYTES[storage(type.dtype)]


def shown(vars: Sequence[Any]) -> str:
    """The types of values."""
    return ", ".join(str(v.type) for v in vars)


def info(net: Network) -> str:
    """The arguments and outputs of a network, its ops in order with their types, operations and weights, and sums by type of op.

    >>> net = Network()
    >>> x = net.make_input_node((2, 3), "float32", name="x")
    >>> net.add_output(F.relu(x))
    >>> print(info(net).splitlines()[0])
    arguments: x float32[2,3]
    """
    ops = net.all_oprs
    counted = {op: operations(op) for op in ops if op.op is not None}
    weights = [op for op in ops if isinstance(op, ConstOpBase)]
    stored = sum(bytes_of(op.outputs[0].type) for op in weights)
    lines = [
        f"arguments: {_listed(net.arguments)}",
        f"outputs: {_listed(net.dest_vars)}",
        f"weights: {len(weights)}, {sum(op.outputs[0].size for op in weights)} elements, {sizeof_fmt(stored)}",
        f"operations: {sizeof_fmt(sum(counted.values()), suffix='OPs')} (a multiplication with its addition is one)",
        f"results of ops: {sizeof_fmt(sum(bytes_of(v.type) for op in counted for v in op.outputs))}",
        f"user_info: {net.metadata['user_info']!r}",
        "",
        table(("op", "name", "inputs", "outputs", "weights", "operations"), [_row(op, counted) for op in counted]),
        "",
        table(("type", "ops", "operations", "share"), _sums(counted)),
    ]
    return "\n".join(lines)


def _listed(vars: Sequence[VarNode]) -> str:
    return ", ".join(f"{v.name} {v.type}" for v in vars) or "none"


def _row(op: OpNode, counted: dict[OpNode, int]) -> list[str]:
    read = [v for v in op.inputs if not isinstance(v.owner, ConstOpBase)]
    own = sum(bytes_of(v.type) for v in op.inputs if v not in read)
    number = sizeof_fmt(counted[op], suffix="OPs") if counted[op] else ""
    return [op.label, op.name, shown(read), shown(op.outputs), sizeof_fmt(own) if own else "", number]


def _sums(counted: dict[OpNode, int]) -> list[list[object]]:
    ops, numbers = Counter(op.label for op in counted), Counter[str]()
    for op, number in counted.items():
        numbers[op.label] += number
    whole = numbers.total()
    rows = sorted(ops, key=lambda label: (-numbers[label], label))
    return [
        [label, ops[label], sizeof_fmt(numbers[label], suffix="OPs"), f"{100 * numbers[label] / (whole or 1):.1f}%"]
        for label in rows
    ]


def described(op: OpNode) -> list[str]:
    """A few lines about a node: for a picture."""
    if isinstance(op, Host2DeviceCopy):
        return [op.outputs[0].name, shown(op.outputs)]
    return [op.label, *([op._name] if op._name and op._name != op.label else []), shown(op.outputs)]
