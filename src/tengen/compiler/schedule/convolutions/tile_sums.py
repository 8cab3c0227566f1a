"""Maps of `tile_maps` that also take the sums over rows that an epilogue wants (`targets/contractions/column_sums.py`).

A row of tiles is one part of the rows. The map goes along it before it goes to the next channels, and its sums are
reductions. Squares are of distances from a value in the middle of the row, which the zeros around the image do not
reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import NamedTuple

from ...kernels.dtypes import COMPUTE
from ...kernels.epilogue import ELEMENT, Epilogue, slots
from ...kernels.nest import Nest
from ...kernels.nest_tiling import NestSource
from ..contractions.problem import KernelRun
from .tile_maps import Code, Grid, Kind, Matrix, accesses, ended, launch, parameters, places, unlimited

ORDER = 0, 1, 3, 2
"""The dims (images, rows of tiles, tiles, channels) in the order of the kernel, which reduces over the tiles."""
ROW, TILE = 1, 3
"""The positions of rows of tiles and of tiles in that order."""


class RowSums(NamedTuple):
    """Where the sums of a map go: the number of its first row of tiles, and the rows of an image."""

    first: int
    rows: int


class _Ends(NamedTuple):
    """The rows, and the columns, of the results in a tile that do not exist in all tiles."""

    rows: tuple[bool, ...]
    columns: tuple[bool, ...]


def turn_and_sum(
    matrix: Matrix, sources: Grid, targets: Grid, extents: tuple[int, ...], epilogue: Epilogue, place: RowSums
) -> KernelRun:
    """`turn` over (images, rows of tiles, tiles, channels), and the sums that the epilogue wants."""
    images, rows, tiles, channels = extents
    size, m, middle = slots(epilogue.sums) * channels, len(matrix), tiles // 2
    first = _some(targets, [0])
    begin, strides = place.first * size, (place.rows * size, size, 0, 1)
    grids = [
        sources,
        *ended(epilogue, targets),
        _of_tile(middle, _some(sources, _needed_first(matrix))),
        *(_of_tile(middle, grid) for grid in ended(epilogue, first)[1:]),
        unlimited(strides, "sums", range(begin, begin + size, channels)),
    ]
    grids = [grid.among(ORDER) for grid in grids]
    counts = [_count(targets, i * m, 1) for i in range(m)], [_count(targets, j, 2) for j in range(m)]
    numbers = [
        *(n for some in counts for n in some if n is not None),
        sum(tiles if n is None else n for n in counts[1]),
    ]
    ends = _Ends(*[tuple(n is not None for n in some) for some in counts])
    source = _source(matrix, tuple([grid.kind for grid in grids]), ends, epilogue)
    made = launch(source, grids, numbers, (images, rows, channels, tiles), epilogue)
    return made._replace(row_tiles=images * rows)


def _some(grid: Grid, numbers: Sequence[int]) -> Grid:
    """The elements of a grid that exist in all tiles."""
    assert not any(grid.bounds[i] for i in numbers)
    return unlimited(grid.strides, grid.buffer, [grid.starts[i] for i in numbers], grid.dtype)


def _needed_first(matrix: Matrix) -> list[int]:
    """The numbers of the elements that the first result of a small matrix needs."""
    needed, n = [i for i, factor in enumerate(matrix[0]) if factor], len(matrix[0])
    return [i * n + j for i in needed for j in needed]


def _of_tile(number: int, grid: Grid) -> Grid:
    """These elements of one tile of each row."""
    images, rows, tiles, channels = grid.strides
    starts = [start + number * tiles for start in grid.starts]
    return grid._replace(strides=(images, rows, 0, channels), starts=starts)


def _count(grid: Grid, number: int, dim: int) -> int | None:
    """How many tiles along a dim have an element; None: all."""
    rest = iter(grid.limits[number])
    for dims in grid.bounds[number]:
        offset, limit, *coefficients = (next(rest) for _ in range(2 + len(dims)))
        if dims == (dim,):
            return -((offset - limit) // coefficients[0])
    return None


@lru_cache(256)
def _source(matrix: Matrix, kinds: tuple[Kind, ...], ends: _Ends, epilogue: Epilogue) -> NestSource:
    code, n, m, found = Code(), len(matrix[0]), len(matrix), accesses(kinds)
    *limits, width = range(len(found), len(found) + sum(map(sum, ends)) + 1)
    where = places(epilogue, n * n + m * m, m * m, width + 1)
    values = [
        epilogue.emitted(code, value, {s: p[i % len(p)] for s, p in where.items()})
        for i, value in enumerate(v for row in code.turned(matrix, code.loaded(n)) for v in row)
    ]
    at = n * n + m * m + sum(m * m if x.along == ELEMENT else 1 for x in epilogue.sources if x.buffer)
    first = tuple(factor for factor in matrix[0] if factor)
    ((begun,),) = code.turned((first,), code.loaded(len(first), at))
    of_shift = places(epilogue, at + len(first) ** 2, 1, width + 1)
    shifts = epilogue.emitted(code, begun, {s: p[0] for s, p in of_shift.items()})
    for number, numbers in enumerate(values):
        code("store", numbers[epilogue.result], dtype=COMPUTE[epilogue.dtype], attr=n * n + number)
    masks = _masks(code, ends, limits)
    sums = _sums(code, epilogue, values, shifts, [_both(code, r, c) for r in masks.rows for c in masks.columns])
    if any(x.shifted for x in epilogue.sums):
        sums.append(_counted(code, masks.rows, width))
    for slot, total in enumerate(sums):
        code("store", total, attr=len(found) - len(sums) + slot)
    found += parameters(("int64",) * (len(limits) + 1) + epilogue.parameters, 4)
    return NestSource(Nest(4, 3, ORDER.index(3), tuple(found), tuple(code.instrs)))


class _Masks(NamedTuple):
    """Whether the rows and columns of the results in a tile exist; None: always."""

    rows: Sequence[int | None]
    columns: Sequence[int | None]


def _masks(code: Code, ends: _Ends, limits: Sequence[int]) -> _Masks:
    """limits: the accesses that say how many tiles have them."""
    rest = iter(limits)

    def there(dim: int) -> int:
        count = code("load", dtype="int64", attr=next(rest))
        return code("lt", code("index", dtype="int64", attr=dim), count, dtype="bool")

    rows = [there(ROW) if end else None for end in ends.rows]
    return _Masks(rows, [there(TILE) if end else None for end in ends.columns])


def _both(code: Code, a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else code("and", a, b, dtype="bool")


def _sums(
    code: Code,
    epilogue: Epilogue,
    values: Sequence[Sequence[int]],
    shifts: Sequence[int],
    masks: Sequence[int | None],
) -> list[int]:
    """All slots but the count. values: those of the epilogue's code for each result of a tile. shifts: those of one
    result of the row."""
    zero, found = code("const", attr=0.0), []

    def total(numbers: Sequence[int]) -> int:
        return code("reduce", reduce(lambda a, b: code("add", a, b), numbers), attr="sum")

    def existing(numbers: Sequence[int]) -> list[int]:
        return [n if mask is None else code("select", mask, n, zero) for n, mask in zip(numbers, masks, strict=True)]

    for x in epilogue.sums:
        some = [numbers[x.value] for numbers in values]
        if not x.shifted:
            found.append(total(existing(some)))
            continue
        shift = _finite(code, shifts[x.value], zero)
        distances = existing([code("sub", n, shift) for n in some])
        found += [shift, total(distances), total([code("mul", d, d) for d in distances])]
    return found


def _finite(code: Code, number: int, zero: int) -> int:
    """A number, or 0 if it is infinite or nan: distances from such a shift would all be nan."""
    nothing = code("sub", number, number)
    return code("select", code("eq", nothing, zero, dtype="bool"), number, zero)


def _counted(code: Code, rows: Sequence[int | None], width: int) -> int:
    """How many results a row of tiles has. width: the access that says how many results one of its rows has."""
    zero, columns = code("const", dtype="int64", attr=0), code("load", dtype="int64", attr=width)
    counts = [columns if mask is None else code("select", mask, columns, zero, dtype="int64") for mask in rows]
    return code("cast", reduce(lambda a, b: code("add", a, b, dtype="int64"), counts))
