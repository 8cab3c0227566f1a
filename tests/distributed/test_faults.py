"""Whatever goes wrong in one process is an error, soon, that names it and what it was doing; and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ranks import ended, nothing_left, ranks

import tengen
import tengen.distributed as dist
import tengen.functional as F
from tengen.autodiff import GradManager
from tengen.base.usage import UsageWarning

D = F.distributed


def train(fault, steps=6):
    """Steps of which rank 1 does the fourth otherwise."""
    rank = dist.get_rank()
    w = tengen.Parameter(np.ones((4, 8), np.float32))
    gm = GradManager().attach(w, callbacks=dist.make_allreduce_cb("sum"))
    for step in range(steps):
        x = tengen.tensor(np.ones((3, 4), np.float32))
        if step == 3 and rank == 1:
            x = fault(x) or x
        with gm:
            gm.backward(F.matmul(x, w).sum())
        w.grad = None
        D.all_reduce_sum(x)
    return rank


def kill(x):
    os.kill(os.getpid(), signal.SIGKILL)


def boom(x):
    raise ValueError("boom")


def leave(x):
    sys.exit(3)


def leave_quietly(x):
    sys.exit(0)


def other_shape(x):
    D.all_reduce_sum(x[:2])


def other_dtype(x):
    D.all_reduce_sum(x.astype("float64"))


def other_order(x):
    D.all_gather(x)


def no_gradient(x):
    w = tengen.Parameter([1.0])
    gm = GradManager().attach(w, callbacks=dist.make_allreduce_cb("sum"))
    with gm:
        gm.backward((w * w).sum())


FAULTS = [
    (kill, "^rank 1 was killed by SIGKILL"), (boom, r"^rank 1 raised\n(?s:.)*ValueError: boom$"), (leave, "^rank 1 exited with 3$"),
    (leave_quietly, r"^rank (0|2) raised(?s:.)*DistributedError: #\d+ all_reduce_sum of .*: rank 1 has ended by sys\.exit\(0\)"),
    (other_shape, r"do different things: rank 0: #(\d+) all_reduce_sum of float32\[32\] of gradients .*; rank 1: #\1 all_reduce_sum of float32\[2,"),
    (other_dtype, r"do different things: .*rank 1: #\d+ all_reduce_sum of float64\[3,4\]"),
    (other_order, r"do different things: .*rank 1: #\d+ all_gather of float32\[3,4\]"),
    (no_gradient, r"do different things: .*rank 1: #\d+ broadcast of int64\[1\] of the order of gradients \(\(1,\),\)"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_left():
    with nothing_left():
        yield


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(("fault", "says"), FAULTS, ids=[f.__name__ for f, _ in FAULTS])
def test_it_is_an_error_that_says_who(size, fault, says):
    began = time.monotonic()
    with pytest.raises(dist.WorkerError, match=says):
        ranks(size, train, fault)
    assert time.monotonic() - began < 30  # and not half an hour


def test_one_that_is_stuck():
    def stuck(x):
        time.sleep(60)

    def work():
        tengen.config.distributed_timeout = 1
        train(stuck)

    with pytest.raises(
        dist.WorkerError,
        match=r"#\d+ .*: not all processes came within 1 s: rank 1 is at .*test_faults\.py:\d+ in stuck, after #\d+ ",
    ):
        ranks(2, work)


def test_one_that_is_slow_is_waited_for():
    assert ranks(2, train, lambda x: time.sleep(1.5)) == [0, 1]


def test_one_that_dies_while_nobody_watches():
    """By the world's server alone, as where processes were started by something else."""

    def work():
        if dist.get_rank() == 1:
            dist.get_client()._presence.close()
            time.sleep(60)
        with pytest.raises(dist.DistributedError, match=r"#1 barrier: rank 1 is gone"):
            dist.group_barrier()
        raise ValueError("seen")

    with pytest.raises(dist.WorkerError, match=r"rank 0 raised(?s:.)*ValueError: seen"):
        ranks(2, work)


def test_a_group_that_is_broken_stays_so():
    def work():
        x = tengen.tensor(np.ones(2 + dist.get_rank(), np.float32))
        with pytest.raises(dist.DistributedError, match=r"do different things"):
            D.all_reduce_sum(x)
        with pytest.raises(
            dist.DistributedError, match=r"the group of \[0, 1\] is broken: the processes do different things"
        ):
            D.all_reduce_sum(tengen.tensor([1.0]))
        return "both"

    assert ranks(2, work) == ["both"] * 2


def test_a_process_that_was_forked_from_one():
    def work():
        dist.group_barrier()
        reading, writing = os.pipe()
        if not os.fork():
            try:
                D.all_reduce_sum(tengen.tensor([1.0]))
            except dist.DistributedError as error:
                os.write(writing, str(error).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            return "this process was forked from one of a world" in pipe.read()

    assert ranks(2, work) == [True, True]


def test_leaving_early_when_nobody_waits():
    with pytest.warns(UsageWarning, match=r"rank 1 ended by sys\.exit\(0\)"):
        assert ranks(2, lambda: sys.exit(0) if dist.get_rank() else 5) == [5, None]


def test_restarts(tmp_path):
    """All start anew, and know how often they have."""

    def work():
        count = int(os.environ["TENGEN_RESTART_COUNT"])
        (tmp_path / f"{dist.get_rank()} {count}").touch()
        dist.group_barrier()
        if count < 2:
            kill(None) if dist.get_rank() else time.sleep(60)
        return count

    with pytest.warns(UsageWarning, match=r"rank 1 was killed by SIGKILL.* all processes are restarted"):
        assert ranks(2, work, max_restarts=2) == [2, 2]
    assert len(list(tmp_path.iterdir())) == 6
    with pytest.raises(dist.WorkerError, match="boom"), pytest.warns(UsageWarning, match="boom"):
        ranks(2, boom, None, max_restarts=1)


PROGRAM = """
import os, time
import tengen, tengen.distributed as dist

@dist.launcher(n_gpus=2)
def work():
    x = tengen.tensor([1.0])
    dist.functional.all_reduce_sum(x)
    os.write(1, f"{os.getpid()}\\n".encode())  # at once, where a print may be two writes
    while True:
        dist.functional.all_reduce_sum(x)

work()
"""


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_the_launcher_is_interrupted(sent):
    """Ctrl-C goes to all processes of a terminal, or to the launcher alone; SIGTERM to that."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with ended(program):
        workers = [int(program.stdout.readline()) for _ in range(2)]
        program.send_signal(sent)
        _, errors = program.communicate(timeout=30)
    assert program.returncode != 0
    if sent == signal.SIGINT:
        assert errors.rstrip().endswith("KeyboardInterrupt")
    until = time.monotonic() + 10
    while any(map(is_alive, workers)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(map(is_alive, workers))
