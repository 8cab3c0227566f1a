"""Images read at computed positions, against the filters and borders written down in float64 NumPy, pixel by pixel."""

from __future__ import annotations

from math import floor, pi, sin

import numpy as np
import pytest
from checks import assert_close, check_gradient, check_second_gradient, laid_out, random

import tengen.functional as F
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.jit import trace


def border(index: int, extent: int, mode: str) -> int | None:
    """The pixel that stands for one outside, None for the constant."""
    if mode == "constant":
        return index if 0 <= index < extent else None
    if mode == "replicate":
        return min(max(index, 0), extent - 1)
    if mode == "wrap":
        return index % extent
    line = (
        [*range(extent), *reversed(range(extent))] if mode == "reflect" else [*range(extent), *range(extent - 2, 0, -1)]
    )
    return line[index % len(line)]


def cubic(d: float, a: float = -0.75) -> float:
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def lanczos(d: float) -> float:
    return 1.0 if d == 0 else sin(pi * d) / (pi * d) * sin(pi * d / 4) / (pi * d / 4) if d < 4 else 0.0


def weights(position: float, filter: str) -> dict[int, float]:
    if filter == "nearest":
        return {round(position): 1.0}
    kernel = {"linear": lambda d: max(1 - d, 0.0), "cubic": cubic, "lanczos4": lanczos}[filter]
    found = {k: kernel(abs(position - k)) for k in range(floor(position) - 3, floor(position) + 5)}
    return {k: w / sum(found.values()) for k, w in found.items()}


def at(image: np.ndarray, row: float, column: float, filter: str, mode: str, fill: float) -> np.ndarray:
    """The channels of an image (C, H, W) at one position."""
    total = np.zeros(image.shape[0])
    for i, v in weights(row, filter).items():
        for j, w in weights(column, filter).items():
            y, x = border(i, image.shape[1], mode), border(j, image.shape[2], mode)
            total = total + v * w * (fill if y is None or x is None else image[:, y, x])
    return total


def remapped(images: np.ndarray, places: np.ndarray, filter: str, mode: str, fill: float) -> np.ndarray:
    out = np.zeros((*places.shape[:1], images.shape[1], *places.shape[1:3]))
    for n, i, j in np.ndindex(*places.shape[:3]):
        out[n, :, i, j] = at(images[n], places[n, i, j, 1], places[n, i, j, 0], filter, mode, fill)
    return out


BORDERS = ["replicate", "reflect", "reflect_101", "wrap", "constant"]
READINGS = [(f, b) for f in ("linear", "nearest") for b in BORDERS]
READINGS += [("cubic", "replicate"), ("cubic", "constant"), ("lanczos4", "reflect")]
PLACES = np.random.default_rng(1).uniform(-9, 14, (2, 5, 6, 2)).astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("filter, mode", READINGS)
def test_remap(filter, mode):
    images = random((2, 3, 4, 5))
    truth = remapped(images, PLACES, filter, mode, 0.5)
    found = F.vision.remap(Tensor(images, dtype="float32"), Tensor(PLACES, dtype="float32"), mode, 0.5, filter)
    assert_close(found, truth, "float32", factor=20)
    bytes_ = np.random.default_rng(0).integers(0, 256, (2, 1, 4, 5))
    found = F.remap(Tensor(bytes_, dtype="uint8"), Tensor(PLACES, dtype="float32"), mode, 200, filter)
    exact = np.clip(remapped(bytes_.astype(np.float64), PLACES, filter, mode, 200), 0, 255)
    assert found.dtype == np.uint8 and np.abs(found.numpy() - exact).max() <= 0.5 + 1e-3
    if filter == "linear" or (filter, mode) == ("cubic", "constant"):
        check_gradient(lambda x, m: F.vision.remap(x, m, mode, 0.5, filter), [images[:1, :2], PLACES[:1, :2]])


@pytest.mark.parametrize("layout", ["channels last", "reversed", "every second", "stretched"])
def test_remap_of_layouts(layout):
    images = random((2, 3, 4, 5))
    seen = np.broadcast_to(images[:1], images.shape) if layout == "stretched" else images
    found = F.vision.remap(laid_out(images, layout), Tensor(PLACES, dtype="float32"), "wrap")
    assert_close(found, remapped(seen, PLACES, "linear", "wrap", 0), "float32", factor=20)


@pytest.mark.parametrize("layout", ["plain", "channels last", "reversed"])
@pytest.mark.parametrize(
    "shape, dtype", [((2, 40, 9, 8), "float32"), ((1, 130, 9, 8), "float32"), ((2, 20, 9, 8), "float16")]
)
def test_remap_of_many_channels(shape, dtype, layout):
    """They are read and written in rows. Of each result only its own place matters, so differences give its gradient."""
    places = np.random.default_rng(2).uniform(-2, 10, (shape[0], 32, 33, 2)).astype(np.float32).astype(np.float64)
    images, g = random(shape), random((*shape[:2], 32, 33))
    x = Tensor(images, dtype=dtype) if layout == "plain" else laid_out(images, layout, dtype)
    m = Tensor(places, dtype="float32")
    gm = GradManager().attach([x, m])
    with gm:
        found = F.remap(x, m)
        gm.backward(found, Tensor(g, dtype=dtype))
    assert_close(found, remapped(images, places, "linear", "replicate", 0), dtype, factor=40)
    added, moved = np.zeros(shape), np.zeros(places.shape)
    for n, i, j in np.ndindex(*places.shape[:3]):
        column, row = places[n, i, j]
        for r, v in weights(row, "linear").items():
            for c, w in weights(column, "linear").items():
                added[n, :, border(r, 9, "replicate"), border(c, 8, "replicate")] += v * w * g[n, :, i, j]
    for axis in (0, 1):
        off = np.array([1e-4, 0] if axis == 0 else [0, 1e-4])
        up, down = (remapped(images, places + s * off, "linear", "replicate", 0) for s in (1, -1))
        moved[..., axis] = (g * (up - down)).sum(1) / 2e-4
    np.testing.assert_allclose(x.grad.numpy(), added, *((1e-3, 1e-3) if dtype == "float32" else (0.1, 0.5)))
    near = np.abs(places - np.rint(places)).min(-1) < 2e-4  # there the slope changes
    near |= np.abs(places + 0.5).min(-1) < 2e-4
    np.testing.assert_allclose(m.grad.numpy()[~near], moved[~near], rtol=1e-2, atol=2e-2 if dtype == "float32" else 0.2)


@pytest.mark.parametrize("filter", ["linear", "cubic", "lanczos4", "nearest"])
@pytest.mark.parametrize("mode, border", [("replicate", -np.inf), ("constant", 0.5)])
def test_far_outside_an_infinite_pixel_is_seen_as_it_is(filter, mode, border):
    """Wherever that is: no pixel is taken with a weight of 0."""
    if mode == "replicate" and filter in ("cubic", "lanczos4"):
        border = np.nan  # some of their weights are negative
    image = Tensor(np.full((1, 1, 2, 3), -np.inf), dtype="float32")
    far = [[-9.0, -8.5, -1e9, -np.inf], [11.0, 10.5, 1e9, np.inf]]
    places = np.stack(np.broadcast_arrays(np.reshape(far, (8, 1)), np.reshape(far, (1, 8))), -1)[None]
    found = F.vision.remap(image, Tensor(places, dtype="float32"), mode, 0.5, filter)
    np.testing.assert_allclose(found.numpy(), np.full((1, 1, 8, 8), border), 1e-6)


def test_remap_second_gradient():
    check_second_gradient(lambda x, m: F.vision.remap(x * x, m), [random((1, 2, 3, 3)), PLACES[:1, :2, :2]])


def projected(images, matrices, which, size, filter, mode, fill):
    places = np.empty((len(matrices), *size, 2))
    for m, i, j in np.ndindex(*places.shape[:3]):
        u = matrices[m] @ [j, i, 1]
        places[m, i, j] = u[:2] / (u[2] if len(u) == 3 else 1)
    return remapped(images[which], places, filter, mode, fill)


MATRICES = np.array(
    [[[0.9, 0.2, 0.3], [-0.1, 1.1, -0.7], [0.02, 0.05, 1.0]], [[1.3, -0.4, -2.13], [0.3, 0.8, 1.07], [0, 0, 1]]]
)


@pytest.mark.parametrize("mode", BORDERS)
def test_warp_perspective(mode):
    images = random((3, 2, 4, 5))
    truth = projected(images, MATRICES, [2, 0], (3, 6), "linear", mode, 0.25)
    how = {"border_mode": mode, "border_val": 0.25}
    matrices = Tensor(MATRICES, dtype="float32")
    for which in ([2, 0], (i for i in (2, 0)), Tensor([2, 0]), np.array([2, 0])):
        found = F.warp_perspective(Tensor(images, dtype="float32"), matrices, (3, 6), which, **how)
        assert_close(found, truth, "float32", factor=20)
    last = Tensor(images.transpose(0, 2, 3, 1), dtype="float32")
    found = F.nn.warp_perspective(last, matrices, Tensor([3, 6]), [2, 0], format="NHWC", **how)
    assert_close(found, truth.transpose(0, 2, 3, 1), "float32", factor=20)
    if mode == "replicate":
        check_gradient(lambda x, m: F.vision.warp_perspective(x, m, (2, 3), **how), [images[:2, :1], MATRICES])
        check_gradient(lambda x, m: F.vision.warp_perspective(x, m, 2, [1, 1], **how), [images[:2, :1], MATRICES])


@pytest.mark.parametrize("filter", ["linear", "cubic", "lanczos4"])
def test_warp_affine(filter):
    images = random((2, 2, 4, 5))
    truth = projected(images, MATRICES[:, :2], [0, 1], (3, 6), filter, "reflect", 0)
    how = {"border_mode": "reflect", "interp_mode": filter}
    last = Tensor(images.transpose(0, 2, 3, 1), dtype="float32")
    matrices = Tensor(MATRICES[:, :2], dtype="float32")
    assert_close(F.warp_affine(last, matrices, (3, 6), **how), truth.transpose(0, 2, 3, 1), "float32", factor=20)
    planes = F.nn.warp_affine(Tensor(images, dtype="float32"), matrices, (3, 6), format="NCHW", **how)
    assert_close(planes, truth, "float32", factor=20)
    if filter == "linear":
        check_gradient(lambda x, m: F.vision.warp_affine(x, m, (2, 3), **how), [images[:, :1], MATRICES[:, :2]])


def test_what_is_nearest_of_two():
    row = Tensor([[[[0.0, 1.0, 2.0, 3.0]]]])
    places = [[[[p, 0.0] for p in (-0.5, 0.5, 1.5, 2.5)]]]
    assert F.remap(row, Tensor(places), interp_mode="nearest").tolist() == [[[[0, 0, 2, 2]]]]
    half = Tensor([[[1.0, 0.0, -0.5], [0.0, 1.0, 0.0]]])
    found = F.warp_affine(row, half, (1, 4), format="NCHW", interp_mode="nearest")
    assert found.tolist() == [[[[0, 1, 2, 3]]]]


def test_positions_that_are_no_numbers():
    row = Tensor([[[[1.0, 2.0, 3.0]]]])
    places = Tensor([[[[np.inf, 0], [-np.inf, 0], [1e30, 0], [np.nan, 0]]]])
    assert F.remap(row, places).tolist()[0][0][0][:3] == [3, 1, 3]
    assert F.remap(row, places, "constant", 9).tolist()[0][0][0][:3] == [9, 9, 9]
    for mode in BORDERS:
        assert np.isnan(F.remap(row, places, mode).numpy()[0, 0, 0, 3])
    whole = Tensor([[[[1, 2, 3]]]], dtype="uint8")
    assert F.remap(whole, places, "wrap").shape == (1, 1, 1, 4)  # and nothing outside is read


@pytest.mark.parametrize("shape", [(0, 2, 3, 3), (2, 0, 3, 3)])
def test_no_images(shape):
    assert F.remap(F.zeros(shape), F.zeros((shape[0], 2, 4, 2))).shape == (*shape[:2], 2, 4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int8", "int32"])
def test_dtypes(dtype):
    images = np.arange(16.0).reshape(1, 1, 4, 4)
    places = [[[[0.5, 1.0], [2.0, 1.5], [3.0, 3.0]]]]
    found = F.remap(Tensor(images, dtype=dtype), Tensor(places))
    truth = [4.5, 8, 15] if "float" in dtype else [5, 8, 15]
    assert str(found.desc.dtype) == dtype and found.numpy().ravel().astype(float).tolist() == truth


def test_traced():
    images, places = Tensor(random((2, 2, 4, 5)), dtype="float32"), Tensor(PLACES, dtype="float32")
    matrices = Tensor(MATRICES, dtype="float32")

    def both(x, m, p):
        return F.remap(x, p), F.warp_perspective(x, m, (3, 3), Tensor([1, 0]))

    for how in ({}, {"without_host": True}):
        traced = trace(both, **how)
        for _ in range(3):
            for found, wanted in zip(traced(images, matrices, places), both(images, matrices, places), strict=True):
                np.testing.assert_array_equal(found.numpy(), wanted.numpy())


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda x, m: F.remap(x, m), ValueError, r"map_xy of shape \(1, 3, 3\) does not fit"),
        (lambda x, m: F.remap(x[0], F.zeros((1, 2, 2, 2))), ValueError, "remap takes an image"),
        (lambda x, m: F.remap(F.zeros((1, 1, 0, 3)), F.zeros((1, 2, 2, 2))), ValueError, "not empty"),
        (lambda x, m: F.remap(x, F.zeros((1, 2, 2, 2)), "mirror"), ValueError, "remap: border_mode must be one of"),
        (
            lambda x, m: F.remap(x, F.zeros((1, 2, 2, 2)), interp_mode="area"),
            ValueError,
            "remap: interp_mode must be one of",
        ),
        (lambda x, m: F.warp_perspective(x, m[0], 2), ValueError, r"takes matrices \(N, 3, 3\)"),
        (lambda x, m: F.warp_affine(x, m, 2), ValueError, r"takes matrices \(N, 2, 3\)"),
        (lambda x, m: F.warp_perspective(F.zeros((2, 1, 3, 3)), m, 2), ValueError, "2 images and 1 matrices.*mat_idx"),
        (lambda x, m: F.warp_perspective(x, m, 2, [0, 0]), ValueError, "does not fit 1 matrices"),
        (lambda x, m: F.warp_perspective(x, m, 2, [0.5]), TypeError, "mat_idx must be integers"),
        (lambda x, m: F.warp_perspective(x, m, 2, [1]), IndexError, "out of range"),
        (lambda x, m: F.warp_perspective(x, m, (2, 2, 2)), ValueError, "out_shape takes one or two integers"),
        (lambda x, m: F.warp_perspective(x, m, (0, 2)), ValueError, "out_shape takes one or two integers >= 1"),
        (lambda x, m: F.warp_perspective(x, m, 2, format="CHWN"), ValueError, "format must be one of NCHW, NHWC"),
        (
            lambda x, m: F.remap(x.astype("uint8"), F.zeros((1, 2, 2, 2)), "constant", 300),
            OverflowError,
            "does not fit uint8",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(F.zeros((1, 1, 3, 3)), F.zeros((1, 3, 3)))
