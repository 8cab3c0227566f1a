"""Passes give equal Programs with fewer nodes."""

from __future__ import annotations

import numpy as np
import pytest
from plans import run_plan

from tengen.compiler import compile_program, passes, pipeline
from tengen.compiler.program import Builder, Type
from tengen.core.ops.elemwise import Elemwise, TypeCvt
from tengen.core.ops.linalg import MatMul
from tengen.core.ops.reduce import Reduce
from tengen.core.ops.shape import Broadcast, Reshape, Transpose

X = Type("float32", (3, 4))
NEGATE = Elemwise("NEGATE")

EQUAL = {
    "double negation": (lambda x: NEGATE(NEGATE(x)), 0),
    "times one": (lambda x: x * 1.0, 0),
    "divided by one": (lambda x: x / 1, 0),
    "minus nothing": (lambda x: x - 0.0, 0),
    "plus zero turns -0 into 0": (lambda x: x + 0.0, 2),
    "a cast to the same dtype": (lambda x: TypeCvt("float32")(x), 0),
    "a broadcast to the same shape": (lambda x: Broadcast((3, 4))(x), 0),
    "back and forth": (lambda x: Transpose((1, 0))(Transpose((1, 0))(x)), 0),
    "two transposes": (lambda x: Transpose((1, 0, 2))(Transpose((2, 0, 1))(Reshape((3, 2, 2))(x))), 2),
    "two reshapes": (lambda x: Reshape((2, 6))(Reshape((12,))(x)), 1),
    "reshapes back": (lambda x: Reshape((3, 4))(Reshape((12,))(x)), 0),
    "narrower and back is not nothing": (lambda x: TypeCvt("float32")(TypeCvt("int32")(x)), 2),
    "a chain": (lambda x: NEGATE(NEGATE(Elemwise("EXP")(x) * 1.0)), 1),
}


@pytest.mark.parametrize("name", EQUAL)
def test_simplify(name, monkeypatch):
    make, nodes = EQUAL[name]
    builder = Builder()
    program = builder.finish([make(builder.input(X))])
    simple = passes.run(program)
    assert len(simple.nodes) == nodes
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32) * 3
    x[0, 0] = -0.0
    with_passes = run_plan(compile_program(program), [x])
    names = {step.name for step in passes.PASSES}
    monkeypatch.setattr(pipeline, "PIPELINE", [step for step in pipeline.PIPELINE if step.name not in names])
    without = run_plan(compile_program(program), [x])
    np.testing.assert_array_equal(with_passes[0], without[0])
    np.testing.assert_array_equal(np.signbit(with_passes[0]), np.signbit(without[0]))


def test_a_program_of_which_nothing_is_simpler_is_not_recorded_again():
    builder = Builder()
    program = builder.finish([NEGATE(Elemwise("EXP")(builder.input(X)))])
    assert passes.run(program) is program


STAGES = [*(step.name for step in passes.PASSES), "groups", "kernels", "memory", "machine code"]


def test_all_steps_from_a_program_to_a_plan_are_named_and_timed():
    builder = Builder()
    program = builder.finish([builder.input(X) * 1.0])
    assert [stage.name for stage in pipeline.PIPELINE] == STAGES
    plan = compile_program(program)
    assert [name for name, seconds in plan.stages if seconds > 0] == STAGES


SUM = Reduce("SUM", (2,))

# what follows y, a product that was reshaped; the same in NumPy; shapes of other operands; whether it comes before the reshape
REGROUPED = {
    "one operand": (lambda y: NEGATE(y), lambda y: -y, (), True),
    "the same twice": (lambda y: y * Elemwise("ABS")(y), lambda y: y * abs(y), (), True),
    "a number": (lambda y: y * 2.0 + 1.0, lambda y: y * 2 + 1, (), True),
    "channels": (lambda y, v: y + v, lambda y, v: y + v, ((5,),), True),
    "one element": (lambda y, v: v - y, lambda y, v: v - y, ((1, 1, 1),), True),
    "a residual": (lambda y, v: NEGATE(y + v), lambda y, v: -(y + v), ((2, 3, 5),), True),
    "another reshape": (lambda y: NEGATE(Reshape((6, 5))(NEGATE(y))), lambda y: y.reshape(6, 5), (), True),
    "the first dim": (lambda y, v: y * v, lambda y, v: y * v, ((2, 1, 1),), False),
    "a wider result": (lambda y, v: y * v, lambda y, v: y * v, ((4, 2, 3, 5),), False),
    "one number for each row": (lambda y, v: y - v, lambda y, v: y - v, ((2, 3, 1),), False),
    "a sum of each row": (lambda y: y - SUM(y), lambda y: y - y.sum(2, keepdims=True), (), False),
    "a sum beside it": (
        lambda y: NEGATE(y) * SUM(Reshape((2, 3, 5))(Reshape((30,))(y))),
        lambda y: -y * y.sum(2, keepdims=True),
        (),
        False,
    ),
}


@pytest.mark.parametrize("name", REGROUPED)
def test_elementwise_ops_come_before_the_reshape_of_a_product(name):
    make, numpy, shapes, moves = REGROUPED[name]
    builder, random = Builder(), np.random.default_rng(0)
    arrays = [random.standard_normal(shape).astype(np.float32) for shape in ((6, 4), (4, 5), *shapes)]
    x, w, *others = (builder.input(Type("float32", a.shape)) for a in arrays)
    program = builder.finish([make(Reshape((2, 3, 5))(MatMul()(x, w)), *others)])
    last = passes.run(program).outputs[0]
    assert (last.shape == (6, 5) or isinstance(last.op, Reshape)) == moves
    a, b, *rest = (array.astype(np.float64) for array in arrays)
    want = numpy((a @ b).reshape(2, 3, 5), *rest)
    np.testing.assert_allclose(run_plan(compile_program(program), arrays)[0], want, rtol=1e-5, atol=1e-5)
