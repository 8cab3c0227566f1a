"""Programs on GPUs: what the scheduler does for them, run on the double from their PTX."""

from __future__ import annotations

import numpy as np
import pytest
from double.library import double
from gpu import GPU, launch, uploaded
from nest_harness import bits_of, numbers_of
from plans import run_op, run_plan

from tengen.base import config
from tengen.base.errors import NoKernelError
from tengen.compiler import compile_program, plan_store
from tengen.compiler.kernels.sort import SortKernel
from tengen.compiler.plan import STATUS
from tengen.compiler.program import Builder, Type, build
from tengen.compiler.schedule.driver import Scheduler
from tengen.compiler.targets import emit
from tengen.compiler.view import View, contiguous
from tengen.core.ops.elemwise import Elemwise
from tengen.core.ops.index import put_op, take_op
from tengen.core.ops.linalg import MatMul
from tengen.core.ops.reduce import Reduce
from tengen.core.ops.shape import Pad, PlaceView, Slice, Windows
from tengen.core.ops.sort import ArgSort

random = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape, np.float32)


@pytest.mark.parametrize("shape, axis", [((60_000,), 0), ((300, 64), 0), ((6, 5000), 1), ((4, 6, 49), 1)])
def test_sums(shape, axis):
    x = floats(*shape)
    (got,) = run_op(Reduce("SUM", (axis,)), x, target=GPU)
    np.testing.assert_allclose(got, x.sum(axis, keepdims=True, dtype=np.float64), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "modes", "threads"),
    [
        ("float32", [], 1024),
        ("float64", [], 256),
        ("float32", ["TAN"], 256),
        ("bfloat16", ["SQUARE", "ABS", "NEGATE"], 256),
    ],
)
def test_rows_have_as_many_threads_as_there_are_registers_for(dtype, modes, threads):
    """`make test-ptxas` counts them. More than 256 threads are declared, so that the driver's compiler keeps to 64 each."""
    builder = Builder()
    x = value = builder.input(Type(dtype, (5000, 50000)))
    values = [x]
    for mode in modes:
        value = Elemwise("ADD")(Elemwise(mode)(value), x)
        values.append(value)
    (step,) = compile_program(builder.finish(Reduce("SUM", (1,))(v) for v in values), target=GPU).steps
    assert step.grid.block == (threads, 1, 1)
    assert (".maxntid 1024" in step.kernel.ptx) == (threads > 256)


def test_a_long_sum_is_cut_for_many_blocks():
    plan = compile_program(build(Reduce("SUM", (0,)), [Type("float32", (1 << 22,))]), target=GPU)
    first, last = plan.steps
    assert first.grid.grid[0] == 512 and last.grid.grid[0] == 1


def test_threads_without_an_item_load_nothing():
    """One that has an item may write to what it loads, as a sum in place does."""
    builder = Builder()
    x, y = (builder.input(Type("float32", (1,))) for _ in range(2))
    end = Slice((2,), (1,), (1,))(Pad((2,), (0,), 1.0)(y))
    program = builder.finish([x * 0.5 + end])
    plan = compile_program(program, target=GPU)
    assert [number for _, number in plan.donations] == [0]
    assert run_plan(plan, [np.float32([3]), np.float32([4])])[0].tolist() == [5.5]


def test_temporaries_may_have_memory_of_their_own():
    """So that tools see where each ends."""
    builder = Builder()
    x = builder.input(Type("float32", (16, 16)))
    y = x
    for _ in range(4):
        y = MatMul()(y, x)
    program, value = builder.finish([y]), floats(16, 16) / 4
    views = [contiguous((16, 16))]
    together, name = compile_program(program, target=GPU), plan_store.name(program, views, GPU)
    with config.override(gpu_cache=False):
        apart = compile_program(program, target=GPU)
        assert plan_store.name(program, views, GPU) != name
    assert together.allocations == (1024, 2048) and apart.allocations == (1024,) * 4
    (one,), (other,) = run_plan(together, [value]), run_plan(apart, [value])
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(one, np.linalg.matrix_power(value.astype(np.float64), 5), rtol=1e-4, atol=1e-5)


def test_kernels_after_a_check_look_at_the_status():
    """Where an index is wrong, nothing is written to memory that was given away."""
    builder = Builder()
    weight, rows, g = (builder.input(Type(*t)) for t in (("float32", (5, 8)), ("int64", (3,)), ("float32", (3, 8))))
    taken = take_op(2, [0], 1)(weight, rows)
    stepped = Elemwise("SUB")(weight, Reduce("SUM", (0,))(Elemwise("MUL")(taken, g)))
    plan = compile_program(builder.finish([stepped]), target=GPU)
    x, ones = floats(5, 8), np.ones((3, 8), np.float32)
    (got,) = run_plan(plan, [x, np.array([1, 4, 1]), ones])
    np.testing.assert_allclose(got, x - (2 * x[1] + x[4]), rtol=1e-5)
    checked = [n for n, step in enumerate(plan.steps) if any(slot == STATUS for slot, _ in step.buffers)]
    assert checked[-1] == len(plan.steps) - 1 and plan.commit < len(plan.steps)
    last = plan.steps[-1]
    stored = np.full(40, 7.0, np.float32)
    sizes = {slot: np.zeros(size, np.uint8) for slot, size in enumerate(plan.allocations, plan.inputs)}
    sizes |= {0: x.reshape(-1), 1: np.zeros(3, np.int64), 2: ones.reshape(-1), plan.outputs[0].slot: stored}
    sizes[STATUS] = np.ones(1, np.int64)
    with uploaded(list(sizes.values())) as held:
        places = dict(zip(sizes, held, strict=True))
        launch(last.kernel, last.grid, [places[slot] + offset for slot, offset in last.buffers])
    assert (stored == 7).all()


def scattered(dtype: str, base: np.ndarray, values: np.ndarray, rows: np.ndarray):
    """What adding rows of values to rows of the base gives, and the Plan."""
    types = [Type(dtype, base.shape), Type(dtype, values.shape), Type("int64", rows.shape)]
    plan = compile_program(build(put_op("add", base.ndim, [0], 1), types), target=GPU)
    return run_plan(plan, [base, values, rows])[0], plan


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int32", "int64", "int8", "uint16", "bool"])
@pytest.mark.parametrize("shape", [(7,), (6, 5)])
def test_sums_of_what_meets_have_no_order(dtype, shape):
    rows = random.integers(-shape[0], shape[0], 200)
    values = random.integers(-9, 9, (200, *shape[1:]))
    base = random.integers(-9, 9, shape)
    want = base.copy()
    np.add.at(want, rows, values)
    if dtype == "bool":
        base, values = base > 5, values > 7
        want = base.copy()
        np.logical_or.at(want, rows, values)
    got, plan = scattered(dtype, bits_of(dtype, base), bits_of(dtype, values), rows)
    want = numbers_of(dtype, bits_of(dtype, want))  # integers of this size are exact in all dtypes
    np.testing.assert_array_equal(numbers_of(dtype, got), want)
    assert any("global.add" in step.kernel.ptx for step in plan.steps) or dtype == "bool"
    with double().order(2):
        again, _ = scattered(dtype, bits_of(dtype, base), bits_of(dtype, values), rows)
    assert again.tobytes() == got.tobytes()


def test_sums_of_floats_are_rounded_once():
    rows, values = random.integers(0, 4, 1000), floats(1000) * 10.0 ** random.integers(-3, 3, 1000).astype(np.float32)
    want = np.zeros(4)
    np.add.at(want, rows, values)
    (got, _) = scattered("float32", np.zeros(4, np.float32), values, rows)
    np.testing.assert_array_equal(got, want.astype(np.float32))


def test_what_is_not_finite_reaches_its_sum_alone():
    values = np.ones(40, np.float32)
    values[[3, 7, 11, 12, 20]] = [np.inf, -np.inf, np.nan, np.inf, -np.inf]
    rows = np.arange(40) % 4 + 4 * (np.arange(40) > 16)
    want = np.zeros(8, np.float32)
    with np.errstate(invalid="ignore"):
        np.add.at(want, rows, values)
    (got, _) = scattered("float32", np.zeros(8, np.float32), values, rows)
    np.testing.assert_array_equal(got, want)


def test_windows_that_overlap_are_summed_at_once():
    x, v = floats(3, 80), floats(3, 40, 41)
    windows = Windows((1,), (41,), (1,), (1,))
    (got,) = run_op(PlaceView(windows, "add"), x, v, target=GPU)
    want = x.astype(np.float64)
    for i in range(40):
        want[:, i : i + 41] += v[:, i]
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rows", [20, 70])
@pytest.mark.parametrize("columns", [1, 30])
def test_of_rows_that_meet_the_last_one_wins(rows, columns):
    """Few are written in order, by a thread for each column; of many, the last one is found first."""
    base, values = floats(6, columns), floats(rows, columns)
    index = random.integers(-6, 6, rows)
    (got,) = run_op(put_op("set", 2, [0], 1), base, values, index, target=GPU)
    for row, value in zip(index, values, strict=True):
        base[row] = value
    np.testing.assert_array_equal(got, base)


def test_the_last_of_several_dims_wins():
    base, values = floats(4, 3, 5), floats(6, 8, 3)
    i, j = random.integers(0, 4, (6, 1)), random.integers(0, 5, (1, 8))
    (got,) = run_op(put_op("set", 3, [0, 2], 2, apart=True), base, values, i, j, target=GPU)
    for a in range(6):
        for b in range(8):
            base[i[a, 0], :, j[0, b]] = values[a, b]
    np.testing.assert_array_equal(got, base)


@pytest.mark.parametrize("dtype", ["float32", "int8", "float64"])
def test_operands_that_lie_transposed_to_each_other_go_through_shared_memory(dtype):
    x, y = (random.integers(0, 50, shape).astype(dtype) for shape in ((50, 70), (70, 50)))
    types = [Type(dtype, (50, 70))] * 2
    plan = compile_program(build(Elemwise("ADD"), types), [contiguous((50, 70)), View((50, 70), (1, 50))], GPU)
    (step,) = plan.steps
    assert step.grid.block == (32, 8, 1) and step.grid.grid == (6, 1, 1)
    np.testing.assert_array_equal(run_op(Elemwise("ADD"), x, y.T, target=GPU)[0], x + y.T)


def test_an_index_out_of_range_is_found():
    with pytest.raises(IndexError):
        run_op(take_op(2, [0], 1), floats(5, 6), np.array([2, 5]), target=GPU)
    for mode in ("set", "add"):
        for bad in (-6, 5):
            rows = np.arange(40) % 5
            rows[17] = bad
            with pytest.raises(IndexError):
                run_op(put_op(mode, 2, [0], 1), floats(5, 6), floats(40, 6), rows, target=GPU)


def test_what_has_no_kernel_is_named():
    with pytest.raises(NoKernelError, match="sm_90 has no kernels of class SortKernel yet"):
        emit(SortKernel("float32", "int32", False, True, 8), GPU)
    with pytest.raises(NoKernelError, match="frobnicate has no kernel for sm_90 yet"):
        Scheduler(build(Elemwise("NEGATE"), [Type("float32", (4,))]), [contiguous((4,))], GPU).host("frobnicate")


def test_a_sort_after_a_check_does_nothing_if_it_failed():
    """It may write to memory that was given away."""
    builder = Builder()
    x, rows = builder.input(Type("int32", (3, 5))), builder.input(Type("int64", (3,)))
    order = ArgSort(5, False)(take_op(2, [0], 1)(x, rows))
    plan = compile_program(builder.finish([order]), target=GPU)
    assert len(plan.steps) == 2 and [slot for slot, _ in plan.steps[1].buffers].count(STATUS) == 1
