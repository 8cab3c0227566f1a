"""The base class of all transforms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any


class Transform(ABC):
    """A change of samples; a subclass defines `apply`.

    >>> class Double(Transform):
    ...     def apply(self, input):
    ...         return 2 * input
    >>> Double().apply_batch([1, 2])
    (2, 4)
    """

    def apply_batch(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Change the samples of a batch: by default each on its own."""
        return tuple(self.apply(input) for input in inputs)

    @abstractmethod
    def apply(self, input: Any) -> Any:
        """Change one sample."""


class PseudoTransform(Transform):
    """Changes nothing.

    >>> PseudoTransform().apply(5)
    5
    """

    def apply(self, input: Any) -> Any:
        """The sample."""
        return input

    def apply_batch(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """The samples."""
        return inputs
