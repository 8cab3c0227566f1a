"""Reads and writes at indices that are data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .dtypes import INTS
from .pull import VAGUE, fitted
from .row import Draw, Row, Unknown
from .rows_shape import basic_index, indexed


def checked(index: Any, extent: int, negative: bool = True) -> Any:
    """Indices as places in 0 … extent - 1. Raises IndexError for one that is outside."""
    low = -extent if negative else 0
    if index.size and (index.min() < low or index.max() >= extent):
        raise IndexError("an index is out of range")
    return index % max(extent, 1)


def places(d: Draw, extent: int, shape: Any, negative: bool = True) -> str:
    """A tensor of indices into an axis, a few of them beyond its ends."""
    kind = "beyond" if d.chance(d.settings.wrong) else "index" if negative else "label"
    dtype = d.choice(["int32", "int32", "int32", "int64", "int8", "uint8" if kind == "label" else "int16"])
    return d.viewed(d.new(shape, dtype, f"{kind} {extent}", "argument" if d.chance(0.6) else "outside"))


def _some(d: Draw, ranks: Any = (1, 2, 3, 4), most: int = 5000) -> str:
    return d.tensor(ranks=ranks, empty=False, most=most)


def _take(d: Draw) -> Any:
    x = _some(d)
    shape = d.shape_of(x)
    axis = d.integer(0, len(shape) - 1)
    before = ["::-1" if d.chance(0.2) else ":" for _ in range(axis)]
    index = places(d, shape[axis], d.choice([(3,), (1,), (2, 2), (0,), ()]))
    return [x, index], {"index": ", ".join([*before, "{1}"])}


def _take_two(d: Draw) -> Any:
    x = _some(d, (2, 3, 4))
    shape = d.shape_of(x)
    first, second = places(d, shape[0], (3,)), places(d, shape[-1], d.choice([(3,), (2, 1), (1,)]))
    return [x, first, second], {"index": "{1}, ..., {2}" if len(shape) > 2 else "{1}, {2}"}


def _index_text(p: dict[str, Any], *names: str) -> str:
    return p["index"].format(*names)


def advanced(p: dict[str, Any], x: Any, *others: Any) -> Any:
    if 0 in x.shape:
        raise Unknown("indexing of nothing")
    return indexed(p, x, *others)


def _list_index(d: Draw) -> Any:
    """A NumPy array as an index, sometimes of numbers that int32 does not hold."""
    x = _some(d)
    extent = d.shape_of(x)[0]
    numbers = [d.integer(-extent, extent - 1) for _ in range(d.integer(1, 3))]
    if d.chance(d.settings.wrong):
        numbers[0] += d.choice([2**32, -(2**32), 2**40, extent + 5])
    return [x], {"index": f"np.array({numbers})"}


def _mask_index(d: Draw) -> Any:
    x = _some(d)
    shape = d.shape_of(x)
    mask = d.new(shape[: d.integer(1, len(shape))], "bool", "mask", "outside")
    return [x, mask], {"index": "{1}"}


def _gather(d: Draw) -> Any:
    x = _some(d, (1, 2, 3))
    shape = list(d.shape_of(x))
    axis = d.integer(0, len(shape) - 1)
    extent, shape[axis] = shape[axis], d.integer(1, 3)
    return [x, places(d, extent, shape)], {"axis": axis}


def _gather_truth(p: dict[str, Any], x: Any, index: Any) -> Any:
    cut = tuple(slice(None) if a == p["axis"] else slice(0, s) for a, s in enumerate(index.shape))
    return np.take_along_axis(x[cut], checked(index, x.shape[p["axis"]]), p["axis"])


def _scatter(d: Draw) -> Any:
    made = _gather(d)
    x, index = made[0]
    return [x, index, d.like(d.shape_of(index), (d.dtype_of(x),))], made[1]


def _scatter_truth(p: dict[str, Any], x: Any, index: Any, source: Any) -> Any:
    axis, out = p["axis"], x.copy()
    at = checked(index, x.shape[axis])
    for place in np.ndindex(*index.shape):
        target = list(place)
        target[axis] = at[place]
        out[tuple(target)] = source[place]
    return out


def _embedding(d: Draw) -> Any:
    x = d.tensor(ranks=(2,), empty=False, most=5000)
    return [places(d, d.shape_of(x)[0], d.choice([(3,), (2, 2), ()])), x], {}


def _one_hot(d: Draw) -> Any:
    classes = d.integer(1, 4)
    return [places(d, classes, d.choice([(3,), (2, 2), ()]), negative=False)], {"classes": classes}


def _one_hot_truth(p: dict[str, Any], label: Any) -> Any:
    return np.eye(p["classes"], dtype=np.int64)[checked(label, p["classes"], negative=False)]


def _per_place(d: Draw, ranks: Any = (2, 3)) -> tuple[list[str], int]:
    """Scores, and labels for each place but along an axis."""
    x = d.floating(ranks=ranks, empty=False, most=3000)
    shape = d.shape_of(x)
    axis = d.choice([1, d.integer(0, len(shape) - 1)])
    return [x, places(d, shape[axis], [s for a, s in enumerate(shape) if a != axis], negative=False)], axis


def _chosen(p: dict[str, Any], x: Any, label: Any) -> Any:
    axis = p["axis"]
    return np.take_along_axis(x, np.expand_dims(checked(label, x.shape[axis], negative=False), axis), axis)


def _indexing_one_hot(d: Draw) -> Any:
    names, axis = _per_place(d)
    return names, {"axis": axis, "keepdims": d.chance(0.5)}


def _one_hot_chosen(p: dict[str, Any], x: Any, label: Any) -> Any:
    return _chosen(p, x, label) if p["keepdims"] else np.squeeze(_chosen(p, x, label), p["axis"])


def _reduced(p: dict[str, Any], losses: Any) -> Any:
    return losses if p["reduction"] == "none" else losses.sum() if p["reduction"] == "sum" else losses.mean()


def _nll(d: Draw) -> Any:
    names, axis = _per_place(d)
    return names, {"axis": axis, "reduction": d.choice(["none", "mean", "sum"])}


def _cross_entropy(d: Draw) -> Any:
    names, params = _nll(d)
    return names, {**params, "smooth": d.choice([0, 0.25]), "logits": d.chance(0.8)}


def _cross_entropy_truth(p: dict[str, Any], x: Any, label: Any) -> Any:
    axis = p["axis"]
    if p["logits"]:
        high = x.max(axis, keepdims=True)
        x = x - high - np.log(np.exp(x - high).sum(axis, keepdims=True))
    else:
        x = np.log(x)
    loss = -_chosen(p, x, label)
    if p["smooth"]:
        loss = loss * (1 - p["smooth"]) - p["smooth"] * x.mean(axis, keepdims=True)
    return _reduced(p, np.squeeze(loss, axis))


def _accuracy(d: Draw) -> Any:
    x = d.floating(ranks=(2,), empty=False, most=3000)
    rows, classes = d.shape_of(x)
    return [x, places(d, classes, (rows,), negative=False)], {"k": d.integer(1, classes)}


def _accuracy_truth(p: dict[str, Any], x: Any, label: Any) -> Any:
    at = checked(label, x.shape[1], negative=False)
    chosen = x[np.arange(len(x)), at][:, None]
    before = (x > chosen) | ((x == chosen) & (np.arange(x.shape[1]) < at[:, None]))
    return (before.sum(1) < p["k"]).mean()


def _cond_take(d: Draw) -> Any:
    x = _some(d)
    return [d.new(d.shape_of(x), "bool", "mask", "outside"), x], {}


def _cond_take_truth(p: dict[str, Any], mask: Any, x: Any) -> Any:
    return x[mask], np.flatnonzero(mask)


def _write(inner: Callable[[Draw], Any]) -> Callable[[Draw], Any]:
    """A write where `inner` reads: of a number, or of a tensor of one element."""

    def draw(d: Draw) -> Any:
        target = writable(d, 1)
        if target is None:
            return None
        names, params = inner(_Only(d, target))
        if names[0] != target:
            return None
        return names, {
            **params,
            "number": d.choice([0.5, 2.0, -1.0, 5.0, 0.0]) if d.dtype_of(target) not in INTS else d.choice([0, 3]),
        }

    return draw


class _Only(Draw):
    """Draws like another one, but for the tensor that is indexed."""

    def __init__(self, d: Draw, target: str):
        self.__dict__.update(d.__dict__)
        self._target: str | None = target
        self.declare = d.declare  # type: ignore[method-assign]

    def tensor(self, *args: Any, **options: Any) -> str:
        target, self._target = self._target, None
        return target if target is not None else super().tensor(*args, **options)


def writable(d: Draw, least: int = 0) -> str | None:
    """A tensor of at least so many dims that may get a new value, preferably one from outside; it has elements."""

    def accept(shape: tuple[int, ...], dtype: str) -> bool:
        return 0 not in shape and len(shape) >= least and dtype != "bool" and int(np.prod(shape)) <= 20000

    names = [n for n in d.fits(accept) if n not in d.fixed]
    outside = [n for n in names if n[0] in "op"]
    if outside and d.chance(0.75):
        return str(d.choice(outside))
    if names and d.chance(0.6):
        return str(d.choice(names))
    shape = d.shape(d.integer(1, 3))
    if 0 in shape:
        return None
    return d.new(
        shape,
        d.choice([t for t in d.settings.dtypes if t != "bool"] or ["float32"]),
        None,
        d.choice(["outside", "outside", "argument"]),
    )


def put(p: dict[str, Any], x: Any, *others: Any) -> Any:
    *indices, value = others if "number" not in p else (*others, np.asarray(p["number"]))
    made = np.array(x)  # of a number, which NumPy makes of a 0-d array on the way
    words = {f"i{n}": o for n, o in enumerate(indices, 1)}
    text = p["index"].format(None, *words)
    target = eval(f"x[{text}]", {"x": x, "np": np, **words})
    if target.size and not np.broadcast_shapes(target.shape, np.shape(value)) == target.shape:
        raise ValueError("does not fit")
    if isinstance(value, np.ndarray) and value.ndim > target.ndim:
        raise Unknown("a value of more dims")
    exec(f"x[{text}] = v", {"x": made, "np": np, "v": value, **words})
    return made


def _write_slice(d: Draw) -> Any:
    target = writable(d)
    if target is None:
        return None
    shape = d.shape_of(target)
    index = basic_index(d, shape)
    seen = indexed({"index": index}, np.zeros(shape)).shape
    whole = d.chance(0.8) or index == "..."  # x[...] = v takes over another shape
    value = d.like(seen if whole else seen[len(seen) // 2 :], (d.dtype_of(target),))
    return [target, value], {"index": index}


def _write_number(d: Draw) -> Any:
    target = writable(d)
    if target is None:
        return None
    number = d.choice([0.0, 5.0, 0.5]) if d.dtype_of(target) not in INTS else d.choice([0, 5])
    return [target], {"index": basic_index(d, d.shape_of(target)), "number": number}


def _write_at(d: Draw) -> Any:
    made = _write(_take)(d)
    if made is None:
        return None
    (target, index), params = made
    del params["number"]
    seen = indexed(
        {"index": params["index"].replace("{1}", "{1}")}, np.zeros(d.shape_of(target)), np.zeros(d.shape_of(index), int)
    ).shape
    # Where an index repeats, the last one stays; with values that are all equal it does not matter which.
    return [target, index, d.like((1,) * len(seen), (d.dtype_of(target),))], params


INDEX = "{0}[{raw.index}]"


def _pull_put(p: dict[str, Any], g: Any, x: Any, *others: Any) -> Any:
    """Where an index repeats, users differ in what the gradient of a value is that was overwritten."""
    *indices, value = others if "number" not in p else (*others, np.zeros(()))
    target = indexed(p, np.arange(x.size).reshape(x.shape), *indices)
    left = put({**p, "number": 0.0}, g, *indices)
    by_value = VAGUE + np.zeros(np.shape(value))
    if np.unique(target).size == target.size:
        by_value = fitted(indexed(p, g, *indices), np.shape(value))
    return [left, *[None] * len(indices), *([] if "number" in p else [by_value])]


def _pull_scatter(p: dict[str, Any], g: Any, x: Any, index: Any, source: Any) -> Any:
    axis = p["axis"]
    at = checked(index, x.shape[axis])
    places = _gather_truth(p, np.arange(x.size).reshape(x.shape), index)
    twice = np.unique(places).size < places.size
    left = _scatter_truth(p, g, index, np.zeros(source.shape))
    return [left, None, np.full(source.shape, VAGUE) if twice else _gather_truth(p, g, at)]


class _Indexing(Row):
    """A row whose index has inputs in it."""

    def statement(self, step: Any) -> str:
        words = dict(step.params)
        index = words["index"].format(*step.inputs)
        left = f"{step.inputs[0]}[{index}]"
        if not self.changes:
            return f"{step.outs[0]} = {left}"
        return f"{left} = {words['number'] if 'number' in words else step.inputs[-1]}"


def _row(name: str, draw: Callable[[Draw], Any], truth: Callable[..., Any], **options: Any) -> Row:
    return _Indexing(name, INDEX, draw, truth, exact="moves", **options)


WRITES = {"changes": (0,), "results": 0}
ROWS: list[Row] = [
    _row("index take", _take, advanced, weight=3.0),
    _row("index take two", _take_two, advanced, weight=2.0),
    _row("index array", _list_index, advanced, weight=1.5),
    _row("index mask", _mask_index, indexed, reads=True),
    Row("index gather", "F.gather({0}, {axis}, {1})", _gather, _gather_truth, exact="moves", weight=1.5),
    Row(
        "index scatter", "F.scatter({0}, {axis}, {1}, {2})", _scatter, _scatter_truth, exact="moves", pull=_pull_scatter
    ),
    Row(
        "index embedding",
        "F.embedding({0}, {1})",
        _embedding,
        lambda p, i, x: x[checked(i, len(x))],
        dtype="from second",
        exact="moves",
        weight=1.5,
    ),
    Row("index one_hot", "F.one_hot({0}, {classes})", _one_hot, _one_hot_truth, dtype="int32", exact="exact"),
    Row(
        "index indexing_one_hot",
        "F.indexing_one_hot({0}, {1}, {axis}, {keepdims})",
        _indexing_one_hot,
        _one_hot_chosen,
        exact="moves",
    ),
    Row(
        "index cond_take",
        "F.cond_take({0}, {1})",
        _cond_take,
        _cond_take_truth,
        dtype="second and places",
        exact="moves",
        results=2,
        reads=True,
    ),
    Row(
        "loss nll_loss",
        "F.loss.nll_loss({0}, {1}, {axis}, {reduction})",
        _nll,
        lambda p, x, i: _reduced(p, -np.squeeze(_chosen(p, x, i), p["axis"])),
        dtype="statistics",
        exact="sum",
    ),
    Row(
        "loss cross_entropy",
        "F.loss.cross_entropy({0}, {1}, {axis}, {logits}, {smooth}, {reduction})",
        _cross_entropy,
        _cross_entropy_truth,
        dtype="statistics",
        exact="formula",
    ),
    Row(
        "loss topk_accuracy",
        "F.topk_accuracy({0}, {1}, {k})",
        _accuracy,
        _accuracy_truth,
        dtype="float32",
        exact="rounded",
    ),
    _row("write slice", _write_slice, put, weight=3.0, **WRITES),
    _row("write number", _write_number, put, weight=3.0, **WRITES),
    _row("write at", _write_at, put, weight=1.0, pull=_pull_put, **WRITES),
    _row("write number at", _write(_take), put, weight=1.0, **WRITES),
    _row("write mask", _write(_mask_index), put, weight=0.7, reads=True, **WRITES),
]
