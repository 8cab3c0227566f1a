"""softmax(scale · q kᵀ + bias) v, without the softmax in memory, and by its formula."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ...compiler.attention import Attention, AttentionGradient
from ...compiler.program import Type, Value
from .base import FLOATS, Formula, Grads, broadcast_shapes, check_stretches, promoted_floats
from .elemwise import EQ, EXP_NONPOSITIVE, cast, where
from .formula import LogSumExp, Softmax
from .linalg import MatMul
from .random import Dropout
from .reduce import Reduce, total
from .shape import broadcast, reshape, transpose

FUSED = ("float32", "float16", "bfloat16")
"""Dtypes that the kernel has; its sums are float32."""
LOG2_E = math.log2(math.e)
WIDEST = 256
"""Numbers of a query, a key or a value that fit the kernel's scratch memory."""


class MaskedSoftmax(Softmax):
    """The softmax over `axes`, and 0 where all elements are -inf: a query that no key takes part in gets nothing of any value."""

    def expand(self, *inputs: Value) -> Value:
        x = inputs[0]
        high = Reduce("MAX_NUMBER", self.axes)(x)
        powers = EXP_NONPOSITIVE(x - where(EQ(high, -math.inf), 0.0, high))
        sums = total(powers, self.axes)
        return powers * where(EQ(sums, 0.0), 0.0, 1.0 / sums)


class FusedAttention(Attention):
    """One kernel for a block of queries; the softmax exists block by block only. Dao et al. 2022."""

    causal: bool
    scale: float

    name = "attention"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        q, _, v, *_ = types
        return Type(q.dtype, (*q.shape[:3], v.shape[3])), Type("float32", q.shape[:3])

    def in_ops(self, *inputs: Value) -> tuple[Value, ...]:
        q, k, v, *bias = inputs
        y, levels = by_formula(self, *(cast(x, "float32") for x in (q, k, v)), *bias)
        return cast(y, q.dtype), levels

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        q, k, v, *bias = inputs
        (y, levels), (g, _) = outputs, grads
        if g is None:
            return [None] * len(inputs)
        found: list[Value | None] = list(FusedAttentionGradient(self.causal, self.scale)(*inputs, y, levels, g))
        if bias:  # as large as the softmax itself
            found.append(_softmax(self, q, k, v, bias, g).of_scores)
        return found


class FusedAttentionGradient(AttentionGradient):
    """The gradients of queries, keys and values. Dao et al. 2022, appendix B.4."""

    causal: bool
    scale: float

    name = "attention_gradient"
    no_onnx = "has no gradients"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return types[:3]

    def in_ops(self, *inputs: Value) -> tuple[Value, ...]:
        q, k, v, *bias = inputs[:-3]
        g, dtype = inputs[-1], q.dtype
        p = _softmax(self, q, k, v, bias, g)
        q, k, g = (cast(x, "float32") for x in (q, k, g))
        of_q, of_k = (_times(p.of_scores, k) * self.scale, _times(_turned(p.of_scores), q) * self.scale)
        return tuple(cast(x, dtype) for x in (of_q, of_k, _times(_turned(p.weights), g)))

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        """Through the formula, with the softmax in memory. What the levels and the result contribute is among the gradients of q, k and v."""
        q, k, v, *bias = inputs[:-3]
        g = inputs[-1]
        given = [None if x is None else cast(x, "float32") for x in grads]
        p = _softmax(self, q, k, v, bias, g)
        of_q, of_k, of_v = (
            x if x is not None else cast(y, "float32") * 0.0 for x, y in zip(given, (q, k, v), strict=True)
        )
        q, k, v, g = (cast(x, "float32") for x in (q, k, v, g))
        of_change = (_times(of_q, _turned(k)) + _times(q, _turned(of_k))) * self.scale
        of_shares = p.weights * (of_change - total(p.weights * of_change, (3,)))
        inner = of_change * (p.shares - p.mean) - p.shares * total(of_change * p.weights, (3,))
        inner = inner + _times(g, _turned(of_v))
        scores = p.weights * (inner - total(p.weights * inner, (3,)))
        found: list[Value | None] = [
            (_times(scores, k) + _times(p.of_scores, of_k)) * self.scale,
            (_times(_turned(scores), q) + _times(_turned(p.of_scores), of_q)) * self.scale,
            _times(_turned(of_shares), g),
            *([scores] if bias else []),
        ]
        return [*found, None, None, _times(of_shares, v) + _times(p.weights, of_v)]


class _Parts(NamedTuple):
    """weights: the softmax. shares: the gradient of it. mean: the sum of both in each row. of_scores: the gradient of the scores."""

    weights: Value
    shares: Value
    mean: Value
    of_scores: Value


def _softmax(
    op: Attention | AttentionGradient, q: Value, k: Value, v: Value, bias: Sequence[Value], g: Value
) -> _Parts:
    q, k, v, g = (cast(x, "float32") for x in (q, k, v, g))
    weights: Value = MaskedSoftmax((3,))(scores_of(q, k, bias, op.causal, op.scale))
    shares = _times(g, _turned(v))
    mean = total(weights * shares, (3,))
    return _Parts(weights, shares, mean, weights * (shares - mean))


def scores_of(q: Value, k: Value, bias: Sequence[Value], causal: bool, scale: float) -> Value:
    """scale · q kᵀ + bias, -inf where `causal` leaves a key out."""
    scores = _times(q * scale, _turned(k))
    for x in bias:
        scores = scores + cast(x, scores.dtype)
    return where(_later(scores), -math.inf, scores) if causal else scores


def by_formula(op: Attention, q: Value, k: Value, v: Value, *bias: Value) -> tuple[Value, Value]:
    """The outputs of an Attention from ops that keep the softmax in memory."""
    scores = scores_of(q, k, bias, op.causal, op.scale)
    weights: Value = MaskedSoftmax((3,))(scores)
    levels: Value = LogSumExp((3,))(scores)
    return _times(cast(weights, v.dtype), v), cast(reshape(levels, levels.shape[:3]) * LOG2_E, "float32")


def _later(scores: Value) -> Value:
    """Where a key comes after the query."""
    length, count = scores.shape[2:]
    return scores.builder.iota((1, 1, 1, count)) > scores.builder.iota((1, 1, length, 1))


def _times(a: Value, b: Value) -> Value:
    y: Value = MatMul()(a, b)
    return y


def _turned(x: Value) -> Value:
    return transpose(x, (0, 1, 3, 2))


def attention(q: Value, k: Value, v: Value, bias: Sequence[Value], causal: bool, scale: float) -> tuple[Value, ...]:
    """softmax(scale · q kᵀ + bias) v of (N, heads, length, numbers), where dims broadcast, and the levels of FusedAttention.

    The biases are added up. Without keys there is nothing to mix: zeros.
    """
    lead = broadcast_shapes("attention", q.shape[:2], k.shape[:2], v.shape[:2])
    q, k, v = (broadcast(x, (*lead, *x.shape[2:])) for x in (q, k, v))
    shape = (*lead, q.shape[2], k.shape[2])
    if scale <= 0:  # the largest score is that of the largest product
        q, scale = (-q, -scale) if scale < 0 else (q * 0.0, 1.0)
    added = []
    if bias:
        one = cast(bias[0], "float32")
        for x in bias[1:]:
            one = one + cast(x, "float32")
        added.append(broadcast(one, shape))
    made: tuple[Value, ...] = FusedAttention(causal, scale)(q, k, v, *added)
    return made


def fits(q: Value, k: Value, v: Value) -> bool:
    """Whether the kernel takes operands of these types."""
    narrow = max(q.shape[3], v.shape[3]) <= WIDEST and min(q.shape[3], v.shape[3], k.shape[2]) > 0
    return q.dtype in FUSED and narrow


class DotProductAttention(Formula):
    """softmax(scale · q kᵀ + mask) v. Inputs: q, k, v (…, length, numbers), if `masked` a mask, where bool says which keys take part and
    numbers are added, and if `drawn` p, seed and offset for a dropout of the softmax. Outputs: the result, and if neither dropout nor the
    dtype stands in the way, the levels of FusedAttention."""

    causal: bool
    scale: float
    masked: bool = False
    drawn: bool = False

    name = "scaled_dot_product_attention"
    precision = "low"
    converted = 3

    def expand(self, *inputs: Value) -> Value | Sequence[Value]:
        dtype = promoted_floats(self.name, [x.type for x in inputs[:3]])
        lead, keys = self._checked(*inputs[:3])
        q, k, v = (_of_four(cast(x, dtype), lead) for x in inputs[:3])
        shape = (*lead, q.shape[2], v.shape[3])
        bias = [self._bias(inputs[3], lead, (q.shape[2], keys), dtype)] if self.masked else []
        if fits(q, k, v) and not self.drawn:
            y, levels = attention(q, k, v, bias, self.causal, self.scale)
            return reshape(y, shape), levels
        weights: Value = MaskedSoftmax((3,))(scores_of(q, k, bias, self.causal, self.scale))
        if self.drawn:
            weights = Dropout()(weights, *inputs[-3:])
        return reshape(cast(_times(weights, v), dtype), shape)

    def _checked(self, q: Value, k: Value, v: Value) -> tuple[tuple[int, ...], int]:
        """The common shape of what stands before the lengths, and how many keys there are."""
        for name, x in zip(("query", "key", "value"), (q, k, v), strict=True):
            if x.ndim < 2:
                raise ValueError(f"{self.name} takes a {name} of (…, length, features), got shape {x.shape}")
        if q.shape[-1] != k.shape[-1]:
            raise ValueError(f"{self.name}: query {q.shape} and key {k.shape} must have as many features")
        if k.shape[-2] != v.shape[-2]:
            raise ValueError(f"{self.name}: key {k.shape} and value {v.shape} must have one length")
        return broadcast_shapes(self.name, *(x.shape[:-2] for x in (q, k, v))), k.shape[-2]

    def _bias(self, mask: Value, lead: tuple[int, ...], lengths: tuple[int, int], dtype: str) -> Value:
        """What is added to the scores."""
        check_stretches(self.name, "attn_mask", mask.shape, (*lead, *lengths))
        if mask.dtype == "bool":
            mask = where(mask, 0.0, -math.inf)
        elif mask.dtype not in FLOATS:
            raise TypeError(f"{self.name}: attn_mask must be bool or float, got {mask.dtype}")
        mask = reshape(mask, (*(1,) * (2 - mask.ndim), *mask.shape))
        return cast(_of_four(mask, lead), "float64" if dtype == "float64" else "float32")


def _of_four(x: Value, lead: tuple[int, ...]) -> Value:
    """(…, a, b) as (N, heads, a, b), where dims may be 1 that are more in `lead`."""
    last = x.shape[-2:]
    if len(lead) > 2:
        return reshape(broadcast(x, (*lead, *last)), (math.prod(lead[:-1]), lead[-1], *last))
    return reshape(x, (*(1,) * (4 - x.ndim), *x.shape))
