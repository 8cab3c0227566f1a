"""Which tensors have gradients that are parts, one on each of several processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from weakref import ref

from .._rt import apply
from ..core import Tensor
from ..core.ops.collective import AllReduce


class Shards(NamedTuple):
    """The processes that have the parts: the key of their group, and how many they are."""

    group: str
    size: int

    def total(self, values: Tensor, mode: str = "SUM") -> Tensor:
        """What has been summed (or of which the largest was taken, "MAX") over the parts of each, over all of them."""
        made: Tensor = apply(AllReduce(self.group, self.size, mode), values)
        return made


_known: dict[int, tuple[ref[Tensor], Shards]] = {}


def set_shards(tensors: Iterable[Tensor], shards: Shards) -> None:
    """Gradients of these tensors are parts from now on."""
    for key in [key for key, (tensor, _) in _known.items() if tensor() is None]:
        del _known[key]
    _known.update({id(tensor): (ref(tensor), shards) for tensor in tensors})


def shards_of(tensor: Tensor) -> Shards | None:
    """Where the parts of a tensor's gradient are; None if it is whole."""
    found = _known.get(id(tensor))
    return found[1] if found is not None and found[0]() is tensor else None
