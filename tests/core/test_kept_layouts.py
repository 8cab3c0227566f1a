"""Weights in the layout of their kernel are kept beside them, and never outlive their values."""

from __future__ import annotations

import ctypes
import gc
import threading

import numpy as np
import pytest

import tengen
import tengen.functional as F
from tengen import _rt, tensor

random = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape, np.float32)


def image(*shape: int):
    n, c, h, w = shape
    return tensor(floats(n, h, w, c)).transpose(0, 3, 1, 2)


def live() -> int:
    gc.collect()
    return _rt.memory_stats()["live"]


X, W = floats(4, 40), floats(200, 40)


def product(w):
    return F.matmul(tensor(X), w, transpose_b=True).numpy()


def test_a_copy_is_kept_from_the_second_use_on_and_goes_with_its_value():
    before = live()
    w = tensor(W)
    own = live() - before
    product(w)
    assert live() - before == own
    product(w)
    assert live() - before >= 2 * own
    np.testing.assert_allclose(product(w), X @ W.T, rtol=1e-5, atol=1e-5)
    del w
    assert live() == before


@pytest.mark.parametrize("change", ["add", "assign", "set_value", "step"])
def test_a_changed_weight_is_packed_again(change):
    w = tengen.Parameter(W)
    for _ in range(3):
        product(w)
    if change == "add":
        w += 1
        want = W + 1
    elif change == "assign":
        w[3:5] = 7
        want = W.copy()
        want[3:5] = 7
    elif change == "set_value":
        w.set_value(2 * W)
        want = 2 * W
    else:
        w.grad = tensor(np.ones_like(W))
        tengen.optimizer.SGD([w], lr=0.5).step()
        want = W - 0.5
    for _ in range(3):
        np.testing.assert_allclose(product(w), X @ want.T, rtol=1e-5, atol=1e-4)


def test_views_of_one_storage_have_their_own_copies():
    both = tensor(np.concatenate([W, 2 * W]))
    first, second = both[:200], both[200:]
    for _ in range(3):
        np.testing.assert_allclose(product(first), X @ W.T, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(product(second), 2 * X @ W.T, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(product(both), X @ np.concatenate([W, 2 * W]).T, rtol=1e-5, atol=1e-4)


def test_memory_that_others_may_write_is_packed_each_time():
    foreign = W.copy()
    w = tengen.Tensor._from_dlpack(foreign)
    for _ in range(3):
        product(w)
    foreign += 1
    np.testing.assert_allclose(product(w), X @ foreign.T, rtol=1e-5, atol=1e-5)
    w = tensor(W)
    for _ in range(3):
        product(w)
    shared, changed = np.from_dlpack(w), W + 1
    ctypes.memmove(shared.ctypes.data, changed.ctypes.data, changed.nbytes)  # as another framework may
    np.testing.assert_allclose(product(w), X @ (W + 1).T, rtol=1e-5, atol=1e-5)


def test_convolutions_forward_and_backward():
    x, w = image(2, 20, 9, 9), tengen.Parameter(floats(24, 20, 3, 3))
    gm = tengen.autodiff.GradManager().attach([w])
    seen = []
    for step in range(4):
        with gm:
            y = F.conv2d(F.relu(F.conv2d(x, w, padding=1)[:, :20]), w, padding=1)
            gm.backward((y * y).sum())
        seen.append((y.numpy(), w.grad.numpy()))
        w.grad = None
        if step == 1:
            w *= 1  # the same values in new memory, or none kept
    for y, grad in seen[1:]:
        np.testing.assert_array_equal(y, seen[0][0])
        np.testing.assert_array_equal(grad, seen[0][1])


def test_many_threads_may_use_one_weight():
    w, want, wrong = tensor(W), X @ W.T, []

    def work() -> None:
        for _ in range(200):
            if not np.allclose(product(w), want, rtol=1e-5, atol=1e-5):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
