"""Traced functions do what the functions do: results, state, errors. The truth is NumPy, or the function without trace."""

from __future__ import annotations

import io
from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import Any

import numpy as np
import pytest

import tengen.functional as F
import tengen.module as M
from tengen import Parameter, Tensor
from tengen.autodiff import GradManager
from tengen.jit import TraceError, fuse, load, trace
from tengen.optimizer import SGD, Adam
from tengen.random import RNG

MODES = pytest.mark.parametrize("without_host", [False, True], ids=["host", "without host"])


def arange(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@MODES
def test_results_and_their_structure(without_host):
    calls = []

    @trace(without_host=without_host)
    def function(x, pair, *, scale):
        calls.append(1)
        return {"sum": x + pair[0], "rest": [x * scale, (pair[1], "text", 3)], "same": x}

    for k in (1.0, 2.0, 3.0):
        x, y, z = (Tensor(k * arange(2, 3) + i) for i in range(3))
        got = function(x, (y, z), scale=2.0)
        np.testing.assert_array_equal(got["sum"].numpy(), 2 * k * arange(2, 3) + 1)
        np.testing.assert_array_equal(got["rest"][0].numpy(), 2 * k * arange(2, 3))
        assert got["rest"][1][0] is z and got["rest"][1][1:] == ("text", 3) and got["same"] is x
    assert len(calls) == (1 if without_host else 3)


@MODES
def test_results_of_different_calls_are_different_tensors(without_host):
    double = trace(lambda x: x * 2, without_host=without_host)
    got = [double(Tensor([float(k)])) for k in range(4)]
    assert [y.item() for y in got] == [0, 2, 4, 6]


@MODES
def test_decorator_with_and_without_options_and_on_methods(without_host):
    class Scale:
        def __init__(self, factor):
            self.factor = factor

        @trace(without_host=without_host)
        def __call__(self, x):
            """Scales."""
            return x * self.factor

    assert trace(lambda x: -x)(Tensor(1.0)).item() == -1
    two, three = Scale(2), Scale(3)
    assert [s(Tensor(5.0)).item() for s in (two, three, two, three)] == [10, 15, 10, 15]
    assert Scale.__call__.__doc__ == "Scales."
    with pytest.raises(TypeError, match="trace takes a function, got int"):
        trace(3)


@MODES
def test_shapes_dtypes_and_other_arguments_have_recordings_of_their_own(without_host):
    calls = []

    @trace(without_host=without_host)
    def function(x, flag):
        calls.append(1)
        return x + 1 if flag else x - 1

    for x in (arange(3), arange(4), arange(2, 2), np.arange(3, dtype=np.int32)):
        for flag in (True, False, True):
            got = function(Tensor(x), flag)
            assert got.dtype == x.dtype
            np.testing.assert_array_equal(got.numpy(), x + 1 if flag else x - 1)
    assert len(calls) == (8 if without_host else 12)


@MODES
def test_strides_are_not_part_of_the_types(without_host):
    function = trace(lambda x: F.exp(x) + x, without_host=without_host)
    x = np.random.default_rng(0).random((3, 4), dtype=np.float32)
    for tensor in (Tensor(x), Tensor(np.ascontiguousarray(x.T)).transpose(1, 0), Tensor(np.repeat(x, 2, 1))[:, ::2]):
        np.testing.assert_allclose(function(tensor).numpy(), np.exp(x) + x, rtol=1e-6)


@MODES
def test_captured_tensors_are_read_at_each_call(without_host):
    w = Parameter(np.float32([1, 2]))
    function = trace(lambda x: x * w, without_host=without_host)
    assert function(Tensor([1.0, 1.0])).tolist() == [1, 2]
    w.set_value(np.float32([3, 4]))
    assert function(Tensor([1.0, 1.0])).tolist() == [3, 4]
    w.set_value(np.ones((3, 1), np.float32))  # another shape: it is recorded again
    if without_host:
        assert function(Tensor([1.0, 1.0])).shape == (3, 2)
    else:
        with pytest.raises(TraceError, match="on other inputs"):
            function(Tensor([1.0, 1.0]))


@MODES
def test_state_is_updated_as_without_trace(without_host):
    total, last = Tensor(np.zeros(3, np.float32)), Tensor(np.zeros(3, np.float32))
    buffer = Tensor(np.zeros((2, 3), np.float32))

    @trace(without_host=without_host)
    def function(x):
        nonlocal total
        total += x
        last._reset(x * 2)
        buffer[1] = x
        x -= 1
        return total * 10

    for k in (1.0, 2.0, 3.0):
        x = Tensor([k, k, k])
        got = function(x)
        assert x.tolist() == [k - 1] * 3, "an argument that the function changes"
        assert got.tolist() == [5 * k * (k + 1)] * 3
        assert total.tolist() == [k * (k + 1) / 2] * 3
        assert last.tolist() == [2 * k] * 3
        assert buffer.tolist() == [[0] * 3, [k] * 3]


@MODES
def test_updates_do_not_reach_values_that_others_hold(without_host):
    w = Parameter(np.zeros(1000, np.float32))

    @trace(without_host=without_host)
    def step():
        nonlocal w
        w += 1
        return w

    held = []
    for _ in range(4):
        assert step() is w
        held.append((w.numpy(), w.detach(), w[:2]))
    for k, (array, value, view) in enumerate(held, 1):
        assert array[0] == k and value.numpy()[5] == k and view.tolist() == [k, k]


def test_updates_happen_in_place():
    w = Parameter(np.zeros(1000, np.float32))
    index = Tensor(np.arange(10, dtype=np.int32))

    @trace(without_host=True)
    def step(index):
        nonlocal w
        loss = F.gather(w, 0, index).sum()  # has to check its index first
        w += 1
        return loss

    step(index)
    step(index)
    place = w._data_ptr()
    for _ in range(3):
        step(index)
    assert w._data_ptr() == place
    with pytest.raises(IndexError):
        step(Tensor(np.full(10, 1000, np.int32)))
    assert w.tolist() == [5] * 1000, "a call that fails changes nothing"


def test_all_of_a_training_step_happens_in_place():
    """Also where the gradient comes in parts, as that of a convolution with padding does, whose kernels do the update."""
    net = M.Sequential(M.Conv2d(8, 16, 1), M.Conv2d(16, 16, 3, 1, 1))
    gm, sgd = GradManager().attach(net.parameters()), SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)

    @trace(without_host=True)
    def step(x):
        with gm:
            gm.backward(F.mean(F.relu(net(x)) ** 2))
        sgd.step().clear_grad()

    x = Tensor(np.random.default_rng(0).standard_normal((4, 8, 7, 7), np.float32))
    held = [*net.parameters(), *(state["momentum_buffer"] for state in sgd._state.values())]
    for _ in range(3):  # until they lie as the kernels want them
        step(x)
    places = [tensor._data_ptr() for tensor in held]
    step(x)
    assert [tensor._data_ptr() for tensor in held] == places


@MODES
def test_gradients_that_stay(without_host):
    w = Parameter(np.float32([1, 2]))
    gm = GradManager().attach([w])

    @trace(without_host=without_host)
    def function(x):
        with gm:
            gm.backward((w * w * x).sum())

    for k in (1.0, 2.0, 3.0):
        w.grad = None
        function(Tensor([k, k]))
        assert w.grad.tolist() == [2 * k, 4 * k]


def test_gradients_that_accumulate_without_host():
    w = Parameter(np.float32([1, 2]))
    gm = GradManager().attach([w])

    @trace(without_host=True)
    def function(x):
        with gm:
            gm.backward((w * x).sum())

    for _ in range(2):
        w.grad = None
        for k in range(1, 5):
            function(Tensor([1.0, 3.0]))
            assert w.grad.tolist() == [k, 3 * k]


@MODES
def test_gradients_cleared_first(without_host):
    w = Parameter(np.float32([1, 2]))
    gm, sgd, calls = GradManager().attach([w]), SGD([w], lr=0.5), []

    @trace(without_host=without_host)
    def step(x):
        calls.append(1)
        sgd.clear_grad()
        with gm:
            gm.backward((w * x).sum())
        sgd.step()

    for _ in range(3):
        step(Tensor([1.0, 2.0]))
    assert w.tolist() == [1 - 1.5, 2 - 3] and w.grad.tolist() == [1, 2]
    assert len(calls) == (1 if without_host else 3)


@MODES
def test_step_outside_of_the_trace(without_host):
    w = Parameter(np.float32([1, 2]))
    gm, sgd = GradManager().attach([w]), SGD([w], lr=0.5)

    @trace(without_host=without_host)
    def backward(x):
        with gm:
            gm.backward((w * x).sum())

    for _ in range(3):
        backward(Tensor([1.0, 2.0]))
        sgd.step().clear_grad()
    assert w.tolist() == [1 - 1.5, 2 - 3] and w.grad is None


@MODES
def test_gradient_through_a_traced_function(without_host):
    w = Parameter(np.float32([2, 3]))
    function = trace(lambda x: F.sum(w * x * x), without_host=without_host)
    for _ in range(3):
        x = Tensor([1.0, 4.0])
        gm = GradManager().attach([x, w])
        with gm:
            gm.backward(function(x) * 2)
        assert x.grad.tolist() == [8, 48] and w.grad.tolist() == [2, 32]
        w.grad = None


@MODES
def test_settings_of_optimizers_are_read_at_each_step(without_host):
    w = Parameter(np.zeros(2, np.float32))
    gm, sgd = GradManager().attach([w]), SGD([w], lr=1.0)

    @trace(without_host=without_host)
    def step():
        with gm:
            gm.backward(w.sum())
        sgd.step().clear_grad()

    expected = 0.0
    for lr in (1.0, 0.5, 0.25, 2.0):
        sgd.param_groups[0]["lr"] = lr
        step()
        expected -= lr
        assert w.tolist() == [expected] * 2


def test_steps_of_adam_are_counted_without_host():
    def train(wrap: Callable[[Any], Any]) -> tuple[np.ndarray, Any]:
        w = Parameter(arange(4))
        gm, adam = GradManager().attach([w]), Adam([w], lr=0.1)

        @wrap
        def step(x):
            with gm:
                gm.backward((w * w * x).sum())
            adam.step().clear_grad()

        for k in range(5):
            step(Tensor(arange(4) + k))
        return w.numpy(), adam.state_dict()["state"][0]["step"]

    traced, plain = train(trace(without_host=True)), train(lambda f: f)
    np.testing.assert_array_equal(traced[0], plain[0])
    assert traced[1] == plain[1] == 5


@MODES
def test_random_numbers_go_on(without_host):
    plain, traced = RNG(seed=7), RNG(seed=7)

    def draw(rng: RNG) -> tuple[Tensor, ...]:
        return rng.uniform(size=5), rng.normal(size=(2, 3)), rng.permutation(6)

    function = trace(lambda: draw(traced), without_host=without_host)
    for _ in range(4):
        for a, b in zip(draw(plain), function(), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    np.testing.assert_array_equal(plain.uniform(size=3).numpy(), traced.uniform(size=3).numpy())


@MODES
@pytest.mark.parametrize("wanted", ["the second", "both, in another order", "none"])
def test_random_numbers_that_nobody_reads_are_drawn(without_host, wanted):
    def draw(rng: RNG) -> tuple[Tensor, ...]:
        first, second = rng.uniform(size=5), rng.normal(size=3)
        return {"the second": (second,), "both, in another order": (second, first), "none": ()}[wanted]

    plain, traced = RNG(seed=7), RNG(seed=7)
    function = trace(lambda: draw(traced), without_host=without_host)
    for _ in range(4):
        for a, b in zip(draw(plain), function(), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    np.testing.assert_array_equal(plain.uniform(size=3).numpy(), traced.uniform(size=3).numpy())


# -- values inside of the function ---------------------------------------------------------------------------------------


def test_values_can_be_read_where_python_runs_along():
    w = Parameter(np.float32([1, 2]))
    seen = []

    @trace
    def function(x):
        nonlocal w
        y = F.exp(x * 0) + x
        seen.append(y.numpy().tolist())
        w += y
        if w.sum().item() > 0:
            w *= 2
        return w - y

    for k in (1.0, 2.0):
        before = w.numpy()
        got = function(Tensor([k, k]))
        assert seen[-1] == [k + 1] * 2
        np.testing.assert_array_equal(w.numpy(), 2 * (before + k + 1))
        np.testing.assert_array_equal(got.numpy(), 2 * (before + k + 1) - (k + 1))


def test_values_cannot_be_read_without_host():
    @trace(without_host=True)
    def function(x):
        return x + 1 if x.sum() > 0 else x - 1  # <- the line

    with pytest.raises(
        TraceError, match=r"function reads the value of a tensor at .*test_trace.py:\d+, .*without_host"
    ):
        function(Tensor([1.0]))
    with pytest.raises(TraceError):
        trace(lambda x: Tensor(x.numpy() * 2), without_host=True)(Tensor([1.0]))


def test_tensors_of_host_data_are_inputs():
    @trace
    def function(data):
        return Tensor(data[0]) * 2 + len(data)

    for k in (1.0, 2.0, 3.0):
        data = [np.float32([k, 2 * k])]
        assert function(data).tolist() == [2 * k + 1, 4 * k + 1]


def test_arrays_and_floats_among_the_arguments_are_data():
    calls = []

    @trace
    def function(data, factor, axis):
        return F.sum(Tensor(data) * factor, axis)

    for k in (1.0, 2.0, 3.0):
        calls.append(function(k * arange(2, 3), k, 1).tolist())
    assert calls == [[3 * k * k, 12 * k * k] for k in (1, 2, 3)]
    assert function(arange(2, 3), 1.0, 0).tolist() == [3, 5, 7]
    assert [count for _, count, _, _ in function.explain().calls] == [3, 1]
    with pytest.raises(TraceError, match=r"function: a NumPy array of shape \(3,\) among the arguments"):
        trace(function.function, without_host=True)(arange(3), 1.0, 0)


def test_recordings_are_bounded():
    function = trace(lambda x, key: x + 1)
    for key in range(300):
        assert function(Tensor(1.0), key).item() == 2
    assert len(function.explain().calls) == 256


def test_numbers_are_inputs_where_python_runs_along():
    state = {"k": 0.0}

    @trace
    def function(x):
        state["k"] += 1
        return x * state["k"]

    assert [function(Tensor(1.0)).item() for _ in range(4)] == [1, 2, 3, 4]


def test_a_call_that_differs_is_an_error_that_names_both_places():
    flags = iter([True, False, True])
    w = Parameter(np.zeros(2, np.float32))

    @trace
    def function(x):
        nonlocal w
        w += x
        return F.exp(x) if next(flags) else F.sin(x)

    x = Tensor([1.0, 2.0])
    function(x)
    with pytest.raises(
        TraceError, match=r"runs sin as operation 1 at .*test_trace.py:\d+, .* has exp of .*test_trace.py:\d+"
    ):
        function(x)
    assert w.tolist() == [2, 4], "what came before the difference has happened, as it would without trace"
    np.testing.assert_allclose(function(x).numpy(), np.exp([1, 2]), rtol=1e-6)


@pytest.mark.parametrize("counts", [(2, 3), (3, 2)])
def test_a_call_of_another_length_is_an_error(counts):
    wanted = iter(counts)

    @trace
    def function(x):
        for _ in range(next(wanted)):
            x = x + 1
        return x

    function(Tensor([1.0]))
    with pytest.raises(TraceError, match=r"ends after 2 operations|runs add as operation 2 at"):
        function(Tensor([1.0]))


@MODES
def test_an_error_in_the_function_leaves_what_came_before(without_host):
    w = Parameter(np.zeros(2, np.float32))
    fail = True

    @trace(without_host=without_host)
    def function(x):
        nonlocal w
        w += x
        if fail:
            raise KeyError("mine")
        return w * 2

    with pytest.raises(KeyError, match="mine"):
        function(Tensor([1.0, 2.0]))
    assert w.tolist() == [1, 2]
    fail = False
    assert function(Tensor([1.0, 2.0])).tolist() == [4, 8]


@MODES
def test_wrong_shapes_raise_at_the_call(without_host):
    @trace(without_host=without_host)
    def function(x):
        return x + Tensor(np.zeros(3, np.float32))

    with pytest.raises(ValueError, match="do not broadcast"):
        function(Tensor([1.0, 2.0]))
    assert function(Tensor([1.0])).shape == (3,)


def test_a_number_of_another_kind_is_an_error():
    numbers = iter([0.5, 2, 0.25])
    function = trace(lambda x: x * next(numbers))
    assert function(Tensor([1.0])).tolist() == [0.5]
    with pytest.raises(TraceError, match="on other inputs"):
        function(Tensor([1.0]))
    assert function(Tensor([1.0])).tolist() == [0.25]


def test_a_later_part_that_fails_gives_back_what_the_earlier_left():
    w = Parameter(np.zeros(4, np.float32))

    @trace
    def function(index):
        nonlocal w
        w += 1
        assert w.numpy().sum() > 0
        w._reset(F.gather(Tensor(arange(4)), 0, index) * 2)
        return w + 0

    with pytest.raises(IndexError):
        function(Tensor(np.full(4, 9, np.int32)))
    assert w.tolist() == [1] * 4


def test_a_failing_plan_restores_what_was_to_be_written():
    w = Parameter(np.zeros(4, np.float32))

    @trace
    def function(index):
        nonlocal w
        w += F.gather(w, 0, index) + 1
        return w.sum()

    good, bad = Tensor(np.arange(4, dtype=np.int32)), Tensor(np.full(4, 9, np.int32))
    function(good)
    with pytest.raises(IndexError):
        function(bad)
    assert w.tolist() == [1] * 4
    function(good)
    assert w.tolist() == [3] * 4


class Three(IntEnum):
    VALUE = 3


@pytest.mark.parametrize(
    "number", [np.float64(2.5), np.float32(2.5), np.int64(2), np.bool_(True), Three.VALUE], ids=repr
)
@pytest.mark.parametrize(
    "compute",
    [
        lambda x, n: x * n,
        lambda x, n: n - x,
        lambda x, n: F.maximum(x, n),
        lambda x, n: F.where(x > 1.5, x, n),
        lambda x, n: x**n,
        lambda x, n: F.full((2,), n) + x,
        lambda x, n: assigned(x * 1.0, n),
    ],
    ids=["mul", "rsub", "maximum", "where", "pow", "full", "assign"],
)
def test_numbers_of_any_class_are_constants(number, compute):
    """NumPy's float64 is a float of a class of its own, a member of an IntEnum an int of one."""
    x = Tensor([1.0, 2.0])
    want = compute(x, number.item() if isinstance(number, np.generic) else int(number))
    for wrap in (trace, partial(trace, without_host=True), fuse):
        made = wrap(lambda x: compute(x, number))
        for got in (made(x), made(x)):
            assert (got.tolist(), got.dtype) == (want.tolist(), np.float32)
    recorded = trace(lambda x: compute(x, number), capture_as_const=True)
    recorded(x)
    file = io.BytesIO()
    recorded.dump(file)
    file.seek(0)
    assert load(file)(x).tolist() == want.tolist()


def assigned(x, number):
    x[0] = number
    return x
