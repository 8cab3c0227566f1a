"""Normalisation and activations that ONNX has operators for. All others are written as what they are made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...core.ops.formula import Activation, LogSoftmax, Softmax
from ...core.ops.normalization import BatchNormInference, GroupNorm, LocalResponseNorm, Normalize
from ...core.ops.shape import Broadcast, Reshape
from .graph import Graph, Operand
from .rules import rule, write_op

WIDE = ("float32", "float64")
"""The dtypes for which the steps of a formula are rounded no more often than its result."""


def _exactly(number: float | int | bool | None) -> float | None:
    """A number as the attribute of a node; None if it is not known."""
    return None if number is None else float(np.float32(number))


def _per_channel(g: Graph, v: Operand, channels: int, dtype: str) -> Operand:
    """One number for each channel as a vector."""
    op = Reshape((channels,)) if v.type.size == channels else Broadcast((channels,))
    flat = v if v.shape == (channels,) else write_op(g, op, [v])[0]
    return g.cast(flat, dtype)


@rule(BatchNormInference)
def batch_norm(g: Graph, op: BatchNormInference, x: Operand, *rest: Operand) -> Operand | None:
    *per_channel, eps = rest
    epsilon = _exactly(eps.number)
    if x.dtype != "float32" or epsilon is None or any(v.dtype == "float64" for v in per_channel):
        return None
    average, variance, weight, bias = (_per_channel(g, v, x.shape[1], "float32") for v in per_channel)
    return g.node("BatchNormalization", x, weight, bias, average, variance, epsilon=epsilon)


@rule(Normalize)
def normalize(g: Graph, op: Normalize, x: Operand, eps: Operand, *scale_shift: Operand) -> Operand | None:
    first, epsilon = x.ndim - len(op.axes), _exactly(eps.number)
    trailing = op.axes == tuple(range(first, x.ndim))
    if x.dtype != "float32" or epsilon is None or not trailing or any(v.dtype != "float32" for v in scale_shift):
        return None
    shape = x.shape[first:]
    if scale_shift:
        scale, shift = (write_op(g, Reshape(shape), [v])[0] for v in scale_shift)
        return g.node("LayerNormalization", x, scale, shift, axis=first, epsilon=epsilon)
    return g.node("LayerNormalization", x, g.constant(np.ones(shape), "float32"), axis=first, epsilon=epsilon)


@rule(GroupNorm)
def group_norm(g: Graph, op: GroupNorm, x: Operand, eps: Operand, *scale_shift: Operand) -> Operand | None:
    """Each group as one channel of an InstanceNormalization."""
    epsilon, channels = _exactly(eps.number), x.shape[1]
    if x.dtype != "float32" or epsilon is None or any(v.dtype != "float32" for v in scale_shift):
        return None
    ones, zeros = (g.constant(np.full(op.groups, n), "float32") for n in (1, 0))
    groups = g.reshape(x, [x.shape[0], op.groups, x.type.size // max(x.shape[0] * op.groups, 1)])
    y = g.node("InstanceNormalization", groups, ones, zeros, epsilon=epsilon)
    y = g.reshape(y, x.shape)
    if scale_shift:
        shape = (channels, *(1,) * (x.ndim - 2))
        scale, shift = (write_op(g, Reshape(shape), [v])[0] if v.ndim else v for v in scale_shift)
        y = y * scale + shift
    return y


@rule(LocalResponseNorm)
def local_response_norm(
    g: Graph, op: LocalResponseNorm, x: Operand, k: Operand, alpha: Operand, beta: Operand
) -> Operand | None:
    bias, scale, power = (_exactly(v.number) for v in (k, alpha, beta))
    if x.dtype != "float32" or bias is None or scale is None or power is None or op.size % 2 == 0:
        return None
    return g.node("LRN", x, size=op.size, bias=bias, alpha=scale * op.size, beta=power)


@rule(Softmax, LogSoftmax)
def softmax(g: Graph, op: Softmax | LogSoftmax, x: Operand) -> Operand | None:
    if len(op.axes) != 1 or x.dtype not in WIDE:
        return None
    return g.node(type(op).__name__, x, axis=op.axes[0])


# -- activations -----------------------------------------------------------------------------------------------


@rule(Activation)
def activation(g: Graph, op: Activation, x: Operand, *parameters: Operand) -> Operand | None:
    known = ACTIVATIONS.get(op.mode)
    return known(g, x, *parameters) if known is not None and x.dtype in WIDE else None


def _leaky_relu(g: Graph, x: Operand, slope: Operand) -> Operand | None:
    alpha = _exactly(slope.number)
    return None if alpha is None or slope.dtype == "float64" else g.node("LeakyRelu", x, alpha=alpha)


def _prelu(g: Graph, x: Operand, slope: Operand) -> Operand | None:
    """The slope must broadcast to x, which is never broadcast itself."""
    fits = slope.ndim <= x.ndim and all(s in (1, n) for s, n in zip(slope.shape[::-1], x.shape[::-1], strict=False))
    return g.node("PRelu", x, slope) if fits and slope.dtype == x.dtype else None


def _clip(g: Graph, x: Operand, lower: Operand, upper: Operand) -> Operand | None:
    low, high = lower.number, upper.number
    if low is None or high is None or low > high:
        return None
    return g.node("Clip", x, g.constant(low, x.dtype), g.constant(high, x.dtype))


ACTIVATIONS: dict[str, Callable[..., Operand | None]] = {
    "gelu": lambda g, x: g.node("Gelu", x),
    "relu6": lambda g, x: g.node("Clip", x, g.constant(0, x.dtype), g.constant(6, x.dtype)),
    "hsigmoid": lambda g, x: g.node("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "hswish": lambda g, x: g.node("HardSwish", x),
    "leaky_relu": _leaky_relu,
    "prelu": _prelu,
    "clip": _clip,
}
