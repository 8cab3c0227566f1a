"""Reductions, softmax, norms, sorting, products of matrices, and making tensors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import scan_rows

from tengen.core.ops.reduce import ROWS as REDUCTIONS

from .dtypes import DTYPES, FLOATS, INTS
from .row import Draw, Row
from .rules import einsum, logsoftmax, logsumexp, mean, softmax, total


def axes_of(p: dict[str, Any], x: Any) -> tuple[int, ...]:
    """The axes as NumPy takes them."""
    axis = p["axis"]
    return tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)


def _reduction(allowed: Any = (*FLOATS, *INTS), empty: bool = True) -> Callable[[Draw], Any]:
    def draw(d: Draw) -> Any:
        x = d.tensor(allowed, empty=empty)
        return [x], {"axis": d.axes(len(d.shape_of(x))), "keepdims": d.chance(0.4)}

    return draw


def _folded(function: Callable[..., Any]) -> Callable[..., Any]:
    def truth(p: dict[str, Any], x: Any) -> Any:
        return function(x, axis=axes_of(p, x), keepdims=p["keepdims"])

    return truth


def _arg(function: Callable[..., Any]) -> Callable[..., Any]:
    def truth(p: dict[str, Any], x: Any) -> Any:
        axes = sorted(a % max(x.ndim, 1) for a in axes_of(p, x))
        rest = [a for a in range(x.ndim) if a not in axes]
        rows = x.transpose(*rest, *axes).reshape(*(x.shape[a] for a in rest), -1)
        places = np.asarray(function(rows, axis=-1))
        return places.reshape([1 if a in axes else s for a, s in enumerate(x.shape)]) if p["keepdims"] else places

    return truth


def _pull_max(p: dict[str, Any], g: Any, x: Any) -> Any:
    return _pull_extreme(p, g, x, np.max)


def _pull_min(p: dict[str, Any], g: Any, x: Any) -> Any:
    return _pull_extreme(p, g, x, np.min)


def _pull_extreme(p: dict[str, Any], g: Any, x: Any, function: Any) -> Any:
    """Each of several extremes gets the gradient."""
    axes = axes_of(p, x)
    wide = np.reshape(g, [1 if a in [e % max(x.ndim, 1) for e in axes] else s for a, s in enumerate(x.shape)])
    return [np.where(x == function(x, axis=axes, keepdims=True), wide, 0.0)]


def _pull_spread(root: bool) -> Callable[..., Any]:
    """Of equal elements the deviation is 0, and so is its gradient, as PyTorch has it."""

    def pull(p: dict[str, Any], g: Any, x: Any) -> Any:
        axes = axes_of(p, x)
        wide = np.reshape(g, [1 if a in [e % max(x.ndim, 1) for e in axes] else s for a, s in enumerate(x.shape)])
        centred = x - x.mean(axes, keepdims=True)
        count = max(x.size // max(wide.size, 1), 1)
        if not root:
            return [wide * 2 * centred / count]
        deviation = x.std(axes, keepdims=True)
        return [np.where(deviation == 0, 0.0, wide * centred / count / np.where(deviation == 0, 1.0, deviation))]

    return pull


def _norm_draw(d: Draw) -> Any:
    x = d.floating(ranks=(1, 2, 3, 4), empty=False)
    return [x], {
        "ord": d.choice([None, None, 2.0, 1.0, 3.0]),
        "axis": d.axis(len(d.shape_of(x))),
        "keepdims": d.chance(0.5),
    }


def p_norm(p: dict[str, Any], x: Any, keepdims: bool | None = None) -> Any:
    order = 2.0 if p["ord"] is None else p["ord"]
    total = (np.abs(x) ** order).sum(p["axis"], keepdims=p.get("keepdims", True) if keepdims is None else keepdims)
    return total ** (1 / order)


def _pull_norm(p: dict[str, Any], g: Any, x: Any) -> Any:
    """At a vector of zeros the gradient is 0, as PyTorch has it."""
    order = 2.0 if p["ord"] is None else p["ord"]
    wide = g if p["keepdims"] else np.expand_dims(g, p["axis"])
    size = p_norm(p, x, True)
    safe = np.where(size == 0, 1.0, size)
    return [np.where(size == 0, 0.0, wide * np.sign(x) * (np.abs(x) / safe) ** (order - 1))]


def _normalized(p: dict[str, Any], x: Any) -> Any:
    return x / np.maximum(p_norm(p, x, True), 1e-12)


def _pull_normalized(p: dict[str, Any], g: Any, x: Any) -> Any:
    size = p_norm(p, x, True)
    low = np.maximum(size, 1e-12)
    (by_size,) = _pull_norm(
        {**p, "keepdims": True}, -(g * x).sum(p["axis"], keepdims=True) / low**2 * (size >= 1e-12), x
    )
    return [g / low + by_size]


def _soft(d: Draw) -> Any:
    x = d.floating(ranks=(1, 2, 3, 4), empty=False)
    return [x], {"axis": d.axis(len(d.shape_of(x)))}


def _softmax(p: dict[str, Any], x: Any) -> Any:
    powers = np.exp(x - x.max(p["axis"], keepdims=True))
    return powers / powers.sum(p["axis"], keepdims=True)


def _logsoftmax(p: dict[str, Any], x: Any) -> Any:
    z = x - x.max(p["axis"], keepdims=True)
    return z - np.log(np.exp(z).sum(p["axis"], keepdims=True))


def _logsumexp(p: dict[str, Any], x: Any) -> Any:
    high = x.max(p["axis"], keepdims=True)
    shift = np.where(np.isfinite(high), high, 0.0)
    made = np.log(np.exp(x - shift).sum(p["axis"], keepdims=True)) + shift
    return made if p.get("keepdims", True) else np.squeeze(made, p["axis"])


def _logsumexp_draw(d: Draw) -> Any:
    names, params = _soft(d)
    return names, {**params, "keepdims": d.chance(0.5)}


# -- sorting


def _sortable(d: Draw) -> Any:
    return d.tensor((*FLOATS, *INTS), ranks=(1, 2, 3), empty=False, most=5000)


def ordered(x: Any, descending: bool) -> Any:
    """Places in order; NaN is larger than any number, equal elements keep their order."""
    if not descending:
        return np.argsort(x, -1, kind="stable")
    turned = np.argsort(x[..., ::-1], -1, kind="stable")
    return (x.shape[-1] - 1 - turned)[..., ::-1]


def _sort_truth(p: dict[str, Any], x: Any) -> Any:
    places = ordered(x, p["descending"])[..., : p.get("k")]
    return np.take_along_axis(x, places, -1), places


def _topk(d: Draw) -> Any:
    x = _sortable(d)
    return [x], {"k": d.integer(1, d.shape_of(x)[-1]), "descending": d.chance(0.7)}


def _pull_sorted(p: dict[str, Any], g: Any, x: Any) -> Any:
    places, made = ordered(x, p["descending"])[..., : p.get("k")], np.zeros(x.shape)
    np.put_along_axis(made, places, g, -1)
    return [made]


def _along(d: Draw) -> Any:
    x = d.tensor(DTYPES, ranks=(1, 2, 3), most=5000)
    return [x], {"axis": d.axis(len(d.shape_of(x)))}


def _scan(row: scan_rows.Row) -> Row:
    """A function that goes along an axis."""
    return Row(
        f"sort {row.name}",
        f"F.{row.name}({{0}}, {{axis}})",
        _along,
        lambda p, x: row.truth(x, p["axis"]),
        "summed",
        row.exact,
        pull=(lambda p, g, x: [row.pull(g, x, p["axis"])]) if row.pull else None,
    )


# -- products


def _matmul(d: Draw) -> Any:
    a = d.tensor((*FLOATS, "int32"), ranks=(1, 2, 3), empty=d.chance(0.2), most=10000)
    shape = d.shape_of(a)
    k, n = shape[-1], d.choice([1, 2, 5, 8, 17, 33])
    kind = d.random.random()
    params = {"a": False, "b": d.chance(0.3)}
    if len(shape) > 1 and kind < 0.2:
        params["a"], k = True, shape[-2]
    batch = shape[:-2] if len(shape) == 3 and d.chance(0.5) else ()
    other = (k,) if kind > 0.9 else (*batch, n, k) if params["b"] else (*batch, k, n)
    return [a, d.like(other, (d.dtype_of(a),))], params


def _turned(x: Any, turn: bool) -> Any:
    return np.swapaxes(x, -1, -2) if turn and x.ndim > 1 else x


def _matmul_truth(p: dict[str, Any], a: Any, b: Any) -> Any:
    return np.matmul(_turned(a, p["a"]), _turned(b, p["b"]))


def fitted(g: Any, shape: Any) -> Any:
    """A gradient summed over the axes along which its operand was broadcast."""
    g = g.sum(tuple(range(g.ndim - len(shape))))
    return g.sum(tuple(a for a, s in enumerate(shape) if s == 1 and g.shape[a] != 1), keepdims=True)


def _pull_matmul(p: dict[str, Any], g: Any, a: Any, b: Any) -> Any:
    left, right = _turned(a, p["a"]), _turned(b, p["b"])
    rows = left[None] if left.ndim == 1 else left
    columns = right[:, None] if right.ndim == 1 else right
    if left.ndim == 1:
        g = np.expand_dims(g, -2 if right.ndim > 1 else -1)
    if right.ndim == 1:
        g = np.expand_dims(g, -1)
    by_left = fitted(np.matmul(g, np.swapaxes(columns, -1, -2)), rows.shape)
    by_right = fitted(np.matmul(np.swapaxes(rows, -1, -2), g), columns.shape)
    return [_turned(by_left.reshape(left.shape), p["a"]), _turned(by_right.reshape(right.shape), p["b"])]


EQUATIONS = "ij,jk->ik ij,kj->ki bij,bjk->bik i,ij-> i,j bi,bi->b ...i,ij->...j ij,...j".split()
WITH_DIAGONALS = "ii,ij->j iij,jk->ki iji,j ii,jj->ij".split()


def _einsum(equations: list[str]) -> Row:
    def draw(d: Draw) -> Any:
        equation = d.choice(equations)
        extents = {"...": 2, **{c: d.integer(1, 5) for c in "bijk"}}
        dtype = d.choice([*FLOATS, "int32"])
        terms = [re.findall(r"\.\.\.|\w", term) for term in equation.partition("->")[0].split(",")]
        return [d.like([extents[c] for c in term], (dtype,)) for term in terms], {"equation": equation}

    return Row(
        f"product einsum {equations[0]}",
        "F.einsum({equation}, {0}, {1})",
        draw,
        lambda p, a, b: np.einsum(p["equation"], a, b),
        "product",
        "sum",
        pull=einsum if equations is EQUATIONS else None,
    )


#: code of two real tensors by way of complex numbers → meaning
COMPLEX = {
    "F.imag(F.complex({0}, {1}) * F.complex({1}, {0}) - 2j)": lambda a, b: a * a + b * b - 2,
    "F.real(F.complex({0}, {1}) * 1.5 + {0})": lambda a, b: (
        a * 1.5 - b * 0.0 + a
    ),  # the number is 1.5 + 0i, as in NumPy and PyTorch
    "F.imag(F.where({0} > 0, F.complex({0}, {1}), 1.0))": lambda a, b: np.where(a > 0, b, 0),
    "F.abs(F.concat([F.complex({0}, 0.0), {1}]))": lambda a, b: np.abs(np.concatenate([a, b])),
    "F.real(F.sum(F.complex({0}, {1}), 0))": lambda a, b: a.sum(0),
    "F.imag(F.complex({0}, {1})[::-1])": lambda a, b: b[::-1],
    "F.real(F.full({0}.shape, 2.0, dtype='complex64') - F.complex({0}, {1}))": lambda a, b: 2 - a,
    "F.real(F.nn.pad(F.complex({0}, {1}), ((1, 0),), constant_value=3.0))": lambda a, b: np.pad(
        a, ((1, 0), *[(0, 0)] * (a.ndim - 1)), constant_values=3
    ),
    "F.imag(F.polar({0}, {1}))": lambda a, b: a * np.sin(b),
}
COMPLEX_PRODUCT = "F.real(F.matmul(F.complex({0}, {0}), F.complex({1}, -{1})))"


def _complex(code: str, meaning: Any, rank: int | None = None) -> Row:
    def draw(d: Draw) -> Any:
        x = d.tensor(("float32",), ranks=(rank,) if rank else (1, 2, 3), empty=False, most=500)
        shape = d.shape_of(x)
        return [x, d.like(shape[::-1] if rank == 2 else shape, ("float32",))], {}

    return Row(f"complex {code}", code, draw, lambda p, a, b: meaning(a, b), "float32", "formula", weight=0.3)


def _linear(d: Draw) -> Any:
    x = d.floating(ranks=(1, 2, 3), empty=False, most=10000)
    size, dtype = d.shape_of(x)[-1], d.dtype_of(x)
    n = d.choice([1, 3, 8, 16, 33])
    return [x, d.like((n, size), (dtype,)), d.like((n,), (dtype,))], {}


def _dot(d: Draw) -> Any:
    x = d.floating(ranks=(1,))
    return [x, d.like(d.shape_of(x), (d.dtype_of(x),))], {}


def _pull_linear(p: dict[str, Any], g: Any, x: Any, w: Any, b: Any) -> Any:
    rows, flat = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    return [(flat @ w).reshape(x.shape), flat.T @ rows, flat.sum(0)]


def _square(d: Draw) -> Any:
    n = d.integer(1, 4)
    x = d.new((n, n), d.choice(["float32", "float64"]), "fine")
    return [x], {"scale": 4.0}


# -- making tensors


def _like(d: Draw) -> Any:
    return [d.tensor(DTYPES)], {"value": d.choice([0, 1, 2])}


def _alone(**options: Callable[[Draw], Any]) -> Callable[[Draw], Any]:
    return lambda d: ([], {name: draw(d) for name, draw in options.items()})


DTYPE = lambda d: d.choice(["float32", "float64", "int32", "float16"])  # noqa: E731


def _reduce_rows() -> list[Row]:
    """Public reductions, whose modes are those of the table; a mode without a meaning here takes part without a truth."""
    meanings: dict[str, tuple[str, Any, dict[str, Any]]] = {
        "SUM": ("F.sum", np.sum, {"dtype": "summed", "exact": "sum", "pull": total}),
        "PRODUCT": ("F.prod", np.prod, {"dtype": "summed", "exact": "sum"}),
        "MAX": ("F.max", np.max, {"exact": "exact", "pull": _pull_max}),
        "MIN": ("F.min", np.min, {"exact": "exact", "pull": _pull_min}),
    }
    rows = []
    for mode in REDUCTIONS:
        name, function, options = meanings.get(mode, ("", None, {}))
        code = f"{name}({{0}}, {{axis}}, {{keepdims}})" if name else f"apply(Reduce({mode!r}, (0,)), {{0}})"
        draw = (
            _reduction(empty=mode in ("SUM", "PRODUCT"))
            if name
            else (lambda d: ([d.floating(ranks=(1, 2), empty=False)], {}))
        )
        rows.append(
            Row(f"reduce {mode}", code, draw, function and _folded(function), weight=1.5 if name else 0.3, **options)
        )
    return rows


REDUCE = "({0}, {axis}, {keepdims})"
ROWS: list[Row] = [
    *_reduce_rows(),
    Row(
        "reduce mean",
        f"F.mean{REDUCE}",
        _reduction(empty=False),
        _folded(np.mean),
        dtype="statistics",
        exact="sum",
        pull=mean,
    ),
    Row(
        "reduce var",
        f"F.var{REDUCE}",
        _reduction(empty=False),
        _folded(np.var),
        dtype="statistics",
        exact="sum",
        pull=_pull_spread(False),
    ),
    Row(
        "reduce std",
        f"F.std{REDUCE}",
        _reduction(FLOATS, False),
        _folded(np.std),
        dtype="statistics",
        exact="formula",
        pull=_pull_spread(True),
    ),
    Row("reduce argmax", f"F.argmax{REDUCE}", _reduction(empty=False), _arg(np.argmax), dtype="int32", exact="exact"),
    Row("reduce argmin", f"F.argmin{REDUCE}", _reduction(empty=False), _arg(np.argmin), dtype="int32", exact="exact"),
    Row("reduce norm", "F.norm({0}, {ord}, {axis}, {keepdims})", _norm_draw, p_norm, exact="formula", pull=_pull_norm),
    Row(
        "reduce normalize",
        "F.normalize({0}, {ord}, {axis})",
        lambda d: (lambda n, p: (n, {k: p[k] for k in ("ord", "axis")}))(*_norm_draw(d)),
        _normalized,
        exact="formula",
        pull=_pull_normalized,
    ),
    Row("soft softmax", "F.softmax({0}, {axis})", _soft, _softmax, exact="formula", pull=softmax, weight=1.5),
    Row(
        "soft logsoftmax",
        "F.logsoftmax({0}, {axis})",
        _soft,
        _logsoftmax,  # beside an infinite number nan, as PyTorch and MegEngine have it
        exact="formula",
        pull=logsoftmax,
    ),
    Row(
        "soft logsumexp",
        "F.logsumexp({0}, {axis}, {keepdims})",
        _logsumexp_draw,
        _logsumexp,
        exact="formula",
        pull=logsumexp,
    ),
    Row(
        "sort sort",
        "F.sort({0}, {descending})",
        lambda d: ([_sortable(d)], {"descending": d.chance(0.5)}),
        _sort_truth,
        "and places",
        "moves",
        pull=_pull_sorted,
        results=2,
    ),
    Row(
        "sort topk",
        "F.topk({0}, {k}, {descending})",
        _topk,
        _sort_truth,
        "and places",
        "moves",
        pull=_pull_sorted,
        results=2,
        weight=2.0,
    ),
    Row(
        "sort argsort",
        "F.argsort({0}, {descending})",
        lambda d: ([_sortable(d)], {"descending": d.chance(0.5)}),
        lambda p, x: ordered(x, p["descending"]),
        "int32",
        "exact",
    ),
    *(_scan(row) for row in scan_rows.ROWS),
    Row(
        "product matmul",
        "F.matmul({0}, {1}, {a}, {b})",
        _matmul,
        _matmul_truth,
        "product",
        "sum",
        pull=_pull_matmul,
        weight=3.0,
    ),
    Row(
        "product linear",
        "F.linear({0}, {1}, {2})",
        _linear,
        lambda p, x, w, b: x @ w.T + b,
        "promoted",
        "sum",
        pull=_pull_linear,
        weight=2.0,
    ),
    Row(
        "product plain linear",
        "F.linear({0}, {1})",
        lambda d: (lambda n, p: (n[:2], p))(*_linear(d)),
        lambda p, x, w: x @ w.T,
        "promoted",
        "sum",
        pull=lambda p, g, x, w: _pull_linear(p, g, x, w, None)[:2],
    ),
    _einsum(EQUATIONS),
    _einsum(WITH_DIAGONALS),
    *(_complex(code, meaning) for code, meaning in COMPLEX.items()),
    _complex(COMPLEX_PRODUCT, lambda a, b: 2 * a @ b, rank=2),
    Row(
        "product dot",
        "F.dot({0}, {1})",
        _dot,
        lambda p, a, b: (a * b).sum(),
        "promoted",
        "sum",
        pull=lambda p, g, a, b: [g * b, g * a],
    ),
    Row(
        "product matinv",
        "F.matinv({0} + {scale} * F.eye({0}.shape[0]).astype({0}.dtype))",
        _square,
        lambda p, x: np.linalg.inv(x + p["scale"] * np.eye(len(x))),
        exact="formula",
    ),
    Row(
        "product svd",
        "F.svd({0}, compute_uv=False)",
        _square,
        lambda p, x: np.linalg.svd(x, compute_uv=False),
        exact="formula",
        weight=0.3,
        pull=lambda p, g, x: [np.zeros(x.shape)],
    ),
    Row(
        "make full_like",
        "F.full_like({0}, {value})",
        _like,
        lambda p, x: np.full(x.shape, p["value"]),
        exact="exact",
        weight=0.5,
    ),
    Row("make zeros_like", "F.zeros_like({0})", _like, lambda p, x: np.zeros(x.shape), exact="exact", weight=0.5),
    Row("make ones_like", "F.ones_like({0})", _like, lambda p, x: np.ones(x.shape), exact="exact", weight=0.5),
    Row(
        "make zeros",
        "F.zeros({shape}, dtype={dtype})",
        _alone(shape=lambda d: d.shape(), dtype=DTYPE),
        lambda p: np.zeros(p["shape"]),
        "param",
        "exact",
        weight=0.5,
    ),
    Row(
        "make ones",
        "F.ones({shape}, dtype={dtype})",
        _alone(shape=lambda d: d.shape(), dtype=DTYPE),
        lambda p: np.ones(p["shape"]),
        "param",
        "exact",
        weight=0.5,
    ),
    Row(
        "make full",
        "F.full({shape}, {value}, dtype={dtype})",
        _alone(shape=lambda d: d.shape(), value=lambda d: d.integer(-2, 3), dtype=DTYPE),
        lambda p: np.full(p["shape"], p["value"]),
        "param",
        "exact",
        weight=0.5,
    ),
    Row(
        "make arange",
        "F.arange({start}, {stop}, {step}, dtype={dtype})",
        _alone(
            start=lambda d: d.integer(-3, 3),
            stop=lambda d: d.integer(-3, 9),
            step=lambda d: d.choice([1, 2, -1]),
            dtype=DTYPE,
        ),
        lambda p: np.arange(p["start"], p["stop"], p["step"]),
        "param",
        "exact",
        weight=0.5,
    ),
    Row(
        "make linspace",
        "F.linspace({start}, {stop}, {num}, dtype={dtype})",
        _alone(
            start=lambda d: d.integer(-3, 3),
            stop=lambda d: d.integer(-3, 9),
            num=lambda d: d.integer(1, 9),
            dtype=lambda d: d.choice(["float32", "float64"]),
        ),
        lambda p: np.linspace(p["start"], p["stop"], p["num"]),
        "param",
        "rounded",
        weight=0.5,
    ),
    Row(
        "make eye",
        "F.eye({rows}, {columns}, dtype={dtype})",
        _alone(rows=lambda d: d.integer(1, 5), columns=lambda d: d.integer(1, 5), dtype=DTYPE),
        lambda p: np.eye(p["rows"], p["columns"]),
        "param",
        "exact",
        weight=0.5,
    ),
]
