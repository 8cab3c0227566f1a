"""What makes the observers and the fake quantisation of layers."""

from ..module import Module
from ..module.quantization import qconfig as _qconfig
from ..module.quantization.qconfig import *  # noqa: F403
from .fake_quant import TQT, FakeQuantize
from .observer import (
    ExponentialMovingAverageObserver,
    HistogramObserver,
    MinMaxObserver,
    PassiveObserver,
    SyncExponentialMovingAverageObserver,
    SyncMinMaxObserver,
)

__all__ = [
    "TQT", "ExponentialMovingAverageObserver", "FakeQuantize", "HistogramObserver", "MinMaxObserver", "Module", "PassiveObserver",
    "SyncExponentialMovingAverageObserver", "SyncMinMaxObserver", *_qconfig.__all__,
]  # fmt: skip
