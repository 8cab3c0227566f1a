"""optimize: the same results in fewer steps."""

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen.traced_module import optimize, trace_module


class Net(M.Module):
    def __init__(self, groups=1, bias=True):
        super().__init__()
        self.conv = M.Conv2d(4, 4, 3, groups=groups, bias=bias)
        self.bn = M.BatchNorm2d(4)
        self.inner = M.Sequential(M.Conv2d(4, 4, 1, bias=False), M.BatchNorm2d(4))
        for bn in (self.bn, self.inner[1]):
            bn.running_mean.set_value(np.linspace(-1, 1, 4, dtype=np.float32).reshape(bn.running_mean.shape))
            bn.running_var.set_value(np.linspace(0.5, 2, 4, dtype=np.float32).reshape(bn.running_var.shape))
            bn.weight.set_value(np.linspace(0.5, -2, 4, dtype=np.float32).reshape(bn.weight.shape))
            bn.bias.set_value(np.linspace(1, 0, 4, dtype=np.float32).reshape(bn.bias.shape))

    def forward(self, x):
        return F.relu(self.inner(F.relu(self.bn(self.conv(x)))))


X = tengen.tensor(np.random.default_rng(0).normal(size=(2, 4, 5, 5)).astype(np.float32))


@pytest.mark.parametrize(("groups", "bias"), [(1, True), (2, False), (4, True)])
def test_batch_normalisation_goes_into_the_convolution(groups, bias):
    net = Net(groups, bias)
    net.eval()
    traced = trace_module(net, X)
    fused = optimize(traced)
    assert not list(fused.graph.get_module_by_type(M.BatchNorm2d))
    assert [name for name, _ in fused.named_modules()] == ["", "conv", "inner", "inner.0"]
    np.testing.assert_allclose(fused(X).numpy(), net(X).numpy(), rtol=1e-4, atol=1e-5)
    assert len(list(traced.graph.get_module_by_type(M.BatchNorm2d))) == 2


def test_batch_normalisation_in_training_stays():
    assert list(optimize(trace_module(Net(), X)).graph.get_module_by_type(M.BatchNorm2d))


def test_a_convolution_that_is_read_twice_or_called_twice_stays():
    class Twice(Net):
        def forward(self, x):
            y = self.conv(x)
            return self.bn(y) + y, self.inner(self.inner(x))

    net = Twice()
    net.eval()
    fused = optimize(trace_module(net, X))
    assert len(fused.graph.get_module_by_type(M.BatchNorm2d).as_list()) == 1  # inner is one graph, called twice
    for ours, wanted in zip(fused(X), net(X), strict=True):
        np.testing.assert_allclose(ours.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_numbers_are_joined_and_factors_go_into_weights():
    class Numbers(M.Module):
        def __init__(self):
            super().__init__()
            self.linear = M.Linear(3, 2)

        def forward(self, x):
            return 3 * (self.linear(x + 1 + 2) * 2)

    net, x = Numbers(), tengen.tensor([[1.0, -2.0, 3.0]])
    made = optimize(trace_module(net, x), ["FuseAddMul", "BackwardFoldScale"])
    assert [expr.method for expr in made.graph.get_method_by_type()] == ["__add__", "__call__"]
    np.testing.assert_allclose(made(x).numpy(), net(x).numpy(), rtol=1e-5)


def test_unknown_passes_are_refused():
    traced = trace_module(M.Sequential(M.ReLU()), X)
    with pytest.raises(
        ValueError, match="'Nothing' is not a pass; there are FuseConvBn, FuseAddMul, BackwardFoldScale"
    ):
        optimize(traced, "Nothing")
    with pytest.raises(TypeError, match="call trace_module first"):
        optimize(M.ReLU())
