"""Gathers and scatters at positions in a plane that are the same for all channels: they go row by row of channels."""

from __future__ import annotations

import numpy as np
import pytest
from contraction_harness import elements, host_targets
from plans import run_plan, type_of

from tengen.compiler import compile_program
from tengen.compiler.kernels.nest import access_number
from tengen.compiler.program import Builder
from tengen.compiler.schedule.driver import Scheduler
from tengen.compiler.view import View, contiguous
from tengen.core.ops.index import Put, Take
from tengen.core.ops.shape import zeros_of

WHERE = (0, 1, -1, -1), (2, 3), (0, 2, 3)  # (N, C, H, W) at positions of its own for each image
random = np.random.default_rng(0)


def channels_last(array):
    return array.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)


def whole_numbers(*shape):
    return random.integers(-9, 10, shape).astype(np.float32)


def positions(n, extents, size):
    return [random.integers(0, extent, (n, *size)).astype(np.int32) for extent in extents]


def places(x, rows, columns):
    n, c = np.ogrid[: x.shape[0], : x.shape[1]]
    return n[..., None, None], c[..., None, None], rows[:, None], columns[:, None]


def read(x, *indices):
    """The sum of two elements for each place."""
    return Take(*WHERE)(x, *indices) + Take(*WHERE)(x, *reversed(indices))


def added(x, g, *indices):
    put = Put("add", *WHERE)
    return put(put(zeros_of(x), g, *indices), g * 2.0, *reversed(indices))


def planned(function, arrays, target):
    builder = Builder()
    program = builder.finish([function(*(builder.input(type_of(a)) for a in arrays))])
    views = [View(a.shape, elements(a)) for a in arrays]
    scheduler = Scheduler(program, views, target)
    scheduler.lower()
    (got,) = run_plan(compile_program(program, views, target), arrays)
    return scheduler.sources, got


@pytest.mark.parametrize("target", host_targets(), ids=lambda target: target.name)
@pytest.mark.parametrize("shape", [(2, 32, 12, 12), (1, 150, 9, 9), (3, 20, 7, 7), (2, 3, 11, 11)])
@pytest.mark.parametrize("last", [False, True])
def test_rows_of_channels(shape, last, target):
    x, g = whole_numbers(*shape), whole_numbers(*shape[:2], 80, 90)
    at = positions(shape[0], shape[2:], (80, 90))
    one, other = places(x, *at), places(x, *reversed(at))
    laid = [channels_last(a) if last else a for a in (x, g)]
    sources, got = planned(read, [laid[0], *at], target)
    np.testing.assert_array_equal(got, x[one] + x[other])
    rows = 2 * shape[1] > target.lanes
    assert not rows or steps_along_lanes(sources, "gather") == {"1"}
    sources, got = planned(added, [*laid, *at], target)
    want = np.zeros(shape)
    np.add.at(want, one, g)
    np.add.at(want, other, 2 * g)
    np.testing.assert_array_equal(got, want)
    if rows:
        assert steps_along_lanes(sources, "scatter") == {"1"}
        nests = [s.nest for s in sources if any(i.op == "scatter" for i in s.nest.code)]
        assert all(a.steps[n.lane] in ("0", "1") for n in nests for a in n.accesses)


@pytest.mark.parametrize("target", host_targets(), ids=lambda target: target.name)
def test_additions_come_in_the_order_of_the_positions(target):
    """Numbers that only in this order have the sum 1 at each place."""
    numbers = np.tile(np.array([2.0**24, 1.0, -(2.0**24), 1.0], np.float32), 500)
    source = np.broadcast_to(numbers, (1, 64, 1, 2000)).copy()
    at = [(np.repeat(np.arange(500), 4) // width % 25).astype(np.int32)[None, None] for width in (25, 1)]

    def summed(x, g, *indices):
        return Put("add", *WHERE)(zeros_of(x), g, *indices)

    _, got = planned(summed, [np.zeros((1, 64, 25, 25), np.float32), source, *at], target)
    want = np.zeros((25, 25), np.float32)
    want[at[0], at[1]] = 1
    np.testing.assert_array_equal(got, np.broadcast_to(want, got.shape))


def steps_along_lanes(sources, op):
    nests = [source.nest for source in sources]
    return {n.accesses[access_number(i)].steps[n.lane] for n in nests for i in n.code if i.op == op}


def test_a_copy_in_rows_is_made_if_it_is_read_often():
    """Of an image that is read a few times, and where every row has one place, none is made."""

    def copies(shape, take, indices):
        builder = Builder()
        x = builder.input(type_of(whole_numbers(*shape)))
        given = [builder.input(type_of(i)) for i in indices]
        scheduler = Scheduler(
            builder.finish([take(x, *given)]), [contiguous(v.shape) for v in (x, *given)], host_targets()[0]
        )
        scheduler.lower()
        return len(scheduler.steps) - 1

    assert copies((2, 32, 10, 10), Take(*WHERE), positions(2, (10, 10), (60, 60))) == 1
    assert copies((2, 32, 60, 60), Take(*WHERE), positions(2, (60, 60), (60, 60))) == 0
    assert copies((64, 100), Take((0, -1), (1,), (1,)), [random.integers(0, 100, 5000).astype(np.int32)]) == 0


@pytest.mark.parametrize("target", host_targets(), ids=lambda target: target.name)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("mode", ["add", "set"])
def test_indices_along_the_lanes(mode, dtype, target):
    """Vectors are written lane by lane: of several lanes at one place the last one is set, and all are added."""
    put, take = Put(mode, (0, -1), (1,), (0, 1)), Take((0, -1), (1,), (0, 1))
    x, value = (whole_numbers(5, n).astype(dtype) for n in (70, 53))
    at = random.integers(-30, 40, (5, 53)).astype(np.int32)
    for high in (3, 40):  # many places are one, then a few
        index = at % high - high // 2
        _, got = planned(put, [x, value, index], target)
        want, rows = x.copy(), np.arange(5)[:, None]
        if mode == "set":
            want[rows, index] = value
        else:
            np.add.at(want, (np.broadcast_to(rows, index.shape), index), value)
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(planned(take, [x, index], target)[1], x[rows, index])
    at[3, 52] = 70
    with pytest.raises(IndexError):
        planned(put, [x, value, at], target)
