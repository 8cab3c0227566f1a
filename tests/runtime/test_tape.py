"""Tapes: first and second derivatives, several tapes, custom functions, and what they hold."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from toy_compiler import ADD, BAD, COPIES, MUL, PAIR, TWICE, Op, Tensor, Toy

from tengen import _rt as rt


def values(tensor: rt.Tensor) -> list[float]:
    return tensor._array().tolist()


def ones(tensor: rt.Tensor) -> Tensor:
    return Tensor(np.ones(tensor.shape))


def test_first_derivative(toy: Toy) -> None:
    x, w, unused = Tensor([2.0, 3.0]), Tensor([5.0, 7.0]), Tensor([1.0])
    tape = rt.Tape()
    assert [tape.watch(t) for t in (x, w, unused, x)] == [0, 1, 2, 3]
    y = x * w + x * x
    dx, dw, du, again = tape.backward([y], [ones(y)])
    assert values(dx) == values(again) == [5 + 4, 7 + 6]
    assert values(dw) == [2, 3]
    assert du is None


def test_gradients_scale_with_dy_and_add_over_outputs(toy: Toy) -> None:
    x = Tensor([2.0])
    tape = rt.Tape()
    tape.watch(x)
    y, z = x * x, x * 3.0
    (dx,) = tape.backward([y, z, y], [Tensor([10.0]), Tensor([1.0]), Tensor([1.0])])
    assert values(dx) == [11 * 4 + 3]


def test_unwatched_operations_are_not_recorded(toy: Toy) -> None:
    x, c = Tensor([2.0]), Tensor([3.0])
    tape = rt.Tape()
    tape.watch(x)
    constant = c * c
    assert not constant._is_watched()
    assert (x * c)._is_watched()
    tape.active = False
    assert not tape.active
    off = x * c
    tape.active = True
    assert not off._is_watched()
    assert tape.backward([off, constant], [ones(off), ones(off)]) == [None]
    assert toy.gradients == [(MUL, (x.desc, c.desc), (x.desc,), (True, False))]


def test_only_needed_gradients_are_asked_for(toy: Toy) -> None:
    x, c = Tensor([2.0]), Tensor([3.0])
    tape = rt.Tape()
    tape.watch(c)
    y = x * c
    (dc,) = tape.backward([y], [ones(y)])
    assert values(dc) == [2]
    assert toy.backwards == [(MUL, (x.desc, c.desc), (x.desc,), (False, True), (True,))]


def test_a_second_step_asks_no_hook(toy: Toy) -> None:
    tape = rt.Tape()
    for _ in range(3):
        x = Tensor([2.0])
        tape.watch(x)
        y = x * x * x
        (dx,) = tape.backward([y], [ones(y)])
        assert values(dx) == [12]
        tape.clear()
        tape.active = True
    assert len(toy.gradients) == len(toy.backwards) == 1, "x * x and (x * x) * x have the same descriptors and needs"


def test_second_derivative(toy: Toy) -> None:
    x = Tensor([2.0, 3.0])
    outer = rt.Tape()
    outer.watch(x)
    inner = rt.Tape()
    inner.watch(x)
    y = x * x * x
    (dx,) = inner.backward([y], [ones(y)])
    assert values(dx) == [12, 27]
    assert dx._is_watched()
    (ddx,) = outer.backward([dx], [ones(dx)])
    assert values(ddx) == [12, 18]


@pytest.mark.parametrize("beside", [False, True])
def test_a_tape_records_the_backward_of_later_ones_only(toy: Toy, beside: bool) -> None:
    x = Tensor([2.0])
    first = rt.Tape()
    second = rt.Tape(first if beside else None)
    first.watch(x)
    second.watch(x)
    y = x * x
    (dx,) = first.backward([y], [ones(y)], retain=True)
    assert not second.holds(dx) and first.active and second.active
    (dx,) = second.backward([y], [ones(y)])
    assert first.holds(dx) == (not beside)


def test_a_saved_output_is_watched_by_the_other_tape(toy: Toy) -> None:
    """square saves its output only: the second derivative must flow through that saved value."""
    square, grad = Op("square"), Op("grad")  # y = x*x; dy/dx as 2*y: not a square's, but its second derivative is 4x

    def compile(op: Op, descs: tuple[rt.Descriptor, ...]) -> rt.Plan:
        d = descs[0]
        if op is square:
            return rt.Plan(1, (d.size * 4,), (toy.launch("mul", (0, 0, 1), d),), ((1, 0, d),))
        if op is grad:
            return rt.Plan(1, (d.size * 4,), (toy.launch("add", (0, 0, 1), d),), ((1, 0, d),))
        return toy.compile(op, descs)

    def gradient(op: Op, inputs: object, outputs: object, needs: object) -> tuple[int, ...]:
        return {square: (1,), grad: (0,)}[op]

    def backward(op: Op, inputs: object, outputs: object, needs: object, present: object) -> tuple[object, ...]:
        return {square: (grad, (1,), (0,)), grad: (MUL, (0, 2), (0,))}[op]

    rt.set_hooks(compile=compile, gradient=gradient, backward=backward)
    x = Tensor([3.0])
    outer, inner = rt.Tape(), rt.Tape()
    inner.watch(x)
    outer.watch(x)
    y = rt.apply(square, x)
    (dx,) = inner.backward([y], [ones(y)])
    assert values(dx) == [18]
    assert dx._is_watched()


def test_nondifferentiable_ops_end_the_graph(toy: Toy) -> None:
    x = Tensor([2.0])
    tape = rt.Tape()
    tape.watch(x)
    y = rt.apply(COPIES, x)
    assert not y._is_watched()
    with pytest.raises(RuntimeError, match="status 7"):
        rt.apply(BAD, x)


def test_numbers_can_be_saved(toy: Toy) -> None:
    x = Tensor([2.0])
    tape = rt.Tape()
    tape.watch(x)
    y = x * 3.0
    (dx,) = tape.backward([y], [ones(y)])
    assert values(dx) == [3]


def test_integers_cannot_be_watched(toy: Toy) -> None:
    tape = rt.Tape()
    with pytest.raises(TypeError, match="int32"):
        tape.watch(Tensor([1], "int32"))
    with pytest.raises(TypeError, match="expected a Tensor"):
        tape.watch(3)


def test_an_intermediate_can_be_watched(toy: Toy) -> None:
    x = Tensor([2.0])
    tape = rt.Tape()
    tape.watch(x)
    y = x * x
    tape.watch(y)
    z = y * y
    dx, dy = tape.backward([z], [ones(z)])
    assert values(dy) == [8]
    assert values(dx) == [32]


def test_update_of_a_watched_target_is_recorded_and_not_in_place(toy: Toy) -> None:
    x = Tensor([2.0])
    tape = rt.Tape()
    tape.watch(x)
    y = x * x
    place = x._data_ptr()
    rt.update(ADD, 1, x, Tensor([1.0]))
    assert x._data_ptr() != place
    z = x * y
    (dx,) = tape.backward([z], [ones(z)])
    assert values(dx) == [2 * 2 + 3 * 4]  # d (x+1) x² = 3x² + 2x


def test_update_of_an_unwatched_target_by_a_watched_value(toy: Toy) -> None:
    x, t = Tensor([2.0]), Tensor([5.0])
    tape = rt.Tape()
    tape.watch(x)
    rt.update(MUL, 1, t, x)
    assert values(t) == [10]
    (dx,) = tape.backward([t], [ones(t)])
    assert values(dx) == [5], "the old value of t was saved"


def test_reset_takes_the_place_on_the_tape(toy: Toy) -> None:
    x, h = Tensor([2.0]), Tensor([0.0])
    tape = rt.Tape()
    tape.watch(x)
    h._reset(x * x)
    (dx,) = tape.backward([h], [ones(h)])
    assert values(dx) == [4]


def test_several_tapes_watch_different_tensors(toy: Toy) -> None:
    x, w = Tensor([2.0]), Tensor([3.0])
    first, second = rt.Tape(), rt.Tape()
    first.watch(x)
    second.watch(w)
    y = x * w
    assert values(first.backward([y], [ones(y)])[0]) == [3]
    assert values(second.backward([y], [ones(y)])[0]) == [2]


def test_many_tapes_on_one_tensor(toy: Toy) -> None:
    x = Tensor([2.0])
    tapes = [rt.Tape() for _ in range(5)]
    for tape in tapes:
        tape.watch(x)
    y = x * x
    for tape in reversed(tapes):
        assert values(tape.backward([y], [ones(y)])[0]) == [4]


def test_custom_gradient(toy: Toy) -> None:
    x, w, n = Tensor([2.0]), Tensor([3.0]), Tensor([1], "int32")
    seen = []

    def function(*dys: Tensor | None) -> tuple[Tensor | None, ...]:
        seen.append(dys)
        return dys[0] * 100.0, None, None, None

    tape = rt.Tape()
    tape.watch(x)
    h = x * x
    with_gradient, without = Tensor([7.0]), Tensor([8.0])
    rt.record([h, w, 5, "anything"], [with_gradient, without, n], function)
    assert with_gradient._is_watched()
    assert not n._is_watched()
    y = with_gradient * 2.0
    (dx,) = tape.backward([y], [ones(y)])
    assert values(dx) == [2 * 100 * 4]
    assert len(seen) == 1
    assert seen[0][1:] == (None, None)


def test_custom_gradient_that_returns_its_input(toy: Toy) -> None:
    x = Tensor([2.0])
    tape = rt.Tape()
    tape.watch(x)
    rt.record([x], [x], lambda dy: dy * 10.0)
    y = x * 3.0
    (dx,) = tape.backward([y], [ones(y)])
    assert values(dx) == [30]


def test_custom_gradient_errors(toy: Toy) -> None:
    def build(function: object) -> tuple[rt.Tape, Tensor]:
        tape, x, out = rt.Tape(), Tensor([2.0]), Tensor([1.0])
        tape.watch(x)
        rt.record([x], [out], function)
        return tape, out

    def fail(dy: Tensor) -> Tensor:
        raise KeyError("mine")

    for function, error, message in (
        (lambda dy: (dy, dy), ValueError, "2 gradients for 1 inputs"),
        (lambda dy: ("x",), TypeError, "expected a Tensor, got str"),
        (fail, KeyError, "mine"),
    ):
        tape, out = build(function)
        with pytest.raises(error, match=message):
            tape.backward([out], [ones(out)])


def test_backward_errors(toy: Toy) -> None:
    x = Tensor([2.0, 3.0])
    tape = rt.Tape()
    tape.watch(x)
    y = x * x
    with pytest.raises(ValueError, match=r"shape \(2,\) has shape \(1,\)"):
        tape.backward([y], [Tensor([1.0])], retain=True)
    with pytest.raises(ValueError, match="one gradient for each output"):
        tape.backward([y], [], retain=True)
    assert values(tape.backward([y], [ones(y)], retain=True)[0]) == [4, 6]
    assert tape.active
    assert values(tape.backward([y], [ones(y)])[0]) == [4, 6]
    assert not tape.active
    for use in (lambda: tape.backward([y], [ones(y)]), lambda: tape.watch(x), lambda: setattr(tape, "active", True)):
        with pytest.raises(RuntimeError, match="spent"):
            use()
    tape.clear()
    tape.active = True
    assert not y._is_watched(), "a cleared tape knows nothing of what it recorded before"
    assert tape.backward([y], [ones(y)]) == []


def test_hook_answers_are_checked(toy: Toy) -> None:
    def gradient_of(gradient: object = (0, 1), backward: object = (PAIR, (0, 1, 3), (0, 1))) -> None:
        rt.plan_cache_clear()
        rt.set_hooks(gradient=lambda *_: gradient, backward=lambda *_: backward)
        x = Tensor([2.0])
        tape = rt.Tape()
        tape.watch(x)
        y = x * x
        tape.backward([y], [ones(y)])

    gradient_of()
    for arguments, error, message in (
        ({"gradient": (5,)}, ValueError, "saves value 5"),
        ({"gradient": (0,)}, ValueError, "did not save"),
        ({"backward": (PAIR, (0, 1, 4), (0, 1))}, ValueError, "which is not there"),
        ({"backward": (PAIR, (0, 1, 3), (0, 2))}, ValueError, "gradient for input 2"),
        ({"backward": (PAIR, (0, 1, 3), (0,))}, RuntimeError, "gave 2 gradients"),
        ({"backward": 3}, TypeError, "must return"),
    ):
        with pytest.raises(error, match=message):
            gradient_of(**arguments)
    gradient_of(backward=(None, (), ()))


def test_activations_are_freed_on_the_way_back(toy: Toy) -> None:
    size = 1 << 16
    x = Tensor(np.ones(size))
    tape = rt.Tape()
    tape.watch(x)
    y = x
    for _ in range(20):
        y = y * y
    dy = ones(y)
    rt.reset_peak()
    before = rt.memory_stats()["live"]
    tape.backward([y], [dy])
    assert rt.memory_stats()["peak"] - before < 6 * 4 * size


def test_custom_functions_in_a_cycle_are_collected(toy: Toy) -> None:
    class Owner:
        def __init__(self) -> None:
            self.tape = rt.Tape()

        def function(self, dy: Tensor) -> Tensor:
            return dy

    owner, x = Owner(), Tensor([1.0])
    owner.tape.watch(x)
    rt.record([x], [Tensor([1.0])], owner.function)
    watcher = weakref.ref(owner)
    del owner
    gc.collect()
    assert watcher() is None


def test_steps_keep_memory_constant(toy: Toy) -> None:
    tape, x, w = rt.Tape(), Tensor(np.ones(300)), Tensor(np.ones(300))
    dy = Tensor(np.ones(300))

    def step() -> None:
        tape.active = True
        tape.watch(w)
        y = rt.apply(TWICE, x * w) + w * 2.0
        (dw,) = tape.backward([y], [dy])
        tape.clear()
        rt.update(ADD, 1, w, dw)

    for _ in range(10):
        step()
    gc.collect()
    before, objects = rt.memory_stats(), len(gc.get_objects())
    for _ in range(3000):
        step()
    gc.collect()
    assert rt.memory_stats() == before
    assert len(gc.get_objects()) - objects < 50
