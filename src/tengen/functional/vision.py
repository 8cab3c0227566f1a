"""Functions on images: resizing, warping, regions of interest, colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .._rt import apply
from ..core import Tensor
from ..core.ops.resample import Interpolate
from ..core.ops.roi import ROIAlign, ROIPooling
from ..core.ops.sample import BORDERS
from ..core.ops.warp import CHANNELS, Remap, WarpAffine, WarpPerspective
from .arguments import as_index, as_tensor, dtype_of, integer, integers, need_choice, need_fitting, need_rank, pair

__all__ = ["interpolate", "nms", "remap", "roi_align", "roi_pooling", "warp_affine", "warp_perspective"]

Size = int | Sequence[int] | Tensor

_MODES = {"nearest": "nearest", "linear": "bilinear", "bilinear": "bilinear", "bicubic": "bicubic"}
_FILTERS = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic", "lanczos4": "lanczos4"}

_ROI_MODES = ("average", "max")


def interpolate(
    inp: Tensor,
    size: int | Sequence[int] | Tensor | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "bilinear",
    align_corners: bool | None = None,
) -> Tensor:
    """(N, C, H, W), or for mode "linear" (N, C, L), in another height and width.

    size: one number or (height, width). scale_factor: instead of it, one factor or one for each; the new size is
    rounded down. mode: "bilinear", "linear", "nearest" or "bicubic" (Keys 1981). align_corners: whether the first and
    last pixels of both lie on each other (not for nearest and bicubic), instead of their outer edges. Elements beyond
    the edges are those at the edges. Raises ValueError for both or neither of size and scale_factor, or a wrong shape.

    >>> F.nn.interpolate(Tensor([[[[1.0, 2.0]]]]), size=(1, 4)).tolist()
    [[[[1.0, 1.25, 1.75, 2.0]]]]
    """
    x = as_tensor(inp)
    known = _MODES[need_choice("interpolate", "mode", str(mode).lower(), _MODES)]
    need_rank(f"interpolate with mode {mode!r}", x, 3 if mode == "linear" else 4)
    if align_corners is not None and known != "bilinear":
        raise ValueError(f"interpolate: align_corners is for modes bilinear and linear, not {mode!r}")
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate needs either size or scale_factor")
    extents = x.shape[2:]
    if size is not None:
        wanted = integers("interpolate", "size", size)
        new = wanted * len(extents) if len(wanted) == 1 else wanted
    else:
        assert scale_factor is not None
        single = not isinstance(scale_factor, Iterable) or getattr(scale_factor, "ndim", 1) == 0
        factors = [float(f) for f in ([scale_factor] * len(extents) if single else scale_factor)]
        new = tuple(int(e * f) for e, f in zip(extents, factors, strict=False))
    if len(new) != len(extents) or min(new) < 1 or min(extents) < 1:
        raise ValueError(f"interpolate: an input of shape {tuple(x.shape)} cannot get the size {tuple(new)}")
    return apply(Interpolate(tuple(new), known, bool(align_corners)), x)


def remap(
    inp: Tensor, map_xy: Tensor, border_mode: str = "replicate", scalar: float = 0.0, interp_mode: str = "linear"
) -> Tensor:
    """The image at the positions of a map: y[n, c, i, j] = inp[n, c] at column map_xy[n, i, j, 0] and row map_xy[n, i, j, 1].

    inp: (N, C, H, W), floats or integers, whose results are rounded. map_xy: (N, OH, OW, 2), in pixels; pixel 0 is at 0. Gradients flow to both.
    border_mode: what is outside of the image: "replicate" (its outermost pixels), "reflect" (it mirrored: cba|abc|cba), "reflect_101" (cb|abc|ba),
    "wrap" (it again) or "constant" (`scalar`). interp_mode: "linear", "nearest" (of two the even one), "cubic" (Keys 1981) or "lanczos4"
    (of 8 × 8 pixels). Raises ValueError for another mode or shape.

    >>> F.vision.remap(Tensor([[[[1.0, 2.0, 4.0]]]]), Tensor([[[[0.5, 0.0], [2.0, 0.0]]]])).tolist()
    [[[[1.5, 4.0]]]]
    """
    x = as_tensor(inp)
    op = Remap(*_reading("remap", x, interp_mode, border_mode, scalar), "NCHW")
    return apply(op, x, as_tensor(map_xy))


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

    inp: (N, H, W, C), or with format "NCHW" (N, C, H, W). mat: (N, 2, 3), from the result to the image. out_shape: height and width of the
    result, which is in the same format. border_mode, border_val, interp_mode: as for `remap`, but "nearest" takes the upper one of two.
    Gradients flow to both. Raises ValueError for another mode, format or shape.

    >>> image = Tensor([[[[1.0], [2.0], [4.0]]]])
    >>> F.vision.warp_affine(image, Tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]]), (1, 2)).tolist()
    [[[[1.5], [3.0]]]]
    """
    x = as_tensor(inp)
    size = pair("warp_affine", "out_shape", out_shape, 1)
    how = _reading("warp_affine", x, interp_mode, border_mode, border_val)
    return apply(WarpAffine(*how, _format("warp_affine", format), size), x, as_tensor(mat))


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

    inp: (N, C, H, W), or with format "NHWC" (N, H, W, C). mat: (M, 3, 3), from the result to the image (the inverse of what OpenCV takes).
    out_shape: height and width of the result, which is in the same format. mat_idx: for each matrix the image that it reads; without, M is N.
    border_mode, border_val, interp_mode: as for `remap`. Gradients flow to inp and mat. Raises ValueError for another mode, format or shape,
    IndexError for an image that is not there.

    >>> image = F.arange(9).reshape(1, 1, 3, 3)
    >>> F.vision.warp_perspective(image, Tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 2.0]]]), (2, 2)).tolist()
    [[[[2.0, 2.5], [3.5, 4.0]]]]
    """
    x = as_tensor(inp)
    size = pair("warp_perspective", "out_shape", out_shape, 1)
    how = _reading("warp_perspective", x, interp_mode, border_mode, border_val)
    op = WarpPerspective(*how, _format("warp_perspective", format), size)
    if mat_idx is None:
        return apply(op, x, as_tensor(mat))
    given = isinstance(mat_idx, (Tensor, np.ndarray)) or not isinstance(mat_idx, Iterable)
    return apply(op, x, as_tensor(mat), as_index(mat_idx if given else list(mat_idx)))


def roi_align(
    inp: Tensor,
    rois: Tensor,
    output_shape: int | Sequence[int],
    mode: str = "average",
    spatial_scale: float = 1.0,
    sample_points: int | Sequence[int] = 2,
    aligned: bool = True,
) -> Tensor:
    """Regions of images by bilinear interpolation at points inside of them (He et al. 2017, section 3): (K, C, *output_shape).

    inp: (N, C, H, W). rois: (K, 5), each the number of an image, left, top, right, bottom, in coordinates that `spatial_scale` turns
    into pixels; they have no gradient. output_shape: bins, height and width or one number. mode: "average" or "max" of the points of a bin.
    sample_points: how many of them there are, down and across or one number; 0: so many that they are at most a pixel apart, in regions
    of up to twice the size of the image. aligned: whether pixel 0 reaches from 0 to 1, so that positions are shifted by half a pixel;
    else it is at 0. Around the image are zeros. Raises ValueError for another mode or shape, IndexError for an image that is not there.

    >>> image = F.arange(16).reshape(1, 1, 4, 4)
    >>> F.vision.roi_align(image, Tensor([[0.0, 1.0, 1.0, 3.0, 3.0]]), 2).tolist()
    [[[[5.0, 6.0], [9.0, 10.0]]]]
    """
    bins = pair("roi_align", "output_shape", output_shape, 1)
    points = pair("roi_align", "sample_points", sample_points)
    known = need_choice("roi_align", "mode", str(mode).lower(), _ROI_MODES)
    op = ROIAlign(known, float(spatial_scale), 0.5 if aligned else 0.0, bins, points)
    return apply(op, as_tensor(inp), as_tensor(rois))


def roi_pooling(
    inp: Tensor, rois: Tensor, output_shape: int | Sequence[int], mode: str = "max", scale: float = 1.0
) -> Tensor:
    """Regions of images by their pixels (Girshick 2015, Fast R-CNN, section 2.1): (K, C, *output_shape).

    inp: (N, C, H, W). rois: (K, 5), each the number of an image, left, top, right, bottom, in coordinates that `scale` turns into
    pixels, to which they are rounded, the last ones included; they have no gradient. output_shape: bins, height and width or one number;
    neighbours may share pixels. mode: "max" (of equal pixels the first gets the gradient) or "average". A bin outside of the image is 0.
    Raises ValueError for another mode or shape, IndexError for an image that is not there.

    >>> image = F.arange(16).reshape(1, 1, 4, 4)
    >>> F.vision.roi_pooling(image, Tensor([[0.0, 0.0, 0.0, 3.0, 2.0]]), 2).tolist()
    [[[[5.0, 7.0], [9.0, 11.0]]]]
    """
    bins = pair("roi_pooling", "output_shape", output_shape, 1)
    op = ROIPooling(need_choice("roi_pooling", "mode", str(mode).lower(), _ROI_MODES), float(scale), bins)
    return apply(op, as_tensor(inp), as_tensor(rois))


def _reading(op: str, x: Any, interp_mode: str, border_mode: str, fill: float) -> tuple[str, str, float]:
    """The parameters of ops that read images: the filter, the border, and its number if that is constant."""
    filter = _FILTERS[need_choice(op, "interp_mode", str(interp_mode).lower(), _FILTERS)]
    border = need_choice(op, "border_mode", str(border_mode).lower(), BORDERS)
    if border != "constant":
        return filter, border, 0.0
    need_fitting(op, "the number of the border", fill, dtype_of(x))
    return filter, border, float(fill)


def _format(op: str, format: str) -> str:
    return need_choice(op, "format", str(format).upper(), CHANNELS)


def nms(boxes: Tensor, scores: Tensor, iou_thresh: float, max_output: int | None = None) -> Tensor:
    """Which boxes non-maximum suppression keeps, best first, as int32: each overlaps no better kept one by more than `iou_thresh`.

    boxes: (n, 4), each x1, y1, x2, y2. scores: (n,). iou_thresh: of intersection over union. max_output: how many are
    kept at most. Raises ValueError for other shapes.

    >>> boxes = Tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
    >>> F.vision.nms(boxes, Tensor([0.5, 0.9, 0.3]), 0.5).tolist()
    [1, 2]
    """
    corners, values = as_tensor(boxes), as_tensor(scores)
    if corners.ndim != 2 or corners.shape[1] != 4 or tuple(values.shape) != (corners.shape[0],):
        raise ValueError(
            f"nms takes boxes (n, 4) and scores (n,), got shapes {tuple(corners.shape)} and {tuple(values.shape)}"
        )
    edges = corners.numpy().astype(np.float32)
    areas = np.prod(np.maximum(edges[:, 2:] - edges[:, :2], 0), axis=1)
    waiting = np.argsort(-values.numpy().astype(np.float32), kind="stable")
    most = len(values) if max_output is None else integer("nms", "max_output", max_output)
    kept: list[int] = []
    while waiting.size and len(kept) < most:
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        low, high = np.maximum(edges[best, :2], edges[waiting, :2]), np.minimum(edges[best, 2:], edges[waiting, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        waiting = waiting[shared <= iou_thresh * (areas[best] + areas[waiting] - shared)]
    return Tensor(np.array(kept, dtype=np.int32), device=corners.device)
