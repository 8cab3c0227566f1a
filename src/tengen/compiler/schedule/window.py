"""Register tiles of a window that slides over pixels (`targets/window.py`): what the results of a tile see, and how many
there are in one."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from ..targets.window import Side, Window
from .contraction import Image

SIZES = {
    32: (
        *((4, 2), (2, 7), (2, 8), (8, 2), (4, 4), (2, 6), (2, 5), (2, 4), (2, 3), (2, 2)),
        *((4, 1), (1, 7), (1, 4)),
    ),
    16: ((2, 4), (4, 2), (2, 3), (2, 2), (1, 7), (1, 4), (4, 1)),
}
"""Results of a tile, down and across, for 32 and for 16 vector registers; fewer would share too little. Beside them the taps of
a 3 x 3 window should find room."""
MOST_STEPS = 256
"""Multiply-adds of one tile, whose code is written out, at most."""
FAR = 5 << 20
"""More elements than these do not stay in the last-level cache."""
LEAST_REGISTERS = 6
"""Registers that are left beside the sums of all taps."""
STORE = 2
"""Cycles that storing a result takes."""
FEW_VALUES, SPILL = 20, 8
"""Sums and results of a gradient by weight above which each takes so many cycles, as registers are short."""
NEAR = 5 << 18
"""Elements up to which most of what is read comes from level-2 caches."""
FEW_PIXELS, MANY = 24, 2.5
"""Pixels of a tile above which each takes so many cycles besides, where they come from further away."""
COLUMN = 4
"""Cycles for each column of such pixels. What is read of a line in the order of memory the processor brings in time; from
several columns of a tile it is read in turn."""


class Line(NamedTuple):
    """One dimension of a convolution: extents of what is read and of the result, taps of the window."""

    size: int
    out: int
    taps: int
    stride: int
    padding: int
    dilation: int

    def side(self, results: int, forward: bool) -> tuple[Side, int] | None:
        """`results` of a tile, and where it begins. None: there are fewer, or tiles would see different taps."""
        per = 1 if forward else self.stride
        if results > self.out or results % per or self.out % per:
            return None
        if forward:
            seen = [[(i * self.stride + r * self.dilation, r) for r in range(self.taps)] for i in range(results)]
            start = -self.padding
        else:  # result i is what tap r makes of pixel o, where o * stride + r * dilation = i + padding
            taps = [[(i + self.padding - r * self.dilation, r) for r in range(self.taps)] for i in range(results)]
            seen = [[(at // per, r) for at, r in line if at % per == 0] for line in taps]
            start = min((at for line in seen for at, _ in line), default=0)
            seen = [[(at - start, r) for at, r in line] for line in seen]
        step = self.stride if forward else 1
        high = self.size - start - (self.out - results) * step // per
        sees = tuple(tuple(line) for line in seen)
        pixels = 1 + max((at for line in seen for at, _ in line), default=0)
        return Side(sees, step, per, max(0, -start), min(high, pixels), self.taps), start


def choose(
    lines: list[Line], forward: bool, registers: int, elements: int, whole: bool = False, by_weight: bool = False
) -> Image | None:
    """The register tile that takes the least time for a result of these lines. whole: it must divide them, so that nothing is computed
    twice. elements: of all that is read and written. by_weight: the lines are those of the forward convolution."""
    found: list[tuple[float, Image]] = []
    if by_weight and prod(line.taps for line in lines) > registers - LEAST_REGISTERS:
        return None
    for size in SIZES[32 if registers >= 32 else 16]:
        if whole and any(line.out % extent for line, extent in zip(lines, size, strict=True)):
            continue
        down, across = (line.side(extent, forward) for line, extent in zip(lines, size, strict=True))
        if down and across:
            if by_weight:
                down, across = (
                    (side._replace(again=-line.out % extent), start)
                    for (side, start), line, extent in zip((down, across), lines, size, strict=True)
                )
            window = Window(down[0], across[0], elements > FAR, by_weight)
            steps = sum(len(x) for x in down[0].sees) * sum(len(x) for x in across[0].sees)
            if steps <= MOST_STEPS:
                tiles = -(-lines[0].out // size[0]) * -(-lines[1].out // size[1])
                image = Image(window, (lines[0].size, lines[1].size), (down[1], across[1]), elements)
                found.append((tiles * _cycles(window, steps, elements > NEAR), image))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _cycles(window: Window, steps: int, streams: bool) -> float:
    """Multiply-adds, and what moves, which hides behind them in part only. streams: the pixels come from far."""
    down, across = window[:2]
    pixels, results = len(down.pixels) * len(across.pixels), len(window.places)
    moves: float = pixels + window.taps + STORE * window.rows
    if window.by_weight:
        moves += results + SPILL * max(0, window.taps + results - FEW_VALUES)
    late = MANY * max(0, pixels - FEW_PIXELS) + COLUMN * len(across.pixels) if streams else 0
    return steps + moves + late
