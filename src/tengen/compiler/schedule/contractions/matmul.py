"""Matrix products as contractions: `Product`, and the ways to compute one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

from .launches import BLOCK_K, extent, merge, offer
from .problem import (
    FLOAT32,
    Axis,
    Bid,
    ContractionLoop,
    ContractionLoops,
    ContractionPlan,
    Offer,
    Relayout,
    Storage,
    Unit,
    Way,
    choose_way,
    contiguous,
    packed_columns,
)
from .register_tile import RegisterTile, choose, tile_of_words

MASKED_LANES = 16
"""Vectors of at least this many lanes (AVX-512) load under a mask at no cost; others read padded panels instead."""
COPY_WORK = 8
"""The multiply-adds that take as long as copying an element of A or B into another layout."""
COPY_START = 1 << 14
"""The multiply-adds that take as long as one more launch."""
PACK_ROWS = 8
PACK_SIZE = 1 << 14
"""B is packed into panels if C has at least PACK_ROWS rows and B at least PACK_SIZE elements."""


class Batch(NamedTuple):
    """One batch dimension of a matmul; stride 0 broadcasts."""

    extent: int
    a: int
    b: int


class Product(NamedTuple):
    """out[..., m, n] = a[..., m, k] @ b[..., k, n], as it is requested.

    a_strides: of (m, k); b_strides: of (k, n). The relayouts' sources have the dimensions (*batch, m, k) and (*batch,
    k, n), in that order, even if the operands change roles. may_transpose: whether out may be stored transposed.
    strides: what `out_strides` should be; they will be if the last or last but one of them is 1 and the loops allow it.
    """

    m: int
    k: int
    n: int
    a_strides: tuple[int, int]
    b_strides: tuple[int, int]
    unit: Unit
    batch: Sequence[Batch] = ()
    storage: Storage = FLOAT32
    may_transpose: bool = True
    strides: tuple[int, ...] | None = None

    @property
    def by_columns(self) -> bool:
        """Whether the elements of a column of the result should lie side by side."""
        return self.strides is not None and self.strides[-1] != 1 == self.strides[-2] and not self.storage.is_integer

    @property
    def multiply_adds(self) -> int:
        return self.m * self.k * self.n * prod([x.extent for x in self.batch])


def matmul(*request: Any, **more: Any) -> ContractionPlan:
    """The plan of a `Product` with these fields.

    >>> matmul(64, 400, 120, (400, 1), (120, 1), Unit(16, 32)).out_strides
    (120, 1)
    """
    return choose_way(WAYS, "matmul", Product(*request, **more))[1].plan()


def _given(p: Product) -> Bid | None:
    """As the operands are given. A b whose rows do not lie side by side is copied."""
    if p.by_columns:
        return None
    copied = p.n * p.k if p.b_strides[1] != 1 else 0

    def offered() -> Offer:
        return _matmul(p.m, p.k, p.n, p.a_strides, p.b_strides, p.unit, tuple(p.batch), p.storage, p.strides)

    return Bid(lambda: p.multiply_adds + COPY_WORK * copied, offered)


def _exchanged(p: Product) -> Bid | None:
    """As out.T = b.T @ a.T; `out_strides` then say that out is stored transposed. If few rows fill a vector,
    multiplying them by a transposed b (`x @ w.T`) this way saves the copy of b, and few rows that lie side by side stay
    that way.
    """
    lanes = p.unit.lanes_of(p.storage.out)
    may = p.may_transpose and not (p.storage.accumulate or p.storage.is_integer) and p.n > 1 and p.m >= lanes
    if not (may or p.by_columns):
        return None
    args = p.m, p.k, p.n, p.a_strides, p.b_strides, p.unit, lanes
    stays = p.strides is None and _stays_transposed(*args)
    return Bid(lambda: p.multiply_adds + COPY_WORK * (0 if stays else 2 * p.m * (p.n + p.k)), partial(_turned_round, p))


def _turned_round(p: Product) -> Offer:
    flipped = p.storage._replace(a=p.storage.b, b=p.storage.a)
    mirror = tuple(Batch(x.extent, x.b, x.a) for x in p.batch)
    wanted = (*p.strides[:-2], p.strides[-1], 1) if p.strides and p.by_columns else None
    strides = p.b_strides[::-1], p.a_strides[::-1]
    made = _matmul(p.n, p.k, p.m, *strides, p.unit, mirror, flipped, wanted, channel_rows=True)
    a, b = (relayout and _transposed_source(relayout, len(p.batch)) for relayout in (made.a, made.b))
    *outer, rows, columns = made.out_strides
    return made._replace(a=a, b=b, out_strides=(*outer, columns, rows)).turned()


WAYS = (Way("exchanged", ("matmul",), _exchanged), Way("given", ("matmul",), _given))


def _stays_transposed(
    m: int, k: int, n: int, a_strides: tuple[int, int], b_strides: tuple[int, int], unit: Unit, lanes: int
) -> bool:
    """Whether rows that lie side by side, as after a convolution whose images do, should stay that way. Then they need
    no copy, while b would need one or has fewer columns."""
    if a_strides[0] != 1 or a_strides[1] == 1 or (b_strides[1] == 1 and lanes <= n <= m):
        return False
    return not must_pack(n, k, m, a_strides[::-1], choose(n, m, lanes, unit.registers), unit)


def _matmul(
    m: int,
    k: int,
    n: int,
    a_strides: tuple[int, int],
    b_strides: tuple[int, int],
    unit: Unit,
    batch: tuple[Batch, ...],
    storage: Storage,
    strides: tuple[int, ...] | None = None,
    channel_rows: bool = False,
) -> Offer:
    out_shape = (*(x.extent for x in batch), m, n)
    out_strides = strides if strides and strides[-1] == 1 else contiguous(out_shape)
    a_relayout, b_relayout = None, None
    plain_a, plain_batch, given = a_strides, batch, storage
    if unit.takes_words(storage) and _words_pay(m, k, n, a_strides, b_strides, unit, batch, storage):
        storage = storage.in_words
        a_strides, batch, a_relayout = _words_of_a(m, k, a_strides, batch, unit, storage.k_step)
    step, a_k = storage.k_step, a_strides[1]
    turns = -(-k // step)
    loops = [ContractionLoop(x.extent, x.a, x.b, c) for x, c in zip(batch, out_strides, strict=False)]
    rows = [ContractionLoop(m, a=a_strides[0], c=out_strides[-2])]
    own = len(loops)
    may_merge = not (channel_rows and storage.has_channels)
    while may_merge and own and loops[own - 1].b == 0 and len(merge([*loops[own - 1 :], *rows])) <= 3:
        own -= 1  # a loop over which B does not change is a loop over more rows
    expand = len(merge(loops[:own])) > 2
    if expand and out_strides != contiguous(out_shape):  # loops over copies are few only if the result is row-major too
        return _matmul(m, k, n, plain_a, b_strides, unit, plain_batch, given, channel_rows=channel_rows)
    if expand:
        a_relayout = _copy_of_a(out_shape[:-1], k, step)
        loops = [loop._replace(a=move) for loop, move in zip(loops, contiguous(a_relayout.shape), strict=False)]
        rows, a_k = [ContractionLoop(m, a=turns, c=out_strides[-2])], 1
    else:
        rows, loops = [*loops[own:], *rows], loops[:own]
    run = None if a_k == 1 else extent(rows) if a_strides[0] == 1 else 1
    tile = choose(extent(rows), n, unit.lanes_of(storage.out), unit.registers, run)
    if step > 1:
        tile = tile_of_words(tile, n, unit.amx, storage.is_integer)
    b_panel, b_k = tile.panel, b_strides[0]
    if expand or step > 1 or must_pack(extent(rows), k, n, b_strides, tile, unit):
        kept = [expand or loop.b != 0 for loop in loops]
        looped = [loop.extent if keep else 1 for loop, keep in zip(loops, kept, strict=True)]
        b_relayout = pack_columns(looped, k, n, tile.panel, len(batch), step)
        moves = contiguous(b_relayout.shape)
        loops = [loop._replace(b=move if keep else 0) for loop, move, keep in zip(loops, moves, kept, strict=False)]
        b_panel, b_k = turns * tile.panel, tile.panel
    nest = ContractionLoops(
        tuple(loops), tuple(rows), n, (ContractionLoop(turns, a_k, b_k),), b_panel, channel_rows=channel_rows
    )
    layouts = a_relayout, b_relayout
    return offer([nest], tile, storage, b_relayout is not None, layouts, out_strides, prod(out_shape))


def _words_pay(
    m: int,
    k: int,
    n: int,
    a_strides: tuple[int, int],
    b_strides: tuple[int, int],
    unit: Unit,
    batch: tuple[Batch, ...],
    storage: Storage,
) -> bool:
    """Whether multiplying words, which takes half the time, saves more than the copies cost that only words need.

    A product on AMX takes almost no time, one of numbers that are widened one by one takes half as long again as one of
    pairs, and one of integers several times as long as one of words.
    """
    copies = []
    if not _a_has_words(m, k, a_strides, batch, storage.in_words.k_step):
        copies.append(m * k * prod(x.extent for x in batch if x.a))
    if not must_pack(m, k, n, b_strides, choose(m, n, unit.lanes_of(storage.out), unit.registers), unit):
        copies.append(k * n * prod(x.extent for x in batch if x.b))
    saved = m * n * k * prod(x.extent for x in batch) * (3 if unit.amx or storage.is_integer else 1) // 2
    return k > 1 and saved >= sum(COPY_START + COPY_WORK * size for size in copies)


def _a_has_words(m: int, k: int, a_strides: tuple[int, int], batch: Sequence[Batch], step: int) -> bool:
    """Whether A can be read as words of `step` steps of k."""
    moves = [x.a for x in batch if x.extent > 1] + [a_strides[0]] * (m > 1)
    return k % step == 0 and a_strides[1] == 1 and all(move % step == 0 for move in moves)


def _words_of_a(
    m: int, k: int, a_strides: tuple[int, int], batch: tuple[Batch, ...], unit: Unit, step: int
) -> tuple[tuple[int, int], tuple[Batch, ...], Relayout | None]:
    """The strides of A in words of `step` numbers, those of its batch, and the copy that has them if A cannot be read
    as words."""
    if _a_has_words(m, k, a_strides, batch, step):
        return (a_strides[0] // step, 1), tuple(x._replace(a=x.a // step) for x in batch), None
    rows = (*(x.extent if x.a else 1 for x in batch), m)
    # a longer k would be cut where it has a stride; AMX needs the pairs of a row side by side
    side_by_side = a_strides[0] == 1 and k <= 4 * BLOCK_K and not unit.amx
    copy = _copy_of_a(rows, k, step, side_by_side)
    *moves, row, depth = contiguous(copy.shape)
    if side_by_side:
        row, depth = depth, row
    return (row, depth), tuple(x._replace(a=move if x.a else 0) for x, move in zip(batch, moves, strict=True)), copy


def must_pack(
    rows: int, k: int, n: int, b_strides: tuple[int, int], tile: RegisterTile, unit: Unit, least: int = PACK_ROWS
) -> bool:
    """Whether B is copied into panels. With fewer than `least` rows, only if it must be.

    It must be if a row of B is not contiguous, or if its tail needs masked loads that the machine lacks. It should be
    if it is read so often that the copy pays off (the rows of a panel, if far apart, miss the caches).
    """
    if n > 1 and b_strides[1] != 1:
        return True
    if unit.lanes < MASKED_LANES and n % tile.panel:
        return True
    return rows >= least and n > tile.panel and k * n >= PACK_SIZE


def _copy_of_a(rows: tuple[int, ...], k: int, step: int, side_by_side: bool = False) -> Relayout:
    """A contiguous copy of a source of (*rows, k), with broadcast dimensions written out, in words of `step` numbers of
    k.

    side_by_side: the rows of the last dimension stay side by side in the copy, so that nothing is transposed.
    """
    last = len(rows)
    places = [*range(last), last]
    if side_by_side:
        places[-2:] = places[:-3:-1]
    shape = [*rows, -(-k // step)]
    shape = [shape[place] for place in places]
    axes = [
        Axis(i, size, _unit_vector(len(shape), place))
        for i, (size, place) in enumerate(zip(rows, places[:-1], strict=True))
    ]
    depth = Axis(last, k, _unit_vector(len(shape), places[-1], step))
    return Relayout(tuple(shape), (*axes, depth), last if step > 1 else None, step)


def pack_columns(batch: Sequence[int], k: int, n: int, panel: int, source_batch: int, step: int) -> Relayout:
    """[*batch, panels, k / step, panel] of a source of (*batch, k, n), in words of `step` numbers of k; columns beyond
    n are 0."""
    shape = (*batch, packed_columns(n, panel), -(-k // step), panel)
    rank = len(shape)
    axes = [Axis(i, extent, _unit_vector(rank, i)) for i, extent in enumerate(batch)]
    depth = Axis(source_batch, k, _unit_vector(rank, rank - 2, step))
    column = tuple([{rank - 3: panel, rank - 1: 1}.get(i, 0) for i in range(rank)])
    return Relayout(shape, (*axes, depth, Axis(source_batch + 1, n, column)), len(axes) if step > 1 else None, step)


def _unit_vector(rank: int, position: int, step: int = 1) -> tuple[int, ...]:
    return tuple([step * (i == position) for i in range(rank)])


def _transposed_source(relayout: Relayout, batch: int) -> Relayout:
    """The same physical buffer, from a source whose last two dimensions are exchanged."""
    exchange = {batch: batch + 1, batch + 1: batch}
    return relayout._replace(axes=tuple(axis._replace(dim=exchange.get(axis.dim, axis.dim)) for axis in relayout.axes))
