"""How the positions where a mask is set are found: in how many tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernels.positions import WORD, PositionsKernel
from ..program import Node, Type
from ..view import contiguous
from .places import Location

if TYPE_CHECKING:
    from .steps import Steps

TILE = 1 << 15  # elements
MOST_TILES = 1 << 12  # each tile adds up the counts of all tiles before it


def find_positions(steps: Steps, node: Node) -> None:
    """Append the steps that compute Positions."""
    (mask,), (out, total) = node.inputs, node.outputs
    place = Location(*steps.in_memory(mask))
    if place.view != contiguous(mask.shape):
        place = steps.materialise(mask)
    buffer, view = place
    assert buffer is not None
    length = mask.size
    tile = max(TILE, -(-length // (MOST_TILES * WORD)) * WORD)
    tiles = max(1, -(-length // tile))  # for an empty mask, one tile writes that there is nothing
    counts, lanes = Type("int64", (tiles,)), steps.host(node.op.name).lanes
    results = [(steps.buffer(t), contiguous(t.shape)) for t in (counts, out.type, total.type)]
    buffers = [(buffer, view.offset), *((b, 0) for b, _ in results)]
    params = length, tile
    count, write = (PositionsKernel(out.dtype, writes, lanes) for writes in (False, True))
    reads = [(buffer, view)]
    steps.add_step(count, buffers[:2], params, tiles, length, node.op.name, reads, results[:1])
    steps.add_step(write, buffers, params, tiles, 4 * length, node.op.name, [*reads, results[0]], results[1:])
    for value, result in zip((out, total), results[1:], strict=True):
        steps.where[value] = Location(*result)
