"""What layers that compute with quantised numbers have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from ..module import Module

__all__ = ["QuantizedModule"]


class QuantizedModule(Module):
    """A layer that computes with quantised numbers.

    It serves inference only: a call in training mode raises ValueError. `weight_scale`: None, or, if each channel of
    the result has a scale of its own, these scales; the dtype of `weight` then has the scale 1.

    Args:
        name: any text, kept as `.name`.

    >>> from tengen.module import quantized
    >>> issubclass(quantized.Linear, quantized.QuantizedModule)
    True
    """

    weight_scale: Any = None

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        if self.training:
            raise ValueError(
                f"{type(self).__name__}: quantised layers are for inference; call eval() of the network first"
            )
        return super().__call__(*inputs, **kwargs)

    def __repr__(self) -> str:
        return "Quantized." + super().__repr__()

    @classmethod
    @abstractmethod
    def from_qat_module(cls, qat_module: Any) -> Any:
        """This layer with the parameters of one that was trained with rounded numbers."""
