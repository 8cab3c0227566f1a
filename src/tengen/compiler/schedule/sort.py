"""How rows are sorted: by which kernels, in how many tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..kernels.device_sort import BINS, ROOM, DeviceSort, passes
from ..kernels.sort import LONG_DIGIT, MOST_INSERTED, SHARE, SHORT_DIGIT, SPARE, SortKernel, key_bytes
from ..kernels.target import HostTarget
from ..orders import Sort
from ..plan import ITEM_BYTES
from ..program import Node, Type
from ..view import View, contiguous
from .memory.ownership import EVERYWHERE
from .places import Location
from .steps import Steps

FEW = 16  # of a long row, whose elements are rarely among the best so far
TILE = 1 << 13  # elements
SHORT = 2048  # elements that are sorted
MOST_TILES = 64  # of the radix sort, each with memory of its own
FEW_OF_ROOM = ROOM // 4  # of what a block of a GPU sorts: the others are no candidates any more
ROWS = -2  # stands for the buffer with the rows
COUNTING = DeviceSort("starts", "int8", "int32", descending=False)  # the same for all


def order_rows(steps: Steps, node: Node, op: Sort) -> None:
    """Append the steps that compute a Sort."""
    (x,), (out,) = node.inputs, node.outputs
    place = Location(*steps.in_memory(x))
    if place.view != contiguous(x.shape):
        place = steps.materialise(x)
    buffer, view = place
    assert buffer is not None
    result = steps.buffer(out.type)
    if isinstance(steps.target, HostTarget):
        _on_host(steps, node, op, (buffer, view), result)
    else:
        _OnDevice(steps, op, x.type, out.type, (buffer, view), result).order()
    steps.where[out] = Location(result, contiguous(out.shape))


def _on_host(steps: Steps, node: Node, op: Sort, given: tuple[int, View], result: int) -> None:
    (x,), (out,), (buffer, view) = node.inputs, node.outputs, given
    length, k = x.shape[-1], op.k
    rows = x.size // length if length else 0
    insertion = k <= FEW or length <= MOST_INSERTED
    tile_rows = max(1, TILE // max(length, 1))
    if not insertion:
        tile_rows = max(tile_rows, -(-rows // MOST_TILES))
    tiles = -(-rows // tile_rows) if k else 0
    buffers, writes = [(buffer, view.offset * ITEM_BYTES[x.dtype]), (result, 0)], [(result, contiguous(out.shape))]
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


@dataclass
class _OnDevice:
    """The launches that sort rows on a GPU. x, out: the types of the rows and of the positions. given: where the rows are.
    result: where the positions go."""

    steps: Steps
    op: Sort
    x: Type
    out: Type
    given: tuple[int, View]
    result: int

    def order(self) -> None:
        """Append them."""
        self.length = self.x.shape[-1]
        self.rows = self.x.size // self.length if self.length else 0
        if not self.rows or not self.op.k:
            return
        if self.length <= ROOM or self.op.k <= FEW_OF_ROOM:
            self._by_blocks()
        else:
            self._by_digits()

    def _by_blocks(self) -> None:
        """Blocks sort rows. If a row is too long for one, they sort parts, and then the first of these."""
        count, k, candidates = self.length, self.op.k, list[int]()
        while True:
            parts = -(-count // ROOM)
            power = ((ROOM if parts > 1 else count) - 1).bit_length()
            out = self.result if parts == 1 else self._buffer(self.out.dtype, parts * k)
            pieces = self.rows * parts
            kernel = self._kernel("rows", first=not candidates)
            self._launch(kernel, [ROWS, *candidates], [out], (pieces, parts, self.length, count, power, k), pieces)
            if parts == 1:
                return
            count, candidates = parts * k, [out]

    def _by_digits(self) -> None:
        length, tiles = self.length, -(-self.length // ROOM)
        shifts, each = passes(self.x.dtype), BINS * tiles
        order, starts = self._buffer("uint16", length), self._buffer("int32", each)
        counts, before, totals = (self._buffer("int64", count) for count in (each, each, BINS))
        temporary = [[self._buffer(t.dtype, length) for t in (self.x, self.out)] for _ in shifts[1:3]]
        source = [ROWS]  # keys, and their places unless they are where the elements are
        for number, shift in enumerate(shifts):
            first, last = number == 0, number == len(shifts) - 1
            tile, blocks = (length, tiles, shift), self.rows * tiles
            self._launch(self._kernel("digits", first), source[:1], [order, counts, starts], tile, blocks)
            self._launch(COUNTING, [counts], [before, totals], (tiles,), self.rows * BINS)
            move, target = self._kernel("move", first, last), [self.result] if last else temporary[number % 2]
            self._launch(move, [*source, order, before, starts, totals], target, (*tile, self.op.k), blocks)
            source = target

    def _kernel(self, step: str, first: bool, last: bool = False) -> DeviceSort:
        return DeviceSort(step, self.x.dtype, self.out.dtype, self.op.descending, first, last)

    def _buffer(self, dtype: str, count: int) -> int:
        """So many numbers for each row."""
        return self.steps.buffer(Type(dtype, (self.rows, count)))

    def _launch(
        self, kernel: DeviceSort, read: Sequence[int], written: Sequence[int], numbers: tuple[int, ...], count: int
    ) -> None:
        """Append a launch for so many pieces, tiles or digits."""
        buffer, view = self.given
        rows = buffer, view.offset * ITEM_BYTES[self.x.dtype]
        buffers = [rows if b == ROWS else (b, 0) for b in (*read, *written)]
        uses = [(b, EVERYWHERE) for b, _ in buffers]
        blocks = kernel.blocks((count,), numbers)
        how = numbers, blocks.grid[0], 4 * self.x.size, self.op.name
        self.steps.add_step(kernel, buffers, *how, uses[: len(read)], uses[len(read) :], blocks=blocks)
