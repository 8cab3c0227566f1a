"""Operations that move elements: views, and what puts tensors side by side. The meaning is NumPy's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from .dtypes import FLOATS
from .row import Draw, Row


def _moves(name: str, code: str, draw: Callable[[Draw], Any], truth: Callable[..., Any], **options: Any) -> Row:
    return Row(name, code, draw, truth, exact="moves", **options)


def indexed(p: dict[str, Any], x: Any, *others: Any) -> Any:
    """x[...] with the text of an index, in which {1}, … are the other tensors."""
    words = {f"i{n}": o for n, o in enumerate(others, 1)}
    text = p["index"].format(None, *words)
    return eval(f"x[{text}]", {"x": x, "np": np, **words})


def basic_index(d: Draw, shape: Sequence[int], keep: bool = False) -> str:
    """The text of a basic index that is good for a shape."""
    items = []
    for extent in shape[: d.integer(0, len(shape))]:
        kind = d.random.random()
        if kind < 0.3 and extent and not keep:
            items.append(str(d.integer(-extent, extent - 1)))
        elif kind < 0.45:
            items.append("::-1")
        elif kind < 0.6:
            items.append(f"::{d.choice([2, 3, -2])}")
        elif kind < 0.85:
            start = d.integer(0, extent)
            items.append(
                f"{start}:{d.integer(start, extent)}" if d.chance(0.3) else f"{min(start, max(extent - 1, 0))}:"
            )
        else:
            items.append(":")
    if d.chance(0.15):
        items.insert(d.integer(0, len(items)), "None")
    if not items or d.chance(0.15):
        items.append("...")
    return ", ".join(items)


def _index(d: Draw) -> Any:
    x = d.tensor()
    return [x], {"index": basic_index(d, d.shape_of(x))}


def _reshape(d: Draw) -> Any:
    x = d.tensor()
    size = prod(d.shape_of(x))
    shapes = [(size,), (1, size), (size, 1), (-1,)] if size else [(0,), (1, 0), (0, 2)]
    for factor in (2, 3, 4, 5):
        if size and size % factor == 0:
            shapes += [
                (factor, size // factor),
                (size // factor, factor),
                (size // factor, 1, factor),
                (1, factor, -1, 1),
            ]
    return [x], {"shape": d.choice(shapes)}


def _transpose(d: Draw) -> Any:
    x = d.tensor()
    return [x], {"order": tuple(int(a) for a in d.random.permutation(len(d.shape_of(x))))}


def _broadcast(d: Draw) -> Any:
    x = d.tensor(most=2000)
    shape = [d.integer(0, 3) if s == 1 and d.chance(0.7) else s for s in d.shape_of(x)]
    return [x], {"shape": (*[d.integer(1, 3) for _ in range(d.integer(0, 2 if len(shape) < 4 else 0))], *shape)}


def _expand(d: Draw) -> Any:
    x = d.tensor()
    return [x], {"axis": d.integer(-len(d.shape_of(x)) - 1, len(d.shape_of(x)))}


def _squeeze(d: Draw) -> Any:
    x = d.tensor()
    ones = [a for a, s in enumerate(d.shape_of(x)) if s == 1]
    return [x], {"axis": d.choice(ones) if ones and d.chance(0.7) else None}


def _swapaxes(d: Draw) -> Any:
    x = d.tensor(ranks=(1, 2, 3, 4))
    rank = len(d.shape_of(x))
    return [x], {"axis1": d.axis(rank), "axis2": d.axis(rank)}


def _flatten(d: Draw) -> Any:
    x = d.tensor(ranks=(1, 2, 3, 4))
    start = d.integer(0, len(d.shape_of(x)) - 1)
    return [x], {"start": start, "end": d.integer(start, len(d.shape_of(x)) - 1)}


def _flat(p: dict[str, Any], x: Any) -> Any:
    start, end = p["start"], p["end"]
    return x.reshape(*x.shape[:start], prod(x.shape[start : end + 1]), *x.shape[end + 1 :])


def _pad(d: Draw) -> Any:
    x = d.tensor(most=5000)
    shape = d.shape_of(x)
    fill = d.choice([0.0, 0.0, 0.5, 2.0, -1.0]) if d.dtype_of(x) in FLOATS else d.choice([0.0, 1.0])
    return [x], {"widths": tuple((d.integer(0, 2), d.integer(0, 2)) for _ in shape), "fill": fill}


def padded(p: dict[str, Any], x: Any) -> Any:
    return np.pad(x, p["widths"], constant_values=np.asarray(p["fill"]).astype(x.dtype)) if x.ndim else x


def _pad_by(mode: str) -> Callable[[Draw], Any]:
    def draw(d: Draw) -> Any:
        x = d.tensor(ranks=(1, 2, 3, 4), empty=False, most=5000)
        widths = []
        for extent in d.shape_of(x):
            most = min(3, extent - 1) if mode == "reflect" else 3
            widths.append((d.integer(0, most), d.integer(0, most)))
        return [x], {"widths": tuple(widths)}

    return draw


def _several(d: Draw, same: bool) -> tuple[list[str], int]:
    first = d.tensor(ranks=(1, 2, 3, 4), most=5000)
    shape, dtype = d.shape_of(first), d.dtype_of(first)
    axis, names = d.integer(0, len(shape) - 1), [first]
    for _ in range(d.integer(1, 2)):
        other = list(shape)
        if not same:
            other[axis] = d.choice([0, 1, shape[axis], 3])
        names.append(d.like(other, (dtype,)))
    return names, axis


def _concat(count: int) -> Callable[[Draw], Any]:
    def draw(d: Draw) -> Any:
        names, axis = _several(d, False)
        return [*names, *names][:count], {"axis": axis}

    return draw


def _stack(d: Draw) -> Any:
    names, axis = _several(d, True)
    return names[:2], {"axis": d.choice([axis, 0, -1])}


def _split(d: Draw) -> Any:
    x = d.tensor(ranks=(1, 2, 3, 4))
    axes = [a for a, s in enumerate(d.shape_of(x)) if s >= 2]
    if not axes:
        return None
    axis = d.choice(axes)
    extent = d.shape_of(x)[axis]
    return [x], {"at": d.choice([2, [d.integer(1, extent - 1)]]), "axis": axis}


def _split_truth(p: dict[str, Any], x: Any) -> Any:
    return tuple(np.array_split(x, p["at"], p["axis"]))


def _repeat(d: Draw) -> Any:
    x = d.tensor(ranks=(1, 2, 3, 4), most=3000)
    return [x], {"count": d.integer(1, 3), "axis": d.choice([None, d.axis(len(d.shape_of(x)))])}


def _tile(d: Draw) -> Any:
    x = d.tensor(most=3000)
    rank = len(d.shape_of(x))
    return [x], {"counts": tuple(d.integer(1, 2) for _ in range(max(1, d.integer(rank - 1, rank + 1))))}


def _roll(d: Draw) -> Any:
    x = d.tensor(ranks=(1, 2, 3, 4))
    return [x], {"shift": d.integer(-3, 4), "axis": d.axis(len(d.shape_of(x)))}


def _diag(d: Draw) -> Any:
    x = d.tensor(ranks=(1, 2), most=300)
    k = d.integer(-1, 1)
    if len(d.shape_of(x)) == 2 and min(d.shape_of(x)) < 2:
        k = 0
    return [x], {"k": k}


def _meshgrid(d: Draw) -> Any:
    x = d.tensor(ranks=(1,), most=50)
    return [x, d.tensor((d.dtype_of(x),), ranks=(1,), most=50)], {"indexing": d.choice(["xy", "ij"])}


def _shuffled(p: dict[str, Any], x: Any) -> Any:
    r, (n, c, h, w) = p["r"], x.shape
    return x.reshape(n, c // (r * r), r, r, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // (r * r), h * r, w * r)


def _pixel_shuffle(d: Draw) -> Any:
    r = d.integer(1, 2)
    return [d.like((d.integer(1, 2), r * r * d.integer(1, 2), d.integer(1, 3), d.integer(1, 3)), d.settings.dtypes)], {
        "r": r
    }


def windows(
    x: Any,
    kernel: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    fill: float = 0.0,
) -> Any:
    """(N, C, OH, OW, kh, kw): what windows of the padded x see."""
    x = np.pad(
        x, [(0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2], constant_values=np.asarray(fill).astype(x.dtype)
    )
    span = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(x, span, (2, 3))
    return seen[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def _window_params(d: Draw, h: int, w: int, dilation: bool = True) -> dict[str, Any] | None:
    kernel = (d.integer(1, min(3, h)), d.integer(1, min(3, w)))
    padding = (d.integer(0, 1), d.integer(0, 1))
    spread = (1, 1)
    if dilation and d.chance(0.3):
        spread = (d.integer(1, 2), d.integer(1, 2))
    if any(s * (k - 1) + 1 > e + 2 * p for s, k, e, p in zip(spread, kernel, (h, w), padding, strict=True)):
        return None
    return {"kernel": kernel, "padding": padding, "stride": (d.integer(1, 3), d.integer(1, 3)), "dilation": spread}


def _sliding(d: Draw) -> Any:
    x = d.tensor(ranks=(4,), empty=False, most=2000)
    params = _window_params(d, *d.shape_of(x)[2:])
    return params and ([x], params)


def _sliding_truth(p: dict[str, Any], x: Any) -> Any:
    return windows(x, p["kernel"], p["padding"], p["stride"], p["dilation"])


def _sliding_back(d: Draw) -> Any:
    size = (d.integer(2, 5), d.integer(2, 5))
    params = _window_params(d, *size)
    if params is None:
        return None
    shape = _sliding_truth(params, np.zeros((d.integer(1, 2), d.integer(1, 2), *size))).shape
    return [d.like(shape, ("float32", "float64", "int32"))], {**params, "size": size}


def _sliding_back_truth(p: dict[str, Any], x: Any) -> Any:
    padded_size = tuple(s + 2 * e for s, e in zip(p["size"], p["padding"], strict=True))
    room = np.zeros((*x.shape[:2], *padded_size), x.dtype)
    places = np.arange(room.size).reshape(room.shape)
    np.add.at(room.reshape(-1), windows(places, p["kernel"], (0, 0), p["stride"], p["dilation"]), x)
    (top, left), (h, w) = p["padding"], p["size"]
    return room[:, :, top : top + h, left : left + w]


def _dtype_kept(d: Draw) -> Any:
    return [d.tensor()], {}


WINDOW = "{0}, {kernel}, {padding}, {stride}, {dilation}"
ROWS = [
    _moves("view index", "{0}[{raw.index}]", _index, indexed, weight=3.0),
    _moves("view reshape", "{0}.reshape({shape})", _reshape, lambda p, x: x.reshape(p["shape"]), weight=2.0),
    _moves("view transpose", "F.transpose({0}, {order})", _transpose, lambda p, x: x.transpose(p["order"]), weight=2.0),
    _moves("view broadcast", "F.broadcast_to({0}, {shape})", _broadcast, lambda p, x: np.broadcast_to(x, p["shape"])),
    _moves(
        "view expand_dims", "F.expand_dims({0}, {axis})", _expand, lambda p, x: np.expand_dims(x, p["axis"]), weight=0.5
    ),
    _moves("view squeeze", "F.squeeze({0}, {axis})", _squeeze, lambda p, x: np.squeeze(x, p["axis"]), weight=0.5),
    _moves(
        "view swapaxes",
        "F.swapaxes({0}, {axis1}, {axis2})",
        _swapaxes,
        lambda p, x: np.swapaxes(x, p["axis1"], p["axis2"]),
    ),
    _moves("view flatten", "F.flatten({0}, {start}, {end})", _flatten, _flat, weight=0.5),
    _moves("view pad", "F.nn.pad({0}, {widths}, constant_value={fill})", _pad, padded, weight=3.0),
    _moves(
        "view pad edge",
        "F.nn.pad({0}, {widths}, mode='edge')",
        _pad_by("edge"),
        lambda p, x: np.pad(x, p["widths"], "edge"),
    ),
    _moves(
        "view pad reflect",
        "F.nn.pad({0}, {widths}, mode='reflect')",
        _pad_by("reflect"),
        lambda p, x: np.pad(x, p["widths"], "reflect"),
    ),
    _moves("view split", "F.split({0}, {at}, {axis})", _split, _split_truth, results=2),
    _moves("view sliding_window", f"F.nn.sliding_window({WINDOW})", _sliding, _sliding_truth),
    _moves("view detach", "{0}.detach()", _dtype_kept, lambda p, x: x)._replace(
        pull=lambda p, g, x: [np.zeros(x.shape)]
    ),
    _moves("move copy", "F.copy({0})", _dtype_kept, lambda p, x: x, weight=0.5),
    _moves("move concat", "F.concat([{0}, {1}, {2}], {axis})", _concat(3), lambda p, *x: np.concatenate(x, p["axis"])),
    _moves("move concat two", "F.concat([{0}, {1}], {axis})", _concat(2), lambda p, *x: np.concatenate(x, p["axis"])),
    _moves("move stack", "F.stack([{0}, {1}], {axis})", _stack, lambda p, *x: np.stack(x, p["axis"])),
    _moves("move repeat", "F.repeat({0}, {count}, {axis})", _repeat, lambda p, x: np.repeat(x, p["count"], p["axis"])),
    _moves("move tile", "F.tile({0}, {counts})", _tile, lambda p, x: np.tile(x, p["counts"])),
    _moves("move roll", "F.roll({0}, {shift}, {axis})", _roll, lambda p, x: np.roll(x, p["shift"], p["axis"])),
    _moves(
        "move roll flat",
        "F.roll({0}, {shift})",
        lambda d: ([d.tensor()], {"shift": d.integer(-3, 4)}),
        lambda p, x: np.roll(x, p["shift"]),
    ),
    _moves("move diag", "F.diag({0}, {k})", _diag, lambda p, x: np.diag(x, p["k"])),
    _moves(
        "move meshgrid",
        "F.meshgrid({0}, {1}, indexing={indexing})",
        _meshgrid,
        lambda p, *x: tuple(np.meshgrid(*x, indexing=p["indexing"])),
        dtype="each",
        results=2,
    ),
    _moves("move pixel_shuffle", "F.nn.pixel_shuffle({0}, {r})", _pixel_shuffle, _shuffled),
    Row(
        "window sliding_window_transpose",
        "F.nn.sliding_window_transpose({0}, {size}, {kernel}, {padding}, {stride}, {dilation})",
        _sliding_back,
        _sliding_back_truth,
        exact="sum",
    ),
]
