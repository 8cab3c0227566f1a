"""Python numbers that meet float64 keep all their digits: 0.1 is not rounded to float32 on the way."""

from __future__ import annotations

import numpy as np
import pytest

import tengen
import tengen.functional as F
from tengen import Parameter, Tensor, optimizer
from tengen.autodiff import GradManager

X = np.array([0.3, 1.7, -2.2, 0.9])
IMAGE, COLUMN = X.reshape(1, 4, 1, 1), X.reshape(4, 1)
P, LABELS = np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([0, 1])


def wide(array):
    return Tensor(np.array(array), dtype="float64")


def assign(index, value):
    def result(x):
        y = x * 1
        y[index(y)] = value
        return y

    return result


def assigned(places, value):
    y = X.copy()
    y[places] = value
    return y


def response(x):
    energy = np.array([(x[max(i - 1, 0) : i + 2] ** 2).sum() for i in range(4)])
    return (x / (1.1 + 0.1 * energy) ** 0.7).reshape(1, 4, 1, 1)


def smoothed(logs):
    return -(0.9 * logs[[0, 1], LABELS] + 0.1 * logs.mean(1)).mean()


SIZE = np.abs(X)
ROWS = {
    "x * 0.1": (lambda x: x * 0.1, X * 0.1),
    "0.1 + x": (lambda x: 0.1 + x, 0.1 + X),
    "x ** 0.1": (lambda x: F.abs(x) ** 0.1, SIZE**0.1),
    "mod": (lambda x: F.mod(x, 0.7), np.fmod(X, 0.7)),
    "atan2": (lambda x: F.atan2(x, 0.1), np.arctan2(X, 0.1)),
    "logaddexp": (lambda x: F.logaddexp(x, 0.1), np.logaddexp(X, 0.1)),
    "maximum": (lambda x: F.maximum(x, 0.1), np.maximum(X, 0.1)),
    "clip": (lambda x: F.clip(x, -0.1, 0.1), np.clip(X, -0.1, 0.1)),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.1), np.where(X > 0, X, X * 0.1)),
    "where": (lambda x: F.where(x > 0, x, 0.1), np.where(X > 0, X, 0.1)),
    "full": (lambda x: F.full((2,), 0.1, dtype="float64"), [0.1, 0.1]),
    "full_like": (lambda x: F.full_like(x, 0.1), [0.1] * 4),
    "arange": (lambda x: F.arange(0, 1, 0.1, dtype="float64"), np.arange(0, 1, 0.1)),
    "linspace": (lambda x: F.linspace(0.1, 0.7, 4, dtype="float64"), np.linspace(0.1, 0.7, 4)),
    "pad": (lambda x: F.nn.pad(x, ((1, 0),), constant_value=0.1), np.pad(X, (1, 0), constant_values=0.1)),
    "x[0] = 0.1": (assign(lambda x: 0, 0.1), assigned(0, 0.1)),
    "x[mask] = 0.1": (assign(lambda x: x > 0, 0.1), assigned(X > 0, 0.1)),
    "x[indices] = 0.1": (assign(lambda x: Tensor([0, 2]), 0.1), assigned([0, 2], 0.1)),
    "x[:2] = [0.1, 0.2]": (assign(lambda x: slice(2), [0.1, 0.2]), assigned(slice(2), [0.1, 0.2])),
    "norm": (lambda x: F.norm(x, 2.3), (SIZE**2.3).sum() ** (1 / 2.3)),
    "normalize": (lambda x: F.normalize(x, 2.3), X / (SIZE**2.3).sum() ** (1 / 2.3)),
    "layer_norm": (lambda x: F.nn.layer_norm(x, (4,), False, eps=0.1), (X - X.mean()) / np.sqrt(X.var() + 0.1)),
    "batch_norm": (
        lambda x: F.nn.batch_norm(x.reshape(4, 1), wide([0.3]), wide([0.7]), eps=0.1),
        (COLUMN - 0.3) / np.sqrt(0.7 + 0.1),
    ),
    "local_response_norm": (
        lambda x: F.nn.local_response_norm(x.reshape(1, 4, 1, 1), 3, 1.1, 0.1, 0.7),
        response(X),
    ),
    "label smoothing": (
        lambda x: F.nn.cross_entropy(wide(P), Tensor(LABELS), label_smooth=0.1),
        smoothed(P - np.log(np.exp(P).sum(1, keepdims=True))),
    ),
    "label smoothing of probabilities": (
        lambda x: F.nn.cross_entropy(wide(P), Tensor(LABELS), label_smooth=0.1, with_logits=False),
        smoothed(np.log(P)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_values(name):
    function, truth = ROWS[name]
    found = function(wide(X))
    assert found.desc.dtype == "float64"
    np.testing.assert_allclose(found.numpy(), truth, rtol=1e-14)


def test_dropout():
    tengen.random.seed(1)
    found = F.dropout(wide(np.linspace(1, 2, 1000)), 0.1).numpy()
    np.testing.assert_allclose(found[found != 0], (np.linspace(1, 2, 1000) / (1 - 0.1))[found != 0], rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dropout_keeps_the_dtype_and_drops_the_same(dtype):
    tengen.random.seed(1)
    dropped = F.dropout(F.ones((1000,)), 0.3).numpy() == 0
    tengen.random.seed(1)
    found = F.dropout(F.ones((1000,), dtype=dtype), 0.3)
    assert found.desc.dtype == dtype
    np.testing.assert_array_equal(found.numpy() == 0, dropped)


def test_running_statistics():
    mean, var = wide([0.3]), wide([0.7])
    F.nn.batch_norm(wide(COLUMN), mean, var, training=True, momentum=0.1)
    np.testing.assert_allclose(mean.numpy(), [0.3 * 0.1 + 0.9 * X.mean()], rtol=1e-14)
    np.testing.assert_allclose(var.numpy(), [0.7 * 0.1 + 0.9 * X.var(ddof=1)], rtol=1e-14)


def sgd(w, g, s):
    s["v"] = 0.9 * s.get("v", 0.0) + g + 0.1 * w
    return w - 0.01 * s["v"]


def adam(w, g, s):
    s["t"] = t = s.get("t", 0) + 1
    g = g + 0.1 * w
    s["m"], s["v"] = 0.9 * s.get("m", 0.0) + 0.1 * g, 0.999 * s.get("v", 0.0) + 0.001 * g * g
    return w - 0.01 * (s["m"] / (1 - 0.9**t)) / (np.sqrt(s["v"] / (1 - 0.999**t)) + 1e-8)


@pytest.mark.parametrize(
    "make, rule",
    [
        (lambda w: optimizer.SGD(w, lr=0.01, momentum=0.9, weight_decay=0.1), sgd),
        (lambda w: optimizer.Adam(w, lr=0.01, weight_decay=0.1), adam),
    ],
    ids=["SGD", "Adam"],
)
def test_optimizers_keep_their_state_as_wide_as_the_parameter(make, rule):
    w, truth, state = Parameter(np.array([0.3]), dtype="float64"), 0.3, {}
    manager, steps = GradManager().attach([w]), make([w])
    for _ in range(3):
        with manager:
            manager.backward((w * w).sum())
        steps.step().clear_grad()
        truth = rule(truth, 2 * truth, state)
    np.testing.assert_allclose(w.numpy(), [truth], rtol=1e-14)
