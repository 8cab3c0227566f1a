"""ctc_loss against a sum over all paths, and for long sequences against PyTorch's figures."""

from __future__ import annotations

from itertools import groupby, product

import numpy as np
import pytest
from checks import assert_close, check_gradient, check_second_gradient

import tengen.functional as F
from tengen import Parameter, Tensor, jit
from tengen.autodiff import GradManager

PYTORCH = [422.4673767030851, 309.8323115350767]
BY_SCORES = [
    0.1410134,
    -0.1838251,
    0.03399538,
    0.008816264,
    -0.2481889,
    -0.03738483,
    0.05862576,
    0.2269479,
    0.002704115,
    -0.1116389,
    0.08373953,
    0.02519522,
    0.0266758,
    -0.07341975,
    0.04956301,
    -0.002819063,
    -0.004318754,
    0.08863334,
    0.1358073,
    -0.2201219,
]


def probabilities(*shape, seed=0):
    x = np.exp(np.random.default_rng(seed).normal(size=shape))
    return x / x.sum(-1, keepdims=True)


def says(path, blank):
    """What a path of classes says: repetitions, then blanks left out."""
    return tuple(c for c, _ in groupby(path) if c != blank)


def by_paths(pred, steps, label, lengths, blank=0):
    """The losses, as sums over all paths."""
    with np.errstate(divide="ignore"):
        return np.array(
            [
                -np.log(
                    sum(
                        np.prod([pred[t, n, c] for t, c in enumerate(path)])
                        for path in product(range(pred.shape[2]), repeat=steps[n])
                        if says(path, blank) == tuple(label[n][: lengths[n]])
                    )
                )
                for n in range(pred.shape[1])
            ]
        )


def loss(pred, steps, label, lengths, blank=0, reduction="none", dtype="float64"):
    return F.loss.ctc_loss(Tensor(pred, dtype=dtype), Tensor(steps), label, Tensor(lengths), blank, reduction)


P = probabilities(4, 3, 3)
CASES = {
    "two symbols": ([4, 4, 4], [[1, 2], [2, 1], [2, 2]], [2, 2, 2]),
    "a repetition": ([4, 4, 3], [[1, 1], [2, 2], [1, 1]], [2, 2, 2]),
    "other lengths": ([4, 2, 1], [[1, 2, 1], [2, 0, 0], [1, 9, -1]], [3, 1, 1]),
    "nothing said": ([4, 3, 1], [[1, 2], [1, 2], [1, 2]], [0, 0, 0]),
    "some of nothing": ([4, 3, 2], [[1, 2], [1, 2], [1, 2]], [1, 0, 2]),
    "too few steps": ([4, 1, 2], [[1, 2], [1, 2], [1, 1]], [2, 2, 2]),
    "no steps": ([4, 0, 0], [[1, 2], [1, 2], [1, 2]], [2, 1, 0]),
    "labels of no room": ([4, 2, 1], np.zeros((3, 0), np.int32), [0, 0, 0]),
}


@pytest.mark.parametrize("steps, label, lengths", CASES.values(), ids=CASES.keys())
def test_losses(steps, label, lengths):
    with np.errstate(divide="ignore"):
        truth = by_paths(P, steps, label, lengths)
    assert_close(loss(P, steps, label, lengths), truth, "float64")
    assert_close(loss(P, steps, label, lengths, dtype="float32"), truth, "float32", factor=2)
    assert_close(loss(P, steps, label, lengths, reduction="sum"), truth.sum())
    assert_close(loss(P, steps, label, lengths, reduction="mean"), (truth / np.maximum(lengths, 1)).mean())


@pytest.mark.parametrize("name", ["two symbols", "a repetition", "other lengths", "some of nothing"])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_gradients(name, reduction):
    steps, label, lengths = CASES[name]
    check_gradient(lambda p: F.loss.ctc_loss(p, steps, label, lengths, 0, reduction), [P])


def test_second_gradients():
    pred = probabilities(3, 2, 3)
    check_second_gradient(lambda p: F.loss.ctc_loss(p, [3, 2], [[1, 1], [2, 0]], [2, 1], 0, "none"), [pred])


@pytest.mark.parametrize("blank", [1, 2])
def test_another_blank(blank):
    label = [[0, 3 - blank], [3 - blank, 0], [0, 0]]
    assert_close(loss(P, [4, 3, 4], label, [2, 1, 2], blank), by_paths(P, [4, 3, 4], label, [2, 1, 2], blank))


def test_labels_one_after_the_other():
    flat, rows, lengths = [1, 2, 1, 2], [[1, 2, 1], [9, 9, 9], [2, 9, 9]], [3, 0, 1]
    assert_close(loss(P, [4, 4, 4], flat, lengths), loss(P, [4, 4, 4], rows, lengths).numpy())
    assert_close(loss(P, [4, 4, 4], np.zeros(0, np.int32), [0, 0, 0]), loss(P, [4, 4, 4], rows, [0, 0, 0]).numpy())


def test_what_cannot_be_said_is_infinite_and_has_no_gradient():
    pred = Parameter(P.astype(np.float32))
    manager = GradManager().attach([pred])
    with manager:
        losses = F.loss.ctc_loss(pred, [4, 1, 2], [[1, 2], [1, 2], [1, 1]], [2, 2, 2], reduction="none")
        manager.backward(losses.sum())
    assert np.isinf(losses.numpy()).tolist() == [False, True, True]
    grad = pred.grad.numpy()
    assert np.isfinite(grad).all() and grad[:, 0].any() and not grad[:, 1:].any()


def test_a_class_without_probability():
    pred = P.copy()
    pred[:, :, 1] = 0
    found = Parameter(pred.astype(np.float32))
    manager = GradManager().attach([found])
    with manager:
        losses = F.loss.ctc_loss(found, [4, 4, 4], [[2, 0], [1, 0], [2, 2]], [1, 1, 2], reduction="none")
        manager.backward(losses.sum())
    assert_close(losses, by_paths(pred, [4, 4, 4], [[2, 0], [1, 0], [2, 2]], [1, 1, 2]), factor=2)
    assert np.isfinite(found.grad.numpy()).all() and found.grad.numpy()[:, 0, 2].all()


def test_long_sequences():
    """Figures of PyTorch 2, of the logarithms: the loss of 200 steps is far below what a float holds as a probability."""
    place = np.arange(200 * 2 * 6).reshape(200, 2, 6)
    scores = np.cos(place * 0.7) * 3
    label = np.arange(60).reshape(2, 30) % 5 + 1
    pred = F.softmax(Tensor(scores, dtype="float32"), axis=2)
    losses = F.loss.ctc_loss(pred, [200, 150], label, [30, 25], reduction="none")
    np.testing.assert_allclose(losses.numpy(), PYTORCH, rtol=2e-5)


def test_gradients_by_scores_are_those_of_pytorch():
    scores = Parameter(np.cos(np.arange(5 * 1 * 4) * 0.7).reshape(5, 1, 4).astype(np.float32) * 2)
    manager = GradManager().attach([scores])
    with manager:
        manager.backward(F.loss.ctc_loss(F.softmax(scores, axis=2), [5], [[1, 1, 3]], [3]))
    np.testing.assert_allclose(scores.grad.numpy().ravel(), BY_SCORES, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("symbolic", [True, False])
def test_traced(symbolic):
    traced = jit.trace(lambda p, n, y, m: F.loss.ctc_loss(p, n, y, m), symbolic=symbolic)
    args = [Tensor(P, dtype="float32"), Tensor([4, 4, 3]), Tensor([[1, 2], [2, 1], [2, 2]]), Tensor([2, 1, 2])]
    want = F.loss.ctc_loss(*args).numpy()
    for _ in range(3):
        np.testing.assert_allclose(traced(*args).numpy(), want, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_probabilities_give_float32(dtype):
    x = Tensor(P, dtype=dtype)
    truth = by_paths(
        np.asarray(x.astype("float32").numpy(), np.float64), [4, 4, 3], CASES["a repetition"][1], [2, 2, 2]
    )
    assert_close(F.loss.ctc_loss(x, [4, 4, 3], CASES["a repetition"][1], [2, 2, 2], reduction="none"), truth, "float32")


def call(pred=P, steps=(4, 4, 4), label=((1, 2),) * 3, lengths=(2, 2, 2), **options):
    return lambda: F.loss.ctc_loss(
        Tensor(pred, dtype="float32"), list(steps), np.array(label), list(lengths), **options
    )


WRONG = {
    "no batch": (call(P[0]), ValueError, r"pred of \(steps, batch, classes\), got shape \(3, 3\)"),
    "no such blank": (call(blank=3), ValueError, "blank must be one of the 3 classes, got 3"),
    "no such reduction": (call(reduction="max"), ValueError, "reduction must be one of mean, sum, none, got 'max'"),
    "more steps than there are": (call(steps=(4, 5, 4)), ValueError, "pred_lengths must be from 0 to 4, got 5"),
    "a label that is longer": (call(lengths=(2, 3, 1)), ValueError, "label_lengths must be from 0 to 2, got 3"),
    "a negative length": (call(lengths=(2, -1, 1)), ValueError, "label_lengths must be from 0 to 2, got -1"),
    "a negative length of labels one after the other": (call(label=(1, 2, 1), lengths=(2, -1, 2)), ValueError, "label_lengths must be from 0"),
    "lengths of another batch": (call(steps=(4, 4)), ValueError, r"pred_lengths must have the shape \(3,\), got \(2,\)"),
    "labels of another batch": (call(label=((1, 2),)), ValueError, r"label must be \(3, length\) or one after the other"),
    "too few labels": (call(label=(1, 2, 1, 2)), ValueError, "label has 4 classes, but label_lengths are 6 together"),
    "labels that are floats": (call(label=((1.5, 2.0),) * 3), TypeError, "label must be integers"),
    "a class that is none": (call(label=((1, 2), (1, 3), (1, 2))), IndexError, "ctc_loss: label 3 .* is out of range"),
    "a negative class": (call(label=((1, 2), (1, -1), (1, 2))), IndexError, "ctc_loss: label -1 .* is out of range"),
}  # fmt: skip


@pytest.mark.parametrize("function, kind, message", WRONG.values(), ids=WRONG.keys())
def test_bad_input(function, kind, message):
    with pytest.raises(kind, match=message):
        function().numpy()
