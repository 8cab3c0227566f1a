"""Steps of training on a GPU."""

from __future__ import annotations

import numpy as np
import pytest

import tengen
import tengen.functional as F
from tengen import jit, module, optimizer
from tengen.autodiff import GradManager
from tengen.base import config


@pytest.fixture(autouse=True)
def on_the_gpu():
    with config.override(default_device="gpu0"):
        yield


def trained(steps):
    """The weight after some steps of a traced training step."""
    tengen.random.seed(3)
    net = module.Linear(6, 4)
    net.weight._reset(tengen.tensor(np.arange(24, dtype=np.float32).reshape(4, 6) / 24))
    gm, opt = GradManager().attach(net.parameters()), optimizer.SGD(net.parameters(), lr=0.1, momentum=0.9)

    @jit.trace
    def step(x, y):
        with gm:
            loss = F.loss.cross_entropy(F.relu(net(x)), y)
            gm.backward(loss)
        opt.step().clear_grad()
        return loss

    data = np.random.default_rng(0)
    for _ in range(steps):
        x, y = data.standard_normal((8, 6)).astype(np.float32), data.integers(0, 4, 8).astype(np.int32)
        step(tengen.tensor(x), tengen.tensor(y)).item()
    return net.weight.numpy()


def test_a_step_becomes_a_graph(double):
    before = double.count("graph launches")
    found = trained(8)
    assert double.count("graph launches") - before >= 4
    with config.override(default_device="cpu0"):
        np.testing.assert_allclose(trained(8), found, rtol=1e-5, atol=1e-6)
