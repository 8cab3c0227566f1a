"""Windows that reach far beyond the image, take long steps or have wide gaps: a plan has few parts, however far, and errors name the op."""

from __future__ import annotations

from math import prod

import contraction_harness as harness
import numpy as np
import pytest
from contraction_harness import elements, host_targets
from plans import run_plan

import tengen.functional as F
from tengen import Tensor
from tengen.compiler import compile_program
from tengen.compiler.geometry import ConvShape
from tengen.compiler.kernels.contraction import PartParameters
from tengen.compiler.program import Type, build
from tengen.compiler.schedule.contractions.problem import Unit
from tengen.compiler.schedule.convolutions import borders, dimension
from tengen.compiler.schedule.convolutions.borders import Line
from tengen.compiler.schedule.convolutions.forms import conv_by_data, conv_by_weight, conv_forward
from tengen.compiler.view import View
from tengen.core.ops.conv import Convolution, ConvolutionBackwardData, ConvolutionBackwardFilter

TARGETS = host_targets()
FORMS = {"forward": conv_forward, "by data": conv_by_data, "by weight": conv_by_weight}
random = np.random.default_rng(0)


def parts(s: ConvShape, form: str) -> int:
    problem = FORMS[form](s, Unit(8, 16), in_place=False)
    sizes = s.n * (s.ic * prod(s.size) + s.oc * prod(s.out))
    assert problem.a.size <= borders.FEW_ELEMENTS + borders.MOST_ZEROS * sizes
    return sum(len(launch.params) // len(PartParameters._fields) for launch in problem.launches)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    "far",
    [
        lambda n: {"padding": (n, 0)},
        lambda n: {"padding": (n, n), "stride": (n, n)},
        lambda n: {"padding": (0, n), "stride": (1, n // 2)},
        lambda n: {"padding": (n, n), "dilation": (n, n)},
        lambda n: {"size": (2 * n, 4), "stride": (n, 1), "padding": (1, 1)},
        lambda n: {"size": (2 * n, 4), "dilation": (n - 1, 1)},
    ],
    ids=["padding", "padding and stride", "padding and a shorter stride", "dilation", "stride", "dilation inside"],
)  # fmt: skip
def test_parts_are_few_however_far(far, groups, form, monkeypatch):
    monkeypatch.setattr(borders, "FEW_ELEMENTS", 1000)
    near, beyond = (
        ConvShape(**({"n": 1, "ic": 4, "size": (5, 4), "oc": 4, "kernel": (3, 3), "groups": groups} | far(n)))
        for n in (20_000, 600_000)
    )
    assert parts(near, form) == parts(beyond, form) < 200


def test_a_window_that_steps_as_wide_as_it_is_large():
    s = ConvShape(1, 2, (900, 900), 3, (300, 300), stride=(300, 300))
    assert parts(s, "by data") == 1


def test_rows_that_see_nothing_are_one_part():
    for padding in (10, 10**6, 10**12):
        assert len(Line(size=3, base=-padding, rows=2 * padding + 1, row_step=1, taps=3, tap_step=1).cuts()) == 7
        assert len(Line(size=3, base=-padding, rows=2 * padding // 5, row_step=5, taps=3, tap_step=1).cuts()) == 3


@pytest.mark.parametrize("seed", range(60))
def test_far_and_near(seed, monkeypatch):
    """No image may be padded, and phases are joined wherever they are alike."""
    monkeypatch.setattr(borders, "FEW_ELEMENTS", 0)
    monkeypatch.setattr(borders, "MOST_ZEROS", seed % 2)
    monkeypatch.setattr(dimension, "MANY_PHASES", 2)
    s = drawn(np.random.default_rng(seed))
    x, w, dy = (
        random.integers(-4, 5, n).astype(np.float32)
        for n in ((s.n, s.ic, *s.size), (s.oc, s.ic_group, *s.kernel), (s.n, s.oc, *s.out))
    )
    taken = s.stride, s.padding, s.dilation, s.groups
    for op, a, b, want in (
        (Convolution(*taken), x, w, harness.forward(x, w, s)),
        (ConvolutionBackwardData(*taken, s.size), w, dy, harness.by_data(w, dy, s)),
        (ConvolutionBackwardFilter(*taken, s.kernel), x, dy, harness.by_weight(x, dy, s)),
    ):
        program = build(op, [Type("float32", a.shape), Type("float32", b.shape)])
        plan = compile_program(program, [View(v.shape, elements(v)) for v in (a, b)], TARGETS[seed % len(TARGETS)])
        (got,) = run_plan(plan, (a, b))
        np.testing.assert_array_equal(got, want, err_msg=f"{s} {op.name}")


def drawn(rng: np.random.Generator) -> ConvShape:
    """Of images, and sometimes of volumes, whose depth is less."""
    depth = rng.random() < 0.3

    def numbers(least: int, high: int, wide: int) -> tuple[int, ...]:
        deep = [max(least + 1, high // 2)] if depth else []
        return tuple([int(rng.integers(least, most)) for most in (*deep, high, wide)])

    while True:
        groups = int(rng.choice([1, 1, 2, 4]))
        n, ic, oc = (int(rng.integers(1, most)) for most in (3, 4, 4))
        size, kernel = numbers(1, 14, 30), numbers(1, 6, 8)
        stride, padding, dilation = numbers(1, 12, 12), numbers(0, 9, 20), numbers(1, 4, 9)
        try:
            return ConvShape(n, ic * groups, size, oc * groups, kernel, stride, padding, dilation, groups)
        except ValueError:  # no window fits
            continue


def ones(*shape: int) -> Tensor:
    return F.ones(shape)


def test_values_from_far_away():
    y = F.conv2d(ones(1, 1, 3, 3), ones(1, 1, 3, 3), None, 100_000, 200_000).numpy()
    assert y.shape == (1, 1, 5, 5) and y[0, 0, 2, 2] == 9 and y.sum() == 9
    y = F.conv2d(ones(1, 1, 3, 3), ones(1, 1, 3, 3), None, 1, (200_000, 1)).numpy()
    assert y.shape == (1, 1, 400_001, 3) and y.sum() == 9 * 7
    y = F.conv2d(ones(1, 8, 3, 3), ones(8, 1, 1, 3, 3), None, 100_000, 200_000, groups=8).numpy()
    assert y.shape == (1, 8, 5, 5) and (y[0, :, 2, 2] == 9).all() and y.sum() == 8 * 9
    y = F.conv_transpose2d(ones(1, 1, 3, 3), ones(1, 1, 3, 3), None, (300_000, 1)).numpy()
    assert y.shape == (1, 1, 600_003, 5) and y.sum() == 81
    y = F.conv2d(ones(1, 1, 3, 3), ones(1, 1, 3, 3), None, 2**62, 2**62).numpy()
    assert y.shape == (1, 1, 3, 3) and y[0, 0, 1, 1] == 9 and y.sum() == 9
    y = F.max_pool2d(ones(1, 1, 3, 3), 3, 10**5, 10**6).numpy()
    assert y.shape == (1, 1, 21, 21) and y.max() == 1


HUGE = {
    "conv2d": lambda: F.conv2d(ones(1, 1, 3, 3), ones(1, 1, 3, 3), None, 1, 2**62),
    "conv1d": lambda: F.conv1d(ones(1, 1, 3), ones(1, 1, 3), None, 1, 2**70),
    "conv_transpose2d": lambda: F.conv_transpose2d(ones(1, 1, 3, 3), ones(1, 1, 3, 3), None, 2**62),
    "max_pool2d": lambda: F.max_pool2d(ones(1, 1, 3, 3), 3, 1, 2**62),
    "avg_pool2d": lambda: F.avg_pool2d(ones(1, 1, 3, 3), 3, 2**62, 2**62),
    "sliding_window": lambda: F.sliding_window(ones(1, 1, 3, 3), 3, 2**62),
    "pad": lambda: F.nn.pad(ones(3), ((2**62, 2**62),), "edge"),
    "interpolate": lambda: F.vision.interpolate(ones(1, 1, 3, 3), (2**31, 2**31)),
    "conv2d of no images": lambda: F.conv2d(ones(0, 1, 3, 3), ones(1, 1, 3, 3), None, 1, 2**62),
}


@pytest.mark.parametrize("name", HUGE)
def test_what_cannot_be_addressed_is_refused(name):
    with pytest.raises(MemoryError, match=rf"^{name.split()[0]}: \w+ of shape \(.*\) would take \d+ bytes"):
        HUGE[name]()
