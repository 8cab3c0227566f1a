"""The page of a profile: its scripts run, and the timeline, the flame graph and the tables show what was profiled."""

from __future__ import annotations

import numpy as np
import pytest

import tengen.functional as F
import tengen.module as M
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.jit import trace
from tengen.utils.profile_page import page
from tengen.utils.profiler import Profiler, scope

ROW = "<tr><td>(.*?)</td>"
BOX = '<div title="[^"]*" style="[^"]*">(.*?)</div>'


def even(events):
    """The events with ranks for times, so that what is shown does not depend on how long the machine was busy with something else."""
    times = sorted({time for event in events for time in (event["ts"], event["ts"] + event["dur"])})
    rank = {time: float(number) for number, time in enumerate(times)}
    return [
        event | {"ts": rank[event["ts"]], "dur": rank[event["ts"] + event["dur"]] - rank[event["ts"]]}
        for event in events
    ]


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """A page of eager and traced steps, with lines and modules; and its events."""
    folder = tmp_path_factory.mktemp("profile")
    net = M.Sequential(M.Conv2d(3, 16, 3, padding=1), M.ReLU(), M.Conv2d(16, 16, 3))
    manager = GradManager().attach(net.parameters())
    x = Tensor(np.ones((4, 3, 32, 32), np.float32))

    def step(x):
        with manager:
            manager.backward(net(x).sum())
        for parameter in net.parameters():
            parameter.grad = None

    fast = trace(lambda x: F.exp(net(x)).sum(), without_host=True)
    with Profiler(str(folder), with_backtrace=True, with_scopes=True) as profiler:
        for _ in range(3):
            with scope("eager"):
                step(x)
            with scope("traced </script>"):
                fast(x)
    (path,) = folder.glob("*.html")
    assert path.read_text() == page(profiler.events)
    path.write_text(page(even(profiler.events)))
    return path, profiler.events


def test_the_page_loads(load, profiled):
    path, events = profiled
    loaded = load(path)
    assert loaded.logged == []
    ops = [event for event in events if event["cat"] == "op"]
    assert f"{len(ops)} ops in " in loaded.html
    assert set(loaded.texts(ROW)) == {event["name"] for event in ops}
    flame = loaded.texts(BOX)
    assert flame[0] == "all" and {"eager", "traced </script>", "Sequential", "grad_conv2d"} <= set(flame)


@pytest.mark.parametrize(
    "table, wanted",
    [
        ("kernel", "conv2d"),
        ("module", "0 (Conv2d)"),
        ("line", "manager.backward(net(x).sum())"),
    ],
)
def test_tables(load, profiled, table, wanted):
    loaded = load(profiled[0], f"#{table}", width=420)
    assert loaded.logged == [] and any(row.endswith(wanted) for row in loaded.texts(ROW))


def test_a_page_of_nothing(load, tmp_path):
    path = tmp_path / "nothing.html"
    path.write_text(page([]))
    for table in ("op", "kernel", "module", "line"):
        loaded = load(path, f"#{table}")
        assert loaded.logged == [] and "0 ops in" in loaded.html


def test_a_page_of_many_events(load, tmp_path):
    path = tmp_path / "many.html"
    event = {"cat": "op", "ph": "X", "dur": 1.0, "pid": 1, "tid": 1, "args": {}}
    path.write_text(page([{**event, "name": f"op{i % 7}", "ts": 2.0 * i} for i in range(200_000)]))
    loaded = load(path)
    assert loaded.logged == [] and sorted(loaded.texts(ROW)) == [f"op{i}" for i in range(7)]


def test_a_picture(load, profiled, tmp_path):
    load(profiled[0], picture=str(tmp_path / "page.png"))
    assert (tmp_path / "page.png").stat().st_size > 10_000
