"""Attention as the compiler knows it: a kind of op beside those of `program`."""

from __future__ import annotations

from .program import Op, Value


class Attention(Op, abstract=True):
    """softmax(scale · q kᵀ + bias) v. Inputs: q (N, heads, L, D), k (N, heads, S, D), v (N, heads, S, E), perhaps a bias (N, heads, L, S) of
    float32. Outputs: (N, heads, L, E), and log2 of the sum of the exponentials of each row (N, heads, L), float32. causal: no query sees the
    keys behind its own place. scale: above 0.
    """

    causal: bool
    scale: float

    def in_ops(self, *inputs: Value) -> tuple[Value, ...]:
        """The outputs from other ops, with the softmax in memory."""
        raise NotImplementedError


class AttentionGradient(Op, abstract=True):
    """The gradients of q, k and v. Inputs: those of an Attention with the same parameters, its outputs, and the gradient of the first."""

    causal: bool
    scale: float

    def in_ops(self, *inputs: Value) -> tuple[Value, ...]:
        """The outputs from other ops, with the softmax in memory."""
        raise NotImplementedError
