"""Resizing images and choosing boxes."""

from __future__ import annotations

import numpy as np
import pytest
from checks import assert_close, check_gradient, check_second_gradient, laid_out, random

import tengen.functional as F
from tengen import Tensor


def resized(a: np.ndarray, axis: int, new: int, mode: str, align: bool) -> np.ndarray:
    """One axis, result by result."""
    old = a.shape[axis]
    parts = []
    for i in range(new):
        if mode == "nearest":
            parts.append(a.take(i * old // new, axis))
            continue
        position = i * (old - 1) / max(new - 1, 1) if align else (i + 0.5) * old / new - 0.5
        below = int(np.floor(position))
        part = 0.0
        for place in range(below - 1, below + 3):
            d = abs(position - place)
            weight = max(1 - d, 0.0) if mode == "bilinear" else cubic(d)
            part = part + weight * a.take(min(max(place, 0), old - 1), axis)
        parts.append(part)
    return np.stack(parts, axis)


def cubic(d: float, a: float = -0.75) -> float:
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


@pytest.mark.parametrize(
    "mode, align", [("nearest", None), ("bilinear", None), ("bilinear", True), ("bilinear", False), ("bicubic", None)]
)
@pytest.mark.parametrize("new", [(4, 6), (8, 9), (3, 13), (1, 1), (2, 5)])
def test_interpolate(mode, align, new):
    a = random((2, 3, 4, 6))
    truth = resized(resized(a, 2, new[0], mode, bool(align)), 3, new[1], mode, bool(align))
    assert_close(
        F.vision.interpolate(Tensor(a, dtype="float32"), new, mode=mode, align_corners=align),
        truth,
        "float32",
        factor=10,
    )
    assert_close(F.nn.interpolate(laid_out(a, "channels last"), new, mode=mode, align_corners=align), truth, factor=10)
    check_gradient(lambda x: F.nn.interpolate(x, new, mode=mode, align_corners=align), [a[:1, :1]])


@pytest.mark.parametrize(
    "mode, shape, new",
    [
        ("linear", (2, 3, 5), (7,)),
        ("nearest", (2, 3, 5), (3,)),
        ("trilinear", (1, 2, 2, 3, 4), (3, 2, 7)),
        ("nearest", (1, 2, 2, 3, 4), (3, 2, 7)),
    ],
)
def test_interpolate_of_other_ranks(mode, shape, new):
    a = random(shape)
    for align in (None, True) if mode != "nearest" else (None,):
        truth = a
        for axis, extent in enumerate(new, 2):
            truth = resized(truth, axis, extent, "nearest" if mode == "nearest" else "bilinear", bool(align))
        size = new if len(new) > 1 else new[0]
        found = F.nn.interpolate(Tensor(a, dtype="float32"), size, mode=mode, align_corners=align)
        assert_close(found, truth, "float32", factor=10)
        factors = tuple((n + 0.5) / s for n, s in zip(new, shape[2:], strict=True))
        scaled = F.nn.interpolate(Tensor(a, dtype="float32"), scale_factor=factors, mode=mode, align_corners=align)
        np.testing.assert_array_equal(scaled.numpy(), found.numpy())
    check_gradient(lambda x: F.nn.interpolate(x, new, mode=mode), [a[:1, :1]])


def test_interpolate_keeps_integers_within_what_they_hold():
    steps = Tensor([[[[0, 0, 255, 255]]]], dtype="uint8")
    found = F.nn.interpolate(steps, (1, 8), mode="bicubic").numpy().ravel()
    assert found[0] == 0 and found[-1] == 255 and found.min() == 0 and (np.diff(found.astype(int)) >= 0).all()


def test_interpolate_second_gradient():
    check_second_gradient(lambda x: F.nn.interpolate(x * x, (3, 3)), [random((1, 1, 2, 2))])


def test_interpolate_as_the_reference():
    """Recorded from MegEngine 1.13.0."""
    image = F.arange(16).reshape(1, 1, 4, 4)
    assert_close(F.nn.interpolate(image, (2, 2)), [[[[2.5, 4.5], [10.5, 12.5]]]])
    assert_close(F.nn.interpolate(image, scale_factor=0.7), [[[[2.5, 4.5], [10.5, 12.5]]]])
    assert_close(F.nn.interpolate(image, scale_factor=0.7, mode="nearest"), [[[[0, 2], [8, 10]]]])
    cubic_truth = [
        [0.63078493, 2.00462794, 3.37847066],
        [6.12615633, 7.5, 8.87384319],
        [11.62152863, 12.99537182, 14.36921406],
    ]
    assert_close(F.nn.interpolate(image, (3, 3), mode="bicubic"), [[cubic_truth]], factor=4)
    assert_close(F.nn.interpolate(Tensor([[[1.0, 2.0, 4.0]]]), 6, mode="linear"), [[[1, 1.25, 1.75, 2.5, 3.5, 4]]])
    small = Tensor([[[[1, 200], [30, 4]]]], dtype="uint8")
    assert_close(F.nn.interpolate(small, (3, 3)), [[[[1, 101, 200], [16, 59, 102], [30, 17, 4]]]], "uint8")


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: F.nn.interpolate(x), "either size or scale_factor"),
        (lambda x: F.nn.interpolate(x, 4, 2.0), "either size or scale_factor"),
        (lambda x: F.nn.interpolate(x, 4, mode="cubic"), "interpolate: mode must be one of"),
        (
            lambda x: F.nn.interpolate(x, 4, mode="nearest", align_corners=True),
            "align_corners is for modes bilinear, linear and trilinear",
        ),
        (lambda x: F.nn.interpolate(x[0], 4), "takes a tensor of 4 dimensions"),
        (lambda x: F.nn.interpolate(x, (0, 4)), "cannot get the size"),
        (lambda x: F.nn.interpolate(x, (4, 4, 4)), "cannot get the size"),
        (lambda x: F.nn.interpolate(x, 4, mode="linear"), "takes a tensor of 3 dimensions"),
        (lambda x: F.nn.interpolate(x, 4, mode="trilinear"), "takes a tensor of 5 dimensions"),
        (lambda x: F.nn.interpolate(x, scale_factor=(2.0, 2.0, 2.0)), "cannot get the scale_factor"),
        (lambda x: F.nn.nms(F.zeros((2, 3)), F.zeros(2), 0.5), r"nms takes boxes \(n, 4\)"),
        (lambda x: F.nn.nms(F.zeros((2, 4)), F.zeros(2), 0.5, 0), "max_output takes one integer >= 1"),
        (lambda x: F.vision.correlation(x, x, 2), "kernel_size must be odd, got 2"),
        (lambda x: F.vision.correlation(x, x, 1, 3), "do not fit into"),
        (lambda x: F.vision.correlation(x, F.zeros((1, 2, 2, 2))), "two images"),
        (lambda x: F.vision.correlation(x, x, stride1=0), "stride1 takes one integer >= 1"),
        (lambda x: F.vision.cvt_color(x), "cvt_color: mode must be one of"),
        (lambda x: F.vision.cvt_color(x, "RGB2GRAY"), r"takes images \(N, H, W, 3\)"),
        (lambda x: F.vision.cvt_color(x.astype("uint8"), "YUV2RGB_NV12"), "H and W even"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(F.zeros((1, 1, 2, 2)))


def slow_nms(boxes: np.ndarray, scores: np.ndarray, limit: float) -> list[int]:
    def overlap(a, b):
        width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        shared = max(width, 0) * max(height, 0)
        return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)

    kept: list[int] = []
    for i in np.argsort(scores, kind="stable")[::-1]:
        if all(overlap(boxes[i], boxes[k]) <= limit for k in kept):
            kept.append(int(i))
    return kept


def test_nms():
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 10, (60, 2))
    boxes, scores = np.concatenate([corners, corners + generator.uniform(1, 5, (60, 2))], 1), generator.uniform(size=60)
    for limit in (0.1, 0.5, 0.9):
        truth = slow_nms(boxes, scores, limit)
        assert F.nn.nms(Tensor(boxes), Tensor(scores), limit).tolist() == truth
        assert F.vision.nms(Tensor(boxes), Tensor(scores), limit, max_output=3).tolist() == truth[:3]
    assert F.vision.nms(F.zeros((0, 4)), F.zeros(0), 0.5).shape == (0,)


def test_nms_of_many_boxes():
    generator = np.random.default_rng(1)
    corners = generator.integers(0, 40, (700, 2))
    boxes = np.concatenate([corners, corners + generator.integers(0, 9, (700, 2))], 1).astype(np.float64)
    scores = generator.integers(0, 50, 700) / 64  # many are equal: then the last is better
    apart = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]
    truth = slow_nms(apart, scores[: len(apart)], 0.3)
    assert len(truth) > 256
    found = F.nn.nms(Tensor(apart, dtype="float32"), Tensor(scores[: len(apart)], dtype="float32"), 0.3)
    assert found.tolist() == truth and found.dtype == np.int32
    empty = Tensor([[5.0, 5.0, 5.0, 5.0]] * 2 + [[0.0, 0.0, 9.0, 9.0]])
    assert F.nn.nms(empty, Tensor([1.0, 1.0, 0.5]), 0.0).tolist() == [1, 0, 2]
    assert F.nn.nms(empty, Tensor([np.nan, 1.0, 0.5]), 0.9).tolist() == [1, 2, 0]


def correlated(a, b, kernel, reach, stride1, stride2, padding, multiply):
    """Patch by patch."""
    edge = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    a, b = np.pad(a, edge), np.pad(b, edge)
    border, wide = reach + kernel // 2, reach // stride2
    size = [int(np.ceil((s - 2 * border) / stride1)) for s in a.shape[2:]]
    out = np.zeros((len(a), (2 * wide + 1) ** 2, *size))
    for p, i, j in np.ndindex(*out.shape[1:]):
        y, x = i * stride1 + reach, j * stride1 + reach
        down, right = ((d - wide) * stride2 for d in divmod(p, 2 * wide + 1))
        first = a[:, :, y : y + kernel, x : x + kernel]
        other = b[:, :, y + down : y + down + kernel, x + right : x + right + kernel]
        out[:, p, i, j] = (first * other if multiply else np.abs(first - other)).mean((1, 2, 3))
    return out


@pytest.mark.parametrize("how", [(1, 1, 1, 1, 0), (3, 2, 2, 1, 1), (1, 3, 1, 2, 4), (1, 2, 2, 1, 1), (3, 1, 1, 2, 4)])
@pytest.mark.parametrize("multiply", [True, False])
def test_correlation(how, multiply):
    a, b = random((2, 3, 7, 8)), random((2, 3, 7, 8), seed=1)
    found = F.vision.correlation(Tensor(a, dtype="float32"), Tensor(b, dtype="float32"), *how, multiply)
    assert_close(found, correlated(a, b, *how, multiply), "float32", factor=10)
    if how[1] < 3:
        check_gradient(lambda x, y: F.vision.correlation(x, y, *how, multiply), [a[:1, :2, :5, :6], b[:1, :2, :5, :6]])


def test_correlation_as_the_reference():
    """Recorded from MegEngine 1.13.0."""
    a = F.arange(32).reshape(1, 2, 4, 4)
    found = F.vision.correlation(a, a * 0.5, 1, 1, 1, 1, 0)
    truth = [84, 90.5, 97, 110, 116.5, 123, 136, 142.5, 149]
    assert_close(found[0, :, 0, 0], truth, "float32", factor=10)


def test_cvt_color_of_floats():
    rows = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    image = Tensor([[rows]], dtype="float32")
    assert_close(F.vision.cvt_color(image, "RGB2GRAY"), [[[[0], [0.299], [0.587], [0.114]]]])
    assert_close(F.vision.cvt_color(image, "bgr2gray"), [[[[0], [0.114], [0.587], [0.299]]]])
    blue, green, red = (
        [0.114, 0.492 * 0.886 + 0.5, 0.5 - 0.877 * 0.114],
        [0.587, 0.5 - 0.492 * 0.587, 0.5 - 0.877 * 0.587],
        [0.299, 0.5 - 0.492 * 0.299, 0.877 * 0.701 + 0.5],
    )
    assert_close(F.vision.cvt_color(image, "RGB2YUV"), [[[[0, 0.5, 0.5], blue, green, red]]])
    y, u, v = np.array([1.0, 1, 1]), np.array([2.032, -0.395, 0]), np.array([0, -0.581, 1.14])
    black = -0.5 * (u + v)
    assert_close(F.vision.cvt_color(image, "YUV2RGB"), [[[black, black + y, black + u, black + v]]], factor=2)
    assert F.vision.cvt_color(image[..., :1], "GRAY2RGB").tolist() == [[[[x] * 3 for x, _, _ in rows]]]
    check_gradient(lambda x: F.vision.cvt_color(x, "RGB2YUV"), [random((1, 2, 2, 3))])
    with pytest.raises(TypeError, match="takes images of uint8 or floats, got int32"):
        F.vision.cvt_color(image.astype("int32"), "RGB2GRAY")
    with pytest.raises(TypeError, match="YUV2RGB_NV12 takes uint8, got float32"):
        F.vision.cvt_color(image, "YUV2RGB_NV12")


def test_cvt_color_channels():
    image = np.arange(16, dtype=np.uint8).reshape(1, 2, 2, 4)
    for mode, order in {
        "RGBA2RGB": [0, 1, 2],
        "RGBA2BGR": [2, 1, 0],
        "RGB2BGR": [2, 1, 0],
        "BGR2RGB": [2, 1, 0],
    }.items():
        x = image if "A" in mode else image[..., :3]
        found = F.vision.cvt_color(Tensor(x, dtype="uint8"), mode)
        assert found.dtype == np.uint8 and (found.numpy() == x[..., order]).all()


def test_nvof():
    with pytest.raises(NotImplementedError, match="optical flow unit of NVIDIA"):
        F.vision.nvof(F.zeros((1, 2, 8, 8, 4)))
