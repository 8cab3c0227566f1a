"""What is called before and after each op that runs while somebody watches."""

from __future__ import annotations

import numpy as np
import pytest

import tengen.functional as F
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.core.build import Around, watching


class Log:
    def __init__(self):
        self.calls = []

    def watch(self, op, plan, descs):
        return Around(
            lambda xs: self.calls.append((op.name, "in", [np.array(x) for x in xs])),
            lambda ys: self.calls.append((op.name, "out", [np.array(y) for y in ys])),
        )


def test_each_run_is_seen_with_its_values():
    log, x = Log(), Tensor([1.0, 4.0])
    with watching(log.watch):
        for _ in range(2):
            F.sqrt(x * 2)
    assert [(name, when) for name, when, _ in log.calls] == [
        ("mul", "in"),
        ("mul", "out"),
        ("sqrt", "in"),
        ("sqrt", "out"),
    ] * 2
    assert log.calls[0][2][0].tolist() == [1.0, 4.0]  # the number 2 is no tensor
    np.testing.assert_allclose(log.calls[3][2][0], np.sqrt([2.0, 8.0]), rtol=1e-6)
    seen = len(log.calls)
    F.sqrt(x * 2)
    assert len(log.calls) == seen


def test_backward_and_views_are_seen():
    log, x = Log(), Tensor([[1.0, 4.0]])
    manager = GradManager().attach([x])
    with watching(log.watch), manager:
        manager.backward(F.sum(F.exp(x.T)))
    names = [name for name, when, _ in log.calls if when == "out"]
    assert names == ["Transpose", "exp", "sum", "Fill", "grad_sum", "grad_exp", "grad_Transpose"]


def test_two_at_once_and_nobody():
    first, second, x = Log(), Log(), Tensor([1.0])
    with watching(first.watch), watching(second.watch), watching(lambda *_: None):
        F.exp(x)
    assert len(first.calls) == len(second.calls) == 2


def test_what_they_raise_reaches_the_caller():
    def fail(arrays):
        raise KeyError("seen")

    x = Tensor([1.0])
    with watching(lambda *_: Around(lambda xs: None, fail)), pytest.raises(KeyError, match="seen"):
        F.exp(x)
    assert F.exp(x - 1).item() == 1.0


def test_steps_that_have_numbers_keep_them():
    """A packed weight, an index that is looked at before memory is given away, and an op that Python computes."""
    rng = np.random.default_rng(0)
    weight, x = (
        Tensor(rng.normal(size=(8, 4, 3, 3)).astype(np.float32)),
        Tensor(rng.normal(size=(2, 4, 9, 9)).astype(np.float32)),
    )
    index = Tensor([1, 5])

    def everything():
        y = [F.conv2d(x, weight).numpy() for _ in range(4)]
        with pytest.raises(IndexError):
            x[index, index].numpy()
        return [*y, F.topk(x.reshape(-1), 3)[0].numpy(), F.gather(x.reshape(2, -1), 1, Tensor([[3], [1]])).numpy()]

    want = everything()
    with watching(lambda *_: Around(lambda xs: None, lambda ys: None)):
        got = everything()
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)
