"""Loops over the first axis that no function of `functional` stands for."""

from __future__ import annotations

from typing import Any

import numpy as np

from .row import Draw, Row

STEPS = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0), "identity": lambda x: x}


def _scan(d: Draw) -> Any:
    t, n, h, dtype = (
        d.integer(0 if d.chance(0.1) else 1, 5),
        d.integer(1, 3),
        d.integer(1, 3),
        d.choice(["float32", "float64"]),
    )
    reverse, kind = d.chance(0.5), d.choice(list(STEPS))
    return [d.like(s, (dtype,)) for s in ((n, h), (t, n, h), (h, h))], {"kind": kind, "reverse": reverse}


def _scanned(p: Any, first: Any, a: Any, w: Any) -> Any:
    made, h, order = np.zeros(a.shape), first, range(a.shape[0])
    for t in reversed(order) if p["reverse"] else order:
        h = made[t] = STEPS[p["kind"]](a[t] + h @ w.T)
    return made


ROWS = [
    Row(
        "recurrent scan",
        "apply(Scan(RNNStep({kind}), 1, 1, 0, {reverse}), {0}, {1}, {2})",
        _scan,
        _scanned,
        "promoted",
        "formula",
        weight=0.3,
    ),
]
