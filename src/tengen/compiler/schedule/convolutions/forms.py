"""The three forms of a convolution as contractions: forward, by data (gradient of the input), by weight.

All operands are channels-last in memory, so that the row of an output pixel and the taps of the kernel are loops over the
input with fixed strides and nothing is unfolded (no im2col). Pixels at the border see fewer taps: they are parts of
their own, or the input is copied with zeros around it. The sources of relayouts have the logical dimensions x (n, ic,
h, w), w (oc, ic / groups, kh, kw), y and dy (n, oc, oh, ow). A grouped convolution is a batch loop over its groups; an input
that is copied anyway has each group in a block of its own, because few channels far apart share few sets of a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from math import prod
from typing import NamedTuple

from ...geometry import ConvShape, Form, Size
from ...kernels.contraction import AMX_SIDE
from ...kernels.dtypes import BITS, KINDS
from ...view import View
from ..contractions.launches import offer
from ..contractions.matmul import COPY_WORK, must_pack
from ..contractions.problem import (
    FLOAT32,
    Bid,
    ContractionLoop,
    ContractionLoops,
    ContractionPlan,
    Offer,
    Relayout,
    SlidingImage,
    Storage,
    Unit,
    Way,
    choose_way,
    contiguous,
)
from ..contractions.register_tile import RegisterTile, choose, tile_of_words
from . import amx, dimension, planar, sliding, winograd
from .layouts import channels_last, pack_gradient, pack_weights

Pair = tuple[int, int]
Strides = tuple[int, ...]

MAX_PARTS = 3
"""One number for each dimension."""
FEW_CHANNELS = 4
"""The most channels of an input that may stay planes: its pixels are read one by one, from this many places."""
LITTLE_REUSE = 128
"""The most multiply-adds per element of such an input for which copying it costs more than reading planes."""
PACK_WEIGHTS = 33
"""From this many rows of a gradient by weight on, packing dy pays off; fewer rows use each element of it too rarely."""
MIN_ROWS = 16
"""The fewest rows of a part of the gradient by weight."""
WINDOW_WORK = 1 / 2
"""The cost of a multiply-add in windows of neighbours that share their loads, compared to one that loads an element of
A for itself."""
AMX_WORK = 1 / AMX_SIDE
"""The cost of a multiply-add on AMX, which multiplies this many rows at once."""

CONVOLUTIONS: tuple[Form, ...] = ("forward", "by data", "by weight")
COLUMNS: dict[Form, str] = {"forward": "oc", "by data": "ic"}


class ConvRequest(NamedTuple):
    """A convolution as it is requested.

    in_place: operand a, the images over which the window slides, is channels-last already, and so should not be copied
    just to pad it.
    planes: it is channels-first, which is good enough for few channels, as in an image. window: strides of w, forward.
    images_last: see `planar`. dy_in_place: by weight, dy is channels-last, too.
    """

    form: Form
    shape: ConvShape
    unit: Unit
    storage: Storage = FLOAT32
    in_place: bool = True
    planes: bool = False
    window: Strides | None = None
    images_last: bool = False
    dy_in_place: bool = True

    @property
    def columns(self) -> str | None:
        """Which channels are the columns, "oc" or "ic"; None by weight."""
        return COLUMNS.get(self.form)

    @property
    def phases(self) -> list[list[dimension.Phase]]:
        if self.form == "by data":
            return [dimension.phases(self.shape, d) for d in self.shape.dims]
        return [[dimension.phase(self.shape, d)] for d in self.shape.dims]

    @property
    def multiply_adds(self) -> int:
        """The channels of a pixel and of a tap that meet."""
        s = self.shape
        met = prod([dimension.phase(s, d).line.meetings for d in s.dims])
        return s.n * s.ic_group * s.oc * met


def conv_forward(
    shape: ConvShape,
    unit: Unit,
    storage: Storage = FLOAT32,
    in_place: bool = True,
    planes: bool = False,
    window: Strides | None = None,
    images_last: bool = False,
) -> ContractionPlan:
    """y from a = x and b = w, stored channels-last unless it is computed by planes."""
    request = ConvRequest("forward", shape, unit, storage, in_place, planes, window, images_last)
    return choose_way(WAYS, "forward", request)[1].plan()


def conv_by_data(
    shape: ConvShape, unit: Unit, storage: Storage = FLOAT32, in_place: bool = True, images_last: bool = False
) -> ContractionPlan:
    """dx from a = dy and b = w, stored channels-last unless it is computed by planes.

    Along one dimension dx[i] = sum of dy[o] w[r] over the (o, r) with o * stride + r * dilation - padding = i. For all
    i of one phase, i = phase + stride * q, these are every step-th tap from some first one, and o falls by a constant
    from tap to tap: a stride-1 contraction of dy, one for each phase, without inserting zeros.
    """
    request = ConvRequest("by data", shape, unit, storage, in_place, images_last=images_last)
    return choose_way(WAYS, "by data", request)[1].plan()


def conv_by_weight(
    shape: ConvShape, unit: Unit, storage: Storage = FLOAT32, in_place: bool = True, images_last: bool = False
) -> ContractionPlan:
    """dw from a = x and b = dy, stored as (kernel…, ic / groups, oc)."""
    request = ConvRequest("by weight", shape, unit, storage, in_place, images_last=images_last, dy_in_place=in_place)
    return choose_way(WAYS, "by weight", request)[1].plan()


def _most_parts(s: ConvShape) -> int:
    """The most parts that see different taps; if there were more, the input is copied with zeros around it."""
    return int(MAX_PARTS ** len(s.size))


# -- by tiles (Winograd) -----------------------------------------------------------------------------------------------


def _tiles(r: ConvRequest) -> Bid | None:
    """By tiles, with fewer products."""
    s, storage, t = r.shape, r.storage, winograd.TRANSFORMS.get(r.unit.winograd)
    fits = (s.kernel, *s.stride, *s.dilation, s.groups) == ((3, 3), 1, 1, 1, 1, 1) and max(s.padding) <= 2
    if t is None or not fits or {storage.a, storage.b, storage.out} != {"float32"} or storage.accumulate:
        return None
    height, width = s.size if r.form == "by data" else s.out

    def cost() -> float:
        return winograd.cost(t, s.n, (height, width), s.ic, s.oc, r.unit.lanes, r.columns)

    return Bid(cost, partial(_by_tiles, r, t))


def _by_tiles(r: ConvRequest, t: winograd.Transform) -> Offer:
    s, columns = r.shape, r.columns
    if columns is None:
        a, b = _image("a", s.n, s.size, s.ic), _image("b", s.n, s.out, s.oc)
        return winograd.by_weight(a, b, (s.padding[0], s.padding[1]), _dense(a), _dense(b), t, r.unit, r.storage)
    x, y = _image("a", s.n, s.size, s.ic), _image("out", s.n, s.out, s.oc)
    oc, ic, row, across = r.window or contiguous((s.oc, s.ic, *s.kernel))
    shared = t, r.unit, r.storage

    def as_it_lies(panel: int) -> winograd.TiledWindow:
        return winograd.TiledWindow(panel * oc, oc, ic, (row, across))

    def turned_round(panel: int) -> winograd.TiledWindow:
        layout = pack_weights(s, columns, panel, 1)
        _, start, down, right, depth, one = contiguous(layout.shape)
        last = 2 * down + 2 * right  # the tap with which it begins
        return winograd.TiledWindow(start, one, depth, (-down, -right), last, layout, full=True)

    top, left = s.padding
    if columns == "oc":  # in one step, so that the result for a weight that does not change is kept beside it
        return winograd.slide(x, y, (top, left), as_it_lies, _dense(x), *shared)
    dy, dx = y._replace(buffer="a"), x._replace(buffer="out")
    return winograd.slide(dy, dx, (2 - top, 2 - left), turned_round, _dense(dy), *shared)


def _image(buffer: str, n: int, size: Size, channels: int) -> winograd.TiledImage:
    height, width = size
    return winograd.TiledImage(buffer, n, height, width, channels)


def _dense(image: winograd.TiledImage) -> Relayout:
    return channels_last((image.n, image.channels, image.h, image.w), ((0, 0), (0, 0)))


def _loops(r: ConvRequest) -> Bid:
    """By loops over taps, which is always possible."""
    return Bid(lambda: r.multiply_adds, partial(_by_loops, r))


def _by_loops(r: ConvRequest) -> Offer:
    s = r.shape
    if r.columns is None:
        return _by_outputs_and_taps(r)
    planes = r.planes and s.groups == 1 and s.ic <= FEW_CHANNELS and s.reuse <= LITTLE_REUSE
    return _slide(s, r.phases, r.columns, r.unit, r.storage, r.in_place or planes, planes)


def _slide(
    s: ConvShape,
    phases: Sequence[Sequence[dimension.Phase]],
    columns: str,
    unit: Unit,
    storage: Storage,
    in_place: bool,
    planes: bool = False,
) -> Offer:
    """A window slides over an image: forward (columns "oc"), and by data ("ic"), where each phase of dx is such a
    window."""
    (n_in, size_in), (n_out, size_out) = (s.ic, s.size), (s.oc, s.out)
    if columns == "ic":
        (n_in, size_in), (n_out, size_out) = (n_out, size_out), (n_in, size_in)
    words = storage.in_words.k_step if unit.takes_words(storage) and not s.is_depthwise else 1
    rest = n_in // s.groups % words > 0
    if (rest or planes) and not ((unit.amx or storage.is_integer) and s.groups == 1):
        words = 1
    operands, planes = (storage.in_words, False) if words > 1 else (storage, planes)
    step = operands.k_step
    blocks = 1 if in_place or s.is_depthwise else s.groups
    # zeros in a copy would differ from the number that stands for 0
    stays = storage.zero != 0 or not dimension.may_pad(s, phases, n_in)
    # a copy in which the last channel gets partners may have zeros around it
    in_place = stays or (in_place and not (rest and words > 1))
    a_columns = s.is_depthwise
    groups, width, depth = (1, n_out, 1) if a_columns else (s.groups, n_out // s.groups, -(-n_in // s.groups // step))
    rows = s.n * prod(lines[0].line.rows for lines in phases)
    tile = choose(rows, width, unit.lanes_of(storage.out), unit.registers, a_columns=a_columns)
    if step > 1:
        tile = tile_of_words(tile, width, unit.amx, storage.is_integer)
    weights = pack_weights(s, columns, tile.panel, step)
    far = weights.size * BITS[KINDS[operands.b][0]] // 8 > unit.level2
    margins = [dimension.margins(lines, in_place) for lines in phases]
    may_cut = not (in_place or planes or a_columns or blocks > 1 or far)
    if may_cut and dimension.cuts_pay(phases, margins, s.n, tile.rows, depth * width, _most_parts(s)):
        margins = [(0, 0)] * len(margins)
    if planes:
        image = planar.planes((s.n, n_in, *size_in), margins)
        (a_n, a_channel, *a_steps), a_group = contiguous(image.shape), depth
    else:
        image = channels_last((s.n, n_in, *size_in), margins, channels=words if rest else 1, blocks=blocks)
        steps = contiguous((*image.shape[:-1], -(-n_in // blocks // step)))
        a_group, a_n, *a_steps, a_channel = steps if blocks > 1 else (depth, *steps)
    group, panel, *tap_steps, channel, _ = contiguous(weights.shape)
    c_n, *c_steps, _ = contiguous((s.n, *size_out, n_out))
    spans = [dimension.spans(phases[d], margins[d], a_steps[d], tap_steps[d], c_steps[d]) for d in s.dims]
    copy = prod(map(len, spans)) > _most_parts(s) or (
        far and dimension.zeros_pay(phases, spans, weights.size * step, s.n * n_in * prod(size_in))
    )
    if in_place and not stays and copy:
        return _slide(s, phases, columns, unit, storage, False, planes)
    batch, images, channels = (
        (ContractionLoop(groups, a_group, group, width, channel=width),),
        ContractionLoop(s.n, a=a_n, c=c_n),
        ContractionLoop(depth, a_channel, channel),
    )
    parts = [
        ContractionLoops(
            batch=(*batch, *[span.run for span in part]),
            rows=(images, *[span.rows for span in part]),
            columns=width,
            k=(channels, *[span.taps for span in part]) if planes else (*[span.taps for span in part], channels),
            b_panel=panel,
            offsets=_sum(part),
            a_columns=a_columns,
        )
        for part in dimension.parts(spans, size_out, c_steps)
    ]
    return _finish(parts, tile, operands, image, weights, (s.n, n_out, *size_out), _image_order)


def _window(r: ConvRequest) -> Bid | None:
    """If each channel has a window of its own, with tiles of neighbouring pixels."""
    s, storage = r.shape, r.storage
    if not (s.is_depthwise and s.is_flat) or storage.accumulate:
        return None
    size, out = (s.out, s.size) if r.form == "by data" else (s.size, s.out)
    by_weight = r.form == "by weight"
    if by_weight and storage.a != storage.b:
        return None
    lines = _window_lines(s, size, out)
    elements = s.n * s.ic * (prod(size) + prod(out))
    whole = storage.reads_elements and not by_weight
    found = sliding.choose(lines, r.form != "by data", r.unit.registers, elements, whole, by_weight)
    if not found:
        return None
    make = _depthwise_by_weight if by_weight else _depthwise
    return Bid(lambda: WINDOW_WORK * r.multiply_adds, partial(make, r, lines, found))


def _depthwise(r: ConvRequest, lines: Sequence[sliding.SlidingLine], found: SlidingImage) -> Offer:
    s, columns, unit, storage = r.shape, r.columns or "oc", r.unit, r.storage
    size, out = (s.size, s.out) if columns == "oc" else (s.out, s.size)
    image = channels_last((s.n, s.ic, *size), s.no_margins)
    lanes = choose(1, s.ic, unit.lanes_of(storage.out), unit.registers, a_columns=True).lanes
    weights = pack_weights(s, columns, lanes, 1)
    _, panel, *tap_steps, _, _ = contiguous(weights.shape)
    (a_n, *a_steps, _), (c_n, *c_steps, _) = contiguous(image.shape), contiguous((s.n, *out, s.ic))
    nest = ContractionLoops(
        batch=(ContractionLoop(1),),
        rows=(
            ContractionLoop(s.n, a=a_n, c=c_n),
            *(ContractionLoop(extent, c=c) for extent, c in zip(out, c_steps, strict=True)),
        ),
        columns=s.ic,
        k=tuple(ContractionLoop(line.taps, a, b) for line, a, b in zip(lines, a_steps, tap_steps, strict=True)),
        b_panel=panel,
        a_columns=True,
        image=found,
    )
    tile = RegisterTile(found.window.rows, 1, lanes, 1)
    return _finish([nest], tile, storage, image, weights, (s.n, s.ic, *out), _image_order)


def _depthwise_by_weight(r: ConvRequest, lines: Sequence[sliding.SlidingLine], found: SlidingImage) -> Offer:
    s, unit, storage = r.shape, r.unit, r.storage
    x, dy = (channels_last((s.n, s.ic, *size), s.no_margins) for size in (s.size, s.out))
    (x_n, *x_steps, _), (dy_n, *dy_steps, _) = contiguous(x.shape), contiguous(dy.shape)
    *c_steps, _, _ = contiguous((*s.kernel, 1, s.oc))
    nest = ContractionLoops(
        batch=(ContractionLoop(1),),
        rows=(
            ContractionLoop(1),
            *(ContractionLoop(line.taps, a=a, c=c) for line, a, c in zip(lines, x_steps, c_steps, strict=True)),
        ),
        columns=s.ic,
        k=(
            ContractionLoop(s.n, x_n, dy_n),
            *(ContractionLoop(line.out, b=b) for line, b in zip(lines, dy_steps, strict=True)),
        ),
        b_panel=0,
        a_columns=True,
        image=found,
    )
    lanes = choose(1, s.ic, unit.lanes_of(storage.out), unit.registers, a_columns=True).lanes
    tile = RegisterTile(found.window.rows, 1, lanes, 1)
    return _finish([nest], tile, storage, x, dy, (s.oc, 1, *s.kernel), _window_order, packed=False)


def _window_lines(s: ConvShape, size: Size, out: Size) -> list[sliding.SlidingLine]:
    """Down and across; sizes of what is read and of the result."""
    return [sliding.SlidingLine(size[d], out[d], s.kernel[d], s.stride[d], s.padding[d], s.dilation[d]) for d in s.dims]


def _planes(r: ConvRequest) -> Bid | None:
    """With pixels, or images, in the lanes, if channels do not fill these well."""
    s, unit = r.shape, r.unit
    if not s.is_flat or s.groups > 1 or r.storage.is_integer:
        return None
    if r.columns is None:
        lines = [phase.line for (phase,) in r.phases]
        window = planar.by_weight((s.n, s.ic, s.oc), lines, unit, r.storage, r.images_last)
    else:
        sizes = (s.n, s.ic, s.oc) if r.columns == "oc" else (s.n, s.oc, s.ic)
        phases = r.phases
        if any(len(lines) > 1 or lines[0].run > 1 for lines in phases):
            return None
        if unit.amx and unit.takes_pairs(r.storage) and sizes[1] > FEW_CHANNELS:
            return None
        lines = [phase.line for (phase,) in phases]
        window = planar.slide(sizes, (s.oc, s.ic, *s.kernel), r.columns, lines, unit, r.storage, r.images_last)
    return window and Bid(lambda: window.cost * r.multiply_adds, window.offer)


def _squares(r: ConvRequest) -> Bid | None:
    """By weight on AMX, with the steps of k side by side."""
    squares = amx.by_weight(r.shape, r.unit, r.storage)
    return squares and Bid(lambda: AMX_WORK * r.multiply_adds, squares)


def _by_outputs_and_taps(r: ConvRequest) -> Offer:
    """By weight: a row is a tap of the window, and the steps are the outputs, over which it sums."""
    s, unit, storage = r.shape, r.unit, r.storage
    if s.skips_pixels:  # far apart, they would share few sets of a cache
        ones = (1,) * len(s.size)
        thin = ConvShape(s.n, s.ic, s.out, s.oc, ones, ones, (0,) * len(s.size), ones, s.groups)
        images = 2 if _two_images_pay(thin, unit, storage) else 1
        image = channels_last((s.n, s.ic, *s.size), s.no_margins, s.out, s.stride, images)
        request = r._replace(shape=thin, in_place=True, images_last=False)
        return choose_way(WAYS, "by weight", request)[1]._replace(a=image)
    operands = storage.in_words if _two_images_pay(s, unit, storage) else storage
    step = operands.k_step
    turned = [[dimension.turned(dimension.phase(s, d))] for d in s.dims]
    stays = not dimension.may_pad(s, turned, s.ic)
    in_place = stays or (r.in_place and _sees_borders_apart(s, storage))
    margins = [dimension.margins(lines, in_place) for lines in turned]
    a_columns = s.is_depthwise and not stays
    groups, width, depth = (1, s.oc, 1) if a_columns else (s.groups, s.oc_group, s.ic_group)
    blocks = 1 if r.in_place else groups
    x = channels_last((s.n, s.ic, *s.size), margins, images=step, blocks=blocks)
    steps = contiguous(x.shape)
    x_group, x_n, *x_steps, _ = steps if blocks > 1 else (depth, *steps)
    rows = s.taps * depth
    whole = blocks == s.groups and s.dilation[-1] == 1 and not in_place  # the taps of a line lie side by side
    run = None if a_columns else depth * (s.kernel[-1] if whole else 1)
    tile = choose(rows, width, unit.lanes_of(storage.out), unit.registers, run, a_columns)
    pixels, moves = s.n * prod(s.out), groups > 1 and not r.dy_in_place
    pack = step == 2 or (
        not a_columns and (moves or must_pack(rows, pixels, width, (s.oc, 1), tile, unit, PACK_WEIGHTS))
    )
    dy = pack_gradient(s, tile.panel, step) if pack else channels_last((s.n, s.oc, *s.out), s.no_margins)
    if pack:
        group, panel, dy_n, *dy_steps, _ = contiguous(dy.shape)
    else:
        (dy_n, *dy_steps, _), group, panel = contiguous(dy.shape), width, tile.panel
    *c_steps, c_channel, _ = contiguous((*s.kernel, depth, s.oc))
    if a_columns and in_place:
        spans = [_by_outputs(dimension.phase(s, d), x_steps[d], dy_steps[d], c_steps[d]) for d in s.dims]
    else:
        spans = [dimension.spans(turned[d], margins[d], x_steps[d], dy_steps[d], c_steps[d]) for d in s.dims]
    parts = [
        ContractionLoops(
            batch=(ContractionLoop(groups, x_group, group, width),),
            rows=(*[span.rows for span in part], ContractionLoop(depth, a=1, c=c_channel)),
            columns=width,
            k=(ContractionLoop(-(-s.n // step), x_n, dy_n), *[span.taps for span in part]),
            b_panel=panel,
            offsets=_sum(part),
            a_columns=a_columns,
            adds=a_columns and in_place and number > 0,
        )
        for number, part in enumerate(product(*spans))
    ]
    return _finish(parts, tile, operands, x, dy, (s.oc, s.ic_group, *s.kernel), _window_order, packed=pack)


def _two_images_pay(s: ConvShape, unit: Unit, storage: Storage) -> bool:
    """Whether the gradient by weight takes pairs, of the same pixel in two images. That saves half the multiply-adds
    with each element of x and dy, but copies both."""
    uses = min(s.reuse, s.ic_group * s.taps)
    return unit.takes_pairs(storage) and s.n > 1 and not s.is_depthwise and uses >= 2 * COPY_WORK


def _sees_borders_apart(s: ConvShape, storage: Storage) -> bool:
    """Whether the gradient by weight is computed in parts where the window reaches over the border.

    Usually a part is a tap and the outputs that see it. But the rows of a depthwise convolution are just its taps, too
    few to be cut: there a part is a set of outputs that see the same taps, and all but the main one add to its result,
    which must not be rounded each time.
    """
    outputs = [dimension.phase(s, d).line.cuts() for d in s.dims]
    taps = [dimension.turned(dimension.phase(s, d)).line.cuts() for d in s.dims]
    if s.is_depthwise:
        whole = all(any(cut.taps == k for cut in cuts) for cuts, k in zip(outputs, s.kernel, strict=True))
        return whole and not storage.rounds and prod(map(len, outputs)) <= _most_parts(s)
    return s.ic_group >= MIN_ROWS and prod(map(len, taps)) <= _most_parts(s)


def _by_outputs(phase: dimension.Phase, x: int, dy: int, c: int) -> list[dimension.Span]:
    """Spans of a gradient by weight, each over the outputs that see the same taps; the one that sees all taps comes
    first."""
    spans = [
        dimension.Span(
            ContractionLoop(taps.extent, a=taps.a, c=taps.b),
            ContractionLoop(rows.extent, rows.a, rows.c),
            (source, output, tap),
        )
        for rows, taps, (source, tap, output), _ in dimension.spans([phase], (0, 0), x, c, dy)
    ]
    return sorted(spans, key=lambda span: -span.rows.extent)


# -- results ---------------------------------------------------------------------------------------------------------


def _finish(
    parts: list[ContractionLoops],
    tile: RegisterTile,
    storage: Storage,
    a: Relayout,
    b: Relayout,
    shape: Sequence[int],
    order: Callable[[int], Sequence[int]],
    packed: bool = True,
) -> Offer:
    """The contraction whose result has the logical `shape`. Its dimension d is the physical dimension order(rank)[d]."""
    physical, places = [0] * len(shape), order(len(shape))
    for dim, position in enumerate(places):
        physical[position] = shape[dim]
    strides = contiguous(physical)
    return offer(parts, tile, storage, packed, (a, b), tuple([strides[position] for position in places]), prod(shape))


def _image_order(rank: int) -> Sequence[int]:
    """(n, c, size…) is stored as (n, size…, c)."""
    return 0, rank - 1, *range(1, rank - 1)


def _window_order(rank: int) -> Sequence[int]:
    """(oc, ic, kernel…) is stored as (kernel…, ic, oc)."""
    return rank - 1, rank - 2, *range(rank - 2)


# -- how images lie -----------------------------------------------------------------------------------------------------


def _sum(part: Sequence[dimension.Span]) -> tuple[int, int, int]:
    a, b, c = map(sum, zip(*[span.offsets for span in part], strict=True))
    return a, b, c


def is_images_last(*images: View) -> bool:
    """Whether images of (n, c, size…) lie densely, with the same pixel of all images side by side."""
    return all([image.shape[0] > 1 and _lies(image, _images_last(image.shape)) for image in images])


def _images_last(shape: Sequence[int]) -> Strides:
    n, *rest = shape
    return 1, *[n * stride for stride in contiguous(rest)]


def is_planes(image: View) -> bool:
    """Whether an image of (n, c, size…) lies densely in the order of its dims."""
    return _lies(image, contiguous(image.shape))


def is_channels_last(image: View) -> bool:
    """Whether an image of (n, c, size…) lies densely, with its channels side by side."""
    n, c, *size = image.shape
    across = contiguous((n, *size, c))
    return _lies(image, (across[0], 1, *across[1:-1]))


def _lies(image: View, strides: Strides) -> bool:
    found = zip(image.shape, image.strides, strides, strict=True)
    return all([extent == 1 or stride == want for extent, stride, want in found])


WAYS = (
    Way("tiles", CONVOLUTIONS, _tiles),
    Way("window", CONVOLUTIONS, _window),
    Way("squares", ("by weight",), _squares),
    Way("planes", CONVOLUTIONS, _planes),
    Way("loops", CONVOLUTIONS, _loops),
)
