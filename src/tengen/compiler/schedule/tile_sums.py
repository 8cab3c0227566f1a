"""Maps of `tile_maps` that also take the sums over rows that an epilogue is asked for (`targets/column_sums.py`).

A row of tiles is one part of the rows: the map goes along it before it goes to the next channels, and what it sums up is a
reduction. Squares are taken of distances from a value in the middle of the row, which zeros around the image do not reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import NamedTuple

from ..kernel import Access, AccessNumbers, Nest
from ..targets.column_sums import slots
from ..targets.epilogue import ELEMENT, Epilogue
from ..targets.nest import NestSource
from .contraction import Launch
from .lower import COMPUTE
from .tile_maps import Code, Element, Grid, Limit, Matrix, launch, operands, parameters_of, places, stored

ORDER = 0, 1, 3, 2
"""Of the dims (images, rows of tiles, tiles, channels) in the kernel, which reduces over the tiles."""
ROW, TILE = 1, 3
"""Where rows of tiles, and tiles, are then."""


class RowSums(NamedTuple):
    """Where the sums of a map go: the number of its first row of tiles, and how many an image has."""

    first: int
    rows: int


class _Ends(NamedTuple):
    """Which rows, and which columns, of the results in a tile are not there in all tiles."""

    rows: tuple[bool, ...]
    columns: tuple[bool, ...]


def turn_and_sum(
    matrix: Matrix, sources: Grid, targets: Grid, extents: tuple[int, ...], epilogue: Epilogue, place: RowSums
) -> Launch:
    """What `turn` does over (images, rows of tiles, tiles, channels), and the sums that the epilogue is asked for."""
    targets, (images, rows, tiles, channels) = stored(epilogue, targets), extents
    size = slots(epilogue.sums) * channels
    begin, strides = place.first * size, (place.rows * size, size, 0, 1)
    elements = [
        *(x for grid in (sources, targets) for row in grid for x in row),
        *operands(epilogue, targets, 4),
        *(_of_tile(tiles // 2, x) for x in [*_for_first(matrix, sources), *operands(epilogue, [targets[0][:1]], 4)]),
        *(Element(strides, "sums", begin + at) for at in range(0, size, channels)),
    ]
    elements = [x.among(ORDER) for x in elements]
    limits = [_limit(row[0], 1) for row in targets], [_limit(x, 2) for x in targets[0]]
    numbers = [*(_count(x) for some in limits for x in some if x), sum(_count(x) if x else tiles for x in limits[1])]
    given = parameters_of(epilogue)
    kinds = *["int64"] * len(numbers), *given
    accesses = *(x.access for x in elements), *(Access(f"param_{kind}", ("0",) * 4) for kind in kinds)
    ends = _Ends(*[tuple(x is not None for x in some) for some in limits])
    parameters = *[AccessNumbers((x,)) for x in numbers], *[AccessNumbers()] * len(given)
    source = _source(matrix, accesses, len(elements), ends, epilogue)
    made = launch(source, elements, parameters, (images, rows, channels, tiles), epilogue)
    return made._replace(row_tiles=images * rows)


def _for_first(matrix: Matrix, sources: Grid) -> list[Element]:
    """Of each small matrix, what its first result needs; that one is there in all tiles."""
    needed = [i for i, factor in enumerate(matrix[0]) if factor]
    return [sources[i][j] for i in needed for j in needed]


def _of_tile(number: int, x: Element) -> Element:
    """The same of one tile of each row."""
    images, rows, tiles, channels = x.strides
    return x._replace(strides=(images, rows, 0, channels), start=x.start + number * tiles)


def _limit(x: Element, dim: int) -> Limit | None:
    """What leaves out this element of the last tiles along a dim."""
    return next((limit for limit in x.limits if limit.dims == (dim,)), None)


def _count(x: Limit) -> int:
    """How many tiles along the dim have the element."""
    return -((x.offset - x.limit) // x.coefficients[0])


@lru_cache(256)
def _source(
    matrix: Matrix, accesses: tuple[Access, ...], parameters: int, ends: _Ends, epilogue: Epilogue
) -> NestSource:
    code, n, m = Code(), len(matrix[0]), len(matrix)
    *limits, width = (parameters + i for i in range(sum(map(sum, ends)) + 1))
    where = places(epilogue, n * n + m * m, m * m, width + 1)
    values = [
        code.ended(epilogue, value, {s: p[i % len(p)] for s, p in where.items()})
        for i, value in enumerate(v for row in code.turned(matrix, code.loaded(n)) for v in row)
    ]
    at = n * n + m * m + sum(m * m if x.along == ELEMENT else 1 for x in epilogue.sources if x.buffer)
    first = tuple(factor for factor in matrix[0] if factor)
    ((begun,),) = code.turned((first,), code.loaded(len(first), at))
    of_shift = places(epilogue, at + len(first) ** 2, 1, width + 1)
    shifts = code.ended(epilogue, begun, {s: p[0] for s, p in of_shift.items()})
    for number, numbers in enumerate(values):
        code("store", numbers[epilogue.result], dtype=COMPUTE[epilogue.dtype], attr=n * n + number)
    masks = _masks(code, ends, limits)
    sums = _sums(code, epilogue, values, shifts, [_both(code, r, c) for r in masks.rows for c in masks.columns])
    if any(x.shifted for x in epilogue.sums):
        sums.append(_counted(code, masks.rows, width))
    for slot, total in enumerate(sums):
        code("store", total, attr=parameters - len(sums) + slot)
    return NestSource(Nest(4, 3, ORDER.index(3), accesses, tuple(code.instrs)))


class _Masks(NamedTuple):
    """Whether rows and columns of the results in a tile are there; None: always."""

    rows: Sequence[int | None]
    columns: Sequence[int | None]


def _masks(code: Code, ends: _Ends, limits: Sequence[int]) -> _Masks:
    """limits: the accesses that tell how many tiles have them."""
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
    """All slots but that of the count. values: of the epilogue's code, for each result of a tile; shifts: for one of the row."""
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
        shift = shifts[x.value]
        distances = existing([code("sub", n, shift) for n in some])
        found += [shift, total(distances), total([code("mul", d, d) for d in distances])]
    return found


def _counted(code: Code, rows: Sequence[int | None], width: int) -> int:
    """How many results a row of tiles has. width: the access that tells how many one of its rows has."""
    zero, columns = code("const", dtype="int64", attr=0), code("load", dtype="int64", attr=width)
    counts = [columns if mask is None else code("select", mask, columns, zero, dtype="int64") for mask in rows]
    return code("cast", reduce(lambda a, b: code("add", a, b, dtype="int64"), counts))
