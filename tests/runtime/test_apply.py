"""apply, update, operators, the Plan cache, plans and their errors."""

from __future__ import annotations

import gc
import sys
from enum import IntEnum

import numpy as np
import pytest
from toy_compiler import (
    ADD,
    BAD,
    BAD_BEFORE,
    BAD_CUSTOM,
    COPIES,
    COPY_ADD,
    MUL,
    STEP,
    TWICE,
    VIEW,
    Op,
    Parameter,
    Tensor,
    Toy,
)

from tengen import _rt as rt


def values(tensor: rt.Tensor) -> list[float]:
    return tensor._array().tolist()


def test_a_hit_asks_nobody(toy: Toy) -> None:
    a, b = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
    for _ in range(3):
        assert values(rt.apply(ADD, a, b)) == [4, 6]
    assert toy.compiled == [(ADD, (a.desc, b.desc))]
    rt.apply(ADD, a, 1.0)
    rt.apply(MUL, a, b)
    rt.apply(ADD, Tensor([1.0]), Tensor([1.0]))
    assert len(toy.compiled) == 4
    info = rt.plan_cache_info()
    assert info["size"] == 4
    rt.plan_cache_clear()
    assert rt.plan_cache_info()["size"] == 0


def test_cache_is_bounded_and_keeps_the_recently_used(toy: Toy) -> None:
    rt.plan_cache_limit(3)
    tensors = [Tensor(np.ones(n)) for n in range(1, 6)]
    for t in tensors[:3]:
        rt.apply(TWICE, t)
    rt.apply(TWICE, tensors[0])
    rt.apply(TWICE, tensors[3])  # 1 is the oldest now
    toy.compiled.clear()
    for i in (0, 2, 3):
        rt.apply(TWICE, tensors[i])
    assert toy.compiled == []
    rt.apply(TWICE, tensors[1])
    assert len(toy.compiled) == 1
    assert rt.plan_cache_info()["size"] == 3
    rt.plan_cache_limit(0)
    assert values(rt.apply(TWICE, tensors[0])) == [4]
    assert rt.plan_cache_info()["size"] == 0


def test_many_plans_survive_rehashing(toy: Toy) -> None:
    ops = [Op("twice") for _ in range(3000)]
    a = Tensor([1.0])
    for op in ops:
        rt.apply(op, a)
    toy.compiled.clear()
    for op in ops:
        rt.apply(op, a)
    assert toy.compiled == []


def test_cache_keeps_the_op_and_the_plan(toy: Toy) -> None:
    op, a = Op("twice"), Tensor([1.0])
    before = sys.getrefcount(op)
    rt.apply(op, a)
    toy.compiled.clear()
    assert sys.getrefcount(op) > before
    rt.plan_cache_clear()
    assert sys.getrefcount(op) == before


def test_results_are_of_the_tensor_class(toy: Toy) -> None:
    assert type(Parameter([1.0]) + Parameter([1.0])) is Tensor


def test_several_outputs_are_a_tuple(toy: Toy) -> None:
    a, b = Tensor([1.0]), Tensor([2.0])
    out = rt.apply(COPIES, a, b)
    assert [values(t) for t in out] == [[1], [2]]
    assert rt.apply(COPIES) == ()


def test_numbers_enter_as_inputs(toy: Toy) -> None:
    a = Tensor([1.0, 2.0])
    for x in (0.5, 1.5, -3.0):
        assert values(a * x) == [x, 2 * x]
    assert [op for op, _ in toy.compiled] == [MUL]
    assert toy.compiled[0][1][1] is rt.Descriptor("weak_float", ())

    class Color(IntEnum):
        RED = 3

    numbers = [(7, "weak_int"), (-(2**63), "weak_int"), (Color.RED, "weak_int")]
    numbers += [(True, "weak_bool"), (2.5, "weak_float"), (np.float64(0.5), "weak_float")]
    for number, dtype in numbers:
        out = rt.apply(COPIES, number)
        assert out.desc is rt.Descriptor(dtype, ())
        assert out._array()[()] == number
    with pytest.raises(OverflowError):
        rt.apply(COPIES, 2**63)


def test_operators(toy: Toy) -> None:
    a, b = Tensor([1.0, 2.0]), Tensor([3.0, 5.0])
    assert values(a + b) == [4, 7]
    assert values(a * b) == [3, 10]
    with pytest.raises(TypeError, match="unsupported operand"):
        a - b
    with pytest.raises(TypeError, match="bad operand"):
        -a  # noqa: B018
    with pytest.raises(TypeError, match="unsupported operand"):
        a + None
    with pytest.raises(TypeError, match="not supported between"):
        a < b  # noqa: B015
    assert (a == None) is False  # noqa: E711
    assert (a == b) is False, "without an op, comparison is by identity"
    with pytest.raises(ValueError, match="no operator slot"):
        rt.set_operator("nb_nothing", ADD)


ALL_BINARY = (
    "+:add -:subtract *:multiply /:true_divide //:floor_divide %:remainder &:and |:or ^:xor <<:lshift >>:rshift "
    "@:matrix_multiply **:power"
)


@pytest.mark.parametrize("pair", ALL_BINARY.split())
def test_every_binary_operator_reaches_its_slot_in_order(toy: Toy, pair: str) -> None:
    sign, slot = pair.split(":")
    seen = []
    op = Op(slot)
    rt.set_hooks(foreign=lambda op, inputs: seen.append((op, inputs)))
    rt.set_operator(f"nb_{slot}", op)
    a = Tensor([1.0])
    eval(f"a {sign} 'x'", {"a": a})
    eval(f"'x' {sign} a", {"a": a}) if sign not in "%*+" else seen.append((op, ("x", a)))
    assert [(o, [x is a for x in i]) for o, i in seen] == [(op, [True, False]), (op, [False, True])]


@pytest.mark.parametrize("pair", "<:lt <=:le ==:eq !=:ne >:gt >=:ge".split())
def test_every_comparison_reaches_its_slot(toy: Toy, pair: str) -> None:
    sign, slot = pair.split(":")
    rt.set_operator(slot, op := Op(slot))
    rt.set_hooks(foreign=lambda op, inputs: (op, inputs))
    a = Tensor([1.0])
    assert eval(f"a {sign} 'x'", {"a": a})[0] is op
    assert (a == None) is False  # noqa: E711


@pytest.mark.parametrize("pair", "-:negative ~:invert abs:absolute".split())
def test_every_unary_operator_reaches_its_slot(toy: Toy, pair: str) -> None:
    sign, slot = pair.split(":")
    rt.set_operator(f"nb_{slot}", TWICE)
    assert values(eval(f"{sign}(a)", {"a": Tensor([1.0])})) == [4]


def test_foreign_inputs(toy: Toy) -> None:
    a = Tensor([1.0])
    with pytest.raises(TypeError, match=r"input 1 is a numpy\.ndarray, not a Tensor"):
        rt.apply(ADD, a, np.ones(1))
    with pytest.raises(TypeError, match="input 1 is a str"):
        rt.update(ADD, 1, a, "x")
    seen = []

    def foreign(op: Op, inputs: tuple[object, ...]) -> object:
        seen.append((op, inputs))
        if any(isinstance(i, str) for i in inputs):
            return NotImplemented
        return rt.apply(op, *(i if isinstance(i, rt.Tensor) else Tensor(i) for i in inputs))

    rt.set_hooks(foreign=foreign)
    assert values(rt.apply(ADD, a, np.ones(1))) == [2]
    assert seen[0][0] is ADD
    assert seen[0][1][0] is a
    with pytest.raises(TypeError, match="unsupported operand"):
        a + "x"
    with pytest.raises(TypeError, match="input 1 is a str"):
        rt.apply(ADD, a, "x")
    out = rt.update(ADD, 1, a, np.ones(1))
    assert out is a
    assert values(a) == [2]


def test_inplace_operators_give_the_handle_a_new_value(toy: Toy) -> None:
    a = Tensor([1.0])
    b = same = a
    b += Tensor([1.0])
    assert b is not same, "without an op of its own, += is +"
    rt.set_operator("nb_inplace_add", ADD)
    b = same = Parameter([1.0])
    view = b._detach()
    b += Tensor([1.0])
    assert b is same
    assert values(b) == [2]
    assert values(view) == [1]


def test_update_in_place_only_if_nobody_else_looks(toy: Toy) -> None:
    a, g = Tensor(np.ones(1000)), Tensor(np.ones(1000))
    place = a._data_ptr()
    assert rt.update(ADD, 1, a, g) is a
    assert a._data_ptr() == place
    assert values(a)[:2] == [2, 2]

    for looks in (lambda t: t._detach(), lambda t: t._array(), lambda t: rt.apply(VIEW, t), lambda t: t._to_dlpack()):
        holder = looks(a)
        before, old = a._data_ptr(), np.array(a._array())
        rt.update(ADD, 1, a, g)
        assert a._data_ptr() != before
        np.testing.assert_array_equal(a._array(), old + 1)
        if isinstance(holder, rt.Tensor):
            np.testing.assert_array_equal(holder._array(), old)
        del holder
        gc.collect()


def test_update_with_the_same_tensor_twice(toy: Toy) -> None:
    a = Tensor([3.0])
    place = a._data_ptr()
    rt.update(ADD, 1, a, a)
    assert values(a) == [6]
    assert a._data_ptr() != place


def test_borrowed_memory_is_never_donated(toy: Toy) -> None:
    data = np.ones(8, "float32")
    a = rt.Tensor._from_dlpack(data.__dlpack__())
    rt.update(ADD, 1, a, 1.0)
    assert data.tolist() == [1] * 8
    assert values(a) == [2] * 8


def test_steps_are_skipped_for_a_donated_input(toy: Toy) -> None:
    a, b = Tensor([1.0, 2.0]), Tensor([10.0, 20.0])
    shared = a._detach()
    rt.update(COPY_ADD, 1, a, b)  # not donated: the "copy" runs, and this one doubles
    assert values(a) == [12, 24]
    assert values(shared) == [1, 2]
    rt.update(COPY_ADD, 1, a, b)  # donated: skipped
    assert values(a) == [22, 44]


def test_update_of_many(toy: Toy) -> None:
    params = [Tensor(np.full(n, float(n))) for n in range(1, 40)]
    grads = [Tensor(np.ones(n)) for n in range(1, 40)]
    places = [p._data_ptr() for p in params]
    shared = params[3]._detach()
    out = rt.update(STEP, len(params), *params, *grads)
    assert all(o is p for o, p in zip(out, params, strict=True))
    assert [p._array()[0] for p in params] == [n + 1 for n in range(1, 40)]
    assert [p._data_ptr() == place for p, place in zip(params, places, strict=True)] == [i != 3 for i in range(39)]
    assert shared._array()[0] == 4


def test_update_errors(toy: Toy) -> None:
    a = Tensor([1.0])
    with pytest.raises(TypeError, match="expected a Tensor, got float"):
        rt.update(ADD, 2, a, 1.0)
    with pytest.raises(ValueError, match="more targets than"):
        rt.update(ADD, 2, a, Tensor([1.0]))
    with pytest.raises(ValueError, match="fewer inputs"):
        rt.update(ADD, 3, a, a)
    with pytest.raises(TypeError):
        rt.update(ADD, "1", a, a)


def test_status_word_raises(toy: Toy) -> None:
    a = Tensor([1.0])
    with pytest.raises(RuntimeError, match="status 7"):
        rt.apply(BAD, a)
    place = a._data_ptr()
    with pytest.raises(IndexError, match="status 7"):
        rt.update(BAD_CUSTOM, 1, a)
    assert values(a) == [1], "a plan that can fail does not write into its inputs"
    assert a._data_ptr() == place
    with pytest.raises(RuntimeError, match="status 7"):
        rt.update(BAD_BEFORE, 1, a)
    assert values(a) == [1], "a plan looks at the status before it writes into its inputs"


def test_compile_errors_reach_the_caller(toy: Toy) -> None:
    def fail(op: Op, descs: object) -> rt.Plan:
        raise ValueError(f"{op.name}: shapes differ")

    rt.set_hooks(compile=fail)
    with pytest.raises(ValueError, match="add: shapes differ"):
        Tensor([1.0]) + Tensor([1.0, 2.0])
    assert rt.plan_cache_info()["size"] == 0
    rt.set_hooks(compile=lambda op, descs: 3)
    with pytest.raises(TypeError, match="must return a Plan"):
        Tensor([1.0]) + 1.0
    rt.set_hooks(compile=None)
    with pytest.raises(RuntimeError, match="hook 'compile' is not installed"):
        Tensor([1.0]) + 1.0


def test_compile_hook_may_apply(toy: Toy) -> None:
    def compile(op: Op, descs: tuple[rt.Descriptor, ...]) -> rt.Plan:
        if op is MUL:
            Tensor([1.0]) + Tensor([2.0])
        return toy.compile(op, descs)

    rt.set_hooks(compile=compile)
    assert values(Tensor([3.0]) * Tensor([2.0])) == [6]


def test_host_steps(toy: Toy) -> None:
    desc = rt.Descriptor("float32", (3,))
    scalar = rt.Descriptor("weak_float", ())
    kept = []

    def compute(inputs: list[np.ndarray], outputs: list[np.ndarray]) -> None:
        kept.extend(inputs)
        assert not inputs[0].flags.writeable
        outputs[0][...] = np.sort(inputs[0]) * inputs[1]

    step = rt.Host(compute, ((0, 0, desc), (1, 0, scalar)), ((2, 0, desc),))
    rt.set_hooks(compile=lambda op, descs: rt.Plan(2, (12,), (step,), ((2, 0, desc),)))
    assert values(rt.apply(ADD, Tensor([3.0, 1.0, 2.0]), 2.0)) == [2, 4, 6]
    assert kept[0].tolist() == [3, 1, 2]
    assert kept[1] == 2

    def broken(inputs: object, outputs: object) -> None:
        rt.plan_cache_clear()  # the running plan leaves the cache
        raise ZeroDivisionError("from a host step")

    rt.plan_cache_clear()
    step = rt.Host(broken, (), ())
    rt.set_hooks(compile=lambda op, descs: rt.Plan(1, (), (step,), ((0, 0, desc),), work=10**9))
    with pytest.raises(ZeroDivisionError, match="host step"):
        rt.apply(ADD, Tensor([1.0, 2.0, 3.0]))


def plan(**changes: object) -> rt.Plan:
    desc = rt.Descriptor("float32", (4,))
    arguments = {"inputs": 1, "allocations": (16,), "steps": (), "outputs": ((1, 0, desc),), **changes}
    return rt.Plan(**arguments)  # type: ignore[arg-type]


DESC = rt.Descriptor("float32", (4,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": ((2, 0, DESC),)}, "no allocation"),
        ({"outputs": ((1, 4, DESC),)}, "outside"),
        ({"outputs": ((1, 0, rt.Descriptor("float32", (4,), (-1,))),)}, "outside"),
        ({"allocations": (16, 2**64 - 1)}, "allocation of"),
        ({"donations": ((0, 0),)}, "no allocation"),
        ({"donations": ((1, 1),)}, "donation of input 1"),
        ({"donations": ((1, 0),), "outputs": ((1, 0, DESC), (0, 4, DESC))}, "in an input that may be overwritten"),
        ({"limits": ((1, 0, 9),)}, "limit of input 1"),
        ({"steps": (rt.Launch(1, ((3, 0),), (), 1, 1),)}, "slot 3"),
        ({"steps": (rt.Launch(1, ((1, 0),), (), 1, 1, skip_if=2),)}, "skip_if"),
        (
            {
                "allocations": (16, 16),
                "donations": ((1, 0),),
                "steps": (rt.Launch(1, ((2, 0), (1, 0)), (), 1, 1, skip_if=1),),
            },
            "skipped for a donation touches slot 2",
        ),
        ({"steps": (rt.Host(print, (), ((0, 0, DESC),)),)}, "write to an input"),
    ],
)
def test_wrong_plans(changes: dict[str, object], message: str) -> None:
    plan()
    with pytest.raises(ValueError, match=message):
        plan(**changes)


def test_wrong_steps() -> None:
    with pytest.raises(TypeError, match="a step is a Launch"):
        plan(steps=(3,))
    with pytest.raises(ValueError, match="address"):
        rt.Launch(0, (), (), 1, 1)
    with pytest.raises(ValueError, match="tiles"):
        rt.Launch(1, (), (), -1, 1)


def test_a_plan_checks_its_number_of_inputs(toy: Toy) -> None:
    rt.set_hooks(compile=lambda op, descs: plan())
    with pytest.raises(RuntimeError, match="takes 1 inputs, got 2"):
        Tensor([1.0]) + Tensor([2.0])


def test_a_plan_in_a_cycle_is_collected() -> None:
    class Keep:
        alive = 0

        def __init__(self) -> None:
            Keep.alive += 1
            self.plan = plan(keep=self)

        def __del__(self) -> None:
            Keep.alive -= 1

    Keep()
    gc.collect()
    assert Keep.alive == 0
