"""Attention as one op: projections, softmax and dropout together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ...compiler.program import Value
from .base import Formula, promoted_floats
from .dot_product import MaskedSoftmax, attention, fits
from .elemwise import cast, where
from .linalg import MatMul
from .random import Dropout
from .shape import Concatenate, Unpack, broadcast, pad, reshape, transpose

KINDS = ("q", "k", "v", "o")


class MultiHeadAttn(Formula):
    """softmax(sm_scaler · Q Kᵀ + masks) V in each of `num_heads` parts of the features. Vaswani et al. 2017, section
    3.2.

    Q, K and V are the first three inputs (N, L, features), projected to `qproj_size` … columns (0: not projected); the
    result is projected too. Inputs: query, key, value; if anything is projected, all weights and biases in one value,
    in the order q, k, v, o, weights first; if `tensor_combination_type` is ONLY_MASK or ALL, a mask that broadcasts to
    (N, heads, L, S), where a bool leaves out and a number is added, and if `padded` another one; if it is ONLY_BIASKV
    or ALL, a row to append to the keys and one to the values; if `drawn`, seed and offset for the dropout of the
    softmax and for that of the result. Outputs: the result, and the softmax (N · heads, L, S) if `need_weights`.
    """

    num_heads: int = 1
    embeding_size: int = 0
    k_size: int = 0
    v_size: int = 0
    qproj_size: int = 0
    kproj_size: int = 0
    vproj_size: int = 0
    oproj_size: int = 0
    qbias: bool = False
    kbias: bool = False
    vbias: bool = False
    obias: bool = False
    sm_scaler: float = 1.0
    attn_mask_type: str = "NO_MASK"
    tensor_combination_type: str = "NONE"
    add_zero_attn: bool = False
    need_weights: bool = False
    reslink: bool = False
    training: bool = True
    attn_prob: float = 0.0
    out_prob: float = 0.0
    padded: bool = False
    drawn: bool = False

    name = "multi_head_attention"

    def expand(self, *inputs: Value) -> Value | Sequence[Value]:
        rest = iter(inputs)
        query, key, value = self._tensors(rest)
        widths = query.shape[2], key.shape[2], value.shape[2]
        parts = self._projections(widths, next(rest), query.dtype) if any(self._sizes) else {}
        masks = [next(rest) for _ in range(self._masks)]
        appended = self._appended(rest, key, value, parts)
        q = self._heads(_projected(query, "q", parts))
        k, v = (self._heads(x) for x in appended)
        if self._fuses(q, k, v, key.shape[1]):
            y, weights = self._mixed(q, k, v, masks), None
            if self.drawn:  # no element of the softmax is dropped, but its place in the sequence was given
                next(rest), next(rest)
        else:
            y, weights = self._by_formula(q, k, v, masks, key.shape[1], rest)
        mixed = transpose(y, (0, 2, 1, 3))
        y = _projected(reshape(mixed, (*mixed.shape[:2], mixed.shape[2] * mixed.shape[3])), "o", parts)
        y = self._dropped(y, self.out_prob, rest)
        if self.reslink:
            y = self._with_query(y, query)
        if weights is None or not self.need_weights:
            return y
        return y, reshape(weights, (weights.shape[0] * self.num_heads, *weights.shape[2:]))

    def _fuses(self, q: Value, k: Value, v: Value, keys: int) -> bool:
        """Whether the kernel of attention does it."""
        asked = self.need_weights or (self.drawn and self.attn_prob)
        appended = self.attn_mask_type == "DEFAULT_MASK" and k.shape[2] != keys
        return fits(q, k, v) and not (asked or appended)

    def _mixed(self, q: Value, k: Value, v: Value, masks: Sequence[Value]) -> Value:
        bias = [where(m, -math.inf, 0.0) if m.dtype == "bool" else m for m in self._with_appended(masks, k.shape[2])]
        return attention(q, k, v, bias, self.attn_mask_type == "DEFAULT_MASK", self.sm_scaler)[0]

    def _with_appended(self, masks: Sequence[Value], keys: int) -> list[Value]:
        """Appended keys are never left out."""
        return [pad(m, (0, 0, 0, 0), (0, 0, 0, keys - m.shape[3])) if m.shape[3] < keys else m for m in masks]

    def _by_formula(
        self, q: Value, k: Value, v: Value, masks: Sequence[Value], keys: int, rest: Iterator[Value]
    ) -> tuple[Value, Value]:
        """The result and the softmax."""
        scores = MatMul()(q * self.sm_scaler, transpose(k, (0, 1, 3, 2)))
        if self.attn_mask_type == "DEFAULT_MASK":
            masks = [*masks, _later(scores, keys)]
        for mask in self._with_appended(masks, scores.shape[3]):
            scores = where(mask, -math.inf, scores) if mask.dtype == "bool" else scores + cast(mask, scores.dtype)
        weights = self._dropped(MaskedSoftmax((3,))(scores), self.attn_prob, rest)
        return MatMul()(weights, v), weights

    @property
    def _sizes(self) -> tuple[int, int, int, int]:
        return self.qproj_size, self.kproj_size, self.vproj_size, self.oproj_size

    @property
    def _masks(self) -> int:
        return (self.tensor_combination_type in ("ONLY_MASK", "ALL")) + self.padded

    def _tensors(self, rest: Iterator[Value]) -> list[Value]:
        """Query, key and value in one dtype."""
        found = [next(rest) for _ in range(3)]
        for name, x in zip(("query", "key", "value"), found, strict=True):
            if x.ndim != 3:
                raise ValueError(f"{self.name} takes a {name} of (batch, length, features), got shape {x.shape}")
        query, key, value = found
        if key.shape[:2] != value.shape[:2] or query.shape[0] != key.shape[0]:
            raise ValueError(
                f"{self.name}: query {query.shape}, key {key.shape} and value {value.shape} must have one batch size, "
                "and key and value must have one length"
            )
        dtype = promoted_floats(self.name, [x.type for x in found])
        return [cast(x, dtype) for x in found]

    def _projections(self, widths: tuple[int, int, int], weights: Value, dtype: str) -> dict[str, tuple[Value, ...]]:
        """Weight (in, out), and perhaps bias, of each projection that exists."""
        mixed = self.vproj_size or widths[2]
        zipped = zip(
            KINDS, (*widths, mixed), self._sizes, (self.qbias, self.kbias, self.vbias, self.obias), strict=True
        )
        given = [row for row in zipped if row[2]]
        shapes = (*((wide, size) for _, wide, size, _ in given), *((size,) for _, _, size, bias in given if bias))
        count = sum(map(math.prod, shapes))
        if weights.size != count:
            said = ", ".join(map(str, shapes))
            raise ValueError(f"{self.name}: io_weight_bias has {weights.size} elements, not the {count} of {said}")
        made = iter(
            Unpack(shapes)(cast(weights, dtype)) if len(shapes) > 1 else [reshape(cast(weights, dtype), shapes[0])]
        )
        found: dict[str, tuple[Value, ...]] = {kind: (next(made),) for kind, *_ in given}
        return found | {kind: (*found[kind], next(made)) for kind, _, _, bias in given if bias}

    def _appended(
        self, rest: Iterator[Value], key: Value, value: Value, parts: dict[str, tuple[Value, ...]]
    ) -> list[Value]:
        """The projected keys and values, with the rows appended to them."""
        made = []
        for kind, x in (("k", key), ("v", value)):
            y = _projected(x, kind, parts)
            rows = [y]
            if self.tensor_combination_type in ("ONLY_BIASKV", "ALL"):
                row = next(rest)
                if row.size != y.shape[2]:
                    raise ValueError(
                        f"{self.name}: bias_{kind} of shape {row.shape} does not fit {y.shape[2]} features"
                    )
                rows.append(broadcast(reshape(cast(row, y.dtype), (1, 1, y.shape[2])), (y.shape[0], 1, y.shape[2])))
            if self.add_zero_attn:
                zero = cast(y.builder.constant(0.0), y.dtype)
                rows.append(broadcast(zero, (y.shape[0], 1, y.shape[2])))
            made.append(Concatenate(1)(*rows) if len(rows) > 1 else y)
        return made

    def _heads(self, x: Value) -> Value:
        """(N, heads, length, features of each)."""
        count, length, width = x.shape
        if self.num_heads < 1 or width % self.num_heads:
            raise ValueError(f"{self.name}: {width} features cannot be put into {self.num_heads} equal heads")
        return transpose(reshape(x, (count, length, self.num_heads, width // self.num_heads)), (0, 2, 1, 3))

    def _dropped(self, x: Value, p: float, rest: Iterator[Value]) -> Value:
        if not self.drawn:
            return x
        seed, offset = next(rest), next(rest)
        made: Value = Dropout()(x, p, seed, offset) if p else x
        return made

    def _with_query(self, y: Value, query: Value) -> Value:
        if y.shape != query.shape:
            raise ValueError(
                f"{self.name}: reslink adds the query {query.shape} to a result of another shape, {y.shape}"
            )
        return y + query


def _projected(x: Value, kind: str, parts: dict[str, tuple[Value, ...]]) -> Value:
    if kind not in parts:
        return x
    weight, *bias = parts[kind]
    rows = reshape(x, (x.shape[0] * x.shape[1], x.shape[2]))
    y: Value = MatMul()(rows, weight)
    y = reshape(y, (*x.shape[:2], weight.shape[1]))
    return y + bias[0] if bias else y


def _later(scores: Value, count: int) -> Value:
    """Where one of the first `count` keys comes after the query."""
    length = scores.shape[2]
    return scores.builder.iota((1, 1, 1, count)) > scores.builder.iota((1, 1, length, 1))
