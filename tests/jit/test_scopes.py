"""What surrounds traced functions: others inside of them, parts left out, other threads, their end."""

from __future__ import annotations

import gc
import threading
from typing import Any
from weakref import ref

import numpy as np
import pytest

import tengen.functional as F
from tengen import Parameter, Tensor
from tengen.jit import TraceError, exclude_from_trace, partial_trace, trace, xla_trace

MODES = pytest.mark.parametrize("without_host", [False, True], ids=["host", "without host"])


@MODES
def test_traced_functions_nest(without_host):
    inner = trace(lambda x: x * 3, without_host=without_host)
    outer = trace(lambda x: inner(x) + inner(x + 1), without_host=without_host)
    for k in (1.0, 2.0):
        assert outer(Tensor(k)).item() == 3 * k + 3 * (k + 1)
    assert inner(Tensor(2.0)).item() == 6


def test_excluded_operations_may_differ():
    steps = iter(range(5))

    @trace
    def function(x):
        y = x + 1
        with exclude_from_trace():
            for _ in range(next(steps)):
                y = y * 2
        return y + x

    assert [function(Tensor(1.0)).item() for _ in range(4)] == [3, 5, 9, 17]
    with pytest.raises(TraceError, match="excludes operations"):
        trace(function.function, without_host=True)(Tensor(1.0))
    with exclude_from_trace():
        assert (Tensor(1.0) + 1).item() == 2


def test_partial_trace():
    @partial_trace
    def square(x):
        return x * x

    @partial_trace(without_host=False)
    def double(x):
        return x + x

    for _ in range(2):
        assert square(Tensor(3.0)).item() == 9 and double(Tensor(3.0)).item() == 6
    with pytest.raises(ValueError, match=r"'default' or 'xla' .*, got 'tvm'"):
        partial_trace(square, backend="tvm")


def test_xla_trace_is_a_trace_without_host():
    calls = []

    @xla_trace
    def square(x):
        calls.append(1)
        return x * x

    @xla_trace(without_host=False, capture_as_const=True)
    def double(x):
        calls.append(2)
        return x + x

    for _ in range(3):
        assert square(Tensor(3.0)).item() == 9 and double(Tensor(3.0)).item() == 6
    assert calls == [1, 2, 2, 2]
    assert isinstance(square, trace) and square.without_host and double.capture_as_const
    assert partial_trace(square.function, backend="xla")(Tensor(4.0)).item() == 16


def test_tracing_can_be_switched_off(monkeypatch):
    calls = []
    function = trace(lambda x: calls.append(1) or x + 1, without_host=True)
    monkeypatch.setattr(trace, "enabled", False)
    for _ in range(3):
        assert function(Tensor(1.0)).item() == 2
    assert len(calls) == 3


def test_other_threads_are_not_recorded():
    inside, go = threading.Event(), threading.Event()
    got = {}

    def other():
        inside.wait(10)
        got["eager"] = (F.exp(Tensor([0.0])) + 1).tolist()
        got["traced"] = double(Tensor([4.0])).tolist()
        go.set()

    double = trace(lambda x: x * 2, without_host=True)

    @trace
    def function(x):
        y = x + 1
        inside.set()
        assert go.wait(10)
        return y * 2

    thread = threading.Thread(target=other)
    thread.start()
    first = function(Tensor([1.0]))
    thread.join()
    assert got == {"eager": [2], "traced": [8]} and first.tolist() == [4]
    assert function(Tensor([2.0])).tolist() == [6]


def test_a_thread_may_read_what_a_running_call_will_compute():
    shared: dict[str, Any] = {}
    ready, read = threading.Event(), threading.Event()

    def other():
        ready.wait(10)
        shared["seen"] = shared["y"].tolist()
        read.set()

    @trace
    def function(x):
        shared["y"] = x + 1
        ready.set()
        assert read.wait(10)
        return shared["y"] * 2

    thread = threading.Thread(target=other)
    thread.start()
    assert function(Tensor([1.0])).tolist() == [4]
    thread.join()
    assert shared["seen"] == [2]


@MODES
def test_traces_are_freed_with_what_they_hold(without_host):
    def make() -> Any:
        w = Parameter(np.zeros(3, np.float32))
        function = trace(lambda x: x + w, without_host=without_host)
        function(Tensor([1.0]))
        return function, ref(w)

    function, reference = make()
    assert reference() is not None
    del function
    gc.collect()
    assert reference() is None
