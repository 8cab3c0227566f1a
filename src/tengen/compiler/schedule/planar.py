"""Windows over images for few results: the columns of the contraction are pixels of a row, not channels.

Six channels would fill a third of a vector. With operands and result in planes (channels first) the pixels of a row lie
side by side, so they are the columns, the channels of the result are rows, and the weights are broadcast.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from .borders import Line
from .contraction import Axis, Contraction, Loop, Nest, Relayout, Storage, Unit, contiguous, exchanged, plan
from .register_tile import choose

LEAST_GAIN = 1.5
"""How much better vectors must be filled than by channels; the rest is the price of the planes."""
LEAST_REUSE = 64
"""Multiply-adds with each element of the image, at least, as it may have to be copied."""
MAX_CUTS = 12
"""Parts of rows, at most; beyond, zeros above and below the image take their place."""
LEAST_DEPTH = 16
"""Steps of k, at least: each row of pixels is a launch tile of its own."""


def slide(
    sizes: tuple[int, int, int],
    weights: tuple[int, int, int, int],
    columns: str,
    lines: Sequence[Line],
    unit: Unit,
    storage: Storage,
) -> Contraction | None:
    """The result (n, channels, rows, columns) of a window over an image; None where channels fill the vectors well.

    sizes: of (n, channels in, channels out). weights: the shape (oc, ic, kh, kw); `columns` says which of the two, "oc" or
    "ic", are the channels of the result.
    """
    n, c_in, c_out = sizes
    height, width = lines
    if not suits(c_out, lines, unit.lanes_of(storage.out), c_in * prod(weights[2:])):
        return None
    cuts = height.cuts()
    apart = len(cuts) <= MAX_CUTS and all(cut.taps for cut in cuts)  # rows at the border are parts of their own
    margins = (0, 0) if apart else height.margins, width.margins
    height, width = height.within(*margins[0]), width.within(*margins[1])
    image = planes((n, c_in, lines[0].size, lines[1].size), margins)
    b_n, b_c, b_h, _ = contiguous(image.shape)
    w_oc, w_ic, w_h, _ = contiguous(weights)
    row, depth = (w_oc, w_ic) if columns == "oc" else (w_ic, w_oc)
    shape = (n, c_out, height.rows, width.rows)
    c_n, c_c, c_h, _ = contiguous(shape)
    tile = choose(c_out, width.rows, unit.lanes_of(storage.out), unit.registers)
    parts = [
        Nest(
            batch=(Loop(n, b=b_n, c=c_n), Loop(cut.rows, b=height.row_step * b_h, c=c_h)),
            rows=(Loop(c_out, a=row, c=c_c),),
            columns=width.rows,
            k=(
                Loop(c_in, depth, b_c),
                Loop(cut.taps, w_h, height.tap_step * b_h),
                Loop(width.taps, 1, width.tap_step),
            ),
            b_panel=tile.panel,
            offsets=(cut.tap * w_h, height.position(cut.row, cut.tap) * b_h + width.base, cut.row * c_h),
            channel_rows=True,
        )
        for cut in height.cuts()
    ]
    launches, workspace = plan(parts, tile, storage._replace(a=storage.b, b=storage.a), False, prod(shape))
    return exchanged(Contraction(_whole(weights), image, contiguous(shape), prod(shape), launches, workspace))


def suits(channels: int, lines: Sequence[Line], lanes: int, depth: int) -> bool:
    """Whether pixels fill the vectors so much better than channels that planes pay for themselves."""
    width = lines[1]
    side_by_side = width.row_step == 1 and width.rows > 1
    reuse = channels * lines[0].taps * width.taps
    better = _filled(width.rows, lanes) >= LEAST_GAIN * _filled(channels, lanes)
    return side_by_side and better and reuse >= LEAST_REUSE and depth >= LEAST_DEPTH


def _filled(columns: int, lanes: int) -> float:
    return columns / (-(-columns // lanes) * lanes)


def planes(shape: tuple[int, int, int, int], margins: Sequence[tuple[int, int]]) -> Relayout:
    """(n, c, h + margins, w + margins) of a source of (n, c, h, w)."""
    n, c, h, w = shape
    (top, bottom), (left, right) = margins
    return Relayout(
        (n, c, top + h + bottom, left + w + right),
        (
            Axis(0, n, (1, 0, 0, 0)),
            Axis(1, c, (0, 1, 0, 0)),
            Axis(2, h, (0, 0, 1, 0), offset=-top),
            Axis(3, w, (0, 0, 0, 1), offset=-left),
        ),
    )


def _whole(shape: tuple[int, int, int, int]) -> Relayout:
    """A contiguous copy."""
    return Relayout(shape, tuple(Axis(i, size, tuple(int(i == d) for d in range(4))) for i, size in enumerate(shape)))
