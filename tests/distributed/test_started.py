"""Scripts that mpiexec or tengen-run starts: they are in their world at once, and whatever ends one ends all."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ranks import nothing_left

SCRIPT = """
import os, signal, subprocess, sys, time
import tengen
import tengen.distributed as dist

rank, how = dist.get_rank(), sys.argv[1]
x = tengen.tensor([1.0 + rank])
total = dist.functional.all_reduce_sum(x).item()
if rank == 1 and how == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if rank == 1 and how == "raise":
    raise ValueError("boom")
if rank == 1 and how == "exit":
    sys.exit(3)
if rank == 1 and how == "leave":
    sys.exit(0)
if how == "fine":
    @dist.launcher(n_gpus=7)
    def work(name):
        return name, dist.get_world_size()

    other = "import tengen.distributed as d; print(d.is_distributed())"
    child = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True).stdout.strip()
    dist.get_client().user_set(f"rank {rank}", rank)
    told = dist.get_client().user_get(f"rank {1 - rank}")
    sys.stdout.write(f"{rank} {dist.get_world_size()} {total} {work('w')} {child} {told} {sys.argv[2:]}\\n")
else:
    dist.functional.all_reduce_sum(x)
"""
RUN = [sys.executable, "-c", "from tengen.distributed.run import main; raise SystemExit(main())", "--nproc", "2"]
MPIEXEC = [str(Path(sys.executable).with_name("mpiexec")), "-n", "2", sys.executable]
LIKE_SRUN = [sys.executable, str(Path(__file__).with_name("like_srun.py"))]
SRUN = [*LIKE_SRUN, "1", "2", sys.executable]
STARTERS = pytest.mark.parametrize("starter", [RUN, MPIEXEC, SRUN], ids=["tengen-run", "mpiexec", "srun"])


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return str(path)


def start(*command: str) -> subprocess.CompletedProcess[str]:
    with nothing_left():
        return subprocess.run(command, capture_output=True, text=True, timeout=60)


@STARTERS
def test_they_are_in_their_world(starter, script):
    done = start(*starter, script, "fine", "--nproc", "3")
    assert done.returncode == 0, done.stderr
    rest = "2 3.0 [('w', 2)] False"
    assert sorted(done.stdout.splitlines()) == [f"{r} {rest} {1 - r} ['--nproc', '3']" for r in range(2)]


@STARTERS
@pytest.mark.parametrize(("how", "status", "says"), [
    ("kill", 137, "rank 1 was killed by SIGKILL"), ("raise", 1, "ValueError: boom"), ("exit", 3, "rank 1 exited with 3"),
    ("leave", 1, "DistributedError: #2 all_reduce_sum of float32[1]: rank 1 has ended"),
])  # fmt: skip
def test_what_ends_one_ends_all(starter, script, how, status, says):
    began = time.monotonic()
    done = start(*starter, script, how)
    assert time.monotonic() - began < 30
    assert done.returncode != 0
    if starter is RUN or how == "leave":
        assert done.returncode == status and says in done.stderr


def test_restarts(tmp_path):
    path = tmp_path / "again.py"
    path.write_text(
        "import os, sys, tengen.distributed as dist\n"
        "dist.group_barrier()\n"
        "count = int(os.environ['TENGEN_RESTART_COUNT'])\n"
        "sys.stdout.write(f'{dist.get_rank()} {count}\\n')\n"
        "sys.exit(5 if dist.get_rank() == 1 and count < 1 else 0)\n"
    )
    done = start(*RUN, "--max-restarts", "1", str(path))
    assert done.returncode == 0, done.stderr
    assert "tengen-run: rank 1 exited with 5; all processes are restarted (1 of 1 times)" in done.stderr
    assert {"0 1", "1 1"} <= set(done.stdout.splitlines())


def test_modules_and_one_process(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import sys, tengen.distributed as dist\nprint(dist.get_world_size(), sys.argv[1:])\n"
    )
    command = [*RUN[:-1], "1", "-m", "mine", "a"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "1 ['a']\n"), done.stderr


NODES = """
import os, socket, sys
if os.environ["HOST"]:
    socket.gethostname = lambda: os.environ["HOST"]
import tengen
import tengen.distributed as dist
from mpi4py import MPI

beside = MPI.COMM_WORLD.Split_type(MPI.COMM_TYPE_SHARED).size
total = dist.functional.all_reduce_sum(tengen.tensor([1.0 + dist.get_rank()] * 5000))[-1].item()
where = dist.get_py_server_addr()[0], str(tengen.get_default_device())
sys.stdout.write(f"{dist.get_rank()} {dist.get_world_size()} {total} beside {beside} {where} {tengen.config.num_threads}\\n")
"""


@pytest.mark.parametrize("nodes", [1, 2])
def test_srun_on_several_nodes(tmp_path, monkeypatch, nodes):
    """Those of one node share memory, and cores; others reach each other over the network."""
    monkeypatch.delenv("TENGEN_NUM_THREADS", raising=False)  # which the tests set for themselves
    path = tmp_path / "nodes.py"
    path.write_text(NODES)
    done = start(*LIKE_SRUN, str(nodes), "4", sys.executable, str(path))
    assert done.returncode == 0, done.stderr
    beside = 4 // nodes
    threads = max(1, len(os.sched_getaffinity(0)) // beside)
    assert sorted(done.stdout.splitlines()) == [
        f"{r} 4 10.0 beside {beside} ('127.0.0.1', 'xpu{r % beside}') {threads}" for r in range(4)
    ]


def test_mpiexec_on_several_nodes(tmp_path):
    """The first process says at which address the others find it."""
    path = tmp_path / "nodes.py"
    path.write_text("import os\nos.environ['HOST'] = f\"127.0.0.{1 + int(os.environ['PMI_RANK'])}\"\n" + NODES)
    done = start(*MPIEXEC, str(path))
    assert done.returncode == 0, done.stderr
    assert sorted(line.split(" beside ")[0] for line in done.stdout.splitlines()) == ["0 2 3.0", "1 2 3.0"]
    assert done.stdout.count("('127.0.0.1', ") == 2


@pytest.mark.parametrize("settings", [
    {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"},  # a batch script
    {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"},
])  # fmt: skip
def test_one_process_of_slurm(settings):
    """It is in no world, and may have a launcher that makes one."""
    program = "import sys, tengen.distributed as d; print(d.is_distributed(), 'mpi4py' in sys.modules, d.launcher(d.get_rank, n_gpus=2)())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env={**os.environ, **settings}
    )
    assert done.stdout == "False False [0, 1]\n", done.stderr


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = {"MASTER_PORT": str(taken.getsockname()[1])}
        done = subprocess.run(
            [*SRUN, "-c", "import os\nif os.environ['SLURM_PROCID'] == '0': import tengen.distributed"],
            capture_output=True, text=True, timeout=60, env={**os.environ, **settings},
        )  # fmt: skip
    assert done.returncode == 1
    assert "Address already in use" in done.stderr and f"port {settings['MASTER_PORT']}; set MASTER_PORT" in done.stderr


def test_another_mpi_than_that_of_mpiexec(monkeypatch):
    """Else each process would train alone, and say nothing."""
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    done = start(sys.executable, "-c", "import tengen.distributed")
    assert done.returncode == 1
    assert "one of several processes (OMPI_COMM_WORLD_SIZE=4), but MPICH" in done.stderr, done.stderr


OWN = """
import multiprocessing, sys
import numpy as np
import tengen
import tengen.distributed as dist

def work(port, rank, how):
    dist.init_process_group("localhost", port, 2, rank, rank)
    x = tengen.tensor(np.full(3_000_000, 1.0 + rank, np.float32))
    if how == "raise" and rank == 1:
        raise ValueError("boom")
    total = dist.functional.all_reduce_sum(x)
    y = dist.functional.broadcast(total * 2)  # the first process ends as soon as it has sent it
    if rank:
        print(float(y.numpy().min()), float(y.numpy().max()))

if __name__ == "__main__":
    server = dist.Server()
    context = multiprocessing.get_context(sys.argv[1])
    workers = [context.Process(target=work, args=(server.py_server_port, r, sys.argv[2])) for r in range(2)]
    [w.start() for w in workers]
    [w.join() for w in workers]
    print([w.exitcode for w in workers])
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize(("how", "says"), [("fine", "6.0 6.0\n[0, 0]\n"), ("raise", "[1, 1]\n")])
def test_processes_that_the_program_starts(tmp_path, method, how, says):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    done = start(sys.executable, str(path), method, how)
    assert (done.returncode, done.stdout) == (0, says), done.stderr
    if how == "raise":
        assert "ValueError: boom" in done.stderr
        assert "DistributedError: #1 all_reduce_sum of float32[3000000]: rank 1 has ended" in done.stderr
