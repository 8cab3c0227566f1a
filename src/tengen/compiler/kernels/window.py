"""A window that slides over pixels whose channels are columns, as in a depthwise convolution: C[m, n] = sum over k of
A[m, k, n] * B[k, n]. Both m and k move A.

The register tile is a few pixels of the result, down and across, so the windows of neighbours overlap: each pixel of A
is loaded once and multiplied by the taps of all the results that see it. Pixels outside the image are zeros. If tiles
do not divide a line, the last one begins earlier and computes some results again.

The gradient by weight is the same with results and taps exchanged: C[tap, n] = sum over the pixels m of A[m, tap, n] * B[m, n].
There a tile is a few pixels of B. Its sums are those of all taps, which wait in C from one tile to the next.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple


class Side(NamedTuple):
    """One dimension of a register tile.

    sees: for each result of the tile the (pixel, tap) pairs that it sums over; pixels are counted from the first one of the tile.
    step, per: the window moves by `step` pixels for every `per` results. low, high: pixels below `low`, and from `high`
    on, may lie outside the image. taps: taps of the window. again: how many results the last tile of a line shares with
    the one before, where that matters.
    """

    sees: tuple[tuple[tuple[int, int], ...], ...]
    step: int
    per: int
    low: int
    high: int
    taps: int
    again: int = 0

    @property
    def pixels(self) -> dict[int, list[tuple[int, int]]]:
        """For each pixel, the (result, tap) pairs that need it."""
        found: dict[int, list[tuple[int, int]]] = {}
        for result, pairs in enumerate(self.sees):
            for pixel, tap in pairs:
                found.setdefault(pixel, []).append((result, tap))
        return dict(sorted(found.items()))

    @property
    def extent(self) -> int:
        """The number of pixels that a tile sees."""
        return 1 + max((pixel for pairs in self.sees for pixel, _ in pairs), default=-1)

    @property
    def advance(self) -> int:
        """How many pixels lie between the beginnings of two tiles."""
        return len(self.sees) * self.step // self.per


class Window(NamedTuple):
    """The register tile, down x across.

    ahead: the images come from memory, so a tile prefetches what the next one touches. by_weight: the gradient by
    weight.
    """

    down: Side
    across: Side
    ahead: bool = False
    by_weight: bool = False

    @property
    def taps(self) -> int:
        """The taps of the window."""
        return self.down.taps * self.across.taps

    @property
    def rows(self) -> int:
        """Rows of the contraction in one tile."""
        return self.taps if self.by_weight else len(self.places)

    @property
    def places(self) -> list[tuple[int, int]]:
        """Where each result of the tile lies."""
        return list(product(range(len(self.down.sees)), range(len(self.across.sees))))
