"""Rows in tengen: what a program would write, eager."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

import tengen
import tengen.functional as F
import tengen.module as M
import tengen.optimizer as optimizer
from tengen import Parameter, Tensor, random, tensor
from tengen.autodiff import GradManager

from ..cases import Case
from ..measure import Arrays, Data, Trial


def version() -> str:
    return tengen.__version__


def set_threads(threads: int) -> None:
    tengen.config.num_threads = threads


NAMES = {
    "F": F,
    "M": M,
    "np": np,
    "tensor": tensor,
    "Parameter": Parameter,
    "optimizer": optimizer,
    "random": random,
    "tengen": tengen,
}


def trials(case: Case, data: Data) -> Iterator[Trial]:
    row, wanted = case.arguments["row"], case.arguments["backward"]
    given = {name: tensor(array) for name, array in zip(row.inputs, data.inputs, strict=True)}
    if case.arguments["dtype"] == "bfloat16":
        given = {name: x.astype("bfloat16") if x.dtype == np.float32 else x for name, x in given.items()}
    names = {**NAMES, **given}
    exec(row.setup, names)
    layer = names.get("layer")
    if layer is not None:
        fill(layer)
    forward = eval(f"lambda: {row.ours}", names)
    run = backward(forward, [names[name] for name in row.grad.split()]) if wanted else forward
    yield Trial("eager", run, lambda: arrays(run(), row.exact))


def fill(layer: Any) -> None:
    for name, value in layer.named_parameters():
        value.set_value(first_value(name, value.shape))


def first_value(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a parameter that depend on its name, so that those of every framework are the same."""
    made = np.random.default_rng(zlib.crc32(name.encode())).random(prod(shape), np.float32) - np.float32(0.5)
    return (made / np.float32(4)).reshape(shape)


def weights_of(shape: tuple[int, ...]) -> np.ndarray:
    """What the backward begins with: U(0.5, 1.5), as the gradients of many functions are 0 for equal numbers."""
    return np.random.default_rng(1).random(shape, np.float32) + np.float32(0.5)


def backward(forward: Callable[[], Any], wanted: list[Any]) -> Callable[[], Any]:
    """Forward and backward, as one step; gives the gradients."""
    watched = [
        v for x in wanted for v in ([p for _, p in sorted(x.named_parameters())] if isinstance(x, M.Module) else [x])
    ]
    gm = GradManager().attach(watched)
    y = forward()
    dy = tensor(weights_of(y.shape)).astype(y.dtype)

    def run() -> list[Tensor]:
        with gm:
            gm.backward(forward(), dy)
        found = [x.grad for x in watched]
        for x in watched:
            x.grad = None
        return found

    return run


def arrays(found: Any, exact: bool) -> Arrays:
    """Results as float arrays; nothing to compare of those that are drawn, or arranged otherwise."""
    if not exact:
        return []
    if isinstance(found, (list, tuple)):
        return [array for part in found for array in arrays(part, exact)]
    if found is None:
        return []
    if isinstance(found, Tensor):
        found = found.astype("float32") if found.dtype not in (np.float32, np.int32, np.bool_) else found
        found = found.numpy()
    array = np.asarray(found).astype(np.float32)
    return [array]
