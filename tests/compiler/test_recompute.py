"""Programs that compute values again give the same numbers in less memory. The truth is float64 NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import run_plan

from tengen.compiler import compile_program, fit_memory, passes
from tengen.compiler.passes.liveness import Liveness
from tengen.compiler.passes.recompute import After, cheaply_kept, cut, rewrite
from tengen.compiler.plan import Cost
from tengen.compiler.program import Builder, Contraction, Type
from tengen.compiler.schedule.driver import Scheduler
from tengen.compiler.schedule.partition import Partition
from tengen.compiler.targets.host import host_target
from tengen.compiler.view import contiguous
from tengen.core.ops.elemwise import Elemwise
from tengen.core.ops.host import MatrixInverse
from tengen.core.ops.index import GatherAlong
from tengen.core.ops.linalg import MatMul
from tengen.core.ops.reduce import Reduce
from tengen.core.ops.shape import Broadcast, Reshape, Slice, Transpose

MATMUL, TURN, TANH, SIN, EXP = MatMul(), Transpose((1, 0)), Elemwise("TANH"), Elemwise("SIN"), Elemwise("EXP")
ROWS, WIDTH, DEPTH = 256, 32, 16
RNG = np.random.default_rng(0)


def deep_net():
    """A training step of tanh(… tanh(x · w0) … · wn) on the loss sum(y²) / 2: the weights after a step of gradient descent, the loss."""
    builder = Builder()
    weights = [builder.input(Type("float32", (WIDTH, WIDTH))) for _ in range(DEPTH)]
    values = [builder.input(Type("float32", (ROWS, WIDTH)))]
    for w in weights:
        values.append(TANH(MATMUL(values[-1], w)))
    g, updated = values[-1], []
    for w, x, y in zip(weights[::-1], values[-2::-1], values[:0:-1], strict=True):
        g = g * (1.0 - y * y)
        updated.append(w - 0.1 * MATMUL(TURN(x), g))
        g = MATMUL(g, TURN(w))
    loss = Reduce("SUM", (0, 1))(values[-1] * values[-1]) * 0.5
    return builder.finish([*updated[::-1], loss])


def deep_net_numpy(weights, x):
    values = [x]
    for w in weights:
        values.append(np.tanh(values[-1] @ w))
    g, updated = values[-1], []
    for w, before, after in zip(weights[::-1], values[-2::-1], values[:0:-1], strict=True):
        g = g * (1 - after**2)
        updated.append(w - 0.1 * before.T @ g)
        g = g @ w.T
    return [*updated[::-1], np.sum(values[-1] ** 2).reshape(1, 1) / 2]


def views_of(program):
    return [contiguous(v.shape) for v in program.inputs]


def cost(program):
    return Scheduler(program, views_of(program), host_target()).cost()


def contractions(program):
    return sum(isinstance(node.op, Contraction) for node in program.nodes)


def check_donations(plan):
    """Nothing reads an input from the step on that writes to what may have its memory."""
    for slot, given_away in plan.donations:
        uses = [{s for s, _ in step.buffers} for step in plan.steps]
        first = next(i for i, slots in enumerate(uses) if slot in slots)
        assert not any(given_away in slots for slots in uses[first + 1 :])


@pytest.mark.parametrize("share", [1.0, 0.9, 0.7, 0.6, 0.5, 0.0])
def test_a_training_step_within_a_limit(share):
    program = deep_net()
    limit = int(share * cost(program).bytes)
    fitted = fit_memory(program, views_of(program), limit)
    plan = compile_program(fitted.program)
    assert fitted.unlimited == cost(program)
    assert fitted.cost == Cost(sum(plan.allocations), plan.work)
    assert fitted.cost.bytes <= limit or share == 0
    assert fitted.cost.bytes <= fitted.unlimited.bytes * 0.6 or share > 0
    weights = [RNG.standard_normal((WIDTH, WIDTH)).astype(np.float32) * 0.2 for _ in range(DEPTH)]
    x = RNG.standard_normal((ROWS, WIDTH)).astype(np.float32)
    want = deep_net_numpy([w.astype(np.float64) for w in weights], x.astype(np.float64))
    for a, b in zip(run_plan(plan, [*weights, x]), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    check_donations(plan)


def test_a_lower_limit_takes_more_work():
    program = deep_net()
    before = cost(program)
    fitted = [fit_memory(program, views_of(program), int(before.bytes * share)) for share in (1.0, 0.8, 0.5)]
    assert str(fitted[0].program) == str(program)  # all of it is kept
    work = [f.cost.work for f in fitted]
    assert work == sorted(work) and work[0] == before.work < work[2] < 1.5 * before.work
    assert contractions(fitted[2].program) > contractions(program)


def test_activations_are_recomputed_before_products_are():
    """tanh is dropped, and what it is computed of is kept instead: both have the same size, but then sin has two that need it."""
    builder = Builder()
    x, w = builder.input(Type("float32", (ROWS, WIDTH))), builder.input(Type("float32", (WIDTH, WIDTH)))
    g, made = x, []
    for _ in range(8):
        product = MATMUL(g, w)
        made.append((product, TANH(product)))
        g = made[-1][1]
    for product, y in reversed(made):
        g = MATMUL(g * SIN(product), MATMUL(TURN(y), g))
    program = builder.finish([g])
    before = cost(program)
    fitted = fit_memory(program, views_of(program), int(before.bytes * 0.7))
    assert fitted.cost.bytes <= before.bytes * 0.7
    assert contractions(fitted.program) == contractions(program)


def test_the_result_may_be_what_is_saved():
    """What is an output anyway is not computed again."""
    builder = Builder()
    x = builder.input(Type("float32", (64, 64)))
    y = EXP(x)
    z = MATMUL(y, y)
    program = builder.finish([y, MATMUL(z, y)])
    fitted = fit_memory(program, views_of(program), 0)
    assert [n.op for n in fitted.program.nodes] == [n.op for n in passes.run(program).nodes]


def test_segments_where_nothing_is_kept():
    live = Liveness(passes.run(deep_net()))
    assert cut(live, cheaply_kept(live), 4)
    assert cut(live, frozenset(), 4) == []


# -- After ---------------------------------------------------------------------------------------------------------


def test_after_is_a_view_that_waits():
    builder = Builder()
    x = builder.input(Type("float32", (4, 4)))
    once, y = EXP(x), MATMUL(x, x)
    program = passes.run(builder.finish([once, y, EXP(After()(x, y))]))
    parts = Partition(program)
    exps = [parts.home[n.outputs[0]] for n in program.nodes if n.op is EXP]
    product = next(parts.home[n.outputs[0]] for n in program.nodes if n.op is MATMUL)
    assert len(exps) == 2 and exps[0] is not exps[1]
    assert exps[1].ancestors & product.bit and not exps[0].ancestors & product.bit
    value = RNG.standard_normal((4, 4)).astype(np.float32)
    first, _, second = run_plan(compile_program(program), [value])
    np.testing.assert_allclose(first, np.exp(value), rtol=1e-6)
    np.testing.assert_array_equal(first, second)


def test_waiting_for_a_value_does_not_store_it():
    def program(token):
        builder = Builder()
        x, y = (builder.input(Type("float32", (64, 64))) for _ in range(2))
        inner = SIN(x) * y
        outer = Reduce("SUM", (1,))(inner * inner)
        return builder.finish([outer, EXP(After()(y, inner if token else outer))])

    assert cost(program(True)) == cost(program(False))


def test_after_of_a_number_and_of_positions():
    builder = Builder()
    x, number = builder.input(Type("float32", (3, 4))), builder.input(Type("float32", ()))
    token = EXP(x)
    later = After()(number, token) * x + After()(builder.iota((3, 4)), token) + After()(builder.constant(2.0), token)
    value = RNG.standard_normal((3, 4)).astype(np.float32)
    (got,) = run_plan(compile_program(builder.finish([later])), [value, np.array(3, np.float32)])
    np.testing.assert_allclose(got, 3 * value + np.arange(12).reshape(3, 4) + 2, rtol=1e-6)


def test_a_bias_is_added_by_the_product_that_something_waits_for():
    def launches(waits):
        builder = Builder()
        x, bias = builder.input(Type("float32", (64, 64))), builder.input(Type("float32", (64,)))
        product = MATMUL(x, x)
        later = EXP(After()(x, product)) if waits else EXP(x)
        return len(compile_program(builder.finish([product + bias, later])).steps)

    assert launches(True) == launches(False)


# -- what is never computed again ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gather", "host"])
def test_what_may_fail_runs_once(kind):
    builder = Builder()
    x = builder.input(Type("float32", (64, 64)))
    index = builder.input(Type("int32", (64, 64)))
    taken = GatherAlong(1)(x, index) if kind == "gather" else MatrixInverse()(x)
    y = SIN(taken)
    z = MATMUL(y, y)
    program = builder.finish([MATMUL(z * y, z + taken)])
    count = [type(n.op) for n in passes.run(program).nodes].count(type(taken.op))
    live = Liveness(passes.run(program))
    assert live.saved
    changed = rewrite(live, frozenset(), frozenset())
    assert len(changed.nodes) > len(live.program.nodes)
    assert [type(n.op) for n in changed.nodes].count(type(taken.op)) == count == 1


# -- any Program, any plan -----------------------------------------------------------------------------------------

SIDE = 8
UNARY = (TANH, SIN, TURN, Reshape((SIDE, SIDE)), Slice((0, 0), (SIDE, SIDE), (1, 1)))
PAIRS = (lambda a, b: a + b, lambda a, b: a * b, lambda a, b: TANH(MATMUL(a, b)))
ROW = (Reduce("SUM", (1,)), Reduce("MAX", (0,)))


@st.composite
def programs(draw):
    """Values made of random earlier ones, and then pairs with them in reverse, as a backward has them.

    In float64: products and sines of large values may multiply what rounding differs by a thousandfold.
    """
    builder = Builder()
    values = [builder.input(Type("float64", (SIDE, SIDE))) for _ in range(2)]
    number = builder.input(Type("float64", ()))

    def pick():
        return values[draw(st.integers(0, len(values) - 1))]

    for kind in draw(st.lists(st.sampled_from(["unary", "pair", "row", "number"]), min_size=4, max_size=14)):
        if kind == "unary":
            made = draw(st.sampled_from(UNARY))(pick())
        elif kind == "pair":
            made = draw(st.sampled_from(PAIRS))(pick(), pick())
        elif kind == "row":
            made = pick() - Broadcast((SIDE, SIDE))(draw(st.sampled_from(ROW))(pick()))
        else:
            made = pick() * number
        values.append(made)
    g, results = TANH(values[-1]), []
    for value in reversed(values[:-1]):
        g = draw(st.sampled_from(PAIRS))(g, value)
        g = TANH(g)
        if draw(st.booleans()):
            results.append(value - g if value.node is None else g)
    return builder.finish([*results[::-1], g]), draw(st.randoms(use_true_random=False))


@settings(deadline=None, max_examples=60)
@given(programs())
def test_any_set_of_kept_values_gives_the_same(case):
    program, random = case
    program = passes.run(program)
    live = Liveness(program)
    inputs = [RNG.standard_normal((SIDE, SIDE)) for _ in range(2)] + [np.array(0.5)]
    want = run_plan(compile_program(program), inputs)
    early = [v for v in live.large if v.node not in live.late]
    choices = [frozenset(), cheaply_kept(live), frozenset(v for v in early if random.random() < 0.5)]
    for kept in choices:
        for held in (frozenset(), frozenset(early)):
            plan = compile_program(rewrite(live, kept, held))
            check_donations(plan)
            for a, b in zip(run_plan(plan, inputs), want, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)
