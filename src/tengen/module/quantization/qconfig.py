"""Which observers and fake quantisation layers get: `QConfig`, and those that are ready-made."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from ..module import Module
from .fake_quant import TQT, FakeQuantize
from .observer import (
    ChannelMinMaxObserver,
    ExponentialMovingAverageObserver,
    HistogramObserver,
    MinMaxObserver,
    PassiveObserver,
    SyncExponentialMovingAverageObserver,
    SyncMinMaxObserver,
)

__all__ = [
    "QConfig", "calibration_qconfig", "easyquant_qconfig", "ema_fakequant_qconfig", "ema_lowbit_fakequant_qconfig",
    "min_max_fakequant_qconfig", "passive_qconfig", "per_channel_calibration_qconfig", "per_channel_fakequant_qconfig",
    "sync_ema_fakequant_qconfig", "tqt_qconfig",
]  # fmt: skip


class _Makers(NamedTuple):
    weight_observer: Any
    act_observer: Any
    weight_fake_quant: Any
    act_fake_quant: Any


class QConfig(_Makers):
    """What makes the observers and the fake quantisation of a layer's weight and of its result.

    Args:
        weight_observer, act_observer, weight_fake_quant, act_fake_quant: classes, or `functools.partial` of them; None
            for none.

    Raises:
        ValueError: an instance is given: each layer gets its own.

    >>> from functools import partial
    >>> from tengen.quantization import FakeQuantize, MinMaxObserver, QConfig
    >>> observer, fake = partial(MinMaxObserver, dtype="qint8"), partial(FakeQuantize, dtype="qint8")
    >>> QConfig(observer, observer, fake, fake).act_observer().qmax
    127
    """

    __slots__ = ()

    def __new__(cls, weight_observer: Any, act_observer: Any, weight_fake_quant: Any, act_fake_quant: Any) -> QConfig:
        makers = weight_observer, act_observer, weight_fake_quant, act_fake_quant
        for maker in makers:
            if isinstance(maker, Module):
                kind = type(maker).__name__
                raise ValueError(f"QConfig takes what makes a {kind}, not one: the class, or partial({kind}, dtype=…)")
        return super().__new__(cls, *makers)


def _of(kind: Any, weight: str = "qint8_narrow", act: str = "qint8") -> tuple[Any, Any]:
    return partial(kind, dtype=weight), partial(kind, dtype=act)


def _fake(weight_observer: Any, act_observer: Any, *dtypes: str) -> QConfig:
    makers = _of(weight_observer, *dtypes)[0], _of(act_observer, *dtypes)[1]
    return QConfig(*makers, *_of(FakeQuantize, *dtypes))


min_max_fakequant_qconfig = _fake(MinMaxObserver, MinMaxObserver)
ema_fakequant_qconfig = _fake(MinMaxObserver, ExponentialMovingAverageObserver)
sync_ema_fakequant_qconfig = _fake(SyncMinMaxObserver, SyncExponentialMovingAverageObserver)
ema_lowbit_fakequant_qconfig = _fake(MinMaxObserver, ExponentialMovingAverageObserver, "qint4", "qint4")
calibration_qconfig = QConfig(_of(MinMaxObserver)[0], _of(HistogramObserver)[1], None, None)
per_channel_fakequant_qconfig = _fake(ChannelMinMaxObserver, ExponentialMovingAverageObserver)
per_channel_calibration_qconfig = QConfig(_of(ChannelMinMaxObserver)[0], _of(HistogramObserver)[1], None, None)
tqt_qconfig = QConfig(None, None, *_of(TQT))
passive_qconfig = _fake(PassiveObserver, PassiveObserver)
easyquant_qconfig = passive_qconfig
