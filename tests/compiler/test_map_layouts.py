"""Maps and reductions over operands that lie in memory in every way: against NumPy, on every instruction set of this machine."""

from __future__ import annotations

import numpy as np
import pytest
from contraction_harness import elements, host_targets
from layouts import LAYOUTS
from plans import run_op, run_plan, type_of

from tengen.compiler import compile_program
from tengen.compiler.kernels import nest as kernel
from tengen.compiler.kernels.nest_tiling import NestSource
from tengen.compiler.kernels.target import Target
from tengen.compiler.program import Builder, Composite, Type, build
from tengen.compiler.schedule.driver import Scheduler
from tengen.compiler.targets.host import host_target
from tengen.compiler.view import View, contiguous
from tengen.core.ops.formula import Softmax
from tengen.core.ops.pool import Pooling
from tengen.core.ops.reduce import Reduce, total
from tengen.core.ops.scan import CumSum
from tengen.core.ops.shape import Concatenate, transpose

TARGETS = host_targets()
SHAPES = [(40, 37), (3, 5, 19), (2, 33, 3), (9, 1, 2, 16), (1, 16, 5, 2), (4, 17, 1, 1)]
PAIRS = [(layout, "transposed") for layout in LAYOUTS] + [("plain", layout) for layout in list(LAYOUTS)[::2]]
random = np.random.default_rng(0)


def check(shape: tuple[int, ...], layouts: tuple[str, str], inside: bool, target: Target) -> None:
    """A sum, its copy with the dims turned round, sums and maxima over one dim, two passes over another, and both side by side. inside: the
    layouts are views in the Program."""
    laid = [LAYOUTS[layout](shape) for layout in layouts]
    bases = [random.integers(-9, 10, x.base).astype(np.float32) for x in laid]
    arrays = [x.of_array(base) for x, base in zip(laid, bases, strict=True)]
    given, builder = bases if inside else arrays, Builder()
    values = [builder.input(Type("float32", array.shape)) for array in given]
    if inside:
        values = [x.of_value(value) for x, value in zip(laid, values, strict=True)]
    (a, b), (x, y), last = values, arrays, len(shape) - 1
    first, order = (0 if shape[0] > 1 else 1), tuple(reversed(range(len(shape))))
    off = a - Reduce("MAX", (last,))(a)
    outputs = {
        "sum": (a + b * 2.0, x + y * 2),
        "turned": (transpose(a, order) * 2.0 + 1.0, x.transpose(order) * 2 + 1),
        "product": (a * b, x * y),
        "total": (total(a * b, (first,)), (x * y).sum(first, keepdims=True)),
        "most": (Reduce("MAX", (first, last))(a), x.max((first, last), keepdims=True)),
        "passes": (total(off * off, (last,)), ((x - x.max(last, keepdims=True)) ** 2).sum(last, keepdims=True)),
        "normal": (off * 0.5, (x - x.max(last, keepdims=True)) / 2),
        "side by side": (Concatenate(last)(a, b), np.concatenate([x, y], last)),
    }
    for name, (value, want) in outputs.items():
        plan = compile_program(builder.finish([value]), [View(g.shape, elements(g)) for g in given], target)
        (got,) = run_plan(plan, given)
        np.testing.assert_array_equal(got, want, err_msg=f"{name} {layouts}")


@pytest.mark.parametrize("shape", SHAPES)
def test_layouts(shape):
    for number, layouts in enumerate(PAIRS):
        check(shape, layouts, number % 2 == 0, TARGETS[number // 2 % len(TARGETS)])


def test_ways(monkeypatch):
    """Those that the other test tries."""
    nests, split = set(), NestSource.split

    def noted(self, *args):
        nests.add(self.nest)
        return split(self, *args)

    monkeypatch.setattr(NestSource, "split", noted)
    for shape in SHAPES:
        for layouts in (("plain", "transposed"), ("transposed", "plain"), ("reversed", "channels last")):
            check(shape, layouts, False, TARGETS[0])
    assert any(nest.cross is not None for nest in nests)
    assert any(nest.interleaved for nest in nests)
    assert any(nest.rows > 1 for nest in nests)
    assert any(len(kernel.passes(nest)) > 1 for nest in nests)


SHORT_ROWS = {
    Pooling("max", (12, 12), (12, 12), (0, 0)): (8, 16, 48, 48),
    Reduce("SUM", (2,)): (500, 20, 20),
    Softmax((1,)): (1000, 12),
}


@pytest.mark.parametrize("op, shape", SHORT_ROWS.items())
def test_lanes_run_along_short_rows_that_lie_side_by_side(op, shape):
    """Element by element, a vector of rows takes two to three times as long."""
    scheduler = Scheduler(build(op, [Type("float32", shape)]), [contiguous(shape)], host_target())
    scheduler.lower()
    (source,) = scheduler.sources
    assert source.nest.accesses[0].steps[source.nest.lane] == "1"


def test_rows_of_a_few_elements_are_taken_apart_for_a_scan():
    scheduler = Scheduler(build(CumSum(1), [Type("float32", (1000, 7))]), [contiguous((1000, 7))], host_target())
    scheduler.lower()
    (source,) = scheduler.sources
    assert source.nest.interleaved == (1, 7)


class TwiceInARow(Composite):
    """An input twice, and the other input, side by side."""

    def expand(self, x, y):
        return Concatenate(1)(x, x, y)


def test_copies_of_the_parts_of_a_concat_run_together_in_about_equal_shares():
    """A small part of a line is then copied by the thread that copies the rest of it."""
    x, y = (random.standard_normal(shape).astype(np.float32) for shape in ((640, 300), (640, 5)))
    program = build(TwiceInARow(), [type_of(x), type_of(y)])
    plan = compile_program(program, [contiguous(x.shape), contiguous(y.shape)])
    assert [step.joined for step in plan.steps] == [False, True, True]
    assert all(step.tiles >= plan.steps[0].tiles - 1 > 1 for step in plan.steps)
    np.testing.assert_array_equal(run_op(TwiceInARow(), x, y)[0], np.concatenate([x, x, y], 1))
