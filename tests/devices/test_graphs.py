"""Graphs of Plans: runs with the same addresses are launched by one call from the second one on, and nobody sees a difference."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from device_plans import (
    ADD,
    ADD_FROM_MEMORY,
    GUARDED_ADD,
    Failed,
    Op,
    guarded,
    launch,
    like,
    on,
    place_of,
    plans_of_ops,
)
from double.driver import ptx

import tengen
from tengen import _rt

__all__ = ["plans_of_ops"]  # a fixture

# copies a number to the status word
NOTE = ptx("ld.global.u64 %d1, [%b1]; st.global.u64 [%b0], %d1;", buffers=2)


def chain(count=5, from_memory=False, **more):
    """Adds a number `count` times, with a launch each: inputs x and the number, slot 2 is the result, 3 a temporary."""

    def plan(descs):
        x = descs[0]
        ways = [(0, 3), *[(3, 3)] * (count - 2), (3, 2)]
        code, how = ADD_FROM_MEMORY if from_memory else ADD, {"place": place_of(x), "from_memory": from_memory}
        steps = [launch(code, ((a, 0), (1, 0), (b, 0)), (x.size,), -(-x.size // 64), 64, **how) for a, b in ways]
        return _rt.Plan(2, (4 * x.size,) * 2, steps, [like(x, 2)], device=x.device, **more)

    return Op("chain", plan)


def graphs(double, run):
    """How many graphs a call launched."""
    before = double.count("graph launches")
    run()
    return double.count("graph launches") - before


@pytest.mark.parametrize("place", ["gpu0", "gpu1"])
def test_the_same_addresses_again(double, place):
    op, rng = chain(), np.random.default_rng(0)

    def run():
        x = rng.standard_normal(100).astype(np.float32)
        np.testing.assert_allclose(_rt.apply(op, on(place, x), 2.0).numpy(), x + 10, rtol=1e-6)

    found = [graphs(double, run) for _ in range(6)]
    assert found[0] == 0 and found[-3:] == [1, 1, 1]  # the number is sent in the first run, which moves what follows


def test_other_addresses(double):
    op, x = chain(), on("gpu0", [1, 2])
    held = []
    for _ in range(6):
        assert graphs(double, lambda: held.append(_rt.apply(op, x, 1.0))) == 0
    assert [y.tolist() for y in held] == [[6, 7]] * 6


@pytest.mark.parametrize("place", ["gpu0", "gpu1"])
@pytest.mark.parametrize("count", [3, 5])
def test_kernels_that_read_addresses_and_numbers_from_memory(double, place, count):
    """Each launch has its own there, and a graph those with which it was captured."""
    op, rng, found = chain(count, from_memory=True), np.random.default_rng(0), []

    def run(number):
        x = rng.standard_normal(100).astype(np.float32)
        np.testing.assert_allclose(_rt.apply(op, on(place, x), number).numpy(), x + count * number, rtol=1e-5)

    for number in (2.0, 3.0) * 5:
        found.append(graphs(double, lambda number=number: run(number)))
        held = [on(place, np.full(64, 7.0)) for _ in range(3)]  # which may lie where something was
        del held
    assert found[0] == 0 and found[-4:] == ([1] * 4 if count == 5 else [0] * 4)


def test_numbers_in_turn(double):
    op, x = chain(), on("gpu0", [1, 2])

    def run():
        for number in (1.0, 2.0, 3.0):
            assert _rt.apply(op, x, number).tolist() == [1 + 5 * number, 2 + 5 * number]

    assert [graphs(double, run) for _ in range(3)] == [0, 3, 3]


def test_of_many_runs_the_latest_are_remembered(double):
    op, x = chain(), on("gpu0", [1, 2])

    def run():
        for number in range(9):
            assert _rt.apply(op, x, float(number)).tolist() == [1 + 5 * number, 2 + 5 * number]

    assert [graphs(double, run) for _ in range(3)] == [0, 0, 0]


def test_few_launches_are_launched_one_by_one(double):
    op, x = chain(3), on("gpu0", [1, 2])
    assert [graphs(double, lambda: _rt.apply(op, x, 1.0)) for _ in range(4)] == [0] * 4


def test_plans_that_call_python_are_not_captured(double):
    called = []

    def plan(descs):
        x = descs[0]
        steps = [launch(ADD, ((a, 0), (1, 0), (b, 0)), (x.size,), 1, 64) for a, b in [(0, 2), *[(2, 2)] * 5]]
        steps.append(_rt.Host(lambda *_: called.append(1), [], []))
        return _rt.Plan(2, (4 * x.size,), steps, [like(x, 2)], device=x.device)

    op, x = Op("host", plan), on("gpu0", [1, 2])
    assert [graphs(double, lambda: _rt.apply(op, x, 1.0)) for _ in range(3)] == [0] * 3
    assert len(called) == 3


def test_memory_that_is_given_away(double):
    op, x = chain(donations=((2, 0),)), on("gpu0", [1, 2])
    place = x._data_ptr()
    assert [graphs(double, lambda: _rt.update(op, 1, x, 1.0)) for _ in range(5)] == [0, 1, 1, 1, 1]
    assert (x.tolist(), x._data_ptr()) == ([26, 27], place)
    other = x.detach()  # so it cannot be given away
    assert graphs(double, lambda: _rt.update(op, 1, x, 1.0)) == 0
    assert (x.tolist(), other.tolist()) == ([31, 32], [26, 27])


def noting(x, error=None):
    """x + 4 in place, unless the int64 that comes with it is not 0: that is the status."""
    steps = [launch(NOTE, ((4, 0), (1, 0)), ()), guarded(2, 3, 4, x.size)]
    steps += [launch(GUARDED_ADD, ((3, 0), (2, 0), (3, 0), (4, 0)), (x.size,), 1, 64)] * 3
    return _rt.Plan(3, (4 * x.size,), steps, [like(x, 3)], ((3, 0),), error=error, commit=1, device=x.device)


def test_failures(double):
    def error(word, inputs):
        raise Failed(word)

    op, x = Op("noting", lambda descs: noting(descs[0], error)), on("gpu0", [1, 2])
    good = tengen.tensor(np.zeros(1), dtype="int64", device="gpu0")
    bad = tengen.tensor(np.array([7]), dtype="int64", device="gpu0")
    for _ in range(3):
        _rt.update(op, 1, x, good, 1.0)
    assert x.tolist() == [13, 14]
    code = bad.detach()
    before = double.count("graph launches")
    for _ in range(2):  # the second time as a graph
        _rt.update(op, 1, x, code, 1.0)
        _rt.update(op, 1, x, good, 1.0)
        with pytest.raises(Failed, match="7"):
            x.numpy()
        gc.collect()  # the error refers to the inputs
    assert double.count("graph launches") - before == 3
    assert x.tolist() == [21, 22]
    _rt.update(op, 1, x, good, 1.0)
    assert x.tolist() == [25, 26]


@pytest.mark.parametrize(
    "function", ["cuStreamBeginCapture_v2", "cuLaunchKernel", "cuGraphInstantiateWithFlags", "cuGraphLaunch"]
)
def test_without_a_graph_all_is_launched_one_by_one(double, function):
    op, x = chain(), on("gpu0", [1, 2])
    assert _rt.apply(op, x, 1.0).tolist() == [6, 7]
    double.fail(function, 1, 999)
    assert [graphs(double, lambda: _rt.apply(op, x, 1.0)) for _ in range(3)] == [0] * 3
    double.forget()
    assert _rt.apply(op, x, 1.0).tolist() == [6, 7]


def test_a_fault_within_a_graph(double):
    op, x = chain(), on("gpu1", [1, 2])
    for _ in range(2):
        assert _rt.apply(op, x, 1.0).tolist() == [6, 7]
    double.fail("kernel", 3, 719)
    y = _rt.apply(op, x, 1.0)
    with pytest.raises(RuntimeError, match="gpu1: cuStreamSynchronize failed with CUDA_ERROR_LAUNCH_FAILED"):
        y.numpy()
    double.forget()
    assert _rt.apply(op, x, 1.0).tolist() == [6, 7]


def test_graphs_end_with_their_plan(double):
    x, ops = on("gpu0", [1, 2]), [chain() for _ in range(3)]
    _rt.apply(ops[0], x, 1.0)  # the number stays there
    _rt.plan_cache_clear()
    gc.collect()
    before = double.count("graphs"), _rt.memory_stats("gpu0")["live"]
    for op in ops:
        for _ in range(3):
            _rt.apply(op, x, 1.0)
    assert double.count("graphs") == before[0] + 3
    _rt.plan_cache_clear()
    gc.collect()
    assert (double.count("graphs"), _rt.memory_stats("gpu0")["live"]) == before


def test_steps_that_are_timed_run_by_themselves(double):
    op, x = chain(), on("gpu0", np.zeros(1000))
    for _ in range(3):
        _rt.apply(op, x, 1.0)
    waits = double.count("waits")
    seconds = _rt.profile(op, x, 1.0)
    assert len(seconds) == 5 and min(seconds) > 0
    assert double.count("waits") == waits + 1
