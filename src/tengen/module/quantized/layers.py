"""Layers that compute with quantised numbers: exact sums of integers, rounded once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ... import functional as F
from ..._rt import apply
from ...base.dtype import canonical
from ...core import Parameter, Tensor
from ...core.ops import conv as conv_ops
from ...core.ops import linalg as linalg_ops
from ...core.ops.formula import elementwise
from ...core.ops.quantized import OfChannels, Rounded
from ...dtype import get_scale, is_quantize, qint32
from ...functional import quantized as functions
from ...functional.arguments import pair
from ...functional.convolution import pairs
from .. import conv, linear
from ..conv import PAD_MODES
from .module import QuantizedModule

__all__ = [
    "BatchMatMulActivation", "Concat", "Conv2d", "ConvBn2d", "ConvBnRelu2d", "ConvRelu2d", "ConvTranspose2d", "ConvTransposeBn2d",
    "ConvTransposeBnRelu2d", "ConvTransposeRelu2d", "DequantStub", "Elemwise", "Linear", "LinearBn1d", "LinearBnRelu1d", "LinearRelu",
    "QuantStub",
]  # fmt: skip


def _need_quantized(inp: Tensor) -> None:
    if not is_quantize(inp.dtype):
        raise TypeError(f"a quantised layer takes quantised numbers, got {inp.dtype}; a QuantStub before it makes them")


def bias_of(bias: Tensor | None, inp: Tensor, weight: Tensor) -> Tensor | None:
    """A bias as qint32, to be added to the sums of products of `inp` and `weight`. TypeError if the input is not quantised."""
    _need_quantized(inp)
    scale = np.float32(get_scale(inp.dtype)) * np.float32(get_scale(weight.dtype))
    return None if bias is None else bias.astype(qint32(float(scale)))


def _of_channels(op: Any, layer: Any, inp: Tensor) -> Tensor:
    """The product of a layer whose weight has a scale for each channel, with its bias, as floats."""
    _need_quantized(inp)
    biases = () if layer.bias is None else (layer.bias,)
    made: Tensor = apply(OfChannels(op), inp, layer.weight, layer.weight_scale, *biases)
    return made


def _take_over(made: Any, qat_module: Any, weight: Tensor, bias: Tensor | None) -> Any:
    made.output_dtype = qat_module.get_activation_dtype()
    qparams = qat_module.get_weight_qparams()
    if getattr(qparams.scale, "size", 1) > 1:
        made.weight_scale = qparams.scale.detach().reshape(-1)
        kind = qparams.dtype_meta
        weight = F.clip(F.round(weight.detach() / qparams.scale), kind.qmin, kind.qmax)
    made.weight = Parameter(weight.detach().astype(qat_module.get_weight_dtype()))
    made.bias = None if bias is None else Parameter(bias.detach())
    made.training = qat_module.training
    made.name = qat_module.name
    return made


def _folded(qat_module: Any) -> tuple[Tensor, Tensor]:
    found: tuple[Tensor, Tensor] = qat_module.fold_weight_bias(qat_module.bn.running_mean, qat_module.bn.running_var)
    return found


def _parameters(qat_module: Any) -> tuple[Tensor, Tensor | None]:
    return _folded(qat_module) if hasattr(qat_module, "bn") else (qat_module.weight, qat_module.bias)


def _geometry(layer: Any, *more: str) -> dict[str, Any]:
    names = (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "dilation",
        "groups",
        "conv_mode",
        "compute_mode",
    )
    return {name: getattr(layer, name) for name in (*names, *more)}


class Conv2d(conv.Conv2d, QuantizedModule):
    """2-d convolution of quantised numbers.

    Args:
        args, kwargs: of `M.Conv2d`.
        dtype: of the result.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.Conv2d(3, 8, 3), quantized.QuantizedModule)
    True
    """

    _activation = "identity"

    def __init__(self, *args: Any, dtype: Any = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.output_dtype = dtype

    def calc_conv_quantized(self, inp: Tensor, nonlinear_mode: str = "identity") -> Tensor:
        """The convolution, with bias and an activation, rounded once."""
        padding = self.padding
        if self.padding_mode != "zeros":
            inp, padding = F.pad(inp, self.get_pad_witdth(), mode=PAD_MODES[self.padding_mode]), (0, 0)
        if self.weight_scale is not None:
            op = conv_ops.Conv2d(
                *pairs("conv2d", self.stride, padding, self.dilation), self.groups, self.bias is not None
            )
            return _ended(_of_channels(op, self, inp), nonlinear_mode, self.output_dtype)
        bias = bias_of(self.bias, inp, self.weight)
        steps = self.stride, padding, self.dilation, self.groups
        return functions.conv_bias_activation(
            inp, self.weight, bias, self.output_dtype, *steps, nonlinear_mode, self.conv_mode, self.compute_mode
        )

    def forward(self, inp: Tensor) -> Tensor:
        return self.calc_conv_quantized(inp, self._activation)

    @classmethod
    def from_qat_module(cls, qat_module: Any) -> Any:
        """This layer with the parameters of one that was trained with rounded numbers; batch normalisation is folded into them."""
        layer = getattr(qat_module, "conv", qat_module)
        made = cls(**_geometry(layer, "padding_mode"))
        return _take_over(made, qat_module, *_parameters(qat_module))


class ConvRelu2d(Conv2d):
    """Convolution and ReLU of quantised numbers.

    Args:
        args, kwargs: of `M.ConvRelu2d`.
        dtype: of the result.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.ConvRelu2d(3, 8, 3), quantized.QuantizedModule)
    True
    """

    _activation = "relu"


class ConvBn2d(Conv2d):
    """What a `qat.ConvBn2d` becomes: a convolution.

    Args:
        args, kwargs: of `M.ConvBn2d`.
        dtype: of the result.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.ConvBn2d(3, 8, 3), quantized.QuantizedModule)
    True
    """


class ConvBnRelu2d(ConvRelu2d):
    """What a `qat.ConvBnRelu2d` becomes: a convolution and ReLU.

    Args:
        args, kwargs: of `M.ConvBnRelu2d`.
        dtype: of the result.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.ConvBnRelu2d(3, 8, 3), quantized.QuantizedModule)
    True
    """


class ConvTranspose2d(conv.ConvTranspose2d, QuantizedModule):
    """Transposed 2-d convolution of quantised numbers. dtype: of the result.

    Args:
        args, kwargs: of `M.ConvTranspose2d`.
        dtype: of the result.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.ConvTranspose2d(3, 8, 3), quantized.QuantizedModule)
    True
    """

    _activation = "identity"

    def __init__(self, *args: Any, dtype: Any = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.output_dtype = dtype

    def calc_conv_transpose2d_quantized(self, inp: Tensor, nonlinear_mode: str) -> Tensor:
        """The transposed convolution, with bias and an activation, rounded once."""
        if self.weight_scale is not None:
            strides, paddings, dilations = pairs("conv_transpose2d", self.stride, self.padding, self.dilation)
            more = pair("conv_transpose2d", "output_padding", self.output_padding)
            op = conv_ops.ConvTranspose2d(strides, paddings, more, dilations, self.groups, self.bias is not None)
            return _ended(_of_channels(op, self, inp), nonlinear_mode, self.output_dtype)
        bias = bias_of(self.bias, inp, self.weight)
        y = F.conv_transpose2d(
            inp, self.weight, bias, self.stride, self.padding, self.output_padding, self.dilation, self.groups
        )
        return _ended(y, nonlinear_mode, self.output_dtype)

    def forward(self, inp: Tensor) -> Tensor:
        return self.calc_conv_transpose2d_quantized(inp, self._activation)

    @classmethod
    def from_qat_module(cls, qat_module: Any) -> Any:
        """This layer with the parameters of one that was trained with rounded numbers; batch normalisation is folded into them."""
        layer = getattr(qat_module, "conv_transpose2d", qat_module)
        made = cls(**_geometry(layer, "output_padding"))
        return _take_over(made, qat_module, *_parameters(qat_module))


class ConvTransposeRelu2d(ConvTranspose2d):
    """Transposed convolution and ReLU of quantised numbers.

    Args:
        args, kwargs: of `M.ConvTransposeRelu2d`.
        dtype: of the result.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.ConvTransposeRelu2d(3, 8, 3), quantized.QuantizedModule)
    True
    """

    _activation = "relu"


class ConvTransposeBn2d(ConvTranspose2d):
    """What a `qat.ConvTransposeBn2d` becomes: a transposed convolution.

    Args:
        args, kwargs: of `M.ConvTransposeBn2d`.
        dtype: of the result.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.ConvTransposeBn2d(3, 8, 3), quantized.QuantizedModule)
    True
    """


class ConvTransposeBnRelu2d(ConvTransposeRelu2d):
    """What a `qat.ConvTransposeBnRelu2d` becomes: a transposed convolution and ReLU.

    Args:
        args, kwargs: of `M.ConvTransposeBnRelu2d`.
        dtype: of the result.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.ConvTransposeBnRelu2d(3, 8, 3), quantized.QuantizedModule)
    True
    """


def _ended(y: Tensor, nonlinear_mode: str, dtype: Any) -> Tensor:
    y = F.relu(y) if nonlinear_mode == "relu" else y
    return y if dtype is None else y.astype(dtype)


class Linear(QuantizedModule):
    """Products with a matrix of quantised numbers. dtype: of the result.

    Args:
        dtype: of the result.
        kwargs: of `M.Linear`.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.Linear(), quantized.QuantizedModule)
    True
    """

    _activation = "identity"
    weight: Any
    bias: Any

    def __init__(self, dtype: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.weight = self.bias = None
        self.output_dtype = dtype

    def calc_linear_quantized(self, inp: Tensor, nonlinear_mode: str = "identity") -> Tensor:
        """The product, with bias and an activation, rounded once."""
        if self.weight_scale is not None:
            y = _of_channels(linalg_ops.Linear(self.bias is not None), self, inp)
            return _ended(y, nonlinear_mode, self.output_dtype)
        y = F.linear(inp, self.weight, bias_of(self.bias, inp, self.weight))
        return _ended(y, nonlinear_mode, self.output_dtype)

    def forward(self, inp: Tensor) -> Tensor:
        return self.calc_linear_quantized(inp, self._activation)

    @classmethod
    def from_qat_module(cls, qat_module: Any) -> Any:
        """This layer with the parameters of one that was trained with rounded numbers; batch normalisation is folded into them."""
        return _take_over(cls(), qat_module, *_parameters(qat_module))


class LinearRelu(Linear):
    """Product with a matrix and ReLU of quantised numbers.

    Args:
        dtype: of the result.
        kwargs: of `M.LinearRelu`.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.LinearRelu(), quantized.QuantizedModule)
    True
    """

    _activation = "relu"


class LinearBn1d(Linear):
    """What a `qat.LinearBn1d` becomes: a product with a matrix.

    Args:
        dtype: of the result.
        kwargs: of `M.LinearBn1d`.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.LinearBn1d(), quantized.QuantizedModule)
    True
    """


class LinearBnRelu1d(LinearRelu):
    """What a `qat.LinearBnRelu1d` becomes: a product with a matrix and ReLU.

    Args:
        dtype: of the result.
        kwargs: of `M.LinearBnRelu1d`.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.LinearBnRelu1d(), quantized.QuantizedModule)
    True
    """


class BatchMatMulActivation(linear.BatchMatMulActivation, QuantizedModule):
    """`M.BatchMatMulActivation` of quantised numbers.

    Args:
        args, kwargs: of `M.BatchMatMulActivation`.
        dtype: of the result.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.BatchMatMulActivation(2, 3, 4), quantized.QuantizedModule)
    True
    """

    def __init__(self, *args: Any, dtype: Any = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.output_dtype = dtype

    def calc_bmm_quantized(self, inp: Tensor) -> Tensor:
        """The products, with bias and an activation, rounded once."""
        y = F.matmul(self.weight, inp)
        bias = bias_of(self.bias, inp, self.weight)
        return _ended(y if bias is None else y + bias, self.nonlinear_mode, self.output_dtype)

    def forward(self, inp: Tensor) -> Tensor:
        return self.calc_bmm_quantized(inp)

    @classmethod
    def from_qat_module(cls, qat_module: Any) -> Any:
        """This layer with the parameters of one that was trained with rounded numbers."""
        sizes = qat_module.batch, qat_module.in_features, qat_module.out_features
        made = cls(*sizes, qat_module.bias is not None, qat_module.nonlinear_mode)
        return _take_over(made, qat_module, qat_module.weight, qat_module.bias)


class _Plain(QuantizedModule):
    """A layer without parameters. dtype: of the result."""

    def __init__(self, dtype: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.output_dtype = dtype

    @classmethod
    def from_qat_module(cls, qat_module: Any) -> Any:
        """This layer with the result's dtype of one that was trained with rounded numbers."""
        made = cls(dtype=qat_module.get_activation_dtype(), name=qat_module.name)
        made.training = qat_module.training
        return made


class Elemwise(QuantizedModule):
    """`M.Elemwise` of quantised numbers: computed with the real numbers and rounded once. dtype: of the result.

    Args:
        method: the function; see `M.Elemwise`.
        dtype: of the result.
        kwargs: of `M.Elemwise`.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.Elemwise("add"), quantized.QuantizedModule)
    True
    """

    def __init__(self, method: str, dtype: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        elementwise(str(method))
        self.method = method
        self.output_dtype = dtype

    def forward(self, *inps: Tensor) -> Tensor:
        made: Tensor = apply(Rounded(elementwise(str(self.method)), canonical(self.output_dtype)), *inps)
        return made

    @classmethod
    def from_qat_module(cls, qat_module: Any) -> Any:
        """This layer with the result's dtype of one that was trained with rounded numbers."""
        made = cls(qat_module.method, qat_module.get_activation_dtype(), name=qat_module.name)
        made.training = qat_module.training
        return made


class Concat(_Plain):
    """`M.Concat` of quantised numbers, each rounded to the result's dtype.

    Args:
        dtype: of the result.
        kwargs: of `M.Concat`.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.Concat(), quantized.QuantizedModule)
    True
    """

    def forward(self, inps: Iterable[Tensor], axis: int = 0) -> Tensor:
        return F.concat([x if self.output_dtype is None else x.astype(self.output_dtype) for x in inps], axis)


class QuantStub(_Plain):
    """Rounds its input to quantised numbers.

    Args:
        dtype: of the result.
        kwargs: of `M.QuantStub`.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.QuantStub(), quantized.QuantizedModule)
    True
    """

    def forward(self, inp: Tensor) -> Tensor:
        return inp if self.output_dtype is None else inp.astype(self.output_dtype)


class DequantStub(QuantizedModule):
    """Gives the float32 that quantised numbers stand for.

    Args:
        name: any text, kept as `.name`.

    >>> from tengen.module import quantized
    >>> isinstance(quantized.DequantStub(), quantized.QuantizedModule)
    True
    """

    def forward(self, inp: Tensor) -> Tensor:
        return inp.astype("float32")

    @classmethod
    def from_qat_module(cls, qat_module: Any) -> Any:
        """This layer in the place of one of training."""
        made = cls(qat_module.name)
        made.training = qat_module.training
        return made
