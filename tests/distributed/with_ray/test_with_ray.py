"""Actors of a Ray cluster as one world: two nodes, both of them on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ranks import nothing_left
from ray.cluster_utils import Cluster

import tengen
import tengen.distributed as dist
from tengen.base import config
from tengen.base.usage import UsageWarning
from tengen.distributed.ray import _cluster, _compare

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Two CPUs on one node, and one on another."""
    found = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False, "resources": {"head": 9}}
    )
    found.add_node(num_cpus=1)
    ray.init(address=found.address, logging_level="error", log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # actors do not find the tests
    yield
    ray.shutdown()
    found.shutdown()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def assert_gone(pids: list[int]) -> None:
    until = time.monotonic() + 20
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in pids if is_alive(pid)]


def test_two_nodes_are_one_world(tmp_path):
    def train(x):
        (tmp_path / str(dist.get_rank())).write_text(str(os.getpid()))
        total = dist.functional.all_reduce_sum(tengen.tensor([x + dist.get_rank()]))
        node, device = ray.get_runtime_context().get_node_id(), tengen.get_default_device()
        return dist.get_rank(), dist.get_world_size(), total, node, device, tengen.config.num_threads

    with nothing_left():
        found = dist.ray.run(train, 1.0, workers=3)
    assert [row[:2] for row in found] == [(0, 3), (1, 3), (2, 3)]
    assert [row[2].item() for row in found] == [6.0] * 3
    nodes = [row[3] for row in found]
    assert len(set(nodes)) == 2 and nodes[1] in (nodes[0], nodes[2])  # those of one node are next to each other
    assert [row[4] for row in found] == [f"xpu{nodes[:rank].count(nodes[rank])}" for rank in range(3)]
    assert [row[5] for row in found] == [1, 1, 1]
    assert_gone([int((tmp_path / str(rank)).read_text()) for rank in range(3)])


def test_a_killed_actor_and_the_last_checkpoint(tmp_path):
    @dist.launcher(n_gpus=7)  # what says how a function starts elsewhere does not matter here
    def train(folder):
        first, total = 0, tengen.tensor([0.0])
        if found := dist.checkpoint.load(folder):
            first, total = found.step, found.state["total"]
        for step in range(first, 4):
            if step == 2 and dist.get_rank() == 1 and os.environ["TENGEN_RESTART_COUNT"] == "0":
                os.kill(os.getpid(), signal.SIGKILL)
            total = total + dist.functional.all_reduce_sum(tengen.tensor([1.0 + step]))
            dist.checkpoint.save(folder, step + 1, {"total": total})
        return first, total.item()

    with nothing_left(), pytest.warns(UsageWarning, match=r"rank 1 died: .*; all processes are restarted \(1 of 1"):
        found = dist.ray.run(train, str(tmp_path), workers=2, max_restarts=1)
    assert found == [(2, 20.0)] * 2


def fault(how):
    dist.group_barrier()
    if dist.get_rank() == 1:
        if how == "raise":
            raise ValueError("boom")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "result":
            return ray
        sys.exit(3 if how == "exit" else 0)
    if how == "early":
        return 7
    dist.group_barrier()


@pytest.mark.parametrize(("how", "says"), [
    ("raise", r"^rank 1 raised\nTraceback (?s:.)*raise ValueError\(\"boom\"\)(?s:.)*\nValueError: boom$"),
    ("kill", r"^rank 1 died: ActorDiedError: .*died"), ("exit", r"^rank 1 exited with 3$"),
])  # fmt: skip
def test_an_actor_that_ends_badly(how, says):
    with nothing_left(), pytest.raises(dist.WorkerError, match=says) as caught:
        dist.ray.run(fault, how, workers=2)
    assert caught.value.rank == 1 and "/distributed/launcher.py" not in str(caught.value)


def test_leaving_early():
    with pytest.warns(UsageWarning, match=r"distributed\.ray\.run: rank 1 ended by sys\.exit\(0\)"):
        assert dist.ray.run(fault, "early", workers=2, resources={"CPU": 0.5, "head": 1}) == [7, None]


def test_a_result_that_cannot_be_sent():
    import threading

    with pytest.raises(
        dist.WorkerError, match=r"rank 0 raised\n(?s:.)*TypeError: distributed\.ray\.run: the result cannot be sent"
    ):
        dist.ray.run(lambda: threading.Lock())


def test_a_cluster_without_room():
    with (
        config.override(distributed_timeout=1),
        pytest.warns(UsageWarning, match="want 2 × 4 CPU, where there is 3, and wait until"),
        pytest.raises(RuntimeError, match=r"no room for 2 × \{'CPU': 4\.0\} within 1 s; free are \{.*'CPU': 3"),
    ):
        dist.ray.run(fault, "fine", workers=2, resources={"CPU": 4})
    with pytest.raises(ValueError, match="want 9 × 1 magic, where there is 0; ask for fewer workers"):
        _compare(ray, 9, {"magic": 1.0}, own=True)


def test_from_outside(monkeypatch):
    monkeypatch.setattr(ray.util.client.ray, "is_connected", lambda: True)
    with pytest.raises(RuntimeError, match="connected to Ray by ray:// from outside of the cluster"), _cluster(ray):
        pass


PROGRAM = """
import os, sys, time
import tengen.distributed as dist

def train(seconds):
    print("loss", dist.get_rank() + 0.5, os.getpid(), os.getppid(), flush=True)
    dist.group_barrier()
    time.sleep(seconds)

if __name__ == "__main__":
    dist.ray.run(train, float(sys.argv[1]), workers=2, resources={"CPU": 0.5})
    print("done", flush=True)
"""


@pytest.mark.parametrize("interrupted", [False, True], ids=["fine", "Ctrl-C"])
def test_a_program_with_a_cluster_of_its_own(tmp_path, interrupted):
    """What all processes print comes here behind their rank; and nobody is left."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    command = [sys.executable, "-u", str(path), "1000" if interrupted else "0"]
    env = {**os.environ, "RAY_ADDRESS": "local"}
    with nothing_left(), subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=env) as program:
        lines = sorted(line for _ in range(2) if (line := program.stdout.readline()))
        if interrupted:
            program.send_signal(signal.SIGINT)
        rest, errors = program.communicate(timeout=120)
    assert [line.count(f"(rank {rank} pid=") and f"loss {rank}.5" in line for rank, line in enumerate(lines)] == [
        1,
        1,
    ], errors
    assert (program.returncode, rest) == ((0, "done\n") if not interrupted else (-signal.SIGINT, "")), errors
    assert not interrupted or errors.rstrip().endswith("KeyboardInterrupt")
    assert_gone([int(pid) for line in lines for pid in line.split()[-2:]])
