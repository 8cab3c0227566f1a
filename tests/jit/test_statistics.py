"""A traced step reads no convolution's result again for the statistics of batch normalisation."""

from __future__ import annotations

import numpy as np
import pytest

import tengen.functional as F
import tengen.module as M
from tengen import Tensor, _rt
from tengen.autodiff import GradManager
from tengen.jit import trace

N, CHANNELS, SIZE = 4, 24, 40


class Net(M.Module):
    """Three convolutions with batch normalisation, the last one next to what it is given."""

    def __init__(self):
        super().__init__()
        self.convs = [M.Conv2d(i, CHANNELS, 3, 1, 1, bias=False) for i in (3, CHANNELS, CHANNELS)]
        self.norms = [M.BatchNorm2d(CHANNELS) for _ in self.convs]

    def forward(self, x):
        x = F.relu(self.norms[0](self.convs[0](x)))
        y = F.relu(self.norms[1](self.convs[1](x)))
        return F.relu(self.norms[2](self.convs[2](y)) + x)


def weights():
    random = np.random.default_rng(0)
    shapes = [(CHANNELS, i, 3, 3) for i in (3, CHANNELS, CHANNELS)]
    return [0.2 * random.standard_normal(shape).astype(np.float32) for shape in shapes]


def inputs(mean):
    random = np.random.default_rng(1)
    x = (mean + random.standard_normal((N, 3, SIZE, SIZE))).astype(np.float32)
    return x, random.standard_normal((N, CHANNELS, SIZE, SIZE)).astype(np.float32)


def trained(x, g):
    """The traced step, the result, the gradients of the weights, and running means and variances."""
    net = Net()
    for conv, w in zip(net.convs, weights(), strict=True):
        conv.weight.set_value(w)
    parameters = list(net.parameters())
    manager = GradManager().attach(parameters)

    @trace(without_host=True)
    def step(x, g):
        with manager:
            y = net(x)
            manager.backward(y, g)
        return (y, *(p.grad for p in parameters))

    results = [v.numpy() for v in step(Tensor(x), Tensor(g))]
    return step, [*results, *(v.numpy() for n in net.norms for v in (n.running_mean, n.running_var))]


def test_launches_over_whole_activations():
    step, _ = trained(*inputs(0))
    ((_, _, _, (report,)),) = step.explain().calls
    ((kind,),) = [step._kinds.values()]
    (compiled,) = kind.standalone[0].segment.op.plan_log.plans
    assert report.launches == len(compiled.plan.steps)
    size = N * CHANNELS * SIZE * SIZE
    others = [s for s in compiled.plan.steps if not s.name.lower().startswith("conv")]
    large = [s.name for s in others if s.work >= 4 * size]
    # For each normalisation one that applies the statistics, and one in the backward. The sums of the last gradient, which comes
    # from no convolution, are taken where its mask is.
    assert len(large) == 3 + 3, large


def convolved(x, w):
    """A 3 x 3 convolution with padding 1, and the windows of x."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), (2, 3))
    return np.einsum("nihwrc,oirc->nohw", windows, w, optimize=True), windows


def normalised(x):
    """x less its mean over its deviation, both over all but the channels, the deviation and what running statistics become of it."""
    mean, variance = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    deviation, count = np.sqrt(variance + 1e-5), x.size // CHANNELS
    running = [0.1 * mean.ravel(), 0.9 + 0.1 * variance.ravel() * count / (count - 1)]
    return (x - mean) / deviation, deviation, running


def expected(x, g):
    """The result, the gradients of the weights, and the running statistics, in float64."""
    ws, inside, statistics = [w.astype(np.float64) for w in weights()], [], []
    a, residual = x.astype(np.float64), 0.0
    for number, w in enumerate(ws):
        y, windows = convolved(a, w)
        z, deviation, running = normalised(y)
        a = np.maximum(z + (residual if number == 2 else 0.0), 0.0)
        residual = a if number == 0 else residual
        inside.append((windows, z, deviation, a > 0))
        statistics += running
    gradients, g, skipped = [], g.astype(np.float64), 0.0
    for number in (2, 1, 0):
        windows, z, deviation, positive = inside[number]
        g = (g + (skipped if number == 0 else 0.0)) * positive
        skipped = g if number == 2 else skipped
        g = (g - g.mean((0, 2, 3), keepdims=True) - z * (g * z).mean((0, 2, 3), keepdims=True)) / deviation
        gradients.insert(0, np.einsum("nihwrc,nohw->oirc", windows, g, optimize=True))
        g = convolved(g, ws[number].transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])[0]
    return [a, *gradients, *statistics]


@pytest.mark.parametrize("mean", [0, 1000])
def test_the_step_in_float64(mean):
    x, g = inputs(mean)
    _, got = trained(x, g)
    tolerance = 2e-5 if mean == 0 else 2e-3  # sums of products of 1000 are rounded
    found = [got[0], *(v for v in got[1:] if v.ndim == 4 and v.shape[-1] == 3), *got[-6:]]
    for have, want in zip(found, expected(x, g), strict=True):
        np.testing.assert_allclose(have.reshape(want.shape), want, rtol=0, atol=tolerance * np.abs(want).max())


def test_the_number_of_threads_changes_nothing():
    before = _rt.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            _rt.set_num_threads(threads)
            results.append(trained(*inputs(3))[1])
    finally:
        _rt.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
