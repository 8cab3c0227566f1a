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
                seen = seen * (weights[0] * weights[1])[..., None]
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


HOW = "border_mode={border}, interp_mode={filter}"
ROWS = [
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
