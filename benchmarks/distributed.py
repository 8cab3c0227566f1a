"""Data-parallel training of two processes with one thread each: `python benchmarks/distributed.py [--torch PYTHON]`.

Prints what starting a world costs, exchanges next to raw MPI, a training step next to that of a process alone, and how soon a dead process is
seen. What is compared takes turns, and least times count, as whatever else the machine does only adds. With --torch, an interpreter that
has PyTorch, it prints the same step of DistributedDataParallel over gloo.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import time
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


def exchanges() -> list[str]:
    """Sums of arrays, by the communicator and by MPI itself."""
    from mpi4py import MPI

    lines, ours = [], communicator("0,1")
    for size in BYTES:
        given = np.ones(size // 4, np.float32)
        out = np.empty_like(given)
        calls = {
            "tengen": lambda g=given, o=out: ours.start("all_reduce_sum", "float32", g, o).wait(),
            "MPI": lambda g=given, o=out: MPI.COMM_WORLD.Allreduce(g, o),
        }
        found = turns(calls, 200 if size <= 1 << 20 else 30)
        least = {name: min(wall for wall, _ in times) * 1e6 for name, times in found.items()}
        lines.append(
            f"allreduce {size >> 10:7} KB: tengen {least['tengen']:9.0f} µs, MPI {least['MPI']:9.0f} µs, ratio {least['tengen'] / least['MPI']:.2f}"
        )
    return lines


def transformer() -> M.Module:
    """Some 25 million parameters."""
    return M.Sequential(*[TransformerLayer(512, 8) for _ in range(8)])


def steps(name: str) -> dict[str, Callable[[], None]]:
    """A training step of a process alone and of one of several, eager and traced."""
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
    return found


def training(name: str, count: int) -> list[str]:
    calls = steps(name)
    for call in calls.values():
        call(), call()
    found = turns(calls, count)
    lines = []
    for how in ("eager", "traced"):
        (wall, cpu), (wall1, cpu1) = (
            [min(t) for t in zip(*found[f"{who} {how}"], strict=True)] for who in ("together", "alone")
        )
        middle, middle1 = (median(t for t, _ in found[f"{who} {how}"]) for who in ("together", "alone"))
        lines.append(
            f"{name} {how:6}: a step {wall * 1e3:.0f} ms (alone {wall1 * 1e3:.0f}, ratio {wall / wall1:.2f}; of medians {middle / middle1:.2f}), "
            f"CPU of the main thread {cpu * 1e3:.0f} ms (alone {cpu1 * 1e3:.0f}, ratio {cpu / cpu1:.2f})"
        )
    return lines


def starting() -> None:
    for size in (2, 4):
        times = []
        for _ in range(5):
            began = time.perf_counter()
            dist.launcher(dist.group_barrier, n_gpus=size)()
            times.append(time.perf_counter() - began)
        print(
            f"a world of {size}, from the call to its result: {min(times):.2f} s (median {median(times):.2f})",
            flush=True,
        )


def dying() -> None:
    def work() -> None:
        dist.group_barrier()
        if dist.get_rank() == 1:
            Path(f"/tmp/tengen-died-{os.getppid()}").write_text(repr(time.perf_counter()))
            os.kill(os.getpid(), signal.SIGKILL)
        dist.group_barrier()

    try:
        dist.launcher(work, n_gpus=2)()
    except dist.WorkerError as error:
        place = Path(f"/tmp/tengen-died-{os.getpid()}")
        print(
            f"a dead process: {time.perf_counter() - float(place.read_text()):.2f} s to the error ({str(error)[:34]})",
            flush=True,
        )
        place.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", help="an interpreter that has PyTorch")
    parser.add_argument("--steps", type=int, default=15)
    options = parser.parse_args()
    os.environ["TENGEN_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    tengen.config.num_threads = 1
    starting()
    dying()
    print(*dist.launcher(exchanges, n_gpus=2)()[0], sep="\n", flush=True)
    for name in ("resnet18", "transformer"):
        print(*dist.launcher(training, n_gpus=2)(name, options.steps)[0], sep="\n", flush=True)
    if options.torch:
        script = Path(__file__).with_name("distributed_torch.py")
        subprocess.run([options.torch, str(script), str(options.steps)], check=True)


if __name__ == "__main__":
    main()
