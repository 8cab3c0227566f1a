"""`tengen.fuse`: any function of tensor maths as one op. The truth is NumPy with float64, and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

import tengen
import tengen.functional as F
from tengen import Parameter, Tensor
from tengen.autodiff import GradManager
from tengen.jit import TraceError


@tengen.fuse
def mish(x, scale):
    return x * F.tanh(F.softplus(x)) * scale


def mish64(x):
    return x * np.tanh(np.log1p(np.exp(x)))


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 0), ()])
def test_value_and_gradient(shape):
    x = np.random.default_rng(0).uniform(-3, 3, shape)
    for _ in range(2):
        tensor, scale = Tensor(x.astype(np.float32)), Parameter(np.float32(1.5))
        gm = GradManager().attach([tensor, scale])
        with gm:
            y = mish(tensor, scale)
            gm.backward(y, F.ones_like(y))
        np.testing.assert_allclose(y.numpy(), 1.5 * mish64(x), rtol=2e-6, atol=1e-6)
        slope = (mish64(x + 1e-6) - mish64(x - 1e-6)) / 2e-6
        np.testing.assert_allclose(tensor.grad.numpy(), 1.5 * slope, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(scale.grad.numpy(), mish64(x).sum(), rtol=1e-5, atol=1e-5)


def test_one_kernel_forward_and_one_backward():
    x = Tensor(np.linspace(-2, 2, 1000, dtype=np.float32))
    function = tengen.fuse(lambda x: x * F.tanh(F.softplus(x)) + F.exp(-x * x))
    function(x)
    ((_, _, _, (plan,)),) = function.explain().calls
    assert plan.launches == 1


def test_second_derivative():
    cube = tengen.fuse(lambda x: x * x * x)
    for _ in range(2):
        x = Tensor([1.0, 2.0])
        outer, inner = GradManager().attach([x]), GradManager().attach([x])
        with outer:
            with inner:
                inner.backward(cube(x), F.ones_like(x))
            slope, x.grad = x.grad, None
            outer.backward(slope, F.ones_like(x))
        assert x.grad.tolist() == [6, 12]


def test_rules_of_composites_are_used():
    """The gradient of a softmax from its parts would cancel; its own rule does not."""
    x = np.random.default_rng(1).standard_normal((4, 200))
    w = np.linspace(0, 1, 800).reshape(4, 200)
    softmax = tengen.fuse(lambda x: F.softmax(x, 1))
    for _ in range(2):
        tensor = Tensor(x.astype(np.float32))
        gm = GradManager().attach([tensor])
        with gm:
            gm.backward(softmax(tensor), Tensor(w.astype(np.float32)))
        y = np.exp(x.astype(np.float32).astype(np.float64))
        y /= y.sum(1, keepdims=True)
        want = y * (w - (y * w).sum(1, keepdims=True))
        # 200 float32 products are summed, in an order that the width of vectors says.
        np.testing.assert_allclose(tensor.grad.numpy(), want, rtol=0, atol=2e-6 * np.abs(want).max())


def test_inside_of_a_trace_it_is_a_part_of_it():
    double = tengen.fuse(lambda x: x + x)
    outer = tengen.jit.trace(lambda x: double(x) * 3, without_host=True)
    assert [outer(Tensor(k)).item() for k in (1.0, 2.0)] == [6, 12]
    ((_, _, _, (plan,)),) = outer.explain().calls
    assert plan.launches == 1


def test_reading_values_is_refused():
    with pytest.raises(TraceError, match="reads the value"):
        tengen.fuse(lambda x: x if x.sum() > 0 else -x)(Tensor([1.0]))


@pytest.mark.parametrize("wrap", [tengen.fuse, tengen.jit.partial_trace])
def test_products_are_not_computed_again_for_the_gradient(wrap, monkeypatch):
    """Two layers: two products forward, and four for the gradients of both layers' inputs and weights."""
    random = np.random.default_rng(2)
    x, v, w = (random.standard_normal(shape) for shape in ((5, 8), (8, 6), (6, 3)))
    network = wrap(lambda x, v, w: F.matmul(F.tanh(F.matmul(x, v)), w))
    for _ in range(2):
        given = [Tensor(a.astype(np.float32)) for a in (x, v, w)]
        gm = GradManager().attach(given)
        with gm:
            y = network(*given)
            gm.backward(y, F.ones_like(y))
    hidden = np.tanh(x @ v)
    back = (np.ones((5, 3)) @ w.T) * (1 - hidden**2)
    for tensor, want in zip(given, (back @ v.T, x.T @ back, hidden.T @ np.ones((5, 3))), strict=True):
        np.testing.assert_allclose(tensor.grad.numpy(), want, rtol=1e-4, atol=1e-5)
    standalone = next(iter(network._kinds.values())).standalone[0]
    kept = standalone.op_for_gradients.program.outputs
    assert [v.shape for v in kept] == [(5, 3), (5, 6)], "the result, and the first product"
    assert [v.shape for v in standalone.segment.op.program.outputs] == [(5, 3)]


def test_an_op_without_a_gradient_is_a_constant():
    """Beside a result that is differentiated, and in front of one."""
    part = tengen.fuse(lambda x: (F.svd(x, compute_uv=False), x * 2))
    scaled = tengen.fuse(lambda x: x * F.argmax(x).astype("float32"))
    for _ in range(3):
        x = Tensor(np.float32([[3, 0], [0, 2]]))
        with GradManager().attach([x]) as gm:
            _, y = part(x)
            gm.backward(y, Tensor(np.ones((2, 2), np.float32)))
        np.testing.assert_array_equal(x.grad.numpy(), np.full((2, 2), 2))
        z = Tensor(np.float32([1, 5]))
        with GradManager().attach([z]) as gm:
            gm.backward(scaled(z).sum())
        np.testing.assert_array_equal(z.grad.numpy(), [1, 1])


def test_an_input_of_which_only_the_type_counts_has_no_part_in_the_gradient():
    @tengen.jit.fuse
    def both(like, x):
        return F.ones_like(like) * 2, x[:1] * x[1:]

    like = Tensor(np.zeros((3, 5), np.float32))
    for _ in range(3):
        x = Tensor(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32))
        with GradManager().attach([x]) as gm:
            twos, product = both(like, x)
            gm.backward(product)
        np.testing.assert_array_equal(twos.numpy(), np.full((3, 5), 2.0))
        np.testing.assert_array_equal(x.grad.numpy(), [[3.0, 4.0], [1.0, 2.0]])
