"""Sorting along the last axis."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...compiler.orders import Sort
from ...compiler.program import Type, Value
from .base import Formula, position_dtype
from .elemwise import cast
from .index import GatherAlong
from .shape import reshape

PARTS = 16
LEAST_PART = 1 << 15  # shorter ones are mostly among the best so far
FEW_ROWS = 16  # more than these keep the cores busy without parts


class ArgSort(Sort):
    """Where the `k` smallest or largest elements along the last axis are, in order (int32, or int64 for more than 2**31
    elements). The sort is stable; NaN is larger than all numbers."""

    k: int
    descending: bool

    name = "argsort"
    nondiff = "positions do not change when elements do, or jump"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        return (Type(position_dtype(x.shape[-1]), (*x.shape[:-1], self.k)),)


class TopK(Formula):
    """The `k` smallest or largest elements along the last axis, in the order of ArgSort, and where they are."""

    k: int
    descending: bool

    name = "topk"

    def expand(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        order = self._in_parts(x) if self._is_cut(x.shape) else ArgSort(self.k, self.descending)(x)
        return GatherAlong(x.ndim - 1)(x, order), order

    def _is_cut(self, shape: tuple[int, ...]) -> bool:
        """Whether each of a few long rows is cut into parts, whose first elements are found first, so that all cores
        can work on them."""
        *rows, length = shape
        return prod(rows) < FEW_ROWS and length % PARTS == 0 and length // PARTS >= max(LEAST_PART, 2 * self.k)

    def _in_parts(self, x: Value) -> Value:
        *rows, length = x.shape
        axis, part = x.ndim - 1, length // PARTS
        cut = reshape(x, (*rows, PARTS, part))
        first = ArgSort(self.k, self.descending)(cut)
        places = cast(x.builder.iota((PARTS, 1)) * part + first, position_dtype(length))
        chosen = reshape(GatherAlong(axis + 1)(cut, first), (*rows, PARTS * self.k))
        return GatherAlong(axis)(reshape(places, chosen.shape), ArgSort(self.k, self.descending)(chosen))
