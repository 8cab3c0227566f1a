"""From a finished graph to an ONNX model. The only module that needs the package `onnx`, and only when it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...base.errors import ExportError
from ...base.quantized import storage
from .graph import Graph, Operand, Written

OPSET = 20  # the first one with Gelu
IR_VERSION = 9  # the first one with that opset

SMALL = 1024  # bytes
MOST = 2**31 - 2**24
"""Bytes of constants in one file: a protobuf message holds less than 2 GiB."""

Dims = Sequence[int | str]


def to_model(graph: Graph, inputs: Mapping[str, Dims], outputs: Mapping[str, Dims], metadata: Mapping[str, Any]) -> Any:
    """An `onnx.ModelProto` of what the outputs need. Inputs and outputs have these dims, with names for unknown ones.

    Raises ImportError if the package onnx is missing, and ExportError for more weights than one file can hold.
    """
    import json

    try:
        import onnx
    except ImportError:
        raise ImportError("export to ONNX needs the package onnx: pip install tengen[onnx]") from None
    helper, types = onnx.helper, onnx.TensorProto
    shared = _shared(graph)
    nodes = _needed(graph, shared)

    def info(operand: Operand, dims: Dims) -> Any:
        return helper.make_tensor_value_info(operand.name, _code(types, operand.dtype), list(dims))

    size = sum(c.array.nbytes for c in graph.constants.values())
    if size > MOST:
        raise ExportError(f"the weights have {size / 2**30:.1f} GiB, and one ONNX file holds less than 2")
    used = {name for node in nodes for name in node.inputs} | {o.name for o in graph.outputs}
    initializers = [
        helper.make_tensor(
            name, _code(types, c.dtype), c.array.shape, np.ascontiguousarray(c.array).tobytes(), raw=True
        )
        for name, c in graph.constants.items()
        if name in used
    ]
    made = helper.make_graph(
        [_node(helper, types, node, number) for number, node in enumerate(nodes)],
        "tengen",
        [info(x, inputs[x.name]) for x in graph.inputs],
        [info(x, outputs[x.name]) for x in graph.outputs],
        initializers,
    )
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="tengen"
    )
    helper.set_model_props(model, {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()})
    return model


def _code(types: Any, dtype: str) -> int:
    """ONNX's number for a dtype. Python numbers have the width of Python's own."""
    names = {"float32": "FLOAT", "float64": "DOUBLE", "weak_float": "DOUBLE", "weak_int": "INT64", "weak_bool": "BOOL"}
    dtype = storage(dtype)
    return int(getattr(types, names.get(dtype, dtype.upper())))


def _node(helper: Any, types: Any, node: Written, number: int) -> Any:
    attributes = dict(node.attributes)
    if node.operator == "Cast":
        attributes["to"] = _code(types, attributes["to"])
    name = f"{node.origin}_{number}" if node.origin else f"node_{number}"
    return helper.make_node(node.operator, node.inputs, node.outputs, name=name, **attributes)


def _shared(graph: Graph) -> dict[str, str]:
    """For each small constant, such as a shape, the first constant with the same elements."""
    first: dict[tuple[Any, ...], str] = {}
    return {
        name: first.setdefault((c.dtype, c.array.shape, c.array.tobytes()), name)
        for name, c in graph.constants.items()
        if c.array.nbytes <= SMALL
    }


def _needed(graph: Graph, shared: Mapping[str, str]) -> list[Written]:
    """The nodes that outputs depend on, with constants under shared names."""
    wanted, kept = {o.name for o in graph.outputs}, []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            node = node._replace(inputs=tuple(shared.get(name, name) for name in node.inputs))
            wanted.update(node.inputs)
            kept.append(node)
    return kept[::-1]
