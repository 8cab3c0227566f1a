"""The kernel of a sum of products, as data: C[b, m, n] (+)= sum over k of A[b, m, k] * B[b, k, n].

It is a batch-reduce GEMM (Georganas et al. 2020, "Harnessing Deep Learning via a Single Building Block"). One launch
tile is a block of rows times a few panels of columns:

    rows of the block -> a table of element offsets into A and C, so that up to four nested m loops look like one
    for each block of k (only when `blocked`):
        for each panel of `vectors * lanes` columns:
            for each `rows` rows of the block:
                the register tile: accumulators stay in registers over all inner k loops,
                elements of A are broadcast, rows of B are loaded as vectors

`schedule/contractions/` decides what to run where, `targets/contractions/` writes the code.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from .epilogue import Epilogue
from .window import Window

MAX_BLOCK_ROWS = 256
"""Most rows of one launch tile: the size of the table of row offsets on the stack."""

SUM_TILE = 4096

AMX_SIDE = 16
"""Rows of a register of AMX, and words of 32 bits in each of them."""

PARAMETERS = (
    "tiles",  # of this part
    # extents; `rows` = m0 * m1 * m2 * m3, `k2` is cut into blocks of `k2_block` and the other k loops are whole
    *("rows", "m1", "m2", "m3", "columns", "k0", "k1", "k2", "k3", "k4", "k2_block"),
    # the grid of launch tiles, slowest first: b0 * b1, splits of k, groups of panels, blocks of rows
    *("b1", "splits", "blocks_per_split", "panel_groups", "panels_per_group", "row_blocks", "rows_per_block"),
    *("a_offset", "a_b0", "a_b1", "a_m0", "a_m1", "a_m2", "a_m3"),
    *("a_k0", "a_k1", "a_k2", "a_k3", "a_k4"),
    *("b_offset", "b_b0", "b_b1", "b_panel", "b_column", "b_k0", "b_k1", "b_k2", "b_k3", "b_k4"),
    *("c_offset", "c_b0", "c_b1", "c_split", "c_m0", "c_m1", "c_m2", "c_m3"),
    *("channel_b0", "channel_b1"),
    # where the sums over rows go: one place for each launch tile's rows, in which a slot is all channels
    *("sum_offset", "sum_b0", "sum_b1", "sum_block", "sum_slot"),
    # of a sliding window: the size of the image, and its first pixel there
    *("height", "width", "top", "left"),
    # of tiles of AMX, where `rows` counts strips: rows of a strip, and strips of the innermost row loop
    *("strip_rows", "strips"),
)
"""The run-time numbers of a part; strides and offsets count elements, strides may be 0 or negative. A launch has one part or several,
whose launch tiles follow one another, and `params` the numbers of the epilogue and then those of each part."""


class ContractionKernel(NamedTuple):
    """The static part of a contraction, which makes its code; equal specifications share one compiled kernel.

    Buffers: A, B, C, what the epilogue reads, and where it puts sums over rows, if it takes some.
    a, b, c: storage dtypes; where a and b are PAIR, a step of k is two.
    rows x (vectors * lanes): the register tile. unroll: steps of the inner k loop in a row.
    k_loops: so many are kept in registers, 1 to 4 from k1 on, or if blocked 1 to 3 from k2 on; the last one is innermost.
    blocked: k0, k1 and the blocks of k2 are loops around the tiles, and the sum goes through C in memory.
    accumulate: C is added to, not overwritten.
    a_columns: A has the columns too, side by side, and is loaded as vectors: C[m, n] = sum over k of A[m, k, n] * B[k, n].
    folded: the lanes are so many steps of the innermost k loop, along which A and B are contiguous; at the end those of a sum are
    folded. A panel is `vectors` columns then, `b_column` apart in B, and divides n, as the lanes do k.
    a_unit: the innermost k stride of A is 1. a_adjacent: the row stride is 1 within every register tile.
    packed: n is padded to whole panels in B. b_dense: the innermost k stride of B is one panel.
    masked: n is not a multiple of the panel, so the ends of rows are stored (and, unless packed, loaded) under a mask.
    epilogue: what becomes of each sum before it is stored, unless sums go through C. Its channels are the columns, or with
    channel_rows the rows.
    window: A and its columns are an image, over which the rows and k slide as it says (see `window`).
    amx: the register tile is in AMX (see `amx`): a and b are PAIR, `rows` so many times 16.
    """

    a: str
    b: str
    c: str
    rows: int
    vectors: int
    lanes: int
    unroll: int = 1
    k_loops: int = 1
    blocked: bool = False
    accumulate: bool = False
    a_columns: bool = False
    folded: bool = False
    a_unit: bool = True
    a_adjacent: bool = False
    packed: bool = False
    b_dense: bool = False
    masked: bool = True
    epilogue: Epilogue | None = None
    channel_rows: bool = False
    window: Window | None = None
    amx: bool = False

    @property
    def sums(self) -> str:
        """The dtype of the sums of products."""
        return self.epilogue.sources[0].dtype if self.epilogue else self.c

    @property
    def panel(self) -> int:
        """Columns of one register tile."""
        return self.vectors * self.columns

    @property
    def columns(self) -> int:
        """Columns of one vector of the register tile."""
        return 1 if self.folded else self.lanes

    @property
    def streams(self) -> bool:
        """Whether both operands come from memory along a long k, as in a gradient by weight, and the tile reads parts of their rows."""
        return self.blocked and not (self.packed or self.a_unit or self.a_columns or self.folded or self.window)

    @property
    def key(self) -> str:
        return _key(self)


@lru_cache(1024)  # a Plan asks for it again and again
def _key(kernel: ContractionKernel) -> str:
    return "contraction " + " ".join(f"{name}={value}" for name, value in zip(kernel._fields, kernel, strict=True))


class SumKernel(NamedTuple):
    """out[i] = sum over s of partial[s, i]: adds the splits of a contraction, always in the same order.

    Buffers: partial, out. Params: (size, splits). One tile is SUM_TILE elements.
    """

    partial: str
    out: str
    lanes: int

    @property
    def key(self) -> str:
        return f"sum partial={self.partial} out={self.out} lanes={self.lanes}"
