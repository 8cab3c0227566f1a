"""Keeping gradients in bounds."""

from __future__ import annotations

from collections.abc import Iterable
from math import isinf
from typing import Any

from .. import functional as F
from .._rt import apply
from ..core import Tensor, fused_update
from ..core.ops.base import several
from ..core.ops.precision import PowerSums
from .shards import Shards, shards_of

__all__ = ["clip_grad_norm", "clip_grad_value"]


def _with_gradient(op: str, tensors: Tensor | Iterable[Tensor]) -> list[Tensor]:
    given = [tensors] if isinstance(tensors, Tensor) else several(op, "tensors", tensors, "tensors in a list")
    return [tensor for tensor in given if tensor.grad is not None]


def _scale(gradient: Any, factor: Any) -> Any:
    return (gradient * factor,)


def _clip(gradient: Any, lower: Any, upper: Any) -> Any:
    return (F.maximum(F.minimum(gradient, upper), lower),)


def clip_grad_norm(tensors: Tensor | Iterable[Tensor], max_norm: float, ord: float = 2.0) -> Tensor:
    """Scale the gradients of `tensors` so that their norm, as of one long vector, is at most `max_norm`.

    Args:
        tensors: one or several; those without a gradient are left out. Of a `distributed.sharded` optimizer all processes call this.
        max_norm: the bound.
        ord: which norm; float("inf") for the largest absolute value.

    Returns: the norm before, a tensor of shape ().

    >>> w = tengen.Parameter([0.0, 0.0])
    >>> w.grad = tengen.tensor([3.0, 4.0])
    >>> clip_grad_norm([w], 1.0).item(), w.grad.numpy().round(4).tolist()
    (5.0, [0.6000000238418579, 0.800000011920929])
    """
    given = _with_gradient("clip_grad_norm", tensors)
    if not given:
        return Tensor(0.0)
    gradients, order = [t.grad for t in given], float(ord)
    by_shards: dict[Shards | None, list[Tensor]] = {}
    for tensor in given:
        by_shards.setdefault(shards_of(tensor), []).append(tensor.grad)
    totals = []
    for shards, parts in by_shards.items():
        sums = apply(PowerSums(order), *parts)
        totals.append(shards.total(sums, "MAX" if isinf(order) else "SUM") if shards else sums)
    every = totals[0] if len(totals) == 1 else F.concat(totals)
    norm = F.max(every) if isinf(order) else F.sum(every) ** (1 / order)
    wide = any(gradient.desc.dtype == "float64" for gradient in gradients)
    norm = norm.astype("float64" if wide else "float32")
    # 1e-6 keeps the divisor from zero; a factor above 1 would make gradients larger.
    factor = F.minimum(max_norm / (norm + 1e-6), 1.0)
    fused_update(_scale, [(gradient,) for gradient in gradients], [(factor,)] * len(gradients), ())
    return norm


def clip_grad_value(tensors: Tensor | Iterable[Tensor], lower: float, upper: float) -> None:
    """Limit each element of the gradients of `tensors` to [lower, upper].

    Args:
        tensors: one or several; those without a gradient are left out.
        lower, upper: the bounds.

    >>> w = tengen.Parameter([0.0, 0.0])
    >>> w.grad = tengen.tensor([3.0, -4.0])
    >>> clip_grad_value([w], -1.0, 1.0)
    >>> w.grad.tolist()
    [1.0, -1.0]
    """
    gradients = [t.grad for t in _with_gradient("clip_grad_value", tensors)]
    if gradients:
        fused_update(_clip, [(gradient,) for gradient in gradients], [()] * len(gradients), (lower, upper))
