"""Reductions over the rows of a contraction, from sums that its kernel takes, through the whole compiler, against float64 NumPy."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from contraction_harness import from_bits, to_bits
from made_programs import EVERY_TARGET, RELU, Made, conv, convolved, floats, last
from plans import run_plan

from tengen.base import config
from tengen.compiler import pipeline
from tengen.compiler.kernels.contraction import ContractionKernel
from tengen.compiler.kernels.nest_tiling import NestSource
from tengen.compiler.schedule.convolutions import winograd
from tengen.core.ops.conv import ConvolutionBackwardData
from tengen.core.ops.elemwise import Elemwise, cast, where
from tengen.core.ops.formula import Variance
from tengen.core.ops.linalg import Linear, MatMul
from tengen.core.ops.normalization import BatchNorm, moments
from tengen.core.ops.reduce import Reduce, total
from tengen.core.ops.shape import Transpose

ROWS = (0, 2, 3)


class Summed(Made):
    """A Program and what it computes."""

    def _sources(self, program, views, target):
        scheduler = pipeline.compiled(program, views, target).scheduler
        self.steps = scheduler.steps
        return scheduler.sources

    @property
    def sums(self):
        """Whether the contraction's kernels take sums."""
        found = {bool(k.epilogue and k.epilogue.sums) for k in self.sources if isinstance(k, ContractionKernel)}
        return found == {True}

    def large(self, size):
        """Launches, but for contractions and copies for them, that read `size` elements of something."""
        others = [s for s in self.steps if not isinstance(s.source, ContractionKernel) and "layout of" not in s.name]
        return [s.name for s in others if any(moved(view) >= size for _, view in s.reads)]


def moved(view):
    """Elements that a view shows, those that it repeats counted once."""
    return prod(extent for extent, stride in zip(view.shape, view.strides, strict=True) if stride)


def statistics(y, axes=ROWS):
    return y.mean(axes, keepdims=True), y.var(axes, keepdims=True)


# -- the statistics of a convolution -----------------------------------------------------------------------------------


@EVERY_TARGET
@pytest.mark.parametrize(
    "channels, out, kernel, stride, padding, groups",
    [
        (5, 20, 3, 1, 1, 1),
        (8, 33, 3, 2, 1, 1),
        (6, 40, 1, 1, 0, 2),
        (12, 24, 3, 1, 1, 3),
        (33, 33, 3, 1, 1, 33),
        (16, 16, 3, 2, 1, 16),
        (3, 70, 7, 2, 3, 1),
    ],
)
def test_moments_of_convolutions(target, channels, out, kernel, stride, padding, groups):
    x, w = last(2, channels, 41, 43), floats(out, channels // groups, kernel, kernel)

    def function(x, w):
        y = conv(stride, padding, groups)(x, w)
        return (y, *moments(y, ROWS))

    made = Summed(function, x, w, target=target)
    y = convolved(x, w, stride, padding, groups)
    assert made.sums and not made.large(y.size)
    made.check(y, *statistics(y), tolerance=1e-5)


@EVERY_TARGET
@pytest.mark.parametrize("stride, groups", [(1, 1), (2, 1), (2, 2), (1, 8), (3, 8)])
def test_moments_of_gradients_by_data(target, stride, groups):
    """Where the stride is more than 1, and at the border, the result is made in parts."""
    x, w = last(2, 16, 40, 39), floats(32, 16 // groups, 3, 3)
    g = last(*convolved(x, w, stride, 1, groups).shape)
    by_data = ConvolutionBackwardData((stride,) * 2, (1, 1), (1, 1), groups, x.shape[2:])
    dx = np.zeros((2, 16, 42, 41))
    for i, c in np.ndindex(32, 16 // groups):
        channel = i // (32 // groups) * (16 // groups) + c
        for r, s in np.ndindex(3, 3):
            dx[:, channel, r : r + stride * g.shape[2] : stride, s : s + stride * g.shape[3] : stride][
                :, : g.shape[2], : g.shape[3]
            ] += g[:, i].astype(np.float64) * w[i, c, r, s]
    made = Summed(lambda w, g: moments(by_data(w, g), ROWS), w, g, target=target)
    assert made.sums and not made.large(dx.size)
    made.check(*statistics(dx[:, :, 1:-1, 1:-1]), tolerance=1e-5)


def test_a_bias_is_part_of_what_is_summed():
    x, w, b = last(2, 8, 20, 20), floats(24, 8, 3, 3), floats(24, 1, 1)
    made = Summed(lambda x, w, b: moments(conv()(x, w) + b, ROWS), x, w, b)
    assert made.sums and not made.large(2 * 24 * 18 * 18)
    made.check(*statistics(convolved(x, w) + b), tolerance=1e-5)


def test_batch_normalisation_reads_the_convolution_once():
    x, w, g, b = last(4, 8, 20, 20), floats(24, 8, 3, 3), floats(24), floats(24)

    def block(x, w, g, b):
        return RELU(BatchNorm(False).expand(conv(padding=1)(x, w), g, b, x.builder.number(1e-5))[0])

    made = Summed(block, x, w, g, b)
    y = convolved(x, w, padding=1)
    assert made.sums and len(made.large(y.size)) == 1  # that normalises
    mean, variance = statistics(y)
    scale, shift = (v.astype(np.float64).reshape(24, 1, 1) for v in (g, b))
    made.check(np.maximum((y - mean) / np.sqrt(variance + 1e-5) * scale + shift, 0), tolerance=1e-5)


def test_sums_of_a_gradient_and_of_its_product_with_another_value():
    """As in the backward of batch normalisation, where the gradient comes from a convolution and passes a mask."""
    x, w, g = last(2, 16, 20, 20), floats(24, 16, 3, 3), last(2, 24, 20, 20)
    mean = floats(1, 16, 1, 1)
    by_data = ConvolutionBackwardData((1, 1), (1, 1), (1, 1), 1, (20, 20))

    def backward(x, w, g, mean):
        masked = where(Elemwise("GT")(x, 0.0), by_data(w, g), 0.0)
        return masked, total(masked, ROWS), total(masked * (x - mean), ROWS)

    made = Summed(backward, x, w, g, mean)
    assert made.sums and not made.large(x.size)
    turned = np.flip(w, (2, 3)).transpose(1, 0, 2, 3)
    masked = np.where(x > 0, convolved(g, turned, padding=1), 0)
    product = masked * (x - mean)
    sums = [v.sum(ROWS, keepdims=True) for v in (masked, product)]
    made.check(masked, *sums, tolerance=1e-5)


@EVERY_TARGET
def test_sums_of_equal_numbers_are_as_exact_as_others(target):
    """Each of them errs alike when it is added, so few may be added in a row."""
    x, w = np.ones((8, 1, 40, 40), np.float32), np.linspace(0.1, 1.0, 40, dtype=np.float32).reshape(40, 1, 1, 1)
    made = Summed(lambda x, w: total(conv()(x, w), ROWS), x, w, target=target)
    assert made.sums
    made.check(x.size * w.astype(np.float64).reshape(1, 40, 1, 1), tolerance=6e-7)


@EVERY_TARGET
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("place", [0, 7, 3000, 12543])
def test_what_is_infinite_makes_the_mean_so(target, kernel, number, place):
    """Also where it is among the rows from whose mean the distances of the others are measured."""
    x, w = last(2, 8, 28, 28), floats(24, 8, kernel, kernel)
    x[np.unravel_index(place, x.shape)] = number
    made = Summed(lambda x, w: moments(conv(padding=kernel // 2)(x, w), ROWS), x, w, target=target)
    assert made.sums
    with np.errstate(invalid="ignore"):
        wanted = statistics(convolved(x, w, padding=kernel // 2))
        for got, want in zip(run_plan(made.plan, made.arrays), wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4)


# -- of convolutions by tiles ------------------------------------------------------------------------------------------


@pytest.fixture
def tiled(monkeypatch):
    """By tiles whatever they cost, in several chunks: of some images, or of some rows of one."""
    monkeypatch.setattr(winograd, "cost", lambda *_: -1)
    monkeypatch.setattr(winograd, "CHUNK_BYTES", 200_000)
    monkeypatch.setattr(winograd, "LEAST_CHUNK", 100_000)


def by_tiles_alone(made, size):
    """Maps of a convolution make the result, and no step of another name reads what is so large."""
    maps = [step for step in made.steps if step.name == "conv2d" and isinstance(step.source, NestSource)]
    return bool(maps) and set(made.large(size)) <= {"conv2d"}


SIZES = [(3, 8, 18, 48), (3, 7, 19, 40), (1, 14, 15, 33), (2, 33, 34, 32), (4, 1, 1, 32)]


@EVERY_TARGET
@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("n, h, w, out", SIZES)
def test_moments_of_convolutions_by_tiles(tiled, target, m, n, h, w, out):
    x, weight = last(n, 32, h, w), floats(out, 32, 3, 3)

    def function(x, w):
        y = conv(padding=1)(x, w)
        return (y, *moments(y, ROWS))

    with config.override(winograd=m):
        made = Summed(function, x, weight, target=target)
    y = convolved(x, weight, padding=1)
    assert by_tiles_alone(made, y.size) or w == 1
    made.check(y, *statistics(y), tolerance=1e-5 if m == 2 else 1e-4)


def test_an_infinite_bias_makes_the_mean_so_by_tiles(tiled):
    x, w, bias = last(3, 32, 18, 16), floats(48, 32, 3, 3), floats(48, 1, 1)
    bias[5], bias[7] = np.inf, -np.inf
    made = Summed(lambda x, w, b: moments(conv(padding=1)(x, w) + b, ROWS), x, w, bias)
    assert made.sums or by_tiles_alone(made, 3 * 48 * 18 * 16)
    with np.errstate(invalid="ignore"):
        wanted = statistics(convolved(x, w, padding=1) + bias)
        for got, want in zip(run_plan(made.plan, made.arrays), wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@EVERY_TARGET
@pytest.mark.parametrize("n, h, w, out", SIZES)
def test_sums_after_an_epilogue_of_convolutions_by_tiles(tiled, target, n, h, w, out):
    """Values along the channels and of the result's size take part, and numbers; one sum is of another value than the result."""
    x, weight, bias, old = last(n, 32, h, w), floats(out, 32, 3, 3), floats(1, out, 1, 1), last(n, out, h, w)

    def function(x, w, b, old):
        y = RELU(conv(padding=1)(x, w) * 0.25 + b + old)
        return y, total(y, ROWS), total(y * (old - b), ROWS)

    made = Summed(function, x, weight, bias, old, target=target)
    y = np.maximum(convolved(x, weight, padding=1) * 0.25 + bias + old, 0)
    assert by_tiles_alone(made, y.size) or w == 1
    made.check(y, y.sum(ROWS, keepdims=True), (y * (old - bias)).sum(ROWS, keepdims=True), tolerance=1e-5)


def test_a_mean_that_is_large_against_the_deviation_by_tiles(tiled):
    x, weight = last(2, 32, 20, 20), 1e-3 * floats(32, 32, 3, 3)
    weight += identity(32) * np.eye(3)[1][:, None] * np.eye(3)[1]
    x += 1000
    made = Summed(lambda x, w: moments(conv()(x, w), ROWS), x, weight)
    assert by_tiles_alone(made, 2 * 32 * 18 * 18)
    want_mean, want = statistics(convolved(x, weight))
    got_mean, got = run(made)
    np.testing.assert_allclose(got_mean, want_mean, rtol=1e-6)
    np.testing.assert_allclose(got, want, rtol=1e-3)


# -- sums of products --------------------------------------------------------------------------------------------------


@EVERY_TARGET
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("m, n", [(300, 70), (97, 33), (1000, 5)])
def test_sums_of_products(target, batch, m, n):
    x, w = floats(*batch, m, 20), floats(*batch, 20, n)
    axes = tuple(range(len(batch) + 1))

    def function(x, w):
        y = MatMul()(x, w)
        return total(y, axes), total(y * y, axes)

    made = Summed(function, x, w, target=target)
    assert made.sums
    y = x.astype(np.float64) @ w
    made.check(y.sum(axes, keepdims=True), (y * y).sum(axes, keepdims=True), tolerance=1e-5)


def test_a_linear_layer_and_the_variance_of_it():
    x, w, b = floats(500, 30), floats(40, 30), floats(40)
    made = Summed(lambda x, w, b: Variance((0,), False).expand(Linear(True).expand(x, w, b)), x, w, b)
    assert made.sums and not made.large(500 * 40)
    made.check((x.astype(np.float64) @ w.T + b).var(0, keepdims=True), tolerance=1e-5)


def test_a_linear_layer_over_the_last_of_three_dims():
    """The sums are over two dims, which are one to the kernel."""
    x, w, b, r = floats(20, 30, 8), floats(40, 8), floats(40), floats(20, 30, 40)

    def function(x, w, b, r):
        y = Linear(True).expand(x, w, b)
        return total(y, (0, 1)), total(y * r, (0, 1))

    made = Summed(function, x, w, b, r)
    assert made.sums and not made.large(600 * 40)
    y = x.astype(np.float64) @ w.T + b
    made.check(y.sum((0, 1), keepdims=True), (y * r).sum((0, 1), keepdims=True), tolerance=1e-5)


def test_another_operand_that_lies_otherwise_under_another_shape():
    x, w, r = floats(20, 30, 8), floats(40, 8), floats(30, 20, 40).transpose(1, 0, 2)

    def function(x, w, r):
        y = Linear(False).expand(x, w)
        return y, total(y * r, (0, 1))

    y = x.astype(np.float64) @ w.T
    Summed(function, x, w, r).check(y, (y * r).sum((0, 1), keepdims=True), tolerance=1e-5)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2), (0, 1, 2)])
def test_other_axes_of_three_dims(axes):
    x, w = floats(20, 30, 8), floats(40, 8)
    made = Summed(lambda x, w: total(Linear(False).expand(x, w), axes), x, w)
    assert not made.sums
    made.check((x.astype(np.float64) @ w.T).sum(axes, keepdims=True), tolerance=1e-5)


def test_float64():
    x, w = (v.astype(np.float64) for v in (last(2, 8, 20, 20), floats(24, 8, 3, 3)))
    made = Summed(lambda x, w: moments(conv()(x, w), ROWS), x, w)
    assert made.sums
    made.check(*statistics(convolved(x, w)), tolerance=1e-13)


def test_bfloat16_is_summed_in_float32():
    x, w = to_bits(last(2, 8, 20, 20)).transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2), to_bits(floats(24, 8, 3, 3))

    def function(x, w):
        return moments(conv()(x, w), ROWS)

    made = Summed(function, x, w, dtypes={0: "bfloat16", 1: "bfloat16"})
    assert made.sums and not made.large(2 * 24 * 18 * 18)
    made.check(*statistics(convolved(from_bits(x), from_bits(w))), tolerance=2e-5)


def test_what_is_widened_for_its_sums_is_not_kept():
    """As in batch normalisation in mixed precision, forward and backward: who reads the result later widens it again."""
    x, w = to_bits(last(6, 8, 20, 20)).transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2), to_bits(floats(24, 8, 3, 3))
    slope, size = floats(1, 24, 1, 1), 6 * 24 * 18 * 18

    def function(x, w, slope):
        y = conv()(x, w)
        wide = cast(y, "float32")
        average, variance = moments(y, ROWS)
        scaled = wide * slope
        return total(wide, ROWS), (wide - average) * variance, scaled - average

    made = Summed(function, x, w, slope, dtypes={0: "bfloat16", 1: "bfloat16"})
    assert made.sums and len(made.large(size)) == 2  # one for each result of that size
    y = convolved(from_bits(x), from_bits(w))
    mean, variance = statistics(y)
    made.check(y.sum(ROWS, keepdims=True), (y - mean) * variance, y * slope - mean, tolerance=2**-6)


def test_sums_that_are_stored_as_bfloat16():
    x, w = to_bits(floats(500, 30)), to_bits(floats(30, 40))
    made = Summed(lambda x, w: total(MatMul()(x, w), (0,)), x, w, dtypes={0: "bfloat16", 1: "bfloat16"})
    assert made.sums
    want = (from_bits(x).astype(np.float64) @ from_bits(w)).sum(0, keepdims=True)
    (got,) = run_plan(made.plan, made.arrays)
    np.testing.assert_allclose(from_bits(got), want, rtol=2**-8, atol=1e-3)


# -- accuracy ----------------------------------------------------------------------------------------------------------


def identity(channels):
    return np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1)


@EVERY_TARGET
@pytest.mark.parametrize("mean, deviation", [(1000, 1), (-1e5, 1), (0, 1), (1e-3, 1e-6), (3e18, 1e15), (7, 0)])
def test_a_mean_that_is_large_against_the_deviation(target, mean, deviation):
    random = np.random.default_rng(5)
    x = (mean + deviation * random.standard_normal((8, 28, 28, 32))).astype(np.float32).transpose(0, 3, 1, 2)
    made = Summed(lambda x, w: moments(conv()(x, w), ROWS), x, identity(32), target=target)
    assert made.sums
    want_mean, want = statistics(x.astype(np.float64))
    got_mean, got = run(made)
    np.testing.assert_allclose(got_mean, want_mean, rtol=2e-7, atol=1e-6 * deviation)
    np.testing.assert_allclose(got, want, rtol=3e-6)


def test_some_rows_may_be_far_out():
    """Distances are measured from the first rows of each tile."""
    random = np.random.default_rng(5)
    x = random.standard_normal((4000, 32)).astype(np.float32)
    x[:: 4000 // 400] += 100
    made = Summed(lambda x, w: moments(MatMul()(x, w), (0,)), x, np.eye(32, dtype=np.float32))
    assert made.sums
    mean, variance = statistics(x.astype(np.float64), 0)
    made.check(mean, variance, tolerance=1e-6)


def test_infinities_and_nans_stay_in_their_channels():
    x = last(2, 32, 20, 20)
    x[1, 3, 5, 5], x[0, 7, 0, 0], x[1, 9, 19, 19] = np.nan, np.inf, -np.inf
    got_mean, got = run(Summed(lambda x, w: moments(conv()(x, w), ROWS), x, identity(32)))
    every = np.arange(32)  # the product spreads them: 0 * inf
    assert np.isnan(got_mean.ravel()[every]).all() and np.isnan(got.ravel()[every]).all()


def run(made):
    return [v.astype(np.float64) for v in run_plan(made.plan, made.arrays)]


# -- what the kernel leaves to others ----------------------------------------------------------------------------------


def refused(function, *arrays, want, tolerance=1e-5):
    made = Summed(function, *arrays)
    assert not made.sums
    made.check(*want, tolerance=tolerance)


def test_pixels_as_columns_leave_sums_to_another_kernel():
    x, w = floats(2, 5, 18, 31), floats(3, 5, 5, 5)
    y = convolved(x, w, padding=2)
    refused(lambda x, w: moments(conv(padding=2)(x, w), ROWS), x, w, want=statistics(y))


def test_a_convolution_by_tiles_leaves_sums_to_another_kernel():
    x, w, b = last(2, 64, 30, 30), floats(64, 64, 3, 3) / 24, floats(64, 1, 1)
    y = convolved(x, w, padding=1) + b

    def function(x, w, b):
        y = conv(padding=1)(x, w) + b
        return (y, *moments(y, ROWS))

    made = Summed(function, x, w, b)
    assert any("transform" in step.name for step in made.plan.steps) and not made.sums
    made.check(y, *statistics(y), tolerance=1e-5)


def test_a_product_that_is_stored_transposed_leaves_sums_to_another_kernel():
    x, w, b = floats(32, 300), floats(2000, 300), floats(2000)
    y = x.astype(np.float64) @ w.T + b
    refused(lambda x, w, b: moments(Linear(True).expand(x, w, b), (0,)), x, w, b, want=statistics(y, 0))


def test_a_k_that_is_cut_leaves_sums_to_another_kernel():
    x, w = floats(600, 30000) / 100, floats(30000, 32)
    y = x.astype(np.float64) @ w
    refused(lambda x, w: moments(MatMul()(x, w), (0,)), x, w, want=statistics(y, 0), tolerance=1e-4)


def test_costly_functions_leave_sums_to_another_kernel():
    x, w = floats(600, 30), floats(30, 32)
    y = np.tanh(x.astype(np.float64) @ w)
    refused(lambda x, w: moments(Elemwise("TANH")(MatMul()(x, w)), (0,)), x, w, want=statistics(y, 0))


@pytest.mark.parametrize("axes", [(0,), (1,), (2, 3), (0, 1, 2, 3)])
def test_sums_over_other_axes_than_the_rows(axes):
    x, w = last(2, 8, 20, 20), floats(24, 8, 3, 3)
    y = convolved(x, w)
    refused(lambda x, w: total(conv()(x, w), axes), x, w, want=[y.sum(axes, keepdims=True)])


def test_other_reductions_than_sums():
    x, w = floats(600, 30), floats(30, 32)
    y = x.astype(np.float64) @ w
    refused(lambda x, w: Reduce("MAX", (0,))(MatMul()(x, w)), x, w, want=[y.max(0, keepdims=True)])


def test_a_factor_that_is_not_known_yet():
    """The mean of another product, which comes later, and of this one."""
    x, w, v = floats(600, 30), floats(30, 32), floats(30, 32)

    def function(x, w, v):
        y = MatMul()(x, w)
        scale = Reduce("MAX", (0,))(y)
        later = MatMul()(y, MatMul()(Transpose((1, 0))(v), v))
        return total(y * scale, (0,)), total(y * later, (0,))

    made = Summed(function, x, w, v)
    y, u = x.astype(np.float64) @ w, v.T.astype(np.float64) @ v
    scaled = (y * y.max(0, keepdims=True)).sum(0, keepdims=True)
    made.check(scaled, (y * (y @ u)).sum(0, keepdims=True), tolerance=1e-5)


def test_values_that_are_kept_besides():
    """The distances from the mean are a result too: then one kernel makes both."""
    x, w = last(2, 8, 20, 20), floats(24, 8, 3, 3)

    def function(x, w, c):
        moved = conv()(x, w) - c
        return moved * 2.0, total(moved * moved * moved, ROWS)

    c = floats(24, 1, 1)
    moved = convolved(x, w) - c
    Summed(function, x, w, c).check(moved * 2, (moved**3).sum(ROWS, keepdims=True), tolerance=1e-5)


def test_another_operand_that_lies_otherwise():
    x, w = last(2, 8, 20, 20), floats(24, 8, 3, 3)
    y = convolved(x, w)
    r = floats(*y.shape)
    made = Summed(lambda x, w, r: (lambda y: (y, total(y * r, ROWS)))(conv()(x, w)), x, w, r)
    assert not made.sums and "layout" not in [step.name for step in made.plan.steps]
    made.check(y, (y * r).sum(ROWS, keepdims=True), tolerance=1e-5)
