"""How rows are sorted: by which kernel, in how many tiles."""

from __future__ import annotations

from ..kernels.sort import LONG_DIGIT, MOST_INSERTED, SHARE, SHORT_DIGIT, SPARE, SortKernel, key_bytes
from ..orders import Sort
from ..plan import ITEM_BYTES
from ..program import Node, Type
from ..view import contiguous
from .places import Location
from .steps import Steps

FEW = 16  # of a long row, whose elements are rarely among the best so far
TILE = 1 << 13  # elements
SHORT = 2048  # elements that are sorted
MOST_TILES = 64  # of the radix sort, each with memory of its own


def order_rows(steps: Steps, node: Node, op: Sort) -> None:
    """Append the step that computes a Sort."""
    (x,), (out,) = node.inputs, node.outputs
    place = Location(*steps.in_memory(x))
    if place.view != contiguous(x.shape):
        place = steps.materialise(x)
    buffer, view = place
    assert buffer is not None
    length, k = x.shape[-1], op.k
    rows = x.size // length if length else 0
    insertion = k <= FEW or length <= MOST_INSERTED
    tile_rows = max(1, TILE // max(length, 1))
    if not insertion:
        tile_rows = max(tile_rows, -(-rows // MOST_TILES))
    tiles = -(-rows // tile_rows) if k else 0
    result, layout = steps.buffer(out.type), contiguous(out.shape)
    buffers, writes = [(buffer, view.offset * ITEM_BYTES[x.dtype]), (result, 0)], [(result, layout)]
    each = 0
    if not insertion:
        each = 2 * length * (key_bytes(x.dtype) + ITEM_BYTES[out.dtype])
        scratch = Type("uint8", (tiles, each))
        buffers.append((steps.buffer(scratch), 0))
        writes.append((buffers[-1][0], contiguous(scratch.shape)))
    kernel = SortKernel(x.dtype, out.dtype, op.descending, insertion, steps.host(op.name).lanes)
    if not insertion:
        sorted_at_once = length if k == length else min(length, SPARE * k + length // SHARE)
        kernel = kernel._replace(digit=SHORT_DIGIT if sorted_at_once <= SHORT else LONG_DIGIT, whole=k == length)
    params = rows, length, k, tile_rows, each
    steps.add_step(kernel, buffers, params, tiles, 20 * x.size, op.name, [(buffer, view)], writes)
    steps.where[out] = Location(result, layout)
