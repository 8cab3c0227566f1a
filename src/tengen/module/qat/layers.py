"""Layers that are trained with rounded weights and results, but for those with batch normalisation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ... import functional as F
from ...core import Tensor
from .. import conv, elemwise, identity, linear
from .module import Shared

__all__ = [
    "BatchMatMulActivation", "Concat", "Conv2d", "ConvRelu2d", "ConvTranspose2d", "ConvTransposeRelu2d", "DequantStub", "Elemwise",
    "Linear", "LinearRelu", "QuantStub",
]  # fmt: skip


class _Weighted(Shared):
    """A layer with weight and bias."""

    weight: Any
    bias: Any

    def _rounded(self, inp: Tensor) -> tuple[Tensor, Tensor | None]:
        """Weight and bias as they are used for this input."""
        weight = self.apply_quant_weight(self.weight)
        return weight, self.apply_quant_bias(self.bias, inp, weight)


class Conv2d(conv.Conv2d, _Weighted):
    """`M.Conv2d` that is trained with rounded weight and result.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, conv_mode, compute_mode,
            padding_mode: of `M.Conv2d`.
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.Conv2d(3, 8, 3), qat.QATModule)
    True
    """

    channel_axis = 0

    def calc_conv_qat(self, inp: Tensor) -> Tensor:
        """The convolution with weight and bias rounded."""
        return self.calc_conv(inp, *self._rounded(inp))

    def forward(self, inp: Tensor) -> Tensor:
        return self.apply_quant_activation(self.calc_conv_qat(inp))


class ConvRelu2d(Conv2d):
    """`M.ConvRelu2d` that is trained with rounded weight and result.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, conv_mode, compute_mode,
            padding_mode: of `M.ConvRelu2d`.
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.ConvRelu2d(3, 8, 3), qat.QATModule)
    True
    """

    def forward(self, inp: Tensor) -> Tensor:
        return self.apply_quant_activation(F.relu(self.calc_conv_qat(inp)))


class ConvTranspose2d(conv.ConvTranspose2d, _Weighted):
    """`M.ConvTranspose2d` that is trained with rounded weight and result.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation, groups, bias, conv_mode,
            compute_mode: of `M.ConvTranspose2d`.
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.ConvTranspose2d(3, 8, 3), qat.QATModule)
    True
    """

    channel_axis = 1

    def calc_conv_transpose2d_qat(self, inp: Tensor) -> Tensor:
        """The transposed convolution with weight and bias rounded."""
        return self.calc_conv_transpose2d(inp, *self._rounded(inp))

    def forward(self, inp: Tensor) -> Tensor:
        return self.apply_quant_activation(self.calc_conv_transpose2d_qat(inp))


class ConvTransposeRelu2d(ConvTranspose2d):
    """`M.ConvTransposeRelu2d` that is trained with rounded weight and result.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation, groups, bias, conv_mode,
            compute_mode: of `M.ConvTransposeRelu2d`.
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.ConvTransposeRelu2d(3, 8, 3), qat.QATModule)
    True
    """

    def forward(self, inp: Tensor) -> Tensor:
        return self.apply_quant_activation(F.relu(self.calc_conv_transpose2d_qat(inp)))


class Linear(linear.Linear, _Weighted):
    """`M.Linear` that is trained with rounded weight and result.

    Args:
        in_features, out_features, bias, compute_mode: of `M.Linear`.
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.Linear(2, 3), qat.QATModule)
    True
    """

    channel_axis = 0

    def calc_linear_qat(self, inp: Tensor) -> Tensor:
        """The product with weight and bias rounded."""
        return self.calc_linear(inp, *self._rounded(inp))

    def forward(self, inp: Tensor) -> Tensor:
        return self.apply_quant_activation(self.calc_linear_qat(inp))


class LinearRelu(Linear):
    """`M.LinearRelu` that is trained with rounded weight and result.

    Args:
        in_features, out_features, bias, compute_mode: of `M.LinearRelu`.
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.LinearRelu(2, 3), qat.QATModule)
    True
    """

    def forward(self, inp: Tensor) -> Tensor:
        return self.apply_quant_activation(F.relu(self.calc_linear_qat(inp)))


class BatchMatMulActivation(linear.BatchMatMulActivation, _Weighted):
    """`M.BatchMatMulActivation` that is trained with rounded weight and result.

    Args:
        batch, in_features, out_features, bias, nonlinear_mode: of `M.BatchMatMulActivation`.
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.BatchMatMulActivation(2, 3, 4), qat.QATModule)
    True
    """

    def forward(self, inp: Tensor) -> Tensor:
        weight, bias = self._rounded(inp)
        y = F.matmul(weight, inp)
        y = y if bias is None else y + bias
        return self.apply_quant_activation(F.relu(y) if self.nonlinear_mode == "relu" else y)


class Elemwise(elemwise.Elemwise, Shared):
    """`M.Elemwise` whose result is rounded.

    Args:
        method: of `M.Elemwise`.
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.Elemwise("add"), qat.QATModule)
    True
    """

    with_weight = False

    def forward(self, *inps: Tensor) -> Tensor:
        return self.apply_quant_activation(super().forward(*inps))


class Concat(identity.Concat, Shared):
    """`M.Concat` whose result is rounded. It has observers of a weight too, as in MegEngine, whose state dicts have them.

    Args:
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.Concat(), qat.QATModule)
    True
    """

    def forward(self, inps: Iterable[Tensor], axis: int = 0) -> Tensor:
        return self.apply_quant_activation(super().forward(inps, axis))


class QuantStub(identity.QuantStub, Shared):
    """Rounds its input: here quantised computing begins.

    Args:
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.QuantStub(), qat.QATModule)
    True
    """

    with_weight = False

    def forward(self, inp: Tensor) -> Tensor:
        return self.apply_quant_activation(super().forward(inp))


class DequantStub(identity.DequantStub, Shared):
    """Returns its input: here quantised computing ends.

    Args:
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> isinstance(qat.DequantStub(), qat.QATModule)
    True
    """

    with_weight = False
    with_act = False
