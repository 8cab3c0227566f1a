"""What a trace wraps and what it gives back: callable objects, copies and pickles, kinds of arguments and results."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict, defaultdict

import numpy as np
import pytest

import tengen.functional as F
import tengen.module as M
from tengen import Tensor
from tengen.jit import TraceError, trace

MODES = pytest.mark.parametrize("without_host", [False, True], ids=["host", "without host"])


@trace(without_host=True)
def doubled(x):
    return x * 2


class Inner(M.Module):
    """Its attributes have the names of a trace's own."""

    def __init__(self):
        super().__init__()
        self.function, self._kinds, self.explain, self.without_host = M.Identity(), [], 3, 0

    def forward(self, x):
        return self.function(x) + 1


class Stepping(M.Module):
    def __init__(self):
        super().__init__()
        self.weight = Tensor([2.0])
        self.step = trace(self.forward, without_host=True)

    def forward(self, x):
        return x * self.weight


@MODES
def test_attributes_of_a_callable_object_are_not_those_of_the_trace(without_host):
    traced = trace(Inner(), without_host=without_host)
    assert [traced(Tensor([k])).item() for k in (1.0, 2.0)] == [2.0, 3.0]
    assert traced.explain().calls and traced.without_host is without_host


def test_attributes_of_a_function_stay():
    def function(x):
        return x

    function.note, function.profiling = "kept", "its own"
    traced = trace(function)
    assert traced.note == "kept" and traced.profiling is False and traced.__wrapped__ is function


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_a_copy_of_a_module_that_holds_a_trace_traces_the_copy(duplicate):
    module = Stepping()
    assert module.step(Tensor([3.0])).item() == 6
    other = duplicate(module)
    other.weight[...] = 5
    assert other.step.without_host
    assert [(other.step(Tensor([x])).item(), module.step(Tensor([x])).item()) for x in (3.0, 4.0)] == [(15, 6), (20, 8)]


def test_a_decorated_function_is_copied_and_pickled_by_name():
    assert pickle.loads(pickle.dumps(doubled)) is doubled and copy.deepcopy(doubled) is doubled


def test_a_copy_has_the_options():
    traced = trace(lambda x: x + 1, without_host=True, capture_as_const=True, profiling=True)
    other = copy.copy(traced)
    assert (other.without_host, other.capture_as_const, other.profiling) == (True, True, True)
    assert other(Tensor([1.0])).item() == 2 and other.get_profile()["plans"]


def test_generators_and_coroutines_are_refused():
    def steps(x):
        yield x * 2

    async def later(x):
        return x * 2

    for function in (steps, later):
        with pytest.raises(TypeError, match=f"trace: {function.__name__} is a generator or a coroutine"):
            trace(function)


@pytest.mark.parametrize("make", [iter, lambda pair: (y + 1 for y in pair), lambda pair: {"all": [map(abs, pair)]}])
def test_results_that_can_be_gone_through_once_are_refused_without_host(make):
    with pytest.raises(TraceError, match=r"returns a .*, which later calls could not return with without_host=True"):
        trace(lambda x: make([x, x]), without_host=True)(Tensor([1.0]))
    trace(lambda x: make([x, x]))(Tensor([1.0]))


@MODES
def test_numbers_that_are_equal_but_not_the_same(without_host):
    divided = trace(lambda x, number: F.ones(1) / (x * number), without_host=without_host)
    got = [divided(Tensor([1.0]), number).item() for number in (0.0, -0.0, 0.0, -0.0)]
    assert got == [np.inf, -np.inf, np.inf, -np.inf]


@MODES
def test_kinds_of_dicts(without_host):
    class Own(dict):
        def total(self):
            return sum(x.item() for x in self.values())

    kinds = trace(lambda given: type(given).__name__, without_host=without_host)
    x = Tensor([1.0])
    assert [kinds(given) for given in ({"x": x}, OrderedDict(x=x), Own(x=x))] == ["dict", "OrderedDict", "Own"]

    @trace(without_host=without_host)
    def results(x):
        lists = defaultdict(list)
        lists["a"].append(x + 1)
        return OrderedDict(z=x, y=x * 2), lists, Own(u=x, v=x)

    for k in (1.0, 2.0, 3.0):
        ordered, lists, own = results(Tensor([k]))
        assert type(ordered) is OrderedDict and list(ordered) == ["z", "y"] and ordered["y"].item() == 2 * k
        assert lists["a"][0].item() == k + 1 and lists["missing"] == []
        assert own.total() == 2 * k


@MODES
def test_arrays_in_results_are_the_callers_own(without_host):
    function = trace(lambda x: (x, np.array([1, 2])), without_host=without_host)
    for _ in range(3):
        _, array = function(Tensor([1.0]))
        assert array.tolist() == [1, 2]
        array[0] = 9
