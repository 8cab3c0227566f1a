"""Data-parallel training from 2 to 1024 workers, on paper: `python benchmarks/scaling.py` prints the tables of docs/scaling.md.

    python benchmarks/scaling.py --measure    measure the constants on this machine, two minutes, and keep them in scaling.json
    python benchmarks/scaling.py --write      put the tables into docs/scaling.md, and into scaling.zh.md in Chinese

The model is that page's; what it has of this machine is measured by two processes of one thread each, fastest of many.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from distributed import one_thread, steps
from machine import description

import tengen.distributed as dist

HERE = Path(__file__).resolve().parent
CONSTANTS = HERE / "scaling.json"
PAGES = {"en": HERE.parent / "docs" / "scaling.md", "zh": HERE.parent / "docs" / "scaling.zh.md"}
BEGIN, END = "<!-- begin: python benchmarks/scaling.py --write -->", "<!-- end -->"
BUCKET = 10 << 20
BACKWARD = 2 / 3
"""The part of a step that is backward: two products of matrices of three."""
WORKERS = (8, 64, 256, 1024)


class Link(NamedTuple):
    """What connects two workers. latency: seconds. bandwidth: bytes a second, each way."""

    latency: float
    bandwidth: float


class Job(NamedTuple):
    """What one worker does. bytes: of its gradients. step: seconds, alone."""

    name: str
    bytes: int
    step: float


NOMINAL = {"10 Gb Ethernet": Link(25e-6, 1.1e9), "100 Gb": Link(5e-6, 11e9)}
"""Usual figures of networks that were not at hand."""


# What the tables say, in Chinese.
CHINESE = [
    (
        r"Constants of a machine with (\d+) cores, (.*), measured on (\S+); the networks of 10 and 100 Gb are nominal\.",
        r"常数于 \3 测得，机器有 \1 个核，处理器为 \2；10 Gb 和 100 Gb 网络取标称值。",
    ),
    (r"memory \(adding, copying\)", "内存（相加、复制）"),
    ("two workers, shared memory", "两个 worker，共享内存"),
    ("shared memory", "共享内存"),
    ("TCP, this machine", "TCP，本机"),
    ("10 Gb Ethernet", "10 Gb 以太网"),
    (", ten times as fast", "，十倍速"),
    (", a step", "，一步"),
    ("still to be read", "尚未测量"),
    ("latency", "延迟"),
    ("bandwidth", "带宽"),
    ("model", "模型"),
    ("measured", "实测"),
    (r"(\d+) workers", r"\1 个 worker"),
    ("a worker", "单个 worker"),
    ("network", "网络"),
    (r" \((\d+ ms)\)", r"（\1）"),
    (r"ms, (\d+%)", r"ms，\1"),
]


def exchange(count: int, size: int, link: Link, memory: float) -> float:
    """Seconds of the sum of one bucket over `count` workers, as `distributed/exchange.py` takes it. memory: bytes a second of adding.

    The processes agree (a sum of two numbers, there and back by a tree). Each sends to every other one the part that is that one's to add,
    adds what it gets in the order of ranks, and all gather the results.
    """
    levels, moved = math.ceil(math.log2(count)), size * (count - 1) / count / link.bandwidth
    agree = 2 * levels * link.latency
    if count == 2:
        return agree + 2 * link.latency + 2 * moved
    return agree + (count - 1) * link.latency + moved + size / memory + levels * link.latency + moved


def step(job: Job, count: int, link: Link, memory: float) -> tuple[float, float]:
    """Seconds of all exchanges of a step, and of the step.

    Buckets are copied together and apart. The first is sent when it is full, so that of the exchanges at most what fits into the rest of
    the backward is hidden, and the last never is.
    """
    buckets = max(1, round(job.bytes / BUCKET))
    each = exchange(count, job.bytes // buckets, link, memory)
    exposed = max(buckets * each - job.step * BACKWARD * (1 - 1 / buckets), each)
    return buckets * each, job.step + 2 * job.bytes / memory + exposed


def tables(constants: dict[str, float], language: str = "en") -> str:
    """The constants, and the model's figures, in Markdown."""
    if language == "zh":
        text = tables(constants)
        for english, chinese in CHINESE:
            text = re.sub(english, chinese, text)
        return text
    c = constants
    links = {
        "shared memory": Link(c["shared_latency"], c["shared_bandwidth"]),
        "TCP, this machine": Link(c["tcp_latency"], c["tcp_bandwidth"]),
        **NOMINAL,
    }
    jobs = [
        Job(name, int(c[f"{key}_parameters"]) * 4, c[f"{key}_step"])
        for key, name in (("resnet18", "ResNet-18"), ("transformer", "transformer"))
    ]
    lines = [
        f"Constants of {c['machine']}, measured on {c['date']}; the networks of 10 and 100 Gb are nominal.",
        "",
    ]
    lines += ["| | latency | bandwidth |", "|---|---|---|"]
    lines += [
        f"| {name} | {link.latency * 1e6:.1f} µs | {link.bandwidth / 1e9:.2f} GB/s |" for name, link in links.items()
    ]
    lines += [
        f"| memory (adding, copying) | | {c['memory'] / 1e9:.2f} GB/s |",
        "",
        "| two workers, shared memory | model | measured |",
        "|---|---|---|",
    ]
    for key, job in zip(("resnet18", "transformer"), jobs, strict=True):
        guess = step(job, 2, links["shared memory"], c["memory"])[1]
        read = f"{c[f'{key}_together'] * 1e3:.0f} ms" if f"{key}_together" in c else "still to be read"
        lines.append(f"| {job.name}, a step | {guess * 1e3:.0f} ms | {read} |")
    lines += [
        "",
        "| a worker | network | " + " | ".join(f"{n} workers" for n in WORKERS) + " |",
        "|---|---|" + "---|" * len(WORKERS),
    ]
    quicker = [Job(f"{job.name}, ten times as fast", job.bytes, job.step / 10) for job in jobs]
    for job in [*jobs, *quicker]:
        for name in ("TCP, this machine", *NOMINAL):
            cells = []
            for count in WORKERS:
                sent, whole = step(job, count, links[name], c["memory"])
                cells.append(f"{sent * 1e3:.0f} ms, {job.step / whole:.0%}")
            lines.append(f"| {job.name} ({job.step * 1e3:.0f} ms) | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


# -- measuring -------------------------------------------------------------------------------------------------------


def least(call: Callable[[], object], count: int) -> float:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def sums() -> tuple[float, float]:
    """Latency and bandwidth of MPI's own sum over two processes: small ones cross once, large ones in two halves."""
    from mpi4py import MPI

    comm, found = MPI.COMM_WORLD, {}
    for size, count in ((8, 1000), (BUCKET, 200)):
        given, out = np.ones(size // 4, np.float32), np.empty(size // 4, np.float32)
        found[size] = least(lambda g=given, o=out: comm.Allreduce(g, o), count)
    return found[8], BUCKET / (found[BUCKET] - 2 * found[8])


def sums_apart() -> tuple[float, float]:
    """The same by TCP: the processes say that they are on machines of their own."""
    os.environ["UCX_TLS"] = "tcp,self"
    real, parent = socket.gethostname, os.getpid()
    socket.gethostname = lambda: real() if os.getpid() == parent else f"node{os.getpid()}"
    try:
        return dist.launcher(sums, n_gpus=2)()[0]
    finally:
        socket.gethostname = real
        del os.environ["UCX_TLS"]


def trained(name: str) -> tuple[float, float, int]:
    """Seconds of a traced step alone, of one of two processes, and how many parameters there are."""
    calls, count = steps(name)
    found = {}
    for how in ("alone", "together"):
        call = calls[f"{how} traced"]
        call(), call()
        found[how] = least(call, 5)
    return found["alone"], found["together"], count


def measure() -> dict[str, float | str]:
    one_thread()
    large, out = np.ones(BUCKET // 4, np.float32), np.ones(BUCKET // 4, np.float32)
    found: dict[str, float | str] = {
        "machine": f"a machine with {len(os.sched_getaffinity(0))} cores, {description()['cpu']}",
        "date": time.strftime("%Y-%m-%d"),
        "memory": BUCKET / least(lambda: np.add(out, large, out=out), 40),
    }
    found["shared_latency"], found["shared_bandwidth"] = dist.launcher(sums, n_gpus=2)()[0]
    found["tcp_latency"], found["tcp_bandwidth"] = sums_apart()
    for name in ("resnet18", "transformer"):
        for key, value in zip(
            ("step", "together", "parameters"), dist.launcher(trained, n_gpus=2)(name)[0], strict=True
        ):
            found[f"{name}_{key}"] = value
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.measure:
        CONSTANTS.write_text(json.dumps(measure(), indent=1) + "\n")
    constants = json.loads(CONSTANTS.read_text())
    if options.write:
        for language, page in PAGES.items():
            before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
            made = tables(constants, language)
            page.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    print(tables(constants))


if __name__ == "__main__":
    main()
