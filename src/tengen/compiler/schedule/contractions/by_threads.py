"""Sums of products on GPUs: a Nest with a loop for each dim of the result, which reduces the loops of k. An element of
the result is the work of one thread, or of a few that share its sum.

Operands are read where they lie. Where a window leaves the image it sees what stands for 0, so nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from math import prod
from typing import NamedTuple

from ...geometry import ConvShape, Form, MatmulShape
from ...kernels.dtypes import COMPUTE
from ...kernels.epilogue import CHANNEL, ELEMENT, NUMBER, Epilogue
from ...plan import ITEM_BYTES
from ...program import Value
from ...view import Edge, View
from ..convolutions import dimension
from ..nests.lower import Emitter, Operand
from ..places import Location
from .problem import Bid, ContractionLoop, KernelRun, Offer, Storage, Unit, Way, contiguous

Strides = tuple[int, ...]


class ThreadRequest(NamedTuple):
    """A contraction as it is requested for a GPU.

    a, b: strides of its operands; those of a product have its batch dims. shape: of the result. strides: those that the
    result should have.
    """

    form: Form
    geometry: MatmulShape | ConvShape
    a: Strides
    b: Strides
    shape: tuple[int, ...]
    unit: Unit
    storage: Storage
    strides: Strides | None = None


class ThreadLoops(NamedTuple):
    """The loops of one launch. offsets: of A, B and C. edges: which elements of A there are; the others are 0."""

    kept: tuple[ContractionLoop, ...]
    k: tuple[ContractionLoop, ...]
    offsets: tuple[int, int, int] = (0, 0, 0)
    edges: tuple[Edge, ...] = ()

    @property
    def all(self) -> tuple[ContractionLoop, ...]:
        return self.kept + self.k

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple([loop.extent for loop in self.all])

    @property
    def views(self) -> tuple[View, View, View]:
        """Where the elements of A, B and C lie along the loops."""
        moves = zip(*[(loop.a, loop.b, loop.c) for loop in self.all], strict=True)
        a, b, c = (View(self.shape, strides, offset) for strides, offset in zip(moves, self.offsets, strict=True))
        return a._replace(edges=self.edges), b, c


def _by_threads(r: ThreadRequest) -> Bid:
    """An element for each thread, which is always possible."""
    return Bid(lambda: prod(r.shape), partial(_offered, r))


WAYS = (Way("threads", ("matmul", "forward", "by data", "by weight"), _by_threads, on_gpus=True),)


def _offered(r: ThreadRequest) -> Offer:
    strides, end = r.strides or _layout(r), r.storage.epilogue
    why_not = "threads take no sums over rows" if end and end.sums else None
    storage = r.storage._replace(epilogue=None) if why_not else r.storage

    def make() -> tuple[Sequence[KernelRun], int]:
        return [_run(r.unit, storage, loops) for loops in _launches(r, strides)], 0

    return Offer(None, None, strides, prod(r.shape), make, why_not=why_not)


def _layout(r: ThreadRequest) -> Strides:
    """The strides of the result. Its channels lie side by side if those of the image do that it is made of."""
    if r.form in ("matmul", "by weight") or r.a[1] != 1:
        return contiguous(r.shape)
    n, channels, *size = r.shape
    image, *steps, channel = contiguous((n, *size, channels))
    return image, channel, *steps


# -- loops -------------------------------------------------------------------------------------------------------------


def _launches(r: ThreadRequest, c: Strides) -> list[ThreadLoops]:
    s = r.geometry
    if isinstance(s, MatmulShape):
        return [_product(r, s, c)]
    kept, k = _channels(r, s, c)
    steps = [strides[2:] for strides in (r.a, r.b, c)]
    lines = [_phases(r.form, s, d) for d in s.dims]
    return [_slid(kept, k, phases, steps) for phases in product(*lines)]


def _product(r: ThreadRequest, s: MatmulShape, c: Strides) -> ThreadLoops:
    batch = [ContractionLoop(*loop) for loop in zip(s.batch, r.a, r.b, c, strict=False)]
    row, column = ContractionLoop(s.m, a=r.a[-2], c=c[-2]), ContractionLoop(s.n, b=r.b[-1], c=c[-1], channel=1)
    return ThreadLoops((*batch, row, column), (ContractionLoop(s.k, r.a[-1], r.b[-2]),))


def _channels(r: ThreadRequest, s: ConvShape, c: Strides) -> tuple[list[ContractionLoop], list[ContractionLoop]]:
    """The loops of a convolution over images, groups and channels: the kept ones, and those of k."""
    ic, oc, loop = s.ic_group, s.oc_group, ContractionLoop
    (a0, a1), (b0, b1), (c0, c1) = r.a[:2], r.b[:2], c[:2]
    if r.form == "by weight":
        group = loop(s.groups, a1 * ic, b1 * oc, c0 * oc)
        return [group, loop(oc, b=b1, c=c0), loop(ic, a=a1, c=c1)], [loop(s.n, a0, b0)]
    depth, width, inner, outer = (ic, oc, b1, b0) if r.form == "forward" else (oc, ic, b0, b1)
    group = loop(s.groups, a1 * depth, b0 * oc, c1 * width, width)
    return [loop(s.n, a=a0, c=c0), group, loop(width, b=outer, c=c1, channel=1)], [loop(depth, a1, inner)]


def _phases(form: Form, s: ConvShape, dim: int) -> list[dimension.Phase]:
    if form == "by data":
        return dimension.joined(dimension.phases(s, dim))
    phase = dimension.phase(s, dim)
    return [phase if form == "forward" else dimension.turned(phase)]


def _slid(
    kept: Sequence[ContractionLoop],
    k: Sequence[ContractionLoop],
    phases: Sequence[dimension.Phase],
    steps: Sequence[Strides],
) -> ThreadLoops:
    """These loops and those of a window that slides. steps: how A, B and C move along each dim of the window."""
    spans = [dimension.uncut(phase, *moves) for phase, *moves in zip(phases, *steps, strict=True)]
    kept = [*kept, *[span.rows for span in spans], *[span.run for span in spans]]
    loops, edges = ThreadLoops((*kept,), (*k, *[span.taps for span in spans])), []
    first_row, first_tap = len(kept) - 2 * len(spans), len(loops.all) - len(spans)
    for d, (line, *_) in enumerate(phases):
        if any(line.margins):
            moves = {first_row + d: line.row_step, first_tap + d: line.tap_step}
            edges.append(Edge(tuple([moves.get(i, 0) for i in range(len(loops.all))]), line.base, line.size))
    a, b, c = (sum(offsets) for offsets in zip(*[span.offsets for span in spans], strict=True))
    return loops._replace(offsets=(a, b, c), edges=tuple(edges))


# -- kernels -----------------------------------------------------------------------------------------------------------


def _run(unit: Unit, storage: Storage, loops: ThreadLoops) -> KernelRun:
    """The launch of a kernel for these loops."""
    e, end, sums = Emitter(_in_memory, loops.shape), storage.epilogue, COMPUTE[storage.out]
    names = ["a", "b", "out", *(end.buffers if end else ())]
    a, b, c = loops.views
    factors = []
    for name, dtype, view in ("a", storage.a, a._replace(fill=float(storage.zero))), ("b", storage.b, b):
        access = e.operand(Operand(names.index(name), dtype, view))
        factors.append(e.cast(e("load", dtype=COMPUTE[dtype], attr=access), storage.out))
    if storage.zero:
        factors[0] = e("sub", factors[0], e("const", dtype=sums, attr=storage.zero), dtype=sums)
    value, dtype = e.reduce([e("mul", *factors, dtype=sums)], "sum", storage.out), storage.out
    out = e.operand(Operand(names.index("out"), end.dtype if end else dtype, c))
    if end:
        dtype, value = end.dtype, end.emitted(e, value, _places(e, end, loops, names))[end.result]
    e("store", value, dtype=COMPUTE[dtype], attr=out)
    return _finished(e, unit, len(loops.kept), names, end)


def _places(e: Emitter, end: Epilogue, loops: ThreadLoops, names: Sequence[str]) -> dict[int, int]:
    """The accesses of what an epilogue reads: first memory, then numbers."""
    still = View(loops.shape, (0,) * len(loops.shape))
    channels = still._replace(strides=tuple([loop.channel for loop in loops.all]))
    views, found = {NUMBER: still, CHANNEL: channels, ELEMENT: loops.views[2]}, dict[int, int]()
    for number, source in enumerate(end.sources):
        if source.buffer is not None:
            found[number] = e.operand(Operand(names.index(source.buffer), source.dtype, views[source.along]))
    for number, source in enumerate(end.sources):
        if source.is_parameter:  # one that differs from the others; its value is known later
            found[number] = e.operand(Operand(None, f"param_{source.dtype}", still, parameter=number))
    return found


def _finished(e: Emitter, unit: Unit, kept: int, names: Sequence[str], end: Epilogue | None) -> KernelRun:
    """The launch of what an emitter has collected, without the numbers of the epilogue."""
    assert unit.device is not None
    made = e.finish(range(kept, len(e.shape)), unit.device)
    assert made.blocks is not None
    after = len(made.source.blocks(made.loops.extents, ()).params)
    at = len(made.params) - after - len(end.parameters if end else ())
    params = made.params[:at] + made.params[len(made.params) - after :]
    buffers = [
        ("a", 0) if o.buffer is None else (names[o.buffer], o.view.offset * ITEM_BYTES[o.dtype]) for o in e.operands
    ]
    run = KernelRun(made.source, tuple(buffers), params, made.tiles, made.work)
    return run._replace(epilogue=end, numbers_at=at, blocks=made.blocks._replace(params=params))


def _in_memory(value: Value) -> Location:
    raise AssertionError("the operands of a contraction are buffers with names")
