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


def _power_sum(x: Any, order: float) -> Any:
    return np.sum(np.abs(x.astype(np.float64)) ** order)


def _pull_power_sum(x: Any, order: float) -> Any:
    wide = x.astype(np.float64)
    return order * np.abs(wide) ** (order - 1) * np.sign(wide)


def _order(d: Draw, name: str) -> tuple[int, ...]:
    dims = list(range(len(d.shape_of(name))))
    return tuple(dims.pop(d.integer(0, len(dims) - 1)) for _ in range(len(dims)))


def _packed(d: Draw) -> tuple[list[str], dict[str, Any]]:
    dtype = d.choice(FLOATS)
    names = [d.new(d.shape(d.integer(0, 3)), dtype, "grid") for _ in range(2)]
    return names, {"orders": tuple(_order(d, name) for name in names), "dtype": dtype}


def _whole(p: dict[str, Any], *parts: Any) -> Any:
    return np.concatenate([x.transpose(order).reshape(-1) for x, order in zip(parts, p["orders"], strict=True)])


def _pull_whole(p: dict[str, Any], g: Any, *parts: Any) -> list[Any]:
    cuts = np.split(g, [parts[0].size])
    orders = p["orders"]
    shapes = [[x.shape[d] for d in order] for x, order in zip(parts, orders, strict=True)]
    return [c.reshape(s).transpose(np.argsort(o)) for c, s, o in zip(cuts, shapes, orders, strict=True)]


def _parts(d: Draw) -> tuple[list[str], dict[str, Any]]:
    dtype, size = d.choice(FLOATS), d.integer(1, 4)
    names = [d.new(d.shape(d.integer(0, 3)), dtype, "grid")]
    return names, {"size": size, "rank": d.integer(0, size - 1), "dtype": dtype}


def _padded(x: Any, size: int) -> Any:
    """The elements and zeros after them as rows of one length."""
    length = -(-x.size // size)
    return np.concatenate([x.reshape(-1), np.zeros(size * length - x.size, x.dtype)]).reshape(size, length)


def _pull_padded(g: Any, x: Any) -> Any:
    return g.reshape(-1)[: x.size].reshape(x.shape)


ROWS = [
    Row(
        "move Pack",
        "apply(collective.Pack({orders}, {dtype}), {0}, {1})",
        _packed,
        _whole,
        exact="moves",
        pull=_pull_whole,
        weight=0.1,
    ),
    Row(
        "move Unpack",
        "apply(collective.Unpack(tuple(tuple(x.shape) for x in ({0}, {1})), {orders}, {dtype}, 1), "
        "apply(collective.Pack({orders}, {dtype}), {0}, {1}))",
        _packed,
        lambda p, x, y: (x, y),
        dtype="each",
        exact="moves",
        results=2,
        weight=0.1,
    ),
    Row(
        "move OwnParts",
        "apply(collective.OwnParts({rank}, {size}), {0}, {0})",
        _parts,
        lambda p, x: _padded(x, p["size"])[p["rank"]],
        exact="moves",
        pull=lambda p, g, x: [_pull_padded(np.where(np.arange(p["size"])[:, None] == p["rank"], g, 0), x)],
        weight=0.1,
    ),
    Row(
        "move PackParts",
        "apply(collective.PackParts({size}, {dtype}), {0})",
        _parts,
        lambda p, x: _padded(x, p["size"]),
        exact="moves",
        pull=lambda p, g, x: [_pull_padded(g, x)],
        weight=0.1,
    ),
    Row(
        "move TakeParts",
        "apply(collective.TakeParts(), {0}, apply(collective.PackParts({size}, {dtype}), {0}))",
        _parts,
        lambda p, x: x,
        exact="moves",
        pull=lambda p, g, x: [g],
        weight=0.1,
    ),
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
        "elementwise Narrowed",
        "apply(precision.Narrowed(), {0})",
        lambda d: ([d.tensor(("float16", "bfloat16"))], {}),
        lambda p, x: x,
        exact="moves",
        pull=lambda p, g, x: [g],
        weight=0.1,
    ),
    Row(
        "elementwise PowerSums",
        "apply(precision.PowerSums({ord}), {0}, {1})",
        lambda d: (_two_gradients(d)[0], {"ord": d.choice([1.0, 2.0, 3.0])}),
        lambda p, *xs: np.array([_power_sum(x, p["ord"]) for x in xs], np.float64),
        dtype="float64",
        exact="rounded",
        pull=lambda p, g, *xs: [k * _pull_power_sum(x, p["ord"]) for k, x in zip(g, xs, strict=True)],
        weight=0.1,
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
