"""Reductions: accumulators, how a value joins one, and how the lanes of an accumulator become one number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any

from llvmlite import ir

from ...kernels.dtypes import BITS
from ...kernels.nest import Instr
from ..vector import Vec, constant, is_float, llvm_type

Accumulator = tuple[Vec, ...]
"""One vector; for argmax and argmin the extreme values and their indices."""


def _identity(monoid: str, kind: str) -> float | int | bool:
    """The neutral number of a monoid, which is also the reduction of nothing."""
    if monoid in ("sum", "any", "linear"):
        return 0
    if monoid in ("prod", "all"):
        return 1
    low = monoid in ("max", "max_number", "argmax")
    if is_float(kind):
        return float("-inf") if low else float("inf")
    return -(1 << BITS[kind] - 1) if low else (1 << BITS[kind] - 1) - 1


def identity(builder: ir.IRBuilder, instr: Instr, kinds: tuple[str, ...], lanes: int) -> Accumulator:
    """The initial accumulator of a `reduce`; `kinds` are those of its arguments."""
    numbers = [_identity(str(instr.attr), kinds[0]), (1 << 63) - 1]
    return tuple(Vec(builder, constant(n, k, lanes), k, lanes) for n, k in zip(numbers, kinds, strict=False))


class Folds:
    """Reductions side by side. Loops carry their accumulators flat, one after the other. The number of lanes follows
    from their types."""

    def __init__(self, builder: ir.IRBuilder, folds: Sequence[tuple[Instr, tuple[str, ...]]]):
        """folds: each reduction with the kinds of its arguments."""
        self.builder, self.folds = builder, folds

    def begin(self, lanes: int) -> list[ir.Value]:
        """The carried values before anything is folded."""
        return flat([identity(self.builder, instr, kinds, lanes) for instr, kinds in self.folds])

    def apart(self, carry: Sequence[ir.Value]) -> list[Accumulator]:
        """The accumulators among the carried values."""
        return [accumulator for _, accumulator in self._pairs(carry)]

    def anew(self, carry: Sequence[ir.Value]) -> list[ir.Value]:
        """Initial accumulators with the lanes of these carried values."""
        return flat([identity(self.builder, i, tuple(v.kind for v in a), a[0].lanes) for i, a in self._pairs(carry)])

    def joined(self, before: Sequence[ir.Value], after: Sequence[ir.Value]) -> list[ir.Value]:
        """The carried values of both, where `before` stands for the elements that come first."""
        pairs = zip(self._pairs(before), self.apart(after), strict=True)
        return flat([combine(str(instr.attr), a, b) for (instr, a), b in pairs])

    def _pairs(self, carry: Sequence[ir.Value]) -> Iterator[tuple[Instr, Accumulator]]:
        rest = list(carry)
        for instr, kinds in cycle(self.folds) if rest else ():
            values, rest = rest[: len(kinds)], rest[len(kinds) :]
            yield instr, tuple(_vector(self.builder, v, kind) for v, kind in zip(values, kinds, strict=True))
            if not rest:
                return


def flat(accumulators: Sequence[Accumulator]) -> list[ir.Value]:
    """The values of accumulators, one after the other."""
    return [v.value for accumulator in accumulators for v in accumulator]


def _vector(builder: ir.IRBuilder, value: ir.Value, kind: str) -> Vec:
    return Vec(builder, value, kind, value.type.count if isinstance(value.type, ir.VectorType) else 1)


def combine(monoid: str, a: Accumulator, b: Accumulator) -> Accumulator:
    """The accumulator of both, where `a` stands for the elements that come first."""
    if monoid.startswith("arg"):
        return _combine_indexed(monoid, a, b)
    x, y = a[0], b[0]
    if monoid == "sum":
        return (x + y,)
    if monoid == "prod":
        return (x * y,)
    if monoid == "any":
        return (x | y,)
    if monoid == "all":
        return (x & y,)
    if monoid == "max_number":
        return ((y > x).where(y, x),)  # x is never nan: it began as -inf
    return (x.maximum(y) if monoid == "max" else x.minimum(y),)


def _combine_indexed(monoid: str, a: Accumulator, b: Accumulator) -> Accumulator:
    """A nan beats every number; among equal values the lower index wins, in whatever order they come."""
    (x, i), (y, j) = a, b
    better = y > x if monoid == "argmax" else y < x
    equal = x.eq(y)
    if is_float(x.kind):
        x_nan, y_nan = x.is_nan(), y.is_nan()
        better, equal = better | (y_nan & ~x_nan), equal | (x_nan & y_nan)
    better = better | (equal & (j < i))
    return better.where(y, x), better.where(j, i)


def across(monoid: str, accumulator: Accumulator, lanes: int) -> Accumulator:
    """Fold the upper half onto the lower one until `lanes` lanes are left: a fixed tree."""
    v = accumulator[0]
    if monoid in ("max", "min") and is_float(v.kind) and lanes == 1 < v.lanes:
        return (_extreme(monoid, v),)
    while accumulator[0].lanes > lanes:
        half = accumulator[0].lanes // 2
        accumulator = combine(
            monoid,
            tuple(_part(v, 0, half) for v in accumulator),
            tuple(_part(v, half, half) for v in accumulator),
        )
    return accumulator


def _extreme(monoid: str, v: Vec) -> Vec:
    """The extreme of all lanes, which is nan if any lane is. That is tested apart from the tree, whose steps wait for
    each other."""
    tree = v
    while tree.lanes > 1:
        half = tree.lanes // 2
        a, b = _part(tree, 0, half), _part(tree, half, half)
        tree = (a > b if monoid == "max" else a < b).where(a, b)
    return Vec(v.builder, v.is_nan().any(), "bool", 1).where(math.nan, tree)


Maps = tuple[Vec | None, Vec | None]
"""What the elements so far do to the value before them: multiply it by the first and add the second."""


def maps(monoid: str, args: Sequence[Vec]) -> Maps:
    """The map of each lane of a scan."""
    if monoid == "linear":
        return args[0], args[1]
    return (None, args[0]) if monoid == "sum" else (args[0], None)


def follow(before: Vec, maps: Maps, fma: bool) -> Vec:
    """The value of a scan after `before`."""
    factor, term = maps
    if factor is None or term is None:
        return before + term if term is not None else before * factor
    return factor.fma(before, term) if fma and is_float(term.kind) else factor * before + term


def neutral_behind(mask: Vec, maps: Maps) -> Maps:
    """Maps that change nothing in the lanes that are not set."""
    factor, term = maps
    return factor and mask.where(factor, 1), term and mask.where(term, 0)


def prefixes(maps: Maps, fma: bool) -> Maps:
    """Each lane's map after those of the lanes before it: a tree with as many steps as the number of lanes has bits."""
    factor, term = maps
    some = term if factor is None else factor
    assert some is not None
    # -0.0 changes no sum. Where 0.0 moves in, LLVM expands vectors, which takes some CPUs eight times as long.
    nothing = -0.0 if is_float(some.kind) else 0
    distance = 1
    while distance < some.lanes:
        term = term and follow(_moved(term, distance, nothing), (factor, term), fma)
        factor = factor and _moved(factor, distance, 1) * factor
        distance *= 2
    return factor, term


def _moved(v: Vec, distance: int, neutral: float) -> Vec:
    """Each lane is that of `distance` lanes before."""
    lanes = [v.lanes + i if i < distance else i - distance for i in range(v.lanes)]
    picks = ir.Constant(ir.VectorType(ir.IntType(32), v.lanes), lanes)
    return v.like(v.builder.shuffle_vector(v.value, v.const(neutral).value, picks))


def in_order(before: Vec, maps: Maps, fma: bool) -> Vec:
    """The values of a scan, one lane after the other. All lanes of `before` are equal."""
    builder, value = before.builder, before.value
    last = first_lane(before)
    for lane in range(before.lanes):
        factor, term = (v and _part(v, lane, 1) for v in maps)
        last = follow(last, (factor, term), fma)
        value = builder.insert_element(value, last.value, ir.Constant(ir.IntType(32), lane))
    return before.like(value)


def has_lost(factor: Vec) -> Any:
    """Whether a product of several lanes is too large or too small to be a float of full precision, or 0. It may be a part of a number
    that is none of that. An `i1` scalar."""
    bits, digits = {"f32": (32, 23), "f64": (64, 52)}[factor.kind]
    kind = f"i{bits}"
    exponent = ((1 << bits - 1 - digits) - 1) << digits
    held = factor.like(factor.builder.bitcast(factor.value, llvm_type(kind, factor.lanes)), kind) & exponent
    return (held.eq(0) | held.eq(exponent)).any()


def last_lane(v: Vec) -> Vec:
    """The last lane as a scalar."""
    return _part(v, v.lanes - 1, 1)


def first_lane(v: Vec) -> Vec:
    """Lane 0 as a scalar."""
    return _part(v, 0, 1)


def _part(v: Vec, first: int, count: int) -> Vec:
    i32 = ir.IntType(32)
    if count == 1:
        value: Any = v.builder.extract_element(v.value, ir.Constant(i32, first))
    else:
        picks = ir.Constant(ir.VectorType(i32, count), list(range(first, first + count)))
        value = v.builder.shuffle_vector(v.value, ir.Constant(v.value.type, ir.Undefined), picks)
    return Vec(v.builder, value, v.kind, count)
