"""Element-wise nodes after a contraction, through the whole compiler, against float64 NumPy."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest
from contraction_harness import from_bits, to_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from made_programs import EVERY_TARGET, RELU, Made, conv, convolved, floats, last, random, wide
from plans import numpy_dtype, run_plan

from tengen.compiler.kernels.contraction import ContractionKernel
from tengen.compiler.schedule.contractions import launches
from tengen.core.gradient import backward
from tengen.core.ops.conv import ConvolutionBackwardData, ConvolutionBackwardFilter
from tengen.core.ops.elemwise import Elemwise, TypeCvt, where
from tengen.core.ops.formula import Activation
from tengen.core.ops.linalg import Linear, MatMul
from tengen.core.ops.normalization import BatchNormInference
from tengen.core.ops.reduce import Reduce, total
from tengen.core.ops.shape import Transpose

# -- which kernels run -------------------------------------------------------------------------------------------------


def test_convolution_normalisation_residual_and_relu_are_one_kernel():
    x, w, r = last(2, 8, 9, 11), floats(24, 8, 3, 3), last(2, 24, 9, 11)
    mean, var, weight, bias = floats(24), floats(24) ** 2, floats(24), floats(24)

    def block(x, w, r, *statistics):
        y = BatchNormInference().expand(conv(padding=1)(x, w), *statistics, x.builder.number(1e-5))
        return RELU(y + r)

    made = Made(block, x, w, r, mean, var, weight, bias)
    assert made.kernels == ["nest", "fused"]  # the nest is the scale of each channel
    assert next(step.work for step in made.plan.steps if "conv2d" not in step.name) < 100 * 24
    y = convolved(x, w, padding=1)
    m, v, g, b = (a.reshape(24, 1, 1) for a in wide(mean, var, weight, bias))
    made.check(np.maximum((y - m) / np.sqrt(v + 1e-5) * g + b + r, 0), tolerance=1e-5)


def test_two_convolutions_that_meet_are_two_kernels():
    """A residual block with a projection: the addition ends one of the two."""
    x, w1, w2, s1, s2 = last(2, 8, 7, 7), floats(16, 8, 3, 3), floats(16, 8, 1, 1), floats(16, 1, 1), floats(16, 1, 1)

    def block(x, w1, w2, s1, s2):
        return RELU(conv(padding=1)(x, w1) * s1 + conv()(x, w2) * s2)

    made = Made(block, x, w1, w2, s1, s2)
    assert made.kernels == ["fused", "fused"]
    made.check(np.maximum(convolved(x, w1, padding=1) * s1 + convolved(x, w2) * s2, 0))


def test_nodes_of_two_products_end_one_of_them():
    x, w, v = floats(6, 7), floats(7, 5), floats(7, 5)

    def function(x, w, v):
        first, second = MatMul()(x, w), MatMul()(x, v)
        return Elemwise("TANH")(first) * (first + second)

    made = Made(function, x, w, v)
    assert sorted(made.kernels) == ["fused", "plain"]
    a, b = x.astype(np.float64) @ w, x.astype(np.float64) @ v
    made.check(np.tanh(a) * (a + b))


def test_a_value_that_somebody_else_reads_is_stored():
    x, w, s = floats(20, 30), floats(30, 40), floats(40)
    product = x.astype(np.float64) @ w
    made = Made(lambda x, w, s: (lambda y: (y, RELU(y)))(MatMul()(x, w) * s), x, w, s)
    assert made.kernels == ["fused", "nest"]
    made.check(product * s, np.maximum(product * s, 0))
    made = Made(lambda x, w, s: (lambda y: (RELU(y), Reduce("SUM", (1,))(y)))(MatMul()(x, w)), x, w, s)
    assert made.kernels[0] == "plain"
    made.check(np.maximum(product, 0), product.sum(1, keepdims=True))


def test_an_operand_computed_from_the_product_does_not_join():
    x, w = floats(20, 30), floats(30, 30)
    made = Made(lambda x, w: (lambda y: y + MatMul()(y, w))(MatMul()(x, w)), x, w)
    assert made.kernels == ["plain", "fused"]
    y = x.astype(np.float64) @ w
    made.check(y + y @ w)
    made = Made(lambda x, w: (lambda y: y - Reduce("SUM", (1,))(y))(MatMul()(x, w)), x, w)
    made.check(y - y.sum(1, keepdims=True), tolerance=1e-5)


def test_an_operand_from_a_later_group_that_needs_the_product():
    """Two reductions that read the same values run together; one of them needs the product, the other is its operand."""
    x, w, z = floats(20, 20), floats(20, 20), floats(20, 20)

    def function(x, w, z):
        y = MatMul()(x, w)
        total = Reduce("SUM", (0,))
        first = total(z)
        return RELU(y) * first, total(z * total(x))

    y, sums = x.astype(np.float64) @ w, z.astype(np.float64).sum(0, keepdims=True)
    second = (z.astype(np.float64) * x.sum(0, keepdims=True)).sum(0, keepdims=True)
    Made(function, x, w, z).check(np.maximum(y, 0) * sums, second, tolerance=1e-5)


def test_results_that_a_broadcast_operand_widens_stay_apart():
    x, w, r = floats(1, 6, 7), floats(1, 7, 5), floats(3, 6, 5)
    made = Made(lambda x, w, r: MatMul()(x, w) + r, x, w, r)
    assert made.kernels == ["plain", "nest"]
    made.check(x.astype(np.float64) @ w + r)


def test_an_operand_for_each_row_stays_apart():
    x, w, r = floats(6, 7), floats(7, 5), floats(6, 1)
    made = Made(lambda x, w, r: MatMul()(x, w) * r, x, w, r)
    assert made.kernels == ["plain", "nest"]
    made.check((x.astype(np.float64) @ w) * r)


# -- kinds of operands and results -------------------------------------------------------------------------------------


@EVERY_TARGET
@pytest.mark.parametrize("m, k, n", [(1, 3, 1), (7, 5, 3), (13, 40, 37), (65, 64, 129), (3, 0, 5), (50, 33, 64)])
def test_every_kind_of_operand(target, m, k, n):
    x, w, r, s, number = floats(m, k), floats(k, n), floats(m, n), floats(n), np.array(1.5, np.float32)

    def function(x, w, r, s, number):
        y = MatMul()(x, w) * s + r
        return RELU(y * number - x.builder.number(0.25)) * 3.0 + x.builder.number(7.0)

    made = Made(function, x, w, r, s, number, target=target)
    assert made.kernels == ["fused"]
    made.check(np.maximum(((x.astype(np.float64) @ w) * s + r) * 1.5 - 0.25, 0) * 3 + 7, tolerance=1e-5)


@EVERY_TARGET
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int32", "int8", "int64", "uint8", "bool"])
@pytest.mark.parametrize("m, n", [(9, 37), (30, 64)])
def test_dtypes_of_results(target, dtype, m, n):
    x, w, s = random.integers(-3, 4, (m, 20)), random.integers(-3, 4, (20, n)), random.integers(0, 4, n)
    want = np.clip(x @ w * s, 0, 100)
    arrays = [a.astype("float64" if dtype.endswith("64") else "float32") for a in (x, w, s)]

    def function(x, w, s):
        return TypeCvt(dtype)(Elemwise("MIN")(RELU(MatMul()(x, w) * s), 100.0))

    made = Made(function, *arrays, target=target)
    assert made.kernels == ["fused"]
    (got,) = run_plan(made.plan, made.arrays)
    assert got.dtype == numpy_dtype(dtype)
    np.testing.assert_array_equal(
        from_bits(got) if dtype == "bfloat16" else got, want.astype(numpy_dtype(dtype)) if dtype != "bfloat16" else want
    )


@EVERY_TARGET
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int32", "int8", "bool"])
def test_dtypes_of_operands(target, dtype):
    x, w = floats(11, 20), floats(20, 37)
    r, s = random.integers(0, 2, (11, 37)), random.integers(0, 2, 37)
    stored = [to_bits(a) if dtype == "bfloat16" else a.astype(dtype) for a in (r, s)]

    def function(x, w, r, s):
        return MatMul()(x, w) * TypeCvt("float32")(s) + TypeCvt("float32")(r)

    made = Made(function, x, w, *stored, target=target, dtypes={2: dtype, 3: dtype})
    made.check((x.astype(np.float64) @ w) * s + r)


@EVERY_TARGET
def test_products_of_float64_and_of_halves(target):
    x, w, s, r = floats(9, 30), floats(30, 21), floats(21), floats(9, 21)
    want = np.maximum((x.astype(np.float64) @ w) * s + r, 0)
    made = Made(lambda x, w, s, r: RELU(MatMul()(x, w) * s + r), *wide(x, w, s, r), target=target)
    assert made.kernels == ["fused"]
    made.check(want, tolerance=1e-14)
    halves = [a.astype(np.float16) for a in (x, w, s, r)]
    want = np.maximum((halves[0].astype(np.float64) @ halves[1]) * halves[2] + halves[3], 0)
    made = Made(lambda x, w, s, r: RELU(MatMul()(x, w) * s + r), *halves, target=target)
    assert made.kernels == ["fused"]
    made.check(want, tolerance=6e-4)  # rounded once


def test_operands_that_lie_otherwise():
    x, w = last(2, 5, 6, 7), floats(20, 5, 3, 3)
    y = convolved(x, w, padding=1)
    rows = last(2, 20, 6, 7), last(2, 20, 6, 14)[..., ::2], last(3, 20, 6, 7)[1:], last(2, 20, 6, 1)
    for r in (floats(2, 20, 6, 7), *(np.broadcast_to(row, y.shape) for row in rows)):
        for s in (floats(20, 1, 1), floats(40, 1, 1)[::-2], floats(1, 1, 1)):
            made = Made(lambda x, w, r, s: conv(padding=1)(x, w) * s + r, x, w, r, s)
            assert "plain" not in made.kernels, (r.strides, s.shape)
            made.check(y * s + r)


def test_operands_that_are_computed_or_views():
    x, w, r, s = floats(12, 20), floats(20, 12), floats(12, 12), floats(12)

    def function(x, w, r, s):
        return MatMul()(x, w) * (s + 1.0) + Transpose((1, 0))(r) * 2.0 + x.builder.iota((12, 12))

    want = (x.astype(np.float64) @ w) * (s + 1.0) + r.T * 2.0 + np.arange(144).reshape(12, 12)
    Made(function, x, w, r, s).check(want)


def test_a_result_is_not_stored_wider_than_the_product():
    x, w = floats(9, 20).astype(np.float16), floats(20, 30).astype(np.float16)
    want = np.maximum(x.astype(np.float64) @ w, 0)
    made = Made(lambda x, w: TypeCvt("float32")(RELU(MatMul()(x, w))), x, w)
    assert made.kernels == ["fused", "nest"]
    made.check(want, tolerance=1e-3)
    made = Made(lambda x, w: TypeCvt("float16")(RELU(TypeCvt("float32")(MatMul()(x, w)))), x, w)
    assert made.kernels == ["fused"]
    made.check(want, tolerance=1e-3)


def test_a_residual_that_is_wider_than_the_product_is_added():
    """A kernel of its own would read the sum and the residual."""
    x, w, r = floats(9, 20).astype(np.float16), floats(20, 30).astype(np.float16), floats(9, 30)
    want = x.astype(np.float64) @ w + r
    for function in (lambda x, w, r: MatMul()(x, w) + r, lambda x, w, r: r + TypeCvt("float32")(MatMul()(x, w))):
        made = Made(function, x, w, r)
        assert made.kernels == ["fused"]
        made.check(want, tolerance=1e-3)


def test_minus_zero_is_not_zero():
    x, w = -np.ones((4, 4), np.float32), np.zeros((4, 4), np.float32)
    for zero in (0.0, -0.0):
        made = Made(lambda x, w, zero=zero: (MatMul()(x, w) + 1.0) * zero, x, w)
        (got,) = run_plan(made.plan, made.arrays)
        assert made.kernels == ["fused"] and (np.signbit(got) == np.signbit(zero)).all()


# -- functions ---------------------------------------------------------------------------------------------------------


@EVERY_TARGET
@pytest.mark.parametrize("name", ["gelu", "silu"])
@pytest.mark.parametrize("m, n", [(5, 7), (33, 70)])
def test_activations_read_their_argument_twice(target, name, m, n):
    x, w, s, r = floats(m, 20), floats(20, n), floats(n), floats(m, n)
    made = Made(lambda x, w, s, r: Activation(name).expand(MatMul()(x, w) + s) + r, x, w, s, r, target=target)
    assert made.kernels == ["fused"]
    y = x.astype(np.float64) @ w + s
    want = y * (1 + np.vectorize(erf)(y / 2**0.5)) / 2 if name == "gelu" else y / (1 + np.exp(-y))
    made.check(want + r, tolerance=1e-5)


@EVERY_TARGET
@pytest.mark.parametrize("function", [lambda v: v, Elemwise("TANH")], ids=["cheap", "costly"])
@pytest.mark.parametrize("m, n", [(7, 33), (100, 70), (33, 16), (65, 64)])
def test_a_result_in_the_memory_of_what_its_epilogue_reads(target, m, n, function):
    """`run_plan` does that too. A register tile has more rows than are left at the end."""
    old, x, w = floats(m, n), floats(m, 20), floats(20, n)
    made = Made(lambda old, x, w: old - function(MatMul()(x, w) * 0.5), old, x, w, target=target)
    assert made.kernels == ["fused"] and made.plan.donations
    product = x.astype(np.float64) @ w * 0.5
    made.check(old - (product if not isinstance(function, Elemwise) else np.tanh(product)))


@pytest.mark.parametrize("channels", [3, 5])
def test_a_result_in_the_memory_of_what_is_read_beside_channel_rows(channels):
    old, x, w = floats(2, channels, 8, 31), last(2, 5, 8, 31), floats(channels, 5, 5, 5)
    scale = floats(channels, 1, 1)
    made = Made(lambda old, x, w, s: old - conv(padding=2)(x, w) * s, old, x, w, scale)
    assert any(getattr(k, "channel_rows", False) for k in made.sources) and made.plan.donations
    made.check(old - convolved(x, w, padding=2) * scale)


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_derivatives_are_computed_with_the_activation(name):
    """So the gradient's kernel reads one value besides the sums, and calls no function."""
    x, w, g, v = floats(70, 30), floats(30, 50), floats(70, 20), floats(20, 50)
    op = Activation(name)

    def function(x, w, g, v):
        y = MatMul()(x, w)
        slots = y, op(y), MatMul()(g, v)
        gradient = backward(op, (y.type,), (y.type,), (True,), (True,))
        return slots[1], gradient.op(*(slots[i] for i in gradient.args))

    made = Made(function, x, w, g, v)
    assert made.kernels == ["plain", "nest", "fused"]
    (end,) = [k.epilogue for k in made.sources if isinstance(k, ContractionKernel) and k.epilogue]
    assert len(end.buffers) == 1 and not end.is_costly
    y, gy = x.astype(np.float64) @ w, g.astype(np.float64) @ v
    cdf, s = (1 + np.vectorize(erf)(y / 2**0.5)) / 2, 1 / (1 + np.exp(-y))
    slope = cdf + y * np.exp(-y * y / 2) / (2 * np.pi) ** 0.5 if name == "gelu" else s + y * s * (1 - s)
    made.check(y * (cdf if name == "gelu" else s), gy * slope, tolerance=1e-5)


@EVERY_TARGET
@pytest.mark.parametrize("n, ic, oc, size", [(16, 6, 16, 9), (64, 6, 16, 9), (64, 1, 6, 8), (16, 16, 12, 7)])
def test_what_follows_sums_over_images_side_by_side(target, n, ic, oc, size):
    """Their lanes are steps of k: an update of the weight, and sums of its gradient, are kernels of their own."""
    x, dy = (floats(c, s, s, n).transpose(3, 0, 1, 2) for c, s in ((ic, size), (oc, size - 4)))
    old, by_weight = floats(oc, ic, 5, 5), ConvolutionBackwardFilter((1, 1), (0, 0), (1, 1), 1, (5, 5))

    def function(old, x, dy):
        dw = by_weight(x, dy)
        return old - dw * 0.5, total(dw, (0, 1, 2, 3))

    made = Made(function, old, x, dy, target=target)
    seen = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (size - 4, size - 4), (2, 3))
    dw = np.einsum("nirshw,nohw->oirs", seen, dy)
    made.check(old - 0.5 * dw, dw.sum(keepdims=True), tolerance=1e-5)


def test_costly_functions_of_channel_rows():
    x, w, s = last(2, 5, 8, 31), floats(3, 5, 5, 5), floats(3, 1, 1)
    made = Made(lambda x, w, s: Elemwise("TANH")(conv(padding=2)(x, w) * 0.05 + s), x, w, s)
    assert made.kernels[-1] == "fused" and any(getattr(k, "channel_rows", False) for k in made.sources)
    made.check(np.tanh(convolved(x, w, padding=2) * 0.05 + s), tolerance=1e-5)


# -- convolutions ------------------------------------------------------------------------------------------------------


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
        (3, 6, 5, 1, 2, 1),
        (3, 70, 7, 2, 3, 1),
    ],
)
@pytest.mark.parametrize("make", [floats, last])
def test_convolutions(target, channels, out, kernel, stride, padding, groups, make):
    x, w = make(2, channels, 11, 13), floats(out, channels // groups, kernel, kernel)
    y = convolved(x, w, stride, padding, groups)
    s, t, r = floats(1, out, 1, 1), floats(out, 1, 1), make(*y.shape)

    def block(x, w, s, t, r):
        return RELU(conv(stride, padding, groups)(x, w) * s + t + r)

    made = Made(block, x, w, s, t, r, target=target)
    assert "plain" not in made.kernels
    made.check(np.maximum(y * s + t + r, 0), tolerance=1e-5)


@pytest.mark.parametrize("stride, groups", [(1, 1), (2, 1), (2, 2), (1, 8), (3, 8)])
def test_masks_of_gradients_by_data(stride, groups):
    x, w = last(2, 8, 10, 9), floats(24, 8 // groups, 3, 3)
    y = convolved(x, w, stride, 1, groups)
    g = last(*y.shape)

    def masked(w, g, x):
        dx = ConvolutionBackwardData((stride,) * 2, (1, 1), (1, 1), groups, (10, 9))(w, g)
        return where(Elemwise("GT")(x, 0.0), dx, 0.0)

    made = Made(masked, w, g, x)
    assert made.kernels == ["fused"]
    dx = np.zeros((2, 8, 12, 11))
    for i, c in np.ndindex(24, 8 // groups):
        channel = i // (24 // groups) * (8 // groups) + c
        for r, s in np.ndindex(3, 3):
            dx[:, channel, r : r + stride * y.shape[2] : stride, s : s + stride * y.shape[3] : stride][
                :, : y.shape[2], : y.shape[3]
            ] += g[:, i].astype(np.float64) * w[i, c, r, s]
    made.check(np.where(x > 0, dx[:, :, 1:-1, 1:-1], 0), tolerance=1e-5)


@pytest.mark.parametrize("groups", [1, 8])
def test_gradients_by_weight(groups):
    """Those of depthwise convolutions are sums of parts, which leave the epilogue to a kernel of its own."""
    x, g, v = last(2, 8, 9, 9), last(2, 8, 9, 9), floats(8, 8 // groups, 3, 3)

    def step(x, g, v):
        return v * 0.5 + ConvolutionBackwardFilter((1, 1), (1, 1), (1, 1), groups, (3, 3))(x, g)

    made = Made(step, x, g, v)
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (1, 1), (1, 1)])
    dw = np.zeros(v.shape)
    for r, s in np.ndindex(3, 3):
        both = np.einsum("nchw,nohw->oc", padded[:, :, r : r + 9, s : s + 9], g)
        dw[:, :, r, s] = both if groups == 1 else np.diagonal(both)[:, None]
    made.check(v * 0.5 + dw, tolerance=1e-5)


# -- products ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("m, k, n", [(40, 20011, 35), (1, 30000, 16), (600, 30000, 32)])
def test_a_k_that_is_cut_leaves_the_epilogue_to_another_kernel(dtype, m, k, n, monkeypatch):
    monkeypatch.setattr(launches, "PANEL_BYTES", 1 << 18)  # so that a narrow panel is cut too
    x, w, s, r = (a.astype(dtype) for a in (floats(m, k) / 100, floats(k, n), floats(n), floats(m, n)))
    made = Made(lambda x, w, s, r: RELU(MatMul()(x, w) * s + r), x, w, s, r)
    assert "fused" not in made.kernels and made.kernels[-1] == "nest"
    tolerance = 1e-5 if dtype == "float32" else 2e-3
    made.check(np.maximum((x.astype(np.float64) @ w) * s + r, 0), tolerance=tolerance)


@EVERY_TARGET
@pytest.mark.parametrize("a_batch, b_batch", [((3,), (3,)), ((2, 3), (1, 3)), ((2, 3), (1, 1)), ((2, 1, 2), (2, 3, 1))])
def test_batched_products(target, a_batch, b_batch):
    x, w = floats(*a_batch, 9, 5), floats(*b_batch, 5, 37)
    y = x.astype(np.float64) @ w
    s, r = floats(37), floats(*y.shape)
    made = Made(lambda x, w, s, r: RELU(MatMul()(x, w) * s + r), x, w, s, r, target=target)
    assert made.kernels == ["fused"]
    made.check(np.maximum(y * s + r, 0))


@EVERY_TARGET
@pytest.mark.parametrize("batch, weights", [((), ()), ((2,), ()), ((1,), (2,))])
def test_products_that_are_stored_transposed(target, batch, weights):
    """Few rows times a transposed weight are computed the other way round: the channels are rows."""
    x, w, s = floats(*batch, 16, 300), floats(*weights, 200, 300), floats(200)
    y = x.astype(np.float64) @ w.swapaxes(-1, -2)
    r, order = floats(*y.shape), (1, 0) if not weights else (0, 2, 1)
    made = Made(lambda x, w, s, r: RELU(MatMul()(x, Transpose(order)(w)) * s + r), x, w, s, r, target=target)
    turned = [source for source in made.sources if isinstance(source, ContractionKernel)]
    assert all(kernel.channel_rows and kernel.epilogue for kernel in turned)
    made.check(np.maximum(y * s + r, 0), tolerance=1e-5)


def test_a_linear_layer_and_what_follows_are_one_kernel():
    x, w, b = floats(50, 30), floats(40, 30), floats(40)
    made = Made(lambda x, w, b: RELU(Linear(True).expand(x, w, b)), x, w, b)
    assert made.kernels == ["fused"]
    made.check(np.maximum(x.astype(np.float64) @ w.T + b, 0))


def test_a_linear_layer_over_the_last_of_three_dims():
    x, w, b, r = floats(3, 5, 30), floats(40, 30), floats(40), floats(3, 5, 40)
    made = Made(lambda x, w, b, r: RELU(Linear(True).expand(x, w, b)) + r, x, w, b, r)
    assert made.kernels == ["fused"]
    made.check(np.maximum(x.astype(np.float64) @ w.T + b, 0) + r)


def test_a_result_does_not_take_the_memory_of_what_is_read():
    """The kernel stores elements of the result before it has read all of its operands."""
    x, w = floats(30, 30), floats(30, 30)
    made = Made(lambda x, w: MatMul()(x, w) + x, x, w)
    assert made.plan.donations == ()


def test_a_result_may_take_the_memory_of_what_is_read_where_it_is_written():
    """A step of gradient descent: w - 0.5 * x.T @ g, in place."""
    w, x, g = floats(30, 20), floats(50, 30), floats(50, 20)
    made = Made(lambda w, x, g: w - MatMul()(Transpose((1, 0))(x), g) * 0.5, w, x, g)
    assert made.kernels == ["fused"] and [pair[1] for pair in made.plan.donations] == [0]
    made.check(w - 0.5 * x.astype(np.float64).T @ g)


# -- chains by chance --------------------------------------------------------------------------------------------------

UNARY = {
    "RELU": lambda x: np.maximum(x, 0),
    "ABS": np.abs,
    "NEGATE": np.negative,
    "TANH": np.tanh,
    "SIGMOID": lambda x: 0.5 + 0.5 * np.tanh(x / 2),  # the same, without overflow
}
BINARY = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "MAX": np.maximum, "MIN": np.minimum}


@st.composite
def chains(draw):
    """Element-wise steps: (mode, operands), each the number of a value before it, or of an operand as -1 - number."""
    steps = []
    for number in range(draw(st.integers(1, 6))):
        known = st.integers(0, number)
        if draw(st.booleans()):
            steps.append((draw(st.sampled_from(sorted(UNARY))), (draw(known),)))
        else:
            pair = draw(known), draw(st.one_of(known, st.integers(-6, -1)))
            steps.append((draw(st.sampled_from(sorted(BINARY))), pair if draw(st.booleans()) else pair[::-1]))
    return steps


@settings(max_examples=60, deadline=None)
@given(chain=chains(), size=st.tuples(*[st.integers(1, 40)] * 3), convolves=st.booleans(), seed=st.integers(0, 99))
def test_any_chain(chain, size, convolves, seed):
    random = np.random.default_rng(seed)
    m, k, n = size

    def numbers(*shape):
        return random.standard_normal(shape).astype(np.float32)

    if convolves:
        x, w = numbers(1, 3, 6, m), numbers(n, 3, 3, 3)
        y, along = convolved(x, w, padding=1), (n, 1, 1)
    else:
        x, w = numbers(m, k), numbers(k, n)
        y, along = x.astype(np.float64) @ w, (n,)
    operands = [numbers(*y.shape), numbers(*along), np.array(0.75, np.float32), numbers(*(1,) * y.ndim)]

    def function(x, w, *others):
        others = (*others, x.builder.number(0.5), x.builder.number(3))
        values = [conv(padding=1)(x, w) if convolves else MatMul()(x, w)]
        for mode, args in chain:
            values.append(Elemwise(mode)(*(values[a] if a >= 0 else others[-1 - a] for a in args)))
        return values[-1]

    wanted = [y]
    for mode, args in chain:
        others = [*operands, 0.5, 3]
        wanted.append({**UNARY, **BINARY}[mode](*(wanted[a] if a >= 0 else others[-1 - a] for a in args)))
    Made(function, x, w, *operands).check(wanted[-1], tolerance=1e-4)
