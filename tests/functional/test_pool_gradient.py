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


@pytest.mark.parametrize("shape", [(1, 16, 5, 2), (4, 16, 17, 1), (2, 17, 1, 9), (3, 8, 1, 1)])
@pytest.mark.parametrize("kernel", [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("stride", [1, 2, (2, 1), 3])
def test_narrow_images(shape, kernel, stride):
    """Windows of one pixel fold nothing, and dims of one or two have no vectors of their own."""
    if any(k > s for k, s in zip(kernel, shape[2:], strict=True)):
        kernel = (1, 1)
    x = np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape).astype(np.float32)
    down, across = stride if isinstance(stride, tuple) else (stride, stride)
    seen = np.lib.stride_tricks.sliding_window_view(x, kernel, (2, 3))[:, :, ::down, ::across]
    for layout in (Tensor(x), Tensor(np.ascontiguousarray(x.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)):
        np.testing.assert_array_equal(F.max_pool2d(layout, kernel, stride).numpy(), seen.max((4, 5)))
        np.testing.assert_allclose(F.avg_pool2d(layout, kernel, stride).numpy(), seen.mean((4, 5)), rtol=1e-6)
        np.testing.assert_array_equal(F.sliding_window(layout, kernel, 0, stride).numpy(), seen)
