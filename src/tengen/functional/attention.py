"""Attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._rt import apply
from ..core import Tensor
from ..core.convert import place_of
from ..core.ops.attention import MultiHeadAttn
from ..core.ops.dot_product import DotProductAttention
from ..random.rng import default_generator
from .arguments import as_tensor, integer, number
from .tensor import arange

__all__ = ["multi_head_attention", "scaled_dot_product_attention"]


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(scale · query keyᵀ + mask) value, without the softmax in memory: that grows with the lengths, not with their product.

    Vaswani et al. 2017, Attention Is All You Need, section 3.2.1; Dao et al. 2022, FlashAttention. The softmax is stored after all with
    dropout, in float64, for more than 256 features, and for the gradient of a mask. A query that no key takes part in gives 0.

    Args:
        query: (…, L, E) floats; (N, heads, L, E) of a (N, L, heads, E) that is transposed needs no copy.
        key: (…, S, E). The dims before the lengths broadcast.
        value: (…, S, features of the result).
        attn_mask: what broadcasts to (…, L, S): bool, where True takes part, or floats that are added to the scores.
        dropout_p: with which probability elements of the softmax are dropped; the others are divided by 1 - dropout_p.
        is_causal: no query sees keys behind its own place: query i sees keys 0 to i.
        scale: by default 1 / √E.

    Returns: (…, L, features of the result), of the dtype that the three promote to.

    Raises:
        ValueError: shapes that do not fit, a dropout_p outside [0, 1).
        TypeError: integers in place of floats.

    >>> q, k, v = F.ones((1, 2, 4)), F.zeros((1, 3, 4)), Tensor([[[1.0], [2.0], [6.0]]])
    >>> F.nn.scaled_dot_product_attention(q, k, v).tolist()
    [[[3.0], [3.0]]]
    >>> F.nn.scaled_dot_product_attention(q, k, v, is_causal=True).tolist()
    [[[1.0], [1.5]]]
    """
    op = "scaled_dot_product_attention"
    tensors, (mask,) = _tensors_of((query, key, value), attn_mask)
    p = number(op, "dropout_p", dropout_p)
    if not 0 <= p < 1:
        raise ValueError(f"{op}: dropout_p must be at least 0 and less than 1, got {dropout_p}")
    width = tensors[0].shape[-1] if tensors[0].ndim else 1
    factor = 1 / math.sqrt(max(width, 1)) if scale is None else number(op, "scale", scale)
    drawn: list[Any] = []
    if p:
        lead = np.broadcast_shapes(*(x.shape[:-2] for x in tensors))
        drawn = [p, *default_generator().draw(math.prod((*lead, tensors[0].shape[-2], tensors[1].shape[-2])))]
    made = apply(
        DotProductAttention(bool(is_causal), factor, mask is not None, bool(p)), *tensors, *_given(mask), *drawn
    )
    result: Tensor = made[0] if isinstance(made, tuple) else made
    return result


def multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    num_heads: int,
    attn_drop: float,
    out_drop: float,
    io_weight_bias: Tensor | None,
    qproj_size: int | None = None,
    kproj_size: int | None = None,
    vproj_size: int | None = None,
    oproj_size: int | None = None,
    qbias: bool = False,
    kbias: bool = False,
    vbias: bool = False,
    obias: bool = False,
    bias_k: Tensor | None = None,
    bias_v: Tensor | None = None,
    add_zero_attn: bool = False,
    key_padding_mask: Tensor | None = None,
    attn_mask: Tensor | None = None,
    need_weights: bool = False,
    average_attn_weights: bool = False,
    is_causal: bool = False,
    maybe_cudnn_style_mask: bool = False,
    reslink: bool = False,
    training: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """softmax(Q Kᵀ / √(embed_dim / num_heads) + masks) V in `num_heads` parts of the features, with projections x · W + b around it.

    Vaswani et al. 2017, Attention Is All You Need, section 3.2.2. A query that no key takes part in gets no value: its softmax is 0.

    Args:
        query: (N, L, embed_dim), or without a batch (L, embed_dim), then so are all others.
        key, value: (N, S, features each).
        embed_dim, num_heads: features of the query, and into how many parts they go.
        attn_drop, out_drop: with which probability elements of the softmax and of the result are dropped, in
            `training`.
        io_weight_bias: all weights (features, size), then all biases (size,), in the order query, key, value, result,
            one after the other.
        qproj_size, kproj_size, vproj_size, oproj_size: sizes of the projections; None or 0: there is none.
        qbias, kbias, vbias, obias: whether a projection has a bias.
        bias_k, bias_v: a row to append to the projected keys and values.
        add_zero_attn: append zeros to both.
        key_padding_mask: (N, S), True leaves a key out; numbers are added to its scores.
        attn_mask: (L, S) or (N · num_heads, L, S), likewise.
        need_weights: give the softmax, too.
        average_attn_weights: give its mean over the heads.
        is_causal: unless there is an attn_mask, no query sees the keys after it.
        maybe_cudnn_style_mask: attn_mask is (2, L), the first key that each query sees and the one after the last;
            key_padding_mask is (2, N), how many queries and how many keys count; results of the other queries are 0.
        reslink: add the query to the result.
        training: whether elements are dropped.

    Returns: the result (N, L, size), and the softmax (N · num_heads, L, S), or (N, L, S) averaged, or None.

    Raises:
        ValueError: shapes do not fit, or only one of bias_k and bias_v is given.
        TypeError: an input is integer instead of float.

    >>> x = F.ones((1, 2, 4))
    >>> F.nn.multi_head_attention(x, x, x, 4, 2, 0.0, 0.0, None, need_weights=True)[1].tolist()
    [[[0.5, 0.5], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]]
    """
    op = "multi_head_attention"
    tensors, (weights, bias_k, bias_v, attn_mask, key_padding_mask) = _tensors_of(
        (query, key, value), io_weight_bias, bias_k, bias_v, attn_mask, key_padding_mask
    )
    alone = tensors[0].ndim == 2
    if alone:
        tensors = [_batched(op, x) for x in tensors]
    if (bias_k is None) != (bias_v is None):
        raise ValueError(f"{op}: bias_k and bias_v must be given both or not at all")
    heads, given = integer(op, "num_heads", num_heads), (qproj_size, kproj_size, vproj_size, oproj_size)
    sizes = tuple(0 if s is None else integer(op, "a projection's size", s) for s in given)
    if any(sizes) != (io_weight_bias is not None):
        raise ValueError(f"{op}: io_weight_bias holds the projections: give it with their sizes, or neither")
    embed_dim = integer(op, "embed_dim", embed_dim)
    if heads < 1 or embed_dim % heads:
        raise ValueError(f"{op}: embed_dim {embed_dim} is no multiple of num_heads {num_heads}")
    masks, seen = _masks(op, tensors, heads, attn_mask, key_padding_mask, maybe_cudnn_style_mask)
    extra = 0 if bias_k is None else 1
    drops = tuple(number(op, "a drop probability", p) if training else 0.0 for p in (attn_drop, out_drop))
    if not all(0 <= p < 1 for p in drops):
        raise ValueError(
            f"{op}: attn_drop and out_drop must be at least 0 and less than 1, got {attn_drop} and {out_drop}"
        )
    made = MultiHeadAttn(
        heads, embed_dim, tensors[1].shape[2], tensors[2].shape[2], *sizes, qbias, kbias, vbias, obias,
        1 / math.sqrt(embed_dim // heads), "DEFAULT_MASK" if is_causal and attn_mask is None else "NO_MASK",
        ("NONE", "ONLY_BIASKV", "ONLY_MASK", "ALL")[extra + 2 * bool(masks)], add_zero_attn, need_weights, reslink, training,
        *drops, len(masks) > 1, any(drops),
    )  # fmt: skip
    drawn = _draws(tensors, heads, sizes[3] or sizes[2]) if any(drops) else ()
    y = apply(made, *tensors, *_given(weights), *masks, *_given(bias_k, bias_v), *drawn)
    return _results(y, alone, heads, seen, average_attn_weights)


def _tensors_of(needed: tuple[Any, ...], *optional: Any) -> tuple[list[Any], list[Any]]:
    """as_tensor of arguments, of which the optional ones may be None."""
    every = (*needed, *optional)
    return [as_tensor(x, *every) for x in needed], [None if x is None else as_tensor(x, *every) for x in optional]


def _given(*values: Any) -> list[Any]:
    return [value for value in values if value is not None]


def _batched(op: str, x: Any) -> Any:
    if x.ndim != 2:
        raise ValueError(f"{op}: query, key and value must all have a batch or none, got shape {tuple(x.shape)}")
    return x.reshape(1, *x.shape)


def _draws(tensors: list[Any], heads: int, size: int) -> list[Any]:
    """Places in the sequence of random numbers for both dropouts."""
    count, length = tensors[0].shape[:2]
    counts = count * heads * length * (tensors[1].shape[1] + 2), count * length * (size or tensors[2].shape[2])
    return [number for n in counts for number in default_generator().draw(n)]


def _masks(
    op: str, tensors: list[Any], heads: int, attn_mask: Any, key_padding_mask: Any, cudnn: bool
) -> tuple[list[Any], Any]:
    """Masks that broadcast to (N, heads, L, S), and which queries count (N, L, 1), None for all."""
    (count, length), keys, seen = tensors[0].shape[:2], tensors[1].shape[1], None
    given = [attn_mask, key_padding_mask]
    if cudnn:
        if any(m is None for m in given):
            raise ValueError(f"{op}: maybe_cudnn_style_mask needs attn_mask (2, L) and key_padding_mask (2, N)")
        for name, m, want in zip(("attn_mask", "key_padding_mask"), given, ((2, length), (2, count)), strict=True):
            _need_shape(op, name, m, want)
        window, counts = given
        place = arange(keys, dtype="int32", device=place_of(tensors))
        first, end = window.reshape(2, length, 1)
        given = [(place < first) | (place >= end), place >= counts[1].reshape(count, 1)]
        seen = (arange(length, dtype="int32", device=place_of(tensors)) < counts[0].reshape(count, 1)).reshape(
            count, length, 1
        )
    found = []
    attn, padding = given
    if attn is not None:
        _need_shape(op, "attn_mask", attn, (length, keys), (count * heads, length, keys))
        found.append(attn.reshape(1, 1, length, keys) if attn.ndim == 2 else attn.reshape(count, heads, length, keys))
    if padding is not None:
        _need_shape(op, "key_padding_mask", padding, (count, keys), *([(keys,)] if count == 1 else []))
        found.append(padding.reshape(count, 1, 1, keys))
    return found, seen


def _need_shape(op: str, name: str, x: Any, *shapes: tuple[int, ...]) -> None:
    if tuple(x.shape) not in shapes:
        raise ValueError(f"{op}: {name} must have the shape {' or '.join(map(str, shapes))}, got {tuple(x.shape)}")


def _results(y: Any, alone: bool, heads: int, seen: Any, average: bool) -> tuple[Tensor, Tensor | None]:
    y, weights = y if isinstance(y, tuple) else (y, None)
    if seen is not None:
        y = y * seen
    if weights is not None and average:
        weights = weights.reshape(-1, heads, *weights.shape[1:]).mean(axis=1)
        weights = weights[0] if alone else weights
    return y[0] if alone else y, weights
