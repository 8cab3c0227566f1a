"""Loop dimensions of a map/reduce kernel: their order, which one goes to the vector lanes, and which can be merged.

Everything here is arithmetic on Views over one iteration shape; nothing knows what is computed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import inf, prod
from typing import NamedTuple

from ....base.dtype import held
from ...kernels.nest import MOST_INTERLEAVED, Access, AccessNumbers, Bound, blank
from ...view import View, row_major

FEW, MANY = 4, 1 << 62  # places of a ragged dim that count, and of other dims
STRIDED_COST = 7.0  # a lane with a large stride costs several times as much as a contiguous one, element by element
WOVEN_COST = 4.0  # a lane that is interleaved with a short loop: whole vectors are taken apart
EVERY_SECOND_COST = 2.0  # a lane that takes every second element reads two vectors
GATHERED_COST = 4.0  # a lane whose elements indices lead to
LANE_COSTS = {0: 1.0, 1: 1.0, 2: EVERY_SECOND_COST}  # by stride


def bits(dtype: str, number: float) -> int:
    """A number of a launch, in the form that kernels get: the bits of a float64 for floats, otherwise an int64."""
    return int(struct.unpack("<q", struct.pack("<d" if "float" in dtype else "<q", number))[0])


class Index(NamedTuple):
    """How an index that is a value moves in a view: stride and extent of the dim that it counts along, and the
    coefficient of that dim in each edge."""

    stride: int
    size: int
    coefficients: tuple[int, ...]


class Jumps(NamedTuple):
    """A gather or a scatter: where it lies over the iteration shape, the dims along which its indices move, and whether
    it writes."""

    view: View
    dims: frozenset[int]
    writes: bool


class Loops(NamedTuple):
    """Loop dims, outermost first. Each is a list of iteration dims that were merged into it, the fastest one last."""

    dims: tuple[tuple[int, ...], ...]
    extents: tuple[int, ...]
    kept: int
    lane: int
    serial_from: int | None = None
    cross: int | None = None
    interleaved: tuple[int, int] | None = None

    def access(
        self, dtype: str, view: View, indirect: Sequence[Index] = (), parameter: float = 0
    ) -> tuple[Access, AccessNumbers]:
        """How the nest addresses a buffer whose elements lie like `view` over the iteration shape."""
        if dtype.startswith("param_"):
            return Access(dtype, ("0",) * len(self.dims)), AccessNumbers((bits(dtype, parameter),))
        strides = self._fold(view.strides)
        steps = self._steps(strides)
        if self.interleaved and not (view.edges or indirect) and dtype != "iota":
            dim, extent = self.interleaved
            if strides[dim] == 1 and strides[self.lane] == extent:
                steps = tuple({dim: "1", self.lane: str(extent)}.get(d, step) for d, step in enumerate(steps))
        bounds, limits = [], []
        for number, edge in enumerate(view.edges):
            coefficients, further = self._fold(edge.coefficients), [index.coefficients[number] for index in indirect]
            dims = tuple(d for d, c in enumerate(coefficients) if c)
            values = tuple(v for v, c in enumerate(further) if c)
            bounds.append(Bound(dims, values=values))
            limits.append((edge.offset, edge.limit, *(coefficients[d] for d in dims), *(further[v] for v in values)))
        fill = held(dtype, view.fill) if bounds else 0.0
        access = Access(dtype, steps, tuple(bounds), fill, len(indirect))
        numbers = tuple([s for s, step in zip(strides, steps, strict=True) if step == "n"])
        return access, AccessNumbers(numbers, tuple(limits), tuple([(index.stride, index.size) for index in indirect]))

    def _fold(self, numbers: Sequence[int]) -> list[int]:
        return [numbers[merged[-1]] if merged else 0 for merged in self.dims]

    def _steps(self, strides: Sequence[int]) -> tuple[str, ...]:
        steps = ["n" if stride else "0" for stride in strides]
        if strides[self.lane] in (1, 2):
            steps[self.lane] = str(strides[self.lane])
        if self.cross is not None and strides[self.cross] == 1:
            steps[self.cross] = "1"
        return tuple(steps)


def arrange(
    shape: Sequence[int],
    reduced: Sequence[int],
    views: Sequence[View],
    lanes: int,
    serial: Sequence[int] = (),
    ragged: Sequence[int] = (),
    threads: bool = False,
    jumps: Sequence[Jumps] = (),
    weaves: bool = True,
) -> Loops:
    """Choose the loops for an iteration over `shape`.

    views: where each operand and result lies over `shape` (row values have stride 0 along the reduced dims), the most
    important first. jumps: those that have indices.
    serial: kept dims along which writes may meet. They run in index order, inside the others; only one along which
    something is contiguous becomes the lane. ragged: reduced dims of which usually only a few places count.
    threads: whether each lane is a thread of its own, which runs through the serial dims. weaves: whether a short loop may be
    interleaved with the lane.
    """
    numbers = list(dict.fromkeys([v.strides for v in views] + [e.coefficients for v in views for e in v.edges]))
    order = [d for d in memory_order(shape, views) if shape[d] != 1]
    ordered = sorted([d for d in order if d in serial])
    kept = _merge([d for d in order if d not in reduced and d not in serial], shape, numbers)
    folded = _merge([d for d in order if d in reduced], shape, numbers)
    if ordered:
        meeting = _merge(ordered, shape, numbers)
        along, across = (sum(v.strides[runs[-1][-1]] == 1 for v in views) if runs else 0 for runs in (kept, meeting))
        vectors = along > 0 and (along >= across or _writes_rows(kept[-1], shape, meeting, jumps, lanes))
        runs = kept + meeting
        lane = len(kept) - 1 if kept and (vectors or threads) else len(runs) - 1
        return _loops(shape, runs + folded, len(runs), lane, len(kept))
    runs = kept or [()]
    count, runs = len(runs), runs + folded
    extents = [min(_extent(run, shape), FEW if set(run) & set(ragged) else MANY) for run in runs]
    lane = _pick_lane(runs, extents, count, views, lanes, jumps, weaves)
    last = count - 1 if lane < count else len(runs) - 1  # the lane runs fastest among its kind
    runs.insert(last, runs.pop(lane))
    loops = _loops(shape, runs, count, last, cross=_pick_cross(runs, last, shape, views, lanes))
    return loops if loops.cross is not None or not weaves else without_cross(loops, views)


def _loops(
    shape: Sequence[int],
    runs: list[tuple[int, ...]],
    kept: int,
    lane: int,
    serial_from: int | None = None,
    cross: int | None = None,
) -> Loops:
    return Loops(tuple(runs), tuple([_extent(run, shape) for run in runs]), kept, lane, serial_from, cross)


def memory_order(shape: Sequence[int], views: Sequence[View]) -> list[int]:
    """All dims, slowest in memory first. Each stands where the first operand that really moves along it has it."""
    weights: Sequence[int] = row_major(shape)
    for strides in reversed(dict.fromkeys([view.strides for view in views])):
        weights = [abs(stride) or weight for stride, weight in zip(strides, weights, strict=True)]
    return sorted(range(len(shape)), key=weights.__getitem__, reverse=True)


def _merge(dims: Sequence[int], shape: Sequence[int], numbers: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    runs: list[tuple[int, ...]] = []
    for d in dims:
        if runs and all([n[runs[-1][-1]] == n[d] * shape[d] for n in numbers]):
            runs[-1] = (*runs[-1], d)
        else:
            runs.append((d,))
    return runs


def _extent(run: tuple[int, ...], shape: Sequence[int]) -> int:
    extent = 1
    for d in run:
        extent *= shape[d]
    return extent


def _writes_rows(
    run: tuple[int, ...], shape: Sequence[int], meeting: Sequence[tuple[int, ...]], jumps: Sequence[Jumps], lanes: int
) -> bool:
    """Whether a scatter writes vectors along this loop, but numbers one by one along those where writes may meet."""
    rows = [j for j in jumps if j.writes and j.view.strides[run[-1]] == 1 and j.dims.isdisjoint(run)]
    return 2 * _extent(run, shape) > lanes and any(d in j.dims for j in rows for d in meeting[-1])


def _pick_lane(
    runs: Sequence[tuple[int, ...]],
    extents: Sequence[int],
    kept: int,
    views: Sequence[View],
    lanes: int,
    jumps: Sequence[Jumps],
    weaves: bool,
) -> int:
    """The loop that makes a vector cheapest: long enough to fill it, and with operands that are contiguous or constant
    along it."""
    if len(runs) == 1:
        return 0
    short, least, best = _short(runs, extents, kept) if weaves else (), inf, 0
    folded = max(prod(extents[kept:]), 1)
    for i, run in enumerate(runs):
        extent = extents[i] or 1
        per_vector = 1.0
        for v in views if run else ():
            stride = v.strides[run[-1]]
            if stride in LANE_COSTS:
                per_vector += LANE_COSTS[stride]
            else:
                per_vector += WOVEN_COST if short and _is_woven(v, i, runs, extents, short) else STRIDED_COST
        for j in jumps if run else ():  # an operand is indexed as often as it is gathered
            per_vector += GATHERED_COST if run[-1] in j.dims else LANE_COSTS.get(j.view.strides[run[-1]], GATHERED_COST)
        cost = per_vector * (-(-extent // lanes) * lanes) / extent
        if i < kept:
            cost += lanes / extent  # a row has a beginning and an end
        else:
            cost *= 1.0 + lanes / 2 / folded  # it ends with a fold across the vector
        if cost <= least:
            least, best = cost, i
    return best


def _short(runs: Sequence[tuple[int, ...]], extents: Sequence[int], kept: int) -> list[int]:
    """The loops that may be interleaved with another one."""
    first = kept if kept < len(runs) else 0
    return [r for r, extent in enumerate(extents) if 2 <= extent <= MOST_INTERLEAVED and r >= first and runs[r]]


def _is_woven(
    view: View, lane: int, runs: Sequence[tuple[int, ...]], extents: Sequence[int], short: Sequence[int]
) -> bool:
    """Whether a view is contiguous over the lane loop and a short one together."""
    stride = view.strides[runs[lane][-1]]
    return any([r != lane and not view.edges and (view.strides[runs[r][-1]], extents[r]) == (1, stride) for r in short])


def _pick_cross(
    runs: Sequence[tuple[int, ...]], lane: int, shape: Sequence[int], views: Sequence[View], lanes: int
) -> int | None:
    """A loop along which every operand that jumps along the lane is contiguous, if it and the lane loop each fill half
    a vector. None if there is none."""
    jumping = [v for v in views if v.strides[runs[lane][-1]] not in (0, 1)] if runs[lane] else []
    if not jumping or any([v.edges and not blank(v.fill) for v in views]):
        return None
    for i, run in enumerate(runs):
        runs_on = i != lane and run and all(v.strides[run[-1]] == 1 for v in jumping)
        if runs_on and 2 * min(_extent(run, shape), _extent(runs[lane], shape)) >= lanes:
            return i
    return None


def without_cross(loops: Loops, views: Sequence[View]) -> Loops:
    """The same loops, if no dim is crossed: another one may be interleaved with the lane instead."""
    return loops._replace(cross=None, interleaved=_pick_interleaved(loops, views))


def _pick_interleaved(loops: Loops, views: Sequence[View]) -> tuple[int, int] | None:
    """A short loop, with its extent, along which some operand is contiguous whose stride along the lane is that extent.
    None if there is none."""
    for i in _short(loops.dims, loops.extents, loops.kept) if loops.dims[loops.lane] else ():
        if i != loops.lane and any([_is_woven(v, loops.lane, loops.dims, loops.extents, (i,)) for v in views]):
            return i, loops.extents[i]
    return None
