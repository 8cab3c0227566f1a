"""The page about PyTorch's Module, with tengen's names: the MNIST net, registration, attributes, hooks."""

from __future__ import annotations

import numpy as np
import pytest

import tengen as mge
import tengen.functional as F
import tengen.module as M
from tengen.autodiff import GradManager


class Net(M.Module):
    """The page's net; its Dropout2d is Dropout here, `view` is reshape, `log_softmax` is logsoftmax."""

    def __init__(self):
        super().__init__()
        self.conv1 = M.Conv2d(1, 10, kernel_size=5)
        self.conv2 = M.Conv2d(10, 20, kernel_size=5)
        self.conv2_drop = M.Dropout(0.5)
        self.fc1 = M.Linear(320, 50)
        self.fc2 = M.Linear(50, 10)

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        x = x.reshape(-1, 320)
        x = F.relu(self.fc1(x))
        x = F.dropout(x, 0.5, training=self.training)
        x = self.fc2(x)
        return F.logsoftmax(x, 1)


class Bare(M.Module):
    """A module with nothing in it, to try what registers."""

    def forward(self, x):
        return x


@pytest.fixture
def digits():
    return mge.tensor(np.random.randn(4, 1, 28, 28).astype(np.float32))


def test_mnist_net(digits):
    net = Net()
    out = net(digits)
    assert out.shape == (4, 10)
    np.testing.assert_allclose(np.exp(out.numpy()).sum(1), 1.0, rtol=1e-5)


def test_dropout_follows_training(digits):
    net = Net()
    assert net.training and net.conv2_drop.training
    assert not np.array_equal(net(digits).numpy(), net(digits).numpy())
    net.eval()
    assert not net.training and not net.conv2_drop.training
    assert np.array_equal(net(digits).numpy(), net(digits).numpy())
    net.train()
    assert net.conv2_drop.training


def test_what_init_makes_is_what_training_changes(digits):
    net = Net()
    names = [f"{layer}.{kind}" for layer in ("conv1", "conv2", "fc1", "fc2") for kind in ("bias", "weight")]
    assert [name for name, _ in net.named_parameters()] == names
    gm = GradManager().attach(net.parameters())
    with gm:
        out = net(digits)
        gm.backward(-F.mean(F.indexing_one_hot(out, mge.tensor([1, 2, 3, 4]))))
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_forward_must_be_written():
    class Unfinished(M.Module):
        pass

    with pytest.raises((TypeError, NotImplementedError)):
        Unfinished()(mge.tensor([1.0]))


def test_a_member_before_init_is_an_error():
    class Early(M.Module):
        def __init__(self):
            self.weight = mge.Parameter([1.0])
            super().__init__()

        def forward(self, x):
            return x

    class EarlyModule(Early):
        def __init__(self):
            self.fc = M.Linear(1, 1)
            super().__init__()

    for cls in (Early, EarlyModule):
        with pytest.raises(AttributeError):
            cls()


def test_a_parameter_registers_itself_and_a_tensor_is_a_buffer():
    net = Bare()
    net.weight = mge.Parameter([1.0])
    net.mean = mge.tensor([0.0])
    net.note = "not a tensor"
    assert [name for name, _ in net.named_parameters()] == ["weight"]
    assert [name for name, _ in net.named_buffers()] == ["mean"]
    assert list(net.state_dict()) == ["mean", "weight"]


def test_modules_in_a_dict_are_found():
    """The page must register the modules of a dict one by one with setattr; here a dict (or a list) registers them."""
    net = Bare()
    net.local_conv = {str(i + 1): M.Conv2d(32, 32, 3) for i in range(4)}
    net.parts = [M.Linear(2, 2), M.ReLU()]
    names = [name for name, _ in net.named_parameters()]
    assert names == sorted(
        [f"local_conv.{i}.{kind}" for i in "1234" for kind in ("bias", "weight")] + ["parts.0.bias", "parts.0.weight"]
    )


def test_setattr_registers_too():
    net = Bare()
    layers = {i + 1: M.Linear(2, 3) for i in range(4)}
    for i, layer in layers.items():
        setattr(net, f"LocalFullConnectPart{i}", layer)
    assert [name for name, _ in net.named_children()] == [f"LocalFullConnectPart{i}" for i in range(1, 5)]
    assert len(list(net.parameters())) == 8


def test_a_member_can_be_replaced_and_deleted():
    net = Bare()
    net.part = mge.Parameter([1.0])
    net.part = M.Linear(1, 1)
    assert [name for name, _ in net.named_parameters()] == ["part.bias", "part.weight"]
    net.part = None
    assert list(net.parameters()) == [] and net.part is None
    net.part = mge.Parameter([2.0])
    assert [name for name, _ in net.named_parameters()] == ["part"]
    del net.part
    assert not hasattr(net, "part")
    assert list(net.parameters()) == []


def test_forward_hooks():
    net = M.Linear(2, 1)
    calls = []
    pre = net.register_forward_pre_hook(lambda module, inputs: calls.append(("pre", module is net, len(inputs))))
    post = net.register_forward_hook(lambda module, inputs, output: calls.append(("post", output.shape)))
    net(mge.tensor([[1.0, 2.0]]))
    assert calls == [("pre", True, 1), ("post", (1, 1))]
    pre.remove()
    post.remove()
    net(mge.tensor([[1.0, 2.0]]))
    assert len(calls) == 2


def test_hooks_may_change_inputs_and_output():
    net = M.Identity()
    net.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))
    net.register_forward_hook(lambda module, inputs, output: output * 10)
    assert net(mge.tensor([1.0])).item() == 20.0
