"""Maps that multiply small matrices of elements by a fixed matrix on both sides, for all tiles of an image at once.

Each element of the small matrices is an access of its own, with its own start, so one kernel has all of them in registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import NamedTuple

from ..kernel import Access, AccessNumbers, Bound, Instr, Nest
from ..targets.epilogue import CHANNEL, ELEMENT, Epilogue
from ..targets.nest import NestSource, launch_parameters
from ..targets.storage import KINDS
from ..vector import BITS
from .contraction import Buffer, Launch
from .lower import COMPUTE

Matrix = tuple[tuple[float, ...], ...]

TILING_NUMBERS = 4
"""Parameters of a launch after those of its accesses."""


class Limit(NamedTuple):
    """0 <= offset + sum of coefficients * indices < limit, along these dims."""

    dims: tuple[int, ...]
    offset: int
    limit: int
    coefficients: tuple[int, ...]


class Element(NamedTuple):
    """One element of each small matrix: its strides along the loops of the map, in which buffer and where the first one is. Where a
    limit is passed it is 0, and not written.
    """

    strides: tuple[int, ...]
    buffer: str
    start: int
    limits: tuple[Limit, ...] = ()
    dtype: str = "float32"

    @property
    def access(self) -> Access:
        return _access(self.dtype, self.strides, tuple([limit.dims for limit in self.limits]))

    @property
    def numbers(self) -> AccessNumbers:
        return AccessNumbers(_moving(self.strides), tuple([(x.offset, x.limit, *x.coefficients) for x in self.limits]))

    @property
    def place(self) -> Buffer:
        return Buffer(self.buffer, self.start * BITS[KINDS[self.dtype][0]] // 8)


Grid = Sequence[Sequence[Element]]


@lru_cache(4096)
def _moving(strides: tuple[int, ...]) -> tuple[int, ...]:
    """The strides that are numbers of a launch."""
    *outer, last = strides
    return (*[stride for stride in outer if stride], *[last] * (last not in (0, 1)))


@lru_cache(4096)  # all elements of a grid have the same strides
def _access(dtype: str, strides: tuple[int, ...], limits: tuple[tuple[int, ...], ...]) -> Access:
    steps = tuple("0" if stride == 0 else "n" for stride in strides[:-1])
    last = str(strides[-1]) if strides[-1] in (0, 1) else "n"
    return Access(dtype, (*steps, last), tuple(Bound(dims) for dims in limits))


def turn(
    matrix: Matrix, sources: Grid, targets: Grid, extents: tuple[int, ...], epilogue: Epilogue | None = None
) -> Launch:
    """matrix @ sources @ matrix.T, and what an epilogue makes of it, to `targets`, for all indices below `extents`.

    The channels of an epilogue are the last dim.
    """
    elements = [x for grid in (sources, targets) for row in grid for x in row]
    if epilogue is not None:
        dtype = epilogue.dtype
        elements[len(matrix[0]) ** 2 :] = [x._replace(dtype=dtype) for row in targets for x in row]
        elements += _operands(epilogue, targets, len(extents))
    parameters = sum(source.is_parameter for source in epilogue.sources) if epilogue else 0
    source = _source(matrix, tuple(x.access for x in elements), parameters, len(extents), epilogue)
    numbers = [*(x.numbers for x in elements), *[AccessNumbers()] * parameters]
    params, tiles = launch_parameters(source.nest, extents, numbers)
    work = 4 * prod(extents) * len(elements)  # bytes, which are more than operations
    buffers = tuple(x.place for x in elements)
    return Launch(source, buffers, params, tiles, work, epilogue=epilogue, numbers_after=TILING_NUMBERS)


def _operands(epilogue: Epilogue, targets: Grid, dims: int) -> list[Element]:
    """What an epilogue reads from memory, source by source: one element, or one for each target."""
    found = []
    for source in epilogue.sources:
        if source.buffer is None:
            continue
        if source.along == ELEMENT:
            found += [x._replace(buffer=source.buffer, dtype=source.dtype) for row in targets for x in row]
        else:
            found.append(Element((*[0] * (dims - 1), int(source.along == CHANNEL)), source.buffer, 0, (), source.dtype))
    return found


@lru_cache(256)
def _source(
    matrix: Matrix, accesses: tuple[Access, ...], parameters: int, dims: int, epilogue: Epilogue | None
) -> NestSource:
    code, n, first = _Code(), len(matrix[0]), len(matrix[0]) ** 2
    grid = [[code("load", attr=i * n + j) for j in range(n)] for i in range(n)]
    values = [v for row in code.turned(matrix, grid) for v in row]
    if epilogue is None:
        for number, value in enumerate(values):
            code("store", value, attr=first + number)
    else:
        places = _places(epilogue, first + len(values), len(values), len(accesses))
        ends = [
            code.ended(epilogue, value, {s: p[i % len(p)] for s, p in places.items()}) for i, value in enumerate(values)
        ]
        for number, value in enumerate(ends):
            code("store", value, dtype=COMPUTE[epilogue.dtype], attr=first + number)
        kinds = [source.dtype for source in epilogue.sources if source.is_parameter]
        accesses = (*accesses, *(Access(f"param_{kind}", ("0",) * dims) for kind in kinds))
    return NestSource(Nest(dims, dims, dims - 1, accesses, tuple(code.instrs)))


def _places(epilogue: Epilogue, start: int, count: int, parameters: int) -> dict[int, Sequence[int]]:
    """The accesses of each source of an epilogue: from `start` on, those of the results' size `count` each, and its parameters."""
    found: dict[int, Sequence[int]] = {}
    for number, source in enumerate(epilogue.sources):
        if source.buffer is not None:
            size = count if source.along == ELEMENT else 1
            found[number], start = range(start, start + size), start + size
        elif source.is_parameter:
            found[number], parameters = [parameters], parameters + 1
    return found


class _Code:
    """Instructions of a map."""

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

    def turned(self, matrix: Matrix, grid: Sequence[Sequence[int]]) -> list[list[int]]:
        """matrix @ grid @ matrix.T."""
        left = [self._product(matrix, column) for column in zip(*grid, strict=True)]  # transposed
        return [self._product(matrix, row) for row in zip(*left, strict=True)]

    def _product(self, matrix: Matrix, vector: Sequence[int]) -> list[int]:
        return [self._combination(row, vector) for row in matrix]

    def _combination(self, factors: Sequence[float], values: Sequence[int]) -> int:
        """The sum of factors times values, those that are 1 first."""
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

    def ended(self, epilogue: Epilogue, value: int, places: dict[int, int]) -> int:
        """What an epilogue makes of a sum; places: the accesses of its sources."""
        numbers: list[int] = []
        for instr in epilogue.code:
            if instr.op != "load":
                args = [numbers[a] for a in instr.args]
                numbers.append(self(instr.op, *args, dtype=instr.dtype, attr=instr.attr))
                continue
            assert isinstance(instr.attr, int)
            is_sum = epilogue.sources[instr.attr].is_sum
            numbers.append(value if is_sum else self("load", dtype=instr.dtype, attr=places[instr.attr]))
        return numbers[epilogue.result]
