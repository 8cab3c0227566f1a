"""Tensors of quantised dtypes: what they store, what they become, and arithmetic that is that of NumPy's integers."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest

import tengen
import tengen.functional as F
from tengen import dtype as dt
from tengen.autodiff import GradManager
from tengen.jit import load, trace

DTYPES = [dt.qint8(0.1), dt.quint8(0.1, 128), dt.qint32(0.1), dt.qint4(0.1), dt.quint4(0.1, 7), dt.qint1(0.1)]
SMALL = DTYPES[:2]


def random(dtype, *shape, seed=0):
    """Integers of all sizes that the dtype stores, as a tensor, and as int64."""
    kind = dtype.quantized.kind
    low, high = max(kind.qmin, -(2**20)), min(kind.qmax, 2**20)
    stored = np.random.default_rng(seed).integers(low, high, shape, endpoint=True)
    return tengen.tensor(stored.astype(kind.np_dtype_str), dtype=dtype), stored


def ints(tensor):
    return tensor.numpy().astype(np.int64)


def saturated(values, dtype):
    kind = dtype.quantized.kind
    return np.clip(values, kind.qmin, kind.qmax)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
class TestOneTensor:
    def test_real_numbers_go_there_and_back(self, dtype):
        q, stored = random(dtype, 50)
        real = (stored - dtype.quantized.zero) * np.float32(dtype.scale)
        np.testing.assert_array_equal(q.astype("float32").numpy(), real.astype(np.float32))
        np.testing.assert_array_equal(ints(q.astype("float32").astype(dtype)), stored)
        np.testing.assert_allclose(
            q.astype("float64").numpy(), (stored - dtype.quantized.zero) * float(np.float32(0.1))
        )

    def test_it_is_saved_copied_and_pickled(self, dtype):
        q, stored = random(dtype, 3, 4)
        file = io.BytesIO()
        tengen.save({"q": q, "array": q.numpy()}, file)
        file.seek(0)
        found = tengen.load(file)
        for same in (found["q"], tengen.tensor(found["array"]), copy.deepcopy(q), pickle.loads(pickle.dumps(q))):
            assert same.dtype == dtype
            assert same.dtype.metadata == q.dtype.metadata
            np.testing.assert_array_equal(ints(same), stored)

    def test_moving_keeps_integers_and_dtype(self, dtype):
        q, stored = random(dtype, 4, 6)
        index = tengen.tensor([3, 0, 3])
        pairs = [
            (q[1:, ::2], stored[1:, ::2]),
            (q.T.reshape(8, 3), stored.T.reshape(8, 3)),
            (q[index], stored[[3, 0, 3]]),
            (F.concat([q, q], axis=1), np.concatenate([stored, stored], 1)),
            (F.where(tengen.tensor(stored > 0), q, q[::-1]), np.where(stored > 0, stored, stored[::-1])),
            (F.copy(q), stored),
            (F.sort(q)[0], np.sort(stored)),
            (q.max(axis=0), stored.max(0)),
        ]
        for found, want in pairs:
            assert found.dtype == dtype
            np.testing.assert_array_equal(ints(found), want)
        np.testing.assert_array_equal(F.argmax(q, axis=1).numpy(), stored.argmax(1))

    def test_writing_into_one(self, dtype):
        q, stored = random(dtype, 4, 6)
        q[1] = q[2]
        q[tengen.tensor([0])] = q[3:]
        stored[1], stored[0] = stored[2], stored[3]
        np.testing.assert_array_equal(ints(q), stored)

    def test_arithmetic_saturates(self, dtype):
        (a, x), (b, y) = random(dtype, 40), random(dtype, 40, seed=1)
        zero = dtype.quantized.zero
        pairs = [
            (a + b, x + y - zero),
            (a - b, x - y + zero),
            (-a, 2 * zero - x),
            (F.relu(a), np.maximum(x, zero)),
            (F.maximum(a, b), np.maximum(x, y)),
            (F.minimum(a, b), np.minimum(x, y)),
            (a + 0.3, x + 3),
        ]
        for found, want in pairs:
            assert found.dtype == dtype
            np.testing.assert_array_equal(ints(found), saturated(want, dtype))
        np.testing.assert_array_equal((a < b).numpy(), x < y)

    def test_zeros_are_the_zero_point(self, dtype):
        zero = dtype.quantized.zero
        q, stored = random(dtype, 2, 3)
        assert set(ints(F.zeros((2,), dtype=dtype))) == {zero}
        assert set(ints(F.zeros_like(q)).ravel()) == {zero}
        padded = F.nn.pad(q, ((1, 1), (0, 0)))
        np.testing.assert_array_equal(ints(padded), np.pad(stored, ((1, 1), (0, 0)), constant_values=zero))
        assert ints(F.full((1,), 0.1, dtype=dtype)) == [zero + 1]

    def test_a_trace_gives_the_same_and_goes_into_a_file(self, dtype):
        q, stored = random(dtype, 4, 6)

        @trace(capture_as_const=True)
        def function(x):
            return F.relu(F.concat([x, q])).astype(dt.qint8(0.3)), x.T

        want = F.relu(F.concat([q, q])).astype(dt.qint8(0.3))
        for _ in range(2):
            found, turned = function(q)
            assert (found.dtype, turned.dtype) == (dt.qint8(0.3), dtype)
            np.testing.assert_array_equal(ints(found), ints(want))
        file = io.BytesIO()
        function.dump(file)
        file.seek(0)
        found, turned = load(file)(q)
        assert (found.dtype, turned.dtype) == (dt.qint8(0.3), dtype)
        np.testing.assert_array_equal(ints(found), ints(want))
        np.testing.assert_array_equal(ints(turned), stored.T)

    def test_it_prints_its_dtype(self, dtype):
        assert f"dtype={dtype}" in repr(F.zeros((1,), dtype=dtype))

    def test_it_has_no_gradient(self, dtype):
        with pytest.raises(TypeError, match="has no gradient"):
            GradManager().attach([tengen.Parameter(F.zeros((1,), dtype=dtype))])


def test_rounding_is_away_from_zero_in_the_middle():
    x = np.arange(-300, 300).astype(np.float32) / 2
    found = ints(tengen.tensor(x).astype(dt.qint8(1.0)))
    np.testing.assert_array_equal(found, saturated(np.copysign(np.floor(np.abs(x) + 0.5), x), dt.qint8(1.0)))


@pytest.mark.parametrize("left", SMALL, ids=str)
@pytest.mark.parametrize("right", SMALL, ids=str)
class TestProducts:
    """Sums of products are those of NumPy's integers, whatever their number."""

    @pytest.mark.parametrize("depth", [1, 7, 600, 5000])
    def test_matmul(self, left, right, depth):
        (a, x), (b, y) = random(left, 5, depth), random(right, depth, 4, seed=1)
        found = F.matmul(a, b)
        assert found.dtype.scale == pytest.approx(0.01)
        np.testing.assert_array_equal(ints(found), (x - left.quantized.zero) @ (y - right.quantized.zero))

    @pytest.mark.parametrize(("kernel", "groups", "padding"), [(1, 1, 0), (3, 1, 1), (3, 4, 1), (5, 2, 2), (3, 1, 0)])
    def test_convolution(self, left, right, kernel, groups, padding):
        (a, x), (b, y) = random(left, 2, 8, 9, 9), random(right, 12, 8 // groups, kernel, kernel, seed=1)
        x, y = x - left.quantized.zero, y - right.quantized.zero
        edge = ((0, 0), (0, 0), (padding, padding), (padding, padding))
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, edge), (kernel, kernel), (2, 3))
        parts = [
            np.einsum("nchwij,ocij->nohw", part, weight)
            for part, weight in zip(np.split(windows, groups, 1), np.split(y, groups), strict=True)
        ]
        if groups > 1:
            b = b.reshape(groups, 12 // groups, *b.shape[1:])
        found = F.conv2d(a, b, padding=padding, groups=groups)
        np.testing.assert_array_equal(ints(found), np.concatenate(parts, 1))

    def test_transposed_convolution(self, left, right):
        (a, x), (b, y) = random(left, 1, 3, 4, 4), random(right, 3, 2, 3, 3, seed=1)
        x, y = x - left.quantized.zero, y - right.quantized.zero
        want = np.zeros((1, 2, 6, 6), np.int64)
        for i in range(3):
            for j in range(3):
                want[:, :, i : i + 4, j : j + 4] += np.einsum("nchw,co->nohw", x, y[:, :, i, j])
        np.testing.assert_array_equal(ints(F.conv_transpose2d(a, b)), want)

    def test_bias_activation_and_rounding(self, left, right):
        (a, x), (b, y) = random(left, 2, 8, 5, 5), random(right, 6, 8, 1, 1, seed=1)
        scale = np.float32(0.1) * np.float32(0.1)
        bias, z = random(dt.qint32(scale), 1, 6, 1, 1, seed=2)
        sums = np.einsum("nchw,oc->nohw", x - left.quantized.zero, (y - right.quantized.zero)[:, :, 0, 0]) + z
        steps = np.maximum(sums, 0).astype(np.float32) * scale * (np.float32(1) / np.float32(3.0))
        found = F.quantized.conv_bias_activation(a, b, bias, dt.qint8(3.0), nonlinear_mode="relu")
        np.testing.assert_array_equal(ints(found), saturated(np.floor(steps + np.float32(0.5)), dt.qint8(1.0)))


def mixed(q, size, corners):
    """q (N, C, H, W) resized bilinearly, in float64."""
    y = q.astype(np.float64)
    for axis, new in enumerate(size, 2):
        old, place = y.shape[axis], np.arange(new)
        position = place * ((old - 1) / max(new - 1, 1)) if corners else (place + 0.5) * (old / new) - 0.5
        position = np.clip(position, 0, old - 1)
        below = np.floor(position).astype(int)
        part = (position - below).reshape(new, *[1] * (3 - axis))
        y = y.take(below, axis) * (1 - part) + y.take(np.minimum(below + 1, old - 1), axis) * part
    return y


@pytest.mark.parametrize("dtype", [dt.qint8(0.1), dt.quint8(0.1, 77)], ids=str)
@pytest.mark.parametrize(
    "size, corners", [((12, 20), False), ((3, 40), False), ((11, 19), True), ((7, 5), False)], ids=str
)
def test_resizing_of_integers(dtype, size, corners):
    q, stored = random(dtype, 2, 3, 6, 10)
    found = ints(F.vision.interpolate(q, size, mode="bilinear", align_corners=corners or None))
    exact = mixed(stored, size, corners)
    np.testing.assert_array_equal(
        found[np.abs(exact % 1 - 0.5) > 1e-4], np.round(exact)[np.abs(exact % 1 - 0.5) > 1e-4]
    )
    if size[0] != 7:  # all weights are whole sixteenths or so, and what lies in the middle goes away from zero
        np.testing.assert_array_equal(found, np.copysign(np.floor(np.abs(exact) + 0.5), exact))


def test_pooling_of_integers():
    q, stored = random(dt.qint8(0.1), 2, 3, 6, 6)
    blocks = stored.reshape(2, 3, 3, 2, 3, 2).transpose(0, 1, 2, 4, 3, 5).reshape(2, 3, 3, 3, 4)
    np.testing.assert_array_equal(ints(F.max_pool2d(q, 2)), blocks.max(-1))
    mean = blocks.mean(-1)
    np.testing.assert_array_equal(ints(F.avg_pool2d(q, 2)), np.copysign(np.floor(np.abs(mean) + 0.5), mean))


def test_refusals_name_dtypes_and_the_way_out():
    q = F.zeros((2,), dtype=dt.qint8(0.1))
    with pytest.raises(TypeError, match=r"exp is not defined for qint8\(0.1\); convert first"):
        F.exp(q)
    for other in (F.zeros((2,), dtype=dt.qint8(0.2)), F.zeros((2,)), F.zeros((2,), dtype=dt.quint8(0.1, 3))):
        with pytest.raises(TypeError, match=r"qint8\(0.1\) and .*astype"):
            q + other
        with pytest.raises(TypeError, match="astype"):
            F.concat([q, other])
    with pytest.raises(TypeError, match="integers that it stores"):
        tengen.tensor([0.5], dtype=dt.qint8(0.1))
    with pytest.raises(OverflowError, match="300"):
        tengen.tensor([300], dtype=dt.qint8(0.1))
    with pytest.raises(TypeError, match="at most 8 bits"):
        F.matmul(F.zeros((2, 2), dtype=dt.qint32(1.0)), F.zeros((2, 2), dtype=dt.qint8(1.0)))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan"), 1e-60])
def test_scales_are_positive_numbers(scale):
    with pytest.raises(ValueError, match="scale must be a positive float32"):
        dt.qint8(scale)


def test_equal_scales_are_one_dtype():
    assert dt.qint8(np.float32(0.1)) == dt.qint8(0.1)
    assert hash(dt.qint8(np.float32(0.1))) == hash(dt.qint8(0.1))
    assert str(dt.qint8(np.float32(0.1))) == str(dt.qint8(0.1)) == "qint8(0.1)"
    assert dt.qint8(0.1) != dt.qint8(0.1000001)


@pytest.mark.parametrize(
    "name", ["qint8(0.1", "qint8()", "qint8(x)", "qint2(0.1)", "quint8(0.1)", "qint8(0.1,3)", "quint8(1,2,3)"]
)
def test_names_that_are_none(name):
    with pytest.raises(TypeError):
        tengen.tensor([1], dtype=name)


def test_metadata_in_files_are_numbers_or_nothing():
    for said in (
        {"name": "QuantizedS8", "scale": "1"},
        {"name": "None", "scale": 1.0},
        {"name": "QuantizedS8", "scale": -1.0},
        5,
    ):
        array = np.zeros(3, np.dtype("int8", metadata={"mgb_dtype": said}))
        found = tengen.load(io.BytesIO(pickle.dumps(array, 4)))
        assert not found.dtype.metadata
        assert tengen.tensor(found).dtype == np.int8


def test_a_state_dict_brings_its_scale():
    class Net(tengen.module.Module):
        def __init__(self, scale):
            super().__init__()
            self.weight = tengen.Parameter(tengen.tensor([0.5, 1.0]).astype(dt.qint8(scale)))

        def forward(self):
            return self.weight

    net = Net(0.1)
    net.load_state_dict(Net(0.25).state_dict())
    assert net.weight.dtype == dt.qint8(0.25)
    assert net.weight.tolist() == [2, 4]
