"""Derivatives of products, of any order, with zeros among the factors. Nothing is divided by what may be 0."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...compiler.program import Value
from .elemwise import cast
from .shape import Concatenate, Slice, broadcast, pad, reshape, transpose, zeros_of

#: A polynomial in ε₁, ε₂, … whose squares are 0: the coefficients of their products, by the bits of an int; missing
#: ones are 0. All have shape (rows, places).
Polynomial = dict[int, Value]


def others_along(x: Value, along: Sequence[Value], axes: Sequence[int]) -> Value:
    """For each element, the coefficient of ε₁ε₂… in the product of all others of x + ε₁·along₁ + ε₂·along₂ + … over
    `axes`.

    It is a tree: upwards one half is multiplied by the other; downwards, a half lacks what the whole lacks, and the
    other half.
    """
    if x.size == 0:
        return zeros_of(x)
    order = [*(d for d in range(x.ndim) if d not in axes), *axes]
    shape = [x.shape[d] for d in order]
    extent = prod(x.shape[d] for d in axes)
    factors = {0: x, **{1 << i: direction for i, direction in enumerate(along)}}
    levels = [{m: reshape(transpose(v, order), (x.size // extent, extent)) for m, v in factors.items()}]
    while levels[-1][0].shape[1] > 1:
        levels.append(_product(*_halves(levels[-1])))
    one = broadcast(cast(x.builder.constant(1.0), x.dtype), (x.size // extent, 1))
    lacks: Polynomial = {0: one}
    for level in reversed(levels[:-1]):
        first, second = _halves(level)
        by_first, by_second = _product(lacks, second), _product(lacks, first)
        places = level[0].shape[1]
        lacks = {m: _cut(Concatenate(1)(v, by_second[m]), 0, places) for m, v in by_first.items()}
    found = lacks.get((1 << len(along)) - 1)
    if found is None:  # more directions than other elements
        return zeros_of(x)
    return transpose(reshape(found, shape), sorted(range(x.ndim), key=order.__getitem__))


def _halves(level: Polynomial) -> tuple[Polynomial, Polynomial]:
    """If the number of places is odd, the second half gets a 1 at its end."""
    places = level[0].shape[1]
    half = (places + 1) // 2
    even = {m: pad(v, (0, 0), (0, 2 * half - places), 0.0 if m else 1.0) for m, v in level.items()}
    first, second = ({m: _cut(v, start, half) for m, v in even.items()} for start in (0, half))
    return first, second


def _product(a: Polynomial, b: Polynomial) -> Polynomial:
    made: Polynomial = {}
    for m, v in a.items():
        for n, w in b.items():
            if not m & n:
                made[m | n] = made[m | n] + v * w if m | n in made else v * w
    return made


def _cut(x: Value, start: int, places: int) -> Value:
    """This many places of each row, from a first one on."""
    return x if x.shape[1] == places else Slice((0, start), (x.shape[0], places), (1, 1))(x)
