"""Activation functions."""

from __future__ import annotations

from typing import Any

from .._rt import apply
from ..core import Tensor
from ..core.ops.elemwise import Elemwise
from ..core.ops.formula import Activation, LogSoftmax, LogSumExp, Softmax
from ..core.ops.shape import Reduced
from .arguments import Axes, as_tensor, normal_axes, number

__all__ = [
    "gelu",
    "hsigmoid",
    "hswish",
    "leaky_relu",
    "logsigmoid",
    "logsoftmax",
    "logsumexp",
    "prelu",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
]

_RELU, _SIGMOID, _SOFTPLUS = Elemwise("RELU"), Elemwise("SIGMOID"), Elemwise("SOFTPLUS")
_GELU, _SILU, _RELU6, _HSIGMOID = (Activation(mode) for mode in ("gelu", "silu", "relu6", "hsigmoid"))
_HSWISH, _LEAKY_RELU, _PRELU, _LOGSIGMOID = (
    Activation(mode) for mode in ("hswish", "leaky_relu", "prelu", "logsigmoid")
)


def relu(x: Any) -> Tensor:
    """max(x, 0); the dtype stays.

    >>> F.relu(Tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return apply(_RELU, x)


def relu6(x: Any) -> Tensor:
    """min(max(x, 0), 6); the dtype stays."""
    return apply(_RELU6, x)


def leaky_relu(inp: Any, negative_slope: float = 0.01) -> Tensor:
    """x where it is positive, else negative_slope · x."""
    return apply(_LEAKY_RELU, inp, number("leaky_relu", "negative_slope", negative_slope))


def prelu(x: Any, y: Any) -> Tensor:
    """x where it is positive, else y · x; y broadcasts against x. He et al. 2015, section 2.1."""
    return apply(_PRELU, x, y)


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x)).

    >>> F.sigmoid(Tensor(0.0)).item()
    0.5
    """
    return apply(_SIGMOID, x)


def hsigmoid(x: Any) -> Tensor:
    """relu6(x + 3) / 6. Howard et al. 2019, section 5.2."""
    return apply(_HSIGMOID, x)


def hswish(x: Any) -> Tensor:
    """x · relu6(x + 3) / 6. Howard et al. 2019, section 5.2."""
    return apply(_HSWISH, x)


def silu(x: Any) -> Tensor:
    """x · sigmoid(x). Elfwing et al. 2017."""
    return apply(_SILU, x)


def gelu(x: Any) -> Tensor:
    """x · Φ(x), with the distribution function Φ of the normal distribution, exact (not the tanh form).

    Hendrycks and Gimpel 2016.
    """
    return apply(_GELU, x)


def softplus(inp: Any) -> Tensor:
    """log(1 + exp(x)), without overflow."""
    return apply(_SOFTPLUS, inp)


def logsigmoid(inp: Any) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    return apply(_LOGSIGMOID, inp)


def softmax(inp: Any, axis: Axes = None) -> Tensor:
    """exp(x) / sum(exp(x)) over `axis`, without overflow.

    axis: an int or several; by default 0 for tensors of 0, 1 or 3 dimensions, else 1. Raises ValueError for an axis
    that is not there.

    >>> F.softmax(Tensor([[1.0, 1.0]]), axis=1).tolist()
    [[0.5, 0.5]]
    """
    x = as_tensor(inp)
    if axis is None:
        axis = 0 if x.ndim in (1, 3) else () if x.ndim == 0 else 1
    return apply(Softmax(normal_axes("softmax", axis, x.ndim)), x)


def logsoftmax(inp: Any, axis: Axes) -> Tensor:
    """log(softmax(x)) over `axis`, without overflow."""
    x = as_tensor(inp)
    return apply(LogSoftmax(normal_axes("logsoftmax", axis, x.ndim)), x)


def logsumexp(inp: Any, axis: Axes, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over `axis`, without overflow."""
    x = as_tensor(inp)
    axes = normal_axes("logsumexp", axis, x.ndim)
    return apply(Reduced(LogSumExp(axes), axes, keepdims), x)
