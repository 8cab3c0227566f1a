"""Kernels that sort rows. They give the positions of the first `k` elements of each sorted row. The sort is stable.

Elements become *keys*: unsigned integers that sort in the requested order. -0 equals 0; a NaN of either sign is larger
than all numbers.

insertion   for a few of many, or short rows: the best so far lie in a small sorted list, which a new element enters only if it beats the
            last of them. Groups of lanes of which no element does are passed over at once.
radix       sorts keys by one digit after the other, from the lowest on, skipping digits that are the same in all (Knuth, The Art of
            Computer Programming 3, 5.2.5). If only the first k of a row are wanted, it collects candidates; whenever there are several times
            k, it sorts these and keeps the best k, and only what is below the last of them becomes a candidate. So most of a long row is
            compared once, a vector at a time.

Buffers: x (row-major), out (positions), scratch (radix). Params: rows, length of a row, k, rows of a tile, and numbers of the scratch that a
tile has to itself.
"""

from __future__ import annotations

from typing import NamedTuple

from .dtypes import KINDS

SHORT_DIGIT, LONG_DIGIT = 8, 11
"""Bits of a digit. Short rows do not fill the bins of the longer one, each of which is visited once a digit."""
MOST_INSERTED = 32
"""The longest sorted list that insertion keeps."""
SPARE, SHARE, STRETCH = 4, 64, 512
"""So many times k candidates, and one for so many elements of the row, are sorted at once; and after how many elements of the row
they are counted."""


class SortKernel(NamedTuple):
    """dtype: of the elements. positions: dtype of the result. lanes: how many elements insertion compares at a time. digit: bits of the
    radix sort's. whole: k is the length of a row."""

    dtype: str
    positions: str
    descending: bool
    insertion: bool
    lanes: int
    digit: int = LONG_DIGIT
    whole: bool = False

    @property
    def key(self) -> str:
        return f"sort {self}"


def key_bytes(dtype: str) -> int:
    return 8 if KINDS[dtype][1] in ("i64", "f64") else 4


PARAMETERS = ("rows", "length", "k", "tile_rows", "tile_scratch")
