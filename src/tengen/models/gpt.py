"""GPT-2. Radford et al., Language Models are Unsupervised Multitask Learners, 2019."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast
from weakref import WeakMethod, ref

import numpy as np

from .. import functional as F
from .. import module as M
from ..core import Parameter, Tensor
from ..jit import trace
from .layers import draw_linear
from .weights import File, load_weights

__all__ = ["GPT", "gpt2", "gpt2_large", "gpt2_medium", "gpt2_xl"]

Cache = tuple[Tensor, Tensor]
"""Keys and values of all positions so far, each (N, heads, length, features of a head)."""


class _Projection(M.Module):
    """x · weight + bias. The weight is (in, out), as in files of GPT-2."""

    def __init__(self, i: int, o: int, std: float):
        super().__init__()
        self.weight, self.bias = Parameter(F.zeros((i, o))), Parameter(F.zeros(o))
        M.init.normal_(self.weight, 0.0, std)

    def forward(self, x: Tensor) -> Tensor:
        return F.matmul(x, self.weight) + self.bias


class _Attention(M.Module):
    def __init__(self, features: int, heads: int, dropout: float, std: float):
        super().__init__()
        self.features, self.heads, self.dropout = features, heads, dropout
        self.c_attn, self.c_proj = _Projection(features, 3 * features, 0.02), _Projection(features, features, std)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = F.split(self.c_attn(x), 3, axis=2)
        y, _ = F.multi_head_attention(
            q, k, v, self.features, self.heads, self.dropout, 0.0, None, is_causal=True, training=self.training
        )
        return self.c_proj(y)

    def step(self, x: Tensor, cache: Cache, place: Tensor) -> tuple[Tensor, Cache]:
        """Attention of the last position alone, (N, 1, features); the cache has keys and values of the positions before."""
        n, _, features = x.shape
        size = features // self.heads
        q, k, v = (part.reshape(n, self.heads, 1, size) for part in F.split(self.c_attn(x), 3, axis=2))
        places = F.arange(cache[0].shape[2], dtype="int32", device=x.device)
        here = F.equal(places, place).reshape(-1, 1)
        keys, values = F.where(here, k, cache[0]), F.where(here, v, cache[1])
        scores = F.matmul(q, keys, transpose_b=True) * (1 / math.sqrt(size))
        weights = F.softmax(F.where(places <= place, scores, -math.inf), axis=3)
        return self.c_proj(F.matmul(weights, values).reshape(n, 1, features)), (keys, values)


class _MLP(M.Module):
    def __init__(self, features: int, std: float):
        super().__init__()
        self.c_fc, self.c_proj = _Projection(features, 4 * features, 0.02), _Projection(4 * features, features, std)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        # GELU as GPT-2 has it, by tanh (Hendrycks and Gimpel 2016, section 2).
        return self.c_proj(0.5 * x * (1 + F.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))))


class _Block(M.Module):
    def __init__(self, features: int, heads: int, dropout: float, std: float):
        super().__init__()
        self.ln_1, self.attn = M.LayerNorm(features), _Attention(features, heads, dropout, std)
        self.ln_2, self.mlp, self.dropout = M.LayerNorm(features), _MLP(features, std), M.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attn(self.ln_1(x)))
        return x + self.dropout(self.mlp(self.ln_2(x)))

    def step(self, x: Tensor, cache: Cache, place: Tensor) -> tuple[Tensor, Cache]:
        """The block for the last position alone."""
        mixed, cache = self.attn.step(self.ln_1(x), cache, place)
        x = x + mixed
        return x + self.mlp(self.ln_2(x)), cache


class _Decoder:
    """`GPT.step` as one Program, which serves as long as the network consists of the same modules and tensors.

    It does not keep the network alive, and a copy of the network records a Program of its own.
    """

    def __init__(self, net: GPT):
        method = WeakMethod(net.step)

        def step(*args: Any) -> Any:
            return cast(Any, method())(*args)

        self.step = trace(step, without_host=True)
        self._parts = [ref(part) for part in _parts(net)]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()

    def fits(self, net: GPT) -> bool:
        """Whether no module or tensor was added, removed or replaced since."""
        parts = list(_parts(net))
        return len(parts) == len(self._parts) and all(
            was() is part for was, part in zip(self._parts, parts, strict=True)
        )


def _parts(net: M.Module) -> Iterator[Any]:
    yield from net.modules()
    yield from net.tensors()


class GPT(M.Module):
    """From tokens (N, L), int32, to logits of the token that follows each, (N, L, vocabulary).

    Parameters have the names of GPT2Model in transformers; files of GPT2LMHeadModel can be read, too. The last
    layer shares the weights of the token embedding.

    Args:
        vocabulary: the number of tokens.
        length: the longest sequence, in tokens.
        depth: blocks.
        heads: attention heads.
        features: between blocks; a block has four times as many inside.
        dropout: the probability with which elements are dropped in training.
        weights: see `ResNet`.

    Raises:
        StateDictError: the weights are those of another network.

    >>> net = tengen.models.GPT(50, 16, depth=1, heads=2, features=8)
    >>> net(tengen.tensor([[5, 7, 9]])).shape
    (1, 3, 50)
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        depth: int,
        heads: int,
        features: int,
        dropout: float = 0.1,
        weights: File = None,
    ):
        super().__init__()
        self.length, self.heads = length, heads
        self.wte, self.wpe = M.Embedding(vocabulary, features), M.Embedding(length, features)
        self.dropout, self.ln_f = M.Dropout(dropout), M.LayerNorm(features)
        draw_linear(self, 0.02)
        # So that the sum of all blocks does not grow with their number (section 2.3).
        std = 0.02 / math.sqrt(2 * depth)
        self.h = [_Block(features, heads, dropout, std) for _ in range(depth)]
        self._decoder: _Decoder | None = None
        load_weights(self, weights, {"^transformer\\.": ""}, r"^lm_head\.weight$|\.attn\.(masked_)?bias$")

    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.shape[1] > self.length:
            raise ValueError(f"GPT: sequences may have up to {self.length} tokens, got {tokens.shape[1]}")
        x = self.dropout(self.wte(tokens) + self.wpe.weight[: tokens.shape[1]])
        for block in self.h:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)

    def step(self, tokens: Tensor, place: Tensor, caches: Sequence[Cache]) -> tuple[Tensor, list[Cache]]:
        """Logits after one more token, given the caches of the tokens before.

        Args:
            tokens: the token (N,) of each sequence, int32.
            place: how many tokens came before, an int32 scalar.
            caches: keys and values of each block; see `caches`.

        Returns: logits (N, vocabulary), and the caches for the next step.
        """
        x, found = F.expand_dims(self.wte(tokens) + self.wpe(place), 1), []
        for block, cache in zip(self.h, caches, strict=True):
            x, cache = block.step(x, cache, place)
            found.append(cache)
        return F.linear(self.ln_f(x)[:, 0], self.wte.weight), found

    def caches(self, count: int, length: int | None = None) -> list[Cache]:
        """Empty caches for `step`.

        Args:
            count: sequences.
            length: of the longest sequence; that of the network if None.

        Returns: keys and values for each block.
        """
        features = self.wte.weight.shape[1] // self.heads
        shape = (count, self.heads, self.length if length is None else length, features)
        place = self.wte.weight.device
        return [(F.zeros(shape, device=place), F.zeros(shape, device=place)) for _ in self.h]

    def generate(
        self, tokens: Sequence[int], count: int, temperature: float = 1.0, top: int | None = None, seed: int = 0
    ) -> list[int]:
        """Continue a sequence token by token; each is drawn from the distribution that the network predicts.

        Args:
            tokens: what to continue, at least one token.
            count: how many tokens to add.
            temperature: divides the logits; 0 takes the most likely token.
            top: draw only from this many of the most likely tokens.
            seed: the same seed draws the same tokens.

        Returns: the tokens that were added.

        Raises:
            ValueError: there are no tokens to continue, or more in all than the length of the network.

        >>> tengen.models.GPT(50, 16, depth=1, heads=2, features=8).generate([5, 7], 3, temperature=0) # doctest: +ELLIPSIS
        [...]
        """
        total = len(tokens) + count
        if not len(tokens) or total > self.length:
            raise ValueError(f"GPT.generate: 1 to {self.length} tokens in all, got {len(tokens)} and {count} more")
        was, random, made = self.training, np.random.default_rng(seed), list(tokens)
        self.eval()
        try:
            if self._decoder is None or not self._decoder.fits(self):
                self._decoder = _Decoder(self)
            step = self._decoder.step
            # Lengths are rounded up, so that a few Programs serve texts of any length.
            caches = self.caches(1, min(self.length, max(32, 1 << (total - 1).bit_length())))
            for place in range(total - 1):
                token = Tensor(made[place : place + 1], dtype="int32", device=caches[0][0].device)
                logits, caches = step(token, Tensor(place, dtype="int32", device=token.device), caches)
                if place + 1 == len(made):
                    made.append(_drawn(logits.numpy()[0], temperature, top, random))
        finally:
            self.train(was)
        return made[len(tokens) :]


def _drawn(logits: np.ndarray, temperature: float, top: int | None, random: np.random.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    scaled = logits.astype(np.float64) / temperature
    if top is not None and top < len(scaled):
        scaled[scaled < np.partition(scaled, -top)[-top]] = -math.inf
    chances = np.exp(scaled - scaled.max())
    return int(random.choice(len(chances), p=chances / chances.sum()))


def gpt2(weights: File = None) -> GPT:
    """GPT-2 of 12 blocks with 768 features, 124.4 million parameters.

    Args:
        weights: see `ResNet`.

    Returns: the network.
    """
    return GPT(50257, 1024, 12, 12, 768, weights=weights)


def gpt2_medium(weights: File = None) -> GPT:
    """GPT-2 of 24 blocks with 1024 features, 354.8 million parameters.

    Args:
        weights: see `ResNet`.

    Returns: the network.
    """
    return GPT(50257, 1024, 24, 16, 1024, weights=weights)


def gpt2_large(weights: File = None) -> GPT:
    """GPT-2 of 36 blocks with 1280 features, 774.0 million parameters.

    Args:
        weights: see `ResNet`.

    Returns: the network.
    """
    return GPT(50257, 1024, 36, 20, 1280, weights=weights)


def gpt2_xl(weights: File = None) -> GPT:
    """GPT-2 of 48 blocks with 1600 features, 1557.6 million parameters.

    Args:
        weights: see `ResNet`.

    Returns: the network.
    """
    return GPT(50257, 1024, 48, 25, 1600, weights=weights)
