"""Gradients where a formula has a corner, or 0 · inf in it: those that PyTorch 2.13 gives, and MegEngine 1.13 where it names a number."""

from __future__ import annotations

import math
from contextlib import ExitStack
from itertools import permutations

import numpy as np
import pytest
from checks import check_gradient, check_second_gradient

import tengen.functional as F
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.jit import trace

INF, NAN = math.inf, math.nan


def gradients_of(function, *arrays, dtype="float32"):
    """The gradients of the sum of function(*arrays), None where there is none."""
    inputs = [Tensor(np.array(a), dtype=dtype) for a in arrays]
    manager = GradManager().attach(inputs)
    with manager:
        manager.backward(F.sum(function(*inputs)))
    return [None if t.grad is None else t.grad.numpy().tolist() for t in inputs]


# name: (function, operands, gradients)
CLIPS = {
    "relu6": (F.relu6, [[-1, 0, 3, 6, 7]], [[0, 0, 1, 0, 0]]),
    "hsigmoid": (F.hsigmoid, [[-4, -3, 0, 3, 4]], [[0, 0, 1 / 6, 0, 0]]),
    "hswish": (F.hswish, [[-4, -3, 0, 3, 4]], [[0, -0.5, 0.5, 1.5, 1]]),
    "clip": (lambda x: F.clip(x, 0, 1), [[-1, 0, 0.5, 1, 2]], [[0, 1, 1, 1, 0]]),
    "clip above": (lambda x: F.clip(x, 0), [[-1, 0, 0.5]], [[0, 1, 1]]),
    "clip below": (lambda x: F.clip(x, None, 1), [[0.5, 1, 2]], [[1, 1, 0]]),
    "clip between": (F.clip, [[-1, 0, 1, 2], [0] * 4, [1] * 4], [[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]),
    "relu": (F.relu, [[-1, 0, 1]], [[0, 0, 1]]),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.25), [[-1, 0, 1]], [[0.25, 1, 1]]),
    "prelu": (F.prelu, [[-1, 0, 1], [0.25] * 3], [[0.25, 1, 1], [-1, 0, 0]]),
    "hinge_loss": (
        lambda x, y: F.nn.hinge_loss(x, y, "L1", reduction="sum"),
        [[[1, 2, 0]], [[1, 1, 1]]],
        [[[0, 0, -1]], [[0, 0, 0]]],
    ),
    "maximum": (F.maximum, [[1, 2, 3], [2, 2, 2]], [[0, 1, 1], [1, 0, 0]]),
    "abs": (F.abs, [[-1, 0, 1]], [[-1, 0, 1]]),
    "l1_loss": (lambda x, y: F.nn.l1_loss(x, y, reduction="sum"), [[1, 2], [1, 3]], [[0, -1], [0, 1]]),
}  # fmt: skip

ZERO, ROWS = [[0, 0], [3, -4]], [[0, 0, 0], [2, 2, 2], [1, 2, 3]]
BIG = 1e12  # 1 / eps of normalize
FINITE = {
    "norm": (lambda x: F.norm(x, axis=1), [ZERO], [[[0, 0], [0.6, -0.8]]]),
    "norm of both axes": (lambda x: F.norm(x, axis=(0, 1)), [[[0, 0], [0, 0]]], [[[0, 0], [0, 0]]]),
    "norm 1": (lambda x: F.norm(x, 1, axis=1), [ZERO], [[[0, 0], [1, -1]]]),
    "norm 1.5": (lambda x: F.norm(x, 1.5, axis=1), [[[0, 0], [3, 0]]], [[[0, 0], [1, 0]]]),
    "norm 3": (lambda x: F.norm(x, 3, axis=1), [[[0, 0], [3, 0]]], [[[0, 0], [1, 0]]]),
    "norm 0.5": (lambda x: F.norm(x, 0.5, axis=1), [[[0, 0], [3, 0]]], [[[0, 0], [1, 0]]]),
    "norm -1": (lambda x: F.norm(x, -1, axis=1), [[[0, 0], [3, -3]]], [[[0, 0], [0.25, -0.25]]]),
    "norm inf": (lambda x: F.norm(x, INF, axis=1), [ZERO], [[[0, 0], [0, -1]]]),
    "norm -inf": (lambda x: F.norm(x, -INF, axis=1), [ZERO], [[[0, 0], [1, 0]]]),
    "normalize": (lambda x: F.normalize(x, axis=1), [[[0, 0], [3, 0]]], [[[BIG, BIG], [0, 1 / 3]]]),
    "normalize 3": (lambda x: F.normalize(x, 3, axis=1), [[[0, 0], [3, 0]]], [[[BIG, BIG], [0, 1 / 3]]]),
    "std": (lambda x: F.std(x, axis=1), [[[1, 1], [3, 4]]], [[[0, 0], [-0.5, 0.5]]]),
    "std of all": (lambda x: F.std(x), [[[1, 1], [1, 1]]], [[[0, 0], [0, 0]]]),
    "std of both axes": (lambda x: F.std(x, axis=(0, 1)), [[[1, 1], [1, 1]]], [[[0, 0], [0, 0]]]),
    "var": (lambda x: F.var(x, axis=1), [[[1, 1], [3, 4]]], [[[0, 0], [-0.5, 0.5]]]),
    "x ** 0": (lambda x: x**0, [[-2, 0, 2, INF, NAN]], [[0] * 5]),
    "x ** 0.0": (lambda x: x**0.0, [[-2, 0, 2]], [[0, 0, 0]]),
    "x ** 1": (lambda x: x**1, [[-2, 0, 2]], [[1, 1, 1]]),
    "x ** 2": (lambda x: x**2, [[-2, 0, 2]], [[-4, 0, 4]]),
    "x ** -1": (lambda x: x**-1, [[-2, 0]], [[-0.25, -INF]]),
    "x ** 0.5": (lambda x: x**0.5, [[0, 4]], [[INF, 0.25]]),
    "0 ** x": (lambda x: 0**x, [[0, 1, 2, -1]], [[0, 0, 0, -INF]]),
    "pow": (
        F.pow,
        [[0, 0, 0, 2, 2, -2, 0], [0, 1, 2, 0, 3, 2, -1]],
        [[0, 1, 0, 0, 12, -4, -INF], [0, 0, 0, math.log(2), 8 * math.log(2), NAN, -INF]],
    ),
    "atan2": (F.atan2, [[0, 0, 1], [0, 1, 0]], [[0, 1, 0], [0, 0, -1]]),
    "atan2 far away": (F.atan2, [[1, INF, -2, INF], [INF, 1, -INF, INF]], [[0, 0, 0, 0], [0, 0, 0, 0]]),
    "prod": (lambda x: F.prod(x, 1), [[[0, 2, 3], [0, 0, 3], [1, 2, 3]]], [[[6, 0, 0], [0, 0, 0], [6, 3, 2]]]),
    "binary_cross_entropy": (
        lambda x: F.nn.binary_cross_entropy(x, Tensor([1.0, 0, 0, 1, 0.5]), with_logits=False, reduction="sum"),
        [[1, 0, 1, 0, 0.5]],
        [[0, 0, BIG, -BIG, 0]],
    ),
    "binary_cross_entropy of a saturated sigmoid": (
        lambda x: F.nn.binary_cross_entropy(
            F.sigmoid(x), Tensor([1.0, 0, 0, 1]), with_logits=False, reduction="sum"
        ),
        [[100, -200, 100, -200]],
        [[0, 0, 0, 0]],
    ),
    "cross_entropy of probabilities": (
        lambda x: F.nn.cross_entropy(x, Tensor([0, 1], dtype="int32"), with_logits=False),
        [[[1, 0], [0, 1]]],
        [[[-0.5, 0], [0, -0.5]]],
    ),
    "layer_norm": (
        lambda x: F.nn.layer_norm(x, (3,), False) * Tensor([1.0, 2, 3]),
        [[[1, 1, 1]]],
        [[[-316.22776, 0, 316.22776]]],
    ),
    "group_norm": (lambda x: F.nn.group_norm(x, 1, False)[:, :1], [[[1, 1, 1]]], [[[2 / 3 * 316.22776, *[-316.22776 / 3] * 2]]]),
    "softplus": (F.softplus, [[-INF, -200, 0, 200, INF]], [[0, 0, 0.5, 1, 1]]),
    "logsigmoid": (F.logsigmoid, [[-INF, -200, 0, 200, INF]], [[1, 1, 0.5, 0, 0]]),
    "sigmoid": (F.sigmoid, [[-INF, 0, INF]], [[0, 0.25, 0]]),
    "tanh": (F.tanh, [[-INF, 0, INF]], [[0, 1, 0]]),
    "softmax": (lambda x: F.softmax(x, 1)[:, 1], [[[-INF, 1]]], [[[0, 0]]]),
    "logsumexp": (lambda x: F.logsumexp(x, 1), [[[-INF, 1]]], [[[0, 1]]]),
    "logaddexp": (F.logaddexp, [[0, -INF, INF], [-INF, 0, 1]], [[1, 0, 1], [0, 1, 0]]),
    "logaddexp of equals": (F.logaddexp, [[0, 1, -50], [0, 1, -50]], [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]),
}  # fmt: skip
CORNERS = {**CLIPS, **FINITE}


@pytest.mark.parametrize("name", CORNERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient(name, dtype):
    function, operands, expected = CORNERS[name]
    for found, wanted in zip(gradients_of(function, *operands, dtype=dtype), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CORNERS)
def test_gradient_in_a_trace(name):
    function, operands, expected = CORNERS[name]
    inputs = [Tensor(np.array(a, np.float32)) for a in operands]
    manager = GradManager().attach(inputs)

    @trace
    def step():
        with manager:
            manager.backward(F.sum(function(*inputs)))

    for _ in range(2):
        for x in inputs:
            x.grad = None
        step()
        for x, wanted in zip(inputs, expected, strict=True):
            np.testing.assert_allclose(x.grad.numpy(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", CLIPS)
def test_narrow_gradient(name, dtype):
    function, operands, expected = CORNERS[name]
    for found, wanted in zip(gradients_of(function, *operands, dtype=dtype), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-2, atol=1e-6)


def test_losses_of_certain_probabilities_are_finite():
    loss = F.nn.binary_cross_entropy(
        Tensor([1.0, 0, 1, 0]), Tensor([1.0, 0, 0, 1]), with_logits=False, reduction="none"
    )
    np.testing.assert_array_equal(loss.numpy(), [0, 0, 100, 100])


PRODUCTS = [[[0, 2, 3], [0, 0, 3], [0, 0, 0], [1, 2, 3]], [[0, 0], [0, 0], [0, 0]], [[0.5, 1.5], [2, 0], [3, 1]]]


@pytest.mark.parametrize("rows", PRODUCTS)
@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
def test_products_with_zeros(rows, axis):
    check_gradient(lambda x: F.prod(x, axis), [np.array(rows, float)], step=1e-4)
    check_second_gradient(lambda x: F.prod(x, axis), [np.array(rows, float)], step=1e-4)


def derivative_of_a_product(x, *along):
    """By each element, along these directions: the sum over distinct other places of the directions there times all that is left of x."""
    made = np.zeros(x.size)
    for k, *places in permutations(range(x.size), 1 + len(along)):
        left = np.delete(x.reshape(-1), [k, *places]).prod()
        made[k] += left * np.prod([a.reshape(-1)[i] for a, i in zip(along, places, strict=True)])
    return made.reshape(x.shape)


@pytest.mark.parametrize("rows", [*PRODUCTS, [[0, 0, 0, 2, 0.5, 0, 0]], [[0, 0]], [[0, 1, 0, 0, 3]]])
@pytest.mark.parametrize("axis", [1, (0, 1)])
@pytest.mark.parametrize("order", [3, 4])
def test_higher_derivatives_of_products_with_zeros(rows, axis, order):
    x, random = np.array(rows, float), np.random.default_rng(1)
    along = [random.integers(1, 9, x.shape) / 4 for _ in range(order - 1)]
    if axis == 1:
        wanted = np.stack([derivative_of_a_product(r, *(a[i] for a in along)) for i, r in enumerate(x)])
    else:
        wanted = derivative_of_a_product(x, *along)

    t = Tensor(x, dtype="float64")
    managers = [GradManager().attach([t]) for _ in range(order)]
    with ExitStack() as stack:
        for manager in managers:
            stack.enter_context(manager)
        found = F.sum(F.prod(t, axis))
        for manager, direction in zip(reversed(managers), [*along, None], strict=True):
            t.grad = None
            manager.backward(found)
            found = None if t.grad is None or direction is None else F.sum(t.grad * Tensor(direction, dtype="float64"))
            if found is None:
                break
    np.testing.assert_allclose(np.zeros(x.shape) if t.grad is None else t.grad.numpy(), wanted, rtol=1e-12)


@pytest.mark.parametrize("order", [0.5, 1, 1.5, 2, 3, -1, -2.5, INF, -INF])
@pytest.mark.parametrize("function", [F.norm, F.normalize])
def test_norms_away_from_corners(function, order):
    rows = np.array([[0.5, -1.25, 2.0], [0.25, 3.0, -1.5]])
    for axis in (0, 1, (0, 1)):
        check_gradient(lambda x, axis=axis: function(x, order, axis=axis), [rows])
        check_second_gradient(lambda x, axis=axis: function(x, order, axis=axis), [rows])


@pytest.mark.parametrize("function", [F.var, F.std])
def test_spread_away_from_corners(function):
    rows = np.array([[0.5, -1.25, 2.0], [0.25, 3.0, -1.5]])
    for axis in (0, 1, (0, 1), None):
        check_gradient(lambda x, axis=axis: function(x, axis), [rows])
        check_second_gradient(lambda x, axis=axis: function(x, axis), [rows])


@pytest.mark.parametrize(
    "function",
    [F.std, lambda x: F.norm(x, axis=(0, 1)), lambda x: F.norm(x, 3, axis=(0, 1)), lambda x: x**0, F.prod],
    ids=["std", "norm", "norm 3", "x ** 0", "prod"],
)
def test_second_gradients_are_finite(function):
    x = Tensor(np.zeros((2, 2)))
    outer, inner = GradManager().attach([x]), GradManager().attach([x])
    with outer:
        with inner:
            inner.backward(F.sum(function(x)))
        first = x.grad
        x.grad = None
        outer.backward(F.sum(first * first + first))
    assert x.grad is None or np.isfinite(x.grad.numpy()).all()


def test_powers_of_float64_know_their_exponent():
    """An exponent such as 2.1 has more digits than float32."""
    (found,) = gradients_of(lambda x: x**2.1, [1.5, 3.0], dtype="float64")
    np.testing.assert_allclose(found, 2.1 * np.array([1.5, 3.0]) ** 1.1, rtol=1e-15)


@pytest.mark.parametrize("order", [2.0, 3.0])
def test_the_gradient_of_a_norm_is_nan_where_the_norm_is(order):
    x = Tensor([[np.nan, 3.0], [1.0, 4.0]])
    gm = GradManager().attach([x])
    with gm:
        gm.backward(F.norm(x, order, 0))
    assert np.isnan(x.grad.numpy()[:, 0]).all()
    assert np.isfinite(x.grad.numpy()[:, 1]).all()


@pytest.mark.parametrize("slope", [np.nan, np.inf])
def test_a_slope_that_is_not_finite_shows_at_zero(slope):
    """slope * 0, as in PyTorch and MegEngine; what is positive does not see it, and neither does the gradient from there on."""
    x = [0.0, -0.0, 2.0]
    for function in (lambda x: F.leaky_relu(x, slope), lambda x: F.prelu(x, Tensor([slope]))):
        np.testing.assert_array_equal(function(Tensor(x)).numpy(), [np.nan, np.nan, 2.0])
        assert gradients_of(function, x) == [[1.0, 1.0, 1.0]]
