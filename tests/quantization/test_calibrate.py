"""Quantisation after training: the network gives nearly what it gave, the table says where it does not, and layers can be left out."""

from __future__ import annotations

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen.module import quantized
from tengen.quantization import calibrate


class Net(M.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = M.QuantStub(), M.DequantStub()
        self.body = M.Sequential(M.ConvBnRelu2d(3, 8, 3, padding=1), M.Conv2d(8, 8, 1))
        self.add = M.Elemwise("fuse_add_relu")
        self.head = M.Linear(8, 4)

    def forward(self, x):
        x = self.body[0](self.quant(x))
        x = self.add(x, self.body[1](x))
        return self.dequant(self.head(F.flatten(F.avg_pool2d(x, 8), 1)))


def batches(count):
    random = np.random.default_rng(0)
    return [tengen.tensor(random.standard_normal((16, 3, 8, 8), np.float32)) for _ in range(count)]


@pytest.fixture
def net():
    tengen.random.seed(1)
    made = Net()
    made.eval()
    return made


def test_results_stay_and_the_table_is_sorted(net):
    images = batches(4)
    before, state = net(images[0]).numpy(), {k: v.copy() for k, v in net.state_dict().items()}
    network, errors = made = calibrate(net, images)
    found = network(images[0]).numpy()
    assert np.linalg.norm(found - before) < 0.05 * np.linalg.norm(before)
    assert [error.name for error in errors].count("head") == 1
    ratios = [error.ratio for error in errors]
    assert ratios == sorted(ratios)
    assert ratios[0] > 20
    assert str(made).splitlines()[1].split()[0] == errors[0].name
    assert type(network.body[0]) is quantized.ConvBnRelu2d
    for key, value in net.state_dict().items():  # the network itself is as it was
        np.testing.assert_array_equal(value, state[key])


def test_a_layer_with_a_large_weight_is_the_worst_and_can_be_left_out(net):
    weight = np.array(net.body[1].weight.numpy())
    weight[:, 0] = (
        100.0  # so that all other weights are rounded to nothing, and it says nothing: that channel is always 0
    )
    net.body[1].weight.set_value(weight)
    silent = np.ones((1, 8, 1, 1), np.float32)
    silent[0, 0] = 0.0
    net.body[0].bn.weight.set_value(silent)
    images = batches(2)
    exact = net(images[0]).numpy()
    whole = calibrate(net, images)
    spared = calibrate(net, images, skip=["body.1"])
    ratio = {error.name: error.ratio for error in whole.errors}, {error.name: error.ratio for error in spared.errors}
    assert whole.errors[0].name == "body.1"
    assert ratio[1]["body.1"] > ratio[0]["body.1"] + 20
    assert spared.network.body[1].layer.weight.dtype == np.float32
    assert (
        np.abs(spared.network(images[0]).numpy() - exact).mean()
        <= np.abs(whole.network(images[0]).numpy() - exact).mean()
    )


def test_refusals(net):
    with pytest.raises(ValueError, match=r"skip has 'tail'.*those are add, body\.0"):
        calibrate(net, batches(1), skip=["tail"])
    with pytest.raises(ValueError, match="no batches"):
        calibrate(net, [])
