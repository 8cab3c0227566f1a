"""The single-op cases in JAX, compiled by `jit`; networks and what only measures Python's overhead are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .cases import Case
from .machine import THREADS
from .measure import Data, Trial

Function = Callable[..., Any]


def version() -> str:
    return jax.__version__


all_cores = True


def set_threads(threads: int) -> None:
    """JAX always uses all cores; on fewer, it is left out."""
    global all_cores
    all_cores = threads == THREADS


def trials(case: Case, data: Data) -> Iterator[Trial]:
    """One trial, or none for a kind that is left out."""
    if case.kind not in KINDS or not all_cores:
        return
    function = jax.jit(KINDS[case.kind](case.arguments))
    inputs = [jax.device_put(array) for array in data.inputs]
    yield Trial("jit", lambda: function(*inputs).block_until_ready(), lambda: [np.asarray(function(*inputs))])


def matmul(arguments: dict[str, Any]) -> Function:
    a, b = arguments["a"], arguments["b"]
    return lambda x, y: jnp.matmul(x.swapaxes(-1, -2) if a else x, y.swapaxes(-1, -2) if b else y)


def layer_norm(_: dict[str, Any]) -> Function:
    def function(x: jax.Array) -> jax.Array:
        centred = x - x.mean(1, keepdims=True)
        return centred * lax.rsqrt((centred * centred).mean(1, keepdims=True) + 1e-5)

    return function


def conv(arguments: dict[str, Any]) -> Function:
    steps, edge = (arguments["stride"],) * 2, [(arguments["padding"],) * 2] * 2

    def forward(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, w, steps, edge, feature_group_count=arguments["groups"])

    if arguments["form"] == "forward":
        return lambda x, w, dy: forward(x, w)
    index = 0 if arguments["form"] == "by data" else 1
    return lambda x, w, dy: jax.vjp(forward, x, w)[1](dy)[index]


KINDS: dict[str, Callable[[dict[str, Any]], Function]] = {
    "add": lambda _: lambda x, y: x + y,
    "matmul": matmul,
    "gelu": lambda _: lambda x: jax.nn.gelu(x * 2 + 1, approximate=False),
    "softmax": lambda _: lambda x: jax.nn.softmax(x, 1),
    "layer_norm": layer_norm,
    "sum": lambda arguments: lambda x: x.sum(arguments["axis"]),
    "transpose": lambda arguments: lambda x: x.transpose(arguments["order"]).ravel(),
    "conv": conv,
}
