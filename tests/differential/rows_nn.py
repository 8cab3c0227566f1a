"""Convolutions, pooling, normalisation, resampling: what networks are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from .dtypes import FLOATS
from .row import Draw, Row
from .rows_shape import windows
from .rules import back_through, batch_norm, batch_norm_training, norm

PAIRS = ("stride", "padding", "dilation")


# -- convolution: (N, IC, H, W) and (OC, IC / groups, kh, kw)


def _grouped(w: Any, groups: int) -> Any:
    return w.reshape(groups, w.shape[0] // groups, *w.shape[1:])


def _seen(p: dict[str, Any], x: Any, kernel: Sequence[int]) -> Any:
    """(N, groups, IC / groups, OH, OW, kh, kw)"""
    seen = windows(x, kernel, p["padding"], p["stride"], p["dilation"])
    return seen.reshape(seen.shape[0], p["groups"], seen.shape[1] // p["groups"], *seen.shape[2:])


def convolved(p: dict[str, Any], x: Any, w: Any, *bias: Any) -> Any:
    y = np.einsum("ngchwij,gocij->ngohw", _seen(p, x, w.shape[2:]), _grouped(w, p["groups"]), optimize=True)
    y = y.reshape(y.shape[0], w.shape[0], *y.shape[3:])
    return y + bias[0].reshape(1, -1, 1, 1) if bias else y


def _spread(p: dict[str, Any], columns: Any, size: Sequence[int]) -> Any:
    """Adds up (N, C, OH, OW, kh, kw) where windows of an image of `size` see them."""
    n, c, oh, ow, kh, kw = columns.shape
    (top, left), (down, right), (dy, dx) = p["padding"], p["stride"], p["dilation"]
    room = np.zeros((n, c, size[0] + 2 * top, size[1] + 2 * left))
    for i in range(kh):
        for j in range(kw):
            room[
                :, :, i * dy : i * dy + down * (oh - 1) + 1 : down, j * dx : j * dx + right * (ow - 1) + 1 : right
            ] += columns[..., i, j]
    return room[:, :, top : top + size[0], left : left + size[1]]


def by_data(p: dict[str, Any], g: Any, w: Any, size: Sequence[int]) -> Any:
    groups = p["groups"]
    parts = g.reshape(g.shape[0], groups, g.shape[1] // groups, *g.shape[2:])
    columns = np.einsum("ngohw,gocij->ngchwij", parts, _grouped(w, groups), optimize=True)
    return _spread(p, columns.reshape(columns.shape[0], columns.shape[1] * columns.shape[2], *columns.shape[3:]), size)


def by_weight(p: dict[str, Any], x: Any, g: Any, kernel: Sequence[int]) -> Any:
    parts = g.reshape(g.shape[0], p["groups"], g.shape[1] // p["groups"], *g.shape[2:])
    made = np.einsum("ngchwij,ngohw->gocij", _seen(p, x, kernel), parts, optimize=True)
    return made.reshape(made.shape[0] * made.shape[1], *made.shape[2:])


def _pull_conv(p: dict[str, Any], g: Any, x: Any, w: Any, *bias: Any) -> Any:
    return [
        by_data(p, g, w, x.shape[2:]),
        by_weight(p, x, g, w.shape[2:]),
        *(g.sum((0, 2, 3)).reshape(b.shape) for b in bias),
    ]


def _conv_params(d: Draw, h: int, w: int) -> dict[str, Any] | None:
    kernel = d.choice([(1, 1), (3, 3), (3, 3), (2, 2), (3, 1), (1, 3), (2, 3), (5, 5)])
    params = {
        "stride": (d.integer(1, 2), d.integer(1, 2)),
        "padding": d.choice([(0, 0), (1, 1), (1, 0), (2, 2)]),
        "dilation": (1, 1),
    }
    if d.chance(0.45):
        params["stride"] = (1, 1)
    if d.chance(0.15):
        params["dilation"] = (d.integer(1, 2), d.integer(1, 2))
    spans = [s * (k - 1) + 1 for s, k in zip(params["dilation"], kernel, strict=True)]
    if any(s > e + 2 * p for s, e, p in zip(spans, (h, w), params["padding"], strict=True)):
        return None
    return {**params, "kernel": kernel}


def _turned_weight(d: Draw, w: str) -> str:
    """A weight, sometimes mirrored as a true convolution has it, sometimes with its dims in another order in memory."""
    kind = d.random.random()
    if kind < 0.5:
        return (
            d.apply(
                "view index",
                [w],
                {"index": d.choice([":, :, ::-1, ::-1", ":, :, ::-1, ::-1", "::-1", ":, ::-1", "..., ::-1"])},
            )
            or w
        )
    if kind < 0.6:
        shape = d.shape_of(w)
        turned = d.like((shape[1], shape[0], *shape[2:]), (d.dtype_of(w),))
        return d.apply("view swapaxes", [turned], {"axis1": 0, "axis2": 1}) or w
    return w


def conv_inputs(d: Draw) -> tuple[list[str], dict[str, Any]] | None:
    kind = d.random.random()
    if kind < d.settings.large + 0.25:
        return _conv_of_networks(d)
    if kind < d.settings.large + 0.4:
        shape = (d.integer(1, 3), d.choice([3, 8, 16, 32]), d.choice([8, 14, 28, 11]), d.choice([8, 14, 28, 9]))
        x = d.like(shape, FLOATS[:3])
    else:
        x = d.floating(ranks=(4,), empty=d.chance(0.1), most=6000)
    _, ic, h, w = d.shape_of(x)
    params = _conv_params(d, h, w)
    if params is None:
        return None
    groups = d.choice([1, 1, 1, ic, *(g for g in (2, 3) if ic % g == 0)])
    oc = groups * d.choice([1, 1, 2] if groups > 1 else [1, 2, 4, 8, 16, 32, 33])
    kernel = params.pop("kernel")
    weight = _turned_weight(d, d.like((oc, ic // groups, *kernel), (d.dtype_of(x),)))
    return [x, weight], {**params, "groups": groups}


def _conv_of_networks(d: Draw) -> tuple[list[str], dict[str, Any]]:
    """3 × 3 with stride 1, so wide that it goes by tiles; or depthwise."""
    c = d.choice([32, 32, 32, 64])
    size = d.choice([(28, 28), (28, 28), (27, 28), (14, 14)])
    x = d.like((d.choice([1, 2, 2, 3]), c, *size), ("float32",) if d.chance(0.8) else FLOATS[:3])
    groups = d.choice([1, 1, 1, c])
    weight = d.like((c if groups > 1 else d.choice([32, 32, 33, 64]), c // groups, 3, 3), (d.dtype_of(x),))
    padding = d.choice([(1, 1), (1, 1), (0, 0), (0, 1)])
    return [x, _turned_weight(d, weight)], {"stride": (1, 1), "padding": padding, "dilation": (1, 1), "groups": groups}


def _conv(bias: bool) -> Callable[[Draw], Any]:
    def draw(d: Draw) -> Any:
        made = conv_inputs(d)
        if made is None:
            return None
        (x, w), params = made
        return ([x, w, d.like((1, d.shape_of(w)[0], 1, 1), (d.dtype_of(x),))] if bias else [x, w]), params

    return draw


def _conv1d(d: Draw) -> Any:
    x = d.floating(ranks=(3,), empty=False, most=3000)
    _, c, length = d.shape_of(x)
    kernel, padding = d.integer(1, min(3, length)), d.integer(0, 1)
    weight = d.viewed(d.like((d.integer(1, 4), c, kernel), (d.dtype_of(x),)))
    return [x, weight], {"stride": d.integer(1, 2), "padding": padding}


def _as_image(p: dict[str, Any]) -> dict[str, Any]:
    return {"stride": (1, p["stride"]), "padding": (0, p["padding"]), "dilation": (1, 1), "groups": 1}


def _conv1d_truth(p: dict[str, Any], x: Any, w: Any) -> Any:
    return convolved(_as_image(p), x[:, :, None], w[:, :, None])[:, :, 0]


def _pull_conv1d(p: dict[str, Any], g: Any, x: Any, w: Any) -> Any:
    return [v[:, :, 0] for v in _pull_conv(_as_image(p), *(v[:, :, None] for v in (g, x, w)))]


def _transposed(d: Draw) -> Any:
    x = d.floating(ranks=(4,), empty=False, most=3000)
    _, ic, _, _ = d.shape_of(x)
    stride, kernel = (d.integer(1, 2), d.integer(1, 3)), (d.integer(2, 3), d.integer(2, 3))
    padding = (d.integer(0, 1), d.integer(0, 1))
    groups = d.choice([1, 1, ic])
    size = [(s - 1) * t - 2 * p + k for s, t, p, k in zip(d.shape_of(x)[2:], stride, padding, kernel, strict=True)]
    if min(size) < 1:
        return None
    weight = _turned_weight(d, d.like((ic, d.integer(1, 3), *kernel), (d.dtype_of(x),)))
    return [x, weight], {
        "stride": stride,
        "padding": padding,
        "dilation": (1, 1),
        "groups": groups,
        "size": tuple(size),
    }


def _transposed_truth(p: dict[str, Any], x: Any, w: Any) -> Any:
    return by_data(p, x, w, p["size"])


def _pull_transposed(p: dict[str, Any], g: Any, x: Any, w: Any) -> Any:
    return [convolved(p, g, w), by_weight(p, g, x, w.shape[2:])]


# -- pooling


def _pool(d: Draw) -> Any:
    x = d.floating(ranks=(4,), empty=False, most=6000)
    kernel, stride = (d.integer(1, 3), d.integer(1, 3)), (d.integer(1, 3), d.integer(1, 3))
    padding = tuple(d.integer(0, (k - 1) // 2) for k in kernel)
    if any(k > s + 2 * p for k, s, p in zip(kernel, d.shape_of(x)[2:], padding, strict=True)):
        return None
    return [x], {"kernel": kernel, "stride": kernel if d.chance(0.4) else stride, "padding": padding}


def _max_pool(p: dict[str, Any], x: Any) -> Any:
    return windows(x, p["kernel"], p["padding"], p["stride"], (1, 1), -np.inf).max((4, 5))


def _avg_pool(p: dict[str, Any], x: Any) -> Any:
    total = windows(x, p["kernel"], p["padding"], p["stride"], (1, 1)).sum((4, 5))
    if p["mode"] == "average":
        return total / prod(p["kernel"])
    return total / windows(np.ones((1, 1, *x.shape[2:])), p["kernel"], p["padding"], p["stride"], (1, 1)).sum((4, 5))


def _pull_max_pool(p: dict[str, Any], g: Any, x: Any) -> Any:
    """The first of several maxima of a window gets its gradient."""
    seen = windows(x, p["kernel"], p["padding"], p["stride"], (1, 1), -np.inf)
    flat = seen.reshape(*seen.shape[:4], -1)
    columns = np.where(np.arange(flat.shape[-1]) == flat.argmax(-1)[..., None], g[..., None], 0.0).reshape(seen.shape)
    return [_spread({**p, "dilation": (1, 1)}, columns, x.shape[2:])]


def _pull_avg_pool(p: dict[str, Any], g: Any, x: Any) -> Any:

    if p["mode"] == "average":
        share = g / prod(p["kernel"])
    else:
        share = g / windows(np.ones((1, 1, *x.shape[2:])), p["kernel"], p["padding"], p["stride"], (1, 1)).sum((4, 5))
    columns = np.broadcast_to(share[..., None, None], (*g.shape, *p["kernel"]))
    return [_spread({**p, "dilation": (1, 1)}, columns, x.shape[2:])]


def _avg(d: Draw) -> Any:
    made = _pool(d)
    return made and (made[0], {**made[1], "mode": d.choice(["average", "average_count_exclude_padding"])})


def _adaptive(d: Draw) -> Any:
    x = d.floating(ranks=(4,), empty=False, most=3000)
    return [x], {"size": tuple(d.integer(1, s) for s in d.shape_of(x)[2:])}


def _adapted(p: dict[str, Any], x: Any) -> dict[str, Any]:
    """The windows of adaptive pooling, as parameters of pooling."""
    stride = tuple(s // o for s, o in zip(x.shape[2:], p["size"], strict=True))
    kernel = tuple(s - (o - 1) * t for s, o, t in zip(x.shape[2:], p["size"], stride, strict=True))
    return {"kernel": kernel, "stride": stride, "padding": (0, 0)}


def _adaptive_truth(function: Callable[..., Any]) -> Callable[..., Any]:
    def truth(p: dict[str, Any], x: Any) -> Any:
        w = _adapted(p, x)
        return function(windows(x, w["kernel"], w["padding"], w["stride"], (1, 1)), axis=(4, 5))

    return truth


# -- normalisation


def _affine(d: Draw, shape: Sequence[int], dtype: str) -> list[str]:
    wide = "float64" if dtype == "float64" else "float32"
    return [d.like(shape, (wide,)), d.like(shape, (wide,))]


def standard(x: Any, axes: tuple[int, ...], eps: float = 1e-5) -> Any:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def _layer_norm(d: Draw) -> Any:
    x = d.floating(ranks=(1, 2, 3), empty=False, most=5000)
    shape = d.shape_of(x)[-d.integer(1, len(d.shape_of(x))) :]
    return [x, *_affine(d, shape, d.dtype_of(x))], {"shape": shape}


def _layer_norm_truth(p: dict[str, Any], x: Any, w: Any, b: Any) -> Any:
    return standard(x, tuple(range(x.ndim - len(p["shape"]), x.ndim))) * w + b


def _channels(d: Draw, ranks: Sequence[int] = (2, 3, 4), empty: bool = False) -> tuple[str, int]:
    x = d.floating(ranks=ranks, empty=empty, most=5000)
    return x, d.shape_of(x)[1]


def _group_norm(d: Draw) -> Any:
    x, c = _channels(d)
    groups = d.choice([1, c, *(g for g in (2, 3) if c % g == 0)])
    return [x, *_affine(d, (c,), d.dtype_of(x))], {"groups": groups}


def per_channel(v: Any, x: Any) -> Any:
    return v.reshape(1, -1, *(1,) * (x.ndim - 2))


def _group_norm_truth(p: dict[str, Any], x: Any, w: Any, b: Any) -> Any:
    rows = x.reshape(x.shape[0], p.get("groups", x.shape[1]), -1)
    return standard(rows, (2,)).reshape(x.shape) * per_channel(w, x) + per_channel(b, x)


def _in_groups(p: dict[str, Any], x: Any) -> tuple[Any, ...]:
    """(N, groups, C / groups, …), and the weights of channels there."""
    n, c = x.shape[:2]
    groups = p.get("groups", c)
    return (n, groups, c // groups, -1), (1, groups, c // groups, 1)


def _general_norm(d: Draw) -> Any:
    x = d.floating(ranks=(1, 2, 3), empty=False, most=5000)
    axis = d.integer(0, len(d.shape_of(x)) - 1)
    return [x, *_affine(d, (d.shape_of(x)[axis],), d.dtype_of(x))], {"axis": axis}


def _general_norm_truth(p: dict[str, Any], x: Any, w: Any, b: Any) -> Any:
    shape = [s if a == p["axis"] else 1 for a, s in enumerate(x.shape)]
    return standard(x, (p["axis"],)) * w.reshape(shape) + b.reshape(shape)


def _batch_norm(training: bool) -> Callable[[Draw], Any]:
    def draw(d: Draw) -> Any:
        if training and d.chance(0.2):
            x = d.like((0, d.integer(1, 3), d.integer(1, 3), d.integer(1, 3)), ("float32", "float64"))
        else:
            x, _ = _channels(d)
        wide = "float64" if d.dtype_of(x) == "float64" else "float32"
        shape = (d.shape_of(x)[1],)
        running = [d.new(shape, wide, "grid", "outside"), d.new(shape, wide, "positive", "outside")]
        return [x, *running, *_affine(d, shape, wide)], {}

    return draw


def _batch_norm_truth(p: dict[str, Any], x: Any, mean: Any, var: Any, w: Any, b: Any) -> Any:
    scale = per_channel(w, x) / np.sqrt(per_channel(var, x) + 1e-5)
    return (x - per_channel(mean, x)) * scale + per_channel(b, x)


def _batch_norm_training(p: dict[str, Any], x: Any, mean: Any, var: Any, w: Any, b: Any) -> Any:
    """An empty batch has no statistics, so the running ones stay."""
    if x.size == 0:
        return x, mean, var
    axes = tuple(a for a in range(x.ndim) if a != 1)
    count = x.size // x.shape[1]
    y = standard(x, axes) * per_channel(w, x) + per_channel(b, x)
    unbiased = x.var(axes) * count / max(count - 1, 1)
    return y, mean * 0.9 + 0.1 * x.mean(axes), var * 0.9 + 0.1 * unbiased


def _response(d: Draw) -> Any:
    x, _ = _channels(d, (4,))
    return [x], {"size": d.choice([1, 3, 5]), "k": 2.0, "alpha": 0.125, "beta": 0.75}


def _response_truth(p: dict[str, Any], x: Any) -> Any:
    half, c = p["size"] // 2, x.shape[1]
    near = [(x[:, max(0, i - half) : i + half + 1] ** 2).sum(1) for i in range(c)]
    return x / (p["k"] + p["alpha"] * np.stack(near, 1)) ** p["beta"]


# -- resampling


def _interpolate(d: Draw) -> Any:
    x = d.floating(ranks=(4,), empty=False, most=2000)
    mode = d.choice(["nearest", "bilinear", "bilinear", "bicubic"])
    size = tuple(d.choice([1, 2, 3, 5, 2 * s, s]) for s in d.shape_of(x)[2:])
    return [x], {"size": size, "mode": mode, "align": d.chance(0.5) if mode == "bilinear" else None}


def _along(p: dict[str, Any], x: Any, axis: int, new: int) -> Any:
    old, place = x.shape[axis], np.arange(new)
    if p["mode"] == "nearest":
        return np.take(x, place * old // new, axis)
    at = place * ((old - 1) / max(new - 1, 1)) if p["align"] else (place + 0.5) * (old / new) - 0.5
    if p["mode"] == "bilinear":
        at = np.clip(at, 0, old - 1)
    low = np.floor(at)
    f = at - low
    a = -0.75
    near = lambda t: ((a + 2) * t - (a + 3)) * t * t + 1  # noqa: E731
    far = lambda t: ((a * t - 5 * a) * t + 8 * a) * t - 4 * a  # noqa: E731
    weights = (
        {0: 1 - f, 1: f} if p["mode"] == "bilinear" else {-1: far(f + 1), 0: near(f), 1: near(1 - f), 2: far(2 - f)}
    )
    shape = [-1 if e == axis else 1 for e in range(x.ndim)]
    return sum(
        np.take(x, np.clip(low + o, 0, old - 1).astype(int), axis) * w.reshape(shape) for o, w in weights.items()
    )


def _interpolate_truth(p: dict[str, Any], x: Any) -> Any:
    for axis, new in enumerate(p["size"], 2):
        x = _along(p, x, axis, new)
    return x


def _pull_interpolate(p: dict[str, Any], g: Any, x: Any) -> Any:
    for axis, new in enumerate(p["size"], 2):
        g = back_through(_along(p, np.eye(x.shape[axis]), 0, new), g, axis)
    return [g]


# -- random numbers


def _scale(d: Draw) -> Any:
    """The largest of what dropout makes of ones is 1 / (1 - p), but for one time in 2⁴⁰."""
    shape = d.choice([(80,), (3, 40), (2, 7, 13)])
    return [d.new(shape, d.choice([*FLOATS, "float64", "float64"]), "grid")], {
        "p": d.choice([0.1, 0.2, 0.3, 0.25, 0.5])
    }


def _drawn(d: Draw) -> Any:
    return [], {"shape": d.choice([(5,), (2, 3), (4099,)])}


CONV = "{stride}, {padding}, {dilation}, {groups}"
ROWS: list[Row] = [
    Row(
        "conv conv2d",
        f"F.conv2d({{0}}, {{1}}, None, {CONV})",
        _conv(False),
        convolved,
        "promoted",
        "sum",
        pull=_pull_conv,
        weight=4.0,
    ),
    Row(
        "conv conv2d bias",
        f"F.conv2d({{0}}, {{1}}, {{2}}, {CONV})",
        _conv(True),
        convolved,
        "promoted",
        "sum",
        pull=_pull_conv,
        weight=2.0,
    ),
    Row(
        "conv conv1d",
        "F.conv1d({0}, {1}, None, {stride}, {padding})",
        _conv1d,
        _conv1d_truth,
        "promoted",
        "sum",
        pull=_pull_conv1d,
    ),
    Row(
        "conv conv_transpose2d",
        "F.conv_transpose2d({0}, {1}, None, {stride}, {padding}, 0, {dilation}, {groups})",
        _transposed,
        _transposed_truth,
        "promoted",
        "sum",
        pull=_pull_transposed,
        weight=1.5,
    ),
    Row(
        "pool max_pool2d",
        "F.max_pool2d({0}, {kernel}, {stride}, {padding})",
        _pool,
        _max_pool,
        exact="exact",
        pull=_pull_max_pool,
        weight=2.0,
    ),
    Row(
        "pool avg_pool2d",
        "F.avg_pool2d({0}, {kernel}, {stride}, {padding}, {mode})",
        _avg,
        _avg_pool,
        exact="sum",
        pull=_pull_avg_pool,
        weight=1.5,
    ),
    Row(
        "pool adaptive_max_pool2d",
        "F.adaptive_max_pool2d({0}, {size})",
        _adaptive,
        _adaptive_truth(np.max),
        exact="exact",
        pull=lambda p, g, x: _pull_max_pool({**p, **_adapted(p, x)}, g, x),
    ),
    Row(
        "pool adaptive_avg_pool2d",
        "F.adaptive_avg_pool2d({0}, {size})",
        _adaptive,
        _adaptive_truth(np.mean),
        exact="sum",
    ),
    Row(
        "norm layer_norm",
        "F.nn.layer_norm({0}, {shape}, True, {1}, {2})",
        _layer_norm,
        _layer_norm_truth,
        exact="formula",
        pull=norm(
            lambda p, x: (x.shape, (*[1] * (x.ndim - len(p["shape"])), *p["shape"])),
            lambda p, x: tuple(range(x.ndim - len(p["shape"]), x.ndim)),
        ),
    ),
    Row(
        "norm group_norm",
        "F.nn.group_norm({0}, {groups}, True, {1}, {2})",
        _group_norm,
        _group_norm_truth,
        exact="formula",
        pull=norm(_in_groups, lambda p, x: (2, 3)),
    ),
    Row(
        "norm instance_norm",
        "F.nn.instance_norm({0}, True, {1}, {2})",
        lambda d: (_group_norm(d)[0], {}),
        _group_norm_truth,
        exact="formula",
        pull=norm(_in_groups, lambda p, x: (2, 3)),
    ),
    Row(
        "norm general_norm",
        "F.nn.general_norm({0}, {axis}, True, {1}, {2})",
        _general_norm,
        _general_norm_truth,
        exact="formula",
        pull=norm(
            lambda p, x: (x.shape, [s if a == p["axis"] else 1 for a, s in enumerate(x.shape)]),
            lambda p, x: (p["axis"],),
        ),
    ),
    Row(
        "norm batch_norm",
        "F.batch_norm({0}, {1}, {2}, {3}, {4})",
        _batch_norm(False),
        _batch_norm_truth,
        exact="formula",
        pull=batch_norm,
    ),
    Row(
        "norm sync_batch_norm",
        "F.nn.sync_batch_norm({0}, {1}, {2}, {3}, {4})",
        _batch_norm(False),
        _batch_norm_truth,
        exact="formula",
        pull=batch_norm,
        weight=0.3,
    ),
    Row(
        "norm batch_norm training",
        "F.batch_norm({0}, {1}, {2}, {3}, {4}, training=True)",
        _batch_norm(True),
        _batch_norm_training,
        "first and statistics",
        "formula",
        pull=batch_norm_training,
        changes=(1, 2),
        weight=2.5,
    ),
    Row(
        "norm local_response_norm",
        "F.local_response_norm({0}, {size}, {k}, {alpha}, {beta})",
        _response,
        _response_truth,
        exact="formula",
    ),
    Row(
        "window interpolate",
        "F.nn.interpolate({0}, {size}, mode={mode}, align_corners={align})",
        _interpolate,
        _interpolate_truth,
        exact="formula",
        pull=_pull_interpolate,
        weight=2.0,
    ),
    Row(
        "random dropout scale",
        "F.max(F.dropout(F.ones_like({0}), {p}))",
        _scale,
        lambda p, x: np.asarray(1 / (1 - p["p"])),
        exact="function",
        weight=6.0,
    ),
    Row("random dropout", "F.dropout({0}, {p})", lambda d: ([d.floating()], {"p": d.choice([0.1, 0.5])})),
    Row(
        "random permutation",
        "tengen.random.permutation({count})",
        lambda d: ([], {"count": d.integer(1, 9)}),
        dtype="int32",
        weight=0.3,
    ),
    Row("random gamma", "tengen.random.gamma(2.0, size={shape})", _drawn, dtype="float32", weight=0.3),
    Row("random uniform", "tengen.random.uniform(size={shape})", _drawn, dtype="float32"),
    Row("random normal", "tengen.random.normal(size={shape})", _drawn, dtype="float32"),
]
