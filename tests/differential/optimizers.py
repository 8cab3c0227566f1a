"""Optimizers in NumPy, for each version of the truth at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .dtypes import Array


class Momentum:
    """v ← v / 2 + g, w ← w - v / 4."""

    code = "SGD({params}, lr=0.25, momentum=0.5)"

    def __init__(self) -> None:
        self.direction: list[Any] | None = None

    def step(self, weights: Sequence[Array], grads: Sequence[Array]) -> list[Array]:
        old = self.direction or [0.0] * len(weights)
        self.direction = [0.5 * v + g for v, g in zip(old, grads, strict=True)]
        return [w - 0.25 * v for w, v in zip(weights, self.direction, strict=True)]


class Plain:
    """w ← w - g / 2."""

    code = "SGD({params}, lr=0.5)"

    def step(self, weights: Sequence[Array], grads: Sequence[Array]) -> list[Array]:
        return [w - 0.5 * g for w, g in zip(weights, grads, strict=True)]


class Adam:
    """Kingma and Ba 2015, algorithm 1."""

    code = "Adam({params}, lr=0.125)"

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Any] = []
        self.second: list[Any] = []

    def step(self, weights: Sequence[Array], grads: Sequence[Array]) -> list[Array]:
        self.count += 1
        if not self.first:
            self.first, self.second = [0.0] * len(weights), [0.0] * len(weights)
        self.first = [0.9 * m + 0.1 * g for m, g in zip(self.first, grads, strict=True)]
        self.second = [0.999 * v + 0.001 * g * g for v, g in zip(self.second, grads, strict=True)]
        m = [f / (1 - 0.9**self.count) for f in self.first]
        v = [s / (1 - 0.999**self.count) for s in self.second]
        return [w - 0.125 * a / (np.sqrt(b) + 1e-8) for w, a, b in zip(weights, m, v, strict=True)]


class Nothing:
    """No optimizer."""

    code = ""

    def step(self, weights: Sequence[Array], grads: Sequence[Array]) -> list[Array]:
        return list(weights)


RULES: dict[str, Any] = {"": Nothing, "momentum": Momentum, "plain": Plain, "adam": Adam}
