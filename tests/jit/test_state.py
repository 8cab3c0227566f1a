"""What functions read from outside and leave there is read and left at each call, traced or not. The truth is what NumPy, or a line of
arithmetic, says the plain function does.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import tengen.functional as F
import tengen.module as M
from tengen import Parameter, Tensor
from tengen.autodiff import Function, GradManager
from tengen.jit import TraceError, trace
from tengen.optimizer import SGD, Adam

WRAPS = {
    "plain": lambda f: f,
    "host": trace,
    "captured": lambda f: trace(f, capture_as_const=True),
    "without host": lambda f: trace(f, without_host=True),
}
STEADY = pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS.keys())
# Where the first call does other operations than those that follow, a trace with host refuses.
CHANGING = pytest.mark.parametrize("wrap", [WRAPS["plain"], WRAPS["without host"]], ids=["plain", "without host"])


def row(*numbers: float) -> Tensor:
    return Tensor(np.float32(numbers))


class Round(Function):
    """Rounds, with the gradient of the identity."""

    def forward(self, x):
        return F.round(x)

    def backward(self, dy):
        return dy


# -- values that are read ------------------------------------------------------------------------------------------------


READS = {
    "detach": (lambda p, x: p.detach() * x, lambda p, x: p * x),
    "detach alone": (lambda p, x: p.detach(), lambda p, x: p),
    "detached argument": (lambda p, x: x.detach(), lambda p, x: x),
    "both": (lambda p, x: p * p.detach() + x, lambda p, x: p * p + x),
    "twice": (lambda p, x: p.detach().detach() * x, lambda p, x: p * x),
    "view": (lambda p, x: p.detach()[::-1] * x, lambda p, x: p[::-1] * x),
    "copy": (lambda p, x: copy.copy(p) * x, lambda p, x: p * x),
    "copy alone": (lambda p, x: copy.copy(p), lambda p, x: p),
    "deepcopy": (lambda p, x: copy.deepcopy(p) * x, lambda p, x: p * x),
    "deepcopy in a list": (lambda p, x: copy.deepcopy([p])[0], lambda p, x: p),
    "Parameter": (lambda p, x: Parameter(p) * x, lambda p, x: p * x),
    "Tensor": (lambda p, x: Tensor(p), lambda p, x: p),
    "Tensor of another dtype": (lambda p, x: Tensor(p, dtype="float64") * 2, lambda p, x: p * 2.0),
    "Tensor of the argument": (lambda p, x: Tensor(x), lambda p, x: x),
    "to": (lambda p, x: p.to("xpu0") * x, lambda p, x: p * x),
    "pickle": (lambda p, x: pickle.loads(pickle.dumps(p)) * x, lambda p, x: p * x),
    "numpy": (lambda p, x: Tensor(p.numpy() * 2) * x, lambda p, x: p * 2 * x),
    "numpy after an operation": (lambda p, x: p * x + Tensor(p.numpy()), lambda p, x: p * x + p),
    "item": (lambda p, x: x * p[:1].detach() + len(p.tolist()), lambda p, x: x * p[:1] + 2),
    "constants": (lambda p, x: row(1, 2), lambda p, x: np.float32([1, 2])),
}


@STEADY
@pytest.mark.parametrize("function, expected", READS.values(), ids=READS.keys())
def test_tensors_from_outside_are_read_at_each_call(wrap, function, expected):
    p = Parameter(np.float32([1, 2]))
    step = wrap(lambda x: function(p, x))
    for k in range(4):
        x = np.float32([k, 3])
        got = step(Tensor(x))
        np.testing.assert_array_equal(got.numpy(), expected(p.numpy(), x))
        got += 100  # it is the caller's
        if k != 1:
            p += 1


@STEADY
def test_a_value_that_python_reads_may_change_the_function(wrap):
    """As a mask does, of which the number of ones is a shape."""
    mask = Tensor(np.array([True, False, True]))
    step = wrap(lambda x: x[mask])
    x = np.float32([1, 2, 3])
    for k, wanted in enumerate(([1, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1])):
        mask.set_value(np.array(wanted, bool))
        if k < 3 or wrap in (WRAPS["plain"], WRAPS["without host"]):
            assert step(Tensor(x)).tolist() == x[np.array(wanted, bool)].tolist()
        else:
            with pytest.raises(TraceError):  # another shape
                step(Tensor(x))


@STEADY
@pytest.mark.parametrize("order", ["aabbab", "abaabb", "baabab"])
def test_one_tensor_as_two_arguments(wrap, order):
    w = row(7)
    step = wrap(lambda x, pair: (x * 10 + pair["y"]) * w)
    tensors = {"a": row(1), "b": row(2)}
    for i, j in zip(order[::2], order[1::2], strict=True):
        x, y = tensors[i], tensors[j]
        assert step(x, {"y": y}).item() == (x.item() * 10 + y.item()) * 7


@STEADY
def test_frozen_layers(wrap):
    embedding, norm = M.Embedding(4, 2, freeze=True), M.BatchNorm2d(2, freeze=True)
    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    embedding.weight.set_value(table)
    rows, normed = wrap(embedding), wrap(norm)
    image = np.float32([[[[3.0]], [[5.0]]]])
    for k in range(3):
        np.testing.assert_array_equal(rows(Tensor([1, 3], dtype="int32")).numpy(), table[[1, 3]] + k)
        np.testing.assert_allclose(normed(Tensor(image)).numpy(), image * (1 + k) + 2 * k, rtol=1e-4)
        embedding.weight += 1
        norm.weight += 1
        norm.bias += 2


# -- training ------------------------------------------------------------------------------------------------------------


@STEADY
def test_a_loss_with_a_detached_parameter(wrap):
    p = Parameter(np.float32([1, 2]))
    gm, sgd = GradManager().attach([p]), SGD([p], lr=0.125)

    @wrap
    def step():
        with gm:
            gm.backward((p * p.detach()).sum())
        sgd.step().clear_grad()

    for k in range(1, 4):
        step()
        np.testing.assert_allclose(p.numpy(), np.float64([1, 2]) * 0.875**k, rtol=1e-6)


@STEADY
def test_straight_through_rounding_trains(wrap):
    p = Parameter(np.float32([0.4, 1.6]))
    gm, sgd = GradManager().attach([p]), SGD([p], lr=0.3)

    @wrap
    def step(x):
        with gm:
            loss = ((Round()(p) - x) ** 2).sum()
            gm.backward(loss)
        sgd.step().clear_grad()
        return loss

    expected, target = np.float64([0.4, 1.6]), np.float64([1, 0])
    for _ in range(5):
        error = np.round(expected) - target
        assert step(Tensor(np.float32(target))).item() == pytest.approx((error**2).sum())
        expected -= 0.3 * 2 * error
        np.testing.assert_allclose(p.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "factor",
    [lambda p, x: p.detach(), lambda p, x: (p * x).detach(), lambda p, x: copy.copy(p)],
    ids=["outside", "computed", "copy"],
)
@STEADY
def test_detached_values_have_no_gradient_outside_of_the_trace(wrap, factor):
    p, x = Parameter(np.float32([1, 2])), np.float32([2, 3])
    gm = GradManager().attach([p])
    step = wrap(lambda x: (p * factor(p, x) * x).sum())
    for _ in range(3):
        p.grad = None
        with gm:
            gm.backward(step(Tensor(x)))
        np.testing.assert_array_equal(p.grad.numpy(), factor(p, Tensor(x)).numpy() * x)
        p += 1


def test_a_gradient_of_the_users_own_stays_inside_of_a_trace_without_host():
    p = Parameter(np.float32([0.4, 1.6]))
    gm = GradManager().attach([p])
    step = trace(lambda x: (Round()(p * 2) * x).sum(), without_host=True)
    with gm, pytest.raises(TraceError, match="a gradient of the user's own"):
        gm.backward(step(row(1, 3)))
    step = trace(lambda x: (Round()(p * 2) * x).sum(), without_host=True)
    for _ in range(2):
        assert step(row(1, 3)).item() == 10  # without a gradient
    with gm, pytest.raises(TraceError, match="a gradient of the user's own"):
        gm.backward(step(row(1, 3)))


@STEADY
def test_copies_that_follow_a_parameter(wrap):
    p = Parameter(np.float32([1, 2]))
    mean, target = copy.deepcopy(p), copy.deepcopy(p)

    @wrap
    def step(x):
        nonlocal p
        y = (target.detach() * x).sum()
        p += x
        mean[...] = mean * 0.5 + p.detach() * 0.5
        target.set_value(p)
        return y

    x, value, average = np.float64([1, 2]), np.float64([1, 2]), np.float64([1, 2])
    for _ in range(4):
        assert step(Tensor(np.float32(x))).item() == (value * x).sum()
        value = value + x
        average = average * 0.5 + value * 0.5
        np.testing.assert_array_equal(p.numpy(), value)
        np.testing.assert_array_equal(target.numpy(), value)
        np.testing.assert_allclose(mean.numpy(), average)


# -- values that Python puts somewhere -----------------------------------------------------------------------------------


PUTS = {
    "reset_zero": (lambda a, q, x: a.reset_zero(), lambda q, x: 0 * x),
    "constants": (lambda a, q, x: a.set_value([5.0, 6.0]), lambda q, x: np.float32([5, 6])),
    "an array": (lambda a, q, x: a.set_value(np.float64([5, 6])), lambda q, x: np.float32([5, 6])),
    "a number": (lambda a, q, x: a.__setitem__(..., 3.0), lambda q, x: 0 * x + 3),
    "a tensor": (lambda a, q, x: a.set_value(q), lambda q, x: q),
    "a tensor that was read": (lambda a, q, x: (q * 2, a.set_value(q)), lambda q, x: q),
    "a detached tensor": (lambda a, q, x: a._reset(q.detach()), lambda q, x: q),
    "an argument": (lambda a, q, x: a.set_value(x), lambda q, x: x),
    "a computed value": (lambda a, q, x: a.set_value(q * x), lambda q, x: q * x),
    "a value twice": (lambda a, q, x: (a.reset_zero(), a.set_value(q)), lambda q, x: q),
    "initial values": (lambda a, q, x: M.init.fill_(a, 4.0), lambda q, x: 0 * x + 4),
    "ones": (lambda a, q, x: M.init.ones_(a), lambda q, x: 0 * x + 1),
    "assigned": (lambda a, q, x: a._assign(np.float32([7, 8]), "float32", "xpu0"), lambda q, x: np.float32([7, 8])),
    "an operand of NumPy": (lambda a, q, x: (a.reset_zero(), a.__iadd__(np.float32([1, 2]))), lambda q, x: [1, 2]),
}


@STEADY
@pytest.mark.parametrize("put, expected", PUTS.values(), ids=PUTS.keys())
@pytest.mark.parametrize("then", [True, False], ids=["added to", "alone"])
def test_values_that_are_put_into_a_tensor(wrap, put, expected, then):
    a, q = row(50, 60), row(1, 2)

    @wrap
    def step(x):
        nonlocal a
        put(a, q, x)
        if then:
            a += x
        return a * 1

    for k in range(4):
        x = np.float32([k, 3])
        got = step(Tensor(x))
        want = np.float32(expected(q.numpy(), x)) + (x if then else 0)
        np.testing.assert_array_equal(got.numpy(), want)
        np.testing.assert_array_equal(a.numpy(), want)
        q += 1


@STEADY
def test_tensors_that_exchange_their_values(wrap):
    a, b = row(1), row(2)

    @wrap
    def step(x):
        kept = a.detach()
        a.set_value(b)
        b.set_value(kept)
        return a * x

    for k in range(4):
        assert step(row(3)).item() == (6, 3)[k % 2]
        assert (a.item(), b.item()) == ((2, 1), (1, 2))[k % 2]


@STEADY
def test_a_state_dict_loaded_inside_and_between(wrap):
    linear = M.Linear(1, 1, bias=False)

    @wrap
    def step(x):
        linear.load_state_dict({"weight": np.float32([[3.0]])})
        y = linear(x)
        linear.weight[...] = 0.0
        return y

    plain = wrap(lambda x: linear(x))
    for k in range(3):
        assert step(Tensor([[2.0]])).item() == 6 and linear.weight.item() == 0
        linear.load_state_dict({"weight": np.float32([[k]])})
        assert plain(Tensor([[2.0]])).item() == 2 * k


@STEADY
def test_tensors_made_of_data_inside_are_new_at_each_call(wrap):
    @wrap
    def step(x):
        total = Tensor(np.zeros(2, np.float32))
        total += x
        total *= 3
        return total, F.zeros(2) + total

    for _ in range(3):
        for got in step(row(2, 3)):
            assert got.tolist() == [6, 9]
            got += 1


# -- gradients -----------------------------------------------------------------------------------------------------------


@CHANGING
@pytest.mark.parametrize("clear", ["zero_grad", "clear_grad"])
def test_gradients_cleared_at_the_start_of_the_step(wrap, clear):
    p = Parameter(np.float32([1, 2]))
    gm, sgd = GradManager().attach([p]), SGD([p], lr=0.5)

    @wrap
    def step(x):
        getattr(sgd, clear)()
        with gm:
            gm.backward((p * x).sum())
        sgd.step()

    expected = np.float64([1, 2])
    for k in range(5):
        x = np.float32([k, 1])
        step(Tensor(x))
        expected -= 0.5 * x
        np.testing.assert_array_equal(p.numpy(), expected)
        np.testing.assert_array_equal(p.grad.numpy(), x)


@STEADY
def test_gradients_are_those_of_the_call(wrap):
    """Also where nothing but the gradient is read."""
    p, q = Parameter(np.float32([1, 2])), row(3, 4)

    @wrap
    def halve(x):
        p.grad *= 0.5
        return x * 1

    zero = wrap(lambda x: (p.grad.reset_zero(), x * 1)[1])
    give = wrap(lambda x: (p.grad, x * 1))
    put = wrap(lambda x: setattr(p, "grad", q))
    clear = wrap(lambda x: setattr(p, "grad", None))
    copied = wrap(lambda x: setattr(p, "grad", q.detach()))
    for k in range(4):
        x, grad = row(1), row(k, 4)
        p.grad = grad
        halve(x)
        assert p.grad is grad and grad.tolist() == [k / 2, 2]
        assert give(x)[0] is grad
        zero(x)
        assert p.grad is grad and grad.tolist() == [0, 0]
        put(x)
        assert p.grad is q
        clear(x)
        assert p.grad is None
        copied(x)
        assert p.grad is not q and p.grad.tolist() == q.tolist()
        q += 1


@STEADY
def test_gradients_of_arguments(wrap):
    gm = GradManager()

    @wrap
    def step(x):
        gm.attach([x])
        with gm:
            gm.backward((x * x).sum())

    for k in range(3):
        x = row(k, 1)
        step(x)
        assert x.grad.tolist() == [2 * k, 2]


@STEADY
def test_a_gradient_that_starts_from_a_tensor_from_outside(wrap):
    p, start = Parameter(np.float32([1, 2])), row(1, 1)
    gm = GradManager().attach([p])

    @wrap
    def step(x):
        with gm:
            gm.backward(p * x, start)

    for k in range(3):
        p.grad = None
        step(row(2, 3))
        assert p.grad.tolist() == [2 * (k + 1), 3 * (k + 1)]
        start += 1


# -- tensors that are made in a call and stay ----------------------------------------------------------------------------


@CHANGING
@pytest.mark.parametrize(
    "make",
    [
        lambda p, x: Tensor(np.zeros(2, np.float32)),
        lambda p, x: F.zeros_like(x),
        lambda p, x: x * 0,
        lambda p, x: copy.deepcopy(p),
    ],
    ids=["data", "an op", "computed", "a copy"],
)
def test_state_that_is_made_in_the_first_call(wrap, make):
    p, state = Parameter(np.float32([0, 0])), {}
    calls = []

    @wrap
    def step(x):
        calls.append(1)
        if "sum" not in state:
            state["sum"] = make(p, x)
        state["sum"] += x
        return state["sum"] * 1

    for k in range(1, 6):
        assert step(row(1, 2)).tolist() == [k, 2 * k]
        assert state["sum"].tolist() == [k, 2 * k]
        p += 1
    assert len(calls) == (5 if wrap is WRAPS["plain"] else 2)


@STEADY
def test_a_tensor_that_each_call_replaces(wrap):
    seen = {}

    @wrap
    def step(x):
        seen["last"] = x * 2
        return seen["last"] + 1

    for k in range(6):
        assert step(row(k)).item() == 2 * k + 1
        assert seen["last"].item() == 2 * k


def test_circles_of_the_functions_own_hold_nothing():
    calls, results = [], []

    @trace(without_host=True)
    def step(x):
        calls.append(1)

        def times(n):
            return times(n - 1) * y if n else y

        y = x + 1
        return times(2), y

    for k in range(4):
        results.append(step(row(k)))
        assert [t.item() for t in results[-1]] == [(k + 1) ** 3, k + 1]
    assert len(calls) == 1


@pytest.mark.parametrize("kind", ["grows", "is replaced by what is made of it"])
def test_what_later_calls_cannot_do_is_said(kind):
    seen = {"list": [], "mean": row(0)}

    @trace(without_host=True)
    def step(x):
        if kind == "grows":
            seen["list"].append(x * 2)
        else:
            seen["mean"] = seen["mean"] * 0.5 + x

    step(row(1))
    step(row(2))
    for _ in range(2):
        with pytest.raises(TraceError, match=r"step leaves a new tensor behind at each call \(of shape \(1,\);"):
            step(row(3))


# -- other types ---------------------------------------------------------------------------------------------------------


def test_tensors_of_other_types_are_recorded_again_and_steps_counted_once():
    p, factor = Parameter(np.float32([1, 2])), row(1)
    gm, adam = GradManager().attach([p]), Adam([p], lr=0.1)

    @trace(without_host=True)
    def step():
        with gm:
            gm.backward((p * p * factor).sum())
        adam.step().clear_grad()

    for k in range(6):
        factor.set_value(np.ones((1, 2)[k // 2 % 2], np.float32))
        step()
        assert adam.state_dict()["state"][0]["step"] == k + 1


def test_results_and_arguments_are_not_kept():
    from weakref import ref

    step = trace(lambda x: x * 2, without_host=True)
    for _ in range(3):
        x = row(1)
        y = step(x)
        seen: list[Any] = [ref(x), ref(y)]
        del x, y
        assert [r() for r in seen] == [None, None]


@STEADY
def test_a_weight_that_is_replaced(wrap):
    linear = M.Linear(1, 1, bias=False)
    step = wrap(lambda x: linear(x))
    queue = [row(3), row(4), row(5), row(6)]
    take = wrap(lambda x: queue.pop(0) * x)
    for k in range(4):
        linear.weight = Parameter(np.float32([[k]]))
        assert step(Tensor([[2.0]])).item() == 2 * k
        assert take(row(2)).item() == 2 * (k + 3)


@STEADY
def test_results_of_one_value_are_different_tensors(wrap):
    @wrap
    def step(x):
        y = x * 2
        z, w = Tensor(y), F.zeros(1)
        w._reset(y)
        data = row(7)
        return y, z, w, y, data, data

    for k in range(3):
        y, z, w, again, *data = step(row(k))
        assert data[0] is data[1]
        y += 1
        z += 10
        w += 100
        assert (y.item(), z.item(), w.item()) == (2 * k + 1, 2 * k + 10, 2 * k + 100)
        assert again is y
