"""Dive into Deep Learning, "Deep learning computation", with tengen's names: blocks, parameters, own layers, files."""

from __future__ import annotations

import numpy as np
import pytest

import tengen as mge
import tengen.functional as F
import tengen.module as M
from tengen.autodiff import GradManager
from tengen.module import init


def rand(*shape):
    return mge.random.uniform(size=shape)


class MLP(M.Module):
    def __init__(self):
        super().__init__()
        self.hidden = M.Linear(20, 256)
        self.out = M.Linear(256, 10)

    def forward(self, X):
        return self.out(F.relu(self.hidden(X)))


class MySequential(M.Module):
    def __init__(self, *args):
        super().__init__()
        self.blocks = {str(idx): module for idx, module in enumerate(args)}

    def forward(self, X):
        for block in self.blocks.values():
            X = block(X)
        return X


class FixedHiddenMLP(M.Module):
    def __init__(self):
        super().__init__()
        # A random weight that no gradient reaches: it stays as it is during training.
        self.rand_weight = rand(20, 20)
        self.linear = M.Linear(20, 20)

    def forward(self, X):
        X = self.linear(X)
        X = F.relu(F.matmul(X, self.rand_weight) + 1)
        X = self.linear(X)
        while F.abs(X).sum() > 1:
            X /= 2
        return X.sum()


class NestMLP(M.Module):
    def __init__(self):
        super().__init__()
        self.net = M.Sequential(M.Linear(20, 64), M.ReLU(), M.Linear(64, 32), M.ReLU())
        self.linear = M.Linear(32, 16)

    def forward(self, X):
        return self.linear(self.net(X))


class CenteredLayer(M.Module):
    def forward(self, X):
        return X - X.mean()


class MyLinear(M.Module):
    def __init__(self, in_units, units):
        super().__init__()
        self.weight = mge.Parameter(np.random.randn(in_units, units).astype(np.float32))
        self.bias = mge.Parameter(np.random.randn(units).astype(np.float32))

    def forward(self, X):
        return F.relu(F.matmul(X, self.weight) + self.bias)


def test_sequential():
    net = M.Sequential(M.Linear(20, 256), M.ReLU(), M.Linear(256, 10))
    X = rand(2, 20)
    assert net(X).shape == (2, 10)
    np.testing.assert_allclose(net(X).numpy(), net[2](F.relu(net[0](X))).numpy(), rtol=1e-6)


def test_mlp_block():
    net = MLP()
    assert net(rand(2, 20)).shape == (2, 10)
    assert [name for name, _ in net.named_parameters()] == ["hidden.bias", "hidden.weight", "out.bias", "out.weight"]


def test_my_sequential():
    net = MySequential(M.Linear(20, 256), M.ReLU(), M.Linear(256, 10))
    X = rand(2, 20)
    assert net(X).shape == (2, 10)
    assert len(list(net.parameters())) == 4
    np.testing.assert_allclose(net(X).numpy(), M.Sequential(*net.blocks.values())(X).numpy(), rtol=1e-6)


def test_control_flow_in_forward():
    net = FixedHiddenMLP()
    before = net.rand_weight.numpy().copy()
    gm = GradManager().attach(net.parameters())
    with gm:
        out = net(rand(2, 20))
        gm.backward(out)
    assert out.shape == ()
    assert abs(out.item()) <= 1.0
    assert net.linear.weight.grad.shape == (20, 20)
    assert net.rand_weight.grad is None
    assert np.array_equal(net.rand_weight.numpy(), before)


def test_blocks_nest():
    chimera = M.Sequential(NestMLP(), M.Linear(16, 20), FixedHiddenMLP())
    assert chimera(rand(2, 20)).shape == ()


def test_parameter_access():
    net = M.Sequential(M.Linear(4, 8), M.ReLU(), M.Linear(8, 1))
    assert net(rand(2, 4)).shape == (2, 1)
    state = net[2].state_dict()
    assert {name: value.shape for name, value in state.items()} == {"weight": (1, 8), "bias": (1,)}
    assert all(value.dtype == np.float32 for value in state.values())
    assert isinstance(net[2].bias, mge.Parameter)
    assert net[2].weight.grad is None
    assert [name for name, _ in net.named_parameters()] == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert np.array_equal(net.state_dict()["2.bias"], net[2].bias.numpy())


def test_initialise_normal_and_constant():
    net = M.Sequential(M.Linear(400, 80), M.ReLU(), M.Linear(80, 1))

    def init_normal(m):
        if type(m) is M.Linear:
            init.normal_(m.weight, mean=0, std=0.01)
            init.zeros_(m.bias)

    def init_constant(m):
        if type(m) is M.Linear:
            init.fill_(m.weight, 1)
            init.zeros_(m.bias)

    net.apply(init_normal)
    assert net[0].weight.numpy().std() == pytest.approx(0.01, rel=0.1)
    assert not net[0].bias.numpy().any()
    net.apply(init_constant)
    assert (net[0].weight.numpy() == 1).all() and (net[2].weight.numpy() == 1).all()


def test_initialise_blocks_differently():
    net = M.Sequential(M.Linear(4, 8), M.ReLU(), M.Linear(8, 1))

    def init_xavier(m):
        if type(m) is M.Linear:
            init.xavier_uniform_(m.weight)

    def init_42(m):
        if type(m) is M.Linear:
            init.fill_(m.weight, 42)

    net[0].apply(init_xavier)
    net[2].apply(init_42)
    assert np.abs(net[0].weight.numpy()).max() <= np.sqrt(6 / 12)
    assert len(np.unique(net[0].weight.numpy())) > 1
    assert (net[2].weight.numpy() == 42).all()


def test_set_parameters_directly():
    net = M.Sequential(M.Linear(4, 8), M.ReLU())
    before = net[0].weight.numpy().copy()
    net[0].weight[:] += 1
    np.testing.assert_allclose(net[0].weight.numpy(), before + 1, rtol=1e-6)
    net[0].weight[0, 0] = 42
    assert net[0].weight.numpy()[0, 0] == 42
    assert net[0].weight.numpy()[0, 1] == pytest.approx(before[0, 1] + 1)
    assert isinstance(net[0].weight, mge.Parameter)
    assert len(list(net.parameters())) == 2


def test_shared_layer():
    shared = M.Linear(8, 8)
    net = M.Sequential(M.Linear(4, 8), M.ReLU(), shared, M.ReLU(), shared, M.ReLU(), M.Linear(8, 1))
    net(rand(2, 4))
    assert net[2] is net[4]
    net[2].weight[0, 0] = 100
    assert net[4].weight.numpy()[0, 0] == 100
    assert len(list(net.parameters())) == 6


def test_gradients_of_a_shared_layer_add_up():
    shared = M.Linear(1, 1, bias=False)
    shared.weight.set_value(np.array([[3.0]], np.float32))
    net = M.Sequential(shared, shared)
    gm = GradManager().attach(net.parameters())
    with gm:
        gm.backward(net(mge.tensor([[2.0]])))  # w² · 2, whose derivative is 4w
    assert shared.weight.grad.item() == pytest.approx(12.0)


def test_layer_without_parameters():
    layer = CenteredLayer()
    assert layer(mge.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).numpy().tolist() == [-2.0, -1.0, 0.0, 1.0, 2.0]
    net = M.Sequential(M.Linear(8, 128), CenteredLayer())
    assert abs(net(rand(4, 8)).mean().item()) < 1e-6


def test_layer_with_parameters():
    linear = MyLinear(5, 3)
    assert linear.weight.shape == (5, 3)
    out = linear(rand(2, 5))
    assert out.shape == (2, 3) and out.numpy().min() >= 0
    net = M.Sequential(MyLinear(64, 8), MyLinear(8, 1))
    assert net(rand(2, 64)).shape == (2, 1)
    assert [name for name, _ in net.named_parameters()] == ["0.bias", "0.weight", "1.bias", "1.weight"]


def test_save_and_load_a_tensor(tmp_path):
    x = F.arange(4)
    mge.save(x, str(tmp_path / "x-file"))
    x2 = mge.load(str(tmp_path / "x-file"))
    assert isinstance(x2, mge.Tensor)
    assert x2.numpy().tolist() == [0.0, 1.0, 2.0, 3.0]


def test_save_and_load_a_list(tmp_path):
    x, y = F.arange(4), F.zeros(4)
    mge.save([x, y], str(tmp_path / "x-files"))
    x2, y2 = mge.load(str(tmp_path / "x-files"))
    assert (x2.numpy().tolist(), y2.numpy().tolist()) == ([0.0, 1.0, 2.0, 3.0], [0.0] * 4)


def test_save_and_load_a_dict(tmp_path):
    mydict = {"x": F.arange(4), "y": F.zeros(4)}
    mge.save(mydict, str(tmp_path / "mydict"))
    mydict2 = mge.load(str(tmp_path / "mydict"))
    assert list(mydict2) == ["x", "y"]
    assert mydict2["x"].numpy().tolist() == [0.0, 1.0, 2.0, 3.0]


def test_save_and_load_parameters(tmp_path):
    net = MLP()
    X = rand(2, 20)
    Y = net(X)
    mge.save(net.state_dict(), str(tmp_path / "mlp.params"))

    clone = MLP()
    clone.load_state_dict(mge.load(str(tmp_path / "mlp.params")))
    clone.eval()
    assert not clone.training
    assert np.array_equal(clone(X).numpy(), Y.numpy())
