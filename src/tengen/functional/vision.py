"""Functions on images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .._rt import apply
from ..core import Tensor
from ..core.ops.resample import Interpolate
from .arguments import as_tensor, integer, integers, need_choice, need_rank

__all__ = ["interpolate", "nms"]

_MODES = {"nearest": "nearest", "linear": "bilinear", "bilinear": "bilinear", "bicubic": "bicubic"}


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
