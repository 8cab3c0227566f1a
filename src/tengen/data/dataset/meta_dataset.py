"""The kinds of datasets, and two that hold what is given to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np


class Dataset(ABC):
    """Samples by index: a subclass defines `__getitem__` and `__len__`.

    >>> class Squares(Dataset):
    ...     def __init__(self):
    ...         super().__init__()
    ...     def __getitem__(self, index):
    ...         return index**2
    ...     def __len__(self):
    ...         return 4
    >>> Squares()[3], len(Squares())
    (9, 4)
    """

    def __init__(self) -> None:  # abstract in MegEngine; a class that does not define it has nothing to store
        super().__init__()

    @abstractmethod
    def __getitem__(self, index: int) -> Any:
        pass

    @abstractmethod
    def __len__(self) -> int:
        pass


class StreamDataset(Dataset):
    """Samples one after the other: a subclass defines `__iter__`, which may never end.

    >>> class Count(StreamDataset):
    ...     def __init__(self):
    ...         super().__init__()
    ...     def __iter__(self):
    ...         return iter(range(3))
    >>> list(Count())
    [0, 1, 2]
    """

    @abstractmethod
    def __iter__(self) -> Iterator[Any]:
        pass

    def __getitem__(self, index: int) -> Any:
        raise TypeError(f"{type(self).__name__} is a StreamDataset: its samples come in order and have no indices")

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} is a StreamDataset: it does not know how many samples will come")


class ArrayDataset(Dataset):
    """Sample i is the tuple of element i of each array.

    Args:
        arrays: NumPy arrays, or sequences, of one length.

    Raises:
        ValueError: their lengths differ.
        TypeError: there are no arrays.

    >>> [float(part) for part in ArrayDataset(np.array([1.5, 2.5]), np.array([0, 1]))[1]]
    [2.5, 1.0]
    """

    def __init__(self, *arrays: Any):
        super().__init__()
        if not arrays:
            raise TypeError("ArrayDataset takes at least one array")
        lengths = [len(a) for a in arrays]
        if len(set(lengths)) > 1:
            raise ValueError(f"ArrayDataset: the arrays have different lengths, {lengths}")
        self.arrays = arrays

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(a[index] for a in self.arrays)

    def __len__(self) -> int:
        return len(self.arrays[0])

    def batch(self, indices: Sequence[int]) -> list[np.ndarray[Any, Any]] | None:
        """The samples with these indices, as one array for each array of the dataset; None unless all are NumPy arrays of numbers.

        >>> [a.tolist() for a in ArrayDataset(np.array([1.5, 2.5, 3.5]), np.arange(3)).batch([2, 0])]
        [[3.5, 1.5], [2, 0]]
        """
        if not all(isinstance(a, np.ndarray) and a.dtype.kind in "biufc" for a in self.arrays):
            return None
        order = np.asarray(indices, np.intp)
        return [a.take(order, axis=0) for a in self.arrays]


class ConcatDataset(Dataset):
    """The samples of several datasets, one after the other.

    Negative indices count from the end.

    Args:
        datasets: datasets whose samples have indices.

    Raises:
        TypeError: a StreamDataset is among them.

    >>> both = ConcatDataset([ArrayDataset([0, 1, 2]), ArrayDataset([10, 11, 12])])
    >>> len(both), both[3], both[-4]
    (6, (10,), (2,))
    """

    def __init__(self, datasets: Sequence[Dataset]):
        super().__init__()
        self.datasets = list(datasets)
        for dataset in self.datasets:
            if isinstance(dataset, StreamDataset):
                raise TypeError(
                    f"ConcatDataset takes datasets whose samples have indices, got {type(dataset).__name__}"
                )
        self.cumulative_sizes = list(accumulate(len(d) for d in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1] if self.cumulative_sizes else 0

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of a ConcatDataset of {len(self)} samples")
        index %= len(self)
        which = bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]
