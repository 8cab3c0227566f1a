"""Map/reduce kernels against memcpy: GB/s of memory read and written, best and median of many runs, on one core and on two.

python benchmarks/kernels_nest.py [--seconds 0.5]
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tengen.compiler.cache import compile_kernels
from tengen.compiler.kernels.nest import Access, AccessNumbers, Instr, Nest
from tengen.compiler.kernels.nest_tiling import NestSource, launch_parameters
from tengen.compiler.targets.host import host_target

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
NONE = AccessNumbers()


@dataclass
class Case:
    """A kernel and its launch. moved: bytes that must be read and written."""

    name: str
    nest: Nest
    extents: tuple[int, ...]
    numbers: tuple[AccessNumbers, ...]
    buffers: tuple[np.ndarray, ...]

    @property
    def moved(self) -> int:
        return sum(b.nbytes for b in self.buffers)

    def runner(self, threads: int) -> Callable[[], object]:
        """A function that runs all tiles, shared evenly between `threads`."""
        (address,) = compile_kernels([NestSource(self.nest)], host_target())
        kernel = KERNEL(address)
        params, tiles = launch_parameters(self.nest, self.extents, self.numbers)
        pointers, packed = np.array([b.ctypes.data for b in self.buffers]), np.array(params)
        where = pointers.ctypes.data, packed.ctypes.data
        edges = [tiles * i // threads for i in range(threads + 1)]
        if threads == 1:
            return lambda: (kernel(*where, 0, tiles), pointers, packed)
        pool = ThreadPoolExecutor(threads)
        return lambda: (
            list(pool.map(lambda i: kernel(*where, edges[i], edges[i + 1]), range(threads))),
            pointers,
            packed,
        )


def access(*steps: str) -> Access:
    return Access("float32", steps)


def strides(*numbers: int) -> AccessNumbers:
    return AccessNumbers(numbers)


def maps(size: int) -> list[Case]:
    rng = np.random.default_rng(0)
    a, b, out = (rng.standard_normal(size, np.float32) for _ in range(3))
    load, other = Instr("load", attr=0), Instr("load", attr=1)
    zero = Instr("const", attr=0.0)
    line = access("1")
    copy = Nest(1, 1, 0, (line, line), (load, Instr("store", (0,), attr=1)))
    relu = Nest(1, 1, 0, (line, line), (load, zero, Instr("max", (0, 1)), Instr("store", (2,), attr=1)))
    add = Nest(1, 1, 0, (line, line, line), (load, other, Instr("add", (0, 1)), Instr("store", (2,), attr=2)))
    exp = Nest(1, 1, 0, (line, line), (load, Instr("exp", (0,)), Instr("store", (1,), attr=1)))
    words = f"{size >> 20}M"
    return [
        Case(f"copy {words}", copy, (size,), (NONE,) * 2, (a, out)),
        Case(f"relu {words}", relu, (size,), (NONE,) * 2, (a, out)),
        Case(f"add {words}", add, (size,), (NONE,) * 3, (a, b, out)),
        Case(f"exp {words}", exp, (size,), (NONE,) * 2, (a, out)),
    ]


def reductions() -> list[Case]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1024, 1024), np.float32)
    y, row = np.empty_like(x), np.empty(1024, np.float32)
    pixels = rng.standard_normal((32 * 56 * 56, 64), np.float32)
    channels = np.empty(64, np.float32)
    load, sum_ = Instr("load", attr=0), Instr("reduce", (0,), attr="sum")
    softmax = Nest(
        2, 1, 1, (access("n", "1"), access("n", "1")),
        (load, Instr("reduce", (0,), attr="max"), Instr("sub", (0, 1)), Instr("exp", (2,)), Instr("reduce", (3,), attr="sum"),
         Instr("div", (3, 4)), Instr("store", (5,), attr=1)),
    )  # fmt: skip
    row_sum = Nest(2, 1, 1, (access("n", "1"), access("n", "0")), (load, sum_, Instr("store", (1,), attr=1)))
    column_sum = Nest(2, 1, 0, (access("1", "n"), access("1", "0")), (load, sum_, Instr("store", (1,), attr=1)))
    transpose = Nest(2, 2, 1, (access("n", "n"), access("n", "1")), (load, Instr("store", (0,), attr=1)))
    square, flipped = np.ascontiguousarray(x[:1000, :1000]), np.empty((1000, 1000), np.float32)
    return [
        Case("softmax 1024x1024", softmax, (1024, 1024), (strides(1024),) * 2, (x, y)),
        Case("row sum 1024x1024", row_sum, (1024, 1024), (strides(1024), strides(1)), (x, row)),
        Case("column sum 1024x1024", column_sum, (1024, 1024), (strides(1024), NONE), (x, row)),
        Case("channel sum 100352x64", column_sum, (64, len(pixels)), (strides(64), NONE), (pixels, channels)),
        Case("transpose 1000x1000", transpose, (1000, 1000), (strides(1, 1000), strides(1000)), (square, flipped)),
    ]


def measure(function: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Best and median seconds of one call."""
    times: list[float] = []
    function()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times), statistics.median(times)


def report(name: str, moved: int, readings: Sequence[tuple[float, float]]) -> None:
    cells = "   ".join(f"{moved / best / 1e9:7.1f} {moved / median / 1e9:7.1f}" for best, median in readings)
    print(f"{name:24s} {cells}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each reading")
    seconds = parser.parse_args().seconds
    print(f"{host_target().name}; GB/s, best and median: 1 thread, then 2 threads")
    for size in (1 << 20, 1 << 24):
        a, b = np.ones(size, np.float32), np.empty(size, np.float32)
        report(
            f"memcpy {size >> 20}M",
            2 * a.nbytes,
            [measure(lambda a=a, b=b: ctypes.memmove(b.ctypes.data, a.ctypes.data, a.nbytes), seconds)],
        )
        for case in maps(size):
            report(case.name, case.moved, [measure(case.runner(threads), seconds) for threads in (1, 2)])
    for case in reductions():
        report(case.name, case.moved, [measure(case.runner(threads), seconds) for threads in (1, 2)])


if __name__ == "__main__":
    main()
