"""Loops over the first axis: what they compute and their gradients, against NumPy; one step is compiled, whatever the number of steps."""

from __future__ import annotations

import numpy as np
import pytest
from checks import assert_close, check_gradient, check_second_gradient, random

import tengen
from tengen import Tensor, jit
from tengen._rt import apply
from tengen.compiler import compile_program
from tengen.compiler.program import Host, Type, build
from tengen.core.ops.base import Formula
from tengen.core.ops.elemwise import SIN, Elemwise
from tengen.core.ops.index import Take
from tengen.core.ops.linalg import MatMul
from tengen.core.ops.loop import Scan
from tengen.core.ops.reduce import mean
from tengen.core.ops.shape import reshape, transpose

TANH = Elemwise("TANH")


class Cell(Formula):
    """One state: the new one, and the mean of each row."""

    def expand(self, *inputs):
        h, x, w = inputs
        new = TANH(MatMul()(h, transpose(w, (1, 0))) + x)
        return new, reshape(mean(new, [1]), new.shape[:1])


class Pair(Formula):
    """Two states; what does not change, and an input as it is, are results too."""

    def expand(self, *inputs):
        a, b, x, y, factor = inputs
        return a * factor + SIN(x), b + a * y, x, SIN(factor)


class Count(Formula):
    """States that are one number, and one that is handed on."""

    def expand(self, *inputs):
        count, kept, x = inputs
        return count + 1.0, kept, x * count


class Look(Formula):
    """A row of a table, whose number is checked."""

    def expand(self, *inputs):
        state, index, table = inputs
        return state + Take((-1, 1), (0,), (0,))(table, index), state


class Sorted(Host):
    """The rows of a matrix sorted by NumPy."""

    def infer(self, *types):
        return types

    def compute(self, inputs, outputs):
        outputs[0][...] = np.sort(inputs[0], axis=1)


class SortedSums(Formula):
    def expand(self, *inputs):
        state, x = inputs
        return state + Sorted()(x), Sorted()(state)


def run(step, states, sequences, others, running, reverse):
    """The same in NumPy, with `step` from all inputs of a step to its results."""
    count, states = len(sequences[0]), list(states)
    made = [None] * count
    for i in range(count)[:: -1 if reverse else 1]:
        made[i] = step(*states, *(s[i] for s in sequences), *others)
        states = made[i][: len(states)]
    stacks = [np.stack(parts) for parts in zip(*made, strict=True)]
    final = range(len(states) - running, len(states))
    return [states[i] if i in final else stack for i, stack in enumerate(stacks)]


def cell(h, x, w):
    new = np.tanh(h @ w.T + x)
    return new, new.mean(1)


def pair(a, b, x, y, factor):
    return a * factor + np.sin(x), b + a * y, x, np.sin(factor)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("running", [0, 1])
@pytest.mark.parametrize("count, rows, size", [(5, 3, 4), (1, 1, 1), (2, 17, 33), (3, 0, 2)])
def test_a_cell(count, rows, size, running, reverse):
    h, x, w = random((rows, size)), random((count, rows, size), seed=1), random((size, size), -0.5, 0.5, seed=2)
    op = Scan(Cell(), 1, 1, running, reverse)
    for _ in range(3):  # a packed weight is kept from the second on
        made = apply(op, Tensor(h, dtype="float32"), Tensor(x, dtype="float32"), Tensor(w, dtype="float32"))
    for found, truth in zip(made, run(cell, [h], [x], [w], running, reverse), strict=True):
        assert_close(found, truth, "float32", factor=10)
    if size < 10:
        check_gradient(lambda *v: apply(op, *v), [h, x, w])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("running", [0, 1, 2])
def test_several_states_and_sequences(running, reverse):
    arrays = [random((2, 3), seed=i) for i in range(2)] + [random((4, 2, 3), seed=i) for i in (3, 4)] + [random((3,))]
    op = Scan(Pair(), 2, 2, running, reverse)
    made = apply(op, *(Tensor(a, dtype="float64") for a in arrays))
    truth = run(pair, arrays[:2], arrays[2:4], arrays[4:], running, reverse)
    for found, want in zip(made, truth, strict=True):
        assert_close(found, want, "float64")
    check_gradient(lambda *v: apply(op, *v), arrays)
    if running < 2:
        check_second_gradient(lambda *v: apply(op, *v)[0], arrays)


def test_sequences_and_states_lie_anyhow():
    x, h, w = random((4, 6, 5)), random((3, 4)), random((4, 4), seed=2)
    wide, turned, across = (Tensor(a, dtype="float32") for a in (x, h.T.copy(), w.T.copy()))
    moved = wide.transpose(2, 0, 1)[::-1, :, 1:5]  # (5, 4, 4), backwards
    made = apply(Scan(Cell(), 1, 1), turned.T[:, :][0:3], moved[:, :3], across.T)
    truth = run(cell, [h], [x.transpose(2, 0, 1)[::-1, :, 1:5][:, :3]], [w], 0, False)
    for found, want in zip(made, truth, strict=True):
        assert_close(found, want, "float32", factor=10)


@pytest.mark.parametrize("running", [0, 2])
def test_states_that_are_numbers_or_stay(running):
    x = random((3, 2))
    made = apply(Scan(Count(), 2, 1, running), Tensor(1.0), Tensor([[5.0]]), Tensor(x, dtype="float32"))
    truth = run(lambda c, k, x: (c + 1, k, x * c), [np.float64(1), np.array([[5.0]])], [x], [], running, False)
    for found, want in zip(made, truth, strict=True):
        assert_close(found, want)


def test_no_steps():
    x, w = Tensor(np.zeros((0, 3, 4)), dtype="float64"), Tensor(random((4, 4)), dtype="float64")
    h = random((3, 4))
    states, means = apply(Scan(Cell(), 1, 1), Tensor(h, dtype="float64"), x, w)
    assert (tuple(states.shape), tuple(means.shape)) == ((0, 3, 4), (0, 3))
    last, means = apply(Scan(Cell(), 1, 1, 1), Tensor(h, dtype="float64"), x, w)
    assert_close(last, h)
    check_gradient(lambda h: apply(Scan(Cell(), 1, 1, 1), h, x, w)[0] * 2.0, [h])


def test_an_index_out_of_range_is_found_at_any_step():
    table, index = Tensor(random((3, 2)), dtype="float32"), np.array([[0], [2], [1]], np.int32)
    op, start = Scan(Look(), 1, 1), Tensor(np.zeros((1, 2)), dtype="float32")
    total = table.numpy()[index[:, 0]].cumsum(0).reshape(3, 1, 2)
    assert_close(apply(op, start, Tensor(index), table)[0], total)
    index[2] = 3
    with pytest.raises(IndexError):
        apply(op, start, Tensor(index), table)[0].numpy()


@pytest.mark.parametrize("reverse", [False, True])
def test_python_functions_in_a_body(reverse):
    h, x = random((2, 5)), random((3, 2, 5), seed=1)
    made = apply(Scan(SortedSums(), 1, 1, 0, reverse), Tensor(h, dtype="float64"), Tensor(x, dtype="float64"))
    truth = run(lambda h, x: (h + np.sort(x), np.sort(h)), [h], [x], [], 0, reverse)
    for found, want in zip(made, truth, strict=True):
        assert_close(found, want)


def plan_of(count, op):
    types = Type("float32", (8, 16)), Type("float32", (count, 8, 16)), Type("float32", (16, 16))
    return compile_program(build(op, types))


@pytest.mark.parametrize("reverse", [False, True])
def test_one_step_is_compiled_and_the_weight_is_packed_once(reverse):
    few, many = (plan_of(count, Scan(Cell(), 1, 1, 0, reverse)) for count in (3, 30))
    assert {s.address for s in few.steps} == {s.address for s in many.steps}
    packing = [[s.name for s in plan.steps if "layout" in s.name] for plan in (few, many)]
    assert packing[0] == packing[1] and len(packing[0]) == 1
    assert (len(many.steps) - 1) * 3 == (len(few.steps) - 1) * 30
    assert many.layouts, "the packed weight is not kept for the next call"
    assert len(many.allocations) == len(few.allocations)


def test_temporaries_of_a_step_are_taken_once():
    few, many = (plan_of(count, Scan(Cell(), 1, 1, 1)) for count in (3, 30))
    states = [sum(plan.allocations) - 4 * 8 * count for plan, count in ((few, 3), (many, 30))]
    assert states[0] == states[1]


def test_traced_loops_go_with_what_is_around_them():
    @jit.trace(symbolic=True)
    def traced(h, x, w):
        states, means = apply(Scan(Cell(), 1, 1), h * 2.0, x + 1.0, w)
        return states * 3.0, means.sum()

    h, x, w = random((3, 4)), random((5, 3, 4), seed=1), random((4, 4), seed=2)
    states, means = run(cell, [h * 2], [x + 1], [w], 0, False)
    for _ in range(3):
        found, total = traced(*(Tensor(a, dtype="float32") for a in (h, x, w)))
        assert_close(found, states * 3, factor=10)
        assert_close(total, means.sum(), factor=10)


def test_a_network_with_a_loop_trains_in_a_trace():
    w = tengen.Parameter(np.eye(4, dtype=np.float32) * 0.1)
    manager, optimizer = tengen.autodiff.GradManager().attach([w]), tengen.optimizer.SGD([w], lr=0.1)

    @jit.trace
    def step(h, x):
        with manager:
            loss = (apply(Scan(Cell(), 1, 1), h, x, w)[0] ** 2).mean()
            manager.backward(loss)
        optimizer.step().clear_grad()
        return loss

    h, x = Tensor(random((3, 4)), dtype="float32"), Tensor(random((5, 3, 4), seed=1), dtype="float32")
    losses = [float(step(h, x).numpy()) for _ in range(5)]
    assert losses == sorted(losses, reverse=True) and losses[0] > losses[-1]


F32 = Type("float32", (2, 4))
WRONG = {
    "lengths that differ": (Scan(Pair(), 2, 2), [F32, F32, Type("float32", (3, 2, 4)), Type("float32", (5, 2, 4)), F32]),
    "a sequence that is a number": (Scan(Cell(), 1, 1), [F32, Type("float32", ()), F32]),
    "no sequence": (Scan(Cell(), 1, 0), [F32, F32, F32]),
    "less than no states": (Scan(Cell(), -1, 2), [F32, F32, F32]),
    "more last values than states": (Scan(Cell(), 1, 1, 2), [F32, F32, F32]),
    "a state that changes its type": (Scan(Pair(), 2, 2), [F32, Type("float32", (4,)), *[Type("float32", (3, 2, 4))] * 2, F32]),
}  # fmt: skip


@pytest.mark.parametrize("op, types", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_loop_is_refused(op, types):
    with pytest.raises(ValueError, match=r"Cell|Pair"):
        build(op, types)
