"""What layers and training are made of besides functions: recurrent steps and loops, and normalization of a batch of several processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .row import Draw, Row
from .rows_elementwise import sigmoid
from .rows_nn import ROWS as NN

ACTIVATIONS = {"TANH": np.tanh, "RELU": lambda x: np.maximum(x, 0), "IDENTITY": lambda x: x}
SINGLE = ("float32", "float64")


def lstm(z: Any, c: Any) -> tuple[Any, Any]:
    """h and c of a step, from what goes into the gates."""
    i, f, g, o = np.split(z, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


# -- steps


def _cell(gates: int) -> Any:
    def draw(d: Draw) -> Any:
        n, i, h = d.integer(0 if d.chance(0.1) else 1, 3), d.integer(1, 3), d.integer(1, 3)
        shapes = [(n, i), (gates * h, i), (gates * h,), (n, h), (gates * h, h), (gates * h,), *[(n, h)] * (gates == 4)]
        dtype = d.choice(SINGLE)
        return [d.like(shape, (dtype,)) for shape in shapes], {"kind": d.choice(list(ACTIVATIONS))}

    return draw


def _rnn_cell(p: Any, x: Any, w: Any, b: Any, h: Any, u: Any, e: Any) -> Any:
    return ACTIVATIONS[p["kind"]](x @ w.T + b + h @ u.T + e)


def _lstm_cell(p: Any, x: Any, w: Any, b: Any, h: Any, u: Any, e: Any, c: Any) -> Any:
    z = x @ w.T + b + h @ u.T + e
    return *lstm(z, c), z


# -- loops


def _layers(states: int) -> Any:
    gates = 4 if states == 2 else 1

    def draw(d: Draw) -> Any:
        t, n, i, h = d.integer(1, 4), d.integer(1, 2), d.integer(1, 2), d.integer(1, 3)
        layers, both, bias = d.integer(1, 2), d.chance(0.4), d.chance(0.7)
        directions = 1 + both
        widths = [i, *[directions * h] * (layers - 1)]
        count = directions * sum(gates * h * (width + h + 2 * bias) for width in widths)
        dtype = d.choice(SINGLE)
        first = [d.like((layers * directions, n, h), (dtype,)) for _ in range(states)]
        weights = d.new((count,), dtype, "unit")
        params = {"layers": layers, "both": both, "bias": bias, "hidden": h, "kind": d.choice(list(ACTIVATIONS))}
        return [d.like((t, n, i), (dtype,)), *first, weights], params

    return draw


def _recurrent(p: Any, x: Any, *rest: Any) -> Any:
    *firsts, weights = rest
    gates, h, directions, used = 4 if len(firsts) == 2 else 1, p["hidden"], 1 + p["both"], 0

    def part(*shape: int) -> Any:
        nonlocal used
        used += int(np.prod(shape))
        return weights[used - int(np.prod(shape)) : used].reshape(shape)

    lasts: list[list[Any]] = [[] for _ in firsts]
    for layer in range(p["layers"]):
        made = []
        for direction in range(directions):
            w, u = part(gates * h, x.shape[2]), part(gates * h, h)
            bias = part(gates * h) + part(gates * h) if p["bias"] else 0.0
            state = [f[layer * directions + direction] for f in firsts]
            outputs = []
            for at in x[:: -1 if direction else 1]:
                z = at @ w.T + bias + state[0] @ u.T
                state = list(lstm(z, state[1])) if gates == 4 else [ACTIVATIONS[p["kind"]](z)]
                outputs.append(state[0])
            made.append(np.stack(outputs[:: -1 if direction else 1]))
            for last, value in zip(lasts, state, strict=True):
                last.append(value)
        x = np.concatenate(made, 2)
    return x, *map(np.stack, lasts), np.zeros(0)


def _scan(d: Draw) -> Any:
    t, n, h, dtype = d.integer(0 if d.chance(0.1) else 1, 5), d.integer(1, 3), d.integer(1, 3), d.choice(SINGLE)
    reverse, kind = d.chance(0.5), d.choice(["tanh", "relu", "identity"])
    return [d.like(s, (dtype,)) for s in ((n, h), (t, n, h), (h, h))], {"kind": kind, "reverse": reverse}


def _scanned(p: Any, first: Any, a: Any, w: Any) -> Any:
    made, h, order = np.zeros(a.shape), first, range(a.shape[0])
    for t in reversed(order) if p["reverse"] else order:
        h = made[t] = ACTIVATIONS[p["kind"].upper()](a[t] + h @ w.T)
    return made


def _synchronised() -> Row:
    (row,) = (r for r in NN if r.name == "norm batch_norm training")
    code = "F.nn.sync_batch_norm({0}, {1}, {2}, {3}, {4}, training=True)"
    return row._replace(name="norm sync_batch_norm", code=code, weight=0.5)


def _formula(name: str, code: str, draw: Any, truth: Any, results: int = 1, weight: float = 0.3) -> Row:
    return Row(f"recurrent {name}", code, draw, truth, "promoted", "formula", results=results, weight=weight)


WHOLE = "{layers}, {both}, {bias}, {hidden}"
INPUTS: Sequence[str] = [", ".join(f"{{{i}}}" for i in range(count)) for count in range(8)]
ROWS: list[Row] = [
    _formula("RNNCell", f"apply(RNNCell({{kind}}), {INPUTS[6]})", _cell(1), _rnn_cell),
    _formula("LSTMCell", f"apply(LSTMCell(), {INPUTS[7]})", _cell(4), _lstm_cell, results=3),
    _formula("RNN", f"apply(RNN({WHOLE}, 0.0, {{kind}}), {INPUTS[3]})", _layers(1), _recurrent, results=3),
    _formula("LSTM", f"apply(LSTM({WHOLE}), {INPUTS[4]})", _layers(2), _recurrent, results=4),
    _formula("scan", f"apply(Scan(RNNStep({{kind}}), 1, 1, 0, {{reverse}}), {INPUTS[3]})", _scan, _scanned),
    _synchronised(),
]
