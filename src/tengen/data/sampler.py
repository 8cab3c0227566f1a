"""Samplers: which samples make a batch, and in which order. With several processes, each takes its own share.

Random numbers come from NumPy's `RandomState`, so the same seed gives the same order as in MegEngine.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from operator import index as as_int
from typing import Any

import numpy as np

from ..base.world import joined, membership


class Sampler(ABC):
    """Yields batches: lists of sample indices, or, for streams, the positions in a batch.

    >>> from tengen.data import SequentialSampler
    >>> issubclass(SequentialSampler, Sampler)
    True
    """

    @abstractmethod
    def __init__(self) -> None:
        super().__init__()

    def __iter__(self) -> Iterator[list[Any]]:
        return self.batch()

    def batch(self) -> Iterator[list[Any]]:
        """The batches of one pass."""
        raise NotImplementedError(f"{type(self).__name__} has no batch()")


def _positive(name: str, value: Any) -> int:
    """`value` as a positive int; otherwise ValueError."""
    try:
        number = as_int(value)
    except TypeError:
        number = 0
    if number < 1 or isinstance(value, bool):
        raise ValueError(f"{name} should be a positive integer value, but got {name}={value!r}")
    return number


class MapSampler(Sampler):
    """Batches of the sample indices that `sample` returns; a subclass defines `sample`.

    Args:
        dataset: the dataset, of which only the length matters.
        batch_size: samples in a batch.
        drop_last: leave out the last batch if it is smaller.
        num_samples: how many indices `sample` returns; by default as many as the dataset has.
        world_size, rank: how many processes there are, and which one this is; each takes every world_size-th sample, and as many as the
            others (some of the first ones again, if the number is not divisible). By default those of the world of `distributed`
            that this process is in; 1 and 0 without one.
        seed: of the random numbers. Processes that share the work must give the same seed; without one, they all use 0.

    Raises:
        ValueError: a number is out of range.

    >>> class Backwards(MapSampler):
    ...     def sample(self):
    ...         return range(len(self.dataset))[::-1]
    >>> list(Backwards(range(5), batch_size=2))
    [[4, 3], [2, 1], [0]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        drop_last: bool = False,
        num_samples: int | None = None,
        world_size: int | None = None,
        rank: int | None = None,
        seed: int | None = None,
    ):
        super().__init__()
        self.dataset = dataset
        self.batch_size = _positive("batch_size", batch_size)
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last!r}")
        self.drop_last = drop_last
        self.num_samples = len(dataset) if num_samples is None else _positive("num_samples", num_samples)
        own = (membership().rank, membership().size) if joined() else (0, 1)
        self.world_size = own[1] if world_size is None else _positive("world_size", world_size)
        self.rank = own[0] if rank is None and world_size in (None, own[1]) else as_int(rank or 0)
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank should be in [0, world_size), but got rank={rank}, world_size={self.world_size}")
        if seed is None and self.world_size > 1:
            seed = 0
        self.rng = np.random.RandomState(seed)

    def sample(self) -> Iterable[Any]:
        """The indices of the samples of one epoch, for all processes."""
        raise NotImplementedError(f"{type(self).__name__} has no sample()")

    def scatter(self, indices: Sequence[Any]) -> list[Any]:
        """The share of this process.

        >>> SequentialSampler(range(5), world_size=2, rank=1).scatter([0, 1, 2, 3, 4])
        [1, 3, 0]
        """
        indices = list(indices)
        short = -len(indices) % self.world_size
        while indices and short:
            indices += indices[:short]
            short = -len(indices) % self.world_size
        return indices[self.rank :: self.world_size]

    def batch(self) -> Iterator[list[Any]]:
        """The batches of one pass."""
        indices = self.scatter(list(self.sample())) if self.world_size > 1 else list(self.sample())
        stop = len(indices) - len(indices) % self.batch_size if self.drop_last else len(indices)
        return (indices[i : i + self.batch_size] for i in range(0, stop, self.batch_size))

    def __len__(self) -> int:
        mine = -(-self.num_samples // self.world_size)
        return mine // self.batch_size if self.drop_last else -(-mine // self.batch_size)


class _Choosing(MapSampler):
    """A sampler that can be limited to some of the samples."""

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        drop_last: bool = False,
        indices: Sequence[int] | None = None,
        world_size: int | None = None,
        rank: int | None = None,
        seed: int | None = None,
    ):
        super().__init__(dataset, batch_size, drop_last, None, world_size, rank, seed)
        if indices is not None:
            if not isinstance(indices, (Sequence, np.ndarray)):
                raise ValueError(f"indices should be None or a sequence, but got indices={indices!r}")
            self.num_samples = len(indices)
        self.indices = indices


class SequentialSampler(_Choosing):
    """All samples, or some of them, in order.

    Args:
        dataset, batch_size, drop_last, world_size, rank: see MapSampler.
        indices: the numbers of the samples that count; None for all.

    >>> list(SequentialSampler(range(5), batch_size=2, drop_last=True))
    [[0, 1], [2, 3]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        drop_last: bool = False,
        indices: Sequence[int] | None = None,
        world_size: int | None = None,
        rank: int | None = None,
    ):
        super().__init__(dataset, batch_size, drop_last, indices, world_size, rank)

    def sample(self) -> Iterator[Any]:
        """The numbers of the samples."""
        return iter(range(self.num_samples) if self.indices is None else self.indices)


class RandomSampler(_Choosing):
    """All samples, or some of them, in a new random order each time.

    Args:
        dataset, batch_size, drop_last, world_size, rank, seed: see MapSampler.
        indices: the numbers of the samples that count; None for all.

    >>> list(RandomSampler(range(5), batch_size=2, seed=0))
    [[2, 0], [1, 3], [4]]
    """

    def sample(self) -> list[Any]:
        """The numbers of the samples."""
        order: list[Any] = self.rng.permutation(self.num_samples if self.indices is None else self.indices).tolist()
        return order


class ReplacementSampler(MapSampler):
    """Samples drawn with replacement.

    Args:
        dataset, batch_size, drop_last, num_samples, world_size, rank, seed: see MapSampler.
        weights: how often each sample is drawn, relative to the others; by default all equally often.

    >>> list(ReplacementSampler(range(5), batch_size=3, num_samples=4, weights=[0, 1, 0, 0, 0]))
    [[1, 1, 1], [1]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        drop_last: bool = False,
        num_samples: int | None = None,
        weights: Sequence[float] | None = None,
        world_size: int | None = None,
        rank: int | None = None,
        seed: int | None = None,
    ):
        super().__init__(dataset, batch_size, drop_last, num_samples, world_size, rank, seed)
        self.weights: np.ndarray[Any, Any] | None = None
        if weights is None:
            return
        if not isinstance(weights, (Sequence, np.ndarray)):
            raise ValueError(f"weights should be None or a sequence, but got weights={weights!r}")
        if len(weights) != len(dataset):
            raise ValueError(f"{len(weights)} weights for a dataset of {len(dataset)} samples; each needs one")
        self.weights = np.asarray(weights, np.float64)
        if not (np.isfinite(self.weights).all() and (self.weights >= 0).all() and self.weights.any()):
            raise ValueError("weights should be finite, none negative and not all zero")

    def sample(self) -> list[Any]:
        """The numbers of the samples."""
        count = len(self.dataset)
        size = -(-self.num_samples // self.world_size) * self.world_size
        chance = None if self.weights is None else self.weights / self.weights.sum()
        drawn = self.rng.randint(0, count, size=size) if chance is None else self.rng.choice(count, size, p=chance)
        numbers: list[Any] = drawn.tolist()
        return numbers


class StreamSampler(Sampler):
    """Batches of the samples of a StreamDataset, in its order.

    Args:
        batch_size: samples in a batch.

    >>> StreamSampler(batch_size=4).batch_size
    4
    """

    def __init__(self, batch_size: int = 1):
        super().__init__()
        self.batch_size = _positive("batch_size", batch_size)

    def sample(self) -> Iterator[int]:
        """The positions in a batch."""
        return iter(range(self.batch_size))

    def batch(self) -> Iterator[list[int]]:
        """The positions in each batch, without end."""
        while True:
            yield list(self.sample())


class Infinite(MapSampler):
    """The batches of another sampler, again and again.

    A new iteration continues where the last one stopped.

    Args:
        sampler: a Sampler.

    >>> batches = iter(Infinite(SequentialSampler(range(3), batch_size=2)))
    >>> [next(batches) for _ in range(4)]
    [[0, 1], [2], [0, 1], [2]]
    """

    def __init__(self, sampler: MapSampler):
        Sampler.__init__(self)
        self.sampler = sampler
        self.sampler_iter = iter(sampler)

    def sample(self) -> Iterable[Any]:
        raise NotImplementedError(
            "Infinite takes whole batches from the sampler that it repeats; call sample() of that one"
        )

    def batch(self) -> Iterator[list[Any]]:
        """The batches, without end. Raises ValueError if an epoch of the sampler has none."""
        fresh = False
        while True:
            batch = next(self.sampler_iter, None)
            if batch is not None:
                fresh = False
                yield batch
            elif fresh:
                raise ValueError(
                    f"Infinite: a pass of {type(self.sampler).__name__} has no batch that could be repeated"
                )
            else:
                self.sampler_iter, fresh = iter(self.sampler), True

    def __len__(self) -> int:
        return sys.maxsize
