"""Pooling and images in other sizes."""

from __future__ import annotations

from typing import Any

from ...core.ops.base import FLOATS, statistics_dtype
from ...core.ops.layout import PixelShuffle
from ...core.ops.pool import Pooling
from ...core.ops.resample import Interpolate
from ...core.ops.roi import ROIPooling
from ...core.ops.sample import SHARPNESS
from .graph import Graph, Operand
from .rules import rule


@rule(Pooling)
def pooling(g: Graph, op: Pooling, x: Operand) -> Operand | None:
    if x.dtype not in FLOATS or any(p >= k for p, k in zip(op.padding, op.kernel, strict=True)):
        return None
    window: dict[str, Any] = {"kernel_shape": list(op.kernel), "strides": list(op.stride), "pads": [*op.padding] * 2}
    if op.mode == "max":
        return g.node("MaxPool", g.working(x, x.dtype), **window)
    if x.dtype not in ("float32", "float64"):
        return None  # the sum is rounded before it is divided
    return g.node("AveragePool", x, **window, count_include_pad=int(op.mode == "average"))


@rule(Interpolate)
def interpolate(g: Graph, op: Interpolate, x: Operand) -> Operand | None:
    if x.dtype not in FLOATS:
        return None
    old = x.shape[2:]
    how: dict[str, Any] = {"axes": list(range(2, x.ndim))}
    if op.mode == "nearest":
        # ONNX finds the element with rounded numbers, which are exact only if the scale is
        if any(o % n and n % o for o, n in zip(old, op.size, strict=True)):
            return None
        how |= {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return g.node("Resize", g.working(x, x.dtype), None, None, g.integers(op.size), **how)
    how["coordinate_transformation_mode"] = "align_corners" if op.align_corners else "half_pixel"
    how |= {"mode": "cubic", "cubic_coeff_a": SHARPNESS} if op.mode == "bicubic" else {"mode": "linear"}
    wide = g.cast(x, statistics_dtype(x.dtype))
    return g.node("Resize", wide, None, None, g.integers(op.size), **how)


@rule(ROIPooling)
def roi_pooling(g: Graph, op: ROIPooling, x: Operand, regions: Operand) -> Operand | None:
    if op.mode != "max" or x.dtype != "float32":
        return None
    return g.node(
        "MaxRoiPool", x, g.cast(regions, "float32"), pooled_shape=list(op.size), spatial_scale=float(op.scale)
    )


@rule(PixelShuffle)
def pixel_shuffle(g: Graph, op: PixelShuffle, x: Operand) -> Operand | None:
    if x.ndim != 4 or x.dtype not in ("float32", "float64"):
        return None
    return g.node("DepthToSpace", x, blocksize=op.factor, mode="CRD")
