"""Element-wise functions and activations: one row each, against NumPy in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from checks import LAYOUTS, SHAPES, assert_close, check_gradient, check_second_gradient, gradients, laid_out, random
from elementwise_rows import ROWS

import tengen.functional as F
from tengen import Tensor

FLOATS = ["float32", "float16", "bfloat16", "float64"]
INTS = ["int32", "int16", "int8", "uint8"]


def operands(row, shape, seed=0):
    return [random(shape, row.low, row.high, seed + i) for i in range(row.arity)]


IDS = [row.name for row in ROWS]
DIFFERENTIABLE = [row for row in ROWS if row.gradient]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_shapes(row):
    for shape in SHAPES:
        arrays = operands(row, shape)
        result = row.call(*(Tensor(a, dtype="float32") for a in arrays))
        assert_close(result, row.truth(*arrays), row.result or "float32", row.loose)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(row, layout):
    arrays = operands(row, (4, 6, 3, 5))
    if layout == "stretched":
        arrays = [np.broadcast_to(a[:1], a.shape) for a in arrays]
    result = row.call(*(laid_out(a, layout) for a in arrays))
    assert_close(result, row.truth(*arrays), factor=row.loose)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_floats(row, dtype):
    arrays = operands(row, (3, 67))
    result = row.call(*(Tensor(a, dtype=dtype) for a in arrays))
    assert_close(result, row.truth(*arrays), row.result or dtype, row.loose)


@pytest.mark.parametrize("row", [r for r in ROWS if r.ints], ids=[r.name for r in ROWS if r.ints])
@pytest.mark.parametrize("dtype", INTS)
def test_integers(row, dtype):
    low = max(row.low, -1 if row.low > -1 else -5) if dtype != "uint8" else max(row.low, 0)
    arrays = [np.random.default_rng(i).integers(math.ceil(low), math.floor(row.high) + 1, 37) for i in range(row.arity)]
    result = row.call(*(Tensor(a, dtype=dtype) for a in arrays))
    want = row.result or (dtype if row.ints == "same" else row.ints)
    truth = row.truth(*(a.astype(np.float64) for a in arrays))
    if want in INTS:
        truth = truth.astype(np.int64).astype(want)
    assert_close(result, truth, want, row.loose)


@pytest.mark.parametrize("row", [r for r in ROWS if r.arity == 2], ids=[r.name for r in ROWS if r.arity == 2])
def test_broadcasting(row):
    for first, second in [((3, 1, 4), (5, 1)), ((), (2, 3)), ((2, 3), ()), ((1,), (0, 4)), ((4, 1), (1, 4))]:
        a, b = random(first, row.low, row.high, 0), random(second, row.low, row.high, 1)
        result = row.call(Tensor(a, dtype="float32"), Tensor(b, dtype="float32"))
        assert_close(result, row.truth(a, b), factor=row.loose)


@pytest.mark.parametrize("row", [r for r in ROWS if r.arity == 2], ids=[r.name for r in ROWS if r.arity == 2])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_number_does_not_widen(row, dtype):
    (a,) = operands(row, (5,))[:1]
    for left, right in [(Tensor(a, dtype=dtype), 1.5), (1.5, Tensor(a, dtype=dtype))]:
        truth = row.truth(*(np.asarray(v.numpy() if isinstance(v, Tensor) else v, np.float64) for v in (left, right)))
        assert_close(row.call(left, right), truth, row.result or dtype, row.loose)


@pytest.mark.parametrize("row", DIFFERENTIABLE, ids=[r.name for r in DIFFERENTIABLE])
def test_gradient(row):
    check_gradient(row.call, operands(row, (2, 3), seed=7))


@pytest.mark.parametrize("row", [r for r in ROWS if r.points], ids=lambda r: r.name)
def test_points(row):
    points = np.array(row.points)
    assert_close(row.call(Tensor(points, dtype="float32")), row.truth(points), row.result or "float32", row.loose)
    check_gradient(row.call, [points])
    check_second_gradient(row.call, [points])


@pytest.mark.parametrize("row", DIFFERENTIABLE, ids=[r.name for r in DIFFERENTIABLE])
def test_second_gradient(row):
    check_second_gradient(row.call, operands(row, (3,), seed=7))


@pytest.mark.parametrize("row", [r for r in DIFFERENTIABLE if r.arity == 2], ids=lambda r: r.name)
def test_gradient_of_broadcast_operands(row):
    check_gradient(row.call, [random((2, 1, 2), row.low, row.high, 7), random((3, 1), row.low, row.high, 8)])


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_lists_and_arrays_are_operands(row):
    arrays = operands(row, (3,))
    for given in (arrays, [a.tolist() for a in arrays], [a.astype(np.float32) for a in arrays]):
        assert_close(row.call(*given), row.truth(*arrays), row.result or "float32", row.loose)


def test_bits():
    a, b = np.array([1, -8, 77]), np.array([2, 1, 3])
    x, y = Tensor(a), Tensor(b)
    assert_close(F.left_shift(x, y), a << b, "int32")
    assert_close(F.right_shift(x, y), a >> b, "int32")
    assert_close(F.left_shift(Tensor([100], dtype="int8"), 1), [-56], "int8")


@pytest.mark.parametrize("name, truth", [("and", np.logical_and), ("or", np.logical_or), ("xor", np.logical_xor)])
def test_logic(name, truth):
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert_close(getattr(F, f"logical_{name}")(Tensor(a), Tensor(b)), truth(a, b), "bool")
    assert_close(getattr(F, f"logical_{name}")(Tensor(a), True), truth(a, True), "bool")


def test_logical_not():
    assert_close(F.logical_not(Tensor([True, False])), [False, True], "bool")


def test_extremes_of_booleans():
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert_close(F.maximum(Tensor(a), Tensor(b)), a | b, "bool")
    assert_close(F.minimum(Tensor(a), Tensor(b)), a & b, "bool")


def test_clip():
    a = random((4, 5), -3, 3)
    x = Tensor(a, dtype="float32")
    assert_close(F.clip(x, -1, 1), np.clip(a, -1, 1), "float32")
    assert_close(F.clip(x, lower=0.5), np.maximum(a, 0.5))
    assert_close(F.clip(x, upper=0.5), np.minimum(a, 0.5))
    assert_close(F.clip(x, 0.5, -0.5), np.clip(a, 0.5, -0.5))
    bound = random((5,), 0, 1)
    assert_close(F.clip(x, Tensor(bound, dtype="float32"), 2), np.clip(a, bound, 2))
    assert_close(F.clip(Tensor([1, 5, 9]), 2, 6), [2, 5, 6], "int32")
    assert_close(F.clip(Tensor([1, 5]), 1.5, 2.5), [1.5, 2.5], "float32")
    with pytest.raises(ValueError, match="both are None"):
        F.clip(x)
    check_gradient(lambda x, low: F.clip(x, low, 1.0), [a, random((5,), -1, 0)])


def test_subgradients():
    """Where a function has a kink the gradient is one of the two sides'."""
    for function, at, want in [
        (F.relu, [0.0, 1.0, -1.0], [0, 1, 0]),
        (lambda x: F.clip(x, 0, 1), [0.0, 1.0, 0.5, 2.0], [1, 1, 1, 0]),
        (lambda x: F.maximum(x, Tensor([1.0, 1.0])), [1.0, 0.0], [1, 0]),
        (F.max, [1.0, 1.0, 0.0], [1, 1, 0]),
        (F.leaky_relu, [-1.0, 1.0], [0.01, 1]),
    ]:
        x = np.array(at)
        weights = np.ones(np.shape(function(Tensor(x)).numpy()))
        np.testing.assert_allclose(gradients(function, [x], weights)[0], want)


@pytest.mark.parametrize(
    "function, at, slope",
    [
        (F.expm1, [-8.0, -14.0, -80.0], np.exp),
        (F.asin, [0.9999, -0.99999], lambda x: (1 - x * x) ** -0.5),
        (F.acos, [0.9999, -0.99999], lambda x: -((1 - x * x) ** -0.5)),
        (F.atanh, [0.9999, -0.99999], lambda x: 1 / (1 - x * x)),
        (F.acosh, [1.0001, 1.00001], lambda x: (x * x - 1) ** -0.5),
    ],
)
def test_slopes_keep_their_digits(function, at, slope):
    """Where they were differences of nearly equal numbers, 1 - x² or expm1(x) + 1, few were left."""
    x = np.array(at, "float32")
    np.testing.assert_allclose(
        gradients(function, [x], np.ones(x.shape), "float32")[0], slope(x.astype(float)), rtol=5e-7
    )


@pytest.mark.parametrize(
    "function, at, want",
    [
        (F.softplus, [-1000, 0, 1000], [0, math.log(2), 1000]),
        (F.logsigmoid, [-1000, 0, 1000], [-1000, -math.log(2), 0]),
        (F.sigmoid, [-1000, 1000], [0, 1]),
        (F.silu, [-200, 1000], [0, 1000]),
        (F.gelu, [-1000, 1000], [0, 1000]),
        (F.exp, [-np.inf, np.inf], [0, np.inf]),
        (F.log, [0, np.inf, -1], [-np.inf, np.inf, np.nan]),
        (F.sqrt, [0, np.inf, -1], [0, np.inf, np.nan]),
        (F.tanh, [-np.inf, np.inf], [-1, 1]),
        (lambda x: F.logaddexp(x, x), [-np.inf, np.inf], [-np.inf, np.inf]),
        (lambda x: F.pow(x, 0.0), [0, np.nan], [1, 1]),
        (lambda x: F.div(1.0, x), [0.0, -0.0], [np.inf, -np.inf]),
    ],
)
def test_limits(function, at, want):
    np.testing.assert_allclose(function(Tensor(at, dtype="float32")).numpy(), want, rtol=1e-6)


def test_promotion():
    """float + int tensors give float32; numbers keep the tensor's dtype unless a float meets integers."""
    half, single, integer = Tensor([1], dtype="float16"), Tensor([1], dtype="float32"), Tensor([1], dtype="int32")
    small, flag = Tensor([1], dtype="int8"), Tensor([True])
    for x, y, want in [
        (half, single, "float32"), (half, integer, "float32"), (small, integer, "int32"), (small, 3, "int8"), (small, 1.5, "float32"),
        (half, 2, "float16"), (flag, integer, "float32"), (flag, 1, "float32"), (single, True, "float32"),
    ]:  # fmt: skip
        assert F.add(x, y).desc.dtype == want, (x, y)
        assert F.add(y, x).desc.dtype == want, (y, x)
    assert F.add(1, 2).desc.dtype == "int32"
    assert F.pow(integer, 2).desc.dtype == "float32"
    assert F.div(integer, integer).desc.dtype == "float32"


def test_errors():
    with pytest.raises(ValueError, match=r"add: shapes \(2,\) and \(3,\) do not broadcast"):
        F.add(Tensor([1.0, 2.0]), Tensor([1.0, 2.0, 3.0]))
    with pytest.raises(TypeError, match="shl works on integers, got float32 and weak_int"):
        F.left_shift(Tensor([1.0]), 1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("shape", [(1, 3), (7, 4), (1000, 2), (1001, 3)])
def test_signs_of_narrow_floats_change_in_their_words(dtype, shape):
    """In pairs where there are pairs; -0, infinities and NaN included."""
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    values.flat[:5] = [0.0, -0.0, np.inf, -np.inf, np.nan][: values.size]
    x = Tensor(values).astype(dtype)
    rounded = x.astype("float32").numpy()
    for found, want in ((F.abs(x), np.abs(rounded)), (-x, -rounded), (F.abs(-x.T), np.abs(rounded.T))):
        assert found.dtype == x.dtype
        got = found.astype("float32").numpy()
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(np.signbit(got), np.signbit(want))
