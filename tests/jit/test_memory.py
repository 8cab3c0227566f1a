"""Limits on the memory of traces: the results stay, what a call takes goes down. The truth is the trace without a limit."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import tengen.functional as F
import tengen.module as M
import tengen.random
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.device import get_allocated_memory, get_max_allocated_memory, reset_max_memory_stats
from tengen.jit import DTRConfig, GraphOptimizationConfig, SublinearMemoryConfig, trace
from tengen.jit.memory import _logger
from tengen.optimizer import SGD, Adam

MODES = pytest.mark.parametrize("without_host", [False, True], ids=["host", "without host"])
MIB = 1 << 20


class Residual(M.Module):
    """x + body(x)."""

    def __init__(self, *body):
        super().__init__()
        self.body = M.Sequential(*body)

    def forward(self, x):
        return F.relu(x + self.body(x))


class Flat(M.Module):
    """(n, c, h, w) to (n, c·h·w)."""

    def forward(self, x):
        return F.flatten(x, 1)


def conv_net():
    """Convolutions, batch normalisation, residual blocks; and its input."""

    def conv(i, o):
        return M.Conv2d(i, o, 3, padding=1, bias=False), M.BatchNorm2d(o)

    blocks = [Residual(*conv(16, 16), M.ReLU(), *conv(16, 16)) for _ in range(3)]
    return M.Sequential(*conv(3, 16), M.ReLU(), M.MaxPool2d(2), *blocks, Flat(), M.Linear(16 * 256, 10)), (8, 3, 32, 32)


def mlp():
    """Fully connected, with dropout, batch normalisation and residual blocks; and its input."""
    blocks = [Residual(M.Linear(64, 64), M.BatchNorm1d(64), M.GELU(), M.Dropout(0.3)) for _ in range(6)]
    return M.Sequential(M.Linear(32, 64), *blocks, M.Linear(64, 10)), (512, 32)


NETS = pytest.mark.parametrize("make", [conv_net, mlp])


class Training:
    """A network of `make` with the same first weights each time, and a traced step of training."""

    def __init__(self, make, adam=False, **options):
        tengen.random.seed(3)
        self.net, shape = make()
        self.net.train()
        parameters = list(self.net.parameters())
        manager = GradManager().attach(parameters)
        optimizer = Adam(parameters, lr=1e-3) if adam else SGD(parameters, lr=0.05, momentum=0.9)

        @trace(**options)
        def step(x, y):
            with manager:
                loss = F.loss.cross_entropy(self.net(x), y)
                manager.backward(loss)
            optimizer.step().clear_grad()
            return loss

        self.step = step
        random = np.random.default_rng(0)
        self.x = Tensor(random.standard_normal(shape).astype(np.float32))
        self.y = Tensor(random.integers(0, 10, shape[:1]).astype(np.int32))

    def run(self, steps=5):
        """The losses of so many steps, with random numbers that are the same each time."""
        tengen.random.seed(5)
        return [self.step(self.x, self.y).item() for _ in range(steps)]

    def state(self):
        return {name: value.copy() for name, value in self.net.state_dict().items()}

    def bytes(self):
        """What one more step takes at most beside what is there."""
        before = get_allocated_memory()
        reset_max_memory_stats()
        loss = self.step(self.x, self.y)
        del loss
        return get_max_allocated_memory() - before

    def memory(self):
        """The limit of the one Program that the step is, after it has run."""
        (kind,) = self.step._kinds.values()
        segment = kind.standalone[0].segment if self.step.without_host else kind.first.recorder.segments[0]
        return segment.op.memory


@NETS
@MODES
def test_training_goes_on_as_without_a_limit(make, without_host):
    free, limited = (
        Training(make, without_host=without_host, sublinear_memory_config=config)
        for config in (None, SublinearMemoryConfig())
    )
    np.testing.assert_allclose(limited.run(), free.run(), rtol=1e-4)
    want = free.state()
    for name, value in limited.state().items():
        np.testing.assert_allclose(value, want[name], rtol=2e-3, atol=2e-4, err_msg=name)
    memory = limited.memory()
    assert memory.cost.bytes < 0.75 * memory.unlimited.bytes
    assert memory.unlimited.work < memory.cost.work < 1.5 * memory.unlimited.work


@NETS
@MODES
def test_what_a_call_takes_goes_down(make, without_host):
    free, limited = (
        Training(make, adam=True, without_host=without_host, dtr_config=config)
        for config in (None, DTRConfig(eviction_threshold=1, evictee_minimum_size=0))
    )
    free.run(3), limited.run(3)
    assert limited.bytes() < 0.75 * free.bytes()


def test_the_limit_is_kept_with_the_least_work():
    base = Training(conv_net, dtr_config=DTRConfig(1, 0))
    base.run(1)
    unlimited, least = base.memory().unlimited, base.memory().cost
    work = []
    for limit in (unlimited.bytes, (unlimited.bytes + least.bytes) // 2, least.bytes):
        training = Training(conv_net, dtr_config=DTRConfig(limit, 0))
        training.run(1)
        assert training.memory().cost.bytes <= limit and training.memory().unlimited == unlimited
        work.append(training.memory().cost.work)
    assert work[0] == unlimited.work <= work[1] <= work[2]


def test_a_limit_in_mebibytes():
    training = Training(conv_net, sublinear_memory_config=SublinearMemoryConfig(lb_memory_mb=2))
    training.run(1)
    assert training.memory().cost.bytes <= 2 * MIB < training.memory().unlimited.bytes


def test_small_values_are_kept():
    training = Training(conv_net, dtr_config=DTRConfig(1, evictee_minimum_size=MIB * 100))
    training.run(1)
    assert training.memory().cost == training.memory().unlimited


def test_no_threshold_is_no_limit():
    training = Training(mlp, dtr_config=DTRConfig())
    training.run(1)
    assert training.memory() is None


def test_a_limit_that_cannot_be_kept_is_a_warning(monkeypatch):
    messages = []
    monkeypatch.setattr(_logger, "warning", lambda text, *args: messages.append(text % args))
    assert _logger.isEnabledFor(logging.WARNING)
    training = Training(conv_net, dtr_config=DTRConfig(eviction_threshold=MIB, evictee_minimum_size=0))
    training.run(1)
    reached = f"{training.memory().cost.bytes / MIB:.1f} MiB"
    assert messages and f"step takes {reached}, more than its limit of 1.0 MiB" in messages[0]
    messages.clear()
    Training(conv_net, sublinear_memory_config=SublinearMemoryConfig()).run(1)  # as little as possible: any is right
    assert not messages


def test_wrong_settings_raise():
    with pytest.raises(ValueError, match="lb_memory_mb must be at least 0, got -1"):
        SublinearMemoryConfig(lb_memory_mb=-1)
    with pytest.raises(
        ValueError, match="eviction_threshold and evictee_minimum_size must be at least 0, got -1 and 5"
    ):
        DTRConfig(-1, 5)
    with pytest.raises(ValueError, match="evictee_minimum_size must be at least 0"):
        DTRConfig(evictee_minimum_size=-1)
    with pytest.raises(TypeError, match="sublinear_memory_config must be a SublinearMemoryConfig, got int"):
        trace(lambda x: x, sublinear_memory_config=100)
    with pytest.raises(TypeError, match="dtr_config must be a DTRConfig, got SublinearMemoryConfig"):
        trace(lambda x: x, dtr_config=SublinearMemoryConfig())
    with pytest.raises(ValueError, match="not both"):
        trace(lambda x: x, sublinear_memory_config=SublinearMemoryConfig(), dtr_config=DTRConfig())


def test_settings_of_other_programs_are_taken():
    config = SublinearMemoryConfig(
        thresh_nr_try=3, genetic_nr_iter=1, genetic_pool_size=2, num_worker=2, lb_memory_mb=7
    )
    options = GraphOptimizationConfig()
    options.jit_fuse_reduce = True
    function = trace(lambda x: F.exp(x) * 2, sublinear_memory_config=config, graph_opt_config=options)
    assert function(Tensor([0.0])).tolist() == [2.0]
    DTRConfig(recomp_memory_factor=0, recomp_time_factor=2)


def test_settings_are_kept_as_they_were_given():
    assert vars(SublinearMemoryConfig(thresh_nr_try=3, genetic_nr_iter=2, num_worker=4)) == {
        "thresh_nr_try": 3, "genetic_nr_iter": 2, "genetic_pool_size": 20, "lb_memory_mb": 0, "num_worker": 4,
    }  # fmt: skip
    assert DTRConfig(eviction_threshold=1, recomp_time_factor=0.5).recomp_time_factor == 0.5
    assert GraphOptimizationConfig().jit_fuse_reduce is None
