"""Where the nodes of a directed graph stand in a picture: in rows, whose order spares crossings.

Each node goes to the mean place of those it is joined to in the row before, then in the row after, in turns (Sugiyama, Tagawa and Toda 1981).
What draws graphs on PyPI is under the GPL (igraph, grandalf) or needs Graphviz's own programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

SWEEPS = 8
"""So often rows are put in order, downwards and upwards."""


def arranged(count: int, edges: Sequence[tuple[int, int]]) -> tuple[list[tuple[float, int]], list[list[int]]]:
    """(x, row) of each of `count` nodes and of each bend, and each edge as the nodes and bends that it goes through.

    x is in units of the widest node. A node stands below all that have an edge to it and come before it in the numbering.
    """
    rows = _layers(count, edges)
    ways = []
    for a, b in edges:
        first = len(rows)
        rows += range(rows[a] + 1, rows[b])  # an edge over several rows has a place of its own in those between
        ways.append([a, *range(first, len(rows)), b])
    above: list[list[int]] = [[] for _ in rows]
    below: list[list[int]] = [[] for _ in rows]
    for p, q in (pair for way in ways for pair in pairwise(way)):
        below[p].append(q)
        above[q].append(p)
    return list(zip(_across(rows, above, below), rows, strict=True)), ways


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The row of each node: below all that it reads. Nodes are in order but for none."""
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
    """The nearest places to these, which ascend, that are 1 apart: the mean of what is so far right and so far left as need be."""
    right = list(accumulate(wanted, lambda before, x: max(x, before + 1)))
    left = list(accumulate(reversed(wanted), lambda after, x: min(x, after - 1)))[::-1]
    return [(a + b) / 2 for a, b in zip(left, right, strict=True)]
