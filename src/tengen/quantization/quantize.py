"""Converts networks to ones that are trained with rounded numbers, and these to integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from .. import functional as F
from .. import module as M
from ..core import Tensor
from ..module import Module, qat, quantized
from ..module.qat import QATModule
from ..module.quantized import QuantizedModule
from .qconfig import QConfig, easyquant_qconfig, ema_fakequant_qconfig
from .utils import QParams, create_qparams

__all__ = [
    "apply_easy_quant", "disable_fake_quant", "disable_observer", "enable_fake_quant", "enable_observer", "hook_qat_module", "is_qat",
    "propagate_qconfig", "quantize", "quantize_qat", "reset_qconfig",
]  # fmt: skip

_NAMES = [name for name in qat.__all__ if name != "QATModule"]
_float2qat_dict: dict[type[Module], type[QATModule]] = {getattr(M, name): getattr(qat, name) for name in _NAMES}
_qat2quantized_dict: dict[type[QATModule], type[QuantizedModule]] = {
    getattr(qat, name): getattr(quantized, name) for name in _NAMES
}


def is_qat(module: Module) -> bool:
    """Whether a module is a layer that is trained with rounded numbers.

    Args:
        module: a Module.

    Returns: a bool.

    >>> from tengen.quantization.quantize import is_qat
    >>> is_qat(M.Linear(2, 3))
    False
    """
    return isinstance(module, QATModule)


def _converted(module: Module, convert: Callable[[Module], Module | None], inplace: bool) -> Any:
    """Replace modules by what `convert` returns; None keeps a module and looks inside it."""
    if not isinstance(module, Module):
        raise TypeError(f"a Module is needed to quantise, got a {type(module).__name__}")
    network = module if inplace else deepcopy(module)
    made: dict[int, Module] = {}

    def visit(one: Module) -> Module:
        if id(one) not in made:
            new = convert(one)
            made[id(one)] = one if new is None else new
            if new is None:
                for name, value in list(vars(one).items()):
                    replaced = inside(value)
                    if replaced is not value:
                        one.__dict__[name] = replaced
        return made[id(one)]

    def inside(value: Any) -> Any:
        if isinstance(value, Module):
            return visit(value)
        if isinstance(value, (list, tuple)):
            new = [inside(item) for item in value]
            if all(a is b for a, b in zip(new, value, strict=True)):
                return value
            return new if isinstance(value, list) else type(value)(*new) if hasattr(value, "_fields") else tuple(new)
        if isinstance(value, dict):
            replaced = {key: inside(item) for key, item in value.items()}
            if all(replaced[key] is item for key, item in value.items()):
                return value
            copied = value.copy()
            copied.update(replaced)
            return copied
        return value

    return visit(network)


def quantize_qat(
    module: Module,
    inplace: bool = True,
    qconfig: QConfig = ema_fakequant_qconfig,
    mapping: Mapping[type[Module], type[QATModule]] | None = None,
) -> Any:
    """Convert the layers of a network to those of `module.qat`, which round weights and results.

    The new layers share the parameters of the old ones, so an optimizer still works.

    Args:
        module: the network. Modules for which `disable_quantize()` was called stay as they are.
        inplace: whether it is changed itself; a layer alone is returned anew.
        qconfig: the observers and the fake quantisation.
        mapping: classes of layers of one's own, and what they become.

    Returns: the network.

    Raises:
        TypeError: the argument is not a Module.

    >>> from tengen.quantization import quantize_qat
    >>> type(quantize_qat(M.Sequential(M.Linear(2, 3)))[0])
    <class 'tengen.module.qat.layers.Linear'>
    """
    table = {**_float2qat_dict, **(mapping or {})}

    def convert(one: Module) -> Module | None:
        if isinstance(one, QATModule):
            if any(part is not None for part in (one.act_observer, one.act_fake_quant)):
                return one
            one.set_qconfig(qconfig)  # one that somebody has put there, and that has none yet
            return one
        if one.quantize_disabled:
            return one
        kind = table.get(type(one))
        if kind is None:
            return None
        made: QATModule = kind.from_float_module(one)
        made.set_qconfig(qconfig)
        made.training = (
            True  # so that it observes; what it has of the layer that was there, as a BatchNorm2d, stays in its mode
        )
        return made

    return _converted(module, convert, inplace)


def quantize(
    module: Module, inplace: bool = True, mapping: Mapping[type[QATModule], type[QuantizedModule]] | None = None
) -> Any:
    """Convert the layers of `module.qat` in a network to those of `module.quantized`, which compute with integers.

    Args:
        module: the network, with scales that observers or training have found.
        inplace: whether it is changed itself; a layer alone is returned anew.
        mapping: classes of layers of one's own, and what they become.

    Returns: the network.

    Raises:
        TypeError: the argument is not a Module.
        ValueError: a layer was quantised without fake quantisation or observers.

    >>> from tengen.quantization import quantize, quantize_qat
    >>> net = quantize_qat(M.Sequential(M.QuantStub(), M.Linear(2, 1), M.DequantStub()))
    >>> _ = net(tengen.tensor([[1.0, 2.0]]))
    >>> quantize(net).eval()
    >>> net(tengen.tensor([[1.0, 2.0]])).dtype
    <class 'numpy.float32'>
    """
    table: dict[Any, Any] = {**_qat2quantized_dict, **(mapping or {})}

    def convert(one: Module) -> Module | None:
        kind = table.get(type(one))
        return None if kind is None else kind.from_qat_module(one)

    return _converted(module, convert, inplace)


def hook_qat_module(module: Module, func: Callable[..., Any]) -> list[Any]:
    """Call a function after each call of a layer of `module.qat` in a network.

    Args:
        module: a network.
        func: gets the layer, its inputs and its outputs.

    Returns: a list of handles, which have `remove()`.

    >>> from tengen.quantization.quantize import hook_qat_module, quantize_qat
    >>> net = quantize_qat(M.Sequential(M.Linear(2, 3)))
    >>> handles = hook_qat_module(net, lambda module, inputs, outputs: print(module.out_features))
    >>> _ = net(F.ones((1, 2)))
    3
    """
    return [one.register_forward_hook(func) for one in module.modules() if isinstance(one, QATModule)]


def _each(module: Module, do: Callable[[QATModule], Any]) -> None:
    if not isinstance(module, Module):
        raise TypeError(f"a Module is needed, got a {type(module).__name__}")
    for one in module.modules():
        if isinstance(one, QATModule):
            do(one)


def propagate_qconfig(module: Module, qconfig: QConfig) -> None:
    """Make new observers and fake quantisation for all layers of `module.qat` in a network.

    Args:
        module: a network.
        qconfig: the observers and the fake quantisation.

    >>> from tengen.quantization import min_max_fakequant_qconfig, quantize_qat
    >>> from tengen.quantization.quantize import propagate_qconfig
    >>> propagate_qconfig(quantize_qat(M.Sequential(M.Linear(2, 3))), min_max_fakequant_qconfig)
    """
    _each(module, lambda one: one.set_qconfig(qconfig))


def disable_fake_quant(module: Module) -> None:
    """Switch rounding off in the layers of `module.qat` in a network.

    Args:
        module: a network.

    >>> from tengen.quantization import disable_fake_quant, quantize_qat
    >>> disable_fake_quant(quantize_qat(M.Sequential(M.Linear(2, 3))))
    """
    _each(module, lambda one: one.set_fake_quant(False))


def disable_observer(module: Module) -> None:
    """Switch observers off in the layers of `module.qat` in a network, so that scales stay.

    Args:
        module: a network.

    >>> from tengen.quantization import disable_observer, quantize_qat
    >>> disable_observer(quantize_qat(M.Sequential(M.Linear(2, 3))))
    """
    _each(module, lambda one: one.set_observer(False))


def enable_fake_quant(module: Module) -> None:
    """Switch rounding on in the layers of `module.qat` in a network.

    Args:
        module: a network.

    >>> from tengen.quantization import enable_fake_quant, quantize_qat
    >>> enable_fake_quant(quantize_qat(M.Sequential(M.Linear(2, 3))))
    """
    _each(module, lambda one: one.set_fake_quant(True))


def enable_observer(module: Module) -> None:
    """Switch observers on in the layers of `module.qat` in a network.

    Args:
        module: a network.

    >>> from tengen.quantization import enable_observer, quantize_qat
    >>> enable_observer(quantize_qat(M.Sequential(M.Linear(2, 3))))
    """
    _each(module, lambda one: one.set_observer(True))


def reset_qconfig(module: Module, qconfig: QConfig, inplace: bool = True) -> Any:
    """Give the layers of `module.qat` in a network another configuration, which starts from their scales.

    Args:
        module: the network.
        qconfig: the observers and fake quantisation. What takes scales (`set_qparams`: TQT, LSQ, PassiveObserver) gets
            the old ones.
        inplace: whether it is changed itself.

    Returns: the network.

    >>> from tengen.quantization import min_max_fakequant_qconfig, quantize_qat
    >>> from tengen.quantization.quantize import reset_qconfig
    >>> net = quantize_qat(M.Sequential(M.Linear(2, 3)))
    >>> _ = net(F.ones((1, 2)))
    >>> type(reset_qconfig(net, min_max_fakequant_qconfig)).__name__
    'Sequential'
    """
    network = module if inplace else deepcopy(module)

    def reset(one: QATModule) -> None:
        had = (
            one.get_weight_qparams() if one.with_weight else None,
            one.get_activation_qparams() if one.with_act else None,
        )
        one.set_qconfig(qconfig)
        for qparams, parts in zip(
            had, ((one.weight_fake_quant, one.weight_observer), (one.act_fake_quant, one.act_observer)), strict=True
        ):
            for part in parts:
                if qparams is not None and hasattr(part, "set_qparams"):
                    part.set_qparams(_for(part, qparams))

    _each(network, reset)
    return network


def _for(part: Any, qparams: QParams) -> QParams:
    """The QParams for a part with its own integer dtype: the scale stays."""
    return create_qparams(qparams.mode, part.dtype, qparams.scale, qparams.zero_point)


def apply_easy_quant(module: Module, data: Tensor, start: float = 0.8, stop: float = 1.2, num: int = 40) -> Any:
    """Choose new scales: for each layer, the multiple whose result is most similar to that without rounding.

    Layers are treated in turn, first the weight, then the result. There are `num` multiples from `start` to `stop`; results are compared for
    `data`, by cosine similarity. Source: Wu et al. 2020.

    Args:
        module: the network, with scales that observers have found. It gets the configuration `easyquant_qconfig`.
        data: the input.
        start, stop, num: the smallest and the largest multiple, and how many are tried.

    Returns: the network.

    >>> from tengen.quantization import apply_easy_quant, quantize_qat
    >>> net = quantize_qat(M.Sequential(M.QuantStub(), M.Linear(2, 1), M.DequantStub()))
    >>> _ = net(F.ones((4, 2)))
    >>> type(apply_easy_quant(net, F.ones((4, 2)), num=3)).__name__
    'Sequential'
    """
    factors = [start + (stop - start) * i / max(num - 1, 1) for i in range(num)]
    network = reset_qconfig(module, easyquant_qconfig)
    network.eval()
    disable_fake_quant(network)
    exact: dict[int, list[Any]] = {}

    def note(one: Module, inputs: Any, outputs: Any) -> None:
        exact.setdefault(id(one), [inputs, outputs])

    handles = hook_qat_module(network, note)
    network(data)
    for handle in handles:
        handle.remove()
    layers = [one for one in network.modules() if isinstance(one, QATModule) and id(one) in exact]
    for one in layers:
        inputs, want = exact[id(one)]
        one.set_fake_quant(True)
        for observer in (one.act_observer, one.weight_observer):
            if observer is not None:
                _choose(one, observer, inputs, want, factors)
    enable_fake_quant(network)
    return network


def _choose(layer: QATModule, observer: Any, inputs: Any, want: Tensor, factors: list[float]) -> None:
    scale = observer.scale.numpy()
    best = max(factors, key=lambda factor: _similar_with(layer, observer, scale * factor, inputs, want))
    observer.scale = scale * best


def _similar_with(layer: QATModule, observer: Any, scale: Any, inputs: Any, want: Tensor) -> float:
    observer.scale = scale
    found = layer(*inputs)
    product = F.sum(found * want) / (F.norm(found.flatten(), 2) * F.norm(want.flatten(), 2) + 1e-12)
    return float(product)
