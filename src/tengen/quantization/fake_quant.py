"""Fake quantisation as modules."""

from ..core import Parameter, Tensor
from ..logger import get_logger
from ..module import Module
from ..module.quantization import fake_quant as _fake_quant
from ..module.quantization.fake_quant import *  # noqa: F403
from ..module.quantization.fake_quant import _FakeQuantize  # noqa: F401
from .utils import (
    LSQParams,
    QParams,
    QParamsModuleMixin,
    QuantDtypeMeta,
    QuantMode,
    create_qparams,
    fake_quant_tensor,
    lsq_forward,
    tqt_forward,
)

__all__ = [
    "LSQParams", "Module", "Parameter", "QParams", "QParamsModuleMixin", "QuantDtypeMeta", "QuantMode", "Tensor", "create_qparams",
    "fake_quant_tensor", "get_logger", "lsq_forward", "tqt_forward", *_fake_quant.__all__,
]  # fmt: skip
