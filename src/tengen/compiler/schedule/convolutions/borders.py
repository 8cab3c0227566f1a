"""Where a sliding window reaches over the border of an image: which outputs see which taps.

Along one dimension, row r of a contraction and step t of its k meet at the position base + r * row_step + t * tap_step
of the source, and positions outside it count as zero. Instead of copying the image with padding, the rows are cut into
runs that see
the same steps: for a 3-wide window with padding 1 the first row, the rows between, and the last one.
"""

from __future__ import annotations

from typing import NamedTuple

FEW_ELEMENTS, MOST_ZEROS = 1 << 22, 4
"""An image with zeros around it has few elements, or at most this many times those of the image and the result."""

MOST_TAPS = 4096
"""The most steps that are examined in order to join rows that see nothing because most steps jump over the source."""


def may_pad(padded: int, elements: int) -> bool:
    """Whether an image may be copied with zeros around it, to `padded` elements in all. elements: of the image and the
    result."""
    return padded <= max(FEW_ELEMENTS, MOST_ZEROS * elements)


class Cut(NamedTuple):
    """Rows row .. row + rows - 1, which all see the steps tap .. tap + taps - 1."""

    row: int
    rows: int
    tap: int
    taps: int


class Line(NamedTuple):
    """One dimension of a window that slides over a source of `size` elements; row_step is positive."""

    size: int
    base: int
    rows: int
    row_step: int
    taps: int
    tap_step: int

    def position(self, row: int, tap: int) -> int:
        """The position in the source where a row and a step meet."""
        return self.base + row * self.row_step + tap * self.tap_step

    @property
    def margins(self) -> tuple[int, int]:
        """How many zeros must stand before and after the source so that no row sees outside it."""
        if not (self.rows and self.taps):
            return 0, 0
        across, along = (self.rows - 1) * self.row_step, (self.taps - 1) * self.tap_step
        low = self.base + min(0, across) + min(0, along)
        high = self.base + max(0, across) + max(0, along)
        return max(0, -low), max(0, high - self.size + 1)

    def within(self, before: int, after: int) -> Line:
        """The line over a source with this many zeros before and after it."""
        size, base, *rest = self
        return Line(before + size + after, base + before, *rest)

    def seen(self, row: int) -> tuple[int, int]:
        """(first, count) of the steps that lie inside the source for one row."""
        start, end = self.position(row, 0), self.position(row, self.taps - 1)
        step = abs(self.tap_step) or 1
        # Steps from the lowest position up, whichever way they run.
        below = max(0, -(min(start, end) // step))
        above = max(0, -((self.size - 1 - max(start, end)) // step))
        count = max(0, self.taps - below - above)
        return (below if self.tap_step > 0 else above, count) if count else (0, 0)

    @property
    def meetings(self) -> int:
        """The pairs of a row and a step that meet inside the source."""
        count = 0
        for first in range(self.base, self.base + self.taps * self.tap_step, self.tap_step):
            before = max(0, -(first // self.row_step))  # rows in front of the source, and then all but those behind it
            count += max(0, min(self.rows, -((first - self.size) // self.row_step)) - before)
        return count

    def cuts(self) -> tuple[Cut, ...]:
        """The rows in order, neighbours that see the same steps joined.

        >>> [tuple(cut) for cut in Line(size=7, base=-1, rows=7, row_step=1, taps=3, tap_step=1).cuts()]
        [(0, 1, 1, 2), (1, 5, 0, 3), (6, 1, 0, 2)]
        """
        found, row = [], 0
        while row < self.rows:
            tap, taps = self.seen(row)
            found.append(Cut(row, self._alike(row, tap, taps), tap, taps))
            row += found[-1].rows
        return tuple(found)

    def _alike(self, row: int, tap: int, taps: int) -> int:
        """How many rows from `row` on see the same steps.

        They do until the furthest step leaves the source, or the one behind the nearest enters it. If a row sees
        nothing, until a step enters the source.
        """
        left = self.rows - row
        if not taps:
            return min(left, self._until_seen(row))
        furthest, behind = (tap + taps - 1, tap - 1) if self.tap_step > 0 else (tap, tap + taps)
        alike = -((self.position(row, furthest) - self.size) // self.row_step)
        if 0 <= behind < self.taps:
            alike = min(alike, -(self.position(row, behind) // self.row_step))
        return min(alike, left)

    def _until_seen(self, row: int) -> int:
        """How many rows after `row`, which sees nothing, a row sees something: a lower bound."""
        start, step = self.position(row, 0), self.tap_step
        nearest = (
            min(self.taps - 1, (-1 - start) // step) if step > 0 else max(0, start // -step + 1)
        )  # before the source
        if not 0 <= nearest < self.taps:
            return self.rows
        if self.row_step <= self.size:
            return -(self.position(row, nearest) // self.row_step)
        if self.taps > MOST_TAPS:
            return 1
        before = [p for p in (self.position(row, t) for t in range(self.taps)) if p < 0]
        waits = [
            -(p // self.row_step) for p in before if p % self.row_step < self.size
        ]  # the others step over the source
        return min(waits, default=self.rows)
