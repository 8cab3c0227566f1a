"""Sums of products as contraction kernels: which layouts, tiles and launches compute them.

A `Contraction` is pure description: what layout each operand must have (a `Relayout` that the caller materialises, or
fuses with what produces the operand), the launches to run in order, and how the result lies in memory. Sizes of tiles,
blocks of k and the number of splits follow from the problem alone, so results do not depend on the number of threads.

Here are the parts that all problems share and `matmul`; `schedule/convolution.py` has the three forms of a convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from ..targets.contraction import MAX_BLOCK_ROWS, PARAMETERS, ContractionKernel, SumKernel
from ..targets.storage import KINDS
from ..vector import BITS
from .register_tile import RegisterTile, choose

BLOCK_ROWS = 240
"""Rows of C in one launch tile, at most; a multiple of most tiles' rows."""
PANEL_BYTES = 3 << 19
"""A panel of B (all of k) up to this size stays in the level-2 cache while rows pass, so k is not blocked."""
LONG_BLOCK_K = 1024
"""Steps of k between two visits of C where a panel would be larger; visits cost more than a B in the level-2 cache."""
BLOCK_K = 256
"""The same where k has a stride in A: a register tile uses a part of each line of A, and the next rows use the rest."""
TILE_WORK = 1 << 22
"""Floating-point operations that are worth one launch tile (tens of microseconds)."""
LOAD_WORK = 32
"""Operations that take as long as reading an element of A or B from memory."""
MAX_TILES = 64
"""Launch tiles wanted at most: enough to balance many threads."""
MASKED_LANES = 16
"""Vectors of at least so many lanes (AVX-512) load under a mask at no cost; others read padded panels instead."""
PACK_ROWS = 64
PACK_SIZE = 1 << 14
"""B is packed into panels where C has at least PACK_ROWS rows and B at least PACK_SIZE elements."""
SPLIT_TILES = 16
"""A blocked k is split until there are this many launch tiles, if there is work for them."""
SPLIT_BLOCKS = 4
"""Blocks of k in one split, at least: each split writes and reads a result."""


@dataclass(frozen=True)
class Unit:
    """The vector unit that kernels are planned for: 32-bit lanes of a vector and number of vector registers."""

    lanes: int
    registers: int

    def lanes_of(self, dtype: str) -> int:
        """Lanes of a vector in the kind of arithmetic that `dtype` is computed in."""
        return self.lanes * 32 // BITS[KINDS[dtype][1]]


@dataclass(frozen=True)
class Axis:
    """A coordinate of the source as a function of the physical index.

    position = offset + sum(coefficients[i] * index[i]). It counts only where 0 <= position < limit, and moves dimension
    `dim` of the source by `scale * position`. Several axes may share a `dim` (a dimension that is seen as two).
    """

    dim: int
    limit: int
    coefficients: tuple[int, ...]
    offset: int = 0
    scale: int = 1


@dataclass(frozen=True)
class Relayout:
    """An operand's physical buffer, C-contiguous of `shape`.

    Each element is one of the source, or 0 where an axis is out of range.
    """

    shape: tuple[int, ...]
    axes: tuple[Axis, ...]

    @property
    def size(self) -> int:
        return prod(self.shape)

    def pads(self, axis: Axis) -> bool:
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
        if any(self.pads(axis) for axis in self.axes) or self.offset(source_strides):
            return False
        moves = zip(self.shape, self.strides(source_strides), contiguous(self.shape), strict=True)
        return all(extent == 1 or move == stride for extent, move, stride in moves)


@dataclass(frozen=True)
class Launch:
    """One kernel run.

    buffers: what the kernel is given, in order, by name: a, b, bias, workspace, out. work: floating-point operations.
    """

    kernel: ContractionKernel | SumKernel
    buffers: tuple[str, ...]
    params: tuple[int, ...]
    tiles: int
    work: int


@dataclass(frozen=True)
class Contraction:
    """How to compute one sum of products.

    a, b: the layouts that the operands must have; None: used as they are, with the strides that the problem was given.
    out_strides: of the result's logical dimensions in a buffer of `out_size` elements. workspace: bytes of scratch
    memory.
    """

    a: Relayout | None
    b: Relayout | None
    out_strides: tuple[int, ...]
    out_size: int
    launches: tuple[Launch, ...]
    workspace: int = 0

    @property
    def work(self) -> int:
        return sum(launch.work for launch in self.launches)


@dataclass(frozen=True)
class Loop:
    """One loop and how far a step of it moves in A, B, C and the bias (elements)."""

    extent: int
    a: int = 0
    b: int = 0
    c: int = 0
    bias: int = 0


@dataclass(frozen=True)
class Nest:
    """A contraction over physical buffers: its loops, slowest first.

    Once merged, there are at most two batch, three row and three k loops. b_panel: elements from one panel of B to the
    next. offsets: of A, B and C.
    """

    batch: tuple[Loop, ...]
    rows: tuple[Loop, ...]
    columns: int
    k: tuple[Loop, ...]
    b_panel: int
    offsets: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class Storage:
    """Storage dtypes of the operands, and what the kernel does besides: add to C, start from a bias."""

    a: str = "float32"
    b: str = "float32"
    out: str = "float32"
    bias: str | None = None
    accumulate: bool = False


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
        if outer and all(getattr(outer, x) == loop.extent * getattr(loop, x) for x in ("a", "b", "c", "bias")):
            merged[-1] = replace(loop, extent=outer.extent * loop.extent)
        else:
            merged.append(loop)
    return tuple(merged) or (Loop(1),)


def extent(loops: Sequence[Loop]) -> int:
    return prod(loop.extent for loop in loops)


def packed_columns(n: int, panel: int) -> int:
    """Panels that n columns take."""
    return -(-n // panel)


# -- from a nest to launches -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Grid:
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
    nest: Nest, tile: RegisterTile, storage: Storage, packed: bool, out_size: int, whole: bool = True
) -> tuple[tuple[Launch, ...], int]:
    """The launches that compute `nest` with this register tile, and the bytes of workspace they need.

    packed: B is packed into panels. whole: the nest writes all of the result's `out_size` elements, so the sum may go
    through a workspace.
    """
    nest = replace(nest, batch=merge(nest.batch), rows=merge(nest.rows), k=_merge_k(nest.k))
    if len(nest.batch) > 2 or len(nest.rows) > 3 or len(nest.k) > 3:
        raise ValueError(f"a contraction has at most 2 batch, 3 row and 3 k loops, got {nest}")
    if not (extent(nest.batch) and extent(nest.rows) and nest.columns):
        return (), 0
    narrow = KINDS[storage.out][0] != KINDS[storage.out][1]
    may_use_workspace = whole and not storage.accumulate
    blocked = _needs_blocks(nest, tile, storage) and (may_use_workspace or not narrow)
    grid = _grid(nest, tile, blocked, may_use_workspace)
    through_workspace = grid.splits > 1 or (blocked and narrow)
    kernel = ContractionKernel(
        a=storage.a,
        b=storage.b,
        c=_wide(storage.out) if through_workspace else storage.out,
        rows=tile.rows,
        vectors=tile.vectors,
        lanes=tile.lanes,
        unroll=tile.unroll,
        k_loops=_inner_loops(nest, blocked),
        blocked=blocked,
        accumulate=storage.accumulate,
        bias=storage.bias,
        a_unit=nest.k[-1].a == 1,
        a_adjacent=nest.rows[-1].a == 1 and nest.rows[-1].extent % tile.rows == 0,
        packed=packed,
        masked=nest.columns % tile.panel != 0,
    )
    work = 2 * extent(nest.batch) * extent(nest.rows) * nest.columns * extent(nest.k)
    result = "workspace" if through_workspace else "out"
    buffers = ("a", "b", result, *(("bias",) if storage.bias else ()))
    tiles = extent(nest.batch) * grid.tiles
    launch = Launch(kernel, buffers, _params(nest, tile, grid, blocked, out_size), tiles, work)
    if not through_workspace:
        return (launch,), 0
    total = SumKernel(_wide(storage.out), storage.out, tile.lanes)
    sum_tiles = -(-out_size // SumKernel.TILE)
    adding = Launch(total, ("workspace", "out"), (out_size, grid.splits), sum_tiles, grid.splits * out_size)
    return (launch, adding), grid.splits * out_size * BITS[KINDS[storage.out][1]] // 8


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
    if nest.k[-1].a != 1 and k > 2 * BLOCK_K:
        return True
    return k * tile.panel * BITS[KINDS[storage.b][0]] // 8 > PANEL_BYTES


def _inner_loops(nest: Nest, blocked: bool) -> int:
    return max(1, len(nest.k) - 1) if blocked else len(nest.k)


def _grid(nest: Nest, tile: RegisterTile, blocked: bool, may_split: bool) -> _Grid:
    """Cut the work into launch tiles: by blocks of rows; then, until there are enough, by splits of k, groups of
    panels, and fewer rows."""
    rows, batch, k = extent(nest.rows), extent(nest.batch), extent(nest.k)
    panels = packed_columns(nest.columns, tile.panel)
    columns = panels * tile.panel
    work = batch * k * (2 * rows * columns + LOAD_WORK * (rows + columns))
    wanted = max(1, min(MAX_TILES, work // TILE_WORK))
    row_blocks = -(-rows // BLOCK_ROWS)
    wanted_splits = -(-min(wanted, SPLIT_TILES) // (batch * row_blocks)) if may_split else 1
    k1_block, splits, blocks_per_split = _k_cuts(nest, wanted_splits, blocked)
    groups = min(panels, -(-wanted // (batch * row_blocks * splits)))
    if splits == 1:
        row_blocks = max(row_blocks, min(-(-rows // tile.rows), -(-wanted // (batch * groups))))
    panels_per_group = -(-panels // groups)
    rows_per_block = -(-rows // (row_blocks * tile.rows)) * tile.rows
    assert rows_per_block <= MAX_BLOCK_ROWS
    return _Grid(
        k1_block=k1_block,
        splits=splits,
        blocks_per_split=blocks_per_split,
        panels_per_group=panels_per_group,
        panel_groups=-(-panels // panels_per_group),
        rows_per_block=rows_per_block,
        row_blocks=-(-rows // rows_per_block),
    )


def _k_cuts(nest: Nest, wanted_splits: int, blocked: bool) -> tuple[int, int, int]:
    """(turns of k1 in a block, splits, blocks in a split)."""
    k0, k1, *inner = _k_loops(nest, blocked)
    if not blocked:
        return k1.extent, 1, 1
    steps = LONG_BLOCK_K if nest.k[-1].a == 1 else BLOCK_K
    k1_block = max(1, min(k1.extent, steps // extent(inner)))
    blocks = k0.extent * -(-k1.extent // k1_block)
    splits = max(1, min(wanted_splits, blocks // SPLIT_BLOCKS))
    blocks_per_split = -(-blocks // splits)
    return k1_block, -(-blocks // blocks_per_split), blocks_per_split


def _k_loops(nest: Nest, blocked: bool) -> tuple[Loop, Loop, Loop, Loop]:
    """k0 to k3; k0 is only used by blocked kernels, and the last used one is the innermost."""
    loops = nest.k if blocked and len(nest.k) > 1 else (Loop(1), *nest.k)
    filled = (*loops, *[Loop(1)] * (4 - len(loops)))
    return filled[0], filled[1], filled[2], filled[3]


def _params(nest: Nest, tile: RegisterTile, grid: _Grid, blocked: bool, out_size: int) -> tuple[int, ...]:
    b0, b1 = (Loop(1), *nest.batch)[-2:]
    m = (Loop(1), Loop(1), *nest.rows)[-3:]
    k = _k_loops(nest, blocked)
    numbers = {
        "rows": extent(nest.rows),
        "m1": m[1].extent,
        "m2": m[2].extent,
        "columns": nest.columns,
        "b1": b1.extent,
        "b_panel": nest.b_panel,
        "c_split": out_size,
        **{name: getattr(grid, name) for name in grid.__dataclass_fields__},
        **{f"{x}_offset": offset for x, offset in zip("abc", nest.offsets, strict=True)},
        **{f"k{i}": loop.extent for i, loop in enumerate(k)},
        **{f"{x}_b{i}": getattr(loop, x) for i, loop in enumerate((b0, b1)) for x in ("a", "b", "c", "bias")},
        **{f"{x}_m{i}": getattr(loop, x) for i, loop in enumerate(m) for x in "ac"},
        **{f"{x}_k{i}": getattr(loop, x) for i, loop in enumerate(k) for x in "ab"},
    }
    return tuple(numbers[name] for name in PARAMETERS)


# -- matrix products ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """One batch dimension of a matmul; stride 0 broadcasts."""

    extent: int
    a: int
    b: int


def matmul(
    m: int,
    k: int,
    n: int,
    a_strides: tuple[int, int],
    b_strides: tuple[int, int],
    unit: Unit,
    batch: Sequence[Batch] = (),
    storage: Storage = FLOAT32,
    may_transpose: bool = True,
) -> Contraction:
    """out[..., m, n] = a[..., m, k] @ b[..., k, n].

    a_strides: of (m, k); b_strides: of (k, n). The relayouts' sources have the dimensions (*batch, m, k) and (*batch,
    k, n), in that order, also where the operands change roles: with `may_transpose`, few rows times a transposed b (`x
    @ w.T`) is computed as out.T = b.T @ a.T, which spares the copy of b; then `out_strides` says that out is stored
    transposed.

        >>> matmul(64, 400, 120, (400, 1), (120, 1), Unit(16, 32)).out_strides
        (120, 1)
    """
    batch = tuple(batch)
    if may_transpose and n > 1 and b_strides[1] != 1 and not storage.bias and 2 * m * (n + k) <= n * k:
        flipped = replace(storage, a=storage.b, b=storage.a)
        mirror = tuple(Batch(x.extent, x.b, x.a) for x in batch)
        turned = matmul(n, k, m, b_strides[::-1], a_strides[::-1], unit, mirror, flipped, may_transpose=False)
        a, b = (relayout and _transposed_source(relayout, len(batch)) for relayout in (turned.b, turned.a))
        exchange = {"a": "b", "b": "a"}
        strides = (*turned.out_strides[:-2], turned.out_strides[-1], turned.out_strides[-2])
        launches = [replace(x, buffers=tuple(exchange.get(name, name) for name in x.buffers)) for x in turned.launches]
        return replace(turned, a=a, b=b, out_strides=strides, launches=tuple(launches))
    return _matmul(m, k, n, a_strides, b_strides, unit, batch, storage)


def _matmul(
    m: int,
    k: int,
    n: int,
    a_strides: tuple[int, int],
    b_strides: tuple[int, int],
    unit: Unit,
    batch: tuple[Batch, ...],
    storage: Storage,
) -> Contraction:
    out_shape = (*(x.extent for x in batch), m, n)
    out_strides = contiguous(out_shape)
    loops = [Loop(x.extent, x.a, x.b, c) for x, c in zip(batch, out_strides, strict=False)]
    rows = [Loop(m, a=a_strides[0], c=n)]
    own, a_relayout, b_relayout, a_k = len(loops), None, None, a_strides[1]
    while own and loops[own - 1].b == 0 and len(merge([*loops[own - 1 :], *rows])) <= 3:
        own -= 1  # a loop over which B does not change is a loop over more rows
    expand = len(merge(loops[:own])) > 2
    if expand:
        a_relayout = _copy_of_a(out_shape[:-1], k)
        loops = [replace(loop, a=step) for loop, step in zip(loops, contiguous(a_relayout.shape), strict=False)]
        rows, a_k = [Loop(m, a=k, c=n)], 1
    else:
        rows, loops = [*loops[own:], *rows], loops[:own]
    run = None if a_k == 1 else extent(rows) if a_strides[0] == 1 else 1
    tile = choose(extent(rows), n, unit.lanes_of(storage.out), unit.registers, run)
    b_panel, b_k = tile.panel, b_strides[0]
    if expand or must_pack(extent(rows), k, n, b_strides, tile, unit):
        kept = [expand or loop.b != 0 for loop in loops]
        looped = [loop.extent if keep else 1 for loop, keep in zip(loops, kept, strict=True)]
        b_relayout = pack_columns(looped, k, n, tile.panel, len(batch))
        steps = contiguous(b_relayout.shape)
        loops = [replace(loop, b=step if keep else 0) for loop, step, keep in zip(loops, steps, kept, strict=False)]
        b_panel, b_k = k * tile.panel, tile.panel
    nest = Nest(tuple(loops), tuple(rows), n, (Loop(k, a_k, b_k),), b_panel)
    out_size = prod(out_shape)
    launches, workspace = plan(nest, tile, storage, b_relayout is not None, out_size)
    return Contraction(a_relayout, b_relayout, out_strides, out_size, launches, workspace)


def must_pack(rows: int, k: int, n: int, b_strides: tuple[int, int], tile: RegisterTile, unit: Unit) -> bool:
    """Whether B is copied into panels.

    It is where a row of B is not contiguous, where its tail needs masked loads that the machine lacks, and where it
    is read so often that the copy pays for itself (the rows of a panel, if far apart, miss the caches).
    """
    if n > 1 and b_strides[1] != 1:
        return True
    if unit.lanes < MASKED_LANES and n % tile.panel:
        return True
    return rows >= PACK_ROWS and n > tile.panel and k * n >= PACK_SIZE


def _copy_of_a(rows: tuple[int, ...], k: int) -> Relayout:
    """A contiguous copy of a source of (*rows, k), broadcast dimensions written out."""
    shape = (*rows, k)
    return Relayout(shape, tuple(Axis(i, size, _unit_vector(len(shape), i)) for i, size in enumerate(shape)))


def pack_columns(batch: Sequence[int], k: int, n: int, panel: int, source_batch: int) -> Relayout:
    """[*batch, panels, k, panel] of a source of (*batch, k, n); columns past n are 0."""
    shape = (*batch, packed_columns(n, panel), k, panel)
    rank = len(shape)
    axes = [Axis(i, extent, _unit_vector(rank, i)) for i, extent in enumerate(batch)]
    axes.append(Axis(source_batch, k, _unit_vector(rank, rank - 2)))
    column = tuple({rank - 3: panel, rank - 1: 1}.get(i, 0) for i in range(rank))
    return Relayout(shape, (*axes, Axis(source_batch + 1, n, column)))


def _unit_vector(rank: int, position: int) -> tuple[int, ...]:
    return tuple(int(i == position) for i in range(rank))


def _transposed_source(relayout: Relayout, batch: int) -> Relayout:
    """The same physical buffer from a source whose last two dimensions are exchanged."""
    exchange = {batch: batch + 1, batch + 1: batch}
    return replace(relayout, axes=tuple(replace(axis, dim=exchange.get(axis.dim, axis.dim)) for axis in relayout.axes))
