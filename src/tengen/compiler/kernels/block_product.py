"""The kernel of a sum of products on a GPU, as data: C[b, r, c] = sum over k of X[b, r, k] · Y[b, k, c].

A block of threads makes one tile of C. It goes along k in steps of `depth`; the tiles of X and Y for one step lie in
shared memory, while those for the next one are on their way:

    tables of where the rows and the columns of the tile are in X, Y and C
    for each step of k:
        a table of where the steps after the next one are
        copy what the next step needs of X and Y; what a window sees outside of an image, and what is beyond k, is 0
        for each of the `depth` steps: sums += X · Y, in registers
    the sums go through shared memory; then threads lie along the columns, for the epilogue and the stores

Rows, columns and k are several loops each, so a convolution is no special case, and strides may be anything. The sum of
each element is one chain of fused multiply-adds, in the order of k, from 0. If k is cut into parts, each has such a
chain, and another kernel adds those up. Tiles and parts follow from the extents alone.

Where the GPU can, 16-bit floats are multiplied as small matrices by all threads of a warp together: exact products,
which are added to float32 sums 16 steps of k at a time, in an order that only the GPU knows. A turn then takes so
little time that more tiles must be on their way.

`schedule/contractions/by_blocks.py` decides which kernels run, and `targets/simt/contraction.py` writes their code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple

from .device import MOST_BLOCKS, DeviceGrid
from .dtypes import BITS, KINDS
from .epilogue import Epilogue

ACROSS, DOWN = 8, 4
"""The threads of a warp lie across a tile and down."""
MATRIX_ROWS, MATRIX_COLUMNS = 16, 8
"""The sums that one instruction of a warp adds to."""


class BlockTile(NamedTuple):
    """The tile of a block, the steps of k that it takes at a time, and how many sums of the tile each thread has, down and
    across. Products of matrices are shared by the threads of a warp; then what counts is what the warp has."""

    rows: int
    columns: int
    depth: int
    thread_rows: int
    thread_columns: int

    @property
    def across(self) -> int:
        return self.columns // self.thread_columns

    @property
    def down(self) -> int:
        return self.rows // self.thread_rows

    @property
    def threads(self) -> int:
        return self.across * self.down

    @property
    def warps(self) -> tuple[int, int]:
        """How many warps there are down and across."""
        return self.down // DOWN, self.across // ACROSS


class BlockOperand(NamedTuple):
    """X or Y. dtype: in memory. loops: over its rows (or columns). edges: conditions that say where there are elements.

    along_k: whether threads that are neighbours copy elements that are neighbours along k, not along the rows. width:
    elements of a copy, if the address allows it. zero: whether a number stands for 0.
    """

    dtype: str
    loops: int
    edges: int = 0
    along_k: bool = False
    width: int = 1
    zero: bool = False


@dataclass(frozen=True)
class BlockProduct:
    """See the module docstring.

    sums: the dtype of sums; c: that of the result in memory. product: "fma": fused multiply-adds of each thread;
    "matrices": the instructions of a warp that multiply small matrices. stages: how many tiles of each operand there is
    room for. batch, k: how many loops. channel_rows: the channels of an
    epilogue are the rows, not the columns. guarded: it does nothing if the
    status word is set, which is its last buffer.
    """

    x: BlockOperand
    y: BlockOperand
    sums: str
    c: str
    batch: int
    k: int
    tile: BlockTile
    product: str = "fma"
    stages: int = 2
    epilogue: Epilogue | None = None
    channel_rows: bool = False
    guarded: bool = False

    @cached_property
    def key(self) -> str:
        names = (
            "x",
            "y",
            "sums",
            "c",
            "batch",
            "k",
            "tile",
            "product",
            "stages",
            "epilogue",
            "channel_rows",
            "guarded",
        )
        return "block product " + " ".join(f"{name}={getattr(self, name)}" for name in names)

    @property
    def kind(self) -> str:
        """The kind of the sums."""
        return KINDS[self.sums][1]

    @property
    def vector(self) -> int:
        """Sums in 16 bytes of shared memory, which a thread stores at once."""
        return 128 // BITS[self.kind]

    def kept(self, operand: BlockOperand) -> str:
        """The kind of an operand's elements in shared memory."""
        return self.kind if self.product == "fma" else KINDS[operand.dtype][0]

    def lines(self, operand: BlockOperand, size: int) -> tuple[int, int]:
        """How an operand's tile lies: how many lines it has, and elements from one to the next. A line is a step of k; or
        a row, if matrices are multiplied and neighbours lie along k. 16 bytes more let threads find other banks."""
        depth, more = self.tile.depth, 128 // BITS[self.kept(operand)]
        return (size, depth + more) if self.by_row(operand) else (depth, size + more)

    def by_row(self, operand: BlockOperand) -> bool:
        """Whether a line of an operand's tile is a row."""
        return self.product == "matrices" and operand.along_k

    @property
    def round(self) -> tuple[int, int]:
        """The rows of sums that go through shared memory at a time, and elements from one to the next."""
        tile = self.tile
        rows = tile.down * self.vector if self.product == "fma" else MATRIX_ROWS * tile.warps[0]
        return rows, tile.columns + self.vector

    @property
    def room(self) -> tuple[int, int]:
        """Bytes of shared memory: for the tiles of X, and for everything. In the end some rows of sums lie there."""
        x, y = (
            self.stages * lines * stride * BITS[self.kept(operand)] // 8
            for _, operand, _, size in self.operands
            for lines, stride in [self.lines(operand, size)]
        )
        rows, stride = self.round
        return x, max(x + y, rows * stride * BITS[self.kind] // 8)

    @property
    def edges(self) -> int:
        return self.x.edges + self.y.edges

    @property
    def operands(self) -> tuple[tuple[str, BlockOperand, str, int], ...]:
        """Name, operand, the name of its loops, and the size of its tile."""
        return ("x", self.x, "row", self.tile.rows), ("y", self.y, "column", self.tile.columns)

    @property
    def buffers(self) -> tuple[str, ...]:
        """What it takes, in order, without the status word."""
        end = self.epilogue
        return ("x", "y", "c", *((*end.buffers, *(("sums",) * bool(end.sums))) if end else ()))

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """The names of its run-time numbers, in order. Strides count elements."""
        names = [*(self.epilogue.numbers if self.epilogue else ())]
        names += ["rows", "columns", "k", "part", "row_blocks", "column_blocks", "parts", "c_part", "zero"]
        names += [f"edge{e}_{of}" for e in range(self.edges) for of in ("base", "size")]
        moved = [f"edge{e}" for e in range(self.edges)]
        names += [f"batch{i}_{of}" for i in range(self.batch) for of in ("extent", "x", "y", "c", "channel", "sums")]
        for name, operand, loop, _ in self.operands:
            own = moved if operand.edges else ()
            names += [f"{loop}{i}_{of}" for i in range(operand.loops) for of in ("extent", name, "c", "channel", *own)]
        names += [f"k{i}_{of}" for i in range(self.k) for of in ("extent", "magic", "shift", "x", "y", *moved)]
        return (*names, *(f"sums_{of}" for of in ("offset", "block", "slot") if self.epilogue and self.epilogue.sums))

    def blocks(self, extents: Sequence[int], params: Sequence[int]) -> DeviceGrid:
        """The launch with these parameters. The extents are among them."""
        given = dict(zip(self.numbers[-len(params) :], params, strict=True))
        batch = prod(given[f"batch{i}_extent"] for i in range(self.batch))
        grid = batch * given["row_blocks"] * given["column_blocks"] * given["parts"]
        assert grid <= MOST_BLOCKS
        shared = self.room[1] if self.stages > 2 else 0
        return DeviceGrid(tuple(params), (grid, 1, 1), (self.tile.threads, 1, 1), shared)
