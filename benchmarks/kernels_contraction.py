"""GFLOP/s of contraction kernels next to the peak of the same cores, measured in the same breath because machines are
shared.

    python benchmarks/kernels_contraction.py             matmuls and convolutions, one thread and all
    python benchmarks/kernels_contraction.py matmul      only the cases whose name contains a word (bfloat16: of that dtype)
    python benchmarks/kernels_contraction.py --tiles     the menu of register tiles on data in the level-1 cache

The peak is a loop of fused multiply-adds on registers. Operands hold random numbers in the layouts that the contraction
asks for; relayouts are not timed. Each figure is the best of several runs; the share is of the peak measured just
before (for several threads, of all running at once). One thread is timed by its own CPU time, so that other processes
disturb it less; several by the clock on the wall. The peak is of float32, also for bfloat16, which may pass it where the
machine multiplies pairs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
from machine import THREADS, ArithmeticPeak, Jit, Run, best_seconds

from tengen.compiler.geometry import ConvShape
from tengen.compiler.schedule.contractions.launches import draft
from tengen.compiler.schedule.contractions.matmul import Batch, matmul
from tengen.compiler.schedule.contractions.problem import (
    FLOAT32,
    ContractionLoop,
    ContractionLoops,
    ContractionPlan,
    Relayout,
    Storage,
    Unit,
)
from tengen.compiler.schedule.contractions.register_tile import MENU, RegisterTile
from tengen.compiler.schedule.convolutions.forms import conv_by_data, conv_by_weight, conv_forward
from tengen.compiler.targets.host import host_target

BFLOAT16 = Storage("bfloat16", "bfloat16", "bfloat16")


def random_array(elements: int, dtype: str) -> np.ndarray:
    numbers = np.random.default_rng(0).random(max(1, elements), np.float32)
    return numbers if dtype == "float32" else (numbers.view(np.uint32) >> 16).astype(np.uint16)


def operand(layout: Relayout | None, size: int, dtype: str) -> np.ndarray:
    """Random numbers, as many as the layout has, or `size` where an operand is used as it is."""
    elements = size if layout is None else layout.numbers * layout.size
    return random_array(elements, dtype)


def launches(problem: ContractionPlan, jit: Jit, a_size: int, b_size: int) -> list[Run]:
    """The launches of a problem on random operands."""
    dtype = "float32" if problem.launches[0].kernel.a == "float32" else "bfloat16"
    a, b = operand(problem.a, a_size, dtype), operand(problem.b, b_size, dtype)
    workspace = np.zeros(max(1, problem.workspace // 4), np.float32)
    held = {"a": a, "b": b, "workspace": workspace, "out": np.zeros(problem.out_size, np.float32)}
    return [
        Run(jit(launch.kernel), [held[name] for name, _ in launch.buffers], launch.params, launch.tiles)
        for launch in problem.launches
    ]


def cases(unit: Unit) -> Iterator[tuple[str, ContractionPlan, int, int]]:
    """(name, problem, elements of A and of B where they are used in place)"""
    for size in (64, 128, 256, 512, 1024, 2048):
        yield f"matmul {size}", matmul(size, size, size, (size, 1), (size, 1), unit), size * size, size * size
    for rows in (1, 8):
        yield f"matmul {rows}x1024x1024", matmul(rows, 1024, 1024, (1024, 1), (1024, 1), unit), rows * 1024, 1 << 20
        yield f"matmul {rows}x1024x1024 b.T", matmul(rows, 1024, 1024, (1024, 1), (1, 1024), unit), rows * 1024, 1 << 20
    batch = (Batch(64, 128 * 64, 64 * 128),)
    yield "matmul 64x(128x64x128)", matmul(128, 64, 128, (64, 1), (128, 1), unit, batch), 1 << 19, 1 << 19
    yield "matmul 1024 a.T", matmul(1024, 1024, 1024, (1, 1024), (1024, 1), unit), 1 << 20, 1 << 20
    yield "matmul 1024 b.T", matmul(1024, 1024, 1024, (1024, 1), (1, 1024), unit), 1 << 20, 1 << 20
    for name, m, k, n, a, b in (
        ("1024", 1024, 1024, 1024, (1024, 1), (1024, 1)),
        ("1024x512x2048 forward", 1024, 512, 2048, (512, 1), (1, 512)),
        ("1024x512x2048 by data", 1024, 2048, 512, (2048, 1), (512, 1)),
        ("1024x512x2048 by weight", 2048, 1024, 512, (1, 2048), (512, 1)),
    ):
        yield f"linear {name} float32", matmul(m, k, n, a, b, unit), m * k, k * n
        yield f"linear {name} bfloat16", matmul(m, k, n, a, b, unit, storage=BFLOAT16), m * k, k * n
    for k, n in ((400, 120), (120, 84), (84, 10)):
        yield f"linear {k}-{n} b64", matmul(64, k, n, (k, 1), (1, k), unit), 64 * k, k * n
        yield f"linear {k}-{n} b64 by data", matmul(64, n, k, (n, 1), (k, 1), unit), 64 * n, k * n
        yield f"linear {k}-{n} b64 by weight", matmul(n, 64, k, (1, n), (k, 1), unit), 64 * n, 64 * k
    for name, shape in CONVOLUTIONS.items():
        for form, problem in (("", conv_forward), (" by data", conv_by_data), (" by weight", conv_by_weight)):
            yield name + form, problem(shape, unit), 0, 0
            yield f"{name}{form} bfloat16", problem(shape, unit, BFLOAT16), 0, 0


def conv(n: int, ic: int, size: int, oc: int, k: int, stride: int = 1, padding: int = 0) -> ConvShape:
    return ConvShape(n, ic, (size, size), oc, (k, k), (stride, stride), (padding, padding))


CONVOLUTIONS = {
    "lenet 1-6 5x5 b64": conv(64, 1, 32, 6, 5),
    "lenet 6-16 5x5 b64": conv(64, 6, 14, 16, 5),
    "resnet 3-64 7x7/2 224": conv(8, 3, 224, 64, 7, 2, 3),
    "resnet 64-64 1x1 56": conv(8, 64, 56, 64, 1),
    "resnet 64-64 3x3 56": conv(8, 64, 56, 64, 3, 1, 1),
    "resnet 64-256 1x1 56": conv(8, 64, 56, 256, 1),
    "resnet 256-64 1x1 56": conv(8, 256, 56, 64, 1),
    "resnet 128-128 3x3/2 56": conv(8, 128, 56, 128, 3, 2, 1),
    "resnet 256-512 1x1/2 56": conv(8, 256, 56, 512, 1, 2),
    "resnet 128-128 3x3 28": conv(8, 128, 28, 128, 3, 1, 1),
    "resnet 128-512 1x1 28": conv(8, 128, 28, 512, 1),
    "resnet 256-256 3x3 14": conv(8, 256, 14, 256, 3, 1, 1),
    "resnet 1024-256 1x1 14": conv(8, 1024, 14, 256, 1),
    "resnet 512-512 3x3 7": conv(8, 512, 7, 512, 3, 1, 1),
    "resnet 512-2048 1x1 7": conv(8, 512, 7, 2048, 1),
}


def measure_cases(words: list[str]) -> None:
    target = host_target()
    unit, jit = Unit(target.lanes, target.registers, target.dots, amx=target.amx), Jit(target)
    peak = ArithmeticPeak(jit)
    print(f"{'case':38s} {'tile':>5s} {'tiles':>6s} | peak     1 thread        | peak    {THREADS} threads")
    for name, problem, a_size, b_size in cases(unit):
        if not all(word in name for word in words):
            continue
        runs = launches(problem, jit, a_size, b_size)
        line = []
        for threads, clock in ((1, time.thread_time), (THREADS, time.perf_counter)):
            limit = peak.rate(threads, clock, 0.03) / 1e9
            rate = problem.work / best_seconds(lambda: [run(threads) for run in runs], clock) / 1e9  # noqa: B023
            line.append(f"{limit:5.0f} {rate:6.1f} {rate / limit:4.0%}{1e-6 * problem.work / rate:9.3f} ms")
        kernel = problem.launches[0].kernel
        shape = f"{kernel.rows}x{kernel.vectors}{'b' if kernel.blocked else ''}"
        print(f"{name:38s} {shape:>5s} {sum(x.tiles for x in problem.launches):6d} | " + " | ".join(line), flush=True)
    median, most = np.median(jit.milliseconds), max(jit.milliseconds)
    print(f"{len(jit.milliseconds)} kernels compiled in {median:.0f} ms (median), {most:.0f} ms at most")


def tile_problem(tile: RegisterTile) -> tuple[ContractionPlan, int, int]:
    """A product whose operands stay in the level-1 cache, again and again; and the elements of A and B."""
    rows, k = 4 * tile.rows, 128
    nest = ContractionLoops(
        (ContractionLoop(256),),
        (ContractionLoop(rows, a=k, c=tile.panel),),
        tile.panel,
        (ContractionLoop(k, 1, tile.panel),),
        b_panel=0,
    )
    runs, _ = draft([nest], tile, FLOAT32, packed=True, out_size=rows * tile.panel).launches()
    return ContractionPlan(None, None, (tile.panel, 1), rows * tile.panel, runs), rows * k, k * tile.panel


def measure_tiles() -> None:
    target = host_target()
    unit, jit = Unit(target.lanes, target.registers, target.dots, amx=target.amx), Jit(target)
    peak = ArithmeticPeak(jit)
    for rows, vectors in MENU[unit.registers]:
        for unroll in (1, 2, 4):
            problem, a_size, b_size = tile_problem(RegisterTile(rows, vectors, unit.lanes, unroll))
            (run,) = launches(problem, jit, a_size, b_size)
            limit = peak.rate(1, time.thread_time, 0.03) / 1e9
            rate = problem.work / best_seconds(lambda: run(1), time.thread_time, 0.05) / 1e9  # noqa: B023
            print(f"{rows:2d} x {vectors} unroll {unroll}: {rate:6.1f} GFLOP/s, {rate / limit:4.0%} of {limit:.0f}")


if __name__ == "__main__":
    if "--tiles" in sys.argv:
        measure_tiles()
    else:
        measure_cases(sys.argv[1:])
