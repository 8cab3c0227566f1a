"""This machine: what it is, its peak of arithmetic, its bandwidth, and kernels run by hand to measure them."""

from __future__ import annotations

import ctypes
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Lock

import numpy as np
from llvmlite import ir

from tengen.compiler.cache import KernelSource
from tengen.compiler.kernels.target import Target
from tengen.compiler.targets import emit
from tengen.compiler.targets.host import compile_object, host_target, load

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
THREADS = len(os.sched_getaffinity(0))
POOL = ThreadPoolExecutor(THREADS)
PEAK_TURNS, PEAK_CHAINS = 20000, 20
PEAK_TILES = 64  # milliseconds of work, so that starting a thread does not count
COPY_BYTES = 1 << 28  # far more than any cache holds


class Jit:
    """Kernels by their text, always compiled, so that this can be timed."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.kept: dict[str, Callable[..., None]] = {}
        self.milliseconds: list[float] = []

    def __call__(self, source: KernelSource) -> Callable[..., None]:
        if source.key not in self.kept:
            started = time.perf_counter()
            text = source.text() if isinstance(source, Peak) else emit(source, self.target)
            self.kept[source.key] = KERNEL(load(compile_object(text, self.target)))
            self.milliseconds.append(1e3 * (time.perf_counter() - started))
        return self.kept[source.key]


@dataclass(frozen=True)
class Peak:
    """A kernel whose every tile is PEAK_TURNS * PEAK_CHAINS multiply-adds of vectors in registers."""

    lanes: int

    @property
    def key(self) -> str:
        return f"peak {self.lanes}"

    def text(self) -> str:
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


class ArithmeticPeak:
    """Multiply-adds on registers and nothing else: what no kernel can exceed."""

    def __init__(self, jit: Jit) -> None:
        lanes = jit.target.lanes
        self.run = Run(jit(Peak(lanes)), [np.ones(lanes, np.float32)], (), PEAK_TILES)
        self.flops = 2 * PEAK_TILES * PEAK_TURNS * PEAK_CHAINS * lanes

    def rate(self, threads: int, clock: Callable[[], float], budget: float) -> float:
        """FLOP/s of `threads` threads, the best seen in about `budget` seconds of `clock`."""
        return self.flops / best_seconds(lambda: self.run(threads), clock, budget)


def copy_bandwidth(threads: int, budget: float) -> float:
    """Bytes per second, read and written, of memcpy on `threads` threads, each with a part of a large array."""
    source, target = np.ones(COPY_BYTES, np.uint8), np.zeros(COPY_BYTES, np.uint8)
    part = COPY_BYTES // threads

    def copy(thread: int) -> None:
        begin = thread * part
        ctypes.memmove(target.ctypes.data + begin, source.ctypes.data + begin, part)

    return 2 * part * threads / best_seconds(lambda: list(POOL.map(copy, range(threads))), time.perf_counter, budget)


WHOLE = 0.8  # of the best peak: below it some of the machine is somebody else's


class Limits:
    """Peak and bandwidth: the best of all readings, for other processes can only lower one."""

    def __init__(self, threads: int) -> None:
        self.threads, self.arithmetic = threads, ArithmeticPeak(Jit(host_target()))
        self.peak = self.bandwidth = 0.0

    def read(self, seconds: float) -> float:
        """Measure again, for about `seconds` each; the peak of this reading."""
        peak = self.arithmetic.rate(self.threads, time.perf_counter, seconds)
        self.peak = max(self.peak, peak)
        self.bandwidth = max(self.bandwidth, copy_bandwidth(self.threads, seconds))
        return peak

    def are_there(self) -> bool:
        """Whether the machine has its peak at this moment. A virtual one may lose half of it for seconds, when its cores become
        two threads of one."""
        return self.arithmetic.rate(self.threads, time.perf_counter, 0.005) >= WHOLE * self.peak


def description() -> dict[str, str | int]:
    """The machine in words, for people who read a table of times."""
    target = host_target()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": f"{models[0] if models else platform.processor()} ({target.cpu} to LLVM, {target.name})",
        "cores": THREADS,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


class OtherProcesses:
    """How many cores processes other than this one (and its children) keep busy, since it was made."""

    def __init__(self) -> None:
        self.before = self._read()

    @staticmethod
    def _read() -> tuple[float, float, float]:
        """The clock, seconds of work of all cores, seconds of work of this process. Linux's proc(5) has the fields."""
        fields = Path("/proc/stat").read_text().split(maxsplit=9)
        user, nice, system, _, _, irq, softirq, steal = map(int, fields[1:9])
        own = os.times()
        work = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), work, own.user + own.system + own.children_user + own.children_system

    def cores(self) -> float:
        clock, work, own = (now - then for now, then in zip(self._read(), self.before, strict=True))
        return max(0.0, (work - own) / clock)
