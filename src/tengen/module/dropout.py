"""Dropout."""

from __future__ import annotations

from .. import functional as F
from ..core import Tensor
from ..core.ops.base import number
from .module import Module

__all__ = ["Dropout"]


class Dropout(Module):
    """In training, sets elements to 0 with probability `drop_prob` and divides the others by 1 - drop_prob.

    Source: Srivastava et al. 2014.

    Args:
        drop_prob: from 0 to below 1.
        name: any text, kept as `.name`.

    >>> M.Dropout(0.5).eval()
    >>> M.Dropout(0.0)(tengen.tensor([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """

    def __init__(self, drop_prob: float = 0.0, name: str | None = None):
        super().__init__(name)
        drop_prob = number("Dropout", "drop_prob", drop_prob)
        if not 0 <= drop_prob < 1:
            raise ValueError(f"drop_prob must be a probability in [0, 1), got {drop_prob}")
        self.drop_prob = drop_prob

    def forward(self, inputs: Tensor) -> Tensor:
        return F.dropout(inputs, self.drop_prob, self.training) if self.training else inputs

    def _module_info_string(self) -> str:
        return f"drop_prob={self.drop_prob}"
