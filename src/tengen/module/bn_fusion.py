"""Batch normalisation folded into the layer before it, for inference. `utils.bn_fusion` has the names for users."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np

from .. import functional as F
from .. import module as M
from ..core import Parameter, Tensor
from ..module import Module

_WITH_RELU: dict[type[Module], type[Module]] = {
    M.Conv2d: M.ConvRelu2d,
    M.ConvTranspose2d: M.ConvTransposeRelu2d,
    M.Linear: M.LinearRelu,
}
# For training: (the layer, its name in there) by whether there is a ReLU.
_TRAINED: dict[tuple[type[Module], bool], tuple[type[Module], str]] = {
    (M.Conv2d, False): (M.ConvBn2d, "conv"),
    (M.Conv2d, True): (M.ConvBnRelu2d, "conv"),
    (M.ConvTranspose2d, False): (M.ConvTransposeBn2d, "conv_transpose2d"),
    (M.ConvTranspose2d, True): (M.ConvTransposeBnRelu2d, "conv_transpose2d"),
    (M.Linear, False): (M.LinearBn1d, "linear"),
    (M.Linear, True): (M.LinearBnRelu1d, "linear"),
}


def fold_weight_bias(
    weight: Tensor,
    bias: Tensor | None,
    gamma: Tensor | None,
    beta: Tensor | None,
    bn_mean: Tensor,
    bn_var: Tensor,
    eps: float = 1e-5,
    transpose: bool = False,
) -> tuple[Tensor, Tensor]:
    """The weight and bias of a convolution that does what a convolution and a batch normalisation with given statistics do.

    Args:
        weight, bias: of the convolution: (out, in, …) or (groups, out, in, …); (in, out, …) and (groups, in, out, …) if transposed.
        gamma, beta, bn_mean, bn_var: weight, bias and statistics of the normalisation, one number for each output channel.
        eps: is added to the variance.
        transpose: the convolution is a transposed one.

    Returns (weight of the same shape, bias (1, out, 1, 1)). Source: gamma · (w x + b - mean) / √(var + eps) + beta.

    >>> fold = fold_weight_bias(F.ones((1, 1, 1, 1)), None, None, None, tengen.tensor([2.0]), tengen.tensor([4.0]), eps=0.0)
    >>> [value.item() for value in fold]
    [0.5, -1.0]
    """
    shape = (1, -1, 1, 1)
    mean, var = bn_mean.reshape(shape), bn_var.reshape(shape)
    zeros, ones = F.zeros_like(mean), F.ones_like(mean)
    scale = (ones if gamma is None else gamma.reshape(shape)) / F.sqrt(var + eps)
    groups = (weight.shape[0],) if weight.ndim == 5 else ()
    by_channel = (*groups, *((1, -1) if transpose else (-1, 1)), 1, 1)
    shift = ((zeros if bias is None else bias.reshape(shape)) - mean) * scale
    return weight * scale.reshape(*by_channel), shift + (zeros if beta is None else beta.reshape(shape))


def fuse_conv_bn_relu_module(conv: Any, bn: M.BatchNorm2d | None, relu: M.ReLU | None) -> Module:
    """One layer that does what a Conv2d or ConvTranspose2d, a BatchNorm2d and a ReLU do one after the other.

    In evaluation mode the normalisation is folded into the weights: a Conv2d or ConvRelu2d. In training mode, where its statistics change, it
    stays a part of a ConvBn2d or ConvBnRelu2d. The layers that are given stay as they are.

    Args:
        conv: the convolution.
        bn: the normalisation after it, or None.
        relu: the ReLU after that, or None.

    Raises TypeError for layers of other classes, ValueError if the modes differ or there are no statistics.

    >>> net = M.Sequential(M.Conv2d(1, 2, 1), M.BatchNorm2d(2), M.ReLU())
    >>> net.eval()
    >>> fuse_conv_bn_relu_module(net[0], net[1], net[2])
    ConvRelu2d(1, 2, kernel_size=(1, 1))
    """
    return _fuse(conv, bn, relu, (M.Conv2d, M.ConvTranspose2d), M.BatchNorm2d)


def fuse_linear_bn_relu_module(linear: M.Linear, bn: M.BatchNorm1d | None, relu: M.ReLU | None) -> Module:
    """One layer that does what a Linear, a BatchNorm1d and a ReLU do one after the other; see `fuse_conv_bn_relu_module`."""
    return _fuse(linear, bn, relu, (M.Linear,), M.BatchNorm1d)


def _fuse(layer: Any, bn: Any, relu: Any, kinds: tuple[type[Module], ...], norm: type[Module]) -> Module:
    for module, allowed in ((layer, kinds), (bn, (norm, type(None))), (relu, (M.ReLU, type(None)))):
        if type(module) not in allowed:
            names = " or ".join("None" if kind is type(None) else kind.__name__ for kind in allowed)
            raise TypeError(f"what is fused is a {names}, got a {type(module).__name__}")
    if bn is not None and bn.training != layer.training:
        raise ValueError(
            f"the {type(layer).__name__} and its normalisation are in different modes: call eval() of the network"
        )
    if bn is not None and bn.training:
        kind, name = _TRAINED[type(layer), relu is not None]
        sizes = (
            (layer.in_features, layer.out_features) if name == "linear" else (layer.in_channels, layer.out_channels, 1)
        )
        fused: Any = kind(*sizes)
        setattr(fused, name, deepcopy(layer))
        fused.bn = deepcopy(bn)
        return fused
    fused = deepcopy(layer)
    if relu is not None:
        fused.__class__ = _WITH_RELU[type(layer)]  # which adds nothing but the function
    if bn is not None:
        _fold(fused, bn)
    return fused


def _fold(layer: Any, bn: Any) -> None:
    if bn.running_mean is None:
        raise ValueError("a normalisation without running statistics cannot be folded into the layer before it")
    weight, bias = layer.weight, layer.bias
    linear = isinstance(layer, M.Linear)
    if linear:
        weight = weight.reshape(*weight.shape, 1, 1)
    transposed = isinstance(layer, M.ConvTranspose2d)
    made = fold_weight_bias(weight, bias, bn.weight, bn.bias, bn.running_mean, bn.running_var, bn.eps, transposed)
    layer.weight = Parameter(np.array(made[0].reshape(layer.weight.shape).numpy()), device=str(layer.weight.device))
    shape = (layer.out_features,) if linear else tuple(made[1].shape)
    layer.bias = Parameter(np.array(made[1].reshape(shape).numpy()), device=str(layer.weight.device))
