"""Activation functions as layers."""

from __future__ import annotations

import numpy as np

from .. import functional as F
from ..core import Parameter, Tensor
from ..core.ops.base import number, size
from .module import Module

__all__ = ["GELU", "LeakyReLU", "PReLU", "ReLU", "SiLU", "Sigmoid", "Softmax"]


class ReLU(Module):
    """max(x, 0).

    Args:
        name: any text, kept as `.name`.

    >>> M.ReLU()(tengen.tensor([-2.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class LeakyReLU(Module):
    """x where positive, negative_slope · x elsewhere.

    Args:
        negative_slope: the factor of negative numbers.
        name: any text, kept as `.name`.

    >>> M.LeakyReLU(0.5)(tengen.tensor([-2.0, 2.0])).tolist()
    [-1.0, 2.0]
    """

    def __init__(self, negative_slope: float = 0.01, name: str | None = None):
        super().__init__(name)
        self.negative_slope = negative_slope

    def forward(self, inputs: Tensor) -> Tensor:
        return F.leaky_relu(inputs, self.negative_slope)


class PReLU(Module):
    """Leaky ReLU with a learnt slope.

    Source: He et al., Delving Deep into Rectifiers, 2015.

    Args:
        num_parameters: 1 for one slope, or the number of channels (axis 1 of N, C, H, W) for one each.
        init: the first value of the slope.
        name: any text, kept as `.name`.

    >>> M.PReLU(init=0.5)(tengen.tensor([-2.0, 2.0])).tolist()
    [-1.0, 2.0]
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, name: str | None = None):
        super().__init__(name)
        self.num_parameters = num_parameters = size("PReLU", "num_parameters", num_parameters)
        shape = (1, num_parameters, 1, 1) if num_parameters > 1 else (1,)
        self.weight = Parameter(np.full(shape, number("PReLU", "init", init), np.float32))

    def forward(self, inputs: Tensor) -> Tensor:
        return F.prelu(inputs, self.weight)


class Sigmoid(Module):
    """1 / (1 + exp(-x)).

    Args:
        name: any text, kept as `.name`.

    >>> M.Sigmoid()(tengen.tensor([0.0])).tolist()
    [0.5]
    """

    def forward(self, inputs: Tensor) -> Tensor:
        return F.sigmoid(inputs)


class SiLU(Module):
    """x · sigmoid(x).

    Args:
        name: any text, kept as `.name`.

    >>> M.SiLU()(tengen.tensor([0.0, 1.0])).numpy().round(4).tolist()
    [0.0, 0.7311000227928162]
    """

    def forward(self, inputs: Tensor) -> Tensor:
        return F.silu(inputs)


class GELU(Module):
    """x · Φ(x), with Φ the distribution function of the standard normal distribution.

    Args:
        name: any text, kept as `.name`.

    >>> M.GELU()(tengen.tensor([0.0, 1.0])).numpy().round(4).tolist()
    [0.0, 0.8413000106811523]
    """

    def forward(self, inputs: Tensor) -> Tensor:
        return F.gelu(inputs)


class Softmax(Module):
    """exp(x) / Σ exp(x) along `axis`.

    Args:
        axis: an int or several; for what None means see `functional.softmax`.
        name: any text, kept as `.name`.

    >>> M.Softmax(1)(tengen.tensor([[1.0, 1.0]])).tolist()
    [[0.5, 0.5]]
    """

    def __init__(self, axis: int | None = None, name: str | None = None):
        super().__init__(name)
        self.axis = axis

    def forward(self, inputs: Tensor) -> Tensor:
        return F.softmax(inputs, axis=self.axis)

    def _module_info_string(self) -> str:
        return f"axis={self.axis}"
