"""Random numbers: a generator is a seed and how many numbers were drawn from it, so draws are the same on any number of threads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from .._rt import apply
from ..base import device as devices
from ..base.device import Device
from ..base.dtype import canonical
from ..base.forks import held_at_fork
from ..core import Tensor, calls
from ..core.convert import place_of
from ..core.live import Numbers, live
from ..core.ops.base import integer, integers
from ..core.ops.index import take_op
from ..core.ops.random import Drawn, Normal, Permutation, Uniform

Size = int | Iterable[int] | None
Number = Any  # a number or a tensor of numbers

(_lock,) = held_at_fork(1)  # of the places of all generators


class RNG:
    """A generator of random numbers of its own.

    Args:
        seed: an integer >= 0; equal seeds give equal numbers; by default one from the operating system.
        device: where the tensors are; the default device, if left out.

    Raises:
        TypeError, ValueError: a bad seed.

    >>> a, b = RNG(seed=1), RNG(seed=1)
    >>> bool((a.uniform(size=3) == b.uniform(size=3)).numpy().all())
    True
    """

    def __init__(self, seed: int | None = None, device: str | Device | None = None):
        self._device = None if device is None else devices.canonical(devices.require(device))
        self.seed(int.from_bytes(os.urandom(4), "little") if seed is None else seed)

    def seed(self, seed: int) -> None:
        """Start again with this seed.

        Args:
            seed: an integer >= 0.

        Raises:
            ValueError: the seed is negative or too large.
            TypeError: it is not an integer.

        >>> tengen.random.seed(1)
        """
        if isinstance(seed, (bool, float)):
            raise TypeError(f"a seed must be an integer, got {type(seed).__name__} {seed!r}")
        seed = integer("seed", "a seed", seed)
        if not 0 <= seed < 2**64:
            raise ValueError(f"a seed must be at least 0 and less than 2**64, got {seed}")
        with _lock:
            # Kernels use the low 32 bits as the key; the high ones choose where in its sequence of 2**64 to start.
            self._seed, self._offset = seed & 0xFFFFFFFF, seed >> 32 << 32

    def draw(self, count: int) -> Numbers:
        """The (seed, offset) of the next draws, which are used up.

        The offset is of 64 bits, as a signed number.

        Args:
            count: how many.

        Returns: two numbers, which a trace reads anew in each call.
        """
        return live(partial(self._advance, count))

    def _advance(self, count: int) -> tuple[int, int]:
        with _lock:
            start = self._offset
            self._offset = (start + count) % 2**64
            return self._seed, start - 2**64 if start >= 2**63 else start

    def uniform(self, low: float = 0, high: float = 1, size: Size = None) -> Tensor:
        """Numbers that are uniformly distributed in [low, high).

        Args:
            low, high: the bounds.
            size: the shape, (1,) by default.

        Returns: a tensor of float32.

        Raises:
            ValueError: low is not less than high.

        >>> tengen.random.uniform(size=(2, 3)).shape
        (2, 3)
        """
        if not low < high:
            raise ValueError(f"uniform: low must be less than high, got {low} and {high}")
        shape = _shape(size)
        return apply(Uniform(shape, self._place()), float(low), float(high), *self.draw(_count(shape)))

    def normal(self, mean: float = 0, std: float = 1, size: Size = None) -> Tensor:
        """Normally distributed numbers.

        Args:
            mean, std: of the distribution.
            size: the shape, (1,) by default.

        Returns: a tensor of float32.

        Raises:
            ValueError: std is negative.

        >>> tengen.random.normal(size=(2, 3)).shape
        (2, 3)
        """
        if std < 0:
            raise ValueError(f"normal: std must be at least 0, got {std}")
        shape = _shape(size)
        return apply(Normal(shape, self._place()), float(mean), float(std), *self.draw(_count(shape)))

    def gamma(self, shape: Number, scale: Number = 1, size: Size = None) -> Tensor:
        """Gamma distributed numbers.

        Args:
            shape, scale: of the distribution: positive numbers or tensors, which broadcast.
            size: how many draws there are for each element of the parameters.

        Returns: a tensor of float32, of shape (*size, *shape of the parameters).

        Raises:
            ValueError: a parameter is not positive.

        >>> tengen.random.gamma(2.0, size=(2, 3)).shape
        (2, 3)
        """
        return self._host("gamma", {"shape": shape, "scale": scale}, size)

    def beta(self, alpha: Number, beta: Number, size: Size = None) -> Tensor:
        """Beta distributed numbers.

        Args:
            alpha, beta: of the distribution: positive numbers or tensors, which broadcast.
            size: how many draws there are for each element of the parameters.

        Returns: a tensor of float32, of shape (*size, *shape of the parameters).

        Raises:
            ValueError: a parameter is not positive.

        >>> tengen.random.beta(2.0, 1.0, size=(2, 3)).shape
        (2, 3)
        """
        return self._host("beta", {"alpha": alpha, "beta": beta}, size)

    def poisson(self, lam: Number, size: Size = None) -> Tensor:
        """Poisson distributed numbers.

        Args:
            lam: the mean: a positive number or tensor.
            size: how many draws there are for each element of lam.

        Returns: a tensor of float32, of shape (*size, *shape of lam).

        Raises:
            ValueError: lam is not positive.

        >>> tengen.random.poisson(2.0, size=(2, 3)).shape
        (2, 3)
        """
        return self._host("poisson", {"lam": lam}, size)

    def permutation(self, n: int | Tensor, *, dtype: Any = "int32") -> Tensor:
        """The numbers 0 … n - 1, or the rows (along axis 0) of a tensor, in random order.

        Args:
            n: an integer, or a tensor.
            dtype: of the numbers.

        Returns: a tensor.

        Raises:
            ValueError: n is negative.
            TypeError: n is neither an integer nor a tensor.

        >>> sorted(tengen.random.permutation(4).tolist())
        [0, 1, 2, 3]
        """
        if isinstance(n, Tensor) and n.ndim:
            return apply(take_op(n.ndim, (0,), 1), n, self._order(n.shape[0], n.desc.device))
        n = integer("permutation", "n", n)
        if n < 0:
            raise ValueError(f"permutation: n must be at least 0, got {n}")
        return calls.astype(self._order(n, self._place()), canonical(dtype))

    def shuffle(self, inp: Tensor) -> None:
        """Put the rows (along axis 0) of a tensor in random order, in place.

        Args:
            inp: a tensor of any dtype.

        Raises:
            TypeError: inp is not a tensor.

        >>> x = tengen.tensor([1, 2, 3])
        >>> tengen.random.shuffle(x)
        >>> sorted(x.tolist())
        [1, 2, 3]
        """
        if not isinstance(inp, Tensor):
            raise TypeError(f"shuffle takes a tensor, got {type(inp).__name__}")
        inp._reset(self.permutation(inp))

    def _place(self) -> str:
        """Where numbers go that depend on no tensor, as in `functional.zeros`."""
        return self._device or devices.canonical(devices.require())

    def _order(self, count: int, device: str) -> Tensor:
        return apply(Permutation(count, device), *self.draw(count))

    def _host(self, distribution: str, parameters: dict[str, Number], size: Size) -> Tensor:
        arrays = [p.numpy() if isinstance(p, Tensor) else np.asarray(p) for p in parameters.values()]
        for name, array in zip(parameters, arrays, strict=True):
            if not (array > 0).all():
                raise ValueError(f"{distribution}: {name} must be positive, got {array.min()}")
        shapes = {a.shape for a in arrays if a.ndim}
        shape = np.broadcast_shapes(*shapes) if len(shapes) > 1 else next(iter(shapes), ())
        lead = () if size is None else _shape(size)
        shape = (1,) if size is None and not shape else (*lead, *shape)
        return apply(
            Drawn(distribution, shape, self._device or place_of(parameters.values()) or self._place()),
            *parameters.values(),
            *self.draw(_count(shape)),
        )


def _shape(size: Size) -> tuple[int, ...]:
    shape = (1,) if size is None else integers("random", "size", size)
    if any(s < 0 for s in shape):
        raise ValueError(f"a tensor cannot have the shape {shape}: extents are at least 0")
    return shape


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count


_default = RNG()


def default_generator() -> RNG:
    """The generator that the functions of tengen.random and dropout draw from."""
    return _default
