"""Recurrent layers, and their cells: one step of a recurrent network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import functional as F
from .._rt import apply
from ..base.usage import warn
from ..core import Parameter, Tensor
from ..core.ops import recurrent as ops
from ..core.ops.base import number, size
from ..functional.arguments import as_tensor
from ..random.rng import default_generator
from . import init
from .memory import array_of
from .module import Module

__all__ = ["LSTM", "RNN", "LSTMCell", "RNNCell"]

_LSTM_CELL = ops.LSTMCell()


class RNNCellBase(Module):
    """What the cells have in common: two linear maps, of the input and of the hidden state, each with a bias.

    Weights are (gates · hidden_size, input_size or hidden_size); all is first drawn from U(-k, k), k = 1/√hidden_size. Without bias the
    biases are zeros, and no parameters.
    """

    gates: int

    def __init__(self, input_size: int, hidden_size: int, bias: bool, name: str | None):
        super().__init__(name)
        self.input_size = input_size = size(type(self).__name__, "input_size", input_size, 0)
        self.hidden_size = hidden_size = size(type(self).__name__, "hidden_size", hidden_size)
        self.bias = bias
        self.gate_hidden_size = rows = self.gates * hidden_size
        self.weight_ih = Parameter(array_of(self, (rows, input_size)))
        self.weight_hh = Parameter(array_of(self, (rows, hidden_size)))
        kind = Parameter if bias else Tensor
        self.bias_ih = kind(array_of(self, rows, 0.0))
        self.bias_hh = kind(array_of(self, rows, 0.0))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and biases anew."""
        _draw(self, self.hidden_size)

    def _zeros(self, x: Tensor) -> Tensor:
        return F.zeros((x.shape[0], self.hidden_size), dtype=x.dtype, device=x.device)


def _draw(module: Module, hidden_size: int) -> None:
    bound = 1 / math.sqrt(hidden_size)
    for parameter in module.parameters():
        init.uniform_(parameter, -bound, bound)


class RNNCell(RNNCellBase):
    """h' = f(W x + b + U h + c), with f tanh or relu: (N, input_size), (N, hidden_size) to (N, hidden_size).

    Source: Elman, Finding Structure in Time, 1990.

    Args:
        input_size, hidden_size: extents of x and h.
        bias: whether there are b and c.
        nonlinearity: "tanh" or "relu".
        name: any text, kept as `.name`.

    >>> M.RNNCell(3, 5)(F.ones((2, 3))).shape
    (2, 5)
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
        super().__init__(input_size, hidden_size, bias, name)
        self.nonlinearity = _need_nonlinearity(nonlinearity)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        input = as_tensor(input, hx, self.weight_ih)
        h = self._zeros(input) if hx is None else hx
        op = ops.RNNCell(self.nonlinearity)
        y: Tensor = apply(op, input, self.weight_ih, self.bias_ih, h, self.weight_hh, self.bias_hh)
        return y


class LSTMCell(RNNCellBase):
    """c' = σ(f) · c + σ(i) · tanh(g), h' = σ(o) · tanh(c'), where i, f, g, o are the quarters of W x + b + U h + d.

    Takes x of shape (N, input_size) and (h, c) of shape (N, hidden_size) each, zeros if left out; gives (h', c').
    Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    Args:
        input_size, hidden_size: extents of x, and of h and c.
        bias: whether there are b and d.
        name: any text, kept as `.name`.

    >>> h, c = M.LSTMCell(3, 5)(F.ones((2, 3)))
    >>> h.shape, c.shape
    ((2, 5), (2, 5))
    """

    gates = 4

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, name: str | None = None):
        super().__init__(input_size, hidden_size, bias, name)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        input = as_tensor(input, hx, self.weight_ih)
        h, c = (self._zeros(input), self._zeros(input)) if hx is None else hx
        h, c, _ = apply(_LSTM_CELL, input, self.weight_ih, self.bias_ih, h, self.weight_hh, self.bias_hh, c)
        return h, c


class RNNBase(Module):
    """What recurrent layers have in common.

    All weights are the one parameter `_flatten_weights`: one after the other, for each layer and direction, those of the input, those of the
    state and the two biases. `cells` has a cell for each; their parameters are there so that the names are MegEngine's, they are not used.
    """

    kind: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0,
        bidirectional: bool = False,
        proj_size: int = 0,
        name: str | None = None,
    ):
        super().__init__(name)
        title = type(self).__name__
        self.input_size = size(title, "input_size", input_size)
        self.hidden_size = size(title, "hidden_size", hidden_size)
        self.num_layers = size(title, "num_layers", num_layers)
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = _need_probability(title, dropout)
        self.bidirectional = bidirectional
        self.num_directions = 2 if bidirectional else 1
        self.proj_size = size(title, "proj_size", proj_size, 0)
        if self.proj_size:
            if self.proj_size >= self.hidden_size:
                raise ValueError(f"{title}: proj_size must be smaller than hidden_size, got {proj_size}")
            warn(
                f"{title}: proj_size has no effect, as in MegEngine; put a Linear({hidden_size}, {proj_size}) after the layer"
            )
        self.cells = [[self.create_cell(layer) for _ in range(self.num_directions)] for layer in range(self.num_layers)]
        rows = ops.GATES[self.kind] * self.hidden_size
        widths = [self._width(layer) + self.hidden_size + 2 * bool(bias) for layer in range(self.num_layers)]
        self._flatten_weights = Parameter(array_of(self, (rows, self.num_directions * sum(widths))))
        self.reset_parameters()

    def _width(self, layer: int) -> int:
        """The extent of what a layer takes."""
        return self.num_directions * self.hidden_size if layer else self.input_size

    def create_cell(self, layer: int) -> Any:
        """A cell as those of layer number `layer` are."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Draw all weights anew from U(-k, k), k = 1/√hidden_size."""
        _draw(self, self.hidden_size)

    def init_hidden(self, batch_size: int) -> Any:
        """The state from which a sequence starts if none is given: zeros (layers · directions, batch_size, hidden_size)."""
        shape = (self.num_layers * self.num_directions, batch_size, self.hidden_size)
        return F.zeros(shape, dtype=self._flatten_weights.dtype, device=self._flatten_weights.device)

    def get_output_from_hidden(self, hx: Any) -> Any:
        """The h of a state."""
        return hx

    def apply_op(self, input: Tensor, hx: Any) -> tuple[Tensor, Any]:
        """What `forward` gives for an input (T, N, input_size) and a state."""
        steps, batch = input.shape[:2]
        drops = self.training and self.dropout > 0 and self.num_layers > 1
        draws: list[Any] = [float(self.dropout)] if drops else []
        for _ in range(self.num_layers - 1 if drops else 0):
            draws += default_generator().draw(steps * batch * self._width(1))
        op = ops.RecurrentLayers(self.kind, self.num_layers, self.num_directions, self.bias, drops, kept=self.training)
        states = self._states(hx)
        y, *more = apply(op, input, *states, self._flatten_weights, *draws)
        return y, self._state(more[: len(states)])

    def _states(self, hx: Any) -> Sequence[Tensor]:
        """The tensors of a state, as ops take them."""
        return (hx,)

    def _state(self, states: Sequence[Tensor]) -> Any:
        """What users see of them."""
        return states[0]

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        input = as_tensor(input, hx, self._flatten_weights)
        if input.ndim != 3 or input.shape[2] != self.input_size:
            axes = "batch, steps" if self.batch_first else "steps, batch"
            raise ValueError(
                f"{type(self).__name__} takes an input of shape ({axes}, {self.input_size}), got {tuple(input.shape)}"
            )
        x = input.transpose(1, 0, 2) if self.batch_first else input
        y, hx = self.apply_op(x, self.init_hidden(x.shape[1]) if hx is None else hx)
        return y.transpose(1, 0, 2) if self.batch_first else y, hx


_ARGUMENTS = """
    Args:
        input_size, hidden_size: extents of the input and of the state.
        num_layers: how many layers, each of which takes what the one before it gives.
        bias: whether there are biases.
        batch_first: the input and what comes out are (N, T, …) instead of (T, N, …).
        dropout: with which probability elements are dropped between layers, in training.
        bidirectional: a second cell in each layer sees the sequence from its end; what comes out are the states of both, side by side.
        proj_size: taken as MegEngine takes it, without effect; a UsageWarning says so.
        name: any text, kept as `.name`.
"""


class RNN(RNNBase):
    __doc__ = f"""h_t = f(W x_t + b + U h_(t-1) + c) for each step t, with f tanh or relu, in layers.

    Takes an input (T, N, input_size) and the first h (num_layers · directions, N, hidden_size), zeros if left out; gives the h of the last
    layer at all steps (T, N, directions · hidden_size), and the last h of all layers. Elman, Finding Structure in Time, 1990. One
    call runs one compiled loop. Weights, U(-1/√hidden_size, 1/√hidden_size) at first, are one parameter, `_flatten_weights`: W, U, b, c
    of each layer and direction in turn; what `cells` hold is not used.
{_ARGUMENTS}        nonlinearity: "tanh" or "relu".

    >>> y, h = RNN(3, 5, num_layers=2)(tengen.functional.zeros((7, 4, 3)))
    >>> y.shape, h.shape
    ((7, 4, 5), (2, 4, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0,
        bidirectional: bool = False,
        proj_size: int = 0,
        nonlinearity: str = "tanh",
        name: str | None = None,
    ):
        self.nonlinearity = _need_nonlinearity(nonlinearity)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, name
        )

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The cells that the op is made for."""
        return self.nonlinearity

    def create_cell(self, layer: int) -> RNNCell:
        return RNNCell(self._width(layer), self.hidden_size, self.bias, self.nonlinearity)


class LSTM(RNNBase):
    __doc__ = f"""LSTMCell for each step of a sequence, in layers.

    Takes an input (T, N, input_size) and the first (h, c), each (num_layers · directions, N, hidden_size), zeros if left out; gives the h of
    the last layer at all steps (T, N, directions · hidden_size), and the last (h, c) of all layers. Hochreiter and Schmidhuber 1997. One call
    runs one compiled loop. Weights, U(-1/√hidden_size, 1/√hidden_size) at first, are one parameter, `_flatten_weights`: those of the input, of
    the state and two biases of each layer and direction in turn; what `cells` hold is not used.
{_ARGUMENTS}
    >>> y, (h, c) = LSTM(3, 5, bidirectional=True)(tengen.functional.zeros((7, 4, 3)))
    >>> y.shape, h.shape, c.shape
    ((7, 4, 10), (2, 4, 5), (2, 4, 5))
    """

    kind = "lstm"

    def create_cell(self, layer: int) -> LSTMCell:
        return LSTMCell(self._width(layer), self.hidden_size, self.bias)

    def init_hidden(self, batch_size: int) -> tuple[Tensor, Tensor]:
        return super().init_hidden(batch_size), super().init_hidden(batch_size)

    def get_output_from_hidden(self, hx: Any) -> Any:
        return hx[0]

    def _states(self, hx: Any) -> Sequence[Tensor]:
        if not isinstance(hx, (tuple, list)) or len(hx) != 2:
            raise ValueError(f"LSTM takes the state as a pair (h, c), got {type(hx).__name__}")
        return hx

    def _state(self, states: Sequence[Tensor]) -> Any:
        return tuple(states)


def _need_nonlinearity(nonlinearity: str) -> str:
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
    return nonlinearity


def _need_probability(title: str, dropout: float) -> float:
    if isinstance(dropout, bool) or not 0 <= number(title, "dropout", dropout) <= 1:
        raise ValueError(f"{title}: dropout must be a probability, from 0 to 1, got {dropout!r}")
    return float(dropout)
