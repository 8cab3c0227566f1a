"""Orders of rows against NumPy's stable sort, for every instruction set that this machine has and for a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from double.library import double
from gpu import GPU
from nest_harness import MACHINES, machine
from plans import run_op

from tengen.compiler import compile_program
from tengen.compiler.kernels.device_sort import ROOM, DeviceSort
from tengen.compiler.kernels.target import Target
from tengen.compiler.program import Type, build
from tengen.compiler.targets import emit
from tengen.core.ops.sort import LEAST_PART, PARTS, ArgSort, TopK

random = np.random.default_rng(0)


@pytest.fixture(params=MACHINES)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with machine(request.param) as found:
        yield found


def order(x: np.ndarray, k: int, descending: bool) -> np.ndarray:
    """Backwards twice, so that equal elements keep their order."""
    if descending:
        return (x.shape[-1] - 1 - np.argsort(x[..., ::-1], -1, kind="stable")[..., ::-1])[..., :k]
    return np.argsort(x, -1, kind="stable")[..., :k]


def numbers(dtype: str, *shape: int) -> np.ndarray:
    """Many that are equal, some that are extreme; for floats both zeros, both infinities and nan of both signs as well."""
    x = np.round(random.standard_normal(shape) * 3)
    if dtype.startswith("float"):
        special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 6e-8, -6e-8])
        return np.where(random.random(shape) < 0.4, random.choice(special, shape), x).astype(dtype)
    if dtype == "bool":
        return x > 0
    limits = np.iinfo(dtype)
    extreme = random.choice(np.array([limits.min, limits.max, limits.max - 1], dtype), shape)
    return np.where(random.random(shape) < 0.4, extreme, np.clip(x, limits.min, 99).astype(dtype))


DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64")


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(target: Target, dtype: str, descending: bool) -> None:
    """By insertion into short and long lists, with whole groups of lanes and without, and by radix."""
    x = numbers(dtype, 3, 77)
    for k, length in ((1, 77), (5, 77), (5, 9), (16, 16), (30, 30), (20, 77), (77, 77)):
        (got,) = run_op(ArgSort(k, descending), x[:, :length], target=target)
        np.testing.assert_array_equal(got, order(x[:, :length], k, descending), err_msg=f"{k} of {length}")


@pytest.mark.parametrize("k", [3, 90])
def test_rows_that_lie_apart(target: Target, k: int) -> None:
    x = numbers("float32", 90, 2, 3)
    for view in (x.T, x.T[::-1, :, ::-1], np.broadcast_to(x.T[:1], (3, 2, 90))):
        np.testing.assert_array_equal(run_op(ArgSort(k, True), view, target=target)[0], order(view, k, True))


@pytest.mark.parametrize("bits", [np.uint32, np.uint64])
def test_keys_of_every_digit(target: Target, bits: type) -> None:
    """So that each pass of the radix sort has work, and the highest digit alone does not decide."""
    made = random.integers(0, np.iinfo(bits).max, (2, 9000), bits, endpoint=True)
    x = (made >> random.integers(0, np.iinfo(bits).bits, made.shape).astype(bits)).view(f"i{made.itemsize}")
    for k, length in ((3000, 3000), (700, 3000), (9000, 9000), (1500, 9000)):
        made = x[:, :length]
        np.testing.assert_array_equal(run_op(ArgSort(k, False), made, target=target)[0], order(made, k, False))


@pytest.mark.parametrize("descending", [False, True])
def test_candidates_are_dropped_again_and_again(target: Target, descending: bool) -> None:
    """Of long rows, whose last elements may all be, or may none of them be, among the first k."""
    length, k = 9000, 40
    rising = np.arange(length, dtype=np.float32)
    few = np.round(random.standard_normal((3, length)) * 3).astype(np.float32)
    least = np.where(random.random((1, length)) < 0.5, np.nan, -np.inf).astype(np.float32)
    x = np.concatenate([rising[None], rising[None, ::-1], few, least, np.zeros((1, length), np.float32)])
    for made in (x, np.clip(np.nan_to_num(x), -100, 100).astype(np.int8), (x > 0)):
        (got,) = run_op(ArgSort(k, descending), made, target=target)
        np.testing.assert_array_equal(got, order(made, k, descending))


def test_many_rows_share_the_memory_of_a_tile(target: Target) -> None:
    x = random.standard_normal((700, 40)).astype(np.float32)
    np.testing.assert_array_equal(run_op(ArgSort(40, False), x, target=target)[0], order(x, 40, False))


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_rows_of_every_dtype(target: Target, dtype: str) -> None:
    """A row that ends inside a tile; many equal elements, whose order would show a sort that is not stable."""
    x = numbers(dtype, 1, 4500)
    for k, descending in ((4500, False), (2000, True)):
        (got,) = run_op(ArgSort(k, descending), x, target=target)
        np.testing.assert_array_equal(got, order(x, k, descending))


@pytest.mark.parametrize("length", [50, 4500])
def test_bfloat16(target: Target, length: int) -> None:
    bits = random.choice(np.array([0, 0x8000, 0x3F80, 0xBF80, 0x7F80, 0xFF80, 0x7FC0, 0xFFC0, 1, 0x8001]), (2, length))
    x = bits.astype(np.uint16)
    values = (x.astype(np.uint32) << 16).view(np.float32)
    for descending in (False, True):
        (got,) = run_op(ArgSort(length, descending), x, dtypes={0: "bfloat16"}, target=target)
        np.testing.assert_array_equal(got, order(values, length, descending))


@pytest.mark.parametrize("rows", [(), (2,), (1, 3)])
@pytest.mark.parametrize("k", [1, 30])
def test_a_few_long_rows_are_searched_in_parts(rows: tuple[int, ...], k: int) -> None:
    x = random.integers(0, 5 * LEAST_PART, (*rows, PARTS * LEAST_PART)).astype(np.int32)
    values, places = run_op(TopK(k, True), x)
    want = order(x, k, True)
    np.testing.assert_array_equal(places, want)
    np.testing.assert_array_equal(values, np.take_along_axis(x, want, -1))


def test_rows_without_elements(target: Target) -> None:
    for shape in ((0, 5), (3, 0)):
        values, places = run_op(TopK(shape[1], False), np.zeros(shape, np.float32), target=target)
        assert values.shape == places.shape == shape


# -- on GPUs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", range(4))
def test_the_order_of_threads_does_not_show(threads: int) -> None:
    few, long = numbers("float16", 5, 9), numbers("int64", 1, 5000)
    with double().order(threads):
        for x, k in ((few, 9), (long, 4999), (long, 20)):
            np.testing.assert_array_equal(run_op(ArgSort(k, True), x, target=GPU)[0], order(x, k, True))


def test_candidates_of_candidates() -> None:
    """The parts of a row give so many that these are sorted in parts, too. Equal ones keep their order; a part at the end
    has fewer elements than are wanted."""
    k = ROOM // 4
    x = np.round(random.standard_normal((1, 4 * ROOM + 3)) * 2).astype(np.int8)
    x[0, -1] = -99
    np.testing.assert_array_equal(run_op(ArgSort(k, False), x, target=GPU)[0], order(x, k, False))
    made = np.full((2, ROOM + 5), np.nan, np.float32)
    made[1, -3:] = 1, 0, 1
    np.testing.assert_array_equal(run_op(ArgSort(9, False), made, target=GPU)[0], order(made, 9, False))


def test_how_many_launches_there_are() -> None:
    def steps(dtype: str, length: int, k: int) -> int:
        return len(compile_program(build(ArgSort(k, False), [Type(dtype, (3, length))]), target=GPU).steps)

    assert [steps("float64", length, length) for length in (1, ROOM, ROOM + 1)] == [1, 1, 24]
    assert [steps(dtype, 9000, 9000) for dtype in ("bool", "float16", "int32")] == [3, 6, 12]
    assert [steps("int32", 100 * ROOM, k) for k in (10, 100)] == [2, 3]


def test_a_sort_that_looks_at_the_status_word() -> None:
    text = emit(DeviceSort("rows", "int8", "int32", False, guarded=True), GPU)
    assert text != emit(DeviceSort("rows", "int8", "int32", False), GPU)
