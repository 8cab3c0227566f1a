"""The gradient of a convolution by weight on AMX: a row is a channel of dy, a column is a channel of x at a tap, and
the steps of k are pixels.

AMX needs the steps of a row side by side, so dy, which no tap moves, is transposed. x stays channels-last, where the
windows of a line of taps are neighbours; so its columns are (tap across, channel), and the other taps are a batch. A
pair is the same pixel of two images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod

from ...geometry import ConvShape
from ...kernels.contraction import AMX_SIDE
from ..contractions.launches import offer
from ..contractions.problem import (
    Axis,
    ContractionLoop,
    ContractionLoops,
    Offer,
    Relayout,
    Storage,
    Unit,
    contiguous,
)
from ..contractions.register_tile import choose_amx

LEAST_FILLED = AMX_SIDE**2 // 4
"""The share of a register's sums that must be used, at least."""


def by_weight(s: ConvShape, unit: Unit, storage: Storage) -> Callable[[], Offer] | None:
    """dw from a = x and b = dy, stored as (oc, kernel..., ic / groups); None if its loops do not fit."""
    *outer, across = s.kernel
    batch = [s.groups, *outer] if s.groups > 1 else outer
    if not (unit.amx and unit.takes_pairs(storage)) or s.n < 2 or s.is_depthwise or len(batch) > 2:
        return None
    if across > 1 and s.dilation[-1] > 1:
        return None
    columns = _columns(s)
    if min(s.oc_group, AMX_SIDE) * min(columns, AMX_SIDE) < LEAST_FILLED:
        return None
    return partial(_by_weight, s, storage, batch)


def _by_weight(s: ConvShape, storage: Storage, batch: Sequence[int]) -> Offer:
    *outer, _ = s.kernel
    columns = _columns(s)
    tile = choose_amx(columns)
    x, dy = _image(s, tile.panel), _turned(s)
    x_group, x_n, *x_steps, _ = contiguous(x.shape)
    dy_group, dy_channel, dy_n, *dy_steps, _ = contiguous((*dy.shape, 1))
    c_channel, *c_taps, _, _ = contiguous((s.oc, *s.kernel, s.ic_group))
    steps = [1 if s.skips_pixels else stride for stride in s.stride]
    taps = [
        ContractionLoop(extent, 0, dilation * move, c)
        for extent, dilation, move, c in zip(outer, s.dilation, x_steps, c_taps, strict=False)
    ]
    groups = [ContractionLoop(s.groups, dy_group, x_group, s.oc_group * c_channel)] if s.groups > 1 else []
    pixels = zip(s.out, dy_steps, x_steps, steps, strict=True)
    nest = ContractionLoops(
        batch=(*groups, *taps),
        rows=(ContractionLoop(s.oc_group, dy_channel, c=c_channel),),
        columns=columns,
        k=(
            ContractionLoop(dy.shape[2], dy_n, x_n),
            *[ContractionLoop(extent, a, step * b) for extent, a, b, step in pixels],
        ),
        b_panel=tile.panel,
    )
    size = s.oc * s.ic_group * s.taps
    strides = (c_channel, 1, *c_taps, s.ic_group)
    return offer([nest], tile, storage.in_words, False, (dy, x), strides, size).turned()


def _image(s: ConvShape, panel: int) -> Relayout:
    """[groups, n / 2, size with margins, ic / groups] of x (n, ic, size...) in pairs of images.

    If a window of one pixel skips pixels, only those that it sees are copied. Below the image there are as many further
    lines as a panel that begins at the last pixel reaches.
    """
    size, step = s.size, (1,) * len(s.size)
    if s.skips_pixels:
        size, step = s.out, s.stride
    around = [extent + 2 * padding for extent, padding in zip(size, s.padding, strict=True)]
    line = prod(around[1:]) * s.ic_group
    if _columns(s) % panel:
        around[0] += -(-panel // line)
    shape = (s.groups, -(-s.n // 2), *around, s.ic_group)
    rank = len(shape)

    def index(position: int, by: int = 1) -> tuple[int, ...]:
        return tuple(by * (i == position) for i in range(rank))

    lines = [
        Axis(d + 2, extent, index(d + 2, by), offset=-padding)
        for d, (extent, by, padding) in enumerate(zip(s.size, step, s.padding, strict=True))
    ]
    axes = (
        Axis(0, s.n, index(1, 2)),
        Axis(1, s.groups, index(0), scale=s.ic_group),
        Axis(1, s.ic_group, index(rank - 1)),
        *lines,
    )
    return Relayout(shape, axes, 0, 2)


def _columns(s: ConvShape) -> int:
    """The channels at the taps of a line."""
    return s.kernel[-1] * s.ic_group


def _turned(s: ConvShape) -> Relayout:
    """[groups, oc / groups, n / 2, size...] of dy (n, oc, size...) in pairs of images."""
    shape = (s.groups, s.oc_group, -(-s.n // 2), *s.out)
    rank = len(shape)

    def index(position: int, by: int = 1) -> tuple[int, ...]:
        return tuple(by * (i == position) for i in range(rank))

    axes = (
        Axis(0, s.n, index(2, 2)),
        Axis(1, s.groups, index(0), scale=s.oc_group),
        Axis(1, s.oc_group, index(1)),
        *[Axis(2 + d, extent, index(3 + d)) for d, extent in enumerate(s.out)],
    )
    return Relayout(shape, axes, 0, 2)
