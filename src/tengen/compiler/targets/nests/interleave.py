"""Vectors whose elements alternate in memory, like the columns of a window of two: taken apart after loading, woven
before storing.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from ..vector import Vec


def take_apart(vectors: Sequence[Vec]) -> list[Vec]:
    """Every n-th element of n vectors in sequence, starting from the first, the second, and so on."""
    count, lanes = len(vectors), vectors[0].lanes
    return [_picked(vectors, [divmod(k * count + first, lanes) for k in range(lanes)]) for first in range(count)]


def weave(vectors: Sequence[Vec]) -> list[Vec]:
    """The first elements of all vectors, then the second ones, and so on, in as many vectors."""
    count, lanes = len(vectors), vectors[0].lanes
    return [_picked(vectors, [divmod(n, count)[::-1] for n in range(v * lanes, (v + 1) * lanes)]) for v in range(count)]


def _picked(vectors: Sequence[Vec], picks: Sequence[tuple[int, int]]) -> Vec:
    """A vector of the elements (number of the vector, lane). The first shuffle takes them from two vectors, each
    further one from one more."""
    lanes, used = len(picks), sorted({v for v, _ in picks})
    first = vectors[used[0]]
    result, placed = first.value, {used[0]}
    for number, source in enumerate(used[1:] or used, 1):
        chosen = []
        for k, (v, lane) in enumerate(picks):
            old = lane if number == 1 else k
            chosen.append(lanes + lane if v == source and source not in placed else old if v in placed else k)
        picked = ir.Constant(ir.VectorType(ir.IntType(32), lanes), chosen)
        result = first.builder.shuffle_vector(result, vectors[source].value, picked)
        placed.add(source)
    return Vec(first.builder, result, first.kind, lanes)
