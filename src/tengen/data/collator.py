"""Collators, which turn samples into a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

default_collate_err_msg_format = (
    "default_collator: inputs must contain numpy arrays, numbers, Unicode strings, bytes, dicts or lists; found {}"
)


class Collator:
    """Stacks samples of the same structure: arrays and numbers become arrays, text stays a list.

    >>> Collator().apply([{"x": 1.5, "name": "a"}, {"x": 2.5, "name": "b"}])
    {'x': array([1.5, 2.5]), 'name': ['a', 'b']}
    """

    def apply(self, inputs: Sequence[Any]) -> Any:
        """Make one batch: tuples and lists become a list with a batch for each position, dicts a dict of batches.

        Raises TypeError for other values, ValueError for arrays of different shapes or sequences of different lengths.
        """
        first = inputs[0]
        if isinstance(first, (np.ndarray, np.generic)):
            return self._stack(inputs)
        if isinstance(first, (bool, int, float)):
            return np.array(inputs)
        if isinstance(first, (str, bytes)):
            return list(inputs)
        if isinstance(first, Mapping):
            return {key: self.apply([sample[key] for sample in inputs]) for key in first}
        if isinstance(first, Sequence):
            lengths = {len(sample) for sample in inputs}
            if len(lengths) > 1:
                raise ValueError(
                    f"samples of different lengths, {sorted(lengths)}, do not make a batch; give a Collator of your own"
                )
            columns = [self.apply(column) for column in zip(*inputs, strict=True)]
            return type(first)(*columns) if hasattr(first, "_fields") else columns
        fix = "; a dataset gives arrays, x.numpy() for a tensor x" if hasattr(first, "numpy") else ""
        raise TypeError(default_collate_err_msg_format.format(type(first)) + fix)

    @staticmethod
    def _stack(arrays: Sequence[Any]) -> np.ndarray[Any, Any]:
        shapes = sorted({np.shape(a) for a in arrays})
        if len(shapes) > 1:
            text = ", ".join(map(str, shapes[:4]))
            raise ValueError(
                f"arrays of different shapes, {text}, do not make a batch: resize or pad them in a transform, or give a Collator of your own"
            )
        return np.stack(arrays)
