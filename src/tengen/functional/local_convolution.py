"""Convolutions whose weight, window or region differs from place to place."""

from __future__ import annotations

from .._rt import apply
from ..core import Tensor
from ..core.ops.deformable import DeformableConv2d, DeformablePSROIPooling
from ..core.ops.local_conv import LocalConv2d, RegionRestrictedConv
from .arguments import as_index, as_tensors, number, single
from .convolution import convolved, groups_of, need_cross_correlation, pairs

__all__ = ["deformable_conv2d", "deformable_psroi_pooling", "local_conv2d", "region_restricted_conv"]

Pair = int | tuple[int, int]


def local_conv2d(
    inp: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    conv_mode: str = "cross_correlation",
) -> Tensor:
    """2-d convolution with a weight of its own for each place of the result.

    Args:
        inp: (N, C, H, W).
        weight: (groups, OH, OW, C / groups, kh, kw, out / groups).
        bias: `out` numbers, or what broadcasts to the result.
        stride: how far the window moves: one number, or one for each dim.
        padding: zeros on both sides: one number, or one for each dim.
        dilation: how far apart the taps of the window are: one number, or one for each dim.
        conv_mode: "cross_correlation" only.

    Returns: a tensor (N, out, OH, OW).

    Raises:
        ValueError: the shapes do not fit.

    >>> F.local_conv2d(F.ones((1, 1, 2, 2)), F.arange(4).reshape(1, 2, 2, 1, 1, 1, 1)).tolist()
    [[[[0.0, 1.0], [2.0, 3.0]]]]
    """
    need_cross_correlation("local_conv2d", conv_mode)
    op = LocalConv2d(*pairs("local_conv2d", stride, padding, dilation), bias is not None)
    return convolved(op, (inp, weight), bias)


def region_restricted_conv(
    inp: Tensor,
    weight: Tensor,
    rin: Tensor,
    rout: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    conv_mode: str = "cross_correlation",
    compute_mode: str = "default",
) -> Tensor:
    """2-d convolution in which a place of the result sees only what is of its own region.

    Args:
        inp: (N, C, H, W).
        weight: (groups, out / groups, C / groups, kh, kw).
        rin, rout: the regions of inp (N, H, W) and of the result (N, OH, OW), integers; others count as 0.
        bias: `out` numbers, such as (1, out, 1, 1).
        stride: how far the window moves: one number, or one for each dim.
        padding: zeros on both sides: one number, or one for each dim.
        dilation: how far apart the taps of the window are: one number, or one for each dim.
        groups: into how many groups the channels go, each with a window of its own.
        conv_mode: "cross_correlation" only.
        compute_mode: sums are always kept in float32 or wider.

    Returns: a tensor (N, out, OH, OW).

    Raises:
        ValueError: the shapes do not fit.

    >>> regions = Tensor([[[0, 0, 1]]])
    >>> x, weight = Tensor([[[[1.0, 2.0, 4.0]]]]), F.ones((1, 1, 1, 1, 3))
    >>> F.region_restricted_conv(x, weight, regions, regions, padding=(0, 1)).tolist()
    [[[[3.0, 3.0, 4.0]]]]
    """
    name = "region_restricted_conv"
    need_cross_correlation(name, conv_mode)
    regions = as_index(rin, inp, weight, rout, bias), as_index(rout, inp, weight, rin, bias)
    op = RegionRestrictedConv(*pairs(name, stride, padding, dilation), groups_of(name, groups), bias is not None)
    return convolved(op, (inp, weight, *regions), bias)


def deformable_conv2d(
    inp: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    conv_mode: str = "cross_correlation",
    compute_mode: str = "default",
) -> Tensor:
    """2-d convolution whose taps look elsewhere, by an offset and with a factor for each tap and place.

    Zhu et al. 2019. Between pixels inp is interpolated, outside it is 0.

    Args:
        inp: (N, C, H, W).
        weight: (out, C / groups, kh, kw), or for groups also (groups, out / groups, C / groups, kh, kw).
        offset: (N, 2 · kh · kw · parts, OH, OW), for each tap how far down and then how far to the right it looks; for
            `parts` above 1 the channels are in so many parts, each with offsets and factors of its own.
        mask: (N, kh · kw · parts, OH, OW), the factors.
        bias: `out` numbers.
        stride: how far the window moves: one number, or one for each dim.
        padding: zeros on both sides: one number, or one for each dim.
        dilation: how far apart the taps of the window are: one number, or one for each dim.
        groups: into how many groups the channels go, each with a window of its own.
        conv_mode: "cross_correlation" only.
        compute_mode: without effect: sums are always kept in float32 or wider.

    Returns: a tensor (N, out, OH, OW).

    Raises:
        ValueError: the shapes do not fit.

    >>> x, offset = F.arange(4).reshape(1, 1, 2, 2), F.full((1, 2, 2, 2), 0.5)
    >>> F.deformable_conv2d(x, F.ones((1, 1, 1, 1)), offset, F.ones((1, 1, 2, 2))).tolist()
    [[[[1.5, 1.0], [1.25, 0.75]]]]
    """
    name = "deformable_conv2d"
    need_cross_correlation(name, conv_mode)
    op = DeformableConv2d(*pairs(name, stride, padding, dilation), groups_of(name, groups), bias is not None)
    return convolved(op, (inp, weight, offset, mask), bias)


def deformable_psroi_pooling(
    inp: Tensor,
    rois: Tensor,
    trans: Tensor,
    no_trans: bool,
    part_size: int,
    pooled_h: int,
    pooled_w: int,
    sample_per_part: int,
    spatial_scale: float,
    trans_std: float = 0.1,
) -> Tensor:
    """Means of inp over the bins of regions, whose bins may be moved.

    Dai et al. 2017. Points that are more than half a pixel outside do not count.

    Args:
        inp: (N, C, H, W).
        rois: (R, 5), the image, then left, top, right and bottom in pixels that are `spatial_scale` pixels of inp.
        trans: (R, 2, part_size, part_size), how far the bins of each part are moved right and down, in sizes of the
            region times `trans_std`.
        no_trans: no bin is moved, and trans is not read.
        part_size: into how many parts a region is cut, down and across, each with a move of its own.
        pooled_h, pooled_w: height and width of the result in bins.
        sample_per_part: a bin has the square of that many points.
        spatial_scale: pixels of inp for one of the region's.
        trans_std: the factor of the moves.

    Returns: a tensor (R, C, pooled_h, pooled_w).

    Raises:
        ValueError: the shapes do not fit.
        IndexError: an image number is out of range.

    >>> x, rois = F.arange(16).reshape(1, 1, 4, 4), Tensor([[0.0, 0.0, 0.0, 3.0, 3.0]])
    >>> F.deformable_psroi_pooling(x, rois, F.zeros((1, 2, 1, 1)), True, 1, 2, 2, 2, 1.0).tolist()
    [[[[1.25, 3.0], [8.25, 10.0]]]]
    """
    name = "deformable_psroi_pooling"
    counts = [
        ("part_size", part_size),
        ("pooled_h", pooled_h),
        ("pooled_w", pooled_w),
        ("sample_per_part", sample_per_part),
    ]
    part, height, width, sample = (single(name, what, value, 1) for what, value in counts)
    scale, spread = number(name, "spatial_scale", spatial_scale), number(name, "trans_std", trans_std)
    op = DeformablePSROIPooling(bool(no_trans), part, (height, width), sample, scale, spread)
    return apply(op, *as_tensors(*((inp, rois) if no_trans else (inp, rois, trans))))
