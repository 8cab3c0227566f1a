"""Arguments and results of traced functions: tensors in tuples, lists and dicts, and everything else."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from copy import copy
from typing import Any

import numpy as np

from ..core import Tensor


def flatten(tree: Any, leaves: dict[int, Tensor], data: bool) -> Hashable:
    """Add the tensors of `tree` to `leaves`, by id, each once. Returns everything else in it, in a form by which calls
    can be compared.

    data: whether floats and NumPy arrays count as data, which may differ from call to call. Values that cannot be
    hashed compare by identity, so they must be kept alive as long as the result. Raises TypeError for NumPy arrays that
    do not count as data.
    """
    if isinstance(tree, Tensor):
        known = len(leaves)
        leaves.setdefault(id(tree), tree)
        if len(leaves) == known:  # one tensor in several places makes another kind of call
            return Tensor, list(leaves).index(id(tree))
        return Tensor, tree.desc.dtype, tree.shape, tree.desc.device
    if isinstance(tree, (tuple, list)):
        return type(tree), *[flatten(x, leaves, data) for x in tree]
    if isinstance(tree, dict):
        return type(tree), *[(k, flatten(x, leaves, data)) for k, x in tree.items()]
    if isinstance(tree, np.ndarray):
        if not data:
            raise TypeError(f"a NumPy array of shape {tree.shape} among the arguments")
        return np.ndarray, tree.dtype.str, tree.shape
    if type(tree) is float:
        return float if data else (float, tree.hex())  # this tells 0.0 from -0.0, and NaN equals NaN
    try:
        hash(tree)
    except TypeError:
        return type(tree), id(tree)
    return type(tree), tree


class Hole:
    """Stands for a tensor."""


def rebuild(tree: Any, replace: Callable[[Any], Any], leaf: type | tuple[type, ...] = Tensor) -> Any:
    """`tree` with each `leaf` in it replaced by `replace(leaf)`."""
    if isinstance(tree, leaf):
        return replace(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(rebuild(x, replace, leaf) for x in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(rebuild(x, replace, leaf) for x in tree)
    if isinstance(tree, dict):
        made = {k: rebuild(x, replace, leaf) for k, x in tree.items()}
        if type(tree) is dict:
            return made
        other = copy(tree)  # with its other state, such as the factory of a defaultdict
        other.update(made)
        return other
    return tree


def tensors_of(tree: Any) -> list[Tensor]:
    """The tensors in `tree`, in order."""
    found: list[Tensor] = []
    rebuild(tree, found.append)
    return found
