"""Convolutions of a 3 x 3 window with fewer multiplications: Winograd's minimal filtering F(m x m, 3 x 3).

Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4: the outputs are cut into tiles of m x
m. A tile needs (m + 2)² elements of each channel of the input. They are transformed by a fixed matrix and multiplied,
element by element, by the window, which another matrix has transformed. So a sum over channels is (m + 2)² matrix
products, (tiles x channels) @ (channels x channels), a batch of the contraction template; the direct way takes 9 m².
The rest are maps: of the input and the window before, and of the products after. With m = 2 they only add and halve,
and results are about
as exact as those of the direct way (by weight with up to twice the rounding error); m = 4 must be asked for.

The gradient by data is such a convolution too, of dy with the window rotated. The gradient by weight goes the other
way: x and dy are transformed first, the products sum over tiles, and their result is transformed last.

Tiles are taken in chunks, so that their elements before and after the products stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import NamedTuple

from ...kernels.dtypes import BITS, KINDS
from ...kernels.epilogue import ELEMENT, Epilogue, slots
from ..contractions.launches import draft
from ..contractions.problem import (
    FLOAT32,
    ContractionLoop,
    ContractionLoops,
    KernelRun,
    Offer,
    Relayout,
    Storage,
    Unit,
    contiguous,
)
from ..contractions.register_tile import RegisterTile, choose
from .tile_maps import NO_LIMITS, Grid, Limits, Matrix, limited, turn, unlimited
from .tile_sums import RowSums, turn_and_sum

ITEM = 4
"""Bytes of an element."""
SIDES = 2
"""How many chunks are taken at the same time. Their launches run together, so each thread stays with one chunk, and
what it reads lies in the caches of its own core. Two distant cores would lose more by fetching it than tiles save."""
CHUNK_BYTES = 4 << 20
"""The most bytes of one chunk, before and after the products."""
LEAST_CHUNK = 1 << 20
"""The most bytes of a chunk of a small problem: the size of a core's level-2 cache. Each chunk is planned on its own."""
CHUNKS = 4
"""How many chunks are wanted, to save memory, unless the transformed window is larger, which all of them read."""
BLOCKS = 64, 48, 32
"""How many channels of x lie side by side in the gradient by weight: the first of these numbers that divides all."""
TOTAL_BYTES = 1 << 20
"""The most elements of the sums in a gradient by weight, if each side has sums of its own."""
CHUNK_TILES = 512
"""The most tiles in one chunk of a gradient by weight, unless a row of tiles has more: longer sums would be cut into
blocks."""


class Transform(NamedTuple):
    """The matrices of F(m x m, 3 x 3): y = Aᵀ [(G w Gᵀ) * (Bᵀ x B)] A. `output` is Aᵀ, `window` is G and `input` is Bᵀ."""

    input: Matrix
    window: Matrix
    output: Matrix

    @property
    def m(self) -> int:
        return len(self.output)

    @property
    def side(self) -> int:
        """The elements of a tile of the input, each way."""
        return len(self.input)

    @property
    def points(self) -> int:
        return self.side**2


TRANSFORMS = {
    2: Transform(
        input=((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        window=((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
        output=((1, 1, 1, 0), (0, 1, -1, -1)),
    ),
    4: Transform(
        input=(
            (4, 0, -5, 0, 1, 0),
            (0, -4, -4, 1, 1, 0),
            (0, 4, -4, -1, 1, 0),
            (0, -2, -1, 2, 1, 0),
            (0, 2, -1, -2, 1, 0),
            (0, 4, 0, -5, 0, 1),
        ),
        window=(
            (1 / 4, 0, 0),
            (-1 / 6, -1 / 6, -1 / 6),
            (-1 / 6, 1 / 6, -1 / 6),
            (1 / 24, 1 / 12, 1 / 6),
            (1 / 24, -1 / 12, 1 / 6),
            (0, 0, 1),
        ),
        output=((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
    ),
}
"""By m; section 4.1 and 4.3 of the paper."""

GATHER, SPREAD = 16, 8
"""The multiply-adds that take as long as the maps take for one element of a tile of the input or of the result."""
START = 1_200_000
"""The multiply-adds that take as long as the three launches of a chunk, some ten microseconds."""
OF_WINDOW = {"oc": 15, "ic": 40, None: 20}
"""The multiply-adds that take as long as the map of one element of the window: forward, where the result usually waits
beside the weight; by data, where the window is transposed first; by weight."""


def cost(t: Transform, n: int, size: tuple[int, int], ic: int, oc: int, lanes: int, columns: str | None) -> int:
    """What a convolution costs, in multiply-adds of the direct way. size: of the images that are cut into tiles."""
    tiles = n * -(-size[0] // t.m) * -(-size[1] // t.m)
    ic, oc = (-(-channels // lanes) * lanes for channels in (ic, oc))
    moved = {"oc": GATHER * ic + SPREAD * oc, "ic": GATHER * oc + SPREAD * ic, None: GATHER * (ic + oc)}[columns]
    return START + t.points * (tiles * (ic * oc + moved) + OF_WINDOW[columns] * ic * oc)


class TiledImage(NamedTuple):
    """(n, h, w, channels) in a buffer, channels last."""

    buffer: str
    n: int
    h: int
    w: int
    channels: int

    @property
    def size(self) -> int:
        """The elements of one image."""
        return self.h * self.w * self.channels


class TiledWindow(NamedTuple):
    """A window in memory.

    Elements from one panel of columns to the next, from one column to the next, to the next k, and to the next taps;
    start: where its first tap is in its buffer. layout: the relayout that makes it. full: whether the last panel is
    filled up.
    """

    panel: int
    column: int
    k: int
    taps: tuple[int, int]
    start: int = 0
    layout: Relayout | None = None
    full: bool = False


class _Chunk(NamedTuple):
    """Tiles of some rows of some images."""

    image: int
    images: int
    row: int
    rows: int
    columns: int
    all_rows: int
    """The number of rows of tiles in an image."""

    @property
    def extents(self) -> tuple[int, int, int]:
        return self.images, self.rows, self.columns

    @property
    def tiles(self) -> int:
        return prod(self.extents)


def slide(
    source: TiledImage,
    result: TiledImage,
    padding: tuple[int, int],
    window: Callable[[int], TiledWindow],
    image: Relayout,
    t: Transform,
    unit: Unit,
    storage: Storage,
) -> Offer:
    """A convolution of stride 1: forward, or the gradient by data.

    padding: zeros before the source. window: where it is, for panels of this many columns. image: the source's layout.
    """
    parts = _chunks(result, t, (source.channels, result.channels))
    most = max(part.tiles for part in parts)
    tile = choose(most, result.channels, unit.lanes_of("float32"), unit.registers)
    products = t.points * most * source.channels  # where they begin in the workspace

    def stages(part: _Chunk, _: bool) -> _Stages:
        before, after = _points(part, t, source.channels, 0), _points(part, t, result.channels, products)
        return [
            [turn(t.input, _tiles(source, part, t.m, t.side, padding), before, (*part.extents, source.channels))],
            [_multiply(part.tiles, t.points, source.channels, result.channels, tile, products)],
            [_end(part, t, after, result, storage.epilogue)],
        ]

    found, sides = window(tile.panel), min(SIDES, len(parts))
    workspace = ITEM * t.points * most * (source.channels + result.channels)
    steps = {"a": ITEM * source.size, **_of_result(result, parts[0].all_rows, storage.epilogue)}
    n, h, w, c = contiguous(result[1:])
    sums = storage.epilogue is not None and storage.epilogue.sums
    return Offer(
        image,
        found.layout,
        (n, c, h, w),
        prod(result[1:]),
        lambda: (list(_all_chunks(parts, stages, steps, workspace, sides)), sides * workspace),
        has_workspace=True,
        row_tiles=sum(part.images * part.rows for part in parts) if sums else 0,
        prepare=lambda: _turn_window(found, t, source.channels, result.channels, tile.panel),
    )


def by_weight(
    x: TiledImage,
    dy: TiledImage,
    padding: tuple[int, int],
    x_layout: Relayout,
    dy_layout: Relayout,
    t: Transform,
    unit: Unit,
    storage: Storage,
) -> Offer:
    """The gradient of the window, stored as (3, 3, channels of x, channels of dy)."""
    parts = _chunks(dy, t, (x.channels, dy.channels), CHUNK_TILES)
    most = max(part.tiles for part in parts)
    tile = choose(x.channels, dy.channels, unit.lanes_of("float32"), unit.registers, x.channels)
    x_block, dy_block = _block(x.channels), tile.panel
    padded = -(-dy.channels // dy_block) * dy_block
    of_x, of_dy = t.points * most * x.channels, t.points * most * padded
    at = of_x, of_x + of_dy
    spread = tuple(zip(*t.output, strict=True))

    def stages(part: _Chunk, adds: bool) -> _Stages:
        x_tiles = _tiles(x, part, t.m, t.side, padding, x_block)
        dy_tiles = _tiles(dy, part, t.m, t.m, block=dy_block)
        x_points, x_extents = _blocks(part, t, x.channels, x_block, 0)
        dy_points, dy_extents = _blocks(part, t, dy.channels, dy_block, of_x)
        return [
            [turn(t.input, x_tiles, x_points, x_extents), turn(spread, dy_tiles, dy_points, dy_extents)],
            [_multiply_tiles((part.tiles, t.points), (x.channels, x_block), dy.channels, tile, at, adds)],
        ]

    size = x.channels * dy.channels
    sides = min(SIDES, len(parts)) if ITEM * t.points * size <= TOTAL_BYTES else 1
    of_side = of_x + of_dy + t.points * size
    totals = [of_x + of_dy + side * of_side + i * size for side in range(sides) for i in range(t.points)]
    total, dw = unlimited((1,), "workspace", totals), _matrices(3, "out", 0, size)
    steps = {"a": ITEM * x.size, "b": ITEM * dy.size}

    def make() -> tuple[list[KernelRun], int]:
        last = turn(tuple(zip(*t.window, strict=True)), total, dw, (size,), storage.epilogue)
        return [*_all_chunks(parts, stages, steps, ITEM * of_side, sides, True), last], sides * ITEM * of_side

    row, column, channel, one = contiguous((3, 3, x.channels, dy.channels))
    return Offer(x_layout, dy_layout, (one, channel, row, column), 9 * size, make, has_workspace=True)


# -- chunks ------------------------------------------------------------------------------------------------------------


def _chunks(result: TiledImage, t: Transform, channels: tuple[int, int], most: int | None = None) -> list[_Chunk]:
    """All tiles in order, in chunks. A chunk, with the channels on both sides, fits the cache if one row of tiles does."""
    rows, columns = -(-result.h // t.m), -(-result.w // t.m)
    of_tile, window = t.points * ITEM * sum(channels), t.points * ITEM * prod(channels)
    size = min(CHUNK_BYTES, max(LEAST_CHUNK, window, result.n * rows * columns * of_tile // CHUNKS))
    if size < rows * columns * of_tile <= CHUNK_BYTES:
        size = rows * columns * of_tile  # whole images, whose launches are alike
    fit = max(1, size // of_tile)
    fit = min(fit, most or fit)
    if rows * columns <= fit:
        return [_Chunk(i, count, 0, rows, columns, rows) for i, count in _shares(result.n, fit // (rows * columns))]
    shares = list(_shares(rows, max(1, fit // columns)))
    return [_Chunk(i, 1, row, count, columns, rows) for i in range(result.n) for row, count in shares]


def _shares(total: int, most: int) -> Iterator[tuple[int, int]]:
    """(start, count) of even parts of at most this size, as many on each side if there are several."""
    parts = -(-total // most)
    count = -(-total // (parts if parts == 1 else -(-parts // SIDES) * SIDES))
    for start in range(0, total, count):
        yield start, min(count, total - start)


_Stages = list[list[KernelRun]]
"""Makes the launches of a chunk. Launches of a stage may run together."""


def _all_chunks(
    parts: Sequence[_Chunk],
    make: Callable[[_Chunk, bool], _Stages],
    steps: Mapping[str, int],
    workspace: int,
    sides: int,
    added: bool = False,
) -> Iterator[KernelRun]:
    """The launches of all chunks.

    Chunks that begin with another image have the same launches, further on; those of another side use another
    workspace. A side is a run of neighbouring chunks, like a thread's share of other launches. make: gives the launches
    of a chunk, which adds to what is there or not. steps: bytes from one image to the next, for each buffer of images.
    workspace: bytes of each side. added: whether all but the first chunk of a side add.
    """
    made: dict[tuple[_Chunk, bool], _Stages] = {}
    of_side = -(-len(parts) // sides)
    for number in range(of_side):
        found = []
        for side, part in enumerate(parts[number::of_side]):
            key = part._replace(image=0), added and number > 0
            if key not in made:
                made[key] = make(*key)
            further = {name: part.image * step for name, step in steps.items()} | {"workspace": side * workspace}
            found.append([[(launch, further) for launch in stage] for stage in made[key]])
        for stage in zip(*found, strict=True):
            for i, both in enumerate(zip(*stage, strict=True)):
                for side, (launch, further) in enumerate(both):
                    yield launch.moved(further, joined=i + side > 0, side=side > 0)


def _of_result(result: TiledImage, rows: int, epilogue: Epilogue | None) -> dict[str, int]:
    """Bytes from one image to the next: of the result, of what an epilogue reads of its size, and of sums for each of
    its rows of tiles."""
    if epilogue is None:
        return {"out": ITEM * result.size}
    alike = {x.buffer: x.dtype for x in epilogue.sources if x.buffer and x.along == ELEMENT}
    sizes = {"out": epilogue.dtype, **alike}
    steps = {name: result.size * BITS[KINDS[dtype][0]] // 8 for name, dtype in sizes.items()}
    return steps | {"sums": ITEM * rows * slots(epilogue.sums) * result.channels}


# -- launches ----------------------------------------------------------------------------------------------------------


@lru_cache(1024)  # cached for all chunks with the same number of tiles
def _multiply(tiles: int, points: int, c_in: int, c_out: int, tile: RegisterTile, products: int) -> KernelRun:
    """For each point (tiles, c_in) @ (c_in, c_out), from the workspace to the workspace."""
    panels = -(-c_out // tile.panel)
    nest = ContractionLoops(
        batch=(ContractionLoop(points, tiles * c_in, panels * c_in * tile.panel, tiles * c_out),),
        rows=(ContractionLoop(tiles, a=c_in, c=c_out),),
        columns=c_out,
        k=(ContractionLoop(c_in, 1, tile.panel),),
        b_panel=c_in * tile.panel,
        offsets=(0, 0, products),
    )
    return _launch(nest, tile, FLOAT32, "prepared")


def _end(part: _Chunk, t: Transform, products: Grid, result: TiledImage, epilogue: Epilogue | None) -> KernelRun:
    """The map that makes the result from the products, with an epilogue applied."""
    tiles, extents = _tiles(result, part, t.m, t.m), (*part.extents, result.channels)
    if epilogue is None or not epilogue.sums:
        return turn(t.output, products, tiles, extents, epilogue)
    return turn_and_sum(t.output, products, tiles, extents, epilogue, RowSums(part.row, part.all_rows))


@lru_cache(1024)  # cached for all chunks with the same number of tiles
def _multiply_tiles(
    batch: tuple[int, int], x: tuple[int, int], columns: int, tile: RegisterTile, at: tuple[int, int], adds: bool
) -> KernelRun:
    """For each point (tiles, x).T @ (tiles, dy). All lie in the workspace; dy and the result are `at` these elements.

    batch: tiles and points. x: its channels, and a block of them. adds: to what earlier chunks have written.
    """
    (tiles, points), (rows, block) = batch, x
    panel = tiles * tile.panel
    nest = ContractionLoops(
        batch=(ContractionLoop(points, tiles * rows, -(-columns // tile.panel) * panel, rows * columns),),
        rows=(
            ContractionLoop(rows // block, a=tiles * block, c=block * columns),
            ContractionLoop(block, a=1, c=columns),
        ),
        columns=columns,
        k=(ContractionLoop(tiles, block, tile.panel),),
        b_panel=panel,
        offsets=(0, *at),
    )
    return _launch(nest, tile, Storage(accumulate=adds), "workspace")


def _launch(nest: ContractionLoops, tile: RegisterTile, storage: Storage, b: str) -> KernelRun:
    (launch,), _ = draft(
        [nest], tile, storage, True, 0
    ).launches()  # one launch: there are enough launch tiles in the points not to split k
    return launch._replace(buffers=(("workspace", 0), (b, 0), ("workspace", 0)))


@lru_cache(1024)  # whatever the size of the image
def _turn_window(w: TiledWindow, t: Transform, c_in: int, c_out: int, panel: int) -> tuple[KernelRun, int]:
    """The map that transforms the window to [point, panel, k, column of the panel], and the bytes of the result."""
    panels, (down, right) = -(-c_out // panel), w.taps
    limits = NO_LIMITS if w.full or c_out % panel == 0 else Limits(((0, 2),), (0, c_out, panel, 1))
    starts = [w.start + i * down + j * right for i in range(3) for j in range(3)]
    sources = limited((w.panel, w.k, w.column), "b", starts, [NO_LIMITS] * 3, [NO_LIMITS] * 3, limits)
    size = panels * c_in * panel
    targets = _matrices(t.side, "prepared", 0, size, (c_in * panel, panel, 1))
    return turn(t.window, sources, targets, (panels, c_in, panel)), ITEM * t.points * size


# -- elements ----------------------------------------------------------------------------------------------------------


def _tiles(
    image: TiledImage, part: _Chunk, step: int, count: int, padding: tuple[int, int] = (0, 0), block: int | None = None
) -> Grid:
    """count x count elements from where each tile begins. Neighbouring tiles are `step` elements apart.

    block: channels side by side. The loops over blocks come before those over columns of tiles. Nothing lies behind the
    last channel.
    """
    n, h, w, c = contiguous(image[1:])
    size, tiles, first = (image.h, image.w), (part.all_rows, part.columns), (part.row, 0)

    def limits(d: int, dim: int) -> list[Limits]:
        starts = range(-padding[d], count - padding[d])
        last, begin, dims = size[d] - step * (tiles[d] - 1), step * first[d], ((dim,),)
        return [NO_LIMITS if 0 <= i < last else Limits(dims, (begin + i, size[d], step)) for i in starts]

    down, right = limits(0, 1), limits(1, 2 if block is None else 3)
    end = Limits(((2, 4),), (0, image.channels, block, 1)) if block and image.channels % block else NO_LIMITS
    start = part.image * n + (step * part.row - padding[0]) * h - padding[1] * w
    starts = [start + i * h + j * w for i in range(count) for j in range(count)]
    outer, inner = (n, step * h), (step * w, c)
    strides = (*outer, *inner) if block is None else (*outer, block, *inner)
    return limited(strides, image.buffer, starts, down, right, end)


def _points(part: _Chunk, t: Transform, channels: int, start: int) -> Grid:
    """[point, tile, channel] in the workspace."""
    strides = contiguous((*part.extents, channels))
    return _matrices(t.side, "workspace", start, part.tiles * channels, strides)


def _block(channels: int) -> int:
    """How many channels lie side by side in a matrix that is read along tiles: few enough that steps from tile to tile
    use many sets of a cache."""
    return next((block for block in BLOCKS if channels % block == 0), channels)


def _blocks(part: _Chunk, t: Transform, channels: int, block: int, start: int) -> tuple[Grid, tuple[int, ...]]:
    """Where elements of tiles go, [point, block, tile, channel of the block], and the extents of their loops.

    Columns of tiles stay the last loop but for the lanes, because there are more of them. The last block is filled up
    with zeros.
    """
    count = -(-channels // block)
    images, rows, columns, one = contiguous((*part.extents, block))
    strides = images, rows, part.tiles * block, columns, one
    extents = part.images, part.rows, count, part.columns, block
    return _matrices(t.side, "workspace", start, part.tiles * count * block, strides), extents


def _matrices(side: int, buffer: str, start: int, size: int, strides: tuple[int, ...] = (1,)) -> Grid:
    """side² runs of `size` elements."""
    return unlimited(strides, buffer, [start + i * size for i in range(side * side)])
