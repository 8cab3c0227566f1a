"""A network as a picture: a text for Graphviz, or an SVG.

The SVG is laid out in rows, whose order spares crossings: each node goes to the mean place of those it is joined to in the row before, then in
the row after, in turns (Sugiyama, Tagawa and Toda 1981). What draws graphs on PyPI is under the GPL (igraph, grandalf) or needs Graphviz's
own programs, which the .dot is for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from itertools import accumulate, pairwise
from typing import NamedTuple

from ...base.files import write_whole
from ..network_node import ConstOpBase, Host2DeviceCopy, OpNode
from .info import described
from .network import Network

LETTER, LINE, MARGIN, GAP = 6.6, 14, 8, 26
"""Of a picture: width of a letter, height of a line, space inside a box and between boxes, all in pixels."""
SWEEPS = 8
"""So often rows are put in order, downwards and upwards."""
_COLOURS = {Host2DeviceCopy: "#d8ecd4", ConstOpBase: "#e6e6e6"}


def draw(net: Network, path: str | os.PathLike[str], weights: bool = False) -> None:
    """Draw a network to a file: .svg, or .dot for Graphviz. weights: draw these too.

    Raises ValueError for another kind of file.
    """
    kind = os.fspath(path).rpartition(".")[2].lower()
    if kind not in ("svg", "dot", "gv"):
        raise ValueError(f"draw: the picture is an .svg, or a .dot for Graphviz, not {os.fspath(path)!r}")
    boxes, edges = _graph(net, weights)
    text = _svg(boxes, edges) if kind == "svg" else _dot(boxes, edges)
    with write_whole(path) as file:
        file.write(text.encode())


class Box(NamedTuple):
    """A node of the picture: its lines and its colour."""

    lines: list[str]
    colour: str

    @property
    def width(self) -> float:
        return 2 * MARGIN + LETTER * max(map(len, self.lines))

    @property
    def height(self) -> int:
        return 2 * MARGIN + LINE * len(self.lines)


def _graph(net: Network, weights: bool) -> tuple[list[Box], list[tuple[int, int]]]:
    """The nodes, and pairs of those of which the second reads the first."""
    ops = [op for op in net.all_oprs if weights or not isinstance(op, ConstOpBase)]
    number = {op: i for i, op in enumerate(ops)}
    boxes = [Box(described(op), _colour(op)) for op in ops]
    edges = [(number[v.owner], number[op]) for op in ops for v in op.inputs if v.owner in number]
    for var in net.dest_vars:
        edges.append((number[var.owner], len(boxes)))
        boxes.append(Box([var.name], "#f6dfc8"))
    return boxes, list(dict.fromkeys(edges))


def _colour(op: OpNode) -> str:
    return next((colour for kind, colour in _COLOURS.items() if isinstance(op, kind)), "#dbe6f4")


def _dot(boxes: Sequence[Box], edges: Sequence[tuple[int, int]]) -> str:
    lines = ["digraph network {", '  node [shape=box, style="filled,rounded", fontname="Helvetica", fontsize=11];']
    for i, box in enumerate(boxes):
        label = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in box.lines)
        lines.append(f'  n{i} [label="{label}", fillcolor="{box.colour}"];')
    return "\n".join([*lines, *(f"  n{a} -> n{b};" for a, b in edges), "}\n"])


# -- SVG -----------------------------------------------------------------------------------------------------------


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The row of each node: below all that it reads. Nodes are in order but for none."""
    rows = [0] * count
    for a, b in sorted(edges, key=lambda edge: edge[1]):
        rows[b] = max(rows[b], rows[a] + 1)
    return rows


def _layout(boxes: Sequence[Box], edges: Sequence[tuple[int, int]]) -> tuple[list[tuple[float, int]], list[list[int]]]:
    """(x, row) of each node and bend, and each edge as the nodes and bends that it goes through."""
    rows = _layers(len(boxes), edges)
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


def _svg(boxes: Sequence[Box], edges: Sequence[tuple[int, int]]) -> str:
    places, ways = _layout(boxes, edges)
    across = GAP + max((box.width for box in boxes), default=0)
    heights: dict[int, int] = {}
    for i, (_, row) in enumerate(places):
        heights[row] = max(heights.get(row, 0), boxes[i].height if i < len(boxes) else 0)
    tops, y = {}, GAP
    for row in sorted(heights):
        tops[row], y = y, y + heights[row] + GAP
    left = min((x for x, _ in places), default=0)
    centres = [(GAP + across / 2 + (x - left) * across, tops[row] + heights[row] / 2) for x, row in places]
    width = GAP + across + max((x for x, _ in centres), default=0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{y}" font-family="Helvetica, Arial, sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    parts += [_path([centres[i] for i in way], boxes[way[0]], boxes[way[-1]]) for way in ways]
    parts += [_box(box, *centres[i]) for i, box in enumerate(boxes)]
    return "\n".join([*parts, "</svg>\n"])


def _path(points: Sequence[tuple[float, float]], source: Box, target: Box) -> str:
    (x, y), *between, (end_x, end_y) = points
    way = [(x, y + source.height / 2), *between, (end_x, end_y - target.height / 2)]
    text = f"M{way[0][0]:.1f} {way[0][1]:.1f}"
    for (px, py), (qx, qy) in pairwise(way):
        middle = (py + qy) / 2
        text += f" C{px:.1f} {middle:.1f} {qx:.1f} {middle:.1f} {qx:.1f} {qy:.1f}"
    tip = way[-1]
    arrow = f"M{tip[0] - 3:.1f} {tip[1] - 6:.1f} l3 6 l3 -6"
    return f'<path d="{text} {arrow}" fill="none" stroke="#555"/>'


def _box(box: Box, x: float, y: float) -> str:
    left, top = x - box.width / 2, y - box.height / 2
    rect = f'<rect x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}" height="{box.height}" rx="5" fill="{box.colour}" stroke="#555"/>'
    texts = [
        f'<text x="{x:.1f}" y="{top + MARGIN + LINE * (i + 0.75):.1f}" text-anchor="middle"'
        f"{' font-weight=' + chr(34) + 'bold' + chr(34) if i == 0 else ''}>{escape(line)}</text>"
        for i, line in enumerate(box.lines)
    ]
    return "\n".join([rect, *texts])
