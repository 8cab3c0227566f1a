"""Updates of tensors in place."""

from __future__ import annotations

from .._rt import update
from ..core import Tensor
from ..core.ops.formula import ScaledSum


def _inplace_add_(dest: Tensor, delta: Tensor, alpha: Tensor | float, beta: Tensor | float) -> Tensor:
    """Gives `dest` the value alpha · dest + beta · delta and returns it; its dtype and shape stay."""
    update(ScaledSum(), 1, dest, delta, alpha, beta)
    return dest
