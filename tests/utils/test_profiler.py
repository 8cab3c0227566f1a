"""Profiler: which events a block leaves, and the files with them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

import tengen.functional as F
import tengen.module as M
import tengen.optimizer as optim
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.jit import trace
from tengen.utils.profiler import Profiler, is_profiling, merge_trace_events, profile, scope


def events(profiler, kind):
    return [event for event in profiler.events if event["cat"] == kind]


def names(profiler, kind="op"):
    return [event["name"] for event in events(profiler, kind)]


def test_a_step_of_training(tmp_path):
    net = M.Sequential(M.Linear(2, 3), M.ReLU())
    manager, optimizer = GradManager().attach(net.parameters()), optim.SGD(net.parameters(), lr=0.1)
    x = Tensor(np.ones((4, 2), np.float32))
    with Profiler(str(tmp_path / "a" / "b"), with_backtrace=True, with_scopes=True) as profiler:
        assert is_profiling()
        with scope("forward"), manager:
            loss = F.mean(net(x))
            manager.backward(loss)
        optimizer.step()
    assert not is_profiling()
    found = names(profiler)
    assert found[:3] == ["Linear", "relu", "Mean"]
    assert {"grad_Linear", "grad_relu", "grad_Mean"} <= set(found)
    assert names(profiler, "scope") == ["forward"]
    assert names(profiler, "module") == ["Sequential", "Sequential", "0 (Linear)", "1 (ReLU)", "1 (ReLU)", "0 (Linear)"]
    places = {event["name"]: (event["args"]["modules"], event["args"]["line"]) for event in events(profiler, "op")}
    for forward in ("Linear", "relu", "Mean"):
        assert places[f"grad_{forward}"] == places[forward], "a backward counts for the place of its forward"
    first = events(profiler, "op")[0]
    assert first["args"]["inputs"] == ["float32 (4, 2)", "float32 (3, 2)", "float32 (3,)"]
    assert first["args"]["outputs"] == ["float32 (4, 3)"]
    assert first["args"]["line"].startswith(__file__)

    folder = tmp_path / "a" / "b"
    assert sorted(os.listdir(folder)) == [f"{os.getpid()}.chrome_timeline.json", f"{os.getpid()}.html"]
    written = json.loads((folder / f"{os.getpid()}.chrome_timeline.json").read_text())
    assert written["traceEvents"] == profiler.events
    text = (folder / f"{os.getpid()}.html").read_text()
    inside = re.search(r'id="events">(.*?)</script>', text)[1]
    shown = json.loads(inside)
    assert shown["events"] == profiler.events
    assert shown["code"][first["args"]["line"]].endswith("  loss = F.mean(net(x))")


def test_events_lie_in_each_other(tmp_path):
    x = Tensor(np.ones((64, 64), np.float32))
    with Profiler(str(tmp_path)) as profiler, scope("all"):
        F.softmax(F.matmul(x, x), axis=1)
    outer, ops, kernels = (events(profiler, kind) for kind in ("scope", "op", "kernel"))
    assert len(ops) == 2
    assert len(kernels) >= 2
    for inner, within in ((ops, outer), (kernels, ops)):
        for event in inner:
            assert any(
                o["ts"] <= event["ts"]
                and event["ts"] + event["dur"] <= o["ts"] + o["dur"] + 1e-3
                and o["tid"] == event["tid"]
                for o in within
            )
    assert all(event["dur"] >= 0 and event["ph"] == "X" and event["pid"] == os.getpid() for event in profiler.events)


def test_a_traced_function_is_one_op_with_its_kernels(tmp_path):
    @trace
    def f(x):
        return F.sum(F.exp(x) + 1)

    x = Tensor(np.ones((3, 4), np.float32))
    f(x)
    with Profiler(str(tmp_path)) as profiler:
        for _ in range(3):
            f(x)
    assert len(names(profiler)) == 3
    assert len(names(profiler, "kernel")) == 3


def test_a_traced_function_that_times_itself_goes_on(tmp_path):
    @trace(profiling=True)
    def f(x):
        return F.exp(x) * 2

    x = Tensor([1.0])
    f(x)
    kernels = [step["name"] for step in f.get_profile()["plans"][0]["steps"]]
    with Profiler(str(tmp_path)) as profiler:
        f(x)
        assert [step["name"] for plan in f.get_profile()["plans"] for step in plan["steps"]] == kernels
    assert len(names(profiler)) == 1
    f(x)
    assert [step["name"] for plan in f.get_profile()["plans"] for step in plan["steps"]] == kernels


def test_decorators(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    @profile
    def f(x, y=1):
        """Says something."""
        assert is_profiling()
        return F.exp(x).item() + y

    @profile("other", format="html")
    def g(x):
        return F.exp(x)

    assert (f(Tensor([0.0])), f(Tensor([0.0]), y=2)) == (2.0, 3.0)
    assert f.__doc__ == "Says something."
    g(Tensor([0.0]))
    assert os.listdir("profile") and os.listdir("other") == [f"{os.getpid()}.html"]


def test_an_error_in_the_block_passes_and_the_profile_is_written(tmp_path):
    with pytest.raises(KeyError), Profiler(str(tmp_path)) as profiler:
        F.exp(Tensor([0.0]))
        raise KeyError
    assert names(profiler) == ["exp"]
    assert not is_profiling()
    assert os.listdir(tmp_path)


def test_names_are_no_code_on_the_page(tmp_path):
    with Profiler(str(tmp_path)), scope("</script><script>alert(1)</script>"):
        pass
    assert "alert(1)</script>" not in (tmp_path / f"{os.getpid()}.html").read_text()


def test_merging(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no"):
        merge_trace_events(str(tmp_path))
    for number in (1, 2):
        (tmp_path / f"{number}.chrome_timeline.json").write_text(json.dumps({"traceEvents": [{"name": str(number)}]}))
    for _ in range(2):
        path = Path(merge_trace_events(str(tmp_path)))
        assert [event["name"] for event in json.loads(path.read_text())["traceEvents"]] == ["1", "2"]


def test_what_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"chrome_timeline\.json or html, got 'svg'"):
        Profiler(format="svg")
    with Profiler(str(tmp_path)), pytest.raises(RuntimeError, match="already running"):
        Profiler(str(tmp_path)).__enter__()
