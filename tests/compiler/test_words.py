"""Narrow floats that a kernel only moves keep all their bits, and move in pairs where their number allows that."""

from __future__ import annotations

import numpy as np
import pytest
from plans import run_op, type_of

from tengen.compiler.program import build
from tengen.compiler.schedule.driver import Scheduler
from tengen.compiler.targets.host import host_target
from tengen.compiler.view import contiguous
from tengen.core.ops.index import take_op
from tengen.core.ops.shape import Concatenate, Pad, Reshape

random = np.random.default_rng(0)
SHAPES = [(6, 10, 8), (6, 10, 7), (5, 7, 2), (4, 1, 6), (3, 9, 1), (40, 33, 34)]


def any_bits(*shape: int) -> np.ndarray:
    """Among them many NaN, of which a calculation would keep no more than that they are some."""
    return random.integers(0, 1 << 16, shape, np.uint16).view(np.float16)


def assert_same_bits(got: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_array_equal(got.view(np.uint16), np.ascontiguousarray(wanted).view(np.uint16))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_moves_keep_all_bits(shape: tuple[int, ...]) -> None:
    x, y = any_bits(*shape), any_bits(*shape)
    rows = random.integers(-shape[0], shape[0], 11).astype(np.int32)
    for axis in range(3):
        assert_same_bits(run_op(Concatenate(axis), x, y)[0], np.concatenate([x, y], axis))
    for order in ((2, 1, 0), (0, 2, 1), (1, 0, 2)):
        moved = run_op(Reshape((x.size,)), x.transpose(order))[0]
        assert_same_bits(moved, x.transpose(order).ravel())
    assert_same_bits(run_op(take_op(3, (0,), 1), x, rows)[0], x[rows])
    assert_same_bits(run_op(Reshape((5 * x.size,)), np.broadcast_to(x, (5, *shape)))[0], np.tile(x.ravel(), 5))
    assert_same_bits(run_op(Pad((0, 0, 1), (0, 0, 3), 0.0), x)[0], np.pad(x, ((0, 0), (0, 0), (1, 3))))
    part = x[1:, :, shape[2] // 2 :]
    assert_same_bits(run_op(Reshape((part.size,)), part)[0], part.ravel())


@pytest.mark.parametrize("width, moved", [(128, "int32"), (127, "uint16"), (2, "int32")])
def test_rows_of_an_even_number_are_moved_in_pairs(width: int, moved: str) -> None:
    x, rows = any_bits(50, width), np.zeros(70, np.int32)
    program = build(take_op(2, (0,), 1), [type_of(x), type_of(rows)])
    scheduler = Scheduler(program, [contiguous(x.shape), contiguous(rows.shape)], host_target())
    scheduler.lower()
    (source,) = scheduler.sources
    assert [access.dtype for access in source.nest.accesses if access.dtype != "int32"] == ["uint16"] * (
        2 if moved == "uint16" else 0
    )
