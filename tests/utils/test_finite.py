"""check_finite: the op, the line and the module where a NaN or an infinity appears first."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
import tengen.optimizer as optim
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.jit import trace
from tengen.utils import check_finite


class Root(M.Module):
    def forward(self, x):
        return F.sqrt(x)


class Net(M.Module):
    def __init__(self, *last):
        super().__init__()
        self.layers = M.Sequential(M.Linear(2, 2), *last)

    def forward(self, x):
        return self.layers(x)


def caught(function, *arguments, **options):
    with check_finite(**options), pytest.raises(FloatingPointError) as error:
        function(*arguments)
    return str(error.value)


def line_of(text):
    """The number of the line of this file that has such a text first."""
    with open(__file__, encoding="utf-8") as file:
        return next(number for number, line in enumerate(file, 1) if text in line)


def test_forward_in_a_network():
    net = Net(M.ReLU(), Root())
    net.layers[0].weight.set_value(-np.ones((2, 2), np.float32))
    net.layers[1] = M.Identity()
    said = caught(net, Tensor([[1.0, 2.0]]))
    assert re.match(r"sqrt: the result, float32 \(1, 2\), has 2 NaN of 2 elements, the first at \[0, 0\]\n", said)
    assert "input 0: float32 (1, 2), from -3 to -3" in said
    assert f"test_finite.py:{line_of('F.sqrt(x)')}: return F.sqrt(x)" in said
    assert said.endswith("in layers.2 (Root) of Net")


def test_backward_names_the_line_of_the_forward():
    net = Net(Root())
    net.layers[0].weight.set_value(np.zeros((2, 2), np.float32))
    net.layers[0].bias.set_value(np.zeros(2, np.float32))
    manager = GradManager().attach(net.parameters())

    def step():
        with manager:
            loss = F.sum(net(Tensor([[1.0, 2.0]])) + 1)
            manager.backward(loss)

    said = caught(step)
    assert said.startswith("grad_sqrt: the result, float32 (1, 2), has 2 infinite of 2 elements")
    assert f"in the backward of sqrt, called at {__file__}:{line_of('F.sqrt(x)')}: return F.sqrt(x)" in said
    assert said.endswith("in layers.1 (Root) of Net")


def test_backward_of_ops_that_are_alike():
    """Of three square roots the one in the middle is at fault."""
    x = Tensor([4.0])
    manager = GradManager().attach([x])

    def step():
        with manager:
            a = F.sqrt(x)
            b = F.sqrt(a - 2)
            c = F.sqrt(b + 1)
            manager.backward(c)

    assert f":{line_of('b = F.sqrt(a - 2)')}: b = F.sqrt(a - 2)" in caught(step)


def test_backward_of_ops_that_keep_nothing():
    """The gradient overflows in a product with a number, which needs no value of the forward."""
    x = Tensor([1.0])
    manager = GradManager().attach([x])

    def step():
        with manager:
            a = x * 1e-30
            b = a * 1e30
            c = b * 1e20
            d = c * 1e-20
            manager.backward(d, Tensor([1e30]))

    assert f":{line_of('b = a * 1e30')}: b = a * 1e30" in caught(step)


def test_what_came_from_outside():
    said = caught(F.exp, Tensor([1.0, np.nan]))
    assert "input 0: float32 (2,), has 1 NaN of 2 elements, the first at [1] already" in said


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes(dtype):
    said = caught(lambda: Tensor([1.0, 0.0], dtype=dtype) / Tensor([0.0, 1.0], dtype=dtype))
    assert "1 infinite of 2 elements, the first at [0]" in said
    assert f"input 1: {dtype} (2,), from 0 to 1" in said


def test_what_is_not_looked_for():
    x = Tensor([1.0, 0.0])
    with check_finite(inf=False):
        assert F.log(x).tolist() == [0.0, -np.inf]
        with pytest.raises(FloatingPointError, match="1 NaN of 2"):
            F.log(x) * 0
    with check_finite(nan=False):
        assert np.isnan(F.log(x - 2)[1].item())
    with check_finite():
        assert F.where(x > 0, x, F.zeros_like(x)).tolist() == [1.0, 0.0]
        assert (Tensor([1]) * 3).item() == 3
        assert F.zeros((0, 2)).shape == (0, 2)


def test_scalars():
    assert "has 1 NaN of 1 elements\n" in caught(lambda: F.log(Tensor(-1.0)))


def test_after_the_block_nothing_is_checked():
    x = Tensor([-1.0])
    assert "NaN" in caught(F.log, x)
    assert np.isnan(F.log(x).item())


def test_traced_functions_run_op_by_op():
    @trace
    def f(x):
        y = x - 2
        return F.log(y) + 1

    x = Tensor([1.0])
    assert np.isnan(f(x).item())
    assert f":{line_of('return F.log(y) + 1')}: return F.log(y) + 1" in caught(f, x)
    assert np.isnan(f(x).item())


def test_a_step_of_training_is_left_as_it_is():
    """With and without the check the same values."""
    found = []
    for checked in (False, True):
        tengen.random.seed(3)
        net = M.Sequential(M.Conv2d(1, 2, 3), M.BatchNorm2d(2), M.ReLU())
        optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        manager = GradManager().attach(net.parameters())
        x = Tensor(np.random.default_rng(0).normal(size=(2, 1, 5, 5)).astype(np.float32))

        def steps(net=net, optimizer=optimizer, manager=manager, x=x):
            for _ in range(2):
                with manager:
                    manager.backward(F.mean(net(x) ** 2))
                optimizer.step().clear_grad()

        if checked:
            with check_finite():
                steps()
        else:
            steps()
        found.append(net.state_dict())
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])


def test_the_steps_of_optimizers_are_checked():
    net = M.Linear(1, 1)
    optimizer = optim.SGD(net.parameters(), lr=float("inf"))
    for parameter in net.parameters():
        parameter.grad = F.ones_like(parameter)
    assert "infinite" in caught(optimizer.step)
