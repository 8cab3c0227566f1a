"""Kernels of map/reduce nests against NumPy, for every instruction set that this machine has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from nest_harness import MACHINES, Code, Memory, Problem, array, check, copies, machine, unary

from tengen.base import config
from tengen.compiler.kernels.nest import Access, Instr, Nest, verify
from tengen.compiler.kernels.nest_tiling import NestSource, tiling
from tengen.compiler.kernels.target import Target
from tengen.compiler.schedule.nests.refine import rows
from tengen.compiler.targets import emit
from tengen.compiler.targets.host import available, host_target

SIZES = (1, 3, 15, 16, 17, 63, 64, 65, 200)
random = np.random.default_rng(0)


@pytest.fixture(params=MACHINES)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with machine(request.param) as found:
        yield found


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape, np.float32)


# -- maps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_map_of_every_length(target: Target, size: int) -> None:
    c = Code()
    c.store(c("max", c("add", c.load(0), c.load(1)), c.const(0.0)), 2)
    check(
        Problem(
            (size,),
            1,
            0,
            [array("float32", floats(size)), array("float32", floats(size)), array("float32", floats(size))],
            c,
        ),
        target,
    )


def test_nothing_to_do() -> None:
    c = Code()
    c.store(c("neg", c.load(0)), 1)
    for extents in ((0,), (3, 0), (0, 3)):
        problem = Problem(
            extents, len(extents), 0, [array("float32", np.zeros(extents)), array("float32", np.zeros(extents))], c
        )
        assert problem.launch()[1] == 0


def test_long_map_has_several_tiles(target: Target) -> None:
    c = Code()
    c.store(c("mul", c.load(0), c.const(3.0)), 1)
    problem = Problem((200_003,), 1, 0, [array("float32", floats(200_003)), array("float32", floats(200_003))], c)
    assert problem.launch()[1] > 4
    out = copies(problem)
    out.run(target, lambda tiles: [(t, t + 1) for t in reversed(range(tiles))])
    np.testing.assert_array_equal(out.operands[1].flat, problem.operands[0].flat * np.float32(3))


def test_zero_dim_and_weak_operands(target: Target) -> None:
    c = Code()
    x = c.load(0)
    c.store(c("add", c("mul", x, c.load(1)), c("cast", c.load(2, "int64"))), 3)
    operands = [
        array("float32", floats(3, 70)),
        array("weak_float", [0.1], (0, 0)),
        array("weak_int", [7], (0, 0)),
        array("float32", floats(3, 70)),
    ]
    check(Problem((3, 70), 2, 1, operands, c), target)


def test_negative_strides_and_broadcast(target: Target) -> None:
    c = Code()
    c.store(c("sub", c.load(0), c.load(1)), 2)
    x = Memory("float32", floats(5 * 33).ravel(), (33, -1), 32)
    y = Memory("float32", floats(5), (-1, 0), 4)
    check(Problem((5, 33), 2, 1, [x, y, array("float32", floats(5, 33))], c), target)


@pytest.mark.parametrize("shape", [(5, 7), (33, 70), (130, 66)])
def test_transposed_copy(target: Target, shape: tuple[int, int]) -> None:
    c = Code()
    c.store(c.load(0), 1)
    x = floats(*shape)
    problem = Problem(
        shape[::-1], 2, 1, [array("float32", x, (1, shape[1])), array("float32", floats(*shape[::-1]))], c
    )
    check(problem, target)
    strided = Problem(
        shape[::-1], 2, 1, [array("float32", floats(*shape[::-1])), array("float32", x, (1, shape[1]))], c
    )
    check(strided, target)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "int64"])
@pytest.mark.parametrize("shape", [(16, 128), (33, 70), (130, 266), (1, 300), (300, 2)])
def test_squares_are_turned(target: Target, shape: tuple[int, int], dtype: str) -> None:
    """Whole ones and those that stick out on either side, on the way in and on the way out, beside operands that need no turning."""
    compute = {"int8": "int32", "int64": "int64"}.get(dtype, "float32")
    c = Code()
    bias = c("add", c.load(2, compute), c.load(3, compute), dtype=compute)
    c.store(c("sub", c.load(0, compute), bias, dtype=compute), 1)
    values = random.integers(-9, 9, shape)
    by_row, by_column = array(dtype, values), array(dtype, values, (1, shape[0]))
    sides = [array(dtype, random.integers(-9, 9, shape[d]), (1 - d, d)) for d in (0, 1)]
    for source, result in ((by_column, by_row), (by_row, by_column)):
        out = Memory(dtype, np.zeros_like(result.flat), result.strides)
        check(Problem(shape, 2, 1, [source, out, *sides], c, cross=0), target)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8", "float64"])
@pytest.mark.parametrize("shape", [(2, 3, 14), (3, 2, 70), (1, 6, 133), (2, 8, 16), (5, 5, 1)])
def test_interleaved_dim(target: Target, shape: tuple[int, int, int], dtype: str) -> None:
    """What alternates in memory is taken apart and woven, beside operands in planes."""
    n, places, lanes = shape
    compute = {"uint8": "int32", "float64": "float64"}.get(dtype, "float32")
    values = random.integers(0, 9, shape)
    mixed, planes = (places * lanes, 1, places), (places * lanes, lanes, 1)
    woven, row = array(dtype, values, mixed), array(dtype, random.integers(0, 9, (n, lanes)), (lanes, 0, 1))
    for source, strides in ((array(dtype, values), mixed), (woven, planes), (woven, mixed)):
        c = Code()
        loaded, where = c.load(0, compute), c("cast", c.index(1), dtype=compute)
        c.store(c("add", c("add", loaded, c.load(1, compute), dtype=compute), where, dtype=compute), 2)
        out = Memory(dtype, np.zeros_like(source.flat), strides)
        check(Problem(shape, 3, 2, [source, row, out], c, interleaved=1), target)


@pytest.mark.parametrize("lane", [1, 2])
@pytest.mark.parametrize("shape", [(2, 3, 14), (3, 2, 70), (1, 6, 133), (2, 8, 16)])
def test_reduction_over_an_interleaved_dim(target: Target, shape: tuple[int, int, int], lane: int) -> None:
    """Of windows of two rows (lane 1) or of all of them (lane 2): the greatest, where it is, and how far the others are from it."""
    n, places, lanes = shape
    c = Code()
    most = c.reduce("max", c.load(0))
    c.store(most, 1)
    c.store(c.reduce("argmax", c.load(0), c("add", c.index(2), c.index(3), dtype="int64")), 2)
    c.store(c("sub", c.load(0), most), 3)
    sizes, kept = ((n, lanes, 2, places), 2) if lane == 1 else ((n, 2, lanes, places), 1)
    strides = (
        (2 * lanes * places, places, lanes * places, 1)
        if lane == 1
        else (2 * lanes * places, lanes * places, places, 1)
    )
    source = array("float32", random.integers(0, 99, sizes), strides)
    rest = ((lanes, 1) if lane == 1 else (1, 0)) + (0, 0)
    rows = [array(dtype, np.zeros(sizes[:kept]), rest) for dtype in ("float32", "int64")]
    out = Memory("float32", np.zeros_like(source.flat), strides)
    check(Problem(sizes, kept, lane, [source, *rows, out], c, interleaved=3), target)


def test_in_place(target: Target) -> None:
    c = Code()
    c.store(c("add", c("square", c.load(0)), c.load(1)), 2)
    x, y = array("float32", floats(3, 71)), array("float32", floats(3, 71))
    want = x.flat**2 + y.flat
    Problem((3, 71), 2, 1, [x, y, x], c).run(target)
    np.testing.assert_allclose(x.flat, want, rtol=1e-6)


def test_in_place_over_several_passes(target: Target) -> None:
    """A store must not overtake the passes that still read the same memory."""
    c = Code()
    doubled = c("add", c.load(0), c.load(0))
    mean = c("mul", c.reduce("sum", doubled), c.const(1 / 71))
    c.store(doubled, 1)
    c.store(c("sub", doubled, mean), 2)
    x, out = array("float32", floats(3, 71)), array("float32", floats(3, 71))
    d = x.flat.reshape(3, 71).astype(np.float64) * 2
    Problem((3, 71), 1, 1, [x, x, out], c).run(target)
    np.testing.assert_allclose(x.flat.reshape(3, 71), d, rtol=1e-6)
    np.testing.assert_allclose(out.flat.reshape(3, 71), d - d.mean(1, keepdims=True), atol=1e-5)


# -- dtypes ----------------------------------------------------------------------------------------------------------

INTEGERS = ("bool", "uint8", "int8", "uint16", "int16", "int32", "int64")


@pytest.mark.parametrize("source", INTEGERS)
@pytest.mark.parametrize("result", (*INTEGERS, "float32", "float64"))
def test_integer_conversions(target: Target, source: str, result: str) -> None:
    info = np.iinfo(source) if source != "bool" else None
    x = (
        np.array([0, 1], bool)
        if info is None
        else np.array([0, 1, 5, 127, 100, info.max, info.min, info.max // 2, info.min // 2], source)
    )
    check(unary("cast", np.tile(x, 9), source, result), target)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_wrap(target: Target, dtype: str) -> None:
    check(unary("wrap", random.integers(-(2**31), 2**31, 77), "int32", "int32", attr=dtype), target)


@pytest.mark.parametrize("source", ["float32", "float64"])
@pytest.mark.parametrize("result", ["int32", "int64"])
def test_float_to_int_truncates_and_saturates(target: Target, source: str, result: str) -> None:
    info = np.iinfo(result)
    edges = np.array([info.max, info.min], source)  # the first one may be rounded up, out of range
    near = [np.nextafter(edge, edge.dtype.type(side)) for edge in edges for side in (np.inf, -np.inf)]
    x = np.array([1.9, -1.9, 0.5, -0.5, 1e30, -1e30, np.inf, -np.inf, np.nan, *edges, *near], source)
    problem = unary("cast", np.tile(x, 3), source, result)
    problem.run(target)
    truth = [
        0 if np.isnan(v) else info.max if v > info.max else info.min if v < info.min else int(v) for v in map(float, x)
    ]
    np.testing.assert_array_equal(problem.operands[1].flat, truth * 3)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("op", "add sub mul max min and or xor shl shr floor_div mod eq lt".split())
def test_integer_arithmetic(target: Target, op: str, dtype: str) -> None:
    c = Code()
    compares = op in ("eq", "lt")
    c.store(c(op, c.load(0, dtype), c.load(1, dtype), dtype="bool" if compares else dtype), 2)
    x = random.integers(-1000, 1000, 77)
    y = np.where(random.random(77) < 0.3, x, random.integers(1, 90, 77))
    y = np.where(y == 0, 3, y) if op in ("floor_div", "mod") else y
    check(
        Problem((77,), 1, 0, [array(dtype, x), array(dtype, y), array("bool" if compares else dtype, np.zeros(77))], c),
        target,
    )


def test_float_comparisons_logic_and_select(target: Target) -> None:
    values = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan])
    x, y = np.repeat(values, 7), np.tile(values, 7)
    for op in "eq ne lt le gt ge".split():
        c = Code()
        a, b = c.load(0), c.load(1)
        hit = c("or", c(op, a, b, dtype="bool"), c("isnan", a, dtype="bool"), dtype="bool")
        c.store(hit, 2)
        c.store(c("select", c("not", hit, dtype="bool"), a, b), 3)
        inputs = [array("float32", x), array("float32", y)]
        check(Problem((49,), 1, 0, [*inputs, array("bool", np.zeros(49)), array("float32", np.zeros(49))], c), target)


def test_max_and_min_pass_nan_on(target: Target) -> None:
    values = np.array([1.0, -1.0, np.inf, -np.inf, np.nan])
    for op in ("max", "min"):
        c = Code()
        c.store(c(op, c.load(0), c.load(1)), 2)
        inputs = [array("float32", np.repeat(values, 5)), array("float32", np.tile(values, 5))]
        check(Problem((25,), 1, 0, [*inputs, array("float32", np.zeros(25))], c), target)


# -- reductions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", (0, *SIZES))
@pytest.mark.parametrize("lane", (0, 1))
@pytest.mark.parametrize("how", ["sum", "max"])
def test_rows_and_columns(target: Target, how: str, lane: int, length: int) -> None:
    if how == "max" and length == 0:
        return
    c = Code()
    c.store(c.reduce(how, c.load(0)), 1)
    strides = (length, 1) if lane == 1 else (1, 21)
    check(
        Problem(
            (21, length),
            1,
            lane,
            [array("float32", floats(21 * length), strides), array("float32", floats(21), (1, 0))],
            c,
        ),
        target,
    )


@pytest.mark.parametrize("what", ["prod float32", "min int64", "sum int32", "any bool", "all bool", "sum float64"])
def test_monoids(target: Target, what: str) -> None:
    how, dtype = what.split()
    if dtype == "bool":
        x = random.random((9, 70)) < (0.03 if how == "any" else 0.97)
    else:
        x = random.integers(-9, 9, (9, 70)) if "int" in dtype else 0.9 + 0.2 * random.random((9, 70))
    for lane in (0, 1):
        c = Code()
        c.store(c.reduce(how, c.load(0, dtype)), 1)
        check(Problem((9, 70), 1, lane, [array(dtype, x), array(dtype, np.zeros(9), (1, 0))], c), target)


def test_several_reduced_dims_on_both_sides(target: Target) -> None:
    """Statistics of channels in the middle: reduced dims 1 (images) and 2 (pixels), with the pixels in the lanes."""
    c = Code()
    x = c.load(0)
    c.store(c.reduce("sum", x), 1)
    c.store(c.reduce("sum", c("square", x)), 2)
    x = floats(4, 6, 49)
    outs = [array("float32", np.zeros(6), (1, 0, 0)) for _ in range(2)]
    check(Problem((6, 4, 49), 1, 2, [array("float32", x, (49, 6 * 49, 1)), *outs], c), target)


def test_reduction_propagates_nan(target: Target) -> None:
    for position in (0, 20, 69):
        for lane in (0, 1):
            x = floats(3, 70)
            x[1, position] = np.nan
            c = Code()
            c.store(c.reduce("max", c.load(0)), 1)
            check(Problem((3, 70), 1, lane, [array("float32", x), array("float32", np.zeros(3), (1, 0))], c), target)


def test_the_largest_number_is_found_among_nan(target: Target) -> None:
    x = floats(5, 70)
    x[1, ::3], x[2], x[3, 40] = np.nan, np.nan, np.inf
    for lane in (0, 1):
        c = Code()
        c.store(c.reduce("max_number", c.load(0)), 1)
        problem = Problem((5, 70), 1, lane, [array("float32", x), array("float32", np.zeros(5), (1, 0))], c)
        problem.run(target)
        np.testing.assert_array_equal(problem.operands[1].flat, np.where(np.isnan(x), -np.inf, x).max(1))


@pytest.mark.parametrize("how", ["argmax", "argmin"])
@pytest.mark.parametrize("lane", (0, 1))
@pytest.mark.parametrize("length", (1, 5, 16, 70, 131))
def test_argmax_takes_the_first(target: Target, how: str, lane: int, length: int) -> None:
    x = random.integers(-3, 4, (33, length)).astype(np.float32)
    x[5] = -np.inf
    x[6] = np.inf
    x[7, length // 2 :] = np.nan
    x[8] = np.nan
    c = Code()
    c.store(c.reduce(how, c.load(0), c.index(1)), 1)
    problem = Problem((33, length), 1, lane, [array("float32", x), array("int64", np.zeros(33), (1, 0))], c)
    check(problem, target)
    out = copies(problem)
    out.run(target)
    np.testing.assert_array_equal(out.operands[1].flat, getattr(np, how)(x, axis=1))


def test_argmax_in_another_order_than_memory(target: Target) -> None:
    """Two reduced dims that run in the other order than their joint index counts."""
    x = random.integers(0, 3, (4, 12, 17))
    c = Code()
    joint = c("add", c("mul", c.index(2), c.const(12, "int64"), dtype="int64"), c.index(1), dtype="int64")
    c.store(c.reduce("argmax", c.load(0, "int32"), joint), 1)
    problem = Problem((4, 12, 17), 1, 2, [array("int32", x), array("int64", np.zeros(4), (1, 0, 0))], c)
    problem.run(target)
    np.testing.assert_array_equal(problem.operands[1].flat, x.transpose(0, 2, 1).reshape(4, -1).argmax(1))


def softmax(rows: int, length: int) -> Problem:
    c = Code()
    x = c.load(0)
    e = c("exp", c("sub", x, c.reduce("max", x)))
    c.store(c("div", e, c.reduce("sum", e)), 1)
    return Problem(
        (rows, length), 1, 1, [array("float32", 5 * floats(rows, length)), array("float32", floats(rows, length))], c
    )


@pytest.mark.parametrize("length", SIZES)
def test_softmax(target: Target, length: int) -> None:
    check(softmax(7, length), target)
    by_column = softmax(length, 7)
    by_column.lane = 0
    by_column.operands = [
        array("float32", floats(7 * length), (1, length)),
        array("float32", floats(7 * length), (1, length)),
    ]
    check(by_column, target)


@pytest.mark.parametrize("length", SIZES)
def test_softmax_in_place(target: Target, length: int) -> None:
    """The exponentials wait where the input was."""
    problem = softmax(7, length)
    problem.operands = [problem.operands[0]] * 2
    assert problem.nest.spills
    want = problem.expected()[1]
    problem.run(target)
    np.testing.assert_allclose(problem.operands[0].flat, want, rtol=1e-5)


def normalised(shape: tuple[int, ...]) -> Problem:
    """Rows less their mean, over their deviation; a row of factors for all, and a number stored for each."""
    c = Code()
    x = c.load(0)
    centred = c("sub", x, c("mul", c.reduce("sum", x), c.const(1 / shape[-1])))
    scale = c("rsqrt", c("add", c.reduce("sum", c("square", centred)), c.const(0.1)))
    c.store(c("mul", c("mul", centred, scale), c.load(1)), 2)
    c.store(scale, 3)
    ones = (0,) * (len(shape) - 1)
    outs = [array("float32", floats(*shape)), array("float32", np.zeros(shape[:-1]))]
    outs[1].strides = (*outs[1].strides, 0)
    return Problem(
        shape,
        len(shape) - 1,
        len(shape) - 1,
        [array("float32", floats(*shape)), array("float32", floats(shape[-1]), (*ones, 1)), *outs],
        c,
    )


@pytest.mark.parametrize("shape", [(4, 8), (5, 100), (7, 16), (301, 33), (3, 6, 130), (9, 5, 257), (2, 4, 512)])
def test_rows_side_by_side(target: Target, shape: tuple[int, ...]) -> None:
    """Their number need not divide that of the rows, in place or not."""
    problem = normalised(shape)
    assert problem.nest.rows == 4
    check(problem, target)
    problem.operands = [problem.operands[i] for i in (0, 1, 0, 3)]
    want = problem.expected()[2]
    problem.run(target)
    np.testing.assert_allclose(problem.operands[0].flat, want, rtol=1e-4, atol=1e-5)


def test_only_short_rows_of_little_work_run_side_by_side() -> None:
    shapes = ((8, 512), (8, 513), (8, 1025), (3, 64), (1, 64))
    assert "".join(str(normalised(shape).nest.rows) for shape in shapes) == "42121"
    assert [softmax(*shape).nest.rows for shape in ((8, 512), (8, 1024), (8, 1025))] == [2, 2, 1]
    nest = normalised((8, 64)).nest
    assert [rows(nest, (count, 64), host_target()) for count in (1 << 14, (1 << 14) + 1)] == [
        4,
        1,
    ]  # the last ones come from memory
    c = Code()
    c.store(c.reduce("sum", c.load(0)), 1)
    one_pass = Problem((8, 64), 1, 1, [array("float32", floats(8, 64)), array("float32", floats(8), (1, 0))], c)
    assert one_pass.nest.rows == 1


def spilled(dtype: str = "float32", again: bool = False, function: str = "exp") -> tuple[tuple[int, int], ...]:
    """What waits in memory where f(x) and its sum are needed; again: the last pass also needs x."""
    c = Code()
    x = c.load(0)
    y = c(function, x)
    result = c("mul", y, c.reduce("sum", y))
    c.store(c("add", result, x) if again else result, 1)
    return Problem((4, 33), 1, 1, [array("float32", floats(4, 33)), array(dtype, floats(4, 33))], c).nest.spills


def test_only_what_is_costly_and_fits_waits_in_memory() -> None:
    assert spilled() == ((1, 1),)
    assert not spilled(function="neg")  # cheaper to compute again
    assert not spilled("float16") and not spilled("bfloat16")  # storing would round
    assert not spilled(again=True)  # its place may be that of x


@pytest.mark.parametrize("length", (1, 17, 64, 300))
def test_layer_norm(target: Target, length: int) -> None:
    c = Code()
    x, share = c.load(0), c.load(4)
    centred = c("sub", x, c("mul", c.reduce("sum", x), share))
    variance = c("mul", c.reduce("sum", c("square", centred)), share)
    scale = c("rsqrt", c("add", variance, c.const(1e-5)))
    c.store(c("add", c("mul", c("mul", centred, scale), c.load(1)), c.load(2)), 3)
    c.store(scale, 5)
    operands = [
        array("float32", floats(9, length) + 3),
        array("float32", floats(length), (0, 1)),
        array("float32", floats(length), (0, 1)),
        array("float32", floats(9, length)),
        array("weak_float", [1 / length], (0, 0)),
        array("float32", floats(9), (1, 0)),
    ]
    check(Problem((9, length), 1, 1, operands, c), target, tolerance=1e-4)


def test_tiles_follow_from_the_extents_alone() -> None:
    nest = softmax(3, 5).nest
    with config.override(isa="x86-64" if "x86-64" in available() else "native"):
        narrow = tiling(nest, (1000, 1000))
    assert narrow == tiling(nest, (1000, 1000))
    assert narrow.tiles > 8


# -- what a Nest must not be -------------------------------------------------------------------------------------------

LINE = Access("float32", ("1",))
LOAD = Instr("load", attr=0)
ROWS = Access("float32", ("n", "1"))
# f(x) * sum(f(x)), and a transposed copy
SCALED = Nest(
    2,
    1,
    1,
    (ROWS, ROWS),
    (LOAD, Instr("exp", (0,)), Instr("reduce", (1,), attr="sum"), Instr("mul", (1, 2)), Instr("store", (3,), attr=1)),
)
TURNED = Nest(2, 2, 1, (Access("float32", ("n", "n")), ROWS), (LOAD, Instr("store", (0,), attr=1)), cross=0)
WOVEN = Nest(
    3,
    3,
    2,
    (Access("float32", ("n", "1", "3")), Access("float32", ("n", "n", "1"))),
    (LOAD, Instr("store", (0,), attr=1)),
    interleaved=(1, 3),
)


def test_squares_that_stick_out_take_little_code():
    """Written out, they would take more than all others, and most of the time of compiling."""
    turned = TURNED._replace(accesses=(Access("float32", ("1", "n")), ROWS))
    for name in available():
        with config.override(isa=name):
            target = host_target()
        assert emit(NestSource(turned), target).count("\n") < 300 + 16 * target.lanes


@pytest.mark.parametrize(
    ("nest", "message"),
    [
        (Nest(1, 0, 0, (LINE,), (LOAD,)), "keeps at least one"),
        (Nest(1, 1, 1, (LINE,), (LOAD,)), "lane 1"),
        (Nest(3, 3, 1, (Access("float32", ("n", "1", "n")),), (LOAD,), 1), "serial"),
        (Nest(1, 1, 0, (Access("float31", ("1",)),), (LOAD,)), "float31"),
        (Nest(1, 1, 0, (Access("float32", ("1", "n")),), (LOAD,)), "access 0"),
        (Nest(1, 1, 0, (LINE,), (LOAD,)), "without a store"),
        (Nest(1, 1, 0, (LINE._replace(shared=True),), (LOAD,)), "no access before it"),
        (SCALED._replace(accesses=(ROWS, ROWS._replace(steps=("n", "n"), shared=True))), "moves alike"),
        (Nest(1, 1, 0, (LINE,), (LOAD, Instr("frobnicate", (0,)))), "instruction 1"),
        (Nest(1, 1, 0, (LINE,), (LOAD, Instr("add", (0,)))), "takes 2 arguments, got 1"),
        (Nest(1, 1, 0, (LINE,), (LOAD, Instr("neg", (1,)))), "argument 1"),
        (
            Nest(1, 1, 0, (LINE,), (LOAD, Instr("const", dtype="int32", attr=1), Instr("add", (0, 1)))),
            "expected float32, float32",
        ),
        (Nest(1, 1, 0, (LINE,), (LOAD, Instr("lt", (0, 0)))), "the value is bool"),
        (Nest(1, 1, 0, (LINE,), (Instr("load", attr=1),)), "not one of the 1 accesses"),
        (Nest(1, 1, 0, (LINE,), (LOAD, Instr("reduce", (0,), attr="median"))), "median"),
        (Nest(1, 1, 0, (LINE,), (LOAD, Instr("reduce", (0,), attr="any"))), "any of float32"),
        (Nest(1, 1, 0, (Access("float32", ("1",), indirect=1),), (LOAD,)), "use gather or scatter"),
        (Nest(1, 1, 0, (LINE,), (Instr("index", dtype="int64", attr=1),)), "not a loop dim"),
        (SCALED._replace(spills=((1, 2),)), "no such access"),
        (SCALED._replace(spills=((2, 1),)), "no such value"),
        (SCALED._replace(spills=((1, 0),)), "no later pass stores"),
        (SCALED._replace(spills=((0, 1), (1, 1))), "two values"),
        (SCALED._replace(spills=((1, 1),), accesses=(ROWS, ROWS._replace(dtype="float16"))), "float16 does not hold"),
        (SCALED._replace(spills=((1, 1),), accesses=(ROWS, ROWS._replace(steps=("0", "1")))), "element of its own"),
        (SCALED._replace(spills=((3, 1),)), "no later pass stores"),
        (SCALED._replace(parts=((0, 16),)), "not reduced"),
        (SCALED._replace(parts=((1, 0),)), "none"),
        (SCALED._replace(cross=0), "the nest reduces"),
        (TURNED._replace(rows=2), "the lane dim is kept"),
        (
            SCALED._replace(rows=2, code=(*SCALED.code[:4], Instr("scatter", (3,), attr=(1, "add")))),
            "writes of this nest may meet",
        ),
        (TURNED._replace(cross=1), "no other dim"),
        (TURNED, "contiguous neither along"),
        (WOVEN._replace(interleaved=(2, 3)), "no other dim"),
        (WOVEN._replace(interleaved=(1, 9)), "not a few"),
        (WOVEN._replace(interleaved=(1, 2)), "no access is contiguous"),
        (WOVEN._replace(interleaved=None), "a step of '3'"),
        (WOVEN._replace(kept=2), "reduces other dims"),
        (WOVEN._replace(serial_from=0), "runs in order"),
    ],
)
def test_verify_says_what_is_wrong(nest: Nest, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        verify(nest)
    with pytest.raises(ValueError, match=message):
        emit(NestSource(nest), host_target())
