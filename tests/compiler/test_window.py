"""Depthwise convolutions by register tiles of neighbouring pixels, against float64 NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from contraction_harness import BIAS, floats, host_targets, reference, run, unit_of

from tengen.compiler.geometry import ConvShape
from tengen.compiler.kernels.contraction import PartParameters
from tengen.compiler.kernels.epilogue import ELEMENT, Epilogue, Source
from tengen.compiler.kernels.nest import Instr
from tengen.compiler.schedule.contractions import launches
from tengen.compiler.schedule.contractions.problem import Storage, Unit
from tengen.compiler.schedule.convolutions import sliding as window
from tengen.compiler.schedule.convolutions.forms import conv_by_data, conv_by_weight, conv_forward

EVERY_TARGET = pytest.mark.parametrize("target", host_targets(), ids=lambda t: f"{t.lanes} lanes")

SHAPES = [
    ConvShape(2, 40, (14, 14), 40, (3, 3), padding=(1, 1), groups=40),
    ConvShape(2, 40, (14, 16), 40, (3, 3), stride=(2, 2), padding=(1, 1), groups=40),
    ConvShape(1, 33, (9, 11), 33, (3, 3), padding=(1, 1), groups=33),
    ConvShape(1, 33, (13, 10), 33, (3, 3), stride=(2, 2), padding=(1, 1), groups=33),
    ConvShape(3, 8, (4, 4), 8, (3, 3), padding=(2, 2), groups=8),
    ConvShape(1, 20, (12, 13), 20, (5, 5), padding=(2, 2), groups=20),
    ConvShape(2, 20, (15, 12), 20, (3, 2), padding=(3, 0), dilation=(2, 3), groups=20),
    ConvShape(1, 17, (12, 12), 17, (3, 3), stride=(3, 2), padding=(0, 1), groups=17),
    ConvShape(1, 17, (8, 12), 17, (1, 1), stride=(2, 2), groups=17),
    ConvShape(1, 16, (5, 6), 16, (3, 3), padding=(6, 7), groups=16),
    ConvShape(1, 16, (2, 2), 16, (7, 7), padding=(3, 3), groups=16),
    ConvShape(1, 100, (50, 1), 100, (3, 1), padding=(1, 0), groups=100),
    ConvShape(2, 16, (17, 9), 16, (9, 3), padding=(1, 1), groups=16),  # by weight without a window
    ConvShape(1, 16, (13, 13), 16, (7, 7), padding=(3, 3), groups=16),  # likewise
]


def error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@EVERY_TARGET
@pytest.mark.parametrize("far", [False, True], ids=["near", "from memory"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(target, shape, far, monkeypatch):
    monkeypatch.setattr(window, "FAR", 0 if far else 1 << 30)
    s = shape
    x, w, dy = floats(s.n, s.ic, *s.size), floats(s.oc, 1, *s.kernel), floats(s.n, s.oc, *s.out)
    y, dx, dw = reference(x, w, dy, s)
    for backwards in (False, True):
        forward, by_data = conv_forward(s, unit_of(target)), conv_by_data(s, unit_of(target))
        by_weight = conv_by_weight(s, unit_of(target))
        assert error(run(by_weight, target, x, dy, dw.shape, backwards=backwards, at_end_of_page=True), dw) < 1e-6
        assert error(run(forward, target, x, w, y.shape, backwards=backwards, at_end_of_page=True), y) < 1e-6
        assert error(run(by_data, target, dy, w, dx.shape, backwards=backwards, at_end_of_page=True), dx) < 1e-6


@EVERY_TARGET
@pytest.mark.parametrize("size", sorted({*window.SIZES[32], *window.SIZES[16]}), ids=str)
def test_every_size_of_a_tile(target, size, monkeypatch):
    """Also where it does not divide the result."""
    monkeypatch.setattr(window, "SIZES", {32: (size,), 16: (size,)})
    for stride, extent in ((1, 16), (1, 11), (2, 16), (2, 18)):
        s = ConvShape(1, 19, (extent, extent), 19, (3, 3), stride=(stride, stride), padding=(1, 1), groups=19)
        x, w, dy = floats(1, 19, extent, extent), floats(19, 1, 3, 3), floats(1, 19, *s.out)
        y, dx, dw = reference(x, w, dy, s)
        assert error(run(conv_by_weight(s, unit_of(target)), target, x, dy, dw.shape), dw) < 1e-6
        assert error(run(conv_forward(s, unit_of(target)), target, x, w, y.shape), y) < 1e-6
        assert error(run(conv_by_data(s, unit_of(target)), target, dy, w, dx.shape), dx) < 1e-6


def test_launch_tiles_are_bands_of_lines():
    """Not groups of channels: two threads would read and write the same cache lines."""
    for s in (
        ConvShape(1, 384, (14, 14), 384, (3, 3), padding=(1, 1), groups=384),
        ConvShape(1, 144, (56, 56), 144, (3, 3), padding=(1, 1), groups=144),
    ):
        (launch,) = conv_forward(s, Unit(16, 32)).launches
        assert PartParameters._make(launch.params).panel_groups == 1
        assert launch.tiles > 2


def test_one_launch_does_it():
    for s in SHAPES[:8]:
        (launch,) = conv_forward(s, Unit(16, 32)).launches
        assert launch.kernel.window
        first, *sums = conv_by_weight(s, Unit(16, 32)).launches
        assert first.kernel.window and len(sums) <= 1


@EVERY_TARGET
@pytest.mark.parametrize("n", [1, 5, 13])
def test_gradient_by_weight_of_many_lines(target, n, monkeypatch):
    """Images and their lines are parts, which are added up; some have fewer lines."""
    monkeypatch.setattr(launches, "SPLIT_READS", 1)
    monkeypatch.setattr(launches, "TILE_WORK", 1 << 16)
    s = ConvShape(n, 70, (22, 19), 70, (3, 3), stride=(1, 2), padding=(1, 1), groups=70)
    x, w, dy = floats(n, 70, 22, 19), floats(70, 1, 3, 3), floats(n, 70, *s.out)
    _, _, dw = reference(x, w, dy, s)
    by_weight = conv_by_weight(s, unit_of(target))
    assert len(by_weight.launches) == 2
    for backwards in (False, True):
        assert error(run(by_weight, target, x, dy, dw.shape, backwards=backwards, at_end_of_page=True), dw) < 1e-6


@EVERY_TARGET
@pytest.mark.parametrize("size", [14, 13, 9, 6])
def test_an_operand_that_the_result_takes_the_memory_of(target, size):
    """No result is computed again once it has been stored."""
    add = Epilogue(
        (Source("float32", ELEMENT), Source("float32", ELEMENT, "out")),
        (Instr("load", attr=0), Instr("load", attr=1), Instr("add", (0, 1))),
        result=2,
        dtype="float32",
    )
    s = ConvShape(2, 24, (size, size), 24, (3, 3), padding=(1, 1), groups=24)
    x, w, r = floats(2, 24, size, size), floats(24, 1, 3, 3), floats(2, 24, size, size)
    y, _, _ = reference(x, w, r, s)
    plan = conv_forward(s, unit_of(target), Storage(epilogue=add))
    found = run(plan, target, x, w, y.shape, out=np.ascontiguousarray(r.transpose(0, 2, 3, 1)))
    assert error(found, y + r) < 1e-6


@EVERY_TARGET
def test_a_bias(target):
    s = ConvShape(2, 37, (9, 12), 37, (3, 3), padding=(1, 1), groups=37)
    x, w, bias = floats(2, 37, 9, 12), floats(37, 1, 3, 3), floats(37)
    y, _, _ = reference(x, w, floats(2, 37, 9, 12), s)
    plan = conv_forward(s, unit_of(target), Storage(epilogue=BIAS))
    found = run(plan, target, x, w, y.shape, bias=bias, at_end_of_page=True)
    assert error(found, y + bias[:, None, None]) < 1e-6


def test_pixels_outside_are_no_part_of_other_images():
    """Neighbours of the border in memory do not count, whatever they are."""
    s = ConvShape(3, 16, (8, 8), 16, (3, 3), padding=(1, 1), groups=16)
    x, w = floats(3, 16, 8, 8), floats(16, 1, 3, 3)
    y, _, _ = reference(x, w, floats(3, 16, 8, 8), s)
    x[0], x[2] = np.nan, np.inf
    target = host_targets()[0]
    found = run(conv_forward(s, unit_of(target)), target, x, w, y.shape)
    assert error(found[1], y[1]) < 1e-6
