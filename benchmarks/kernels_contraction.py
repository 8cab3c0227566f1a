"""GFLOP/s of contraction kernels next to the peak of the same cores, measured in the same breath because machines are
shared.

    python benchmarks/kernels_contraction.py             matmuls and convolutions, one thread and two
    python benchmarks/kernels_contraction.py matmul      only the cases whose name contains a word
    python benchmarks/kernels_contraction.py --tiles     the menu of register tiles on data in the level-1 cache

The peak is a loop of fused multiply-adds on registers. Operands hold random numbers in the layouts that the contraction
asks for; relayouts are not timed. Each figure is the best of several runs; the share is of the peak measured just
before (for two threads, of both running at once). One thread is timed by its own CPU time, so that other processes
disturb it less; two threads by the clock on the wall.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from threading import Lock

import numpy as np
from llvmlite import ir

from tengen.compiler.cache import KernelSource
from tengen.compiler.schedule.contraction import FLOAT32, Batch, Contraction, Loop, Nest, Unit, matmul, plan
from tengen.compiler.schedule.convolution import ConvShape, conv_by_data, conv_by_weight, conv_forward
from tengen.compiler.schedule.register_tile import MENU, RegisterTile
from tengen.compiler.targets.host import Target, compile_object, host_target, load

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
THREADS = 2
POOL = ThreadPoolExecutor(THREADS - 1)
PEAK_TURNS, PEAK_CHAINS = 20000, 20
PEAK_TILES = 64  # milliseconds of work, so that starting a thread does not count


class Jit:
    """Kernels by their text, always compiled, so that this can be timed."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.kept: dict[str, Callable[..., None]] = {}
        self.milliseconds: list[float] = []

    def __call__(self, source: KernelSource) -> Callable[..., None]:
        if source.key not in self.kept:
            started = time.perf_counter()
            self.kept[source.key] = KERNEL(load(compile_object(source.emit(self.target), self.target)))
            self.milliseconds.append(1e3 * (time.perf_counter() - started))
        return self.kept[source.key]


@dataclass(frozen=True)
class Peak:
    """A kernel whose every tile is PEAK_TURNS * PEAK_CHAINS multiply-adds of vectors in registers."""

    lanes: int

    @property
    def key(self) -> str:
        return f"peak {self.lanes}"

    def emit(self, target: Target) -> str:
        return peak_text(self.lanes)


def peak_text(lanes: int) -> str:
    module, i64, vector = ir.Module(), ir.IntType(64), ir.VectorType(ir.FloatType(), lanes)
    pointer = ir.PointerType()
    kernel = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer, pointer, i64, i64]), "kernel")
    fma = ir.Function(module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{lanes}f32")
    entry, loop, done = (kernel.append_basic_block(name) for name in ("entry", "loop", "done"))
    at = ir.IRBuilder(entry)
    out = at.load(kernel.args[0], typ=pointer)
    seed = at.load(out, typ=vector, align=4)
    turns = at.mul(at.sub(kernel.args[3], kernel.args[2]), ir.Constant(i64, PEAK_TURNS))
    at.branch(loop)
    at = ir.IRBuilder(loop)
    turn = at.phi(i64)
    totals = [at.phi(vector) for _ in range(PEAK_CHAINS)]
    following = at.add(turn, ir.Constant(i64, 1))
    turn.add_incoming(ir.Constant(i64, 0), entry)
    turn.add_incoming(following, loop)
    results = [at.call(fma, [total, seed, seed]) for total in totals]
    for i, (total, result) in enumerate(zip(totals, results, strict=True)):
        total.add_incoming(ir.Constant(vector, [float(i)] * lanes), entry)
        total.add_incoming(result, loop)
    at.cbranch(at.icmp_signed("<", following, turns), loop, done)
    at = ir.IRBuilder(done)
    final = results[0]
    for result in results[1:]:
        final = at.fadd(final, result)
    at.store(final, out, align=4)
    at.ret_void()
    return str(module)


class Run:
    """One kernel with its buffers, over its tiles on some threads."""

    def __init__(self, kernel: Callable[..., None], arrays: list[np.ndarray], params: tuple[int, ...], tiles: int):
        self.kernel, self.arrays, self.tiles = kernel, arrays, tiles
        self.buffers = (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])
        self.params = (ctypes.c_int64 * max(1, len(params)))(*params)

    def __call__(self, threads: int) -> None:
        buffers, params = ctypes.addressof(self.buffers), ctypes.addressof(self.params)
        if threads == 1 or self.tiles < 2:
            self.kernel(buffers, params, 0, self.tiles)
            return
        step = max(1, self.tiles // (8 * threads))
        claimed, lock = count(0, step), Lock()

        def work() -> None:
            while True:
                with lock:
                    begin = next(claimed)
                if begin >= self.tiles:
                    return
                self.kernel(buffers, params, begin, min(begin + step, self.tiles))

        others = [POOL.submit(work) for _ in range(threads - 1)]
        work()
        for other in others:
            other.result()


def best_seconds(function: Callable[[], object], clock: Callable[[], float], budget: float = 0.15) -> float:
    function()
    started = clock()
    function()
    turns = max(1, int(budget / 7 / max(1e-7, clock() - started)))
    best = float("inf")
    for _ in range(7):
        started = clock()
        for _ in range(turns):
            function()
        best = min(best, (clock() - started) / turns)
    return best


def random_array(elements: int) -> np.ndarray:
    return np.random.default_rng(0).random(max(1, elements), np.float32)


def launches(problem: Contraction, jit: Jit, a_size: int, b_size: int) -> list[Run]:
    """The launches of a problem on random operands; sizes count where an operand is used as it is."""
    a, b = (
        random_array(layout.size if layout else size) for layout, size in ((problem.a, a_size), (problem.b, b_size))
    )
    workspace = np.zeros(max(1, problem.workspace // 4), np.float32)
    held = {"a": a, "b": b, "workspace": workspace, "out": np.zeros(problem.out_size, np.float32)}
    return [
        Run(jit(launch.kernel), [held[name] for name in launch.buffers], launch.params, launch.tiles)
        for launch in problem.launches
    ]


def cases(unit: Unit) -> Iterator[tuple[str, Contraction, int, int]]:
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
    for k, n in ((400, 120), (120, 84), (84, 10)):
        yield f"linear {k}-{n} b64", matmul(64, k, n, (k, 1), (1, k), unit), 64 * k, k * n
        yield f"linear {k}-{n} b64 by data", matmul(64, n, k, (n, 1), (k, 1), unit), 64 * n, k * n
        yield f"linear {k}-{n} b64 by weight", matmul(n, 64, k, (1, n), (k, 1), unit), 64 * n, 64 * k
    for name, shape in CONVOLUTIONS.items():
        for form, problem in (("", conv_forward), (" by data", conv_by_data), (" by weight", conv_by_weight)):
            yield name + form, problem(shape, unit), 0, 0


def conv(n: int, ic: int, size: int, oc: int, k: int, stride: int = 1, padding: int = 0) -> ConvShape:
    return ConvShape(n, ic, size, size, oc, k, k, (stride, stride), (padding, padding))


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
    unit, jit = Unit(target.lanes, target.registers), Jit(target)
    peak = Run(jit(Peak(unit.lanes)), [np.ones(unit.lanes, np.float32)], (), PEAK_TILES)
    peak_work = 2 * PEAK_TILES * PEAK_TURNS * PEAK_CHAINS * unit.lanes
    print(f"{'case':34s} {'tile':>5s} {'tiles':>6s} | peak     1 thread        | peak    {THREADS} threads")
    for name, problem, a_size, b_size in cases(unit):
        if not all(word in name for word in words):
            continue
        runs = launches(problem, jit, a_size, b_size)
        line = []
        for threads, clock in ((1, time.thread_time), (THREADS, time.perf_counter)):
            limit = peak_work / best_seconds(lambda: peak(threads), clock, 0.03) / 1e9  # noqa: B023

            rate = problem.work / best_seconds(lambda: [run(threads) for run in runs], clock) / 1e9  # noqa: B023
            line.append(f"{limit:5.0f} {rate:6.1f} {rate / limit:4.0%}{1e-6 * problem.work / rate:9.3f} ms")
        kernel = problem.launches[0].kernel
        shape = f"{kernel.rows}x{kernel.vectors}{'b' if kernel.blocked else ''}"
        print(f"{name:34s} {shape:>5s} {sum(x.tiles for x in problem.launches):6d} | " + " | ".join(line), flush=True)
    median, most = np.median(jit.milliseconds), max(jit.milliseconds)
    print(f"{len(jit.milliseconds)} kernels compiled in {median:.0f} ms (median), {most:.0f} ms at most")


def tile_problem(tile: RegisterTile) -> tuple[Contraction, int, int]:
    """A product whose operands stay in the level-1 cache, again and again; and the elements of A and B."""
    rows, k = 4 * tile.rows, 128
    nest = Nest((Loop(256),), (Loop(rows, a=k, c=tile.panel),), tile.panel, (Loop(k, 1, tile.panel),), b_panel=0)
    runs, _ = plan(nest, tile, FLOAT32, packed=True, out_size=rows * tile.panel)
    return Contraction(None, None, (tile.panel, 1), rows * tile.panel, runs), rows * k, k * tile.panel


def measure_tiles() -> None:
    target = host_target()
    unit, jit = Unit(target.lanes, target.registers), Jit(target)
    peak = Run(jit(Peak(unit.lanes)), [np.ones(unit.lanes, np.float32)], (), PEAK_TILES)
    peak_work = 2 * PEAK_TILES * PEAK_TURNS * PEAK_CHAINS * unit.lanes
    for rows, vectors in MENU[unit.registers]:
        for unroll in (1, 2, 4):
            problem, a_size, b_size = tile_problem(RegisterTile(rows, vectors, unit.lanes, unroll))
            (run,) = launches(problem, jit, a_size, b_size)
            limit = peak_work / best_seconds(lambda: peak(1), time.thread_time, 0.03) / 1e9
            rate = problem.work / best_seconds(lambda: run(1), time.thread_time, 0.05) / 1e9  # noqa: B023
            print(f"{rows:2d} x {vectors} unroll {unroll}: {rate:6.1f} GFLOP/s, {rate / limit:4.0%} of {limit:.0f}")


if __name__ == "__main__":
    if "--tiles" in sys.argv:
        measure_tiles()
    else:
        measure_cases(sys.argv[1:])
