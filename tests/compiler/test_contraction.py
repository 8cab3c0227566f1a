"""Contractions against float64 NumPy: every form, over odd sizes, tails, strides, padding, dilation, groups, dtypes and
instruction sets."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from contraction_harness import (
    BIAS,
    elements,
    floats,
    from_bits,
    host_targets,
    materialise,
    plan_matmul,
    reference,
    run,
    to_bits,
    unit_of,
    volume,
)

from tengen.compiler.geometry import ConvShape
from tengen.compiler.kernels.contraction import PartParameters
from tengen.compiler.kernels.epilogue import ELEMENT
from tengen.compiler.kernels.target import Target
from tengen.compiler.schedule.contractions.matmul import matmul
from tengen.compiler.schedule.contractions.problem import Storage, Unit, contiguous
from tengen.compiler.schedule.convolutions.forms import conv_by_data, conv_by_weight, conv_forward
from tengen.compiler.targets import emit

TARGETS = host_targets()
EVERY_TARGET = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
WIDEST = TARGETS[0]
random = np.random.default_rng(0)


def assert_close(got: np.ndarray, want: np.ndarray, tolerance: float = 2e-6) -> None:
    assert got.shape == want.shape
    scale = max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=0, atol=tolerance * scale)


def check_matmul(a: np.ndarray, b: np.ndarray, target: Target, **options) -> None:
    problem, a, b, shape = plan_matmul(a, b, target, **options)
    assert_close(run(problem, target, a, b, shape), a.astype(np.float64) @ b.astype(np.float64))


# -- matrix products ---------------------------------------------------------------------------------------------------

SIZES = [
    (1, 1, 1),
    (1, 7, 33),
    (2, 5, 3),
    (3, 1, 17),
    (5, 64, 16),
    (13, 9, 31),
    (12, 8, 32),
    (25, 17, 65),
    (64, 400, 120),
    (300, 33, 50),
]


@EVERY_TARGET
@pytest.mark.parametrize("m, k, n", SIZES)
@pytest.mark.parametrize("a_transposed, b_transposed", [*product((False, True), repeat=2)])
def test_matmul(target, m, k, n, a_transposed, b_transposed):
    a = floats(k, m).T if a_transposed else floats(m, k)
    b = floats(n, k).T if b_transposed else floats(k, n)
    check_matmul(a, b, target)


@EVERY_TARGET
@pytest.mark.parametrize("m, k, n", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)])
def test_matmul_empty(target, m, k, n):
    check_matmul(floats(m, k), floats(k, n), target)


@EVERY_TARGET
@pytest.mark.parametrize(
    "a_batch, b_batch",
    [
        ((3,), (3,)),
        ((3,), (1,)),
        ((1,), (3,)),
        ((2, 3), (2, 3)),
        ((2, 1), (1, 3)),
        ((2, 1, 3), (1, 4, 3)),
        ((0,), (0,)),
        ((2, 3, 1, 2), (1, 3, 2, 1)),
    ],
)
def test_matmul_batch(target, a_batch, b_batch):
    check_matmul(floats(*a_batch, 9, 5), floats(*b_batch, 5, 37), target)


def test_matmul_with_strided_batches():
    a, b = floats(4, 11, 3, 10), floats(4, 10, 3, 24)
    check_matmul(a.transpose(0, 2, 1, 3), b.transpose(0, 2, 1, 3), WIDEST)


def names(launch):
    return [name for name, _ in launch.buffers]


def test_few_rows_times_a_transposed_matrix_copy_only_the_rows():
    x, w = floats(16, 300), floats(200, 300)
    problem, *_ = plan_matmul(x, w.T, WIDEST)
    assert names(problem.launches[0]) == ["b", "a", "out"] and problem.out_strides == (1, 16)
    assert problem.b is None and problem.a is not None
    straight, *_ = plan_matmul(x, w.T, WIDEST, may_transpose=False)
    assert names(straight.launches[0]) == ["a", "b", "out"] and straight.out_strides == (200, 1)
    fewer, *_ = plan_matmul(x[:4], w.T, WIDEST)  # would fill a part of a vector only
    assert names(fewer.launches[0]) == ["a", "b", "out"] and fewer.b is not None
    check_matmul(x, w.T, WIDEST, may_transpose=False)


@EVERY_TARGET
def test_matmul_bias_and_accumulate(target):
    a, b, bias, before = floats(29, 40), floats(40, 45), floats(45), floats(29, 45)
    want = a.astype(np.float64) @ b
    for storage, extra, total in (
        (Storage(epilogue=BIAS), {"bias": bias}, want + bias),
        (Storage(accumulate=True), {"out": before}, want + before),
    ):
        problem, x, y, shape = plan_matmul(a, b, target, storage=storage)
        assert_close(run(problem, target, x, y, shape, **extra), total)


@EVERY_TARGET
@pytest.mark.parametrize("accumulate", [False, True])
def test_long_k_is_blocked_and_split_the_same_for_any_order_of_tiles(target, accumulate):
    k = 20011
    a, b, before = floats(k, 26).T, floats(k, 35), floats(26, 35)
    problem, a, b, shape = plan_matmul(a, b, target, storage=Storage(accumulate=accumulate, epilogue=BIAS))
    assert problem.launches[0].kernel.blocked and (problem.workspace == 0) == accumulate
    assert problem.epilogue is None  # left to the caller
    want = a.astype(np.float64) @ b + (before if accumulate else 0)
    got = run(problem, target, a, b, shape, out=before)
    assert_close(got, want, tolerance=1e-5)
    again = run(problem, target, a, b, shape, out=before, backwards=True)
    np.testing.assert_array_equal(got, again)


@EVERY_TARGET
def test_rows_that_lie_side_by_side_stay_so(target):
    """As they do after a convolution of which images do; but not where b has fewer columns, if they fill a vector."""
    x, w, narrow, thin = floats(50, 32).T, floats(50, 70), floats(50, 20), floats(50, 3)
    for b, stays in ((w, True), (floats(70, 50).T, True), (thin, True), (narrow, False)):
        problem, *_ = plan_matmul(x, b, target)
        assert (problem.out_strides == (1, 32)) == stays
        assert not stays or problem.a is problem.b is None or target.lanes < 16
        check_matmul(x, b, target)
    added, *_ = plan_matmul(x, w, target, storage=Storage(accumulate=True))
    assert added.out_strides == (70, 1)


def test_many_rows_and_panels():
    check_matmul(floats(523, 130), floats(130, 211), WIDEST)


@EVERY_TARGET
@pytest.mark.parametrize("dtype", ["float64", "int8", "uint8", "int16", "int32", "int64"])
def test_matmul_of_other_dtypes(target, dtype):
    for m, k, n in ((1, 1, 1), (13, 20, 33), (5, 3, 64)):
        values = [random.integers(0 if dtype[0] == "u" else -9, 10, s) for s in ((m, k), (k, n))]
        a, b = (v.astype(dtype) for v in values)
        if dtype == "float64":
            a, b = a + random.random(a.shape), b + random.random(b.shape)
        wide = {"float64": "float64", "int64": "int64"}.get(dtype, "int32")
        problem, a, b, shape = plan_matmul(a, b, target, storage=Storage(dtype, dtype, wide))
        got = run(problem, target, a, b, shape, dtype=np.dtype(wide).type)
        np.testing.assert_allclose(got, a.astype(wide) @ b.astype(wide), rtol=1e-12)


@EVERY_TARGET
@pytest.mark.parametrize("k", [50, 20000])
def test_bfloat16(target, k):
    a, b = to_bits(floats(14, k)), to_bits(floats(k, 41))
    problem, x, y, shape = plan_matmul(a, b, target, storage=Storage("bfloat16", "bfloat16", "bfloat16"))
    want = from_bits(a).astype(np.float64) @ from_bits(b)
    got = from_bits(run(problem, target, x, y, shape, dtype=np.uint16))
    assert_close(got, want, tolerance=2**-8)
    exact, x, y, shape = plan_matmul(a, b, target, storage=Storage("bfloat16", "bfloat16", "float32"))
    assert_close(run(exact, target, x, y, shape), want, tolerance=1e-5)


def test_bfloat16_result_is_rounded_to_nearest_even_and_keeps_nan():
    values = np.array([1 + 2**-8, 1 + 3 * 2**-8, np.nan, np.inf, -(1 + 2**-8) - 2**-20], np.float32)[:, None]
    problem, a, b, shape = plan_matmul(values, np.ones((1, 1), np.float32), WIDEST, storage=Storage(out="bfloat16"))
    got = from_bits(run(problem, WIDEST, a, b, shape, dtype=np.uint16))[:, 0]
    np.testing.assert_array_equal(got, [1, 1 + 2**-6, np.nan, np.inf, -(1 + 2**-7)])


@EVERY_TARGET
def test_float16(target):
    a, b = floats(14, 30).astype(np.float16), floats(30, 41).astype(np.float16)
    problem, x, y, shape = plan_matmul(a, b, target, storage=Storage("float16", "float16", "float16"))
    assert_close(run(problem, target, x, y, shape, dtype=np.float16), a.astype(np.float64) @ b, tolerance=2**-10)


# -- convolutions ------------------------------------------------------------------------------------------------------


SHAPES = [
    ConvShape(1, 1, (1, 1), 1, (1, 1)),
    ConvShape(2, 1, (12, 11), 6, (5, 5)),
    ConvShape(2, 3, (13, 32), 6, (5, 3), padding=(2, 1), dilation=(1, 2)),
    ConvShape(3, 17, (9, 14), 3, (3, 3), stride=(2, 1), padding=(0, 2)),
    ConvShape(2, 4, (9, 47), 20, (2, 3)),
    ConvShape(2, 6, (9, 9), 16, (5, 5)),
    ConvShape(2, 3, (13, 12), 10, (3, 3), padding=(1, 1)),
    ConvShape(3, 16, (7, 7), 33, (3, 3), padding=(1, 1)),
    ConvShape(2, 3, (15, 17), 8, (7, 7), stride=(2, 2), padding=(3, 3)),
    ConvShape(2, 5, (10, 9), 4, (3, 3), stride=(2, 2), padding=(1, 1)),
    ConvShape(2, 5, (11, 10), 4, (3, 2), stride=(3, 2), padding=(2, 0)),
    ConvShape(2, 4, (8, 9), 20, (1, 1), stride=(2, 2)),
    ConvShape(2, 18, (7, 9), 20, (1, 1), stride=(2, 3), groups=2),
    ConvShape(2, 17, (5, 6), 18, (1, 1)),
    ConvShape(2, 4, (12, 14), 5, (3, 3), padding=(2, 3), dilation=(2, 3)),
    ConvShape(1, 3, (14, 13), 4, (3, 3), stride=(2, 3), padding=(2, 1), dilation=(3, 2)),
    ConvShape(1, 3, (13, 13), 4, (3, 4), stride=(2, 4), padding=(1, 1), dilation=(2, 2)),
    ConvShape(2, 8, (7, 6), 12, (3, 3), padding=(1, 1), groups=4),
    ConvShape(2, 6, (9, 8), 34, (3, 2), stride=(2, 1), padding=(1, 0), groups=2),
    ConvShape(2, 4, (6, 6), 8, (3, 3), padding=(1, 1), groups=4),
    ConvShape(2, 37, (9, 8), 37, (3, 3), padding=(1, 1), groups=37),
    ConvShape(2, 20, (2, 9), 20, (3, 3), padding=(1, 1), groups=20),
    ConvShape(1, 80, (7, 7), 80, (3, 3), stride=(2, 2), padding=(1, 1), groups=80),
    ConvShape(2, 19, (11, 12), 19, (5, 3), stride=(1, 2), padding=(2, 0), dilation=(1, 2), groups=19),
    ConvShape(2, 20, (9, 7), 21, (3, 3), stride=(2, 2), padding=(1, 1)),
    ConvShape(1, 2, (4, 5), 3, (2, 3), padding=(4, 5)),
    ConvShape(1, 2, (5, 4), 3, (1, 1), stride=(4, 6), padding=(1, 1)),
    ConvShape(0, 2, (5, 4), 3, (1, 1)),
    ConvShape(16, 1, (8, 9), 6, (5, 5)),
    ConvShape(16, 4, (5, 6), 5, (5, 4), padding=(4, 3)),
    ConvShape(32, 3, (9, 8), 10, (3, 3), padding=(2, 1), dilation=(1, 2)),
    ConvShape(16, 3, (9, 8), 9, (5, 3), stride=(2, 1), padding=(0, 1)),
    ConvShape(16, 3, (9, 8), 9, (3, 3), stride=(1, 2), padding=(1, 0)),
    ConvShape(31, 6, (6, 6), 3, (5, 5), padding=(2, 2)),
    ConvShape(16, 2, (3, 3), 9, (3, 3), padding=(4, 4)),
    ConvShape(0, 2, (8, 8), 6, (5, 5)),
    volume(1, 1, (1, 1, 1), 1, (1, 1, 1)),
    volume(2, 3, (5, 6, 7), 10, (3, 3, 3), padding=(1, 1, 1)),
    volume(2, 17, (4, 5, 6), 20, (3, 3, 3), padding=(1, 1, 1)),
    volume(1, 5, (7, 8, 6), 4, (3, 2, 2), stride=(2, 3, 1), padding=(2, 0, 1)),
    volume(2, 6, (6, 7, 8), 8, (2, 3, 3), padding=(1, 1, 2), dilation=(2, 1, 2), groups=2),
    volume(2, 4, (6, 5, 7), 5, (3, 2, 3), stride=(1, 2, 2), padding=(3, 0, 1), dilation=(3, 1, 2)),
    volume(2, 19, (4, 5, 6), 19, (3, 3, 3), padding=(1, 1, 1), groups=19),
    volume(1, 40, (5, 6, 5), 40, (2, 3, 3), stride=(2, 1, 2), padding=(0, 2, 1), groups=40),
    volume(2, 18, (4, 7, 9), 20, (1, 1, 1), stride=(1, 2, 3), groups=2),
    volume(2, 17, (3, 5, 6), 18, (1, 1, 1)),
    volume(0, 2, (3, 5, 4), 3, (2, 2, 2)),
]


@EVERY_TARGET
@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "padded copy"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_convolution(target, shape, in_place):
    s = shape
    x, w, dy = floats(s.n, s.ic, *s.size), floats(s.oc, s.ic_group, *s.kernel), floats(s.n, s.oc, *s.out)
    y, dx, dw = reference(x, w, dy, s)
    unit, options = unit_of(target), {"in_place": in_place}
    assert_close(run(conv_forward(s, unit, **options), target, x, w, y.shape), y)
    assert_close(run(conv_by_data(s, unit, **options), target, dy, w, dx.shape), dx)
    assert_close(run(conv_by_weight(s, unit, **options), target, x, dy, dw.shape), dw)


@pytest.mark.parametrize(
    "shape",
    [
        ConvShape(3, 6, (70, 67), 17, (3, 3), padding=(1, 1)),
        ConvShape(3, 16, (70, 67), 17, (3, 3), padding=(1, 1)),
        ConvShape(2, 4, (120, 90), 8, (5, 5), stride=(2, 1), groups=2),
        ConvShape(3, 18, (70, 67), 18, (3, 3), padding=(1, 1), groups=18),
        volume(2, 4, (5, 40, 41), 17, (3, 3, 3), padding=(1, 1, 1)),  # blocks of lines
        volume(2, 4, (80, 9, 8), 17, (3, 3, 3), padding=(1, 1, 1)),  # and of planes
    ],
)
def test_weight_gradient_of_large_images_is_blocked(shape):
    s = shape
    x, dy = floats(s.n, s.ic, *s.size), floats(s.n, s.oc, *s.out)
    _, _, dw = reference(x, np.zeros((s.oc, s.ic_group, *s.kernel), np.float32), dy, s)
    problem = conv_by_weight(s, unit_of(WIDEST))
    assert problem.launches[0].kernel.blocked and problem.workspace
    got = run(problem, WIDEST, x, dy, dw.shape)
    assert_close(got, dw, tolerance=1e-5)
    np.testing.assert_array_equal(got, run(problem, WIDEST, x, dy, dw.shape, backwards=True))


@EVERY_TARGET
@pytest.mark.parametrize("stride, padding, size", [(1, 1, 3), (2, 1, 3), (2, 3, 7), (2, 0, 5)])
def test_an_image_of_few_channels_stays_planes(target, stride, padding, size):
    s = ConvShape(2, 3, (20, 23), 14, (size, size), stride=(stride, stride), padding=(padding, padding))
    x, w = floats(2, 3, 20, 23), floats(14, 3, size, size)
    y, _, _ = reference(x, w, np.zeros((s.n, s.oc, *s.out), np.float32), s)
    problem = conv_forward(s, unit_of(target), in_place=False, planes=True)
    assert problem.a.is_view(contiguous(x.shape)) == (size != 7)  # more multiply-adds, worth a copy
    assert_close(run(problem, target, x, w, y.shape), y)


def test_a_narrow_gradient_is_rounded_once():
    s = ConvShape(2, 16, (9, 9), 16, (9, 9), padding=(1, 1), groups=16)
    wide, narrow = (conv_by_weight(s, unit_of(WIDEST), Storage(out=dtype)) for dtype in ("float32", "bfloat16"))
    assert sum(launch.kernel.begin == "result" for launch in wide.launches) == 8 and wide.a.is_view((1296, 1, 144, 16))
    assert len(narrow.launches) == 1 and narrow.launches[0].kernel.begin == "zeros"
    small = conv_by_weight(s._replace(kernel=(3, 3)), unit_of(WIDEST), Storage(out="bfloat16"))  # a window that slides
    sums, rounded = (launch.kernel for launch in small.launches)
    assert sums.c == rounded.partial == "float32" and rounded.out == "bfloat16"


def test_convolution_bias():
    s = ConvShape(2, 3, (8, 9), 20, (3, 3), padding=(1, 1))
    x, w, bias = floats(2, 3, 8, 9), floats(20, 3, 3, 3), floats(20)
    y, _, _ = reference(x, w, np.zeros((s.n, s.oc, *s.out), np.float32), s)
    problem = conv_forward(s, unit_of(WIDEST), Storage(epilogue=BIAS))
    assert_close(run(problem, WIDEST, x, w, y.shape, bias=bias), y + bias[:, None, None])


@EVERY_TARGET
@pytest.mark.parametrize("channels", [3, 6, 13])
def test_few_channels_are_rows_over_planes_of_pixels(target, channels):
    s = ConvShape(2, 5, (8, 31), channels, (5, 5), padding=(2, 2))
    lanes, unit = unit_of(target).lanes, unit_of(target)
    x, w, bias = floats(2, 5, 8, 31), floats(channels, 5, 5, 5), floats(channels)
    y, _, _ = reference(x, w, np.zeros((s.n, s.oc, *s.out), np.float32), s)
    problem = conv_forward(s, unit, Storage(epilogue=BIAS))
    planes = names(problem.launches[0])[0] == "b"
    assert planes == (1.5 * channels / (-(-channels // lanes) * lanes) <= 31 / 32)
    assert not planes or problem.out_strides == contiguous(y.shape)
    assert_close(run(problem, target, x, w, y.shape, bias=bias), y + bias[:, None, None])


def images_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of (n, c, h, w) where images lie side by side."""
    n, _, h, w = shape
    return 1, h * w * n, w * n, n


@EVERY_TARGET
@pytest.mark.parametrize("channels, padding", [(3, 0), (6, 4), (6, 1)])
def test_few_channels_are_rows_over_the_same_pixel_of_many_images(target, channels, padding):
    s, unit = ConvShape(32, 5, (7, 6), channels, (5, 5), padding=(padding, padding)), unit_of(target)
    x, w, bias, dy = floats(32, 5, 7, 6), floats(channels, 5, 5, 5), floats(channels), floats(32, channels, *s.out)
    y, _, dw = reference(x, w, dy, s)
    few = 1.5 * channels / (-(-channels // unit.lanes) * unit.lanes) <= 1
    forward, by_weight = conv_forward(s, unit, Storage(epilogue=BIAS)), conv_by_weight(s, unit)
    assert (forward.out_strides == images_last(y.shape)) == few == by_weight.launches[0].kernel.folded
    if few:
        assert forward.a.is_view(images_last(x.shape))
        # where each pixel is under every element of the window once, nothing is multiplied in vain
        assert padding < 4 or forward.work == 2 * x.size * w.size // 5
    assert_close(run(forward, target, x, w, y.shape, bias=bias), y + bias[:, None, None])
    assert_close(run(by_weight, target, x, dy, dw.shape), dw)


@EVERY_TARGET
@pytest.mark.parametrize("stride", [1, 2])
def test_images_that_lie_side_by_side_stay_so(target, stride):
    s, unit = ConvShape(32, 6, (8, 7), 16, (3, 3), stride=(stride, 1)), unit_of(target)
    x, w, dy = floats(32, 6, 8, 7), floats(16, 6, 3, 3), floats(32, 16, *s.out)
    y, dx, dw = reference(x, w, dy, s)
    forms = {conv_forward: (x, w, y), conv_by_data: (dy, w, dx), conv_by_weight: (x, dy, dw)}
    for form, (a, b, want) in forms.items():
        problem = form(s, unit, images_last=True)
        assert problem.a.is_view(images_last(a.shape)) == (stride == 1 or form is not conv_by_data)
        assert form is not conv_by_weight or problem.b.is_view(images_last(b.shape))
        assert_close(run(problem, target, a, b, want.shape), want)


@EVERY_TARGET
@pytest.mark.parametrize("channels", [5, 6])
def test_lanes_of_steps_are_folded_for_each_block_of_k(target, channels):
    s = ConvShape(32, 1, (60, 60), channels, (5, 5))
    x, dy, dw_shape = floats(s.n, s.ic, *s.size), floats(s.n, s.oc, *s.out), (channels, 1, 5, 5)
    _, _, dw = reference(x, np.zeros(dw_shape, np.float32), dy, s)
    problem = conv_by_weight(s, unit_of(target))
    kernel = problem.launches[0].kernel
    assert kernel.folded == (channels == 5 or target.lanes == 16)
    if kernel.folded:  # a split has several blocks, whose sums are added in memory
        assert kernel.blocked and 2 * 4 * dw.size <= problem.workspace < s.out[0] * 4 * dw.size
    got = run(problem, target, x, dy, dw.shape)
    assert_close(got, dw, tolerance=1e-5)
    np.testing.assert_array_equal(got, run(problem, target, x, dy, dw.shape, backwards=True))


@EVERY_TARGET
def test_an_addend_is_not_read_beyond_its_end(target):
    addend = replace(BIAS, sources=(BIAS.sources[0], BIAS.sources[1]._replace(along=ELEMENT)))
    a, b, c = floats(9, 12), floats(12, 37), floats(9, 37)
    problem, a, b, shape = plan_matmul(a, b, target, storage=Storage(epilogue=addend))
    assert_close(run(problem, target, a, b, shape, bias=c, at_end_of_page=True), a.astype(np.float64) @ b + c)


@EVERY_TARGET
@pytest.mark.parametrize("channels", [3, 37])
def test_a_bias_is_not_read_beyond_its_end(target, channels):
    """Of few channels, which are rows, and of channels that end within a vector."""
    s = ConvShape(2, 5, (8, 31), channels, (5, 5), padding=(2, 2))
    x, w, bias = floats(2, 5, 8, 31), floats(channels, 5, 5, 5), floats(channels)
    y, _, _ = reference(x, w, np.zeros((s.n, s.oc, *s.out), np.float32), s)
    problem = conv_forward(s, unit_of(target), Storage(epilogue=BIAS))
    assert_close(run(problem, target, x, w, y.shape, bias=bias, at_end_of_page=True), y + bias[:, None, None])


def test_grouped_convolution_bias():
    s = ConvShape(2, 6, (8, 9), 20, (3, 3), groups=2)
    x, w, bias = floats(2, 6, 8, 9), floats(20, 3, 3, 3), floats(20)
    y, _, _ = reference(x, w, np.zeros((s.n, s.oc, *s.out), np.float32), s)
    problem = conv_forward(s, unit_of(WIDEST), Storage(epilogue=BIAS))
    assert_close(run(problem, WIDEST, x, w, y.shape, bias=bias), y + bias[:, None, None])


@pytest.mark.parametrize(
    "options, word",
    [({"groups": 2}, "groups"), ({"stride": (0, 1)}, "stride"), ({"kernel": (9, 3)}, "larger")],
)
def test_impossible_convolution(options, word):
    sizes = {"n": 1, "ic": 3, "size": (5, 5), "oc": 4, "kernel": (3, 3)} | options
    with pytest.raises(ValueError, match=word):
        ConvShape(**sizes)


# -- memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="protects a page with mprotect")
@EVERY_TARGET
@pytest.mark.parametrize("form", ["forward", "by data", "by weight", "matmul", "matmul a.T"])
def test_operands_are_not_read_past_their_end(target, form):
    """Each operand ends where an unreadable page begins: reading on would end the process."""
    s, unit = ConvShape(2, 5, (6, 7), 19, (3, 3), padding=(1, 1)), unit_of(target)
    x, w, dy = floats(s.n, s.ic, *s.size), floats(s.oc, s.ic, *s.kernel), floats(s.n, s.oc, *s.out)
    y, dx, dw = reference(x, w, dy, s)
    a, b = floats(29, 21), floats(21, 37)
    product = a.astype(np.float64) @ b
    problem, first, second, want = {
        "forward": (conv_forward(s, unit), x, w, y),
        "by data": (conv_by_data(s, unit), dy, w, dx),
        "by weight": (conv_by_weight(s, unit), x, dy, dw),
        "matmul": (matmul(29, 21, 37, (21, 1), (37, 1), unit), a, b, product),
        "matmul a.T": (matmul(29, 21, 37, (1, 29), (37, 1), unit), a.T.copy(), b, product),
    }[form]
    assert_close(run(problem, target, first, second, want.shape, at_end_of_page=True), want)


@EVERY_TARGET
@pytest.mark.parametrize("size", [(1, 30), (30, 1), (1, 1)])
def test_taps_that_no_pixel_meets_beside_blocks_of_k(target, size):
    """Their gradients by weight are zeros; there is no block of k that could store these. Fewer channels than 40 would go by images in the lanes."""
    s = ConvShape(32 * 30 // (size[0] * size[1]), 16, size, 40, (3, 3), padding=(1, 1))
    x, w, dy = floats(s.n, 16, *size), floats(40, 16, 3, 3), floats(s.n, 40, *s.out)
    _, _, dw = reference(x, w, dy, s)
    problem = conv_by_weight(s, unit_of(target))
    assert any(getattr(launch.kernel, "blocked", False) for launch in problem.launches)
    assert_close(run(problem, target, x, dy, dw.shape), dw)


# -- descriptions ------------------------------------------------------------------------------------------------------


def test_relayout_recognises_what_needs_no_copy():
    problem = conv_forward(ConvShape(2, 16, (5, 6), 32, (1, 1)), unit_of(WIDEST))
    assert problem.a.shape == (2, 5, 6, 16)
    assert problem.a.is_view((480, 1, 96, 16))
    assert not problem.a.is_view(contiguous((2, 16, 5, 6)))
    same = ConvShape(2, 16, (5, 6), 32, (3, 3), padding=(1, 1))
    assert conv_forward(same, unit_of(WIDEST)).a.is_view((480, 1, 96, 16))
    padded = conv_forward(same, unit_of(WIDEST), in_place=False)
    assert padded.a.shape == (2, 7, 8, 16) and not padded.a.is_view((480, 1, 96, 16))


def test_a_copied_image_has_zeros_around_it_only_if_parts_cost_more():
    """Zeros are multiplied, too: a seventh of all work in a volume of 8 planes."""
    ones = (1, 1, 1)
    large, small = (ConvShape(n, 16, (8, 14, 14), 32, (3, 3, 3), ones, ones, ones) for n in (8, 1))
    for form in conv_forward, conv_by_data:
        assert not form(large, unit_of(WIDEST), in_place=False).a.pads
        assert form(small._replace(ic=4, oc=4), unit_of(WIDEST), in_place=False).a.pads


def test_groups_of_a_copied_image_are_blocks():
    """Few channels of pixels that are far apart would share few sets of a cache."""
    s = ConvShape(2, 32, (5, 6), 32, (3, 3), padding=(1, 1), groups=4)
    for form in conv_forward, conv_by_data, conv_by_weight:
        assert form(s, unit_of(WIDEST), in_place=False).a.shape == (4, 2, 7, 8, 8)
    assert conv_forward(s, unit_of(WIDEST)).a.is_view((960, 1, 192, 32))
    assert conv_by_weight(s, unit_of(WIDEST), in_place=False).b.shape == (4, 1, 2, 5, 6, 8)


def parts_of(launch):
    """How many tiles each part of a launch has."""
    return launch.params[:: len(PartParameters._fields)]


def test_inputs_that_no_tap_meets_are_one_part():
    s = ConvShape(2, 16, (28, 28), 32, (1, 1), stride=(2, 2))
    assert sum(len(parts_of(launch)) for launch in conv_by_data(s, unit_of(WIDEST)).launches) == 4


def test_parts_at_the_border_are_one_launch():
    s = ConvShape(2, 16, (9, 9), 32, (3, 3), padding=(1, 1))
    (launch,) = conv_forward(s, unit_of(WIDEST)).launches
    assert len(parts_of(launch)) == 9 and sum(parts_of(launch)) == launch.tiles
    assert launch.work == 2 * 2 * 16 * 32 * (3 * 9 - 2) ** 2  # no zero is multiplied


def test_parts_with_other_kernels_may_run_together():
    s = ConvShape(16, 6, (14, 14), 16, (5, 5))
    launches = conv_by_data(s, Unit(16, 32)).launches
    kernels = [launch.kernel for launch in launches]
    assert sum(len(parts_of(launch)) for launch in launches) == 81 and 1 < len(set(kernels)) == len(kernels) < 9
    assert [launch.joined for launch in launches] == [False] + [True] * (len(launches) - 1)


@EVERY_TARGET
def test_tiles_of_all_parts_may_be_cut_anywhere(target):
    s = ConvShape(2, 16, (9, 9), 32, (3, 3), padding=(1, 1))
    x, w = floats(2, 16, 9, 9), floats(32, 16, 3, 3)
    problem = conv_forward(s, unit_of(target), Storage(epilogue=BIAS))
    (launch,), bias = problem.launches, floats(32)
    whole = run(problem, target, x, w, (2, 32, 9, 9), bias=bias)
    for step in range(2, launch.tiles):
        np.testing.assert_array_equal(run(problem, target, x, w, whole.shape, bias=bias, step=step), whole)


def test_relayout_strides_walk_the_source():
    x = floats(2, 3, 5, 4)
    relayout = conv_forward(ConvShape(2, 3, (5, 4), 8, (1, 1)), unit_of(WIDEST)).a
    strides = [4 * stride for stride in relayout.strides(elements(x))]
    start = x.ravel()[relayout.offset(elements(x)) :]
    walked = np.lib.stride_tricks.as_strided(start, relayout.shape, strides)
    np.testing.assert_array_equal(walked, materialise(relayout, x))


def test_kernels_are_shared_between_shapes():
    first = conv_forward(ConvShape(8, 64, (56, 56), 64, (3, 3), padding=(1, 1)), unit_of(WIDEST))
    second = conv_forward(ConvShape(8, 128, (28, 28), 128, (3, 3), padding=(1, 1)), unit_of(WIDEST))
    assert first.launches[0].kernel == second.launches[0].kernel
    assert first.launches[0].kernel.key == second.launches[0].kernel.key
    strided = conv_forward(ConvShape(8, 128, (28, 28), 100, (3, 3), stride=(2, 2), padding=(1, 1)), unit_of(WIDEST))
    assert strided.launches[0].kernel.key != first.launches[0].kernel.key


def test_a_long_sum_over_rows_in_memory_asks_ahead():
    """A gradient by weight does whose operands are used where they lie, and none that has packed them."""
    for s, packs in (
        (ConvShape(8, 16, (112, 112), 96, (1, 1)), False),
        (ConvShape(8, 512, (28, 28), 512, (1, 1)), True),
    ):
        problem = conv_by_weight(s, unit_of(WIDEST))
        asks = ["llvm.prefetch" in emit(launch.kernel, WIDEST) for launch in problem.launches]
        assert asks[0] is not packs and not any(asks[1:])


def test_work_counts_a_multiplication_and_an_addition():
    assert matmul(7, 11, 13, (11, 1), (13, 1), unit_of(WIDEST)).work == 2 * 7 * 11 * 13
    assert conv_forward(ConvShape(2, 4, (5, 6), 12, (3, 2)), unit_of(WIDEST)).work == 2 * (2 * 3 * 5 * 12) * (4 * 3 * 2)
