"""Tables of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format rows under their titles, in columns as wide as their widest entry.

    >>> print(table(("op", "calls"), [("conv2d", 3)]))
    op      calls
    ------  -----
    conv2d  3
    """
    cells = [[str(entry) for entry in row] for row in (titles, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(entry.ljust(width) for entry, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
