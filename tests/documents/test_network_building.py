"""The programs of the page "Building networks": from functional, from Module, state_dict, LeNet."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest

import tengen as mge
import tengen.functional as F
import tengen.module as M
from tengen.autodiff import GradManager


def two_layer_conv(x):
    # (8, 3, 3, 3): output channels, input channels, height and width of the kernel
    conv_weight = mge.Parameter(np.random.randn(8, 3, 3, 3).astype(np.float32))
    conv_bias = mge.Parameter(np.zeros((1, 8, 1, 1), dtype=np.float32))
    x = F.conv2d(x, conv_weight, conv_bias)
    x = F.relu(x)
    conv_weight = mge.Parameter(np.random.randn(16, 8, 3, 3).astype(np.float32))
    conv_bias = mge.Parameter(np.zeros((1, 16, 1, 1), dtype=np.float32))
    x = F.conv2d(x, conv_weight, conv_bias)
    x = F.relu(x)
    return x


class ConvReLU(M.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv_weight = mge.Parameter(np.random.randn(out_channels, in_channels, 3, 3).astype(np.float32))
        self.conv_bias = mge.Parameter(np.zeros((1, out_channels, 1, 1), dtype=np.float32))
        self.relu = M.ReLU()

    def forward(self, x):
        x = F.conv2d(x, self.conv_weight, self.conv_bias)
        x = self.relu(x)
        return x


class TwoLayerConv(M.Module):
    def __init__(self):
        super().__init__()
        self.conv_relu1 = ConvReLU(3, 8)
        self.conv_relu2 = ConvReLU(8, 16)

    def forward(self, x):
        x = self.conv_relu1(x)
        x = self.conv_relu2(x)
        return x


class LeNet(M.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = M.Conv2d(1, 6, 5)
        self.relu1 = M.ReLU()
        self.pool1 = M.MaxPool2d(2, 2)
        self.conv2 = M.Conv2d(6, 16, 5)
        self.relu2 = M.ReLU()
        self.pool2 = M.MaxPool2d(2, 2)
        self.fc1 = M.Linear(16 * 5 * 5, 120)
        self.relu3 = M.ReLU()
        self.fc2 = M.Linear(120, 84)
        self.relu4 = M.ReLU()
        self.classifier = M.Linear(84, 10)

    def forward(self, x):
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        x = F.flatten(x, 1)
        x = self.relu3(self.fc1(x))
        x = self.relu4(self.fc2(x))
        x = self.classifier(x)
        return x


@pytest.fixture
def images():
    return mge.tensor(np.random.randn(2, 3, 32, 32).astype(np.float32))


def test_network_from_functional(printed, images):
    out = two_layer_conv(images)
    print(out.shape)
    assert printed("(2, 16, 28, 28)")
    assert out.numpy().min() == 0.0


def test_network_from_module(printed, images):
    two_layer_conv_module = TwoLayerConv()
    out = two_layer_conv_module(images)
    print(out.shape)
    assert printed("(2, 16, 28, 28)")


def test_parameters():
    net = TwoLayerConv()
    names = [f"conv_relu{i}.{name}" for i in (1, 2) for name in ("conv_bias", "conv_weight")]
    assert [name for name, _ in net.named_parameters()] == names
    assert all(isinstance(parameter, mge.Parameter) for parameter in net.parameters())
    assert len(list(net.parameters())) == 4


def test_state_dict(capsys):
    conv_relu = ConvReLU(2, 3)
    print(conv_relu.state_dict())
    state = conv_relu.state_dict()
    # The page was printed before Python 3.12, whose repr of an OrderedDict differs; both show the keys in this order.
    assert capsys.readouterr().out == repr(OrderedDict(state)) + "\n"
    assert list(state) == ["conv_bias", "conv_weight"]
    assert repr(state["conv_bias"]) == "array([[[[0.]],\n\n        [[0.]],\n\n        [[0.]]]], dtype=float32)"
    assert state["conv_weight"].shape == (3, 2, 3, 3)
    assert np.array_equal(state["conv_weight"], conv_relu.conv_weight.numpy())


def test_lenet(printed):
    x = mge.tensor(np.random.randn(2, 1, 32, 32).astype(np.float32))
    le_net = LeNet()
    out = le_net(x)
    print(out.shape)
    assert printed("(2, 10)")


def test_flatten_is_a_reshape():
    x = mge.tensor(np.random.randn(2, 16, 5, 5).astype(np.float32))
    assert np.array_equal(F.flatten(x, 1).numpy(), x.reshape(x.shape[0], -1).numpy())


def test_every_parameter_of_lenet_gets_a_gradient():
    net = LeNet()
    x = mge.tensor(np.random.randn(2, 1, 32, 32).astype(np.float32))
    gm = GradManager().attach(net.parameters())
    with gm:
        gm.backward(F.nn.cross_entropy(net(x), mge.tensor([3, 7])))
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.shape == parameter.shape, name
        assert np.abs(parameter.grad.numpy()).sum() > 0, name
