"""Kernels of the gradient of attention, with one block of the softmax in memory at a time (Dao et al. 2022, algorithm 4).

turn     a panel of queries: q and the gradient of the result become operands of products, one whose vectors run along the queries, and one
         whose rows are words of one query, or of two neighbours; beside them lie the levels, and the sum of gradient times result of each
         row.
sweep    some blocks of keys of one head, every `groups`th one: for each of them, all queries that see it. What the keys and values get is
         complete then; what the queries get is added up in memory of the group's own, [number][query] for each panel, so that the order of
         sums is always the same.
gather   the sums over the groups.

S = scale · q kᵀ + bias, P = exp(S - level), and with g the gradient of the result y: dv = Pᵀ g, dS = P (g vᵀ - Σ g y), dq = scale · dS k,
dk = scale · dSᵀ q. The factor scale is in the turned g if its words are floats.

Buffers: BUFFERS, and for sweep perhaps bias. Params: PARAMETERS.
"""

from __future__ import annotations

from typing import NamedTuple

PANEL_VECTORS = 4

PANELS = ("q_turned", "g_turned", "q_rows", "g_rows", "rows")
BUFFERS = {
    "turn": ("q", "g", "y", "levels", *PANELS),
    "sweep": ("k", "v", *PANELS, "dk", "dv", "sums"),
    "gather": ("sums", "dq"),
}


class AttentionGradientKernel(NamedTuple):
    """part: turn, sweep or gather. dtype: of all operands but bias. keys: of a block. The rest as in an AttentionKernel."""

    part: str
    dtype: str
    product: str
    bias: bool
    causal: bool
    width: int
    value_width: int
    keys: int
    lanes: int
    registers: int

    @property
    def key(self) -> str:
        return f"attention gradient {self}"

    @property
    def buffers(self) -> tuple[str, ...]:
        return (*BUFFERS[self.part], *(("bias",) if self.bias and self.part == "sweep" else ()))

    @property
    def per_word(self) -> int:
        """Numbers of a word."""
        return 1 if self.product == "plain" else 2

    @property
    def sizes(self) -> dict[str, int]:
        """Words of a panel of queries in each buffer that has panels."""
        words, numbers = (
            [-(-count // self.lanes) * self.lanes for count in counts]
            for counts in (
                [-(-width // self.per_word) for width in (self.width, self.value_width)],
                (self.width, self.value_width),
            )
        )
        rows = self.panel // self.per_word
        return {
            "q_turned": words[0] * self.panel,
            "g_turned": words[1] * self.panel,
            "q_rows": rows * numbers[0],
            "g_rows": rows * numbers[1],
            "rows": 2 * self.panel,
            "sums": numbers[0] * self.panel,
        }

    @property
    def panel(self) -> int:
        """Queries whose scores are summed at a time."""
        return PANEL_VECTORS * self.lanes

    @property
    def accumulators(self) -> int:
        """Vectors that sums may take."""
        return 24 if self.registers == 32 else 12


PARAMETERS = (
    *("heads", "all_heads", "panels", "groups", "length", "keys", "scale"),
    *(f"{name}_{dim}" for name in ("q", "k", "v", "g", "y", "dq", "dk", "dv") for dim in ("n", "h", "row")),
    *("bias_n", "bias_h", "bias_row", "bias_key"),
)
"""heads: of one example; all_heads: of all; panels: of queries; length, keys: how many queries and keys; scale: bits of a float64; then strides."""
