"""Operands that lie in memory in other ways than they are written: as NumPy arrays, and as views inside a Program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tengen.compiler.program import Value
from tengen.core.ops.shape import Slice, Windows, broadcast, transpose

Shape = tuple[int, ...]


class View(NamedTuple):
    """One view op: "slice" (starts, extents, steps), "transpose" (order), "broadcast" (shape) or "windows" (size along the last dim)."""

    op: str
    numbers: tuple

    def of_array(self, array: np.ndarray) -> np.ndarray:
        if self.op == "slice":
            zipped = zip(*self.numbers, strict=True)
            ends = [(b, b + e * s, s) for b, e, s in zipped]
            return array[tuple(slice(b, end if end >= 0 else None, s) for b, end, s in ends)]
        if self.op == "transpose":
            return array.transpose(self.numbers)
        if self.op == "broadcast":
            return np.broadcast_to(array, self.numbers)
        return sliding_window_view(array, self.numbers[0], axis=-1)

    def of_value(self, value: Value) -> Value:
        if self.op == "slice":
            return Slice(*self.numbers)(value)
        if self.op == "transpose":
            return transpose(value, self.numbers)
        if self.op == "broadcast":
            return broadcast(value, self.numbers)
        return Windows((value.ndim - 1,), self.numbers, (1,), (1,))(value)


class Laid(NamedTuple):
    """A dense array of shape `base`, and the views of it that lead to an operand."""

    base: Shape
    views: tuple[View, ...]

    def of_array(self, array: np.ndarray) -> np.ndarray:
        for view in self.views:
            array = view.of_array(array)
        return array

    def of_value(self, value: Value) -> Value:
        for view in self.views:
            value = view.of_value(value)
        return value


def _cut(shape: Shape, before: Sequence[int], after: Sequence[int], steps: Sequence[int]) -> Laid:
    """Every step-th element of something larger; a negative step goes from the last one on."""
    spans = [(s - 1) * abs(t) + 1 if s else 0 for s, t in zip(shape, steps, strict=True)]
    base = tuple(b + n + a for b, n, a in zip(before, spans, after, strict=True))
    starts = tuple(b + (n - 1 if t < 0 and n else 0) for b, n, t in zip(before, spans, steps, strict=True))
    return Laid(base, (View("slice", (starts, shape, tuple(steps))),))


def _stepped(shape: Shape, dims: Sequence[int], step: int) -> Laid:
    none, dims = [0] * len(shape), [d % len(shape) for d in dims]
    return _cut(shape, none, none, [step if d in dims else 1 for d in range(len(shape))])


def _permuted(shape: Shape, order: Sequence[int]) -> Laid:
    """In memory the dims are in this order."""
    back = tuple(order.index(d) for d in range(len(order)))
    return Laid(tuple(shape[d] for d in order), (View("transpose", back),))


def _stretched(shape: Shape, dims: Sequence[int]) -> Laid:
    dims = [d % len(shape) for d in dims]
    return Laid(tuple(1 if d in dims else s for d, s in enumerate(shape)), (View("broadcast", shape),))


def _then(*makers: Callable[[Shape], Laid]) -> Callable[[Shape], Laid]:
    """The first layout of what lies like the second, and so on."""

    def made(shape: Shape) -> Laid:
        views: tuple[View, ...] = ()
        for maker in makers:
            laid = maker(shape)
            shape, views = laid.base, laid.views + views
        return Laid(shape, views)

    return made


def _backwards(shape: Shape) -> Laid:
    return _stepped(shape, range(len(shape)), -1)


def _last_to_front(shape: Shape) -> Laid:
    """For images: channels last."""
    return _permuted(shape, (0, *range(2, len(shape)), 1))


def _first_to_end(shape: Shape) -> Laid:
    """For images: images last."""
    return _permuted(shape, (*range(1, len(shape)), 0))


def _sliding(shape: Shape) -> Laid:
    """Rows of the last dim that overlap."""
    return Laid((*shape[:-2], shape[-2] + shape[-1] - 1), (View("windows", shape[-1:]),))


LAYOUTS: dict[str, Callable[[Shape], Laid]] = {
    "plain": lambda shape: Laid(shape, ()),
    "cut out": lambda shape: _cut(shape, [1] * len(shape), [2] * len(shape), [1] * len(shape)),
    "last dims reversed": lambda shape: _stepped(shape, (-1, -2), -1),
    "reversed": _backwards,
    "stepped": lambda shape: _cut(shape, [1] * len(shape), [0] * len(shape), [3] * len(shape)),
    "last dim stepped back": lambda shape: _stepped(shape, (-1,), -2),
    "transposed": lambda shape: _permuted(shape, tuple(reversed(range(len(shape))))),
    "last dims swapped": lambda shape: _permuted(shape, (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)),
    "channels last": _last_to_front,
    "channels last, reversed": _then(_backwards, _last_to_front),
    "images last": _first_to_end,
    "images last, reversed": _then(_backwards, _first_to_end),
    "first dim stretched": lambda shape: _stretched(shape, (0,)),
    "second dim stretched": lambda shape: _stretched(shape, (1,)),
    "last dims stretched": lambda shape: _stretched(shape, (-1, -2)),
    "overlapping rows, reversed": _then(_backwards, _sliding),
}
