"""Reductions, sorting and linear algebra against NumPy in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from checks import LAYOUTS, assert_close, check_gradient, check_second_gradient, laid_out, random

import tengen.functional as F
from tengen import Tensor

# name → (NumPy's function, whether it is differentiable)
REDUCTIONS = {
    "sum": (np.sum, True),
    "mean": (np.mean, True),
    "prod": (np.prod, True),
    "max": (np.max, True),
    "min": (np.min, True),
    "var": (np.var, True),
    "std": (np.std, True),
}
SHAPES_AND_AXES = [
    ((), None),
    ((1,), None),
    ((7,), 0),
    ((3, 5), None),
    ((3, 5), 1),
    ((3, 5), 0),
    ((2, 3, 4), (0, 2)),
    ((2, 3, 4), [1, 0]),
    ((2, 3, 4), -2),
    ((2, 3, 5, 4), (2, 3)),
    ((5, 1, 3), 1),
    ((4, 300), 1),
    ((300, 4), 0),
]


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("shape, axis", SHAPES_AND_AXES)
def test_reductions(name, shape, axis):
    low, high = (0.9, 1.1) if name == "prod" else (-2, 2)
    a = random(shape, low, high)
    axes = tuple(axis) if isinstance(axis, list) else axis
    for keepdims in (False, True):
        truth = REDUCTIONS[name][0](a, axis=axes, keepdims=keepdims)
        result = getattr(F, name)(Tensor(a, dtype="float32"), axis, keepdims)
        assert_close(result, truth, "float32", factor=20)
        if name in ("sum", "mean", "prod", "max", "min"):
            assert_close(getattr(Tensor(a, dtype="float32"), name)(axis, keepdims), truth, "float32", factor=20)


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(name, layout):
    a = random((4, 6, 3, 5), 0.9, 1.1)
    if layout == "stretched":
        a = np.broadcast_to(a[:1], a.shape)
    for axis in (None, 1, (0, 2, 3), (2, 3), -1):
        assert_close(getattr(F, name)(laid_out(a, layout), axis), REDUCTIONS[name][0](a, axis=axis), factor=50)


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_reductions_of_floats(name, dtype):
    a = random((4, 33), 0.9, 1.1)
    want = "float64" if dtype == "float64" else "float32" if name in ("mean", "var", "std") else dtype
    assert_close(getattr(F, name)(Tensor(a, dtype=dtype), 1), REDUCTIONS[name][0](a, axis=1), want, factor=50)


@pytest.mark.parametrize("dtype", ["int32", "int16", "int8", "uint8", "bool"])
def test_reductions_of_integers(dtype):
    a = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 4, (3, 5))
    x = Tensor(a, dtype=dtype)
    kept = "int32" if dtype == "bool" else dtype
    assert_close(F.sum(x, 1), a.sum(1), kept)
    assert_close(F.prod(x, 1), a.prod(1), kept)
    assert_close(F.max(x, 1), a.max(1), dtype)
    assert_close(F.min(x, 1), a.min(1), dtype)
    for name in ("mean", "var", "std"):
        assert_close(getattr(F, name)(x, 1), getattr(np, name)(a, axis=1), "float32")
    assert_close(F.argmax(x, 1), a.argmax(1), "int32")


def test_narrow_sums_wrap_and_means_do_not():
    x = Tensor([100, 100], dtype="int8")
    assert F.sum(x).item() == -56
    assert F.mean(x).item() == 100


def test_reductions_of_nothing():
    x = F.zeros((0, 3))
    assert_close(F.sum(x, 0), np.zeros(3))
    assert_close(F.prod(x, 0), np.ones(3))
    assert_close(F.sum(x, 1), np.zeros(0))
    assert np.isnan(F.mean(x, 0).numpy()).all()
    for name in ("max", "min", "argmax", "argmin"):
        with pytest.raises(ValueError, match=rf"{name} over .*axis.*\(0, 3\)"):
            getattr(F, name)(x, 0)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_where_the_extreme_is(name):
    a = random((4, 5, 6))
    x = Tensor(a, dtype="float32")
    truth = getattr(np, name)
    for axis in (None, 0, 1, -1):
        assert_close(getattr(F, name)(x, axis), truth(a, axis=axis), "int32")
    assert_close(getattr(F, name)(x, (1, 2)), truth(a.reshape(4, -1), axis=1), "int32")
    assert_close(getattr(F, name)(x, 1, keepdims=True), truth(a, axis=1, keepdims=True), "int32")
    assert_close(getattr(F, name)(Tensor([2.0, 2.0])), 0)


def test_nan_wins():
    x = Tensor([[1.0, np.nan, 3.0]])
    assert np.isnan(F.max(x).item()) and np.isnan(F.min(x).item())
    assert F.argmax(x, 1).tolist() == [1]


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("shape, axis", [((3,), None), ((2, 3), 1), ((2, 3, 2), (0, 2))])
def test_gradients(name, shape, axis):
    a = random(shape, 0.5, 2, seed=4)
    function = getattr(F, name)
    check_gradient(lambda x: function(x, axis), [a])
    check_second_gradient(lambda x: function(x, axis), [a])


@pytest.mark.parametrize("order", [None, 1, 2, 3, 2.5, np.inf, -np.inf, -1])
def test_norm(order):
    a = random((3, 4), 0.3, 2)
    x = Tensor(a, dtype="float32")
    p = 2 if order is None else order
    truth = np.stack([np.linalg.norm(row, p) for row in a])
    assert_close(F.norm(x, order, axis=1), truth, factor=4)
    assert_close(F.norm(x, order, axis=1, keepdims=True), truth[:, None], factor=4)
    assert_close(F.norm(x.flatten(), order), np.linalg.norm(a.ravel(), p), factor=4)
    assert_close(F.normalize(x, order, axis=1), a / truth[:, None], factor=4)
    check_gradient(lambda x: F.norm(x, order, axis=1), [a])
    check_gradient(lambda x: F.normalize(x, order, axis=1), [a])


def test_norm_counts_and_needs_an_axis():
    assert_close(F.norm(Tensor([0.0, 2.0, 3.0]), 0), 2, "int32")
    assert_close(F.norm(Tensor([3, 4])), 5, "float32")
    assert_close(F.norm(Tensor([[3.0], [4.0]]), axis=(0, 1)), 5)
    assert_close(F.normalize(Tensor([0.0, 0.0])), [0, 0])
    for function in (F.norm, F.normalize):
        with pytest.raises(TypeError, match=r"axis is needed for a tensor of shape \(1, 2\)"):
            function(Tensor([[1.0, 2.0]]))


def test_bad_axes():
    x = F.zeros((2, 3))
    for name in [*REDUCTIONS, "argmax", "argmin"]:
        with pytest.raises(ValueError, match="axis 2 is out of range for a tensor of 2 dimensions"):
            getattr(F, name)(x, 2)
        with pytest.raises(ValueError, match="twice"):
            getattr(F, name)(x, (0, -2))


# -- sorting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8"])
def test_sort_of_the_ends_of_integers(dtype):
    ends = np.iinfo(dtype)
    array = np.array([3, ends.min, ends.max, 0, 100, ends.min], dtype)
    values, places = F.sort(Tensor(array, dtype=dtype), descending=True)
    assert values.tolist() == sorted(array.tolist(), reverse=True)
    assert array[places.numpy()].tolist() == values.tolist()
    assert places.tolist().index(1) < places.tolist().index(5)  # equal elements keep their order


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "int8", "uint8"])
@pytest.mark.parametrize("descending", [False, True])
def test_sort(dtype, descending):
    a = random((3, 4, 9), 0, 100) // 1
    x = Tensor(a, dtype=dtype)
    values, places = F.sort(x, descending)
    order = np.argsort(-a if descending else a, axis=-1, kind="stable")
    assert_close(values, np.take_along_axis(a, order, -1), dtype)
    assert_close(places, order, "int32")
    assert_close(F.argsort(x, descending), order, "int32")


def test_topk():
    a = random((3, 7))
    x = Tensor(a, dtype="float32")
    order = np.argsort(-a, axis=-1)
    values, places = F.topk(x, 3)
    assert_close(values, np.take_along_axis(a, order[:, :3], -1))
    assert_close(places, order[:, :3], "int32")
    values, places = F.topk(x, 2, descending=False)
    assert_close(places, order[:, ::-1][:, :2], "int32")
    value, place = F.topk(x, 3, kth_only=True)
    assert_close(value, np.take_along_axis(a, order[:, 2:3], -1)[:, 0])
    assert_close(place, order[:, 2], "int32")
    for descending in (True, False):  # -k: the other order, as the reference has it
        for found, wanted in zip(F.topk(x, -2, descending), F.topk(x, 2, not descending), strict=True):
            np.testing.assert_array_equal(found.numpy(), wanted.numpy())
    for k in (0, 8, -8):
        with pytest.raises(ValueError, match=f"topk: k must be from 1 to 7, the extent of the last axis .* got {k}"):
            F.topk(x, k)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_nan_is_the_largest(dtype):
    x = Tensor(np.array([2, np.nan, 5, -np.inf, np.nan, 5, np.inf]), dtype=dtype)
    assert F.argsort(x).tolist() == [3, 0, 2, 5, 6, 1, 4]
    assert F.argsort(x, descending=True).tolist() == [1, 4, 6, 2, 5, 0, 3]
    assert np.isnan(F.topk(x, 1)[0].numpy()).all() and np.isnan(F.max(x).numpy())
    assert F.topk(x, 2, descending=False)[1].tolist() == [3, 0]


def test_the_least_integers_in_descending_order():
    for dtype, least in (("int8", -128), ("int32", -(2**31)), ("uint8", 0)):
        x = Tensor(np.array([1, least, 3, least]), dtype=dtype)
        assert F.argsort(x, descending=True).tolist() == [2, 0, 1, 3]


def test_sorting_gradients():
    a = random((2, 5), seed=2)
    check_gradient(lambda x: F.sort(x)[0], [a])
    check_gradient(lambda x: F.topk(x, 2)[0] * F.topk(x, 2)[0], [a])
    check_second_gradient(lambda x: F.sort(x)[0] * F.sort(x)[0] * x, [a])


# -- linear algebra ----------------------------------------------------------------------------------------

PRODUCTS = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3, 4)),
    ((1, 1), (1, 1)),
    ((37, 65), (65, 19)),
    ((4, 2, 3), (3, 5)),
    ((2, 3), (4, 3, 5)),
    ((4, 2, 3), (4, 3, 5)),
    ((1, 2, 3), (4, 3, 5)),
    ((6, 4, 2, 3), (3, 5)),
    ((6, 4, 2, 3), (4, 3, 5)),
    ((6, 1, 2, 3), (1, 4, 3, 5)),
    ((2, 3, 4, 2, 3), (2, 3, 4, 3, 5)),
    ((2, 1, 4, 2, 3), (3, 1, 3, 5)),
    ((3,), (4, 3, 5)),
    ((4, 2, 3), (3,)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 3)),
    ((2, 3), (3, 0)),
    ((0, 2, 3), (3, 4)),
]


@pytest.mark.parametrize("first, second", PRODUCTS)
def test_matmul(first, second):
    a, b = random(first, seed=0), random(second, seed=1)
    x, y = Tensor(a, dtype="float32"), Tensor(b, dtype="float32")
    assert_close(F.matmul(x, y), a @ b, "float32", factor=10)
    assert_close(x @ y, a @ b, "float32", factor=10)


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (2, 3, 2)])
def test_matmul_transposes(transpose_a, transpose_b, batch):
    a, b = random((*batch, 5, 7), seed=0), random((*batch, 7, 6), seed=1)
    left = a.swapaxes(-1, -2).copy() if transpose_a else a
    right = b.swapaxes(-1, -2).copy() if transpose_b else b
    result = F.matmul(Tensor(left, dtype="float32"), Tensor(right, dtype="float32"), transpose_a, transpose_b)
    assert_close(result, a @ b, factor=10)
    lazy = F.matmul(laid_out(left, "transposed"), laid_out(right, "reversed"), transpose_a, transpose_b)
    assert_close(lazy, a @ b, factor=10)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_matmul_of_floats(dtype):
    a, b = random((5, 33), seed=0), random((33, 7), seed=1)
    assert_close(F.matmul(Tensor(a, dtype=dtype), Tensor(b, dtype=dtype)), a @ b, dtype, factor=10)


def test_matmul_of_integers():
    a, b = np.arange(-6, 6).reshape(3, 4), np.arange(8).reshape(4, 2)
    for dtype in ("int32", "int8", "int16"):
        assert_close(F.matmul(Tensor(a, dtype=dtype), Tensor(b, dtype=dtype)), a @ b, "int32")
    assert_close(F.matmul(Tensor([[100]], dtype="int8"), Tensor([[100]], dtype="int8")), [[10000]], "int32")
    assert_close(F.matmul(Tensor(a, dtype="int32"), Tensor(b, dtype="float32")), a @ b, "float32")


@pytest.mark.parametrize(
    "first, second",
    [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 2)), ((2, 2, 3), (3, 2)), ((2, 1, 2, 3), (2, 3, 2))],
)
def test_matmul_gradients(first, second):
    arrays = [random(first, seed=0), random(second, seed=1)]
    check_gradient(F.matmul, arrays)
    check_second_gradient(F.matmul, arrays)


def test_matmul_gradients_of_transposes():
    for ta, tb in itertools.product([False, True], repeat=2):
        arrays = [random((3, 2) if ta else (2, 3), seed=0), random((2, 3) if tb else (3, 2), seed=1)]
        check_gradient(lambda a, b, ta=ta, tb=tb: F.matmul(a, b, ta, tb), arrays)


def test_dot():
    a, b = random((9,), seed=0), random((9,), seed=1)
    assert_close(F.dot(Tensor(a), Tensor(b)), a @ b, "float32", factor=4)
    assert_close(F.dot(Tensor([1, 2]), Tensor([3, 4])), 11, "int32")
    check_gradient(F.dot, [a[:3], b[:3]])
    with pytest.raises(ValueError, match=r"dot takes two vectors of one length, got shapes \(2,\) and \(3,\)"):
        F.dot(F.zeros(2), F.zeros(3))
    with pytest.raises(ValueError, match="matmul"):
        F.dot(F.zeros((2, 2)), F.zeros((2, 2)))


def test_linear():
    x, w, b = random((2, 3, 4)), random((5, 4), seed=1), random((5,), seed=2)
    tensors = [Tensor(v, dtype="float32") for v in (x, w, b)]
    assert_close(F.linear(*tensors), x @ w.T + b, factor=10)
    assert_close(F.linear(*tensors[:2]), x @ w.T, factor=10)
    assert_close(F.linear(Tensor(x[0, 0]), *tensors[1:]), x[0, 0] @ w.T + b, factor=10)
    check_gradient(F.linear, [x[:1, :2], w[:2], b[:2]])
    check_second_gradient(F.linear, [x[0, :2], w[:2], b[:2]])
    with pytest.raises(ValueError, match=r"linear: an input of shape \(2, 3\) does not fit a weight of shape \(5, 4\)"):
        F.linear(F.zeros((2, 3)), tensors[1])


def test_matinv():
    a = random((2, 3, 3)) + 4 * np.eye(3)
    assert_close(F.matinv(Tensor(a)), np.linalg.inv(a), "float32", factor=10)
    assert_close(F.matinv(Tensor([[2, 0], [0, 4]])), [[0.5, 0], [0, 0.25]], "float32")
    check_gradient(F.matinv, [a])
    check_second_gradient(F.matinv, [a[0]])
    with pytest.raises(ValueError, match=r"matinv takes square matrices"):
        F.matinv(F.zeros((2, 3)))
    with pytest.raises(np.linalg.LinAlgError):
        F.matinv(F.zeros((2, 2)))


def test_svd():
    a = random((2, 4, 3))
    u, s, vh = F.svd(Tensor(a))
    assert [t.shape for t in (u, s, vh)] == [(2, 4, 3), (2, 3), (2, 3, 3)]
    assert_close(s, np.linalg.svd(a, compute_uv=False), factor=10)
    assert_close(F.matmul(u * F.expand_dims(s, 1), vh), a, factor=10)
    assert [t.shape for t in F.svd(Tensor(a), full_matrices=True)] == [(2, 4, 4), (2, 3), (2, 3, 3)]
    assert_close(F.svd(Tensor(a), compute_uv=False), np.linalg.svd(a, compute_uv=False), factor=10)


def test_errors():
    with pytest.raises(ValueError, match=r"matmul: shapes \(2, 3\) and \(2, 3\) do not fit"):
        F.matmul(F.zeros((2, 3)), F.zeros((2, 3)))
    with pytest.raises(ValueError, match="a number cannot be an operand"):
        F.matmul(Tensor(1.0), F.zeros((2, 3)))
    with pytest.raises(ValueError, match="do not broadcast"):
        F.matmul(F.zeros((2, 2, 3)), F.zeros((4, 3, 2)))
    with pytest.raises(ValueError, match="at least 1 dimension"):
        F.sort(Tensor(1.0))
