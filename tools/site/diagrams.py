"""Mermaid's flow charts and class diagrams as SVG, so that no script from elsewhere draws them in the reader's browser.

Of Mermaid's language it reads what docs/ uses; another line is an error of the build.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field

from tengen.utils.network.layout import arranged

LINE, LETTER, PAD = 17, 7.1, 12  # px: height of a line of text, mean width of a letter, margin in a box
NODE = r"(\w+)(?:\[\"?([^\"\]]+)\"?\]|\{\"?([^\"}]+)\"?\})?"
ARROW = re.compile(r"\s*--(?:\s*\"?([^\">]+?)\"?\s*--)?>\s*")


@dataclass
class Diagram:
    """Boxes by name, and arrows between them."""

    across: bool = False
    labels: dict[str, list[str]] = field(default_factory=dict)
    questions: set[str] = field(default_factory=set)
    arrows: list[tuple[str, str, str]] = field(default_factory=list)


def read(text: str) -> Diagram:
    """What a block of Mermaid says. Raises ValueError for a line that this does not know."""
    found = Diagram()
    for line in map(str.strip, text.strip().split("\n")):
        if line.startswith(("subgraph", "end", "classDiagram")):
            continue
        if line.startswith("flowchart"):
            found.across = line.endswith("LR")
        elif match := re.fullmatch(r"class (\w+) \{ (.+) \}", line):
            found.labels[match[1]] = [match[1], match[2]]
        elif match := re.fullmatch(r"(\w+) --> (\w+) : (.+)", line):
            for name in match.group(1, 2):
                found.labels.setdefault(name, [name])
            found.arrows.append((match[1], match[2], match[3]))
        else:
            chain(found, line)
    return found


def chain(found: Diagram, line: str) -> None:
    """A line such as `a["text"] -- label --> b & c --> d`."""
    left, label, rest = box(found, line), None, ""
    names, rest = left
    while rest:
        match = ARROW.match(rest)
        if not match:
            raise ValueError(f"a line of Mermaid that tools/site/diagrams.py does not know: {line}")
        label = match[1] or ""
        others, rest = box(found, rest[match.end() :])
        found.arrows += [(a, b, label) for a in names for b in others]
        names = others


def box(found: Diagram, text: str) -> tuple[list[str], str]:
    """The boxes at the start of a text, joined by &, and what follows."""
    names = []
    while match := re.match(NODE, text):
        name, label, question = match.groups()
        if label or question or name not in found.labels:
            found.labels[name] = (label or question or name).split("<br/>")
        if question:
            found.questions.add(name)
        names.append(name)
        text = text[match.end() :]
        more = re.match(r"\s*&\s*", text)
        if not more:
            break
        text = text[more.end() :]
    if not names:
        raise ValueError(f"no box at the start of {text!r}")
    return names, text


def svg(text: str) -> str:
    """A drawing of a block of Mermaid. Colours are those of the page."""
    it = read(text)
    names = downwards(it)
    size = {n: (max(map(width, it.labels[n])) + 2 * PAD, len(it.labels[n]) * LINE + PAD) for n in names}
    index = {n: i for i, n in enumerate(names)}
    widest, tallest = (max(s[k] for s in size.values()) for k in (0, 1))
    points = arranged(len(names), [(index[a], index[b]) for a, b, _ in it.arrows])[0][: len(names)]
    it.across = it.across and max(y for _, y in points) < 4  # a longer row would be too small to read
    labelled = any(label for *_, label in it.arrows)
    step = (
        (widest + (90 if labelled else 36), tallest + 24)
        if it.across
        else (widest + 24, tallest + (44 if labelled else 28))
    )
    at = {}
    for name, (x, y) in zip(names, points, strict=True):
        at[name] = (y * step[0], x * step[1]) if it.across else (x * step[0], y * step[1])
    left = min(at[n][0] - size[n][0] / 2 for n in names) - 8
    top = min(at[n][1] - size[n][1] / 2 for n in names) - 8
    right = max(at[n][0] + size[n][0] / 2 for n in names) + 8
    bottom = max(at[n][1] + size[n][1] / 2 for n in names) + 8
    parts = [
        f'<svg class="diagram" role="img" viewBox="{left:.0f} {top:.0f} {right - left:.0f} {bottom - top:.0f}" '
        f'style="width:{right - left:.0f}px" xmlns="http://www.w3.org/2000/svg">'
    ]
    parts += [arrow(at[a], size[a], at[b], size[b], label, it.across) for a, b, label in it.arrows]
    parts += [drawn(at[n], size[n], it.labels[n], n in it.questions) for n in names]
    return "".join(parts) + "</svg>"


def downwards(it: Diagram) -> list[str]:
    """The boxes, each after those with an arrow to it; of boxes in a circle the first that the text names comes first."""
    left, found = list(it.labels), []
    while left:
        waits = {b for a, b, _ in it.arrows if a in left and a != b}
        free = [name for name in left if name not in waits] or left[:1]
        found += free
        left = [name for name in left if name not in free]
    return found


def width(text: str) -> float:
    """Of a line of text, in px."""
    return len(text) * LETTER


def drawn(at: tuple[float, float], size: tuple[float, float], lines: list[str], question: bool) -> str:
    """A box with its text."""
    (x, y), (w, h) = at, size
    round_ = h / 2 if question else 4
    out = f'<rect x="{x - w / 2:.1f}" y="{y - h / 2:.1f}" width="{w:.1f}" height="{h:.1f}" rx="{round_:.0f}"/>'
    first = y - (len(lines) - 1) * LINE / 2 + 4.5
    return out + "".join(
        f'<text x="{x:.1f}" y="{first + i * LINE:.1f}"{"" if i == 0 else " class=small"!r}>{html.escape(line)}</text>'.replace(
            "' class=small'", ' class="small"'
        ).replace("''", "")
        for i, line in enumerate(lines)
    )


def arrow(
    a: tuple[float, float],
    sa: tuple[float, float],
    b: tuple[float, float],
    sb: tuple[float, float],
    label: str,
    across: bool,
) -> str:
    """A curve from the far side of one box to the near side of another, and its label."""
    if across:
        x0, y0, x1, y1 = a[0] + sa[0] / 2, a[1], b[0] - sb[0] / 2 - 6, b[1]
        mid = (x0 + x1) / 2
        curve, tip = f"M{x0:.1f} {y0:.1f}C{mid:.1f} {y0:.1f} {mid:.1f} {y1:.1f} {x1:.1f} {y1:.1f}", "l-6 -4v8z"
    else:
        x0, y0, x1, y1 = a[0], a[1] + sa[1] / 2, b[0], b[1] - sb[1] / 2 - 6
        mid = (y0 + y1) / 2
        curve, tip = f"M{x0:.1f} {y0:.1f}C{x0:.1f} {mid:.1f} {x1:.1f} {mid:.1f} {x1:.1f} {y1:.1f}", "l-4 -6h8z"
    head = f"M{x1 + 6:.1f} {y1:.1f}{tip}" if across else f"M{x1:.1f} {y1 + 6:.1f}{tip}"
    text = ""
    if label:
        text = f'<text class="label" x="{(x0 + x1) / 2:.1f}" y="{(y0 + y1) / 2 + 4:.1f}">{html.escape(label)}</text>'
    return f'<path class="line" d="{curve}"/><path class="tip" d="{head}"/>{text}'
