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
    """max(x, 0).

    Args:
        x: numbers of any shape.

    Returns: a tensor of the shape and dtype of x.

    >>> F.relu(Tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return apply(_RELU, x)


def relu6(x: Any) -> Tensor:
    """min(max(x, 0), 6).

    Args:
        x: numbers of any shape.

    Returns: a tensor of the shape and dtype of x.

    >>> F.relu6(Tensor([-1.0, 2.0, 9.0])).tolist()
    [0.0, 2.0, 6.0]
    """
    return apply(_RELU6, x)


def leaky_relu(inp: Any, negative_slope: float = 0.01) -> Tensor:
    """x where it is positive, else negative_slope · x.

    Args:
        inp: x, numbers of any shape.
        negative_slope: the factor of negative numbers.

    Returns: a tensor of the shape of inp: floats, float32 for integers.

    >>> F.leaky_relu(Tensor([-1.0, 2.0]), 0.5).tolist()
    [-0.5, 2.0]
    """
    return apply(_LEAKY_RELU, inp, number("leaky_relu", "negative_slope", negative_slope))


def prelu(x: Any, y: Any) -> Tensor:
    """x where it is positive, else y · x.

    He et al. 2015, section 2.1.

    Args:
        x: numbers of any shape.
        y: the factors of negative numbers, which broadcast against x.

    Returns: a tensor of the broadcast shape.

    >>> F.prelu(Tensor([-1.0, 2.0]), Tensor([0.25])).tolist()
    [-0.25, 2.0]
    """
    return apply(_PRELU, x, y)


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x)).

    Args:
        x: numbers of any shape.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.sigmoid(Tensor(0.0)).item()
    0.5
    """
    return apply(_SIGMOID, x)


def hsigmoid(x: Any) -> Tensor:
    """relu6(x + 3) / 6.

    Howard et al. 2019, section 5.2.

    Args:
        x: numbers of any shape.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.hsigmoid(Tensor([-3.0, 0.0, 3.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return apply(_HSIGMOID, x)


def hswish(x: Any) -> Tensor:
    """x · relu6(x + 3) / 6.

    Howard et al. 2019, section 5.2.

    Args:
        x: numbers of any shape.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.hswish(Tensor([-3.0, 3.0])).tolist()
    [-0.0, 3.0]
    """
    return apply(_HSWISH, x)


def silu(x: Any) -> Tensor:
    """x · sigmoid(x).

    Elfwing et al. 2017.

    Args:
        x: numbers of any shape.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.silu(Tensor([0.0, 1.0])).numpy().round(4).tolist()
    [0.0, 0.7311000227928162]
    """
    return apply(_SILU, x)


def gelu(x: Any) -> Tensor:
    """x · Φ(x), with the distribution function Φ of the normal distribution.

    It is exact, not the tanh form. Hendrycks and Gimpel 2016.

    Args:
        x: numbers of any shape.

    Returns: a tensor of the shape of x: floats, float32 for integers.

    >>> F.gelu(Tensor([0.0, 1.0])).numpy().round(4).tolist()
    [0.0, 0.8413000106811523]
    """
    return apply(_GELU, x)


def softplus(inp: Any) -> Tensor:
    """log(1 + exp(x)), without overflow.

    Args:
        inp: x, numbers of any shape.

    Returns: a tensor of the shape of inp: floats, float32 for integers.

    >>> F.softplus(Tensor([0.0, 1000.0])).numpy().round(4).tolist()
    [0.6930999755859375, 1000.0]
    """
    return apply(_SOFTPLUS, inp)


def logsigmoid(inp: Any) -> Tensor:
    """log(sigmoid(x)), without overflow.

    Args:
        inp: x, numbers of any shape.

    Returns: a tensor of the shape of inp: floats, float32 for integers.

    >>> F.logsigmoid(Tensor([0.0, -1000.0])).numpy().round(4).tolist()
    [-0.6930999755859375, -1000.0]
    """
    return apply(_LOGSIGMOID, inp)


def softmax(inp: Any, axis: Axes = None) -> Tensor:
    """exp(x) / sum(exp(x)) over `axis`, without overflow.

    Args:
        inp: x, numbers of any shape.
        axis: an int or several; by default 0 for tensors of 0, 1 or 3 dims, else 1.

    Returns: a tensor of the shape of inp: floats, float32 for integers.

    Raises:
        ValueError: an axis does not exist.

    >>> F.softmax(Tensor([[1.0, 1.0]]), axis=1).tolist()
    [[0.5, 0.5]]
    """
    x = as_tensor(inp)
    if axis is None:
        axis = 0 if x.ndim in (1, 3) else () if x.ndim == 0 else 1
    return apply(Softmax(normal_axes("softmax", axis, x.ndim)), x)


def logsoftmax(inp: Any, axis: Axes) -> Tensor:
    """log(softmax(x)) over `axis`, without overflow.

    Args:
        inp: x, numbers of any shape.
        axis: an int or several.

    Returns: a tensor of the shape of inp: floats, float32 for integers.

    Raises:
        ValueError: an axis does not exist.

    >>> F.logsoftmax(Tensor([[0.0, 0.0]]), 1).numpy().round(4).tolist()
    [[-0.6930999755859375, -0.6930999755859375]]
    """
    x = as_tensor(inp)
    return apply(LogSoftmax(normal_axes("logsoftmax", axis, x.ndim)), x)


def logsumexp(inp: Any, axis: Axes, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over `axis`, without overflow.

    Args:
        inp: x, numbers of any shape.
        axis: an int or several.
        keepdims: whether the reduced axes stay, with extent 1.

    Returns: a tensor without the axes, or with extent 1 for each: floats, float32 for integers.

    Raises:
        ValueError: an axis does not exist.

    >>> F.logsumexp(Tensor([[1000.0, 1000.0]]), 1).numpy().round(4).tolist()
    [1000.6931762695312]
    """
    x = as_tensor(inp)
    axes = normal_axes("logsumexp", axis, x.ndim)
    return apply(Reduced(LogSumExp(axes), axes, keepdims), x)
