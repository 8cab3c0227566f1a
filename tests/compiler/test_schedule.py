"""Programs through the whole compiler against float64 NumPy, with no runtime."""

from __future__ import annotations

import numpy as np
import pytest
from plans import run_op, run_plan, type_of

from tengen.compiler import compile_program
from tengen.compiler.program import Builder, Composite, Type, build
from tengen.compiler.schedule.driver import Scheduler
from tengen.compiler.schedule.memory import assign as memory
from tengen.compiler.schedule.partition import Partition
from tengen.compiler.targets.host import host_target
from tengen.compiler.view import View, contiguous, dense
from tengen.core import gradient
from tengen.core.ops.conv import Conv2d, Convolution
from tengen.core.ops.elemwise import Elemwise, TypeCvt, Where, cast
from tengen.core.ops.formula import Mean, Softmax, Variance
from tengen.core.ops.host import MatrixInverse
from tengen.core.ops.index import GatherAlong, OneHot, ScatterAlong, put_op, take_op
from tengen.core.ops.linalg import Linear, MatMul, Product
from tengen.core.ops.loss import CrossEntropy
from tengen.core.ops.normalization import BatchNorm, Normalize
from tengen.core.ops.pool import Pooling
from tengen.core.ops.reduce import Reduce
from tengen.core.ops.shape import (
    Broadcast,
    Concatenate,
    Pad,
    PlaceView,
    Reduced,
    Reshape,
    SetSubtensor,
    Slice,
    Transpose,
    Windows,
    broadcast,
    reshape,
)

RNG = np.random.default_rng(0)


def floats(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def channels_last(*shape):
    n, c, h, w = shape
    return floats(n, h, w, c).transpose(0, 3, 1, 2)


def check(op, *arrays, want, rtol=2e-5, atol=1e-5, **options):
    (got,) = run_op(op, *arrays, **options)
    want = np.asarray(want)
    assert got.shape == want.shape
    np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=rtol, atol=atol)


SHAPES = [(), (1,), (7,), (3, 5), (2, 1, 9), (4, 33), (0, 3), (2, 3, 4, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_elementwise_shapes(shape):
    a, b = floats(*shape), floats(*shape)
    check(Elemwise("ADD"), a, b, want=a + b)
    check(Elemwise("MUL"), a, 2.5, want=a * 2.5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: floats(6, 8)[::2, ::-1],
        lambda: floats(8, 6).T,
        lambda: floats(3, 1, 4),
        lambda: np.broadcast_to(floats(1, 5), (4, 5)),
    ],
)
def test_elementwise_strides(make):
    a = make()
    check(Elemwise("EXP"), a, want=np.exp(a.astype(np.float64)))


def test_channels_last_stays_channels_last():
    x = channels_last(2, 5, 4, 3)
    (y,) = run_op(Elemwise("RELU"), x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    plan = compile_program(build(Elemwise("RELU"), [type_of(x)]), [View(x.shape, tuple(s // 4 for s in x.strides))])
    assert plan.outputs[0].strides == (60, 1, 15, 5)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("mode", ["SUM", "MAX", "MIN", "PRODUCT"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 17, 2), (40, 3, 33)])
def test_reductions(mode, axes, shape):
    x = floats(*shape) if mode != "PRODUCT" else 1 + 0.01 * floats(*shape)
    fold = {"SUM": np.sum, "MAX": np.max, "MIN": np.min, "PRODUCT": np.prod}[mode]
    check(Reduce(mode, axes), x, want=fold(x.astype(np.float64), axis=axes, keepdims=True))


def test_long_reductions_are_cut_into_parts():
    x = floats(300, 1000)
    check(Reduce("SUM", (0, 1)), x, want=x.astype(np.float64).sum(keepdims=True), atol=1e-2)
    check(Reduced(Mean((0, 1)), (0, 1), False), x, want=x.astype(np.float64).mean(), atol=1e-5)
    y = channels_last(8, 6, 60, 40)
    check(Reduce("SUM", (0, 2, 3)), y, want=y.astype(np.float64).sum((0, 2, 3), keepdims=True), atol=1e-2)


def test_softmax_is_one_kernel():
    program = build(Softmax((1,)), [Type("float32", (64, 100))])
    assert len(Partition(program).order) == 1
    x = floats(5, 100) * 10
    e = np.exp(x - x.max(1, keepdims=True).astype(np.float64))
    check(Softmax((1,)), x, want=e / e.sum(1, keepdims=True))
    check(Softmax((0,)), np.asfortranarray(x.T), want=(e / e.sum(1, keepdims=True)).T)


def test_normalisation():
    x, w, b = floats(6, 33), floats(33), floats(33)
    d = x.astype(np.float64)
    want = (d - d.mean(1, keepdims=True)) / np.sqrt(d.var(1, keepdims=True) + 1e-5) * w + b
    check(Normalize((1,), True, "layer_norm"), x, 1e-5, w, b, want=want)
    check(Variance((0, 1), False), x, want=d.var(keepdims=True))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (8, 6, 40, 40)])
@pytest.mark.parametrize("make", [floats, channels_last])
def test_batch_norm(make, shape):
    x, w, b = make(*shape), floats(1, shape[1], 1, 1), floats(1, shape[1], 1, 1)
    y, mean, var = run_op(BatchNorm(False), x, w, b, 1e-5)
    d = x.astype(np.float64)
    m, v = d.mean((0, 2, 3), keepdims=True), d.var((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(y, (d - m) / np.sqrt(v + 1e-5) * w + b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mean, m, atol=1e-5)
    np.testing.assert_allclose(var, v, rtol=1e-4)


def test_cross_entropy():
    x, label = floats(9, 7) * 5, RNG.integers(0, 7, 9).astype(np.int32)
    d = x.astype(np.float64)
    logp = d - np.log(np.exp(d).sum(1, keepdims=True))
    nll = -logp[np.arange(9), label]
    check(CrossEntropy(1, True, False, "none"), x, label, 0.0, want=nll)
    check(CrossEntropy(1, True, False, "mean"), x, label, 0.0, want=nll.mean())
    check(CrossEntropy(1, True, True, "none"), x, label, 0.1, want=0.9 * nll - 0.1 * logp.mean(1))


@pytest.mark.parametrize("make", [floats, channels_last])
def test_views(make):
    x = make(2, 3, 4, 6)
    check(Transpose((2, 0, 3, 1)), x, want=x.transpose(2, 0, 3, 1))
    check(Reshape((6, 24)), x, want=x.reshape(6, 24))
    check(Slice((0, 2, 1, 5), (2, 2, 2, 3), (1, -1, 2, -2)), x, want=x[:, 2:0:-1, 1::2, 5::-2])
    check(
        Pad((0, 1, 2, 0), (1, 0, 1, 3), 1.5), x, want=np.pad(x, [(0, 1), (1, 0), (2, 1), (0, 3)], constant_values=1.5)
    )
    check(Broadcast((5, 2, 3, 4, 6)), x, want=np.broadcast_to(x, (5, 2, 3, 4, 6)))
    seen = np.lib.stride_tricks.sliding_window_view(x, (2, 3), (2, 3))[:, :, ::2, ::1]
    check(Windows((2, 3), (2, 3), (2, 1), (1, 1)), x, want=seen)


def test_concat():
    a, b, c = floats(2, 3), floats(2, 4)[:, ::2], floats(2, 0)
    check(Concatenate(1), a, b, c, want=np.concatenate([a, b, c], 1))


def test_place_and_set():
    x, v = floats(5, 6), floats(2, 3)
    part = Slice((1, 0), (2, 3), (2, 2))
    want = x.copy()
    want[1:5:2, ::2] = v
    check(PlaceView(part, "set"), x, v, want=want)
    want[...] = x
    want[1:5:2, ::2] = 7
    check(SetSubtensor(part, (2, 3)), x, 7, want=want)


def test_indexing():
    x = floats(5, 6, 7)
    i, j = np.array([[0, -1], [3, 2]], np.int32), np.array([4, 1], np.int32)
    check(take_op(3, [1], 2), x, i, want=x[:, i])
    check(take_op(3, [0, 1], 2), x, i, j, want=x[i, j])
    check(take_op(3, [0, 2], 1, apart=True), x, j, j, want=x[j, :, j])
    with pytest.raises(IndexError):
        run_op(take_op(3, [0], 1), x, np.array([5], np.int32))
    want = x.copy()
    np.add.at(want, (slice(None), np.array([1, 1, 3])), 1.0)
    check(put_op("add", 3, [1], 1), x, np.ones((5, 3, 7), np.float32), np.array([1, 1, 3], np.int32), want=want)
    index = RNG.integers(0, 6, (5, 2, 7)).astype(np.int32)
    check(GatherAlong(1), x, index, want=np.take_along_axis(x, index, 1))
    want = x.copy()
    np.put_along_axis(want, index, 3.0, 1)
    check(ScatterAlong(1, "set"), x, index, np.full((5, 2, 7), 3.0, np.float32), want=want)
    check(OneHot(4, "int32"), np.array([3, 0], np.int32), want=np.eye(4)[[3, 0]])


@pytest.mark.parametrize("m,k,n", [(1, 1, 1), (7, 5, 3), (64, 400, 120), (33, 1, 65), (2, 0, 3)])
def test_products(m, k, n):
    a, b = floats(m, k), floats(k, n)
    want = a.astype(np.float64) @ b
    check(Product(), a, b, want=want, atol=1e-4)
    check(Product(transpose_a=True), np.ascontiguousarray(a.T), b, want=want, atol=1e-4)
    check(Product(transpose_b=True), a, np.ascontiguousarray(b.T), want=want, atol=1e-4)
    check(Linear(True), a, np.ascontiguousarray(b.T), floats(n) * 0 + 2, want=want + 2, atol=1e-4)


def test_batched_products():
    a, b = floats(3, 1, 4, 5), floats(2, 5, 6)
    check(Product(), a, b, want=a.astype(np.float64) @ b)
    check(Product(), a, floats(5) * 0 + 1, want=a.astype(np.float64).sum(-1))


def convolved(x, w, stride, padding, dilation, groups):
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (padding,) * 2, (padding,) * 2])
    n, c, h, wd = x.shape
    oc, _, kh, kw = w.shape
    oh, ow = (h - dilation * (kh - 1) - 1) // stride + 1, (wd - dilation * (kw - 1) - 1) // stride + 1
    y = np.zeros((n, oc, oh, ow))
    for g in range(groups):
        cs, os = slice(g * c // groups, (g + 1) * c // groups), slice(g * oc // groups, (g + 1) * oc // groups)
        for r in range(kh):
            for s in range(kw):
                seen = x[:, cs, r * dilation :, s * dilation :][:, :, : stride * oh : stride, : stride * ow : stride]
                y[:, os] += np.einsum("nchw,oc->nohw", seen, w[os, :, r, s])
    return y


@pytest.mark.parametrize(
    "stride,padding,dilation,groups",
    [(1, 0, 1, 1), (2, 1, 1, 1), (1, 2, 2, 1), (3, 0, 1, 2), (1, 1, 1, 6), (2, 1, 1, 6)],
)
@pytest.mark.parametrize("make", [floats, channels_last])
def test_convolution(make, stride, padding, dilation, groups):
    x, w, b = make(2, 6, 11, 13), floats(6, 6 // groups, 3, 3), floats(1, 6, 1, 1)
    op = Conv2d((stride,) * 2, (padding,) * 2, (dilation,) * 2, groups, True)
    check(op, x, w, b, want=convolved(x, w, stride, padding, dilation, groups) + b, atol=1e-4)


@pytest.mark.parametrize("kernel,stride,padding", [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
@pytest.mark.parametrize("mode", ["max", "average", "average_count_exclude_padding"])
@pytest.mark.parametrize("make", [floats, channels_last])
def test_pooling(make, mode, kernel, stride, padding):
    x = make(2, 3, 8, 9)
    fill = -np.inf if mode == "max" else 0.0
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (padding,) * 2, (padding,) * 2], constant_values=fill)
    seen = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (2, 3))[:, :, ::stride, ::stride]
    if mode == "max":
        want = seen.max((4, 5))
    else:
        ones = np.pad(np.ones((1, 1, 8, 9)), [(0, 0), (0, 0), (padding,) * 2, (padding,) * 2])
        count = np.lib.stride_tricks.sliding_window_view(ones, (kernel, kernel), (2, 3))[:, :, ::stride, ::stride].sum(
            (4, 5)
        )
        want = seen.sum((4, 5)) / (kernel * kernel if mode == "average" else count)
    check(Pooling(mode, (kernel,) * 2, (stride,) * 2, (padding,) * 2), x, want=want)


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8", "int16", "int32", "bool", "float64", "int64"])
def test_dtypes(dtype):
    x = RNG.integers(0, 100, 37).astype(dtype)
    check(TypeCvt("float32"), x, want=x.astype(np.float32))
    check(Where(), x > 50, x, x, want=x)
    if dtype != "bool":
        (got,) = run_op(Elemwise("ADD"), x, x)
        np.testing.assert_array_equal(got, x + x)
        assert got.dtype == x.dtype


def test_host_ops():
    x = floats(3, 4)
    square = x[:, :3] + 4 * np.eye(3, dtype=np.float32)
    check(MatrixInverse(), square.T, want=np.linalg.inv(square.T))


# -- gradients against finite differences in float64 --------------------------------------------------------------


def gradients(op, arrays, needs, g):
    types = tuple(type_of(a) if isinstance(a, np.ndarray) else Type("weak_float", ()) for a in arrays)
    outputs = run_op(op, *arrays)
    found = gradient.backward(
        op, types, tuple(type_of(y) for y in outputs), needs, (True,) + (False,) * (len(outputs) - 1)
    )
    slots = [*arrays, *outputs, g]
    results = run_op(found.op, *(slots[i] if i < len(arrays) + len(outputs) else g for i in found.args))
    return dict(zip(found.results, results, strict=True))


def check_gradient(op, *arrays, eps=1e-6, atol=1e-5):
    arrays = [a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in arrays]
    needs = tuple(isinstance(a, np.ndarray) and a.dtype.kind == "f" for a in arrays)
    y = run_op(op, *arrays)[0]
    g = RNG.standard_normal(y.shape)
    found = gradients(op, arrays, needs, g)
    for i, need in enumerate(needs):
        if not need:
            continue
        assert found[i].shape == arrays[i].shape
        direction = RNG.standard_normal(arrays[i].shape)
        ahead, behind = (
            [*arrays[:i], np.asarray(arrays[i] + sign * eps * direction), *arrays[i + 1 :]] for sign in (1, -1)
        )
        numeric = ((run_op(op, *ahead)[0] - run_op(op, *behind)[0]) * g).sum() / (2 * eps)
        assert (found[i] * direction).sum() == pytest.approx(numeric, rel=1e-5, abs=atol)


GRADIENTS = {
    "broadcast mul": (Elemwise("MUL"), floats(3, 4), floats(4)),
    "division": (Elemwise("TRUE_DIV"), floats(3, 4), 2 + floats(3, 1) ** 2),
    "softmax": (Softmax((1,)), floats(3, 5)),
    "variance": (Variance((0,), False), floats(4, 3)),
    "layer norm": (Normalize((1,), True, "layer_norm"), floats(3, 6), 1e-5, floats(6), floats(6)),
    "batch norm": (BatchNorm(False), floats(2, 3, 4, 5), floats(1, 3, 1, 1), floats(1, 3, 1, 1), 1e-5),
    "cross entropy": (CrossEntropy(1, True, True, "sum"), floats(4, 5), np.array([0, 4, 2, 1], np.int32), 0.1),
    "slice": (Slice((1, 3), (2, 2), (1, -2)), floats(4, 5)),
    "pad": (Pad((1, 0), (0, 2), 0.0), floats(3, 4)),
    "transpose": (Transpose((1, 0)), floats(3, 4)),
    "concat": (Concatenate(1), floats(3, 4), floats(3, 2)),
    "indexing": (take_op(2, [0], 1), floats(3, 4), np.array([0, 0, 2, 1], np.int32)),
    "assignment": (put_op("set", 2, [0], 1), floats(3, 4), floats(2, 4), np.array([0, 2], np.int32)),
    "linear": (Linear(True), floats(5, 4), floats(3, 4), floats(3)),
    "batched product": (Product(), floats(2, 1, 3, 4), floats(3, 4, 2)),
    "convolution": (
        Conv2d((2, 1), (1, 0), (1, 2), 2, True),
        floats(2, 4, 7, 8),
        floats(6, 2, 3, 2),
        floats(1, 6, 1, 1),
    ),
    "depthwise": (Conv2d((2, 2), (1, 1), (1, 1), 3, True), floats(2, 3, 7, 8), floats(3, 1, 3, 3), floats(1, 3, 1, 1)),
    "max pool": (Pooling("max", (2, 2), (2, 2), (0, 0)), floats(2, 3, 6, 7)),
    "overlapping max pool": (Pooling("max", (3, 3), (2, 2), (1, 1)), floats(2, 3, 7, 8)),
    "average pool": (Pooling("average_count_exclude_padding", (3, 3), (2, 2), (1, 1)), floats(2, 3, 7, 8)),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    op, *arrays = GRADIENTS[name]
    check_gradient(op, *arrays)


def test_an_index_that_is_the_same_everywhere():
    x = floats(4, 3)
    (row,) = run_op(take_op(2, [0], 0), x, np.array(2, np.int32))
    np.testing.assert_array_equal(row, x[2])
    (code,) = run_op(OneHot(4, "int32"), np.array(2, np.int32))
    np.testing.assert_array_equal(code, [0, 0, 1, 0])


class Picked(Composite):
    """Elements of a matrix of one number, at indices along its first axis, and twice the matrix in one dim."""

    name = "test.picked"

    def expand(self, x, index):
        z = broadcast(x, (2, 3))
        return take_op(2, [0], 1)(z, index), reshape(z * 2.0, (6,))


def test_a_number_that_lies_in_memory_for_a_gather_is_computed_again_elsewhere():
    picked, flat = run_op(Picked(), np.array(2.5, np.float32), np.array([1, 0, 1], np.int32))
    assert picked.tolist() == [[2.5] * 3] * 3 and flat.tolist() == [5.0] * 6


def test_rules_of_nested_composites_are_used():
    """The gradient of a softmax inside another composite is softmax's own rule, which needs no exp."""
    from tengen.core.ops.shape import Reduced

    types = (Type("float32", (4, 5)),)
    op = Reduced(Softmax((1,)), (), True)
    found = gradient.backward(op, types, types, (True,), (True,))
    assert "EXP" not in str(found.op.program)


@pytest.mark.parametrize("bias", [floats(1, 6, 1, 1), floats(1, 12, 1, 1)[:, ::2], floats(6, 1, 1)])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_bias_is_added_by_the_convolution(bias, groups):
    x, w = floats(2, 4, 7, 8), floats(6, 4 // groups, 3, 3)
    op = Conv2d((1, 1), (1, 1), (1, 1), groups, True)
    types = [type_of(a) for a in (x, w, bias)]
    assert len(Partition(build(op, types)).order) == 1
    check(op, x, w, bias, want=convolved(x, w, 1, 1, 1, groups) + bias.reshape(1, 6, 1, 1), atol=1e-4)


def test_results_keep_the_layout_that_a_kernel_chose():
    """Batch norm over a channels-last tensor, cut into parts, neither stores x - mean nor turns to row-major."""
    x = channels_last(8, 16, 60, 40)
    types = [type_of(x), *[Type("float32", (1, 16, 1, 1))] * 2, Type("weak_float", ())]
    views = [View(t.shape, (1,) * len(t.shape)) for t in types]
    views[0] = View(x.shape, tuple(s // 4 for s in x.strides))
    views[1] = views[2] = View((1, 16, 1, 1), (16, 1, 1, 1))
    plan = compile_program(build(BatchNorm(False), types), views)
    assert plan.outputs[0].strides == tuple(s // 4 for s in x.strides)
    assert sum(plan.allocations) < 2 * x.nbytes


def test_row_major_gives_way_to_a_chosen_layout():
    a, b = floats(2, 5, 4, 3), channels_last(2, 5, 4, 3)
    (got,) = run_op(Elemwise("ADD"), a, b)
    np.testing.assert_allclose(got, a + b)


class Enlarged(Composite):
    """Each element of x four times over; and twice a y that is as large but for that."""

    def expand(self, x, y):
        n, c, h, w = x.shape
        zeros = broadcast(cast(x.builder.constant(0.0), x.dtype), (n, c, 2 * h, 2 * w))
        apart = (n, c, h, 2, w, 2)
        many = broadcast(reshape(x + x, (n, c, h, 1, w, 1)), apart)
        return PlaceView(Reshape(apart), "set")(zeros, many), y + y


def test_what_is_placed_into_zeros_keeps_its_layout():
    x, y = channels_last(2, 16, 5, 6), floats(2, 16, 11, 12)
    made = run_op(Enlarged(), x, y)
    np.testing.assert_allclose(made[0], 2 * x.repeat(2, 2).repeat(2, 3))
    types, views = [type_of(a) for a in (x, y)], [View(a.shape, tuple(s // 4 for s in a.strides)) for a in (x, y)]
    plan = compile_program(build(Enlarged(), types), views)
    assert plan.outputs[0].strides == (16 * 120, 1, 16 * 12, 16)


def test_an_operand_that_jumps_is_straightened_if_it_is_read_often():
    x, b = floats(8, 16, 32, 64), floats(64, 16).T[:, None]
    check(Elemwise("ADD"), x, b, want=x + b)
    views = [View(a.shape, tuple(s // 4 for s in a.strides)) for a in (x, b)]
    assert len(compile_program(build(Elemwise("ADD"), [type_of(x), type_of(b)]), views).steps) == 2
    once = floats(16, 2048), floats(2048, 16).T
    views = [View(a.shape, tuple(s // 4 for s in a.strides)) for a in once]
    assert len(compile_program(build(Elemwise("ADD"), [type_of(a) for a in once]), views).steps) == 1


def test_pooling_takes_columns_apart_in_registers():
    x = floats(2, 3, 8, 40)
    scheduler = Scheduler(
        build(Pooling("max", (2, 2), (2, 2), (0, 0)), [type_of(x)]), [contiguous(x.shape)], host_target()
    )
    scheduler.lower()
    (source,) = scheduler.sources
    assert source.nest.interleaved is not None


def launches(op, *arrays):
    """Of each launch of a Plan, whether it may run at the same time as the one before."""
    types = [type_of(a) for a in arrays]
    return [step.joined for step in compile_program(build(op, types), [contiguous(a.shape) for a in arrays]).steps]


class Both(Composite):
    """Two sums of unlike shapes; `chained`: the second one of the first one's result."""

    chained: bool

    def expand(self, x, y):
        first = Reduce("SUM", (1,))(x)
        return first, Reduce("SUM", (0,))(first if self.chained else y)


def test_independent_launches_are_joined():
    x, y = floats(30, 40), floats(50)
    assert launches(Both(False), x, y) == [False, True]
    assert launches(Both(True), x, y) == [False, False]
    np.testing.assert_allclose(run_op(Both(False), x, y)[1], y.sum(0), rtol=1e-5)


class Written(Composite):
    """A result that lies like the first input, so that it may have its memory, and a sum of it that is a launch of its own."""

    def expand(self, x, w):
        y = Convolution((1, 1), (1, 1), (1, 1), 1)(x, w)
        return y, Reduce("MAX", (2,))(y)


def test_a_result_that_may_have_an_inputs_memory_is_complete_before_it_is_read():
    x, w = floats(8, 7, 7, 512).transpose(0, 3, 1, 2), floats(512, 512, 3, 3)  # by tiles, all of them read before
    program = build(Written(), [type_of(x), type_of(w)])
    plan = compile_program(program, [View(a.shape, tuple(s // 4 for s in a.strides)) for a in (x, w)])
    last = max(i for i, step in enumerate(plan.steps) if step.name == "conv2d")
    assert plan.donations and len(plan.steps) > last + 1
    assert not plan.steps[last + 1].joined, [step.name for step in plan.steps]


def test_what_a_launch_may_overwrite_is_not_read_at_the_same_time():
    class Step:
        def __init__(self, reads, writes, joined=False):
            self.joined, self.reads, self.writes = joined, [(b, None) for b in reads], [(b, None) for b in writes]

    def joined(donated, *steps):
        memory.join(steps, donated)
        return [step.joined for step in steps]

    assert joined({}, Step([0], [2]), Step([1], [3])) == [False, True]
    assert joined({}, Step([0], [2]), Step([2], [3])) == [False, False]
    assert joined({}, Step([2], [3]), Step([0], [2])) == [False, False]
    assert joined({}, Step([0], [2]), Step([1], [2])) == [False, False]
    assert joined({3: 0}, Step([0], [2]), Step([1], [3])) == [False, False]
    assert joined({3: 0}, Step([1], [3]), Step([3], [4])) == [False, False]  # whose memory it is or not
    assert joined({3: 0}, Step([1], [3]), Step([2], [3])) == [False, False]
    assert joined({}, Step([0], [2]), Step([1], [3]), Step([3], [4]), Step([0], [5])) == [False, True, False, True]
    # Parts of one result, of which one may not run so early.
    assert joined({}, Step([0], [2]), Step([1], [3]), Step([2], [3], True)) == [False, False, True]
    assert joined({}, Step([0], [2]), Step([1], [3]), Step([1], [3], True)) == [False, True, True]


def test_memory_is_not_shared_within_joined_launches():
    class Step:
        def __init__(self, reads, writes, joined):
            self.joined, self.reads, self.writes = joined, [(b, None) for b in reads], [(b, None) for b in writes]

    for joined in (False, True):
        steps = [Step([0], [1], False), Step([1], [], joined), Step([0], [2], joined)]
        slots, _ = memory.assign(steps, [64, 64, 64], 1, [])
        assert (slots[1] == slots[2]) is not joined


class Sums(Composite):
    """The sum of x and that of x * y over the last axis; `chained`: the second one needs the first."""

    chained: bool

    def expand(self, x, y):
        first = Reduce("SUM", (1,))(x)
        return first, Reduce("SUM", (1,))((x + first if self.chained else x) * y)


def test_reductions_of_the_same_values_read_them_together():
    x, y = floats(30, 40), floats(30, 40)
    for chained in (False, True):
        assert len(launches(Sums(chained), x, y)) == 1
        first, second = run_op(Sums(chained), x, y)
        np.testing.assert_allclose(first, x.sum(1, keepdims=True), rtol=1e-4, atol=1e-4)
        wanted = ((x + x.sum(1, keepdims=True) if chained else x) * y).sum(1, keepdims=True)
        np.testing.assert_allclose(second, wanted, rtol=1e-4, atol=1e-3)


def test_the_gradient_of_batch_norm_reads_its_operands_twice():
    image, row = Type("float32", (8, 40, 20, 20)), Type("float32", (1, 40, 1, 1))
    channel, number = Type("float32", (40,)), Type("weak_float", ())
    needs, present = (True, True, True, False), (True, False, False)
    types = (image, channel, channel, number), (image, row, row)
    op = gradient.backward(BatchNorm(False), *types, needs, present).op
    inputs = [v.type for v in op.program.inputs]
    plan = compile_program(
        build(op, inputs), [View(t.shape, dense(t.shape, (0, 2, 3, 1)[: len(t.shape)])) for t in inputs]
    )
    assert sum(step.work > image.size for step in plan.steps) == 2  # once for both sums, once for dx


@pytest.mark.parametrize("offset, spread", [(0, 1), (1000, 1), (-3, 1e-3), (1e4, 10)])
def test_batch_statistics_of_values_far_from_zero(offset, spread):
    x = (offset + spread * RNG.standard_normal((8, 5, 20, 20))).astype(np.float32)
    _, average, variance = run_op(BatchNorm(False), x, floats(5), floats(5), 1e-5)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(average.ravel(), wide.mean((0, 2, 3)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(variance.ravel(), wide.var((0, 2, 3)), rtol=2e-5)


def test_batch_statistics_where_the_first_values_are_unlike_the_others():
    x = np.random.default_rng(11).standard_normal((8, 5, 40, 40)).astype(np.float32)
    x[0, :, :4, :4] = 1e5
    _, average, variance = run_op(BatchNorm(False), x, floats(5), floats(5), 1e-5)
    wide = x.astype(np.float64)
    # The sum starts from the first values, so a mean is as exact as their size lets it be: against the deviation, 3,500.
    np.testing.assert_allclose(average.ravel(), wide.mean((0, 2, 3)), rtol=0, atol=1e-6 * wide.std())
    np.testing.assert_allclose(variance.ravel(), wide.var((0, 2, 3)), rtol=1e-4)


def test_a_sum_of_many_products_is_taken_as_they_come():
    """As the gradient of a weight that many steps of a sequence use: not all of its parts wait for the last one."""
    builder = Builder()
    x, w = builder.input(Type("float32", (2, 64))), builder.input(Type("float32", (64, 64)))
    total = w
    for _ in range(32):
        x = Elemwise("SIN")(MatMul()(x, w))
        total = total + MatMul()(Transpose((1, 0))(x), x)
    plan = compile_program(builder.finish([total]))
    assert sum(plan.allocations) < 16 * 64 * 64 * 4
    arrays = [floats(2, 64), floats(64, 64) / 8]
    (got,) = run_plan(plan, arrays)
    y, v = (a.astype(np.float64) for a in arrays)
    want = v.copy()
    for _ in range(32):
        y = np.sin(y @ v)
        want += y.T @ y
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
