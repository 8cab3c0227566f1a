"""Kernels of attention: softmax(scale · q kᵀ + bias) v for a block of queries of one head, with no more of the softmax in memory than one
block of keys (Dao et al. 2022, FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness, algorithm 1).

Vectors run along the queries: the scores of a block lie as [key][query], and the sums as [number of the value][query]. So the largest of a
row, its sum and the factors that correct the sums so far are taken lane by lane, and both products read one operand word by word and the
other as whole vectors. Powers are of 2: the scores are multiplied by scale · log2(e).

A tile is a block of queries of one head. It copies each block of keys and values beside each other, so their rows may lie anywhere; elements
of one row lie side by side.

If there are few queries (`queries` is 1), a tile is one of them, vectors run along the features, and nothing is copied.

Buffers: q, k, v, out, levels (log2 of the sum of the powers of each row, of float32), perhaps bias (of float32). Params: PARAMETERS.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from .contraction import AMX_SIDE
from .target import HostTarget


class AttentionKernel(NamedTuple):
    """dtype: of all operands but bias. product: see `product_of`. causal: a query sees no key behind its own place. width: numbers of a query
    and a key; value_width: of a value. queries, keys: of a block, at most. lanes, registers: of the machine."""

    dtype: str
    product: str
    bias: bool
    causal: bool
    width: int
    value_width: int
    queries: int
    keys: int
    lanes: int
    registers: int

    @property
    def key(self) -> str:
        return f"attention {self}"

    @property
    def buffers(self) -> tuple[str, ...]:
        return ("q", "k", "v", "out", "levels", *(("bias",) if self.bias else ()))

    @property
    def per_word(self) -> int:
        """Numbers of a word."""
        return 1 if self.product == "plain" else 2

    @property
    def panel(self) -> int:
        """Queries whose scores are summed at a time."""
        return PANEL_VECTORS * self.lanes

    @property
    def accumulators(self) -> int:
        """Vectors that sums may take."""
        return 24 if self.registers == 32 else 12


PANEL_VECTORS = 2


def product_of(dtype: str, target: HostTarget) -> str:
    """How operands are multiplied: "plain" as float32, "pairs" of bfloat16 numbers in words of 32 bits, "amx" in the registers of AMX."""
    if dtype != "bfloat16" or not target.dots:
        return "plain"
    return "amx" if target.amx else "pairs"


PARAMETERS = (
    *("heads", "blocks", "block", "length", "keys", "scale"),
    *(f"{name}_{dim}" for name in ("q", "k", "v", "out") for dim in ("n", "h", "row")),
    *("bias_n", "bias_h", "bias_row", "bias_key"),
)
"""heads: of one example; blocks: of `block` queries, at most `queries` of the kernel; length, keys: how many queries and
keys there are; scale: the bits of a float64; then strides."""


def float_bits(number: float) -> int:
    """A float among parameters, which are int64."""
    bits: int = struct.unpack("<q", struct.pack("<d", number))[0]
    return bits


def verify(kernel: AttentionKernel) -> None:
    """Raises ValueError if the kernel means nothing."""
    if (
        (kernel.queries != 1 and kernel.queries % kernel.panel)
        or kernel.keys < 1
        or kernel.keys % (2 * AMX_SIDE)
        or min(kernel.width, kernel.value_width) < 1
    ):
        raise ValueError(
            f"a block of attention is one query or whole panels of {kernel.panel}, and of 32 keys: {kernel}"
        )
