"""Matrix products and convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...compiler.program import Builder
from ...core.ops.base import promoted
from ...core.ops.conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    Convolution,
    ConvolutionBackwardData,
    ConvolutionBackwardFilter,
    ConvTranspose2d,
    ConvTranspose3d,
)
from ...core.ops.dot_product import FusedAttention, by_formula
from ...core.ops.linalg import Linear, MatMul, Product
from ...core.ops.shape import Reshape, Transpose
from .graph import Graph, Operand
from .rules import rule, write_op, write_program


def _working(g: Graph, name: str, *xs: Operand) -> list[Operand]:
    dtype = promoted(name, [x.type for x in xs])
    return [g.working(x, dtype) for x in xs]


def _vector(g: Graph, x: Operand) -> Operand:
    """A bias as a vector."""
    return x if x.ndim == 1 else write_op(g, Reshape((x.type.size,)), [x])[0]


# -- products --------------------------------------------------------------------------------------------------


@rule(MatMul)
def matmul(g: Graph, op: MatMul, a: Operand, b: Operand) -> Operand:
    return g.node("MatMul", *_working(g, op.name, a, b))


@rule(Product)
def product(g: Graph, op: Product, a: Operand, b: Operand) -> Operand:
    left = _turned(g, a) if op.transpose_a else a
    right = _turned(g, b) if op.transpose_b else b
    return g.node("MatMul", *_working(g, op.name, left, right))


def _turned(g: Graph, x: Operand) -> Operand:
    if x.ndim < 2:
        return x
    return write_op(g, Transpose((*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)), [x])[0]


@rule(Linear)
def linear(g: Graph, op: Linear, x: Operand, weight: Operand, *bias: Operand) -> Operand | None:
    dtype = promoted("linear", [v.type for v in (x, weight, *bias)])
    narrow = promoted("linear", [x.type, weight.type]) != dtype
    if dtype not in ("float32", "float64") or narrow or any(b.shape != weight.shape[:1] for b in bias):
        return None  # the product and the sum are rounded, or done, separately
    if x.ndim == 2:
        return g.node("Gemm", *_working(g, op.name, x, weight, *bias), transB=1)
    y = g.node("MatMul", *_working(g, op.name, x, _turned(g, weight)))
    return y + g.cast(bias[0], dtype) if bias else y


# -- convolutions ----------------------------------------------------------------------------------------------


def _geometry(stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int) -> dict[str, Any]:
    return {"strides": list(stride), "pads": [*padding] * 2, "dilations": list(dilation), "group": groups}


def _ungrouped(g: Graph, w: Operand, rank: int) -> Operand:
    """A weight without the dim for its groups."""
    if w.ndim == rank:
        return w
    return write_op(g, Reshape((w.shape[0] * w.shape[1], *w.shape[2:])), [w])[0]


def _with_bias(g: Graph, operator: str, xs: Sequence[Operand], bias: Sequence[Operand], **attributes: Any) -> Operand:
    """A convolution and its bias, if it has one."""
    return g.node(operator, *xs, *(g.cast(_vector(g, b), xs[0].dtype) for b in bias), **attributes)


def _rounds(xs: Sequence[Operand]) -> bool:
    """Whether the result of a convolution is rounded before its bias is added, which ONNX's operator does not do."""
    return promoted("convolution", [x.type for x in xs]) not in ("float32", "float64")


@rule(Convolution)
def convolution(g: Graph, op: Convolution, x: Operand, w: Operand) -> Operand:
    return g.node("Conv", *_working(g, op.name, x, w), **_geometry(*op.sliding()))


@rule(Conv2d, Conv3d)
def convolution_of_users(g: Graph, op: Conv2d | Conv3d, x: Operand, w: Operand, *bias: Operand) -> Operand | None:
    if bias and _rounds((x, w)):
        return None
    xs = _working(g, op.name, x, _ungrouped(g, w, x.ndim))
    return _with_bias(g, "Conv", xs, bias, **_geometry(op.stride, op.padding, op.dilation, op.groups))


@rule(Conv1d)
def conv1d(g: Graph, op: Conv1d, x: Operand, w: Operand, *bias: Operand) -> Operand | None:
    if bias and _rounds((x, w)):
        return None
    xs = _working(g, op.name, x, _ungrouped(g, w, 3))
    return _with_bias(g, "Conv", xs, bias, **_geometry((op.stride,), (op.padding,), (op.dilation,), op.groups))


@rule(ConvolutionBackwardData)
def by_data(g: Graph, op: ConvolutionBackwardData, w: Operand, dy: Operand) -> Operand:
    zipped = zip(op.size, dy.shape[2:], w.shape[2:], op.stride, op.padding, op.dilation, strict=True)
    extra = [o - ((s - 1) * t - 2 * p + d * (k - 1) + 1) for o, s, k, t, p, d in zipped]
    return g.node("ConvTranspose", *_working(g, op.name, dy, w), **_geometry(*op.sliding()), output_padding=extra)


@rule(FusedAttention)
def attention(g: Graph, op: FusedAttention, *inputs: Operand) -> list[Operand]:
    builder = Builder(keep_composites=True)
    made = by_formula(op, *(builder.input(x.type) for x in inputs))
    return write_program(g, builder.finish(made), inputs)


@rule(ConvTranspose2d, ConvTranspose3d)
def transposed(
    g: Graph, op: ConvTranspose2d | ConvTranspose3d, x: Operand, w: Operand, *bias: Operand
) -> Operand | None:
    if bias and _rounds((x, w)):
        return None
    xs = _working(g, op.name, x, _ungrouped(g, w, x.ndim))
    geometry = _geometry(op.stride, op.padding, op.dilation, op.groups)
    return _with_bias(g, "ConvTranspose", xs, bias, **geometry, output_padding=list(op.output_padding))


@rule(ConvolutionBackwardFilter)
def by_filter(g: Graph, op: ConvolutionBackwardFilter, x: Operand, dy: Operand) -> Operand:
    """The convolution of x with dy in which images and channels have changed places, and so have stride and dilation."""
    groups, (n, channels, *size) = op.groups, x.shape
    ic = channels // groups
    image, kernel = _working(g, op.name, x, dy)
    image = g.transpose(g.reshape(image, [n, groups, ic, *size]), (2, 1, 0, *range(3, x.ndim + 1)))
    image = g.reshape(image, [ic, groups * n, *size])
    turned = (1, 0, *range(2, x.ndim))
    kernel = g.transpose(kernel, turned)
    y = g.node("Conv", image, kernel, **_geometry(op.dilation, op.padding, op.stride, groups))
    starts, axes = [0] * len(op.size), list(range(2, x.ndim))
    y = g.node("Slice", y, g.integers(starts), g.integers(op.size), g.integers(axes))
    return g.transpose(y, turned)
