"""Where products of matrices store their results: as readers see them, and inside of what is made of several; against float64 NumPy."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from contraction_harness import from_bits, to_bits
from made_programs import EVERY_TARGET, Made, floats
from plans import run_plan

from tengen.core.ops.elemwise import Elemwise
from tengen.core.ops.linalg import MatMul
from tengen.core.ops.reduce import Reduce
from tengen.core.ops.shape import Concatenate, Reshape, Slice, Transpose

RELU = Elemwise("RELU")


def heads_side_by_side(y):
    """(batch, heads, length, size) as (batch * length, heads * size)."""
    n, heads, length, size = y.shape
    return Reshape((n * length, heads * size))(Transpose((0, 2, 1, 3))(y))


def beside(y):
    """The same in NumPy."""
    n, heads, length, size = y.shape
    return y.transpose(0, 2, 1, 3).reshape(n * length, heads * size)


def turned(x):
    return Transpose((*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))(x)


def product(a, b):
    return a.astype(np.float64) @ b


# -- the order of dims -------------------------------------------------------------------------------------------------


@EVERY_TARGET
@pytest.mark.parametrize(
    "batch, m, k, n", [((3, 4), 20, 7, 16), ((2, 3), 33, 40, 5), ((1, 6), 9, 3, 1), ((4, 1), 5, 0, 8)]
)
def test_heads_side_by_side(target, batch, m, k, n):
    a, b, w = floats(*batch, m, k), floats(*batch, k, n), floats(batch[1] * n, 11)
    made = Made(lambda a, b, w: MatMul()(heads_side_by_side(MatMul()(a, b)), w), a, b, w, target=target)
    assert made.kernels == ["plain", "plain"]
    made.check(beside(product(a, b)) @ w, tolerance=1e-5)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_every_order_of_the_dims_before_the_last(order):
    a, b, w = floats(4, 5, 6, 7), floats(4, 5, 7, 8), floats(8, 3)

    def function(a, b, w):
        return MatMul()(Reshape((120, 8))(Transpose((*order, 3))(MatMul()(a, b))), w)

    made = Made(function, a, b, w)
    assert made.kernels == ["plain", "plain"]
    made.check(product(a, b).transpose(*order, 3).reshape(120, 8) @ w, tolerance=1e-5)


def test_with_an_epilogue_that_reads_a_value_in_the_old_order():
    a, b, r, w = floats(3, 4, 20, 7), floats(3, 4, 7, 16), floats(3, 4, 20, 16), floats(64, 11)
    made = Made(lambda a, b, r, w: MatMul()(heads_side_by_side(RELU(MatMul()(a, b) + r)), w), a, b, r, w)
    assert made.kernels == ["fused", "nest", "plain"] or made.kernels == [
        "nest",
        "fused",
        "plain",
    ]  # r is brought there
    made.check(beside(np.maximum(product(a, b) + r, 0)) @ w, tolerance=1e-5)


def test_readers_that_disagree():
    """One of them needs a copy."""
    a, b, w = floats(3, 4, 20, 7), floats(3, 4, 7, 16), floats(64, 11)

    def function(a, b, w):
        y = MatMul()(a, b)
        return MatMul()(heads_side_by_side(y), w), MatMul()(Reshape((60, 64))(y), w), y + 1.0

    y = product(a, b)
    made = Made(function, a, b, w).check(beside(y) @ w, y.reshape(60, 64) @ w, y + 1, tolerance=1e-5)
    assert sum(step.name == "copy" for step in made.plan.steps) == 1


def test_a_result_of_the_program_stays_row_major():
    a, b, w = floats(3, 4, 20, 7), floats(3, 4, 7, 16), floats(64, 11)

    def function(a, b, w):
        y = MatMul()(a, b)
        return y, MatMul()(heads_side_by_side(y), w)

    y = product(a, b)
    made = Made(function, a, b, w).check(y, beside(y) @ w, tolerance=1e-5)
    assert made.plan.outputs[0].strides == (4 * 20 * 16, 20 * 16, 16, 1)


def test_many_loops_of_batches():
    a, b, w = floats(2, 3, 4, 5, 6), floats(2, 1, 4, 6, 7), floats(7, 2)

    def function(a, b, w):
        return MatMul()(Reshape((120, 7))(Transpose((2, 0, 3, 1, 4))(MatMul()(a, b))), w)

    Made(function, a, b, w).check(product(a, b).transpose(2, 0, 3, 1, 4).reshape(120, 7) @ w, tolerance=1e-5)


# -- parts of a whole --------------------------------------------------------------------------------------------------


@EVERY_TARGET
@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_products_inside_of_a_concat(target, axis):
    a, b, c = floats(2, 3, 20, 9), floats(2, 3, 9, 20), floats(2, 3, 20, 20)

    def function(a, b, c):
        first, second = MatMul()(a, b), turned(MatMul()(turned(b), turned(a)))
        return Concatenate(axis)(first, RELU(MatMul()(c, c)), second)

    y = product(a, b)
    want = np.concatenate([y, np.maximum(product(c, c), 0), y], axis)
    made = Made(lambda *x: function(*x) * 1.0 + 2.0, a, b, c, target=target)
    assert "concat" not in [step.name for step in made.plan.steps]
    made.check(want + 2, tolerance=1e-5)


@EVERY_TARGET
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("n", [1, 32])
def test_a_part_that_reads_a_value_of_its_size(target, axis, n):
    """It is brought to the layout of the part, gaps included."""
    a, b, r, c = floats(50, 20), floats(20, n), floats(50, n), floats(50, n)
    made = Made(lambda a, b, r, c: Concatenate(axis)(c, RELU(MatMul()(a, b) + r)), a, b, r, c, target=target)
    made.check(np.concatenate([c, np.maximum(product(a, b) + r, 0)], axis), tolerance=1e-5)


def test_gradients_of_heads():
    """Queries, keys and values come from one product: their gradients are put together, and heads side by side, with no copy."""
    a, b, w = floats(2, 4, 20, 7), floats(2, 4, 7, 16), floats(192, 11)

    def function(a, b, w):
        parts = MatMul()(a, b), turned(MatMul()(turned(b), turned(a))), MatMul()(a, b * 2.0)
        return MatMul()(heads_side_by_side(Concatenate(1)(*parts)), w)

    y = product(a, b)
    made = Made(function, a, b, w)
    assert not {"concat", "copy"} & {step.name for step in made.plan.steps}
    made.check(beside(np.concatenate([y, y, 2 * y], 1)) @ w, tolerance=1e-5)


def test_a_part_that_somebody_else_reads_and_one_that_comes_twice():
    a, b = floats(20, 9), floats(9, 30)

    def function(a, b):
        y, z = MatMul()(a, b), MatMul()(a, b * 2.0)
        return Concatenate(0)(y, z, z) * 1.0, y + 1.0

    y = product(a, b)
    Made(function, a, b).check(np.concatenate([y, 2 * y, 2 * y]), y + 1, tolerance=1e-5)


def test_the_parts_of_a_part_are_copied_once():
    x, y, w = floats(3, 4), floats(3, 2), floats(4, 6)
    rows, columns = Concatenate(0), Concatenate(1)

    def function(x, y, w):
        product = MatMul()(x, w)
        return rows(columns(y, x), product, columns(columns(y, y * 2.0), y)) * 1.0

    made = Made(function, x, y, w)
    assert [step.name for step in made.plan.steps].count("concat") == 5
    made.check(np.concatenate([np.c_[y, x], product(x, w), np.c_[y, 2 * y, y]]), tolerance=1e-5)


def test_parts_of_a_part_that_is_read_elsewhere_too():
    x, y = floats(3, 4), floats(3, 2)
    rows, columns = Concatenate(0), Concatenate(1)

    def function(x, y):
        part, twice, kept = columns(x, y), columns(y, x), columns(y, y)
        return rows(part, twice, twice), part + 1.0, rows(kept, kept), kept

    part, twice, kept = np.c_[x, y], np.c_[y, x], np.c_[y, y]
    Made(function, x, y).check(np.r_[part, twice, twice], part + 1, np.r_[kept, kept], kept, tolerance=1e-5)


def test_a_k_that_is_cut():
    """Its sums go through memory that is as dense as the product."""
    a, b = floats(8, 50000), floats(50000, 16)
    want = product(a, b)
    made = Made(lambda a, b: Concatenate(1)(MatMul()(a, b), MatMul()(a, b * 2.0)) * 1.0, a, b)
    made.check(np.concatenate([want, 2 * want], 1), tolerance=1e-4)


def test_bfloat16():
    a, b = to_bits(floats(2, 4, 40, 16)), to_bits(floats(2, 4, 16, 32))

    def function(a, b):
        parts = MatMul()(a, b), turned(MatMul()(turned(b), turned(a)))
        return heads_side_by_side(Concatenate(1)(*parts)) * 1.0

    made = Made(function, a, b, dtypes={0: "bfloat16", 1: "bfloat16"})
    y = product(from_bits(a), from_bits(b))
    (got,) = run_plan(made.plan, made.arrays)
    np.testing.assert_allclose(from_bits(got), beside(np.concatenate([y, y], 1)), rtol=2**-7, atol=1e-2)


# -- parts of a whole that loop nests make ------------------------------------------------------------------------------

EXP = Elemwise("EXP")


def copies(made):
    """How many parts of a Concat are copied."""
    return [step.name for step in made.plan.steps].count("concat")


@EVERY_TARGET
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_maps_inside_of_a_concat(target, axis):
    """The first two are one kernel, which also stores a value of its own; the last one is another."""
    x, y = floats(3, 5, 64), floats(3, 5, 64)

    def function(x, y):
        e = EXP(x)
        return Concatenate(axis)(e * y, e + y, EXP(Reduce("MAX", (2,))(RELU(y)) + x)) * 2.0, e * 3.0

    e = np.exp(x.astype(np.float64))
    parts = e * y, e + y, np.exp(np.maximum(y, 0).max(2, keepdims=True) + x)
    made = Made(function, x, y, target=target)
    assert not copies(made)
    made.check(2 * np.concatenate(parts, axis), 3 * e, tolerance=1e-5)


@pytest.mark.parametrize("extent, count", [(63, 2), (64, 0)])
def test_short_runs_are_copied(extent, count):
    """A map of a few numbers at a time would leave most lanes empty."""
    x, y = floats(7, extent), floats(7, extent)
    made = Made(lambda x, y: Concatenate(1)(EXP(x), EXP(y)), x, y)
    assert copies(made) == count
    made.check(np.concatenate([np.exp(x), np.exp(y)], 1), tolerance=1e-5)


@EVERY_TARGET
@pytest.mark.parametrize("extent", [1, 3, 8])
def test_short_runs_are_no_reason_where_operands_have_them_too(target, extent):
    x = floats(7, 4 * extent)

    def function(x):
        first, second = (Slice((0, start), (7, extent), (1, 1))(x) for start in (0, 2 * extent))
        return Concatenate(1)(EXP(first), EXP(second) * first) * 1.0

    made = Made(function, x, target=target)
    assert not copies(made)
    first, second = x[:, :extent], x[:, 2 * extent : 3 * extent]
    made.check(np.concatenate([np.exp(first), np.exp(second) * first], 1), tolerance=1e-5)


def test_a_map_in_another_order_of_dims_is_copied():
    """The first part decides how the whole lies."""
    x, y = floats(70, 80), floats(80, 70)
    made = Made(lambda x, y: Concatenate(0)(EXP(x), EXP(turned(y))), x, y)
    assert copies(made) == 1
    made.check(np.concatenate([np.exp(x), np.exp(y.T)]), tolerance=1e-5)


def test_maps_beside_a_product_inside_of_a_concat():
    a, b, x = floats(20, 9), floats(9, 64), floats(20, 64)
    made = Made(lambda a, b, x: Concatenate(1)(EXP(x), MatMul()(a, b), EXP(x * 0.5)) * 1.0, a, b, x)
    assert not copies(made)
    made.check(np.concatenate([np.exp(x), product(a, b), np.exp(x / 2)], 1), tolerance=1e-5)


def test_a_map_that_somebody_else_reads_and_one_that_comes_twice():
    x, y = floats(4, 64), floats(4, 64)

    def function(x, y):
        e, f = EXP(x), EXP(y)
        return Concatenate(0)(e, f, f), MatMul()(e, turned(e))

    e, f = np.exp(x.astype(np.float64)), np.exp(y)
    Made(function, x, y).check(np.concatenate([e, f, f]), e @ e.T, tolerance=1e-5)


def test_maps_without_elements_inside_of_a_concat():
    x, y = floats(0, 64), floats(3, 64)
    made = Made(lambda x, y: Concatenate(0)(EXP(x), EXP(y), EXP(x)), x, y)
    made.check(np.exp(y), tolerance=1e-5)
