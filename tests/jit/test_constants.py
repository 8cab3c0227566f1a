"""What depends on constants alone is computed once; the truth is NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
from frozen_functions import frozen

import tengen.functional as F
import tengen.module as M
from tengen import Parameter, Tensor
from tengen.autodiff import GradManager
from tengen.core.ops.create import Arange
from tengen.core.ops.elemwise import Elemwise
from tengen.jit import Loaded, trace
from tengen.optimizer import SGD
from tengen.random import RNG

RANDOM = np.random.default_rng(5)
X, W = (RANDOM.standard_normal((4, 6)).astype(np.float32) for _ in range(2))
WIDE = W.astype(np.float64)
SOFTMAX = np.exp(WIDE) / np.exp(WIDE).sum(1, keepdims=True)


def plans(function):
    ((_, _, _, found),) = function.explain().calls
    return found


def captured(function):
    """The function traced with what it takes from outside as constants, recorded, and called again twice."""
    made = trace(function, without_host=True, capture_as_const=True)
    for x in (X + 1, X + 2, X):
        result = made(Tensor(x))
    return made, result


def test_captured_tensors_are_folded():
    w = Parameter(W)
    function, result = captured(lambda x: x * F.matmul(w, F.transpose(F.softmax(w, axis=1), (1, 0))).sum())
    truth = X * (WIDE @ SOFTMAX.T).sum()
    np.testing.assert_allclose(result.numpy(), truth, rtol=1e-5, atol=1e-6)
    recorded, folded = plans(function)
    assert recorded.launches > folded.launches == 1
    assert "constants alone" in folded.reason and "constants alone" not in recorded.reason
    w += 1
    np.testing.assert_allclose(function(Tensor(X)).numpy(), truth, rtol=1e-5, atol=1e-6)


def test_normalisation_of_a_captured_network_is_one_factor():
    norm = M.BatchNorm2d(3)
    norm.eval()
    norm.running_var._reset(Tensor(np.float32([0.5, 1, 2]).reshape(norm.running_var.shape)))
    function = trace(norm, without_host=True, capture_as_const=True)
    x = RANDOM.standard_normal((2, 3, 2, 2)).astype(np.float32)
    for _ in range(2):
        result = function(Tensor(x)).numpy()
    np.testing.assert_allclose(result, x / np.sqrt(np.array([0.5, 1, 2]).reshape(3, 1, 1) + norm.eps), rtol=1e-5)


def test_what_is_not_captured_is_read_again():
    w = Parameter(W)
    function = trace(lambda x: x * F.softmax(w, axis=1), without_host=True)
    for _ in range(2):
        np.testing.assert_allclose(function(Tensor(X)).numpy(), X * SOFTMAX, rtol=1e-5, atol=1e-6)
    w.set_value(np.zeros_like(W))
    np.testing.assert_allclose(function(Tensor(X)).numpy(), X / 6, rtol=1e-5)
    assert len(plans(function)) == 1


def waves():
    return np.sin(np.arange(6) * 0.25)


@pytest.mark.parametrize("capture", [False, True])
def test_tables_that_need_no_tensors_are_folded(capture):
    function = trace(
        lambda x: F.matmul(x, F.transpose(x, (1, 0))) + F.sum(F.sin(F.arange(6) * 0.25)),
        without_host=True,
        capture_as_const=capture,
    )
    for x in (X, X + 1):
        np.testing.assert_allclose(
            function(Tensor(x)).numpy(), x.astype(np.float64) @ x.T + waves().sum(), rtol=1e-5, atol=1e-5
        )
    recorded, folded = plans(function)
    assert folded.launches == recorded.launches - 1


def test_what_costs_less_than_reading_it_stays():
    function = trace(lambda x: x * 2 + F.sqrt(F.full((4, 6), 9.0)) - F.eye(4, 6), without_host=True)
    for _ in range(2):
        np.testing.assert_allclose(function(Tensor(X)).numpy(), X * 2 + 3 - np.eye(4, 6), rtol=1e-5, atol=1e-5)
    assert len(plans(function)) == 1


def test_only_constants():
    w = Parameter(W)
    _, result = captured(lambda x: F.softmax(w, axis=1))
    np.testing.assert_allclose(result.numpy(), SOFTMAX, rtol=1e-5)
    bare = trace(lambda: (F.softmax(w, axis=1), F.sum(w)), without_host=True, capture_as_const=True)
    for _ in range(3):
        results = bare()
    for got, want in zip(results, (SOFTMAX, WIDE.sum()), strict=True):
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-5)
    assert plans(bare)[-1].launches == 0


def test_results_that_are_constants_may_be_written_to():
    w = Parameter(W)
    function = trace(lambda x: (x + 1, F.exp(w)), without_host=True, capture_as_const=True)
    for _ in range(3):
        _, table = function(Tensor(X))
        np.testing.assert_allclose(table.numpy(), np.exp(WIDE), rtol=1e-5)
        table += 1
        table[0] = 7


def test_random_numbers_are_drawn_at_each_call():
    rng = RNG(seed=3)
    function = trace(lambda x: x * 0 + rng.uniform(size=(4, 6)), without_host=True, capture_as_const=True)
    seen = [function(Tensor(X)).numpy() for _ in range(3)]
    again = RNG(seed=3)
    for got in seen:
        np.testing.assert_array_equal(got, again.uniform(size=(4, 6)).numpy())


def test_gradients_of_arguments():
    w = Parameter(W)
    function, _ = captured(lambda x: F.sum(x * x * F.softmax(w, axis=1)))
    x = Tensor(X)
    manager = GradManager().attach([x])
    with manager:
        manager.backward(function(x))
    np.testing.assert_allclose(x.grad.numpy(), 2 * X * SOFTMAX, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(function(x).numpy(), (X.astype(np.float64) ** 2 * SOFTMAX).sum(), rtol=1e-5)


def test_a_training_step_keeps_its_state():
    w, table = Parameter(W), np.sin(np.arange(24) * 0.25).reshape(4, 6)
    manager, optimizer = GradManager().attach([w]), SGD([w], lr=0.1)

    @trace(without_host=True)
    def step(x):
        with manager:
            loss = F.sum(F.exp(F.matmul(x * w, F.transpose(F.reshape(F.sin(F.arange(24) * 0.25), (4, 6)), (1, 0)))))
            manager.backward(loss)
        optimizer.step().clear_grad()
        return loss

    want = WIDE.copy()
    for rate in (0.01, 0.02, 0.005):
        optimizer.param_groups[0]["lr"] = rate
        loss = step(Tensor(X * 0.1))
        inner = np.exp((X * 0.1 * want) @ table.T)
        np.testing.assert_allclose(loss.numpy(), inner.sum(), rtol=1e-5)
        want -= rate * (inner @ table) * X * 0.1
        np.testing.assert_allclose(w.numpy(), want, rtol=1e-5, atol=1e-6)
    assert "constants alone" in plans(step)[-1].reason


def test_a_loaded_function_computes_its_tables_once():
    def function(x):
        return x + Elemwise("SIN")(Arange(6, "float32", "")(x.builder.constant(0.0), x.builder.constant(0.25)))

    run = Loaded(frozen(function, [X]))
    np.testing.assert_allclose(run(X).numpy(), X + waves(), rtol=1e-5, atol=1e-6)
    assert [n.op.name for n in run._op.program.nodes] == ["add"]
