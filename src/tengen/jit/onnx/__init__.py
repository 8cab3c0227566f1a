"""Export of recorded functions to ONNX.

`export` writes a Program node by node. rules.py is the table of how; its rows are in the modules named after families
of ops. They write to a Graph (graph.py). batch.py makes the batch size a variable; model.py makes the file.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from ...base.errors import ExportError
from ...base.files import append_whole, write_whole
from ..frozen import Frozen
from . import elemwise, image, index, linear, loop, normalization, quantized, reduce, shape  # noqa: F401 - they fill the table
from .batch import Batches, same_but_for_batch
from .graph import Graph, Operand
from .model import to_model
from .rules import write_program

__all__ = ["export"]


def export(function: Frozen, file: str | os.PathLike[str] | BinaryIO, other_batch: Frozen | None = None) -> None:
    """Write a recorded function as an ONNX model, to a path or a binary file object.

    other_batch: the same function recorded with another batch size, both at least 2. With it, the first dim of
    arguments and outputs that differ is "batch" in the model and may be any number. Raises ExportError, naming the op,
    if ONNX has no operators for an op or if it depends on the batch size in a way that cannot be expressed; ImportError
    without the package onnx.

    The model computes what tengen does, except for rounding and for these cases: where tengen raises IndexError,
    anything may happen; the maximum in windows of max_pool2d, argmax and sorting may overlook nan; between ops of
    float16 and bfloat16 every result is rounded, as in tengen op by op, while a traced function keeps more digits.
    """
    graph = _graph(function)
    batches = None
    if other_batch is not None:
        batches = same_but_for_batch(graph, _graph(other_batch))
    inputs = {x.name: _dims(x, batches) for x in graph.inputs}
    outputs = {x.name: _dims(x, batches) for x in graph.outputs}
    data = to_model(graph, inputs, outputs, function.metadata).SerializeToString()
    if isinstance(file, (str, os.PathLike)):
        with write_whole(file) as opened:
            opened.write(data)
    else:
        append_whole(file, memoryview(data))


def _graph(function: Frozen) -> Graph:
    every = (*function.arguments, *function.outputs)
    if len(set(every)) != len(every) or any("/" in name for name in every):
        raise ExportError(
            f"ONNX needs names of arguments and outputs that are all different and contain no slash, got {every}"
        )
    graph = Graph()
    names, operands = iter(function.arguments), []
    for value in function.program.inputs:
        if value in function.constants:
            operands.append(Operand(graph, value.type, known=function.constants[value]))
        else:
            operands.append(Operand(graph, value.type, next(names)))
            graph.inputs.append(operands[-1])
    made = write_program(graph, function.program, operands)
    written = {name for node in graph.nodes for name in node.outputs}
    own: dict[str, str] = {}  # the names used and made by nodes
    for name, operand in zip(function.outputs, made, strict=True):
        if operand.name in written - own.keys():
            own[operand.name] = name
        else:  # an argument, a constant, or the same as another output
            graph.nodes.append(graph.identity(operand, name))
        graph.outputs.append(Operand(graph, operand.type, name))
    graph.rename(own)
    return graph


def _dims(operand: Operand, batches: Batches | None) -> list[int | str]:
    return list(operand.shape) if batches is None else batches.dims(operand)
