"""Map/reduce kernels: how the loops of a Nest run, and how its work is split.

An *item* is one index tuple of the kept dims. If the lane dim is kept, it is cut into chunks, and an item is a tuple of the other kept dims and a
chunk; with `serial_from`, only the dims before that count, and an item runs through the others in order. A *tile* is a fixed number of items. Chunks
and tiles follow from the extents and the Nest alone, so results do not depend on threads or on the machine's load.

The kernel counts its items up like an odometer; divisions happen once a call. For each item:

    lane dim kept:     for groups of lanes in the chunk:        lane dim reduced:
                           row values                               row values
                           for each pass:                           for each pass:
                               loops over the reduced dims              loops over the reduced dims but the lane
                                   full values, accumulators                for groups of lanes:
                           row stores                                           full values, accumulators
                                                                        fold the lanes
                                                                    row stores

Short rows that need several passes run side by side (`rows` of a Nest). With a single row, the machine would wait at
the end of each pass until the lanes are folded. If too few rows are left, the last one takes the place of the missing
ones: it is computed more than once, with the same result. The second pass prefetches what the first pass will load of
the next rows.

If the Nest has an interleaved dim, the body is written out for each of its places, for each group of lanes.

A group is a vector of one to four registers. LLVM splits it, which gives independent accumulators and short loops. The
rest of a row runs as single registers under a mask, or element by element if the machine has no masked loads. Each
value is computed in the outermost loop in which it is known. Within a group all loads come before the stores that
depend on them, so an output may share the memory of an input with the same strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import NamedTuple

from . import nest_threads
from .device import DeviceGrid
from .nest import AccessNumbers, Nest, pack
from .nest_structure import CROSS_BLOCK, Structure

TILE = 1 << 15  # elements of a tile of cheap instructions: a few microseconds
LEAST_TILE = 1 << 11
APART = 16  # instructions that a vector of single places takes longer than one of neighbours
CHUNK = 64  # chunks are a multiple of this, so that all but the last one of a row are whole groups on every machine


@dataclass(frozen=True)
class NestSource:
    """A Nest in the form that `cache.compile_kernels` compiles. guarded: it does nothing if the status word is set, which
    is its last buffer; only for GPUs, where nobody looks at the word between two kernels. wide: the numbers of its items
    and offsets have 64 bits, in place of 32; only for GPUs, too."""

    nest: Nest
    guarded: bool = False
    wide: bool = False

    @cached_property
    def key(self) -> str:
        return f"nest {self.nest!r}{' guarded' * self.guarded}{' wide' * self.wide}"

    @cached_property
    def structure(self) -> Structure:
        return Structure(self.nest)

    def split(self, extents: Sequence[int], params: Sequence[int]) -> tuple[tuple[int, ...], int]:
        """The extents of a launch with these parameters (without its tiling) and its number of tiles; none if there is
        nothing to do."""
        found = _tiling(self.structure, extents)
        return (*params, found.items, found.items_per_tile, found.chunk, found.chunks), found.tiles

    def on_device(self, extents: Sequence[int], numbers: Sequence[AccessNumbers]) -> NestSource:
        """The source for a launch with these extents and operands on a GPU."""
        return replace(self, wide=True) if nest_threads.is_wide(self.nest, extents, numbers) else self

    def blocks(self, extents: Sequence[int], params: Sequence[int]) -> DeviceGrid:
        """The same for a GPU. Raises NoKernelError if it is too large for one launch."""
        return nest_threads.split(self.nest, extents, params)


class Tiling(NamedTuple):
    """How a launch is split: the last four parameters of a kernel (chunk: in lanes) and the number of tiles."""

    items: int
    items_per_tile: int
    chunk: int
    chunks: int

    @property
    def tiles(self) -> int:
        return -(-self.items // self.items_per_tile)


TILING_NAMES = Tiling._fields
"""The names of the last parameters of a launch."""


def cut(params: tuple[int, ...], tiles: int) -> tuple[tuple[int, ...], int]:
    """The parameters of a launch that is cut into about this many tiles, and how many they are."""
    *given, items, _, chunk, chunks = params
    found = Tiling(items, max(1, -(-items // max(tiles, 1))), chunk, chunks)
    return (*given, *found), found.tiles


def tiling(nest: Nest, extents: Sequence[int]) -> Tiling:
    """The split of a Nest with these extents."""
    return _tiling(Structure(nest), extents)


def _tiling(structure: Structure, extents: Sequence[int]) -> Tiling:
    nest = structure.nest
    tile = max(LEAST_TILE, TILE // (1 + (structure.cost + APART * structure.led) // 8))
    inside = prod(extents[structure.parallel :])
    counts = {d: extents[d] for d in structure.item_dims if d != nest.lane}
    if nest.interleaved is not None and nest.interleaved[0] < nest.kept:
        inside *= nest.interleaved[1]
    if nest.cross is not None:
        counts[nest.cross], inside = -(-extents[nest.cross] // CROSS_BLOCK), CROSS_BLOCK
    outside = prod(counts.values())
    lane = extents[nest.lane]
    if not structure.chunked:
        return Tiling(outside, max(nest.rows, tile // max(inside, 1) // nest.rows * nest.rows), _whole(lane), 1)
    most = CHUNK if structure.jumps else max(CHUNK, tile // max(inside, 1) // CHUNK * CHUNK)
    chunk = min(_whole(lane), most)
    chunks = -(-lane // chunk)
    return Tiling(outside * chunks, max(1, tile // max(min(chunk, lane) * inside, 1)), chunk, chunks)


def _whole(lane: int) -> int:
    return max(-(-lane // CHUNK) * CHUNK, CHUNK)


def launch_parameters(
    nest: Nest, extents: Sequence[int], numbers: Sequence[AccessNumbers]
) -> tuple[tuple[int, ...], int]:
    """The params of a launch and its number of tiles (0 if there is nothing to do)."""
    return NestSource(nest).split(extents, pack(tuple(extents), tuple(numbers)))
