"""GradManager and Function."""

from __future__ import annotations

import gc
import weakref
from functools import partial

import numpy as np
import pytest

import tengen.functional as F
from tengen import Parameter, Tensor, UsageWarning
from tengen.autodiff import Function, GradManager
from tengen.jit import trace
from tengen.module import Linear


def square_grad(x):
    gm = GradManager().attach([x])
    with gm:
        gm.backward((x * x).sum())
    return x.grad


def test_simple_gradient_and_accumulation():
    x = Tensor([1.0, 2.0])
    assert square_grad(x).tolist() == [2.0, 4.0]
    assert square_grad(x).tolist() == [4.0, 8.0]
    x.grad = None
    assert square_grad(x).tolist() == [2.0, 4.0]


def test_record_and_release():
    x = Tensor([3.0])
    gm = GradManager().attach(x)
    gm.record()
    y = x * x
    gm.backward(y)
    assert x.grad.tolist() == [6.0]
    with pytest.raises(RuntimeError, match="no computation history"):
        gm.backward(y)
    gm.record()
    with pytest.raises(RuntimeError, match="already"):
        gm.record()
    gm.release()
    gm.release()


def test_unused_branches_and_constants():
    x, y, z = Tensor([1.0]), Tensor([2.0]), Tensor([3.0])
    gm = GradManager().attach([x, y, z])
    with gm:
        _ = y * 100.0
        gm.backward(x * z.detach())
    assert x.grad.tolist() == [3.0]
    assert y.grad is None and z.grad is None


def test_several_outputs_and_dy():
    x = Tensor([1.0, 2.0])
    gm = GradManager().attach([x])
    with gm:
        gm.backward([x * 2.0, x * x], [Tensor([1.0, 10.0]), Tensor([100.0, 1000.0])])
    assert x.grad.tolist() == [202.0, 4020.0]
    with gm, pytest.raises(ValueError, match="2 tensors y but 1"):
        gm.backward([x * 2.0, x], [Tensor([1.0, 1.0])])
    with gm, pytest.raises(ValueError, match="dy of shape"):
        gm.backward(x * 2.0, Tensor([1.0]))


def test_backward_of_nothing():
    x = Tensor([1.0])
    gm = GradManager().attach([x])
    with gm:
        gm.backward()
    with gm, pytest.warns(UsageWarning, match="y comes from nothing that is attached") as shown:
        gm.backward(Tensor([5.0]))
    assert shown[0].filename == __file__, "it points to the user's line"
    with GradManager() as nobody, pytest.warns(UsageWarning, match="no tensor is attached"):
        nobody.backward(x * x)
    assert x.grad is None


@pytest.mark.parametrize("function", [lambda x: x * 3.0, F.abs, lambda x: F.relu(x) - x.sum()])
def test_a_second_derivative_of_zero_is_nothing_to_warn_of(function):
    """A gradient penalty of a network that is linear, say: the gradient is a constant."""
    x = Tensor([1.0, 2.0])
    outer, inner = GradManager().attach([x]), GradManager().attach([x])
    with outer:
        with inner:
            inner.backward(function(x).sum())
        gradient, x.grad = x.grad, None
        outer.backward((gradient * gradient).sum())
    assert x.grad is None
    with outer, pytest.warns(UsageWarning, match="nothing that is attached"):
        outer.backward(gradient.sum())


def test_higher_orders():
    x = Tensor(2.0)
    managers = [GradManager().attach([x]) for _ in range(3)]
    with managers[2]:
        with managers[1]:
            with managers[0]:
                managers[0].backward(x**4.0)
            first, x.grad = x.grad, None
            managers[1].backward(first)
        second, x.grad = x.grad, None
        managers[2].backward(second)
    assert (first.item(), second.item(), x.grad.item()) == (32.0, 48.0, 48.0)


def test_callbacks_run_in_order():
    x = Tensor([1.0])
    calls = []

    def callback(name, factor):
        def run(tensor, grad):
            calls.append((name, tensor is x))
            return grad * factor

        return run

    gm = GradManager().attach([x], callbacks=[callback("a", 2.0), callback("b", 5.0)])
    gm.attach([x], callbacks=callback("c", 1.0))
    with gm:
        gm.backward(x * 3.0)
    assert calls == [("a", True), ("b", True), ("c", True)]
    assert x.grad.tolist() == [30.0]


def test_attach_while_recording_and_detach():
    x = Tensor([2.0])
    gm = GradManager()
    with gm:
        gm.attach(x)
        gm.backward(x * x)
    assert x.grad.tolist() == [4.0]
    gm.detach(x)
    x.grad = None
    with gm, pytest.warns(UsageWarning, match="no tensor is attached"):
        gm.backward(x * x)
    assert x.grad is None


def test_wrong_attachments():
    with pytest.raises(TypeError, match=r"attach: tensors takes tensors.*got float among them"):
        GradManager().attach([1.0])
    with pytest.raises(TypeError, match=r"got Linear; for a Module give its parameters()"):
        GradManager().attach(Linear(2, 3))
    with pytest.raises(TypeError, match="int32"):
        GradManager().attach([Tensor([1])])


def test_attached_tensors_are_held_weakly():
    gm = GradManager()
    x = Parameter([1.0])
    gm.attach([x])
    assert gm.attached_tensors() == [x] or gm.attached_tensors()[0] is x
    gone = weakref.ref(x)
    del x
    gc.collect()
    assert gone() is None
    assert gm.attached_tensors() == []


def test_in_place_changes_are_differentiated():
    x = Tensor([1.0, 2.0])
    gm = GradManager().attach([x])
    with gm:
        y = x * 1.0
        y += 1
        y[0] = 5.0
        y *= y
        gm.backward(y)
    assert x.grad.tolist() == [0.0, 6.0]


def test_gradients_have_the_dtype_of_their_tensor():
    x = Tensor([1.0, 2.0], dtype="float16")
    gm = GradManager().attach([x])
    with gm:
        gm.backward((x.astype("float32") * Tensor([3.0, 4.0])).sum())
    assert x.grad.dtype == np.float16
    assert x.grad.tolist() == [3.0, 4.0]


class Scaled(Function):
    def __init__(self, factor):
        self.factor = factor

    def forward(self, x, y):
        return x * y, x + y

    def backward(self, dproduct, dsum):
        return self.factor * dsum, None


def test_function_uses_the_given_gradient():
    x, y = Tensor([1.0]), Tensor([2.0])
    gm = GradManager().attach([x, y])
    with gm:
        product, total = Scaled(7.0)(x, y)
        gm.backward(total * 2.0)
    assert product.tolist() == [2.0]
    assert x.grad.tolist() == [14.0]
    assert y.grad is None


class Power(Function):
    """x ** n, which keeps what backward needs in attributes, in a list, and counts its backwards."""

    def __init__(self):
        self.backwards = 0

    def forward(self, x, n=2):
        self.x, self.n = x, n
        return x**n

    def backward(self, dy):
        self.backwards += 1
        x, self.x = self.x, None
        return dy * self.n * x ** (self.n - 1), *[None] * self.more

    more = 0


def test_one_function_called_twice_keeps_what_each_call_has_kept():
    """The reference takes what the last call has kept for all: 10 in place of 6."""
    a, b, power = Tensor([3.0]), Tensor([5.0]), Power()
    gm = GradManager().attach([a, b])
    for step in range(2):
        a.grad = b.grad = None
        with gm:
            gm.backward(power(a) + power(b) * 10.0)
        assert (a.grad.tolist(), b.grad.tolist(), power.backwards) == ([6.0], [100.0], 2 * step + 2)


@pytest.mark.parametrize(
    "wrapped", [lambda f: f, trace, partial(trace, without_host=True)], ids=["eager", "traced", "without host"]
)
def test_one_function_may_be_called_on_its_own_result(wrapped):
    x, power = Tensor([3.0]), Power()
    gm = GradManager().attach([x])

    @wrapped
    def slope():
        with gm:
            gm.backward(power(power(x)))
        made, x.grad = x.grad, None
        return made

    assert [slope().tolist() for _ in range(3)] == [[108.0]] * 3


def test_what_backward_needs_of_a_later_call_stays():
    x, power = Tensor([3.0]), Power()
    power.more = 1
    gm = GradManager().attach([x])
    with gm:
        first, second = power(x, 3), power(x, 2)
        gm.backward(first + second)
    assert x.grad.tolist() == [27.0 + 6.0] and power.x is None and power.n == 2


def test_function_checks_what_it_gets():
    class Bad(Function):
        def forward(self, x, y):
            return x * 1.0

        def backward(self, dy):
            return dy

    x = Tensor([1.0])
    gm = GradManager().attach([x])
    with gm, pytest.raises(ValueError, match=r"Bad.backward returned 1 gradients for 2 inputs"):
        gm.backward(Bad()(x, x))
    with pytest.raises(NotImplementedError, match="forward"):
        Function()(x)


class Shaped(Function):
    def __init__(self, shape, dtype="float32"):
        self.shape, self.dtype = shape, dtype

    def forward(self, x, label):
        return x * 2

    def backward(self, dy):
        return F.full(self.shape, 2.0, dtype=self.dtype), Tensor(0)


def test_a_gradient_of_the_users_own_has_the_shape_and_the_dtype_of_its_input():
    x = Tensor([1.0, 2.0])
    gm = GradManager().attach(x)
    for shape in ((), (1,), (1, 2), (2, 1)):
        with gm:
            y = Shaped(shape)(x, Tensor([3]))
            with pytest.raises(
                ValueError, match=r"Shaped.backward returned a gradient of shape \(.* input of shape \(2,\)"
            ):
                gm.backward(y)
    for dtype in ("float64", "float16", "int32"):
        x.grad = None
        with gm:
            gm.backward(Shaped((2,), dtype)(x, Tensor([3])))
        assert x.grad.dtype == np.float32 and x.grad.tolist() == [2, 2]


class Cube(Function):
    """Keeps its input, its output, or what lies between them; with `surplus` gradients for inputs that it does not have."""

    def __init__(self, keeps, surplus=()):
        self.keeps, self.surplus = keeps, surplus

    def forward(self, x):
        square = x * x
        y = square * x
        self.kept = {"input": x, "between": square, "output": y}[self.keeps]
        return y

    def backward(self, dy):
        kept = self.kept
        square = {"input": lambda: kept * kept, "between": lambda: kept, "output": lambda: kept ** (2.0 / 3.0)}[
            self.keeps
        ]()
        gradient = dy * square * 3.0
        return (gradient, *self.surplus) if self.surplus else gradient


@pytest.mark.parametrize("keeps", ["input", "between", "output"])
@pytest.mark.parametrize("orders", [2, 3])
def test_derivatives_of_higher_order_through_a_function(keeps, orders):
    x = Tensor([2.0, 3.0])
    managers = [GradManager().attach([x]) for _ in range(orders)]
    for manager in managers:
        manager.record()
    value, found = Cube(keeps)(x), []
    for manager in reversed(managers):
        manager.backward(value.sum())
        found.append(x.grad.numpy())
        value, x.grad = x.grad, None
    expected = [[12.0, 27.0], [12.0, 18.0], [6.0, 6.0]]
    np.testing.assert_allclose(found, expected[:orders], rtol=1e-5)


def test_an_output_that_numpy_computed_has_its_gradient_when_backward_reads_it():
    class Exp(Function):
        def forward(self, x):
            self.y = Tensor(np.exp(x.numpy()))
            return self.y

        def backward(self, dy):
            return dy * self.y

    x = Tensor([0.5])
    outer, inner = GradManager().attach([x]), GradManager().attach([x])
    with outer:
        with inner:
            inner.backward(Exp()(x))
        first, x.grad = x.grad, None
        outer.backward(first)
    np.testing.assert_allclose(x.grad.numpy(), np.exp([0.5]), rtol=1e-6)


def test_forward_of_a_function_is_its_own_business():
    """It may change what it is given, and what it does with parameters of its own has no gradient."""
    scale = Parameter([2.0])

    class Scaled(Function):
        def forward(self, x):
            x *= 3.0
            return x * scale

        def backward(self, dy):
            return dy

    x = Tensor([5.0])
    gm = GradManager().attach([x, scale])
    with gm:
        y = Scaled()(x)
        gm.backward(y)
    assert (x.tolist(), y.tolist(), x.grad.tolist(), scale.grad) == ([5.0], [30.0], [1.0], None)


def test_a_function_may_return_what_it_is_given_and_one_tensor_twice():
    class Same(Function):
        def forward(self, x):
            y = x * 1.0
            return x, y, y

        def backward(self, first, second, third):
            return first * 10.0 + second * 100.0 + third * 1000.0

    x = Tensor([1.0])
    gm = GradManager().attach([x])
    with gm:
        outputs = Same()(x)
        gm.backward(sum(outputs))
    assert x.grad.tolist() == [1110.0]
    assert len({id(t) for t in (x, *outputs)}) == 4


@pytest.mark.parametrize("surplus", [(None,), (Tensor([7.0]), None)])
def test_surplus_gradients_of_a_function_are_left_out(surplus):
    x = Tensor([2.0])
    gm = GradManager().attach([x])
    with gm:
        gm.backward(Cube("input", surplus)(x))
    assert x.grad.tolist() == [12.0]
    with gm, pytest.raises(TypeError, match=r"Cube.backward returned a float for 1 inputs"):
        gm.backward(Cube("input", (7.0,))(x))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("together", [False, True])
def test_a_manager_sees_the_backward_of_those_entered_after_it(order, together):
    x = Tensor([1.0, 2.0])
    managers = GradManager().attach([x]), GradManager().attach([x])
    if together:
        (managers[0] | managers[1]).__enter__()
    else:
        managers[0].record()
        managers[1].record()
    first, second = (managers[i] for i in order)
    first.backward((x * x * x).sum())
    gradient, x.grad = x.grad, None
    seen = not together and order == (1, 0)
    if seen:
        second.backward(gradient.sum())
    else:
        with pytest.warns(UsageWarning, match="nothing that is attached"):
            second.backward(gradient.sum())
    assert gradient.tolist() == [3.0, 12.0]
    assert (x.grad.tolist() if seen else x.grad) == ([6.0, 12.0] if seen else None)


def test_managers_that_are_entered_together():
    x, w = Tensor([2.0]), Tensor([3.0])
    a, b, c = GradManager().attach([x]), GradManager().attach([w]), GradManager().attach([x])
    group = a | (b | c)
    for times in (1, 2):
        with group:
            y = x * w
            for manager in (a, b, c):
                manager.backward(y)
        assert (x.grad.tolist(), w.grad.tolist()) == ([6.0 * times], [2.0 * times])
    b.record()
    with pytest.raises(RuntimeError, match="already"), group:
        pass
    a.record()  # nobody was left recording
    a.release()
    with pytest.raises(TypeError):
        a | 3


def test_what_backward_says_of_a_wrong_call():
    x = Tensor([1.0])
    gm = GradManager().attach([x])
    with gm:
        y = x * x
        gm.backward(y)
        with pytest.raises(
            RuntimeError, match=r"backward was called before, and it frees what was recorded; .* give their sum"
        ):
            gm.backward(y)
    with pytest.raises(RuntimeError, match="no computation history: call backward inside `with gm:`"):
        GradManager().backward(y)
    for wrong, named in ((3.0, "float"), (np.ones(3), "ndarray"), ("loss", "str"), ([y, 2], "int among them")):
        with gm, pytest.raises(TypeError, match=rf"backward: y takes tensors.*got {named}"):
            gm.backward(wrong)
    with gm, pytest.raises(TypeError, match=r"backward: dy takes tensors.*got float"):
        gm.backward(x * x, 1.0)
