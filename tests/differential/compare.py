"""Whether what tengen gives is what the truth says, as far as the truth can say it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .dtypes import ROUNDING, Array, kind
from .pull import VAGUE
from .truth import Known

FACTOR = 16.0
"""How much further than the versions of the truth lie apart a result may lie."""


def tolerance(known: Known) -> Array:
    """For each element; inf where the versions cannot agree."""
    exact, *others = known.versions
    with np.errstate(all="ignore"):
        apart = np.zeros(exact.shape)
        for other in others:
            same = (exact == other) | (np.isnan(exact) & np.isnan(other))
            gap = np.abs(np.asarray(exact, np.float64) - other)
            apart = np.maximum(apart, np.where(same, 0.0, np.where(np.isnan(gap), np.inf, gap)))
        if kind(known.dtype) != "float":
            return np.where(apart > 0, np.inf, 0.0)
        off = apart > 0
        if known.dtype == "float64":
            off = np.asarray(
                off.any()
            )  # the versions are rounded to it themselves, so that some of an element meet by chance
        common = np.quantile(apart, 0.75) if apart.size else 0.0
        size = np.where(np.isfinite(exact), np.abs(exact), 0.0)
        made: Array = (
            FACTOR * apart
            + 4.0 * (common if np.isfinite(common) else np.inf)
            + np.where(off, 4.0, 1.0) * ROUNDING[known.dtype] * size
        )
        return made + (1e-30 if known.dtype in ("float32", "float64") else 1e-6 if known.dtype == "float16" else 1e-37)


def agree(dtype: str, array: Array, known: Known) -> str | None:
    """None, or what is wrong."""
    exact = known.versions[0]
    if array.shape != exact.shape:
        return f"has the shape {array.shape} instead of {exact.shape}"
    if dtype != known.dtype:
        return f"has the dtype {dtype} instead of {known.dtype}"
    wide: Any = array.astype(exact.dtype)
    limit = tolerance(known)
    with np.errstate(all="ignore"):
        good = (wide == exact) | (np.abs(np.asarray(wide, np.float64) - exact) <= limit) | (limit > VAGUE / 1e5)
    if exact.dtype.kind == "f":
        good |= np.isnan(wide) & np.isnan(exact)
    return None if good.all() else _told(wide, exact, good)


def _told(got: Array, wanted: Array, good: Array) -> str:
    places = np.argwhere(~good)
    first = tuple(int(i) for i in places[0])
    both = (
        f"{got.tolist()} instead of {wanted.tolist()}" if got.size <= 32 else f"{got[first]} instead of {wanted[first]}"
    )
    return f"is wrong in {len(places)} of {got.size} elements, first at {first}: {both}"


def equal(array: Array, other: Array, exact: bool, known: Known | None) -> str | None:
    """Whether the results of two modes are the same, bit for bit if `exact`. What is known is compared with the truth already."""
    sure = exact
    exact = exact and known is not None
    if array.shape != other.shape or array.dtype != other.dtype:
        return f"{array.dtype}{array.shape} and {other.dtype}{other.shape}"
    if known is not None and not exact:
        return None
    same = (array == other) | ((array != array) & (other != other))
    if known is not None:
        same |= tolerance(known) > VAGUE / 1e5
    elif array.dtype.kind == "f":
        # Of what is not known nothing tells how exact it is.
        level = np.abs(other[np.isfinite(other)]).max(initial=0.0)
        with np.errstate(all="ignore"):
            same |= np.abs(array.astype(float) - other) <= 2e-2 * level
        if not sure:
            same |= ~(np.isfinite(array) & np.isfinite(other))  # one more rounding, and 0 · inf is inf
    return None if same.all() else _told(array, other, same)
