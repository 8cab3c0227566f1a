"""Kernels of GPUs that find the order of rows, as data. What is larger and what comes first is as on CPUs (`sort.py`).

A block sorts up to ROOM elements in shared memory, by a network of exchanges (K. E. Batcher, 1968): of two elements with
the same key, the one with the larger place is the larger one. So the order is the only one that is stable.

rows     sorts rows, or parts of them, and gives the positions of the first k. If few of a long row are wanted, those of its parts are
         candidates, of which the next launch sorts as many as fit, and so on.

Of other long rows, digits of the keys are sorted, from the lowest on, with three launches for each:

digits   a block sorts a tile of a row by the digit, and counts how often each occurs
starts   for each digit, adds up the counts in the tiles before each
move     a block moves its tile to where it belongs; the last time only the positions of the first k

No thread adds to what another one counts, so no order of threads or blocks shows.

A key has the bits of its element. Positions are those in the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...base.errors import NoKernelError
from .device import MOST_BLOCKS, DeviceGrid
from .dtypes import BITS, KINDS

ROOM = 4096
"""Elements that a block sorts."""
DIGIT = 8
BINS = 1 << DIGIT
MOST, USUAL = 1024, 256
"""Threads of a block that sorts a tile; and of one that sorts several short rows, at least if there are so many."""

BUFFERS = {
    "rows": ("x", "candidates", "out"),
    "digits": ("keys", "order", "counts", "starts"),
    "starts": ("counts", "before", "totals"),
    "move": ("keys", "places", "order", "before", "starts", "totals", "new_keys", "new_places"),
}
NUMBERS = {
    "rows": ("pieces", "parts", "length", "count", "power", "k"),
    "digits": ("length", "tiles", "shift"),
    "starts": ("tiles",),
    "move": ("length", "tiles", "shift", "k"),
}
"""What each step takes. rows: `count` elements of each row are sorted in `parts` pieces, each of 2**power elements."""


@dataclass(frozen=True)
class DeviceSort:
    """See the module docstring. dtype: of the elements. positions: of the result.

    first: elements are read from the rows, and their positions are where they are; otherwise there are candidates, or keys
    and places. last: positions of the first k are written. guarded: it does nothing if the status word is set, which
    is its last buffer.
    """

    step: str
    dtype: str
    positions: str
    descending: bool
    first: bool = True
    last: bool = False
    guarded: bool = False

    @property
    def key(self) -> str:
        return f"device sort {self}"

    @property
    def bits(self) -> int:
        """Bits of a key."""
        return key_bits(self.dtype)

    @property
    def buffers(self) -> tuple[str, ...]:
        """What it takes, in order, without the status word."""
        absent = {"candidates", "places"} if self.first else set()
        if self.last:
            absent |= {"new_keys"}
        return tuple([name for name in BUFFERS[self.step] if name not in absent])

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of its run-time numbers."""
        return NUMBERS[self.step]

    def blocks(self, extents: Sequence[int], params: Sequence[int]) -> DeviceGrid:
        """The launch for so many pieces, tiles or digits of rows. Raises NoKernelError if they are too many."""
        (count,) = extents
        threads, side_by_side = MOST, 1
        if self.step == "starts":
            threads = BINS
        elif self.step == "rows":
            threads = max(1, min(1 << dict(zip(self.numbers, params, strict=True))["power"] >> 1, MOST))
            side_by_side = max(1, USUAL // threads)
        grid = -(-count // side_by_side)
        if grid > MOST_BLOCKS:
            raise NoKernelError(f"a sort of {count} rows has {grid} blocks; a launch has {MOST_BLOCKS} at most")
        return DeviceGrid(tuple(params), (grid, 1, 1), (threads, side_by_side, 1))


def key_bits(dtype: str) -> int:
    """Bits of a key, which are those of an element."""
    return BITS[KINDS[dtype][0]]


def passes(dtype: str) -> range:
    """Where the digits of a key begin, the lowest first."""
    return range(0, key_bits(dtype), DIGIT)
