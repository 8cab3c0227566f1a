"""The three forms of a convolution as contractions: forward, by data (gradient of the input), by weight.

All operands are channels-last in memory, the input zero-padded, so that the row of an output pixel and the taps of the
kernel are loops over the input with fixed strides and nothing is unfolded (no im2col). Logical dimensions, which the
relayouts' sources have: x (n, ic, h, w), w (oc, ic / groups, kh, kw), y and dy (n, oc, oh, ow). A grouped convolution
is a batch loop over its groups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd, prod

from .contraction import (
    FLOAT32,
    Axis,
    Contraction,
    Launch,
    Loop,
    Nest,
    Relayout,
    Storage,
    Unit,
    contiguous,
    must_pack,
    packed_columns,
    plan,
)
from .register_tile import RegisterTile, choose

Pair = tuple[int, int]


@dataclass(frozen=True)
class ConvShape:
    """Sizes of a 2-d convolution (cross-correlation) with zero padding on both sides; pairs are (vertical, horizontal).

    Raises ValueError where the sizes do not fit together.
    """

    n: int
    ic: int
    h: int
    w: int
    oc: int
    kh: int
    kw: int
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        if self.groups < 1 or self.ic % self.groups or self.oc % self.groups:
            raise ValueError(f"convolution: {self.groups} groups do not divide {self.ic} and {self.oc} channels")
        if min(*self.stride, *self.dilation, self.kh, self.kw) < 1 or min(self.padding) < 0:
            raise ValueError(f"convolution: stride, dilation and kernel are at least 1 and padding at least 0: {self}")
        if self.oh < 1 or self.ow < 1:
            raise ValueError(f"convolution: the kernel is larger than the padded input: {self}")

    @property
    def oh(self) -> int:
        return (self.h + 2 * self.padding[0] - self.dilation[0] * (self.kh - 1) - 1) // self.stride[0] + 1

    @property
    def ow(self) -> int:
        return (self.w + 2 * self.padding[1] - self.dilation[1] * (self.kw - 1) - 1) // self.stride[1] + 1

    @property
    def ic_group(self) -> int:
        return self.ic // self.groups

    @property
    def oc_group(self) -> int:
        return self.oc // self.groups

    @property
    def is_depthwise(self) -> bool:
        """One input channel for each group: not worth a contraction but a map over channels."""
        return self.groups > 1 and self.ic_group == 1


def conv_forward(shape: ConvShape, unit: Unit, storage: Storage = FLOAT32) -> Contraction:
    """y from a = x and b = w; with storage.bias, plus a bias of (oc,). y is stored channels-last."""
    s = shape
    x, (x_n, x_h, x_w, _) = _padded_input(s)
    tile = choose(s.n * s.oh * s.ow, s.oc_group, unit.lanes_of(storage.out), unit.registers)
    weights = _pack_weights(s, "oc", tile.panel)
    group, panel, tap_h, tap_w, channel, _ = contiguous(weights.shape)
    y_strides = contiguous((s.n, s.oh, s.ow, s.oc))
    steps = (x_n, x_h * s.stride[0], x_w * s.stride[1])
    nest = Nest(
        batch=(Loop(s.groups, s.ic_group, group, s.oc_group, bias=s.oc_group),),
        rows=tuple(Loop(e, a=a, c=c) for e, a, c in zip((s.n, s.oh, s.ow), steps, y_strides, strict=False)),
        columns=s.oc_group,
        k=(
            Loop(s.kh, x_h * s.dilation[0], tap_h),
            Loop(s.kw, x_w * s.dilation[1], tap_w),
            Loop(s.ic_group, 1, channel),
        ),
        b_panel=panel,
    )
    return _finish(nest, tile, storage, x, weights, (s.n, s.oc, s.oh, s.ow), (0, 3, 1, 2))


def conv_by_data(shape: ConvShape, unit: Unit, storage: Storage = FLOAT32) -> Contraction:
    """dx from a = dy and b = w, stored channels-last.

    Along one dimension dx[i] = sum of dy[o] w[r] over the (o, r) with o * stride + r * dilation - padding = i. For all
    i of one phase, i = phase + stride * q, these are every step-th tap from some first one, and o falls by a constant
    from tap to tap: a stride-1 contraction of dy, one for each phase, without inserting zeros.
    """
    s = shape
    phases_h = [_phase(s.h, s.kh, s.stride[0], s.padding[0], s.dilation[0], i) for i in range(min(s.stride[0], s.h))]
    phases_w = [_phase(s.w, s.kw, s.stride[1], s.padding[1], s.dilation[1], i) for i in range(min(s.stride[1], s.w))]
    margins = _margins(phases_h, s.oh), _margins(phases_w, s.ow)
    dy = _channels_last((s.n, s.oc, s.oh, s.ow), margins)
    dy_n, dy_h, dy_w, _ = contiguous(dy.shape)
    rows = s.n * phases_h[0].extent * phases_w[0].extent
    tile = choose(rows, s.ic_group, unit.lanes_of(storage.out), unit.registers)
    weights = _pack_weights(s, "ic", tile.panel)
    group, panel, tap_h, tap_w, channel, _ = contiguous(weights.shape)
    dx_n, dx_h, dx_w, _ = contiguous((s.n, s.h, s.w, s.ic))
    parts = []
    for ph in phases_h:
        for pw in phases_w:
            a_offset = (ph.first_source + margins[0][0]) * dy_h + (pw.first_source + margins[1][0]) * dy_w
            b_offset = ph.first_tap * tap_h + pw.first_tap * tap_w
            nest = Nest(
                batch=(Loop(s.groups, s.oc_group, group, s.ic_group),),
                rows=(
                    Loop(s.n, a=dy_n, c=dx_n),
                    Loop(ph.extent, a=dy_h, c=dx_h * s.stride[0]),
                    Loop(pw.extent, a=dy_w, c=dx_w * s.stride[1]),
                ),
                columns=s.ic_group,
                k=(
                    Loop(ph.taps, -ph.source_step * dy_h, ph.tap_step * tap_h),
                    Loop(pw.taps, -pw.source_step * dy_w, pw.tap_step * tap_w),
                    Loop(s.oc_group, 1, channel),
                ),
                b_panel=panel,
                offsets=(a_offset, b_offset, ph.first * dx_h + pw.first * dx_w),
            )
            whole = len(phases_h) * len(phases_w) == 1
            parts.append(_finish(nest, tile, storage, dy, weights, (s.n, s.ic, s.h, s.w), (0, 3, 1, 2), whole=whole))
    return replace(parts[0], launches=_joined(parts), workspace=max(part.workspace for part in parts))


def conv_by_weight(shape: ConvShape, unit: Unit, storage: Storage = FLOAT32) -> Contraction:
    """dw from a = x and b = dy, stored as (kh, kw, ic / groups, oc)."""
    s = shape
    x, (x_n, x_h, x_w, _) = _padded_input(s)
    rows = s.kh * s.kw * s.ic_group
    run = s.ic_group * (s.kw if s.groups == 1 and s.dilation[1] == 1 else 1)
    tile = choose(rows, s.oc_group, unit.lanes_of(storage.out), unit.registers, run)
    pack = must_pack(rows, s.n * s.oh * s.ow, s.oc_group, (s.oc, 1), tile, unit)
    dy = _pack_gradient(s, tile.panel) if pack else _channels_last((s.n, s.oc, s.oh, s.ow), ((0, 0), (0, 0)))
    if pack:
        group, panel, dy_n, dy_h, dy_w, _ = contiguous(dy.shape)
    else:
        (dy_n, dy_h, dy_w, _), group, panel = contiguous(dy.shape), s.oc_group, tile.panel
    dw_strides = contiguous((s.kh, s.kw, s.ic_group, s.oc))
    nest = Nest(
        batch=(Loop(s.groups, s.ic_group, group, s.oc_group),),
        rows=(
            Loop(s.kh, a=x_h * s.dilation[0], c=dw_strides[0]),
            Loop(s.kw, a=x_w * s.dilation[1], c=dw_strides[1]),
            Loop(s.ic_group, a=1, c=dw_strides[2]),
        ),
        columns=s.oc_group,
        k=(
            Loop(s.n, x_n, dy_n),
            Loop(s.oh, x_h * s.stride[0], dy_h),
            Loop(s.ow, x_w * s.stride[1], dy_w),
        ),
        b_panel=panel,
    )
    return _finish(nest, tile, storage, x, dy, (s.oc, s.ic_group, s.kh, s.kw), (3, 2, 0, 1), packed=pack)


# -- layouts -----------------------------------------------------------------------------------------------------------


def _padded_input(s: ConvShape) -> tuple[Relayout, tuple[int, ...]]:
    x = _channels_last((s.n, s.ic, s.h, s.w), ((s.padding[0], s.padding[0]), (s.padding[1], s.padding[1])))
    return x, contiguous(x.shape)


def _channels_last(shape: tuple[int, int, int, int], margins: tuple[Pair, Pair]) -> Relayout:
    """(n, h + margins, w + margins, c) of a source of (n, c, h, w)."""
    n, c, h, w = shape
    (top, bottom), (left, right) = margins
    return Relayout(
        (n, top + h + bottom, left + w + right, c),
        (
            Axis(0, n, (1, 0, 0, 0)),
            Axis(2, h, (0, 1, 0, 0), offset=-top),
            Axis(3, w, (0, 0, 1, 0), offset=-left),
            Axis(1, c, (0, 0, 0, 1)),
        ),
    )


def _pack_weights(s: ConvShape, columns: str, panel: int) -> Relayout:
    """[groups, panels, kh, kw, k, panel] of w (oc, ic / groups, kh, kw); `columns` ("oc" or "ic") become the panels,
    the other one is k."""
    n, k = (s.oc_group, s.ic_group) if columns == "oc" else (s.ic_group, s.oc_group)
    column, depth = (0, panel, 0, 0, 0, 1), (0, 0, 0, 0, 1, 0)
    oc, ic = (column, depth) if columns == "oc" else (depth, column)
    axes = (
        Axis(0, s.groups, (1, 0, 0, 0, 0, 0), scale=s.oc_group),
        Axis(0, s.oc_group, oc),
        Axis(1, s.ic_group, ic),
        Axis(2, s.kh, (0, 0, 1, 0, 0, 0)),
        Axis(3, s.kw, (0, 0, 0, 1, 0, 0)),
    )
    return Relayout((s.groups, packed_columns(n, panel), s.kh, s.kw, k, panel), axes)


def _pack_gradient(s: ConvShape, panel: int) -> Relayout:
    """[groups, panels, n, oh, ow, panel] of dy (n, oc, oh, ow)."""
    shape = (s.groups, packed_columns(s.oc_group, panel), s.n, s.oh, s.ow, panel)
    axes = (
        Axis(1, s.groups, (1, 0, 0, 0, 0, 0), scale=s.oc_group),
        Axis(1, s.oc_group, (0, panel, 0, 0, 0, 1)),
        Axis(0, s.n, (0, 0, 1, 0, 0, 0)),
        Axis(2, s.oh, (0, 0, 0, 1, 0, 0)),
        Axis(3, s.ow, (0, 0, 0, 0, 1, 0)),
    )
    return Relayout(shape, axes)


def _finish(
    nest: Nest,
    tile: RegisterTile,
    storage: Storage,
    a: Relayout,
    b: Relayout,
    shape: tuple[int, int, int, int],
    order: tuple[int, int, int, int],
    packed: bool = True,
    whole: bool = True,
) -> Contraction:
    """The contraction whose result has the logical `shape`; its dimension d is the physical dimension order[d]."""
    physical = [0] * 4
    for dim, position in enumerate(order):
        physical[position] = shape[dim]
    strides = contiguous(physical)
    launches, workspace = plan(nest, tile, storage, packed, prod(shape), whole)
    return Contraction(a, b, tuple(strides[position] for position in order), prod(shape), launches, workspace)


# -- phases of a strided gradient --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Phase:
    """Positions first, first + stride, ... of dx along one dimension: taps first_tap + t * tap_step, sources
    first_source + q - t * source_step."""

    first: int
    extent: int
    taps: int
    first_tap: int
    tap_step: int
    first_source: int
    source_step: int


def _phase(size: int, kernel: int, stride: int, padding: int, dilation: int, first: int) -> _Phase:
    extent = len(range(first, size, stride))
    step = stride // gcd(stride, dilation)
    tap = next((r for r in range(min(step, kernel)) if (first + padding - r * dilation) % stride == 0), None)
    if tap is None:
        return _Phase(first, extent, 0, 0, 0, 0, 0)
    taps = len(range(tap, kernel, step))
    source = (first + padding - tap * dilation) // stride
    return _Phase(first, extent, taps, tap, step, source, step * dilation // stride)


def _margins(phases: list[_Phase], size: int) -> Pair:
    """Zeros that must stand before and after `size` elements so that no phase reads outside."""
    used = [phase for phase in phases if phase.taps]
    low = min((phase.first_source - (phase.taps - 1) * phase.source_step for phase in used), default=0)
    high = max((phase.first_source + phase.extent - 1 for phase in used), default=0)
    return max(0, -low), max(0, high - size + 1)


def _joined(parts: list[Contraction]) -> tuple[Launch, ...]:
    return tuple(launch for part in parts for launch in part.launches)
