"""Maps that multiply small matrices of elements by a fixed matrix on both sides, for all tiles of an image at once.

Each element of the small matrices is an access of its own, with its own start, so one kernel has all of them in registers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    def among(self, order: tuple[int, ...]) -> Element:
        """The same in a map whose dims are these of this one."""
        limits = tuple([x._replace(dims=tuple([order.index(d) for d in x.dims])) for x in self.limits])
        return self._replace(strides=tuple([self.strides[d] for d in order]), limits=limits)

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
    return tuple([stride for stride in strides if stride not in (0, 1)])


@lru_cache(4096)  # all elements of a grid have the same strides
def _access(dtype: str, strides: tuple[int, ...], limits: tuple[tuple[int, ...], ...]) -> Access:
    steps = tuple(str(stride) if stride in (0, 1) else "n" for stride in strides)
    return Access(dtype, steps, tuple(Bound(dims) for dims in limits))


def turn(
    matrix: Matrix, sources: Grid, targets: Grid, extents: tuple[int, ...], epilogue: Epilogue | None = None
) -> Launch:
    """matrix @ sources @ matrix.T, and what an epilogue makes of it, to `targets`, for all indices below `extents`.

    The channels of an epilogue are the last dim.
    """
    if epilogue is not None:
        targets = stored(epilogue, targets)
    elements = [x for grid in (sources, targets) for row in grid for x in row]
    if epilogue is not None:
        elements += operands(epilogue, targets, len(extents))
    parameters = parameters_of(epilogue) if epilogue else ()
    accesses = *(x.access for x in elements), *(Access(f"param_{kind}", ("0",) * len(extents)) for kind in parameters)
    source = _source(matrix, accesses, len(elements), len(extents), epilogue)
    return launch(source, elements, [AccessNumbers()] * len(parameters), extents, epilogue)


def launch(
    source: NestSource,
    elements: Sequence[Element],
    parameters: Sequence[AccessNumbers],
    extents: tuple[int, ...],
    epilogue: Epilogue | None,
) -> Launch:
    """One of a map over these elements, with these parameters after them."""
    params, tiles = launch_parameters(source.nest, extents, [*(x.numbers for x in elements), *parameters])
    work = 4 * prod(extents) * len(elements)  # bytes, which are more than operations
    buffers = tuple(x.place for x in elements)
    return Launch(source, buffers, params, tiles, work, epilogue=epilogue, numbers_after=TILING_NUMBERS)


def stored(epilogue: Epilogue, targets: Grid) -> Grid:
    """Targets as an epilogue stores to them."""
    return [[x._replace(dtype=epilogue.dtype) for x in row] for row in targets]


def parameters_of(epilogue: Epilogue) -> tuple[str, ...]:
    """The dtypes of the numbers that an epilogue reads, whose accesses come last."""
    return tuple(source.dtype for source in epilogue.sources if source.is_parameter)


def operands(epilogue: Epilogue, targets: Grid, dims: int) -> list[Element]:
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
    code, n, first = Code(), len(matrix[0]), len(matrix[0]) ** 2
    values = [v for row in code.turned(matrix, code.loaded(n)) for v in row]
    if epilogue is not None:
        where = places(epilogue, first + len(values), len(values), parameters)
        ends = [code.ended(epilogue, v, {s: p[i % len(p)] for s, p in where.items()}) for i, v in enumerate(values)]
        values = [end[epilogue.result] for end in ends]
    kind = COMPUTE[epilogue.dtype] if epilogue else "float32"
    for number, value in enumerate(values):
        code("store", value, dtype=kind, attr=first + number)
    return NestSource(Nest(dims, dims, dims - 1, accesses, tuple(code.instrs)))


def places(epilogue: Epilogue, start: int, count: int, parameters: int) -> dict[int, Sequence[int]]:
    """The accesses of each source of an epilogue: from `start` on, those of the results' size `count` each; its parameters from
    `parameters` on."""
    found: dict[int, Sequence[int]] = {}
    for number, source in enumerate(epilogue.sources):
        if source.buffer is not None:
            size = count if source.along == ELEMENT else 1
            found[number], start = range(start, start + size), start + size
        elif source.is_parameter:
            found[number], parameters = [parameters], parameters + 1
    return found


class Code:
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

    def loaded(self, n: int, start: int = 0) -> list[list[int]]:
        """n x n accesses, from this one on."""
        return [[self("load", attr=start + i * n + j) for j in range(n)] for i in range(n)]

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

    def ended(self, epilogue: Epilogue, value: int, places: Mapping[int, int]) -> list[int]:
        """The values of an epilogue's code for one sum; places: the accesses of its sources."""
        numbers: list[int] = []
        for instr in epilogue.code:
            if instr.op != "load":
                args = [numbers[a] for a in instr.args]
                numbers.append(self(instr.op, *args, dtype=instr.dtype, attr=instr.attr))
                continue
            assert isinstance(instr.attr, int)
            is_sum = epilogue.sources[instr.attr].is_sum
            numbers.append(value if is_sum else self("load", dtype=instr.dtype, attr=places[instr.attr]))
        return numbers
