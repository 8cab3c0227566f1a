"""An index out of range: the message names the op that was called, the index, where it stands, and the limit."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tengen.functional as F
import tengen.module as M
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.jit import trace

SCORES = np.zeros((2, 3), np.float32)

CASES = {
    "label": (lambda x, i: F.loss.cross_entropy(x, i), [1, 7],
              "cross_entropy: label 7 at position 1 is out of range for axis 1 of extent 3: it must be 0 … 2"),
    "ignored": (lambda x, i: F.loss.cross_entropy(x, i), [-100, 1], "cross_entropy: label -100 at position 0 .*multiply the losses"),
    "nll": (lambda x, i: F.loss.nll_loss(x, i), [-1, 1], "nll_loss: label -1 at position 0"),
    "one_hot": (lambda x, i: F.one_hot(i, 3), [2, 3], "one_hot: label 3 at position 1 .* extent 3"),
    "indexing_one_hot": (lambda x, i: F.indexing_one_hot(x, i), [0, 5], "indexing_one_hot: label 5 at position 1"),
    "embedding": (lambda x, i: F.embedding(i, x), [1, -3],
                  "embedding: index -3 at position 1 .* axis 0 of extent 2: it must be 0 … 1, or -2 … -1 from the end"),
    "gather": (lambda x, i: F.gather(x, 1, F.expand_dims(i, 1)), [0, 3], r"gather: index 3 at position (1|\(1, 0\)) .* axis 1 of extent 3"),
    "scatter": (lambda x, i: F.scatter(x, 1, F.expand_dims(i, 1), F.ones((2, 1))), [-4, 0], r"scatter: index -4 at position (0|\(0, 0\)) "),
    "indexing": (lambda x, i: x[:, i], [0, 9], "indexing: index 9 at position 1 .* axis 1 of extent 3"),
    "computed": (lambda x, i: x[F.abs(i * 2)], [0, -1], "indexing: index 2 at position 1 .* axis 0 of extent 2"),
    "second": (lambda x, i: x[i * 0, i], [0, 4], "indexing: index 4 at position 1 .* axis 1 of extent 3"),
    "shaped": (lambda x, i: x[F.reshape(i, (2, 1)) + 0], [0, 4], r"indexing: index 4 at position (1|\(1, 0\))"),
}  # fmt: skip


@pytest.mark.parametrize("way", ["eager", "traced", "without host", "captured", "watched"])
@pytest.mark.parametrize("case", CASES)
def test_message(case, way):
    function, index, message = CASES[case]
    x, wrong = Tensor(SCORES), Tensor(np.array(index, np.int32))

    def inner(x, i):
        return function(x * 1.0 + 0.0, i) * 2

    call = inner
    if way in ("traced", "without host", "captured"):
        call = trace(inner, without_host=way != "traced", capture_as_const=way == "captured")
        call(x, Tensor(np.zeros(2, np.int32)))
        call(x, Tensor(np.zeros(2, np.int32)))
    gm = GradManager().attach([x])
    if way == "watched":
        gm.record()
    with pytest.raises(IndexError, match=message):
        call(x, wrong)
    gm.release()


def test_index_assignment():
    x = Tensor(SCORES)
    with pytest.raises(IndexError, match=r"index assignment: index 4 at position 1 .* axis 1 of extent 3"):
        x[:, Tensor([1, 4])] = 5.0
    assert x.numpy().tolist() == SCORES.tolist(), "nothing was written"


def test_modules_say_where():
    with pytest.raises(IndexError, match=re.escape("embedding: index 5 at position (0, 1)")):
        M.Embedding(3, 4)(Tensor([[0, 5]]))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_labels_of_a_narrow_dtype(dtype):
    """The number of classes does not fit the labels' dtype: a negative label must not wrap to a class."""
    scores = np.zeros((1, 300), np.float32)
    scores[0, 44] = -7.0
    assert F.nn.nll_loss(Tensor(scores), Tensor(np.array([44], dtype))).item() == 7.0
    if dtype != "uint8":
        with pytest.raises(IndexError, match="nll_loss: label -1 at position 0"):
            F.nn.nll_loss(Tensor(scores), Tensor(np.array([-1], dtype)))
