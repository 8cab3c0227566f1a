"""Fully connected layers."""

from __future__ import annotations

import math

import numpy as np

from .. import functional as F
from ..core import Parameter, Tensor
from ..core.ops.base import size
from . import init
from .module import Module

__all__ = ["Linear", "LinearRelu"]


class Linear(Module):
    """y = x Wᵀ + b over the last axis: (…, in_features) to (…, out_features).

    `weight` is (out_features, in_features), first drawn from N(0, 1 / in_features); `bias` is (out_features,), first 0,
    or None.

    >>> M.Linear(3, 2)(tengen.tensor([[1.0, 2.0, 3.0]])).shape
    (1, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        compute_mode: str = "default",
        name: str | None = None,
    ):
        super().__init__(name)
        self.in_features = size(type(self).__name__, "in_features", in_features, 0)
        self.out_features = size(type(self).__name__, "out_features", out_features, 0)
        self.compute_mode = compute_mode
        self.weight = Parameter(np.empty((self.out_features, self.in_features), np.float32))
        self.bias = Parameter(np.empty(self.out_features, np.float32)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Give weight and bias new first values."""
        init.normal_(self.weight, 0.0, math.sqrt(1 / max(self.in_features, 1)))
        if self.bias is not None:
            init.zeros_(self.bias)

    def calc_linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """What `forward` does, with another weight and bias."""
        return F.linear(x, weight, bias, compute_mode=self.compute_mode)

    def forward(self, x: Tensor) -> Tensor:
        return self.calc_linear(x, self.weight, self.bias)

    def _module_info_string(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class LinearRelu(Linear):
    """Linear followed by ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))
