"""Kernels and Plans of GPUs on disk: no process compiles what an earlier one has compiled, neither tengen nor the driver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tengen
import tengen.functional as F
from tengen import _rt
from tengen.base import config
from tengen.compiler import cache, compile_program
from tengen.compiler.program import Type, build
from tengen.core import device_kernels
from tengen.core.ops.elemwise import Elemwise

TESTS = Path(__file__).resolve().parent.parent

SCRIPT = """
import json, sys
from double.library import double
double = double()
import numpy as np
import tengen
import tengen.functional as F
from tengen.autodiff import GradManager
from tengen.compiler import backend, plan_store
from tengen.compiler.schedule.driver import Scheduler
plan_store.SLOW = 0.0
planned, finish = [], Scheduler.finish
Scheduler.finish = lambda self, *rest: (planned.append(self), finish(self, *rest))[1]
x = tengen.tensor(np.arange(12, dtype="float32").reshape(3, 4) / 10, device="gpu0")
with GradManager().attach([x]) as gm:
    y = F.softmax(x[[2, 0]] @ x.T, axis=-1)
    gm.backward((y * y).sum())
assert double.problems() == []
print(json.dumps([double.count("compilations"), backend.missed, len(planned), y.tolist(), x.grad.tolist()]))
"""


def run(folder):
    """What the driver compiled, kernels that tengen compiled, Plans that it made, and results."""
    env = os.environ | {"PYTHONPATH": str(TESTS), "TENGEN_CACHE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_second_process_compiles_nothing(tmp_path):
    first, second = run(tmp_path), run(tmp_path)
    assert min(first[:3]) > 3
    assert second == [0, 0, 0, *first[3:]]


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A kernel that this GPU has not seen, and a folder in which only its text is kept."""
    monkeypatch.setattr(cache, "_device_kernels", {})
    monkeypatch.setattr(device_kernels, "_functions", {})
    with config.override(cache_dir=str(tmp_path)):
        program = build(Elemwise("EXP"), [Type("float32", (70,))])
        yield compile_program(program, target=device_kernels.target_of("gpu0")).steps[0].kernel


def loaded(kernel, double, monkeypatch):
    """What the driver compiles when a new process wants the kernel."""
    monkeypatch.setattr(device_kernels, "_functions", {})
    before = double.count("compilations")
    assert device_kernels.functions_on("gpu0", [kernel])[kernel]
    return double.count("compilations") - before


def test_the_driver_compiles_a_kernel_once(kernel, double, monkeypatch):
    assert [loaded(kernel, double, monkeypatch) for _ in range(3)] == [1, 0, 0]


def test_another_driver_compiles_it_again(kernel, double, monkeypatch):
    assert loaded(kernel, double, monkeypatch) == 1
    monkeypatch.setattr(_rt, "driver_version", lambda: 12040)
    assert [loaded(kernel, double, monkeypatch) for _ in range(2)] == [1, 0]


def test_what_the_driver_refuses_is_compiled_again(kernel, double, monkeypatch):
    cache.write(device_kernels._entry("gpu0", kernel), b"\x7fELFdbl\0nonsense")
    assert [loaded(kernel, double, monkeypatch) for _ in range(2)] == [1, 0]
    assert len(double.problems()) == 1
    double.forget()


def test_a_driver_that_cannot_link(kernel, double, monkeypatch):
    double.fail("cuLinkComplete", 1, 999)
    assert loaded(kernel, double, monkeypatch) == 2  # what was to be linked, and the text
    double.forget()


def test_without_a_folder_all_is_compiled(kernel, double, monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with config.override(cache_dir=str(file / "folder")):
        assert [loaded(kernel, double, monkeypatch) for _ in range(2)] == [1, 1]


def test_many_kernels_are_compiled_by_several_threads(double, monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "_device_kernels", {})
    monkeypatch.setattr(device_kernels, "_functions", {})
    monkeypatch.setattr(device_kernels.backend, "threads", lambda: 3)
    before = double.count("compilations")
    with config.override(cache_dir=str(tmp_path)):
        _rt.plan_cache_clear()
        x = tengen.tensor(np.arange(6, dtype=np.float32).reshape(2, 3), device="gpu0")
        made = F.softmax(F.concat([x @ x.T, x], axis=1), axis=-1)
        plans = [F.sum(x, axis=0), F.argmax(x, axis=1), x.T @ x]
    count = double.count("compilations") - before
    assert len(device_kernels._functions) == count > 4
    want = np.concatenate([x.numpy() @ x.numpy().T, x.numpy()], axis=1)
    want = np.exp(want - want.max(1, keepdims=True))
    np.testing.assert_allclose(made.numpy(), want / want.sum(1, keepdims=True), rtol=1e-5)
    assert [p.shape for p in plans] == [(3,), (2,), (3, 3)]


def test_a_failure_in_a_thread_is_raised(kernel, monkeypatch):
    monkeypatch.setattr(device_kernels.backend, "threads", lambda: 2)
    wrong = [kernel._replace(ptx=kernel.ptx + " " * i, name="other") for i in range(3)]
    with pytest.raises(RuntimeError, match="cuModuleGetFunction"):
        device_kernels.functions_on("gpu0", wrong)
