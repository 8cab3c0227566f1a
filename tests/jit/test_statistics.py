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
    (compiled,) = kind.standalone[0].segment.op.plans
    assert report.launches == len(compiled.plan.steps)
    size = N * CHANNELS * SIZE * SIZE
    others = [s for s in compiled.plan.steps if not s.name.lower().startswith("conv")]
    large = [s.name for s in others if s.work >= 4 * size]
    # For each normalisation one that applies the statistics, and one in the backward. The sums of the last gradient, which comes
    # from no convolution, are taken where its mask is.
    assert len(large) == 3 + 3, large


@pytest.mark.parametrize("mean", [0, 1000])
def test_the_step_is_that_of_pytorch(mean):
    torch = pytest.importorskip("torch")
    nn = torch.nn.functional
    x, g = inputs(mean)
    _, got = trained(x, g)
    ws = [torch.tensor(w, dtype=torch.float64, requires_grad=True) for w in weights()]
    scales, shifts, statistics = [], [], []

    def block(x, w):
        running = torch.zeros(CHANNELS, dtype=torch.float64), torch.ones(CHANNELS, dtype=torch.float64)
        scales.append(torch.ones(CHANNELS, dtype=torch.float64, requires_grad=True))
        shifts.append(torch.zeros(CHANNELS, dtype=torch.float64, requires_grad=True))
        statistics.extend(running)
        return nn.batch_norm(nn.conv2d(x, w, padding=1), *running, scales[-1], shifts[-1], training=True)

    a = torch.relu(block(torch.tensor(x, dtype=torch.float64), ws[0]))
    b = torch.relu(block(a, ws[1]))
    y = torch.relu(block(b, ws[2]) + a)
    y.backward(torch.tensor(g, dtype=torch.float64))
    wanted = [y, *(w.grad for w in ws)]
    tolerance = 2e-5 if mean == 0 else 2e-3  # sums of products of 1000 are rounded
    found = [got[0], *(v for v in got[1:] if v.ndim == 4 and v.shape[-1] == 3), *got[-6:]]
    for have, want in zip(found, [*wanted, *statistics], strict=True):
        want = want.detach().numpy()
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
