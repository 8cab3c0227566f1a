"""Recurrent layers: the inputs of all steps go through one product, then a loop over time does the rest.

Their gradients are backward loops with one product and one map per step. The gradient of the weights, one product for
all steps, is computed after the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...compiler.program import Op, Value
from .base import Formula, Grads, promoted_floats
from .elemwise import SIGMOID, Elemwise, cast
from .formula import RELU
from .linalg import Linear, MatMul
from .loop import Scan, at_end, previous
from .random import Dropout
from .shape import Concatenate, Slice, Unpack, broadcast, reshape, transpose, zeros_of

TANH = Elemwise("TANH")
GATES = {"lstm": 4, "tanh": 1, "relu": 1, "identity": 1}
"""How many rows the weights of a cell have for each element of its state."""


def _low(products: str, op: Op, a: Value, b: Value) -> Value:
    """The product of two operands in the dtype `products`, if given. In mixed precision everything else is float32, so
    that states keep their digits."""
    if not products or "float64" in (a.dtype, b.dtype):
        made: Value = op(a, b)
        return made
    return cast(op(cast(a, products), cast(b, products)), a.dtype)


def _product(products: str, a: Value, b: Value) -> Value:
    return _low(products, MatMul(), a, b)


def _linear(products: str, x: Value, weight: Value, bias: Value | None = None) -> Value:
    y = _low(products, Linear(False), x, weight)
    return y if bias is None else y + bias


def _turned(x: Value) -> Value:
    return transpose(x, (1, 0))


def _rows(x: Value) -> Value:
    """All steps of all samples as the rows of one matrix."""
    return reshape(x, (x.shape[0] * x.shape[1], prod(x.shape[2:])))


def _activated(kind: str, z: Value) -> Value:
    return z if kind == "identity" else {"tanh": TANH, "relu": RELU}[kind](z)


def _slope(kind: str, y: Value) -> Value:
    """The slope of an activation whose value is y."""
    if kind == "tanh":
        return 1.0 - y * y
    return cast(y > 0.0, y.dtype) if kind == "relu" else broadcast(cast(y.builder.constant(1.0), y.dtype), y.shape)


def _gates(z: Value) -> list[Value]:
    """The quarters of the last axis: input gate, forget gate, candidate, output gate."""
    size, one = z.shape[-1] // 4, (1,) * z.ndim
    starts = [(*(0,) * (z.ndim - 1), i * size) for i in range(4)]
    return [Slice(start, (*z.shape[:-1], size), one)(z) for start in starts]


def lstm_step(z: Value, c: Value) -> tuple[Value, Value]:
    """(h', c') from the sums that go into the gates, and the cell state. Hochreiter and Schmidhuber 1997, with the
    forget gate of Gers et al. 2000."""
    i, f, g, o = _gates(z)
    c = SIGMOID(f) * c + SIGMOID(i) * TANH(g)
    return SIGMOID(o) * TANH(c), c


class RNNStep(Formula):
    """Inputs: the state h (N, H), the projected input a (N, H), weight (H, H). Output: the activation of a + h ·
    weightᵀ."""

    kind: str
    products: str = ""

    name = "RNN"

    def expand(self, *inputs: Value) -> Value:
        h, a, weight = inputs
        return _activated(self.kind, a + _product(self.products, h, _turned(weight)))


class RNNStepBack(Formula):
    """The gradient of the sum that goes into the activation of a step.

    Inputs: that gradient for the next step (N, H), the gradient of the step's output (N, H), the slope (N, H), weight.
    """

    products: str = ""

    name = "grad_RNN"

    def expand(self, *inputs: Value) -> Value:
        after, g, slope, weight = inputs
        return (_product(self.products, after, weight) + g) * slope


class RNNSequence(Formula):
    """RNNStep at each place along axis 0 of a (T, N, H). Inputs: the first state (N, H), a, weight. Output: all states."""

    kind: str
    reverse: bool
    products: str = ""

    name = "RNN"

    def expand(self, *inputs: Value) -> Value:
        states: Value = Scan(RNNStep(self.kind, self.products), 1, 1, 0, self.reverse)(*inputs)
        return states

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (first, a, weight), (states,), (g,) = inputs, outputs, grads
        if g is None or not a.size:
            return [zeros_of(v) for v in inputs]
        back = Scan(RNNStepBack(self.products), 1, 2, 0, not self.reverse)
        by_a = back(zeros_of(first), g, _slope(self.kind, states), weight)
        start = at_end(by_a, first, not self.reverse)
        before = previous(states, first, self.reverse)
        by_weight = _product(self.products, _turned(_rows(by_a)), _rows(before))
        return [_product(self.products, start, weight), by_a, by_weight]


class LSTMStep(Formula):
    """Inputs: h, c (N, H), the projected input a (N, 4 H), weight (4 H, H). Outputs: the new h and c, and if `kept` what goes into the gates."""

    products: str = ""
    kept: bool = False

    name = "LSTM"

    def expand(self, *inputs: Value) -> Sequence[Value]:
        h, c, a, weight = inputs
        z = a + _product(self.products, h, _turned(weight))
        return *lstm_step(z, c), *([z] if self.kept else [])


class LSTMStepBack(Formula):
    """Inputs: the gradients of the sums that go into the gates of the next step (N, 4 H), and of c by way of that step;
    for this step the gradient of h, the sums z that went into its gates (N, 4 H), c before and after it, and if `cells`
    the gradient of c; weight.

    Outputs: the first two for this step and the one before it. The gates are computed again: they take less time than
    reading them from memory.
    """

    cells: bool
    products: str = ""

    name = "grad_LSTM"

    def expand(self, *inputs: Value) -> Sequence[Value]:
        after, by_c, g, z, before, c, *rest = inputs
        by_h = _product(self.products, after, rest[-1]) + g
        sums = _gates(z)
        i, f, o = (SIGMOID(sums[n]) for n in (0, 1, 3))
        candidate, t = TANH(sums[2]), TANH(c)
        by_c = by_c + by_h * (o * (1.0 - t * t))
        if self.cells:
            by_c = by_c + rest[0]
        by_gates = (
            by_c * candidate * (i * (1.0 - i)),
            by_c * before * (f * (1.0 - f)),
            by_c * i * (1.0 - candidate * candidate),
            by_h * t * (o * (1.0 - o)),
        )
        return Concatenate(1)(*by_gates), by_c * f


class LSTMSequence(Formula):
    """LSTMStep at each place along axis 0 of a (T, N, 4 H). Inputs: the first h and c, a, weight. Outputs: all h and all c, and if `kept` all
    that went into the gates, which the gradient computes again otherwise."""

    reverse: bool
    products: str = ""
    kept: bool = False

    name = "LSTM"

    def expand(self, *inputs: Value) -> Sequence[Value]:
        made: Sequence[Value] = self._scan(*inputs)
        return made

    @property
    def _scan(self) -> Scan:
        return Scan(LSTMStep(self.products, self.kept), 2, 1, 0, self.reverse)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        first_h, first_c, a, weight = inputs
        (hidden, cells, *kept), (g, g_cells, *g_kept) = outputs, grads
        if not a.size or all(x is None for x in grads):
            return [zeros_of(v) for v in inputs]
        if any(x is not None for x in g_kept):  # in the gradient of this one
            return self._scan.grad(inputs, outputs, grads)
        before = previous(hidden, first_h, self.reverse)
        z = kept[0] if kept else reshape(_product(self.products, _rows(before), _turned(weight)), a.shape) + a
        start = broadcast(cast(z.builder.constant(0.0), z.dtype), a.shape[1:])
        extra = () if g_cells is None else (g_cells,)
        body = LSTMStepBack(g_cells is not None, self.products)
        along = zeros_of(hidden) if g is None else g, z, previous(cells, first_c, self.reverse), cells, *extra
        back = Scan(body, 2, len(along), 1, not self.reverse)
        by_z, by_c = back(start, zeros_of(first_c), *along, weight)
        last = at_end(by_z, start, not self.reverse)
        by_weight = _product(self.products, _turned(_rows(by_z)), _rows(before))
        return [_product(self.products, last, weight), by_c, by_z, by_weight]


class RecurrentLayers(Formula):
    """Several recurrent layers of one kind, a row of GATES, in one direction or in both.

    Inputs: x (T, N, I), the first h (layers · directions, N, H), for "lstm" the first c, and the weights of all cells,
    layer by layer and direction by direction: for the input, for the state and, if `bias`, the two biases. If
    `dropped`, also the probability with which values between layers are dropped, and seed and offset for each time.
    Outputs: those of the last layer (T, N, directions · H), the last h of each cell, and for "lstm" the last c. If `kept`, also what the
    gradient would else compute again: the states of each cell at all steps, and for "lstm" what went into its gates.
    """

    kind: str
    layers: int
    directions: int
    bias: bool
    dropped: bool = False
    products: str = ""
    kept: bool = False

    precision = "inside"

    @property
    def name(self) -> str:
        return "LSTM" if self.kind == "lstm" else "RNN"

    def expand(self, *inputs: Value) -> Sequence[Value]:
        states = 2 if self.kind == "lstm" else 1
        x, *rest = inputs
        dtype = promoted_floats(self.name, [v.type for v in inputs[: states + 2]])
        x = cast(x, dtype)
        firsts, weights = [cast(v, dtype) for v in rest[:states]], cast(rest[states], dtype)
        self._check(x, firsts, weights)
        parts: list[Value] = list(Unpack(self._shapes(x.shape[2], firsts[0].shape[2]))(weights))
        drop = rest[states + 1 :]
        lasts: list[list[Value]] = [[] for _ in range(states)]
        kept: list[Value] = []
        for layer in range(self.layers):
            if layer and self.dropped:
                x = Dropout()(x, drop[0], *drop[2 * layer - 1 : 2 * layer + 1])
            made = []
            for reverse in range(self.directions):
                own, parts = parts[: 4 if self.bias else 2], parts[4 if self.bias else 2 :]
                first = [_place(v, layer * self.directions + reverse) for v in firsts]
                outputs = self._cell(x, first, own, bool(reverse))
                made.append(outputs[0])
                kept += outputs if self.kept else []
                for last, out, start in zip(lasts, outputs, first, strict=False):
                    last.append(at_end(out, start, bool(reverse)))
            x = Concatenate(2)(*made) if len(made) > 1 else made[0]
        return [x, *(_stacked(last) for last in lasts), *(v for v in kept if v is not x)]

    def _cell(self, x: Value, first: Sequence[Value], parts: Sequence[Value], reverse: bool) -> Sequence[Value]:
        """The states of one cell at all steps."""
        by_input, by_state, *biases = parts
        a = _linear(self.products, x, by_input, biases[0] + biases[1] if self.bias else None)
        if self.kind == "lstm":
            made: Sequence[Value] = LSTMSequence(reverse, self.products, self.kept)(*first, a, by_state)
            return made
        return [RNNSequence(self.kind, reverse, self.products)(*first, a, by_state)]

    def _shapes(self, width: int, size: int) -> tuple[tuple[int, ...], ...]:
        """The shapes of the parts of the weights."""
        rows, shapes = GATES[self.kind] * size, []
        for layer in range(self.layers):
            across = width if not layer else self.directions * size
            shapes += [(rows, across), (rows, size), *([(rows,)] * 2 if self.bias else [])] * self.directions
        return tuple(shapes)

    def _check(self, x: Value, firsts: Sequence[Value], weights: Value) -> None:
        """Raises ValueError for shapes that do not fit."""
        if x.ndim != 3:
            raise ValueError(f"{self.name} takes an input of (steps, batch, features), got shape {x.shape}")
        want = (self.layers * self.directions, x.shape[1])
        for name, v in zip(("h", "c"), firsts, strict=False):
            if v.ndim != 3 or v.shape[:2] != want or v.shape != firsts[0].shape:
                raise ValueError(
                    f"{self.name}: an initial {name} of shape {v.shape} does not fit; it must be (layers · directions, batch, "
                    f"hidden) = ({want[0]}, {want[1]}, hidden_size)"
                )
        count = sum(map(prod, self._shapes(x.shape[2], firsts[0].shape[2])))
        if weights.size != count:
            raise ValueError(
                f"{self.name}: an input of shape {x.shape} and states of shape {firsts[0].shape} take {count} weights, got {weights.size}"
            )


def _place(v: Value, number: int) -> Value:
    """v[number]"""
    return reshape(Slice((number, 0, 0), (1, *v.shape[1:]), (1, 1, 1))(v), v.shape[1:])


def _stacked(values: Sequence[Value]) -> Value:
    parts = [reshape(v, (1, *v.shape)) for v in values]
    return Concatenate(0)(*parts) if len(parts) > 1 else parts[0]


# -- as MegEngine's core.ops.builtin names them --------------------------------------------------------------------


class RNNCell(Formula):
    """f(x · w_ihᵀ + b_ih + h · w_hhᵀ + b_hh), f being "IDENTITY", "RELU" or "TANH". Inputs x, w_ih, b_ih, h, w_hh, b_hh."""

    nonlineMode: str = "IDENTITY"
    products: str = ""

    precision = "inside"

    def expand(self, *inputs: Value) -> Value:
        z = _both(self.products, *_alike(self.name, inputs))
        return _activated(self.nonlineMode.lower(), z)


class LSTMCell(Formula):
    """One step of an LSTM. Inputs x, w_ih, b_ih, h, w_hh, b_hh, c; outputs the new h and c, and what goes into the gates."""

    products: str = ""

    precision = "inside"

    def expand(self, *inputs: Value) -> Sequence[Value]:
        *terms, c = _alike(self.name, inputs)
        z = _both(self.products, *terms)
        return *lstm_step(z, c), z


def _both(products: str, x: Value, by_input: Value, b: Value, h: Value, by_state: Value, d: Value) -> Value:
    """The sum that the input and the state put into the gates."""
    return _linear(products, x, by_input, b) + _linear(products, h, by_state, d)


class RNN(Formula):
    """RecurrentLayers under MegEngine's name. Inputs x, h, weights; outputs y, h, and an empty value in place of what
    MegEngine keeps there."""

    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    hidden_size: int = 128
    dropout: float = 0.0
    nonlineMode: str = "IDENTITY"
    fwd_mode: str = "TRAINING"

    def expand(self, *inputs: Value) -> Sequence[Value]:
        kind = self.nonlineMode.lower()
        return _layers(kind, self.num_layers, self.bidirectional, self.bias, inputs)


class LSTM(Formula):
    """RecurrentLayers under MegEngine's name. Inputs x, h, c, weights; outputs y, h, c, and an empty value in place of
    what MegEngine keeps there."""

    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    hidden_size: int = 128
    proj_size: int = 0
    dropout: float = 0.0
    fwd_mode: str = "TRAINING"

    def expand(self, *inputs: Value) -> Sequence[Value]:
        return _layers("lstm", self.num_layers, self.bidirectional, self.bias, inputs)


def _layers(kind: str, layers: int, bidirectional: bool, bias: bool, inputs: Sequence[Value]) -> Sequence[Value]:
    made: Sequence[Value] = RecurrentLayers(kind, layers, 1 + bidirectional, bias)(*inputs)
    x = made[0]
    return *made, broadcast(cast(x.builder.constant(0.0), x.dtype), (0,))


def _alike(op: str, inputs: Sequence[Value]) -> list[Value]:
    """The inputs in one dtype."""
    dtype = promoted_floats(op, [v.type for v in inputs])
    return [cast(v, dtype) for v in inputs]
