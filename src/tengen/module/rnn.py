"""Recurrent cells: one step of a recurrent network."""

from __future__ import annotations

import math

import numpy as np

from .. import functional as F
from ..core import Parameter, Tensor
from ..core.ops.base import size
from . import init
from .module import Module

__all__ = ["LSTMCell", "RNNCell"]


class _Cell(Module):
    """What the cells have in common: two linear maps, of the input and of the hidden state, each with a bias.

    Weights are (gates · hidden_size, input_size or hidden_size); all is first drawn from U(-k, k), k = 1/√hidden_size.
    """

    gates: int

    def __init__(self, input_size: int, hidden_size: int, bias: bool, name: str | None):
        super().__init__(name)
        self.input_size = input_size = size(type(self).__name__, "input_size", input_size, 0)
        self.hidden_size = hidden_size = size(type(self).__name__, "hidden_size", hidden_size)
        rows = self.gates * hidden_size
        self.weight_ih = Parameter(np.empty((rows, input_size), np.float32))
        self.weight_hh = Parameter(np.empty((rows, hidden_size), np.float32))
        self.bias_ih = Parameter(np.empty(rows, np.float32)) if bias else None
        self.bias_hh = Parameter(np.empty(rows, np.float32)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and biases anew."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _both(self, x: Tensor, h: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih, self.bias_ih) + F.linear(h, self.weight_hh, self.bias_hh)

    def _zeros(self, x: Tensor) -> Tensor:
        return F.zeros((x.shape[0], self.hidden_size), dtype=x.dtype, device=x.device)


class RNNCell(_Cell):
    """h' = f(W x + b + U h + c), with f tanh or relu: (N, input_size), (N, hidden_size) to (N, hidden_size).

    Source: Elman, Finding Structure in Time, 1990.

    Args:
        input_size, hidden_size: extents of x and h.
        bias: whether there are b and c.
        nonlinearity: "tanh" or "relu".
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        name: str | None = None,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity is 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(input_size, hidden_size, bias, name)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        both = self._both(input, self._zeros(input) if hx is None else hx)
        return F.tanh(both) if self.nonlinearity == "tanh" else F.relu(both)


class LSTMCell(_Cell):
    """c' = σ(f) · c + σ(i) · tanh(g), h' = σ(o) · tanh(c'), where i, f, g, o are the quarters of W x + b + U h + d.

    Takes x of shape (N, input_size) and (h, c) of shape (N, hidden_size) each, zeros if left out; gives (h', c').
    Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    Args:
        input_size, hidden_size: extents of x, and of h and c.
        bias: whether there are b and d.
    """

    gates = 4

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, name: str | None = None):
        super().__init__(input_size, hidden_size, bias, name)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        h, c = (self._zeros(input), self._zeros(input)) if hx is None else hx
        i, f, g, o = F.split(self._both(input, h), 4, axis=1)
        c = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(g)
        return F.sigmoid(o) * F.tanh(c), c
