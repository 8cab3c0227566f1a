"""Layers with batch normalisation that are trained with rounded weights and results.

What is rounded is the weight with the normalisation folded in, by the running statistics, as it will be in inference. In training the
result is divided by the same factor again and normalised by the statistics of the batch (Krishnamoorthi 2018, section 3.2.2).
"""

from __future__ import annotations

from typing import Any

from ... import functional as F
from ...core import Tensor
from .. import conv_bn
from .module import Shared

__all__ = ["ConvBn2d", "ConvBnRelu2d", "ConvTransposeBn2d", "ConvTransposeBnRelu2d", "LinearBn1d", "LinearBnRelu1d"]


class _Normalised(Shared):
    """A layer and the batch normalisation after it."""

    bn: Any
    channel_axis = 0
    _axes: tuple[int, ...] = (0, 2, 3)  # of the result, over which statistics are taken

    @property
    def _layer(self) -> Any:
        raise NotImplementedError

    def _calculate(self, inp: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError

    def _channels(self, x: Tensor) -> Tensor:
        """A number for each channel, to be combined with the result."""
        return x.reshape(1, -1, *(1,) * (len(self._axes) - 1))

    def _by_channel(self, x: Tensor) -> Tensor:
        """A number for each channel, to be combined with the weight."""
        return x.reshape(*self._channel_shape())

    def _weight_shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self._layer.weight.shape
        return shape

    def _gain(self, variance: Tensor) -> Tensor:
        """What the normalisation multiplies each channel by."""
        deviation = F.sqrt(variance.reshape(-1) + self.bn.eps)
        return 1 / deviation if self.bn.weight is None else self.bn.weight.reshape(-1) / deviation

    def fold_weight_bias(self, bn_mean: Tensor | None, bn_var: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weight and bias of one layer that does both, by these statistics of the channels (None: mean 0, variance 1)."""
        layer, bn = self._layer, self.bn
        channels = bn.num_features
        mean = F.zeros(channels, device=layer.weight.device) if bn_mean is None else bn_mean.reshape(-1)
        gain = self._gain(F.ones(channels, device=layer.weight.device) if bn_var is None else bn_var)
        shift = -mean if layer.bias is None else layer.bias.reshape(-1) - mean
        bias = shift * gain if bn.bias is None else bn.bias.reshape(-1) + shift * gain
        return layer.weight * self._by_channel(gain), self._channels(bias)

    def get_batch_mean_var(self, inp: Tensor) -> tuple[Tensor, Tensor, float]:
        """Mean and variance of each channel of a result, and of how many numbers; running ones in evaluation."""
        count = inp.size / inp.shape[1]
        if not self.training:
            return self.bn.running_mean, self.bn.running_var, count
        mean = F.mean(inp, self._axes, keepdims=True)
        return mean, F.mean((inp - mean) ** 2, self._axes, keepdims=True), count

    def update_running_mean_and_running_var(
        self, bn_mean: Tensor, bn_var: Tensor, num_elements_per_channel: float
    ) -> None:
        """Take statistics of a batch into the running ones."""
        bn, momentum = self.bn, self.bn.momentum
        unbiased = bn_var.detach() * (num_elements_per_channel / max(num_elements_per_channel - 1, 1))
        for running, new in ((bn.running_mean, bn_mean.detach()), (bn.running_var, unbiased)):
            running._reset(running * momentum + new.reshape(running.shape) * (1 - momentum))

    def _calculate_qat(self, inp: Tensor, approx: bool = True) -> Tensor:
        bn, layer = self.bn, self._layer
        exact = self.training and not approx
        if exact:
            mean, var, count = self.get_batch_mean_var(layer(inp))
            self.update_running_mean_and_running_var(mean, var, count)
        else:
            mean, var = bn.running_mean, bn.running_var
        folded, bias = self.fold_weight_bias(mean, var)
        weight = self.apply_quant_weight(folded)
        if exact or not self.training:
            return self._calculate(inp, weight, self.apply_quant_bias(bias, inp, weight))
        y = self._calculate(inp, weight, None) / self._channels(self._gain(var))
        if layer.bias is not None:
            y = y + self._channels(layer.bias)
        made: Tensor = bn(y)
        return made


class ConvBn2d(conv_bn.ConvBn2d, _Normalised):
    """`M.ConvBn2d` that is trained with rounded weight and result.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, conv_mode, compute_mode, eps,
            momentum, affine, track_running_stats, padding_mode: of `M.ConvBn2d`.
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.ConvBn2d(3, 8, 3), qat.QATModule)
    True
    """

    @property
    def _layer(self) -> Any:
        return self.conv

    def _calculate(self, inp: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.conv.calc_conv(inp, weight, bias)

    def calc_conv_bn_qat(self, inp: Tensor, approx: bool = True) -> Tensor:
        """The normalised convolution with rounded weight. approx: False folds the statistics of the batch, from another convolution."""
        return self._calculate_qat(inp, approx)

    def forward(self, inp: Tensor) -> Tensor:
        return self.apply_quant_activation(self.calc_conv_bn_qat(inp))


class ConvBnRelu2d(ConvBn2d):
    """`M.ConvBnRelu2d` that is trained with rounded weight and result.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, conv_mode, compute_mode, eps,
            momentum, affine, track_running_stats, padding_mode: of `M.ConvBnRelu2d`.
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.ConvBnRelu2d(3, 8, 3), qat.QATModule)
    True
    """

    def forward(self, inp: Tensor) -> Tensor:
        return self.apply_quant_activation(F.relu(self.calc_conv_bn_qat(inp)))


class ConvTransposeBn2d(conv_bn.ConvTransposeBn2d, _Normalised):
    """`M.ConvTransposeBn2d` that is trained with rounded weight and result.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation, groups, bias, conv_mode,
            compute_mode, eps, momentum, affine, track_running_stats: of `M.ConvTransposeBn2d`.
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.ConvTransposeBn2d(3, 8, 3), qat.QATModule)
    True
    """

    channel_axis = 1

    @property
    def _layer(self) -> Any:
        return self.conv_transpose2d

    def _calculate(self, inp: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.conv_transpose2d.calc_conv_transpose2d(inp, weight, bias)

    def calc_conv_transpose2d_bn_qat(self, inp: Tensor, approx: bool = True) -> Tensor:
        """The normalised convolution with rounded weight; see `ConvBn2d.calc_conv_bn_qat`."""
        return self._calculate_qat(inp, approx)

    def forward(self, inp: Tensor) -> Tensor:
        return self.apply_quant_activation(self.calc_conv_transpose2d_bn_qat(inp))


class ConvTransposeBnRelu2d(ConvTransposeBn2d):
    """`M.ConvTransposeBnRelu2d` that is trained with rounded weight and result.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation, groups, bias, conv_mode,
            compute_mode, eps, momentum, affine, track_running_stats: of `M.ConvTransposeBnRelu2d`.
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.ConvTransposeBnRelu2d(3, 8, 3), qat.QATModule)
    True
    """

    def forward(self, inp: Tensor) -> Tensor:
        return self.apply_quant_activation(F.relu(self.calc_conv_transpose2d_bn_qat(inp)))


class LinearBn1d(conv_bn.LinearBn1d, _Normalised):
    """`M.LinearBn1d` that is trained with rounded weight and result.

    Args:
        in_features, out_features, bias, compute_mode, eps, momentum, affine, track_running_stats: of `M.LinearBn1d`.
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.LinearBn1d(2, 3), qat.QATModule)
    True
    """

    _axes = (0,)

    @property
    def _layer(self) -> Any:
        return self.linear

    def _channels(self, x: Tensor) -> Tensor:
        return x.reshape(-1)

    def _calculate(self, inp: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.linear.calc_linear(inp, weight, bias)

    def calc_linear_bn_qat(self, inp: Tensor, approx: bool = True) -> Tensor:
        """The normalised product with rounded weight; see `ConvBn2d.calc_conv_bn_qat`."""
        return self._calculate_qat(inp, approx)

    def forward(self, inp: Tensor) -> Tensor:
        return self.apply_quant_activation(self.calc_linear_bn_qat(inp))


class LinearBnRelu1d(LinearBn1d):
    """`M.LinearBnRelu1d` that is trained with rounded weight and result.

    Args:
        in_features, out_features, bias, compute_mode, eps, momentum, affine, track_running_stats: of
            `M.LinearBnRelu1d`.
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.LinearBnRelu1d(2, 3), qat.QATModule)
    True
    """

    def forward(self, inp: Tensor) -> Tensor:
        return self.apply_quant_activation(F.relu(self.calc_linear_bn_qat(inp)))
