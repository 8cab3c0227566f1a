"""Recorded functions for tests: written with ops on Values, weights given as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tengen import Tensor, _rt
from tengen.compiler.program import Builder, Op, Type, Value
from tengen.core import build
from tengen.jit.frozen import Frozen, freeze


def frozen(
    function: Callable[..., Any],
    arguments: Sequence[np.ndarray | Type],
    weights: Sequence[np.ndarray] = (),
    metadata: dict[str, Any] | None = None,
) -> Frozen:
    """`function` of Values, recorded as a trace does: composites are nodes. Arguments are x0, x1, … and results y0, y1, …"""
    builder = Builder(keep_composites=True)
    types = [a if isinstance(a, Type) else Type(a.dtype.name, a.shape) for a in (*arguments, *weights)]
    inputs = [builder.input(t) for t in types]
    made = function(*inputs)
    outputs = [made] if not isinstance(made, (tuple, list)) else list(made)
    constants = dict(zip(inputs[len(arguments) :], weights, strict=True))
    names = [f"x{i}" for i in range(len(arguments))]
    return freeze(builder.finish(outputs), names, [f"y{i}" for i in range(len(outputs))], constants, metadata)


def recorded(function: Callable[..., Any], *arguments: Type) -> Frozen:
    """`function` of tensors, such as a Module, recorded by calling it with Values; the tensors that it uses are weights."""
    builder = Builder(keep_composites=True)
    weights: dict[int, tuple[Value, Tensor]] = {}

    def value(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        if id(x) not in weights:
            weights[id(x)] = builder.input(Type(x.desc.dtype, tuple(x.shape))), x
        return weights[id(x)][0]

    def record(op: Op, inputs: Sequence[Any]) -> Any:
        outputs = builder.record(op, [value(x) for x in inputs])
        return outputs[0] if len(outputs) == 1 else outputs

    values = [builder.input(t) for t in arguments]
    _rt.set_hooks(foreign=record)
    try:
        made = function(*values)
    finally:
        _rt.set_hooks(foreign=build.foreign_hook)
    names = [f"x{i}" for i in range(len(arguments))]
    return freeze(builder.finish([made]), names, ["y0"], dict(weights.values()))
