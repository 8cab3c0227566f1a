"""Ops that no function of `functional` stands for, or that want a world of processes: they are applied as they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from .dtypes import FLOATS
from .row import Draw, Row

#: Collective op of one process → its parameters after group and size.
COLLECTIVES = {
    "AllReduce": "{mode}", "ReduceSum": "", "BroadcastFrom": "", "AllGather": "{axis}", "ReduceScatter": "{axis}", "GatherTo": "{axis}",
    "ScatterFrom": "{axis}", "AllToAll": "{axis}, 0",
}  # fmt: skip


def _collective(d: Draw) -> tuple[list[str], dict[str, Any]]:
    name = d.tensor(ranks=(1, 2, 3))
    return [name], {"mode": d.choice(["SUM", "MAX", "MIN"]), "axis": d.integer(0, len(d.shape_of(name)) - 1)}


def _two_gradients(d: Draw) -> tuple[list[str], dict[str, Any]]:
    """With numbers that stay finite in every dtype."""
    names = [d.new(d.shape(d.integer(0, 2)), d.choice(FLOATS), "grid") for _ in range(2)]
    return names, {"factor": d.choice([0.5, 2.0, 0.125])}


def _unscaled(p: dict[str, Any], x: Any, y: Any) -> Any:
    scaled = x * p["factor"], y * p["factor"]
    return (*scaled, np.float64(sum((~np.isfinite(s)).sum() for s in scaled)))


ROWS = [
    *(
        Row(
            f"move {kind}",
            f"apply(collective.{kind}('0', 1{', ' * bool(parameters)}{parameters}), {{0}})",
            _collective,
            lambda p, x: x,
            exact="moves",
            pull=lambda p, g, x: [g],
            weight=0.05,
        )
        for kind, parameters in COLLECTIVES.items()
    ),
    Row(
        "elementwise Converted",
        "apply(precision.Converted(Elemwise('SQUARE'), 'float32'), {0})",
        lambda d: ([d.floating()], {}),
        lambda p, x: np.square(x),
        dtype="statistics",
        exact="rounded",
        pull=lambda p, g, x: [2.0 * g * x],
        weight=0.3,
    ),
    Row(
        "elementwise Unscale",
        "apply(precision.Unscale(), {0}, {1}, {factor})",
        _two_gradients,
        _unscaled,
        dtype="each and a count",
        exact="rounded",
        results=3,
        weight=0.3,
    ),
]
