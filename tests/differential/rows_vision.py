"""Images that are read at computed positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .row import Draw, Row, Unknown

BORDERS = ["replicate", "reflect", "reflect_101", "wrap", "constant"]


def _pixel(index: Any, extent: int, border: str) -> tuple[Any, Any]:
    """The pixels that stand for these, and whether they are in the image."""
    inside = (index >= 0) & (index < extent)
    if border == "wrap":
        return index % extent, True
    if border == "reflect":
        turned = index % (2 * extent)
        return np.minimum(turned, 2 * extent - 1 - turned), True
    if border == "reflect_101":
        period = max(2 * extent - 2, 1)
        return np.minimum(index % period, period - index % period), True
    return np.clip(index, 0, extent - 1), inside if border == "constant" else True


def _read(x: Any, image: Any, rows: Any, columns: Any, p: dict[str, Any]) -> Any:
    """(N, C, H, W) at positions (M, …): (M, C, …)."""
    if not (np.abs(rows) < 1e6).all() or not (np.abs(columns) < 1e6).all():
        raise Unknown("positions that are far away or no numbers")
    total, linear = 0.0, p["filter"] == "linear"
    if p["border"] in ("replicate", "constant"):
        # Farther out all is border; half-way between two of its pixels, as one with the weight 0 would make NaN of an infinite one.
        out = 1.5 if p["border"] == "constant" else 0.5
        rows, columns = (np.clip(v, -out, e - 1 + out) for v, e in zip((rows, columns), x.shape[2:], strict=True))
    low = [np.floor(v) if linear else np.rint(v) for v in (rows, columns)]
    for down in range(1 + linear):
        for right in range(1 + linear):
            (i, i_in), (j, j_in) = (
                _pixel(v.astype(int) + k, e, p["border"])
                for v, k, e in zip(low, (down, right), x.shape[2:], strict=True)
            )
            n = image.reshape(-1, *[1] * (rows.ndim - 1))
            seen = np.moveaxis(x, 1, -1)[n, i, j]
            seen = np.where(np.broadcast_to(i_in & j_in, rows.shape)[..., None], seen, p["fill"])
            if linear:
                weights = [
                    v - b if k else 1 - (v - b) for v, b, k in zip((rows, columns), low, (down, right), strict=True)
                ]
                share = np.broadcast_to((weights[0] * weights[1])[..., None], seen.shape)
                if (~np.isfinite(seen) & (share < 1e-6)).any():
                    raise Unknown("an infinite pixel with a weight that is 0 or not, as a position is rounded")
                seen = seen * share
            total = total + seen
    return np.moveaxis(total, -1, 1)


def _how(d: Draw) -> dict[str, Any]:
    return {
        "border": d.choice(BORDERS),
        "filter": d.choice(["linear", "linear", "nearest"]),
        "fill": d.choice([0.0, 0.5]),
    }


def _remap(d: Draw) -> Any:
    x = d.tensor(("float32", "float64"), ranks=(4,), empty=False, most=300)
    places = d.new((d.shape_of(x)[0], 2, 3, 2), d.dtype_of(x), "grid")
    return [x, places], _how(d)


def _warp(d: Draw, rows: int) -> Any:
    x = d.tensor(("float32", "float64"), ranks=(4,), empty=False, most=300)
    matrix = d.new((d.shape_of(x)[0], rows, 3), d.dtype_of(x), "grid")
    return [x, matrix], {**_how(d), "size": (2, 3), "filter": "linear"}


def _warped(p: dict[str, Any], x: Any, matrix: Any) -> Any:
    down, right = np.mgrid[: p["size"][0], : p["size"][1]]
    with np.errstate(all="ignore"):
        made = np.einsum("nkl,lij->knij", matrix, np.stack([right, down, np.ones_like(down)]).astype(np.float64))
        columns, at = made[0], made[1]
        if len(made) == 3:
            columns, at = columns / made[2], at / made[2]
    return _read(x, np.arange(len(x)), at, columns, p)


def _regions(d: Draw, x: str) -> tuple[tuple[float, ...], ...]:
    """A few regions of the images, in whole and half pixels."""
    n, _, high, wide = d.shape_of(x)
    corners = [[0.5 * d.integer(-2, 2 * s) for s in (wide, high, wide, high)] for _ in range(3)]
    return tuple((float(d.integer(0, n - 1)), *c) for c in corners)


def _roi(d: Draw, **more: Any) -> Any:
    x = d.tensor(("float32", "float64"), ranks=(4,), empty=False, most=300)
    chosen = {name: d.choice(options) for name, options in more.items()}
    return [x], {"rois": _regions(d, x), "mode": d.choice(["average", "max"]), "scale": d.choice([1.0, 0.5]), **chosen}


def _points(low: Any, high: Any, bins: int, points: int) -> tuple[Any, Any]:
    """(K, bins, points), and how many of them there are."""
    step = np.maximum(high - low, 0) / bins
    count = np.maximum(np.ceil(step), 1) if not points else np.full(step.shape, points)
    place = np.arange(int(count.max()))
    at = low[:, None, None] + np.arange(bins)[:, None] * step[:, None, None]
    return at + (place + 0.5) * (step / count)[:, None, None], count


def _roi_align(p: dict[str, Any], x: Any) -> Any:
    rois = np.array(p["rois"])
    left, top, right, bottom = (rois[:, 1:] * p["scale"] - (0.5 if p["aligned"] else 0.0)).T
    (rows, down), (columns, across) = _points(top, bottom, 2, p["points"]), _points(left, right, 3, p["points"])
    rows, columns = np.broadcast_arrays(rows[:, :, :, None, None], columns[:, None, None])
    seen = _read(x, rois[:, 0].astype(int), rows, columns, {"filter": "linear", "border": "constant", "fill": 0.0})
    inside = np.ones(seen.shape, bool)
    for axis, count in ((3, down), (5, across)):
        place = np.arange(seen.shape[axis]).reshape([-1 if d == axis else 1 for d in range(6)])
        inside &= place < count.reshape(-1, *[1] * 5)
    if p["mode"] == "max":
        return np.where(inside, seen, -np.inf).max((3, 5))
    return np.where(inside, seen, 0).sum((3, 5)) / (down * across)[:, None, None, None]


def _edges(low: Any, high: Any, bins: int, extent: int, number: int) -> list[int]:
    step = max(high - low + 1, 1) / bins
    return [int(np.clip(v + low, 0, extent)) for v in (np.floor(number * step), np.ceil((number + 1) * step))]


def _roi_pooling(p: dict[str, Any], x: Any) -> Any:
    rois = np.array(p["rois"])
    corners = np.trunc(rois[:, 1:] * p["scale"] + np.copysign(0.5, rois[:, 1:]))
    out = np.zeros((len(rois), x.shape[1], 2, 3))
    for k, i, j in np.ndindex(len(rois), 2, 3):
        left, top, right, bottom = corners[k]
        (a, b), (c, d) = _edges(top, bottom, 2, x.shape[2], i), _edges(left, right, 3, x.shape[3], j)
        seen = x[int(rois[k, 0]), :, a:b, c:d].reshape(x.shape[1], -1)
        if seen.shape[1]:
            out[k, :, i, j] = seen.max(1) if p["mode"] == "max" else seen.mean(1)
    return out


def _correlation(d: Draw) -> Any:
    x = d.tensor(("float32", "float64"), ranks=(4,), empty=False, most=150)
    kernel, reach = d.choice([(1, 1), (1, 2), (3, 1), (1, 0)])
    padding = reach + kernel // 2 + d.integer(0, 1)
    steps = {"stride1": d.choice([1, 1, 2]), "stride2": d.choice([1, 2])}
    other = d.like(d.shape_of(x), (d.dtype_of(x),))
    return [x, other], {"kernel": kernel, "reach": reach, **steps, "padding": padding}


def _correlated(p: dict[str, Any], a: Any, b: Any) -> Any:
    edge = ((0, 0), (0, 0), (p["padding"],) * 2, (p["padding"],) * 2)
    a, b, k, reach, step = np.pad(a, edge), np.pad(b, edge), p["kernel"], p["reach"], p["stride1"]
    size = [-(-(s - 2 * (reach + k // 2)) // step) for s in a.shape[2:]]
    wide, parts = reach // p["stride2"], []
    for number in range((2 * wide + 1) ** 2):
        down, right = ((v - wide) * p["stride2"] for v in divmod(number, 2 * wide + 1))
        total = 0.0
        for i, j in np.ndindex(k, k):
            first, other = (
                x[:, :, y : y + size[0] * step : step, z : z + size[1] * step : step][:, :, : size[0], : size[1]]
                for x, y, z in ((a, reach + i, reach + j), (b, reach + down + i, reach + right + j))
            )
            total = total + (first * other).sum(1)
        parts.append(total / (k * k * a.shape[1]))
    return np.stack(parts, 1)


def _colors(d: Draw) -> Any:
    shape = (d.integer(1, 2), 2, 3, 3)
    return [d.like(shape, ("float32", "float64"))], {"mode": d.choice(list(COLORS))}


#: mode → the matrix and what is added
COLORS = {
    "RGB2GRAY": ([[0.299, 0.587, 0.114]], [0]),
    "BGR2GRAY": ([[0.114, 0.587, 0.299]], [0]),
    "RGB2BGR": ([[0, 0, 1], [0, 1, 0], [1, 0, 0]], [0, 0, 0]),
    "YUV2RGB": ([[1, 2.032, 0], [1, -0.395, -0.581], [1, 0, 1.14]], [-1.016, 0.488, -0.57]),
}


def _recolored(p: dict[str, Any], x: Any) -> Any:
    matrix, added = (np.array(v) for v in COLORS[p["mode"]])
    terms = np.where(matrix != 0, x[..., None, :] * matrix, 0.0)  # a color that is not in it may be NaN
    return terms.sum(-1) + added


HOW = "border_mode={border}, interp_mode={filter}"
ROWS = [
    Row(
        "window correlation",
        "F.vision.correlation({0}, {1}, {kernel}, {reach}, {stride1}, {stride2}, {padding})",
        _correlation,
        _correlated,
        exact="formula",
        weight=0.5,
    ),
    Row("layout cvt_color", "F.vision.cvt_color({0}, {mode})", _colors, _recolored, exact="formula", weight=0.5),
    Row(
        "window roi_align",
        "F.vision.roi_align({0}, Tensor({rois}), (2, 3), {mode}, {scale}, {points}, {aligned})",
        lambda d: _roi(d, points=[0, 1, 2], aligned=[False, True]),
        _roi_align,
        exact="formula",
    ),
    Row(
        "window roi_pooling",
        "F.vision.roi_pooling({0}, Tensor({rois}), (2, 3), {mode}, {scale})",
        _roi,
        _roi_pooling,
        exact="formula",
    ),
    Row(
        "window remap",
        f"F.remap({{0}}, {{1}}, scalar={{fill}}, {HOW})",
        _remap,
        lambda p, x, m: _read(x, np.arange(len(x)), m[..., 1], m[..., 0], p),
        exact="formula",
    ),
    Row(
        "window warp_affine",
        f"F.warp_affine({{0}}, {{1}}, {{size}}, format='NCHW', border_val={{fill}}, {HOW})",
        lambda d: _warp(d, 2),
        _warped,
        exact="formula",
    ),
    Row(
        "window warp_perspective",
        f"F.warp_perspective({{0}}, {{1}}, {{size}}, border_val={{fill}}, {HOW})",
        lambda d: _warp(d, 3),
        _warped,
        exact="formula",
    ),
]
