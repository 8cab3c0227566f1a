"""Recorded functions for tests: written with ops on Values, weights given as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tengen.compiler.program import Builder, Type
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
