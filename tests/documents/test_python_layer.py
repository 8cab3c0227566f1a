"""The page "The Python layer": functional (builtin and apply), module, optimizer. Pictured programs are written out."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest

import tengen as mge
import tengen.functional as F
import tengen.module as M
import tengen.optimizer as optim
from tengen.autodiff import GradManager


class Scale(M.Module):
    """The page's module: one parameter with a fixed start, multiplied in forward."""

    def __init__(self, start=1.23):
        super().__init__()
        self.a = mge.Parameter(start)

    def forward(self, x):
        return x * self.a


class Net(M.Module):
    def __init__(self):
        super().__init__()
        self.conv = M.Conv2d(1, 2, 3, bias=False)
        self.bn = M.BatchNorm2d(2)
        self.scale = Scale()

    def forward(self, x):
        return self.scale(self.bn(self.conv(x)))


def test_concat_diag_and_squeeze():
    a, b = mge.tensor([[1.0, 2.0]]), mge.tensor([[3.0, 4.0]])
    assert F.concat([a, b]).numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert F.concat([a], axis=1).numpy().tolist() == [[1.0, 2.0]]
    assert F.diag(mge.tensor([1, 2])).numpy().tolist() == [[1, 0], [0, 2]]
    assert F.squeeze(a).shape == (2,)


def test_module_multiplies_by_its_parameter():
    net = Scale()
    assert isinstance(net.a, mge.Parameter)
    assert net(mge.tensor(2.0)).item() == pytest.approx(2.46)
    assert [name for name, _ in net.named_parameters()] == ["a"]


def test_buffers_parameters_and_tensors():
    net = Net()
    buffers = ["bn.running_mean", "bn.running_var"]
    parameters = ["bn.bias", "bn.weight", "conv.weight", "scale.a"]
    assert [name for name, _ in net.named_buffers()] == buffers
    assert [name for name, _ in net.named_parameters()] == parameters
    assert [name for name, _ in net.named_tensors()] == sorted(buffers + parameters)
    assert len(list(net.buffers())) == 2
    assert len(list(net.parameters())) == 4
    assert len(list(net.tensors())) == 6
    assert list(net.parameters(recursive=False)) == []
    assert [name for name, _ in net.named_parameters(prefix="net")] == [f"net.{name}" for name in parameters]


def test_modules_and_children():
    net = Net()
    assert [name for name, _ in net.named_modules()] == ["", "bn", "conv", "scale"]
    assert [name for name, _ in net.named_children()] == ["bn", "conv", "scale"]
    assert [type(child).__name__ for child in net.children()] == ["BatchNorm2d", "Conv2d", "Scale"]


def test_state_dict_is_read_only_arrays():
    state = Net().state_dict()
    assert isinstance(state, OrderedDict)
    assert sorted(state) == ["bn.bias", "bn.running_mean", "bn.running_var", "bn.weight", "conv.weight", "scale.a"]
    for value in state.values():
        assert isinstance(value, np.ndarray)
        with pytest.raises(ValueError, match="read-only"):
            value[...] = 0


def test_load_state_dict():
    source, target = Net(), Net()
    target.load_state_dict(source.state_dict())
    assert np.array_equal(target.conv.weight.numpy(), source.conv.weight.numpy())
    target.load_state_dict(lambda key, var: np.zeros(var.shape, np.float32))
    assert not target.conv.weight.numpy().any()
    with pytest.raises(KeyError):
        target.load_state_dict({})


def test_buffers_are_not_updated_by_gradients():
    net = Net()
    gm = GradManager().attach(net.parameters())
    before = net.bn.running_mean.numpy().copy()
    with gm:
        gm.backward(net(mge.tensor(np.random.randn(2, 1, 5, 5).astype(np.float32))).sum())
    optim.SGD(net.parameters(), lr=0.1).step()
    assert net.bn.running_mean.grad is None
    assert not np.array_equal(net.bn.running_mean.numpy(), before), "training updates the statistics"
    after = net.bn.running_mean.numpy().copy()
    net.eval()
    net(mge.tensor(np.random.randn(2, 1, 5, 5).astype(np.float32)))
    assert np.array_equal(net.bn.running_mean.numpy(), after), "evaluation leaves them"


def test_optimizer_flow():
    model = Scale(3.0)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    gm = GradManager().attach(model.parameters())
    values = []
    for _ in range(3):
        with gm:
            loss = F.nn.square_loss(model(mge.tensor([1.0])), mge.tensor([0.0]))
            gm.backward(loss)
        optimizer.step()
        optimizer.clear_grad()
        values.append(model.a.item())
        assert model.a.grad is None
    assert values == pytest.approx([3.0 * 0.8, 3.0 * 0.8**2, 3.0 * 0.8**3])


def test_gradients_accumulate_until_cleared():
    model = Scale(3.0)
    gm = GradManager().attach(model.parameters())
    for count in (1, 2, 3):
        with gm:
            gm.backward(model(mge.tensor(5.0)))
        assert model.a.grad.item() == pytest.approx(5.0 * count)
    optim.SGD(model.parameters(), lr=0.1).clear_grad()
    assert model.a.grad is None


def test_an_optimizer_of_the_user():
    class SignSGD(optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        def _create_state(self, param_group):
            pass

        def _updates(self, param_group):
            for param in param_group["params"]:
                if param.grad is not None:
                    param -= param_group["lr"] * F.sign(param.grad)

    w = mge.Parameter([1.0, -1.0])
    optimizer = SignSGD([w], lr=0.25)
    w.grad = mge.tensor([3.0, -7.0])
    optimizer.step()
    assert w.numpy().tolist() == [0.75, -0.75]


def test_builtin_and_apply():
    """The page: `builtin.SomeOp(param)` is an operator, `apply(op, *tensors)` runs it."""
    from tengen.core import apply
    from tengen.core.ops import builtin

    a, b = mge.tensor([1.0, 2.0]), mge.tensor([3.0])
    assert _one(apply(builtin.Concat(axis=0), a, b)).numpy().tolist() == [1.0, 2.0, 3.0]
    assert _one(apply(builtin.Diag(k=0), a)).numpy().tolist() == [[1.0, 0.0], [0.0, 2.0]]
    assert _one(apply(builtin.Elemwise(mode="ADD"), a, b)).numpy().tolist() == [4.0, 5.0]


def _one(result):
    """The only output, from an apply that returns it alone or in a sequence."""
    return result[0] if isinstance(result, (tuple, list)) else result
