"""The layouts in which contractions read the operands of convolutions: images with channels last, and panels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from ...geometry import ConvShape, Size
from ..contractions.problem import Axis, Relayout, packed_columns

Pair = tuple[int, int]


def channels_last(
    shape: Sequence[int],
    margins: Sequence[Pair],
    size: Size | None = None,
    step: Size | None = None,
    images: int = 1,
    channels: int = 1,
    blocks: int = 1,
) -> Relayout:
    """(n, size + margins, c) of a source of (n, c, size…); or every step-th pixel, `size` of them. images, channels:
    how many make a word. blocks: if there are several, (blocks, n, size + margins, c / blocks)."""
    n, c, *lines = shape
    steps = step or (1,) * len(lines)
    around = [before + extent + after for extent, (before, after) in zip(lines, margins, strict=True)]
    within = c // blocks
    made = (-(-n // images), *(size or around), -(-within // channels))
    block, image, *one, channel = _unit_vectors(len(made) + 1)
    axes = [
        Axis(0, n, tuple([images * i for i in image])),
        *[
            Axis(d + 2, extent, tuple([by * i for i in one[d]]), offset=-before)
            for d, (extent, by, (before, _)) in enumerate(zip(lines, steps, margins, strict=True))
        ],
        Axis(1, within, tuple([channels * i for i in channel])),
    ]
    along = 0 if images > 1 else len(lines) + 1 if channels > 1 else None
    if blocks > 1:
        return Relayout((blocks, *made), (*axes, Axis(1, blocks, block, scale=within)), along, images * channels)
    inner = [axis._replace(coefficients=axis.coefficients[1:]) for axis in axes]
    return Relayout(made, tuple(inner), along, images * channels)


def pack_weights(s: ConvShape, columns: str, panel: int, step: int) -> Relayout:
    """[groups, panels, kernel…, k / step, panel] of w (oc, ic / groups, kernel…); `columns` ("oc" or "ic") become the panels,
    the other one is k, in words of `step`."""
    group, to_panel, *taps, to_k, within = _unit_vectors(len(s.size) + 4)
    column = tuple([panel * i + j for i, j in zip(to_panel, within, strict=True)])
    windows = [Axis(2 + d, k, tap) for d, (k, tap) in enumerate(zip(s.kernel, taps, strict=True))]
    if s.is_depthwise:
        shape = (1, packed_columns(s.oc, panel), *s.kernel, 1, panel)
        return Relayout(shape, (Axis(0, s.oc, column), *windows))
    n, k = (s.oc_group, s.ic_group) if columns == "oc" else (s.ic_group, s.oc_group)
    depth = tuple([step * i for i in to_k])
    oc, ic = (column, depth) if columns == "oc" else (depth, column)
    axes = (
        Axis(0, s.groups, group, scale=s.oc_group),
        Axis(0, s.oc_group, oc),
        Axis(1, s.ic_group, ic),
        *windows,
    )
    along = {"oc": 2, "ic": 1}[columns] if step > 1 else None
    return Relayout((s.groups, packed_columns(n, panel), *s.kernel, -(-k // step), panel), axes, along, step)


def pack_gradient(s: ConvShape, panel: int, images: int) -> Relayout:
    """[groups, panels, n / images, size…, panel] of dy (n, oc, size…). images: 2 for pairs of images."""
    shape = (s.groups, packed_columns(s.oc_group, panel), -(-s.n // images), *s.out, panel)
    group, to_panel, image, *lines, within = _unit_vectors(len(shape))
    axes = (
        Axis(1, s.groups, group, scale=s.oc_group),
        Axis(1, s.oc_group, tuple([panel * i + j for i, j in zip(to_panel, within, strict=True)])),
        Axis(0, s.n, tuple([images * i for i in image])),
        *[Axis(2 + d, extent, line) for d, (extent, line) in enumerate(zip(s.out, lines, strict=True))],
    )
    return Relayout(shape, axes, 2 if images > 1 else None, images)


@cache
def _unit_vectors(rank: int) -> list[tuple[int, ...]]:
    """The coefficients of an axis that is one index of this many."""
    return [tuple([int(i == d) for i in range(rank)]) for d in range(rank)]
