"""Places the nodes of a directed graph in a picture: in rows, whose order avoids crossings.

Each node moves to the mean position of its neighbours in the row above, then in the row below, in turns (Sugiyama, Tagawa and Toda 1981).
The packages that draw graphs are under the GPL (igraph, grandalf) or need the programs of Graphviz.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

SWEEPS = 8
"""How often the rows are sorted, downwards and upwards."""


def arranged(count: int, edges: Sequence[tuple[int, int]]) -> tuple[list[tuple[float, int]], list[list[int]]]:
    """Compute (x, row) of each of `count` nodes and of each bend, and each edge as the nodes and bends that it passes.

    x is in units of the widest node. A node is below all nodes with smaller numbers that have an edge to it.
    """
    rows = _layers(count, edges)
    ways = []
    for a, b in edges:
        first = len(rows)
        rows += range(rows[a] + 1, rows[b])  # an edge over several rows has a place of its own in the rows between
        ways.append([a, *range(first, len(rows)), b])
    above: list[list[int]] = [[] for _ in rows]
    below: list[list[int]] = [[] for _ in rows]
    for p, q in (pair for way in ways for pair in pairwise(way)):
        below[p].append(q)
        above[q].append(p)
    return list(zip(_across(rows, above, below), rows, strict=True)), ways


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The row of each node: below all nodes that it reads, which have smaller numbers."""
    rows = [0] * count
    for a, b in sorted(edges, key=lambda edge: edge[1]):
        rows[b] = max(rows[b], rows[a] + 1)
    return rows


def _across(rows: Sequence[int], above: Sequence[Sequence[int]], below: Sequence[Sequence[int]]) -> list[float]:
    """x of each node and bend, at least 1 apart in a row."""
    in_row: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        in_row.setdefault(row, []).append(i)
    x = [0.0] * len(rows)
    for members in in_row.values():
        for place, i in enumerate(members):
            x[i] = place - len(members) / 2
    for joined, order in [(above, sorted(in_row)), (below, sorted(in_row, reverse=True))] * SWEEPS:
        for row in order:
            wanted = {i: sum(x[j] for j in joined[i]) / len(joined[i]) if joined[i] else x[i] for i in in_row[row]}
            in_row[row].sort(key=lambda i: wanted[i])
            for i, at in zip(in_row[row], _apart([wanted[i] for i in in_row[row]]), strict=True):
                x[i] = at
    return x


def _apart(wanted: Sequence[float]) -> list[float]:
    """The positions nearest to these ascending ones that are 1 apart: the mean of a packing to the right and one to the left."""
    right = list(accumulate(wanted, lambda before, x: max(x, before + 1)))
    left = list(accumulate(reversed(wanted), lambda after, x: min(x, after - 1)))[::-1]
    return [(a + b) / 2 for a, b in zip(left, right, strict=True)]
