"""Sums of products as contraction kernels: which layouts, tiles and launches compute them.

A `ContractionPlan` is pure description: the layout that each operand must have (a `Relayout`, which the caller
materialises or fuses with what produces the operand), the launches in order, and how the result lies in memory. Sizes
of tiles, blocks of k and the number of splits depend on the problem alone, so results do not depend on the number of
threads.

This module has what all problems share. `launches.py` cuts them; `matmul.py` and `convolutions/forms.py` state them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from ...geometry import Form
from ...kernels.block_product import BlockProduct
from ...kernels.contraction import ContractionKernel, SumKernel
from ...kernels.device import DeviceGrid
from ...kernels.dtypes import BITS, KINDS, PAIR, QUADS, WORDS
from ...kernels.epilogue import ELEMENT, Epilogue
from ...kernels.nest_tiling import NestSource
from ...kernels.target import DeviceTarget
from ...kernels.window import Window


class Unit(NamedTuple):
    """The vector unit that kernels are planned for: 32-bit lanes of a vector, number of vector registers, and whether
    it multiplies pairs of bfloat16.

    winograd: outputs of a tile, each way, if convolutions go by tiles; 0: they do not. amx: whether it also multiplies
    small matrices of words. level2: bytes of the level-2 cache beside it. device: the GPU whose threads are the lanes, if
    they are. tf32: whether its tensor cores may multiply float32, with fewer bits.
    """

    lanes: int
    registers: int
    dots: bool = False
    winograd: int = 0
    amx: bool = False
    level2: int = 1 << 20
    device: DeviceTarget | None = None
    tf32: bool = False

    def lanes_of(self, dtype: str) -> int:
        """Lanes of a vector in the kind of arithmetic that `dtype` is computed in."""
        return self.lanes * 32 // BITS[KINDS[dtype][1]]

    def takes_pairs(self, storage: Storage) -> bool:
        """Whether a step of k can be two; the kernel's operands then are PAIR."""
        return self.dots and storage.a == storage.b == "bfloat16"

    def takes_words(self, storage: Storage) -> bool:
        """Whether a step of k can be several: two of bfloat16, or four of 8-bit integers, which is faster on every
        machine."""
        return storage.is_integer or self.takes_pairs(storage)


class Axis(NamedTuple):
    """A coordinate of the source as a function of the physical index.

    position = offset + sum(coefficients[i] * index[i]). It counts only where 0 <= position < limit, and moves dimension
    `dim` of the source by `scale * position`. Several axes may share a `dim` (a dimension that is seen as two).
    """

    dim: int
    limit: int
    coefficients: tuple[int, ...]
    offset: int = 0
    scale: int = 1


class Relayout(NamedTuple):
    """An operand's physical buffer, C-contiguous of `shape`.

    Each element is one of the source, or 0 if an axis is out of range. along: the number of an axis, if elements are
    words of this many `numbers` (see `dtypes.WORDS`), each of which lies one further along that axis.
    """

    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    along: int | None = None
    numbers: int = 1

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def parts(self) -> tuple[Relayout, ...]:
        """The relayouts of the first number of each word, the second one, and so on."""
        parts = []
        for number in range(self.numbers):
            further = [a._replace(offset=a.offset + number * (i == self.along)) for i, a in enumerate(self.axes)]
            parts.append(Relayout(self.shape, tuple(further)))
        return tuple(parts)

    @property
    def pads(self) -> bool:
        """Whether some element is not one of the source."""
        if self.along is not None:
            return any(part.pads for part in self.parts)
        return any(map(self.leaves, self.axes))

    def leaves(self, axis: Axis) -> bool:
        """Whether some physical index puts `axis` out of range."""
        low = high = axis.offset
        for i, coefficient in enumerate(axis.coefficients):
            if coefficient > 0:
                high += coefficient * (self.shape[i] - 1)
            elif coefficient:
                low += coefficient * (self.shape[i] - 1)
        return low < 0 or high >= axis.limit

    def offset(self, source_strides: Sequence[int]) -> int:
        """Elements from the source's origin to what physical index 0 shows."""
        return sum([source_strides[axis.dim] * axis.scale * axis.offset for axis in self.axes if axis.offset])

    def strides(self, source_strides: Sequence[int]) -> tuple[int, ...]:
        """How many elements of the source one step of each physical index moves."""
        moves = [0] * len(self.shape)
        for axis in self.axes:
            step = source_strides[axis.dim] * axis.scale
            for i, coefficient in enumerate(axis.coefficients):
                if coefficient:
                    moves[i] += step * coefficient
        return tuple(moves)

    def is_view(self, source_strides: Sequence[int]) -> bool:
        """Whether a source with these strides is the physical buffer already, so that nothing needs to be copied."""
        if self.offset(source_strides) or self.step_within(source_strides) not in (None, 1):
            return False
        width = self.numbers
        moves = zip(self.shape, self.strides(source_strides), contiguous(self.shape), strict=True)
        return all([extent == 1 or move == width * stride for extent, move, stride in moves]) and not self.pads

    def step_within(self, source_strides: Sequence[int]) -> int | None:
        """Elements of the source from one number of a word to the next."""
        if self.along is None:
            return None
        axis = self.axes[self.along]
        return source_strides[axis.dim] * axis.scale


Buffer = tuple[str, int]
"""A buffer that a kernel is given: memory by name (a, b, prepared, workspace, out, sums, or what the epilogue reads),
from this many bytes on."""


class KernelRun(NamedTuple):
    """One kernel run.

    buffers: in order. work: floating-point operations. joined: it may run at the same time as the one before. side: it
    is also the other side of a whole, for another thread. epilogue: what it does of one; the numbers of the epilogue
    come in `params` before those from `numbers_at` on. row_tiles: how many sums over rows it writes per column.
    blocks: how a GPU runs it.
    """

    kernel: ContractionKernel | SumKernel | NestSource | BlockProduct
    buffers: tuple[Buffer, ...]
    params: tuple[int, ...]
    tiles: int
    work: int
    joined: bool = False
    side: bool = False
    epilogue: Epilogue | None = None
    numbers_at: int = 0
    row_tiles: int = 0
    blocks: DeviceGrid | None = None

    def given(self, numbers: tuple[int, ...]) -> KernelRun:
        """This run, with the numbers of its epilogue."""
        if not numbers:
            return self
        at = self.numbers_at
        params = (*self.params[:at], *numbers, *self.params[at:])
        return self._replace(params=params, blocks=self.blocks and self.blocks._replace(params=params))

    def moved(self, by: Mapping[str, int], joined: bool, side: bool) -> KernelRun:
        """This run, with some buffers further on by this many bytes."""
        buffers = tuple([(name, at + by.get(name, 0)) for name, at in self.buffers])
        return self._replace(buffers=buffers, joined=joined, side=side)


class ContractionPlan(NamedTuple):
    """How to compute one sum of products.

    a, b: the layouts that the operands must have; None: used as they are, with the strides that the problem was given.
    out_strides: of the result's logical dimensions in a buffer of `out_size` elements. workspace: bytes of scratch
    memory. prepared: the launch that makes, from b, what the other launches read instead, and the bytes of that.
    """

    a: Relayout | None
    b: Relayout | None
    out_strides: tuple[int, ...]
    out_size: int
    launches: tuple[KernelRun, ...]
    workspace: int = 0
    prepared: tuple[KernelRun, int] | None = None

    @property
    def work(self) -> int:
        return sum(launch.work for launch in self.launches)

    @property
    def row_tiles(self) -> int:
        """The parts of the rows that have sums; none if the epilogue takes no sums."""
        return sum([launch.row_tiles for launch in self.launches])

    @property
    def epilogue(self) -> Epilogue | None:
        """The epilogue that the launches do. If sums are not complete in registers, it is left to the caller."""
        return next((launch.epilogue for launch in self.launches if launch.epilogue), None)


class Offer(NamedTuple):
    """What a way would do, before its launches are made.

    a, b, out_strides, out_size: see `ContractionPlan`. make: gives the launches and the bytes of workspace.
    has_workspace: whether there are any.
    why_not: why the kernels cannot do the requested epilogue. row_tiles: parts of the rows whose sums the epilogue
    takes.
    prepare: see `ContractionPlan.prepared`. exchanged: the operands come the other way round.
    """

    a: Relayout | None
    b: Relayout | None
    out_strides: tuple[int, ...]
    out_size: int
    make: Callable[[], tuple[Sequence[KernelRun], int]]
    has_workspace: bool = False
    why_not: str | None = None
    row_tiles: int = 0
    prepare: Callable[[], tuple[KernelRun, int]] | None = None
    exchanged: bool = False

    def turned(self) -> Offer:
        """The offer for operands that are given the other way round."""
        return self._replace(a=self.b, b=self.a, exchanged=not self.exchanged)

    def plan(self) -> ContractionPlan:
        """The plan. An epilogue that it refuses is left to the caller."""
        launches, workspace = self.make()
        if self.exchanged:
            names = {"a": "b", "b": "a"}
            launches = [
                launch._replace(buffers=tuple((names.get(name, name), at) for name, at in launch.buffers))
                for launch in launches
            ]
        prepared = self.prepare() if self.prepare else None
        return ContractionPlan(self.a, self.b, self.out_strides, self.out_size, tuple(launches), workspace, prepared)


class Bid(NamedTuple):
    """The answer of a way that fits a request.

    cost: in multiply-adds of loops whose vectors are as full as channels fill them; computed only if several ways fit.
    offer: what it would do.
    """

    cost: Callable[[], float]
    offer: Callable[[], Offer]


class Way(NamedTuple):
    """A way to compute sums of products. forms: the forms that it can compute. bid: its answer to a request for one of
    them; None if it does not fit. on_gpus: whether it is a way of GPUs, not of CPUs."""

    name: str
    forms: tuple[Form, ...]
    bid: Callable[[Any], Bid | None]
    on_gpus: bool = False


def choose_way(ways: Sequence[Way], form: Form, request: Any) -> tuple[str, Offer]:
    """The name and the offer of the way of least cost; among equals, the first."""
    on_gpus = request.unit.device is not None
    fitting = (way for way in ways if form in way.forms and way.on_gpus == on_gpus)
    bids = [(way.name, bid) for way in fitting if (bid := way.bid(request))]
    name, bid = bids[0] if len(bids) == 1 else min(bids, key=lambda found: found[1].cost())
    return name, bid.offer()


class ContractionLoop(NamedTuple):
    """One loop, and how far a step of it moves in A, B, C and the channels (elements)."""

    extent: int
    a: int = 0
    b: int = 0
    c: int = 0
    channel: int = 0


ONCE = ContractionLoop(1)


class SlidingImage(NamedTuple):
    """The image that a window slides over: its size, and where in it the first register tile begins, down and across.
    elements: of everything that is read and written."""

    window: Window
    size: tuple[int, int]
    start: tuple[int, int]
    elements: int


class ContractionLoops(NamedTuple):
    """A contraction over physical buffers: its loops, slowest first.

    Once merged, there are at most two batch, four row and four k loops.
    b_panel: elements from one panel of B to the next. offsets: of A, B and C. a_columns: A has the columns too, side by
    side, as in the depthwise convolution: C[m, n] = sum over k of A[m, k, n] * B[k, n]. adds: it adds to what nests
    before it have written.
    channel_rows: the channels of an epilogue are the rows, with a single loop, not the columns. image: the rows are
    those of images, lines and pixels, and the steps of k those of the taps of a window, down and across; by weight it
    is the other way round, after a row loop of one turn.
    b_column: elements from one column of B to the next, if these are not side by side; then steps of k are.
    """

    batch: tuple[ContractionLoop, ...]
    rows: tuple[ContractionLoop, ...]
    columns: int
    k: tuple[ContractionLoop, ...]
    b_panel: int
    offsets: tuple[int, int, int] = (0, 0, 0)
    a_columns: bool = False
    adds: bool = False
    channel_rows: bool = False
    image: SlidingImage | None = None
    b_column: int = 0


class Storage(NamedTuple):
    """Storage dtypes of the operands, and what the kernel does besides: add to C, and an epilogue.

    zero: for 8-bit integers, what stands for 0 in A.
    epilogue: what is stored in place of each sum, if the plan has a place where sums are complete; `out` is what would
    be stored without it.
    """

    a: str = "float32"
    b: str = "float32"
    out: str = "float32"
    accumulate: bool = False
    epilogue: Epilogue | None = None
    zero: int = 0

    @property
    def is_integer(self) -> bool:
        """Whether operands are 8-bit integers, those of B signed, with exact sums."""
        return self.b in ("int8", QUADS["int8"])

    @property
    def has_channels(self) -> bool:
        """Whether an operand varies only along the channels."""
        return self.epilogue is not None and self.epilogue.has_channels

    @property
    def reads_elements(self) -> bool:
        """Whether an epilogue reads an operand of the result's size, in whose memory the result may be."""
        return self.epilogue is not None and any(x.buffer and x.along == ELEMENT for x in self.epilogue.sources)

    @property
    def in_words(self) -> Storage:
        """This for operands whose elements are several numbers of k."""
        return self._replace(a=QUADS.get(self.a, PAIR), b=QUADS.get(self.b, PAIR))

    @property
    def k_step(self) -> int:
        """Numbers of k in an element of an operand."""
        return WORDS.get(self.b, 1)

    @property
    def rounds(self) -> bool:
        """Whether the result is stored in fewer bits than it is computed in."""
        return KINDS[self.out][0] != KINDS[self.out][1]


FLOAT32 = Storage()


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a C-contiguous array."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def packed_columns(n: int, panel: int) -> int:
    """How many panels n columns take."""
    return -(-n // panel)
