"""The helper: a second process that compiles kernels, which nothing depends on and which outlives nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tengen
import tengen.functional as F
from tengen import Parameter, Tensor, compiler
from tengen.autodiff import GradManager
from tengen.base import config
from tengen.compiler import backend, begin_plan, cache, compile_program, helper, obtain_plan
from tengen.compiler.program import Builder, Type
from tengen.compiler.view import contiguous
from tengen.core import build
from tengen.core.ops.elemwise import Elemwise
from tengen.core.ops.linalg import MatMul

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="files without a name, as Linux has them")

rng = np.random.default_rng(0)

MANY = """
import os, sys, time
import tengen
from tengen.compiler import backend, compile_program, helper
from tengen.compiler.program import Builder, Type
from tengen.core.ops.elemwise import Elemwise

def program(kernels):
    # its Plan has so many kernels
    builder = Builder()
    modes = "ABS NEGATE RELU FLOOR CEIL ROUND SQRT SQUARE ADD SUB MUL TRUE_DIV MAX MIN GT LT EQ".split()
    outputs = []
    for number, mode in enumerate(modes[:kernels]):
        x = builder.input(Type("float32", (3 + number,)))
        op = Elemwise(mode)
        outputs.append(op(x, x * 2) if number >= modes.index("ADD") else op(x))
    return builder.finish(outputs)

def pid():
    running = helper._running
    return running.process.pid if running else None

helper.IDLE = 1000.0
compile_program(program({kernels}))
print(pid(), flush=True)
"""
WAIT = "time.sleep(1000)"


def started(
    folder: Path, more: str = "", kernels: int = 12, before: str = "", **settings: str
) -> subprocess.Popen[str]:
    """A process that compiles kernels into the folder, prints the number of its helper, and does something more."""
    env = {
        **os.environ,
        "TENGEN_CACHE_DIR": str(folder),
        "TENGEN_NUM_THREADS": "2",
        "TENGEN_COMPILE_NOTICE": "0",
        **settings,
    }
    program = before + MANY.replace("{kernels}", str(kernels)) + more
    return subprocess.Popen(
        [sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def helper_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline().strip()
    if not line.isdigit():
        process.kill()
    assert line.isdigit(), line + process.stderr.read()
    return int(line)


def finished(process: subprocess.Popen[str]) -> list[str]:
    """What a process prints, once it has ended well."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err == ""
    return out.split("\n")[:-1]


def ends(pid: int, tries: int = 500) -> bool:
    """Whether the process ends within a short time."""
    for _ in range(tries):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":  # whoever adopted it has not looked yet
            return True
        time.sleep(0.02)
    return False


def entries(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if len(path.name) == 64}


def test_kernels_are_the_same_with_and_without_it(tmp_path):
    helped, alone = tmp_path / "helped", tmp_path / "alone"
    (pid,) = finished(started(helped))
    assert ends(int(pid))
    assert finished(started(alone, TENGEN_NUM_THREADS="1")) == ["None"]
    assert len(entries(alone)) == 12
    assert entries(helped) == entries(alone)


def test_it_compiles(tmp_path):
    """This process compiles nothing while the helper is told of kernels."""
    more = """
from tengen.compiler.view import contiguous
made = program(15)
target, cache = backend.host.host_target(), backend.cache
begun = backend.pipeline.begun(made, [contiguous(v.shape) for v in made.inputs], target)
cache.expect_kernels(begun.scheduler.sources, target)
names = [cache.kernel_name(source, target) for source in begun.scheduler.sources]
while not all(map(cache.has, names)):
    time.sleep(0.01)
print("done")
"""
    assert finished(started(tmp_path, more))[1] == "done"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_a_process_that_is_killed(tmp_path, end):
    process = started(tmp_path, WAIT)
    pid = helper_of(process)
    assert os.getsid(pid) == pid  # Ctrl-C in a terminal does not reach it
    os.kill(process.pid, end)
    process.communicate(timeout=60)
    assert ends(pid)


def test_it_ends_when_the_process_becomes_another_program(tmp_path):
    process = started(tmp_path, 'os.execv("/bin/sleep", ["sleep", "1000"])')
    pid = helper_of(process)
    assert ends(pid)
    process.kill()
    process.communicate()


def test_a_forked_process_does_not_keep_it(tmp_path):
    more = """
if child := os.fork():
    print(child, flush=True)
else:
    assert pid() is None
time.sleep(1000)
"""
    process = started(tmp_path, more)
    pid = helper_of(process)
    child = helper_of(process)
    process.kill()
    process.wait()
    try:
        assert ends(pid)
        assert not ends(child, tries=10)
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate()


def test_its_death_costs_only_time(tmp_path):
    more = """
import signal
os.kill(pid(), signal.SIGKILL)
compile_program(program(15))
print(len(os.listdir(os.environ["TENGEN_CACHE_DIR"])))
"""
    _, kept = finished(started(tmp_path, more))
    assert int(kept) >= 15


def test_a_helper_that_hangs_is_not_waited_for_long(tmp_path):
    more = """
import signal
os.kill(pid(), signal.SIGSTOP)
helper.PATIENCE = 0.1
compile_program(program(15))
print("done")
"""
    assert finished(started(tmp_path, more))[1] == "done"


def test_few_kernels_start_none(tmp_path):
    assert finished(started(tmp_path, kernels=4)) == ["None"]


def test_more_cores_have_more(tmp_path):
    more = "print(*[process.pid for process in helper._running.others])"
    first, others = finished(started(tmp_path, more, kernels=17, TENGEN_NUM_THREADS="4"))
    pids = [int(first), *map(int, others.split())]
    assert len(pids) == 2 and all(map(ends, pids))
    assert len(entries(tmp_path)) == 17


def test_one_for_a_folder(tmp_path):
    first = started(tmp_path, WAIT)
    pid = helper_of(first)
    for path in entries(tmp_path):
        (tmp_path / path).unlink()
    assert finished(started(tmp_path)) == ["None"]
    first.kill()
    first.communicate()
    assert ends(pid)


@pytest.mark.parametrize("python", ["None", "'/usr/bin/blender'", "'/nowhere/python3'"])
def test_without_a_python_there_is_none(tmp_path, python):
    assert finished(started(tmp_path, before=f"import sys; sys.executable = {python}\n")) == ["None"]


def test_without_a_folder_there_is_none(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    assert finished(started(file / "folder")) == ["None"]


def test_the_program_of_the_user_runs_once(tmp_path):
    script = tmp_path / "script.py"
    count = tmp_path / "count"
    before = f"open({str(count)!r}, 'a').write('x')\n"
    script.write_text(before + MANY.replace("{kernels}", "12") + "time.sleep(1)")
    env = {**os.environ, "TENGEN_CACHE_DIR": str(tmp_path / "kernels"), "TENGEN_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.strip().isdigit(), done.stderr
    assert count.read_text() == "x"


def test_a_daemonic_process_has_one(tmp_path):
    script = tmp_path / "script.py"
    body = "\n".join("    " + line for line in MANY.replace("{kernels}", "12").strip().split("\n"))
    script.write_text(
        f"import multiprocessing\ndef work():\n{body}\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=work, daemon=True)\n"
        "    process.start(); process.join(); assert process.exitcode == 0\n"
    )
    env = {**os.environ, "TENGEN_CACHE_DIR": str(tmp_path / "kernels"), "TENGEN_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert ends(int(done.stdout))


# -- what it is told of beforehand -------------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch, tmp_path):
    """The kernels that a helper would be told of, in a process that has compiled many and keeps them in a folder of its own."""
    found: dict[str, object] = {}
    monkeypatch.setattr(helper, "tell", lambda sources, target: found.update(sources))
    monkeypatch.setattr(backend, "missed", 1000)
    monkeypatch.setattr(cache, "_addresses", {})
    with config.override(cache_dir=str(tmp_path)):
        tengen._rt.plan_cache_clear()
        yield found
    tengen._rt.plan_cache_clear()


def test_a_plan_that_was_begun_is_the_plan(told):
    types = [Type("float32", (70, 50)), Type("float32", (50, 90))]
    builder = Builder()
    x, y = map(builder.input, types)
    made = builder.finish([Elemwise("RELU")(MatMul()(x, y)), x * 2])
    views = [contiguous(v.shape) for v in made.inputs]
    begin_plan(made, views)
    assert told
    assert len(compiler._begun) == 1
    plan = obtain_plan(made, views, "test")
    assert not compiler._begun
    assert plan._replace(stages=()) == compile_program(made, views)._replace(stages=())


def test_the_backward_is_begun_with_the_forward(told):
    x, w = Tensor(rng.standard_normal((13, 7))), Parameter(rng.standard_normal((5, 7)))
    with GradManager().attach([w]) as manager:
        y = F.linear(x, w)
        assert len(compiler._begun) == 1
        begun = set(told)
        assert begun
        manager.backward(y, Tensor(np.ones((13, 5), np.float32)))
    assert not compiler._begun
    assert begun <= set(cache._addresses)
    np.testing.assert_allclose(w.grad.numpy(), np.ones((5, 13)) @ x.numpy().astype(np.float64), rtol=1e-5, atol=1e-5)


def test_an_error_of_the_planner_waits_for_the_backward(told, monkeypatch):
    def fail(*_):
        raise RuntimeError("cannot be planned")

    x = Parameter(rng.standard_normal((3, 11)))
    with GradManager().attach([x]) as manager:
        with monkeypatch.context() as patched:
            patched.setattr(build, "begin_plan", fail)
            y = F.sin(x).sum()
        manager.backward(y)
    np.testing.assert_allclose(x.grad.numpy(), np.cos(x.numpy().astype(np.float64)), rtol=1e-5, atol=1e-6)


# -- the line on stderr ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("silenced", [False, True])
def test_one_line_says_that_compiling_takes_long(tmp_path, silenced):
    before = "import tengen.compiler.notice as notice\nnotice.LONG = 0.0\n"
    process = started(tmp_path, before=before, TENGEN_COMPILE_NOTICE="01"[not silenced])
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    lines = err.splitlines()
    assert len(lines) == (not silenced)
    for line in lines:
        assert (
            "compiling for this machine, 1 kernels in" in line
            and str(tmp_path) in line
            and "TENGEN_COMPILE_NOTICE=0" in line
        )
