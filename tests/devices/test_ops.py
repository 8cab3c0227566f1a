"""What users compute on a GPU: ops, gradients, steps of optimizers, traces."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from contraction_harness import reference

import tengen
import tengen.functional as F
from tengen import optimizer, random
from tengen.autodiff import GradManager
from tengen.compiler.geometry import ConvShape

numbers = np.random.default_rng(0)
X = numbers.standard_normal((6, 70)).astype(np.float32)
Y = numbers.standard_normal((6, 70)).astype(np.float32)


def on_gpu(array, place="gpu0"):
    return tengen.tensor(array, dtype=str(array.dtype), device=place)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


CASES = {
    "add": (lambda x, y: x + y, lambda x, y: x + y),
    "numbers": (lambda x, y: (2 * x - 1) / 4 + True, lambda x, y: (2 * x - 1) / 4 + 1),
    "power": (lambda x, y: x**2 * y, lambda x, y: x**2 * y),
    "compare": (lambda x, y: (x > y) & (x > 0), lambda x, y: (x > y) & (x > 0)),
    "where": (lambda x, y: F.where(x > 0, x, y), lambda x, y: np.where(x > 0, x, y)),
    "exp": (lambda x, y: F.exp(x), lambda x, y: np.exp(x)),
    "softmax": (lambda x, y: F.softmax(x, axis=-1), lambda x, y: softmax(x)),
    "sum": (lambda x, y: x.sum(), lambda x, y: x.sum()),
    "mean of columns": (lambda x, y: x.mean(axis=0), lambda x, y: x.mean(axis=0)),
    "max": (lambda x, y: x.max(axis=1), lambda x, y: x.max(axis=1)),
    "argmax": (lambda x, y: F.argmax(x, axis=1), lambda x, y: x.argmax(axis=1)),
    "turned": (lambda x, y: x.T + y.T * 2, lambda x, y: x.T + y.T * 2),
    "cut": (lambda x, y: x[1:5:2, ::-3] * 2, lambda x, y: x[1:5:2, ::-3] * 2),
    "stretched": (lambda x, y: x[:, :1] + y[:1], lambda x, y: x[:, :1] + y[:1]),
    "joined": (lambda x, y: F.concat([x, y], axis=1), lambda x, y: np.concatenate([x, y], axis=1)),
    "stacked": (lambda x, y: F.stack([x, y]), lambda x, y: np.stack([x, y])),
    "taken": (lambda x, y: x[[1, 5, -1]], lambda x, y: x[[1, 5, -1]]),
    "cast": (lambda x, y: (10 * x).astype("int32"), lambda x, y: (10 * x).astype("int32")),
}


@pytest.mark.parametrize("name", CASES)
def test_values(name):
    ours, truth = CASES[name]
    made = ours(on_gpu(X), on_gpu(Y))
    assert str(made.device) == "gpu0:0"
    want = truth(X.astype(np.float64), Y.astype(np.float64))
    np.testing.assert_allclose(made.numpy().astype(np.float64), want, rtol=1e-5, atol=1e-5)


def test_new_tensors():
    assert F.zeros((2, 3), device="gpu0").tolist() == [[0] * 3] * 2
    assert F.full((2,), 2.5, device="gpu1").tolist() == [2.5, 2.5]
    assert F.arange(5, device="gpu0").tolist() == [0, 1, 2, 3, 4]
    assert F.ones_like(on_gpu(X)).sum().item() == X.size
    assert str(F.eye(3, device="gpu0").device) == "gpu0:0"
    assert F.linspace(0, 1, 3, device="gpu1").tolist() == [0, 0.5, 1]


def test_random_numbers_are_those_of_the_cpu():
    here, there = random.RNG(seed=3, device="cpu0"), random.RNG(seed=3, device="gpu0")
    np.testing.assert_array_equal(there.uniform(0, 1, (100,)).numpy(), here.uniform(0, 1, (100,)).numpy())
    assert str(there.normal(0, 1, (5,)).device) == "gpu0:0"


def test_in_place():
    x = on_gpu(X)
    other, place = x.detach(), x._data_ptr()
    x += 1
    assert x._data_ptr() != place
    place = x._data_ptr()
    x *= 2
    x[1:3] = 7.0
    assert x._data_ptr() == place
    want = 2 * (X.astype(np.float64) + 1)
    want[1:3] = 7
    np.testing.assert_allclose(x.numpy(), want, rtol=1e-6)
    np.testing.assert_array_equal(other.numpy(), X)


def test_a_wrong_index_is_an_error_at_the_next_wait():
    x, index = on_gpu(X), tengen.tensor([1, 9], dtype="int32", device="gpu0")
    y = x[index]
    with pytest.raises(IndexError, match="9"):
        y.numpy()
    with tengen.base.config.override(sync=True), pytest.raises(IndexError, match="9"):
        x[index]
    before = x.detach()
    x[index] = 0.0
    with pytest.raises(IndexError, match="9"):
        x.numpy()
    np.testing.assert_array_equal(before.numpy(), X)


def test_gradients():
    p, q = tengen.Parameter(X, device="gpu0"), tengen.Parameter(Y[:1], device="gpu0")
    with GradManager().attach([p, q]) as gm:
        gm.backward((F.tanh(p) * q).sum())
    x, y = X.astype(np.float64), Y[:1].astype(np.float64)
    np.testing.assert_allclose(p.grad.numpy(), (1 - np.tanh(x) ** 2) * y, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(q.grad.numpy(), np.tanh(x).sum(0, keepdims=True), rtol=1e-4, atol=1e-4)
    assert str(p.grad.device) == "gpu0:0"


def test_steps_of_an_optimizer():
    p = tengen.Parameter(X, device="gpu0")
    sgd = optimizer.SGD([p], lr=0.25, momentum=0.5)
    want, velocity = X.astype(np.float64), 0.0
    gm = GradManager().attach([p])
    for _ in range(3):
        with gm:
            gm.backward((p * p).sum())
        sgd.step().clear_grad()
        velocity = 0.5 * velocity + 2 * want
        want = want - 0.25 * velocity
    np.testing.assert_allclose(p.numpy(), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("symbolic", [False, True])
def test_traces(symbolic):
    @tengen.jit.trace(symbolic=symbolic)
    def step(x, y):
        z = F.relu(x * 2) + y
        return z, z.sum()

    for scale in (1, 2, 3):
        x, y = scale * X, Y - scale
        z, total = step(on_gpu(x), on_gpu(y))
        want = np.maximum(2 * x.astype(np.float64), 0) + y
        np.testing.assert_allclose(z.numpy(), want, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(total.item(), want.sum(), rtol=1e-4)
        assert str(z.device) == "gpu0:0"


def test_products(recwarn):
    x = tengen.Parameter(X, device="gpu0")
    with GradManager().attach([x]) as gm:
        gm.backward(F.matmul(x, x.T).sum())
    want = 2 * np.broadcast_to(X.astype(np.float64).sum(0), X.shape)
    np.testing.assert_allclose(x.grad.numpy(), want, rtol=1e-4, atol=1e-4)

    @tengen.jit.trace(symbolic=True)
    def step(x):
        return F.relu(F.matmul(x, x.T)) + 1

    for scale in (1, 2):
        want = np.maximum(scale**2 * X.astype(np.float64) @ X.T, 0) + 1
        np.testing.assert_allclose(step(on_gpu(scale * X)).numpy(), want, rtol=1e-4, atol=1e-4)
    with tengen.amp.autocast(low_prec_dtype="bfloat16", enabled=True):
        y = F.matmul(x, x.T)
    assert y.dtype == "bfloat16"
    np.testing.assert_allclose(y.numpy(), X @ X.T, rtol=0.03, atol=0.3)
    assert not recwarn.list  # nothing ran on the CPU


def test_convolutions(recwarn):
    s = ConvShape(2, 4, (7, 6), 6, (3, 3), (2, 1), (1, 1), (1, 1), 2)
    x = tengen.Parameter(numbers.standard_normal((2, 4, 7, 6)), dtype="float32", device="gpu0")
    w = tengen.Parameter(numbers.standard_normal((6, 2, 3, 3)), dtype="float32", device="gpu0")
    g = numbers.standard_normal((2, 6, *s.out)).astype(np.float32)
    with GradManager().attach([x, w]) as gm:
        y = F.conv2d(x, w, stride=(2, 1), padding=1, groups=2)
        gm.backward(y, on_gpu(g))
    for got, want in zip((y, x.grad, w.grad), reference(x.numpy(), w.numpy(), g, s), strict=True):
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-4, atol=1e-4)
    assert not recwarn.list


def test_a_recurrent_layer(recwarn):
    layer = tengen.module.RNN(5, 7, bias=False, nonlinearity="tanh")
    for parameter in layer.parameters():
        parameter._reset(parameter.to("gpu0"))
    x = numbers.standard_normal((4, 3, 5)).astype(np.float32)
    y, h = layer(on_gpu(x))
    weights = layer._flatten_weights.numpy().astype(np.float64).ravel()
    w, u = weights[:35].reshape(7, 5), weights[35:].reshape(7, 7)
    want, state = [], np.zeros((3, 7))
    for row in x:
        state = np.tanh(row @ w.T + state @ u.T)
        want.append(state)
    np.testing.assert_allclose(y.numpy(), want, rtol=1e-5, atol=1e-5)
    assert str(h.device) == "gpu0:0" and not recwarn.list


def test_nothing_waits_until_a_value_is_read(double):
    x, y = on_gpu(X), on_gpu(Y)
    (x * y).sum().item()
    waits = double.count("waits")
    z = x
    for _ in range(5):
        z = F.exp(-((z * y) ** 2)).mean(axis=1, keepdims=True) + x
    assert double.count("waits") == waits
    z.numpy()
    assert double.count("waits") == waits + 1


@pytest.mark.parametrize("causal, dtype", [(False, "float32"), (True, "bfloat16")])
def test_attention_and_its_gradients(causal, dtype):
    """They run on the GPU, which has no kernel for them: nothing warns that the CPU does it."""
    found = {}
    shapes = [(2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4)]
    arrays = [np.random.default_rng(n).standard_normal(shape).astype(np.float32) for n, shape in enumerate(shapes)]
    for place in ("cpu0", "gpu0"):
        inputs = [tengen.Parameter(tengen.tensor(x, dtype=dtype, device=place)) for x in arrays]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with GradManager().attach(inputs) as gm:
                y = F.nn.scaled_dot_product_attention(*inputs, is_causal=causal)
                gm.backward((y * y).sum())
            found[place] = [x.astype("float32").numpy() for x in (y, *(p.grad for p in inputs))]
        assert str(y.device).startswith(place)
    for ours, theirs in zip(found["gpu0"], found["cpu0"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 if dtype == "float32" else 0.1)


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (70, 130)])
def test_where_a_mask_is_set(shape):
    mask = np.random.default_rng(0).random(shape) < 0.3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = F.cond_take(on_gpu(mask), on_gpu(np.arange(mask.size).reshape(shape)))
        assert str(found[0].device).startswith("gpu0")
    np.testing.assert_array_equal(found[1].numpy(), np.flatnonzero(mask))
    np.testing.assert_array_equal(found[0].numpy(), np.flatnonzero(mask))
