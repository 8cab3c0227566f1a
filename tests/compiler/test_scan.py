"""Running folds: the instruction of a Nest, for every instruction set that this machine has, and the op in Programs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from nest_harness import Code, Problem, array, check
from plans import run_op

from tengen.base import config
from tengen.compiler.kernels.nest import Access, Instr, Nest, verify
from tengen.compiler.kernels.target import Target
from tengen.compiler.targets.host import available, host_target
from tengen.core.ops.scan import FEW_ROWS, LEAST_PART, CumSum

random = np.random.default_rng(0)


@pytest.fixture(params=available())
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with config.override(isa=request.param):
        yield host_target()


@pytest.mark.parametrize("length", (2, 3, 15, 16, 17, 33, 64, 65, 200))
@pytest.mark.parametrize("lane", (0, 1))
@pytest.mark.parametrize("how", ["sum float32", "prod float64", "sum int32", "sum int64", "linear float32"])
def test_rows_and_columns(target: Target, how: str, lane: int, length: int) -> None:
    """The scanned dim along the lanes and across them; what the scan is of goes to memory as well."""
    monoid, dtype = how.split()
    values = random.integers(-9, 9, (5, length)) if monoid == "sum" else 1 + random.standard_normal((5, length)) / 50
    c = Code()
    x = c.load(0, dtype)
    doubled = c("add", x, x if monoid == "sum" else c.const(0, dtype), dtype=dtype)
    c.store(c("scan", doubled, *([x] if monoid == "linear" else []), dtype=dtype, attr=monoid), 1)
    c.store(doubled, 2)
    results = [array(dtype, np.zeros((5, length))) for _ in range(2)]
    check(Problem((5, length), 1, lane, [array(dtype, values), *results], c), target)


@pytest.mark.parametrize("rows", (1, 7, 16, 33, 130))
@pytest.mark.parametrize("length", (2, 3, 8))
@pytest.mark.parametrize("how", ["sum float32", "prod float64", "sum int32", "linear float32"])
def test_short_rows_side_by_side(target: Target, how: str, length: int, rows: int) -> None:
    """The lanes go along the rows, whose elements are taken apart and woven."""
    monoid, dtype = how.split()
    values = (
        random.integers(-9, 9, (2, rows, length)) if monoid == "sum" else random.uniform(0.9, 1.1, (2, rows, length))
    )
    c = Code()
    x = c.load(0, dtype)
    c.store(c("scan", x, *([x] if monoid == "linear" else []), dtype=dtype, attr=monoid), 1)
    memory = [array(dtype, values), array(dtype, np.zeros((2, rows, length)))]
    check(Problem((2, rows, length), 2, 1, memory, c, interleaved=2), target)


@pytest.mark.parametrize("monoid", ["prod", "linear"])
def test_products_of_lanes_that_overflow(target: Target, monoid: str) -> None:
    """From the beginning nothing is too large or too small, but products of neighbours alone are; and 0 stays 0."""
    values = np.ones((6, 70))
    values[:, 5], values[:, 16:34] = (
        [1e-30, 1e30, 0, 1e-30, -1e30, 1],
        [[150], [1 / 150], [150], [-150], [1 / 150], [1.1]],
    )
    first = np.zeros((6, 70))
    first[:, 2] = 1
    c = Code()
    args = [c.load(0)] if monoid == "prod" else [c.load(0), c.load(1)]
    c.store(c("scan", *args, attr=monoid), 2)
    memory = [array("float32", x) for x in (values, first, np.zeros((6, 70)))]
    check(Problem((6, 70), 1, 1, memory, c), target)


def test_a_value_that_does_not_move(target: Target) -> None:
    c = Code()
    c.store(c("scan", c.const(2.0), attr="sum"), 0)
    check(Problem((3, 37), 1, 1, [array("float32", np.zeros((3, 37)))], c), target)


LOAD, ROWS = Instr("load", attr=0), Access("float32", ("n", "1"))
SCAN, STORE = Instr("scan", (0,), attr="sum"), Instr("store", (1,), attr=1)
RUNNING = Nest(2, 1, 1, (ROWS, ROWS), (LOAD, SCAN, STORE))


@pytest.mark.parametrize(
    ("nest", "message"),
    [
        (RUNNING._replace(kept=2), "reduces 0 dims"),
        (RUNNING._replace(rows=2), "it scans"),
        (RUNNING._replace(code=(LOAD, SCAN._replace(attr="max"), STORE)), "not one of sum, prod, linear"),
        (RUNNING._replace(code=(LOAD, SCAN._replace(attr="linear"), STORE)), "takes 2 arguments, got 1"),
        (RUNNING._replace(code=(LOAD, SCAN, STORE, Instr("neg", (1,)), STORE)), "goes to a neg"),
        (RUNNING._replace(code=(LOAD, SCAN, STORE, Instr("reduce", (0,), attr="sum"))), "a reduce too"),
    ],
)
def test_what_a_nest_with_a_scan_must_not_be(nest: Nest, message: str) -> None:
    verify(RUNNING)
    with pytest.raises(ValueError, match=message):
        verify(nest)


@pytest.mark.parametrize("extent", [2 * LEAST_PART, 7 * LEAST_PART + 1, 66 * LEAST_PART + 5, 64 * LEAST_PART])
@pytest.mark.parametrize("rows", [1, FEW_ROWS - 1])
def test_a_few_long_rows_are_cut_into_parts(rows: int, extent: int) -> None:
    """Integers, so that every element must be right to the bit, from both ends and along both axes."""
    if rows > 1 and extent > 10 * LEAST_PART:
        return
    x = random.integers(-99, 99, (rows, extent)).astype(np.int32)
    np.testing.assert_array_equal(run_op(CumSum(1), x)[0], np.cumsum(x, 1))
    np.testing.assert_array_equal(run_op(CumSum(0), x.T)[0], np.cumsum(x.T, 0))
    np.testing.assert_array_equal(run_op(CumSum(1, True), x)[0], np.cumsum(x[:, ::-1], 1)[:, ::-1])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_parts_are_added_in_float32(dtype: type) -> None:
    x = random.standard_normal(20 * LEAST_PART).astype(dtype)
    want = np.cumsum(x, dtype=np.float64)
    np.testing.assert_allclose(
        run_op(CumSum(0), x)[0], want, atol=np.abs(want).max() * (1e-6 if dtype == np.float32 else 1e-3)
    )
