"""What the programs share: weights and data that are the same everywhere, and the loop of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import megengine as mge
import megengine.functional as F
import numpy as np
from megengine.autodiff import GradManager
from megengine.jit import trace

Step = Callable[..., Any]


def fixed(module: Any) -> Any:
    """`module` with weights that depend on their places alone; those that begin as zeros or ones stay."""
    for seed, (_, p) in enumerate(sorted(module.named_parameters(), key=lambda pair: pair[0])):
        if p.size and np.ptp(p.numpy()) > 0:
            spread = np.sqrt(p.shape[0] / p.size) if p.ndim > 1 else 0.1
            p.set_value(np.random.RandomState(seed).normal(0, spread, p.shape).astype("float32"))
    return module


def array(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal numbers."""
    return np.random.RandomState(seed).normal(size=shape).astype("float32")


def labels(classes: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Ints below `classes`."""
    return np.random.RandomState(seed).randint(0, classes, shape).astype("int32")


def maybe_traced(function: Step, traced: bool) -> Step:
    """The function, or a trace of it."""
    return trace(symbolic=True)(function) if traced else function


def train(
    net: Any, optimizer: Any, loss_of: Step, batches: Sequence[Sequence[np.ndarray]], traced: bool
) -> list[float]:
    """The loss of each step, then what the net has become: the mean square of each parameter."""
    manager = GradManager().attach(net.parameters())

    def step(*inputs: Any) -> Any:
        with manager:
            loss = loss_of(*inputs)
            manager.backward(loss)
        optimizer.step().clear_grad()
        return loss

    run = maybe_traced(step, traced)
    net.train()
    losses = [float(run(*(mge.tensor(x) for x in batch)).numpy()) for batch in batches]
    return losses + squares(net)


def squares(net: Any) -> list[float]:
    """The mean square of each parameter, and of each buffer."""
    return [float(F.mean(x * x).numpy()) for _, x in sorted(net.named_tensors(), key=lambda pair: pair[0])]
