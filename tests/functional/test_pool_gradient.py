"""Gradients of pooling for windows of all kinds: overlapping, apart, with gaps, over the border. The truth is NumPy with float64."""

from __future__ import annotations

import numpy as np
import pytest

import tengen.functional as F
from tengen import Tensor
from tengen.autodiff import GradManager


def gradient(x, g, kernel, stride, padding, mode):
    """By the definition, window by window."""
    h, w = x.shape[2:]
    made = np.zeros_like(x)
    for n, c, row, column in np.ndindex(g.shape):
        top, left = row * stride[0] - padding[0], column * stride[1] - padding[1]
        rows = range(max(top, 0), min(top + kernel[0], h))
        columns = range(max(left, 0), min(left + kernel[1], w))
        window = x[n, c, rows.start : rows.stop, columns.start : columns.stop]
        if mode == "max":
            i, j = np.unravel_index(np.argmax(window), window.shape)
            made[n, c, rows.start + i, columns.start + j] += g[n, c, row, column]
        else:
            count = window.size if mode == "average_count_exclude_padding" else kernel[0] * kernel[1]
            made[n, c, rows.start : rows.stop, columns.start : columns.stop] += g[n, c, row, column] / count
    return made


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_gradient_goes_to_the_first_of_several(last):
    """Of equal numbers, infinities, and nans, which are more than any number."""
    random = np.random.default_rng(5)
    x = random.choice([0.0, 1.0, np.inf, -np.inf, np.nan], (2, 3, 6, 40), p=[0.3, 0.3, 0.1, 0.2, 0.1])
    given = Tensor(x.astype(np.float32))
    if last:
        given = Tensor(np.ascontiguousarray(x.transpose(0, 2, 3, 1)).astype(np.float32)).transpose(0, 3, 1, 2)
    gm = GradManager().attach([given])
    with gm:
        y = F.max_pool2d(given, 2, 2)
        g = random.standard_normal(y.shape)
        gm.backward(y, Tensor(g.astype(np.float32)))
    want = gradient(x, g, (2, 2), (2, 2), (0, 0), "max")
    np.testing.assert_allclose(given.grad.numpy(), want, rtol=1e-6)
    windows = x.reshape(2, 3, 3, 2, 20, 2)
    np.testing.assert_array_equal(y.numpy(), windows.max((3, 5)))


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("mode", ["max", "average", "average_count_exclude_padding"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((12, 12), (3, 3), (2, 2), (1, 1)),
        ((12, 6), (3, 2), (2, 3), (1, 0)),
        ((7, 9), (3, 3), (2, 2), (1, 1)),
        ((6, 6), (2, 2), (2, 2), (0, 0)),
        ((8, 8), (2, 2), (2, 2), (1, 1)),
        ((9, 6), (2, 1), (3, 2), (0, 0)),
        ((8, 10), (5, 4), (1, 2), (2, 1)),
        ((6, 9), (5, 5), (3, 3), (2, 2)),
    ],
)
def test_gradient(size, kernel, stride, padding, mode, last):
    random = np.random.default_rng(3)
    x = random.permutation(2 * 3 * size[0] * size[1]).reshape(2, 3, *size) / 7.0
    given = Tensor(x.astype(np.float32))
    if last:
        given = Tensor(np.ascontiguousarray(x.transpose(0, 2, 3, 1)).astype(np.float32)).transpose(0, 3, 1, 2)
    gm = GradManager().attach([given])
    with gm:
        pool, options = (F.max_pool2d, {}) if mode == "max" else (F.avg_pool2d, {"mode": mode})
        y = pool(given, kernel, stride, padding, **options)
        g = random.standard_normal(y.shape)
        gm.backward(y, Tensor(g.astype(np.float32)))
    want = gradient(x, g, kernel, stride, padding, mode)
    np.testing.assert_allclose(given.grad.numpy(), want, rtol=1e-5, atol=1e-5)
