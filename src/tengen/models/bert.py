"""BERT. Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding, 2019."""

from __future__ import annotations

from .. import functional as F
from .. import module as M
from ..core import Tensor
from .layers import draw_linear
from .weights import File, load_weights

__all__ = ["Bert", "bert_base", "bert_large"]


class _Added(M.Module):
    """A layer whose result is added to another tensor and then normalised."""

    def __init__(self, i: int, o: int, dropout: float):
        super().__init__()
        self.dense, self.LayerNorm, self.dropout = M.Linear(i, o), M.LayerNorm(o, 1e-12), M.Dropout(dropout)

    def forward(self, x: Tensor, to: Tensor) -> Tensor:  # type: ignore[override]
        return self.LayerNorm(to + self.dropout(self.dense(x)))


class _Projections(M.Module):
    def __init__(self, features: int, heads: int, dropout: float):
        super().__init__()
        self.query, self.key, self.value = (M.Linear(features, features) for _ in range(3))
        self.features, self.heads, self.dropout = features, heads, dropout

    def forward(self, x: Tensor, left_out: Tensor | None) -> Tensor:  # type: ignore[override]
        y, _ = F.multi_head_attention(
            self.query(x), self.key(x), self.value(x), self.features, self.heads, self.dropout, 0.0, None,
            key_padding_mask=left_out, training=self.training,
        )  # fmt: skip
        return y


class _Attention(M.Module):
    def __init__(self, features: int, heads: int, dropout: float):
        super().__init__()
        self.self, self.output = _Projections(features, heads, dropout), _Added(features, features, dropout)

    def forward(self, x: Tensor, left_out: Tensor | None) -> Tensor:  # type: ignore[override]
        return self.output(self.self(x, left_out), x)


class _Dense(M.Module):
    def __init__(self, i: int, o: int):
        super().__init__()
        self.dense = M.Linear(i, o)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x)


class _Layer(M.Module):
    """Attention, then two layers; each result is added to its input and normalised."""

    def __init__(self, features: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.attention, self.intermediate = _Attention(features, heads, dropout), _Dense(features, hidden)
        self.output = _Added(hidden, features, dropout)

    def forward(self, x: Tensor, left_out: Tensor | None) -> Tensor:  # type: ignore[override]
        x = self.attention(x, left_out)
        return self.output(F.gelu(self.intermediate(x)), x)


class _Embeddings(M.Module):
    def __init__(self, vocabulary: int, length: int, features: int, dropout: float):
        super().__init__()
        self.word_embeddings = M.Embedding(vocabulary, features)
        self.position_embeddings = M.Embedding(length, features)
        self.token_type_embeddings = M.Embedding(2, features)
        self.LayerNorm, self.dropout = M.LayerNorm(features, 1e-12), M.Dropout(dropout)

    def forward(self, tokens: Tensor, kinds: Tensor | None) -> Tensor:  # type: ignore[override]
        places = self.position_embeddings.weight[: tokens.shape[1]]
        kind = self.token_type_embeddings.weight[0] if kinds is None else self.token_type_embeddings(kinds)
        return self.dropout(self.LayerNorm(self.word_embeddings(tokens) + places + kind))


class _Encoder(M.Module):
    def __init__(self, depth: int, features: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.layer = [_Layer(features, heads, hidden, dropout) for _ in range(depth)]

    def forward(self, x: Tensor, left_out: Tensor | None) -> Tensor:  # type: ignore[override]
        for layer in self.layer:
            x = layer(x, left_out)
        return x


class Bert(M.Module):
    """From tokens (N, L) to features of each token (N, L, features) and of each sequence (N, features).

    Called with `tokens`, int32; optionally `mask` (N, L), False or 0 where a sequence is padded; and `kinds` (N, L), 0 for the first sentence
    and 1 for the second. Parameters have the names of BertModel in transformers; files of its models with heads can be read, too.

    Args:
        vocabulary: the number of tokens.
        length: the longest sequence, in tokens.
        depth: layers.
        heads: attention heads.
        features, hidden: between layers, and inside the feed-forward part of a layer.
        dropout: the probability with which elements are dropped in training.
        weights: see `ResNet`.

    Raises:
        StateDictError: the weights are those of another network.

    >>> net = tengen.models.Bert(100, 16, depth=1, heads=2, features=8, hidden=16)
    >>> [tuple(x.shape) for x in net(tengen.tensor([[5, 7, 9]]))]
    [(1, 3, 8), (1, 8)]
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        depth: int,
        heads: int,
        features: int,
        hidden: int,
        dropout: float = 0.1,
        weights: File = None,
    ):
        super().__init__()
        self.length = length
        self.embeddings = _Embeddings(vocabulary, length, features, dropout)
        self.encoder = _Encoder(depth, features, heads, hidden, dropout)
        self.pooler = _Dense(features, features)
        draw_linear(self, 0.02)
        load_weights(self, weights, {"^bert\\.": ""}, "^(cls|classifier|qa_outputs)\\.")

    def forward(self, tokens: Tensor, mask: Tensor | None = None, kinds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if tokens.shape[1] > self.length:
            raise ValueError(f"Bert: sequences may have up to {self.length} tokens, got {tokens.shape[1]}")
        left_out = None if mask is None else F.equal(mask, 0)
        x = self.encoder(self.embeddings(tokens, kinds), left_out)
        return x, F.tanh(self.pooler(x[:, 0]))


def bert_base(vocabulary: int = 30522, weights: File = None) -> Bert:
    """BERT of 12 layers with 768 features, 109.5 million parameters.

    Args:
        vocabulary, weights: see `Bert`.

    Returns: the network.
    """
    return Bert(vocabulary, 512, 12, 12, 768, 3072, weights=weights)


def bert_large(vocabulary: int = 30522, weights: File = None) -> Bert:
    """BERT of 24 layers with 1024 features, 335.1 million parameters.

    Args:
        vocabulary, weights: see `Bert`.

    Returns: the network.
    """
    return Bert(vocabulary, 512, 24, 16, 1024, 4096, weights=weights)
