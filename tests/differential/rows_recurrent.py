"""Loops over time, and attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from .row import Draw, Row, Unknown

WIDE = ("float32", "float64")
SMALL = 0.25
"""Weights are made smaller, as gates that are shut leave gradients too small for differences."""


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _step(kind: str, z: Any, c: Any) -> tuple[Any, Any]:
    if kind == "RNN":
        return np.tanh(z), c
    i, f, g, o = np.split(z, 4, axis=1)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(c), c


def _layer(kind: str) -> Any:
    def draw(d: Draw) -> Any:
        steps, batch, size = d.integer(1, 4), d.integer(1, 3), d.integer(1, 4)
        x = d.like((steps, batch, d.integer(1, 4)), WIDE)
        dtype, directions = d.dtype_of(x), d.integer(1, 2)
        states = [d.like((directions, batch, size), (dtype,)) for _ in range(1 + (kind == "LSTM"))]
        rows = size * (4 if kind == "LSTM" else 1)
        weights = d.new((rows, directions * (d.shape_of(x)[2] + size + 2)), dtype, "grid")
        return [x, *states, weights], {"both": directions == 2}

    return draw


def _layer_truth(kind: str) -> Any:
    def truth(p: dict[str, Any], x: Any, *rest: Any) -> Any:
        (h, *c), weights, made = rest[:-1], rest[-1].ravel() * SMALL, []
        size = h.shape[2]
        rows, at = size * (4 if kind == "LSTM" else 1), 0
        for direction in range(1 + p["both"]):
            parts = []
            for shape in ((rows, x.shape[2]), (rows, size), (rows,), (rows,)):
                parts.append(weights[at : at + int(np.prod(shape))].reshape(shape))
                at += parts[-1].size
            state, outputs = (h[direction], c[0][direction] if c else 0), np.zeros((*x.shape[:2], size))
            for t in range(len(x))[:: -1 if direction else 1]:
                state = _step(kind, x[t] @ parts[0].T + state[0] @ parts[1].T + parts[2] + parts[3], state[1])
                outputs[t] = state[0]
            made.append(outputs)
        return np.concatenate(made, axis=2)

    return truth


def _cell(kind: str) -> Any:
    def draw(d: Draw) -> Any:
        batch, wide, size = d.integer(1, 3), d.integer(1, 4), d.integer(1, 4)
        x = d.like((batch, wide), WIDE)
        rows, dtype = size * (4 if kind == "LSTM" else 1), (d.dtype_of(x),)
        shapes = [(rows, wide), (rows,), (batch, size), (rows, size), (rows,)]
        return [x, *(d.like(s, dtype) for s in (*shapes, *([(batch, size)] if kind == "LSTM" else [])))], {}

    return draw


def _cell_truth(kind: str) -> Any:
    def truth(p: dict[str, Any], x: Any, w: Any, b: Any, h: Any, u: Any, e: Any, *c: Any) -> Any:
        return _step(kind, x @ w.T * SMALL + b + h @ u.T * SMALL + e, c[0] if c else 0)[0]

    return truth


def _attention(d: Draw) -> Any:
    heads, batch, length, keys = d.integer(1, 2), d.integer(1, 2), d.integer(1, 4), d.integer(1, 4)
    width = heads * d.integer(1, 3)
    query = d.like((batch, length, width), WIDE)
    dtype = (d.dtype_of(query),)
    key, value = (d.like((batch, keys, width), dtype) for _ in range(2))
    weights = d.new((4 * width * width,), dtype[0], "grid")
    return [query, key, value, weights], {"heads": heads, "width": width, "causal": d.chance(0.5)}


def _shares(scores: Any) -> Any:
    """Softmax along the last axis; nothing for a query that sees no key, as all of its scores are -inf."""
    top = scores.max(-1, keepdims=True)
    shares = np.exp(scores - np.where(top == -np.inf, 0.0, top))
    total = shares.sum(-1, keepdims=True)
    return shares / np.where(total == 0, 1.0, total)


def _attention_truth(p: dict[str, Any], q: Any, k: Any, v: Any, w: Any) -> Any:
    parts = w.reshape(4, p["width"], p["width"])

    def heads(x: Any) -> Any:
        return x.reshape(*x.shape[:2], p["heads"], -1).swapaxes(1, 2)

    q, k, v = (heads(x @ part) for x, part in zip((q, k, v), parts, strict=False))
    scores = q @ k.swapaxes(2, 3) / np.sqrt(p["width"] // p["heads"])
    if p["causal"]:
        later = np.arange(k.shape[2]) > np.arange(q.shape[2])[:, None]
        if not all(np.isfinite(x[:, :, later.any(0)]).all() for x in (k, v)):
            raise Unknown("kernels leave out blocks of keys that no query sees, others multiply them by 0")
        scores = np.where(later, -np.inf, scores)
    mixed = _shares(scores) @ v
    return mixed.swapaxes(1, 2).reshape(mixed.shape[0], mixed.shape[2], -1) @ parts[3]


def _dot_product(d: Draw) -> Any:
    lead = d.choice([(), (2,), (2, 2)])
    length, keys, width = d.integer(1, 5), d.integer(1, 5), d.choice([2, 4])
    dtype = d.choice(WIDE)
    shapes = (*lead, length, width), (*lead, keys, width), (*lead, keys, 3)
    return [d.new(s, dtype, "grid") for s in shapes], {"causal": d.chance(0.4)}


def _dot_product_truth(p: dict[str, Any], q: Any, k: Any, v: Any) -> Any:
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    if p["causal"]:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    return _shares(scores) @ v


def _ctc(d: Draw) -> Any:
    steps, batch, classes = d.integer(2, 5), d.integer(1, 3), d.integer(2, 4)
    x = d.new((steps, batch, classes), d.choice(WIDE), "grid")
    lengths = [d.integer(0, 1) for _ in range(batch)]
    label = [[d.integer(1, classes - 1)] for _ in range(batch)]
    counts = [d.integer(1, steps) for _ in range(batch)]
    return [x], {"counts": counts, "label": label, "lengths": lengths}


def _ctc_truth(p: dict[str, Any], x: Any) -> Any:
    said = np.exp(x - x.max(2, keepdims=True))
    said = said / said.sum(2, keepdims=True)
    losses = []
    for n, (count, (symbol,), length) in enumerate(zip(p["counts"], p["label"], p["lengths"], strict=True)):
        if not length:
            losses.append(-np.log(said[:count, n, 0]).sum())
            continue
        spans = [(a, b) for a in range(count) for b in range(a + 1, count + 1)]
        ways = [said[:a, n, 0].prod() * said[a:b, n, symbol].prod() * said[b:count, n, 0].prod() for a, b in spans]
        losses.append(-np.log(np.sum(ways)))
    return np.array(losses)


MANY = 0.4
ROWS: list[Row] = [
    Row(
        "recurrent LSTM",
        "apply(builtin.LSTM(bidirectional={both}), {0}, {1}, {2}, {3} * 0.25)[0]",
        _layer("LSTM"),
        _layer_truth("LSTM"),
        exact="formula",
        weight=MANY,
    ),
    Row(
        "recurrent RNN",
        "apply(builtin.RNN(bidirectional={both}, nonlineMode='TANH'), {0}, {1}, {2} * 0.25)[0]",
        _layer("RNN"),
        _layer_truth("RNN"),
        exact="formula",
        weight=MANY,
    ),
    Row(
        "recurrent LSTMCell",
        "apply(builtin.LSTMCell(), {0}, {1} * 0.25, {2}, {3}, {4} * 0.25, {5}, {6})[0]",
        _cell("LSTM"),
        _cell_truth("LSTM"),
        exact="formula",
        weight=MANY,
    ),
    Row(
        "recurrent RNNCell",
        "apply(builtin.RNNCell('TANH'), {0}, {1} * 0.25, {2}, {3}, {4} * 0.25, {5})",
        _cell("RNN"),
        _cell_truth("RNN"),
        exact="formula",
        weight=MANY,
    ),
    Row(
        "recurrent multi_head_attention",
        "F.nn.multi_head_attention({0}, {1}, {2}, {width}, {heads}, 0.0, 0.0, {3}, {width}, {width}, {width}, {width}, is_causal={causal})[0]",
        _attention,
        _attention_truth,
        exact="formula",
        weight=MANY,
    ),
    Row(
        "recurrent scaled_dot_product_attention",
        "F.nn.scaled_dot_product_attention({0}, {1}, {2}, is_causal={causal})",
        _dot_product,
        _dot_product_truth,
        exact="formula",
        weight=MANY,
    ),
    Row(
        "recurrent ctc_loss",
        "F.nn.ctc_loss(F.softmax({0}, axis=2), {counts}, {label}, {lengths}, reduction='none')",
        _ctc,
        _ctc_truth,
        exact="formula",
        weight=MANY,
    ),
]
