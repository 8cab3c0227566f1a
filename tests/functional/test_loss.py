"""Losses and metrics against NumPy in float64."""

from __future__ import annotations

import sys
from itertools import count

import numpy as np
import pytest
from checks import assert_close, check_gradient, check_second_gradient, laid_out, random

import tengen.functional as F
from tengen import Tensor, UsageWarning

REDUCED = {"none": lambda a: a, "sum": np.sum, "mean": np.mean}


def hinge(x, y, power):
    return (np.maximum(0, 1 - x * y) ** power).sum(1)


# name → (call with reduction=…, truth of each element, target)
PAIRS = {
    "l1_loss": (F.loss.l1_loss, lambda x, y: np.abs(x - y), lambda shape: random(shape, seed=1)),
    "square_loss": (F.loss.square_loss, lambda x, y: (x - y) ** 2, lambda shape: random(shape, seed=1)),
    "binary_cross_entropy": (
        F.loss.binary_cross_entropy,
        lambda x, y: y * np.logaddexp(0, -x) + (1 - y) * np.logaddexp(0, x),
        lambda shape: (random(shape, seed=1) > 0).astype(float),
    ),
    "hinge_loss": (F.loss.hinge_loss, lambda x, y: hinge(x, y, 1), lambda shape: np.sign(random(shape, seed=1) + 0.01)),
    "hinge_loss L2": (
        lambda *args, **more: F.loss.hinge_loss(*args, norm="L2", **more),
        lambda x, y: hinge(x, y, 2),
        lambda shape: np.sign(random(shape, seed=1) + 0.01),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("reduction", REDUCED)
def test_elementwise_losses(name, reduction):
    function, truth, target = PAIRS[name]
    for shape in ((4, 3), (1, 1), (3, 5, 2), (0, 3) if reduction != "mean" else (5, 2)):
        x, y = random(shape), target(shape)
        result = function(Tensor(x, dtype="float32"), Tensor(y, dtype="float32"), reduction=reduction)
        assert_close(result, REDUCED[reduction](truth(x, y)), "float32", factor=10)
    check_gradient(lambda x: function(x, Tensor(y, dtype="float64"), reduction=reduction), [x])
    check_second_gradient(lambda x: function(x * x, Tensor(y, dtype="float64"), reduction=reduction), [x])


def test_gradients_of_targets():
    x, y = random((2, 3)), random((2, 3), seed=1)
    for function in (F.loss.l1_loss, F.loss.square_loss, F.loss.binary_cross_entropy):
        check_gradient(function, [x, y])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_losses_of_floats(dtype):
    x, y = random((4, 3)), random((4, 3), seed=1)
    want = "float64" if dtype == "float64" else "float32"
    result = F.loss.square_loss(Tensor(x, dtype=dtype), Tensor(y, dtype=dtype))
    assert_close(result, ((x - y) ** 2).mean(), want, factor=10)
    labels = Tensor([0, 1, 2, 0])
    assert_close(F.loss.cross_entropy(Tensor(x, dtype=dtype), labels), nll(x, labels.numpy()).mean(), want, factor=10)


def test_binary_cross_entropy_of_probabilities():
    p, y = random((3, 4), 0.1, 0.9), random((3, 4), 0, 1, seed=1)
    truth = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert_close(F.loss.binary_cross_entropy(Tensor(p), Tensor(y), with_logits=False), truth.mean(), factor=10)
    check_gradient(lambda p, y: F.loss.binary_cross_entropy(p, y, False), [p, y])


def test_binary_cross_entropy_of_large_logits():
    result = F.loss.binary_cross_entropy(Tensor([1000.0, -1000.0, 1000.0]), Tensor([0, 1, 1]), reduction="none")
    assert_close(result, [1000, 1000, 0], "float32")


# -- cross entropy -----------------------------------------------------------------------------------------


def log_probabilities(x, axis=1):
    high = x.max(axis, keepdims=True)
    return x - high - np.log(np.exp(x - high).sum(axis, keepdims=True))


def nll(x, labels, axis=1, smooth=0.0, logits=True):
    scores = log_probabilities(x, axis) if logits else np.log(x)
    chosen = np.take_along_axis(scores, np.expand_dims(labels, axis), axis).squeeze(axis)
    return -(1 - smooth) * chosen - smooth * scores.mean(axis)


@pytest.mark.parametrize("reduction", REDUCED)
@pytest.mark.parametrize("smooth", [0, 0.1, 1])
@pytest.mark.parametrize(
    "shape, axis", [((4, 3), 1), ((4, 3), -1), ((5, 4), 0), ((2, 3, 4, 2), 1), ((3, 300), 1), ((1, 1), 1), ((7,), 0)]
)
def test_cross_entropy(shape, axis, smooth, reduction):
    x = random(shape)
    where = axis % len(shape)
    labels = np.random.default_rng(0).integers(0, shape[where], shape[:where] + shape[where + 1 :])
    loss = {"axis": axis, "label_smooth": smooth, "reduction": reduction}
    truth = REDUCED[reduction](nll(x, labels, where, smooth))
    assert_close(F.loss.cross_entropy(Tensor(x, dtype="float32"), Tensor(labels), **loss), truth, "float32", factor=20)
    p = np.exp(log_probabilities(x, where))
    result = F.nn.cross_entropy(Tensor(p, dtype="float64"), Tensor(labels), with_logits=False, **loss)
    assert_close(result, REDUCED[reduction](nll(p, labels, where, smooth, logits=False)), "float64", factor=20)
    if len(shape) > 1:
        assert_close(F.loss.cross_entropy(laid_out(x, "transposed"), Tensor(labels), **loss), truth, factor=20)


@pytest.mark.parametrize("reduction", REDUCED)
@pytest.mark.parametrize("smooth", [0, 0.2])
def test_cross_entropy_gradients(smooth, reduction):
    x, labels = random((3, 4)), Tensor([1, 0, 3])
    check_gradient(lambda x: F.loss.cross_entropy(x, labels, label_smooth=smooth, reduction=reduction), [x])
    check_second_gradient(lambda x: F.loss.cross_entropy(x, labels, label_smooth=smooth, reduction=reduction), [x])
    p = np.exp(log_probabilities(x))
    check_gradient(lambda p: F.loss.cross_entropy(p, labels, 1, False, smooth, reduction), [p])
    check_second_gradient(lambda p: F.loss.cross_entropy(p, labels, 1, False, smooth, reduction), [p])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int64"])
def test_label_dtypes(dtype):
    x, labels = random((4, 3)), np.array([0, 2, 1, 1])
    assert_close(F.loss.cross_entropy(Tensor(x), Tensor(labels, dtype=dtype)), nll(x, labels).mean(), factor=10)


def test_labels_out_of_range():
    x = F.zeros((2, 3))
    for bad in (3, -1, 100):
        for call in (
            lambda y: F.loss.cross_entropy(x, y),
            lambda y: F.loss.cross_entropy(x + 0.1, y, with_logits=False),
            lambda y: F.loss.nll_loss(x, y),
            lambda y: F.topk_accuracy(x, y),
        ):
            with pytest.raises(IndexError):
                call(Tensor([0, bad]))


def test_nll_loss():
    x, labels = random((4, 3, 2)), np.random.default_rng(0).integers(0, 3, (4, 2))
    scores = log_probabilities(x)
    for reduction, fold in REDUCED.items():
        result = F.loss.nll_loss(F.logsoftmax(Tensor(x), 1), Tensor(labels), reduction=reduction)
        assert_close(result, fold(nll(x, labels)), factor=20)
    check_gradient(lambda s: F.loss.nll_loss(s, Tensor(labels)), [scores])


# -- metrics -----------------------------------------------------------------------------------------------


def test_topk_accuracy():
    x = random((50, 10))
    labels = np.random.default_rng(1).integers(0, 10, 50)
    order = np.argsort(-x, axis=1, kind="stable")
    logits, target = Tensor(x), Tensor(labels)
    for k in (1, 3, 10):
        truth = (order[:, :k] == labels[:, None]).any(1).mean()
        assert_close(F.topk_accuracy(logits, target, k), truth, "float32")
    found = F.topk_accuracy(logits, target, (1, 5))
    assert isinstance(found, list) and len(found) == 2
    assert F.topk_accuracy(F.zeros((1, 3)), Tensor([2])).item() == 0  # of equals the first class counts
    assert F.topk_accuracy(F.zeros((1, 3)), Tensor([0])).item() == 1


# -- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda x, y: F.loss.cross_entropy(x, y, reduction="avg"),
            ValueError,
            "reduction must be one of mean, sum, none, got 'avg'",
        ),
        (
            lambda x, y: F.loss.cross_entropy(x, Tensor([1, 2, 0])),
            ValueError,
            r"cross_entropy: labels of shape \(3,\) do not fit",
        ),
        (lambda x, y: F.loss.cross_entropy(x, Tensor([[1], [2]])), ValueError, r"labels must have the shape \(2,\)"),
        (
            lambda x, y: F.loss.cross_entropy(x, Tensor([1.0, 2.0])),
            TypeError,
            "cross_entropy: label must be integers, got float32",
        ),
        (lambda x, y: F.loss.cross_entropy(x, y, axis=2), ValueError, "cross_entropy: axis 2 is out of range"),
        (lambda x, y: F.loss.cross_entropy(x, y, label_smooth=2), ValueError, "label_smooth must be between 0 and 1"),
        (lambda x, y: F.loss.square_loss(x, F.zeros((2, 2))), ValueError, "do not broadcast"),
        (lambda x, y: F.loss.l1_loss(x, x, "max"), ValueError, "l1_loss: reduction must be one of"),
        (lambda x, y: F.loss.hinge_loss(x, x, norm="L3"), ValueError, "hinge_loss: norm must be one of L1, L2"),
        (lambda x, y: F.loss.hinge_loss(x[0], x[0]), ValueError, r"hinge_loss takes pred and label of \(N, classes\)"),
        (lambda x, y: F.topk_accuracy(x, y, 4), ValueError, "topk must be from 1 to the number of classes, 3, got 4"),
        (lambda x, y: F.topk_accuracy(x, Tensor([0])), ValueError, r"topk_accuracy: a target of shape \(1,\)"),
        (lambda x, y: F.topk_accuracy(x[0], y), ValueError, "topk_accuracy takes a tensor of 2 dimensions"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(F.zeros((2, 3)), Tensor([1, 2]))


ELEMENTWISE = [F.loss.square_loss, F.loss.l1_loss, F.loss.binary_cross_entropy]


@pytest.mark.parametrize("loss", ELEMENTWISE)
def test_shapes_that_broadcast_warn(loss):
    column, row = Tensor([[0.5], [1.0], [0.0]]), Tensor([1.0, 0.0, 0.5])
    text = rf"{loss.__name__}: pred of shape \(3, 1\) and label of shape \(3,\) broadcast to \(3, 3\)"
    with pytest.warns(UsageWarning, match=text) as shown:
        value = loss(column, row)
    assert (shown[0].filename, len(shown)) == (__file__, 1)
    np.testing.assert_array_equal(value.numpy(), loss(F.broadcast_to(column, (3, 3)), F.broadcast_to(row, (3, 3))))
    with pytest.warns(UsageWarning, match="broadcast to"):
        loss(row, column.numpy())


@pytest.mark.parametrize("loss", ELEMENTWISE)
def test_shapes_that_are_equal_or_a_number_do_not_warn(loss):
    x = Tensor([[0.5], [1.0], [0.0]])
    for label in (x, x.numpy(), 1.0, Tensor(1.0), Tensor([1.0]), np.float32(0)):
        loss(x, label)
    loss(Tensor([0.5]), x)
    loss(F.zeros((0, 3)), F.zeros((0, 3)))
    with pytest.raises(ValueError, match="do not broadcast"):
        loss(x, F.zeros((2, 1)))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("wrong", [-0.25, 1.5, 40.0])
def test_scores_in_the_place_of_probabilities_warn(wrong, reduction, monkeypatch):
    def first():  # a GPU is asked for the 1st, 2nd, 4th, … loss
        monkeypatch.setattr(sys.modules["tengen.functional.loss"], "_lookups", count(1))

    pred = np.array([[0.5, 1.0], [0.0, wrong]], np.float32)
    for given in (Tensor(pred), pred, Tensor(pred).astype("float16")):
        text = rf"binary_cross_entropy: the loss is nan, because pred holds {wrong:g};.* sigmoid\(pred\)"
        first()
        with pytest.warns(UsageWarning, match=text) as shown:
            loss = F.loss.binary_cross_entropy(given, Tensor([[1.0, 0.5], [0.0, 1.0]]), False, reduction)
        assert (shown[0].filename, len(shown)) == (__file__, 1)
        assert np.isnan(loss.item())
    first()
    with pytest.warns(UsageWarning, match=r"^cross_entropy: .* softmax\(pred\)"):
        F.loss.cross_entropy(Tensor([[0.5, -wrong], [-abs(wrong), 0.5]]), Tensor([0, 0]), with_logits=False)


def test_probabilities_and_nan_do_not_warn():
    pred = Tensor([0.0, 1.0, 0.5])
    F.loss.binary_cross_entropy(pred, Tensor([1.0, 0.0, 0.5]), with_logits=False)
    F.loss.binary_cross_entropy(pred * 9.0 - 4.0, pred)
    assert np.isnan(F.loss.binary_cross_entropy(pred * np.nan, pred, with_logits=False).item())
    assert np.isnan(F.loss.binary_cross_entropy(pred, pred * np.nan, with_logits=False).item())
    F.loss.cross_entropy(Tensor([[0.5, 0.5]]), Tensor([0]), with_logits=False)


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e6, 1e30])
@pytest.mark.parametrize("smooth", [0.0, 0.25])
def test_scores_of_any_size_lose_no_digits(offset, smooth):
    scores = np.array([[0.0, 1.0, 2.5, -3.0], [4.0, 4.0, 4.0, 3.0]])
    x = Tensor(np.float32(offset) + np.float32(scores))
    scores = x.numpy().astype(np.float64)
    scores -= scores.max(1, keepdims=True)
    truth = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    assert_close(F.logsoftmax(x, 1), truth, "float32")
    losses = (smooth - 1) * truth[[0, 1], [1, 3]] - smooth * truth.mean(1)
    labels = Tensor([1, 3], dtype="int32")
    assert_close(F.loss.cross_entropy(x, labels, label_smooth=smooth, reduction="none"), losses, "float32")


def test_small_losses_of_logits_lose_no_digits():
    x, y = np.array([16.0, -16.0, 10.0, -10.0, 0.0, 80.0]), np.array([1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    truth = np.log1p(np.exp(np.where(y == 1, -x, x)))
    losses = F.loss.binary_cross_entropy(Tensor(x), Tensor(y), reduction="none")
    np.testing.assert_allclose(losses.numpy(), truth, rtol=1e-6)
    check_gradient(
        lambda x: F.loss.binary_cross_entropy(x, Tensor([1.0, 0.0, 0.5]), reduction="sum"), [np.array([0.0, 0.0, 1.5])]
    )
