"""What a trace wraps and what it gives back: callable objects, copies and pickles."""

from __future__ import annotations

import copy
import pickle

import pytest

import tengen.module as M
from tengen import Tensor
from tengen.jit import trace

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
