"""What NVIDIA's assembler says of kernels for GPUs: it takes them, and they need no stack. `make test-ptxas` installs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from math import prod
from pathlib import Path

import pytest

from tengen.base import config
from tengen.compiler import compile_program
from tengen.compiler.kernels.target import DeviceTarget
from tengen.compiler.plan import DeviceLaunch
from tengen.compiler.program import Builder, Type, build
from tengen.core.ops.conv import Convolution, ConvolutionBackwardData, ConvolutionBackwardFilter
from tengen.core.ops.elemwise import ROWS, Elemwise, TypeCvt
from tengen.core.ops.formula import LogSoftmax, Softmax
from tengen.core.ops.index import put_op, take_op
from tengen.core.ops.linalg import MatMul, Product
from tengen.core.ops.reduce import Reduce
from tengen.core.ops.scan import CumSum
from tengen.core.ops.shape import Transpose
from tengen.core.ops.sort import ArgSort
from tengen.core.recorded import Recorded

REGISTERS = 65536  # of a multiprocessor
MOST_REGISTERS = 64  # of 65536 in a multiprocessor, for its 2048 threads: half of them at a time
MOST_OF_SUMS = 128  # of a thread that has a part of a tile: registers for 512 threads, with many sums each
MOST_THROUGH_REGISTERS = 168  # the same for 384 threads, where what is copied goes through registers
MOST_WIDE = 88  # for functions of float64, of which a number takes two registers, and for several functions at once
CAPABILITIES = [(7, 5), (8, 0), (9, 0), (10, 0)]
MODES = ["EXP", "TAN", "SIN", "ERF", "POW", "ADD", "MAX", "FLOOR", "TANH", "LOG1P"]


def f32(*shape: int) -> Type:
    return Type("float32", shape)


def transposed_sum(dtype: str) -> Recorded:
    builder = Builder()
    x, y = builder.input(Type(dtype, (64, 100))), builder.input(Type(dtype, (100, 64)))
    return Recorded("transposed sum", builder.finish([Elemwise("ADD")(x, Transpose((1, 0))(y))]))


def sums_of_functions(dtype: str) -> Recorded:
    """Of long rows, for which a block has many threads; each needs many registers."""
    builder = Builder()
    x = builder.input(Type(dtype, (64, 50000)))
    sums = [Reduce("SUM", (1,))(Elemwise(mode)(x)) for mode in ("TAN", "ERF", "LOG1P")]
    return Recorded("sums of functions", builder.finish(sums))


def programs() -> dict[str, tuple[object, list[Type]]]:
    found: dict[str, tuple[object, list[Type]]] = {}
    for mode in MODES:
        op = Elemwise(mode)
        for dtype in ("float32", "bfloat16", "float16"):
            found[f"{mode} {dtype}"] = op, [Type(dtype, (64, 128))] * (2 if mode in ("POW", "ADD", "MAX") else 1)
    for mode, row in ROWS.items():
        if row.function:
            found[f"{mode} float64"] = Elemwise(mode), [Type("float64", (64, 128))] * row.arity
    for dtype in ("int8", "uint8", "int64", "bool", "float64"):
        found[f"to {dtype}"] = TypeCvt(dtype), [f32(64, 128)]
    for axis in (0, 1):
        for mode in ("SUM", "MAX", "PRODUCT"):
            found[f"{mode} {axis}"] = Reduce(mode, (axis,)), [f32(640, 1000)]
        found[f"softmax {axis}"] = Softmax((axis,)), [f32(640, 1000)]
    found["log softmax bfloat16"] = LogSoftmax((1,)), [Type("bfloat16", (64, 5000))]
    for dtype in ("float32", "bfloat16", "int8", "float64"):
        found[f"sum with a transposed one {dtype}"] = (
            transposed_sum(dtype),
            [Type(dtype, (64, 100)), Type(dtype, (100, 64))],
        )
    for dtype in ("float32", "float64"):
        found[f"sums of functions, {dtype}"] = sums_of_functions(dtype), [Type(dtype, (64, 50000))]
    found["take"] = take_op(2, [0], 1), [f32(100, 64), Type("int64", (9,))]
    for dtype in ("float32", "bfloat16", "int32", "int8"):
        types = [Type(dtype, (100, 64)), Type(dtype, (900, 64)), Type("int64", (900,))]
        found[f"put {dtype}"] = put_op("add", 2, [0], 1), types
    found["cumulative sum"] = CumSum(1, False), [f32(8, 4000)]
    for dtype in ("float32", "bfloat16", "float64"):
        found[f"matmul {dtype}"] = MatMul(), [Type(dtype, (300, 500)), Type(dtype, (500, 200))]
        for name, turned in ("", {}), (" of columns", {"transpose_a": True}), (" of rows", {"transpose_b": True}):
            found[f"matmul {dtype}, large{name}"] = Product(**turned), [Type(dtype, (4096, 4096))] * 2
    for dtype in ("float32", "float16", "int64"):
        for length, k in ((100, 100), (9000, 9000), (9000, 20)):
            found[f"argsort {dtype}, {k} of {length}"] = ArgSort(k, False), [Type(dtype, (30, length))]
    found["matmul tf32"] = MatMul(), [f32(300, 500), f32(500, 200)]
    found["matmul tf32, large"] = MatMul(), [f32(4096, 4096)] * 2
    found["matmul of rows"] = Product(transpose_b=True), [f32(300, 500), f32(200, 500)]
    sliding, x, w, y = ((2, 2), (1, 1), (1, 1), 1), f32(8, 64, 28, 28), f32(32, 64, 3, 3), f32(8, 32, 14, 14)
    found["conv2d"] = Convolution(*sliding), [x, w]
    found["conv2d by data"] = ConvolutionBackwardData(*sliding, (28, 28)), [w, y]
    found["conv2d by weight"] = ConvolutionBackwardFilter(*sliding, (3, 3)), [x, y]
    x, w = f32(32, 256, 56, 56), f32(256, 256, 3, 3)
    found["conv2d, large"] = Convolution((1, 1), (1, 1), (1, 1), 1), [x, w]
    found["conv2d by weight, large"] = ConvolutionBackwardFilter((1, 1), (1, 1), (1, 1), 1, (3, 3)), [x, x]
    found["conv2d tf32, large"] = Convolution((1, 1), (1, 1), (1, 1), 1), [x, w]
    found["conv2d by weight tf32, large"] = ConvolutionBackwardFilter((1, 1), (1, 1), (1, 1), 1, (3, 3)), [x, x]
    volume, w = f32(2, 64, 16, 28, 28), f32(64, 64, 3, 3, 3)
    found["conv3d"] = Convolution((1,) * 3, (1,) * 3, (1,) * 3, 1), [volume, w]
    return found


PROGRAMS = programs()


@pytest.fixture(scope="module")
def ptxas() -> Path:
    """The assembler of the package nvidia-cuda-nvcc, or the one that PTXAS names."""
    if path := os.environ.get("PTXAS"):
        return Path(path)
    found = shutil.which("ptxas")
    assert found, "no ptxas: make test-ptxas, or PTXAS=path"
    return Path(found)


@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda c: f"sm_{c[0]}{c[1]}")
@pytest.mark.parametrize("name", PROGRAMS)
def test_kernels_are_taken_and_need_no_stack(
    ptxas: Path, tmp_path: Path, name: str, capability: tuple[int, int]
) -> None:
    op, types = PROGRAMS[name]
    target = DeviceTarget("nvidia", capability)
    with config.override(tf32="tf32" in name):
        steps = compile_program(build(op, types), target=target).steps
    if "tf32" in name and capability >= (8, 0):
        assert any(isinstance(s, DeviceLaunch) and "f32.tf32.tf32.f32" in s.kernel.ptx for s in steps)
    for number, step in enumerate(steps):
        assert isinstance(step, DeviceLaunch)
        text, code = tmp_path / f"{number}.ptx", tmp_path / f"{number}.cubin"
        text.write_text(step.kernel.ptx)
        command = [ptxas, "-v", "-arch", target.name, text, "-o", code]
        said = subprocess.run(command, check=True, capture_output=True, text=True)
        words = said.stdout + said.stderr
        assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in words, (step.name, words)
        (registers,) = re.findall(r"Used (\d+) registers", words)
        most = MOST_REGISTERS
        if name.endswith("float64") or name.startswith("sums of functions"):
            most = MOST_WIDE
        if name.startswith(("matmul", "conv")):
            most = MOST_OF_SUMS if "cp.async" in step.kernel.ptx else MOST_THROUGH_REGISTERS
        assert int(registers) <= most, (step.name, registers)
        assert int(registers) * prod(step.grid.block) <= REGISTERS, (step.name, registers, step.grid.block)
