"""Convolutions with bias and activation in one call, on quantised numbers and on floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._rt import apply
from ..base.dtype import canonical
from ..core import Tensor
from ..core.ops.base import FLOATS
from ..core.ops.local_conv import BatchConv2d
from ..dtype import is_quantize
from . import convolution
from .activation import hswish, relu, sigmoid
from .arguments import need_choice, single
from .convolution import need_cross_correlation, pairs
from .debug_param import get_execution_strategy

__all__ = ["batch_conv_bias_activation", "conv_bias_activation", "conv_transpose2d", "get_execution_strategy"]

Pair = int | tuple[int, int]
_ACTIVATIONS: dict[str, Callable[[Any], Tensor]] = {
    "identity": lambda x: x,
    "relu": relu,
    "sigmoid": sigmoid,
    "h_swish": hswish,
}


def conv_bias_activation(
    inp: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    dtype: Any = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    nonlinear_mode: str = "identity",
    conv_mode: str = "cross_correlation",
    compute_mode: str = "default",
) -> Tensor:
    """An activation of conv2d with a bias.

    Of quantised numbers the sums are exact: a qint32 whose scale is the product of those of inp and weight, and which
    that of the bias must have.

    Args:
        inp, weight, bias, stride, padding, dilation, groups: see `F.conv2d`.
        dtype: of the result, a float or quantised; None for that of the convolution.
        nonlinear_mode: "identity", "relu", "sigmoid" or "h_swish".
        conv_mode: "cross_correlation" only.
        compute_mode: without effect: sums are always kept in float32 or wider.

    Returns: a tensor (N, out, OH, OW) of this dtype.

    Raises:
        ValueError: the shapes do not fit.
        TypeError: the dtype is neither.

    >>> x, bias = F.ones((1, 1, 2, 2)), F.full((1, 1, 1, 1), -2.0)
    >>> F.quantized.conv_bias_activation(x, F.ones((1, 1, 1, 1)), bias, nonlinear_mode="relu").tolist()
    [[[[0.0, 0.0], [0.0, 0.0]]]]
    """
    end = _ending("conv_bias_activation", dtype, nonlinear_mode)
    return end(convolution.conv2d(inp, weight, bias, stride, padding, dilation, groups, conv_mode, compute_mode))


def batch_conv_bias_activation(
    inp: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    dtype: Any = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    nonlinear_mode: str = "identity",
    conv_mode: str = "cross_correlation",
    compute_mode: str = "default",
) -> Tensor:
    """An activation of a 2-d convolution in which each image has a weight of its own, with a bias.

    Args:
        inp: (N, C, H, W).
        weight: (N, out, C / groups, kh, kw), or for groups also (N, groups, out / groups, C / groups, kh, kw).
        bias: `out` numbers, such as (1, out, 1, 1). The rest is as in `conv_bias_activation`.
        dtype: of the result: a float or a quantised dtype; None for that of the convolution.
        stride: how far the window moves: one number, or one for each dim.
        padding: zeros on both sides: one number, or one for each dim.
        dilation: how far apart the taps of the window are: one number, or one for each dim.
        groups: into how many groups the channels go, each with a window of its own.
        nonlinear_mode: "identity", "relu", "sigmoid" or "h_swish".
        conv_mode: "cross_correlation" only.
        compute_mode: without effect: sums are always kept in float32 or wider.

    Returns: a tensor (N, out, OH, OW) of this dtype.

    >>> weight = F.arange(2).reshape(2, 1, 1, 1, 1)
    >>> F.quantized.batch_conv_bias_activation(F.ones((2, 1, 1, 2)), weight, F.ones((1, 1, 1, 1))).tolist()
    [[[[1.0, 1.0]]], [[[2.0, 2.0]]]]
    """
    name = "batch_conv_bias_activation"
    end = _ending(name, dtype, nonlinear_mode)
    need_cross_correlation(name, conv_mode)
    op = BatchConv2d(*pairs(name, stride, padding, dilation), single(name, "groups", groups, 1), True)
    return end(apply(op, inp, weight, bias))


def conv_transpose2d(
    inp: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    dtype: Any = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    conv_mode: str = "cross_correlation",
    compute_mode: str = "default",
) -> Tensor:
    """`F.conv_transpose2d` with a result of another dtype.

    Args:
        inp: see `F.conv2d`.
        weight, bias: floats, which broadcast over the other dims.
        dtype: as in `conv_bias_activation`. The rest is as there.
        stride: how far the window moves: one number, or one for each dim.
        padding: zeros on both sides: one number, or one for each dim.
        output_padding: see `F.conv_transpose2d`.
        dilation: how far apart the taps of the window are: one number, or one for each dim.
        groups: into how many groups the channels go, each with a window of its own.
        conv_mode: "cross_correlation" only.
        compute_mode: without effect: sums are always kept in float32 or wider.

    Returns: a tensor of the shape that `F.conv_transpose2d` gives.

    >>> F.quantized.conv_transpose2d(F.ones((1, 1, 1, 2)), F.ones((1, 1, 1, 2)), dtype="float16").tolist()
    [[[[1.0, 2.0, 1.0]]]]
    """
    end = _ending("conv_transpose2d", dtype, "identity")
    steps = (stride, padding, output_padding, dilation, groups, conv_mode, compute_mode)
    return end(convolution.conv_transpose2d(inp, weight, bias, *steps))


def _ending(op: str, dtype: Any, nonlinear_mode: str) -> Callable[[Tensor], Tensor]:
    """What follows a convolution."""
    kind = None if dtype is None else canonical(dtype)
    if kind is not None and kind not in FLOATS and not is_quantize(kind):
        raise TypeError(f"{op}: dtype must be a float or a quantised dtype, got {dtype!r}")
    mode = need_choice(op, "nonlinear_mode", str(nonlinear_mode).lower(), _ACTIVATIONS)

    def end(y: Tensor) -> Tensor:
        curved = mode not in ("identity", "relu") and is_quantize(y.dtype)
        made = _ACTIVATIONS[mode](y.astype("float32") if curved else y)
        return made if kind is None else made.astype(kind)

    return end
