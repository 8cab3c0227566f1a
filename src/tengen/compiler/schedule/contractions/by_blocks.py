"""Sums of products on GPUs by tiles: a block of threads makes a tile of the result (`kernels/block_product.py`).

This says which loops are rows, columns and steps of k, which tile is best, and into how many parts k is cut. That
follows from extents and strides alone, so the order of a sum is the same on every GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from math import prod
from typing import NamedTuple

from ...kernels.block_product import BlockOperand, BlockProduct, BlockTile
from ...kernels.device import MOST_BLOCKS
from ...kernels.dtypes import BITS, COMPUTE, KINDS
from ...kernels.epilogue import ELEMENT, slots
from ...kernels.nest_threads import magic
from ...plan import ITEM_BYTES
from .by_threads import run_threads
from .device_loops import DeviceLoops, DeviceRequest, launches, layout
from .problem import Bid, Buffer, ContractionLoop, KernelRun, Offer, Storage, Unit, Way, contiguous

TILES = {
    "f32": (
        (BlockTile(128, 128, 16, 8, 8), 1.0),
        (BlockTile(64, 128, 16, 8, 8), 0.85),
        (BlockTile(128, 64, 16, 8, 8), 0.85),
        (BlockTile(64, 64, 16, 8, 4), 0.7),
        (BlockTile(32, 128, 16, 4, 8), 0.6),
        (BlockTile(128, 32, 16, 8, 4), 0.6),
        (BlockTile(32, 32, 16, 4, 4), 0.4),
    ),
    "f64": (
        (BlockTile(64, 64, 16, 4, 4), 1.0),
        (BlockTile(32, 32, 16, 4, 4), 0.6),
    ),
    "matrices": (
        (BlockTile(128, 128, 32, 16, 4), 4.0),
        (BlockTile(64, 128, 32, 16, 4), 3.4),
        (BlockTile(128, 64, 32, 16, 4), 3.4),
        (BlockTile(64, 64, 32, 8, 4), 2.8),
        (BlockTile(32, 32, 32, 8, 2), 1.6),
    ),
}
TILES |= {"i32": TILES["f32"], "i64": TILES["f64"]}
"""Tiles for sums of each kind, and how fast a multiprocessor is with blocks of each. A smaller one loads more from shared
memory for each product."""
STAGES = {"fma": 2, "matrices": 4}
"""Tiles of each operand that there is room for."""

ENOUGH = 1 << 16
"""Threads that keep a large GPU busy."""
LEAST_PART, LONGEST_PART, MOST_PARTS = 256, 4096, 256
"""Steps of k of a part: at least so that a block has more to do than to begin and to end, at most so that few numbers
are added in sequence."""
MOST_WORKSPACE = 1 << 26
"""Elements of all parts, unless more are needed to keep the GPU busy."""
BEGIN = 4
"""The turns along k that take as long as a block's begin and end."""
MOST = 1 << 31


class _Loop(NamedTuple):
    """A loop, and how far a step of it moves in A, B, C, the channels, and the coordinate of each edge."""

    extent: int
    a: int
    b: int
    c: int
    channel: int
    edges: tuple[int, ...]

    @property
    def moves(self) -> tuple[int, ...]:
        return self.a, self.b, self.c, self.channel, *self.edges


class _Loops(NamedTuple):
    """The loops of a launch by what they are, slowest first. exchanged: the columns are those of A."""

    batch: Sequence[_Loop]
    rows: Sequence[_Loop]
    columns: Sequence[_Loop]
    k: Sequence[_Loop]
    exchanged: bool

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        batch, rows, columns, k = (prod(loop.extent for loop in loops) for loops in self[:4])
        return batch, rows, columns, k


class _BlockCut(NamedTuple):
    """How factors are multiplied, the tile of a block, the steps of k of a part, and how many parts there are. work: in multiply-adds of the best
    tile. cost: that, if few blocks leave much of a GPU idle."""

    cost: float
    work: float
    product: str
    tile: BlockTile
    part: int
    parts: int


def _by_blocks(r: DeviceRequest) -> Bid | None:
    """By tiles, if there are sums that a thread computes alone, and what is counted fits 32 bits."""
    s = r.storage
    if len({COMPUTE[s.a], COMPUTE[s.b], COMPUTE[s.out]}) > 1 or COMPUTE[s.out] == "bool" or not prod(r.shape):
        return None
    strides = r.strides or layout(r)
    made = launches(r, strides)
    found = [_sorted(loops) for loops in made]
    if not all(map(_fits, found)) or not any(loops.sizes[3] for loops in found):
        return None
    return Bid(lambda: sum(_cut(r.unit, s, loops).work for loops in found), partial(_offered, r, strides, made, found))


WAYS = (Way("blocks", ("matmul", "forward", "by data", "by weight"), _by_blocks, on_gpus=True),)


def _offered(r: DeviceRequest, strides: Sequence[int], made: Sequence[DeviceLoops], found: Sequence[_Loops]) -> Offer:
    cuts = [_cut(r.unit, r.storage, loops) for loops in found]
    why_not = _why_not(r.storage, found, cuts)
    storage = r.storage._replace(epilogue=None) if why_not else r.storage
    end = storage.epilogue
    tiles = [_row_tiles(loops, cut) for loops, cut in zip(found, cuts, strict=True)] if end and end.sums else []
    places = [0]
    for loops, cut in zip(found, cuts, strict=True):
        places.append(places[-1] + cut.parts * prod(loops.sizes[:3]) if cut.parts > 1 else places[-1])

    def make() -> tuple[Sequence[KernelRun], int]:
        runs, size = [], ITEM_BYTES[COMPUTE[storage.out]]
        for i, (given, loops, cut) in enumerate(zip(made, found, cuts, strict=True)):
            if not loops.sizes[3]:
                runs.append(run_threads(r.unit, storage, given))
            elif cut.parts > 1:
                runs += _in_parts(r, storage, loops, given, cut, places[i])
            else:
                runs.append(_run(storage, loops, given, cut, ("out", given.offsets[2]), sum(tiles[:i])))
        return runs, places[-1] * size

    return Offer(None, None, tuple(strides), prod(r.shape), make, places[-1] > 0, why_not=why_not, row_tiles=sum(tiles))


def _why_not(storage: Storage, found: Sequence[_Loops], cuts: Sequence[_BlockCut]) -> str | None:
    """Why the kernels take no sums over rows, or None."""
    end = storage.epilogue
    if not (end and end.sums):
        return None
    if end.sources[0].dtype not in ("float32", "float64"):
        return "sums over rows are of floats"
    if any(cut.parts > 1 or not loops.sizes[3] for loops, cut in zip(found, cuts, strict=True)):
        return "sums are complete only in memory"
    if any(_channel_rows(loops) for loops in found):
        return "channels are rows"
    if any(loop.channel == 0 for loops in found for loop in loops.columns):
        return "several columns have the same channel"
    if slots(end.sums) > 8:
        return "there are more sums than a block has room for"
    return None


# -- loops -------------------------------------------------------------------------------------------------------------


def _sorted(given: DeviceLoops) -> _Loops:
    """What each loop is. Columns are what lies side by side in the result, so that threads write neighbours."""
    edges = [tuple([edge.coefficients[i] for edge in given.edges]) for i in range(len(given.all))]
    loops = [_Loop(*loop, moves) for loop, moves in zip(given.all, edges, strict=True)]
    kept, k = loops[: len(given.kept)], loops[len(given.kept) :]
    kept = [loop for loop in kept if loop.extent != 1]
    batch = [loop for loop in kept if loop.a and loop.b]
    columns = [loop for loop in kept if loop.b and not loop.a]
    rows = [loop for loop in kept if not loop.b]
    exchanged = any(abs(loop.c) == 1 for loop in rows) and not any(abs(loop.c) == 1 for loop in columns)
    k = sorted(k, key=lambda loop: abs(loop.a) == 1 and not any(loop.edges))
    if exchanged:
        rows, columns = columns, rows
    by_c = partial(sorted, key=lambda loop: -abs(loop.c))
    return _Loops(_merged(by_c(batch)), _merged(by_c(rows)), _merged(by_c(columns)), _merged(k), exchanged)


def _merged(loops: Iterable[_Loop]) -> list[_Loop]:
    """The loops without those of a single turn. Neighbours are joined if the outer one continues the inner one."""
    merged: list[_Loop] = []
    for loop in loops:
        if loop.extent == 1:
            continue
        if merged and merged[-1].moves == tuple([loop.extent * move for move in loop.moves]):
            merged[-1] = loop._replace(extent=merged[-1].extent * loop.extent)
        else:
            merged.append(loop)
    return merged


def _fits(loops: _Loops) -> bool:
    """Whether what is counted fits 32 bits."""
    batch, rows, columns, k = loops.sizes
    blocks = batch * -(-rows // 32) * -(-columns // 32)
    positions = max((abs(m) * loop.extent for side in loops[:4] for loop in side for m in loop.edges), default=0)
    return max(rows, columns, k, positions) < MOST // 2 and blocks * MOST_PARTS <= MOST_BLOCKS


def _channel_rows(loops: _Loops) -> bool:
    return any(loop.channel for loop in loops.rows)


# -- tiles -------------------------------------------------------------------------------------------------------------


def _cut(unit: Unit, storage: Storage, loops: _Loops) -> _BlockCut:
    """The best tile, and the parts of k."""
    assert unit.device is not None
    product = "fma"
    if storage.a == storage.b and storage.a in unit.device.matrices and (unit.tf32 or storage.a != "float32"):
        product = "matrices"
    batch, rows, columns, k = loops.sizes
    found = []
    tiles_of = "matrices" if product == "matrices" else KINDS[storage.out][1]
    for tile, speed in TILES[tiles_of]:
        if product == "matrices":
            tile = tile._replace(depth=tile.depth * 16 // BITS[KINDS[storage.a][0]])
        tiles = batch * -(-rows // tile.rows) * -(-columns // tile.columns)
        part, parts = _parts(k, tile, tiles, batch * rows * columns)
        busy = min(1.0, tiles * parts * tile.threads / ENOUGH)
        work = tiles * tile.rows * tile.columns * max(parts * part, BEGIN * tile.depth) / speed
        found.append(_BlockCut(work / busy, work, product, tile, part, parts))
    return min(found, key=lambda cut: cut.cost)


def _parts(k: int, tile: BlockTile, tiles: int, size: int) -> tuple[int, int]:
    """The steps of k of a part, and how many parts there are."""
    wanted = max(ENOUGH // (tiles * tile.threads), 1)
    wanted = min(wanted, k // LEAST_PART, MOST_PARTS)
    exact = min(-(-k // LONGEST_PART), MOST_WORKSPACE // max(size, 1), MOST_PARTS)
    parts = max(wanted, exact, 1)
    part = -(-k // (parts * tile.depth)) * tile.depth
    return part, max(-(-k // max(part, 1)), 1)


# -- kernels -----------------------------------------------------------------------------------------------------------


def _run(
    storage: Storage, loops: _Loops, given: DeviceLoops, cut: _BlockCut, out: Buffer, tiles_before: int = 0
) -> KernelRun:
    """The launch of a kernel that makes the result of these loops, in `out`."""
    kernel, end = _kernel(storage, loops, given, cut), storage.epilogue
    params = _params(kernel, storage, loops, given, cut, tiles_before)
    (a, b, c), (name, element) = given.offsets, out
    operands = [("a", a * ITEM_BYTES[storage.a]), ("b", b * ITEM_BYTES[storage.b])]
    buffers = [*operands[:: -1 if loops.exchanged else 1], (name, element * ITEM_BYTES[kernel.c])]
    for source in end.sources if end else ():
        if source.buffer:
            buffers.append((source.buffer, c * ITEM_BYTES[source.dtype] if source.along == ELEMENT else 0))
    tiles = 0
    if end and end.sums:
        buffers.append(("sums", 0))
        tiles = _row_tiles(loops, cut)
    grid, work = kernel.blocks((), params), 2 * prod(loops.sizes)
    return KernelRun(kernel, tuple(buffers), params, grid.grid[0], work, epilogue=end, row_tiles=tiles, blocks=grid)


def _kernel(storage: Storage, loops: _Loops, given: DeviceLoops, cut: _BlockCut) -> BlockProduct:
    dtypes = (storage.b, storage.a) if loops.exchanged else (storage.a, storage.b)
    of_a = 1 if loops.exchanged else 0
    sides = []
    for number, (dtype, own) in enumerate(zip(dtypes, (loops.rows, loops.columns), strict=True)):
        is_a = number == of_a
        along_k, width = _copies(dtype, is_a, own, loops, cut.product == "matrices")
        sides.append(
            BlockOperand(dtype, len(own), len(given.edges) if is_a else 0, along_k, width, is_a and storage.zero != 0)
        )
    end, sums = storage.epilogue, COMPUTE[storage.out]
    c = sums if cut.parts > 1 else end.dtype if end else storage.out
    (x, y), (batch, k), product = sides, (len(loops.batch), len(loops.k)), cut.product
    return BlockProduct(x, y, sums, c, batch, k, cut.tile, product, STAGES[product], end, _channel_rows(loops))


def _copies(dtype: str, is_a: bool, own: Sequence[_Loop], loops: _Loops, by_row: bool) -> tuple[bool, int]:
    """Whether neighbours among the threads copy neighbours along k, and how many elements a copy may have. by_row: such
    neighbours lie side by side in shared memory too."""

    def move(loop: _Loop) -> int:
        return loop.a if is_a else loop.b

    inner, step = (abs(move(each[-1])) if each else MOST for each in (own, loops.k))
    along_k = step < inner and loops.k[-1].extent > 4
    along, across = (loops.k, own) if along_k else (own, loops.k)
    width = 128 // BITS[KINDS[dtype][0]]
    if (along_k and not by_row) or not along or move(along[-1]) != 1 or any(along[-1].edges):
        return along_k, 1
    others = [move(loop) for loop in (*loops.batch, *along[:-1], *across)]
    parts = len(along) > 1 and along[-1].extent % width
    return along_k, 1 if parts or any(other % width for other in others) else width


def _row_tiles(loops: _Loops, cut: _BlockCut) -> int:
    """Parts of the rows that have sums of their own. Batch loops along the channels share them."""
    tiles = -(-loops.sizes[1] // cut.tile.rows)
    return tiles * prod(loop.extent for loop in loops.batch if not loop.channel)


def _params(
    kernel: BlockProduct, storage: Storage, loops: _Loops, given: DeviceLoops, cut: _BlockCut, tiles_before: int
) -> tuple[int, ...]:
    batch, rows, columns, k = loops.sizes
    tile = cut.tile
    row_blocks = -(-rows // tile.rows)
    numbers = {
        "rows": rows,
        "columns": columns,
        "k": k,
        "part": cut.part,
        "row_blocks": row_blocks,
        "column_blocks": -(-columns // tile.columns),
        "parts": cut.parts,
        "c_part": batch * rows * columns,
        "zero": storage.zero,
    }
    for e, edge in enumerate(given.edges):
        numbers |= {f"edge{e}_base": edge.offset, f"edge{e}_size": edge.limit}
    end = storage.epilogue
    if end and end.sums:
        channels = sum((loop.extent - 1) * loop.channel for loop in (*loops.batch, *loops.columns)) + 1
        place = slots(end.sums) * channels
        numbers |= {"sums_offset": place * tiles_before, "sums_block": place, "sums_slot": channels}
        below = row_blocks
        for i, loop in reversed(list(enumerate(loops.batch))):
            numbers[f"batch{i}_sums"] = 0 if loop.channel else place * below
            below *= 1 if loop.channel else loop.extent
    sides: tuple[Sequence[_Loop], ...] = (loops.batch, loops.rows, loops.columns, loops.k)
    for name, own in zip(("batch", "row", "column", "k"), sides, strict=True):
        for i, loop in enumerate(own):
            a, b = (loop.b, loop.a) if loops.exchanged else (loop.a, loop.b)
            numbers |= {f"{name}{i}_extent": loop.extent, f"{name}{i}_x": a, f"{name}{i}_y": b, f"{name}{i}_c": loop.c}
            numbers[f"{name}{i}_channel"] = loop.channel
            numbers[f"{name}{i}_magic"], numbers[f"{name}{i}_shift"] = magic(loop.extent)
            numbers |= {f"{name}{i}_edge{e}": move for e, move in enumerate(loop.edges)}
    names = kernel.numbers[len(end.numbers) if end else 0 :]
    return tuple([numbers.get(name, 0) for name in names])


def _in_parts(
    r: DeviceRequest, storage: Storage, loops: _Loops, given: DeviceLoops, cut: _BlockCut, start: int
) -> list[KernelRun]:
    """The launch that leaves the sums of all parts of k in a workspace, from this element on, and the one that adds them
    up and makes the result."""
    kept, size = [*loops.batch, *loops.rows, *loops.columns], prod(loops.sizes[:3])
    moves = contiguous([loop.extent for loop in kept])
    there = [loop._replace(c=move) for loop, move in zip(kept, moves, strict=True)]
    first, second = len(loops.batch), len(loops.batch) + len(loops.rows)
    loose = loops._replace(batch=there[:first], rows=there[first:second], columns=there[second:])
    run = _run(storage._replace(epilogue=None), loose, given, cut, ("workspace", start))
    read = [ContractionLoop(x.extent, move, c=x.c, channel=x.channel) for x, move in zip(kept, moves, strict=True)]
    parts = DeviceLoops(tuple(read), (ContractionLoop(cut.parts, size),), (start, 0, given.offsets[2]))
    return [run, run_threads(r.unit, storage._replace(a=COMPUTE[storage.out], zero=0), parts, ("workspace",))]
