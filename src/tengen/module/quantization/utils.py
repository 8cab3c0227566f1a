"""Fake quantisation as functions, and how scales and zero points are found in modules."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from ..._rt import apply
from ...autodiff import Function
from ...base.quantized import KINDS, QuantDtypeMeta
from ...core import Tensor
from ...core.ops import fake_quant as ops
from ...core.qparams import LSQParams, QParams, QuantMode, create_qparams
from ...dtype import create_quantized_dtype

__all__ = [
    "LSQParams", "QParams", "QParamsModuleMixin", "QuantDtypeMeta", "QuantMode", "Round", "create_qparams", "create_quantized_dtype",
    "fake_quant_bias", "fake_quant_tensor", "lsq_forward", "register_method_to_class", "tqt_forward",
]  # fmt: skip

_builtin_quant_dtypes = KINDS


def fake_quant_tensor(inp: Tensor, qparams: QParams) -> Tensor:
    """Real numbers rounded to those that a quantised dtype has.

    Args:
        inp: floats.
        qparams: its scale, which broadcasts against inp, its kind, and its zero point, which counts if the mode is
            asymmetric. Gradients pass where nothing is clipped; scale and zero point get none.

    Returns: a tensor of the shape of inp.

    Raises:
        ValueError: the QParams have no kind and scale yet, or no zero point although their mode is asymmetric.

    >>> x = tengen.tensor([0.26, -1.0, 99.0])
    >>> fake_quant_tensor(x, create_qparams(dtype_meta="qint8", scale=tengen.tensor(0.5))).tolist()
    [0.5, -1.0, 63.5]
    """
    kind = qparams.dtype_meta
    if kind is None or qparams.scale is None:
        raise ValueError("fake_quant_tensor: the QParams have no kind and scale yet")
    zero = [qparams.zero_point] if qparams.mode == QuantMode.ASYMMERTIC else []
    if zero == [None]:
        raise ValueError("fake_quant_tensor: QParams of asymmetric mode need a zero_point")
    made: Tensor = apply(ops.FakeQuant(kind.qmin, kind.qmax), inp, qparams.scale, *zero)
    return made


def tqt_forward(qmin: int, qmax: int, inp: Tensor, scale: Tensor) -> Tensor:
    """`inp` rounded to the integers from qmin to qmax times 2 ** scale; scale has a gradient. Source: Jain et al. 2019.

    >>> tqt_forward(-128, 127, tengen.tensor([0.6, 99.0]), tengen.tensor(-1.0)).tolist()
    [0.5, 63.5]
    """
    made: Tensor = apply(ops.TQT(qmin, qmax), inp, scale)
    return made


def lsq_forward(
    qmin: int,
    qmax: int,
    inp: Tensor,
    step_size: Tensor,
    zero_point: Tensor | None = None,
    scale_grad: Tensor | None = None,
) -> Tensor:
    """`inp` rounded to the integers from qmin to qmax, minus `zero_point`, times `step_size`, which has a gradient.

    scale_grad: what that gradient is multiplied by. Source: Esser et al. 2019.

    >>> lsq_forward(-8, 7, tengen.tensor([0.6, 99.0]), tengen.tensor(0.5)).tolist()
    [0.5, 3.5]
    """
    zero = 0.0 if zero_point is None else zero_point
    made: Tensor = apply(ops.LSQ(qmin, qmax), inp, step_size, zero, 1.0 if scale_grad is None else scale_grad)
    return made


def fake_quant_bias(bias: Tensor | None, inp: Tensor, w_qat: Tensor) -> Tensor | None:
    """A bias rounded to the numbers that sums of products of `inp` and `w_qat` have: qint32 of the product of their scales.

    Args:
        bias: floats, or None.
        inp: the input of the layer.
        w_qat: its weight, as it was rounded.

    Returns: the bias rounded, or the bias itself where `inp` or `w_qat` has no `qparams` with a scale.

    >>> x = tengen.tensor([1.0])
    >>> fake_quant_bias(tengen.tensor([0.3]), x, x).numpy().round(4).tolist()
    [0.30000001192092896]
    """
    scales = inp.qparams.scale, w_qat.qparams.scale
    if bias is None or scales[0] is None or scales[1] is None:
        return bias
    step = scales[0] * scales[1]
    if getattr(step, "size", 1) > 1:  # one for each channel
        step = step.reshape(bias.shape)
    qparams = create_qparams(QuantMode.SYMMERTIC, "qint32", step)
    made = fake_quant_tensor(bias, qparams)
    made.qparams.update(qparams)
    return made


class Round(Function):
    """The nearest integers, in the middle the one away from zero; gradients pass as they are.

    >>> Round()(tengen.tensor([0.5, -0.5])).tolist()
    [1.0, -1.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        return round(x)

    def backward(self, output_grads: Tensor) -> Tensor:
        return output_grads


class QParamsModuleMixin:
    """For modules that know a scale: `get_quantized_dtype` from `get_qparams`."""

    dtype: Any

    @abstractmethod
    def get_qparams(self) -> QParams:
        """The scale, zero point and kind."""

    def get_quantized_dtype(self) -> Any:
        """The dtype of tensors that are quantised so. If each channel has a scale of its own, that of the integers: its scale is 1."""
        qparams = self.get_qparams()
        meta: Any = qparams.dtype_meta
        zero = qparams.zero_point if meta.is_unsigned else None
        if meta.is_unsigned and zero is None:  # symmetric: 0 is in the middle
            zero = (meta.qmax + meta.qmin + 1) // 2
        scale = 1.0 if getattr(qparams.scale, "size", 1) > 1 else float(qparams.scale)
        return create_quantized_dtype(meta, scale, None if zero is None else int(zero))


def register_method_to_class(cls: type) -> Callable[[Any], Any]:
    """A decorator that makes a function a method of a class, under its own name."""

    def decorate(function: Any) -> Any:
        setattr(cls, function.__name__, function)
        return function

    return decorate
