"""Maps that multiply small matrices of elements by a fixed matrix on both sides, for all tiles of an image at once.

Each element of the small matrices is an access of its own, with its own start, so one kernel has all of them in
registers. The elements of a matrix share a buffer. `tile_sums` has maps that also sum up their results.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial, reduce
from math import prod
from typing import NamedTuple

from ...kernels.dtypes import BITS, COMPUTE, KINDS
from ...kernels.epilogue import CHANNEL, ELEMENT, Epilogue
from ...kernels.nest import Access, Bound, Instr, Nest
from ...kernels.nest_tiling import TILING_NAMES, NestSource
from ..contractions.problem import Buffer, KernelRun

Matrix = tuple[tuple[float, ...], ...]


Dims = tuple[int, ...]


class Limits(NamedTuple):
    """Conditions 0 <= offset + sum of coefficients * indices < limit: the dims of each, as in `Bound`, and its numbers
    in a launch (offset, limit, coefficients)."""

    bounds: tuple[Dims, ...] = ()
    numbers: tuple[int, ...] = ()


NO_LIMITS = Limits()


class Grid(NamedTuple):
    """The elements of each small matrix, row by row: their buffer, their strides along the loops of the map, and where
    the first of each is.

    Beyond a limit an element is 0 and is not written. bounds: the dims of the limits of each element; limits: their
    numbers.
    """

    strides: tuple[int, ...]
    buffer: str
    starts: Sequence[int]
    bounds: tuple[tuple[Dims, ...], ...]
    limits: Sequence[tuple[int, ...]]
    dtype: str = "float32"

    @property
    def place(self) -> Buffer:
        return self.buffer, self.starts[0] * BITS[KINDS[self.dtype][0]] // 8

    @property
    def numbers(self) -> list[int]:
        """The parameters of a launch that say where the elements are."""
        found = [*[stride for stride in self.strides if stride not in (0, 1)], *self.limits[0]]
        first = self.starts[0]
        for start, limits in zip(self.starts[1:], self.limits[1:], strict=True):
            found.append(start - first)
            found += limits
        return found

    @property
    def kind(self) -> Kind:
        """The part of this that a kernel knows at compile time."""
        return self.dtype, tuple(["01"[s] if s in (0, 1) else "n" for s in self.strides]), self.bounds

    def among(self, order: tuple[int, ...]) -> Grid:
        """These accesses in a map whose dims are these dims of the present one."""
        bounds = tuple([tuple([tuple(map(order.index, dims)) for dims in own]) for own in self.bounds])
        return self._replace(strides=tuple([self.strides[d] for d in order]), bounds=bounds)


Kind = tuple[str, tuple[str, ...], tuple[tuple[Dims, ...], ...]]


def unlimited(strides: tuple[int, ...], buffer: str, starts: Sequence[int], dtype: str = "float32") -> Grid:
    """Elements that all exist."""
    none = ((),) * len(starts)
    return Grid(strides, buffer, starts, none, none, dtype)


def limited(
    strides: tuple[int, ...],
    buffer: str,
    starts: Sequence[int],
    rows: Sequence[Limits],
    columns: Sequence[Limits],
    every: Limits = NO_LIMITS,
) -> Grid:
    """Elements with limits: those of their row, those of their column, and those of all."""
    bounds = tuple([row.bounds + column.bounds + every.bounds for row in rows for column in columns])
    numbers = [row.numbers + column.numbers + every.numbers for row in rows for column in columns]
    return Grid(strides, buffer, starts, bounds, numbers)


def turn(
    matrix: Matrix, sources: Grid, targets: Grid, extents: tuple[int, ...], epilogue: Epilogue | None = None
) -> KernelRun:
    """matrix @ sources @ matrix.T, with an epilogue applied, stored in `targets`, for all indices below `extents`.

    Several matrices of sources are added up. The channels of an epilogue are the last dim.
    """
    grids = [sources, targets] if epilogue is None else [sources, *ended(epilogue, targets)]
    source = _source(matrix, tuple([grid.kind for grid in grids]), len(extents), epilogue)
    return launch(source, grids, [], extents, epilogue)


def launch(
    source: NestSource,
    grids: Sequence[Grid],
    numbers: Sequence[int],
    extents: tuple[int, ...],
    epilogue: Epilogue | None,
) -> KernelRun:
    """The launch of a map over these elements. numbers: its parameters after theirs and before those of the epilogue."""
    places = [number for grid in grids for number in grid.numbers]
    params, tiles = source.split(extents, [*extents, *places, *numbers])
    buffers = tuple([grid.place for grid in grids])
    work = 4 * prod(extents) * sum(len(grid.starts) for grid in grids)  # bytes, which outweigh operations
    return KernelRun(
        source, buffers, params, tiles, work, epilogue=epilogue, numbers_at=len(params) - len(TILING_NAMES)
    )


def ended(epilogue: Epilogue, targets: Grid) -> list[Grid]:
    """Where the results of an epilogue go, and what it reads from memory, source by source: one element, or one for
    each target."""
    found = [targets._replace(dtype=epilogue.dtype)]
    for source in epilogue.sources:
        if source.buffer is None:
            continue
        if source.along == ELEMENT:
            found.append(targets._replace(buffer=source.buffer, dtype=source.dtype))
        else:
            strides = *[0] * (len(targets.strides) - 1), int(source.along == CHANNEL)
            found.append(unlimited(strides, source.buffer, (0,), source.dtype))
    return found


def accesses(kinds: Iterable[Kind]) -> list[Access]:
    """The accesses of grids, one for each element."""
    return [
        Access(dtype, steps, tuple(map(Bound, of)), shared=number > 0)
        for dtype, steps, bounds in kinds
        for number, of in enumerate(bounds)
    ]


def parameters(dtypes: Iterable[str], dims: int) -> list[Access]:
    """Accesses that are numbers of a launch."""
    return [Access(f"param_{dtype}", ("0",) * dims) for dtype in dtypes]


@lru_cache(256)
def _source(matrix: Matrix, kinds: tuple[Kind, ...], dims: int, epilogue: Epilogue | None) -> NestSource:
    found = accesses(kinds)
    code, n, first, dtype = Code(), len(matrix[0]), len(kinds[0][2]), "float32"
    values = [v for row in code.turned(matrix, code.summed(n, first)) for v in row]
    if epilogue is not None:
        where = places(epilogue, first + len(values), len(values), len(found))
        ends = [epilogue.emitted(code, v, {s: p[i % len(p)] for s, p in where.items()}) for i, v in enumerate(values)]
        values, dtype = [end[epilogue.result] for end in ends], COMPUTE[epilogue.dtype]
        found += parameters(epilogue.parameters, dims)
    for number, value in enumerate(values):
        code("store", value, dtype=dtype, attr=first + number)
    return NestSource(Nest(dims, dims, dims - 1, tuple(found), tuple(code.instrs)))


def places(epilogue: Epilogue, start: int, count: int, parameters: int) -> dict[int, Sequence[int]]:
    """The accesses of each source of an epilogue. Those of the results' size have `count` each, from `start` on; its
    parameters begin at `parameters`."""
    found: dict[int, Sequence[int]] = {}
    for number, source in enumerate(epilogue.sources):
        if source.buffer is not None:
            size = count if source.along == ELEMENT else 1
            found[number], start = range(start, start + size), start + size
        elif source.is_parameter:
            found[number], parameters = [parameters], parameters + 1
    return found


class Code:
    """Writes the instructions of a map."""

    def __init__(self) -> None:
        self.instrs: list[Instr] = []
        self._known: dict[tuple[Instr, str], int] = {}

    def __call__(self, op: str, *args: int, dtype: str = "float32", attr: object = None) -> int:
        instr = Instr(op, args, dtype, attr)
        key = (instr, repr(attr))  # 0.0 equals -0.0
        if op == "store" or key not in self._known:
            self.instrs.append(instr)
            self._known[key] = len(self.instrs) - 1
        return self._known[key]

    def loaded(self, n: int, start: int = 0) -> list[list[int]]:
        """n x n consecutive accesses, starting with this one."""
        return [[self("load", attr=start + i * n + j) for j in range(n)] for i in range(n)]

    def summed(self, n: int, count: int) -> list[list[int]]:
        """The sum of `count` grids of n x n accesses."""
        parts = [self.loaded(n, start) for start in range(0, count, n * n)]
        return [[reduce(partial(self, "add"), [part[i][j] for part in parts]) for j in range(n)] for i in range(n)]

    def turned(self, matrix: Matrix, grid: Sequence[Sequence[int]]) -> list[list[int]]:
        """matrix @ grid @ matrix.T."""
        left = [self._product(matrix, column) for column in zip(*grid, strict=True)]  # transposed
        return [self._product(matrix, row) for row in zip(*left, strict=True)]

    def _product(self, matrix: Matrix, vector: Sequence[int]) -> list[int]:
        return [self._combination(row, vector) for row in matrix]

    def _combination(self, factors: Sequence[float], values: Sequence[int]) -> int:
        """The sum of factors times values; those with factor 1 come first."""
        terms = sorted(((f, v) for f, v in zip(factors, values, strict=True) if f), key=lambda term: term[0] != 1)
        (factor, total), *rest = terms
        if factor != 1:
            total = self("mul", total, self("const", attr=factor))
        for factor, value in rest:
            total = self._added(total, factor, value)
        return total

    def _added(self, total: int, factor: float, value: int) -> int:
        if abs(factor) == 1:
            return self("add" if factor == 1 else "sub", total, value)
        return self("fma", value, self("const", attr=factor), total)
