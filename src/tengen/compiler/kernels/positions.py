"""Kernels that find where a mask is set: the positions, in order and side by side.

In a first launch, each tile counts its elements that are set. In a second one, each tile adds up the counts of the
tiles before it, which gives the place where its own positions begin, and writes them (Blelloch 1990). 64 elements
become a word of bits. If no bit is set, the word is skipped; if all are, its positions are running numbers; otherwise
the bits are taken one by one.

Buffers: mask (row-major), counts (one per tile), and in the second launch out (positions; elements behind the last one
stay as they are) and total. Params: elements, and elements of a tile, a multiple of 64.
"""

from __future__ import annotations

from typing import NamedTuple

WORD = 64


class PositionsKernel(NamedTuple):
    """positions: dtype of the result. writes: whether it is the second launch. lanes: positions that are stored
    together."""

    positions: str
    writes: bool
    lanes: int

    @property
    def key(self) -> str:
        return f"positions {self}"


PARAMETERS = ("length", "tile")
