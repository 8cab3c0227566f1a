"""Programs on GPUs: what the scheduler does for them, run on the double from their PTX."""

from __future__ import annotations

import numpy as np
import pytest
from gpu import GPU, launch, uploaded
from plans import run_op, run_plan

from tengen.compiler import compile_program
from tengen.compiler.plan import STATUS
from tengen.compiler.program import Builder, Type, build
from tengen.core.ops.elemwise import Elemwise
from tengen.core.ops.index import put_op, take_op
from tengen.core.ops.linalg import Product
from tengen.core.ops.reduce import Reduce

random = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape, np.float32)


@pytest.mark.parametrize("shape, axis", [((60_000,), 0), ((300, 64), 0), ((6, 5000), 1), ((4, 6, 49), 1)])
def test_sums(shape, axis):
    x = floats(*shape)
    (got,) = run_op(Reduce("SUM", (axis,)), x, target=GPU)
    np.testing.assert_allclose(got, x.sum(axis, keepdims=True, dtype=np.float64), rtol=1e-5, atol=1e-4)


def test_a_long_sum_is_cut_for_many_blocks():
    plan = compile_program(build(Reduce("SUM", (0,)), [Type("float32", (1 << 22,))]), target=GPU)
    first, last = plan.steps
    assert first.grid.grid[0] == 512 and last.grid.grid[0] == 1


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


def test_rows_that_meet_are_written_in_order_by_a_thread_for_each_column():
    base, values = floats(6, 70), floats(50, 70)
    rows = random.integers(-6, 6, 50)
    (got,) = run_op(put_op("set", 2, [0], 1), base, values, rows, target=GPU)
    for row, value in zip(rows, values, strict=True):
        base[row] = value
    np.testing.assert_array_equal(got, base)


def test_an_index_out_of_range_is_found():
    with pytest.raises(IndexError):
        run_op(take_op(2, [0], 1), floats(5, 6), np.array([2, 5]), target=GPU)
    with pytest.raises(IndexError):
        run_op(put_op("add", 2, [0], 1), floats(5, 6), floats(2, 6), np.array([2, -6]), target=GPU)


def test_what_has_no_kernel_is_named():
    program = build(Product(), [Type("float32", (4, 4))] * 2)
    with pytest.raises(NotImplementedError, match="matmul has no kernel for sm_90 yet"):
        compile_program(program, target=GPU)
