"""float64, and integers, become float16 or bfloat16 by one rounding: a number beside a tie is not rounded to the tie first, as it were by way
of float32."""

from __future__ import annotations

import math

import numpy as np
import pytest
from plans import run_op

import tengen
import tengen.functional as F
from tengen import Tensor
from tengen.base.dtype import held
from tengen.compiler.program import Builder, Type
from tengen.core.convert import to_numpy
from tengen.core.ops.index import take_op
from tengen.core.ops.shape import Concatenate, Copy, Pad, Reshape, Slice, Transpose
from tengen.core.recorded import Recorded
from tengen.jit import trace

DIGITS, SMALLEST, LIMIT = (
    {"float16": 11, "bfloat16": 8},
    {"float16": -24, "bfloat16": -133},
    {"float16": 16, "bfloat16": 128},
)


def once(number: float, dtype: str) -> float:
    """The nearest number that the dtype has, by the definition of its digits."""
    if not math.isfinite(number) or number == 0:
        return number
    unit = 2.0 ** max(math.frexp(number)[1] - DIGITS[dtype], SMALLEST[dtype])
    near = round(abs(number) / unit) * unit  # the quotient is exact, and Python rounds halves to even
    return math.copysign(near if near < 2.0 ** LIMIT[dtype] else math.inf, number)


def beside_ties(dtype: str) -> np.ndarray:
    random, unit = np.random.default_rng(3), 2.0 ** SMALLEST[dtype]
    digits = 2 ** (DIGITS[dtype] - 1)
    ties = (random.integers(digits, 2 * digits, 60) + 0.5) * 2.0 ** random.integers(-12, 4, 60) / digits
    ties = np.concatenate(
        [ties, (np.arange(4) + 0.5) * unit, [2.0 ** LIMIT[dtype] - 2.0 ** (LIMIT[dtype] - DIGITS[dtype] - 1)]]
    )
    beside = np.concatenate([ties, ties * (1 + 2.0**-40), ties * (1 - 2.0**-40)])
    return np.concatenate([beside, -beside, [0.0, -0.0, np.inf, -np.inf, np.nan, 1e300, -1e-300, 5e-324, 0.1]])


NUMBERS = {dtype: beside_ties(dtype) for dtype in DIGITS}


def some(dtype: str) -> np.ndarray:
    chosen = NUMBERS[dtype][60:80]
    return chosen[chosen < 1e4]


#: How float64 numbers get into a tensor of the dtype: (numbers, dtype) → tensor.
WAYS = {
    "astype": lambda x, dtype: Tensor(x, dtype="float64").astype(dtype),
    "traced": lambda x, dtype: trace(lambda t: (t * 1.0).astype(dtype))(Tensor(x, dtype="float64")),
    "made of an array": lambda x, dtype: Tensor(x, dtype=dtype),
    "made of a list": lambda x, dtype: Tensor(x.tolist(), dtype=dtype),
    "assigned": lambda x, dtype: assigned(x, dtype, Tensor(x, dtype="float64")),
    "an array assigned": lambda x, dtype: assigned(x, dtype, x),
    "scattered": lambda x, dtype: indexed(x, dtype),
}
ONE_BY_ONE = {
    "full": lambda v, dtype: F.full((1,), v, dtype=dtype),
    "arange": lambda v, dtype: F.arange(v, v + 1, 1, dtype=dtype)[:1],
    "linspace": lambda v, dtype: F.linspace(v, v + 1, 2, dtype=dtype)[:1],
    "where": lambda v, dtype: F.where(Tensor([False]), F.zeros(1, dtype=dtype), v),
    "pad": lambda v, dtype: F.nn.pad(F.zeros((1,), dtype=dtype), ((1, 0),), constant_value=v)[:1],
    "a number assigned": lambda v, dtype: assigned(np.zeros(1), dtype, v),
    "full, traced": lambda v, dtype: trace(lambda: F.full((1,), v, dtype=dtype))(),
}


def assigned(x: np.ndarray, dtype: str, value: object) -> Tensor:
    result = F.zeros(x.shape, dtype=dtype)
    result[...] = value
    return result


def indexed(x: np.ndarray, dtype: str) -> Tensor:
    result = F.zeros(x.shape, dtype=dtype)
    result[np.arange(x.size)] = Tensor(x, dtype="float64")
    return result


def check(result: tengen.Tensor, numbers: np.ndarray, dtype: str) -> None:
    assert result.desc.dtype == dtype
    np.testing.assert_array_equal(to_numpy(result).astype(float), [once(float(v), dtype) for v in numbers])


@pytest.mark.parametrize("dtype", DIGITS)
@pytest.mark.parametrize("way", WAYS)
def test_arrays(way, dtype):
    x = NUMBERS[dtype]
    with np.errstate(over="ignore"):
        check(WAYS[way](x, dtype), x, dtype)


@pytest.mark.parametrize("dtype", DIGITS)
@pytest.mark.parametrize("way", ONE_BY_ONE)
def test_numbers(way, dtype):
    x = some(dtype)
    check(F.concat([ONE_BY_ONE[way](float(v), dtype) for v in x]), x, dtype)


@pytest.mark.parametrize("dtype", DIGITS)
def test_one_number(dtype):
    found = [held(dtype, float(v)) for v in NUMBERS[dtype]]
    np.testing.assert_array_equal(found, [once(float(v), dtype) for v in NUMBERS[dtype]])


def test_the_truth():
    x = NUMBERS["float16"]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal([once(float(v), "float16") for v in x], x.astype(np.float16))


def integers_beside_ties(dtype: str) -> np.ndarray:
    """Integers of a dtype next to what lies in the middle of two bfloat16, many of more digits than float32, or float64, has."""
    random, most = np.random.default_rng(5), np.iinfo(dtype).bits - 2
    ties = (2 * random.integers(128, 256, 300) + 1).astype(object) << random.integers(0, most - 8, 300).astype(object)
    beside = [n + by for n in ties for by in (-1, 0, 1)] + [np.iinfo(dtype).max, -np.iinfo(dtype).max - 1, 0, 1, -1]
    return np.array([n for n in beside if n <= np.iinfo(dtype).max] + [-n for n in beside[:-5]], dtype)


def once_of_integer(number: int) -> float:
    """The nearest bfloat16 of an integer."""
    step = 1 << max(abs(number).bit_length() - 8, 0)
    low = abs(number) // step
    twice = 2 * (abs(number) - low * step)
    near = low + (twice > step or (twice == step and low % 2 == 1))
    return math.copysign(near * step, number)


INTEGER_WAYS = {
    "astype": lambda x: Tensor(x, dtype=x.dtype.name).astype("bfloat16"),
    "computed before": lambda x: (-Tensor(x, dtype=x.dtype.name) * -1).astype("bfloat16"),
    "made of an array": lambda x: Tensor(x, dtype="bfloat16"),
    "made of a list": lambda x: Tensor(x.tolist(), dtype="bfloat16"),
    "assigned": lambda x: assigned(x, "bfloat16", Tensor(x, dtype=x.dtype.name)),
    "numbers": lambda x: F.stack([F.full((), int(n), dtype="bfloat16") for n in x[::40]]),
}


@pytest.mark.parametrize("source", ["int32", "int64"])
@pytest.mark.parametrize("way", INTEGER_WAYS)
def test_integers_are_rounded_once(way, source):
    x = integers_beside_ties(source)
    got = to_numpy(INTEGER_WAYS[way](x)).astype(np.float64)
    wanted = [once_of_integer(int(n)) for n in (x[::40] if way == "numbers" else x)]
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("source", ["uint8", "int8", "uint16", "int16", "int32", "int64", "bool"])
@pytest.mark.parametrize("target", ["float16", "float32", "float64", "bfloat16"])
def test_integers_become_floats_as_in_numpy(source, target):
    if source == "bool":
        x = np.array([True, False])
    else:
        limits = np.iinfo(source)
        random = np.random.default_rng(1)
        x = np.concatenate([random.integers(limits.min, limits.max, 500, source), [limits.min, limits.max, 1, 0]])
        x = np.concatenate([x, x >> 5, x >> 11, x >> 37 if limits.bits == 64 else x]).astype(source)
    got = to_numpy(Tensor(x, dtype=source).astype(target)).astype(np.float64)
    if target == "bfloat16":
        np.testing.assert_array_equal(got, [once_of_integer(int(n)) for n in x])
    else:
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(got, x.astype(target).astype(np.float64))


@pytest.mark.parametrize("wrap", [trace, lambda f: trace(f, without_host=True), tengen.fuse, lambda f: f])
@pytest.mark.parametrize("dtype", DIGITS)
def test_a_conversion_that_the_program_asks_for_rounds_in_traces_too(dtype, wrap):
    """Elsewhere small floats keep the digits of float32 from one op of a trace to the next."""
    numbers = [1.0001, -3.14159, 70000.0, 1e-9, 0.1]
    function = wrap(lambda x: x.astype(dtype).astype("float32") * 1.0)
    for _ in range(2):
        got = function(Tensor(np.array(numbers, np.float32)))
        want = [once(float(np.float32(number)), dtype) for number in numbers]
        np.testing.assert_array_equal(got.numpy(), np.array(want, np.float32))


@pytest.mark.parametrize("dtype", sorted(DIGITS))
def test_what_is_only_moved_keeps_all_bits(dtype: str) -> None:
    """Those of a signalling NaN too: no kernel makes another number of it on its way."""
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(64, 1024)
    x = bits if dtype == "bfloat16" else bits.view(np.float16)
    rows = np.array([5, -1, 5, 60])
    padded, turned = np.pad(bits[:, ::3], 1), bits.T.reshape(-1)
    for op, more, want in (
        (Concatenate(1), [x], np.concatenate([bits, bits], 1)),
        (take_op(2, (0,), 1), [rows], bits[rows]),
        (Recorded("moved", recorded(lambda v: Copy("cpu0")(Pad((1, 1), (1, 1), 0.0)(Slice((0, 0), (64, 342), (1, 3))(v))), dtype)), [], padded),
        (Recorded("moved", recorded(lambda v: Reshape((1 << 16,))(Transpose((1, 0))(v)), dtype)), [], turned),
    ):  # fmt: skip
        (got,) = run_op(op, x, *more, dtypes={0: dtype, **({1: dtype} if more and more[0] is x else {})})
        np.testing.assert_array_equal(got.view(np.uint16), want)


def recorded(function, dtype: str):
    builder = Builder()
    return builder.finish([function(builder.input(Type(dtype, (64, 1024))))])


def test_what_is_moved_and_calculated_with_in_one_kernel() -> None:
    x = np.random.default_rng(0).standard_normal((6, 70)).astype(np.float16)

    @tengen.fuse
    def both(v):
        return v * 2, v.transpose(1, 0).reshape(-1)

    doubled, moved = both(Tensor(x))
    np.testing.assert_array_equal(doubled.numpy(), x * 2)
    np.testing.assert_array_equal(moved.numpy(), x.T.reshape(-1))
