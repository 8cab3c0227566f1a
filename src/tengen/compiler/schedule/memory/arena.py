"""Assigns the temporaries of a Plan places in one block of memory. Those that are never alive at the same time share
it.

The largest are placed first, at the lowest free place (first fit). Then, within the same memory, large ones move to
where nothing was for a while. What was there a moment ago may still lie in the cache of a core that will not write the
same part of the new value. If cores have distant caches, taking a line from another core takes several times as long as
fetching it from memory.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

ALIGNMENT = 64
LARGE = 1 << 20
"""Bytes of a large temporary. Smaller ones should lie where the caches hold the lines, because these are soon written
again."""
FORGOTTEN = 128 << 20
"""After this many bytes have been moved, a place is as good as one that was never used."""


class Temporary(NamedTuple):
    """How many bytes it has, and the first and last time that it is touched."""

    size: int
    first: int
    last: int

    @property
    def bytes(self) -> int:
        return -(-max(self.size, 1) // ALIGNMENT) * ALIGNMENT


class _Placed(NamedTuple):
    """A temporary at its place."""

    start: int
    end: int
    first: int
    last: int

    def at(self, start: int) -> _Placed:
        return _Placed(start, start + self.end - self.start, self.first, self.last)


def place(temporaries: Sequence[Temporary], moved: Sequence[int]) -> tuple[list[int], int]:
    """The offset of each temporary, and the bytes of the whole. moved: how many bytes have been touched before each
    time."""
    placed: list[_Placed] = []
    found = [_Placed(0, t.bytes, t.first, t.last) for t in temporaries]
    largest_first = sorted(range(len(found)), key=lambda i: -temporaries[i].size)
    whole = 0
    for i in largest_first:
        found[i] = found[i].at(next(_free(found[i], placed))[0])
        insort(placed, found[i])
        whole = max(whole, found[i].end)
    for i in largest_first:
        if temporaries[i].size >= LARGE:
            placed.remove(found[i])
            found[i] = _undisturbed(found[i], placed, moved, whole)
            insort(placed, found[i])
    return [place.start for place in found], whole


def _free(wanted: _Placed, placed: Iterable[_Placed]) -> Iterator[tuple[int, int | None]]:
    """Where there is room during its life, from the lowest place on: from where to where; the last gap has no end."""
    at, size, first, last = 0, wanted.end - wanted.start, wanted.first, wanted.last
    for start, end, a, b in placed:
        if a <= last and first <= b:
            if at + size <= start:
                yield at, start
            at = max(at, end)
    yield at, None


def _undisturbed(here: _Placed, placed: Sequence[_Placed], moved: Sequence[int], whole: int) -> _Placed:
    """The place that others leave alone the longest before and after its life; `here`, if none is better."""
    best, most, size = here, _gap(here, placed, moved), here.end - here.start
    for start, end in _free(here, placed):
        if most >= FORGOTTEN:
            break
        stop = whole if end is None else end
        for offset in (start, stop - size) if start + size <= stop else ():
            gap = _gap(here.at(offset), placed, moved)
            if gap > most:
                best, most = here.at(offset), gap
    return best


def _gap(wanted: _Placed, placed: Iterable[_Placed], moved: Sequence[int]) -> int:
    """The fewest bytes moved between its life and that of any other temporary in this place."""
    gap, (start, stop, first, last) = FORGOTTEN, wanted
    for other, end, a, b in placed:
        if other < stop and start < end:
            gap = min(gap, moved[a] - moved[last] if a > last else moved[first] - moved[b])
    return gap
