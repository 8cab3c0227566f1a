"""What knows of the world by itself: normalisation over the batches of all processes, and each one's samples."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from ranks import ranks

import tengen
import tengen.distributed as dist
import tengen.functional as F
import tengen.module as M
from tengen.autodiff import GradManager
from tengen.data import DataLoader, RandomSampler, ReplacementSampler, SequentialSampler
from tengen.data.dataset import ArrayDataset
from tengen.jit import trace

EPS, MOMENTUM = 1e-3, 0.8


def samples(size):
    """A batch with a mean that is large against its deviation, the gradient of what is made of it, and which process has which samples."""
    rng = np.random.default_rng(3)
    x, g = rng.standard_normal((7, 3, 4, 5)) + 50, rng.standard_normal((7, 3, 4, 5))
    return x, g, np.array_split(np.arange(7), [1, 4][: size - 1])


def whole(x, g, scale, floor):
    """Batch normalisation of the whole batch in float64: result, gradients of input, weight and bias, mean and unbiased variance."""
    axes, count = (0, 2, 3), x.size // 3
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    spread = np.sqrt(np.maximum(variance, EPS) if floor else variance + EPS)
    hat = (x - mean) / spread
    pull = (
        g - g.mean(axes, keepdims=True) - hat * (g * hat).mean(axes, keepdims=True) * (variance > EPS if floor else 1)
    )
    weight = scale.reshape(1, 3, 1, 1)
    return hat * weight, pull * weight / spread, (g * hat).sum(axes), g.sum(axes), mean, variance * count / (count - 1)


@cache
def normalized(size):
    def work():
        x, g, places = samples(size)
        own, found = places[dist.get_rank()], []
        for how in ("eager", "traced", "max"):
            layer = M.SyncBatchNorm(3, eps=EPS, momentum=MOMENTUM)
            layer.weight[...] = np.arange(1.0, 4.0, dtype=np.float32).reshape(1, 3, 1, 1)
            data, pull = tengen.tensor(x[own], dtype="float32"), tengen.tensor(g[own], dtype="float32")
            gm = GradManager().attach([data])
            gm.attach(layer.parameters(), callbacks=dist.make_allreduce_cb("sum"))

            def step(data=data, pull=pull, gm=gm, layer=layer, how=how):
                with gm:
                    if how == "max":
                        args = (
                            data,
                            layer.running_mean,
                            layer.running_var,
                            layer.weight,
                            layer.bias,
                            True,
                            MOMENTUM,
                            EPS,
                        )
                        y = F.nn.sync_batch_norm(*args, eps_mode="max")
                    else:
                        y = layer(data)
                    gm.backward((y * pull).sum())
                return y

            y = (trace(step, without_host=True) if how == "traced" else step)()
            values = y, data.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var
            found.append([v.numpy() for v in values])
            layer.eval()
            found[-1].append(layer(data).shape)
        return found

    return ranks(size, work)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("how", [0, 1, 2], ids=["eager", "traced", "max"])
def test_normalisation_of_the_whole_batch(size, how):
    x, g, places = samples(size)
    y, dx, dw, db, mean, variance = whole(x, g, np.arange(1.0, 4.0), how == 2)
    for own, found in zip(places, normalized(size), strict=True):
        wanted = y[own], dx[own], dw, db, (1 - MOMENTUM) * mean, MOMENTUM + (1 - MOMENTUM) * variance
        for value, w in zip(found[how][:6], wanted, strict=True):
            np.testing.assert_allclose(value.reshape(w.shape), w, rtol=2e-4, atol=2e-4)
        assert found[how][6] == y[own].shape


def test_samples_of_each_process():
    """Every sample once, with the same seed in all processes; numbers of a process that are given count."""

    def work():
        data = ArrayDataset(np.arange(12))
        loader = DataLoader(data, RandomSampler(data, batch_size=2, seed=5))
        passes = [[int(i) for batch in loader for i in np.ravel(batch)] for _ in range(2)]
        own = SequentialSampler(data, batch_size=4), SequentialSampler(data, 4, world_size=2, rank=1)
        drawn = ReplacementSampler(data, batch_size=2, seed=1)
        return passes, [list(s) for s in own], len(drawn), (SequentialSampler(data, world_size=1).rank)

    found = ranks(3, work)
    for number in range(2):
        parts = [passes[number] for passes, *_ in found]
        assert sorted(i for part in parts for i in part) == list(range(12)) and {len(p) for p in parts} == {4}
    assert found[0][0][0] != found[0][0][1]
    assert [own[0] for _, own, *_ in found] == [[[0, 3, 6, 9]], [[1, 4, 7, 10]], [[2, 5, 8, 11]]]
    assert [own[1] for _, own, *_ in found] == [[[1, 3, 5, 7], [9, 11]]] * 3
    assert [rest for _, _, *rest in found] == [[2, 0]] * 3
