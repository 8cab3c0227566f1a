"""Sums of products by tiles of blocks of threads, run on the double of the driver from their PTX."""

from __future__ import annotations

import re

import numpy as np
import pytest
from contraction_harness import by_data, by_weight, forward, reference, volume
from double.library import double
from gpu import GPU
from nest_harness import bits_of, numbers_of
from plans import run_op, run_plan

from tengen.base import config
from tengen.compiler import compile_program
from tengen.compiler.geometry import ConvShape
from tengen.compiler.kernels.block_product import BlockTile
from tengen.compiler.kernels.target import DeviceTarget
from tengen.compiler.plan import DeviceLaunch, Plan
from tengen.compiler.program import Builder, Type, build
from tengen.compiler.schedule.contractions import by_blocks, by_threads
from tengen.compiler.view import View
from tengen.core.ops.conv import Convolution, ConvolutionBackwardData, ConvolutionBackwardFilter
from tengen.core.ops.elemwise import Elemwise
from tengen.core.ops.integer import IntegerConvolution, IntegerMatMul
from tengen.core.ops.linalg import MatMul, Product
from tengen.core.ops.reduce import total

random = np.random.default_rng(0)
OLD = DeviceTarget("nvidia", (7, 5))


@pytest.fixture(autouse=True)
def only_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what is so small that threads on their own are faster."""
    monkeypatch.setattr(by_threads, "SLOWER", 1 << 40)


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape, np.float32)


def close(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-5) -> None:
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * max(1, np.abs(want).max(initial=0)))


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)


def sliding(s: ConvShape) -> tuple:
    return s.stride, s.padding, s.dilation, s.groups


def chain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The products of float32 matrices by chains of fused multiply-adds, in the order of k."""
    sums = np.zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), np.float32)
    for k in range(a.shape[-1]):
        product = a[..., :, k, None].astype(np.longdouble) * b[..., k, None, :]
        sums = (product + sums).astype(np.float32)
    return sums


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_a_sum_is_a_chain_in_the_order_of_k(order):
    x, y = floats(37, 67), floats(67, 53)
    with double().order(order):
        (got,) = run_op(MatMul(), x, y, target=GPU)
    np.testing.assert_array_equal(got, chain(x, y))


@pytest.mark.parametrize("tile", [tile for tile, _ in by_blocks.TILES["f32"]], ids=lambda t: f"{t.rows}x{t.columns}")
def test_tiles(tile: BlockTile, monkeypatch):
    monkeypatch.setattr(by_blocks, "TILES", {"f32": ((tile, 1.0),)})
    x, y = floats(131, 35), floats(35, 133)
    with double().order(3):
        (got,) = run_op(MatMul(), x, y, target=GPU)
    np.testing.assert_array_equal(got, chain(x, y))


@pytest.mark.parametrize(
    "a, b",
    [
        ((1, 3), (3, 1)),
        ((2, 1), (1, 7)),
        ((3, 1, 33, 9), (2, 9, 40)),
        ((4, 0), (0, 3)),
        ((0, 4), (4, 3)),
        ((64, 64),) * 2,
    ],
    ids=str,
)
def test_products(a, b):
    x, y = floats(*a), floats(*b)
    (got,) = run_op(Product(), x, y, target=GPU)
    np.testing.assert_array_equal(got, chain(x, y))


VIEWS = {
    "transposed": lambda x: x.swapaxes(-1, -2).copy().swapaxes(-1, -2),
    "every second": lambda x: np.repeat(x, 2, -1)[:, ::2],
    "backwards": lambda x: x[:, ::-1].copy()[:, ::-1],
    "upside down": lambda x: x[::-1].copy()[::-1],
    "one row": lambda x: np.broadcast_to(x[:1], x.shape),
    "one column": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "beside a multiple of 16 bytes": lambda x: np.pad(x, ((0, 0), (1, 3)))[:, 1:-3],
    "apart": lambda x: np.pad(x, ((0, 0), (0, 1000)))[:, :-1000],
}


@pytest.mark.parametrize("a", VIEWS)
@pytest.mark.parametrize("b", VIEWS)
def test_operands_are_read_where_they_lie(a, b):
    x, y = VIEWS[a](floats(36, 20)), VIEWS[b](floats(20, 40))
    with double().order(2):
        (got,) = run_op(MatMul(), x, y, target=GPU)
    np.testing.assert_array_equal(got, chain(x, y))


@pytest.mark.parametrize("target", [GPU, OLD], ids=lambda t: t.name)
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-13), ("float16", 1e-3), ("bfloat16", 4e-3)])
def test_dtypes(dtype, tolerance, target):
    a, b = bits_of(dtype, floats(40, 300)), bits_of(dtype, floats(300, 35))
    (got,) = run_op(MatMul(), a, b, dtypes={0: dtype, 1: dtype}, target=target)
    want = numbers_of(dtype, a).astype(np.float64) @ numbers_of(dtype, b)
    np.testing.assert_allclose(numbers_of(dtype, got).astype(np.float64), want, rtol=tolerance, atol=1e-4)


def test_gpus_that_do_not_copy_while_they_compute():
    x, y = floats(37, 67), floats(67, 53)
    plan = compile_program(build(MatMul(), [Type("float32", v.shape) for v in (x, y)]), target=OLD)
    assert "cp.async" not in text_of(plan)
    np.testing.assert_array_equal(run_plan(plan, [x, y])[0], chain(x, y))


def test_sums_of_integers():
    a, b = random.integers(0, 256, (35, 300), np.uint8), random.integers(-128, 128, (300, 40), np.int8)
    (got,) = run_op(IntegerMatMul(131), a, b, target=GPU)
    np.testing.assert_array_equal(got, (a.astype(np.int64) - 131) @ b)
    s = ConvShape(2, 4, (5, 4), 6, (3, 2), (2, 1), (1, 1), (1, 2), 2)
    x, w = random.integers(0, 256, (2, 4, 5, 4), np.uint8), random.integers(-128, 128, (6, 2, 3, 2), np.int8)
    (got,) = run_op(IntegerConvolution(*sliding(s), 131), x, w, target=GPU)
    np.testing.assert_array_equal(got, forward(x.astype(np.int64) - 131, w, s))


SHAPES = [
    ConvShape(2, 3, (7, 6), 4, (3, 3), padding=(1, 1)),
    ConvShape(1, 4, (9, 8), 6, (3, 2), stride=(2, 3), padding=(2, 1), groups=2),
    ConvShape(2, 3, (11, 5), 2, (3, 3), stride=(2, 1), padding=(3, 2), dilation=(2, 2)),
    ConvShape(1, 6, (6, 6), 6, (5, 1), padding=(2, 0), groups=6),
    ConvShape(1, 2, (40, 9), 3, (20, 1), stride=(20, 4)),
    ConvShape(3, 5, (4, 4), 1, (1, 1), stride=(3, 2)),
    volume(1, 2, (4, 3, 5), 4, (2, 3, 1), (1, 2, 3), (1, 1, 0), (2, 1, 1), 2),
]


@pytest.mark.parametrize("s", SHAPES, ids=str)
def test_convolutions_and_their_gradients(s):
    x, w, dy = floats(s.n, s.ic, *s.size), floats(s.oc, s.ic_group, *s.kernel), floats(s.n, s.oc, *s.out)
    y, dx, dw = reference(x, w, dy, s)
    with double().order(1):
        close(run_op(Convolution(*sliding(s)), x, w, target=GPU)[0], y)
        close(run_op(ConvolutionBackwardData(*sliding(s), s.size), w, dy, target=GPU)[0], dx)
        close(run_op(ConvolutionBackwardFilter(*sliding(s), s.kernel), x, dy, target=GPU)[0], dw)


def test_convolutions_with_channels_side_by_side():
    s = ConvShape(2, 8, (6, 7), 36, (3, 3), (2, 2), (1, 1))
    x, w, dy = channels_last(floats(2, 8, 6, 7)), floats(36, 8, 3, 3), channels_last(floats(2, 36, *s.out))
    with double().order(3):
        close(run_op(Convolution(*sliding(s)), x, w, target=GPU)[0], forward(x, w, s))
        close(run_op(ConvolutionBackwardData(*sliding(s), s.size), w, dy, target=GPU)[0], by_data(w, dy, s))
        close(run_op(ConvolutionBackwardFilter(*sliding(s), s.kernel), x, dy, target=GPU)[0], by_weight(x, dy, s))


def test_a_long_sum_is_cut_into_parts(monkeypatch):
    monkeypatch.setattr(by_blocks, "LEAST_PART", 32)
    s = ConvShape(3, 2, (9, 8), 4, (3, 3), (1, 1), (1, 1))
    x, w, dy = floats(3, 2, 9, 8), floats(4, 2, 3, 3), floats(3, 4, 9, 8)
    dw = run_op(ConvolutionBackwardFilter(*sliding(s), s.kernel), x, dy, target=GPU)[0]
    close(dw, by_weight(x, dy, s))
    x, w, bias, residual = floats(20, 300), floats(300, 12), floats(12), floats(20, 12)
    plan = compile_program(epilogue(MatMul(), *(Type("float32", v.shape) for v in (x, w, bias))), target=GPU)
    assert plan.steps[0].grid.grid[0] == 7
    close(run_plan(plan, [x, w, bias, residual])[0], ended(x.astype(np.float64) @ w, bias, residual))


# -- matrices -----------------------------------------------------------------------------------------------------------


def whole(*shape: int) -> np.ndarray:
    """Numbers whose sums of products are exact."""
    return random.integers(-8, 9, shape).astype(np.float32)


def exact(dtype: str, x: np.ndarray, y: np.ndarray) -> None:
    """Sums of these products are rounded once."""
    a, b = lies_alike(dtype, x), lies_alike(dtype, y)
    plan_of = build(MatMul(), [Type(dtype, v.shape) for v in (x, y)])
    views = [View(v.shape, tuple(stride // v.itemsize for stride in v.strides)) for v in (a, b)]
    plan = compile_program(plan_of, views, GPU)
    assert "mma.sync" in text_of(plan)
    np.testing.assert_array_equal(
        run_plan(plan, [a, b])[0], bits_of(dtype, (x.astype(np.float64) @ y).astype(np.float32))
    )


def lies_alike(dtype: str, x: np.ndarray) -> np.ndarray:
    """The same numbers in this dtype, which lie as those of x do."""
    low = sum(min(stride, 0) * (n - 1) for stride, n in zip(x.strides, x.shape, strict=True))
    reach = sum(abs(stride) * (n - 1) for stride, n in zip(x.strides, x.shape, strict=True))
    raw = bits_of(dtype, np.zeros(reach // 4 + 1, np.float32))
    made = np.ndarray(x.shape, raw.dtype, raw, -low // 2, [stride // 2 for stride in x.strides])
    made[...] = bits_of(dtype, x)
    return made


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_small_matrices(dtype, order):
    with double().order(order):
        exact(dtype, whole(40, 64), whole(64, 48))
        exact(dtype, whole(37, 69), whole(69, 53))


@pytest.mark.parametrize(
    "tile", [tile for tile, _ in by_blocks.TILES["matrices"]], ids=lambda t: f"{t.rows}x{t.columns}"
)
def test_tiles_of_small_matrices(tile: BlockTile, monkeypatch):
    monkeypatch.setitem(by_blocks.TILES, "matrices", ((tile, 1.0),))
    with double().order(3):
        exact("bfloat16", whole(131, 200), whole(200, 136))


@pytest.mark.parametrize("a", VIEWS)
@pytest.mark.parametrize("b", VIEWS)
def test_small_matrices_are_read_where_they_lie(a, b):
    with double().order(2):
        exact("bfloat16", VIEWS[a](whole(40, 72)), VIEWS[b](whole(72, 40)))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("s", SHAPES[:3] + SHAPES[-1:], ids=str)
def test_convolutions_of_small_matrices(s, last):
    x, w, dy = (
        bits_of("bfloat16", whole(*n))
        for n in ((s.n, s.ic, *s.size), (s.oc, s.ic_group, *s.kernel), (s.n, s.oc, *s.out))
    )
    if last:
        x, dy = channels_last(x), channels_last(dy)
    given = [numbers_of("bfloat16", v) for v in (x, w, dy)]
    dtypes = {0: "bfloat16", 1: "bfloat16"}
    for op, operands, want in (
        (Convolution(*sliding(s)), (x, w), forward(given[0], given[1], s)),
        (ConvolutionBackwardData(*sliding(s), s.size), (w, dy), by_data(given[1], given[2], s)),
        (ConvolutionBackwardFilter(*sliding(s), s.kernel), (x, dy), by_weight(given[0], given[2], s)),
    ):
        (got,) = run_op(op, *operands, dtypes=dtypes, target=GPU)
        np.testing.assert_array_equal(got, bits_of("bfloat16", want.astype(np.float32)))


@pytest.mark.parametrize("order", [0, 3])
@pytest.mark.parametrize("a", ["transposed", "apart", "beside a multiple of 16 bytes"])
@pytest.mark.parametrize("b", ["transposed", "apart", "every second"])
def test_float32_by_tensor_cores_if_that_is_asked_for(a, b, order):
    """Each factor has 11 significant bits: those of small integers are exact."""
    x, y = VIEWS[a](whole(40, 37)), VIEWS[b](whole(37, 48))
    with config.override(tf32=True), double().order(order):
        (got,) = run_op(MatMul(), x, y, target=GPU)
        np.testing.assert_array_equal(got, x @ y)
        plan = compile_program(build(MatMul(), [Type("float32", v.shape) for v in (x, y)]), target=GPU)
        assert "mma.sync" in text_of(plan)
        x, y = floats(40, 300), floats(300, 48)
        (got,) = run_op(MatMul(), x, y, target=GPU)
    rounded = [shortened(v).astype(np.float64) for v in (x, y)]
    close(got, rounded[0] @ rounded[1])
    assert np.abs(got - x.astype(np.float64) @ y).max() > 1e-4


def shortened(x: np.ndarray) -> np.ndarray:
    """The nearest numbers of 11 significant bits; of two, that which is further from 0."""
    return ((x.view(np.uint32) + 0x1000) & ~np.uint32(0x1FFF)).view(np.float32)


def test_float32_keeps_its_bits_otherwise():
    plan = compile_program(build(MatMul(), [Type("float32", (64, 64))] * 2), target=GPU)
    assert "mma.sync" not in text_of(plan)


# -- epilogues ----------------------------------------------------------------------------------------------------------


def epilogue(op, x: Type, w: Type, bias: Type):
    """relu(op(x, w) + bias) · 3 + residual, and its sum over the first dim."""
    builder = Builder()
    a, b, c = builder.input(x), builder.input(w), builder.input(bias)
    y = op(a, b)
    residual = builder.input(y.type)
    made = Elemwise("RELU")(y + c) * builder.number(3.0) + residual
    return builder.finish([made, total(made, (0,))])


def ended(y: np.ndarray, bias: np.ndarray, residual: np.ndarray) -> np.ndarray:
    return 3 * np.maximum(y + bias, 0) + residual


@pytest.mark.parametrize("rows, columns", [(20, 12), (70, 40)])
def test_nodes_after_a_product_are_its_epilogue(rows, columns):
    x, w, bias, residual = floats(rows, 30), floats(30, columns), floats(columns), floats(rows, columns)
    plan = compile_program(epilogue(MatMul(), *(Type("float32", v.shape) for v in (x, w, bias))), target=GPU)
    assert all(isinstance(step, DeviceLaunch) for step in plan.steps) and len(plan.steps) == 2
    got, sums = run_plan(plan, [x, w, bias, residual])
    want = ended(x.astype(np.float64) @ w, bias, residual)
    close(got, want)
    close(sums, want.sum(0, keepdims=True))


@pytest.mark.parametrize("last", [False, True])
def test_nodes_after_a_convolution_are_its_epilogue(last):
    """Channels are columns where they lie side by side, and rows where pixels do."""
    s = ConvShape(2, 4, (7, 6), 6, (3, 3), (2, 2), (1, 1), (1, 1), 2)
    x, w, bias, residual = floats(2, 4, 7, 6), floats(6, 2, 3, 3), floats(1, 6, 1, 1), floats(2, 6, *s.out)
    if last:
        x, residual = channels_last(x), channels_last(residual)
    program = epilogue(Convolution(*sliding(s)), *(Type("float32", v.shape) for v in (x, w, bias)))
    views = [View(v.shape, tuple(stride // 4 for stride in v.strides)) for v in (x, w, bias, residual)]
    got, _ = run_plan(compile_program(program, views, GPU), [x, w, bias, residual])
    close(got, ended(forward(x, w, s), bias, residual))


def moments(*types: Type):
    """The sums over the rows of a product, and of the squared distances from their mean."""
    builder = Builder()
    y = MatMul()(*(builder.input(t) for t in types))
    sums = total(y, (0,))
    distance = y - sums * builder.number(1 / types[0].shape[0])
    return builder.finish([y, sums, total(distance * distance, (0,))])


def test_squares_of_distances_from_the_mean_keep_their_digits():
    x, w = floats(300, 20), floats(20, 33)
    x[:, 0], w[0] = 100, 100
    plan = compile_program(moments(*(Type("float32", v.shape) for v in (x, w))), target=GPU)
    with double().order(3):
        y, sums, squares = run_plan(plan, [x, w])
    close(sums, y.astype(np.float64).sum(0, keepdims=True), 1e-6)
    np.testing.assert_allclose(squares, y.astype(np.float64).var(0, keepdims=True) * 300, rtol=1e-4)


# -- faults ---------------------------------------------------------------------------------------------------------------


def text_of(plan: Plan) -> str:
    (step,) = plan.steps
    assert isinstance(step, DeviceLaunch)
    return step.kernel.ptx


def changed(plan: Plan, text: str) -> Plan:
    (step,) = plan.steps
    assert isinstance(step, DeviceLaunch)
    return plan._replace(steps=(step._replace(kernel=step.kernel._replace(ptx=text)),))


@pytest.mark.parametrize("order", [0, 3])
@pytest.mark.parametrize("barrier", range(4))
def test_each_barrier_is_needed(barrier, order):
    """That before the loop along k, that in it, and those around the sums in shared memory."""
    x, y = floats(33, 67), floats(67, 40)
    plan = compile_program(build(MatMul(), [Type("float32", v.shape) for v in (x, y)]), target=GPU)
    places = [m.span() for m in re.finditer(r"bar(rier\.cta)?\.sync\s[^;]*;", text_of(plan))]
    assert len(places) == 4
    begin, end = places[barrier]
    text = text_of(plan)[:begin] + text_of(plan)[end:]
    with double().order(order), pytest.raises(AssertionError, match=r"race|reads"):  # reads where tables are not full
        run_plan(changed(plan, text), [x, y])


@pytest.mark.parametrize("order", [0, 3])
@pytest.mark.parametrize("waits", [2, 3])
def test_small_matrices_are_waited_for(waits, order):
    """Three tiles are on their way, of which the first is needed."""
    raw = [bits_of("bfloat16", floats(*shape)) for shape in ((40, 256), (256, 40))]
    plan = compile_program(build(MatMul(), [Type("bfloat16", v.shape) for v in raw]), target=GPU)
    found = re.findall(r"cp\.async\.wait_group\s+2;", text_of(plan))
    assert len(found) == 1
    run_plan(plan, raw)
    changes = text_of(plan).replace(found[0], f"cp.async.wait_group {waits};")
    if waits == 2:
        changes = re.sub(r"bar(rier\.cta)?\.sync\s[^;]*;(?=(?:(?!bar).)*ldmatrix)", "", changes, count=1, flags=re.S)
    with double().order(order), pytest.raises(AssertionError, match=r"race|cp\.async|reads"):
        run_plan(changed(plan, changes), raw)


@pytest.mark.parametrize("order", [0, 3])
def test_copies_are_waited_for(order):
    x, y = floats(33, 67), floats(67, 40)
    plan = compile_program(build(MatMul(), [Type("float32", v.shape) for v in (x, y)]), target=GPU)
    text = text_of(plan)
    waits = re.findall(r"cp\.async\.wait_group\s+0;", text)
    assert len(waits) == 2
    with double().order(order), pytest.raises(AssertionError, match=r"cp\.async"):
        run_plan(changed(plan, text.replace(waits[0], "", 1)), [x, y])
