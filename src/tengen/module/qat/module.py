"""What layers of training with rounded numbers have in common."""

from __future__ import annotations

from abc import abstractmethod
from copy import copy
from typing import Any, ClassVar, TypeVar

from ...core import Tensor
from ...core.qparams import QParams
from ..module import Module
from ..quantization.qconfig import QConfig
from ..quantization.utils import fake_quant_bias

__all__ = ["QATModule"]

Self = TypeVar("Self", bound="QATModule")


class QATModule(Module):
    """A layer whose weight and result are observed and rounded, as its QConfig says.

    `quantization.quantize_qat` makes these of usual layers. `weight_observer`, `act_observer`, `weight_fake_quant`,
    `act_fake_quant`: what the QConfig has made, or None. To make a layer of one's own quantisable, derive a class from
    it and from this one, and pass both as `mapping` to `quantize_qat`.

    Args:
        name: any text, kept as `.name`.

    >>> from tengen.module import qat
    >>> issubclass(qat.Linear, qat.QATModule)
    True
    """

    with_weight: ClassVar[bool] = True
    """Whether there is a weight to round."""
    with_act: ClassVar[bool] = True
    """Whether the result is rounded."""
    channel_axis: ClassVar[int | None] = None
    """Which dim of a weight without groups has the channels of the result; None if they cannot have scales of their own."""

    weight_observer: Any = None
    act_observer: Any = None
    weight_fake_quant: Any = None
    act_fake_quant: Any = None

    def __repr__(self) -> str:
        return "QAT." + super().__repr__()

    def set_qconfig(self, qconfig: QConfig) -> None:
        """Have observers and fake quantisation made anew, by this configuration."""
        if self.with_act:
            self.act_observer, self.act_fake_quant = _made(qconfig.act_observer), _made(qconfig.act_fake_quant)
        if self.with_weight:
            self.weight_observer, self.weight_fake_quant = (
                _made(qconfig.weight_observer),
                _made(qconfig.weight_fake_quant),
            )
            if hasattr(self.weight_observer, "set_channels") and self.channel_axis is not None:
                self.weight_observer.set_channels(self._channel_shape())

    def _channel_shape(self) -> tuple[int, ...]:
        """The shape of the weight, with 1 but for the channels of the result, of which each group has some."""
        shape, axis = self._weight_shape(), self.channel_axis
        assert axis is not None
        kept = (0, axis + 1) if len(shape) == 5 else (axis,)
        return tuple(extent if d in kept else 1 for d, extent in enumerate(shape))

    def _weight_shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.weight.shape
        return shape

    def set_fake_quant(self, enable: bool) -> None:
        """Whether weight and result are rounded."""
        _enable(enable, self.act_fake_quant, self.weight_fake_quant)

    def set_observer(self, enable: bool) -> None:
        """Whether weight and result are observed."""
        _enable(enable, self.act_observer, self.weight_observer)

    def _apply_fakequant_with_observer(self, target: Tensor, fake_quant: Any, observer: Any) -> Tensor:
        if observer is not None:
            target = observer(target)
        qparams = _qparams(fake_quant, observer)
        if qparams is None:
            return target
        made: Tensor = target if fake_quant is None else fake_quant(target, qparams)
        made.qparams.update(qparams)
        return made

    def apply_quant_weight(self, target: Tensor) -> Tensor:
        """The weight as it is used: observed and rounded."""
        return self._apply_fakequant_with_observer(target, self.weight_fake_quant, self.weight_observer)

    def apply_quant_activation(self, target: Tensor) -> Tensor:
        """The result as it is returned: observed and rounded."""
        return self._apply_fakequant_with_observer(target, self.act_fake_quant, self.act_observer)

    def apply_quant_bias(self, target: Tensor | None, inp: Tensor, w_qat: Tensor) -> Tensor | None:
        """The bias as it is used: rounded to what sums of products of `inp` and `w_qat` can be, where both are quantised."""
        return fake_quant_bias(target, inp, w_qat)

    def get_weight_dtype(self) -> Any:
        """The quantised dtype of the weight; None if it has none."""
        return _dtype(self.weight_fake_quant, self.weight_observer)

    def get_activation_dtype(self) -> Any:
        """The quantised dtype of the result; None if it has none."""
        return _dtype(self.act_fake_quant, self.act_observer)

    def get_weight_qparams(self) -> QParams | None:
        """The scale of the weight."""
        return _qparams(self.weight_fake_quant, self.weight_observer)

    def get_activation_qparams(self) -> QParams | None:
        """The scale of the result."""
        return _qparams(self.act_fake_quant, self.act_observer)

    @classmethod
    @abstractmethod
    def from_float_module(cls, float_module: Any) -> Any:
        """This layer with the parameters of a usual one."""

    @classmethod
    def _sharing(cls: type[Self], float_module: Module) -> Self:
        """One that has the attributes of a usual layer: the same parameters, so an optimizer that has them goes on with them."""
        made: Self = cls.__new__(cls)
        for name, value in vars(float_module).items():
            made.__dict__[name] = copy(value) if isinstance(value, (dict, list)) else value
        for name in ("act_observer", "act_fake_quant", "weight_observer", "weight_fake_quant"):
            made.__dict__[name] = None
        return made


class Shared(QATModule):
    """A QATModule that has just the attributes of the usual layer."""

    @classmethod
    def from_float_module(cls, float_module: Any) -> Any:
        """This layer with the parameters of a usual one, which they share."""
        return cls._sharing(float_module)


def _made(maker: Any) -> Any:
    return None if maker is None else maker()


def _enable(enable: bool, *modules: Any) -> None:
    for module in modules:
        if module is not None:
            (module.enable if enable else module.disable)()


def _knowing(fake_quant: Any, observer: Any) -> Any:
    """Which of the two knows the scale; None if neither is there."""
    return fake_quant if hasattr(fake_quant, "get_qparams") else observer


def _qparams(fake_quant: Any, observer: Any) -> QParams | None:
    knowing = _knowing(fake_quant, observer)
    found: QParams | None = None if knowing is None else knowing.get_qparams()
    return found


def _dtype(fake_quant: Any, observer: Any) -> Any:
    knowing = _knowing(fake_quant, observer)
    return None if knowing is None else knowing.get_quantized_dtype()
