"""`DataLoader`: batches of a dataset, prepared by workers in the background."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import repeat
from operator import index as as_int
from typing import Any

import numpy as np

from ..base.device import canonical, require
from ..base.missing import Explained
from ..core import Tensor
from ..core.convert import assign
from .collator import Collator
from .dataset.meta_dataset import StreamDataset
from .fetch import Fetch, Numbered, Streamed, chunks, in_turns
from .processes import End, in_processes
from .sampler import SequentialSampler, StreamSampler
from .threads import in_threads
from .transform.meta_transform import PseudoTransform

WORKERS = ("thread", "process")


class DataLoader(Explained):
    """The batches of a dataset: iterate over it once for each epoch.

    An exception in a worker is raised here as a RuntimeError with its traceback and the index of the sample; so is a
    worker that dies, or a batch that takes longer than `timeout`.

    Args:
        dataset: a Dataset, or anything with `[number]` and `len`; or a StreamDataset.
        sampler: which samples make a batch; by default each sample is a batch, in order. Any iterable of lists of indices
            works.
        transform: changes the samples of a batch.
        collator: puts them together.
        num_workers: how many workers prepare batches, at most two each ahead of time; 0 makes a batch when it is asked for.
            The order of batches does not depend on it.
        timeout: seconds to wait for a batch from the workers; 0 waits for ever.
        preload: batches are tensors instead of NumPy arrays. To a GPU they go, through pinned memory, while it computes.
        parallel_stream: each worker iterates over a StreamDataset of its own, and their batches take turns; otherwise
            one reads it.
        workers: "thread"; or "process", for datasets that hold Python's lock for a long time. Then dataset, transform and
            collator are pickled, and the program must guard its main code (`if __name__ == "__main__":`).

    Raises:
        ValueError, TypeError: arguments that do not fit.

    >>> loader = DataLoader([0.5, 1.5, 2.5], SequentialSampler(range(3), batch_size=2), num_workers=2)
    >>> [batch.tolist() for batch in loader]
    [[0.5, 1.5], [2.5]]
    """

    def __init__(
        self,
        dataset: Any,
        sampler: Iterable[Any] | None = None,
        transform: Any = None,
        collator: Any = None,
        num_workers: int = 0,
        timeout: float = 0,
        preload: bool = False,
        parallel_stream: bool = False,
        workers: str = "thread",
    ):
        self.stream = isinstance(dataset, StreamDataset)
        if not self.stream and not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
            raise TypeError(f"DataLoader takes a dataset with [number] and len, got {type(dataset).__name__}")
        self.num_workers = as_int(num_workers)
        if self.num_workers < 0:
            raise ValueError(f"num_workers should not be negative, but got num_workers={num_workers}")
        if not timeout >= 0:
            raise ValueError(f"timeout should not be negative, but got timeout={timeout}")
        if workers not in WORKERS:
            raise ValueError(f"workers should be one of {', '.join(WORKERS)}, but got workers={workers!r}")
        if sampler is None:
            sampler = StreamSampler(1) if self.stream else SequentialSampler(dataset)
        if self.stream != isinstance(sampler, StreamSampler):
            raise TypeError(
                f"{type(sampler).__name__} does not fit {type(dataset).__name__}: a StreamDataset needs a StreamSampler, others must not have one"
            )
        self.dataset, self.sampler = dataset, sampler
        self.transform = PseudoTransform() if transform is None else transform
        self.collator = Collator() if collator is None else collator
        for name, value, method in (("transform", self.transform, "apply_batch"), ("collator", self.collator, "apply")):
            if not callable(getattr(value, method, None)):
                raise TypeError(f"the {name} of a DataLoader has a method {method}; {type(value).__name__} has none")
        self.timeout, self.preload, self.parallel_stream, self.workers = timeout, preload, parallel_stream, workers

    def __len__(self) -> int:
        """The number of batches. Raises TypeError for a stream."""
        return len(self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        if self.num_workers and self.workers == "process":
            batches = self._by_processes()
            return map(to_tensors, batches) if self.preload else batches
        parts = self.transform, self.collator
        fetch: Any = Streamed(*parts) if self.stream else Numbered(self.dataset, *parts)
        made = partial(_tensors_of, fetch) if self.preload else fetch
        return (
            in_threads(made, self._tasks(), self.num_workers, self.timeout)
            if self.num_workers
            else _in_turn(made, self._tasks())
        )

    def _tasks(self) -> Iterator[Any]:
        """What each batch is made of: the indices of its samples, or samples of a stream."""
        if not self.stream:
            return iter(self.sampler)
        streams = max(self.num_workers, 1) if self.parallel_stream else 1
        return in_turns([chunks(self.dataset, self.sampler) for _ in range(streams)])

    def _by_processes(self) -> Iterator[Any]:
        if not self.stream:
            make: Any = partial(Numbered, self.dataset, self.transform, self.collator)
            return in_processes(make, iter(self.sampler), self.num_workers, self.timeout)
        fetch: Any = Streamed(self.transform, self.collator)
        stream = partial(_NextOfStream, self.dataset, self.sampler, fetch)
        return in_processes(stream, repeat(None), self.num_workers if self.parallel_stream else 1, self.timeout)

    def check_memory_rationality(self) -> None:
        """Does nothing: workers allocate what a batch needs when they make it."""


class _NextOfStream:
    """In a worker process: the next batch of its stream at each call, End after the last."""

    def __init__(self, dataset: Any, sampler: Any, fetch: Fetch):
        self._fetch, self._tasks = fetch, chunks(dataset, sampler)

    def __call__(self, _: Any) -> Any:
        task = next(self._tasks, None)
        return End() if task is None else self._fetch(task)


def _in_turn(made: Fetch, tasks: Iterator[Any]) -> Iterator[Any]:
    for task in tasks:
        try:
            batch = made(task)
        except StopIteration as error:  # which would look like the end
            raise RuntimeError("DataLoader: the dataset, the transform or the collator raised StopIteration") from error
        yield batch


def _tensors_of(fetch: Fetch, task: Any) -> Any:
    return to_tensors(fetch(task))


def to_tensors(batch: Any) -> Any:
    """The batch with a tensor in place of each array of numbers."""
    if isinstance(batch, np.ndarray) and batch.dtype.kind in "biuf":
        tensor = Tensor.__new__(Tensor)
        assign(tensor, batch, None, canonical(require()), ahead=True)
        return tensor
    if isinstance(batch, dict):
        return {key: to_tensors(value) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        made = [to_tensors(value) for value in batch]
        return type(batch)(*made) if hasattr(batch, "_fields") else type(batch)(made)
    return batch
