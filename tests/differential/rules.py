"""Gradients of what is often larger than can be differenced, as formulae in NumPy: reductions, softmax, norms, products, losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Params = dict[str, Any]


def spread(p: Params, g: Any, x: Any) -> Any:
    """What comes back to a reduction, over all that it has reduced."""
    axis = p["axis"]
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    gone = [a % max(x.ndim, 1) for a in axes]
    return np.broadcast_to(np.reshape(g, [1 if a in gone else s for a, s in enumerate(x.shape)]), x.shape)


def total(p: Params, g: Any, x: Any) -> Any:
    return [spread(p, g, x)]


def mean(p: Params, g: Any, x: Any) -> Any:
    return [spread(p, g, x) / max(x.size // max(np.size(g), 1), 1)]


def softmax(p: Params, g: Any, x: Any) -> Any:
    y = _softmax(x, p["axis"])
    return [y * (g - (g * y).sum(p["axis"], keepdims=True))]


def logsoftmax(p: Params, g: Any, x: Any) -> Any:
    return [g - _softmax(x, p["axis"]) * g.sum(p["axis"], keepdims=True)]


def logsumexp(p: Params, g: Any, x: Any) -> Any:
    return [spread(p, g, x) * np.exp(x - np.logaddexp.reduce(x, p["axis"], keepdims=True))]  # 0 beside an infinite one


def _softmax(x: Any, axis: int) -> Any:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def norm(shape: Callable[[Params, Any], tuple[Any, ...]], axes: Callable[[Params, Any], tuple[int, ...]]) -> Any:
    """Of a norm with weights. shape: in which x is normalised, and the weights broadcast; axes: over which it is."""

    def pull(p: Params, g: Any, x: Any, w: Any, b: Any) -> Any:
        (rows, wide), over = shape(p, x), axes(p, x)
        seen, back, weight = x.reshape(rows), g.reshape(rows), w.reshape(wide)
        centred = seen - seen.mean(over, keepdims=True)
        scale = 1 / np.sqrt(seen.var(over, keepdims=True) + p.get("eps", 1e-5))
        normal, inner = centred * scale, back * weight
        dx = scale * (inner - inner.mean(over, keepdims=True) - normal * (inner * normal).mean(over, keepdims=True))
        rest = tuple(a for a, s in enumerate(wide) if s == 1)
        return [dx.reshape(x.shape), (back * normal).sum(rest).reshape(w.shape), back.sum(rest).reshape(b.shape)]

    return pull


def batch_norm(p: Params, g: Any, x: Any, mean: Any, var: Any, w: Any, b: Any) -> Any:
    """With given statistics, which are no constants."""
    axes, wide = tuple(a for a in range(x.ndim) if a != 1), (1, -1, *(1,) * (x.ndim - 2))
    scale = (var + p.get("eps", 1e-5)) ** -0.5
    by_scale, whole = (g * (x - mean.reshape(wide))).sum(axes), g.sum(axes)
    return [
        g * (w * scale).reshape(wide),
        -whole * w * scale,
        -0.5 * by_scale * w * scale**3,
        by_scale * scale,
        whole,
    ]


def batch_norm_training(p: Params, g: Any, x: Any, mean: Any, var: Any, w: Any, b: Any) -> Any:
    if x.size == 0:
        return [np.zeros(x.shape), None, None, np.zeros(w.shape), np.zeros(b.shape)]
    dx, dw, db = _channels_norm(p, g, x, w, b)
    return [dx, None, None, dw, db]


_channels_norm = norm(
    lambda p, x: (x.shape, (1, -1, *(1,) * (x.ndim - 2))), lambda p, x: tuple(a for a in range(x.ndim) if a != 1)
)


def back_through(matrix: Any, g: Any, axis: int) -> Any:
    """What comes back along an axis that a matrix (new, old) was applied to. What is not finite reaches those alone that had a weight."""
    lost = ~np.isfinite(g)
    made, touched = (
        np.moveaxis(np.tensordot(v, m, (axis, 0)), -1, axis)
        for v, m in ((np.where(lost, 0.0, g), matrix), (lost * 1.0, (matrix != 0) * 1.0))
    )
    return np.where(touched > 0, np.nan, made)


def einsum(p: Params, g: Any, a: Any, b: Any) -> Any:
    """The gradient of an operand is the sum of products of the others, in its letters; what has a diagonal is left to differences."""
    terms, _, result = p["equation"].replace("...", "Z").partition("->")
    first, other = terms.split(",")
    if "->" not in p["equation"]:
        result = "Z" * ("Z" in terms) + "".join(sorted(c for c in set(terms) - set(",Z") if terms.count(c) == 1))
    sizes = {c: s for t, x in ((first, a), (other, b)) for c, s in zip(t, x.shape, strict=True)}

    def by(letters: str, factor: str, x: Any) -> Any:
        """Letters that stand in this operand alone were summed: each of their elements gets the same."""
        lone = [c for c in letters if c not in result + factor]
        ones = np.ones([sizes[c] for c in lone])
        return np.einsum(f"{result},{factor},{''.join(lone)}->{letters}", g, x, ones)

    return [by(first, other, b), by(other, first, a)]


def loss(slopes: Callable[[Any, Any], tuple[Any, Any]]) -> Any:
    """Of an element-wise loss that is reduced."""

    def pull(p: Params, g: Any, x: Any, y: Any) -> Any:
        share = np.broadcast_to(g, x.shape) / (x.size if p["reduction"] == "mean" else 1)
        return [share * s for s in slopes(x, y)]

    return pull
