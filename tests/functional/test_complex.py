"""Complex numbers against NumPy's, in every layout; gradients against their formulae in NumPy and figures of PyTorch."""

from __future__ import annotations

import io
import operator

import numpy as np
import pytest
from checks import LAYOUTS, SHAPES, laid_out, random

import tengen.functional as F
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.jit import load, trace


def numbers(shape, seed=0):
    return random(shape, seed=seed) + 1j * random(shape, seed=seed + 50)


def given(z):
    return F.complex(Tensor(z.real, dtype="float32"), Tensor(z.imag, dtype="float32"))


def assert_same(result, truth, dtype="complex64"):
    truth = np.asarray(truth)
    assert result.dtype == dtype
    assert tuple(result.shape) == truth.shape
    scale = np.abs(truth).max(initial=1e-3)
    np.testing.assert_allclose(result.numpy(), truth, rtol=2e-6, atol=2e-6 * scale)


ARITHMETIC = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv,
}  # fmt: skip


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic(name):
    function = ARITHMETIC[name]
    for shape in SHAPES:
        a, b = numbers(shape), numbers(shape, 1)
        assert_same(function(given(a), given(b)), function(a, b))
    a, b = numbers((3, 1, 4)), numbers((5, 1), 1)
    assert_same(function(given(a), given(b)), function(a, b))
    real = random((3, 4), 0.5, 2)
    for number in (2, -1.5, 2j, 1 - 3j, True):
        assert_same(function(given(a), number), function(a, number))
        assert_same(function(number, given(a)), function(number, a))
    for dtype in ("float32", "float64", "float16"):
        assert_same(function(given(a), Tensor(real, dtype=dtype)), function(a, real))
        assert_same(function(Tensor(real, dtype=dtype), given(a)), function(real, a))
    assert_same(function(given(a), Tensor([1, 2, 3, 4])), function(a, np.arange(1, 5)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    a, b = random((4, 6, 3, 5)), random((4, 6, 3, 5), seed=1)
    if layout == "stretched":
        a, b = (np.broadcast_to(x[:1], x.shape) for x in (a, b))
    z = F.complex(laid_out(a, layout), laid_out(b, layout))
    assert_same(z * z - z, (a + 1j * b) ** 2 - (a + 1j * b))
    whole = given(numbers((4, 6, 5, 3)))
    truth = numbers((4, 6, 5, 3))
    for view in (lambda x: x[::-1], lambda x: x[..., ::2], lambda x: x[1:3, ..., 1], lambda x: x.T):
        assert_same(view(whole) * view(whole), view(truth) ** 2)
        assert_same(F.real(view(whole)), view(truth).real, "float32")
        assert_same(F.imag(view(whole)), view(truth).imag, "float32")


def test_what_moves_elements():
    z, w = numbers((2, 3)), numbers((2, 3), 1)
    x, y = given(z), given(w)
    assert_same(F.reshape(x.T, (6,)), z.T.reshape(6))
    assert_same(F.concat([x, y, F.ones((1, 3))]), np.concatenate([z, w, np.ones((1, 3))]))
    assert_same(F.stack([x, y], 1), np.stack([z, w], 1))
    assert_same(F.broadcast_to(x, (4, 2, 3)), np.broadcast_to(z, (4, 2, 3)))
    assert_same(F.nn.pad(x, ((1, 0), (0, 1))), np.pad(z, ((1, 0), (0, 1))))
    assert_same(F.nn.pad(x, ((1, 0), (0, 1)), constant_value=2.0), np.pad(z, ((1, 0), (0, 1)), constant_values=2))
    assert_same(x[:, Tensor([2, 0])], z[:, [2, 0]])
    assert_same(F.where(Tensor(z.real > 0), x, y), np.where(z.real > 0, z, w))
    assert_same(F.where(Tensor(z.real > 0), x, 1.5), np.where(z.real > 0, z, 1.5))
    assert_same(F.roll(x, 1, 0), np.roll(z, 1, 0))
    x[0, 1:] = 5
    x[1] = y[0]
    x[:, Tensor([0])] = 2j
    z[0, 1:], z[1], z[:, [0]] = 5, w[0], 2j
    assert_same(x, z)


def test_sums_and_products():
    z, w = numbers((3, 4)), numbers((4, 5), 1)
    assert_same(F.sum(given(z)), z.sum())
    assert_same(given(z).sum(1, keepdims=True), z.sum(1, keepdims=True))
    assert_same(given(z) @ given(w), z @ w)
    assert_same(F.matmul(given(z), Tensor(w.real, dtype="float32")), z @ w.real)
    assert_same(F.einsum("ij,jk->ki", given(z), given(w)), (z @ w).T)


def test_comparison_and_size():
    z = np.array([3 + 4j, 0, -2j, 1e30 + 1e30j, 1e-30j])
    x = Tensor(z)
    assert_same(F.abs(x), np.abs(z), "float32")
    assert (x == x).tolist() == [True] * 5
    assert (x != Tensor(z.conj())).tolist() == (z != z.conj()).tolist()
    assert (x == 0).tolist() == (z == 0).tolist()


def test_sizes_of_infinite_numbers():
    """As of NumPy's hypot: infinite where a part is. The slope is the limit where that part grows, not NaN."""
    parts = np.array(
        [[np.inf, 0], [-np.inf, 2], [np.inf, np.inf], [np.inf, np.nan], [np.nan, -np.inf], [0, -np.inf], [np.nan, 1]]
    )
    real, imag = Tensor(parts[:, 0], dtype="float32"), Tensor(parts[:, 1], dtype="float32")
    manager = GradManager().attach([real, imag])
    with manager:
        size = F.abs(F.complex(real, imag))
        manager.backward(F.sum(size))
    np.testing.assert_array_equal(size.numpy(), np.hypot(*parts.T))
    slopes = np.stack([real.grad.numpy(), imag.grad.numpy()], 1)[[0, 1, 5, 6]]
    np.testing.assert_array_equal(slopes, [[1, 0], [-1, 0], [0, -1], [np.nan, np.nan]])


def test_making_and_reading():
    assert_same(Tensor([1 + 2j, 3]), [1 + 2j, 3])
    assert_same(Tensor(np.array([[1 + 2j]])), [[1 + 2j]])
    assert_same(Tensor(np.array([1 + 2j], np.complex64)), [1 + 2j])
    assert_same(Tensor([1, 2], dtype="complex64"), [1, 2])
    assert_same(Tensor([1.5]).astype("complex64"), [1.5])
    assert_same(F.zeros((2,), dtype="complex64") + F.ones((2,), dtype=complex), [1, 1])
    assert_same(F.full((2,), 2 - 1j), [2 - 1j] * 2)
    assert_same(F.full((2,), 2.5, dtype="complex64"), [2.5, 2.5])
    assert_same(F.full_like(Tensor([1j, 2]), 3), [3, 3])
    assert_same(F.complex(1.0, Tensor([2.0, 3.0])), [1 + 2j, 1 + 3j])
    assert_same(F.complex(Tensor(1.0), 2) * F.complex(3, 4), -5 + 10j)
    size, angle = random((5,), 0, 3), random((5,), seed=1)
    assert_same(F.polar(Tensor(size), Tensor(angle)), size * np.exp(1j * angle))
    x = Tensor([1 + 2j])
    assert x.item() == 1 + 2j and x.tolist() == [1 + 2j] and x.dtype == np.complex64 and x.dtype.kind == "c"
    assert repr(x) == "Tensor([1.+2.j], dtype=complex64, device=xpux:0)"
    assert np.from_dlpack(x).tolist() == [1 + 2j]


GRADIENTS = {
    "mul": (lambda a, b: a * b, lambda a, b: (b, a)),
    "div": (lambda a, b: a / b, lambda a, b: (1 / b, -a / b**2)),
    "sub": (lambda a, b: a - b, lambda a, b: (np.ones_like(a), -np.ones_like(b))),
    "a square of a difference": (lambda a, b: (a - b) * (a - b), lambda a, b: (2 * (a - b), 2 * (b - a))),
    "turned": (lambda a, b: a[::-1] * b + (-b), lambda a, b: (b[::-1], a[::-1] - 1)),
    "with numbers": (lambda a, b: a * 2j + 1.5 / b, lambda a, b: (np.full_like(a, 2j), -1.5 / b**2)),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    """Of the sum of Re(w f): that by a complex number is conj(w f\'), the pair of those by its parts. Real parts as leaves, and complex ones."""
    function, slopes = GRADIENTS[name]
    a, b, w = numbers((4,)), numbers((4,), 1), numbers((4,), 2)
    want = [np.conj(s * (w[::-1] if name == "turned" and i == 0 else w)) for i, s in enumerate(slopes(a, b))]
    leaves = [Tensor(x, dtype="float32") for z in (a, b) for x in (z.real, z.imag)]
    manager = GradManager().attach(leaves)
    with manager:
        y = F.real(function(F.complex(*leaves[:2]), F.complex(*leaves[2:])) * given(w))
        manager.backward(F.sum(y))
    for i, truth in enumerate(want):
        assert_same(F.complex(leaves[2 * i].grad, leaves[2 * i + 1].grad), truth)
    x, y = given(a), given(b)
    manager = GradManager().attach([x, y])
    with manager:
        manager.backward(function(x, y), given(w.conj()))
    assert_same(x.grad, want[0])
    assert_same(y.grad, want[1])


def test_gradients_of_broadcast_operands_and_of_gathers():
    a, b = numbers((3, 1)), numbers((4,), 1)
    x, y = given(a), given(b)
    manager = GradManager().attach([x, y])
    with manager:
        manager.backward(F.sum(F.real(x * y)) + F.sum(F.imag(y[Tensor([1, 1, 3, 0])])))
    assert_same(x.grad, np.broadcast_to(b.conj().sum(), (3, 1)))
    assert_same(y.grad, a.conj().sum() + 1j * np.array([1, 2, 0, 1]))


def test_gradients_of_sizes_and_angles():
    """Figures of PyTorch 2.13; at 0 it gives 0."""
    x = Tensor([3 + 4j, 0, -2j])
    manager = GradManager().attach(x)
    with manager:
        manager.backward(F.sum(F.abs(x) * Tensor([1.0, 2.0, 3.0])))
    assert_same(x.grad, [0.6 + 0.8j, 0, -3j])
    size, angle = Tensor([2.0, 0.5]), Tensor([0.3, -1.2])
    manager = GradManager().attach([size, angle])
    with manager:
        z = F.polar(size, angle)
        manager.backward(F.sum(F.real(z * z) + F.imag(z)))
    assert_same(size.grad, [3.5968627, -1.6694326], "float32")
    assert_same(angle.grad, [-2.6064672, 0.5189106], "float32")


def test_second_gradients():
    """Of the square of |z|² = x² + y² : 4 z |z|², and of Re of that by 1: 4 (3x² + y²) + 8ixy."""
    x = given(np.array([1.5 - 0.5j]))
    outer, inner = GradManager().attach(x), GradManager().attach(x)
    with outer, inner:
        square = F.real(x) ** 2 + F.imag(x) ** 2
        inner.backward(F.sum(square * square))
        grad = x.grad
        x.grad = None
        outer.backward(F.sum(F.real(grad)))
    assert_same(grad, [4 * (1.5 - 0.5j) * 2.5])
    assert_same(x.grad, [4 * (3 * 1.5**2 + 0.25) + 8j * 1.5 * -0.5])


@pytest.mark.parametrize("options", [{}, {"symbolic": True}, {"without_host": True}])
def test_traced(options):
    a, b = numbers((3, 4)), numbers((3, 4), 1)

    def function(x, y):
        z = F.complex(F.real(x), F.imag(y)) * x / (y + 3)
        return z, F.abs(z), F.sum(z)

    traced = trace(function, **options)
    z = (a.real + 1j * b.imag) * a / (b + 3)
    for _ in range(3):
        made = traced(given(a), given(b))
        assert_same(made[0], z)
        assert_same(made[1], np.abs(z), "float32")
        assert_same(made[2], z.sum())


def test_dumped_and_loaded():
    traced = trace(lambda x, y: F.abs(F.complex(x, y) * 2j) + 1, capture_as_const=True)
    a, b = random((3,)), random((3,), seed=1)
    want = traced(Tensor(a), Tensor(b)).numpy()
    file = io.BytesIO()
    traced.dump(file)
    file.seek(0)
    np.testing.assert_array_equal(load(file)(Tensor(a), Tensor(b)).numpy(), want)


X = F.complex(F.ones((2,)), F.ones((2,)))
REFUSED = {
    "exp is not defined for complex64": lambda: F.exp(X),
    "pow is not defined": lambda: X**2,
    "lt is not defined": lambda: X < X,
    "max is not defined": lambda: F.max(X),
    "prod.* is not defined": lambda: F.prod(X),
    "argsort is not defined": lambda: F.sort(X),
    "cannot become float32": lambda: X.astype("float32"),
    "takes a tensor of complex64, got float32": lambda: F.real(F.ones((2,))),
    "imag takes": lambda: F.imag(Tensor(1)),
    "full: a complex number does not fit into a tensor of float32": lambda: F.full((2,), 1j, dtype="float32"),
    "the parts are real": lambda: F.complex(X, 1.0),
    "cannot hold complex": lambda: Tensor([1j], dtype="float32"),
    "complex64 cannot become": lambda: F.ones((2,)).__setitem__(0, X[0]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused(message):
    with pytest.raises(TypeError, match=message):
        REFUSED[message]()


def test_a_complex_loss_needs_a_gradient():
    x = Tensor([1j])
    manager = GradManager().attach(x)
    with manager, pytest.raises(TypeError, match="y is complex, so it needs dy"):
        manager.backward(x * x)
