"""Register tiles of a window that slides over pixels (`targets/contractions/window.py`): what the results of a tile
see, and how many results a tile has.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf
from typing import NamedTuple

from ...kernels.window import Side, Window
from ..contractions.problem import SlidingImage

SIZES = {
    32: (
        *((4, 2), (2, 7), (2, 8), (8, 2), (4, 4), (2, 6), (2, 5), (2, 4), (2, 3), (2, 2)),
        *((4, 1), (1, 7), (1, 4)),
    ),
    16: ((2, 4), (4, 2), (2, 3), (2, 2), (1, 7), (1, 4), (4, 1)),
}
"""Results of a tile, down and across, for 32 and for 16 vector registers. Fewer would share too little. The taps of a 3
x 3 window should also fit."""
MOST_STEPS = 256
"""The most multiply-adds of one tile, whose code is written out."""
MOST_EXTENT = 256
"""The most pixels from the first to the last one of a tile, each way: the code goes from one to the next."""
FAR = 5 << 20
"""More elements than this do not stay in the last-level cache."""
LEAST_REGISTERS = 6
"""Registers that are left over beside the sums of all taps."""
STORE = 2
"""Cycles that storing a result takes."""
FEW_VALUES, SPILL = 20, 8
"""How many sums and results of a gradient by weight fit; each one more costs this many cycles, because registers are
short."""
NEAR = 5 << 18
"""Up to this many elements, most reads are from level-2 caches."""
FEW_PIXELS, MANY = 24, 2.5
"""How many pixels of a tile are free; each one more costs this many cycles if pixels come from further away."""
COLUMN = 4
"""Cycles for each column of such pixels. The processor prefetches a line that is read in the order of memory; tiles of
several columns read it in turns."""


class SlidingLine(NamedTuple):
    """One dimension of a convolution: extents of what is read and of the result, taps of the window."""

    size: int
    out: int
    taps: int
    stride: int
    padding: int
    dilation: int

    def sees(self, results: int, forward: bool) -> _Seen | None:
        """What `results` of a tile see; None if there are fewer, or if tiles would see different taps."""
        per = 1 if forward else self.stride
        if results > self.out or results % per or self.out % per:
            return None
        return _seen(self.taps, self.stride, self.padding, self.dilation, results, forward)

    def side(self, seen: _Seen) -> Side:
        """A tile of results that see this."""
        results = len(seen.pairs)
        high = self.size - seen.start - (self.out - results) * seen.step // seen.per
        return Side(seen.pairs, seen.step, seen.per, max(0, -seen.start), min(high, seen.extent), self.taps)


class _Seen(NamedTuple):
    """pairs, step, per: see `Side`.

    start: where the first pixel of the first tile lies. extent: pixels from the first to the last one. pixels: those
    that some result sees. products: the number of pairs.
    """

    pairs: tuple[tuple[tuple[int, int], ...], ...]
    step: int
    per: int
    start: int
    extent: int
    pixels: int
    products: int


@lru_cache(1024)  # cached, whatever the size of the image
def _seen(taps: int, stride: int, padding: int, dilation: int, results: int, forward: bool) -> _Seen:
    if forward:
        seen = [[(i * stride + r * dilation, r) for r in range(taps)] for i in range(results)]
        start, step, per = -padding, stride, 1
    else:  # result i is what tap r makes of pixel o, where o * stride + r * dilation = i + padding
        pixels = [[(i + padding - r * dilation, r) for r in range(taps)] for i in range(results)]
        seen = [[(at // stride, r) for at, r in line if at % stride == 0] for line in pixels]
        start, step, per = min((at for line in seen for at, _ in line), default=0), 1, stride
        seen = [[(at - start, r) for at, r in line] for line in seen]
    every = [at for line in seen for at, _ in line]
    pairs = tuple(tuple(line) for line in seen)
    return _Seen(pairs, step, per, start, 1 + max(every, default=0), len(set(every)), len(every))


def choose(
    lines: list[SlidingLine], forward: bool, registers: int, elements: int, whole: bool = False, by_weight: bool = False
) -> SlidingImage | None:
    """The register tile that takes the least time for a result of these lines.

    whole: it must divide them, so that nothing is computed twice. elements: of everything that is read and written.
    by_weight: the lines are those of the forward convolution.
    """
    high, wide = lines
    if by_weight and high.taps * wide.taps > registers - LEAST_REGISTERS:
        return None
    least, best = inf, None
    for down, across in SIZES[32 if registers >= 32 else 16]:
        if whole and (high.out % down or wide.out % across):
            continue
        rows, columns = high.sees(down, forward), wide.sees(across, forward)
        if (
            rows
            and columns
            and max(rows.extent, columns.extent) <= MOST_EXTENT
            and rows.products * columns.products <= MOST_STEPS
        ):
            tiles = -(-high.out // down) * -(-wide.out // across)
            cost = tiles * _cycles(rows, columns, high.taps * wide.taps, elements > NEAR, by_weight)
            if cost < least:
                least, best = cost, (rows, columns)
    if best is None:
        return None
    sides = [line.side(seen) for line, seen in zip(lines, best, strict=True)]
    if by_weight:
        sides = [side._replace(again=-line.out % len(side.sees)) for line, side in zip(lines, sides, strict=True)]
    window = Window(sides[0], sides[1], elements > FAR, by_weight)
    return SlidingImage(window, (high.size, wide.size), (best[0].start, best[1].start), elements)


def _cycles(down: _Seen, across: _Seen, taps: int, streams: bool, by_weight: bool) -> float:
    """The time of a tile: multiply-adds, and memory traffic, which they hide only in part. taps: of the window.
    streams: whether pixels come from far away."""
    pixels, results = down.pixels * across.pixels, len(down.pairs) * len(across.pairs)
    moves: float = pixels + taps + STORE * (taps if by_weight else results)
    if by_weight:
        moves += results + SPILL * max(0, taps + results - FEW_VALUES)
    late = MANY * max(0, pixels - FEW_PIXELS) + COLUMN * across.pixels if streams else 0
    return down.products * across.products + moves + late
