"""Convolutions of volumes against NumPy in float64, and against figures of PyTorch 2."""

from __future__ import annotations

import numpy as np
import pytest
import windows
from checks import LAYOUTS, assert_close, check_gradient, check_second_gradient, laid_out, random

import tengen.functional as F
import tengen.module as M
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.jit import trace

# input, weight (out, in / groups, kd, kh, kw), stride, padding, dilation, groups
CONVOLUTIONS = [
    ((1, 1, 1, 1, 1), (1, 1, 1, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, 1), 1),
    ((2, 3, 4, 7, 6), (4, 3, 3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1),
    ((2, 3, 5, 7, 6), (4, 3, 2, 3, 2), (2, 2, 1), (0, 1, 0), (1, 1, 2), 1),
    ((1, 4, 6, 5, 8), (6, 2, 3, 3, 3), (1, 2, 2), (2, 1, 1), (2, 1, 1), 2),
    ((2, 17, 3, 5, 4), (20, 17, 1, 1, 1), (2, 1, 2), (0, 0, 0), (1, 1, 1), 1),
    ((2, 16, 4, 5, 6), (16, 1, 3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), 16),
    ((0, 3, 4, 5, 5), (4, 3, 3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1),
    ((2, 0, 4, 5, 5), (4, 0, 3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1),
]


@pytest.mark.parametrize("shape, kernel, stride, padding, dilation, groups", CONVOLUTIONS)
def test_conv3d(shape, kernel, stride, padding, dilation, groups):
    x, w, b = random(shape), random(kernel, seed=1), random((1, kernel[0], 1, 1, 1), seed=2)
    truth = windows.conv(x, w, stride, padding, dilation, groups)
    tensors = [Tensor(v, dtype="float32") for v in (x, w, b)]
    parameters = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    assert_close(F.conv3d(tensors[0], tensors[1], **parameters), truth, "float32", factor=20)
    assert_close(F.conv3d(*tensors, **parameters), truth + b, factor=20)
    if groups > 1:
        split = Tensor(w.reshape(groups, kernel[0] // groups, *kernel[1:]), dtype="float32")
        assert_close(F.conv3d(tensors[0], split, **parameters), truth, factor=20)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    x, w = random((3, 4, 3, 5, 4)), random((3, 4, 2, 3, 2), seed=1)
    if layout == "stretched":
        x, w = np.broadcast_to(x[:1], x.shape), np.broadcast_to(w[:1], w.shape)
    truth = windows.conv(x, w, (1, 2, 1), (1, 0, 1), (1, 1, 1))
    for a, b in ((laid_out(x, layout), Tensor(w, "float32")), (Tensor(x, "float32"), laid_out(w, layout))):
        assert_close(F.conv3d(a, b, stride=(1, 2, 1), padding=(1, 0, 1)), truth, "float32", factor=20)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_of_floats(dtype):
    x, w = random((2, 4, 3, 5, 4)), random((6, 4, 3, 3, 3), seed=1)
    result = F.conv3d(Tensor(x, dtype=dtype), Tensor(w, dtype=dtype), padding=1)
    assert_close(result, windows.conv(x, w, (1, 1, 1), (1, 1, 1), (1, 1, 1)), dtype, factor=20)


SMALL = [
    ((1, 2, 3, 4, 3), (3, 2, 2, 2, 2), (1, 1, 1), (0, 0, 0), (1, 1, 1), 1),
    ((2, 2, 3, 4, 4), (2, 1, 3, 3, 3), (1, 2, 2), (1, 1, 1), (1, 1, 1), 2),
    ((1, 4, 4, 3, 2), (2, 2, 2, 2, 1), (2, 1, 1), (1, 0, 1), (2, 1, 1), 2),
]


@pytest.mark.parametrize("shape, kernel, stride, padding, dilation, groups", SMALL)
def test_gradients(shape, kernel, stride, padding, dilation, groups):
    arrays = [random(shape), random(kernel, seed=1), random((1, kernel[0], 1, 1, 1), seed=2)]
    check_gradient(lambda x, w, b: F.conv3d(x, w, b, stride, padding, dilation, groups), arrays)
    check_second_gradient(lambda x, w: F.conv3d(x, w, None, stride, padding, dilation, groups), arrays[:2])


TRANSPOSED = [
    ((1, 4, 2, 3, 3), (4, 2, 3, 3, 2), (1, 1, 1), (0, 0, 0), (0, 0, 0), (1, 1, 1), 1),
    ((2, 4, 3, 2, 4), (4, 2, 3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1),
    ((2, 4, 3, 2, 4), (4, 3, 2, 3, 2), (1, 2, 3), (1, 1, 0), (0, 1, 2), (1, 1, 1), 2),
    ((1, 3, 2, 3, 2), (3, 1, 2, 2, 2), (2, 2, 1), (0, 1, 0), (1, 0, 0), (1, 2, 1), 3),
    ((1, 2, 2, 2, 3), (2, 1, 1, 2, 1), (1, 3, 1), (0, 1, 0), (1, 2, 1), (2, 2, 2), 2),  # one of the stride
]


@pytest.mark.parametrize("shape, kernel, stride, padding, output_padding, dilation, groups", TRANSPOSED)
def test_conv_transpose3d(shape, kernel, stride, padding, output_padding, dilation, groups):
    x, w, b = random(shape), random(kernel, seed=1), random((1, kernel[1] * groups, 1, 1, 1), seed=2)
    truth = windows.conv_transpose(x, w, stride, padding, output_padding, dilation, groups)
    tensors = [Tensor(v, dtype="float32") for v in (x, w, b)]
    parameters = (stride, padding, output_padding, dilation, groups)
    assert_close(F.conv_transpose3d(tensors[0], tensors[1], None, *parameters), truth, "float32", factor=20)
    assert_close(F.conv_transpose3d(*tensors, *parameters), truth + b, factor=20)
    split = Tensor(w.reshape(groups, kernel[0] // groups, *kernel[1:]), dtype="float32")
    assert_close(F.conv_transpose3d(tensors[0], split, None, *parameters), truth, factor=20)
    if groups == 1 and stride == (1, 1, 1):
        return
    small = [x[:1, :, :2, :2, :2], w]
    check_gradient(lambda x, w: F.conv_transpose3d(x, w, None, *parameters), small)
    check_second_gradient(lambda x, w: F.conv_transpose3d(x, w, None, *parameters), small)


def test_traced_without_host():
    x, w = random((1, 2, 3, 4, 4)), random((3, 2, 2, 3, 3), seed=1)
    layer = M.Conv3d(2, 3, (2, 3, 3))
    layer.weight[...] = Tensor(w, "float32")
    traced = trace(lambda x: F.relu(layer(x)), symbolic=True)
    truth = np.maximum(windows.conv(x, w, (1, 1, 1), (0, 0, 0), (1, 1, 1)), 0)
    for _ in range(3):
        assert_close(traced(Tensor(x, "float32")), truth, "float32", factor=20)


# The shape, and sums of every fifth element from the first to the fifth on.
PYTORCH = {
    "conv3d": ((2, 6, 4, 2, 8), [228, 317, -440, -429, 333]),
    "conv_transpose3d": ((2, 6, 8, 5, 14), [-31, 165, 132, -69, -183]),
}


def figures(*shape: int) -> Tensor:
    return Tensor(np.arange(np.prod(shape)).reshape(shape) % 7 - 3, dtype="float32")


def test_figures_of_pytorch():
    x, w = figures(2, 4, 4, 5, 6), figures(6, 2, 3, 2, 3)
    y = F.conv3d(x, w, None, (1, 2, 1), (1, 0, 2), (1, 2, 1), 2)
    z = F.conv_transpose3d(x, figures(4, 3, 3, 2, 3), None, (2, 1, 2), (1, 1, 0), (1, 0, 1), (1, 2, 1), 2)
    for result, name in ((y, "conv3d"), (z, "conv_transpose3d")):
        numbers = result.numpy().ravel()
        assert (result.shape, [int(numbers[i::5].sum()) for i in range(5)]) == PYTORCH[name]


ERRORS = [
    (lambda x: F.conv3d(x, F.zeros((2, 3, 3, 3, 3))), r"conv3d: an input of 4 channels, shape \(1, 4, 3, 5, 5\)"),
    (
        lambda x: F.conv3d(x, F.zeros((2, 4, 3, 3))),
        r"conv3d takes an input \(N, C, D, H, W\) and a weight .* kd, kh, kw",
    ),
    (lambda x: F.conv3d(x[0], F.zeros((2, 4, 3, 3, 3))), r"conv3d takes an input \(N, C, D, H, W\)"),
    (lambda x: F.conv3d(x, F.zeros((2, 4, 4, 3, 3))), r"conv3d: a kernel of \(4, 3, 3\)"),
    (lambda x: F.conv3d(x, F.zeros((2, 4, 3, 3, 3)), stride=(1, 2)), "conv3d: stride takes one or three integers >= 1"),
    (lambda x: F.conv3d(x, F.zeros((2, 4, 3, 3, 3)), conv_mode="convolution"), "conv_mode must be 'cross_correlation'"),
    (lambda x: F.conv_transpose3d(x, F.zeros((3, 2, 3, 3, 3))), "conv_transpose3d: an input of shape"),
    (lambda x: F.conv_transpose3d(x, F.zeros((4, 2, 3, 3, 3)), output_padding=1), "output_padding .* must be smaller"),
    (lambda x: M.Conv3d(4, 4, (3, 3)), r"Conv3d: kernel_size must be an int or 3 of them, got \(3, 3\)"),
]


@pytest.mark.parametrize("call, message", ERRORS)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(F.zeros((1, 4, 3, 5, 5)))


@pytest.mark.parametrize("groups", [1, 2, 16])
def test_a_step_of_a_network(groups):
    """Convolution, batch normalisation with the statistics of the batch, ReLU, and gradients, as one Program."""
    x, w = random((2, 16, 3, 4, 5)), random((16, 16 // groups, 3, 3, 3), seed=1)
    g = random((2, 16, 3, 4, 5), seed=2)

    def forward(w):
        y = windows.conv(x, w, (1, 1, 1), (1, 1, 1), (1, 1, 1), groups)
        mean, deviation = y.mean((0, 2, 3, 4), keepdims=True), y.std((0, 2, 3, 4), keepdims=True)
        return np.maximum((y - mean) / deviation, 0)

    inp, weight = Tensor(x, "float32"), Tensor(w, "float32")

    @trace(symbolic=True)
    def step(inp, g):
        with GradManager().attach([weight]) as gm:
            y = F.relu(F.batch_norm(F.conv3d(inp, weight, None, 1, 1, 1, groups), training=True, eps=0.0))
            gm.backward(y, g)
        return y, weight.grad

    for _ in range(2):
        weight.grad = None
        y, dw = step(inp, Tensor(g, "float32"))
        assert_close(y, forward(w), "float32", factor=40)
    for place in [(0, 0, 1, 1, 1), (7, 0, 0, 2, 1), (15, 16 // groups - 1, 2, 0, 2)]:
        by = np.zeros_like(w)
        by[place] = 1e-5
        slope = ((forward(w + by) - forward(w - by)) * g).sum() / 2e-5
        assert dw.numpy()[place] == pytest.approx(slope, abs=2e-3)
