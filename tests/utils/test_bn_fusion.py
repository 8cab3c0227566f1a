"""bn_fusion: figures by hand, and the fused layer next to the separate ones."""

from __future__ import annotations

import numpy as np
import pytest

import tengen.module as M
from tengen import Parameter, Tensor
from tengen.utils.bn_fusion import fold_weight_bias, fuse_conv_bn_relu_module, fuse_linear_bn_relu_module

LAYERS = {
    "conv": (lambda: M.Conv2d(4, 6, 3, 2, 1), M.BatchNorm2d),
    "grouped": (lambda: M.Conv2d(4, 6, 3, groups=2, bias=False), M.BatchNorm2d),
    "reflect": (lambda: M.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), M.BatchNorm2d),
    "transposed": (lambda: M.ConvTranspose2d(4, 6, 3, 2), M.BatchNorm2d),
    "transposed grouped": (lambda: M.ConvTranspose2d(4, 6, 3, groups=2), M.BatchNorm2d),
    "linear": (lambda: M.Linear(4, 6), M.BatchNorm1d),
}


def randomised(*modules):
    rng = np.random.default_rng(0)
    for module in modules:
        for tensor in module.tensors():
            tensor.set_value(rng.uniform(0.5, 1.5, tensor.shape).astype(np.float32))
        module.eval()


def test_folding():
    w = Tensor(np.arange(1, 17, dtype=np.float32).reshape(2, 2, 2, 2))
    gamma, beta, mean, var = (Tensor(values) for values in ([3.0, 4.0], [5.0, 6.0], [0.5, 0.25], [4.0, 9.0]))
    scale = np.array([3 / 2, 4 / 3])
    for transpose, by_channel in ((False, scale[:, None, None, None]), (True, scale[None, :, None, None])):
        weight, bias = fold_weight_bias(w, Tensor([1.0, 2.0]), gamma, beta, mean, var, 0.0, transpose)
        np.testing.assert_allclose(weight.numpy(), w.numpy() * by_channel, rtol=1e-6)
        assert bias.shape == (1, 2, 1, 1)
        np.testing.assert_allclose(bias.numpy().ravel(), [5.75, 2.0 * 4 / 3 - 0.25 * 4 / 3 + 6], rtol=1e-6)


@pytest.mark.parametrize("relu", [None, M.ReLU()], ids=["", "relu"])
@pytest.mark.parametrize("name", LAYERS)
def test_it_does_what_the_layers_do(name, relu):
    make, norm = LAYERS[name]
    layer, bn = make(), norm(6)
    randomised(layer, bn)
    bn.bias.set_value(bn.bias.numpy() - 4)  # so that ReLU has something to do
    x = Tensor(
        np.random.default_rng(1).normal(size=(2, 4, 5, 5) if layer.weight.ndim > 2 else (2, 4)).astype(np.float32)
    )
    want = bn(layer(x))
    fused = (fuse_linear_bn_relu_module if name == "linear" else fuse_conv_bn_relu_module)(layer, bn, relu)
    assert isinstance(fused, type(layer)) and type(fused).__name__ == type(layer).__name__.replace("2d", "Relu2d" if relu else "2d") + (
        "Relu" if relu and name == "linear" else "")  # fmt: skip
    assert isinstance(fused.weight, Parameter) and isinstance(fused.bias, Parameter)
    assert not fused.training
    np.testing.assert_allclose(fused(x).numpy(), (M.ReLU()(want) if relu else want).numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(bn(layer(x)).numpy(), want.numpy())


def test_without_scale_and_without_normalisation():
    conv, bn = M.Conv2d(2, 3, 1), M.BatchNorm2d(3, affine=False)
    randomised(conv, bn)
    x = Tensor(np.ones((1, 2, 2, 2), np.float32))
    np.testing.assert_allclose(fuse_conv_bn_relu_module(conv, bn, None)(x).numpy(), bn(conv(x)).numpy(), rtol=1e-5)
    alone = fuse_conv_bn_relu_module(conv, None, M.ReLU())
    assert type(alone) is M.ConvRelu2d
    assert type(fuse_conv_bn_relu_module(conv, None, None)) is M.Conv2d
    assert alone.weight is not conv.weight


@pytest.mark.parametrize(
    "layer, bn, kinds",
    [
        (M.Conv2d(2, 3, 1), M.BatchNorm2d(3), (M.ConvBn2d, M.ConvBnRelu2d)),
        (M.ConvTranspose2d(2, 3, 1), M.BatchNorm2d(3), (M.ConvTransposeBn2d, M.ConvTransposeBnRelu2d)),
        (M.Linear(2, 3), M.BatchNorm1d(3), (M.LinearBn1d, M.LinearBnRelu1d)),
    ],
)
def test_in_training_both_stay(layer, bn, kinds):
    fuse = fuse_linear_bn_relu_module if isinstance(layer, M.Linear) else fuse_conv_bn_relu_module
    x = Tensor(
        np.random.default_rng(1).normal(size=(4, 2, 2, 2) if layer.weight.ndim > 2 else (4, 2)).astype(np.float32)
    )
    for relu, kind in zip((None, M.ReLU()), kinds, strict=True):
        fused = fuse(layer, bn, relu)
        assert type(fused) is kind and fused.training
        want = bn(layer(x))
        np.testing.assert_allclose(fused(x).numpy(), (M.ReLU()(want) if relu else want).numpy(), rtol=1e-5, atol=1e-6)


def test_what_is_refused():
    conv, bn = M.Conv2d(2, 3, 1), M.BatchNorm2d(3, track_running_stats=False)
    with pytest.raises(TypeError, match="BatchNorm2d or None, got a BatchNorm1d"):
        fuse_conv_bn_relu_module(conv, M.BatchNorm1d(3), None)
    with pytest.raises(TypeError, match="Linear, got a Conv2d"):
        fuse_linear_bn_relu_module(conv, None, None)
    conv.eval()
    with pytest.raises(ValueError, match="different modes"):
        fuse_conv_bn_relu_module(conv, bn, None)
    bn.eval()
    with pytest.raises(ValueError, match="without running statistics"):
        fuse_conv_bn_relu_module(conv, bn, None)
