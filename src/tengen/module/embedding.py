"""Embedding."""

from __future__ import annotations

from .. import functional as F
from ..core import Parameter, Tensor
from ..core.ops.base import integer, size
from . import init
from .memory import array_of
from .module import Module

__all__ = ["Embedding"]


class Embedding(Module):
    """A row of `weight` for each integer: (…) to (…, embedding_dim).

    Args:
        num_embeddings: how many rows; integers are in [0, num_embeddings).
        embedding_dim: their length.
        padding_idx: a row that is first 0 and gets no gradient.
        max_norm, norm_type: not supported; only None.
        initial_weight: the weight, of shape (num_embeddings, embedding_dim); drawn from N(0, 1) if None.
        freeze: the weight gets no gradient.
        name: any text, kept as `.name`.

    >>> M.Embedding(10, 4)(tengen.tensor([[1, 2, 3]], dtype="int32")).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float | None = None,
        initial_weight: Parameter | None = None,
        freeze: bool = False,
        name: str | None = None,
    ):
        super().__init__(name)
        num_embeddings = size("Embedding", "num_embeddings", num_embeddings, 0)
        embedding_dim = size("Embedding", "embedding_dim", embedding_dim, 0)
        padding_idx = None if padding_idx is None else integer("Embedding", "padding_idx", padding_idx)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: padding_idx {padding_idx} is not one of the {num_embeddings} rows")
        if max_norm is not None or norm_type is not None:
            raise ValueError("Embedding does not support max_norm and norm_type: leave them None")
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.freeze = freeze
        if initial_weight is None:
            self.weight = Parameter(array_of(self, (num_embeddings, embedding_dim)))
            self.reset_parameters()
        elif tuple(initial_weight.shape) != (num_embeddings, embedding_dim):
            raise ValueError(
                f"Embedding: initial_weight is {(num_embeddings, embedding_dim)}, got shape {tuple(initial_weight.shape)}"
            )
        else:
            self.weight = Parameter(initial_weight)

    def reset_parameters(self) -> None:
        """Draw the weight anew."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight[self.padding_idx] = 0.0

    def forward(self, inputs: Tensor) -> Tensor:
        weight = self.weight.detach() if self.freeze else self.weight
        rows = F.embedding(inputs, weight)
        if self.padding_idx is None:
            return rows
        # The row's own value without its gradient.
        padding = F.expand_dims(F.equal(inputs, self.padding_idx), -1)
        return F.where(padding, rows.detach(), rows)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Parameter,
        freeze: bool | None = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float | None = None,
    ) -> Embedding:
        """An Embedding with the weight `embeddings`, which has two dimensions; by default it gets no gradient."""
        if embeddings.ndim != 2:
            raise ValueError(f"embeddings have two dimensions, got shape {tuple(embeddings.shape)}")
        rows, length = embeddings.shape
        return cls(rows, length, padding_idx, max_norm, norm_type, initial_weight=embeddings, freeze=bool(freeze))
