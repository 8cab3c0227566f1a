"""Quantised numbers: 8-bit integers with QuantizeLinear and DequantizeLinear around operators on floats, as runtimes
expect.

They are int8 or uint8 in the graph. A qint32, a sum of their products, is the float that it stands for, unless it is a
constant. QuantizeLinear rounds halves to even, where tengen rounds them away from zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...base.quantized import quantized, storage
from ...compiler.program import Concat, Gather, Op, Type, ViewOp
from ...core.ops.conv import Conv1d, Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d
from ...core.ops.elemwise import Elemwise
from ...core.ops.linalg import Linear, Product
from ...core.ops.quantized import (
    Dequantize,
    IntegerProduct,
    OfChannels,
    OnBits,
    OnIntegers,
    OnSteps,
    Quantize,
    Rounded,
    product_dtype,
)
from ...core.ops.shape import Copy, Detach
from .graph import Graph, Operand
from .rules import AS_THEY_ARE, QUANTIZED_RULES, Rule, write_op

AS_THEY_ARE.update((ViewOp, Concat, Gather, Copy, Detach))


def rule(*classes: type[Op]) -> Callable[[Rule], Rule]:
    """Enter a function into the table of rules for quantised numbers."""

    def put(function: Rule) -> Rule:
        QUANTIZED_RULES.update(dict.fromkeys(classes, function))
        return function

    return put


def known_scale(dtype: str) -> float:
    """The scale of a quantised dtype."""
    found = quantized(dtype)
    assert found is not None
    return found.scale


def scale_and_zero(graph: Graph, dtype: str) -> tuple[Operand, Operand]:
    found = quantized(dtype)
    assert found is not None
    stored = found.kind.np_dtype_str
    return graph.constant(np.float32(found.scale), "float32"), graph.constant(found.zero, stored)


def real(graph: Graph, x: Operand) -> Operand:
    """The floats that quantised numbers stand for; other numbers as they are."""
    if x.dtype[0] != "q":
        return x
    if storage(x.dtype) == "int32" and x.known is None:
        return Operand(graph, Type("float32", x.shape), x.name)
    made = graph.node("DequantizeLinear", x, *scale_and_zero(graph, x.dtype), dtype="float32")
    return graph.typed(made, Type("float32", x.shape))


def rounded(graph: Graph, x: Operand, dtype: str) -> Operand | None:
    """Floats as quantised numbers of `dtype`; None for those of 4 bits, which this version of ONNX lacks."""
    if dtype[0] != "q":
        return x
    found = quantized(dtype)
    assert found is not None
    x = graph.cast(x, "float32")
    if found.kind.name == "qint32":
        return Operand(graph, Type(dtype, x.shape), x.name)
    if found.kind.name not in ("qint8", "quint8"):
        return None
    return graph.node("QuantizeLinear", x, *scale_and_zero(graph, dtype), dtype=dtype)


def _of_floats(graph: Graph, op: Op, made_of: Op, inputs: tuple[Operand, ...]) -> Operand | None:
    """An op on quantised numbers as another op on the floats, whose result is rounded."""
    (out, *_) = op.infer(*(x.type for x in inputs))
    (made, *_) = write_op(graph, made_of, [real(graph, x) for x in inputs])
    return rounded(graph, made, out.dtype)


@rule(Quantize)
def _quantize(graph: Graph, op: Quantize, x: Operand) -> Operand | None:
    return rounded(graph, real(graph, x), op.dtype)


@rule(Dequantize)
def _dequantize(graph: Graph, op: Dequantize, x: Operand) -> Operand:
    return graph.cast(real(graph, x), op.to)


@rule(IntegerProduct, OnSteps, Rounded)
def _inner(graph: Graph, op: Any, *inputs: Operand) -> Operand | None:
    return _of_floats(graph, op, op.op, inputs)


@rule(OnIntegers)
def _on_integers(graph: Graph, op: OnIntegers, *inputs: Operand) -> Operand | None:
    return _of_floats(graph, op, Elemwise(op.mode), inputs)


@rule(Conv1d, Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d, Linear, Product)
def _products(graph: Graph, op: Op, *inputs: Operand) -> Operand | None:
    """Includes the bias, so that runtimes find the whole layer."""
    return _of_floats(graph, op, op, inputs)


@rule(OfChannels)
def _of_channels(
    graph: Graph, op: OfChannels, x: Operand, weight: Operand, scale: Operand, *bias: Operand
) -> Operand | None:
    """A DequantizeLinear with a scale for each channel; the bias, in steps of the sums, has one too, so that runtimes find the layer."""
    transposed, known = isinstance(op.op, ConvTranspose2d), [v.known for v in (weight, scale, *bias)]
    if any(array is None for array in known) or (transposed and weight.ndim == 5):
        return None  # ONNX has scales along one dim alone
    integers, scales, *biases = map(np.asarray, known)
    integers = integers.reshape(-1, *integers.shape[2:]) if weight.ndim == 5 else integers
    step = np.float32(known_scale(product_dtype(x.dtype, weight.dtype)))
    made = [_with_scales(graph, integers, scales * np.float32(known_scale(weight.dtype)), int(transposed))]
    for array in biases:
        whole = array.reshape(-1) / scales * (np.float32(1) / step)
        whole = np.copysign(np.floor(np.abs(whole.astype(np.float64)) + 0.5), whole)
        made.append(_with_scales(graph, np.clip(whole, -(2**31), 2**31 - 1).astype(np.int32), scales * step, 0))
    return write_op(graph, op.op, [real(graph, x), *made])[0]


def _with_scales(graph: Graph, integers: Any, scales: Any, axis: int) -> Operand:
    stored = graph.constant(integers, str(integers.dtype))
    made = graph.node("DequantizeLinear", stored, graph.constant(scales, "float32"), dtype="float32", axis=axis)
    return graph.typed(made, Type("float32", integers.shape))


@rule(OnBits)
def _on_bits(graph: Graph, op: OnBits, *inputs: Operand) -> Operand | None:
    (out,) = op.infer(*(x.type for x in inputs))
    if any(storage(x.dtype) == "int32" or x.dtype.startswith("weak_") for x in inputs):
        return _of_floats(graph, op, op.op, inputs) if not op.keeps else None
    bits = [
        Operand(graph, Type(storage(x.dtype), x.shape), None if x.known is not None else x.name, x.known)
        for x in inputs
    ]
    (made,) = write_op(graph, op.op, bits)
    return Operand(graph, Type(out.dtype, made.shape), made.name)
