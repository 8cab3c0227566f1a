"""Fully connected layers."""

from __future__ import annotations

import math

from .. import functional as F
from ..core import Parameter, Tensor
from ..core.ops.base import size
from . import init
from .memory import array_of
from .module import Module

__all__ = ["BatchMatMulActivation", "Linear", "LinearRelu"]


class Linear(Module):
    """y = x Wᵀ + b over the last axis: (…, in_features) to (…, out_features).

    `weight` is (out_features, in_features), first drawn from N(0, 1 / in_features); `bias` is (out_features,), first 0,
    or None.

    Args:
        in_features, out_features: the last extents of input and result.
        bias: whether there is one.
        compute_mode: without effect: sums are always kept in float32 or wider.
        name: any text, kept as `.name`.

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
        self.weight = Parameter(array_of(self, (self.out_features, self.in_features)))
        self.bias = Parameter(array_of(self, self.out_features)) if bias else None
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
    """Linear followed by ReLU.

    Args:
        in_features, out_features: the last extents of input and result.
        bias: whether there is one.
        compute_mode: without effect: sums are always kept in float32 or wider.
        name: any text, kept as `.name`.

    >>> M.LinearRelu(3, 2)(F.ones((1, 3))).shape
    (1, 2)
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class BatchMatMulActivation(Module):
    """W @ x + b for each of a batch, and perhaps ReLU: (batch, in_features, n) to (batch, out_features, n).

    `weight` is (batch, out_features, in_features), first drawn from N(0, 1 / in_features); `bias`, (out_features,),
    first 0, or None, is added along the last axis, as in MegEngine, so there n is out_features.

    Args:
        batch: how many products there are.
        in_features, out_features: the extents of x and of the result.
        bias: whether there is one.
        nonlinear_mode: "identity" or "relu".
        name: any text, kept as `.name`.

    >>> M.BatchMatMulActivation(2, 3, 4, bias=False)(F.ones((2, 3, 5))).shape
    (2, 4, 5)
    """

    def __init__(
        self,
        batch: int,
        in_features: int,
        out_features: int,
        bias: bool = True,
        nonlinear_mode: str = "identity",
        name: str | None = None,
    ):
        super().__init__(name)
        layer = type(self).__name__
        self.batch = size(layer, "batch", batch)
        self.in_features = size(layer, "in_features", in_features)
        self.out_features = size(layer, "out_features", out_features)
        self.nonlinear_mode = str(nonlinear_mode).lower()
        if self.nonlinear_mode not in ("identity", "relu"):
            raise ValueError(f"{layer}: nonlinear_mode must be 'identity' or 'relu', got {nonlinear_mode!r}")
        self.weight = Parameter(array_of(self, (self.batch, self.out_features, self.in_features)))
        self.bias = Parameter(array_of(self, self.out_features)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Give weight and bias new first values."""
        init.normal_(self.weight, 0.0, math.sqrt(1 / self.in_features))
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = F.matmul(self.weight, x)
        if self.bias is not None:
            y = y + self.bias
        return F.relu(y) if self.nonlinear_mode == "relu" else y

    def _module_info_string(self) -> str:
        shape = f"batch={self.batch}, in_features={self.in_features}, out_features={self.out_features}"
        return f"{shape}, bias={self.bias is not None}"
