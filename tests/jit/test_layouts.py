"""Which copies into another layout the plans of traced networks have, by the names of their steps.

There is one layout for the whole of a convolutional network, channels last, so what is left are these:

| step | why |
|---|---|
| `conv2d: layout of a`, of the image | it comes row-major, without the zeros around it; done once, also for the gradient by weight |
| `ConvolutionBackwardFilter: layout of a` | every second pixel for a 1 x 1 window with stride 2; zeros around the image for few channels |
| `conv_transpose2d: layout of a` | zeros around planes, where pixels are the columns |
| `ConvolutionBackwardFilter: layout of b`, `matmul: layout of b`, and that of weights | panels, as the register tile reads them |
| `copy` | channels-last pixels as the rows of a linear layer |

Heads of attention are side by side as the products that make them store them there, and so are the gradients of queries, keys and values.

Panels are packing, not layout, and are not counted here.
"""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import tengen.functional as F
import tengen.module as M
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.compiler.targets.host import host_target
from tengen.jit import trace
from tengen.optimizer import SGD

ROOT = Path(__file__).parents[2]


def copies(function, *arguments):
    """How many copies of each name the second Plan of a traced function has: the first one finds weights as they were made."""
    for _ in range(2):
        function(*arguments)
    (kind,) = function._kinds.values()
    plan = kind.standalone[0].segment.op.plan_log.plans[-1].plan
    names = [step.name for step in plan.steps]
    return Counter(n for n in names if n in ("copy", "concat", "layout") or "layout of a" in n)


def training(net):
    manager, optimizer = GradManager().attach(net.parameters()), SGD(net.parameters(), lr=0.01)

    @trace(without_host=True)
    def step(x):
        with manager:
            y = net(x)
            manager.backward(F.mean(y * y))
        optimizer.step().clear_grad()

    return step


# What inference and a step take more where a vector has eight lanes: few channels are laid out in another way then, which products read.
NARROW = {
    ("lenet", (8, 1, 32, 32)): ({"matmul: layout of a": 1}, {"matmul: layout of a": 1}),
    ("lenet", (32, 1, 32, 32)): (
        {"copy": 1},
        {"matmul: layout of a": 1, "conv_transpose2d: layout of a": 1, "layout": 3, "copy": 1},
    ),
}


@pytest.fixture
def networks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.networks_tengen").NETWORKS


@pytest.mark.parametrize(
    "name, shape, inference, train",
    [
        (
            "resnet18",
            (2, 3, 64, 64),
            {"conv2d: layout of a": 2},
            {"conv2d: layout of a": 2, "ConvolutionBackwardFilter: layout of a": 3},
        ),
        ("mobilenetv2", (4, 3, 96, 96), {}, {"ConvolutionBackwardFilter: layout of a": 2}),
        (
            "lenet",
            (8, 1, 32, 32),
            {"conv2d: layout of a": 1, "copy": 1},
            {
                "conv2d: layout of a": 1,
                "copy": 1,
                "conv_transpose2d: layout of a": 2,
                "ConvolutionBackwardFilter: layout of a": 1,
            },
        ),
        ("lenet", (32, 1, 32, 32), {"conv2d: layout of a": 1}, {"conv2d: layout of a": 1}),
        ("transformer", (8, 128, 512), {}, {}),
    ],
)
def test_copies_in_networks(networks, name, shape, inference, train):
    x = Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    net = networks[name]()
    more = NARROW.get((name, shape), ({}, {})) if host_target().lanes < 16 else ({}, {})
    assert copies(training(net), x) <= Counter(train) + Counter(more[1])
    net.eval()
    assert copies(trace(net.forward, without_host=True), x) <= Counter(inference) + Counter(more[0])


def test_an_image_is_laid_out_once():
    """Forward and gradient by weight read the same copy."""
    net = M.Sequential(M.Conv2d(3, 32, 7, 2, 3), M.ReLU())
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32))
    found = copies(training(net), x)
    assert set(found) == {"conv2d: layout of a"}
