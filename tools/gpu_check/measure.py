"""How long something takes on the GPU, and the values that it is tried with."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

import tengen

ROUNDS, LEAST = 5, 0.05  # the median of so many rounds of so many seconds each
MOST = 1 << 16


def seconds(call: Callable[[], Any], wait: Callable[[], Any], small: bool = False) -> float:
    """The seconds of one call among many, whose ends are waited for together."""

    def several(count: int) -> float:
        start = perf_counter()
        for _ in range(count):
            call()
        wait()
        return perf_counter() - start

    several(3)  # a Plan that runs for the third time with the same addresses is a graph
    count = 1
    while not small and count < MOST and several(count) < LEAST:
        count *= 2
    return median(several(count) for _ in range(1 if small else ROUNDS)) / count


def wait() -> None:
    tengen.device.synchronize("gpu0")


def values(shape: tuple[int, ...], dtype: str = "float32") -> Any:
    """Random numbers between -1 and 1 on the GPU."""
    tengen.random.seed(0)
    return tengen.random.uniform(-1, 1, shape).astype(dtype)


def begin() -> None:
    """Compute on gpu0 from now on."""
    tengen.set_default_device("gpu0")


def torch_on_gpu() -> Any:
    """PyTorch, if it is here and has a GPU, else None."""
    if find_spec("torch") is None:
        return None
    import torch

    return torch if torch.cuda.is_available() else None


def relative_error(got: np.ndarray, exact: np.ndarray) -> float:
    """The largest error, relative to the largest number."""
    return float(np.abs(got.astype(np.float64) - exact).max() / max(np.abs(exact).max(), 1e-30))
