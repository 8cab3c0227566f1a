"""Convolutions of volumes: (N, IC, D, H, W) and (OC, IC / groups, kd, kh, kw)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from .row import Draw, Row

Params = dict[str, Any]


def _parts(p: Params, size: Sequence[int], w: Any) -> Iterator[tuple[slice, slice, tuple[int, ...], tuple[Any, ...]]]:
    """For each group and tap: channels of the input and of the result, the tap, and which places of the padded input it sees."""
    groups = p["groups"]
    ic, oc = w.shape[1], w.shape[0] // groups
    for g, tap in product(range(groups), np.ndindex(*w.shape[2:])):
        zipped = zip(tap, size, p["stride"], p["dilation"], strict=True)
        seen = [slice(t * d, t * d + (n - 1) * s + 1, s) for t, n, s, d in zipped]
        yield slice(g * ic, (g + 1) * ic), slice(g * oc, (g + 1) * oc), tap, (slice(None), slice(None), *seen)


def _padded(p: Params, x: Any) -> Any:
    return np.pad(x, [(0, 0), (0, 0), *((n, n) for n in p["padding"])])


def _count(p: Params, size: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
    zipped = zip(size, kernel, p["stride"], p["padding"], p["dilation"], strict=True)
    return tuple((s + 2 * q - d * (k - 1) - 1) // t + 1 for s, k, t, q, d in zipped)


def convolved(p: Params, x: Any, w: Any) -> Any:
    size = _count(p, x.shape[2:], w.shape[2:])
    x, y = _padded(p, x), np.zeros((x.shape[0], w.shape[0], *size))
    for i, o, tap, seen in _parts(p, size, w):
        y[:, o] += np.einsum("nc...,oc->no...", x[:, i][seen], w[o][(..., *tap)])
    return y


def by_data(p: Params, g: Any, w: Any, size: Sequence[int]) -> Any:
    x = _padded(p, np.zeros((g.shape[0], w.shape[1] * p["groups"], *size)))
    for i, o, tap, seen in _parts(p, g.shape[2:], w):
        x[:, i][seen] += np.einsum("no...,oc->nc...", g[:, o], w[o][(..., *tap)])
    return x[(..., *[slice(q, q + s) for q, s in zip(p["padding"], size, strict=True)])]


def by_weight(p: Params, x: Any, g: Any, w: Any) -> Any:
    x, made = _padded(p, x), np.zeros(w.shape)
    for i, o, tap, seen in _parts(p, g.shape[2:], w):
        made[o][(..., *tap)] = np.tensordot(g[:, o], x[:, i][seen], ((0, 2, 3, 4), (0, 2, 3, 4)))
    return made


def _pull(p: Params, g: Any, x: Any, w: Any) -> Any:
    return [by_data(p, g, w, x.shape[2:]), by_weight(p, x, g, w)]


def _volume(d: Draw) -> tuple[str, Params]:
    """An input, and the geometry of a window with its kernel and groups."""
    shape = (d.integer(0 if d.chance(0.1) else 1, 2), d.choice([1, 2, 3, 4, 16]), *(d.integer(2, 6) for _ in range(3)))
    params = {
        "stride": tuple(d.integer(1, 2) for _ in range(3)),
        "padding": d.choice([(0, 0, 0), (1, 1, 1), (0, 1, 0), (1, 0, 2)]),
        "dilation": d.choice([(1, 1, 1), (1, 1, 1), (1, 2, 1), (2, 1, 2)]),
        "groups": d.choice([1, 1, shape[1], 2 if shape[1] % 2 == 0 else 1]),
        "kernel": d.choice([(1, 1, 1), (3, 3, 3), (2, 1, 3), (1, 3, 3), (2, 2, 2)]),
    }
    return d.viewed(d.like(shape, ("float32", "float64", "bfloat16"))), params


def _conv3d(d: Draw) -> Any:
    x, params = _volume(d)
    kernel, shape = params.pop("kernel"), d.shape_of(x)
    if len(shape) != 5 or shape[1] % params["groups"] or min(_count(params, shape[2:], kernel)) < 1:
        return None
    oc = params["groups"] * d.choice([1, 2, 3])
    return [x, d.viewed(d.like((oc, shape[1] // params["groups"], *kernel), (d.dtype_of(x),)))], params


def _transposed(d: Draw) -> Any:
    x, params = _volume(d)
    kernel, shape = params.pop("kernel"), d.shape_of(x)
    if len(shape) != 5 or shape[1] % params["groups"]:
        return None
    zipped = zip(shape[2:], kernel, params["stride"], params["padding"], params["dilation"], strict=True)
    size = tuple((s - 1) * t - 2 * p + d * (k - 1) + 1 for s, k, t, p, d in zipped)
    if min(size) < 1 or prod(size) > 4000:
        return None
    return [x, d.like((shape[1], d.choice([1, 2, 3]), *kernel), (d.dtype_of(x),))], {**params, "size": size}


GEOMETRY = "{stride}, {padding}, {dilation}, {groups}"
ROWS: list[Row] = [
    Row("conv conv3d", f"F.conv3d({{0}}, {{1}}, None, {GEOMETRY})", _conv3d, convolved, "promoted", "sum", pull=_pull),
    Row(
        "conv conv_transpose3d",
        "F.conv_transpose3d({0}, {1}, None, {stride}, {padding}, 0, {dilation}, {groups})",
        _transposed,
        lambda p, x, w: by_data(p, x, w, p["size"]),
        "promoted",
        "sum",
        pull=lambda p, g, x, w: [convolved(p, g, w), by_weight(p, g, x, w)],
    ),
]
