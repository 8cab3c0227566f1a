"""The launcher: results come back, and whatever becomes of a process is an error that says so."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback

import numpy as np
import pytest
from ranks import ended

import tengen
import tengen.distributed as dist
import tengen.functional as F
import tengen.module as M
from tengen.autodiff import GradManager
from tengen.base.usage import UsageWarning
from tengen.optimizer import SGD


def test_the_result_comes_back():
    @dist.launcher
    def work(a, *, b):
        """What it does."""
        return os.getpid(), a + b, dist.get_rank(), dist.get_world_size(), dist.is_distributed()

    assert (work.__name__, work.__doc__) == ("work", "What it does.")
    ((pid, total, *where),) = work(1, b=2)
    assert pid != os.getpid() and total == 3 and where == [0, 1, True]
    assert not dist.is_distributed()


@pytest.mark.parametrize("make", [
    lambda f: dist.launcher(f), lambda f: dist.launcher(n_gpus=1)(f), lambda f: dist.launcher(f, n_gpus=1, world_size=1),
    lambda f: dist.launcher(f, 1, 1, 0, "localhost", dist.get_free_ports(1)[0], "cpu", "nccl"),
])  # fmt: skip
def test_ways_to_say_it(make):
    assert make(lambda x: x * 2)(3) == [6]


def test_methods():
    class Trainer:
        rate = 3

        @dist.launcher
        def run(self, x):
            return self.rate * x

    assert Trainer().run(2) == [6]


def test_large_results_and_tensors():
    big = np.arange(1 << 20, dtype=np.float32)
    ((found, tensor, nothing),) = dist.launcher(lambda: (big, tengen.tensor(big[:3]), None))()
    assert (found == big).all() and tensor.tolist() == [0.0, 1.0, 2.0] and nothing is None


class Waiting:
    """Garbage in a cycle, such as a pool that waits for its threads when it is freed; it notes who frees it."""

    def __init__(self, freed):
        self.itself, self.freed, self.maker = self, freed, os.getpid()

    def __del__(self):
        if os.getpid() != self.maker:
            self.freed.touch()


def test_a_process_frees_nothing_of_the_one_that_started_it(tmp_path):
    gc.disable()
    try:
        Waiting(tmp_path / "freed")
        assert dist.launcher(lambda: gc.collect() >= 0, n_gpus=1)() == [True]
    finally:
        gc.enable()
    assert not (tmp_path / "freed").exists()


def test_training_is_that_of_this_process():
    def train():
        rng = np.random.default_rng(0)
        net = M.Linear(4, 3)
        for p in net.parameters():
            p[...] = rng.standard_normal(p.shape).astype(np.float32)
        if dist.is_distributed():
            dist.bcast_list_(net.tensors())
        callbacks = [dist.make_allreduce_cb("mean")] if dist.is_distributed() else []
        gm, opt = GradManager().attach(net.parameters(), callbacks=callbacks), SGD(net.parameters(), lr=0.1)
        x, y = tengen.tensor(rng.standard_normal((8, 4)).astype(np.float32)), tengen.tensor([0, 1, 2, 0, 1, 2, 0, 1])
        losses = []
        for _ in range(3):
            with gm:
                loss = F.nn.cross_entropy(net(x), y)
                gm.backward(loss)
            opt.step().clear_grad()
            losses.append(float(dist.functional.all_reduce_sum(loss) if dist.is_distributed() else loss))
        return losses

    assert dist.launcher(train)() == [train()]


def fault(how):
    if how == "raise":
        raise ValueError("boom")
    if how == "tengen":
        F.matmul(tengen.tensor([[1.0]]), tengen.tensor([[1.0, 2.0]] * 3))
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "signal":
        os.kill(os.getpid(), signal.SIGUSR1)
    if how == "exit":
        sys.exit(3)
    if how == "_exit":
        os._exit(4)
    if how == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    if how == "result":
        return threading.Lock()
    return None


@pytest.mark.parametrize(("how", "says"), [
    ("raise", r"rank 0 raised\nTraceback (?s:.)*raise ValueError\(\"boom\"\)(?s:.)*\nValueError: boom$"),
    ("tengen", r"rank 0 raised\nTraceback (?s:.)*F\.matmul(?s:.)*\nValueError: matmul: shapes"),
    ("kill", r"^rank 0 was killed by SIGKILL; if the system killed it for want of memory"),
    ("signal", r"^rank 0 was killed by SIGUSR1$"), ("exit", r"^rank 0 exited with 3$"), ("_exit", r"^rank 0 exited with 4$"),
    ("interrupt", r"rank 0 raised\n(?s:.)*KeyboardInterrupt"), ("result", r"TypeError: launcher: the result cannot be sent .*pickle"),
])  # fmt: skip
def test_a_process_that_ends_badly(how, says):
    began = time.monotonic()
    with pytest.raises(dist.WorkerError, match=says) as caught:
        dist.launcher(fault)(how)
    assert caught.value.rank == 0 and time.monotonic() - began < 10
    assert isinstance(caught.value, RuntimeError)


def test_tracebacks_show_the_program_only():
    with pytest.raises(dist.WorkerError) as caught:
        dist.launcher(fault)("tengen")
    assert "/distributed/launcher.py" not in str(caught.value)
    frames = [f.filename for f in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[0] == __file__ and len(frames) == 2  # and the line of the launcher that was called


def test_leaving_early():
    with pytest.warns(UsageWarning, match=r"rank 0 ended by sys\.exit\(0\)"):
        assert dist.launcher(lambda: sys.exit(0))() == [None]
    with pytest.warns(UsageWarning, match="rank 0 ended"):
        assert dist.launcher(lambda: sys.exit())() == [None]


def test_it_starts_anew_each_time():
    work = dist.launcher(fault)
    for _ in range(2):
        with pytest.raises(dist.WorkerError, match="boom"):
            work("raise")
        assert work("nothing") == [None]


def test_the_function_may_have_processes_of_its_own():
    def work():
        return subprocess.run([sys.executable, "-c", "print(7)"], capture_output=True, text=True).stdout

    def nested():
        tengen.base.world.enter(None)
        return dist.launcher(lambda: 5)()

    assert dist.launcher(work)() == ["7\n"]
    assert dist.launcher(nested)() == [[5]]


@pytest.mark.parametrize(("options", "error", "says"), [
    ({"n_gpus": 0}, ValueError, "are not those of a world of 0"), ({"n_gpus": 2, "world_size": 1}, ValueError, "a world of 1"),
    ({"rank_start": -1}, ValueError, "ranks -1 to -1"), 
    ({"rank_start": 1, "world_size": 2}, ValueError, "needs the port of the server"), ({"rank_start": 1}, ValueError, "ranks 1 to 1"),
    ({"backend": "foo"}, ValueError, "the backend must be one of"),
])  # fmt: skip
def test_no_such_world(options, error, says):
    with pytest.raises(error, match=says):
        dist.launcher(fault, **options)


def test_what_is_no_function():
    with pytest.raises(TypeError, match="launcher takes a function, got int"):
        dist.launcher(3)


PROGRAM = """
import os, sys, time
import tengen.distributed as dist

@dist.launcher
def work():
    print(os.getpid(), flush=True)
    time.sleep(60)

work()
"""


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nobody_is_left_behind(sent):
    """Ctrl-C ends both; and a process whose parent is no more ends as well."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with ended(program):
        child = int(program.stdout.readline())
        program.send_signal(sent)
        _, errors = program.communicate(timeout=20)
    assert program.returncode != 0
    if sent == signal.SIGINT:
        assert errors.rstrip().endswith("KeyboardInterrupt")
    until = time.monotonic() + 10
    while is_alive(child) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_alive(child)


def test_worker_errors_are_ordinary_exceptions():
    error = dist.WorkerError(3, "rank 3 raised")
    assert (error.rank, str(error)) == (3, "rank 3 raised")
    assert pickle.loads(pickle.dumps(error)).rank == 3
