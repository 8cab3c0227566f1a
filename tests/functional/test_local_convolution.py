"""Convolutions whose weight, window or region differs from place to place, against loops in NumPy in float64."""

from __future__ import annotations

import io
from itertools import product

import numpy as np
import pytest
import windows
from checks import assert_close, check_gradient, check_second_gradient, laid_out, random

import tengen.functional as F
import tengen.module as M
from tengen import Tensor, jit
from tengen.jit import trace


def places(size, kernel, stride, padding, dilation):
    """(place of the result, tap, what it sees of the input) for all that lie inside."""
    out = windows.counts([s + 2 * p for s, p in zip(size, padding, strict=True)], kernel, stride, dilation)
    for place, tap in product(np.ndindex(*out), np.ndindex(*kernel)):
        seen = tuple(o * s - p + t * d for o, s, p, t, d in zip(place, stride, padding, tap, dilation, strict=True))
        if all(0 <= i < n for i, n in zip(seen, size, strict=True)):
            yield place, tap, seen


def local_conv2d(x, w, stride, padding, dilation):
    groups, oh, ow, ic, kh, kw, oc = w.shape
    y = np.zeros((x.shape[0], groups, oc, oh, ow))
    parts = x.reshape(x.shape[0], groups, ic, *x.shape[2:])
    for (a, b), (i, j), (r, c) in places(x.shape[2:], (kh, kw), stride, padding, dilation):
        y[..., a, b] += np.einsum("ngc,gco->ngo", parts[..., r, c], w[:, a, b, :, i, j])
    return y.reshape(x.shape[0], groups * oc, oh, ow)


def region_restricted(x, w, rin, rout, stride, padding, dilation):
    groups, oc, ic, kh, kw = w.shape
    y = np.zeros((x.shape[0], groups, oc, *rout.shape[1:]))
    parts = x.reshape(x.shape[0], groups, ic, *x.shape[2:])
    for (a, b), (i, j), (r, c) in places(x.shape[2:], (kh, kw), stride, padding, dilation):
        alike = (rin[:, r, c] == rout[:, a, b])[:, None, None]
        y[..., a, b] += alike * np.einsum("ngc,goc->ngo", parts[..., r, c], w[..., i, j])
    return y.reshape(x.shape[0], groups * oc, *rout.shape[1:])


def between(image, row, column):
    """(C,) of an image (C, H, W) between its pixels, 0 outside."""
    y, x, made = int(np.floor(row)), int(np.floor(column)), np.zeros(image.shape[0])
    for (r, down), (c, right) in product(
        ((y, y + 1 - row), (y + 1, row - y)), ((x, x + 1 - column), (x + 1, column - x))
    ):
        if 0 <= r < image.shape[1] and 0 <= c < image.shape[2]:
            made += image[:, r, c] * down * right
    return made


def deformable(x, w, offset, mask, stride, padding, dilation, groups=1):
    (oc, ic, kh, kw), (n, channels) = w.shape, x.shape[:2]
    parts = mask.shape[1] // (kh * kw)
    columns = np.zeros((n, channels, kh, kw, *mask.shape[2:]))
    for image, part, i, j, a, b in np.ndindex(n, parts, kh, kw, *mask.shape[2:]):
        tap, chosen = (part * kh + i) * kw + j, slice(part * channels // parts, (part + 1) * channels // parts)
        row = a * stride[0] - padding[0] + i * dilation[0] + offset[image, 2 * tap, a, b]
        column = b * stride[1] - padding[1] + j * dilation[1] + offset[image, 2 * tap + 1, a, b]
        columns[image, chosen, i, j, a, b] = between(x[image, chosen], row, column) * mask[image, tap, a, b]
    seen, weight = columns.reshape(n, groups, ic, *columns.shape[2:]), w.reshape(groups, oc // groups, ic, kh, kw)
    return np.einsum("ngcijhw,gocij->ngohw", seen, weight).reshape(n, oc, *mask.shape[2:])


def psroi(x, rois, trans, still, part, size, points, scale, spread):
    y, (height, width) = np.zeros((len(rois), x.shape[1], *size)), x.shape[2:]
    for r, (image, *corners) in enumerate(rois):
        left, top, right, bottom = (np.floor(abs(c) + 0.5) * np.sign(c) for c in corners)
        start = np.array([top, left]) * scale - 0.5
        extent = np.maximum(np.array([bottom, right]) * scale + scale - 0.5 - start, 0.1)
        for bin in np.ndindex(*size):
            down, across = (b * part // n for b, n in zip(bin, size, strict=True))
            moved = np.zeros(2) if still else trans[r, ::-1, down, across] * spread
            found = []
            for point in np.ndindex(points, points):
                at = start + (moved + (np.array(bin) + np.array(point) / points) / size) * extent
                if (at >= -0.5).all() and (at <= np.array([height, width]) - 0.5).all():
                    found.append(between(x[int(image)], *np.clip(at, 0, [height - 1, width - 1])))
            y[(r, slice(None), *bin)] = np.mean(found, 0) if found else 0
    return y


# -- a weight for each place ---------------------------------------------------------------------------------------

# input, weight, stride, padding, dilation
LOCAL = [
    ((2, 3, 4, 5), (1, 2, 3, 3, 3, 3, 4), (1, 1), (0, 0), (1, 1)),
    ((1, 4, 4, 2), (2, 2, 3, 2, 3, 2, 2), (2, 1), (1, 1), (1, 1)),
    ((2, 1, 4, 4), (1, 2, 2, 1, 2, 2, 2), (1, 1), (0, 0), (2, 2)),
    ((0, 2, 5, 4), (1, 5, 4, 2, 1, 1, 3), (1, 1), (0, 0), (1, 1)),
]


@pytest.mark.parametrize("shape, weight, stride, padding, dilation", LOCAL)
def test_local_conv2d(shape, weight, stride, padding, dilation):
    x, w, b = random(shape), random(weight, seed=1), random((1, weight[0] * weight[-1], 1, 1), seed=2)
    truth = local_conv2d(x, w, stride, padding, dilation)
    tensors = [Tensor(v, dtype="float32") for v in (x, w, b)]
    assert_close(F.local_conv2d(*tensors[:2], None, stride, padding, dilation), truth, "float32", factor=20)
    assert_close(F.local_conv2d(*tensors, stride, padding, dilation), truth + b, factor=20)
    assert_close(F.local_conv2d(*tensors[:2], tensors[2].flatten(), stride, padding, dilation), truth + b, factor=20)


@pytest.mark.parametrize("shape, weight, stride, padding, dilation", LOCAL[1:3])
def test_gradients_of_local_conv2d(shape, weight, stride, padding, dilation):
    x, w, b = random(shape), random(weight, seed=1), random((1, weight[0] * weight[-1], 1, 1), seed=2)
    check_gradient(lambda x, w, b: F.local_conv2d(x, w, b, stride, padding, dilation), [x, w, b])
    if stride == (1, 1):
        check_second_gradient(lambda x, w: F.local_conv2d(x, w, None, stride, padding, dilation), [x, w])


# -- regions -------------------------------------------------------------------------------------------------------

# input, weight, stride, padding, dilation
RESTRICTED = [
    ((2, 4, 5, 6), (4, 1, 1, 3, 3), (1, 1), (1, 1), (1, 1)),
    ((1, 2, 5, 6), (2, 3, 1, 3, 2), (2, 1), (1, 0), (1, 2)),
    ((2, 4, 5, 6), (2, 3, 2, 3, 3), (1, 2), (1, 1), (1, 1)),
    ((1, 3, 4, 4), (1, 5, 3, 2, 2), (1, 1), (0, 1), (2, 1)),
    ((0, 3, 4, 4), (1, 5, 3, 2, 2), (1, 1), (0, 0), (1, 1)),
]


def regions(shape, kernel, stride, padding, dilation):
    room = [s + 2 * p for s, p in zip(shape[2:], padding, strict=True)]
    out = windows.counts(room, kernel, stride, dilation)
    drawn = np.random.default_rng(4)
    return drawn.integers(-1, 2, (shape[0], *shape[2:])), drawn.integers(-1, 2, (shape[0], *out))


@pytest.mark.parametrize("shape, weight, stride, padding, dilation", RESTRICTED)
def test_region_restricted_conv(shape, weight, stride, padding, dilation):
    x, w, b = random(shape), random(weight, seed=1), random((1, weight[0] * weight[1], 1, 1), seed=2)
    rin, rout = regions(shape, weight[3:], stride, padding, dilation)
    truth, steps = region_restricted(x, w, rin, rout, stride, padding, dilation), (stride, padding, dilation, weight[0])
    tensors = [Tensor(v, dtype="float32") for v in (x, w)]
    for dtype in ("int32", "int8"):
        given = [Tensor(r, dtype=dtype) for r in (rin, rout)]
        assert_close(F.region_restricted_conv(*tensors, *given, Tensor(b, "float32"), *steps), truth + b, "float32", 20)
    whole = Tensor(w.reshape(-1, *weight[2:]), dtype="float32")
    assert_close(F.region_restricted_conv(tensors[0], whole, *given, None, *steps), truth, factor=20)
    if shape[0] == 1:
        check_gradient(lambda x, w, b: F.region_restricted_conv(x, w, *given, b, *steps), [x, w, b])
        check_second_gradient(lambda x, w: F.region_restricted_conv(x, w, *given, None, *steps), [x, w])


def test_what_another_region_holds_does_not_matter():
    x, given = Tensor([[[[np.nan, 1.0, 2.0]]]]), Tensor([[[0, 1, 1]]])
    for weight in (F.ones((1, 1, 1, 1, 3)), F.ones((2, 1, 1, 3))):
        y = F.region_restricted_conv(x, weight, given, given, padding=(0, 1))
        np.testing.assert_array_equal(y.numpy()[0, 0, 0], [np.nan, 3.0, 3.0])


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_a_border_keeps_its_regions(mode):
    x, w = random((1, 2, 4, 5)), random((2, 1, 1, 3, 3), seed=1)
    rin, rout = np.arange(20).reshape(1, 4, 5) % 3, np.arange(20).reshape(1, 4, 5) // 2 % 3
    layer = M.RegionRestrictedConv(2, 2, 3, groups=2, bias=False, padding=1, padding_mode=mode)
    layer.weight[...] = Tensor(w, "float32")
    kind = {"mode": {"reflect": "reflect", "replicate": "edge"}[mode]}
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), **kind), np.pad(rin, ((0, 0), (1, 1), (1, 1)), **kind)
    truth = region_restricted(wide[0], w, wide[1], rout, (1, 1), (0, 0), (1, 1))
    assert_close(layer(Tensor(x, "float32"), Tensor(rin), Tensor(rout)), truth, factor=20)


# -- offsets -------------------------------------------------------------------------------------------------------

# input, weight, parts, stride, padding, dilation, groups
DEFORMABLE = [
    ((2, 1, 4, 4), (2, 1, 3, 3), 1, (1, 1), (1, 1), (1, 1), 1),
    ((1, 2, 4, 6), (2, 1, 2, 3), 2, (2, 1), (1, 0), (1, 2), 2),
    ((2, 4, 3, 4), (2, 4, 1, 1), 4, (1, 1), (0, 0), (1, 1), 1),
]


def offsets(shape, weight, parts, stride, padding, dilation):
    """Offsets that lie between pixels, where everything is smooth, and masks."""
    room = [s + 2 * p for s, p in zip(shape[2:], padding, strict=True)]
    out, taps = windows.counts(room, weight[2:], stride, dilation), parts * weight[2] * weight[3]
    drawn = np.random.default_rng(5)
    whole = drawn.integers(-3, 3, (shape[0], 2 * taps, *out))
    return whole + drawn.integers(1, 8, whole.shape) / 8, drawn.integers(0, 8, (shape[0], taps, *out)) / 4


@pytest.mark.parametrize("shape, weight, parts, stride, padding, dilation, groups", DEFORMABLE)
def test_deformable_conv2d(shape, weight, parts, stride, padding, dilation, groups):
    x, w, b = random(shape), random(weight, seed=1), random((1, weight[0], 1, 1), seed=2)
    offset, mask = offsets(shape, weight, parts, stride, padding, dilation)
    truth, steps = (
        deformable(x, w, offset, mask, stride, padding, dilation, groups),
        (stride, padding, dilation, groups),
    )
    tensors = [Tensor(v, dtype="float32") for v in (x, w, offset, mask, b)]
    assert_close(F.deformable_conv2d(*tensors[:4], None, *steps), truth, "float32", factor=20)
    assert_close(F.deformable_conv2d(*tensors, *steps), truth + b, factor=20)
    if groups > 1:
        split = Tensor(w.reshape(groups, weight[0] // groups, *weight[1:]), dtype="float32")
        assert_close(F.deformable_conv2d(tensors[0], split, *tensors[2:4], None, *steps), truth, factor=20)
    if parts == 2:
        check_gradient(lambda *v: F.deformable_conv2d(*v, *steps), [x, w, offset, mask, b])


def test_second_gradient_of_deformable_conv2d():
    shape, weight, parts, *steps = ((1, 1, 3, 3), (1, 1, 2, 2), 1, (1, 1), (0, 0), (1, 1))
    offset, mask = offsets(shape, weight, parts, *steps)
    arrays = [random(shape), random(weight, seed=1), offset, mask]
    check_second_gradient(lambda *v: F.deformable_conv2d(*v, None, *steps), arrays)


def test_offsets_that_are_far_away_see_nothing():
    x, w, mask = F.ones((1, 1, 3, 3)), F.ones((1, 1, 1, 1)), F.ones((1, 1, 3, 3))
    for far in (3.0, -3.0, 1e9, -np.inf):
        assert (
            F.deformable_conv2d(x, w, F.full((1, 2, 3, 3), far), mask).numpy().tolist()
            == np.zeros((1, 1, 3, 3)).tolist()
        )


# no_trans, part, size, points, scale, spread
POOLED = [
    (True, 1, (2, 3), 2, 0.5, 0.1),
    (False, 2, (2, 2), 3, 1.0, 0.2),
    (False, 2, (4, 3), 2, 0.5, 0.3),
]
ROIS = np.array([[0, 1, 1, 5, 4], [1, -3, 2.5, 9, 3], [1, 2, 2, 2, 2], [0, 40, 40, 50, 50]])


@pytest.mark.parametrize("still, part, size, points, scale, spread", POOLED)
def test_deformable_psroi_pooling(still, part, size, points, scale, spread):
    x = random((2, 3, 6, 7))
    trans = np.random.default_rng(6).uniform(-1, 1, (len(ROIS), 2, part, part))
    truth = psroi(x, ROIS, trans, still, part, size, points, scale, spread)

    def pooled(x, trans):
        return F.deformable_psroi_pooling(x, Tensor(ROIS, x.dtype), trans, still, part, *size, points, scale, spread)

    assert_close(pooled(Tensor(x, "float32"), Tensor(trans, "float32")), truth, "float32", factor=20)
    if points == 3:
        check_gradient(pooled, [x[:, :1], trans])


def test_a_region_of_no_image():
    with pytest.raises(IndexError):
        F.deformable_psroi_pooling(
            F.ones((1, 1, 4, 4)), Tensor([[1.0, 0, 0, 3, 3]]), F.zeros((1, 2, 1, 1)), True, 1, 1, 1, 1, 1.0
        ).numpy()


# -- a weight for each image ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, groups", [(2, 1), (3, 2), (1, 1), (0, 1)])
def test_batch_conv_bias_activation(n, groups):
    x, w, b = random((n, 4, 5, 6)), random((n, 6, 4 // groups, 3, 2), seed=1), random((1, 6, 1, 1), seed=2)
    steps = ((2, 1), (1, 0), (1, 2), groups)
    made = [windows.conv2d(x[i : i + 1], w[i], *steps) + b for i in range(n)]
    truth = np.concatenate(made) if n else np.zeros((0, 6, 3, 4))
    tensors = [Tensor(v, dtype="float32") for v in (x, w, b)]
    call = F.quantized.batch_conv_bias_activation
    assert_close(call(*tensors, None, *steps), truth, "float32", factor=20)
    assert_close(call(*tensors, "float16", *steps, "RELU"), np.maximum(truth, 0), "float16", factor=4)
    if groups > 1:
        split = Tensor(w.reshape(n, groups, 6 // groups, *w.shape[2:]), dtype="float32")
        assert_close(call(tensors[0], split, tensors[2], None, *steps), truth, factor=20)
    if n == 2:
        check_gradient(lambda x, w, b: call(x, w, b, None, *steps), [x, w, b])


def test_conv_bias_activation():
    x, w, b = random((2, 3, 5, 6)), random((4, 3, 3, 3), seed=1), random((1, 4, 1, 1), seed=2)
    y, tensors = windows.conv2d(x, w) + b, [Tensor(v, dtype="float32") for v in (x, w, b)]
    modes = {"relu": np.maximum(y, 0), "sigmoid": 1 / (1 + np.exp(-y)), "h_swish": y * np.clip(y + 3, 0, 6) / 6}
    for mode, truth in (modes | {"identity": y}).items():
        assert_close(F.quantized.conv_bias_activation(*tensors, nonlinear_mode=mode), truth, "float32", factor=20)


# -- all of them ---------------------------------------------------------------------------------------------------

REGIONS = Tensor(np.arange(60).reshape(3, 4, 5) % 3)
OFFSET, MASK = offsets((3, 4, 4, 5), (4, 4, 3, 3), 1, (1, 1), (1, 1), (1, 1))
CALLS = {
    "local": (lambda x, w: F.local_conv2d(x, w, padding=1), (1, 4, 5, 4, 3, 3, 4)),
    "restricted": (lambda x, w: F.region_restricted_conv(x, w, REGIONS, REGIONS, padding=1), (1, 4, 4, 3, 3)),
    "restricted channels": (
        lambda x, w: F.region_restricted_conv(x, w, REGIONS, REGIONS, padding=1, groups=4), (4, 1, 1, 3, 3),
    ),
    "deformable": (lambda x, w: F.deformable_conv2d(x, w, *(Tensor(v, "float32") for v in (OFFSET, MASK)), padding=1), (4, 4, 3, 3)),
    "batch": (lambda x, w: F.quantized.batch_conv_bias_activation(x, w, F.zeros(4), padding=1), (3, 4, 4, 3, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_layouts_dtypes_and_modes(name):
    call, weight = CALLS[name]
    x, w = random((3, 4, 4, 5)), random(weight, seed=1)
    plain = call(Tensor(x, "float64"), Tensor(w, "float64")).numpy()
    for layout in ("transposed", "reversed", "channels last", "stretched"):
        a, b = (np.broadcast_to(v[:1], v.shape) if layout == "stretched" else v for v in (x, w))
        want = call(Tensor(a, "float64"), Tensor(b, "float64")).numpy() if layout == "stretched" else plain
        assert_close(call(laid_out(a, layout), laid_out(b, layout)), want, "float32", factor=20)
    assert_close(call(Tensor(x, "bfloat16"), Tensor(w, "bfloat16")), plain, "bfloat16", factor=8)
    traced = trace(lambda x, w: call(x, w) * 1.0, symbolic=True, capture_as_const=True)
    for _ in range(2):
        assert_close(traced(Tensor(x, "float32"), Tensor(w, "float32")), plain, "float32", factor=20)
    file = io.BytesIO()
    traced.dump(file)
    file.seek(0)
    assert_close(jit.load(file)(Tensor(x, "float32"), Tensor(w, "float32")), plain, "float32", factor=20)


X, W = F.zeros((1, 4, 5, 5)), F.zeros((2, 4, 3, 3))
ERRORS = [
    (lambda: F.local_conv2d(X, W), "local_conv2d takes a weight .groups, OH, OW"),
    (lambda: F.local_conv2d(X, F.zeros((1, 2, 3, 4, 3, 3, 2))), r"it must be \(groups, 3, 3, 4 / groups, kh, kw"),
    (lambda: F.local_conv2d(X[0], F.zeros((1, 3, 3, 4, 3, 3, 2))), r"local_conv2d takes an input \(N, C, H, W\)"),
    (lambda: F.local_conv2d(X, F.zeros((1, 1, 1, 4, 7, 3, 2))), r"local_conv2d: a kernel of \(7, 3\)"),
    (lambda: F.local_conv2d(X, F.zeros((1, 3, 3, 4, 3, 3, 2)), conv_mode="convolution"), "local_conv2d: conv_mode"),
    (lambda: F.region_restricted_conv(X, W, REGIONS, REGIONS), r"rin must have shape \(1, 5, 5\), got \(3, 4, 5\)"),
    (lambda: F.region_restricted_conv(X, W, X[:, 0], X[:, 0]), "rin must be integers, got float32"),
    (lambda: F.region_restricted_conv(X, W, REGIONS, REGIONS, groups=2), "does not fit an input of shape .* in 2 groups"),
    (lambda: F.deformable_conv2d(X, W, F.zeros((1, 18, 3, 3)), F.zeros((1, 8, 3, 3))), r"they must be \(1, 2 \* 9 \* parts, 3, 3\)"),
    (lambda: F.deformable_conv2d(X, W, F.zeros((1, 9, 3, 3)), F.zeros((1, 9, 3, 3))), "do not fit a result of"),
    (lambda: F.deformable_conv2d(X, W, F.zeros((1, 54, 3, 3)), F.zeros((1, 27, 3, 3))), "3 parts does not fit 4 channels"),
    (lambda: F.deformable_conv2d(X, W[:, :3], X, X), "deformable_conv2d: an input of 4 channels"),
    (lambda: F.deformable_psroi_pooling(X, F.zeros((1, 4)), X, True, 1, 1, 1, 1, 1.0), r"rois must have shape \(R, 5\)"),
    (lambda: F.deformable_psroi_pooling(X, F.zeros((1, 5)), X, False, 1, 1, 1, 1, 1.0), r"trans must have shape \(1, 2, 1, 1\)"),
    (lambda: F.quantized.batch_conv_bias_activation(X, W, F.zeros(2)), "batch_conv2d: a weight of shape"),
    (lambda: F.quantized.conv_bias_activation(X, W, F.zeros(2), "int8"), "dtype must be a float or a quantised dtype, got 'int8'"),
    (lambda: F.quantized.conv_bias_activation(X, W, F.zeros(2), nonlinear_mode="tanh"), "nonlinear_mode must be one of identity"),
    (lambda: M.LocalConv2d(4, 4, 2, 2, 3), "LocalConv2d: a kernel of .3, 3. does not fit into images of .2, 2."),
    (lambda: M.RegionRestrictedConv(4, 4, 3, padding_mode="mirror"), "padding_mode must be one of"),
    (lambda: M.BatchMatMulActivation(1, 2, 3, nonlinear_mode="tanh"), "nonlinear_mode must be 'identity' or 'relu'"),
]  # fmt: skip


@pytest.mark.parametrize("call, message", ERRORS)
def test_bad_input(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
