"""Loops that end where what follows is neutral: the numbers are those of a loop to the end, and what is not neutral does not stop it."""

from __future__ import annotations

import numpy as np
import pytest
from plans import run_op

from tengen.compiler import compile_program
from tengen.compiler.kernels.nest import Access, Instr, Nest, verify
from tengen.compiler.program import Composite, Type, build
from tengen.compiler.schedule import driver
from tengen.compiler.view import contiguous
from tengen.core.ops.index import put_op
from tengen.core.ops.reduce import Reduce, arg_extreme, within

INF = float("inf")
SHAPES = [(3, 4), (5, 1), (1, 7), (40, 33), (33, 40), (2, 100)]
FOLDS = {"SUM": (0.0, np.sum), "MAX": (-INF, np.max), "MIN": (INF, np.min)}


class Ragged(Composite):
    """The fold of each row's (or column's) elements before its limit; with `both` beside the fold of all."""

    mode: str
    axis: int
    both: bool

    def expand(self, *inputs):
        x, limit = inputs
        fold = Reduce(self.mode, (self.axis,))
        ragged = fold(within(x, {self.axis: limit}, FOLDS[self.mode][0]))
        return [ragged, fold(x)] if self.both else ragged


class RaggedAdd(Composite):
    """Adds the elements before each row's limit to the places that the index says, and those after it if they are not neutral."""

    fill: float

    def expand(self, *inputs):
        base, x, limit, index = inputs
        return put_op("add", 1, (0,), 2)(base, within(x, {1: limit}, self.fill), index)


def nests(op, *arrays):
    """The loop nests of an op."""
    found = []
    finish = driver.Scheduler.finish

    def noted(self, placement):
        found.extend(source.nest for source in self.sources)
        return finish(self, placement)

    driver.Scheduler.finish = noted
    try:
        types = [Type(a.dtype.name, a.shape) for a in arrays]
        compile_program(build(op, types), [contiguous(a.shape) for a in arrays])
    finally:
        driver.Scheduler.finish = finish
    return found


def operands(shape, axis, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=shape)
    limit = generator.integers(-1, shape[axis] + 2, tuple(1 if d == axis else s for d, s in enumerate(shape)))
    return x, limit, np.arange(shape[axis]).reshape([-1 if d == axis else 1 for d in (0, 1)]) < limit


@pytest.mark.parametrize("mode", FOLDS)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_reductions(shape, axis, mode):
    x, limit, inside = operands(shape, axis)
    fill, fold = FOLDS[mode]
    truth = fold(np.where(inside, x, fill), axis=axis, keepdims=True)
    for operand in (x, np.asfortranarray(x)):
        (found,) = run_op(Ragged(mode, axis, False), operand, limit)
        np.testing.assert_allclose(found, truth, rtol=1e-12, atol=1e-12)
    ragged, whole = run_op(Ragged(mode, axis, True), x, limit)
    np.testing.assert_allclose(ragged, truth, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(whole, fold(x, axis=axis, keepdims=True), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("fill", [0.0, 2.0])
def test_additions(fill):
    x, limit, inside = operands((6, 9), 1)
    index = np.random.default_rng(1).integers(0, 4, (6, 9))
    truth = np.zeros(4)
    np.add.at(truth, index, np.where(inside, x, fill))
    (found,) = run_op(RaggedAdd(fill), np.zeros(4), x, limit, index)
    np.testing.assert_allclose(found, truth, rtol=1e-12)


def test_what_ends_and_what_does_not():
    x, limit, _ = operands((40, 33), 1)
    assert [len(n.ends) for n in nests(Ragged("SUM", 1, False), x, limit)] == [1]
    assert not any(n.ends for n in nests(Ragged("SUM", 1, True), x, limit))
    index = np.zeros((40, 33), np.int64)
    assert any(n.ends for n in nests(RaggedAdd(0.0), np.zeros(4), x, limit, index))
    assert not any(n.ends for n in nests(RaggedAdd(2.0), np.zeros(4), x, limit, index))


def test_argmax_of_nothing_is_no_place_outside():
    class First(Composite):
        def expand(self, *inputs):
            return arg_extreme(within(inputs[0], {1: inputs[1]}, -INF), (1,), "argmax")

    x, limit, _ = operands((5, 8), 1)
    (found,) = run_op(First(), x, np.maximum(limit, 1))
    np.testing.assert_array_equal(
        found, np.where(np.arange(8) < np.maximum(limit, 1), x, -INF).argmax(1, keepdims=True)
    )


ROWS, ROW = Access("float32", ("n", "1")), Access("int64", ("n", "0"))
SUMMED = Nest(
    2,
    1,
    1,
    (ROWS, ROW, Access("float32", ("n", "0"))),
    (
        Instr("load", attr=0),
        Instr("load", dtype="int64", attr=1),
        Instr("reduce", (0,), attr="sum"),
        Instr("store", (2,), attr=2),
    ),
)


@pytest.mark.parametrize(
    "nest, message",
    [
        (SUMMED._replace(ends=((0, 1),)), "neither reduced nor serial"),
        (SUMMED._replace(ends=((1, 0),)), "no int64"),
        (SUMMED._replace(ends=((1, 9),)), "no such value"),
        (
            SUMMED._replace(ends=((1, 1),), accesses=(ROWS, ROW._replace(steps=("n", "1")), SUMMED.accesses[2])),
            "not known before",
        ),
        (SUMMED._replace(ends=((1, 1),), accesses=(ROWS, ROW, ROWS)), "a store runs along it"),
        (SUMMED._replace(ends=((1, 1),), rows=2), "ends elsewhere"),
    ],
)
def test_verify_says_what_is_wrong(nest, message):
    verify(SUMMED._replace(ends=((1, 1),)))
    with pytest.raises(ValueError, match=message):
        verify(nest)
