"""Data-parallel training of two processes with one thread each, next to what is required of it.

    python benchmarks/distributed.py [--torch PYTHON] [--steps 2] [--rounds 2]

prints a table: what starting a world costs, how soon a dead process is seen, a sum next to raw MPI, the main thread's CPU in a training step next to
that of a process alone, and the step's time next to PyTorch's DistributedDataParallel over gloo (`--torch`: an interpreter that has it).
What is compared takes turns, and least times count, as whatever else the machine does only adds; PyTorch, which has processes of its own, takes a
turn in each round. Four minutes on a quiet machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from networks_tengen import TransformerLayer, resnet18

import tengen
import tengen.distributed as dist
import tengen.functional as F
import tengen.module as M
from tengen.autodiff import GradManager
from tengen.base.world import communicator
from tengen.jit import trace
from tengen.optimizer import SGD

BYTES = (4 << 10, 64 << 10, 1 << 20, 10 << 20, 100 << 20)


def turns(calls: dict[str, Callable[[], Any]], count: int) -> dict[str, list[tuple[float, float]]]:
    """(wall seconds, seconds of CPU of the main thread) of each call, which take turns."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(count):
        for name, call in calls.items():
            dist.group_barrier()
            wall, cpu = time.perf_counter(), time.thread_time()
            call()
            found[name].append((time.perf_counter() - wall, time.thread_time() - cpu))
    return found


def exchanges() -> dict[int, tuple[float, float]]:
    """Of each size the least seconds of a sum by the communicator and by MPI itself."""
    from mpi4py import MPI

    found, ours = {}, communicator("0,1")
    for size in BYTES:
        given = np.ones(size // 4, np.float32)
        out = np.empty_like(given)
        calls = {
            "tengen": lambda g=given, o=out: ours.start("all_reduce_sum", "float32", g, o).wait(),
            "MPI": lambda g=given, o=out: MPI.COMM_WORLD.Allreduce(g, o),
        }
        times = turns(calls, 200 if size <= 1 << 20 else 40 if size <= 10 << 20 else 5)
        found[size] = (min(wall for wall, _ in times["tengen"]), min(wall for wall, _ in times["MPI"]))
    return found


def transformer() -> M.Module:
    """Some 25 million parameters."""
    return M.Sequential(*[TransformerLayer(512, 8) for _ in range(8)])


def steps(name: str) -> tuple[dict[str, Callable[[], None]], int]:
    """A training step of a process alone and of one of several, eager and traced; and how many parameters the network has."""
    found = {}
    for how in ("alone", "together"):
        for traced in (False, True):
            net = resnet18() if name == "resnet18" else transformer()
            net.train()
            shape = (8, 3, 224, 224) if name == "resnet18" else (4, 128, 512)
            x = tengen.tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
            callbacks = [dist.make_allreduce_cb("mean")] if how == "together" else []
            gm, opt = (
                GradManager().attach(net.parameters(), callbacks=callbacks),
                SGD(net.parameters(), lr=0.01, momentum=0.9),
            )

            def step(net=net, x=x, gm=gm, opt=opt) -> None:
                with gm:
                    gm.backward(F.sum(net(x) ** 2) * 1e-6)
                opt.step().clear_grad()

            found[f"{how} {'traced' if traced else 'eager'}"] = trace(step, without_host=True) if traced else step
    return found, sum(p.size for p in net.parameters())


def training(name: str, count: int) -> dict[str, list[tuple[float, float]]]:
    """What `turns` measures of the steps of one process."""
    calls, _ = steps(name)
    for call in calls.values():
        call(), call()
    return turns(calls, count)


def starting() -> float:
    """Seconds of a world of four processes, from the call to its result."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        dist.launcher(dist.group_barrier, n_gpus=4)()
        times.append(time.perf_counter() - began)
    return min(times)


def dying() -> float:
    """Seconds from the death of a process to the error."""

    def work(place: str) -> None:
        dist.group_barrier()
        if dist.get_rank() == 1:
            Path(place).write_text(repr(time.perf_counter()))
            os.kill(os.getpid(), signal.SIGKILL)
        dist.group_barrier()

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "died"
        try:
            dist.launcher(work, n_gpus=2)(str(place))
        except dist.WorkerError:
            return time.perf_counter() - float(place.read_text())
    raise AssertionError("a dead process is an error")


def of_torch(python: str, name: str, count: int) -> list[float]:
    script = Path(__file__).with_name("distributed_torch.py")
    done = subprocess.run([python, str(script), name, str(count)], check=True, stdout=subprocess.PIPE, text=True)
    return [float(seconds) for seconds in done.stdout.split()]


def one_thread() -> None:
    """Each process has one, PyTorch's too."""
    os.environ["TENGEN_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    tengen.config.num_threads = 1


def row(what: str, measured: float, required: float | None, unit: str = "", note: str = "") -> None:
    """Print a row of the table."""
    limit = "" if required is None else f"≤ {required:g}{unit}"
    met = "" if required is None else "yes" if measured <= required else "no"
    print(f"| {what} | {measured:.2f}{unit} | {limit} | {met} | {note} |", flush=True)


def compare(name: str, rounds: int, count: int, python: str | None) -> None:
    """The rows of a network."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    torch: list[float] = []
    for _ in range(rounds):
        for how, times in dist.launcher(training, n_gpus=2)(name, count)[0].items():
            found[how] += times
        torch += of_torch(python, name, count + 2)[2:] if python else []
    wall = {how: min(seconds for seconds, _ in times) for how, times in found.items()}
    cpu = {how: min(seconds for _, seconds in times) for how, times in found.items()}
    for how in ("eager", "traced"):
        mine, alone = f"together {how}", f"alone {how}"
        note = f"{cpu[mine] * 1e3:.0f} and {cpu[alone] * 1e3:.0f} ms"
        row(f"{name} {how}: CPU of the main thread, to a process alone", cpu[mine] / cpu[alone], 1.05, note=note)
        middle, middle_alone = (median(seconds for seconds, _ in found[who]) for who in (mine, alone))
        note = f"{wall[mine] * 1e3:.0f} and {wall[alone] * 1e3:.0f} ms; medians {middle * 1e3:.0f} and {middle_alone * 1e3:.0f}"
        row(f"{name} {how}: a step, to a process alone", wall[mine] / wall[alone], None, note=note)
        if torch:
            note = f"{wall[mine] * 1e3:.0f} and {min(torch) * 1e3:.0f} ms; PyTorch's median {median(torch) * 1e3:.0f}"
            row(f"{name} {how}: a step, to DistributedDataParallel", wall[mine] / min(torch), 0.7, note=note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", help="an interpreter that has PyTorch")
    parser.add_argument("--steps", type=int, default=2, help="of each kind in a round")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    one_thread()
    print("| | measured | required | met | |\n|---|---|---|---|---|", flush=True)
    row("a world of four", starting(), 1, " s")
    row("a dead process, to the error", dying(), 2, " s")
    for size, (ours, raw) in dist.launcher(exchanges, n_gpus=2)()[0].items():
        note = f"{ours * 1e6:.0f} and {raw * 1e6:.0f} µs"
        row(f"all_reduce_sum of {size >> 10} KB, to raw MPI", ours / raw, 1.05 if size == 10 << 20 else None, note=note)
    for name in ("resnet18", "transformer"):
        compare(name, options.rounds, options.steps, options.torch)


if __name__ == "__main__":
    main()
