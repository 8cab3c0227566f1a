"""Contractions of 8-bit integers against NumPy's: every sum is the same integer."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from contraction_harness import by_data as by_data_of
from contraction_harness import forward, host_targets, plan_matmul, run, unit_of, volume

from tengen.compiler import cache
from tengen.compiler.geometry import ConvShape
from tengen.compiler.kernels.contraction import ContractionKernel
from tengen.compiler.kernels.dtypes import QUADS
from tengen.compiler.schedule.contractions import launches
from tengen.compiler.schedule.contractions import matmul as matmul_schedule
from tengen.compiler.schedule.contractions.problem import ContractionPlan, Storage
from tengen.compiler.schedule.convolutions.forms import conv_by_data, conv_forward
from tengen.compiler.targets import emit, host
from tengen.compiler.targets.host import assembly, available

TARGETS = host_targets(integers=True)
ZEROS = {"int8": (0, -3), "uint8": (0, 77)}
"""What stands for 0 in an operand of activations."""
ALL_KINDS = [(dtype, zero) for dtype, zeros in ZEROS.items() for zero in zeros]
KINDS = pytest.mark.parametrize("dtype, zero", ALL_KINDS)
EVERY_TARGET = pytest.mark.parametrize(
    "target, dtype, zero",
    [(target, *kind) for target in TARGETS for kind in (ALL_KINDS if target is TARGETS[0] else ALL_KINDS[1:3])],
    ids=lambda x: getattr(x, "name", str(x)),
)
"""With all kinds of activations on the best one, and two on the others."""
RNG = np.random.default_rng(0)


@pytest.fixture
def copies_cost_nothing(monkeypatch):
    """Words wherever they are possible, also where the copies take longer than what words save."""
    monkeypatch.setattr(matmul_schedule, "COPY_START", 0)
    monkeypatch.setattr(matmul_schedule, "COPY_WORK", 0)


def numbers(dtype: str, *shape: int) -> np.ndarray:
    """Of which one in four is the least or the greatest."""
    limits = np.iinfo(dtype)
    some = RNG.integers(limits.min, limits.max + 1, shape)
    ends = np.where(RNG.integers(0, 2, shape), limits.min, limits.max)
    return np.where(RNG.integers(0, 4, shape) == 0, ends, some).astype(dtype)


def storage(dtype: str, zero: int, **more) -> Storage:
    return Storage(dtype, "int8", "int32", zero=zero, **more)


def in_words(problem: ContractionPlan) -> bool:
    kernel = problem.launches[0].kernel
    return kernel.a in QUADS.values() and kernel.b == "int8x4"


def check_matmul(a: np.ndarray, b: np.ndarray, zero: int, target) -> ContractionPlan:
    problem, x, y, shape = plan_matmul(a, b, target, storage=storage(a.dtype.name, zero))
    want = (a.astype(np.int64) - zero) @ b.astype(np.int64)
    for backwards in (False, True):
        got = run(problem, target, x, y, shape, np.int32, backwards=backwards)
        np.testing.assert_array_equal(got, want)
    return problem


SIZES = [
    (1, 1, 1),
    (1, 2, 1),
    (1, 7, 33),
    (2, 5, 3),
    (3, 8, 17),
    (5, 64, 16),
    (13, 9, 31),
    (16, 300, 40),
    (64, 400, 120),
    (300, 33, 50),
    (0, 8, 16),
    (8, 0, 16),
    (8, 16, 0),
]


@EVERY_TARGET
@pytest.mark.parametrize("m, k, n", SIZES)
@pytest.mark.usefixtures("copies_cost_nothing")
def test_matmul(target, m, k, n, dtype, zero):
    for a_turned, b_turned in product((False, True), repeat=2):
        a = numbers(dtype, k, m).T if a_turned else numbers(dtype, m, k)
        b = numbers("int8", n, k).T if b_turned else numbers("int8", k, n)
        problem = check_matmul(a, b, zero, target)
        if a.size and b.size:
            assert in_words(problem) == (k > 1)


@EVERY_TARGET
@pytest.mark.parametrize(
    "a_batch, b_batch", [((3,), (3,)), ((3,), (1,)), ((2, 1, 3), (1, 4, 3)), ((2, 3, 1, 2), (1, 3, 2, 1))]
)
@pytest.mark.parametrize("copies", [0, 8])
def test_batches(target, dtype, zero, a_batch, b_batch, copies, monkeypatch):
    monkeypatch.setattr(matmul_schedule, "COPY_WORK", copies)
    for k in (5, 8):
        check_matmul(numbers(dtype, *a_batch, 9, k), numbers("int8", *b_batch, k, 37), zero, target)


@EVERY_TARGET
def test_a_long_sum_is_cut(target, dtype, zero, monkeypatch):
    """Through memory, in several parts."""
    for name, number in {"PANEL_BYTES": 2000, "LONG_BLOCK_K": 20, "TILE_WORK": 2000}.items():
        monkeypatch.setattr(launches, name, number)
    problem = check_matmul(numbers(dtype, 5, 1001), numbers("int8", 1001, 9), zero, target)
    assert problem.launches[0].kernel.blocked
    assert len(problem.launches) == 2


CONVOLUTIONS = [
    ConvShape(2, 8, (9, 7), 12, (3, 3), padding=(1, 1)),
    ConvShape(1, 3, (15, 17), 8, (7, 7), stride=(2, 2), padding=(3, 3)),
    ConvShape(2, 5, (8, 9), 33, (3, 2), stride=(1, 2), padding=(2, 0), dilation=(2, 1)),
    ConvShape(1, 16, (6, 6), 16, (1, 1)),
    ConvShape(2, 16, (7, 8), 20, (1, 1), stride=(2, 2)),
    ConvShape(2, 16, (7, 8), 24, (3, 3), padding=(1, 1), groups=2),
    ConvShape(2, 6, (7, 8), 4, (3, 3), padding=(1, 1), groups=2),
    ConvShape(2, 18, (9, 8), 18, (3, 3), padding=(1, 1), groups=18),
    ConvShape(1, 24, (9, 8), 24, (3, 3), stride=(2, 2), padding=(1, 1), groups=24),
    ConvShape(1, 9, (9, 8), 9, (5, 5), padding=(2, 2), dilation=(2, 2), groups=9),
    ConvShape(1, 6, (9, 8), 12, (3, 3), padding=(1, 1), groups=6),
    ConvShape(0, 8, (5, 4), 4, (1, 1)),
    ConvShape(1, 4, (3, 3), 4, (9, 9), padding=(4, 4)),
    volume(2, 8, (4, 5, 6), 20, (3, 2, 3), (1, 2, 1), (1, 0, 1), (1, 1, 2), groups=2),
]


@EVERY_TARGET
@pytest.mark.parametrize("s", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "padded copy"])
def test_convolution(target, s, dtype, zero, in_place):
    x, w = numbers(dtype, s.n, s.ic, *s.size), numbers("int8", s.oc, s.ic_group, *s.kernel)
    want = forward(x.astype(np.int64) - zero, w, s)
    problem = conv_forward(s, unit_of(target), storage(dtype, zero), in_place)
    got = run(problem, target, x, w, want.shape, np.int32)
    np.testing.assert_array_equal(got, want)
    dy = numbers(dtype, s.n, s.oc, *s.out)
    want = by_data_of(w, dy.astype(np.int64) - zero, s)
    problem = conv_by_data(s, unit_of(target), storage(dtype, zero), in_place)
    got = run(problem, target, dy, w, want.shape, np.int32)
    np.testing.assert_array_equal(got, want)


# -- machines with instructions for it ---------------------------------------------------------------------------------

VNNI = {"icelake-server": host._VNNI, "alderlake": host._AVX_VNNI}
# Those that this machine lacks; where it has all, one of them all the same.
EMULATED = [cpu for cpu, target in VNNI.items() if target.name not in available()] or ["icelake-server"]


def vnni_kernels(target, dtype: str = "int8") -> list:
    problems = [
        plan_matmul(numbers(dtype, 64, 96), numbers("int8", 96, 80), target, storage=storage(dtype, 0))[0],
        conv_forward(CONVOLUTIONS[0], unit_of(target), storage(dtype, 0)),
    ]
    return [launch.kernel for problem in problems for launch in problem.launches]


@pytest.mark.parametrize("cpu", VNNI)
def test_llvm_selects_the_instruction(cpu):
    if "x86-64" not in available():
        pytest.skip("LLVM is told of x86 only on such a machine")
    target = VNNI[cpu]._replace(cpu=cpu, features="-prefer-256-bit")
    for dtype in ("int8", "uint8"):
        for kernel in vnni_kernels(target, dtype):
            code = assembly(emit(kernel, target), target)
            assert "vpdpbusd" in code and "vpmaddwd" not in code


def helper(lanes: int) -> str:
    """What vpdpbusd does, word by word (Intel SDM, volume 2), in LLVM IR."""
    words = f"<{lanes} x i32>"
    lines = [f"define internal {words} @helper({words} %total, {words} %a, {words} %b) {{"]
    total = "%total"
    for byte in range(4):
        up, down = (", ".join([f"i32 {shift}"] * lanes) for shift in (24 - 8 * byte, 24))
        lines += [f"%{name}u{byte} = shl {words} %{name}, <{up}>" for name in "ab"]
        lines += [
            f"%a{byte} = lshr {words} %au{byte}, <{down}>",
            f"%b{byte} = ashr {words} %bu{byte}, <{down}>",
            f"%p{byte} = mul {words} %a{byte}, %b{byte}",
            f"%t{byte} = add {words} {total}, %p{byte}",
        ]
        total = f"%t{byte}"
    return "\n".join([*lines, f"ret {words} {total}", "}"])


def with_helper(kernel, target) -> str:
    """The code of a kernel for such a machine that other machines can run too."""
    text = emit(kernel, target)
    if not isinstance(kernel, ContractionKernel):
        return text
    name = f"llvm.x86.avx512.vpdpbusd.{32 * kernel.lanes}"
    if name not in text:
        return text
    kept = [line for line in text.splitlines() if not (line.startswith("declare") and name in line)]
    return "\n".join(kept).replace(f'@"{name}"', "@helper") + "\n" + helper(kernel.lanes)


@pytest.fixture(params=EMULATED)
def emulated(request, monkeypatch):
    """Such a machine, but for the instruction."""
    monkeypatch.setattr(cache, "emit", with_helper)
    wide = VNNI[request.param]
    return wide._replace(name=f"{wide.name} with a helper", cpu=TARGETS[0].cpu, features=TARGETS[0].features)


@KINDS
@pytest.mark.parametrize("m, k, n", [(64, 400, 120), (13, 9, 31), (300, 33, 50), (5, 64, 16)])
@pytest.mark.usefixtures("copies_cost_nothing")
def test_matmul_where_activations_are_unsigned(emulated, m, k, n, dtype, zero):
    problem = check_matmul(numbers(dtype, m, k), numbers("int8", k, n), zero, emulated)
    assert all("vpdpbusd" in emit(launch.kernel, emulated) for launch in problem.launches)


@KINDS
@pytest.mark.parametrize("s", CONVOLUTIONS[:7], ids=str)
def test_convolution_where_activations_are_unsigned(emulated, s, dtype, zero):
    test_convolution(emulated, s, dtype, zero, True)
    test_convolution(emulated, s, dtype, zero, False)


@KINDS
def test_a_long_sum_where_activations_are_unsigned(emulated, dtype, zero, monkeypatch):
    test_a_long_sum_is_cut(emulated, dtype, zero, monkeypatch)
