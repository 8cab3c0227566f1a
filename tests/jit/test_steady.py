"""A steady step of a traced function takes nothing from the system, and few blocks from the allocator."""

from __future__ import annotations

import numpy as np

import tengen.functional as F
import tengen.module as M
from tengen import Tensor, _rt
from tengen.autodiff import GradManager
from tengen.jit import trace
from tengen.optimizer import SGD

RANDOM = np.random.default_rng(0)


def training_step():
    """A traced step of a small convolutional network, whose temporaries take some megabytes."""
    network = M.Sequential(M.Conv2d(3, 16, 3, padding=1), M.BatchNorm2d(16), M.ReLU(), M.Conv2d(16, 8, 3, stride=2))
    manager = GradManager().attach(list(network.parameters()))
    optimizer = SGD(list(network.parameters()), lr=0.01, momentum=0.9)

    @trace(without_host=True)
    def step(x):
        with manager:
            loss = F.mean(F.square(network(x)))
            manager.backward(loss)
        optimizer.step().clear_grad()
        return loss

    return step


def counted(step, *arguments):
    """The blocks that a step takes, and how often it asks the system for memory."""
    before = _rt.memory_counts()
    result = step(*arguments)
    after = _rt.memory_counts()
    del result
    return after["allocations"] - before["allocations"], after["mappings"] - before["mappings"]


def test_a_training_step_takes_its_temporaries_and_its_loss():
    step, x = training_step(), Tensor(RANDOM.random((8, 3, 64, 64), dtype=np.float32))
    for _ in range(4):
        step(x)
    (launches,) = {plans[-1].launches for _, _, _, plans in step.explain().calls}
    assert launches > 10
    assert [counted(step, x) for _ in range(10)] == [(2, 0)] * 10


def test_inference_takes_its_temporaries_and_its_result():
    network = M.Sequential(M.Conv2d(3, 16, 3, padding=1), M.ReLU(), M.Conv2d(16, 8, 3))
    network.eval()
    run = trace(network, without_host=True)
    x = Tensor(RANDOM.random((8, 3, 64, 64), dtype=np.float32))
    for _ in range(3):
        run(x)
    assert [counted(run, x) for _ in range(10)] == [(2, 0)] * 10


def test_a_step_with_host_takes_no_more():
    function = trace(lambda x: F.softmax(F.matmul(x, x) * 2) + 1)
    x = Tensor(RANDOM.random((512, 512), dtype=np.float32))
    for _ in range(3):
        function(x)
    taken = [counted(function, x) for _ in range(10)]
    assert len(set(taken)) == 1 and taken[0][0] <= 4 and taken[0][1] == 0
