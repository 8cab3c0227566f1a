"""Fake quantisation as modules: with a scale that is given, or one that is trained."""

from __future__ import annotations

from typing import Any

from ... import functional as F
from ...base.quantized import QuantDtypeMeta
from ...core import Parameter, Tensor
from ...core.qparams import LSQParams, QParams, QuantMode, create_qparams, meta_of
from ..module import Module
from .utils import QParamsModuleMixin, fake_quant_tensor, lsq_forward, tqt_forward

__all__ = ["LSQ", "TQT", "FakeQuantize"]


class _FakeQuantize(Module):
    """What gives its input rounded while it is enabled, and as it is while it is not.

    Args:
        dtype: the kind of the numbers, such as "qint8".
        enable: whether it is enabled.
    """

    def __init__(self, dtype: str | QuantDtypeMeta, enable: bool = True, **kwargs: Any):
        super().__init__()
        self.dtype = meta_of(dtype)
        self.qmin, self.qmax = self.dtype.qmin, self.dtype.qmax
        self.enabled = enable

    def enable(self) -> None:
        """Round from now on."""
        self.enabled = True

    def disable(self) -> None:
        """Leave the input as it is from now on."""
        self.enabled = False

    def fake_quant_forward(self, inp: Tensor, qparams: Any = None) -> Tensor:
        """What `forward` gives while it is enabled."""
        raise NotImplementedError

    def normal_forward(self, inp: Tensor, qparams: QParams | None = None) -> Tensor:
        """What `forward` gives while it is not."""
        return inp

    def forward(self, inp: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # type: ignore[override]
        return (self.fake_quant_forward if self.enabled else self.normal_forward)(inp, *args, **kwargs)


class FakeQuantize(_FakeQuantize):
    """Rounds to the numbers that a quantised dtype has, by the scale that it is called with.

    Args:
        dtype: the kind of the numbers, such as "qint8".
        enable: whether it is enabled.
        kwargs: `name`.

    >>> from tengen.quantization import FakeQuantize, create_qparams
    >>> FakeQuantize("qint8")(tengen.tensor([0.6]), create_qparams(dtype_meta="qint8", scale=tengen.tensor(0.5))).tolist()
    [0.5]
    """

    def fake_quant_forward(self, inp: Tensor, qparams: QParams | None = None) -> Tensor:
        if qparams is None:
            raise ValueError("FakeQuantize: it is called with the QParams of an observer")
        meta = self.dtype if qparams.dtype_meta is None else qparams.dtype_meta
        if meta != self.dtype:
            raise ValueError(f"FakeQuantize: it is for {self.dtype.name}, the observer for {meta.name}")
        return fake_quant_tensor(inp, qparams)


def _need_one_scale(name: str, qparams: QParams) -> None:
    """ValueError for a scale for each channel."""
    if getattr(qparams.scale, "size", 1) > 1:
        raise ValueError(
            f"{name}: it learns one scale for a tensor, got scales of shape {qparams.scale.shape}; use observers that find one scale"
        )


class TQT(_FakeQuantize, QParamsModuleMixin):
    """Rounds by a scale that is trained: `scale` is its logarithm to base 2.

    Source: Jain et al. 2019.

    Args:
        dtype: the kind of the numbers, such as "qint8".
        enable: whether it is enabled.
        kwargs: `name`.

    >>> from tengen.quantization import TQT
    >>> TQT("qint8").enabled
    True
    """

    def __init__(self, dtype: str | QuantDtypeMeta, enable: bool = True, **kwargs: Any):
        super().__init__(dtype, enable, **kwargs)
        self.scale = Parameter(0.0, dtype="float32")

    def fake_quant_forward(self, inp: Tensor, qparams: QParams | None = None) -> Tensor:
        return tqt_forward(self.qmin, self.qmax, inp, self.scale)

    def set_qparams(self, qparams: QParams) -> None:
        """Start from this scale. Raises ValueError if it is asymmetric, or one for each channel."""
        _need_one_scale("TQT", qparams)
        if qparams.mode != QuantMode.SYMMERTIC:
            raise ValueError("TQT: it is symmetric, and takes no zero point")
        self.scale.set_value(F.log(qparams.scale) / F.log(Tensor(2.0)))

    def get_qparams(self) -> QParams:
        return create_qparams(QuantMode.SYMMERTIC, self.dtype, scale=2**self.scale)


class LSQ(_FakeQuantize, QParamsModuleMixin):
    """Rounds by a step that is trained: the absolute value of `step_size`, plus `eps`.

    Source: Esser et al. 2019.

    Args:
        dtype: the kind of the numbers, such as "qint8".
        enable: whether it is enabled.
        eps: what the step is at least.
        kwargs: `name`.

    >>> from tengen.quantization import LSQ
    >>> LSQ("qint8").enabled
    True
    """

    def __init__(self, dtype: str | QuantDtypeMeta, enable: bool = True, eps: float = 1e-5, **kwargs: Any):
        super().__init__(dtype, enable, **kwargs)
        self.eps = Tensor(eps, dtype="float32")
        self.step_size = Parameter(1.0, dtype="float32")
        self.mode: QuantMode | None = None
        self.zero_point = Tensor(0.0, dtype="float32")
        self.grad_scale = Tensor(1.0, dtype="float32")

    def set_qparams(self, qparams: QParams) -> None:
        """Start from this scale, zero point and factor of the gradient, if it has one. Raises ValueError for one for each channel."""
        _need_one_scale("LSQ", qparams)
        self.mode = qparams.mode
        if qparams.mode == QuantMode.ASYMMERTIC and qparams.zero_point is not None:
            self.zero_point = qparams.zero_point
        if qparams.scale is None:
            raise ValueError("LSQ: the QParams have no scale")
        self.step_size.set_value(qparams.scale - self.eps)
        if isinstance(qparams, LSQParams):
            self.grad_scale = qparams.grad_scale

    def fake_quant_forward(self, inp: Tensor, qparams: LSQParams | None = None) -> Tensor:
        step = F.abs(self.step_size) + self.eps
        return lsq_forward(self.qmin, self.qmax, inp, step, self.zero_point, self.grad_scale)

    def get_qparams(self) -> QParams:
        step = F.abs(self.step_size.detach()) + self.eps
        mode: Any = self.mode
        return create_qparams(mode, self.dtype, step, self.zero_point, self.grad_scale)
