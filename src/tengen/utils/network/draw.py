"""Draws a network: as a text for Graphviz, or as an SVG.

layout.py places the nodes of the SVG.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from ...base.files import write_whole
from ..network_node import ConstOpBase, Host2DeviceCopy, OpNode
from .info import described
from .layout import arranged
from .network import Network

LETTER, LINE, MARGIN, GAP = 6.6, 14, 8, 26
"""Width of a letter, height of a line, space inside a box and between boxes, all in pixels."""
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
    """The nodes, and the edges as pairs: the second reads the first."""
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


def _svg(boxes: Sequence[Box], edges: Sequence[tuple[int, int]]) -> str:
    places, ways = arranged(len(boxes), edges)
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
