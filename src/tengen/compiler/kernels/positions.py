"""Kernels that find where a mask is set: the positions, in order, side by side.

A tile counts its elements that are set in a first launch; in a second one it adds up the counts of the tiles before it, which is where its
positions begin, and writes them (Blelloch 1990). 64 elements become a word of bits: no bit set is passed over, all set are running
numbers, else bit after bit is taken off.

Buffers: mask (row-major), counts (one for each tile), and in the second launch out (positions; what is behind the last one is left as it is)
and total. Params: elements, and elements of a tile, a multiple of 64.
"""

from __future__ import annotations

from typing import NamedTuple

WORD = 64


class PositionsKernel(NamedTuple):
    """positions: dtype of the result. writes: the second launch. lanes: positions that are stored together."""

    positions: str
    writes: bool
    lanes: int

    @property
    def key(self) -> str:
        return f"positions {self}"


PARAMETERS = ("length", "tile")
