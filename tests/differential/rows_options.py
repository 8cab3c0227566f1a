"""Options that other rows leave as they are by default: biases, output_padding, eps, momentum, layouts, the kth only; and methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import rows_conv as volumes
from . import rows_math as math_rows
from . import rows_nn as images
from .dtypes import FLOATS, INTS
from .row import Draw, Row
from .rows_vision import _read
from .rules import norm

Params = dict[str, Any]


def _bias(d: Draw, x: str, count: int, rank: int) -> str:
    return d.like((1, count, *[1] * rank), (d.dtype_of(x),))


# -- convolutions


def _conv1d(d: Draw) -> Any:
    x = d.floating(ranks=(3,), empty=False, most=3000)
    _, c, length = d.shape_of(x)
    kernel, dilation, groups = d.integer(1, 3), d.integer(1, 2), d.choice([1, c])
    if dilation * (kernel - 1) + 1 > length:
        return None
    oc = groups * d.integer(1, 2)
    weight = d.like((oc, c // groups, kernel), (d.dtype_of(x),))
    params = {"stride": d.integer(1, 2), "padding": d.integer(0, 2), "dilation": dilation, "groups": groups}
    return [x, weight, _bias(d, x, oc, 1)], params


def _as_image(p: Params) -> Params:
    return {
        "stride": (1, p["stride"]), "padding": (0, p["padding"]), "dilation": (1, p["dilation"]), "groups": p["groups"],
    }  # fmt: skip


def _conv1d_truth(p: Params, *x: Any) -> Any:
    return images.convolved(_as_image(p), *(v[:, :, None] for v in x))[:, :, 0]


def _pull_conv1d(p: Params, g: Any, *x: Any) -> Any:
    return [v[:, :, 0] for v in images._pull_conv(_as_image(p), g[:, :, None], *(v[:, :, None] for v in x))]


def _biased(draw: Callable[[Draw], Any], rank: int, transposed: bool) -> Callable[[Draw], Any]:
    """With a bias; a transposed one with a result that is larger by output_padding."""

    def made(d: Draw) -> Any:
        found = draw(d)
        if found is None:
            return None
        (x, w), params = found
        if not transposed:
            return [x, w, _bias(d, x, d.shape_of(w)[0], rank)], params
        more = tuple(d.integer(0, s - 1) for s in params["stride"])
        params = {**params, "more": more, "size": tuple(s + m for s, m in zip(params["size"], more, strict=True))}
        return [x, w, _bias(d, x, d.shape_of(w)[1] * params["groups"], rank)], params

    return made


def _sum_for(g: Any, b: Any) -> Any:
    return g.sum((0, *range(2, g.ndim))).reshape(b.shape)


# -- norms without weights, with another eps


def _plain(draw: Callable[[Draw], Any]) -> Callable[[Draw], Any]:
    def made(d: Draw) -> Any:
        names, params = draw(d)
        return names[:1], {**params, "eps": d.choice([1e-5, 1e-3, 0.5])}

    return made


def _plain_norm(name: str, code: str, draw: Any, shape: Any, axes: Any) -> Row:
    def truth(p: Params, x: Any) -> Any:
        rows, _ = shape(p, x)
        return images.standard(x.reshape(rows), axes(p, x), p["eps"]).reshape(x.shape)

    def pull(p: Params, g: Any, x: Any) -> Any:
        _, wide = shape(p, x)
        one = np.ones(
            [rows if own != 1 else 1 for rows, own in zip(x.reshape(shape(p, x)[0]).shape, wide, strict=True)]
        )
        return norm(shape, axes)(p, g, x, one, one)[:1]

    return Row(f"norm {name} plain", code, _plain(draw), truth, exact="formula", pull=pull, weight=0.4)


def _last(p: Params, x: Any) -> tuple[int, ...]:
    return tuple(range(x.ndim - len(p["shape"]), x.ndim))


def _with_momentum(d: Draw) -> Any:
    names, params = images._batch_norm(True)(d)
    return names, {**params, "momentum": d.choice([0.5, 0.25, 0.0]), "eps": d.choice([1e-3, 0.5])}


def _momentum_truth(p: Params, x: Any, mean: Any, var: Any, w: Any, b: Any) -> Any:
    if x.size == 0:
        return x, mean, var
    axes, kept = tuple(a for a in range(x.ndim) if a != 1), p["momentum"]
    count = x.size // x.shape[1]
    y = images.standard(x, axes, p["eps"]) * images.per_channel(w, x) + images.per_channel(b, x)
    unbiased = x.var(axes) * count / max(count - 1, 1)
    return y, mean * kept + (1 - kept) * x.mean(axes), var * kept + (1 - kept) * unbiased


# -- others


def _kth(d: Draw) -> Any:
    names, params = math_rows._topk(d)
    return names, params


def _kth_truth(p: Params, x: Any) -> Any:
    return math_rows._sort_truth(p, x)[0][..., -1]


def _pull_kth(p: Params, g: Any, x: Any) -> Any:
    made = np.zeros(x.shape)
    np.put_along_axis(made, math_rows.ordered(x, p["descending"])[..., p["k"] - 1 : p["k"]], g[..., None], -1)
    return [made]


def _warp(d: Draw) -> Any:
    x = d.new(
        (d.integer(1, 2), d.integer(2, 4), d.integer(2, 4), d.integer(1, 3)), d.choice(["float32", "float64"]), "grid"
    )
    matrix = d.new((3, 3, 3), d.dtype_of(x), "grid")
    which = [d.integer(0, d.shape_of(x)[0] - 1) for _ in range(3)]
    kinds = {
        "border": d.choice(["replicate", "reflect", "wrap", "constant"]),
        "filter": "linear",
        "fill": d.choice([0.0, 0.5]),
    }
    return [x, matrix], {**kinds, "size": (2, 3), "which": which}


def _warped(p: Params, x: Any, matrix: Any) -> Any:
    down, right = np.mgrid[: p["size"][0], : p["size"][1]]
    with np.errstate(all="ignore"):
        columns, rows, scale = np.einsum("nkl,lij->knij", matrix, np.stack([right, down, np.ones_like(down)]) * 1.0)
        made = _read(np.moveaxis(x, -1, 1), np.array(p["which"]), rows / scale, columns / scale, p)
    return np.moveaxis(made, 1, -1)


#: method → meaning; x may have any rank from 1 on
METHODS: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "{0}.sum()": (np.sum, "summed", "sum"),
    "{0}.sum(-1, keepdims=True)": (lambda x: x.sum(-1, keepdims=True), "summed", "sum"),
    "{0}.mean(axis=0)": (lambda x: x.mean(0), "statistics", "sum"),
    "{0}.max(axis=-1)": (lambda x: x.max(-1), "same", "exact"),
    "{0}.min()": (np.min, "same", "exact"),
    "{0}.prod(0)": (lambda x: x.prod(0), "summed", "sum"),
    "{0}.reshape(-1)": (lambda x: x.reshape(-1), "same", "moves"),
    "{0}.flatten()": (lambda x: x.reshape(-1), "same", "moves"),
    "{0}.transpose()": (lambda x: x.T, "same", "moves"),
    "{0}.reshape(1, *{0}.shape)": (lambda x: x[None], "same", "moves"),
    "abs({0})": (np.abs, "same", "exact"),
    "+{0}": (lambda x: x, "same", "moves"),
    "1 - {0}": (lambda x: 1 - x, "same", "rounded"),
    "2.0 ** {0}": (lambda x: 2.0**x, "float", "function"),
    "1.5 / ({0} * {0} + 1)": (lambda x: 1.5 / (x * x + 1.0), "float", "function"),
    "{0}[None, ..., None]": (lambda x: x[None, ..., None], "same", "moves"),
    "F.concat([{0}, {0}[:1]])": (lambda x: np.concatenate([x, x[:1]]), "same", "moves"),
}


def _method(code: str) -> Row:
    meaning, dtype, exact = METHODS[code]
    kind, elementwise = (
        (FLOATS if dtype == "float" else (*FLOATS, *INTS)),
        "abs" in code or " - " in code or "2.0" in code,
    )
    return Row(
        f"method {code}",
        code,
        lambda d: ([d.tensor(kind, ranks=(1, 2, 3), empty=False, most=2000)], {}),
        lambda p, x: meaning(x),
        dtype,
        exact,
        elementwise=elementwise,
        slopes=(lambda x: [np.sign(x)]) if "abs" in code else None,
        weight=0.1,
    )


IN_2D, IN_3D = "{stride}, {padding}, {more}, {dilation}, {groups}", "{stride}, {padding}, {dilation}, {groups}"
ROWS: list[Row] = [
    Row(
        "conv conv1d bias",
        f"F.conv1d({{0}}, {{1}}, {{2}}, {IN_3D})",
        _conv1d,
        _conv1d_truth,
        "promoted",
        "sum",
        pull=_pull_conv1d,
        weight=0.7,
    ),
    Row(
        "conv conv_transpose2d bias",
        f"F.conv_transpose2d({{0}}, {{1}}, {{2}}, {IN_2D})",
        _biased(images._transposed, 2, True),
        lambda p, x, w, b: images.by_data(p, x, w, p["size"]) + b,
        "promoted",
        "sum",
        pull=lambda p, g, x, w, b: [*images._pull_transposed(p, g, x, w), _sum_for(g, b)],
        weight=0.7,
    ),
    Row(
        "conv conv3d bias",
        f"F.conv3d({{0}}, {{1}}, {{2}}, {IN_3D})",
        _biased(volumes._conv3d, 3, False),
        lambda p, x, w, b: volumes.convolved(p, x, w) + b,
        "promoted",
        "sum",
        pull=lambda p, g, x, w, b: [*volumes._pull(p, g, x, w), _sum_for(g, b)],
        weight=0.4,
    ),
    Row(
        "conv conv_transpose3d bias",
        f"F.conv_transpose3d({{0}}, {{1}}, {{2}}, {IN_2D})",
        _biased(volumes._transposed, 3, True),
        lambda p, x, w, b: volumes.by_data(p, x, w, p["size"]) + b,
        "promoted",
        "sum",
        pull=lambda p, g, x, w, b: [volumes.convolved(p, g, w), volumes.by_weight(p, g, x, w), _sum_for(g, b)],
        weight=0.4,
    ),
    _plain_norm(
        "layer_norm",
        "F.nn.layer_norm({0}, {shape}, False, eps={eps})",
        images._layer_norm,
        lambda p, x: (x.shape, (*[1] * (x.ndim - len(p["shape"])), *p["shape"])),
        _last,
    ),
    _plain_norm(
        "group_norm",
        "F.nn.group_norm({0}, {groups}, False, eps={eps})",
        images._group_norm,
        images._in_groups,
        lambda p, x: (2, 3),
    ),
    _plain_norm(
        "instance_norm",
        "F.nn.instance_norm({0}, False, eps={eps})",
        lambda d: (images._group_norm(d)[0], {}),
        images._in_groups,
        lambda p, x: (2, 3),
    ),
    Row(
        "norm batch_norm momentum",
        "F.batch_norm({0}, {1}, {2}, {3}, {4}, training=True, momentum={momentum}, eps={eps})",
        _with_momentum,
        _momentum_truth,
        "first and statistics",
        "formula",
        pull=images.batch_norm_training,
        changes=(1, 2),
        weight=0.7,
    ),
    Row(
        "reduce normalize eps",
        "F.normalize({0}, axis={axis}, eps={eps})",
        lambda d: (lambda n, p: (n, {"axis": p["axis"], "eps": d.choice([0.5, 2.0]), "ord": None}))(
            *math_rows._norm_draw(d)
        ),
        lambda p, x: x / np.maximum(math_rows.p_norm(p, x, True), p["eps"]),
        exact="formula",
        weight=0.3,
    ),
    Row(
        "sort topk kth",
        "F.topk({0}, {k}, {descending}, kth_only=True)[0]",
        _kth,
        _kth_truth,
        exact="moves",
        pull=_pull_kth,
        weight=0.5,
    ),
    Row(
        "sort topk unsorted",
        "F.sort(F.topk({0}, {k}, {descending}, no_sort=True)[0], {descending})[0]",
        _kth,
        lambda p, x: math_rows._sort_truth(p, x)[0],
        exact="moves",
        pull=math_rows._pull_sorted,
        weight=0.5,
    ),
    Row(
        "window warp_perspective NHWC",
        "F.warp_perspective({0}, {1}, {size}, {which}, {border}, {fill}, 'NHWC')",
        _warp,
        _warped,
        exact="formula",
        weight=0.4,
    ),
    *map(_method, METHODS),
]
