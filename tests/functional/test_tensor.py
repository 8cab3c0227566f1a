"""Making, shaping and indexing tensors, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import scan_rows
from checks import assert_close, check_gradient, check_second_gradient, laid_out, random

import tengen
import tengen.functional as F
from tengen import Tensor


def number(*shape):
    """0, 1, 2, … in this shape."""
    return np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape)


# -- making tensors ----------------------------------------------------------------------------------------


def test_filled():
    assert_close(F.zeros((2, 3)), np.zeros((2, 3)), "float32")
    assert_close(F.zeros(3), np.zeros(3))
    assert_close(F.zeros([2, 1], dtype="int32"), np.zeros((2, 1)), "int32")
    assert_close(F.zeros(Tensor([2, 2])), np.zeros((2, 2)))
    assert_close(F.zeros(()), 0.0)
    assert_close(F.ones((0, 2), dtype=np.float16), np.ones((0, 2)), "float16")
    for value, dtype in [(3, "int32"), (3.5, "float32"), (True, "bool")]:
        assert_close(F.full((2,), value), [value, value], dtype)
    assert_close(F.full((2,), 3.7, dtype="int32"), [3, 3], "int32")
    assert_close(F.full((2,), Tensor(3.0)), [3, 3], "float32")
    assert F.full((1,), 1, device="cpu0").device == "cpu0"
    with pytest.raises(ValueError, match="extents are at least 0"):
        F.zeros((2, -1))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "uint8", "bool"])
def test_filled_like(dtype):
    x = Tensor([[1, 0, 1]], dtype=dtype)
    assert_close(F.zeros_like(x), [[0, 0, 0]], dtype)
    assert_close(F.ones_like(x), [[1, 1, 1]], dtype)
    value = 1 if dtype in ("bool", "int32", "uint8") else 2.5
    assert_close(F.full_like(x, value), [[value] * 3], dtype)


def test_full_like_truncates_for_integers():
    assert_close(F.full_like(Tensor([1, 2]), 2.7), [2, 2], "int32")


@pytest.mark.parametrize("arguments", [(5,), (1, 5), (0, 1, 0.3), (5, 0, -2), (2.5,), (0,), (5, 0), (-3,), (1, 2, 0.1)])
def test_arange(arguments):
    assert_close(F.arange(*arguments), np.arange(*arguments), "float32")


def test_arange_of_others():
    assert_close(F.arange(1, 5, dtype="int32"), [1, 2, 3, 4], "int32")
    assert_close(F.arange(0, 2, 0.5, dtype="int32"), [0, 0, 1, 1], "int32")
    assert_close(F.arange(Tensor(3)), [0, 1, 2])
    assert_close(F.arange(start=1, stop=3), [1, 2])
    assert F.arange(16777216, 16777220, dtype="int32").tolist() == [16777216, 16777217, 16777218, 16777219]
    with pytest.raises(ValueError, match="step is 0"):
        F.arange(0, 3, 0)


@pytest.mark.parametrize("arguments", [(0, 1, 5), (3, 10, 1), (3, 10, 0), (10, -10, 7), (0, 1e-3, 33)])
def test_linspace(arguments):
    assert_close(F.linspace(*arguments), np.linspace(*arguments), "float32")


def test_linspace_of_others():
    assert_close(F.linspace(0, 10, 5, dtype="int32"), [0, 2, 5, 7, 10], "int32")
    assert_close(F.linspace(0, Tensor(10.0), Tensor(3)), [0, 5, 10])
    assert F.linspace(0, 0.1, 50).tolist()[-1] == np.float32(0.1)
    with pytest.raises(ValueError, match="num must be at least 0"):
        F.linspace(0, 1, -1)


def test_eye():
    assert_close(F.eye(2), np.eye(2), "float32")
    assert_close(F.eye(2, 3, dtype="int32"), np.eye(2, 3), "int32")
    assert_close(F.eye((3, 2)), np.eye(3, 2))
    with pytest.raises(ValueError, match="eye takes"):
        F.eye((1, 2, 3))


@pytest.mark.parametrize("k", [-4, -1, 0, 1, 2, 5])
def test_diag(k):
    for a in (random((3,)), random((3, 4)), random((4, 2))):
        assert_close(F.diag(Tensor(a, dtype="float32"), k), np.diag(a, k), "float32")
        check_gradient(lambda x: F.diag(x, k), [a])
    with pytest.raises(ValueError, match="diag takes a vector or a matrix"):
        F.diag(F.zeros((2, 2, 2)))


def test_meshgrid():
    a, b, c = random((3,)), random((2,), seed=1), random((4,), seed=2)
    for arrays in ([a], [a, b], [a, b, c]):
        for indexing in ("xy", "ij"):
            found = F.meshgrid(*(Tensor(v, dtype="float32") for v in arrays), indexing=indexing)
            for result, truth in zip(found, np.meshgrid(*arrays, indexing=indexing), strict=True):
                assert_close(result, truth)
    check_gradient(lambda x, y: F.meshgrid(x, y), [a, b])
    with pytest.raises(ValueError, match="indexing must be one of xy, ij"):
        F.meshgrid(Tensor(a), indexing="ab")
    with pytest.raises(ValueError, match="meshgrid takes vectors"):
        F.meshgrid(F.zeros((2, 2)))


def test_copy():
    x = Tensor([1.0, 2.0])
    y = F.copy(x)
    y[0] = 5.0
    assert x.tolist() == [1.0, 2.0] and y.tolist() == [5.0, 2.0]
    with pytest.raises(tengen.base.errors.DeviceError, match="gpu7"):
        F.copy(x, "gpu7")


# -- shapes ------------------------------------------------------------------------------------------------

# function on tensors or arrays, its NumPy form, shape
SHAPING = {
    "reshape": (lambda x: F.reshape(x, (3, -1)), lambda a: a.reshape(3, -1), (2, 3, 4)),
    "reshape to one": (lambda x: F.reshape(x, 24), lambda a: a.reshape(24), (2, 3, 4)),
    "reshape of nothing": (lambda x: F.reshape(x, (3, 0)), lambda a: a.reshape(3, 0), (0, 3)),
    "flatten": (lambda x: F.flatten(x, 1), lambda a: a.reshape(2, -1), (2, 3, 4)),
    "flatten some": (lambda x: F.flatten(x, 0, 1), lambda a: a.reshape(6, 4), (2, 3, 4)),
    "flatten a number": (F.flatten, lambda a: a.reshape(1), ()),
    "transpose": (lambda x: F.transpose(x, (2, 0, 1)), lambda a: a.transpose(2, 0, 1), (2, 3, 4)),
    "transpose from the end": (lambda x: F.transpose(x, (-1, 0)), lambda a: a.T, (2, 3)),
    "transpose with a new dim": (lambda x: F.transpose(x, (1, "x", 0)), lambda a: a.T[:, None], (2, 3)),
    "swapaxes": (lambda x: F.swapaxes(x, 0, -1), lambda a: a.swapaxes(0, -1), (2, 3, 4)),
    "broadcast_to": (lambda x: F.broadcast_to(x, (5, 2, 3)), lambda a: np.broadcast_to(a, (5, 2, 3)), (2, 1)),
    "broadcast a number": (lambda x: F.broadcast_to(x, 3), lambda a: np.broadcast_to(a, 3), ()),
    "expand_dims": (lambda x: F.expand_dims(x, 0), lambda a: a[None], (2, 3)),
    "expand_dims at the end": (lambda x: F.expand_dims(x, -1), lambda a: a[..., None], (2, 3)),
    "expand several": (lambda x: F.expand_dims(x, (0, -1)), lambda a: a[None, ..., None], (2, 3)),
    "squeeze": (F.squeeze, np.squeeze, (1, 2, 1, 3)),
    "squeeze one": (lambda x: F.squeeze(x, 2), lambda a: a.squeeze(2), (1, 2, 1, 3)),
    "squeeze two": (lambda x: F.squeeze(x, (0, -2)), lambda a: a.squeeze((0, 2)), (1, 2, 1, 3)),
    "repeat": (lambda x: F.repeat(x, 2), lambda a: a.repeat(2), (2, 3)),
    "repeat along": (lambda x: F.repeat(x, 3, axis=-1), lambda a: a.repeat(3, -1), (2, 3)),
    "tile": (lambda x: F.tile(x, (2, 1)), lambda a: np.tile(a, (2, 1)), (2, 3)),
    "tile with more dims": (lambda x: F.tile(x, (2, 1, 3)), lambda a: np.tile(a, (2, 1, 3)), (2, 3)),
    "tile with fewer dims": (lambda x: F.tile(x, 2), lambda a: np.tile(a, 2), (2, 3)),
    "tile none": (lambda x: F.tile(x, (0, 1)), lambda a: np.tile(a, (0, 1)), (2, 3)),
    "roll": (lambda x: F.roll(x, 1), lambda a: np.roll(a, 1), (2, 3)),
    "roll along": (lambda x: F.roll(x, -1, axis=-1), lambda a: np.roll(a, -1, -1), (2, 3)),
    "roll two": (lambda x: F.roll(x, (1, 7), (0, 1)), lambda a: np.roll(a, (1, 7), (0, 1)), (2, 3)),
    "roll nothing": (lambda x: F.roll(x, 1, 0), lambda a: np.roll(a, 1, 0), (0, 3)),
    **{
        f"{row.name} {axis} {shape}": (
            lambda x, r=row, d=axis: r.call(x, d),
            lambda a, r=row, d=axis: r.truth(a, d),
            shape,
        )
        for row in scan_rows.ROWS
        for axis, shape in [(1, (2, 3, 4)), (-1, (2, 3)), (0, (0, 3)), (0, (1,))]
    },
}


@pytest.mark.parametrize("name", SHAPING)
def test_shaping(name):
    function, truth, shape = SHAPING[name]
    a = random(shape)
    for dtype in ("float32", "float16", "bfloat16", "float64"):
        assert_close(function(Tensor(a, dtype=dtype)), truth(a), dtype, factor=4)
    for dtype in ("int32", "uint8", "bool") if "cum" not in name else ("int32",):
        whole = (np.abs(a) > 1).astype(int)
        assert_close(function(Tensor(whole, dtype=dtype)), truth(whole), dtype)
    if len(shape) > 1 and shape[0]:
        for layout in ("transposed", "every second", "reversed", "channels last"):
            assert_close(function(laid_out(a, layout)), truth(a), factor=4)


@pytest.mark.parametrize("name", SHAPING)
def test_shaping_gradients(name):
    function, _, shape = SHAPING[name]
    check_gradient(function, [random(shape)])
    check_second_gradient(lambda x: function(x * x), [random(shape)])


@pytest.mark.parametrize("row", scan_rows.ROWS, ids=lambda row: row.name)
def test_scans(row):
    """Integers wrap, bool is counted, and zeros are no exception for gradients of any order."""
    flags, bytes = np.array([True, True, False, True]), np.array([200, 100, 3, 7], np.uint8)
    assert_close(row.call(Tensor(flags), 0), row.truth(flags, 0), "int32")
    assert_close(row.call(Tensor(bytes), 0), row.truth(bytes, 0).astype(np.uint8), "uint8")
    for x in ([[2.0, 0.0, 3.0, -1.5], [0.0, 0.0, 1.5, 2.0], [0.5, -2.0, 0.0, 0.0]], [[0.0]], [[]]):
        check_gradient(lambda x: row.call(x, 1), [np.array(x)])
        check_second_gradient(lambda x: row.call(x, 1), [np.array(x)])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat_and_stack(axis):
    parts = [random((2, 3), seed=i) for i in range(3)]
    tensors = [Tensor(p, dtype="float32") for p in parts]
    assert_close(F.concat(tensors, axis), np.concatenate(parts, axis))
    assert_close(F.stack(tensors, axis), np.stack(parts, axis))
    check_gradient(lambda *xs: F.concat(xs, axis), parts)
    check_second_gradient(lambda *xs: F.stack([x * x for x in xs], axis), parts)


def test_concat_of_others():
    assert_close(F.concat([F.zeros((1, 2)), F.ones((3, 2))]), [[0, 0], [1, 1], [1, 1], [1, 1]])
    assert_close(F.concat([Tensor([1], dtype="int8"), Tensor([2], dtype="int32")]), [1, 2], "int32")
    assert_close(F.concat([Tensor([1], dtype="int32"), Tensor([2.5])]), [1, 2.5], "float32")
    assert_close(F.stack([Tensor([True]), Tensor([2])]), [[1], [2]], "float32")
    assert_close(F.concat([Tensor(1.0), Tensor(2.0)]), [1, 2])
    assert_close(F.stack([Tensor(1.0), Tensor(2.0)]), [1, 2])
    assert_close(F.concat([F.zeros((0, 2)), F.ones((1, 2))]), [[1, 1]])
    assert_close(F.concat([Tensor([1.0]), np.ones(1, np.float32), [3.0]]), [1, 1, 3])
    assert_close(F.stack(t for t in [Tensor([1.0])] * 2), [[1], [1]])
    a = random((2, 3, 4, 4))
    assert_close(F.concat([laid_out(a, "channels last")] * 2, 1), np.concatenate([a, a], 1))


@pytest.mark.parametrize(
    "sections, truth",
    [(2, 2), (4, 4), (5, 5), ([1, 3], [1, 3]), ((2,), [2]), ([], []), (1, 1), (Tensor([2, 4]), [2, 4])],
)
def test_split(sections, truth):
    a = random((6, 3))
    found = F.split(Tensor(a, dtype="float32"), sections)
    assert isinstance(found, tuple)
    for part, want in zip(found, np.array_split(a, truth), strict=True):
        assert_close(part, want)


def test_split_gradients():
    a = random((2, 5))
    check_gradient(lambda x: F.split(x, [1, 3], axis=1), [a])
    check_second_gradient(lambda x: F.split(x * x, 3, axis=-1), [a])
    check_gradient(lambda x: F.split(x, 5, axis=1)[2], [a])


# -- parts -------------------------------------------------------------------------------------------------


def test_where():
    mask = random((2, 3)) > 0
    a, b = random((2, 3), seed=1), random((3,), seed=2)
    x, y = Tensor(a, dtype="float32"), Tensor(b, dtype="float32")
    assert_close(F.where(Tensor(mask), x, y), np.where(mask, a, b), "float32")
    assert_close(F.where(Tensor(mask), x, 0.0), np.where(mask, a, 0), "float32")
    assert_close(F.where(Tensor(mask), Tensor([1]), Tensor([2])), np.where(mask, 1, 2), "int32")
    assert_close(F.where(Tensor(mask), Tensor([1]), y), np.where(mask, 1, b), "float32")
    assert_close(F.where(mask.tolist(), x, y), np.where(mask, a, b))
    check_gradient(lambda x, y: F.where(Tensor(mask), x, y), [a, b])
    check_second_gradient(lambda x, y: F.where(Tensor(mask), x * x, y * x), [a, b])
    with pytest.raises(ValueError, match="the mask must be bool, got int32"):
        F.where(Tensor([1, 0, 1]), x, y)


def test_cond_take():
    a = random((3, 4))
    mask = a > 0
    values, places = F.cond_take(Tensor(mask), Tensor(a, dtype="float32"))
    assert_close(values, a[mask], "float32")
    assert_close(places, np.flatnonzero(mask), "int32")
    values, places = F.cond_take(Tensor([False, False]), Tensor([1.0, 2.0]))
    assert values.shape == places.shape == (0,)
    check_gradient(lambda x: F.cond_take(Tensor(mask), x)[0], [a])
    check_second_gradient(lambda x: F.cond_take(Tensor(mask), x * x)[0], [a])
    with pytest.raises(ValueError, match=r"a mask of shape \(2,\) for a tensor of shape \(3, 4\)"):
        F.cond_take(Tensor([True, False]), Tensor(a))
    with pytest.raises(ValueError, match="the mask must be bool"):
        F.cond_take(Tensor(a), Tensor(a))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather(axis):
    a = random((3, 4, 2))
    extents = list(a.shape)
    extents[axis] = 5
    index = np.random.default_rng(0).integers(-a.shape[axis], a.shape[axis], extents)
    x, i = Tensor(a, dtype="float32"), Tensor(index)
    wrapped = index % a.shape[axis]
    assert_close(F.gather(x, axis, i), np.take_along_axis(a, wrapped, axis), "float32")
    smaller = tuple(slice(0, max(e - 1, 1)) for e in index.shape)
    assert_close(F.gather(x, axis, Tensor(index[smaller])), np.take_along_axis(a, wrapped, axis)[smaller])
    assert_close(F.gather(laid_out(a, "channels last"), axis, i), np.take_along_axis(a, wrapped, axis))
    check_gradient(lambda x: F.gather(x, axis, i), [a])
    check_second_gradient(lambda x: F.gather(x * x, axis, i), [a])


def test_scatter():
    a, source = random((3, 4)), random((3, 2), seed=1)
    index = np.array([[0, 3], [1, 2], [2, 0]])
    truth = a.copy()
    np.put_along_axis(truth, index, source, 1)
    x, i, s = Tensor(a, dtype="float32"), Tensor(index), Tensor(source, dtype="float32")
    assert_close(F.scatter(x, 1, i, s), truth, "float32")
    assert_close(x, a)  # stays as it is
    assert_close(F.scatter(F.zeros((1, 2)), 1, Tensor([[1, 1]]), Tensor([[5.0, 6.0]])), [[0, 6]])
    assert_close(F.scatter(F.zeros((2, 2)), 0, Tensor([[1, 0]]), Tensor([[5.0, 6.0]])), [[0, 6], [5, 0]])
    assert_close(F.scatter(Tensor([[1, 2]]), 1, Tensor([[-1]]), Tensor([[7]])), [[1, 7]], "int32")
    check_gradient(lambda x, s: F.scatter(x, 1, i, s), [a, source])
    check_second_gradient(lambda x, s: F.scatter(x * x, 1, i, s * s), [a, source])


# -- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda x: F.reshape(x, (4, -1)),
            ValueError,
            r"reshape: 6 elements of shape \(2, 3\) cannot have the shape \(4, -1\)",
        ),
        (lambda x: F.reshape(x, (5,)), ValueError, "reshape: 6 elements"),
        (lambda x: F.transpose(x, (0, 0)), ValueError, r"transpose: \(0, 0\) is not an order"),
        (lambda x: F.broadcast_to(x, (2, 2)), ValueError, "broadcast"),
        (lambda x: F.expand_dims(x, 4), ValueError, "expand_dims: axis 4 is out of range"),
        (lambda x: F.squeeze(x, 0), ValueError, r"squeeze: axis 0 of shape \(2, 3\) has the extent 2"),
        (lambda x: F.concat([]), TypeError, "concat needs at least one tensor"),
        (lambda x: F.stack([]), TypeError, "stack needs at least one tensor"),
        (lambda x: F.concat([x, F.zeros((3, 3))], 1), ValueError, r"concat along axis 1: shapes \(2, 3\) and \(3, 3\)"),
        (lambda x: F.concat([x, x], 2), ValueError, "concat: axis 2 is out of range"),
        (
            lambda x: F.stack([x, F.zeros((3, 3))]),
            ValueError,
            r"stack: tensor 1 has the shape \(3, 3\), the first one \(2, 3\)",
        ),
        (lambda x: F.split(x, 0), ValueError, "cannot be split into 0 parts"),
        (lambda x: F.split(x, 3), ValueError, "cannot be split into 3 parts, only 1 to 2"),
        (lambda x: F.split(x, [2, 1], axis=1), ValueError, "must ascend"),
        (lambda x: F.split(x, 1, axis=7), ValueError, "split: axis 7 is out of range"),
        (lambda x: F.repeat(x, 0), ValueError, "repeats takes one integer >= 1"),
        (lambda x: F.repeat(x, [1, 2], axis=0), ValueError, "repeats takes one integer >= 1"),
        (lambda x: F.tile(x, (-1, 1)), ValueError, "reps must be at least 0"),
        (lambda x: F.roll(x, (1, 1), 0), ValueError, "2 shifts for 1 axes"),
        (lambda x: F.roll(x, (1, 1)), ValueError, "name an axis for each"),
        (lambda x: F.gather(x, 1, Tensor([[5], [0]])), IndexError, "gather|indexing"),
        (
            lambda x: F.gather(x, 1, Tensor([0, 1])),
            ValueError,
            r"gather: an index of shape \(2,\) must have as many dims",
        ),
        (lambda x: F.gather(x, 1, x), TypeError, "gather: index must be integers, got float32"),
        (lambda x: F.gather(x, 2, Tensor([[0]])), ValueError, "gather: axis 2 is out of range"),
        (lambda x: F.scatter(x, 1, Tensor([[3]]), Tensor([[1.0]])), IndexError, "scatter|index"),
        (lambda x: F.scatter(x, 1, Tensor([[0]]), Tensor([[1.0, 2.0]])), ValueError, "they must be equal"),
        (lambda x: F.cumsum(x, 2), ValueError, "cumsum: axis 2 is out of range"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(F.zeros((2, 3)))
