"""Random functions of tensors, with state, run eagerly, traced in both modes, and in NumPy with float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tengen.functional as F
from tengen import Parameter, Tensor
from tengen.jit import exclude_from_trace, trace


def weight(rows: int) -> np.ndarray:
    """A matrix with 4 columns, as the state has, whose products with moderate values are moderate."""
    return np.cos(np.outer(np.arange(rows), np.arange(1, 5))).astype(np.float32) / np.float32(rows)


# Each maps values of moderate size to such: name → (in tengen, in NumPy).
UNARY: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "tanh": (F.tanh, np.tanh),
    "relu": (F.relu, lambda x: np.maximum(x, 0)),
    "sigmoid": (F.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "half": (lambda x: x * 0.5 + 1, lambda x: x * 0.5 + 1),
    "turn": (lambda x: x.transpose(1, 0), lambda x: x.T),
    "flat": (lambda x: x.reshape(1, -1), lambda x: x.reshape(1, -1)),
    "odd": (lambda x: x[::2], lambda x: x[::2]),
    "tail": (lambda x: x[:, -1:], lambda x: x[:, -1:]),
    "sum": (lambda x: F.sum(x, 0, True), lambda x: x.sum(0, keepdims=True)),
    "mean": (lambda x: F.mean(x, 1, True), lambda x: x.mean(1, keepdims=True)),
    "max": (lambda x: F.max(x, 1, True), lambda x: x.max(1, keepdims=True)),
    "softmax": (lambda x: F.softmax(x, 1), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    "squash": (lambda x: x / (1 + F.abs(x)), lambda x: x / (1 + np.abs(x))),
    "gram": (lambda x: F.tanh(F.matmul(x, x, transpose_b=True)), lambda x: np.tanh(x @ x.T)),
    "dense": (lambda x: F.matmul(x, Tensor(weight(x.shape[1]))), lambda x: x @ weight(x.shape[1])),
    "twice": (lambda x: F.concat([x, x * 2], 1) * 0.5, lambda x: np.concatenate([x, x * 2], 1) * 0.5),
}
BINARY: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "add": (lambda x, y: (x + y) * 0.5, lambda x, y: (x + y) * 0.5),
    "mul": (lambda x, y: F.tanh(x * y), lambda x, y: np.tanh(x * y)),
    "maximum": (F.maximum, np.maximum),
    "where": (lambda x, y: F.where(x > y, x - y, y), lambda x, y: np.where(x > y, x - y, y)),
}
MOST = 400  # elements of a value

STEP = st.one_of(
    st.tuples(st.sampled_from(sorted(UNARY)), st.integers(0, 99)),
    st.tuples(st.sampled_from(sorted(BINARY)), st.integers(0, 99), st.integers(0, 99)),
    st.tuples(st.sampled_from(["dense", "update"]), st.integers(0, 99)),
    st.tuples(st.just("read"), st.integers(0, 99)),
    st.tuples(st.just("exclude"), st.integers(0, 99)),
)


def fits(*shapes: tuple[int, ...]) -> bool:
    return all(len({s[d] for s in shapes} - {1}) <= 1 for d in (0, 1))


def run(steps: list[tuple[Any, ...]], inputs: list[Any], state: Any, column: int) -> list[Any]:
    """The values that `steps` compute, in tengen (column 0) or NumPy (1); some change `state`, a tensor or array of shape (3, 4)."""
    values = list(inputs)
    for name, *places in steps:
        chosen = [values[place % len(values)] for place in places]
        if name == "update":
            shape = tuple(chosen[0].shape)
            if fits(shape, (3, 4)) and all(s in (1, t) for s, t in zip(shape, (3, 4), strict=True)):
                state *= 0.5
                state += chosen[0]
                values.append(state + 0)
        elif name == "read":
            total = chosen[0].sum()
            values.append(chosen[0] * (1 if np.isfinite(float(total)) else 0))
        elif name == "exclude":
            if column:
                values.append(chosen[0] * 0.25)
            else:
                with exclude_from_trace():
                    values.append(chosen[0] * 0.25)
        elif len(chosen) == 1:
            if max(chosen[0].size, chosen[0].shape[0] ** 2) * 2 <= MOST:
                values.append(UNARY[name][column](chosen[0]))
        elif fits(*(c.shape for c in chosen)):
            values.append(BINARY[name][column](*chosen))
    return values


@settings(max_examples=150, deadline=None)
@example([("dense", 0), ("update", 3)], 0, 2)
@given(st.lists(STEP, min_size=1, max_size=12), st.integers(0, 2**20), st.integers(1, 5))
def test_eager_traced_and_numpy_agree(steps, seed, every):
    """Only some values are results: what nobody sees may be left to another kernel."""
    random = np.random.default_rng(seed)
    calls = [[random.uniform(-1, 1, s).astype(np.float32) for s in ((3, 4), (1, 4), (3, 1))] for _ in range(3)]
    first = random.uniform(-1, 1, (3, 4)).astype(np.float32)
    pure = all(name not in ("read", "exclude") for name, *_ in steps)

    state = first.astype(np.float64)
    wanted = []
    for arrays in calls:
        values = run(steps, [a.astype(np.float64) for a in arrays], state, 1)[::every]
        wanted.append(([np.array(v) for v in values], state.copy()))
    for options in ({}, {"without_host": False}, *([{"without_host": True}] if pure else [])):
        held = Parameter(first)

        def function(*inputs, held=held):
            return run(steps, list(inputs), held, 0)[::every]

        traced = trace(function, **options) if options else function
        for arrays, (values, after) in zip(calls, wanted, strict=True):
            got = traced(*map(Tensor, arrays))
            assert len(got) == len(values)
            for mine, truth in zip(got, values, strict=True):
                np.testing.assert_allclose(mine.numpy(), truth, rtol=2e-5, atol=2e-5)
            np.testing.assert_allclose(held.numpy(), after, rtol=2e-5, atol=2e-5)
