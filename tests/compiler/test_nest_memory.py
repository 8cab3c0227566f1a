"""Memory instructions of nests: bounds, gathers, scatters, running numbers and parameters."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from nest_harness import MACHINES, Code, Memory, Problem, array, check, copies, machine

from tengen.compiler.kernels.nest import Access, AccessNumbers, Nest
from tengen.compiler.kernels.nest_tiling import launch_parameters
from tengen.compiler.kernels.target import Target

random = np.random.default_rng(0)


@pytest.fixture(params=MACHINES)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with machine(request.param) as found:
        yield found


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape, np.float32)


class Guarded:
    """Values between two walls of nan: reading beyond the ends shows in the result."""

    def __init__(self, values: np.ndarray):
        self.flat = np.full(values.size + 512, np.nan, np.float32)
        self.flat[256:-256] = values.ravel()
        self.origin = 256


# -- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", (0, 1))
@pytest.mark.parametrize("width", (5, 40))
def test_padding(target: Target, lane: int, width: int) -> None:
    """Rows and columns of padding around an image: dim 0 is the row, dim 1 the column of the result."""
    x = Guarded(floats(4, width))
    bounds = ((-1, 4, {0: 1}, 0), (-2, width, {1: 1}, 0))
    operand = Memory("float32", x.flat, (width, 1), x.origin - width - 2, bounds, fill=-1.5)
    c = Code()
    c.store(c.load(0), 1)
    check(Problem((6, width + 4), 2, lane, [operand, array("float32", floats(6, width + 4))], c), target)


@pytest.mark.parametrize("lane", (0, 1, 3))
def test_pooling_window_with_padding(target: Target, lane: int) -> None:
    """Maximum over windows of 3 x 3 with stride 2 and padding 1; dims: row, column, window row, window column."""
    x = Guarded(floats(20, 37))
    bounds = ((-1, 20, {0: 2, 2: 1}, 0), (-1, 37, {1: 2, 3: 1}, 0))
    operand = Memory("float32", x.flat, (74, 2, 37, 1), x.origin - 38, bounds, fill=-np.inf)
    c = Code()
    c.store(c.reduce("max", c.load(0)), 1)
    check(Problem((10, 19, 3, 3), 2, lane, [operand, array("float32", floats(10, 19), (19, 1, 0, 0))], c), target)


@pytest.mark.parametrize("dtype", ["float32", "bool", "int8", "bfloat16", "float64"])
@pytest.mark.parametrize("lane", (0, 1))
def test_divisor_and_fill_in_every_width(target: Target, lane: int, dtype: str) -> None:
    """Positions 3 * i + j - 2 of 30 that are multiples of 4."""
    compute = {"bool": "bool", "int8": "int32", "bfloat16": "float32"}.get(dtype, dtype)
    c = Code()
    c.store(c.load(0, compute), 1)
    fill = True if dtype == "bool" else 7.0
    operand = Memory(
        dtype, array(dtype, random.integers(0, 2, 600)).flat, (3, 1), 200, ((-2, 30, {0: 3, 1: 1}, 4),), fill
    )
    check(Problem((21, 19), 2, lane, [operand, array(dtype, np.zeros((21, 19)))], c), target)


@pytest.mark.parametrize("lane", (0, 1))
def test_store_with_bounds(target: Target, lane: int) -> None:
    c = Code()
    c.store(c.load(0), 1)
    bounds = ((-1, 3, {0: 1}, 0), (2, 30, {1: -1}, 0), (-3, 60, {1: 1}, 0))
    out = Memory("float32", floats(400).ravel(), (40, 1), 60, bounds)
    check(Problem((5, 37), 2, lane, [array("float32", floats(5, 37)), out], c), target)


# -- gather ----------------------------------------------------------------------------------------------------------


def embedding(rows: np.ndarray, table: np.ndarray) -> Problem:
    """out[i, j] = table[rows[i], j]."""
    c = Code()
    index = c("cast", c.load(0, "int32"), dtype="int64")
    c.store(c("gather", index, attr=1), 2)
    count, length = table.shape
    gathered = Memory("float32", table.ravel(), (0, 1), indirect=((length, count),))
    return Problem(
        (rows.size, length),
        2,
        1,
        [array("int32", rows, (1, 0)), gathered, array("float32", floats(rows.size, length))],
        c,
    )


@pytest.mark.parametrize("length", (1, 7, 16, 70))
def test_embedding(target: Target, length: int) -> None:
    assert check(embedding(random.integers(-11, 11, 40), floats(11, length)), target) == 0


def test_gather_with_the_index_in_the_lanes(target: Target) -> None:
    """out[i, j] = x[i, k[i, j], m[j]], two indices."""
    c = Code()
    first, second = c.load(0, "int64"), c.load(1, "int64")
    c.store(c("gather", first, second, attr=2), 3)
    x = Memory("float32", floats(5, 6, 7).ravel(), (42, 0), indirect=((7, 6), (1, 7)))
    k, m = array("int64", random.integers(-6, 6, (5, 33))), array("int64", random.integers(0, 7, 33), (0, 1))
    operands = [k, m, x, array("float32", floats(5, 33))]
    assert check(Problem((5, 33), 2, 1, operands, c), target) == 0


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "int64"])
def test_gather_of_other_widths(target: Target, dtype: str) -> None:
    c = Code()
    c.store(
        c("gather", c.load(0, "int64"), dtype={"float16": "float32", "uint8": "int32"}.get(dtype, dtype), attr=1), 2
    )
    x = Memory(dtype, array(dtype, random.integers(0, 2, 50)).flat, (0,), indirect=((1, 50),))
    assert (
        check(
            Problem((37,), 1, 0, [array("int64", random.integers(0, 50, 37)), x, array(dtype, np.zeros(37))], c), target
        )
        == 0
    )


@pytest.mark.parametrize("bad", (11, -12, 10**12, -(10**12)))
def test_index_out_of_range_sets_the_status(target: Target, bad: int) -> None:
    rows = random.integers(-11, 11, 40).astype(np.int64)
    c = Code()
    c.store(c("gather", c.load(0, "int64"), c.const(0, "int64"), attr=1), 2)
    table = Memory("float32", floats(11), (0,), indirect=((0, 1), (1, 11)))
    swapped = Code()
    swapped.store(swapped("gather", swapped.const(0, "int64"), swapped.load(0, "int64"), attr=1), 2)
    for position in (0, 17, 39):
        wrong = rows.copy()
        wrong[position] = bad
        operands = [array("int64", wrong), table, array("float32", floats(40))]
        assert check(Problem((40,), 1, 0, operands, swapped), target) == 2
    flipped = Memory("float32", table.flat, (0,), indirect=((1, 11), (0, 1)))
    assert check(Problem((40,), 1, 0, [array("int64", wrong), flipped, array("float32", floats(40))], c), target) == 1
    per_row = embedding(
        np.where(rows == rows[0], np.clip(bad, -(2**31), 2**31 - 1), rows).astype(np.int32), floats(11, 20)
    )
    assert check(per_row, target) == 1


@pytest.mark.parametrize("fill", [0.0, -0.0, -1.5])
@pytest.mark.parametrize("lane", [0, 1])
def test_gather_of_what_has_bounds(target: Target, lane: int, fill: float) -> None:
    """out[i, j] = x[i, k[i, j], m[j]] of a frame, where x is inside: bounds along a loop, an index, both and two indices."""
    c = Code()
    first, second = c.load(0, "int64"), c.load(1, "int64")
    c.store(c("gather", first, second, attr=2), 3)
    x = floats(5, 6, 7)
    bounds = ((-1, 5, {0: 1}, 0), (-2, 6, {}, 0), (-3, 7, {}, 0), (-2, 9, {1: 1}, 0), (4, 20, {}, 0))
    values = ({}, {0: 1}, {1: 1}, {0: 1}, {0: 2, 1: -1})
    framed = Memory("float32", x.ravel(), (42, 0), -42 - 14 - 3, bounds, fill, ((7, 10), (1, 12)), values)
    k, m = array("int64", random.integers(-10, 10, (7, 33))), array("int64", random.integers(-12, 12, 33), (0, 1))
    operands = [k, m, framed, array("float32", floats(7, 33))]
    assert check(Problem((7, 33), 2, lane, operands, c), target) == 0


@pytest.mark.parametrize("bad", (9, -10))
def test_an_index_is_checked_outside_of_bounds(target: Target, bad: int) -> None:
    c = Code()
    c.store(c("gather", c.load(0, "int64"), attr=1), 2)
    nothing = Memory("float32", floats(9), (0,), 0, ((0, 0, {}, 0),), 2.0, ((1, 9),), ({0: 1},))
    index = np.full(21, 3)
    index[17] = bad
    assert check(Problem((21,), 1, 0, [array("int64", index), nothing, array("float32", floats(21))], c), target) == 1


def test_index_into_nothing(target: Target) -> None:
    problem = embedding(np.zeros(5, np.int32), np.zeros((0, 20), np.float32))
    out = copies(problem)
    assert out.run(target) == 1


# -- scatter -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["set", "add"])
@pytest.mark.parametrize("length", (1, 7, 70))
def test_scatter_of_rows_that_meet(target: Target, length: int, mode: str) -> None:
    """table[rows[i], :] (+)= x[i, :]: all in one tile, in order of i."""
    c = Code()
    c("scatter", c.load(1), c.load(0, "int64"), attr=(2, mode))
    table = Memory("float32", floats(6, length).ravel(), (0, 1), indirect=((length, 6),))
    rows = array("int64", random.integers(-6, 6, 50), (1, 0))
    problem = Problem((50, length), 2, 1, [rows, array("float32", floats(50, length)), table], c, serial_from=0)
    assert problem.launch()[1] == 1
    assert check(problem, target) == 0


@pytest.mark.parametrize("mode", ["set", "add"])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bfloat16", "bool"])
def test_scatter_of_lanes_that_meet(target: Target, dtype: str, mode: str) -> None:
    """hist[k[i]] (+)= x[i]: neighbours may meet, the last one wins."""
    compute = {"bfloat16": "float32"}.get(dtype, dtype)
    c = Code()
    c("scatter", c.load(1, compute), c.load(0, "int64"), dtype=compute, attr=(2, mode))
    table = Memory(dtype, array(dtype, np.zeros(5)).flat, (0,), indirect=((1, 5),))
    operands = [array("int64", random.integers(0, 5, 40)), array(dtype, random.integers(0, 2, 40)), table]
    assert check(Problem((40,), 1, 0, operands, c, serial_from=0), target) == 0


def test_scatter_in_parallel_rows(target: Target) -> None:
    """out[i, k[i, j]] += x[i, j]: rows are apart, positions in a row may meet."""
    c = Code()
    c("scatter", c.load(1), c.load(0, "int64"), attr=(2, "add"))
    table = Memory("float32", floats(30, 9).ravel(), (9, 0), indirect=((1, 9),))
    k = array("int64", random.integers(-9, 9, (30, 3000)))
    problem = Problem((30, 3000), 2, 1, [k, array("float32", floats(30, 3000)), table], c, serial_from=1)
    assert problem.launch()[1] > 1
    assert check(problem, target, tolerance=1e-4) == 0


def test_scatter_out_of_range_writes_nothing(target: Target) -> None:
    c = Code()
    c("scatter", c.load(1), c.load(0, "int64"), attr=(2, "add"))
    for length in (1, 20):
        table = Memory("float32", floats(6, length).ravel(), (0, 1), indirect=((length, 6),))
        operands = [array("int64", [0, 5, 6, 2], (1, 0)), array("float32", floats(4, length)), table]
        assert check(Problem((4, length), 2, 1, operands, c, serial_from=0), target) == 1


def test_overlapping_windows_add_up(target: Target) -> None:
    """The adjoint of sliding windows: y[2 * i + j] += x[i, j], only where that is inside."""
    c = Code()
    c("scatter", c.load(0), attr=(1, "add"))
    out = Memory("float32", floats(60).ravel(), (2, 1), 9, ((-1, 40, {0: 2, 1: 1}, 0),))
    check(Problem((22, 5), 2, 1, [array("float32", floats(22, 5)), out], c, serial_from=0), target)


# -- numbers without memory ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", (0, 1))
def test_running_numbers_and_parameters(target: Target, lane: int) -> None:
    """An `iota` access is its own address; a `param_…` access is a number of the launch."""
    c = Code()
    position = c.load(0, "int64")
    c.store(c("add", c("mul", c("cast", position), c.load(1)), c("cast", c.load(2, "int64"))), 3)
    extents = (6, 37)
    iota = Memory("iota", np.zeros(1, np.int64), (100, 1))
    out = array("float32", np.zeros(extents))
    problem = Parameters(extents, 2, lane, [iota, iota, iota, out], c)
    problem.run(target)
    i, j = np.indices(extents)
    np.testing.assert_allclose(out.flat.reshape(extents), (100 * i + j) * 0.25 - 7)


class Parameters(Problem):
    """Operands 1 and 2 are the numbers 0.25 and -7 instead of memory."""

    @property
    def nest(self) -> Nest:
        nest = super().nest
        zero = ("0", "0")
        accesses = (nest.accesses[0], Access("param_float32", zero), Access("param_int64", zero), nest.accesses[3])
        return type(nest)(nest.dims, nest.kept, nest.lane, accesses, nest.code)

    def launch(self) -> tuple[tuple[int, ...], int]:
        quarter = int(np.float64(0.25).view(np.int64))
        first, last = self.operands[0].numbers(self.lane), self.operands[3].numbers(self.lane)
        return launch_parameters(
            self.nest, self.extents, [first, AccessNumbers((quarter,)), AccessNumbers((-7,)), last]
        )


# -- memory that must not be touched -----------------------------------------------------------------------------------


def walled(count: int) -> np.ndarray:
    """`count` floats with pages on both sides that cannot be touched: before the first element for 1024, after the last one always."""
    area = mmap.mmap(-1, 3 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    for page in (0, 2):
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + page * mmap.PAGESIZE), mmap.PAGESIZE, 0) == 0
    return np.frombuffer(area, np.float32, count, 2 * mmap.PAGESIZE - 4 * count)


@pytest.mark.skipif(sys.platform == "win32" or mmap.PAGESIZE != 4096, reason="needs mprotect and pages of 4 KiB")
@pytest.mark.parametrize("size", (1, 5, 16, 77, 1024))
def test_no_access_beyond_the_ends(target: Target, size: int) -> None:
    x, y = walled(size), walled(size)
    x[:], y[:] = floats(size), 0
    c = Code()
    c.store(c.load(0), 1)
    Problem((size,), 1, 0, [Memory("float32", x, (1,)), Memory("float32", y, (1,))], c).run(target)
    np.testing.assert_array_equal(x, y)
    backwards = [Memory("float32", x, (-1,), size - 1), Memory("float32", y, (1,))]
    Problem((size,), 1, 0, backwards, c).run(target)
    np.testing.assert_array_equal(x[::-1], y)
    padded = Memory("float32", x, (1,), -1500, ((-1500, size, {0: 1}, 0),))
    out = array("float32", np.ones(3000 + size))
    Problem((3000 + size,), 1, 0, [padded, out], c).run(target)
    np.testing.assert_array_equal(out.flat, np.pad(x, 1500))


@pytest.mark.parametrize("turned", [False, True])
def test_reduction_over_no_dim(target: Target, turned: bool) -> None:
    """As over dims of extent 1, which have no loop: at the places of an interleaved dim, and in squares."""
    shape = (2, 3, 70) if not turned else (40, 1, 35)
    strides = (210, 1, 3) if not turned else (1, 1400, 40)
    values = random.integers(0, 99, shape)
    mixed, plain = array("float32", values, strides), array("float32", values)
    for source, result in ((mixed, plain), (plain, mixed)):
        c = Code()
        most = c.reduce("max", c.load(0))
        c.store(c("sub", most, c.reduce("sum", c("neg", most))), 1)
        out = Memory("float32", np.zeros_like(result.flat), result.strides)
        found = {"cross": 0} if turned else {"interleaved": 1}
        check(Problem(shape, 3, 2, [source, out], c, **found), target)
