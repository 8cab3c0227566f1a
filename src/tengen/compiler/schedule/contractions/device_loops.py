"""Sums of products on GPUs as loops: a contraction as it is requested, and the loops of its launches.

Operands are read where they lie. Where a window leaves the image it sees what stands for 0, so nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from ...geometry import ConvShape, Form, MatmulShape
from ...view import Edge, View
from ..convolutions import dimension
from .problem import ContractionLoop, Storage, Unit, contiguous

Strides = tuple[int, ...]


class DeviceRequest(NamedTuple):
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


class DeviceLoops(NamedTuple):
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


def layout(r: DeviceRequest) -> Strides:
    """The strides of the result. Its channels lie side by side if those of the image do that it is made of."""
    if r.form in ("matmul", "by weight") or r.a[1] != 1:
        return contiguous(r.shape)
    n, channels, *size = r.shape
    image, *steps, channel = contiguous((n, *size, channels))
    return image, channel, *steps


def launches(r: DeviceRequest, c: Strides) -> list[DeviceLoops]:
    s = r.geometry
    if isinstance(s, MatmulShape):
        return [_product(r, s, c)]
    kept, k = _channels(r, s, c)
    steps = [strides[2:] for strides in (r.a, r.b, c)]
    lines = [_phases(r.form, s, d) for d in s.dims]
    return [_slid(kept, k, phases, steps) for phases in product(*lines)]


def _product(r: DeviceRequest, s: MatmulShape, c: Strides) -> DeviceLoops:
    batch = [ContractionLoop(*loop) for loop in zip(s.batch, r.a, r.b, c, strict=False)]
    row, column = ContractionLoop(s.m, a=r.a[-2], c=c[-2]), ContractionLoop(s.n, b=r.b[-1], c=c[-1], channel=1)
    return DeviceLoops((*batch, row, column), (ContractionLoop(s.k, r.a[-1], r.b[-2]),))


def _channels(r: DeviceRequest, s: ConvShape, c: Strides) -> tuple[list[ContractionLoop], list[ContractionLoop]]:
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
) -> DeviceLoops:
    """These loops and those of a window that slides. steps: how A, B and C move along each dim of the window."""
    spans = [dimension.uncut(phase, *moves) for phase, *moves in zip(phases, *steps, strict=True)]
    kept = [*kept, *[span.rows for span in spans], *[span.run for span in spans]]
    loops, edges = DeviceLoops((*kept,), (*k, *[span.taps for span in spans])), []
    first_row, first_tap = len(kept) - 2 * len(spans), len(loops.all) - len(spans)
    for d, (line, *_) in enumerate(phases):
        if any(line.margins):
            moves = {first_row + d: line.row_step, first_tap + d: line.tap_step}
            edges.append(Edge(tuple([moves.get(i, 0) for i in range(len(loops.all))]), line.base, line.size))
    a, b, c = (sum(offsets) for offsets in zip(*[span.offsets for span in spans], strict=True))
    return loops._replace(offsets=(a, b, c), edges=tuple(edges))
