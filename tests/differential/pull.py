"""Gradients of one step in NumPy: the row's own rule, or what follows from its meaning.

Of rows that move elements the gradient moves back; of element-wise ones the derivative is a difference, as for all others, element by
element, while there are few. Where a function has a corner or no finite value, and its row says nothing, the gradient is `VAGUE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .dtypes import Array, kind
from .program import Step
from .row import Row, Unknown

VAGUE = 1e30
"""Stands for a gradient that nobody can know; the versions of it differ, so that nothing that depends on it is compared."""
MOST = 150
"""Elements of the operands of a function that is differenced element by element."""
STEP = 1e-6
DIFFERENCED = 1e-7
"""How far a difference is from the derivative, at most, relative to what it is part of."""
CLOSE = 1e-9
"""How far it is at least: what is left of the roundings of two numbers of size 1, divided by the step."""
BASE = 1 << 40


def has_rule(row: Row) -> bool:
    """Whether the gradient is exact."""
    return row.pull is not None or row.slopes is not None or row.exact == "moves"


def pulled(row: Row, step: Step, dtypes: Sequence[str], grads: Sequence[Any], arrays: Sequence[Array]) -> list[Any]:
    """The gradients of the inputs, None for those that have none. Raises Unknown where that is not known."""
    params = dict(step.params)
    floats = [kind(d) == "float" for d in dtypes]
    if row.pull is not None:
        made = list(row.pull(params, grads[0], *arrays)) if grads[0] is not None else [None] * len(arrays)
    elif row.exact == "moves":
        made = _moved_back(row, params, floats, grads, arrays)
    elif row.elementwise:
        made = _elementwise(row, params, floats, grads[0], arrays)
    else:
        made = _differences(row, params, floats, grads, arrays)
    return [g if f else None for g, f in zip(made, floats, strict=True)]


def fitted(g: Any, shape: Sequence[int]) -> Any:
    """Summed over the axes along which an operand of this shape was broadcast."""
    g = g.sum(tuple(range(g.ndim - len(shape))))
    wide = tuple(a for a, s in enumerate(shape) if s == 1 and g.shape[a] != 1)
    return g.sum(wide, keepdims=True) if wide else g


def _meaning(row: Row) -> Any:
    if row.truth is None:
        raise Unknown(f"{row.name} has no truth")
    return row.truth


def results(made: Any) -> list[Any]:
    return list(made) if isinstance(made, tuple) else [made]


def _moved_back(
    row: Row, params: Any, floats: Sequence[bool], grads: Sequence[Any], arrays: Sequence[Array]
) -> list[Any]:
    """Elements are replaced by their places, moved, and read again."""
    numbered, start = [], BASE
    for array, is_float in zip(arrays, floats, strict=True):
        if is_float:
            numbered.append(np.arange(start, start + array.size, dtype=np.float64).reshape(array.shape))
            start += array.size
        else:
            numbered.append(array)
    total = np.zeros(start - BASE)
    for places, g in zip(results(_meaning(row)(params, *numbered)), grads, strict=True):
        if g is None:
            continue
        there = (places >= BASE) & (places < start)
        np.add.at(total, places[there].astype(np.int64) - BASE, g[there])
    made: list[Any] = []
    position = 0
    for array, is_float in zip(arrays, floats, strict=True):
        if is_float:
            made.append(total[position : position + array.size].reshape(array.shape))
            position += array.size
        else:
            made.append(None)
    return made


def _slope(function: Any, x: Array) -> Array:
    """Of an element-wise function of x; nan where it has no finite one."""
    h = STEP * np.maximum(1.0, np.abs(x))
    here, right, left = function(x), function(x + h), function(x - h)
    ahead, behind = (right - here) / h, (here - left) / h
    slope, nearer = (right - left) / (2 * h), (function(x + h / 2) - function(x - h / 2)) / h
    corner = np.abs(ahead - behind) > 1e-3 * (1 + np.abs(ahead) + np.abs(behind))
    jump = np.abs(slope - nearer) > 1e-3 * (1 + np.abs(slope) + np.abs(nearer))
    slope = np.where(corner | jump, VAGUE, slope)
    return np.where(np.isfinite(ahead) & np.isfinite(behind), slope, np.nan)


def _elementwise(row: Row, params: Any, floats: Sequence[bool], g: Any, arrays: Sequence[Array]) -> list[Any]:
    if g is None:
        return [None] * len(arrays)
    truth = _meaning(row)
    slopes: Sequence[Any]
    if row.slopes is not None:
        numbers = [np.asarray(params["number"])] if "number" in params else []
        slopes = row.slopes(*arrays, *numbers)
    else:
        slopes = [
            _slope(lambda v, i=i: np.asarray(truth(params, *arrays[:i], v, *arrays[i + 1 :]), np.float64), np.broadcast_to(x, g.shape)) if f else None
            for i, (x, f) in enumerate(zip(arrays, floats, strict=True))
        ]  # fmt: skip
    known = row.slopes is not None
    return [
        None if not f else fitted(_chained(g, s, known), x.shape)
        for s, x, f in zip(slopes, arrays, floats, strict=True)
    ]


def _chained(g: Array, slope: Any, known: bool) -> Array:
    """What comes back through an element-wise function. Nothing that goes in stays nothing, but not times a slope that is not finite: that
    is nan for some rules and 0 for others. known: where it is not finite, the slope is what the row says."""
    lost = ~np.isfinite(g) & (slope == 0)  # nor is infinity times a slope of 0
    without = np.where((g != 0) & known & ~lost, g * slope, VAGUE)
    return np.where((np.abs(slope) < VAGUE * 1e-9) & ~lost, np.where(g == 0, 0.0, g * slope), without)


def _few_digits(slopes: Array) -> Array:
    """What is off a number of few digits by no more than a difference is, is that number: so that it is equal to it where they are compared."""
    near = np.round(slopes * 1024) / 1024
    return np.where(np.abs(slopes - near) < DIFFERENCED * 0.1 * np.abs(near), near, slopes)


def _differences(
    row: Row, params: Any, floats: Sequence[bool], grads: Sequence[Any], arrays: Sequence[Array]
) -> list[Any]:
    if sum(a.size for a, f in zip(arrays, floats, strict=True) if f) > MOST:
        raise Unknown(f"{row.name} is too large to be differenced")
    truth = _meaning(row)
    ys = [np.asarray(y) for y in results(truth(params, *arrays))]
    lost = [
        None if g is None else ~((np.abs(g) < VAGUE * 1e-9) & np.isfinite(y)) for g, y in zip(grads, ys, strict=True)
    ]
    if row.exact == "formula" and not all(np.isfinite(a).all() for a, f in zip(arrays, floats, strict=True) if f):
        # A finite result of an operand that is not: some slope is 0 there, and the chain rule multiplies it by infinity.
        known = [np.where(np.isfinite(a), a, np.nan) if f else a for a, f in zip(arrays, floats, strict=True)]
        for m, y in zip(lost, results(truth(params, *known)), strict=True):
            if m is not None:
                m |= np.isnan(y)
    sure = [None if g is None else np.where(m, 0.0, g) for g, m in zip(grads, lost, strict=True)]

    def weighted(*moved: Array) -> float:
        parts = zip(results(truth(params, *moved)), sure, lost, strict=True)
        return sum(float(np.where(m, 0.0, np.asarray(y, np.float64) * g).sum()) for y, g, m in parts if g is not None)

    def doubtful(i: int, place: Any) -> bool:
        """Whether something that comes back, and that nobody knows, may belong to an element: then the result there hangs on it,
        if only by 0, and 0 times an unknown number is not known."""
        if not any(m is not None and m.any() for m in lost):
            return False
        moved = np.array(arrays[i])
        moved[place] = np.nan
        try:
            made = results(truth(params, *arrays[:i], moved, *arrays[i + 1 :]))
        except Unknown:
            return True
        return any(bool(np.isnan(y)[m].any()) for y, m in zip(made, lost, strict=True) if m is not None)

    here, made = weighted(*arrays), list[Any]()
    for i, (array, is_float) in enumerate(zip(arrays, floats, strict=True)):
        if not is_float:
            made.append(None)
            continue
        slope = np.zeros(array.shape)
        for place in np.ndindex(*array.shape):
            h = STEP * max(1.0, abs(array[place]))
            ends = []
            for sign in (1, -1):
                moved = np.array(array)
                moved[place] += sign * h
                ends.append(weighted(*arrays[:i], moved, *arrays[i + 1 :]))
            ahead, behind = (ends[0] - here) / h, (here - ends[1]) / h
            clear = (
                np.isfinite(ahead)
                and np.isfinite(behind)
                and abs(ahead - behind) <= 1e-3 * (1 + abs(ahead) + abs(behind))
            )
            slope[place] = (ends[0] - ends[1]) / (2 * h) if clear and not doubtful(i, place) else VAGUE
        made.append(_few_digits(slope))
    return made
