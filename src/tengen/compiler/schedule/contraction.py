"""Sums of products as contraction kernels: which layouts, tiles and launches compute them.

A `Contraction` is pure description: what layout each operand must have (a `Relayout` that the caller materialises, or
fuses with what produces the operand), the launches to run in order, and how the result lies in memory. Sizes of tiles,
blocks of k and the number of splits follow from the problem alone, so results do not depend on the number of threads.

Here are the parts that all problems share; `matmul.py` and `convolution.py` say what they are for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

from ..targets.column_sums import slots
from ..targets.contraction import MAX_BLOCK_ROWS, PARAMETERS, SUM_TILE, ContractionKernel, SumKernel
from ..targets.epilogue import ELEMENT, Epilogue
from ..targets.nest import NestSource
from ..targets.storage import KINDS, PAIR
from ..targets.window import Window
from ..vector import BITS
from .register_tile import RegisterTile

BLOCK_ROWS = 240
"""Rows of C in one launch tile, at most; a multiple of most tiles' rows."""
PANEL_BYTES = 3 << 19
"""A panel of B (all of k) up to this size stays in the level-2 cache while rows pass, so k is not blocked."""
LONG_BLOCK_K = 1024
"""Steps of k between two visits of C where a panel would be larger; visits cost more than a B in the level-2 cache."""
BLOCK_K = 256
"""The same where k has a stride in A: a register tile uses a part of each line of A, and the next rows use the rest."""
FOLDED_BLOCK_K = 2048
"""The same where steps of k are lanes: folding them costs more than visits."""
TILE_WORK = 1 << 20
"""Floating-point operations that are worth one launch tile (some ten microseconds)."""
LOAD_WORK = 32
"""Operations that take as long as reading an element of A or B from memory."""
MAX_TILES = 64
"""Launch tiles wanted at most: enough to balance many threads."""
MASKED_LANES = 16
"""Vectors of at least so many lanes (AVX-512) load under a mask at no cost; others read padded panels instead."""
SPLIT_TILES = 16
"""A blocked k is split until there are this many launch tiles, if there is work for them."""
LEAST_PANELS = 4
"""Panels of a launch tile where a window slides over pixels, if there are so many."""
FEW_BANDS = 4
"""Bands of lines that are not cut further there: between threads that read and write neighbouring channels of each pixel, cache
lines go to and fro."""
SPLIT_BLOCKS = 4
"""Blocks of k in one split, at least: each split writes and reads a result."""


class Unit(NamedTuple):
    """The vector unit that kernels are planned for: 32-bit lanes of a vector, number of vector registers, and whether it
    multiplies pairs of bfloat16. winograd: outputs of a tile, each way, where convolutions go by tiles; 0: they do not."""

    lanes: int
    registers: int
    dots: bool = False
    winograd: int = 0

    def lanes_of(self, dtype: str) -> int:
        """Lanes of a vector in the kind of arithmetic that `dtype` is computed in."""
        return self.lanes * 32 // BITS[KINDS[dtype][1]]

    def takes_pairs(self, storage: Storage) -> bool:
        """Whether a step of k can be two: the kernel then has operands of PAIR."""
        return self.dots and storage.a == storage.b == "bfloat16"


class Axis(NamedTuple):
    """A coordinate of the source as a function of the physical index.

    position = offset + sum(coefficients[i] * index[i]). It counts only where 0 <= position < limit, and moves dimension
    `dim` of the source by `scale * position`. Several axes may share a `dim` (a dimension that is seen as two).
    """

    dim: int
    limit: int
    coefficients: tuple[int, ...]
    offset: int = 0
    scale: int = 1


class Relayout(NamedTuple):
    """An operand's physical buffer, C-contiguous of `shape`.

    Each element is one of the source, or 0 where an axis is out of range. pair: the number of an axis; then each element
    is a PAIR, the second of which lies one further along that axis.
    """

    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    pair: int | None = None

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def halves(self) -> tuple[Relayout, Relayout]:
        """What the first and the second of each pair are."""
        assert self.pair is not None
        first = self._replace(pair=None)
        further = [a._replace(offset=a.offset + (i == self.pair)) for i, a in enumerate(self.axes)]
        return first, first._replace(axes=tuple(further))

    @property
    def pads(self) -> bool:
        """Whether some element is not one of the source."""
        if self.pair is not None:
            return any(half.pads for half in self.halves)
        return any(self.leaves(axis) for axis in self.axes)

    def leaves(self, axis: Axis) -> bool:
        """Whether some physical index puts `axis` out of range."""
        reach = [c * (extent - 1) for c, extent in zip(axis.coefficients, self.shape, strict=True)]
        low = axis.offset + sum(r for r in reach if r < 0)
        high = axis.offset + sum(r for r in reach if r > 0)
        return low < 0 or high >= axis.limit

    def offset(self, source_strides: Sequence[int]) -> int:
        """Elements from the source's origin to what physical index 0 shows."""
        return sum(source_strides[axis.dim] * axis.scale * axis.offset for axis in self.axes)

    def strides(self, source_strides: Sequence[int]) -> tuple[int, ...]:
        """Elements of the source that one step of each physical index moves."""
        moves = [0] * len(self.shape)
        for axis in self.axes:
            for i, coefficient in enumerate(axis.coefficients):
                moves[i] += source_strides[axis.dim] * axis.scale * coefficient
        return tuple(moves)

    def is_view(self, source_strides: Sequence[int]) -> bool:
        """Whether a source with these strides already is the physical buffer, so that nothing must be copied."""
        if self.pads or self.offset(source_strides) or self.pair_step(source_strides) not in (None, 1):
            return False
        width = 1 if self.pair is None else 2
        moves = zip(self.shape, self.strides(source_strides), contiguous(self.shape), strict=True)
        return all(extent == 1 or move == width * stride for extent, move, stride in moves)

    def pair_step(self, source_strides: Sequence[int]) -> int | None:
        """Elements of the source from the first to the second of a pair."""
        if self.pair is None:
            return None
        axis = self.axes[self.pair]
        return source_strides[axis.dim] * axis.scale


Buffer = tuple[str, int]
"""What a kernel is given: memory by name (a, b, prepared, workspace, out, what the epilogue reads, and sums), from so many
bytes on."""


class Launch(NamedTuple):
    """One kernel run.

    buffers: in order. work: floating-point operations. joined: it may run at the same time as the one before. epilogue: what
    it does of one; the numbers of that come in `params` before the last `numbers_after`. row_tiles: how many sums over rows
    it writes for a column.
    """

    kernel: ContractionKernel | SumKernel | NestSource
    buffers: tuple[Buffer, ...]
    params: tuple[int, ...]
    tiles: int
    work: int
    joined: bool = False
    epilogue: Epilogue | None = None
    numbers_after: int = 0
    row_tiles: int = 0

    def moved(self, by: Mapping[str, int]) -> Launch:
        """The same so many bytes further on in some buffers."""
        return self._replace(buffers=tuple([(name, at + by.get(name, 0)) for name, at in self.buffers]))


class Contraction(NamedTuple):
    """How to compute one sum of products.

    a, b: the layouts that the operands must have; None: used as they are, with the strides that the problem was given.
    out_strides: of the result's logical dimensions in a buffer of `out_size` elements. workspace: bytes of scratch
    memory. prepared: makes of b, in a buffer of so many bytes, what the launches read instead.
    """

    a: Relayout | None
    b: Relayout | None
    out_strides: tuple[int, ...]
    out_size: int
    launches: tuple[Launch, ...]
    workspace: int = 0
    prepared: tuple[Launch, int] | None = None

    @property
    def work(self) -> int:
        return sum(launch.work for launch in self.launches)

    @property
    def row_tiles(self) -> int:
        """Parts of the rows of which there are sums; none if the epilogue takes no sums."""
        return sum(launch.row_tiles for launch in self.launches)

    @property
    def epilogue(self) -> Epilogue | None:
        """The one that the launches do. A sum that is not complete in the registers leaves it to the caller."""
        return next((launch.epilogue for launch in self.launches if launch.epilogue), None)


def exchanged(problem: Contraction) -> Contraction:
    """The same kernels for operands that are given the other way round."""
    names = {"a": "b", "b": "a"}
    launches = [
        launch._replace(buffers=tuple((names.get(name, name), at) for name, at in launch.buffers))
        for launch in problem.launches
    ]
    return problem._replace(a=problem.b, b=problem.a, launches=tuple(launches))


class Loop(NamedTuple):
    """One loop and how far a step of it moves in A, B, C and the channels (elements)."""

    extent: int
    a: int = 0
    b: int = 0
    c: int = 0
    channel: int = 0


class Image(NamedTuple):
    """What a window slides over: its size and where in it the first register tile begins, down and across."""

    window: Window
    size: tuple[int, int]
    start: tuple[int, int]


class Nest(NamedTuple):
    """A contraction over physical buffers: its loops, slowest first.

    Once merged, there are at most two batch, three row and three k loops. b_panel: elements from one panel of B to the
    next. offsets: of A, B and C. a_columns: A has the columns too, side by side, as in the depthwise convolution: C[m, n] =
    sum over k of A[m, k, n] * B[k, n]. adds: it adds to what nests before it have written.
    channel_rows: the channels of an epilogue are the rows, of which there is one loop, not the columns. image: the rows are those
    of images, lines and pixels, and the steps of k those of the taps of a window, down and across.
    b_column: elements from one column of B to the next, where these are not side by side: then steps of k are.
    """

    batch: tuple[Loop, ...]
    rows: tuple[Loop, ...]
    columns: int
    k: tuple[Loop, ...]
    b_panel: int
    offsets: tuple[int, int, int] = (0, 0, 0)
    a_columns: bool = False
    adds: bool = False
    channel_rows: bool = False
    image: Image | None = None
    b_column: int = 0


class Storage(NamedTuple):
    """Storage dtypes of the operands, and what the kernel does besides: add to C, and an epilogue.

    epilogue: what is stored in place of each sum, if the plan has one place where a sum is complete; `out` is then what
    would be stored without it.
    """

    a: str = "float32"
    b: str = "float32"
    out: str = "float32"
    accumulate: bool = False
    epilogue: Epilogue | None = None

    @property
    def has_channels(self) -> bool:
        """There is an operand that runs along the channels only."""
        return self.epilogue is not None and self.epilogue.has_channels

    @property
    def reads_elements(self) -> bool:
        """An epilogue reads an operand of the result's size, in whose memory the result may be."""
        return self.epilogue is not None and any(x.buffer and x.along == ELEMENT for x in self.epilogue.sources)

    @property
    def in_pairs(self) -> Storage:
        """The same where an element of an operand is two numbers of k."""
        return self._replace(a=PAIR, b=PAIR)

    @property
    def k_step(self) -> int:
        """Numbers of k in an element of an operand."""
        return 2 if self.b == PAIR else 1

    @property
    def rounds(self) -> bool:
        """The result is stored in fewer bits than it is computed in."""
        return KINDS[self.out][0] != KINDS[self.out][1]


FLOAT32 = Storage()


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a C-contiguous array."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def merge(loops: Sequence[Loop]) -> tuple[Loop, ...]:
    """The same loops, single turns dropped, and neighbours joined where the outer one continues the inner one."""
    merged: list[Loop] = []
    for loop in loops:
        if loop.extent == 1:
            continue
        outer = merged[-1] if merged else None
        if outer and all(getattr(outer, x) == loop.extent * getattr(loop, x) for x in ("a", "b", "c", "channel")):
            merged[-1] = loop._replace(extent=outer.extent * loop.extent)
        else:
            merged.append(loop)
    return tuple(merged) or (Loop(1),)


def extent(loops: Sequence[Loop]) -> int:
    return prod(loop.extent for loop in loops)


def packed_columns(n: int, panel: int) -> int:
    """Panels that n columns take."""
    return -(-n // panel)


# -- from a nest to launches -------------------------------------------------------------------------------------------


class _Grid(NamedTuple):
    """How the work is cut: see the parameters of the kernel with the same names."""

    k1_block: int
    splits: int
    blocks_per_split: int
    panels_per_group: int
    panel_groups: int
    rows_per_block: int
    row_blocks: int

    @property
    def tiles(self) -> int:
        return self.splits * self.panel_groups * self.row_blocks


def plan(
    nests: Sequence[Nest], tile: RegisterTile, storage: Storage, packed: bool, out_size: int
) -> tuple[tuple[Launch, ...], int]:
    """The launches that compute `nests` with this register tile, and the bytes of workspace they need.

    nests: together they write each of the result's `out_size` elements, and those that do not add none twice. packed: B is packed into panels.
    """
    nests = [n if n.image else n._replace(batch=merge(n.batch), rows=merge(n.rows), k=_merge_k(n.k)) for n in nests]
    if any(len(n.batch) > 2 or len(n.rows) > 3 or len(n.k) > 3 for n in nests):
        raise ValueError(f"a contraction has at most 2 batch, 3 row and 3 k loops, got {nests}")
    nests = [n for n in nests if extent(n.batch) and extent(n.rows) and n.columns]
    if not nests:
        return (), 0
    main = max(nests, key=_multiply_adds)
    adding = [n for n in nests if n.adds]
    nests = [n for n in nests if not n.adds]
    may_split = not storage.accumulate
    blocked = _needs_blocks(main, tile, storage) and (may_split or not storage.rounds)
    splits = _splits(main, nests, tile) if blocked and may_split else 1
    if blocked or adding or storage.accumulate or tile.folded:
        storage = storage._replace(epilogue=None)  # sums go through memory, or come one by one
    elif storage.epilogue and storage.epilogue.sums and not _takes_sums(nests, storage.epilogue):
        storage = storage._replace(epilogue=None)
    extra = storage.epilogue.buffers if storage.epilogue else ()
    column_sums = storage.epilogue.sums if storage.epilogue else ()
    row_tiles = 0

    def launch(nest: Nest, splits: int, dtype: str, result: str, joined: bool) -> Launch:
        grid = _grid(nest, tile, blocked, splits)
        kernel = _kernel(nest, tile, storage, packed, blocked)._replace(c=dtype)
        buffers = tuple([(name, 0) for name in ("a", "b", result, *extra, *["sums"][: len(column_sums)])])
        places = _sum_places(nest, grid, row_tiles, slots(column_sums)) if column_sums else _NO_SUMS
        params, work = _params(nest, tile, grid, blocked, out_size, places), 2 * _multiply_adds(nest) * storage.k_step
        tiles, end = extent(nest.batch) * grid.tiles, storage.epilogue
        return Launch(kernel, buffers, params, tiles, work, joined, end, row_tiles=places.tiles)

    through_workspace = splits > 1 or (blocked and storage.rounds)
    stored = storage.epilogue.dtype if storage.epilogue else storage.out
    result, dtype = ("workspace", _wide(storage.out)) if through_workspace else ("out", stored)
    launches: list[Launch] = []
    for nest in nests:
        launches.append(launch(nest, splits, dtype, result, joined=bool(launches)))
        row_tiles += launches[-1].row_tiles
    workspace = 0
    if through_workspace:
        total = SumKernel(_wide(storage.out), storage.out, tile.lanes)
        tiles = -(-out_size // SUM_TILE)
        buffers = ("workspace", 0), ("out", 0)
        launches.append(Launch(total, buffers, (out_size, splits), tiles, splits * out_size))
        workspace = splits * out_size * BITS[KINDS[storage.out][1]] // 8
    launches += [launch(nest, 1, storage.out, "out", joined=False) for nest in adding]
    return tuple(launches), workspace


def _multiply_adds(nest: Nest) -> int:
    return extent(nest.batch) * extent(nest.rows) * nest.columns * extent(nest.k)


def _kernel(nest: Nest, tile: RegisterTile, storage: Storage, packed: bool, blocked: bool) -> ContractionKernel:
    return ContractionKernel(
        a=storage.a,
        b=storage.b,
        c=storage.out,
        rows=tile.rows,
        vectors=tile.vectors,
        lanes=tile.lanes,
        unroll=tile.unroll,
        k_loops=_inner_loops(nest, blocked),
        blocked=blocked,
        accumulate=storage.accumulate or nest.adds,
        a_columns=nest.a_columns,
        folded=tile.folded,
        a_unit=nest.k[-1].a == 1,
        a_adjacent=nest.rows[-1].a == 1 and nest.rows[-1].extent % tile.rows == 0,
        packed=packed,
        b_dense=nest.k[-1].b == tile.panel,
        masked=nest.columns % tile.panel != 0,
        epilogue=storage.epilogue,
        channel_rows=nest.channel_rows and storage.has_channels,
        window=nest.image.window if nest.image else None,
    )


def _merge_k(loops: tuple[Loop, ...]) -> tuple[Loop, ...]:
    return (Loop(0, a=1),) if extent(loops) == 0 else merge(loops)


def _wide(dtype: str) -> str:
    return {"f32": "float32", "f64": "float64", "i32": "int32", "i64": "int64"}[KINDS[dtype][1]]


def _needs_blocks(nest: Nest, tile: RegisterTile, storage: Storage) -> bool:
    """Whether k is cut into blocks, so that what the tile reads again for its next rows and panels is still in a cache.

    Columns of A (its rows lie side by side, k has a stride) use a few numbers of each cache line at a time, so they are
    blocked sooner.
    """
    k = extent(nest.k)
    if tile.folded:
        return k > FOLDED_BLOCK_K
    if nest.k[-1].a != 1 and k > 2 * BLOCK_K:
        return True
    return k * tile.panel * BITS[KINDS[storage.b][0]] // 8 > PANEL_BYTES


def _inner_loops(nest: Nest, blocked: bool) -> int:
    return max(1, len(nest.k) - 1) if blocked and not nest.b_column else len(nest.k)


def _splits(main: Nest, nests: Sequence[Nest], tile: RegisterTile) -> int:
    """In how many parts the sum over a blocked k is computed, to have enough launch tiles; the same for all nests, none
    of which may have an empty part."""
    around = extent(main.batch) * -(-extent(main.rows) // BLOCK_ROWS)
    wanted = -(-min(_wanted_tiles(main, tile), SPLIT_TILES) // around)
    blocks = [_k_blocks(nest)[1] for nest in nests]
    splits = max(1, min(wanted, max(blocks) // (1 if tile.folded else SPLIT_BLOCKS)))
    while any((splits - 1) * -(-count // splits) >= count for count in blocks):
        splits -= 1
    return splits


def _wanted_tiles(nest: Nest, tile: RegisterTile) -> int:
    rows, columns = extent(nest.rows), packed_columns(nest.columns, tile.panel) * tile.panel
    loads = rows * columns if nest.a_columns else rows + columns
    loads *= 2 if nest.image else extent(nest.k)  # a window reads each element once, and writes as many
    work = extent(nest.batch) * (2 * extent(nest.k) * rows * columns + LOAD_WORK * loads)
    return max(1, min(MAX_TILES, work // TILE_WORK))


def _grid(nest: Nest, tile: RegisterTile, blocked: bool, splits: int) -> _Grid:
    """Cut the work into launch tiles: by splits of k and blocks of rows; then, until there are enough, by groups of
    panels, and fewer rows."""
    rows, batch = extent(nest.rows), extent(nest.batch)
    panels = packed_columns(nest.columns, tile.panel)
    wanted = _wanted_tiles(nest, tile)
    if nest.image:
        return _bands(nest, nest.image.window, panels, wanted)
    k1_block, blocks = _k_blocks(nest) if blocked else (_k_loops(nest, blocked)[1].extent, 1)
    row_blocks = -(-rows // BLOCK_ROWS)
    groups = min(panels, -(-wanted // (batch * row_blocks * splits)))
    if splits == 1 or tile.folded:
        row_blocks = max(row_blocks, min(-(-rows // tile.rows), -(-wanted // (batch * groups * splits))))
    panels_per_group = -(-panels // groups)
    rows_per_block = -(-rows // (row_blocks * tile.rows)) * tile.rows
    assert rows_per_block <= MAX_BLOCK_ROWS
    return _Grid(
        k1_block=k1_block,
        splits=splits,
        blocks_per_split=-(-blocks // splits),
        panels_per_group=panels_per_group,
        panel_groups=-(-panels // panels_per_group),
        rows_per_block=rows_per_block,
        row_blocks=-(-rows // rows_per_block),
    )


def _bands(nest: Nest, window: Window, panels: int, wanted: int) -> _Grid:
    """Cut the lines of images into bands; only where these are very few, by groups of panels."""
    images, lines, step = nest.rows[0].extent, nest.rows[1].extent, len(window.down.sees)
    bands = min(-(-lines // step), -(-wanted // images))
    lines_per_band = -(-lines // (bands * step)) * step
    bands = -(-lines // lines_per_band)
    groups = max(1, min(panels // LEAST_PANELS, min(wanted, FEW_BANDS) // (images * bands)))
    panels_per_group = -(-panels // groups)
    return _Grid(1, 1, 1, panels_per_group, -(-panels // panels_per_group), lines_per_band, images * bands)


def _k_blocks(nest: Nest) -> tuple[int, int]:
    """(turns of k1 in a block, blocks)."""
    k0, k1, *inner = _k_loops(nest, True)
    steps = FOLDED_BLOCK_K if nest.b_column else LONG_BLOCK_K if nest.k[-1].a == 1 else BLOCK_K
    k1_block = max(1, min(k1.extent, steps // max(1, extent(inner))))
    return k1_block, k0.extent * -(-k1.extent // k1_block)


def _k_loops(nest: Nest, blocked: bool) -> tuple[Loop, Loop, Loop, Loop]:
    """k0 to k3; k0 is only used by blocked kernels, and the last used one is the innermost."""
    loops = nest.k if blocked and len(nest.k) > 1 and not nest.b_column else (Loop(1), *nest.k)
    filled = (*loops, *[Loop(1)] * (4 - len(loops)))
    return filled[0], filled[1], filled[2], filled[3]


class _SumPlaces(NamedTuple):
    """Where a launch puts sums over rows: see the parameters of the kernel with these names, and how many `tiles` of rows
    it has."""

    offset: int = 0
    b0: int = 0
    b1: int = 0
    block: int = 0
    slot: int = 0
    tiles: int = 0


_NO_SUMS = _SumPlaces()


def _takes_sums(nests: Sequence[Nest], epilogue: Epilogue) -> bool:
    """Whether kernels of these nests can take the sums over rows that an epilogue asks for: the rows of a register tile must
    be at hand together, and the channels be columns."""
    return not epilogue.is_costly and not any(nest.channel_rows for nest in nests)


def _sum_places(nest: Nest, grid: _Grid, tiles_before: int, slots: int) -> _SumPlaces:
    """Batch loops along the channels, as over the groups of a convolution, share a place; others are more rows."""
    b0, b1 = (Loop(1), *nest.batch)[-2:]
    channels = nest.columns + sum((loop.extent - 1) * loop.channel for loop in nest.batch)
    place, tiles, steps = slots * channels, grid.row_blocks, []
    for loop in (b1, b0):
        steps.append(0 if loop.channel else place * tiles)
        tiles *= 1 if loop.channel else loop.extent
    return _SumPlaces(place * tiles_before, steps[1], steps[0], place, channels, tiles)


def _params(
    nest: Nest, tile: RegisterTile, grid: _Grid, blocked: bool, out_size: int, sums: _SumPlaces
) -> tuple[int, ...]:
    b0, b1 = (Loop(1), *nest.batch)[-2:]
    m = (Loop(1), Loop(1), *nest.rows)[-3:]
    k = _k_loops(nest, blocked)
    at_a, at_b, at_c = nest.offsets
    numbers = (
        *(extent(nest.rows), m[1].extent, m[2].extent, nest.columns),
        *(k[0].extent, k[1].extent, k[2].extent, k[3].extent, grid.k1_block),
        *(b1.extent, grid.splits, grid.blocks_per_split, grid.panel_groups, grid.panels_per_group),
        *(grid.row_blocks, grid.rows_per_block),
        *(at_a, b0.a, b1.a, m[0].a, m[1].a, m[2].a, k[0].a, k[1].a, k[2].a, k[3].a),
        *(at_b, b0.b, b1.b, nest.b_panel, nest.b_column, k[0].b, k[1].b, k[2].b, k[3].b),
        *(at_c, b0.c, b1.c, out_size, m[0].c, m[1].c, m[2].c, b0.channel, b1.channel),
        *sums[:-1],
        *((*nest.image.size, *nest.image.start) if nest.image else (0, 0, 0, 0)),
    )
    assert len(numbers) == len(PARAMETERS)  # and in that order
    return numbers
