"""Random numbers from a counter: element i of a draw is a function of (seed, offset + i), so it does not depend on the
number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from threading import local
from typing import Any

import numpy as np

from ...compiler.program import Elementwise, Host, Type, Value
from .base import Formula, Grads, as_float, broadcast_shapes, statistics_dtype
from .elemwise import COS, LOG, SQRT, Elemwise, cast, where
from .sort import ArgSort

SHIFT, MAX = Elemwise("SHR"), Elemwise("MAX")


class RandomBits(Elementwise):
    """Output `which` (0 or 1) of Philox2x32-10 for a counter and a seed: int64 in 0 .. 2**32 - 1. Salmon et al. 2011,
    section 3.
    """

    which: int

    costly = True
    nondiff = "bits are integers"
    no_onnx = "has no operator for it"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return (Type("int64", broadcast_shapes(self.name, *(t.shape for t in types))),)

    def emit(self, e: Any, args: Sequence[int], types: Sequence[Type], out: Type) -> int:
        counter, seed = (e.cast(a, "int64") for a in args)
        return int(e("random", counter, seed, dtype="int64", attr=self.which))


def _uniform(shape: tuple[int, ...], seed: Value, offset: Value) -> Value:
    """24 random bits in [0, 1)."""
    bits = RandomBits(0)(seed.builder.iota(shape) + offset, seed)
    return cast(SHIFT(bits, 8), "float32") * 2.0**-24


class Uniform(Formula):
    """Uniform in [low, high). Inputs: low, high, seed, offset."""

    shape: tuple[int, ...]
    device: str | None = None

    def expand(self, *inputs: Value) -> Value:
        low, high, seed, offset = inputs
        drawn = _uniform(self.shape, seed, offset) * (high - low) + low
        # Rounding can reach the upper end.
        return where(drawn < high, drawn, cast(low, "float32"))

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        return [None] * 4


class Normal(Formula):
    """Normally distributed (Box and Muller 1958). Inputs: mean, std, seed, offset."""

    shape: tuple[int, ...]
    device: str | None = None

    def expand(self, *inputs: Value) -> Value:
        mean, std, seed, offset = inputs
        counter = seed.builder.iota(self.shape) + offset
        first, second = RandomBits(0)(counter, seed), RandomBits(1)(counter, seed)
        radius = SQRT(LOG((cast(first, "float32") + 1.0) * 2.0**-32) * -2.0)
        return radius * COS(cast(second, "float32") * (2.0 * math.pi * 2.0**-32)) * std + mean

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        return [None] * 4


class Dropout(Formula):
    """x / (1 - p) where a random number is at least p, else 0. Inputs: x, p, seed, offset. The backward draws the same
    numbers again.
    """

    def expand(self, *inputs: Value) -> Value:
        x, p, seed, offset = inputs
        dtype = statistics_dtype(x.dtype)
        # Two Python numbers would give a float32. If everything is dropped, gradients are 0 / (1 - p), which must be 0.
        kept = cast(x, dtype) / MAX(1.0 - cast(p, dtype), 2.0**-53)
        return cast(where(_uniform(x.shape, seed, offset) >= p, kept, 0.0), as_float(x.dtype))


class Permutation(Formula):
    """0 … count - 1 in random order, as int32: sorted by as many random keys of 32 bits. Inputs: seed, offset.

    Two keys are equal with probability 2⁻³²; such a pair keeps its order. So a pair is in order with probability 1/2 + 2⁻³³, which no
    test of a permutation in memory can tell from 1/2.
    """

    count: int
    device: str | None = None

    def expand(self, *inputs: Value) -> Value:
        seed, offset = inputs
        counter = seed.builder.iota((self.count,)) + offset
        order: Value = ArgSort(self.count, False)(cast(RandomBits(0)(counter, seed) - 2**31, "int32"))
        return order


class _Stream(local):
    """NumPy's generator of a thread. To make one takes as long as to draw a hundred numbers."""

    def __init__(self) -> None:
        self._bits = np.random.Philox(0)
        self._generator, self._state = np.random.Generator(self._bits), self._bits.state

    def at(self, key: int, counter: int) -> np.random.Generator:
        """As if it were made with this key and counter."""
        self._state["state"]["key"][:] = key, 0
        self._state["state"]["counter"][:] = counter, 0, 0, 0
        self._bits.state = self._state
        return self._generator


@cache
def _streams() -> _Stream:
    """Made with the first draw: to import NumPy's generators takes a tenth of the time of `import tengen`."""
    return _Stream()


class Drawn(Host):
    """Numbers drawn with NumPy's `distribution`, for distributions that need rejection.

    Inputs: its parameters (broadcast), seed, offset.
    """

    distribution: str
    shape: tuple[int, ...]
    device: str | None = None

    nondiff = "its numbers do not depend smoothly on its inputs"
    no_onnx = "has no operator for it"

    @property
    def name(self) -> str:
        return self.distribution

    def infer(self, *types: Type) -> tuple[Type, ...]:
        if self.distribution not in ("gamma", "beta", "poisson"):
            raise ValueError(f"{self.distribution!r} is not a distribution that can be drawn from")
        return (Type("float32", self.shape),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        *parameters, seed, offset = inputs
        generator = _streams().at(int(seed), int(offset) % 2**64)
        outputs[0][...] = getattr(generator, self.distribution)(*parameters, size=self.shape)
