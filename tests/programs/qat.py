"""Training with rounded numbers, as public programs do it: a small network with each of five configurations, and what it gives in int8."""

from __future__ import annotations

from typing import Any

import megengine as mge
import megengine.functional as F
import megengine.module as M
import megengine.quantization as Q
import numpy as np
from common import array, fixed, labels, maybe_traced
from megengine.autodiff import GradManager
from megengine.optimizer import SGD

# The largest number of each result lies in the middle between two, the larger one of which is clipped and passes no gradient. To which it goes
# depends on its last bit: in the reference too, two configurations that compute the same differ by so much.
TOLERANCES = (3e-2, 1e-3)
CONFIGS = [
    Q.min_max_fakequant_qconfig,
    Q.ema_fakequant_qconfig,
    Q.sync_ema_fakequant_qconfig,
    Q.ema_lowbit_fakequant_qconfig,
    Q.tqt_qconfig,
]


class Net(M.Module):
    """Convolutions with and without batch normalisation, a residual, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = M.QuantStub(), M.DequantStub()
        self.stem = M.ConvBnRelu2d(3, 8, 3, 2, 1)
        self.inner = M.Sequential(M.ConvBn2d(8, 8, 3, 1, 1, bias=False), M.ConvRelu2d(8, 8, 1))
        self.add = M.Elemwise("fuse_add_relu")
        self.head = M.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        x = self.stem(self.quant(x))
        x = self.add(x, self.inner(x))
        return self.dequant(self.head(F.flatten(F.avg_pool2d(x, 8), 1)))


def trained(config: Any, traced: bool) -> list[float]:
    """The losses of three steps, and the mean absolute result: with rounded numbers, and with integers."""
    x, y = mge.tensor(array(4, 3, 16, 16)), mge.tensor(labels(5, 4))
    net = fixed(Net())
    if config is Q.tqt_qconfig:  # thresholds that are trained start from observed ones
        Q.quantize_qat(net, qconfig=Q.min_max_fakequant_qconfig)
        Q.disable_fake_quant(net)
        net(x)
        Q.enable_fake_quant(net)
        Q.reset_qconfig(net, config)
    else:
        Q.quantize_qat(net, qconfig=config)
    manager, sgd = GradManager().attach(net.parameters()), SGD(net.parameters(), lr=0.05)

    def step(x: Any, y: Any) -> Any:
        with manager:
            loss = F.nn.cross_entropy(net(x), y)
            manager.backward(loss)
        sgd.step().clear_grad()
        return loss

    run = maybe_traced(step, traced)
    losses = [float(run(x, y).numpy()) for _ in range(3)]
    net.eval()
    rounded = net(x).numpy()
    if config is Q.ema_lowbit_fakequant_qconfig:  # there are no convolutions of 4 bits on a CPU
        return [*losses, float(np.abs(rounded).mean())]
    Q.quantize(net)
    net.eval()
    whole = net(x).numpy()
    return [*losses, float(np.abs(rounded).mean()), float(np.abs(whole).mean())]


def run(traced: bool) -> list[float]:
    """What all configurations give."""
    return [number for config in CONFIGS for number in trained(config, traced)]
