"""Observers: what numbers pass, and from that a scale and a zero point."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import functional as F
from ...base import world
from ...base.quantized import QuantDtypeMeta
from ...core import Tensor
from ...core.qparams import QParams, QuantMode, create_qparams, meta_of
from ...functional.distributed import all_reduce_max, all_reduce_min
from ..module import Module
from .histogram import Histogram
from .utils import QParamsModuleMixin

__all__ = [
    "ChannelMinMaxObserver", "ExponentialMovingAverageObserver", "HistogramObserver", "MinMaxObserver", "Observer", "PassiveObserver",
    "SyncExponentialMovingAverageObserver", "SyncMinMaxObserver",
]  # fmt: skip

_LARGEST = float(np.finfo(np.float32).max)


class Observer(Module, QParamsModuleMixin):
    """What sees numbers pass, while it is enabled, and knows by which scale to quantise them.

    Training enables it and evaluation disables it; `enable` and `disable` do so in any mode.

    It returns its input.

    Args:
        dtype: the kind of the numbers, such as "qint8".
        kwargs: `name`.

    >>> from tengen.quantization import MinMaxObserver, Observer
    >>> issubclass(MinMaxObserver, Observer)
    True
    """

    def __init__(self, dtype: str | QuantDtypeMeta, **kwargs: Any):
        super().__init__()
        self.dtype = meta_of(dtype)
        self.qmin, self.qmax = self.dtype.qmin, self.dtype.qmax
        self.enabled = True

    @property
    def training(self) -> bool:
        """Whether it is in training mode."""
        return bool(self.__dict__["training"])

    @training.setter
    def training(self, mode: bool) -> None:
        self.__dict__["training"] = self.__dict__["enabled"] = mode

    def enable(self) -> None:
        """Look at what passes from now on."""
        self.enabled = True

    def disable(self) -> None:
        """Let pass what comes without looking from now on."""
        self.enabled = False

    def get_qparams(self) -> QParams:
        """The scale, zero point and kind, from what has been seen."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class MinMaxObserver(Observer):
    """Knows the smallest and the largest number that has passed.

    Args:
        mode: symmetric: scale = max(|min|, |max|) / ((qmax - qmin) / 2); asymmetric: scale = (max - min) / (qmax -
            qmin), and zero point = qmin - round(min / scale), where 0 counts as a number that has passed.
        eps: what the scale is at least.
        dtype: the kind of the numbers.
        kwargs: `name`.

    >>> from tengen.quantization import MinMaxObserver
    >>> observer = MinMaxObserver(dtype="qint8_narrow")
    >>> _ = observer(tengen.tensor([-2.54, 1.0]))
    >>> observer.get_quantized_dtype()
    qint8(0.02)
    """

    def __init__(
        self,
        mode: QuantMode = QuantMode.SYMMERTIC,
        eps: float = 1e-5,
        dtype: str | QuantDtypeMeta = "qint8",
        **kwargs: Any,
    ):
        super().__init__(dtype, **kwargs)
        self.mode = mode
        self.min_val = Tensor(_LARGEST, dtype="float32")
        self.max_val = Tensor(-_LARGEST, dtype="float32")
        self.scale_limit = eps

    def _calculate_qparams(self, inp_min_val: Tensor, inp_max_val: Tensor) -> QParams:
        low, high = F.minimum(0.0, inp_min_val), F.maximum(0.0, inp_max_val)
        if self.mode == QuantMode.SYMMERTIC:
            scale = F.maximum(-low, high) / ((self.qmax - self.qmin) / 2)
            return create_qparams(self.mode, self.dtype, F.maximum(scale, self.scale_limit))
        scale = F.maximum((high - low) / (self.qmax - self.qmin), self.scale_limit)
        return create_qparams(self.mode, self.dtype, scale, self.qmin - F.round(low / scale))

    def get_qparams(self) -> QParams:
        return self._calculate_qparams(self.min_val, self.max_val)

    def _extent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest and the largest number."""
        x = x.detach()
        return F.min(x), F.max(x)

    def forward(self, x: Tensor) -> Tensor:
        if self.enabled:
            low, high = self._extent(x)
            self.min_val._reset(F.minimum(self.min_val, low))
            self.max_val._reset(F.maximum(self.max_val, high))
        return x


class ChannelMinMaxObserver(MinMaxObserver):
    """Knows the smallest and the largest weight of each channel of the result, so that each channel has a scale of its own.

    It is for weights, and symmetric. A layer tells it how its weight lies; until then it is a MinMaxObserver.

    Args:
        eps: what each scale is at least.
        dtype: the kind of the numbers, one without zero point.
        kwargs: `name`.

    Raises:
        ValueError: the kind has a zero point.

    >>> from tengen.quantization import ChannelMinMaxObserver
    >>> observer = ChannelMinMaxObserver(dtype="qint8_narrow")
    >>> observer.set_channels((2, 1))
    >>> _ = observer(tengen.tensor([[-2.54, 1.0], [0.0, 0.127]]))
    >>> observer.get_qparams().scale.numpy().round(3)
    array([[0.02 ],
           [0.001]], dtype=float32)
    """

    def __init__(self, eps: float = 1e-5, dtype: str | QuantDtypeMeta = "qint8_narrow", **kwargs: Any):
        super().__init__(QuantMode.SYMMERTIC, eps, dtype, **kwargs)
        if self.dtype.is_unsigned:
            raise ValueError(f"ChannelMinMaxObserver: weights have no zero point, got dtype {self.dtype.name!r}")

    def set_channels(self, shape: tuple[int, ...]) -> None:
        """Forget what was seen, and see a weight whose scales have this shape: its own, with 1 but for the channels of the result."""
        self.min_val = F.full(shape, _LARGEST)
        self.max_val = F.full(shape, -_LARGEST)

    def _extent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x, shape = x.detach(), self.min_val.shape
        if not shape:
            return super()._extent(x)
        axes = tuple(axis for axis, extent in enumerate(shape) if extent == 1)
        return F.min(x, axes, keepdims=True), F.max(x, axes, keepdims=True)


class _AllProcesses(MinMaxObserver):
    """Sees what passes in all processes."""

    def _extent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low, high = super()._extent(x)
        return (all_reduce_min(low), all_reduce_max(high)) if world.joined() else (low, high)


class SyncMinMaxObserver(_AllProcesses):
    __doc__ = (
        (MinMaxObserver.__doc__ or "").replace("has passed.", "has passed in any process.", 1).partition("    >>>")[0]
        + """    >>> from tengen.quantization import SyncMinMaxObserver
    >>> observer = SyncMinMaxObserver(dtype="qint8_narrow")
    >>> _ = observer(tengen.tensor([-2.54, 1.0]))
    >>> observer.get_quantized_dtype()
    qint8(0.02)
    """
    )


class ExponentialMovingAverageObserver(MinMaxObserver):
    """Knows moving averages of the smallest and the largest number of each call; the first call sets them.

    Args:
        momentum: how much of the averages stays at each call.
        mode, eps, dtype: as in MinMaxObserver.
        kwargs: `name`.

    >>> from tengen.quantization import ExponentialMovingAverageObserver
    >>> observer = ExponentialMovingAverageObserver(0.5, dtype="qint8_narrow")
    >>> _ = observer(tengen.tensor([-2.54, 1.0]))
    >>> observer.get_quantized_dtype()
    qint8(0.02)
    """

    def __init__(
        self,
        momentum: float = 0.9,
        mode: QuantMode = QuantMode.SYMMERTIC,
        eps: float = 1e-5,
        dtype: str | QuantDtypeMeta = "qint8",
        **kwargs: Any,
    ):
        super().__init__(mode, eps, dtype, **kwargs)
        self.momentum = Tensor(momentum, dtype="float32")
        # 0 until the first call, so that the values at the beginning do not count.
        self.runtime_momentum = Tensor(0.0, dtype="float32")

    def set_momentum(self, momentum: float) -> None:
        """How much of the averages stays at each call from now on."""
        self.momentum = Tensor(momentum, dtype="float32")

    def forward(self, x: Tensor) -> Tensor:
        if self.enabled:
            low, high = self._extent(x)
            stays = self.runtime_momentum
            self.min_val._reset(self.min_val * stays + low * (1 - stays))
            self.max_val._reset(self.max_val * stays + high * (1 - stays))
            self.runtime_momentum._reset(self.momentum + 0.0)
        return x


class SyncExponentialMovingAverageObserver(_AllProcesses, ExponentialMovingAverageObserver):
    __doc__ = (ExponentialMovingAverageObserver.__doc__ or "").replace(
        "of each call;", "of each call, in all processes;"
    )


class HistogramObserver(MinMaxObserver):
    """Knows a histogram of what has passed, and quantises the range within it that loses least, in the mean square.

    Like all observers it sees nothing while it is disabled; in MegEngine 1.13 this one goes on.

    Args:
        bins: of the histogram.
        upsample_rate: how finely a bin is cut when a histogram of another range is added.
        mode, eps, dtype: as in MinMaxObserver.
        kwargs: `name`.

    >>> from tengen.quantization import HistogramObserver
    >>> HistogramObserver(dtype="qint8").bins
    2048
    """

    def __init__(
        self,
        bins: int = 2048,
        upsample_rate: int = 128,
        mode: QuantMode = QuantMode.SYMMERTIC,
        eps: float = 1e-5,
        dtype: str | QuantDtypeMeta = "qint8",
        **kwargs: Any,
    ):
        super().__init__(mode, eps, dtype, **kwargs)
        self.bins = bins
        self.upsample_rate = upsample_rate
        self.dst_nbins = self.qmax - self.qmin + 1
        self.histogram = Tensor([-1.0] + [0.0] * (bins - 1), dtype="float32")

    def _seen(self) -> Histogram | None:
        counts = self.histogram.numpy()
        return Histogram(counts, float(self.min_val), float(self.max_val)) if counts[0] != -1 else None

    def get_qparams(self) -> QParams:
        seen = self._seen()
        if seen is None:
            return super().get_qparams()
        low, high = seen.best_range(self.dst_nbins)
        return self._calculate_qparams(Tensor(low, dtype="float32"), Tensor(high, dtype="float32"))

    def sideeffect_forward(self, x_orig: Tensor) -> None:
        """Add what passes to the histogram."""
        x = x_orig.detach().numpy()
        seen = self._seen()
        found = Histogram.of(x, self.bins) if seen is None else seen.with_more(x, self.upsample_rate)
        self.histogram._reset(Tensor(found.counts, dtype="float32"))
        self.min_val._reset(Tensor(found.low, dtype="float32"))
        self.max_val._reset(Tensor(found.high, dtype="float32"))

    def forward(self, x: Tensor) -> Tensor:
        if self.enabled:
            self.sideeffect_forward(x)
        return x


class PassiveObserver(Observer):
    """Knows the scale that it has been told: `set_qparams` first, then `scale` can be set.

    Args:
        dtype: the kind of the numbers, such as "qint8".
        kwargs: `name`.

    >>> from tengen.quantization import PassiveObserver, create_qparams
    >>> observer = PassiveObserver("qint8")
    >>> observer.set_qparams(create_qparams(dtype_meta="qint8", scale=tengen.tensor(0.5)))
    >>> observer.scale.item()
    0.5
    """

    def __init__(self, dtype: str | QuantDtypeMeta, **kwargs: Any):
        super().__init__(dtype, **kwargs)
        self.qparams: QParams | None = None
        self.orig_scale: Any = None

    def _known(self) -> QParams:
        if self.qparams is None:
            raise AttributeError("PassiveObserver: it has no scale yet; set_qparams() gives it one")
        return self.qparams

    @property
    def scale(self) -> Tensor:
        """The scale."""
        made: Tensor = self._known().scale
        return made

    @scale.setter
    def scale(self, value: Any) -> None:
        if not (np.asarray(value) > 0).all():
            raise ValueError(f"PassiveObserver: a scale must be positive, got {value!r}")
        self._known().scale._reset(Tensor(value, dtype="float32"))

    def get_qparams(self) -> QParams:
        made: Any = self.qparams
        return made

    def set_qparams(self, qparams: QParams) -> None:
        """Take over a scale, zero point and kind."""
        self.orig_scale = qparams.scale.numpy()
        if self.qparams is None:
            scale = Tensor(qparams.scale, dtype="float32")
            self.qparams = create_qparams(
                qparams.mode or QuantMode.SYMMERTIC, qparams.dtype_meta, scale, qparams.zero_point
            )
        else:
            self.qparams.update(qparams)

    def forward(self, x: Tensor) -> Tensor:
        return x
