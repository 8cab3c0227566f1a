"""Sums of products on GPUs, run on the double of the driver from their PTX."""

from __future__ import annotations

import numpy as np
import pytest
from contraction_harness import by_data, by_weight, forward, reference, volume
from double.library import double
from gpu import GPU
from nest_harness import bits_of, numbers_of
from plans import run_op, run_plan

from tengen.compiler import compile_program
from tengen.compiler.geometry import ROLES, ConvShape
from tengen.compiler.plan import DeviceLaunch
from tengen.compiler.program import Builder, Type, build
from tengen.compiler.schedule.ways import WAYS
from tengen.compiler.view import contiguous
from tengen.core.ops.conv import Convolution, ConvolutionBackwardData, ConvolutionBackwardFilter
from tengen.core.ops.elemwise import Elemwise
from tengen.core.ops.integer import IntegerConvolution, IntegerConvolutionBackwardData, IntegerMatMul
from tengen.core.ops.linalg import MatMul, Product
from tengen.core.ops.reduce import total

random = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape, np.float32)


def held(dtype: str, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Random numbers as memory of this dtype, and as float64."""
    raw = bits_of(dtype, floats(*shape))
    return raw, numbers_of(dtype, raw).astype(np.float64)


def close(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-5) -> None:
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * max(1, np.abs(want).max(initial=0)))


def turned(x: np.ndarray) -> np.ndarray:
    """The same numbers with the last two dims the other way round in memory."""
    return x.swapaxes(-1, -2).copy().swapaxes(-1, -2)


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)


@pytest.mark.parametrize(
    "a, b",
    [
        ((5, 70), (70, 33)),
        ((1, 3000), (3000, 1)),
        ((3, 1, 4, 9), (2, 9, 5)),
        ((6, 1), (1, 7)),
        ((4, 0), (0, 3)),
        ((0, 4), (4, 3)),
        ((70,), (70, 40)),
    ],
    ids=str,
)
def test_products(a, b):
    x, y = floats(*a), floats(*b)
    (got,) = run_op(Product(), x, y, target=GPU)
    close(got, x.astype(np.float64) @ y.astype(np.float64))


@pytest.mark.parametrize("turn_a", [False, True])
@pytest.mark.parametrize("turn_b", [False, True])
def test_operands_are_read_where_they_lie(turn_a, turn_b):
    x, y = floats(2, 40, 67), floats(67, 36)
    given = turned(x) if turn_a else x, (turned(y) if turn_b else y)[:, ::2]
    with double().order(3):
        (got,) = run_op(Product(), *given, target=GPU)
    close(got, x.astype(np.float64) @ y[:, ::2].astype(np.float64))


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-13), ("float16", 1e-3), ("bfloat16", 4e-3)])
def test_dtypes(dtype, tolerance):
    """Sums of 16-bit floats are float32 and rounded once."""
    (a, x), (b, y) = held(dtype, 6, 500), held(dtype, 500, 9)
    (got,) = run_op(MatMul(), a, b, dtypes={0: dtype, 1: dtype}, target=GPU)
    want = x @ y
    np.testing.assert_allclose(numbers_of(dtype, got).astype(np.float64), want, rtol=tolerance, atol=1e-4)


def test_sums_of_integers():
    a, b = random.integers(0, 256, (5, 300), np.uint8), random.integers(-128, 128, (300, 6), np.int8)
    (got,) = run_op(IntegerMatMul(131), a, b, target=GPU)
    np.testing.assert_array_equal(got, (a.astype(np.int64) - 131) @ b)
    s = ConvShape(2, 4, (5, 4), 6, (3, 2), (2, 1), (1, 1), (1, 2), 2)
    x, w = random.integers(0, 256, (2, 4, 5, 4), np.uint8), random.integers(-128, 128, (6, 2, 3, 2), np.int8)
    (got,) = run_op(IntegerConvolution(*sliding(s), 131), x, w, target=GPU)
    np.testing.assert_array_equal(got, forward(x.astype(np.int64) - 131, w, s))
    dy = random.integers(-128, 128, (2, 6, *s.out), np.int8)
    (got,) = run_op(IntegerConvolutionBackwardData(*sliding(s), s.size, 3), w, dy, target=GPU)
    np.testing.assert_array_equal(got, by_data(w, dy.astype(np.int64) - 3, s))


def sliding(s: ConvShape) -> tuple:
    return s.stride, s.padding, s.dilation, s.groups


SHAPES = [
    ConvShape(2, 3, (7, 6), 4, (3, 3), padding=(1, 1)),
    ConvShape(1, 4, (9, 8), 6, (3, 2), stride=(2, 3), padding=(2, 1), groups=2),
    ConvShape(2, 3, (11, 5), 2, (3, 3), stride=(2, 1), padding=(3, 2), dilation=(2, 2)),
    ConvShape(1, 6, (6, 6), 6, (5, 1), stride=(1, 1), padding=(2, 0), groups=6),
    ConvShape(1, 2, (40, 9), 3, (20, 1), stride=(20, 4)),
    ConvShape(3, 5, (4, 4), 1, (1, 1), stride=(3, 2)),
    ConvShape(2, 3, (30,), 4, (5,), (2,), (1,), (3,)),
    volume(1, 2, (4, 3, 5), 4, (2, 3, 1), (1, 2, 3), (1, 1, 0), (2, 1, 1), 2),
]


@pytest.mark.parametrize("s", SHAPES, ids=str)
def test_convolutions_and_their_gradients(s):
    x, w, dy = floats(s.n, s.ic, *s.size), floats(s.oc, s.ic_group, *s.kernel), floats(s.n, s.oc, *s.out)
    y, dx, dw = reference(x, w, dy, s)
    close(run_op(Convolution(*sliding(s)), x, w, target=GPU)[0], y)
    close(run_op(ConvolutionBackwardData(*sliding(s), s.size), w, dy, target=GPU)[0], dx)
    close(run_op(ConvolutionBackwardFilter(*sliding(s), s.kernel), x, dy, target=GPU)[0], dw)


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-13), ("bfloat16", 4e-3)])
def test_convolutions_with_channels_side_by_side(dtype, tolerance):
    s = ConvShape(2, 8, (5, 6), 4, (3, 3), (2, 2), (1, 1))
    shapes = (s.n, s.ic, *s.size), (s.oc, s.ic, *s.kernel), (s.n, s.oc, *s.out)
    (a, x), (b, w), (g, dy) = (held(dtype, *shape) for shape in shapes)
    a, g, dtypes = channels_last(a), channels_last(g), {0: dtype, 1: dtype}
    with double().order(1):
        (y,) = run_op(Convolution(*sliding(s)), a, b, dtypes=dtypes, target=GPU)
        (dx,) = run_op(ConvolutionBackwardData(*sliding(s), s.size), b, g, dtypes=dtypes, target=GPU)
        (dw,) = run_op(ConvolutionBackwardFilter(*sliding(s), s.kernel), a, g, dtypes=dtypes, target=GPU)
    for got, want in (y, forward(x, w, s)), (dx, by_data(w, dy, s)), (dw, by_weight(x, dy, s)):
        close(numbers_of(dtype, got), want, tolerance)


def test_images_keep_their_layout():
    s = ConvShape(2, 8, (5, 6), 4, (3, 3), padding=(1, 1))
    types = [Type("float32", (2, 8, 5, 6)), Type("float32", (4, 8, 3, 3))]
    last = contiguous((2, 5, 6, 8)).permute((0, 3, 1, 2))
    plan = compile_program(build(Convolution(*sliding(s)), types), [last, contiguous(types[1].shape)], GPU)
    assert plan.outputs[0].strides == (5 * 6 * 4, 1, 6 * 4, 4) and len(plan.steps) == 1


def epilogue(op, x: Type, w: Type, bias: Type):
    """relu(op(x, w) + bias) · 3 + residual, and its sum over the first dim."""
    builder = Builder()
    a, b, c = builder.input(x), builder.input(w), builder.input(bias)
    y = op(a, b)
    residual = builder.input(y.type)
    ended = Elemwise("RELU")(y + c) * builder.number(3.0) + residual
    return builder.finish([ended, total(ended, (0,))])


def test_nodes_after_a_product_are_its_epilogue():
    x, w, bias, residual = floats(20, 30), floats(30, 12), floats(12), floats(20, 12)
    program = epilogue(MatMul(), *(Type("float32", v.shape) for v in (x, w, bias)))
    plan = compile_program(program, target=GPU)
    assert all(isinstance(step, DeviceLaunch) for step in plan.steps) and len(plan.steps) == 2
    got, sums = run_plan(plan, [x, w, bias, residual])
    want = 3 * np.maximum(x.astype(np.float64) @ w + bias, 0) + residual
    close(got, want)
    close(sums, want.sum(0, keepdims=True))


def test_nodes_after_a_gradient_by_data_are_its_epilogue():
    s = ConvShape(2, 4, (7, 6), 6, (3, 3), (2, 2), (1, 1), (1, 1), 2)
    w, dy, bias, residual = floats(6, 2, 3, 3), floats(2, 6, *s.out), floats(1, 4, 1, 1), floats(2, 4, 7, 6)
    op = ConvolutionBackwardData(*sliding(s), s.size)
    plan = compile_program(epilogue(op, *(Type("float32", v.shape) for v in (w, dy, bias))), target=GPU)
    got, _ = run_plan(plan, [w, dy, bias, residual])
    close(got, 3 * np.maximum(by_data(w, dy, s) + bias, 0) + residual)


def test_gpus_have_ways_of_their_own():
    assert {form for way in WAYS if way.on_gpus for form in way.forms} == set(ROLES)
