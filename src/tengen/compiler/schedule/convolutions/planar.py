"""Windows over images for few results: the columns of the contraction are pixels of a row, not channels.

Six channels would fill a third of a vector. With operands and result in planes (channels first), the pixels of a row
lie side by side. So they are the columns, the channels of the result are rows, and the weights are broadcast.

If images fill vectors, they are the last dim: the columns are all images at one pixel, then at the next. So pixels at
the border, which see fewer taps, are parts of their own in both dims; element-wise ops and pooling that follow have
whole vectors at each pixel; and for the gradient by weight the images of a pixel are steps of k side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

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
from ..contractions.register_tile import choose, choose_folded
from .borders import Cut, Line, may_pad

LEAST_GAIN = 1.5
"""How much better vectors must be filled than by channels; the difference pays for the planes."""
LEAST_REUSE = 64
"""The fewest multiply-adds per element of the image, because it may have to be copied."""
MUCH_REUSE = 512
"""From this many multiply-adds on, a copy into another layout costs less than the best layout saves."""
MAX_CUTS = 12
"""The most parts of the rows or columns of pixels; instead of more, zeros are put around the image."""
FULL_IMAGES = 0.75
"""How much of their vectors images side by side must fill, at least."""
LEAST_DEPTH = 16
"""The fewest steps of k: each row of pixels is a launch tile of its own."""

NO_MARGINS = ((0, 0), (0, 0))


class PlanarWindow(NamedTuple):
    """cost: of a multiply-add, compared to one whose lanes are channels. offer: what this way would do."""

    cost: float
    offer: Callable[[], Offer]


def _work(columns: int, channels: int, lanes: int, lies_so: bool, reuse: int) -> float:
    """The cost of a multiply-add with this many columns, compared to one whose columns are these channels, and the
    price of planes, which are just as good if the image lies that way."""
    price = 1 if lies_so and reuse < MUCH_REUSE else LEAST_GAIN
    return min(1.0, price * _filled(channels, lanes) / _filled(columns, lanes))


def slide(
    sizes: tuple[int, int, int],
    weights: Sequence[int],
    columns: str,
    lines: Sequence[Line],
    unit: Unit,
    storage: Storage,
    images_last: bool = False,
) -> PlanarWindow | None:
    """The result (n, channels, rows, columns) of a window over an image; None if channels fill the vectors well.

    sizes: of (n, channels in, channels out). weights: the shape (oc, ic, kh, kw). columns: which of the two, "oc" or
    "ic", are the channels of the result.
    images_last: whether the images of the operand lie side by side already.
    """
    n, c_in, c_out = sizes
    lanes = unit.lanes_of(storage.out)
    side = n if n and _filled(n, lanes) >= FULL_IMAGES else 1  # images that lie side by side
    lies_so = images_last and side > 1 and not unit.takes_pairs(storage)
    if not suits(c_out, lines, lanes, c_in * prod(weights[2:]), side, lies_so):
        return None
    margins, cuts = zip(*(_borders(line, d == 0 or side > 1) for d, line in enumerate(lines)), strict=True)
    height, width = (line.within(*margin) for line, margin in zip(lines, margins, strict=True))
    image = planes((n, c_in, lines[0].size, lines[1].size), margins, side > 1)
    if not may_pad(image.size, n * (c_in * lines[0].size * lines[1].size + c_out * lines[0].rows * lines[1].rows)):
        return None
    work = _work(lines[1].rows * side, c_out, lanes, lies_so, c_out * lines[0].taps * lines[1].taps)

    def offered() -> Offer:
        *b_n, b_c, b_h, b_w = contiguous(image.shape)[: 3 if side > 1 else 4]
        w_oc, w_ic, w_h, _ = contiguous(weights)
        row, depth = (w_oc, w_ic) if columns == "oc" else (w_ic, w_oc)
        shape = planes((n, c_out, height.rows, width.rows), NO_MARGINS, side > 1).shape
        *c_n, c_c, c_h, c_w = contiguous(shape)[: 3 if side > 1 else 4]
        tile = choose(c_out, width.rows * side, lanes, unit.registers)
        parts = [
            ContractionLoops(
                batch=(
                    *[ContractionLoop(n, b=b, c=c) for b, c in zip(b_n, c_n, strict=True)],
                    ContractionLoop(high.rows, b=height.row_step * b_h, c=c_h),
                ),
                rows=(ContractionLoop(c_out, a=row, c=c_c),),
                columns=wide.rows * side,
                k=(
                    ContractionLoop(c_in, depth, b_c),
                    ContractionLoop(high.taps, w_h, height.tap_step * b_h),
                    ContractionLoop(wide.taps, 1, width.tap_step * b_w),
                ),
                b_panel=tile.panel,
                offsets=(
                    high.tap * w_h + wide.tap,
                    height.position(high.row, high.tap) * b_h + width.position(wide.row, wide.tap) * b_w,
                    high.row * c_h + wide.row * c_w,
                ),
                channel_rows=True,
            )
            for high, wide in product(*cuts)
        ]
        strides = (*c_n, c_c, c_h, c_w) if side == 1 else (1, c_c, c_h, c_w)
        flipped = storage._replace(a=storage.b, b=storage.a)
        return offer(parts, tile, flipped, False, (_whole(weights), image), strides, prod(shape)).turned()

    return PlanarWindow(work, offered)


def _borders(line: Line, may_cut: bool) -> tuple[tuple[int, int], tuple[Cut, ...]]:
    """The zeros around the image, and the rows that see the same taps of it: rows are cut apart rather than padded, if
    that gives few parts."""
    cuts = line.cuts()
    if may_cut and len(cuts) <= MAX_CUTS and all(cut.taps for cut in cuts):
        return (0, 0), cuts
    return line.margins, line.within(*line.margins).cuts()


def suits(channels: int, lines: Sequence[Line], lanes: int, depth: int, images: int = 1, lies_so: bool = False) -> bool:
    """Whether pixels, of this many images side by side, fill the vectors so much better than channels that planes are
    worth it. If the image `lies_so` already, being no worse is enough."""
    width = lines[1]
    side_by_side = width.row_step == 1 and width.rows * images > 1
    reuse = channels * lines[0].taps * width.taps
    stays = lies_so and reuse < MUCH_REUSE
    better = _filled(width.rows * images, lanes) >= (1 if stays else LEAST_GAIN) * _filled(channels, lanes)
    return side_by_side and better and (stays or reuse >= LEAST_REUSE) and depth >= LEAST_DEPTH


def by_weight(
    sizes: tuple[int, int, int], lines: Sequence[Line], unit: Unit, storage: Storage, images_last: bool = False
) -> PlanarWindow | None:
    """The gradient (oc, ic, kh, kw) by weight from images x and dy side by side, which are steps of k in the lanes;
    None if channels fill the vectors well.

    lines: of the convolution. images_last: whether both lie that way already.
    """
    n, ic, oc = sizes
    lanes = unit.lanes_of(storage.out)
    lies_so = images_last and not unit.takes_pairs(storage)
    if not n or n % lanes or not suits(oc, lines, lanes, ic * lines[0].taps * lines[1].taps, n, lies_so):
        return None
    margins = [line.margins for line in lines]
    height, width = (line.within(*margin) for line, margin in zip(lines, margins, strict=True))
    x = planes((n, ic, lines[0].size, lines[1].size), margins, True)
    if not may_pad(x.size, n * (ic * lines[0].size * lines[1].size + oc * lines[0].rows * lines[1].rows)):
        return None
    work = _work(n, oc, lanes, lies_so, oc * lines[0].taps * lines[1].taps)

    def offered() -> Offer:
        dy = planes((n, oc, height.rows, width.rows), NO_MARGINS, True)
        (a_c, a_h, a_w, _), (b_c, b_h, b_w, _) = contiguous(x.shape), contiguous(dy.shape)
        c_c, c_h, c_w, _ = contiguous((ic, height.taps, width.taps, oc))
        tile = choose_folded(ic * height.taps * width.taps, oc, lanes, unit.registers)
        nest = ContractionLoops(
            batch=(),
            rows=(
                ContractionLoop(ic, a_c, c=c_c),
                ContractionLoop(height.taps, height.tap_step * a_h, c=c_h),
                ContractionLoop(width.taps, width.tap_step * a_w, c=c_w),
            ),
            columns=oc,
            k=(
                ContractionLoop(height.rows, height.row_step * a_h, b_h),
                ContractionLoop(width.rows, width.row_step * a_w, b_w),
                ContractionLoop(n, 1, 1),
            ),
            b_panel=tile.panel * b_c,
            b_column=b_c,
            offsets=(height.base * a_h + width.base * a_w, 0, 0),
        )
        size = oc * ic * height.taps * width.taps
        return offer([nest], tile, storage, False, (x, dy), (1, c_c, c_h, c_w), size)

    return PlanarWindow(work, offered)


def _filled(columns: int, lanes: int) -> float:
    return columns / (-(-columns // lanes) * lanes)


def planes(shape: Sequence[int], margins: Sequence[tuple[int, int]], images_last: bool = False) -> Relayout:
    """(n, c, size + margins) of a source of (n, c, size…), or (c, size + margins, n)."""
    rank = len(shape)
    order = (rank - 1, *range(rank - 1)) if images_last else tuple(range(rank))
    around = [(0, 0), (0, 0), *margins]
    physical = [0] * rank
    for place, extent, (before, after) in zip(order, shape, around, strict=True):
        physical[place] = before + extent + after
    axes = [
        Axis(d, shape[d], tuple(int(i == order[d]) for i in range(rank)), offset=-around[d][0]) for d in range(rank)
    ]
    return Relayout(tuple(physical), tuple(axes))


def _whole(shape: Sequence[int]) -> Relayout:
    """A contiguous copy."""
    return Relayout(tuple(shape), planes(shape, ((0, 0),) * (len(shape) - 2)).axes)
