"""How float16 and bfloat16 lie in memory, and what is rounded on the way there, for every instruction set that this machine has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from nest_harness import MACHINES, Code, Problem, array, bits_of, machine, numbers_of, unary

from tengen.compiler.kernels.nest import UNARY
from tengen.compiler.kernels.target import Target

random = np.random.default_rng(0)


@pytest.fixture(params=MACHINES)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with machine(request.param) as found:
        yield found


SPECIAL = [0.0, -0.0, 1.0, -2.5, np.inf, -np.inf, np.nan, 65504, 65519.9, 65520, 3e38, 1.0005, 2049, 2051]
TINY = [1e-7, 6e-8, 2.98e-8, 2.99e-8, 1e-5, 1e-40]


def test_float16_round_trip_of_every_value(target: Target) -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    problem = unary("neg", every, "float16", "float16")
    problem.run(target)
    got, want = problem.operands[1].flat, -every
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_array_equal(got[~np.isnan(want)].view(np.uint16), want[~np.isnan(want)].view(np.uint16))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_floats_round_to_nearest_even(target: Target, dtype: str) -> None:
    with np.errstate(over="ignore"):
        x = np.concatenate([SPECIAL, TINY, random.standard_normal(300) * 10.0 ** random.integers(-8, 5, 300)]).astype(
            np.float32
        )
    problem = unary("cast", x, "float32", dtype)
    problem.run(target)
    got, want = numbers_of(dtype, problem.operands[1].flat), numbers_of(dtype, bits_of(dtype, x))
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(want))
    rounded = unary("round_to", x, "float32", "float32", attr=dtype)
    rounded.run(target)
    np.testing.assert_array_equal(rounded.operands[1].flat, want.astype(np.float32))


def test_float64_rounded_to_odd_is_rounded_once_in_all(target: Target) -> None:
    ties = (1 + 2 * np.arange(2048)) * 2.0 ** random.integers(-26, 5, 2048) / 2048
    x = np.concatenate([ties, ties * (1 + 2.0**-50), ties * (2.0**-50 - 1), SPECIAL, TINY, [1e300, -1e-300, 5e-324]])
    problem = unary("cast", x, "float64", "float16", attr="odd")
    problem.run(target)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(problem.operands[1].flat.view(np.uint16), x.astype(np.float16).view(np.uint16))


def test_functions_between_float64_and_float16_need_no_library(target: Target) -> None:
    """LLVM may narrow what a function reads, and not only its result: it had made copysign take a sign of float16 out of a float64."""
    x = random.standard_normal(37)
    for op in (*UNARY, "atan2", "pow", "mod", "fmod", "floor_div"):
        if op not in ("not", "isnan", "isinf"):
            c = Code()
            a = c("cast", c.load(0, "float64"))
            c.store(c(op, *[a] * (1 if op in UNARY else 2)), 1)
            Problem((x.size,), 1, 0, [array("float64", x), array("float16", np.zeros(x.size))], c).run(target)


def test_bfloat16_nan_with_a_small_payload_stays_nan(target: Target) -> None:
    x = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF], np.uint32).view(np.float32)
    problem = unary("neg", x, "float32", "bfloat16")
    problem.run(target)
    assert np.isnan(numbers_of("bfloat16", problem.operands[1].flat)).all()
