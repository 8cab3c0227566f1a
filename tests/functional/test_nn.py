"""Convolutions, pooling, normalisation and what else networks are made of, against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import windows
from checks import assert_close, check_gradient, check_second_gradient, laid_out, random

import tengen
import tengen.functional as F
from tengen import Tensor

# -- convolutions ------------------------------------------------------------------------------------------

# input, weight (out, in / groups, kh, kw), stride, padding, dilation, groups
CONVOLUTIONS = [
    ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 3, 7, 6), (4, 3, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    ((2, 3, 7, 6), (4, 3, 3, 2), (2, 1), (1, 0), (1, 2), 1),
    ((1, 4, 8, 8), (6, 2, 3, 3), (2, 2), (1, 1), (1, 1), 2),
    ((2, 17, 9, 9), (33, 17, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 16, 9, 11), (16, 1, 3, 3), (1, 1), (1, 1), (1, 1), 16),
    ((2, 4, 9, 11), (8, 1, 3, 3), (2, 2), (1, 1), (1, 1), 4),
    ((1, 3, 20, 20), (8, 3, 7, 7), (2, 2), (3, 3), (1, 1), 1),
    ((0, 3, 5, 5), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
]


@pytest.mark.parametrize("shape, kernel, stride, padding, dilation, groups", CONVOLUTIONS)
def test_conv2d(shape, kernel, stride, padding, dilation, groups):
    x, w, b = random(shape), random(kernel, seed=1), random((1, kernel[0], 1, 1), seed=2)
    truth = windows.conv2d(x, w, stride, padding, dilation, groups)
    tensors = [Tensor(v, dtype="float32") for v in (x, w, b)]
    parameters = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    assert_close(F.conv2d(tensors[0], tensors[1], **parameters), truth, "float32", factor=20)
    assert_close(F.conv2d(*tensors, **parameters), truth + b, factor=20)
    if shape[0]:
        assert_close(F.conv2d(laid_out(x, "channels last"), *tensors[1:], **parameters), truth + b, factor=20)
    if groups > 1:
        split = Tensor(w.reshape(groups, kernel[0] // groups, *kernel[1:]), dtype="float32")
        assert_close(F.conv2d(tensors[0], split, **parameters), truth, factor=20)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_conv2d_of_floats(dtype):
    x, w = random((2, 3, 7, 6)), random((4, 3, 3, 3), seed=1)
    result = F.conv2d(Tensor(x, dtype=dtype), Tensor(w, dtype=dtype), padding=1)
    assert_close(result, windows.conv2d(x, w, padding=(1, 1)), dtype, factor=20)


SMALL = [
    ((1, 2, 4, 3), (3, 2, 2, 2), (1, 1), (0, 0), (1, 1), 1),
    ((2, 2, 4, 4), (2, 1, 3, 3), (2, 2), (1, 1), (1, 1), 2),
    ((1, 4, 4, 3), (2, 2, 2, 2), (1, 1), (1, 0), (2, 1), 2),
]


@pytest.mark.parametrize("shape, kernel, stride, padding, dilation, groups", SMALL)
def test_conv2d_gradients(shape, kernel, stride, padding, dilation, groups):
    arrays = [random(shape), random(kernel, seed=1), random((1, kernel[0], 1, 1), seed=2)]
    check_gradient(lambda x, w, b: F.conv2d(x, w, b, stride, padding, dilation, groups), arrays)
    check_second_gradient(lambda x, w: F.conv2d(x, w, None, stride, padding, dilation, groups), arrays[:2])


def test_conv1d():
    x, w, b = random((2, 4, 9)), random((6, 2, 3), seed=1), random((1, 6, 1), seed=2)
    tensors = [Tensor(v, dtype="float32") for v in (x, w, b)]
    truth = windows.conv2d(x[:, :, None], w[:, :, None], (1, 2), (0, 1), groups=2)[:, :, 0] + b
    assert_close(F.conv1d(*tensors, stride=2, padding=1, groups=2), truth, factor=20)
    assert_close(F.conv1d(tensors[0], Tensor(w.reshape(2, 3, 2, 3)), tensors[2], 2, 1, groups=2), truth, factor=20)
    check_gradient(lambda x, w, b: F.conv1d(x, w, b, 2, 1, groups=2), [x[:1, :, :4], w, b])


TRANSPOSED = [
    ((1, 4, 3, 3), (4, 2, 3, 3), (1, 1), (0, 0), (0, 0), (1, 1), 1),
    ((2, 4, 3, 4), (4, 2, 3, 3), (2, 2), (1, 1), (1, 1), (1, 1), 1),
    ((2, 4, 3, 4), (4, 3, 3, 2), (2, 3), (1, 0), (1, 2), (1, 1), 2),
    ((1, 3, 3, 3), (3, 2, 2, 3), (1, 2), (0, 1), (0, 0), (2, 1), 1),
    ((1, 3, 2, 2), (3, 1, 2, 2), (2, 2), (0, 0), (0, 0), (1, 1), 3),
    ((2, 3, 3, 2), (3, 2, 1, 2), (3, 1), (0, 1), (0, 2), (2, 3), 1),  # an output padding of more than the stride
]


@pytest.mark.parametrize("shape, kernel, stride, padding, output_padding, dilation, groups", TRANSPOSED)
def test_conv_transpose2d(shape, kernel, stride, padding, output_padding, dilation, groups):
    x, w, b = random(shape), random(kernel, seed=1), random((1, kernel[1] * groups, 1, 1), seed=2)
    truth = windows.conv_transpose2d(x, w, stride, padding, output_padding, dilation, groups)
    tensors = [Tensor(v, dtype="float32") for v in (x, w, b)]
    parameters = (stride, padding, output_padding, dilation, groups)
    assert_close(F.conv_transpose2d(tensors[0], tensors[1], None, *parameters), truth, "float32", factor=20)
    assert_close(F.conv_transpose2d(*tensors, *parameters), truth + b, factor=20)
    split = Tensor(w.reshape(groups, kernel[0] // groups, *kernel[1:]), dtype="float32")
    assert_close(F.conv_transpose2d(tensors[0], split, None, *parameters), truth, factor=20)
    check_gradient(lambda x, w: F.conv_transpose2d(x, w, None, *parameters), [x[:1, :, :2, :2], w])
    check_second_gradient(lambda x, w: F.conv_transpose2d(x, w, None, *parameters), [x[:1, :, :2, :2], w])


# -- pooling -----------------------------------------------------------------------------------------------

POOLS = [
    ((2, 2), (2, 2), (0, 0)),
    ((3, 3), (1, 1), (1, 1)),
    ((3, 2), (2, 1), (1, 0)),
    ((1, 1), (2, 2), (0, 0)),
    ((2, 3), (3, 3), (1, 1)),
]


@pytest.mark.parametrize("kernel, stride, padding", POOLS)
def test_pooling(kernel, stride, padding):
    a = random((2, 3, 7, 8))
    largest = windows.pool2d(a, np.max, kernel, stride, padding, -np.inf)
    summed = windows.pool2d(a, np.sum, kernel, stride, padding)
    there = windows.pool2d(np.ones_like(a), np.sum, kernel, stride, padding)
    for x in (Tensor(a, dtype="float32"), laid_out(a, "channels last"), laid_out(a, "transposed")):
        assert_close(F.max_pool2d(x, kernel, stride, padding), largest, "float32")
        assert_close(F.avg_pool2d(x, kernel, stride, padding), summed / there, "float32", factor=4)
        assert_close(F.avg_pool2d(x, kernel, stride, padding, mode="average"), summed / np.prod(kernel), factor=4)


@pytest.mark.parametrize("kernel, stride, padding", POOLS)
def test_pooling_gradients(kernel, stride, padding):
    a = np.random.default_rng(0).permutation(24).reshape(1, 1, 4, 6) / 7.0  # no two are equal
    for function in (F.max_pool2d, F.avg_pool2d):
        check_gradient(lambda x, f=function: f(x, kernel, stride, padding), [a])
        check_second_gradient(lambda x, f=function: f(x * x, kernel, stride, padding), [a])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int8", "uint8", "int32"])
def test_pooling_of_others(dtype):
    a = np.random.default_rng(0).integers(0, 100, (1, 2, 4, 4)).astype(float)
    x = Tensor(a, dtype=dtype)
    assert_close(F.max_pool2d(x, 2), windows.pool2d(a, np.max, (2, 2), (2, 2)), dtype)
    assert_close(
        F.max_pool2d(x - 100 if dtype == "int8" else x, 3, 1, 1).max(), a.max() - 100 * (dtype == "int8"), dtype
    )


def test_pooling_defaults():
    x = F.arange(16).reshape(1, 1, 4, 4)
    assert_close(F.max_pool2d(x, 2), [[[[5, 7], [13, 15]]]])
    assert F.max_pool2d(x, (2, 1)).shape == (1, 1, 2, 4)


@pytest.mark.parametrize(
    "shape, out", [((5, 7), (2, 3)), ((8, 8), (1, 1)), ((7, 8), (3, 3)), ((4, 4), (4, 4)), ((9, 5), (2, 5))]
)
def test_adaptive_pooling(shape, out):
    a = random((2, 3, *shape))
    stride = tuple(s // o for s, o in zip(shape, out, strict=True))
    kernel = tuple(s - (o - 1) * t for s, o, t in zip(shape, out, stride, strict=True))
    x = Tensor(a, dtype="float32")
    assert_close(F.adaptive_avg_pool2d(x, out), windows.pool2d(a, np.mean, kernel, stride), factor=4)
    assert_close(F.adaptive_max_pool2d(x, Tensor(list(out))), windows.pool2d(a, np.max, kernel, stride))
    check_gradient(lambda x: F.adaptive_avg_pool2d(x, out), [a[:1, :1]])


# -- normalisation -----------------------------------------------------------------------------------------


def standardized(a, axes, eps=1e-5):
    return (a - a.mean(axes, keepdims=True)) / np.sqrt(a.var(axes, keepdims=True) + eps)


@pytest.mark.parametrize("shape", [(4, 3, 5, 2), (6, 3), (4, 3, 7), (2, 3, 1, 1), (2, 1, 3, 3)])
def test_batch_norm_training(shape):
    channels = shape[1]
    axes = tuple(d for d in range(len(shape)) if d != 1)
    wide = (1, channels, *(1,) * (len(shape) - 2))
    a, w, b = random(shape), random((channels,), 0.5, 2, 1), random((channels,), seed=2)
    mean, var = random((channels,), seed=3), random((channels,), 0.5, 2, 4)
    for kept in ((1, channels, 1, 1), (channels,)):
        running = [Tensor(v.reshape(kept), dtype="float32") for v in (mean, var)]
        scale = [Tensor(v.reshape(kept), dtype="float32") for v in (w, b)]
        y = F.batch_norm(Tensor(a, dtype="float32"), *running, *scale, training=True, momentum=0.75)
        assert_close(y, standardized(a, axes) * w.reshape(wide) + b.reshape(wide), "float32", factor=50)
        count = a.size / channels
        assert_close(running[0], (0.75 * mean + 0.25 * a.mean(axes)).reshape(kept), factor=4)
        assert_close(running[1], (0.75 * var + 0.25 * a.var(axes) * count / (count - 1)).reshape(kept), factor=4)


def test_running_mean_of_a_batch_with_an_infinity():
    x = np.array([[np.inf, 1.0, -np.inf], [0.5, 2.0, 1.0]], np.float32)
    running = [Tensor(np.zeros(3, np.float32)), Tensor(np.ones(3, np.float32))]
    F.batch_norm(Tensor(x), *running, training=True)
    np.testing.assert_allclose(running[0].numpy(), 0.1 * x.mean(0), rtol=1e-6)


def test_batch_norm_of_channels_last():
    a = random((4, 6, 5, 3))
    y = F.batch_norm(laid_out(a, "channels last"), training=True)
    assert_close(y, standardized(a, (0, 2, 3)), factor=50)


def test_batch_norm_inference():
    a, mean, var = random((4, 3, 5, 2)), random((3,)), random((3,), 0.5, 2)
    w, b = random((3,), seed=5), random((3,), seed=6)
    column = [v.reshape(1, 3, 1, 1) for v in (mean, var, w, b)]
    truth = (a - column[0]) / np.sqrt(column[1] + 1e-5)
    x = Tensor(a, dtype="float32")
    tensors = [Tensor(v, dtype="float32") for v in column]
    assert_close(F.batch_norm(x, *tensors[:2]), truth, factor=10)
    assert_close(F.batch_norm(x, *tensors), truth * column[2] + column[3], factor=10)
    assert_close(tensors[0], column[0])  # not updated
    check_gradient(lambda x, m, v, w, b: F.batch_norm(x, m, v, w, b), [a[:1, :, :1], mean, var, w, b])


def test_batch_norm_out_of_place():
    a = random((4, 3))
    mean, var = F.zeros((1, 3, 1, 1)), F.ones((1, 3, 1, 1))
    y, new_mean, new_var = F.batch_norm(Tensor(a), mean, var, training=True, inplace=False)
    assert_close(y, standardized(a, 0), factor=50)
    assert_close(new_mean, 0.1 * a.mean(0).reshape(1, 3, 1, 1), factor=10)
    assert_close(new_var, (0.9 + 0.1 * a.var(0, ddof=1)).reshape(1, 3, 1, 1), factor=10)
    assert mean.numpy().any() == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_norms_of_narrow_floats(dtype):
    a = random((4, 6, 5))
    x = Tensor(a, dtype=dtype)
    assert_close(F.batch_norm(x, training=True), standardized(a, (0, 2)), dtype, factor=2)
    assert_close(F.layer_norm(x, 5, False), standardized(a, 2), dtype, factor=2)
    assert_close(F.group_norm(x, 2, False), standardized(a.reshape(4, 2, 15), 2).reshape(a.shape), dtype, factor=2)


@pytest.mark.parametrize("shape", [(3, 2), (2, 2, 2, 2)])
def test_batch_norm_gradients(shape):
    a, w, b = random(shape, seed=8), random((2,), 0.5, 2, 1), random((2,), seed=2)
    check_gradient(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), [a, w, b])
    check_gradient(lambda x: F.batch_norm(x, training=True, inplace=False), [a])
    check_second_gradient(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), [a, w, b])
    running = [F.zeros((1, 2, 1, 1), dtype="float64"), F.ones((1, 2, 1, 1), dtype="float64")]
    check_gradient(lambda x, w, b: F.batch_norm(x, *running, w, b, training=True), [a, w, b])


@pytest.mark.parametrize(
    "shape, normal", [((3, 7), (7,)), ((2, 3, 4), (3, 4)), ((2, 3, 4), (4,)), ((5,), (5,)), ((2, 300), (300,))]
)
def test_layer_norm(shape, normal):
    a, w, b = random(shape), random(normal, seed=1), random(normal, seed=2)
    axes = tuple(range(len(shape) - len(normal), len(shape)))
    x, scale, shift = (Tensor(v, dtype="float32") for v in (a, w, b))
    assert_close(F.layer_norm(x, normal, False), standardized(a, axes), "float32", factor=50)
    assert_close(F.layer_norm(x, normal, True, scale, shift), standardized(a, axes) * w + b, factor=50)
    flat = [scale.flatten(), shift.flatten()]
    assert_close(F.layer_norm(x, normal, True, *flat), standardized(a, axes) * w + b, factor=50)


def test_layer_norm_gradients():
    arrays = [random((2, 3), seed=3), random((3,), seed=1), random((3,), seed=2)]
    check_gradient(lambda x, w, b: F.layer_norm(x, 3, True, w, b), arrays)
    check_second_gradient(lambda x, w, b: F.layer_norm(x, 3, True, w, b), arrays)


@pytest.mark.parametrize(
    "shape, groups", [((2, 4, 3, 2), 2), ((2, 4, 3, 2), 4), ((2, 4, 3, 2), 1), ((3, 6), 3), ((2, 6, 5), 2)]
)
def test_group_norm(shape, groups):
    a, w, b = random(shape), random((shape[1],), seed=1), random((shape[1],), seed=2)
    wide = (1, shape[1], *(1,) * (len(shape) - 2))
    rows = standardized(a.reshape(shape[0], groups, -1), 2).reshape(shape)
    x, scale, shift = (Tensor(v, dtype="float32") for v in (a, w, b))
    assert_close(F.group_norm(x, groups, False), rows, "float32", factor=50)
    assert_close(F.group_norm(x, groups, True, scale, shift), rows * w.reshape(wide) + b.reshape(wide), factor=50)
    if groups == shape[1]:
        assert_close(F.instance_norm(x, True, scale, shift), rows * w.reshape(wide) + b.reshape(wide), factor=50)
    check_gradient(lambda x, w, b: F.group_norm(x, groups, True, w, b), [a, w, b])


@pytest.mark.parametrize("axes", [(0, 2), (1,), 1, (-1,), (0, 1, 2)])
def test_general_norm(axes):
    a = random((2, 3, 4))
    normal = tuple(sorted(d % 3 for d in np.atleast_1d(axes)))
    extents = tuple(a.shape[d] for d in normal)
    w, b = random(extents, seed=1), random(extents, seed=2)
    wide = tuple(s if d in normal else 1 for d, s in enumerate(a.shape))
    x, scale, shift = (Tensor(v, dtype="float32") for v in (a, w, b))
    assert_close(F.general_norm(x, axes, False), standardized(a, normal), factor=50)
    truth = standardized(a, normal) * w.reshape(wide) + b.reshape(wide)
    assert_close(F.general_norm(x, axes, True, scale, shift), truth, factor=50)


def test_local_response_norm():
    a = random((2, 6, 3, 2))
    squares = np.pad(a * a, ((0, 0), (2, 2), (0, 0), (0, 0)))
    energy = sum(squares[:, i : i + 6] for i in range(5))
    truth = a / (2.0 + 0.3 * energy) ** 0.75
    assert_close(F.local_response_norm(Tensor(a), 5, 2.0, 0.3, 0.75), truth, "float32", factor=10)
    check_gradient(lambda x: F.local_response_norm(x, 3, 1.0, 0.5, 0.75), [a[:1, :, :1]])
    check_second_gradient(lambda x: F.local_response_norm(x, 3, 1.0, 0.5, 0.75), [a[:1, :3, :1, :1]])
    with pytest.raises(ValueError, match="odd kernel_size"):
        F.local_response_norm(Tensor(a), 2)


# -- softmax and its like ----------------------------------------------------------------------------------


def logsumexp(a, axis):
    high = a.max(axis, keepdims=True)
    return np.log(np.exp(a - high).sum(axis, keepdims=True)) + high


@pytest.mark.parametrize(
    "shape, axis",
    [((5,), 0), ((3, 7), 1), ((3, 7), 0), ((2, 3, 4), -1), ((2, 3, 4), (0, 2)), ((2, 300), 1), ((2, 6, 3, 4), 1)],
)
def test_softmax(shape, axis):
    a = random(shape, -5, 5)
    for x in (Tensor(a, dtype="float32"), laid_out(a, "transposed")):
        assert_close(F.softmax(x, axis), np.exp(a - logsumexp(a, axis)), "float32", factor=4)
        assert_close(F.logsoftmax(x, axis), a - logsumexp(a, axis), factor=4)
        assert_close(F.logsumexp(x, axis, keepdims=True), logsumexp(a, axis), factor=4)
        assert_close(F.logsumexp(x, axis), logsumexp(a, axis).squeeze(axis), factor=4)


def test_logsoftmax_of_large_numbers_is_exact_and_nan_beside_infinity():
    """Of x - logsumexp(x) the rounding of 1e4 would be left. Rows with inf are NaN, as of PyTorch and the reference."""
    x = np.array([[1e4, 10000.5, 9999.0], [-1e6, -1e6, -1e6 + 2]])
    z = x - x.max(1, keepdims=True)
    truth = z - np.log(np.exp(z).sum(1, keepdims=True))
    assert_close(F.logsoftmax(Tensor(x, dtype="float32"), 1), truth, factor=2)
    labels = np.array([2, 0])
    for smooth in (0, 0.25):
        loss = F.loss.cross_entropy(Tensor(x, dtype="float32"), Tensor(labels), label_smooth=smooth, reduction="none")
        chosen = np.take_along_axis(truth, labels[:, None], 1)[:, 0]
        assert_close(loss, -(1 - smooth) * chosen - smooth * truth.mean(1), factor=2)
    wide = Tensor([[1.0, np.inf], [-np.inf, 1.0]])
    np.testing.assert_array_equal(F.logsoftmax(wide, 1).numpy(), [[np.nan, np.nan], [-np.inf, 0]])
    found = F.loss.cross_entropy(wide, Tensor([0, 0]), reduction="none").numpy()
    np.testing.assert_array_equal(found, [np.nan, np.inf])


@pytest.mark.parametrize("function", [F.softmax, F.logsoftmax, F.logsumexp])
def test_softmax_gradients(function):
    a = random((2, 3), seed=1)
    for axis in (0, 1, (0, 1)):
        check_gradient(lambda x, axis=axis: function(x, axis), [a])
        check_second_gradient(lambda x, axis=axis: function(x, axis), [a])


@pytest.mark.parametrize("length", [1, 5, 40, 3000])
def test_softmax_of_nan(length):
    """All of a row is nan if any of it is, and no other row."""
    a = random((6, length))
    a[1, 0], a[3, length // 2], a[4] = np.nan, np.nan, np.nan
    with np.errstate(all="ignore"):
        sums = np.log(np.exp(a).sum(1, keepdims=True))
    for axis, x, wanted in ((1, a, sums), (0, a.T, sums.T)):
        assert_close(F.softmax(Tensor(x, "float32"), axis), np.exp(x - wanted), factor=8)
        assert_close(F.logsoftmax(Tensor(x, "float32"), axis), x - wanted, factor=8)
        assert_close(F.logsumexp(Tensor(x, "float32"), axis, keepdims=True), wanted, factor=8)


def test_softmax_defaults_and_limits():
    a = random((2, 3, 2))
    assert_close(F.softmax(Tensor(a)), np.exp(a - logsumexp(a, 0)), factor=4)
    assert_close(F.softmax(Tensor(a[0])), np.exp(a[0] - logsumexp(a[0], 1)), factor=4)
    assert_close(F.softmax(Tensor(3.0)), 1.0)
    assert_close(F.softmax(Tensor([1000.0, 1000.0])), [0.5, 0.5])
    assert_close(F.logsumexp(Tensor([[-np.inf, -np.inf], [np.inf, 0.0]]), 1), [-np.inf, np.inf])
    assert_close(F.softmax(Tensor([1, 2])), np.exp([1, 2]) / np.exp([1, 2]).sum(), "float32")


# -- embedding, one-hot ------------------------------------------------------------------------------------


def test_embedding():
    w = random((5, 3))
    rows = np.array([[1, 0, 4], [2, 2, 1]])
    assert_close(F.embedding(Tensor(rows), Tensor(w)), w[rows], "float32")
    assert_close(F.embedding(Tensor(3), Tensor(w)), w[3])
    for dtype in ("int8", "uint8", "int16"):
        assert_close(F.embedding(Tensor(rows, dtype=dtype), Tensor(w)), w[rows])
    check_gradient(lambda w: F.embedding(Tensor(rows), w), [w])
    check_second_gradient(lambda w: F.embedding(Tensor(rows), w * w), [w])
    with pytest.raises(IndexError):
        F.embedding(Tensor([9]), Tensor(w))
    with pytest.raises(ValueError, match="embedding does not support padding_idx"):
        F.embedding(Tensor(rows), Tensor(w), padding_idx=0)
    with pytest.raises(TypeError, match="inp must be integers"):
        F.embedding(Tensor([1.0]), Tensor(w))


def test_one_hot():
    labels = np.array([[1, 0], [3, 2]])
    assert_close(F.one_hot(Tensor(labels), 4), np.eye(4)[labels], "int32")
    assert_close(F.one_hot(Tensor(2), 4), np.eye(4)[2], "int32")
    assert F.one_hot(F.zeros((0,), dtype="int32"), 3).shape == (0, 3)
    for bad in (4, -1):
        with pytest.raises(IndexError):
            F.one_hot(Tensor([0, bad]), 4)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_indexing_one_hot(axis):
    a = random((3, 4, 5))
    want = tuple(s for d, s in enumerate(a.shape) if d != axis % 3)
    index = np.random.default_rng(0).integers(0, a.shape[axis], want)
    truth = np.take_along_axis(a, np.expand_dims(index, axis), axis)
    x, i = Tensor(a, dtype="float32"), Tensor(index)
    assert_close(F.indexing_one_hot(x, i, axis, keepdims=True), truth, "float32")
    assert_close(F.indexing_one_hot(x, i, axis), truth.squeeze(axis))
    check_gradient(lambda x: F.indexing_one_hot(x, i, axis), [a])
    with pytest.raises(IndexError):
        F.indexing_one_hot(x, i - 100, axis)


# -- padding and windows -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["constant", "edge", "replicate", "reflect", "REFLECT"])
def test_pad(mode):
    a = random((3, 4, 2))
    known = {"replicate": "edge", "REFLECT": "reflect"}.get(mode, mode)
    for widths in (((1, 2), (3, 0)), ((0, 0),), ((2, 1), (0, 3), (1, 1))):
        full = (*widths, *((0, 0),) * (3 - len(widths)))
        x = Tensor(a, dtype="float32")
        assert_close(F.nn.pad(x, widths, mode), np.pad(a, full, mode=known), "float32")
        check_gradient(lambda x, widths=widths: F.nn.pad(x, widths, mode), [a])
    assert_close(F.nn.pad(laid_out(a, "transposed"), widths, mode), np.pad(a, full, mode=known))
    check_second_gradient(lambda x: F.nn.pad(x * x, ((1, 1),), mode), [a[:, :2, 0]])


def test_pad_constants():
    assert_close(F.nn.pad(Tensor([1, 2]), ((1, 0),), constant_value=7), [7, 1, 2], "int32")
    assert_close(F.nn.pad(Tensor([1.0]), ((0, 1),), constant_value=-np.inf), [1, -np.inf])


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_pixel_shuffle(lead):
    a = random((*lead, 12, 2, 3))
    truth = a.reshape(*lead, 3, 2, 2, 2, 3)
    rank = len(lead)
    truth = truth.transpose(*range(rank), rank, rank + 3, rank + 1, rank + 4, rank + 2).reshape(*lead, 3, 4, 6)
    assert_close(F.pixel_shuffle(Tensor(a), 2), truth)
    check_gradient(lambda x: F.pixel_shuffle(x, 2), [a])


def test_sliding_window():
    a = random((2, 3, 7, 6))
    seen = windows.windows(windows.padded(a, (1, 0)), (3, 2), (2, 1), (1, 2))
    assert_close(F.sliding_window(Tensor(a), (3, 2), (1, 0), (2, 1), (1, 2)), seen)
    back = F.sliding_window_transpose(Tensor(seen), (7, 6), (3, 2), (1, 0), (2, 1), (1, 2))
    times = F.sliding_window_transpose(F.ones(seen.shape), (7, 6), (3, 2), (1, 0), (2, 1), (1, 2))
    assert_close(back, a * times.numpy(), factor=4)
    check_gradient(lambda x: F.sliding_window(x, 2), [a[:1, :1, :3, :3]])
    check_gradient(lambda x: F.sliding_window_transpose(x, (3, 3), 2), [random((1, 1, 2, 2, 2, 2))])
    check_second_gradient(lambda x: F.sliding_window_transpose(x * x, (3, 3), 2), [random((1, 1, 2, 2, 2, 2))])


# -- dropout -----------------------------------------------------------------------------------------------


def test_dropout():
    x = F.ones((100, 100))
    tengen.random.seed(1)
    y = F.dropout(x, 0.25)
    kept = (y.numpy() != 0).mean()
    assert abs(kept - 0.75) < 0.02
    np.testing.assert_allclose(np.unique(y.numpy()), [0, 4 / 3], rtol=1e-6)
    assert (F.dropout(x, 0.25).numpy() != y.numpy()).any()
    tengen.random.seed(1)
    assert (F.dropout(x, 0.25).numpy() == y.numpy()).all()
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 0.0) is x
    for p in (1.0, 1.5, -0.1):
        with pytest.raises(ValueError, match="drop_prob must be at least 0 and less than 1"):
            F.dropout(x, p)


def test_dropout_gradient_drops_the_same():
    x = F.ones((50,))
    manager = tengen.autodiff.GradManager().attach([x])
    with manager:
        y = F.dropout(x, 0.5)
        manager.backward(y)
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())


def test_inplace_add():
    x = Tensor([5.0, 5.0])
    assert F.inplace._inplace_add_(x, Tensor([1.0, 2.0]), alpha=Tensor(1.0), beta=Tensor(-1.0)) is x
    assert_close(x, [4, 3], "float32")


# -- errors ------------------------------------------------------------------------------------------------

IMAGE = (1, 4, 5, 5)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: F.conv2d(x, F.zeros((2, 3, 3, 3))), r"conv2d: an input of 4 channels, shape \(1, 4, 5, 5\)"),
        (lambda x: F.conv2d(x, F.zeros((2, 4, 7, 7))), r"conv2d: a kernel of \(7, 7\)"),
        (lambda x: F.conv2d(x[0], F.zeros((2, 4, 3, 3))), r"conv2d takes an input \(N, C, H, W\)"),
        (
            lambda x: F.conv2d(x, F.zeros((2, 4, 3, 3)), stride=0),
            "conv2d: stride takes one or two integers >= 1, got 0",
        ),
        (lambda x: F.conv2d(x, F.zeros((2, 4, 3, 3)), padding=(1, 1, 1)), "conv2d: padding takes one or two integers"),
        (lambda x: F.conv2d(x, F.zeros((2, 4, 3, 3)), dilation=None), "conv2d: dilation takes one or two integers"),
        (lambda x: F.conv2d(x, F.zeros((2, 4, 3, 3)), groups=1.5), "conv2d: groups takes one integer"),
        (lambda x: F.conv2d(x, F.zeros((2, 4, 3, 3)), stride=[1, 0]), "conv2d: stride takes one or two integers"),
        (
            lambda x: F.conv2d(x, F.zeros((2, 4, 3, 3)), conv_mode="convolution"),
            "conv_mode must be 'cross_correlation'",
        ),
        (lambda x: F.conv2d(x, F.zeros((2, 4, 3, 3)), F.zeros((3,))), "bias|reshape|elements"),
        (lambda x: F.conv1d(x, F.zeros((2, 4, 3))), r"conv1d takes an input \(N, C, L\)"),
        (lambda x: F.conv_transpose2d(x, F.zeros((3, 2, 3, 3))), r"conv_transpose2d: an input of shape \(1, 4, 5, 5\)"),
        (lambda x: F.conv_transpose2d(x, F.zeros((4, 2, 3, 3)), output_padding=1), "output_padding .* must be smaller"),
        (
            lambda x: F.conv_transpose2d(x, F.zeros((4, 2, 3, 3)), padding=(0, 4)),
            r"conv_transpose2d: padding \(0, 4\) leaves nothing of the result",
        ),
        (lambda x: F.max_pool2d(x, 6), r"max_pool2d: a window of \(6, 6\) does not fit"),
        (lambda x: F.max_pool2d(x[0], 2), r"max_pool2d takes a tensor \(N, C, H, W\), got shape \(4, 5, 5\)"),
        (lambda x: F.avg_pool2d(x, 2, mode="mean"), "avg_pool2d: mode must be one of"),
        (lambda x: F.adaptive_avg_pool2d(x, 6), r"adaptive_avg_pool2d: the output \(6, 6\) is larger"),
        (lambda x: F.batch_norm(x), "needs running_mean and running_var"),
        (lambda x: F.batch_norm(x, F.zeros(4), training=True), "both or not at all"),
        (
            lambda x: F.batch_norm(x, weight=F.ones(3), training=True),
            r"batch_norm: weight of shape \(3,\) does not fit the 4 channels",
        ),
        (lambda x: F.batch_norm(x.flatten(), training=True), r"batch_norm takes a tensor \(N, C, …\)"),
        (lambda x: F.layer_norm(x, (4,), False), r"layer_norm: the last dims of shape \(1, 4, 5, 5\)"),
        (lambda x: F.layer_norm(x, 5, True), "layer_norm: affine=True needs weight and bias"),
        (lambda x: F.layer_norm(x, 5, True, F.ones(4), F.ones(4)), "layer_norm: a weight or bias of shape"),
        (lambda x: F.group_norm(x, 3, False), r"group_norm: the channels .* into 3 equal groups"),
        (lambda x: F.softmax(x, 4), "softmax: axis 4 is out of range"),
        (lambda x: F.nn.pad(x, ((5, 0),), "reflect"), "pad: mode 'reflect' cannot put"),
        (lambda x: F.nn.pad(x, ((1, 1),), "symmetric"), "pad: mode must be one of"),
        (lambda x: F.nn.pad(x, ((-1, 1),)), "pad: pad_width"),
        (lambda x: F.pixel_shuffle(x, 3), "pixel_shuffle by 3 takes"),
        (lambda x: F.sliding_window(x, 6), "do not fit"),
        (lambda x: F.indexing_one_hot(x, Tensor([0])), "indexing_one_hot: an index of shape"),
        (lambda x: F.one_hot(Tensor([0]), 0), "num_classes must be at least 1"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(F.zeros(IMAGE))


def test_pad_says_what_it_takes():
    with pytest.raises(ValueError, match=r"pad: pad_width takes \(before, after\) for each dim"):
        F.nn.pad(F.ones((1, 1, 2, 2)), (1, 1, 1, 1))
