"""Histograms, and which part of their range to quantise."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
STEP = 1e-5
"""By which share of all numbers the search moves on."""


class Histogram(NamedTuple):
    """How many numbers lie in each of equal parts between `low` and `high`."""

    counts: Array
    low: float
    high: float

    @classmethod
    def of(cls, x: Array, bins: int) -> Histogram:
        """The histogram of an array."""
        low, high = float(x.min()), float(x.max())
        return cls(_count(x, bins, low, high), low, high)

    def with_more(self, x: Array, fineness: int) -> Histogram:
        """The histogram of these numbers and those of an array. fineness: into how many parts a bin is cut for it."""
        bins = len(self.counts)
        low, high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        if (low, high) == (self.low, self.high) or self.high == self.low:
            return Histogram(_count(x, bins, low, high) + self.counts, low, high)
        # A range of whole parts, so that each new bin is some of them.
        part = (self.high - self.low) / (bins * fineness)
        parts = int(np.ceil((high - low) / (bins * part)))
        more = parts * bins * part - (high - low)
        low, high = low - more / 2, high + more / 2
        start = round((self.low - low) / part)
        wide = np.zeros(bins * parts)
        fine = np.repeat(self.counts, fineness)[: len(wide) - start]
        wide[start : start + len(fine)] = fine
        return Histogram(_count(x, bins, low, high) + wide.reshape(bins, parts).sum(1) / fineness, low, high)

    def best_range(self, levels: int) -> tuple[float, float]:
        """Of the ranges that leave out the numbers at the ends one after the other, the last before the error of `levels` numbers grows."""
        counts, total = self.counts.astype(np.float64), float(self.counts.sum())
        bins, width = len(counts), (self.high - self.low) / len(counts)
        below = np.cumsum(counts)
        alpha, beta, start, end, least = 0.0, 1.0, 0, bins - 1, np.inf
        while alpha < beta:
            next_alpha, next_beta = alpha + STEP, beta - STEP
            left, right = start, end
            while left < end and below[left] < next_alpha * total:
                left += 1
            while right > start and below[right] > next_beta * total:
                right -= 1
            new = start, end
            if left - start > end - right:
                new, alpha = (left, end), next_alpha
            else:
                new, beta = (start, right), next_beta
            if new == (start, end):
                continue
            error = _error(counts, width, *new, levels)
            if error > least:
                break
            least, (start, end) = error, new
        return self.low + width * start, self.low + width * (end + 1)


def _count(x: Array, bins: int, low: float, high: float) -> Array:
    return np.histogram(x, bins, (low, high) if high > low else (low - 1, high + 1))[0].astype(np.float64)


def _error(counts: Array, width: float, start: int, end: int, levels: int) -> float:
    """The sum of the squared errors where bins from start to end are quantised to so many numbers, the others to the nearest of these.

    Numbers are taken as spread evenly in their bins.
    """
    step = width * (end - start + 1) / levels
    if step == 0:
        return 0.0
    begin = (np.arange(len(counts)) - start) * width
    stop = begin + width
    first, last = (np.clip(np.floor(x / step), 0, levels - 1) for x in (begin, stop))
    half = np.full(len(counts), step / 2)
    density = counts / width
    error = _spread(begin - (first + 0.5) * step, half, density)
    error = error + (last - first - 1) * _spread(-half, half, density)
    return float((error + _spread(-half, stop - (last + 0.5) * step, density)).sum())


def _spread(begin: Array, stop: Array, density: Array) -> Array:
    """The integral of density · x² from begin to stop."""
    return density * (stop**3 - begin**3) / 3
