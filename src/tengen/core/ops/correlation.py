"""Similarity of patches of two images, for displacements in a window."""

from __future__ import annotations

from ...compiler.program import Value
from .base import Formula, promoted_floats, statistics_dtype
from .elemwise import Elemwise, cast
from .reduce import mean
from .shape import Slice, Windows, pad, reshape, transpose

ABS = Elemwise("ABS")


class Correlation(Formula):
    """(N, D², OH, OW) from two images (N, C, H, W). Channel p is the mean product (or absolute difference) of a patch
    of the first image and the patch of the second that is displaced by row p // D and column p % D of a grid
    (Dosovitskiy et al. 2015, FlowNet, section 3).

    Patches have `kernel` · `kernel` pixels and are `stride1` apart; displacements reach to `reach` in steps of
    `stride2`; `padding` zeros surround the images.
    """

    kernel: int
    reach: int
    stride1: int
    stride2: int
    padding: int
    multiply: bool

    name = "correlation"

    def expand(self, *inputs: Value) -> Value:
        a, b = inputs
        dtype = promoted_floats(self.name, [a.type, b.type])
        if a.ndim != 4 or a.shape != b.shape or not a.shape[1]:
            raise ValueError(f"correlation takes two images (N, C, H, W) of one shape, got {a.shape} and {b.shape}")
        border = self.reach + self.kernel // 2
        room = tuple(s + 2 * self.padding for s in a.shape[2:])
        size = tuple(-(-(r - 2 * border) // self.stride1) for r in room)
        if min(size) < 1:
            raise ValueError(
                f"correlation: patches of {self.kernel} that move by {self.reach} do not fit into {room}, the padded size of shape {a.shape}"
            )
        edge = (0, 0, self.padding, self.padding)
        a, b = (pad(cast(v, statistics_dtype(dtype)), edge, edge) for v in (a, b))
        wide = self.reach // self.stride2
        ends = [(s - 1) * self.stride1 + self.kernel for s in size]
        a = Slice((0, 0, *[self.reach] * 2), (*a.shape[:2], *ends), (1,) * 4)(a)
        start = self.reach - wide * self.stride2
        b = Slice((0, 0, start, start), (*b.shape[:2], *(e + 2 * wide * self.stride2 for e in ends)), (1,) * 4)(b)
        first, others = self._patches(a, 1), self._patches(b, 2 * wide + 1)
        like = first * others if self.multiply else ABS(first - others)
        made = mean(like, (1, 6, 7))  # (N, 1, OH, OW, D, D, 1, 1)
        made = transpose(made, (0, 4, 5, 1, 2, 3, 6, 7))
        return cast(reshape(made, (a.shape[0], (2 * wide + 1) ** 2, *size)), dtype)

    def _patches(self, x: Value, count: int) -> Value:
        """The patches at this many displacements down and across: (N, C, OH, OW, count, count, kernel, kernel), a view."""
        pair, step = (count, count), (self.stride2, self.stride2)
        if self.kernel == 1:
            seen: Value = Windows((2, 3), pair, (self.stride1,) * 2, step)(x)
            return reshape(seen, (*seen.shape, 1, 1))
        moved = Windows((2, 3), pair, (1, 1), step)(x)
        made: Value = Windows((2, 3), (self.kernel,) * 2, (self.stride1,) * 2, (1, 1))(moved)
        return made
