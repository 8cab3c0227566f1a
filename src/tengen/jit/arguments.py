"""Arguments and results of traced functions: tensors inside of tuples, lists and dicts, and everything else."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from ..core import Tensor


def flatten(tree: Any, leaves: list[Tensor]) -> Hashable:
    """Append the tensors of `tree` to `leaves`; returns what else it holds, as something to compare calls by.

    What cannot be hashed compares by identity, so it must be kept alive as long as the answer.
    """
    if isinstance(tree, Tensor):
        leaves.append(tree)
        return Tensor, tree.desc.dtype, tree.shape, tree.desc.device
    if isinstance(tree, (tuple, list)):
        return type(tree), *[flatten(x, leaves) for x in tree]
    if isinstance(tree, dict):
        return dict, *[(k, flatten(x, leaves)) for k, x in tree.items()]
    try:
        hash(tree)
    except TypeError:
        return type(tree), id(tree)
    return type(tree), tree


def rebuild(tree: Any, replace: Callable[[Any], Any], leaf: type = Tensor) -> Any:
    """`tree` with each `leaf` in it replaced by what `replace` says."""
    if isinstance(tree, leaf):
        return replace(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(rebuild(x, replace, leaf) for x in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(rebuild(x, replace, leaf) for x in tree)
    if isinstance(tree, dict):
        return {k: rebuild(x, replace, leaf) for k, x in tree.items()}
    return tree


def tensors_of(tree: Any) -> list[Tensor]:
    """The tensors in `tree`, in order."""
    found: list[Tensor] = []
    rebuild(tree, found.append)
    return found
