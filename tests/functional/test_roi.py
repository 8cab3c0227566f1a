"""Regions of images, against loops over their bins in float64 NumPy."""

from __future__ import annotations

from math import ceil, floor

import numpy as np
import pytest
from checks import assert_close, check_gradient, check_second_gradient, laid_out, random

import tengen.functional as F
from tengen import Tensor, _rt
from tengen.autodiff import GradManager
from tengen.jit import trace

ROIS = np.array(
    [[0, 1, 1, 7, 6], [1, 0.3, 2.2, 9.7, 8.1], [0, 4, 4, 4.2, 4.3], [1, -3, -3, 4, 4], [0, 6, 6, 20, 20], [1, 30, 30, 40, 40],
     [0, 5, 5, 3, 2], [1, 1.5, 2.5, 3.5, 4.5]], np.float32,
).astype(np.float64)  # fmt: skip
IMAGES = random((2, 3, 9, 11))


def pixel(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """Bilinear, with zeros around the image."""
    total = np.zeros(image.shape[0])
    for i in (floor(y), floor(y) + 1):
        for j in (floor(x), floor(x) + 1):
            if 0 <= i < image.shape[1] and 0 <= j < image.shape[2]:
                total += (1 - abs(y - i)) * (1 - abs(x - j)) * image[:, i, j]
    return total


def aligned_bins(images, rois, bins, mode, scale, points, offset):
    out = np.zeros((len(rois), images.shape[1], *bins))
    for k, (n, *corners) in enumerate(rois):
        left, top, right, bottom = (c * scale - offset for c in corners)
        high, wide = max(bottom - top, 0) / bins[0], max(right - left, 0) / bins[1]
        down, across = (p or max(ceil(s), 1) for p, s in zip(points, (high, wide), strict=True))
        for i, j in np.ndindex(*bins):
            seen = [
                pixel(images[int(n)], top + (i + (a + 0.5) / down) * high, left + (j + (b + 0.5) / across) * wide)
                for a in range(down)
                for b in range(across)
            ]
            out[k, :, i, j] = np.mean(seen, 0) if mode == "average" else np.max(seen, 0)
    return out


def pooled_bins(images, rois, bins, mode, scale):
    out = np.zeros((len(rois), images.shape[1], *bins))
    for k, (n, *corners) in enumerate(rois):
        left, top, right, bottom = (int(np.trunc(c * scale + np.copysign(0.5, c))) for c in corners)
        high, wide = max(bottom - top + 1, 1) / bins[0], max(right - left + 1, 1) / bins[1]
        for i, j in np.ndindex(*bins):
            rows = [y for y in range(floor(i * high) + top, ceil((i + 1) * high) + top) if 0 <= y < images.shape[2]]
            columns = [
                x for x in range(floor(j * wide) + left, ceil((j + 1) * wide) + left) if 0 <= x < images.shape[3]
            ]
            if rows and columns:
                seen = images[int(n)][:, rows][:, :, columns].reshape(images.shape[1], -1)
                out[k, :, i, j] = seen.max(1) if mode == "max" else seen.mean(1)
    return out


@pytest.mark.parametrize("mode", ["average", "max"])
@pytest.mark.parametrize(
    "points, aligned, scale", [(2, True, 1.0), ((1, 3), False, 0.5), (0, True, 1.0), ((2, 0), False, 0.75)]
)
def test_roi_align(mode, points, aligned, scale):
    pair = points if isinstance(points, tuple) else (points, points)
    truth = aligned_bins(IMAGES, ROIS, (2, 3), mode, scale, pair, 0.5 if aligned else 0.0)
    for x in (Tensor(IMAGES, dtype="float32"), laid_out(IMAGES, "channels last")):
        found = F.vision.roi_align(x, Tensor(ROIS, dtype="float32"), (2, 3), mode, scale, points, aligned)
        assert_close(found, truth, "float32", factor=10)
    rois = Tensor(ROIS, dtype="float64")
    check_gradient(lambda x: F.nn.roi_align(x, rois, 2, mode, scale, points, aligned), [IMAGES[:, :1, :4, :5]])


@pytest.mark.parametrize("mode", ["average", "max"])
@pytest.mark.parametrize("bins, scale", [((2, 3), 1.0), ((1, 1), 0.5), ((4, 4), 0.75)])
def test_roi_pooling(mode, bins, scale):
    truth = pooled_bins(IMAGES, ROIS, bins, mode, scale)
    for x in (Tensor(IMAGES, dtype="float32"), laid_out(IMAGES, "channels last")):
        found = F.vision.roi_pooling(x, Tensor(ROIS, dtype="float32"), bins, mode, scale)
        assert_close(found, truth, "float32")
    rois = Tensor(ROIS, dtype="float64")
    check_gradient(lambda x: F.nn.roi_pooling(x, rois, bins, mode, scale), [IMAGES[:, :1, :4, :5]])


def test_second_gradients():
    rois = Tensor(ROIS[[0, 7]], dtype="float64")
    check_second_gradient(lambda x: F.nn.roi_align(x * x, rois, 2), [random((2, 1, 3, 3))])
    check_second_gradient(lambda x: F.nn.roi_pooling(x * x, rois, 2), [random((2, 1, 3, 3), 0.5)])


def gradient(function, *arrays):
    inputs = [Tensor(a, dtype="float32") for a in arrays]
    manager = GradManager().attach(inputs)
    with manager:
        y = function(*inputs)
        manager.backward(F.sum(y * F.arange(1, y.size + 1).reshape(y.shape)))
    return [None if t.grad is None else t.grad.numpy() for t in inputs]


def test_gradients_as_the_reference():
    """Recorded from MegEngine 1.13.0: of equal pixels the first has the gradient, regions have none."""
    images, rois = np.ones((1, 1, 3, 3)), np.array([[0, 0, 0, 2, 2]])
    for function, truth in [
        (lambda x, r: F.nn.roi_pooling(x, r, 2), [[1, 2, 0], [3, 4, 0], [0, 0, 0]]),
        (lambda x, r: F.nn.roi_pooling(x, r, 2, "average"), [[0.25, 0.75, 0.5], [1, 2.5, 1.5], [0.75, 1.75, 1]]),
        (lambda x, r: F.nn.roi_align(x, r, 2, "max"), [[1.75, 2.25, 0], [2.75, 3.25, 0], [0, 0, 0]]),
        (
            lambda x, r: F.nn.roi_align(x, r, 2),
            [[1.09375, 1.640625, 0.25], [2.1875, 2.734375, 0.40625], [0.34375, 0.421875, 0.0625]],
        ),
    ]:
        found, none = gradient(function, images, rois)
        np.testing.assert_allclose(found[0, 0], truth, rtol=1e-6)
        assert none is None


def test_pixels_that_are_no_numbers():
    images = np.full((1, 1, 4, 4), np.inf)
    images[0, 0, :2, :2] = 1
    rois = Tensor([[0.0, 0.0, 0.0, 1.0, 1.0], [0.0, 9.0, 9.0, 12.0, 12.0]])
    for mode in ("max", "average"):
        assert F.vision.roi_pooling(Tensor(images, dtype="float32"), rois, 1, mode).numpy().ravel().tolist() == [1, 0]
    images[0, 0, 0, 1] = np.nan
    assert np.isnan(F.vision.roi_pooling(Tensor(images, dtype="float32"), rois, 1).numpy().ravel()[0])


def test_empty_and_dtypes():
    x = Tensor(IMAGES, dtype="float32")
    for function in (F.vision.roi_align, F.vision.roi_pooling):
        assert function(x, F.zeros((0, 5)), 2).shape == (0, 3, 2, 2)
        assert function(F.zeros((2, 0, 4, 4)), Tensor(ROIS, dtype="float32"), 2).shape == (8, 0, 2, 2)
        assert str(function(x.astype("float16"), Tensor(ROIS, dtype="float32"), 2).desc.dtype) == "float16"
        assert str(function(x.astype("uint8"), Tensor(ROIS, dtype="int32"), 2).desc.dtype) == "float32"


def test_traced():
    x = Tensor(IMAGES, dtype="float32")

    def both(x, rois):
        return F.vision.roi_align(x, rois, 2, sample_points=0), F.vision.roi_pooling(x, rois, 3)

    for how in ({}, {"without_host": True}):
        traced = trace(both, **how)
        for regions in (ROIS, ROIS[::-1], ROIS * [1, 0.5, 0.5, 0.5, 0.5]):
            rois = Tensor(regions, dtype="float32")
            for found, wanted in zip(traced(x, rois), both(x, rois), strict=True):
                np.testing.assert_array_equal(found.numpy(), wanted.numpy())


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda x, r: F.vision.roi_align(x, r[:, :4], 2), ValueError, r"rois \(K, 5\)"),
        (lambda x, r: F.vision.roi_pooling(x[0], r, 2), ValueError, r"takes images \(N, C, H, W\)"),
        (lambda x, r: F.vision.roi_pooling(F.zeros((1, 1, 0, 3)), r, 2), ValueError, "not empty"),
        (lambda x, r: F.vision.roi_align(x, r, 2, "avg"), ValueError, "roi_align: mode must be one of average, max"),
        (lambda x, r: F.vision.roi_align(x, r, 0), ValueError, "output_shape takes one or two integers >= 1"),
        (lambda x, r: F.vision.roi_align(x, r, (1, 2, 3)), ValueError, "output_shape takes one or two integers"),
        (lambda x, r: F.vision.roi_align(x, r, 2, sample_points=-1), ValueError, "sample_points takes"),
        (lambda x, r: F.vision.roi_align(x, r + 1, 2).numpy(), IndexError, "out of range"),
        (lambda x, r: F.vision.roi_align(x, r - 1, 2).numpy(), IndexError, "out of range"),
        (lambda x, r: F.vision.roi_pooling(x, r + 1, 2).numpy(), IndexError, "out of range"),
        (lambda x, r: F.vision.roi_align(x > 0, r, 2), TypeError, "takes images of numbers, got bool"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(F.zeros((1, 1, 4, 4)), F.zeros((1, 5)))


def test_threads_do_not_change_anything():
    """Neither where regions and maps overlap, whose gradients meet in the same pixels."""
    generator = np.random.default_rng(0)
    images = generator.normal(size=(2, 40, 24, 30))
    corners = generator.uniform(0, 16, (30, 2))
    rois = np.concatenate([generator.integers(0, 2, (30, 1)), corners, corners + generator.uniform(2, 14, (30, 2))], 1)
    places = generator.uniform(-4, 32, (2, 30, 30, 2))
    calls = [
        (lambda x, r: F.nn.roi_align(x, r, 5, sample_points=0), rois),
        (lambda x, r: F.nn.roi_pooling(x, r, 5), rois),
        (lambda x, p: F.remap(x, p, "wrap"), places),
        (lambda x, _: F.nn.interpolate(x, (31, 19)), rois),
    ]
    before = _rt.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            _rt.set_num_threads(threads)
            found.append([g for function, other in calls for g in gradient(function, images, other) if g is not None])
    finally:
        _rt.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
