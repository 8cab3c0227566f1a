"""Images read elsewhere, regions of images, boxes and colors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tengen.functional as F

from ...... import Tensor, _rt
from ......core.ops import builtin as ours
from .helpers import channels_first, gradient, kept

__all__: list[str] = []


def _size(given: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in given.numpy())


def _resize(op: Any, x: Any, size: Any) -> Any:
    x, back = channels_first(op, x)
    return back(_rt.apply(ours.Resize(op.imode.name, size=_size(size)), x))


def _resize3d(op: Any, x: Any, size: Any) -> Any:
    x, back = channels_first(op, x)
    return back(_rt.apply(ours.Resize3D(op.imode.name, align_corners=op.align_corners, size=_size(size)), x))


def _remap(op: Any, x: Any, places: Any) -> Any:
    made = ours.Remap(op.imode.name, op.border_type.name, op.format.name, op.scalar)
    return _rt.apply(made, x, places)


def _warp_affine(op: Any, x: Any, mat: Any, size: Any) -> Any:
    made = ours.WarpAffine(op.imode.name, op.border_mode.name, op.border_val, op.format.name, size=_size(size))
    return _rt.apply(made, x, mat)


def _warp_perspective(op: Any, x: Any, mat: Any, *rest: Any) -> Any:
    """The last input is the size of the result. Before it there may be an input that says which image each matrix
    reads."""
    *chosen, size = rest
    return _rt.apply(_projection(op, _size(size)), x, mat, *chosen)


def _projection(op: Any, size: tuple[int, ...]) -> Any:
    return ours.WarpPerspective(op.imode.name, op.bmode.name, op.format.name, op.border_val, size=size)


def _image_size(op: Any, image: Any) -> tuple[int, ...]:
    return tuple(channels_first(op, image)[0].shape[2:])


def _warp_backward_data(op: Any, mat: Any, *rest: Any) -> Any:
    """The gradient of the images, whose shape the last input has. The input before it is the gradient of the result."""
    *chosen, dy, x = rest
    made = _projection(op, _image_size(op, dy))
    return gradient(lambda x: _rt.apply(made, x, mat, *chosen), F.zeros_like(x), dy)


def _warp_backward_mat(op: Any, x: Any, mat: Any, *rest: Any) -> Any:
    *chosen, dy = rest
    made = _projection(op, _image_size(op, dy))
    return gradient(lambda mat: _rt.apply(made, x, mat, *chosen), mat, dy)


def _roi_align(op: Any, x: Any, rois: Any) -> Any:
    sizes = op.pooled_height, op.pooled_width, op.sample_height, op.sample_width
    made = ours.ROIAlign(op.mode.name, op.format.name, op.spatial_scale, op.offset, *sizes)
    return _rt.apply(made, x, rois), kept("int32")


def _roi_pooling(op: Any, x: Any, rois: Any, size: Any) -> Any:
    return F.vision.roi_pooling(x, rois, _size(size), op.mode.name.lower(), op.scale), kept("int32")


def _deformable_psroi_pooling(op: Any, x: Any, rois: Any, *trans: Any) -> Any:
    sizes = op.part_size, op.pooled_h, op.pooled_w, op.sample_per_part
    moves: Any = None if op.no_trans else trans[0]
    made = F.deformable_psroi_pooling(x, rois, moves, op.no_trans, *sizes, op.spatial_scale, op.trans_std)
    return made, kept()


def _correlation(op: Any, a: Any, b: Any) -> Any:
    how = op.kernel_size, op.max_displacement, op.stride1, op.stride2, op.pad_size, op.is_multiply
    return _rt.apply(ours.Correlation(op.format.name, *how), a, b)


def _nms_keep(op: Any, boxes: Any) -> Any:
    """For each image (B, n, 4), best first, the boxes that are kept, with the last one repeated in the remaining
    places, and their number."""
    if boxes.ndim != 3 or boxes.shape[2] != 4:
        raise ValueError(f"NMSKeep takes boxes (B, n, 4), best first, got shape {tuple(boxes.shape)}")
    scores = -F.arange(boxes.shape[1])
    found = [F.vision.nms(image, scores, op.iou_thresh, op.max_output).numpy() for image in boxes]
    rows = [np.pad(row, (0, op.max_output - len(row)), mode="edge" if len(row) else "constant") for row in found]
    return Tensor(np.stack(rows).astype(np.int32)), Tensor(np.array([len(row) for row in found], np.int32))


RULES: dict[str, Callable[..., Any]] = {
    "Correlation": _correlation,
    "CvtColor": lambda op, x: F.vision.cvt_color(x, op.mode.name),
    "DeformablePSROIPooling": _deformable_psroi_pooling,
    "NMSKeep": _nms_keep,
    "NvOf": lambda op, x: F.vision.nvof(x, op.precision),
    "ROIAlign": _roi_align,
    "ROIPooling": _roi_pooling,
    "Remap": _remap,
    "Resize": _resize,
    "Resize3D": _resize3d,
    "WarpAffine": _warp_affine,
    "WarpPerspective": _warp_perspective,
    "WarpPerspectiveBackwardData": _warp_backward_data,
    "WarpPerspectiveBackwardMat": _warp_backward_mat,
}
