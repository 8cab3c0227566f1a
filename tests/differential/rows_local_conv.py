"""Convolutions whose weight, window or region differs from place to place, and means over regions."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .row import Draw, Row
from .rows_shape import windows
from .rows_vision import _read

Params = dict[str, Any]
FLOATS = ("float32", "float64", "bfloat16")
FULL = ("float32", "float64")
BETWEEN = {"filter": "linear", "border": "constant", "fill": 0.0}


def _seen(p: Params, x: Any, kernel: Any) -> Any:
    """(N, groups, C / groups, OH, OW, kh, kw)"""
    seen = windows(x, kernel, p["padding"], p["stride"], p["dilation"])
    return seen.reshape(seen.shape[0], p["groups"], seen.shape[1] // p["groups"], *seen.shape[2:])


def _flat(y: Any) -> Any:
    return y.reshape(y.shape[0], y.shape[1] * y.shape[2], *y.shape[3:])


def _local(p: Params, x: Any, w: Any) -> Any:
    return _flat(np.einsum("ngchwij,ghwcijo->ngohw", _seen(p, x, w.shape[4:6]), w))


def _restricted(p: Params, x: Any, w: Any, rin: Any, rout: Any) -> Any:
    one = {**p, "groups": 1}
    alike = _seen(one, rin[:, None], w.shape[3:]) == rout[:, None, None, :, :, None, None]
    return _flat(np.einsum("ngchwij,gocij->ngohw", np.where(alike, _seen(p, x, w.shape[3:]), 0.0), w))


def _by_image(p: Params, x: Any, w: Any, bias: Any) -> Any:
    seen = _seen({**p, "groups": 1}, x, w.shape[3:])[:, 0]
    return np.einsum("nchwij,nocij->nohw", seen, w) + bias.reshape(1, -1, 1, 1)


def _deformable(p: Params, x: Any, w: Any, offset: Any, mask: Any) -> Any:
    (n, channels), (oc, ic, kh, kw), size = x.shape[:2], w.shape, mask.shape[2:]
    parts, groups = mask.shape[1] // (kh * kw), p["groups"]
    i, j, a, b = np.ogrid[:kh, :kw, : size[0], : size[1]]
    starts = [
        o * s - q + t * d
        for o, t, s, q, d in zip((a, b), (i, j), p["stride"], p["padding"], p["dilation"], strict=True)
    ]
    apart = offset.reshape(n * parts, kh, kw, 2, *size)
    rows, columns = (apart[:, :, :, axis] + start for axis, start in enumerate(starts))
    image = x.reshape(n * parts, channels // parts, *x.shape[2:])
    seen = _read(image, np.arange(n * parts), rows, columns, BETWEEN) * mask.reshape(n * parts, 1, kh, kw, *size)
    seen = seen.reshape(n, groups, ic, kh, kw, *size)
    return _flat(np.einsum("ngcijhw,gocij->ngohw", seen, w.reshape(groups, oc // groups, ic, kh, kw)))


def _pooled(p: Params, x: Any, corners: Any, trans: Any) -> Any:
    points, positions, inside = p["points"], [], []
    whole = np.sign(corners) * np.floor(np.abs(corners) + 0.5)
    for axis in (0, 1):
        start, end = (whole[:, k] * p["scale"] - 0.5 for k in (1 - axis, 3 - axis))
        extent = np.maximum(end + p["scale"] - start, 0.1)
        bins, steps = np.arange(2.0).reshape(*[1] * axis, 2, *[1] * (1 - axis)), np.arange(points) / points
        place = bins[..., None, None] + steps.reshape(*[1] * axis, points, *[1] * (1 - axis))
        moved = 0.0 if p["still"] else (trans[:, 1 - axis] * 0.25)[..., None, None]
        position = start[:, None, None, None, None] + (place / 2 + moved) * extent[:, None, None, None, None]
        size = x.shape[2 + axis]
        inside.append((position >= -0.5) & (position <= size - 0.5))
        positions.append(position)
    rows, columns = np.broadcast_arrays(*positions)
    there = (inside[0] & inside[1])[:, None]
    seen = _read(x, np.zeros(len(corners), int), rows, columns, {**BETWEEN, "border": "replicate"})
    there = np.broadcast_to(there, seen.shape)
    return np.where(there, seen, 0.0).sum((-1, -2)) / np.maximum(there.sum((-1, -2)), 1)


def _geometry(d: Draw, dtypes: tuple[str, ...]) -> Any:
    """An input, a window and the size of the result."""
    x = d.tensor(dtypes, ranks=(4,), empty=False, most=200)
    shape, kernel = d.shape_of(x), d.choice([(1, 1), (2, 2), (3, 3), (1, 3)])
    params = {
        "stride": (d.integer(1, 2), d.integer(1, 2)),
        "padding": d.choice([(0, 0), (1, 1), (0, 1)]),
        "dilation": d.choice([(1, 1), (1, 1), (1, 2)]),
        "groups": d.choice([1, shape[1]]),
    }
    zipped = zip(shape[2:], kernel, params["stride"], params["padding"], params["dilation"], strict=True)
    size = tuple((s + 2 * q - g * (k - 1) - 1) // t + 1 for s, k, t, q, g in zipped)
    return None if min(size) < 1 or prod(size) > 60 else (x, shape, kernel, params, size)


def _draw_local(d: Draw) -> Any:
    made = _geometry(d, FLOATS)
    if made is None:
        return None
    x, shape, kernel, params, size = made
    groups = params["groups"]
    return [x, d.like((groups, *size, shape[1] // groups, *kernel, d.integer(1, 3)), (d.dtype_of(x),))], params


def _draw_restricted(d: Draw) -> Any:
    made = _geometry(d, FLOATS)
    if made is None:
        return None
    x, shape, kernel, params, size = made
    weight = d.like((params["groups"], d.integer(1, 3), shape[1] // params["groups"], *kernel), (d.dtype_of(x),))
    regions = [d.new((shape[0], *extents), "int32", "small") for extents in (shape[2:], size)]
    return [x, weight, *regions], params


def _draw_by_image(d: Draw) -> Any:
    made = _geometry(d, FLOATS)
    if made is None:
        return None
    x, shape, kernel, params, _ = made
    oc, kind = d.integer(1, 3), (d.dtype_of(x),)
    return [x, d.like((shape[0], oc, shape[1], *kernel), kind), d.like((1, oc, 1, 1), kind)], {**params, "groups": 1}


def _draw_deformable(d: Draw) -> Any:
    made = _geometry(d, FULL)
    if made is None:
        return None
    x, shape, kernel, params, size = made
    kind, taps = d.dtype_of(x), prod(kernel) * d.choice([1, shape[1]])
    weight = d.like((params["groups"] * d.integer(1, 2), shape[1] // params["groups"], *kernel), (kind,))
    offset, mask = (d.new((shape[0], n * taps, *size), kind, "grid") for n in (2, 1))
    return [x, weight, offset, mask], params


def _draw_pooled(d: Draw) -> Any:
    x = d.tensor(FULL, ranks=(4,), empty=False, most=200)
    corners, trans = d.new((3, 4), d.dtype_of(x), "grid"), d.new((3, 2, 2, 2), d.dtype_of(x), "grid")
    return [x, corners, trans], {"still": d.chance(0.3), "points": d.integer(1, 2), "scale": d.choice([0.5, 1.0])}


GEOMETRY = "{stride}, {padding}, {dilation}"
ROWS = [
    Row("conv local_conv2d", f"F.local_conv2d({{0}}, {{1}}, None, {GEOMETRY})", _draw_local, _local, exact="sum"),
    Row(
        "conv region_restricted_conv",
        f"F.region_restricted_conv({{0}}, {{1}}, {{2}}, {{3}}, None, {GEOMETRY}, {{groups}})",
        _draw_restricted,
        _restricted,
        exact="sum",
    ),
    Row(
        "conv batch_conv_bias",
        f"F.quantized.batch_conv_bias_activation({{0}}, {{1}}, {{2}}, None, {GEOMETRY})",
        _draw_by_image,
        _by_image,
        exact="sum",
    ),
    Row(
        "conv deformable_conv2d",
        f"F.deformable_conv2d({{0}}, {{1}}, {{2}}, {{3}}, None, {GEOMETRY}, {{groups}})",
        _draw_deformable,
        _deformable,
        exact="formula",
    ),
    Row(
        "pool deformable_psroi_pooling",
        "F.deformable_psroi_pooling({0}, F.concat([F.zeros((3, 1), dtype={1}.dtype), {1}], 1), {2}, {still}, 2, 2, 2, {points}, {scale}, 0.25)",
        _draw_pooled,
        _pooled,
        exact="formula",
    ),
]
