"""Ctrl-C, signal handlers, threads and forks that come at a bad moment."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import Tensor
from tengen.autodiff import Function, GradManager
from tengen.jit import trace
from tengen.optimizer import Adam

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and forks as Linux has them")


# -- Ctrl-C reaches the user -----------------------------------------------------------------------------------


class Double(Function):
    def forward(self, x):
        return x * 2

    def backward(self, grad):
        return grad * 2


def everything():
    """Objects of all kinds that refer to each other weakly, or are referred to so."""
    net = M.Sequential(M.Linear(3, 4), M.BatchNorm1d(4), M.Dropout(0.5), M.Linear(4, 2))
    manager, optimizer = GradManager().attach(net.parameters()), Adam(net.parameters(), 0.1)

    def step(x):
        with manager:
            loss = (Double()(net(x)) ** 1.25).sum() + F.pad(x, ((0, 0), (5, 7))).mean()
            manager.backward(loss)
        optimizer.step().clear_grad()
        return loss

    traced, alone = trace(step), trace(lambda x: net(x) * 3.5, without_host=True)
    x = Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]])
    for _ in range(2):
        traced(x), alone(x), step(x)
    return [net, manager, optimizer, step, traced, alone, x]


def test_no_python_runs_where_ctrl_c_would_be_swallowed():
    """Callbacks of weak references, and destructors, are called in the middle of anything, and what they raise is only printed."""
    kept = everything()
    called = []

    def note(frame, event, _):
        if event == "call":
            called.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")

    gc.collect()
    tengen._rt.plan_cache_clear()
    others = gc.callbacks[:]  # such as that of hypothesis
    gc.callbacks.clear()
    gc.disable()
    sys.setprofile(note)
    try:
        kept.clear()
        gc.collect()
    finally:
        sys.setprofile(None)
        gc.enable()
        gc.callbacks[:] = others
    assert called == []


# -- bad moments -----------------------------------------------------------------------------------------------

# Each runs in a process of its own with an empty cache. `at(name, act)` has `act` called when that module is about to be imported.
BEFORE = """
import _thread, faulthandler, os, signal, sys, threading, time
import tengen, tengen.functional as F
x = tengen.tensor([1.0, 2.0])
results = []
faulthandler.dump_traceback_later(60, exit=True)

class Hook:
    acts = {}
    def find_spec(self, name, path=None, target=None):
        act = self.acts.pop(name, None)
        if act:
            act()
sys.meta_path.insert(0, Hook())

def at(name, act):
    Hook.acts["tengen.compiler." + name] = act

def handler(*_):
    try:
        results.append(F.exp(x).tolist())
    except BaseException as error:
        results.append(error)

def in_handler():
    os.kill(os.getpid(), signal.SIGALRM)
    time.sleep(0.05)
signal.signal(signal.SIGALRM, handler)

def child_computes():
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        try:
            assert abs(F.cos(x).tolist()[0] - 0.5403) < 1e-3
            assert tengen.random.uniform(size=3).numpy().size == 3
            a = F.ones((300, 300))
            assert F.matmul(a, a)[0, 0].item() == 300
        except BaseException as error:
            print("child:", repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0

def paused(function, entered):
    def run(*args):
        entered.set()
        time.sleep(0.3)
        return function(*args)
    return run
"""

MODULES = ["plan_store", "targets.host", "schedule.driver", "passes"]


def run(code, cache):
    environment = {"TENGEN_CACHE_DIR": str(cache), "PATH": "", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + code], capture_output=True, text=True, env=environment, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.parametrize("module", MODULES)
def test_an_op_in_a_signal_handler_during_the_first_import(tmp_path, module):
    code = f"""
at({module!r}, in_handler)
F.sin(x)
assert abs(results[0][0] - 2.718) < 1e-3, results
assert abs(F.exp(x).tolist()[0] - 2.718) < 1e-3
"""
    run(code, tmp_path)


@pytest.mark.parametrize("module", ["targets.host", "schedule.driver"])
def test_ctrl_c_during_the_first_import(tmp_path, module):
    code = f"""
at({module!r}, lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(0.05)))
try:
    F.sin(x)
    sys.exit("nothing was raised")
except KeyboardInterrupt:
    pass
assert abs(F.sin(x).tolist()[0] - 0.8415) < 1e-3
"""
    run(code, tmp_path)


@pytest.mark.parametrize("module", MODULES)
def test_a_fork_during_the_first_import(tmp_path, module):
    code = f"""
entered = threading.Event()
at({module!r}, lambda: (entered.set(), time.sleep(0.3)))
thread = threading.Thread(target=lambda: results.append(F.sin(x).tolist()))
thread.start()
entered.wait()
child_computes()
thread.join()
assert abs(results[0][0] - 0.8415) < 1e-3
"""
    run(code, tmp_path)


def test_threads_that_all_come_first(tmp_path):
    code = """
barrier = threading.Barrier(8)
def work(op):
    barrier.wait()
    try:
        results.append(op(x).numpy().shape)
    except BaseException as error:
        results.append(error)
ops = [F.sin, F.exp, F.softmax, F.sum, lambda x: F.matmul(x, x), F.relu, lambda x: x + x, lambda x: F.cumsum(x, 0)]
threads = [threading.Thread(target=work, args=[op]) for op in ops]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert sorted(results) == [()] * 2 + [(2,)] * 6, results
"""
    run(code, tmp_path)


@pytest.mark.parametrize("place", ["cache.write", "host.compile_object", "plan_store.find"])
@pytest.mark.parametrize("what", ["handler", "fork"])
def test_while_an_op_is_compiled(tmp_path, place, what):
    module, function = place.split(".")
    package = "tengen.compiler.targets" if module == "host" else "tengen.compiler"
    start = f"F.sin(x)\nfrom {package} import {module} as module\nfunction = module.{function}\n"
    if what == "handler":
        code = f"""
def interrupted(*args):
    module.{function} = function
    in_handler()
    return function(*args)
module.{function} = interrupted
assert abs(F.tan(x).tolist()[0] - 1.5574) < 1e-3
assert abs(results[0][0] - 2.718) < 1e-3, results
"""
    else:
        code = f"""
entered = threading.Event()
module.{function} = paused(function, entered)
thread = threading.Thread(target=lambda: results.append(F.tan(x).tolist()))
thread.start()
entered.wait()
child_computes()
thread.join()
assert abs(results[0][0] - 1.5574) < 1e-3, results
"""
    run(start + code, tmp_path)


def test_a_fork_while_random_numbers_are_drawn_and_kernels_run(tmp_path):
    code = """
from tengen.random import rng
a, stop, entered = F.ones((400, 400)), [], threading.Event()
def compute():
    while not stop:
        F.matmul(a, a)
def draw():
    while not stop:
        with rng._lock:
            entered.set()
            time.sleep(0.02)
threads = [threading.Thread(target=compute), threading.Thread(target=draw)]
for thread in threads: thread.start()
entered.wait()
for _ in range(4): child_computes()
stop.append(True)
for thread in threads: thread.join()
"""
    run(code, tmp_path)


def test_a_handler_that_draws_random_numbers(tmp_path):
    code = """
from tengen.random import rng
signal.signal(signal.SIGALRM, lambda *_: results.append(tengen.random.uniform(size=2).numpy().shape))
with rng._lock:
    in_handler()
assert results == [(2,)]
"""
    run(code, tmp_path)
