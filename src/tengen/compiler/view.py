"""Where the elements of a value lie in its buffer: shape, strides, offset, and conditions for elements that are not in
it.

A `View` is what reshape, transpose, slice, broadcast, pad and sliding windows do to a buffer without touching it.
Element `index` lies at `offset + sum(stride[d] * index[d])` if every `Edge` holds; otherwise it has the value `fill`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import NamedTuple


class Edge(NamedTuple):
    """The condition 0 <= offset + sum(coefficients[d] * index[d]) < limit: inside the buffer, not in the padding."""

    coefficients: tuple[int, ...]
    offset: int
    limit: int


class View(NamedTuple):
    """Shape, strides and offset in elements; see the module docstring."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    edges: tuple[Edge, ...] = ()
    fill: float = 0.0

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def plain(self) -> bool:
        """Whether every element lies in the buffer."""
        return not self.edges

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie in row-major order without gaps."""
        return self.plain and all(
            extent == 1 or stride == want
            for extent, stride, want in zip(self.shape, self.strides, row_major(self.shape), strict=True)
        )

    def along(self, shape: Sequence[int], picks: Sequence[int | None], multiply: Sequence[int] | None = None) -> View:
        """New dim i runs along old dim picks[i] (None: a broadcast dim), `multiply[i]` old steps at a time."""
        factors = multiply or [1] * len(picks)

        def picked(numbers: tuple[int, ...]) -> tuple[int, ...]:
            return tuple([0 if p is None else numbers[p] * f for p, f in zip(picks, factors, strict=True)])

        edges = tuple([e._replace(coefficients=picked(e.coefficients)) for e in self.edges])
        return View(tuple(shape), picked(self.strides), self.offset, edges, self.fill)

    def permute(self, order: Sequence[int]) -> View:
        """Dim i of the result is dim order[i] of this view."""
        return self.along([self.shape[d] for d in order], order)

    def broadcast(self, shape: Sequence[int]) -> View:
        """Stretch dims of extent 1 and add leading dims, as NumPy broadcasts."""
        if tuple(shape) == self.shape:
            return self
        lead = len(shape) - len(self.shape)
        old = (1,) * lead + self.shape
        picks = [
            None if (o == 1 and (s != 1 or d < lead)) else d - lead
            for d, (o, s) in enumerate(zip(old, shape, strict=True))
        ]
        return self.along(shape, picks)

    def slice(self, starts: Sequence[int], extents: Sequence[int], steps: Sequence[int]) -> View:
        """Keep `extents[d]` elements of each dim, from `starts[d]` on, `steps[d]` apart (any sign)."""
        if 0 in extents:  # the strides of a view without elements lead out of its buffer
            return contiguous(extents)
        offset = self.offset + sum([b * s for b, s in zip(starts, self.strides, strict=True)])
        edges = [
            e._replace(offset=e.offset + sum([b * c for b, c in zip(starts, e.coefficients, strict=True)]))
            for e in self.edges
        ]
        moved = View(self.shape, self.strides, offset, tuple(edges), self.fill)
        return moved.along(extents, range(len(self.shape)), steps)

    def pad(self, before: Sequence[int], after: Sequence[int], fill: float) -> View | None:
        """Put `fill` around the elements. None if there is padding with another value already."""
        if self.edges and repr(fill) != repr(self.fill):  # 0.0 equals -0.0
            return None
        shape = tuple(b + s + a for b, s, a in zip(before, self.shape, after, strict=True))
        moved = self.slice([-b for b in before], shape, [1] * len(shape))
        edges = list(moved.edges)
        for d, extent in enumerate(self.shape):
            if before[d] or after[d]:
                edges.append(Edge(tuple(int(i == d) for i in range(len(shape))), -before[d], extent))
        return moved._replace(edges=tuple(edges), fill=fill)

    def windows(
        self,
        axes: Sequence[int],
        counts: Sequence[int],
        sizes: Sequence[int],
        strides: Sequence[int],
        dilations: Sequence[int],
    ) -> View:
        """Sliding windows along `axes`: dim axes[i] becomes counts[i] window positions, and the places inside a window
        follow as new last dims.
        """
        step = dict(zip(axes, strides, strict=True))
        count = dict(zip(axes, counts, strict=True))
        rank = len(self.shape)
        shape = [count.get(d, s) for d, s in enumerate(self.shape)] + list(sizes)
        picks = [*range(rank), *axes]
        return self.along(shape, picks, [step.get(d, 1) for d in range(rank)] + list(dilations))

    def reshape(self, shape: Sequence[int]) -> View | None:
        """The same elements in row-major order in another shape, or None if strides cannot express that."""
        if tuple(shape) == self.shape:
            return self
        if self.size == 0:
            return contiguous(shape)
        pairs = match_dims(self.shape, shape)
        numbers = [self.strides, *(e.coefficients for e in self.edges)]
        moved = []
        for old in numbers:
            new = [0] * len(shape)
            for old_dims, new_dims in pairs:
                stride = _merged_stride([(self.shape[d], old[d]) for d in old_dims])
                if stride is None:
                    return None
                for d in reversed(new_dims):
                    new[d] = stride
                    stride *= shape[d]
            moved.append(tuple(new))
        edges = tuple(e._replace(coefficients=c) for e, c in zip(self.edges, moved[1:], strict=True))
        return self._replace(shape=tuple(shape), strides=moved[0], edges=edges)


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a dense array with the last dim fastest."""
    return dense(shape, range(len(shape)))


def dense(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Strides of a dense array whose dims, slowest first, are `order`."""
    strides, step = [0] * len(shape), 1
    for d in reversed(order):
        strides[d] = step
        step *= max(shape[d], 1)
    return tuple(strides)


def contiguous(shape: Sequence[int]) -> View:
    """A row-major view of a whole buffer."""
    return View(tuple(shape), row_major(shape))


def match_dims(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of old dims and of new dims that hold the same number of elements, in order (no extent may be
    0).
    """
    pairs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        olds: list[int] = []
        news: list[int] = []
        a = b = 1
        while True:
            if i < len(old) and (not olds or a < b):
                olds.append(i)
                a *= old[i]
                i += 1
            elif j < len(new) and (not news or b < a):
                news.append(j)
                b *= new[j]
                j += 1
            else:
                break
        pairs.append((olds, news))
        if not olds and not news:
            raise ValueError(f"cannot match {tuple(old)} with {tuple(new)}")
    return pairs


def _merged_stride(dims: list[tuple[int, int]]) -> int | None:
    """The stride of several (extent, stride) dims read as one, or None; 0 for no dims."""
    real = [(extent, stride) for extent, stride in dims if extent != 1]
    for (_, outer), (extent, inner) in pairwise(real):
        if outer != inner * extent:
            return None
    return real[-1][1] if real else 0
