"""The benchmarks run and check what they measure. No time is looked at."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tengen import config

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a module of the benchmarks."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_cases_have_names_of_their_own_and_every_requirement_has_cases(benchmark):
    cases = benchmark("cases").all_cases()
    names = [case.name for case in cases]
    assert len(set(names)) == len(names) > 400
    spread = {"fastest": 1.0, "median": 1.0, "share_of_limit": 1.0}
    frameworks = {"tengen": spread, "NumPy": spread}
    ratios = {"PyTorch": spread, "ONNX Runtime": spread, "all memory": spread}
    rows = [{"name": name, "frameworks": frameworks, "ratios": ratios, "settings": {}} for name in names]
    for requirement in benchmark("requirements").REQUIREMENTS:
        assert requirement.reading(rows) is not None, requirement.title


def test_agreement_can_fail(benchmark):
    measure, case = benchmark("measure"), benchmark("cases").Case("x", "add", tolerance=1e-3)
    right = np.arange(1, 101, dtype=np.float32)
    one_wrong = right.copy()
    one_wrong[7] += 1
    assert measure.check(case, "peer", [right], [right]) == 0
    for wrong in ([one_wrong], [np.full_like(right, np.nan)], [right[:-1]], [right, right]):
        with pytest.raises(measure.Disagreement):
            measure.check(case, "peer", wrong, [right])


@pytest.mark.parametrize("times, turns", [([1.0] * 99, 5), ([1.0, 2.0] * 50, 20), ([1.0, 2.0, 1.0] + [1.5] * 97, 8)])
def test_turns_go_on_until_ratios_are_steady(benchmark, monkeypatch, times, turns):
    measure = benchmark("measure")
    readings = {"tengen": iter(times), "PyTorch": iter([1.0] * 99)}
    monkeypatch.setattr(measure, "SETTLE", 0)
    monkeypatch.setattr(measure, "calls_in", lambda run, seconds: 1)
    monkeypatch.setattr(measure, "seconds_of", lambda run, count: next(readings[run()]))
    found = measure.in_turn({name: lambda name=name: name for name in readings}, 5, 20, 0.01, lambda: True)
    assert [len(taken) for taken in found.values()] == [turns, turns]


def test_turns_of_a_disturbed_machine_do_not_count(benchmark, monkeypatch):
    measure = benchmark("measure")
    looks = iter([False, True, True, True, False, True, True])  # waits; counts; does not; counts
    readings = iter(range(9))
    for name, value in {"SETTLE": 0, "PAUSE": 0, "calls_in": lambda run, seconds: 1}.items():
        monkeypatch.setattr(measure, name, value)
    monkeypatch.setattr(measure, "seconds_of", lambda run, count: next(readings))
    assert measure.in_turn({"tengen": lambda: None}, 2, 9, 0.01, lambda: next(looks)) == {"tengen": [0, 2]}
    monkeypatch.setattr(measure, "PATIENCE", 0)
    assert measure.in_turn({"tengen": lambda: None}, 2, 9, 0.01, lambda: False) == {"tengen": [3, 4]}


def test_networks_in_mixed_precision_compute_the_same(benchmark):
    (case,) = (case for case in benchmark("cases").all_cases() if case.name == "overhead/mlp train")
    autocast = benchmark("autocast")
    with config.override(autocast="bfloat16"):  # "auto" would change nothing on some machines, and say so
        runs = [autocast.step(case, auto) for auto in (False, True)]
        first, second = (float(run().numpy()) for run in runs)
        assert first == pytest.approx(second, rel=0.02)
        assert all(seconds > 0 for seconds in autocast.best_seconds(runs))


def test_a_run_writes_its_report(tmp_path):
    pytest.importorskip("matplotlib")
    some = ["overhead/*", "matmul/64", "conv/mobilenetv2/b1/960-960*", "network/lenet*", "startup/unseen*"]
    command = [sys.executable, "-m", "benchmarks", *some, "--only-tengen", "--quick", "--rounds=2", "--seconds=0.001"]
    done = subprocess.run([*command, f"--out={tmp_path}"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert results["failures"] == []
    assert len(results["cases"]) == 5 + 1 + 3 + 2 + 2
    assert all(row["frameworks"]["tengen"]["median"] >= 0 for row in results["cases"])
    assert "overhead/add 100" in (tmp_path / "results.md").read_text(encoding="utf-8")
    assert (tmp_path / "results.png").stat().st_size > 10_000


@pytest.mark.parametrize("precision", ["int8", "bfloat16", "float32"])
def test_networks_of_each_precision_are_measured(benchmark, monkeypatch, tmp_path, precision):
    module = benchmark("quantized")
    monkeypatch.setitem(module.ROWS, "small", (lambda: benchmark("networks_quantized").Bert(1, 16, 2, 32), (4, 64, 16)))
    bind, cores = (
        precision == "int8" and hasattr(os, "sched_getaffinity"),
        getattr(os, "sched_getaffinity", lambda pid: None),
    )
    before = cores(0)
    name, times, *rest = module.row("small", precision, [], 2, 1, tmp_path, bind).strip("|").split("|")
    assert cores(0) == before
    assert name.strip() == f"{precision}/small" and float(times.split()[0]) > 0 and [x.strip() for x in rest] == [""]
