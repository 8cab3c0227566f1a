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


# -- networks that know nothing of quantisation --------------------------------------------------------------------------


class Plain(M.Module):
    """As one writes it: layers one by one, functions between them, and a ReLU that is used twice."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.relu = M.Conv2d(3, 8, 3, padding=1, bias=False), M.BatchNorm2d(8), M.ReLU()
        self.body = M.Sequential(
            M.Conv2d(8, 8, 1), M.BatchNorm2d(8), M.ReLU(), M.Conv2d(8, 8, 3, padding=1), M.BatchNorm2d(8)
        )
        self.seen, self.bn2, self.fc = M.Conv2d(8, 8, 1), M.BatchNorm2d(8), M.Linear(8, 4)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.body(x) + x)
        y = self.seen(x)  # which is not only normalised
        x = self.bn2(y) * F.sigmoid(y)
        return self.fc(F.mean(x, (2, 3)))


@pytest.fixture
def plain():
    tengen.random.seed(1)
    made = Plain()
    for seed, bn in enumerate(one for one in made.modules() if isinstance(one, M.BatchNorm2d)):
        drawn = np.random.default_rng(seed).uniform(0.5, 1.5, (4, 1, 8, 1, 1)).astype(np.float32)
        for tensor, value in zip((bn.weight, bn.bias, bn.running_mean, bn.running_var), drawn, strict=True):
            tensor.set_value(value.reshape(tensor.shape))
    made.eval()
    return made


def test_layers_of_a_plain_network_become_one_and_get_stubs(plain):
    images = batches(3)
    before = plain(images[0]).numpy()
    network, errors = calibrate(plain, images)
    found = network(images[0]).numpy()
    assert np.linalg.norm(found - before) < 0.05 * np.linalg.norm(before)
    assert type(network.conv1.layer) is quantized.Conv2d and type(network.bn1) is M.Identity
    assert type(network.body[0].layer) is quantized.ConvRelu2d and network.body[0].dequant is None
    assert type(network.body[3].layer) is quantized.Conv2d and network.body[3].quant is None
    assert type(network.bn2) is M.BatchNorm2d  # as its input is read by other code too
    assert {"conv1", "body.0", "body.3", "seen", "fc"} <= {error.name for error in errors}
    assert type(plain.conv1) is M.Conv2d and type(plain.bn1) is M.BatchNorm2d


def test_layers_of_a_plain_network_can_be_left_out(plain):
    network = calibrate(plain, batches(1), skip=["body.3", "fc"]).network
    assert network.body[3].weight.dtype == network.fc.weight.dtype == np.float32
    assert network.body[0].dequant is not None
