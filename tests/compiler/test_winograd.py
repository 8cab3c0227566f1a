"""Convolutions by tiles, against float64 NumPy, on every instruction set of this machine."""

from __future__ import annotations

import os

import numpy as np
import pytest
from contraction_harness import BIAS, elements, floats, host_targets, reference, run, unit_of
from plans import run_plan

from tengen.base import config
from tengen.compiler import compile_program
from tengen.compiler.geometry import ConvShape
from tengen.compiler.kernels.nest_tiling import NestSource
from tengen.compiler.program import Builder, Type, build
from tengen.compiler.schedule.contractions.problem import Storage
from tengen.compiler.schedule.convolutions import winograd
from tengen.compiler.schedule.convolutions.forms import conv_by_data, conv_by_weight, conv_forward
from tengen.compiler.view import View
from tengen.core.ops.conv import Convolution, ConvolutionBackwardData, ConvolutionBackwardFilter
from tengen.core.ops.elemwise import Elemwise

TARGETS = host_targets()
EVERY_TARGET = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
WIDEST = TARGETS[0]
RMS = {2: 6e-7, 4: 4e-6}
"""Root mean square of the error, of that of the result: some twice the most that 40 draws had."""

LARGEST = {2: 1e-6, 4: 2e-5}
"""The error of any one element, of the largest result. Among thousands of elements one comes to 1e-5 in some draws, for tiles of 4."""

SHAPES = [
    ConvShape(2, 32, (8, 8), 32, (3, 3), padding=(1, 1)),
    ConvShape(3, 40, (7, 9), 72, (3, 3), padding=(1, 1)),
    ConvShape(2, 33, (6, 5), 50, (3, 3)),
    ConvShape(1, 48, (11, 6), 35, (3, 3), padding=(2, 0)),
    ConvShape(2, 64, (3, 13), 64, (3, 3), padding=(0, 2)),
    ConvShape(1, 32, (1, 1), 32, (3, 3), padding=(1, 1)),
    ConvShape(5, 64, (4, 1), 100, (3, 3), padding=(1, 1)),
    ConvShape(1, 96, (30, 26), 64, (3, 3), padding=(1, 1)),
]


@pytest.fixture
def always(monkeypatch):
    """Tiles whatever they cost, in several chunks."""
    monkeypatch.setattr(winograd, "cost", lambda *_: -1)
    monkeypatch.setattr(winograd, "LEAST_CHUNK", 100_000)
    monkeypatch.setattr(winograd, "CHUNK_BYTES", 200_000)
    monkeypatch.setattr(winograd, "CHUNK_TILES", 40)


def unit(target, m=2):
    return unit_of(target)._replace(winograd=m)


def problems(s, target, m=2):
    """(contraction, shape of a, shape of b, shape of the result) of the three forms."""
    x, w, y = (s.n, s.ic, *s.size), (s.oc, s.ic, 3, 3), (s.n, s.oc, *s.out)
    return {
        "forward": (conv_forward(s, unit(target, m)), x, w, y),
        "by data": (conv_by_data(s, unit(target, m)), y, w, x),
        "by weight": (conv_by_weight(s, unit(target, m)), x, y, w),
    }


def is_tiled(problem):
    return isinstance(problem.launches[0].kernel, NestSource)


@EVERY_TARGET
@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_forms(always, target, m, shape):
    s = shape
    x, w, dy = floats(s.n, s.ic, *s.size), floats(s.oc, s.ic, 3, 3), floats(s.n, s.oc, *s.out)
    y, dx, dw = reference(x, w, dy, s)
    for (problem, *_), a, b, want in zip(
        problems(s, target, m).values(), (x, dy, x), (w, w, dy), (y, dx, dw), strict=True
    ):
        assert is_tiled(problem)
        got = run(problem, target, a, b, want.shape)
        assert np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)) < RMS[m]
        np.testing.assert_allclose(got, want, rtol=0, atol=LARGEST[m] * np.abs(want).max())
        np.testing.assert_array_equal(got, run(problem, target, a, b, want.shape, backwards=True))


@EVERY_TARGET
def test_a_gradient_by_weight_over_long_rows(always, target):
    """A row has more tiles than one block of k. Sums over tiles have some twice the rounding error of those over pixels."""
    s = ConvShape(2, 32, (3, 1650), 32, (3, 3), padding=(1, 1))
    x, dy = floats(2, 32, 3, 1650), floats(2, 32, 3, 1650)
    _, _, dw = reference(x, np.zeros((32, 32, 3, 3), np.float32), dy, s)
    error = []
    for m in (2, 0):
        problem = conv_by_weight(s, unit(target, m))
        assert is_tiled(problem) == (m > 0)
        error.append(np.sqrt(np.mean((run(problem, target, x, dy, dw.shape) - dw) ** 2) / np.mean(dw**2)))
    assert any(launch.kernel.blocked for launch in conv_by_weight(s, unit(target)).launches if launch.work > 1e7)
    assert error[0] < 3 * error[1] < 1e-5, error


@pytest.mark.skipif(os.name != "posix", reason="protects a page with mprotect")
@EVERY_TARGET
@pytest.mark.parametrize("form", ["forward", "by data", "by weight"])
def test_operands_are_not_read_past_their_end(always, target, form):
    s = ConvShape(2, 35, (6, 7), 39, (3, 3), padding=(1, 1))
    problem, a, b, out = problems(s, target)[form]
    run(problem, target, floats(*a), floats(*b), out, at_end_of_page=True)


@pytest.mark.parametrize("window", [(288, 9, 3, 1), (1, 40, 40 * 32 * 3, 40 * 32)])
def test_a_window_is_turned_from_where_it_lies(always, window):
    s = ConvShape(2, 32, (9, 8), 40, (3, 3), padding=(1, 1))
    x, w = floats(2, 32, 9, 8), floats(40, 32, 3, 3)
    stored = w if window[0] != 1 else np.ascontiguousarray(w.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1)
    assert elements(stored) == window
    y, _, _ = reference(x, w, np.zeros((2, 40, 9, 8)), s)
    plan = compile_for(Convolution, s, (x, stored))
    ((slot, given, step),) = plan.layouts  # made in one step, kept from then on
    assert given == 1 and plan.steps[step].skip_if_donated == slot and "transform" in plan.steps[step].name
    (got,) = run_plan(plan, (x, stored))
    np.testing.assert_allclose(got, y, rtol=0, atol=1e-6 * np.abs(y).max())


def compile_for(op, s, arrays, *more):
    types = [Type("float32", a.shape) for a in arrays]
    program = build(op(s.stride, s.padding, s.dilation, s.groups, *more), types)
    return compile_program(program, [View(a.shape, elements(a)) for a in arrays], WIDEST)


@EVERY_TARGET
def test_an_epilogue_is_done_by_the_last_map(always, target):
    s = ConvShape(2, 32, (7, 8), 50, (3, 3), padding=(1, 1))
    x, w, bias = floats(2, 32, 7, 8), floats(50, 32, 3, 3), floats(50)
    y, _, _ = reference(x, w, np.zeros((2, 50, 7, 8)), s)
    problem = conv_forward(s, unit(target), Storage(epilogue=BIAS))
    assert problem.epilogue is BIAS
    want = y + bias[:, None, None]
    got = run(problem, target, x, w, y.shape, bias=bias, at_end_of_page=True)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6 * np.abs(want).max())


@EVERY_TARGET
@pytest.mark.parametrize("sizes", [(3, 64, 8, 8, 48), (2, 64, 13, 9, 40)])
def test_an_epilogue_reads_what_lies_like_the_result(always, target, sizes):
    """Values of the result's size, along the channels, and numbers, in chunks of one and of a part of an image."""
    n, ic, h, w, oc = sizes
    s = ConvShape(n, ic, (h, w), oc, (3, 3), padding=(1, 1))
    x, weight, bias = last(n, ic, h, w), floats(oc, ic, 3, 3), floats(1, oc, 1, 1)
    residual, dy, old = last(n, oc, h, w), last(n, oc, h, w), floats(oc, ic, 3, 3)
    y, _, dw = reference(x, weight, dy, s)
    geometry = (s.stride, s.padding, s.dilation, s.groups)

    def block(builder, x, weight, bias, residual):
        return Elemwise("RELU")(Convolution(*geometry)(x, weight) * builder.number(0.25) + bias + residual)

    def step(builder, x, dy, old):
        return old - ConvolutionBackwardFilter(*geometry, (3, 3))(x, dy) * builder.number(0.5)

    for function, arrays, want in (
        (block, (x, weight, bias, residual), np.maximum(0.25 * y + bias + residual, 0)),
        (step, (x, dy, old), old - 0.5 * dw),
    ):
        builder = Builder()
        values = [builder.input(Type("float32", a.shape)) for a in arrays]
        program = builder.finish([function(builder, *values)])
        plan = compile_program(program, [View(a.shape, elements(a)) for a in arrays], target)
        names = [step.name for step in plan.steps]
        assert len(set(names) - {"layout"} - {name for name in names if ":" in name}) == 1, names  # all by its last map
        (got,) = run_plan(plan, arrays)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6 * np.abs(want).max())


def last(n, c, h, w):
    """Channels-last in memory."""
    return floats(n, h, w, c).transpose(0, 3, 1, 2)


def test_chunks_cover_all_tiles_once():
    for n, h, w, most in [(8, 56, 56, 1000), (3, 7, 7, 16), (2, 100, 9, 7), (1, 1, 1, 1)]:
        image = winograd.TiledImage("out", n, h, w, 1)
        t = winograd.TRANSFORMS[2]
        seen = [
            (i, row)
            for part in winograd._chunks(image, t, (1, 1), most)
            for i in range(part.image, part.image + part.images)
            for row in range(part.row, part.row + part.rows)
        ]
        assert seen == [(i, row) for i in range(n) for row in range(-(-h // 2))]


def test_tiles_are_used_where_they_pay():
    def tiled(n, ic, h, w, oc, **options):
        s = ConvShape(n, ic, (h, w), oc, (3, 3), **{"padding": (1, 1), **options})
        return [is_tiled(p) for p, *_ in problems(s, WIDEST).values()]

    assert tiled(8, 64, 56, 56, 64) == tiled(8, 256, 14, 14, 256) == [True] * 3
    assert tiled(8, 3, 56, 56, 64) == [False] * 3  # the maps cost more than the products save
    assert tiled(1, 512, 7, 7, 512) == [False] * 3  # the turned window is larger than all else
    assert tiled(8, 64, 56, 56, 64, stride=(2, 2)) == tiled(8, 64, 56, 56, 64, groups=2) == [False] * 3
    assert tiled(8, 64, 56, 56, 64, dilation=(2, 2), padding=(2, 2)) == [False] * 3
    s = ConvShape(8, 64, (56, 56), 64, (3, 3), padding=(1, 1))
    assert not is_tiled(conv_forward(s, unit(WIDEST, 0)))
    assert not is_tiled(conv_forward(s, unit(WIDEST), Storage("bfloat16", "bfloat16", "bfloat16")))


def test_the_setting_chooses_the_tile():
    s = ConvShape(2, 64, (28, 28), 64, (3, 3), padding=(1, 1))
    x, w, dy = floats(2, 64, 28, 28), floats(64, 64, 3, 3), floats(2, 64, 28, 28)
    want = reference(x, w, dy, s)
    error = {}
    for m in (0, 2, 4):
        with config.override(winograd=m):
            plans = [
                compile_for(Convolution, s, (x, w)),
                compile_for(ConvolutionBackwardData, s, (w, dy), (28, 28)),
                compile_for(ConvolutionBackwardFilter, s, (x, dy), (3, 3)),
            ]
        got = [run_plan(p, a)[0] for p, a in zip(plans, ((x, w), (w, dy), (x, dy)), strict=True)]
        error[m] = [np.sqrt(np.mean((g - y) ** 2) / np.mean(y**2)) for g, y in zip(got, want, strict=True)]
    assert all(two < 2 * direct for two, direct in zip(error[2], error[0], strict=True)), error
    assert all(two < four < 1e-5 for two, four in zip(error[2], error[4], strict=True)), error
    with pytest.raises(ValueError, match="one of 0, 2, 4"):
        config.set("winograd", 3)
