"""A batch without elements leaves parameters, their gradients and running statistics as they should be: untouched, 0, untouched."""

from __future__ import annotations

import numpy as np
import pytest

import tengen.functional as F
import tengen.module as M
from tengen import optimizer
from tengen.autodiff import GradManager
from tengen.jit import trace

IMAGE, ROW = (0, 4, 6, 6), (0, 4)


def after(*layers):
    return lambda: M.Sequential(M.Conv2d(4, 4, 3, padding=1), *(layer() for layer in layers))


def linear(layer):
    return lambda: M.Sequential(M.Linear(4, 4), layer())


NETS = {
    "BatchNorm2d": (after(lambda: M.BatchNorm2d(4), lambda: M.Conv2d(4, 2, 1)), IMAGE),
    "BatchNorm2d of no lines": (lambda: M.BatchNorm2d(4), (2, 4, 0, 3)),
    "BatchNorm2d without statistics": (after(lambda: M.BatchNorm2d(4, track_running_stats=False)), IMAGE),
    "BatchNorm1d": (linear(lambda: M.BatchNorm1d(4)), ROW),
    "GroupNorm": (after(lambda: M.GroupNorm(2, 4)), IMAGE),
    "InstanceNorm": (after(lambda: M.InstanceNorm(4)), IMAGE),
    "LayerNorm": (linear(lambda: M.LayerNorm(4)), ROW),
    "LocalResponseNorm": (after(M.LocalResponseNorm), IMAGE),
    "pooling": (after(lambda: M.MaxPool2d(2), lambda: M.AvgPool2d(3)), IMAGE),
    "depthwise": (after(lambda: M.Conv2d(4, 4, 3, groups=4)), IMAGE),
    "depthwise, stride 2": (after(lambda: M.Conv2d(4, 4, 5, 2, 2, groups=4)), IMAGE),
    "grouped": (after(lambda: M.Conv2d(4, 4, 3, groups=2)), IMAGE),
    "transposed": (after(lambda: M.ConvTranspose2d(4, 4, 3), lambda: M.PReLU(4), lambda: M.Dropout(0.5)), IMAGE),
    "transposed depthwise": (after(lambda: M.ConvTranspose2d(4, 4, 3, groups=4)), IMAGE),
}
MODES = {"eager": lambda f: f, "traced": trace, "without host": lambda f: trace(f, without_host=True)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NETS)
def test_training(name, mode):
    make, shape = NETS[name]
    net = make()
    manager = GradManager().attach(net.parameters())
    steps = optimizer.SGD(net.parameters(), 0.1, momentum=0.9)

    def step(x):
        with manager:
            manager.backward(net(x).sum())
        steps.step().clear_grad()

    before = net.state_dict()
    run = MODES[mode](step)
    for _ in range(2):
        run(F.zeros(shape))
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[key], err_msg=key)


def test_statistics_go_on_afterwards():
    norm, twin = M.BatchNorm1d(2), M.BatchNorm1d(2)
    x = F.arange(6).reshape(3, 2)
    norm(F.zeros((0, 2)))
    norm(x), twin(x)
    np.testing.assert_array_equal(norm.running_mean.numpy(), twin.running_mean.numpy())
    np.testing.assert_array_equal(norm.running_var.numpy(), twin.running_var.numpy())


def test_statistics_given_out():
    mean, var = F.full((1, 2), 3.0), F.full((1, 2), 4.0)
    y, new_mean, new_var = F.batch_norm(F.zeros((0, 2)), mean, var, training=True, inplace=False)
    assert y.shape == (0, 2) and new_mean.tolist() == [[3, 3]] and new_var.tolist() == [[4, 4]]
