"""From the nests of a contraction to launches of its kernels: how the work is cut into blocks and launch tiles.

Nests that the same kernel computes are the parts of one launch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from ...kernels.contraction import (
    AMX_SIDE,
    MAX_BLOCK_ROWS,
    SUM_TILE,
    AForm,
    Begin,
    Channels,
    ContractionKernel,
    LastPanel,
    Move,
    PanelMove,
    PartParameters,
    Product,
    SumKernel,
)
from ...kernels.dtypes import BITS, KINDS, PAIR, QUADS
from ...kernels.epilogue import Epilogue, slots
from ...kernels.window import Window
from .problem import (
    ONCE,
    ContractionLoop,
    ContractionLoops,
    KernelRun,
    Offer,
    Relayout,
    SlidingImage,
    Storage,
    packed_columns,
)
from .register_tile import RegisterTile

PRODUCTS: dict[str, Product] = {PAIR: "pairs", QUADS["int8"]: "quads"}
"""The kind of product for each dtype of B, if not "plain"."""
BLOCK_ROWS = 240
"""The most rows of C in one launch tile; a multiple of the rows of most tiles."""
BLOCK_STRIPS = 16
"""The most strips of up to 16 rows in one launch tile on AMX."""
SUM_STEPS = 256
"""How many steps of k are added in sequence, if k is much longer."""
PANEL_BYTES = 3 << 19
"""A panel of B (all of k) up to this size stays in the level-2 cache while rows pass, so k is not blocked."""
LONG_BLOCK_K = 1024
"""Steps of k between two visits of C if a panel would be larger. Visits cost more than reading B from the level-2
cache."""
BLOCK_K = 400
"""The same if k has a stride in A: a register tile uses a part of each line of A, and the next rows use the rest."""
FOLDED_BLOCK_K = 2048
"""The same if steps of k are lanes: folding them costs more than visits."""
TILE_WORK = 1 << 20
"""The floating-point operations of one launch tile that make it worth while (some ten microseconds)."""
LOAD_WORK = 32
"""The operations that take as long as reading an element of A or B from memory."""
MAX_TILES = 64
"""The most launch tiles that are wanted: enough to balance many threads."""
SPLIT_TILES = 16
"""A blocked k is split until there are this many launch tiles, if there is enough work for them."""
LEAST_PANELS = 4
"""Panels of a launch tile of a sliding window, if there are that many."""
FEW_BANDS = 4
"""The most bands of lines before panels are cut: threads that read and write neighbouring channels of each pixel would
pass cache lines to and fro."""
SPLIT_READS = 64
"""How many elements a split of a gradient by weight reads for each that it writes, at least, if a window slides over
pixels: data that another core has written comes slowly."""
SPLIT_BLOCKS = 4
"""The fewest blocks of k in one split, because each split writes and reads a result."""


NEVER = ContractionLoop(0, a=1)


def merge(loops: Sequence[ContractionLoop]) -> tuple[ContractionLoop, ...]:
    """The loops without those of a single turn. Neighbours are joined if the outer one continues the inner one."""
    merged: list[ContractionLoop] = []
    for loop in loops:
        turns, a, b, c, channel = loop
        if turns == 1:
            continue
        if merged:
            outer = merged[-1]
            if outer.a == turns * a and outer[1:] == (turns * a, turns * b, turns * c, turns * channel):
                merged[-1] = ContractionLoop(outer.extent * turns, a, b, c, channel)
                continue
        merged.append(loop)
    return tuple(merged) or (ONCE,)


def extent(loops: Sequence[ContractionLoop]) -> int:
    turns = 1
    for loop in loops:
        turns *= loop.extent
    return turns


class _Part(NamedTuple):
    """A nest whose loops are merged, with the turns of its batch loops, its rows and its steps of k."""

    nest: ContractionLoops
    batch: int
    rows: int
    k: int
    multiply_adds: int


def _merged(nest: ContractionLoops, tile: RegisterTile) -> _Part:
    batch, rows, columns, k, *_ = nest
    turns = extent(batch), extent(rows), extent(k)
    if not nest.image:
        batch, rows, k = merge(batch), merge(rows), merge(k) if turns[2] else (NEVER,)
        if tile.amx and k[-1].a != 1:  # a register has steps that are side by side
            k = (*(loop for loop in k if loop != ONCE), ContractionLoop(1, a=1))
        nest = ContractionLoops(batch, rows, columns, k, *nest[4:])
    if len(batch) > 2 or len(rows) > 4 or len(k) > 4:
        raise ValueError(f"a contraction takes at most 2 batch, 4 row and 4 k loops, got {nest}")
    return _Part(nest, *turns, turns[0] * turns[1] * turns[2] * columns)


class _Grid(NamedTuple):
    """How the work is cut: see the parameters of the kernel with the same names."""

    k2_block: int
    splits: int
    blocks_per_split: int
    panels_per_group: int
    panel_groups: int
    rows_per_block: int
    row_blocks: int

    @property
    def tiles(self) -> int:
        return self.splits * self.panel_groups * self.row_blocks


class Draft(NamedTuple):
    """How nests are to be computed, before their launches are made.

    parts: nests that write each element of the result once. adding: nests that then add to it. empty: nests whose k has
    no turns, beside others whose k is cut. why_not: why the requested epilogue is impossible. row_tiles: see `Offer`.
    """

    parts: Sequence[_Part]
    adding: Sequence[_Part]
    empty: Sequence[_Part]
    way: _Cut
    splits: int
    why_not: str | None = None
    row_tiles: int = 0

    @property
    def through_workspace(self) -> bool:
        """Whether sums go through a workspace: those of several splits, or those that the result would round between
        blocks."""
        return self.splits > 1 or (self.way.blocked and self.way.storage.rounds)

    def launches(self) -> tuple[Sequence[KernelRun], int]:
        """The launches, and the bytes of workspace that they need."""
        parts, adding, empty, way, splits, *_ = self
        if not (parts or adding or empty):
            return (), 0
        storage, out_size = way.storage, way.out_size
        stored = storage.epilogue.dtype if storage.epilogue else storage.out
        result, dtype = ("workspace", _wide(storage.out)) if self.through_workspace else ("out", stored)
        launches, workspace = way.launches(parts, splits, dtype, result), 0
        if empty:
            launches += way._replace(blocked=False).launches(empty, splits, dtype, result)
        if self.through_workspace:
            total = SumKernel(_wide(storage.out), storage.out, way.tile.lanes)
            tiles = -(-out_size // SUM_TILE)
            buffers = ("workspace", 0), ("out", 0)
            launches.append(KernelRun(total, buffers, (out_size, splits), tiles, splits * out_size))
            workspace = splits * out_size * BITS[KINDS[storage.out][1]] // 8
        for part in adding:
            launches += way.launches([part], 1, storage.out, "out")
        return launches, workspace


def draft(
    nests: Sequence[ContractionLoops], tile: RegisterTile, storage: Storage, packed: bool, out_size: int
) -> Draft:
    """How to compute `nests` with this register tile.

    nests: together they write each of the result's `out_size` elements; those that do not add write none twice. packed:
    whether B is packed into panels.
    """
    parts = [_merged(nest, tile) for nest in nests]
    parts = [part for part in parts if part.batch and part.rows and part.nest.columns]
    if not parts:
        return Draft((), (), (), _Cut(tile, storage, packed, False, out_size), 1, "there is nothing to compute")
    main = max(parts, key=lambda part: part.multiply_adds)
    adding, parts = [part for part in parts if part.nest.adds], [part for part in parts if not part.nest.adds]
    may_split = not storage.accumulate
    blocked = _needs_blocks(main, tile, storage) and (may_split or not storage.rounds)
    empty = [part for part in parts if blocked and not part.k]  # no block of theirs would store zeros
    parts = [part for part in parts if part not in empty]
    splits = _splits(main, parts, tile) if blocked and may_split else 1
    why_not, rows = None, 0
    if end := storage.epilogue:
        through_memory = blocked or bool(adding) or storage.accumulate
        why_not = _why_not_epilogue(parts, end, tile, through_memory)
        if why_not:
            storage = storage._replace(epilogue=None)
        elif end.sums:
            grids = [(part.nest, _grid(part, tile, _k_loops(part.nest, blocked), blocked, splits)) for part in parts]
            rows = sum(_sum_places(nest, grid, 0, slots(end.sums)).tiles for nest, grid in grids)
    return Draft(parts, adding, empty, _Cut(tile, storage, packed, blocked, out_size), splits, why_not, rows)


def offer(
    nests: Sequence[ContractionLoops],
    tile: RegisterTile,
    storage: Storage,
    packed: bool,
    operands: tuple[Relayout | None, Relayout | None],
    out_strides: tuple[int, ...],
    out_size: int,
) -> Offer:
    """The offer of a way whose kernels compute these nests and whose operands have these layouts; see `draft`."""
    made = draft(nests, tile, storage, packed, out_size)
    return Offer(*operands, out_strides, out_size, made.launches, made.through_workspace, made.why_not, made.row_tiles)


class _Cut(NamedTuple):
    """What the parts of a contraction have in common."""

    tile: RegisterTile
    storage: Storage
    packed: bool
    blocked: bool
    out_size: int

    def launches(self, parts: Sequence[_Part], splits: int, dtype: str, result: str) -> list[KernelRun]:
        """One launch for all parts that the same kernel computes. dtype: of the buffer `result`."""
        end = self.storage.epilogue
        column_sums = end.sums if end else ()
        names = "a", "b", result, *(end.buffers if end else ()), *["sums"][: len(column_sums)]
        buffers = tuple([(name, 0) for name in names])
        found: dict[_Kind, list[tuple[PartParameters, int, int]]] = {}
        row_tiles = 0
        for part in parts:
            kind, k = _kind(part.nest, self), _k_loops(part.nest, self.blocked)
            grid = _grid(part, self.tile, k, self.blocked, splits)
            places = _sum_places(part.nest, grid, row_tiles, slots(column_sums)) if column_sums else _NO_SUMS
            row_tiles += places.tiles
            params = _params(part, k, grid, self.out_size, places, self.tile, self.storage.zero)
            work = 2 * part.multiply_adds * self.storage.k_step
            found.setdefault(kind, []).append((params, work, places.tiles))
        made: list[KernelRun] = []
        for kind, alike in found.items():
            numbers = tuple(chain.from_iterable([own for own, _, _ in alike]))
            tiles, work = sum([own.tiles for own, _, _ in alike]), sum([work for _, work, _ in alike])
            summed, kernel = sum([rows for _, _, rows in alike]), self._kernel(kind, dtype)
            made.append(KernelRun(kernel, buffers, numbers, tiles, work, bool(made), epilogue=end, row_tiles=summed))
        return made

    def _kernel(self, kind: _Kind, dtype: str) -> ContractionKernel:
        tile, storage = self.tile, self.storage
        return ContractionKernel(
            a=storage.a,
            b=storage.b,
            c=dtype,
            rows=tile.rows,
            vectors=tile.vectors,
            lanes=tile.lanes,
            unroll=tile.unroll,
            product="amx" if tile.amx else PRODUCTS.get(storage.b, "plain"),
            b_panels="packed" if self.packed else "given",
            sums="blocked" if self.blocked else "registers",
            a_zero="n" if storage.zero else "0",
            epilogue=storage.epilogue,
            **kind._asdict(),
        )


class _Kind(NamedTuple):
    """The fields of the kernel that the nest of a part determines."""

    k_loops: int
    sum_steps: int
    a_form: AForm
    a_rows: Move
    a_steps: Move
    b_steps: PanelMove
    last_panel: LastPanel
    begin: Begin
    channels: Channels
    window: Window | None


def _kind(nest: ContractionLoops, way: _Cut) -> _Kind:
    tile, storage, row, step = way.tile, way.storage, nest.rows[-1], nest.k[-1]
    adjacent = row.a == 1 and row.extent % tile.rows == 0 and not tile.amx
    return _Kind(
        k_loops=_inner_loops(nest, way.blocked),
        sum_steps=0 if nest.image else _sum_steps(step, way),
        a_form="steps" if tile.folded else "columns" if nest.a_columns else "broadcast",
        a_rows="1" if adjacent else "n",
        a_steps="1" if step.a == 1 else "n",
        b_steps="panel" if step.b == tile.panel else "n",
        last_panel="part" if nest.columns % tile.panel else "whole",
        begin="result" if storage.accumulate or nest.adds else "zeros",
        channels="rows" if nest.channel_rows and storage.has_channels else "columns",
        window=nest.image.window if nest.image else None,
    )


def _sum_steps(loop: ContractionLoop, way: _Cut) -> int:
    """How many steps of the innermost k loop a partial sum has, so that a long sum keeps its digits. Sums of integers
    are exact."""
    b = way.storage.b
    if way.tile.amx or (b != PAIR and KINDS[b][1][0] == "i"):
        return 0
    steps = loop.extent // way.tile.lanes if way.tile.folded else loop.extent
    return SUM_STEPS if steps >= 2 * SUM_STEPS else 0


def _wide(dtype: str) -> str:
    return {"f32": "float32", "f64": "float64", "i32": "int32", "i64": "int64"}[KINDS[dtype][1]]


def _needs_blocks(part: _Part, tile: RegisterTile, storage: Storage) -> bool:
    """Whether k is cut into blocks, so that what the tile reads again for its next rows and panels is still in a cache.

    Columns of A (its rows lie side by side, k has a stride) use a few numbers of each cache line at a time, so they are
    blocked sooner.
    """
    if part.nest.image:
        return part.nest.image.window.by_weight
    if tile.folded:
        return part.k > FOLDED_BLOCK_K
    if part.nest.k[-1].a != 1 and part.k > 2 * BLOCK_K:
        return True
    return part.k * tile.panel * BITS[KINDS[storage.b][0]] // 8 > PANEL_BYTES


def _inner_loops(nest: ContractionLoops, blocked: bool) -> int:
    return max(1, len(nest.k) - _outer_loops(nest)) if blocked else len(nest.k)


def _outer_loops(nest: ContractionLoops) -> int:
    """How many k loops run around the blocks of the next one. If there are four, as many as leave a block few steps."""
    if nest.b_column:
        return 0
    steps = _block_steps(nest)
    return 2 if len(nest.k) > 3 and extent(nest.k[2:]) >= steps else 1


def _block_steps(nest: ContractionLoops) -> int:
    """Steps of k between two visits of C."""
    return FOLDED_BLOCK_K if nest.b_column else LONG_BLOCK_K if nest.k[-1].a == 1 else BLOCK_K


def _splits(main: _Part, parts: Sequence[_Part], tile: RegisterTile) -> int:
    """How many splits the sum over a blocked k is computed in, for enough launch tiles. It is the same for all parts,
    and no split of a part may be empty."""
    if main.nest.image:
        return _window_splits(main, main.nest.image, _wanted_tiles(main, tile))
    around = main.batch * -(-main.rows // BLOCK_ROWS)
    wanted = -(-min(_wanted_tiles(main, tile), SPLIT_TILES) // around)
    blocks = [_k_blocks(part.nest, _k_loops(part.nest, True))[1] for part in parts]
    splits = max(1, min(wanted, max(blocks) // (1 if tile.folded else SPLIT_BLOCKS)))
    while any((splits - 1) * -(-count // splits) >= count for count in blocks):
        splits -= 1
    return splits


def _window_splits(part: _Part, image: SlidingImage, wanted: int) -> int:
    """The number of splits by weight if a window slides: a power of two. All but the last have the same number of
    bands, and each reads much more than it writes."""
    images, lines = _lines(part.nest)
    bands = images * -(-lines // len(image.window.down.sees))
    if not bands:  # no images
        return 1
    most = min(wanted, SPLIT_TILES, bands, image.elements // (SPLIT_READS * part.rows * part.nest.columns))
    splits = 1 << max(1, most).bit_length() - 1
    return -(-bands // -(-bands // splits))


def _wanted_tiles(part: _Part, tile: RegisterTile) -> int:
    rows, columns = part.rows, packed_columns(part.nest.columns, tile.panel) * tile.panel
    loads = part.k * (rows * columns if part.nest.a_columns else rows + columns)
    loads = part.nest.image.elements if part.nest.image else loads
    work = part.batch * (2 * part.k * rows * columns + LOAD_WORK * loads)
    return max(1, min(MAX_TILES, work // TILE_WORK))


def _grid(part: _Part, tile: RegisterTile, k: _KLoops, blocked: bool, splits: int) -> _Grid:
    """Cut the work into launch tiles: by splits of k and blocks of rows; then, until there are enough, by groups of
    panels and with fewer rows."""
    nest, batch, rows = part[:3]
    panels = packed_columns(nest.columns, tile.panel)
    wanted = _wanted_tiles(part, tile)
    if nest.image:
        return _bands(nest, nest.image.window, panels, wanted, splits)
    step, most = tile.rows, BLOCK_ROWS
    if tile.amx:
        rows, step, most = _strips(part).all, tile.rows // AMX_SIDE, BLOCK_STRIPS
    k2_block, blocks = _k_blocks(nest, k) if blocked else (k[2].extent, 1)
    row_blocks = -(-rows // most)
    groups = min(panels, -(-wanted // (batch * row_blocks * splits)))
    if splits == 1 or tile.folded:
        row_blocks = max(row_blocks, min(-(-rows // step), -(-wanted // (batch * groups * splits))))
    panels_per_group = -(-panels // groups)
    rows_per_block = -(-rows // (row_blocks * step)) * step
    assert rows_per_block <= MAX_BLOCK_ROWS
    return _Grid(
        k2_block=k2_block,
        splits=splits,
        blocks_per_split=-(-blocks // splits),
        panels_per_group=panels_per_group,
        panel_groups=-(-panels // panels_per_group),
        rows_per_block=rows_per_block,
        row_blocks=-(-rows // rows_per_block),
    )


class _Strips(NamedTuple):
    """How the rows of a part are cut for AMX: rows of a strip, strips of the innermost row loop, and strips in all."""

    rows: int
    run: int
    all: int


def _strips(part: _Part) -> _Strips:
    run = part.nest.rows[-1].extent
    rows = -(-run // -(-run // AMX_SIDE))
    strips = -(-run // rows)
    return _Strips(rows, strips, part.rows // run * strips)


def _bands(nest: ContractionLoops, window: Window, panels: int, wanted: int, splits: int) -> _Grid:
    """Cut the lines of images into bands; only if these are very few, by groups of panels."""
    (images, lines), step = _lines(nest), len(window.down.sees)
    if window.by_weight:
        groups = max(1, min(panels // LEAST_PANELS, FEW_BANDS // splits))
        panels_per_group, bands = -(-panels // groups), -(-lines // step)
        return _Grid(step, splits, -(-images * bands // splits), panels_per_group, -(-panels // panels_per_group), 1, 1)
    bands = min(-(-lines // step), -(-wanted // images))
    lines_per_band = -(-lines // (bands * step)) * step
    bands = -(-lines // lines_per_band)
    groups = max(1, min(panels // LEAST_PANELS, min(wanted, FEW_BANDS) // (images * bands)))
    panels_per_group = -(-panels // groups)
    return _Grid(1, 1, 1, panels_per_group, -(-panels // panels_per_group), lines_per_band, images * bands)


def _lines(nest: ContractionLoops) -> tuple[int, int]:
    """The images, and the lines of each, that a window slides over."""
    assert nest.image
    images, lines, _ = nest.k if nest.image.window.by_weight else nest.rows
    return images.extent, lines.extent


def _k_blocks(nest: ContractionLoops, k: _KLoops) -> tuple[int, int]:
    """(turns of k2 in a block, blocks)."""
    *outer, k2, k3, k4 = k
    k2_block = max(1, min(k2.extent, _block_steps(nest) // max(1, extent((k3, k4)))))
    return k2_block, extent(outer) * -(-k2.extent // k2_block)


_KLoops = tuple[ContractionLoop, ContractionLoop, ContractionLoop, ContractionLoop, ContractionLoop]


def _k_loops(nest: ContractionLoops, blocked: bool) -> _KLoops:
    """k0 to k4: loops around blocks end with k1, others begin with it; those of a window are k2 and k3."""
    before = 1
    if nest.image:
        before = 4 - len(nest.k)
    elif blocked:
        before = 2 - min(_outer_loops(nest), len(nest.k) - 1)
    loops = [*[ONCE] * before, *nest.k, *[ONCE] * 4]
    k0, k1, k2, k3, k4 = loops[:5]
    return k0, k1, k2, k3, k4


class _SumPlaces(NamedTuple):
    """Where a launch puts sums over rows: see the parameters of the kernel with these names. `tiles`: how many tiles of
    rows it has."""

    offset: int = 0
    b0: int = 0
    b1: int = 0
    block: int = 0
    slot: int = 0
    tiles: int = 0


_NO_SUMS = _SumPlaces()


def _why_not_epilogue(
    parts: Sequence[_Part], epilogue: Epilogue, tile: RegisterTile, through_memory: bool
) -> str | None:
    """Why kernels of these parts cannot do an epilogue, or None.

    For sums over rows, the sums of a register tile must be available together, or come one by one for sums too, and the
    channels must be columns. `kernels.contraction.why_not_epilogue` decides it for each kernel.
    """
    if through_memory:
        return "sums are complete only in memory"
    if tile.folded:
        return "sums come one by one where lanes are folded"
    if not epilogue.sums:
        return None
    if epilogue.sources[0].dtype not in ("float32", "float64"):
        return "sums over rows are of floats"
    if epilogue.is_costly and not tile.amx:
        return "it is costly, so rows come one by one, and no sums over them can be taken"
    return "channels are rows" if any(part.nest.channel_rows for part in parts) else None


def _sum_places(nest: ContractionLoops, grid: _Grid, tiles_before: int, slots: int) -> _SumPlaces:
    """Batch loops along the channels, like those over the groups of a convolution, share a place; others are more rows."""
    b0, b1 = (ONCE, *nest.batch)[-2:]
    channels = nest.columns + sum((loop.extent - 1) * loop.channel for loop in nest.batch)
    place, tiles, steps = slots * channels, grid.row_blocks, []
    for loop in (b1, b0):
        steps.append(0 if loop.channel else place * tiles)
        tiles *= 1 if loop.channel else loop.extent
    return _SumPlaces(place * tiles_before, steps[1], steps[0], place, channels, tiles)


def _params(
    part: _Part, k: _KLoops, grid: _Grid, out_size: int, sums: _SumPlaces, tile: RegisterTile, zero: int
) -> PartParameters:
    nest = part.nest
    strips = _strips(part) if tile.amx else _Strips(0, 0, part.rows)
    b0, b1 = (ONCE, *nest.batch)[-2:]
    m0, m1, m2, m3 = (ONCE, ONCE, ONCE, *nest.rows)[-4:]
    k0, k1, k2, k3, k4 = k
    at_a, at_b, at_c = nest.offsets
    (height, width), (top, left) = (nest.image.size, nest.image.start) if nest.image else ((0, 0), (0, 0))
    return PartParameters(
        tiles=part.batch * grid.tiles, rows=strips.all, columns=nest.columns,
        m1=m1.extent, m2=m2.extent, m3=m3.extent, b1=b1.extent,
        k0=k0.extent, k1=k1.extent, k2=k2.extent, k3=k3.extent, k4=k4.extent,
        **grid._asdict(),
        a_offset=at_a, a_b0=b0.a, a_b1=b1.a, a_m0=m0.a, a_m1=m1.a, a_m2=m2.a, a_m3=m3.a,
        a_k0=k0.a, a_k1=k1.a, a_k2=k2.a, a_k3=k3.a, a_k4=k4.a,
        b_offset=at_b, b_b0=b0.b, b_b1=b1.b, b_panel=nest.b_panel, b_column=nest.b_column,
        b_k0=k0.b, b_k1=k1.b, b_k2=k2.b, b_k3=k3.b, b_k4=k4.b,
        c_offset=at_c, c_b0=b0.c, c_b1=b1.c, c_split=out_size,
        c_m0=m0.c, c_m1=m1.c, c_m2=m2.c, c_m3=m3.c,
        channel_b0=b0.channel, channel_b1=b1.channel,
        sum_offset=sums.offset, sum_b0=sums.b0, sum_b1=sums.b1,
        sum_block=sums.block, sum_slot=sums.slot,
        height=height, width=width, top=top, left=left,
        strip_rows=strips.rows, strips=strips.run, a_zero=zero,
    )  # fmt: skip
