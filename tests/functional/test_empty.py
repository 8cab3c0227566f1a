"""Tensors without elements, eager and traced: what NumPy and PyTorch give for them."""

from __future__ import annotations

import numpy as np
import pytest

import tengen.functional as F
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.jit import trace

MODES = pytest.mark.parametrize("make", [lambda f: f, trace], ids=["eager", "trace"])


@MODES
@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (0, 0), (2, 0, 3)])
def test_views(make, shape):
    a = np.zeros(shape, np.float32)
    for view in (lambda x: x[1:], lambda x: x[:, 1:], lambda x: x[::-1, ::-1], lambda x: x[..., -1:], lambda x: x[:0]):
        got = make(view)(Tensor(a))
        np.testing.assert_array_equal(got.numpy(), view(a))
        np.testing.assert_array_equal((got + 1).numpy(), view(a))


@MODES
def test_split(make):
    parts = make(lambda x: (*F.split(x, 2), *F.split(x, [1, 3])))(F.zeros((4, 0)))
    assert [p.numpy().shape for p in parts] == [(2, 0), (2, 0), (1, 0), (2, 0), (1, 0)]


@MODES
@pytest.mark.parametrize("shape, axis", [((3, 0), 1), ((0, 3), 0), ((0,), 0), ((2, 0, 3), 1), ((0, 3), 1)])
def test_softmax_over_nothing(make, shape, axis):
    """As PyTorch: no elements, and -inf is the logarithm of a sum of none."""
    x = Tensor(np.zeros(shape, np.float32))
    for function in (F.softmax, F.logsoftmax):
        assert make(lambda x, function=function: function(x, axis))(x).numpy().shape == shape
    got = make(lambda x: F.logsumexp(x, axis))(x).numpy()
    rest = tuple(s for d, s in enumerate(shape) if d != axis)
    np.testing.assert_array_equal(got, np.full(rest, -np.inf, np.float32))


def test_gradient_of_softmax_over_nothing():
    x = Tensor(np.zeros((3, 0), np.float32))
    manager = GradManager().attach([x])
    with manager:
        manager.backward(F.softmax(x, 1).sum() + F.logsoftmax(x, 1).sum() + F.exp(F.logsumexp(x, 1)).sum())
    assert x.grad.numpy().shape == (3, 0)


@pytest.mark.parametrize("function", [F.max, F.min, F.argmax, F.argmin])
def test_no_extreme_of_nothing(function):
    with pytest.raises(ValueError):
        function(Tensor(np.zeros((3, 0), np.float32)), 1)
