"""FakeQuantize with its own scale, for graphs whose scales are known."""

from __future__ import annotations

from typing import Any

from ..base.quantized import QuantDtypeMeta
from ..core import Tensor
from ..core.qparams import QParams
from ..module.quantization.fake_quant import _FakeQuantize
from ..module.quantization.utils import QParamsModuleMixin, fake_quant_tensor
from .module_tracer import register_opaque

__all__ = ["FakeQuantize"]


class FakeQuantize(_FakeQuantize, QParamsModuleMixin):
    """Rounds to the numbers of a quantised dtype, with the scale given to `set_qparams`.

    Args:
        dtype: the quantised dtype, such as "qint8".
        enable: whether it is enabled.

    >>> from tengen.traced_module.fake_quant import FakeQuantize
    >>> from tengen.quantization import create_qparams
    >>> fake = FakeQuantize("qint8")
    >>> fake.set_qparams(create_qparams(dtype_meta="qint8", scale=tengen.tensor(0.5)))
    >>> fake(tengen.tensor([0.6])).tolist()
    [0.5]
    """

    def __init__(self, dtype: str | QuantDtypeMeta, enable: bool = True, **kwargs: Any):
        super().__init__(dtype, enable, **kwargs)
        self.qparams: QParams | None = None

    def fake_quant_forward(self, inp: Tensor, qparams: QParams | None = None) -> Tensor:
        return fake_quant_tensor(inp, self.get_qparams() if qparams is None else qparams)

    def get_qparams(self) -> QParams:
        """The scale. Raises ValueError if it has not been set."""
        if self.qparams is None:
            raise ValueError("this FakeQuantize has no scale yet: call set_qparams")
        return self.qparams

    def set_qparams(self, qparams: QParams) -> None:
        """Set the scale. Raises ValueError for a scale of another dtype."""
        if qparams.dtype_meta is not None and qparams.dtype_meta != self.dtype:
            raise ValueError(f"a FakeQuantize of {self.dtype.name} is given a scale of {qparams.dtype_meta.name}")
        self.qparams = qparams


register_opaque(FakeQuantize)
