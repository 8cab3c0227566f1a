"""Which buffers share memory: the rule and its check on Plans made by hand, and random Programs that write parts, in the memory of their
inputs and not, next to NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plans import run_plan

from tengen.compiler import compile_program
from tengen.compiler.program import Builder, Type
from tengen.compiler.schedule.memory import ownership
from tengen.compiler.schedule.memory.ownership import EVERYWHERE
from tengen.compiler.view import View, contiguous
from tengen.core.ops.elemwise import Elemwise
from tengen.core.ops.index import Put
from tengen.core.ops.reduce import Reduce
from tengen.core.ops.shape import Broadcast, PlaceView, Reshape, Slice, Transpose

HERE, THERE = contiguous((4,)), View((4,), (-1,), 3)


@dataclass
class Step:
    reads: list
    writes: list
    skip_for: int | None = None
    copied: int | None = None
    joined: bool = False
    name: str = field(default="a step")

    def __post_init__(self):
        self.reads, self.writes = (
            [u if isinstance(u, tuple) else (u, HERE) for u in uses] for uses in (self.reads, self.writes)
        )


def copy(source, target):
    return Step([source], [target], target, source)


def write_part(base, *reads):
    return Step([*reads, (base, EVERYWHERE)], [base])


def verify(steps, outputs, donated, inputs=2):
    ownership.verify(steps, inputs, [0] * inputs + [16] * 8, outputs, donated)


def test_right_plans_pass():
    verify([copy(0, 2), write_part(2)], [2], {2: 0})
    verify([Step([0], [2])], [2], {2: 0})  # in the memory that it reads, at the same elements
    verify([Step([0], [3]), copy(3, 2), write_part(2)], [2], {2: 0})  # the copy is no copy of the input, so it runs
    verify([Step([0, 1], [2]), Step([(2, EVERYWHERE)], [3])], [2, 3], {2: 0, 3: 1})
    verify([Step([0], [2]), Step([1], [3], joined=True)], [2, 3], {2: 0, 3: 1})
    ownership.verify([], 1, [0, 0], [1], {1: 0})  # a value without elements, which nobody writes


@pytest.mark.parametrize(
    ("steps", "outputs", "donated", "message"),
    [
        ([write_part(2)], [2], {}, "reads buffer 2, but nothing"),
        ([Step([1], [2]), Step([0], [3])], [2, 3], {2: 0}, "reads buffer 0, but buffer 2"),
        ([Step([(0, THERE)], [2])], [2], {2: 0}, "reads buffer 0 while buffer 2"),
        ([Step([(0, EVERYWHERE)], [(2, EVERYWHERE)])], [2], {2: 0}, "reads buffer 0 while buffer 2"),
        ([Step([1], [2]), Step([0], [3], joined=True)], [2, 3], {2: 0}, "reads buffer 0 while buffer 2"),
        ([Step([0], [2]), Step([2], [3], joined=True)], [2, 3], {}, "reads buffer 2, but nothing"),
        ([Step([1], [2])], [2, 0], {2: 0}, "an output reads buffer 0, but buffer 2"),
        ([Step([1], [2]), Step([1], [3])], [2, 3], {2: 0, 3: 0}, "an output reads buffer 2, but buffer 3"),
        ([Step([1], [2]), Step([1], [3], joined=True)], [2, 3], {2: 0, 3: 0}, "writes buffer 3 while buffer 2"),
    ],
)  # fmt: skip
def test_wrong_plans_are_found(steps, outputs, donated, message):
    with pytest.raises(AssertionError, match=message):
        verify(steps, outputs, donated)


def test_a_copy_is_needless_only_of_what_is_there():
    assert ownership.needless(copy(0, 2), {2: 0})
    assert not ownership.needless(copy(0, 2), {2: 1})
    assert not ownership.needless(copy(3, 2), {2: 0})
    assert not ownership.needless(Step([0], [2], 2, None), {2: 0})  # fills it with something else
    assert not ownership.needless(copy(0, 2), {})


def test_parts_are_written_where_nobody_wants_the_rest_as_it_was():
    def owner(*steps, kept=()):
        return ownership.in_place(steps, 1, [0, 16, 16, 16, 8], kept)

    chain = [Step([0], [1]), copy(1, 2), write_part(2), copy(2, 3), write_part(3)]
    assert owner(*chain) == {2: 1, 3: 1}
    assert owner(*chain, kept=[3]) == {2: 1, 3: 1}
    assert owner(*chain, kept=[2]) == {2: 1}
    assert owner(*chain, kept=[1]) == {3: 2}
    assert owner(*chain, Step([1], [4])) == {3: 2}
    assert owner(copy(0, 1), write_part(1)) == {}  # an input may be given away or not
    assert owner(Step([0], [4]), copy(4, 1), write_part(1)) == {}  # of another size


# -- Programs ------------------------------------------------------------------------------------------------------

ROWS = np.array([2, 0], np.int32)
WHERE = {
    "row": (Slice((1, 0), (1, 4), (1, 1)), (slice(1, 2),)),
    "odd": (Slice((0, 0), (2, 4), (2, 1)), (slice(None, None, 2),)),
    "back": (Slice((2, 3), (3, 2), (-1, -2)), (slice(None, None, -1), slice(None, None, -2))),
    "whole": (Slice((0, 0), (3, 4), (1, 1)), (...,)),
}
STEP = st.one_of(
    st.tuples(st.sampled_from(["add", "scale", "center", "turn", "flat"]), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("place"), st.integers(0, 9), st.integers(0, 9), st.sampled_from(sorted(WHERE))),
    st.tuples(st.sampled_from(["set", "accumulate"]), st.integers(0, 9), st.integers(0, 9)),
)


def record(builder, name, x, y, rows, where=None):
    if name == "add":
        return x + y
    if name == "scale":
        return x * -0.5
    if name == "center":
        return x - Broadcast((3, 4))(Reduce("SUM", (1,))(y))
    if name == "turn":
        return Transpose((1, 0))(Reshape((4, 3))(x))
    if name == "flat":
        return Reshape((3, 4))(Transpose((1, 0))(Reshape((4, 3))(y))) * x
    if name == "place":
        return PlaceView(WHERE[where][0], "set")(x, WHERE[where][0](y))
    return Put("set" if name == "set" else "add", (-1, 1), (0,), (0,))(x, Slice((0, 0), (2, 4), (1, 1))(y), rows)


def compute(name, x, y, where=None):
    if name == "add":
        return x + y
    if name == "scale":
        return x * -0.5
    if name == "center":
        return x - y.sum(1, keepdims=True)
    if name == "turn":
        return x.reshape(4, 3).T
    if name == "flat":
        return y.reshape(4, 3).T.reshape(3, 4) * x
    made = x.copy()
    if name == "place":
        made[WHERE[where][1]] = y[WHERE[where][1]]
    else:
        made[ROWS] = y[:2] if name == "set" else made[ROWS] + y[:2]
    return made


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=9), st.lists(st.integers(0, 12), min_size=2, max_size=4), st.booleans())
@example([("place", 0, 1, "row"), ("place", 2, 1, "odd")], [3, 1], False)
@example([("add", 0, 1), ("place", 2, 2, "whole")], [3, 1], False)
@example([("add", 0, 1), ("set", 2, 2)], [3, 0], False)
@example([("add", 0, 1), ("scale", 2, 2), ("set", 2, 3), ("add", 2, 4)], [4, 5, 3], True)
@example([("scale", 0, 0)], [2, 1, 0], False)
@example([("accumulate", 0, 0), ("accumulate", 2, 0)], [3, 2], False)
def test_programs_that_write_parts(steps, outputs, turned):
    """Outputs 0 and 1 may take the memory of inputs 0 and 1 (`run_plan` tries both); others are views of anything. turned: an input that
    does not lie row-major."""
    random = np.random.default_rng(len(steps))
    arrays = [random.uniform(-1, 1, (3, 4)).astype(np.float32) for _ in range(2)]
    if turned:
        arrays[0] = np.asfortranarray(arrays[0])
    builder = Builder()
    values = [builder.input(Type("float32", (3, 4))) for _ in arrays]
    rows = builder.input(Type("int32", (2,)))
    truths = [a.astype(np.float64) for a in arrays]
    for name, a, b, *where in steps:
        a, b = a % len(values), b % len(values)
        values.append(record(builder, name, values[a], values[b], rows, *where))
        truths.append(compute(name, truths[a], truths[b], *where))
    chosen = [o % len(values) for o in outputs]
    program = builder.finish(values[o] for o in chosen)
    views = [*(View(a.shape, tuple(s // 4 for s in a.strides)) for a in arrays), contiguous((2,))]
    for got, wanted in zip(run_plan(compile_program(program, views), [*arrays, ROWS]), chosen, strict=True):
        np.testing.assert_allclose(got, truths[wanted], rtol=1e-4, atol=1e-4)


def names(*steps):
    """Of the Plan of a Program whose first input becomes the last value: the steps that run where that is given away."""
    builder = Builder()
    values = [builder.input(Type("float32", (3, 4))) for _ in range(2)]
    for name, a, b, *where in steps:
        values.append(record(builder, name, values[a], values[b], None, *where))
    plan = compile_program(builder.finish(values[-1:]))
    assert [number for _, number in plan.donations] == [0]
    given_away = {slot for slot, _ in plan.donations}
    return [step.name for step in plan.steps if step.skip_if_donated not in given_away]


def test_what_nobody_else_wants_is_not_copied():
    assert "copy" not in names(("place", 0, 1, "row"), ("place", 2, 1, "odd"))
    assert "copy" not in names(("add", 0, 1), ("place", 2, 1, "row"), ("scale", 3, 3), ("place", 4, 1, "back"))


def test_the_same_value_is_written_into_itself_and_read():
    """As base, as what is written, and by another kernel."""
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    builder = Builder()
    value, rows = builder.input(Type("float32", (3, 4))), builder.input(Type("int32", (3,)))
    total = value + value
    written = Put("set", (-1, 1), (0,), (0,))(total, total, rows)
    placed = PlaceView(WHERE["whole"][0], "set")(total, total)
    program = builder.finish([written, placed, Elemwise("EXP")(total)])
    got = run_plan(compile_program(program), [x, np.array([2, 0, 1], np.int32)])
    for mine, truth in zip(got, [2 * x[[1, 2, 0]], 2 * x, np.exp(2 * x)], strict=True):
        np.testing.assert_allclose(mine, truth, rtol=1e-5)
