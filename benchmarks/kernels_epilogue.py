"""What element-wise nodes after a contraction cost: in its kernel, in a kernel of their own, and the contraction alone.

    python benchmarks/kernels_epilogue.py            all cases, on one thread
    python benchmarks/kernels_epilogue.py matmul     only those whose name contains a word

The three take turns, many times; the figures are lower quartiles, as other processes may run too. Packed weights are not
timed: the runtime keeps them.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from machine import KERNEL, Run

from tengen.compiler import compile_program
from tengen.compiler.plan import Launch, Plan
from tengen.compiler.program import Builder, Program, Type, Value
from tengen.compiler.view import View, contiguous, dense
from tengen.core.ops.conv import Convolution
from tengen.core.ops.elemwise import Elemwise, TypeCvt
from tengen.core.ops.formula import Activation
from tengen.core.ops.linalg import MatMul

Function = Callable[..., Value]
RELU = Elemwise("RELU")
TURNS = 40

ENDINGS: dict[str, tuple[str, Function]] = {
    "bias": ("c", lambda y, bias: y + bias),
    "norm relu": ("cc", lambda y, scale, shift: RELU(y * scale + shift)),
    "norm residual relu": ("ccf", lambda y, scale, shift, residual: RELU(y * scale + shift + residual)),
    "gelu": ("", lambda y: Activation("gelu").expand(y)),
    "bias gelu": ("c", lambda y, bias: Activation("gelu").expand(y + bias)),
    "bfloat16": ("", lambda y: TypeCvt("bfloat16")(y)),
}
"""The operands (c: one for each channel, f: the size of the result) and the nodes."""


def cases() -> Iterator[tuple[str, Function, list[tuple[int, ...]], str]]:
    """(name, contraction, shapes of its operands, ending)"""
    for name, ic, size, oc, k, stride, groups, ending in (
        ("64-64 3x3 56", 64, 56, 64, 3, 1, 1, "norm residual relu"),
        ("64-256 1x1 56", 64, 56, 256, 1, 1, 1, "norm residual relu"),
        ("64-256 1x1 56", 64, 56, 256, 1, 1, 1, "norm relu"),
        ("256-64 1x1 56", 256, 56, 64, 1, 1, 1, "norm relu"),
        ("256-256 3x3 14", 256, 14, 256, 3, 1, 1, "norm residual relu"),
        ("3-64 7x7/2 224", 3, 224, 64, 7, 2, 1, "norm relu"),
        ("3-64 3x3 112", 3, 112, 64, 3, 1, 1, "bias"),
        ("128 depthwise 56", 128, 56, 128, 3, 1, 128, "norm relu"),
    ):
        op = Convolution((stride, stride), (k // 2, k // 2), (1, 1), groups)
        yield f"conv {name} b8", op, [(8, ic, size, size), (oc, ic // groups, k, k)], ending
    for ending in ("bias", "gelu", "bias gelu", "bfloat16"):
        yield "matmul 1024x512x2048", MatMul(), [(1024, 512), (512, 2048)], ending


def program(function: Function, shapes: Sequence[tuple[int, ...]]) -> Program:
    builder = Builder()
    return builder.finish([function(*(builder.input(Type("float32", shape)) for shape in shapes))])


def compiled(function: Function, shapes: Sequence[tuple[int, ...]]) -> Plan:
    """A Plan for images that lie channels-last."""
    images = [len(shape) == 4 and shape[0] > 1 and shape[2:] > (7, 7) for shape in shapes]
    views = [
        View(shape, dense(shape, (0, 2, 3, 1))) if image else contiguous(shape)
        for shape, image in zip(shapes, images, strict=True)
    ]
    return compile_program(program(function, shapes), views)


def memory(size: int) -> np.ndarray:
    """Random numbers at an address that vectors like, as the runtime has them."""
    raw = np.zeros(size + 64, np.uint8)
    found = raw[-raw.ctypes.data % 64 :][:size]
    found[: size // 4 * 4].view(np.float32)[:] = np.random.default_rng(0).random(size // 4, np.float32)
    return found


def runner(plan: Plan, shapes: Sequence[tuple[int, ...]]) -> Callable[[], None]:
    """Runs all launches of a Plan but those that pack weights, which have run once."""
    slots = [memory(4 * int(np.prod(shape))) for shape in shapes] + [memory(size) for size in plan.allocations]
    packs = {step for _, _, step in plan.layouts}
    runs = []
    for number, step in enumerate(plan.steps):
        assert isinstance(step, Launch)
        run = Run(KERNEL(step.address), [slots[s][at:] for s, at in step.buffers], step.params, step.tiles)
        run(1)
        if number not in packs:
            runs.append(run)

    def all_launches() -> None:
        for run in runs:
            run(1)

    return all_launches


def seconds(function: Callable[[], None]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def main(words: list[str]) -> None:
    print(f"{'case':42s} alone (ms)    one kernel    two kernels")
    for name, contraction, shapes, ending in cases():
        if not all(word in f"{name} {ending}" for word in words):
            continue
        kinds, nodes = ENDINGS[ending]
        product = program(contraction, shapes).outputs[0].shape
        channels = (product[1], 1, 1) if len(product) == 4 else product[-1:]
        extra = [channels if kind == "c" else product for kind in kinds]

        def both(a: Value, b: Value, *operands: Value, op: Function = contraction, end: Function = nodes) -> Value:
            return end(op(a, b), *operands)

        parts = (contraction, shapes), (both, [*shapes, *extra]), (nodes, [product, *extra])
        runs = [runner(compiled(function, given), given) for function, given in parts]
        times = [[seconds(run) for run in runs] for _ in range(TURNS)]
        alone, fused, after = (1e3 * statistics.quantiles(column)[0] for column in zip(*times, strict=True))
        print(f"{name + ' ' + ending:42s} {alone:10.3f}    {fused:10.3f}    {alone + after:11.3f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
