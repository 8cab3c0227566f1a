"""Convolutions, pooling, normalisation, recurrent layers and attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tengen.functional as F

from ...... import _rt
from ......core.ops import builtin as ours
from ......core.ops import fake_quant
from ......random.rng import default_generator
from .helpers import channels_first, gradient, kept, shape_of, steps

__all__: list[str] = []

_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda y: y, "relu": F.relu, "sigmoid": F.sigmoid, "h_swish": F.hswish
}  # fmt: skip
_CONVOLUTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "hw": (F.conv2d, F.conv_transpose2d),
    "dhw": (F.conv3d, F.conv_transpose3d),
}
_NORMALIZED = {"DIM_1C11": (0, 2, 3), "DIM_111C": (0, 1, 2), "DIM_11HW": (0, 1), "DIM_1CHW": (0,)}

# -- convolutions. `strategy` and `compute_mode` have no effect: sums are kept in float32 or wider.


def _geometry(op: Any, dims: str = "hw") -> Any:
    return steps(op, "stride", dims), steps(op, "pad", dims), steps(op, "dilate", dims)


def _groups(op: Any, weight: Any, axis: int = 0) -> int:
    return int(weight.shape[axis]) if op.sparse == "GROUP" else 1


def _kernel(op: Any, weight: Any, dims: str = "hw") -> Any:
    """The weight as tengen has it: channels before the window, which is not mirrored."""
    size = len(dims)
    if channels_first(op, weight)[0] is not weight:
        lead = weight.ndim - size - 1
        weight = F.transpose(weight, (*range(lead), weight.ndim - 1, *range(lead, weight.ndim - 1)))
    if op.mode == "CONVOLUTION":
        mirrored: Any = (..., *[slice(None, None, -1)] * size)
        weight = weight[mirrored]
    return weight


def _convolution(op: Any, x: Any, weight: Any, *bias: Any, dims: str = "hw") -> Any:
    x, back = channels_first(op, x)
    forward, _ = _CONVOLUTIONS[dims]
    return back(forward(x, _kernel(op, weight, dims), *(bias or [None]), *_geometry(op, dims), _groups(op, weight)))


def _convolution_backward(op: Any, weight: Any, dy: Any, *shape: Any, dims: str = "hw") -> Any:
    """By data. `shape`, if given, is that of the input; inputs of several shapes give results of one size."""
    dy, back = channels_first(op, dy)
    kernel, (stride, pad, dilate) = _kernel(op, weight, dims), _geometry(op, dims)
    extra: tuple[int, ...] = (0,) * len(dims)
    if shape:
        whole = [int(n) for n in shape[0].numpy()]
        wanted = whole[2:] if op.format.name.startswith("NC") else whole[1:-1]
        taps = zip(dy.shape[2:], kernel.shape[-len(dims) :], stride, pad, dilate, wanted, strict=True)
        extra = tuple(want - ((n - 1) * s - 2 * p + d * (k - 1) + 1) for n, k, s, p, d, want in taps)
        if any(not 0 <= e < max(s, 1) for e, s in zip(extra, stride, strict=True)):
            raise ValueError(
                f"{op!r}: a result of shape {tuple(dy.shape)} is not that of an input of shape {tuple(whole)}"
            )
    _, transposed = _CONVOLUTIONS[dims]
    made = back(transposed(dy, kernel, None, stride, pad, extra, dilation=dilate, groups=_groups(op, weight)))
    return made if getattr(op, "dtype", None) is None else made.astype(op.dtype)


def _convolution3d(op: Any, x: Any, weight: Any) -> Any:
    return _convolution(op, x, weight, dims="dhw")


def _convolution3d_backward(op: Any, weight: Any, dy: Any, *shape: Any) -> Any:
    return _convolution_backward(op, weight, dy, *shape, dims="dhw")


def _conv_bias(op: Any, x: Any, weight: Any, bias: Any = None, added: Any = None, convolve: Any = None) -> Any:
    """An activation of the sum of a convolution, a bias, and a further input."""
    x, back = channels_first(op, x)
    bias = None if bias is None else channels_first(op, bias)[0]
    end = op.nonlineMode.name.lower()
    how = op.dtype, *_geometry(op), _groups(op, weight, convolve is not None)
    convolve = convolve or F.quantized.conv_bias_activation
    if added is None:
        return back(convolve(x, _kernel(op, weight), bias, *how, end))
    return _ACTIVATIONS[end](back(convolve(x, _kernel(op, weight), bias, *how)) + added)


def _batch_conv_bias(op: Any, x: Any, weight: Any, *rest: Any) -> Any:
    bias, added = (*rest, None, None)[:2]
    return _conv_bias(op, x, weight, bias, added, _of_each_image)


def _of_each_image(x: Any, weight: Any, bias: Any, dtype: Any, *how: Any) -> Any:
    bias = F.zeros((1, weight[0].size // np.prod(weight.shape[-3:]), 1, 1)) if bias is None else bias
    return F.quantized.batch_conv_bias_activation(x, weight, bias, dtype, *how)


def _local(op: Any, x: Any, weight: Any) -> Any:
    stride, pad, dilate = _geometry(op)
    return F.local_conv2d(x, weight, None, stride, pad, dilate)


def _region_restricted(op: Any, x: Any, weight: Any, rin: Any, rout: Any) -> Any:
    stride, pad, dilate = _geometry(op)
    return F.region_restricted_conv(x, weight, rin, rout, None, stride, pad, dilate, _groups(op, weight))


def _region_restricted_backward(op: Any, weight: Any, dy: Any, rin: Any, rout: Any, *_: Any) -> Any:
    channels = weight.shape[-3] * _groups(op, weight)
    x = F.zeros((dy.shape[0], channels, *rin.shape[1:]), dtype=dy.dtype)
    return gradient(lambda x: _region_restricted(op, x, weight, rin, rout), x, dy)


def _deformable(op: Any, x: Any, weight: Any, offset: Any, mask: Any) -> Any:
    stride, pad, dilate = _geometry(op)
    return F.deformable_conv2d(x, _kernel(op, weight), offset, mask, None, stride, pad, dilate, _groups(op, weight))


# -- pooling, and windows


def _pooling(op: Any, x: Any) -> Any:
    x, back = channels_first(op, x)
    geometry = steps(op, "window"), steps(op, "stride"), steps(op, "pad")
    return back(
        F.max_pool2d(x, *geometry) if op.mode == "MAX" else F.avg_pool2d(x, *geometry, mode=op.mode.name.lower())
    )


def _adaptive_pooling(op: Any, x: Any, *shape: Any) -> Any:
    x, back = channels_first(op, x)
    pool = F.adaptive_max_pool2d if op.mode == "MAX" else F.adaptive_avg_pool2d
    return back(pool(x, shape_of(op, shape)))


def _windows(op: Any, x: Any) -> Any:
    return F.sliding_window(x, steps(op, "window"), steps(op, "pad"), steps(op, "stride"), steps(op, "dilate"))


def _windows_back(op: Any, x: Any) -> Any:
    geometry = steps(op, "window"), steps(op, "pad"), steps(op, "stride"), steps(op, "dilate")
    return F.sliding_window_transpose(x, steps(op, "out"), *geometry)


def _pixel_shuffle_backward(op: Any, dy: Any) -> Any:
    factor, (n, channels, height, width) = op.factor, dy.shape
    parts = dy.reshape(n, channels, height // factor, factor, width // factor, factor)
    shape = n, channels * factor * factor, height // factor, width // factor
    return F.transpose(parts, (0, 1, 3, 5, 2, 4)).reshape(shape)


# -- normalisation: the result, then the mean and the divisor ----------


def _moments(x: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    mean = x.mean(axis=list(axes), keepdims=True)
    return mean, F.square(x - mean).mean(axis=list(axes), keepdims=True)


def _squeezed(x: Any, axes: tuple[int, ...]) -> Any:
    return F.squeeze(x, list(axes))


def _layer_norm(op: Any, x: Any, *affine: Any) -> Any:
    return _general(op, x, tuple(range(x.ndim - op.normalized_dim, x.ndim)), affine)


def _general_norm(op: Any, x: Any, *affine: Any) -> Any:
    return _general(op, x, tuple(range(op.axis_start, op.axis_end)), affine)


def _general(op: Any, x: Any, axes: tuple[int, ...], affine: Any) -> Any:
    mean, variance = _moments(x, axes)
    weight, bias = affine or (None, None)
    y = F.general_norm(x, axes, op.affine, weight, bias, op.eps)
    return y, _squeezed(mean, axes), _squeezed(1 / F.sqrt(variance + op.eps), axes)


def _group_norm(op: Any, x: Any, *affine: Any, groups: int | None = None) -> Any:
    """The third output is the variance, without eps."""
    first, back = channels_first(op, x)
    groups = op.group if groups is None else groups
    parts = first.reshape(first.shape[0], groups, -1)
    weight, bias = affine or (None, None)
    y = F.group_norm(first, groups, op.affine, weight, bias, op.eps)
    return back(y), *(_squeezed(v, (2,)) for v in _moments(parts, (2,)))


def _instance_norm(op: Any, x: Any, *affine: Any) -> Any:
    return _group_norm(op, x, *affine, groups=channels_first(op, x)[0].shape[1])


def _batch_norm(op: Any, x: Any, weight: Any, bias: Any, *running: Any) -> Any:
    """The new running statistics if there are old ones, those of the batch, a value that MegEngine keeps, and the
    result."""
    axes = _NORMALIZED[op.param_dim.name]
    if op.fwd_mode == "INFERENCE":
        mean, variance = running
        scale = weight / F.sqrt(variance + op.epsilon)
        return mean, variance, kept(), x * scale + (bias - mean * scale)
    mean, variance = _moments(x, axes)
    inverse = 1 / F.sqrt(variance + op.epsilon)
    count = int(np.prod([x.shape[axis] for axis in axes]))
    batch = mean.detach(), variance.detach() * (count / max(count - 1, 1))
    tracked = [old + (new - old) * op.avg_factor for old, new in zip(running, batch, strict=False)]
    return *tracked, mean, inverse, kept(), (x - mean) * inverse * weight + bias


def _batch_norm_backward(op: Any, x: Any, dy: Any, mean: Any, inverse: Any, weight: Any, *_: Any) -> Any:
    """The gradients by weight, bias and x. Ioffe and Szegedy 2015, section 3."""
    axes = list(_NORMALIZED[op.param_dim.name])
    scaled = (x - mean) * inverse
    by_weight, by_bias = (g.sum(axis=axes, keepdims=True) for g in (dy * scaled, dy))
    if op.fwd_mode == "INFERENCE":
        return by_weight, by_bias, dy * weight * inverse
    along = (dy * scaled).mean(axis=axes, keepdims=True)
    return by_weight, by_bias, weight * inverse * (dy - dy.mean(axis=axes, keepdims=True) - scaled * along)


# -- recurrent layers and attention: tengen has these ops, with the same parameters


def _tengens(op: Any, **changes: Any) -> Any:
    kind = getattr(ours, type(op).__name__)
    given = {name: getattr(op, name) for name in op._parameters if name in kind.__annotations__}
    return kind(**{**{name: getattr(value, "name", value) for name, value in given.items()}, **changes})


def _same_op(op: Any, *inputs: Any) -> Any:
    return _rt.apply(_tengens(op), *inputs)


def _attention(op: Any, *inputs: Any) -> Any:
    """The result, the softmax, and two values that MegEngine keeps."""
    drops = {key: getattr(op, key) if op.training else 0.0 for key in ("attn_prob", "out_prob")}
    (count, length), keys, values = inputs[0].shape[:2], *inputs[1:3]
    draws: list[Any] = []
    if any(drops.values()):
        width = op.oproj_size or op.vproj_size or values.shape[2]
        for n in (count * op.num_heads * length * (keys.shape[1] + 2), count * length * width):
            draws += default_generator().draw(n)
    made = _tengens(op, **drops, need_weights=True, drawn=bool(draws))
    return *_rt.apply(made, *inputs, *draws), kept("uint8"), kept()


# -- values rounded as integers of few bits would be, with the gradients used in training ---


RULES: dict[str, Callable[..., Any]] = {
    "AdaptivePooling": _adaptive_pooling,
    "BatchConvBias": _batch_conv_bias,
    "BatchNorm": _batch_norm,
    "BatchNormBackward": _batch_norm_backward,
    "ConvBias": _conv_bias,
    "Convolution": _convolution,
    "Convolution3D": _convolution3d,
    "Convolution3DBackwardData": _convolution3d_backward,
    "ConvolutionBackwardData": _convolution_backward,
    "DeformableConv": _deformable,
    "FakeQuant": lambda op, x, scale, zero: _rt.apply(fake_quant.FakeQuant(op.qmin, op.qmax), x, scale, zero),
    "GeneralNorm": _general_norm,
    "GroupLocal": _local,
    "GroupNorm": _group_norm,
    "Images2Neibs": _windows,
    "InstanceNorm": _instance_norm,
    "LRN": lambda op, x: F.local_response_norm(x, op.n, op.k, op.alpha, op.beta),
    "LSQ": lambda op, *inputs: _rt.apply(fake_quant.LSQ(op.qmin, op.qmax), *inputs),
    "LSTM": _same_op,
    "LSTMCell": _same_op,
    "LayerNorm": _layer_norm,
    "MultiHeadAttn": _attention,
    "PixelShuffle": lambda op, x: F.pixel_shuffle(x, op.factor),
    "PixelShuffleBackward": _pixel_shuffle_backward,
    "Pooling": _pooling,
    "RNN": _same_op,
    "RNNCell": _same_op,
    "RegionRestrictedConvolution": _region_restricted,
    "RegionRestrictedConvolutionBackwardData": _region_restricted_backward,
    "SlidingWindowTranspose": _windows_back,
    "TQT": lambda op, x, scale: _rt.apply(fake_quant.TQT(op.qmin, op.qmax), x, scale),
}
