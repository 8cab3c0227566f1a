"""`trace.explain` says what there is, and why."""

from __future__ import annotations

import html
import json

import numpy as np
import pytest

import tengen.functional as F
from tengen import Parameter, Tensor
from tengen.base import config
from tengen.base.device import parse
from tengen.jit import TraceError, trace


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


def test_each_stage_of_the_compiler_is_timed(tmp_path):
    function = trace(lambda x: F.exp(x) * 3 + 1, without_host=True)
    with config.override(cache_dir=str(tmp_path / "kernels"), dump=str(tmp_path / "dump")):
        function(Tensor(np.zeros(5, np.float32)))
    ((_, _, _, (plan,)),) = function.explain().calls
    assert list(plan.stages) == ["regroup", "simplify", "stored", "groups", "kernels", "memory", "machine code"]
    assert all(seconds > 0 for seconds in plan.stages.values())
    assert sum(plan.stages.values()) < plan.compiled
    assert "machine code" in str(function.explain())
    (text,) = (tmp_path / "dump").glob("*/plan.txt")
    assert "stage simplify: " in text.read_text()


@pytest.mark.parametrize("without_host", [False, True])
def test_a_profile_has_the_steps_of_the_last_call(without_host):
    @trace(profiling=True, without_host=without_host)
    def function(x):
        y = F.matmul(x, x) + 1
        if not without_host and y.sum().item() < 0:
            return y
        return F.cumsum(F.softmax(y), 0)

    plain = trace(function.function, without_host=without_host)
    for n in (3, 3, 40):
        x = Tensor(np.full((n, n), 0.5, np.float32))
        np.testing.assert_array_equal(function(x).numpy(), plain(x).numpy())
        profile = json.loads(json.dumps(function.get_profile()))
        plans = profile["plans"]
        assert profile["title"] == "function" and len(plans) == 1 + (not without_host)
        assert 0 < sum(plan["seconds"] for plan in plans) <= profile["seconds"]
        for plan in plans:
            assert plan["seconds"] == pytest.approx(sum(step["seconds"] for step in plan["steps"]))
            assert all(step["seconds"] > 0 for step in plan["steps"] if not step["joined"])
        names = [step["name"] for plan in plans for step in plan["steps"]]
        assert names[0].split(":")[0] == "matmul" and names[-1] == "cumsum"
    last = function.explain().calls[-1][3]
    assert len(names) == sum(plan.launches + plan.host_calls for plan in last)


def test_there_is_no_profile_without_profiling_or_a_call():
    function = trace(lambda x: x + 1)
    function(Tensor([1.0]))
    with pytest.raises(TraceError, match="must be traced with profiling=True"):
        function.get_profile()
    with pytest.raises(TraceError, match="has not been called"):
        trace(lambda x: x + 1, profiling=True).get_profile()


def test_as_a_page():
    w = Parameter(np.ones((4, 3), np.float32))
    function = trace(lambda x: F.relu(F.linear(x, w)).sum(), without_host=True)
    assert "<h1>&lt;lambda&gt;</h1>" in function.explain().html()
    for rows in (5, 6):
        function(Tensor(np.ones((rows, 3), np.float32)))
    said = function.explain()
    page = said.html()
    on_cpu = parse(w.device).memory == "cpu"
    suffix, language, call = ("s", "assembly", "") if on_cpu else ("ptx", "PTX", "ptx_kernel ")
    for _, _, _, (plan,) in said.calls:
        files = plan.files()
        assert {"program0_recorded.txt", "groups.txt", "plan.txt", "kernel0.ll", f"kernel0.{suffix}"} <= set(files)
        assert "Reduce(mode='SUM'" in files["program0_recorded.txt"]
        assert f"define {call}void @" in files["kernel0.ll"]
        for text in files.values():
            assert html.escape(text)[:200] in page or "ms" in text  # times differ
    assert page.count(f"<summary>kernel0 {language}</summary>") == 2 and page.count("<h3>Plan 1</h3>") == 2
    assert "operations in" in page and "the first call" in page
