"""Prepares a network without quantisation for calibration: merges layers, and adds stubs.

A run shows which layers follow one another: the result of one is the input of the next. All other code stays
in floats, so there are stubs at its borders.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from .. import module as M
from ..module import Module
from ..module.bn_fusion import fuse_conv_bn_relu_module, fuse_linear_bn_relu_module
from .quantize import _float2qat_dict

_FUSED: dict[type[Module], tuple[type[Module], Any]] = {
    M.Conv2d: (M.BatchNorm2d, fuse_conv_bn_relu_module),
    M.ConvTranspose2d: (M.BatchNorm2d, fuse_conv_bn_relu_module),
    M.Linear: (M.BatchNorm1d, fuse_linear_bn_relu_module),
}
_PASSING = (M.ReLU, M.MaxPool2d, M.Identity)
"""Layers that take and return quantised numbers with the same scale."""
_JOINING = (M.Elemwise, M.Concat)
"""Layers that take several inputs, including floats."""


class _Stubbed(Module):
    """An integer layer among float layers: quant and dequant are stubs, or None next to a neighbour with quantised numbers."""

    def __init__(self, layer: Module, quant: Module | None, dequant: Module | None):
        super().__init__()
        self.quant, self.layer, self.dequant = quant, layer, dequant
        self.train(layer.training)

    def forward(self, *inputs: Any) -> Any:
        made = self.layer(*(inputs if self.quant is None else map(self.quant, inputs)))
        return made if self.dequant is None else self.dequant(made)


def replace(net: Module, path: str, module: Module) -> None:
    """Replace the module with this path."""
    parent, _, name = path.rpartition(".")
    holder: Any = dict(net.named_modules())[parent]
    if name in vars(holder):
        setattr(holder, name, module)
    else:  # of a Sequential
        holder[int(name)] = module


def shown(path: str) -> str:
    """The path of a layer in the original network."""
    return ".".join(part for part in path.split(".") if part != "layer") if path.endswith(".layer") else path


# -- layers that become one ----------------------------------------------------------------------------------------------


class _Call(NamedTuple):
    path: str
    module: Module
    inputs: tuple[Any, ...]
    output: Any


def fuse(net: Module, inputs: tuple[Any, ...]) -> None:
    """Fold batch normalisation, and a ReLU after it, into the layer before, wherever that does not change results."""
    exact, calls = _run(net, inputs)
    chains = list(_chains(calls))
    for chain in chains:
        _fold(net, chain)
    if not chains or _gives(net, inputs, exact):
        return
    for chain in chains:  # other code reads some result, too
        for call in chain:
            replace(net, call.path, call.module)
    for chain in chains:
        _fold(net, chain)
        if not _gives(net, inputs, exact):
            for call in chain:
                replace(net, call.path, call.module)


def _run(net: Module, inputs: tuple[Any, ...]) -> tuple[Any, list[_Call]]:
    calls: list[_Call] = []
    handles = []
    for path, one in net.named_modules():

        def note(module: Module, given: Any, result: Any, path: str = path) -> None:
            calls.append(_Call(path, module, given if isinstance(given, tuple) else (given,), result))

        if not any(True for _ in one.children()):
            handles.append(one.register_forward_hook(note))
    try:
        return net(*inputs), calls
    finally:
        for handle in handles:
            handle.remove()


def _chains(calls: list[_Call]) -> Iterator[list[_Call]]:
    """A layer, its normalisation and perhaps its ReLU, each called once."""
    often = {id(call.module): 0 for call in calls}
    for call in calls:
        often[id(call.module)] += 1
    readers: dict[int, list[_Call]] = {}
    for call in calls:
        for given in call.inputs:
            readers.setdefault(id(given), []).append(call)

    def after(call: _Call, kind: type[Module]) -> _Call | None:
        found = readers.get(id(call.output), [])
        fits = len(found) == 1 and type(found[0].module) is kind and often[id(found[0].module)] == 1
        return found[0] if fits else None

    for call in calls:
        if type(call.module) not in _FUSED or often[id(call.module)] > 1 or call.module.quantize_disabled:
            continue
        norm = after(call, _FUSED[type(call.module)][0])
        relu = after(norm or call, M.ReLU)
        if norm or relu:
            yield [x for x in (call, norm, relu) if x]


def _fold(net: Module, chain: list[_Call]) -> None:
    first, *others = chain
    norm = next((x.module for x in others if type(x.module) is not M.ReLU), None)
    relu = next((x.module for x in others if type(x.module) is M.ReLU), None)
    replace(net, first.path, _FUSED[type(first.module)][1](first.module, norm, relu))
    for call in others:
        replace(net, call.path, M.Identity())


def _gives(net: Module, inputs: tuple[Any, ...], exact: Any) -> bool:
    found = net(*inputs)
    pairs = zip(_arrays(found), _arrays(exact), strict=True)
    return all(np.allclose(a, b, rtol=1e-3, atol=1e-3 * max(1e-6, float(np.abs(b).max(initial=0)))) for a, b in pairs)


def _arrays(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [array for one in value for array in _arrays(one)]
    return [value.numpy()] if hasattr(value, "numpy") else []


# -- stubs ---------------------------------------------------------------------------------------------------------------


def add_stubs(net: Module, skip: Collection[str]) -> None:
    """Put stubs around layers to be quantised; in a Sequential, around whole rows of them."""
    inside = set()
    for path, one in list(net.named_modules()):
        if type(one) is M.Sequential:
            names = [f"{path}.{i}" if path else str(i) for i in range(len(one))]
            inside.update(names)
            layers: list[Any] = list(one)
            kinds = [_may_be(module) and name not in skip for name, module in zip(names, layers, strict=True)]
            places: Iterator[tuple[str, Any]] = iter(list(zip(names, layers, strict=True)))
            for taken, group in groupby(kinds):
                row = [next(places) for _ in group]
                if taken:
                    _surround(net, row)
    for path, one in list(net.named_modules()):
        if path and path not in inside and path not in skip and _is_layer(one) and not path.endswith(".layer"):
            replace(net, path, _Stubbed(one, None if type(one) in _JOINING else M.QuantStub(), M.DequantStub()))


def _is_layer(module: Module) -> bool:
    return (
        type(module) in _float2qat_dict
        and not isinstance(module, (M.QuantStub, M.DequantStub))
        and not module.quantize_disabled
    )


def _may_be(module: Module) -> bool:
    return (_is_layer(module) and type(module) not in _JOINING) or type(module) in _PASSING


def _surround(net: Module, row: list[tuple[str, Module]]) -> None:
    """Stubs before the first and after the last layer of a row, if there is one."""
    layers = [i for i, (_, module) in enumerate(row) if _is_layer(module)]
    if not layers:
        return
    first, last = layers[0], layers[-1]
    ends = {first, last}
    for i in ends:
        path, module = row[i]
        replace(
            net, path, _Stubbed(module, M.QuantStub() if i == first else None, M.DequantStub() if i == last else None)
        )
