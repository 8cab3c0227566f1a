"""GradManager and Function."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from tengen import Parameter, Tensor
from tengen.autodiff import Function, GradManager


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
    with gm:
        gm.backward(Tensor([5.0]))
    assert x.grad is None


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
    with gm:
        gm.backward(x * x)
    assert x.grad is None


def test_wrong_attachments():
    with pytest.raises(TypeError, match="takes tensors"):
        GradManager().attach([1.0])
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


def test_function_checks_what_it_gets():
    class Bad(Function):
        def forward(self, x):
            return x * 1.0

        def backward(self, dy):
            return dy, dy

    x = Tensor([1.0])
    gm = GradManager().attach([x])
    with gm, pytest.raises(ValueError, match="2 gradients for 1 input"):
        gm.backward(Bad()(x))
    with pytest.raises(NotImplementedError, match="forward"):
        Function()(x)
