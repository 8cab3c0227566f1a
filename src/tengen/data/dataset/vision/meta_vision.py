"""What image datasets have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..meta_dataset import Dataset

Array = np.ndarray[Any, Any]


class VisionDataset(Dataset):
    """A dataset in the folder `root`.

    Args:
        root: the folder.
        order: the parts of a sample, in order; by default "image" alone.
        supported_order: the parts that the dataset has.

    Raises:
        NotImplementedError: other names.
    """

    def __init__(self, root: Any, *, order: Sequence[str] | None = None, supported_order: Sequence[str] | None = None):
        super().__init__()
        self.root = os.path.expanduser(root) if isinstance(root, (str, os.PathLike)) else root
        self.order = ("image",) if order is None else tuple(order)
        for kind in self.order:
            if supported_order is not None and kind not in supported_order:
                raise NotImplementedError(
                    f"{kind} is unsupported data type of {type(self).__name__}; it has {', '.join(supported_order)}"
                )


class Annotated(VisionDataset):
    """A dataset whose samples have the parts that methods `_read_…(index)` give."""

    supported_order: tuple[str, ...]

    def __init__(self, root: Any, order: Sequence[str] | None):
        super().__init__(root, order=order, supported_order=self.supported_order)

    def _part(self, kind: str, index: int) -> Any:
        read: Callable[[int], Any] = getattr(self, f"_read_{kind}")
        return read(index)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(self._part(kind, index) for kind in self.order)
