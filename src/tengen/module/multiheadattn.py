"""Attention as a layer."""

from __future__ import annotations

import math

from .. import functional as F
from ..core import Parameter, Tensor
from ..core.ops.base import number, size
from ..random.rng import default_generator
from .memory import array_of
from .module import Module

__all__ = ["MultiHeadAttention"]


class MultiHeadAttention(Module):
    """Attention in several heads: softmax(Q Kᵀ / √head_size + masks) V, where Q, K, V are projections of the inputs, projected again.

    Takes query (N, L, embed_dim), key (N, S, kdim), value (N, S, vdim), or all without N, and the masks that
    functional.nn.multi_head_attention describes; gives (result (N, L, embed_dim), the softmax (N · num_heads, L, S) if
    `need_weights`, else None). Vaswani et al. 2017, Attention Is All You Need, section 3.2.2.

    All weights and biases are one parameter, `io_weight_bias`: W of query, key, value and result, (features, embed_dim)
    each, then their biases. Weights are first drawn from U(-a, a), a = √(6 / (features + embed_dim)) (Glorot and Bengio
    2010); biases are 0.

    Args:
        embed_dim: features of query and result.
        num_heads: heads, of embed_dim / num_heads features each.
        attn_dropout, out_dropout: with which probability elements of the softmax and of the result are dropped, in
            training.
        bias: whether the projections have biases.
        add_bias_kv: append learnt rows, `bias_k` and `bias_v`, to the projected keys and values.
        add_zero_attn: append zeros to both.
        kdim, vdim: features of key and value; embed_dim, if left out.
        name: any text, kept as `.name`.

    >>> x = tengen.functional.zeros((2, 5, 8))
    >>> MultiHeadAttention(8, 2)(x, x, x)[0].shape
    (2, 5, 8)
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        attn_dropout: float = 0.0,
        out_dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        name: str | None = None,
    ):
        super().__init__(name)
        title = type(self).__name__
        self.embed_dim = embed_dim = size(title, "embed_dim", embed_dim)
        self.num_heads = size(title, "num_heads", num_heads)
        if embed_dim % self.num_heads:
            raise ValueError(f"{title}: embed_dim {embed_dim} is no multiple of num_heads {self.num_heads}")
        self.head_dim = embed_dim // self.num_heads
        self.attn_dropout = _need_probability(title, "attn_dropout", attn_dropout)
        self.out_dropout = _need_probability(title, "out_dropout", out_dropout)
        self.bias = bias
        self.add_zero_attn = add_zero_attn
        self.kdim = embed_dim if kdim is None else size(title, "kdim", kdim)
        self.vdim = embed_dim if vdim is None else size(title, "vdim", vdim)
        count = embed_dim * (sum(self._features) + (4 if bias else 0))
        self.io_weight_bias = Parameter(array_of(self, (1, count), 0.0))
        self.bias_k = Parameter(array_of(self, (1, 1, embed_dim), 0.0)) if add_bias_kv else None
        self.bias_v = Parameter(array_of(self, (1, 1, embed_dim), 0.0)) if add_bias_kv else None
        self.reset_parameters()

    @property
    def _features(self) -> tuple[int, int, int, int]:
        """What the projections take."""
        return self.embed_dim, self.kdim, self.vdim, self.embed_dim

    def reset_parameters(self) -> None:
        """Draw the weights anew, set biases to 0."""
        generator, parts = default_generator(), []
        for features in self._features:
            bound = math.sqrt(6 / (features + self.embed_dim))
            parts.append(generator.uniform(-bound, bound, features * self.embed_dim))
        if self.bias:
            parts.append(F.zeros(4 * self.embed_dim))
        self.io_weight_bias._reset(F.concat(parts, device=self.io_weight_bias.device).reshape(1, -1))
        for row in (self.bias_k, self.bias_v):
            if row is not None:
                row._reset(generator.normal(0, math.sqrt(2 / (1 + self.embed_dim)), row.shape).to(row.device))

    def forward(  # type: ignore[override]
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
        need_weights: bool = False,
        average_attn_weights: bool = False,
        is_causal: bool = False,
        maybe_cudnn_style_mask: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        return F.multi_head_attention(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.attn_dropout,
            self.out_dropout,
            self.io_weight_bias,
            *(self.embed_dim, self.embed_dim, self.embed_dim, self.embed_dim),
            *(self.bias, self.bias, self.bias, self.bias),
            bias_k=self.bias_k,
            bias_v=self.bias_v,
            add_zero_attn=self.add_zero_attn,
            key_padding_mask=key_padding_mask,
            attn_mask=attn_mask,
            need_weights=need_weights,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
            maybe_cudnn_style_mask=maybe_cudnn_style_mask,
            training=self.training,
        )

    def _module_info_string(self) -> str:
        return (
            f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, attn_dropout={self.attn_dropout}, "
            f"out_dropout={self.out_dropout}, bias={self.bias}, kdim={self.kdim}, vdim={self.vdim}"
        )


def _need_probability(title: str, argument: str, p: float) -> float:
    if isinstance(p, bool) or not 0 <= number(title, argument, p) < 1:
        raise ValueError(f"{title}: {argument} must be at least 0 and less than 1, got {p!r}")
    return float(p)
