"""Passes over graphs that make inference cheaper and do not change results."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import module as M
from ..core import Parameter
from ..module import Module
from .expr import CallMethod, Expr, GetAttr, is_call_module, is_call_tensor_method
from .graph import InternalGraph
from .traced_module import TracedModule
from .utils import assign_attr

__all__ = ["optimize"]


def optimize(module: TracedModule, enabled_pass: str | Sequence[str] = ("FuseConvBn",)) -> TracedModule:
    """Make a copy of a traced module that computes the same in fewer steps, for inference.

    Args:
        module: the traced module.
        enabled_pass: passes, which run in this order: "FuseConvBn" folds batch normalisation with fixed statistics into the convolution before
            it; "FuseAddMul" merges additions of numbers, and multiplications by numbers; "BackwardFoldScale" folds a factor after a convolution or
            a Linear into its weight.

    Raises ValueError for an unknown name.

    >>> net = M.Sequential(M.Conv2d(1, 1, 1), M.BatchNorm2d(1))
    >>> net.eval()
    >>> print(tengen.traced_module.optimize(tengen.traced_module.trace_module(net, F.ones((1, 1, 2, 2)))))
    TracedModule(
      (0): Conv2d(1, 1, kernel_size=(1, 1))
    )
    """
    if not isinstance(module, TracedModule):
        raise TypeError(f"optimize takes a traced module, got a {type(module).__name__}: call trace_module first")
    names = [enabled_pass] if isinstance(enabled_pass, str) else list(enabled_pass)
    if unknown := [name for name in names if name not in _PASSES]:
        raise ValueError(f"{unknown[0]!r} is not a pass; there are {', '.join(_PASSES)}")
    made = copy.deepcopy(module)
    for name in names:
        for holder in [one for one in made.modules() if isinstance(one, TracedModule)]:
            for graph in holder.argdef_graph_map.values():
                while _PASSES[name](made, graph):
                    graph.compile()
    _drop_unused(made)
    return made


def _calls(root: Module) -> Iterator[Any]:
    """The modules that graphs call, one entry for each call."""
    for holder in root.modules():
        for graph in getattr(holder, "argdef_graph_map", {}).values():
            for expr in graph._exprs:
                if isinstance(expr, CallMethod) and is_call_module(expr):
                    yield expr.inputs[0].owner  # type: ignore[attr-defined]


def _read_once(graph: InternalGraph, expr: Expr) -> bool:
    """Whether exactly one expression reads the outputs of an expression, and nothing else does."""
    return len(expr.outputs[0].users) == 1 and not any(leaf is expr.outputs[0] for leaf in graph._outputs)


def _layer_before(root: Module, graph: InternalGraph, expr: Expr, kinds: tuple[type[Module], ...]) -> Any:
    """(call, layer) of a layer of just these classes that an expression alone reads, and that is called nowhere else; or None."""
    call = next((node.expr for node in expr.inputs if isinstance(node.expr, CallMethod)), None)
    if call is None or not is_call_module(call, kinds) or not _read_once(graph, call):
        return None
    layer = call.inputs[0].owner  # type: ignore[attr-defined]
    if type(layer) not in kinds or sum(one is layer for one in _calls(root)) != 1:
        return None
    return (call, layer) if isinstance(call.inputs[0].expr, GetAttr) else None


def _rescale(graph: InternalGraph, call: CallMethod, layer: Any, scale: Any, shift: Any) -> None:
    """Change a convolution or Linear so that it returns scale · result + shift for each channel."""
    made = copy.deepcopy(layer)
    channels = layer.out_channels if isinstance(layer, M.Conv2d) else layer.out_features
    weight = layer.weight.numpy().astype(np.float64)
    factor = np.broadcast_to(scale, (channels,))
    made.weight = Parameter((weight.reshape(channels, -1) * factor[:, None]).reshape(weight.shape).astype(np.float32))
    shape = (1, channels, 1, 1) if isinstance(layer, M.Conv2d) else (channels,)
    bias = np.zeros(channels) if layer.bias is None else layer.bias.numpy().astype(np.float64).reshape(-1)
    if layer.bias is not None or np.any(shift):
        made.bias = Parameter((bias * factor + shift).reshape(shape).astype(np.float32))
    expr = call.inputs[0].expr
    assert isinstance(expr, GetAttr)
    assign_attr(made, graph.module, expr.name)


def _fuse_conv_bn(root: Module, graph: InternalGraph) -> bool:
    for expr in graph._exprs:
        if not (isinstance(expr, CallMethod) and is_call_module(expr, M.BatchNorm2d)):
            continue
        bn: Any = expr.inputs[0].owner  # type: ignore[attr-defined]
        found = _layer_before(root, graph, expr, (M.Conv2d,))
        if found is None or bn.training or bn.running_mean is None:
            continue
        call, conv = found
        mean, var, gamma, beta = (
            None if one is None else one.numpy().astype(np.float64).reshape(-1)
            for one in (bn.running_mean, bn.running_var, bn.weight, bn.bias)
        )
        scale = (1.0 if gamma is None else gamma) / np.sqrt(var + bn.eps)
        _rescale(graph, call, conv, scale, (0.0 if beta is None else beta) - mean * scale)
        graph.replace_node({expr.outputs[0]: call.outputs[0]})
        return True
    return False


def _by_number(expr: Any, methods: tuple[str, ...]) -> Any:
    """The number that an expression adds to a tensor, or multiplies it by; None for other expressions."""
    if isinstance(expr, CallMethod) and is_call_tensor_method(expr, methods) and len(expr.inputs) == 1:
        number = expr.args[1]
        return number if type(number) in (int, float) else None
    return None


def _fuse_add_mul(root: Module, graph: InternalGraph) -> bool:
    kinds: tuple[tuple[tuple[str, ...], Callable[[Any, Any], Any]], ...] = (
        (("__add__", "__radd__"), lambda a, b: a + b),
        (("__mul__", "__rmul__"), lambda a, b: a * b),
    )
    for expr in graph._exprs:
        for methods, join in kinds:
            before = expr.inputs[0].expr if expr.inputs else None
            first, second = _by_number(before, methods), _by_number(expr, methods)
            if before is None or first is None or second is None or not _read_once(graph, before):
                continue
            expr.set_args_kwargs(before.inputs[0], join(first, second))
            return True
    return False


def _fold_scale(root: Module, graph: InternalGraph) -> bool:
    for expr in graph._exprs:
        number = _by_number(expr, ("__mul__", "__rmul__"))
        found = None if number is None else _layer_before(root, graph, expr, (M.Conv2d, M.Linear))
        if found is not None:
            call, layer = found
            _rescale(graph, call, layer, number, 0.0)
            graph.replace_node({expr.outputs[0]: call.outputs[0]})
            return True
    return False


_PASSES: dict[str, Callable[[Module, InternalGraph], bool]] = {
    "FuseConvBn": _fuse_conv_bn,
    "FuseAddMul": _fuse_add_mul,
    "BackwardFoldScale": _fold_scale,
}


def _drop_unused(root: TracedModule) -> None:
    """Remove the layers that no graph reads any more."""
    read: set[int] = set()
    for holder in root.modules():
        for graph in getattr(holder, "argdef_graph_map", {}).values():
            read |= {id(node.owner) for expr in graph._exprs for node in expr.outputs if hasattr(type(node), "owner")}
    for holder in [one for one in root.modules() if isinstance(one, TracedModule)]:
        for name, value in list(vars(holder).items()):
            if isinstance(value, Module) and not isinstance(value, TracedModule) and id(value) not in read:
                del holder.__dict__[name]
