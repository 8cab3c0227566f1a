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
        (lambda x: F.nn.interpolate(x, 4, mode="cubic"), "interpolate: mode is one of"),
        (
            lambda x: F.nn.interpolate(x, 4, mode="nearest", align_corners=True),
            "align_corners is for modes bilinear and linear",
        ),
        (lambda x: F.nn.interpolate(x[0], 4), "takes a tensor of 4 dimensions"),
        (lambda x: F.nn.interpolate(x, (0, 4)), "cannot get the size"),
        (lambda x: F.nn.interpolate(x, (4, 4, 4)), "cannot get the size"),
        (lambda x: F.nn.nms(F.zeros((2, 3)), F.zeros(2), 0.5), r"nms takes boxes \(n, 4\)"),
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
    for i in np.argsort(-scores, kind="stable"):
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
