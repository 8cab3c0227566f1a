"""What a worker does: make a batch from the indices of its samples, or from samples of a stream."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from .collator import Collator
from .dataset.meta_dataset import ArrayDataset
from .transform.meta_transform import PseudoTransform


class Failure(NamedTuple):
    """An exception in a worker: its class, its traceback as text, and the sample that it is about."""

    kind: str
    text: str
    about: str
    error: BaseException | None = None

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Of the exception that is being handled."""
        about = getattr(error, "_about", "")
        return cls(type(error).__name__, "".join(traceback.format_exception(error)), about, error)

    def raised_by(self, worker: str) -> RuntimeError:
        """The error to raise in the process or thread that wants the batch."""
        about = f", {self.about}" if self.about else ""
        return RuntimeError(f"Caught {self.kind} in DataLoader {worker}{about}.\nOriginal {self.text}")


class Numbered(NamedTuple):
    """The batch of the samples with these indices."""

    dataset: Any
    transform: Any
    collator: Any

    def __call__(self, indices: Sequence[Any]) -> Any:
        whole = self._at_once(indices)
        return whole if whole is not None else finish(self.transform, self.collator, [self._sample(i) for i in indices])

    def _at_once(self, indices: Sequence[Any]) -> Any:
        """The batch by a single gather from each array, if that gives the same; otherwise None."""
        plain = type(self.transform) is PseudoTransform and type(self.collator) is Collator
        kind = type(self.dataset)
        if (
            not plain
            or not indices
            or not issubclass(kind, ArrayDataset)
            or kind.__getitem__ is not ArrayDataset.__getitem__
        ):
            return None
        try:
            return self.dataset.batch(indices)
        except (IndexError, TypeError, ValueError):
            return None  # one by one, so that the error names the sample

    def _sample(self, index: Any) -> Any:
        try:
            return self.dataset[index]
        except Exception as error:
            note(error, f"sample {index!r}")
            raise


class Streamed(NamedTuple):
    """The batch of these samples of a stream."""

    transform: Any
    collator: Any

    def __call__(self, samples: Sequence[Any]) -> Any:
        return finish(self.transform, self.collator, samples)


def finish(transform: Any, collator: Any, samples: Sequence[Any]) -> Any:
    """Samples as a batch."""
    return collator.apply(transform.apply_batch(samples))


def note(error: Exception, about: str) -> None:
    """Note on an exception which sample it is about; its class and message stay the same."""
    error.__dict__["_about"] = about  # attributes of an exception may be frozen
    if hasattr(error, "add_note"):  # Python 3.11
        error.add_note(f"DataLoader: {about}")


def chunks(samples: Iterable[Any], sizes: Iterable[Sequence[Any]]) -> Iterator[list[Any]]:
    """Split a stream into lists of the lengths in `sizes`; the last one may be shorter."""
    stream = iter(samples)
    for places in sizes:
        chunk = list(islice(stream, len(places)))
        if not chunk:
            return
        yield chunk


def in_turns(streams: Sequence[Iterator[Any]]) -> Iterator[Any]:
    """Take one sample from each stream in turn, until all have ended."""
    left = list(streams)
    while left:
        for stream in tuple(left):
            try:
                yield next(stream)
            except StopIteration:
                left.remove(stream)


Fetch = Callable[[Any], Any]
