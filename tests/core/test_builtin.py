"""The ops that `core.ops.builtin` makes are those of the functions."""

from __future__ import annotations

import numpy as np
import pytest

import tengen.functional as F
from tengen import Tensor
from tengen.core import apply
from tengen.core.ops import builtin

X = Tensor(np.random.default_rng(0).normal(size=(1, 3, 6, 7)), dtype="float32")
LAST = F.transpose(X, (0, 2, 3, 1))
ROIS = Tensor([[0.0, 1.0, 1.0, 4.0, 5.0]])
PLACES = Tensor(np.random.default_rng(1).uniform(-1, 7, (1, 2, 3, 2)), dtype="float32")
MATRIX = Tensor([[[0.9, 0.1, 0.5], [-0.2, 1.1, 0.25], [0.01, 0.02, 1.0]]])
SAME = {
    "ROIAlign": (
        lambda b: apply(b.ROIAlign("average", "NCHW", 0.5, 0.5, 2, 3, 1, 2), X, ROIS),
        lambda: F.vision.roi_align(X, ROIS, (2, 3), spatial_scale=0.5, sample_points=(1, 2)),
    ),
    "ROIPooling": (
        lambda b: apply(b.ROIPooling(b.ROIPooling.Mode.MAX, 0.5, size=(2, 3)), X, ROIS),
        lambda: F.vision.roi_pooling(X, ROIS, (2, 3), scale=0.5),
    ),
    "Remap": (
        lambda b: apply(b.Remap("NEAREST", b.Remap.BorderMode.WRAP, format="NCHW"), X, PLACES),
        lambda: F.remap(X, PLACES, "wrap", interp_mode="nearest"),
    ),
    "Remap of channels last": (
        lambda b: F.transpose(apply(b.Remap(), LAST, PLACES), (0, 3, 1, 2)),
        lambda: F.remap(X, PLACES),
    ),
    "WarpAffine": (
        lambda b: apply(b.WarpAffine("CUBIC", "CONSTANT", 2.0, size=(2, 3)), LAST, MATRIX[:, :2]),
        lambda: F.warp_affine(LAST, MATRIX[:, :2], (2, 3), "constant", 2.0, interp_mode="cubic"),
    ),
    "WarpPerspective": (
        lambda b: apply(b.WarpPerspective(bmode="reflect", size=(2, 3)), X, MATRIX),
        lambda: F.warp_perspective(X, MATRIX, (2, 3), border_mode="reflect"),
    ),
    "Resize": (
        lambda b: apply(b.Resize("CUBIC", size=(3, 9)), X),
        lambda: F.nn.interpolate(X, (3, 9), mode="bicubic"),
    ),
    "Resize3D": (
        lambda b: apply(b.Resize3D(align_corners=True, size=(2, 3, 9)), F.expand_dims(X, 1)),
        lambda: F.nn.interpolate(F.expand_dims(X, 1), (2, 3, 9), mode="trilinear", align_corners=True),
    ),
    "Correlation": (
        lambda b: apply(b.Correlation(kernel_size=3, max_displacement=2, pad_size=3, is_multiply=False), X, X + 1),
        lambda: F.vision.correlation(X, X + 1, 3, 2, pad_size=3, is_multiply=False),
    ),
    "CvtColor": (
        lambda b: apply(b.CvtColor(b.CvtColor.Mode.BGR2GRAY), LAST),
        lambda: F.vision.cvt_color(LAST, "BGR2GRAY"),
    ),
}


@pytest.mark.parametrize("op, function", SAME.values(), ids=SAME)
def test_same(op, function):
    np.testing.assert_array_equal(op(builtin).numpy(), function().numpy())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: builtin.Remap("AREA"), "Remap: imode must be one of LINEAR, NEAREST, CUBIC, LANCZOS4, got 'AREA'"),
        (
            lambda: builtin.WarpAffine(border_mode="TRANSPARENT", size=(1, 1)),
            "WarpAffine: the border must be one of REPLICATE",
        ),
        (lambda: builtin.Resize(format="NHWC", size=(1, 1)), "Resize: format must be one of NCHW, got 'NHWC'"),
        (lambda: builtin.CvtColor("RGB2HSV"), "CvtColor: mode must be one of RGB2GRAY"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
