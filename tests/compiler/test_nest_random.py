"""Random nests against the interpreter: loops, lanes, layouts, broadcasting, bounds, dtypes and passes in all mixtures, and sums in parts."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from nest_harness import MACHINES, Code, Memory, Problem, bits_of, check, machine

EXTENTS = (1, 1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 70, 130)
DTYPES = (
    "float32",
    "float32",
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int32",
    "int64",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "bool",
)


def random_extents(random: np.random.Generator, rank: int) -> tuple[int, ...]:
    while True:
        extents = tuple(int(random.choice(EXTENTS)) for _ in range(rank))
        if prod(extents) <= 6000:
            return extents


def random_layout(
    random: np.random.Generator, extents: tuple[int, ...], dims: list[int], gaps: bool
) -> tuple[tuple[int, ...], int, int]:
    """Strides, origin and size of memory that is moved over along `dims`, in any order and direction."""
    strides, origin, step = [0] * len(extents), 0, 1 + int(gaps and random.random() < 0.3)
    order = list(random.permutation(dims)) if random.random() < 0.5 else list(reversed(dims))
    for d in order:
        strides[d] = step
        step *= extents[d]
        if gaps:
            step += int(random.integers(0, 3))
        if random.random() < 0.15:
            origin += strides[d] * (extents[d] - 1)
            strides[d] = -strides[d]
    return tuple(strides), origin, max(step, 1)


def random_input(random: np.random.Generator, extents: tuple[int, ...]) -> Memory:
    dims = [d for d in range(len(extents)) if random.random() < 0.8]
    strides, origin, size = random_layout(random, extents, dims, gaps=True)
    dtype = str(random.choice(DTYPES))
    values = random.integers(-99, 100, size) / (8 if "float" in dtype else 1)
    bounds = []
    for d in dims:
        if random.random() < 0.15:
            others = {e: int(random.integers(-1, 2)) for e in dims if e != d and random.random() < 0.3}
            coefficients = {d: int(random.choice([1, 1, 2, -1])), **others}
            limit, divisor = int(random.integers(1, extents[d] + 4)), int(random.choice([0, 0, 2, 3]))
            bounds.append((int(random.integers(-3, 3)), limit, coefficients, divisor))
    return Memory(
        dtype,
        bits_of(dtype, values),
        strides,
        origin,
        tuple(bounds),
        float(random.integers(0, 2 if dtype == "bool" else 3)),
    )


def random_output(random: np.random.Generator, extents: tuple[int, ...], dims: int, dtype: str) -> Memory:
    strides, origin, size = random_layout(random, extents, list(range(dims)), gaps=False)
    return Memory(dtype, bits_of(dtype, np.full(size, 77)), strides, origin)


def random_problem(seed: int) -> Problem:
    random = np.random.default_rng(seed)
    rank = int(random.integers(1, 5))
    extents = random_extents(random, rank)
    kept = int(random.integers(1, rank + 1))
    lane = int(random.choice([kept - 1, rank - 1, random.integers(rank)]))
    code, operands = Code(), [random_input(random, extents) for _ in range(int(random.integers(1, 4)))]
    values = []
    for i, operand in enumerate(operands):
        single = "float" in operand.dtype or random.random() < 0.5
        values.append(code.load(i, "float64" if operand.dtype == "float64" else "float32" if single else "int32"))

    def floating(value: int) -> int:
        return value if code.instrs[value].dtype == "float32" else code("cast", value)

    def pick() -> int:
        return floating(values[int(random.integers(len(values)))])

    for _ in range(int(random.integers(1, 6))):
        choice = random.random()
        if choice < 0.35:
            values.append(code(str(random.choice(["add", "sub", "max", "min"])), pick(), pick()))
        elif choice < 0.5:
            values.append(code(str(random.choice(["abs", "neg", "floor", "square", "tanh"])), pick()))
        elif choice < 0.6:
            values.append(code("select", code("lt", pick(), pick(), dtype="bool"), pick(), pick()))
        elif choice < 0.7:
            values.append(code("cast", code.index(int(random.integers(rank))), dtype="float32"))
        elif kept < rank:
            how = str(random.choice(["sum", "max", "min", "argmax"]))
            if how == "argmax":
                values.append(code.reduce(how, pick(), code.index(int(random.integers(kept, rank)))))
            else:
                # sums of many numbers of both signs would only test rounding
                values.append(code("mul", code.reduce(how, pick()), code.const(1 / 64 if how == "sum" else 1.0)))
    full, row = random_output(random, extents, rank, "float32"), random_output(random, extents, kept, "float64")
    stored = floating(values[-1])
    code.store(stored, len(operands))
    if kept < rank:
        code.store(code.reduce("max", stored), len(operands) + 1)
        return Problem(extents, kept, lane, [*operands, full, row], code, parts=random_parts(seed, kept, rank))
    return Problem(extents, kept, lane, [*operands, full], code)


def random_parts(seed: int, kept: int, rank: int) -> tuple[tuple[int, int], ...]:
    """Parts of sums over some reduced dims, of one level or two."""
    random, found = np.random.default_rng(seed), []
    for dim in range(kept, rank):
        sizes = sorted(int(n) for n in random.choice([1, 2, 3, 4, 6, 16, 40], random.integers(3), replace=False))
        found += [(dim, size) for size in sizes]
    return tuple(found)


def crossed(seed: int, edges: float) -> Problem:
    """A random map over operands that are contiguous along two of its dims, in turn; so many of them are not there everywhere."""
    random = np.random.default_rng(seed)
    rank = int(random.integers(2, 4))
    extents = random_extents(random, rank)
    lane, cross = (int(d) for d in random.permutation(rank)[:2])
    code, operands = Code(), []

    def operand(unit: int, dims: list[int], dtype: str) -> Memory:
        order = [d for d in random.permutation(dims) if d != unit] + [unit] * (unit in dims)
        strides, step = [0] * rank, 1
        for d in reversed(order):
            strides[d], step = step, step * extents[d]
        bounds = []
        if random.random() < edges:
            along = [int(d) for d in dims if random.random() < 0.6] or [unit]
            coefficients = {d: int(random.choice([1, 1, 2, -1])) for d in along}
            bounds.append((int(random.integers(-3, 3)), int(random.integers(1, extents[unit] + 4)), coefficients, 0))
        return Memory(dtype, bits_of(dtype, random.integers(0, 99, step)), tuple(strides), bounds=tuple(bounds))

    value = code.const(1.0)
    for number in range(int(random.integers(1, 4))):
        unit = int(random.choice([lane, cross]))
        dims = [d for d in range(rank) if d == unit or random.random() < 0.8]
        operands.append(operand(unit, dims, str(random.choice(DTYPES))))
        value = code("add", value, code("cast", code.load(number, "float64")))
    edges = 0.0
    operands.append(operand(int(random.choice([lane, cross])), list(range(rank)), "float32"))
    code.store(value, len(operands) - 1)
    return Problem(extents, rank, lane, operands, code, cross=cross)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("edges", [0.0, 0.7])
def test_random_nest_with_a_cross_dim(seed: int, edges: float, name: str) -> None:
    with machine(name) as target:
        check(crossed(seed, edges), target)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("seed", range(40))
def test_random_nest(seed: int, name: str) -> None:
    with machine(name) as target:
        check(random_problem(seed), target, tolerance=3e-5)
