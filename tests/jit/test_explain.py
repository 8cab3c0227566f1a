"""`trace.explain` says what there is, and why."""

from __future__ import annotations

import numpy as np

import tengen.functional as F
from tengen import Parameter, Tensor
from tengen.jit import trace


def test_one_plan_for_each_kind_of_call():
    function = trace(lambda x: F.exp(x) + F.sum(x), without_host=True)
    assert str(function.explain()) == "<lambda>: 0 kinds of calls"
    for n in (3, 3, 4):
        function(Tensor(np.zeros(n, np.float32)))
    calls = function.explain().calls
    assert [(types, count) for types, count, _, _ in calls] == [("(float32[3])", 2), ("(float32[4])", 1)]
    first, second = (plans[0] for _, _, _, plans in calls)
    assert first.reason == "the first call" and second.reason == "arguments of other types than before"
    assert first.operations == 3 and first.launches == sum(first.kernels.values()) >= 1 and first.host_calls == 0
    assert first.bytes >= first.results == 12
    assert first.compiled > 0 and all(seconds > 0 for _, _, seconds, _ in calls)
    assert "3 operations in" in str(function.explain())


def test_reading_a_value_makes_two_plans():
    @trace
    def function(x):
        y = x * 2
        return y + 1 if y.sum().item() > 0 else y

    for _ in range(3):
        function(Tensor([1.0]))
    ((_, count, _, plans),) = function.explain().calls
    assert count == 3 and len(plans) == 2
    assert "a value is read at" in plans[1].reason and "test_explain.py:" in plans[1].reason


def test_other_reasons():
    w = Parameter(np.ones((2, 3), np.float32))
    function = trace(lambda x: x + w, without_host=True)
    function(Tensor(np.ones((2, 3), np.float32)))
    function(Tensor(np.ones((3, 2), np.float32)).transpose(1, 0))
    w.set_value(np.ones(3, np.float32))
    function(Tensor(np.ones((2, 3), np.float32)))
    reasons = [plan.reason for _, _, _, plans in function.explain().calls for plan in plans]
    assert reasons == ["the first call"], "what was recorded before the tensor changed is gone"
    kept: list[Tensor] = []

    @trace
    def holds(x):
        y = x * 2
        if len(kept) == 1:
            kept.append(y)
        kept.append(x)
        return y + 1

    for _ in range(2):
        holds(Tensor([1.0]))
    reasons = [plan.reason for _, _, _, plans in holds.explain().calls for plan in plans]
    assert reasons == ["the first call", "the first call; other values of it were still held when it ran"]
    assert kept[1].item() == 2
