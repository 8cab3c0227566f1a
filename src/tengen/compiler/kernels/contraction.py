"""The kernel of a sum of products, as data: C[b, m, n] (+)= sum over k of A[b, m, k] * B[b, k, n].

It is a batch-reduce GEMM (Georganas et al. 2020, "Harnessing Deep Learning via a Single Building Block"). One launch
tile is a block of rows times a few panels of columns:

    rows of the block -> a table of element offsets into A and C, so that up to four nested m loops look like one
    for each block of k (only when `blocked`):
        for each panel of `vectors * lanes` columns:
            for each `rows` rows of the block:
                the register tile: accumulators stay in registers over all inner k loops,
                elements of A are broadcast, rows of B are loaded as vectors

`schedule/contractions/` decides which kernels run, and `targets/contractions/` writes their code.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

from .dtypes import BITS, COMPUTE, KINDS, PAIR, QUADS, WORDS
from .epilogue import Epilogue
from .window import Window

MAX_BLOCK_ROWS = 256
"""Most rows of one launch tile: the size of the table of row offsets on the stack."""

SUM_TILE = 4096

AMX_SIDE = 16
"""Rows of an AMX register, and the 32-bit words in each of them."""
AMX_SUMS = 4
"""AMX registers that hold sums; the others hold operands."""


class PartParameters(NamedTuple):
    """The run-time numbers of a part: ints of a launch, or in the code of a kernel the values that hold them.

    Strides and offsets count elements; strides may be 0 or negative. A launch has one or more parts, whose launch tiles
    follow one another. Its `params` are the numbers of the epilogue and then those of each part.
    """

    tiles: Any  # of this part

    # extents; `rows` = m0 * m1 * m2 * m3, `k2` is cut into blocks of `k2_block` and the other k loops are whole
    rows: Any
    m1: Any
    m2: Any
    m3: Any
    columns: Any
    k0: Any
    k1: Any
    k2: Any
    k3: Any
    k4: Any
    k2_block: Any

    # the grid of launch tiles, slowest first: b0 * b1, splits of k, groups of panels, blocks of rows
    b1: Any
    splits: Any
    blocks_per_split: Any
    panel_groups: Any
    panels_per_group: Any
    row_blocks: Any
    rows_per_block: Any

    a_offset: Any
    a_b0: Any
    a_b1: Any
    a_m0: Any
    a_m1: Any
    a_m2: Any
    a_m3: Any
    a_k0: Any
    a_k1: Any
    a_k2: Any
    a_k3: Any
    a_k4: Any

    b_offset: Any
    b_b0: Any
    b_b1: Any
    b_panel: Any
    b_column: Any
    b_k0: Any
    b_k1: Any
    b_k2: Any
    b_k3: Any
    b_k4: Any

    c_offset: Any
    c_b0: Any
    c_b1: Any
    c_split: Any
    c_m0: Any
    c_m1: Any
    c_m2: Any
    c_m3: Any

    channel_b0: Any
    channel_b1: Any

    # Where the sums over rows go: each launch tile has a place for its rows, in which a slot holds all channels.
    sum_offset: Any = 0
    sum_b0: Any = 0
    sum_b1: Any = 0
    sum_block: Any = 0
    sum_slot: Any = 0

    # A sliding window: the size of the image, and the window's first pixel there.
    height: Any = 0
    width: Any = 0
    top: Any = 0
    left: Any = 0

    # AMX tiles, whose `rows` count strips: rows of a strip, and strips of the innermost row loop.
    strip_rows: Any = 0
    strips: Any = 0

    a_zero: Any = 0  # the integer that stands for 0 in A

    def of(self, name: str) -> Any:
        """The number with this name, such as "a_k0": how far a step of loop k0 moves in A."""
        return getattr(self, name)


AForm = Literal["broadcast", "columns", "steps"]
"""How A takes part in the products of a step of k:

broadcast: one element of a row, which multiplies all columns of B. The lanes are columns.
columns: A has the columns too, side by side, and is loaded as vectors: C[m, n] = sum over k of A[m, k, n] * B[k, n].
steps: the lanes are steps of the innermost k loop, along which A and B are contiguous. The lanes of a sum are folded at
the end of a tile. Then a panel is `vectors` columns, which are `b_column` apart in B.
"""

Product = Literal["plain", "pairs", "quads", "amx"]
"""How products are computed.

plain: one number times another, then added. pairs: an element of A and B is two bfloat16 numbers, and one instruction
adds both products.
quads: an element is four 8-bit integers, those of B signed, and sums are int32. amx: pairs or quads, with the register
tile in AMX registers (see `targets/contractions/amx.py`); `rows` counts units of 16.
"""

Sums = Literal["registers", "blocked"]
"""Where sums are kept. registers: in registers over all of k. blocked: k0, k1 and the blocks of k2 are loops around the
tiles, and between two blocks the sums wait in C."""

Begin = Literal["zeros", "result"]
"""What sums begin with: zeros, or the contents of C, to which the products are added."""

Move = Literal["1", "n"]
"""How many elements a step along a loop moves: one, or a run-time parameter; written as in the accesses of a Nest."""

PanelMove = Literal["panel", "n"]
"""How many elements a step of k moves in B: one row of a panel, or a run-time parameter."""

Panels = Literal["packed", "given"]
"""How B lies. packed: in whole panels, the last one filled up. given: in rows that end with the columns."""

LastPanel = Literal["whole", "part"]
"""Whether panels divide the columns. If the last panel is incomplete, the ends of rows are stored (and, unless B is
packed, loaded) under a mask."""

Zero = Literal["0", "n"]
"""What stands for 0 in A: 0 itself, or a run-time number that is subtracted."""

Channels = Literal["columns", "rows"]
"""Along what the channels of an epilogue run."""

CHOICES = {
    "product": get_args(Product),
    "a_form": get_args(AForm),
    "a_rows": get_args(Move),
    "a_steps": get_args(Move),
    "b_panels": get_args(Panels),
    "b_steps": get_args(PanelMove),
    "last_panel": get_args(LastPanel),
    "sums": get_args(Sums),
    "begin": get_args(Begin),
    "channels": get_args(Channels),
    "a_zero": get_args(Zero),
}
"""The allowed values of each field that names a kind."""


class ContractionKernel(NamedTuple):
    """The static part of a contraction, which determines its code. Equal specifications share one compiled kernel.

    Buffers: A, B, C, what the epilogue reads, and the sums over rows, if it takes any.
    a, b, c: storage dtypes. If a and b are words (`dtypes.WORDS`), a step of k covers as many numbers as a word holds.
    rows x (vectors * lanes): the register tile. unroll: steps of the inner k loop that are written out in a row.
    sum_steps: after this many steps of the innermost k loop a partial sum is added to the others; 0 adds everything in
    sequence. The error of a sum grows with how many numbers are added in sequence.
    k_loops: how many k loops run in registers: 1 to 4 from k1 on, or if blocked 1 to 3 from k2 on; the last one is
    innermost.
    a_rows: how far apart the rows of a register tile are in A. a_steps, b_steps: how far a step of the innermost k loop
    moves in A and B.
    epilogue: what is computed from each sum before it is stored.
    window: A and its columns are an image, over which the rows and k slide as the window says (see `window`).
    a_zero: what stands for 0 in A, 0 or the run-time number `a_zero`.
    """

    a: str
    b: str
    c: str
    rows: int
    vectors: int
    lanes: int
    unroll: int = 1
    sum_steps: int = 0
    k_loops: int = 1
    product: Product = "plain"
    a_form: AForm = "broadcast"
    a_rows: Move = "n"
    a_steps: Move = "1"
    b_panels: Panels = "given"
    b_steps: PanelMove = "n"
    last_panel: LastPanel = "part"
    sums: Sums = "registers"
    begin: Begin = "zeros"
    epilogue: Epilogue | None = None
    channels: Channels = "columns"
    window: Window | None = None
    a_zero: Zero = "0"

    @property
    def sum_dtype(self) -> str:
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
    def folded(self) -> bool:
        """Whether the lanes are steps of k, so that the lanes of a sum are folded at the end of a tile."""
        return self.a_form == "steps"

    @property
    def blocked(self) -> bool:
        """Whether the sums wait in C between blocks of k."""
        return self.sums == "blocked"

    @property
    def amx(self) -> bool:
        """Whether the register tile is in AMX registers."""
        return self.product == "amx"

    @property
    def channel_rows(self) -> bool:
        """Whether the channels of the epilogue are the rows."""
        return self.channels == "rows"

    @property
    def streams(self) -> bool:
        """Whether both operands come from memory along a long k, as in a gradient by weight, and the tile reads parts
        of their rows."""
        rows_of_a = self.a_form == "broadcast" and self.a_steps == "n"
        return self.blocked and rows_of_a and self.b_panels == "given"

    @property
    def key(self) -> str:
        return _key(self)

    def parts(self, params: Sequence[int]) -> list[PartParameters]:
        """The parts of a launch with these params."""
        size, first = len(PartParameters._fields), len(self.epilogue.numbers) if self.epilogue else 0
        return [PartParameters._make(params[at : at + size]) for at in range(first, len(params), size)]


@lru_cache(1024)  # cached, because a Plan asks for it repeatedly
def _key(kernel: ContractionKernel) -> str:
    return "contraction " + " ".join(f"{name}={value}" for name, value in zip(kernel._fields, kernel, strict=True))


SUM_PARAMETERS = ("size", "splits")


class SumKernel(NamedTuple):
    """out[i] = sum over s of partial[s, i]: adds the splits of a contraction, always in the same order.

    Buffers: partial, out. Params: SUM_PARAMETERS. One tile is SUM_TILE elements.
    """

    partial: str
    out: str
    lanes: int

    @property
    def key(self) -> str:
        return f"sum partial={self.partial} out={self.out} lanes={self.lanes}"


# -- verification --------------------------------------------------------------------------------------------------------


def verify(kernel: ContractionKernel) -> None:
    """Check that a contraction is well formed. Raises ValueError naming the fields that do not fit together."""
    for name, choices in CHOICES.items():
        if (value := getattr(kernel, name)) not in choices:
            raise ValueError(f"{name} {value!r} is not one of {', '.join(choices)}")
    for name in ("a", "b", "c"):
        if (dtype := getattr(kernel, name)) not in KINDS:
            raise ValueError(f"{name}: {dtype} is not a storage dtype")
    for name in ("rows", "vectors", "lanes", "unroll"):
        if getattr(kernel, name) < 1:
            raise ValueError(f"{name} {getattr(kernel, name)} is less than 1")
    if kernel.sum_steps < 0:
        raise ValueError(f"sum_steps {kernel.sum_steps} is less than 0")
    if kernel.rows > MAX_BLOCK_ROWS:
        raise ValueError(f"{kernel.rows} rows of a register tile, but a launch tile has at most {MAX_BLOCK_ROWS}")
    most = 3 if kernel.blocked else 4
    if not 1 <= kernel.k_loops <= most:
        raise ValueError(f"{kernel.k_loops} k loops in registers: {kernel.sums} sums have 1 to {most}")
    if reason := why_not_product(kernel):
        raise ValueError(f"no {kernel.product} products of {kernel.a} and {kernel.b}: {reason}")
    if reason := why_not_zero(kernel):
        raise ValueError(f"A cannot count from a_zero: {reason}")
    if reason := why_not_form(kernel):
        raise ValueError(f"A cannot come as {kernel.a_form}: {reason}")
    if reason := why_not_sums(kernel):
        raise ValueError(f"the sums cannot be kept as {kernel.sums}: {reason}")
    if kernel.window and (reason := why_not_window(kernel, kernel.window)):
        raise ValueError(f"the window cannot slide: {reason}")
    if kernel.epilogue and (reason := why_not_epilogue(kernel, kernel.epilogue)):
        raise ValueError(f"the sums cannot have this epilogue: {reason}")
    if kernel.channel_rows and not (kernel.epilogue and kernel.epilogue.has_channels):
        raise ValueError("the channels are rows, but no epilogue has channels")


def why_not_product(kernel: ContractionKernel) -> str | None:
    """Why the kernel cannot multiply this way, or None."""
    words = [dtype for dtype in (kernel.a, kernel.b) if dtype in WORDS]
    if kernel.product == "plain":
        return f"{words[0]} wants products of words" if words else None
    if kernel.product == "quads" or (kernel.amx and kernel.a != PAIR):
        if kernel.a not in QUADS.values() or kernel.b != QUADS["int8"]:
            return f"A must be {' or '.join(QUADS.values())} and B {QUADS['int8']}"
        if kernel.sum_dtype != "int32":
            return f"their sums are int32, not {kernel.sum_dtype}"
    elif not kernel.a == kernel.b == PAIR:
        return f"both must be {PAIR}"
    elif COMPUTE.get(kernel.sum_dtype) != "float32":
        return f"their sums are float32, not {kernel.sum_dtype}"
    if not kernel.amx:
        return None
    strips, rest = divmod(kernel.rows, AMX_SIDE)
    if rest or kernel.lanes != AMX_SIDE:
        return f"a register has {AMX_SIDE} x {AMX_SIDE} sums, the tile {kernel.rows} rows and {kernel.lanes} lanes"
    if strips * kernel.vectors > AMX_SUMS:
        return f"{strips} x {kernel.vectors} registers of sums, but there are {AMX_SUMS}"
    if kernel.a_steps != "1" or kernel.a_rows != "n":
        return "a register takes steps of A that are side by side, of rows that a parameter says how far apart"
    return None


def why_not_zero(kernel: ContractionKernel) -> str | None:
    """Why A cannot have a number other than 0 that stands for 0, or None."""
    narrow = kernel.a in (*QUADS, *QUADS.values())
    return None if kernel.a_zero == "0" or narrow else f"it is {kernel.a}, not integers of 8 bits"


def why_not_form(kernel: ContractionKernel) -> str | None:
    """Why A cannot come in this form, or None."""
    if kernel.a_form == "broadcast":
        return None
    if kernel.product != "plain":
        return f"{kernel.product} products take elements of A that are broadcast"
    if kernel.channel_rows:
        return "only where its elements are broadcast can channels be rows"
    if kernel.a_form == "columns":
        return None
    if kernel.b_panels == "packed" or kernel.last_panel == "part":
        return "B is read as it is given, in whole panels of columns"
    return None if kernel.a_steps == "1" else "steps of k are not side by side in it"


def why_not_sums(kernel: ContractionKernel) -> str | None:
    """Why sums cannot be kept this way between steps or blocks of k, or None."""
    stored, computed = KINDS[kernel.c]
    if kernel.blocked and BITS[stored] < BITS[computed]:
        return f"{kernel.c} would round them between blocks"
    if kernel.sum_steps and (kernel.amx or kernel.window):
        return "only tiles of vectors that are no window add up some steps on their own"
    return None


def why_not_window(kernel: ContractionKernel, window: Window) -> str | None:
    """Why the rows cannot be those of this window, or None."""
    if kernel.a_form != "columns":
        return "the pixels of A have the columns too"
    if (kernel.rows, kernel.vectors) != (window.rows, 1):
        return f"a tile has {window.rows} rows and 1 vector, not {kernel.rows} and {kernel.vectors}"
    if kernel.begin == "result":
        return "its sums begin with zeros"
    if kernel.blocked != window.by_weight:
        return "sums wait in C by weight, and only then"
    if (kernel.b_panels == "packed") == window.by_weight:
        return "B is results as they are given by weight, else packed taps"
    return None


def why_not_epilogue(kernel: ContractionKernel, epilogue: Epilogue) -> str | None:
    """Why the kernel cannot compute this from its sums before it stores them, or None."""
    if kernel.blocked or kernel.begin == "result":
        return "they are complete only in memory"
    if kernel.folded:
        return "they come one by one where lanes are folded"
    if not epilogue.sources or not epilogue.sources[0].is_sum:
        return "its first source is not the sums"
    if epilogue.dtype != kernel.c:
        return f"it gives {epilogue.dtype}, but C is {kernel.c}"
    if not epilogue.sums:
        return None
    if kernel.sum_dtype not in ("float32", "float64"):
        return "sums over rows are of floats"
    if kernel.channel_rows:
        return "sums over rows are for each column, but the channels are rows"
    if epilogue.is_costly and not kernel.amx:
        return "it is costly, so rows come one by one, and no sums over them can be taken"
    return None
