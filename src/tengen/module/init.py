"""Initial values of parameters. A function whose name ends in `_` gives its tensor new values and returns None."""

from __future__ import annotations

import math

from ..base.usage import no_tensor
from ..core import Tensor
from ..functional import full
from ..random import normal, uniform

__all__ = [
    "calculate_correct_fan",
    "calculate_fan_in_and_fan_out",
    "calculate_gain",
    "fill_",
    "msra_normal_",
    "msra_uniform_",
    "normal_",
    "ones_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


def _shape(tensor: Tensor) -> tuple[int, ...]:
    """Raises TypeError for anything but a tensor."""
    if not isinstance(tensor, Tensor):
        raise TypeError(no_tensor(tensor))
    return tuple(tensor.shape)


def _set(tensor: Tensor, value: Tensor) -> None:
    value = value.astype(tensor.dtype)
    tensor._reset(value if value.device == tensor.device else value.to(tensor.device))


def fill_(tensor: Tensor, val: float) -> None:
    """Set each element to `val`.

    Args:
        tensor: a float tensor, which is written to.
        val: a number.

    >>> w = F.zeros(2)
    >>> M.init.fill_(w, 7.0)
    >>> w.tolist()
    [7.0, 7.0]
    """
    shape = _shape(tensor)
    tensor._reset(full(shape, val, dtype=tensor.dtype, device=tensor.device))


def zeros_(tensor: Tensor) -> None:
    """Set each element to 0.

    Args:
        tensor: a float tensor, which is written to.

    >>> w = F.ones(2)
    >>> M.init.zeros_(w)
    >>> w.tolist()
    [0.0, 0.0]
    """
    fill_(tensor, 0)


def ones_(tensor: Tensor) -> None:
    """Set each element to 1.

    Args:
        tensor: a float tensor, which is written to.

    >>> w = F.zeros(2)
    >>> M.init.ones_(w)
    >>> w.tolist()
    [1.0, 1.0]
    """
    fill_(tensor, 1)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> None:
    """Draw each element from the uniform distribution over [a, b).

    Args:
        tensor: a float tensor, which is written to.
        a, b: its bounds.

    >>> w = F.zeros(2)
    >>> M.init.uniform_(w, 1.0, 2.0)
    """
    _set(tensor, uniform(low=a, high=b, size=_shape(tensor)))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> None:
    """Draw each element from the normal distribution.

    Args:
        tensor: a float tensor, which is written to.
        mean, std: its mean and standard deviation.

    >>> w = F.zeros(2)
    >>> M.init.normal_(w, mean=5.0, std=0.0)
    >>> w.tolist()
    [5.0, 5.0]
    """
    _set(tensor, normal(mean=mean, std=std, size=_shape(tensor)))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much the standard deviation of weights before this non-linearity is scaled to keep that of activations.

    Source: He et al., Delving Deep into Rectifiers, 2015, section 2.2.

    Args:
        nonlinearity: linear, conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d, sigmoid,
            tanh, relu or leaky_relu.
        param: the slope of leaky_relu, 0.01 if None.
        tanh, relu or leaky_relu.

    Returns: a number.

    Raises:
        ValueError: the gain of the non-linearity is not known, or the slope is not a number.

    >>> M.init.calculate_gain("relu")
    1.4142135623730951
    """
    linear = ["linear", *(f"conv{transpose}{dims}d" for transpose in ("", "_transpose") for dims in (1, 2, 3))]
    if nonlinearity in (*linear, "sigmoid"):
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"the slope of leaky_relu must be a number, got {param!r}")
        return math.sqrt(2.0 / (1 + slope**2))
    raise ValueError(
        f"no gain is known for {nonlinearity!r}; known are {', '.join(linear)}, sigmoid, tanh, relu and leaky_relu"
    )


def calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[float, float]:
    """How many inputs each output of a layer with this weight sums up, and how many outputs each input goes to.

    Args:
        tensor: a weight: (out, in), (out, in, kernel…) or, with groups and a 2-d kernel, (groups, out, in, kernel
            height, kernel width).

    Returns: (fan in, fan out).

    Raises:
        ValueError: the weight has fewer than 2 dims.

    >>> M.init.calculate_fan_in_and_fan_out(F.zeros((8, 3)))
    (3, 8)
    """
    shape = _shape(tensor)
    if len(shape) < 2:
        raise ValueError(f"fan in and fan out need a weight of at least 2 dimensions, got shape {shape}")
    if len(shape) == 5:
        shape = shape[1:]
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def calculate_correct_fan(tensor: Tensor, mode: str) -> float:
    """Fan in or fan out of a weight.

    Args:
        tensor: a float tensor, which is written to.
        mode: "fan_in" or "fan_out".

    Returns: a number.

    Raises:
        ValueError: the mode is unknown, or the weight has fewer than 2 dims.

    >>> M.init.calculate_correct_fan(F.zeros((8, 3)), "fan_in")
    3
    """
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return calculate_fan_in_and_fan_out(tensor)[mode == "fan_out"]


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> None:
    """Draw from U(-a, a) with a = gain · √(6 / (fan_in + fan_out)).

    Source: Glorot and Bengio 2010, equation 16.

    Args:
        tensor: a float tensor, which is written to.
        gain: the factor; see `calculate_gain`.

    >>> w = F.zeros((8, 3))
    >>> M.init.xavier_uniform_(w)
    """
    bound = gain * math.sqrt(6.0 / max(sum(calculate_fan_in_and_fan_out(tensor)), 1))
    uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> None:
    """Draw from N(0, σ²) with σ = gain · √(2 / (fan_in + fan_out)).

    Source: Glorot and Bengio 2010, equation 12.

    Args:
        tensor: a float tensor, which is written to.
        gain: the factor; see `calculate_gain`.

    >>> w = F.zeros((8, 3))
    >>> M.init.xavier_normal_(w)
    """
    normal_(tensor, 0.0, gain * math.sqrt(2.0 / max(sum(calculate_fan_in_and_fan_out(tensor)), 1)))


def _msra_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    return calculate_gain(nonlinearity, a) / math.sqrt(max(calculate_correct_fan(tensor, mode), 1))


def msra_uniform_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> None:
    """Draw from U(-√3·σ, √3·σ) with σ = gain / √fan.

    Source: He et al. 2015, equation 10.

    Args:
        tensor: a float tensor, which is written to.
        a: the slope, for leaky_relu.
        mode: which fan: "fan_in" keeps the variance going forward, "fan_out" going backward.
        nonlinearity: what follows the layer; see `calculate_gain`.

    >>> w = F.zeros((8, 3))
    >>> M.init.msra_uniform_(w)
    """
    bound = math.sqrt(3.0) * _msra_std(tensor, a, mode, nonlinearity)
    uniform_(tensor, -bound, bound)


def msra_normal_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> None:
    """Draw from N(0, σ²) with σ = gain / √fan.

    Source: He et al. 2015, equation 10.

    Args:
        tensor: a float tensor, which is written to.
        a: the slope, for leaky_relu.
        mode: which fan: "fan_in" keeps the variance going forward, "fan_out" going backward.
        nonlinearity: what follows the layer; see `calculate_gain`.

    >>> w = F.zeros((8, 3))
    >>> M.init.msra_normal_(w)
    """
    normal_(tensor, 0.0, _msra_std(tensor, a, mode, nonlinearity))
