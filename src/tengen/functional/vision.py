"""Functions on images: resizing, warping, regions of interest, colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .._rt import apply
from ..core import Tensor
from ..core.ops.color import MODES as COLOR_MODES
from ..core.ops.color import SAME, SAMPLED, CvtColor
from ..core.ops.correlation import Correlation
from ..core.ops.resample import Interpolate
from ..core.ops.roi import ROIAlign, ROIPooling
from ..core.ops.sample import BORDERS
from ..core.ops.warp import CHANNELS, Remap, WarpAffine, WarpPerspective
from .arguments import (
    as_index,
    as_tensor,
    as_tensors,
    dtype_of,
    integers,
    need_choice,
    need_fitting,
    need_rank,
    number,
    pair,
    single,
)

__all__ = [
    "correlation", "cvt_color", "interpolate", "nms", "nvof", "remap", "roi_align", "roi_pooling", "warp_affine", "warp_perspective",
]  # fmt: skip

Size = int | Sequence[int] | Tensor
Array = np.ndarray[Any, Any]

_MODES = {
    "nearest": "nearest", "linear": "bilinear", "bilinear": "bilinear", "trilinear": "bilinear", "bicubic": "bicubic",
}  # fmt: skip
_RANKS = {"nearest": (3, 4, 5), "linear": (3,), "bilinear": (4,), "trilinear": (5,), "bicubic": (4,)}
_FILTERS = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic", "lanczos4": "lanczos4"}

_AT_ONCE, _NEAR = 256, 512  # boxes that nms decides together, and how many others it compares them with at a time
_ROI_MODES = ("average", "max")


def interpolate(
    inp: Tensor,
    size: int | Sequence[int] | Tensor | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "bilinear",
    align_corners: bool | None = None,
) -> Tensor:
    """(N, C, H, W), or another number of axes after C as the mode says, in another size.

    Args:
        inp: floats (N, C, H, W), or (N, C, L) in mode "linear".
        size: one number for all axes or one for each.
        scale_factor: instead of it, one factor or one for each; the new size is rounded down.
        mode: "linear" for (N, C, L), "bilinear" and "bicubic" (Keys 1981) for (N, C, H, W), "trilinear" for (N, C, D,
            H, W), "nearest" for all of these.
        align_corners: whether the first and last pixels of both lie on each other (not for nearest and bicubic),
            instead of their outer edges. Elements beyond the edges are those at the edges.

    Returns: a tensor of the new size.

    Raises:
        ValueError: both or neither of size and scale_factor, or a wrong shape.

    >>> F.nn.interpolate(Tensor([[[[1.0, 2.0]]]]), size=(1, 4)).tolist()
    [[[[1.0, 1.25, 1.75, 2.0]]]]
    """
    x = as_tensor(inp)
    known = _MODES[need_choice("interpolate", "mode", str(mode).lower(), _MODES)]
    need_rank(f"interpolate with mode {mode!r}", x, *_RANKS[str(mode).lower()])
    if align_corners is not None and known != "bilinear":
        raise ValueError(f"interpolate: align_corners is for modes bilinear, linear and trilinear, not {mode!r}")
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate needs either size or scale_factor")
    extents = x.shape[2:]
    wanted: Sequence[float] = ()
    if size is not None:
        wanted = integers("interpolate", "size", size)
    elif (
        isinstance(scale_factor, str) or not isinstance(scale_factor, Iterable) or getattr(scale_factor, "ndim", 1) == 0
    ):
        wanted = [number("interpolate", "scale_factor", scale_factor)]
    else:
        wanted = [number("interpolate", "scale_factor", factor) for factor in scale_factor]
    if len(wanted) == 1:
        wanted = [*wanted] * len(extents)
    scales = (1,) * len(extents) if size is not None else extents
    new = tuple(int(s * w) for s, w in zip(scales, wanted, strict=False))
    if len(wanted) != len(extents) or min(new) < 1 or min(extents) < 1:
        what = "size" if size is not None else "scale_factor"
        raise ValueError(f"interpolate: an input of shape {tuple(x.shape)} cannot get the {what} {tuple(wanted)}")
    return apply(Interpolate(new, known, bool(align_corners)), x)


def remap(
    inp: Tensor, map_xy: Tensor, border_mode: str = "replicate", scalar: float = 0.0, interp_mode: str = "linear"
) -> Tensor:
    """The image at the positions of a map: y[n, c, i, j] = inp[n, c] at column map_xy[n, i, j, 0] and row map_xy[n, i, j, 1].

    Args:
        inp: (N, C, H, W), floats or integers, whose results are rounded.
        map_xy: (N, OH, OW, 2), in pixels; pixel 0 is at 0. Gradients flow to both.
        border_mode: what is outside the image: "replicate" (its outermost pixels), "reflect" (it mirrored:
            cba|abc|cba), "reflect_101" (cb|abc|ba), "wrap" (it again) or "constant" (`scalar`).
        scalar: what is read beyond the border in mode "constant".
        interp_mode: "linear", "nearest" (of two the even one), "cubic" (Keys 1981) or "lanczos4" (of 8 × 8 pixels).

    Returns: a tensor (N, C, OH, OW) of the dtype of inp.

    Raises:
        ValueError: the mode is unknown, or a shape does not fit.

    >>> F.vision.remap(Tensor([[[[1.0, 2.0, 4.0]]]]), Tensor([[[[0.5, 0.0], [2.0, 0.0]]]])).tolist()
    [[[[1.5, 4.0]]]]
    """
    x, places = as_tensors(inp, map_xy)
    op = Remap(*_reading("remap", x, interp_mode, border_mode, scalar), "NCHW")
    return apply(op, x, places)


def warp_affine(
    inp: Tensor,
    mat: Tensor,
    out_shape: Size,
    border_mode: str = "replicate",
    border_val: float = 0.0,
    format: str = "NHWC",
    interp_mode: str = "linear",
) -> Tensor:
    """The image at what matrices make of the result's positions: row i, column j is inp at (column, row) = mat · (j, i, 1).

    Args:
        inp: (N, H, W, C), or with format "NCHW" (N, C, H, W).
        mat: (N, 2, 3), from the result to the image.
        out_shape: height and width of the result, which is in the same format.
        border_mode, border_val, interp_mode: as for `remap`, but "nearest" takes the upper one of two. Gradients flow
            to both.
        format: "NCHW", where channels come first, or "NHWC", where they come last.

    Returns: an image in the format of inp, of the shape out_shape.

    Raises:
        ValueError: the mode or format is unknown, or a shape does not fit.

    >>> image = Tensor([[[[1.0], [2.0], [4.0]]]])
    >>> F.vision.warp_affine(image, Tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]]), (1, 2)).tolist()
    [[[[1.5], [3.0]]]]
    """
    x, matrices = as_tensors(inp, mat)
    size = pair("warp_affine", "out_shape", out_shape, 1)
    how = _reading("warp_affine", x, interp_mode, border_mode, border_val)
    return apply(WarpAffine(*how, _format("warp_affine", format), size), x, matrices)


def warp_perspective(
    inp: Tensor,
    mat: Tensor,
    out_shape: Size,
    mat_idx: Iterable[int] | Tensor | None = None,
    border_mode: str = "replicate",
    border_val: float = 0.0,
    format: str = "NCHW",
    interp_mode: str = "linear",
) -> Tensor:
    """The image at what projections make of the result's positions: row i, column j is inp at (u / w, v / w), (u, v, w) = mat · (j, i, 1).

    Args:
        inp: (N, C, H, W), or with format "NHWC" (N, H, W, C).
        mat: (M, 3, 3), from the result to the image (the inverse of what OpenCV takes).
        out_shape: height and width of the result, which is in the same format.
        mat_idx: for each matrix the image that it reads; without, M is N.
        border_mode, border_val, interp_mode: as for `remap`. Gradients flow to inp and mat.
        format: "NCHW", where channels come first, or "NHWC", where they come last.

    Returns: M images in the format of inp, of the shape out_shape.

    Raises:
        ValueError: the mode or format is unknown, or a shape does not fit.
        IndexError: an image number is out of range.

    >>> image = F.arange(9).reshape(1, 1, 3, 3)
    >>> F.vision.warp_perspective(image, Tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 2.0]]]), (2, 2)).tolist()
    [[[[2.0, 2.5], [3.5, 4.0]]]]
    """
    x, matrices = as_tensor(inp, mat, mat_idx), as_tensor(mat, inp, mat_idx)
    size = pair("warp_perspective", "out_shape", out_shape, 1)
    how = _reading("warp_perspective", x, interp_mode, border_mode, border_val)
    op = WarpPerspective(*how, _format("warp_perspective", format), size)
    if mat_idx is None:
        return apply(op, x, matrices)
    given = isinstance(mat_idx, (Tensor, np.ndarray)) or not isinstance(mat_idx, Iterable)
    return apply(op, x, matrices, as_index(mat_idx if given else list(mat_idx), inp, mat))


def roi_align(
    inp: Tensor,
    rois: Tensor,
    output_shape: int | Sequence[int],
    mode: str = "average",
    spatial_scale: float = 1.0,
    sample_points: int | Sequence[int] = 2,
    aligned: bool = True,
) -> Tensor:
    """Regions of images by bilinear interpolation at points inside them (He et al. 2017, section 3): (K, C, *output_shape).

    Args:
        inp: (N, C, H, W).
        rois: (K, 5), each the number of an image, left, top, right, bottom, in coordinates that `spatial_scale` turns
            into pixels; they have no gradient.
        output_shape: bins, height and width or one number.
        mode: "average" or "max" of the points of a bin.
        spatial_scale: pixels of inp for one unit of the coordinates.
        sample_points: how many of them there are, down and across or one number; 0: so many that they are at most a
            pixel apart, in regions of up to twice the size of the image.
        aligned: whether pixel 0 reaches from 0 to 1, so that positions are shifted by half a pixel; else it is at 0.
            Around the image are zeros.

    Returns: a tensor (K, C, *output_shape).

    Raises:
        ValueError: the mode is unknown, or a shape does not fit.
        IndexError: an image number is out of range.

    >>> image = F.arange(16).reshape(1, 1, 4, 4)
    >>> F.vision.roi_align(image, Tensor([[0.0, 1.0, 1.0, 3.0, 3.0]]), 2).tolist()
    [[[[5.0, 6.0], [9.0, 10.0]]]]
    """
    bins = pair("roi_align", "output_shape", output_shape, 1)
    points = pair("roi_align", "sample_points", sample_points)
    known = need_choice("roi_align", "mode", str(mode).lower(), _ROI_MODES)
    op = ROIAlign(known, number("roi_align", "spatial_scale", spatial_scale), 0.5 if aligned else 0.0, bins, points)
    return apply(op, *as_tensors(inp, rois))


def roi_pooling(
    inp: Tensor, rois: Tensor, output_shape: int | Sequence[int], mode: str = "max", scale: float = 1.0
) -> Tensor:
    """Regions of images by their pixels (Girshick 2015, Fast R-CNN, section 2.1): (K, C, *output_shape).

    Args:
        inp: (N, C, H, W).
        rois: (K, 5), each the number of an image, left, top, right, bottom, in coordinates that `scale` turns into
            pixels, to which they are rounded, the last ones included; they have no gradient.
        output_shape: bins, height and width or one number; neighbours may share pixels.
        mode: "max" (of equal pixels the first gets the gradient) or "average". A bin outside the image is 0.
        scale: pixels of inp for one unit of the coordinates.

    Returns: a tensor (K, C, *output_shape).

    Raises:
        ValueError: the mode is unknown, or a shape does not fit.
        IndexError: an image number is out of range.

    >>> image = F.arange(16).reshape(1, 1, 4, 4)
    >>> F.vision.roi_pooling(image, Tensor([[0.0, 0.0, 0.0, 3.0, 2.0]]), 2).tolist()
    [[[[5.0, 7.0], [9.0, 11.0]]]]
    """
    bins = pair("roi_pooling", "output_shape", output_shape, 1)
    op = ROIPooling(
        need_choice("roi_pooling", "mode", str(mode).lower(), _ROI_MODES), number("roi_pooling", "scale", scale), bins
    )
    return apply(op, *as_tensors(inp, rois))


def _reading(op: str, x: Any, interp_mode: str, border_mode: str, fill: float) -> tuple[str, str, float]:
    """The parameters of ops that read images: the filter, the border, and its number if that is constant."""
    filter = _FILTERS[need_choice(op, "interp_mode", str(interp_mode).lower(), _FILTERS)]
    border = need_choice(op, "border_mode", str(border_mode).lower(), BORDERS)
    if border != "constant":
        return filter, border, 0.0
    fill = number(op, "the number of the border", fill)
    need_fitting(op, "the number of the border", fill, dtype_of(x))
    return filter, border, fill


def _format(op: str, format: str) -> str:
    return need_choice(op, "format", str(format).upper(), CHANNELS)


def nms(boxes: Tensor, scores: Tensor, iou_thresh: float, max_output: int | None = None) -> Tensor:
    """Which boxes non-maximum suppression keeps, best first, as int32: each overlaps no better kept one by more than `iou_thresh`.

    Args:
        boxes: (n, 4), each x1, y1, x2, y2.
        scores: (n,); of equal ones the last is better.
        iou_thresh: of intersection over union, which is 0 for empty boxes.
        max_output: how many are kept at most.

    Returns: a vector of int32.

    Raises:
        ValueError: a shape does not fit, or max_output is below 1.

    >>> boxes = Tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
    >>> F.vision.nms(boxes, Tensor([0.5, 0.9, 0.3]), 0.5).tolist()
    [1, 2]
    """
    corners, values = as_tensors(boxes, scores)
    if corners.ndim != 2 or corners.shape[1] != 4 or tuple(values.shape) != (corners.shape[0],):
        raise ValueError(
            f"nms takes boxes (n, 4) and scores (n,), got shapes {tuple(corners.shape)} and {tuple(values.shape)}"
        )
    most = len(values) if max_output is None else single("nms", "max_output", max_output, 1)
    backwards = -values.numpy().astype(np.float32)[::-1]
    order = len(backwards) - 1 - np.argsort(backwards, kind="stable")
    kept = order[_best(corners.numpy().astype(np.float32)[order], number("nms", "iou_thresh", iou_thresh), most)]
    return Tensor(kept.astype(np.int32), device=corners.device)


def _best(edges: Array, limit: float, most: int) -> Array:
    """Which of boxes, best first, are kept. They are decided some at a time: among themselves, then what these do to all that follow."""
    waiting, kept = np.arange(len(edges)), np.empty(0, np.int64)
    while waiting.size and len(kept) < most:
        some, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
        beaten = _overlap(edges[some], edges[some], limit)
        free = np.ones(len(some), bool)
        for i in range(len(some)):
            if free[i]:
                free[i + 1 :] &= ~beaten[i, i + 1 :]
        chosen = some[free]
        kept = np.concatenate([kept, chosen])
        parts = [waiting[i : i + _NEAR] for i in range(0, len(waiting), _NEAR)]  # what is compared stays in the cache
        left = [part[~_overlap(edges[chosen], edges[part], limit).any(0)] for part in parts]
        waiting = np.concatenate(left) if left else waiting
    return kept[:most]


def _overlap(a: Array, b: Array, limit: float) -> Array:
    """Whether each of `a` and each of `b` overlap by more than the limit: (len(a), len(b))."""
    left, top, right, bottom = (v[:, None] for v in a.T)
    others = np.ascontiguousarray(b.T)
    shared = np.minimum(right, others[2])
    shared -= np.maximum(left, others[0])
    np.maximum(shared, 0, out=shared)
    down = np.minimum(bottom, others[3])
    down -= np.maximum(top, others[1])
    np.maximum(down, 0, out=down)
    shared *= down
    areas = [np.maximum(c[:, 2] - c[:, 0], 0) * np.maximum(c[:, 3] - c[:, 1], 0) for c in (a, b)]
    found: Array = shared > limit * (areas[0][:, None] + areas[1] - shared)
    return found


def correlation(
    data1: Tensor,
    data2: Tensor,
    kernel_size: int = 1,
    max_displacement: int = 1,
    stride1: int = 1,
    stride2: int = 1,
    pad_size: int = 0,
    is_multiply: bool = True,
) -> Tensor:
    """How alike patches of two images are (Dosovitskiy et al. 2015, FlowNet, section 3): (N, D · D, OH, OW).

    Args:
        data1, data2: floats (N, C, H, W), with pad_size zeros around. Patches of kernel_size · kernel_size (odd) are
            stride1 apart; those of data2 are displaced by up to max_displacement in steps of stride2, which are the D ·
            D channels, row by row.
        kernel_size: the side of a patch, odd.
        max_displacement: how far apart patches may be, in pixels.
        stride1: the distance of patches in data1.
        stride2: the step of displacements.
        pad_size: zeros around both images.
        is_multiply: whether the mean product of pixels and channels says it, else the mean absolute difference.
            Gradients flow to both.

    Returns: a tensor (N, D · D, OH, OW).

    Raises:
        ValueError: a number or a shape does not fit.

    >>> image = F.arange(9).reshape(1, 1, 3, 3)
    >>> F.vision.correlation(image, image, is_multiply=False).reshape(3, 3).tolist()
    [[4.0, 3.0, 2.0], [1.0, 0.0, 1.0], [2.0, 3.0, 4.0]]
    """
    kernel = single("correlation", "kernel_size", kernel_size, 1)
    if kernel % 2 == 0:
        raise ValueError(f"correlation: kernel_size must be odd, got {kernel}")
    reach, padding = (
        single("correlation", name, value)
        for name, value in (("max_displacement", max_displacement), ("pad_size", pad_size))
    )
    steps = single("correlation", "stride1", stride1, 1), single("correlation", "stride2", stride2, 1)
    op = Correlation(kernel, reach, *steps, padding, bool(is_multiply))
    return apply(op, *as_tensors(data1, data2))


def cvt_color(inp: Tensor, mode: str = "") -> Tensor:
    """Images in other colours, coefficients of ITU-R BT.601; bytes are rounded as the reference does.

    Args:
        inp: (N, H, W, C), uint8 or floats (0 … 1, which are not clipped).
        mode: "RGB2GRAY", "BGR2GRAY", "RGBA2GRAY", "GRAY2RGB", "RGB2BGR", "BGR2RGB", "RGBA2RGB", "RGBA2BGR"; "RGB2YUV"
            and "YUV2RGB", for which blue is the first channel, as in the reference; and for uint8 (N, H · 3 / 2, W, 1),
            luma and then colour differences, "YUV2RGB", "YUV2BGR" or "YUV2GRAY" with "_NV12", "_NV21", "_YU12" or
            "_YV12", and with "BT601_" before them for luma from 16 to 235. Gradients flow to floats.

    Returns: a tensor of the dtype of inp, with the channels of the new colours.

    Raises:
        ValueError: the mode is unknown, or a shape does not fit.
        TypeError: the dtype is not supported.

    >>> F.vision.cvt_color(Tensor([[[[255, 0, 0]]]], dtype="uint8"), "RGB2GRAY").tolist()
    [[[[76]]]]
    """
    names = {name.upper(): name for name in (*COLOR_MODES, *SAMPLED, *SAME)}
    known = names[need_choice("cvt_color", "mode", str(mode).upper(), names)]
    return apply(CvtColor(SAME.get(known, known)), as_tensor(inp))


def nvof(src: Tensor, precision: int = 1) -> Tensor:
    """Optical flow by NVIDIA's hardware: raises NotImplementedError, as devices here have none.

    Args:
        src: frames (N, T, H, W, 4).
        precision: without effect.

    Returns: nothing: it always raises.

    Raises:
        NotImplementedError: always.

    >>> F.vision.nvof(F.zeros((1, 2, 8, 8, 4)))
    Traceback (most recent call last):
    NotImplementedError: nvof runs on the optical flow unit of NVIDIA GPUs, ...
    """
    raise NotImplementedError(
        "nvof runs on the optical flow unit of NVIDIA GPUs, which tengen's devices do not have; correlation and remap are what networks "
        "that compute optical flow are made of"
    )
