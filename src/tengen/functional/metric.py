"""Measures of quality."""

from __future__ import annotations

from collections.abc import Iterable

from .._rt import apply
from ..core import Tensor
from ..core.ops.loss import TopKAccuracy
from .arguments import as_index, as_tensor, integers, need_integers, need_rank

__all__ = ["topk_accuracy"]


def topk_accuracy(logits: Tensor, target: Tensor, topk: int | Iterable[int] = 1) -> Tensor | list[Tensor]:
    """The share of rows whose target is among the `topk` highest scores.

    Args:
        logits: (N, classes).
        target: (N,) integers.
        topk: how many scores count, from 1 to the number of classes; or several numbers.

    Returns: a 0-d tensor of float32; a list of them for several numbers.

    Raises:
        ValueError: the shapes do not fit, or topk is outside 1 … classes.
        IndexError: a target is not a class.

    >>> F.topk_accuracy(Tensor([[0.1, 0.9], [0.8, 0.2]]), Tensor([1, 1])).item()
    0.5
    """
    x, label = as_tensor(logits, target), need_integers("topk_accuracy", "target", as_index(target, logits))
    need_rank("topk_accuracy", x, 2)
    if tuple(label.shape) != (x.shape[0],):
        raise ValueError(
            f"topk_accuracy: a target of shape {tuple(label.shape)} for scores of shape {tuple(x.shape)}; it must be {(x.shape[0],)}"
        )
    ks = integers("topk_accuracy", "topk", topk)
    for k in ks:
        if not 1 <= k <= x.shape[1]:
            raise ValueError(f"topk_accuracy: topk must be from 1 to the number of classes, {x.shape[1]}, got {k}")
    found = [apply(TopKAccuracy(k), x, label) for k in ks]
    return found[0] if len(found) == 1 else found
