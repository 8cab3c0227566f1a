"""Quantisation after training: takes scales from a few batches, and reports how much each layer loses."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np

from .. import module as M
from ..core import Tensor
from ..dtype import is_quantize
from ..module import Module
from ..module.qat import QATModule
from ..module.qat.module import Shared
from ..module.quantized import QuantizedModule
from .prepare import add_stubs, fuse, replace, shown
from .qconfig import QConfig, per_channel_calibration_qconfig
from .quantize import _float2qat_dict, quantize, quantize_qat

__all__ = ["Calibration", "LayerError", "calibrate"]


class LayerError(NamedTuple):
    """How far the result of a layer in the integer network is from that in the float network.

    Args:
        name: the path of the layer.
        kind: its class.
        ratio: signal to noise, in decibels; 20 dB more mean a tenth of the error.

    >>> from tengen.quantization import LayerError
    >>> LayerError("conv1", "Conv2d", 40.0).ratio
    40.0
    """

    name: str
    kind: str
    ratio: float


class Calibration(NamedTuple):
    """A quantised network, and the errors of its layers, worst first. It prints as a table.

    Its text is a table of these.

    Args:
        network: the network.
        errors: a LayerError for each layer.

    >>> from tengen.quantization import Calibration
    >>> Calibration(M.ReLU(), ()).errors
    ()
    """

    network: Any
    errors: tuple[LayerError, ...]

    def __str__(self) -> str:
        wide = max([len(error.name) for error in self.errors], default=0)
        kinds = max([len(error.kind) for error in self.errors], default=0)
        lines = [f"{error.name:{wide}}  {error.kind:{kinds}}  {error.ratio:6.1f} dB" for error in self.errors]
        return "\n".join(["signal to noise, worst first", *lines])


class _Kept(Shared):
    """A layer that stays in floats in an integer network: its result is observed."""

    with_weight = False

    def __init__(self, layer: Module):
        super().__init__()
        self.layer = layer
        self.train(layer.training)

    def forward(self, *inputs: Any) -> Any:
        return self.apply_quant_activation(self.layer(*inputs))


class _KeptQuantized(QuantizedModule):
    """A float layer between integer layers."""

    def __init__(self, layer: Module, dtype: Any):
        super().__init__()
        self.layer = layer
        self.output_dtype = dtype
        self.train(layer.training)

    def forward(self, *inputs: Any) -> Any:
        return self.layer(*map(_real, inputs)).astype(self.output_dtype)

    @classmethod
    def from_qat_module(cls, qat_module: Any) -> Any:
        """This layer with the scale that was observed."""
        return cls(qat_module.layer, qat_module.get_activation_dtype())


def calibrate(
    net: Module, batches: Iterable[Any], skip: Collection[str] = (), qconfig: QConfig = per_channel_calibration_qconfig
) -> Calibration:
    """Make an 8-bit integer network from a float network without training: scales come from a few batches.

    Args:
        net: a network whose layers quantisation knows (those of `module.qat`) between a QuantStub and a DequantStub.
            Or one without stubs: a convolution, its BatchNorm2d and its ReLU become one layer then, a Linear and its
            BatchNorm1d too; rows of such layers in a Sequential, and all others, get stubs of their own, and what is
            between them stays in floats. It stays as it is.
        batches: inputs, tensors or tuples of the network's arguments. A few hundred examples are enough.
        skip: paths of layers that stay in floats, such as "backbone.conv1" (see `named_modules`): those at the top of
            the table, say.
        qconfig: the observers. By default each channel of a weight has a scale of its own; with `calibration_qconfig` a
            weight has one, as in MegEngine.

    Returns: the network, in evaluation mode, and the error of each layer for the last batch, worst first.

    Raises:
        ValueError: a path is not that of a layer that would be quantised, or there are no batches.

    >>> from tengen.quantization import calibrate
    >>> net = M.Sequential(M.QuantStub(), M.LinearRelu(4, 8), M.Linear(8, 2), M.DequantStub())
    >>> made = calibrate(net, [F.ones((16, 4))], skip=["2"])
    >>> made.network(F.ones((1, 4))).dtype, len(made.errors)
    (<class 'numpy.float32'>, 4)
    >>> net = M.Sequential(M.Conv2d(1, 2, 3), M.BatchNorm2d(2), M.ReLU())
    >>> [error.name for error in calibrate(net, [F.ones((2, 1, 8, 8))]).errors].count("0")
    1
    """
    watched, waiting = deepcopy(net), iter(batches)
    first = next(waiting, None)
    if first is None:
        raise ValueError("calibrate: there are no batches to find scales from")
    watched.eval()
    last: Any = _arguments(first)
    _check_skipped(watched, skip)
    if any(isinstance(one, M.QuantStub) for one in watched.modules()):
        _keep(watched, skip)
    else:
        for path in skip:
            dict(watched.named_modules())[path].disable_quantize()
        fuse(watched, last)
        add_stubs(watched, skip)
    watched = quantize_qat(watched, qconfig=qconfig)
    watched.eval()
    _observe(watched, True)
    watched(*last)
    for batch in waiting:
        last = _arguments(batch)
        watched(*last)
    _observe(watched, False)
    exact = _results(watched, last, QATModule)
    made = quantize(watched, inplace=False, mapping={_Kept: _KeptQuantized})
    made.eval()
    rough = _results(made, last, QuantizedModule)
    names = {name: type(module).__name__.lstrip("_") for name, module in made.named_modules()}
    errors = [LayerError(shown(name), names[name], _ratio(exact[name], rough[name])) for name in rough if name in exact]
    return Calibration(made, tuple(sorted(errors, key=lambda error: error.ratio)))


def _arguments(batch: Any) -> tuple[Any, ...]:
    return batch if isinstance(batch, tuple) else (batch,)


def _check_skipped(net: Module, skip: Collection[str]) -> None:
    modules = dict(net.named_modules())
    for path in skip:
        if type(modules.get(path)) not in _float2qat_dict:
            found = ", ".join(name for name, one in modules.items() if type(one) in _float2qat_dict)
            raise ValueError(
                f"calibrate: skip has {path!r}, which is no layer that would be quantised; those are {found}"
            )


def _keep(net: Module, skip: Collection[str]) -> None:
    """Replace the layers that stay in floats among integer layers."""
    modules = dict(net.named_modules())
    for path in skip:
        modules[path].disable_quantize()
        replace(net, path, _Kept(modules[path]))


def _observe(net: Module, enable: bool) -> None:
    for one in net.modules():
        if isinstance(one, QATModule):
            one.set_observer(enable)


def _results(net: Module, inputs: tuple[Any, ...], kind: Any) -> dict[str, Any]:
    """The results of the layers of a kind, by path."""
    found: dict[str, Any] = {}
    handles = []
    for name, one in net.named_modules():
        if isinstance(one, kind):

            def note(module: Any, given: Any, result: Any, name: str = name) -> None:
                found[name] = _real(result).numpy()

            handles.append(one.register_forward_hook(note))
    try:
        net(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _real(x: Any) -> Any:
    return x.astype("float32") if isinstance(x, Tensor) and is_quantize(x.dtype) else x


def _ratio(exact: Any, rough: Any) -> float:
    noise = float(np.square(exact.astype(np.float64) - rough).sum())
    signal = float(np.square(exact.astype(np.float64)).sum())
    return math.inf if noise == 0 else 10 * math.log10(max(signal, 1e-30) / noise)
