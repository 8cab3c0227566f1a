"""Contractions of two bfloat16 operands against float64 NumPy: in pairs where the machine multiplies those, widened where not.

The reference multiplies the rounded inputs exactly. A result may differ by what its k additions round in float32, relative to
the sum of |a||b| (nothing cancels there), and by its own last bit if it is stored as bfloat16.
"""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
import pytest
from contraction_harness import (
    BIAS,
    elements,
    floats,
    from_bits,
    host_targets,
    plan_matmul,
    reference,
    run,
    to_bits,
    unit_of,
    volume,
)
from plans import run_op

from tengen.compiler.geometry import ConvShape
from tengen.compiler.kernels.dtypes import PAIR
from tengen.compiler.kernels.target import Target
from tengen.compiler.schedule.contractions import matmul as matmul_schedule
from tengen.compiler.schedule.contractions.problem import ContractionPlan, Storage, contiguous
from tengen.compiler.schedule.convolutions.forms import conv_by_data, conv_by_weight, conv_forward
from tengen.compiler.targets import emit
from tengen.compiler.targets.host import assembly
from tengen.core.ops.conv import Conv2d, ConvolutionBackwardFilter
from tengen.core.ops.linalg import Product

TARGETS = host_targets()
EVERY_TARGET = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
WIDEST = TARGETS[0]
INTO = {dtype: Storage("bfloat16", "bfloat16", dtype) for dtype in ("float32", "bfloat16")}


@pytest.fixture
def copies_cost_nothing(monkeypatch):
    """Pairs wherever they are possible, also where the copies take longer than what pairs save."""
    monkeypatch.setattr(matmul_schedule, "COPY_START", 0)
    monkeypatch.setattr(matmul_schedule, "COPY_WORK", 1e-6)  # not 0, which would make all ways of a product equal


def bits(*shape: int) -> np.ndarray:
    return to_bits(floats(*shape))


def exact(array: np.ndarray) -> np.ndarray:
    return from_bits(array).astype(np.float64)


def is_paired(problem: ContractionPlan) -> bool:
    return problem.launches[0].kernel.a == problem.launches[0].kernel.b == PAIR


def assert_close(got: np.ndarray, want: np.ndarray, size: np.ndarray, k: int, before: float = 0) -> None:
    """size: the sum of |a||b| for each result."""
    assert got.shape == want.shape
    narrow = got.dtype == np.uint16
    got = exact(got) if narrow else got.astype(np.float64)
    tolerance = 2**-23 * np.sqrt(k + 1) * (size + before) + (2**-8 * np.abs(want) if narrow else 0) + 1e-30
    assert (np.abs(got - want) <= tolerance).all(), float((np.abs(got - want) / tolerance).max())


def check_matmul(a: np.ndarray, b: np.ndarray, target: Target, **options) -> ContractionPlan:
    """Both kinds of results; the plan of the wide one."""
    wide = None
    for dtype, storage in INTO.items():
        problem, x, y, shape = plan_matmul(a, b, target, storage=storage, **options)
        got = run(problem, target, x, y, shape, dtype=np.float32 if dtype == "float32" else np.uint16)
        assert_close(got, exact(a) @ exact(b), np.abs(exact(a)) @ np.abs(exact(b)), a.shape[-1])
        wide = wide or problem
    assert wide is not None
    return wide


# -- matrix products ---------------------------------------------------------------------------------------------------

SIZES = [
    (1, 1, 1),
    (1, 2, 1),
    (1, 7, 33),
    (2, 5, 3),
    (3, 8, 17),
    (5, 64, 16),
    (13, 9, 31),
    (25, 17, 65),
    (16, 300, 40),
    (64, 400, 120),
    (300, 33, 50),
]


@EVERY_TARGET
@pytest.mark.parametrize("m, k, n", SIZES)
@pytest.mark.parametrize("a_transposed, b_transposed", [*product((False, True), repeat=2)])
@pytest.mark.usefixtures("copies_cost_nothing")
def test_matmul(target, m, k, n, a_transposed, b_transposed):
    a = bits(k, m).T if a_transposed else bits(m, k)
    b = bits(n, k).T if b_transposed else bits(k, n)
    assert is_paired(check_matmul(a, b, target)) == (target.dots and k > 1)


@EVERY_TARGET
@pytest.mark.parametrize("k", [5, 6])
@pytest.mark.parametrize(
    "a_batch, b_batch",
    [
        ((3,), (3,)),
        ((3,), (1,)),
        ((1,), (3,)),
        ((2, 1), (1, 3)),
        ((2, 1, 3), (1, 4, 3)),
        ((0,), (0,)),
        ((2, 3, 1, 2), (1, 3, 2, 1)),
    ],
)
@pytest.mark.usefixtures("copies_cost_nothing")
def test_matmul_batch(target, k, a_batch, b_batch):
    check_matmul(bits(*a_batch, 9, k), bits(*b_batch, k, 37), target)
    check_matmul(bits(*a_batch, k, 9).swapaxes(-1, -2), bits(*b_batch, 37, k).swapaxes(-1, -2), target)


@pytest.mark.usefixtures("copies_cost_nothing")
def test_strides_of_batches_and_rows():
    heads = bits(4, 11, 3, 10), bits(4, 10, 3, 24)
    check_matmul(*(x.transpose(0, 2, 1, 3) for x in heads), WIDEST)
    a, b = bits(20, 31), bits(30, 40)
    odd = check_matmul(a[:, 1:], b, WIDEST)  # rows begin at odd places: A is copied
    even = check_matmul(bits(20, 32)[:, 1:-1], b, WIDEST)  # all begin at an odd place, at the same distance in pairs
    back = check_matmul(bits(20, 30)[::-1], b, WIDEST)
    assert [p.a is None for p in (odd, even, back)] == [not WIDEST.dots, True, True]


@EVERY_TARGET
@pytest.mark.usefixtures("copies_cost_nothing")
def test_nothing_is_read_past_the_end(target):
    for m, k, n in ((7, 6, 5), (12, 9, 64), (16, 2, 33)):
        a, b = bits(m, k), bits(k, n)
        problem, x, y, shape = plan_matmul(a, b, target, storage=INTO["float32"])
        got = run(problem, target, x, y, shape, at_end_of_page=True)
        assert_close(got, exact(a) @ exact(b), np.abs(exact(a)) @ np.abs(exact(b)), k)


@EVERY_TARGET
@pytest.mark.parametrize("k", [40, 41])
@pytest.mark.usefixtures("copies_cost_nothing")
def test_bias_and_accumulate(target, k):
    a, b, bias, before = bits(29, k), bits(k, 45), floats(45), floats(29, 45)
    want, size = exact(a) @ exact(b), np.abs(exact(a)) @ np.abs(exact(b))
    for options, extra, total in (
        ({"epilogue": BIAS}, {"bias": bias}, want + bias),
        ({"accumulate": True}, {"out": before}, want + before),
    ):
        problem, x, y, shape = plan_matmul(a, b, target, storage=INTO["float32"]._replace(**options))
        assert_close(run(problem, target, x, y, shape, **extra), total, size, k, before=10)


@EVERY_TARGET
@pytest.mark.parametrize("out", ["float32", "bfloat16"])
@pytest.mark.usefixtures("copies_cost_nothing")
def test_long_k_is_blocked_and_the_same_for_any_order_of_tiles(target, out):
    k, dtype = 60011, np.float32 if out == "float32" else np.uint16
    a, b = bits(k, 26).T, bits(k, 35)
    problem, x, y, shape = plan_matmul(a, b, target, storage=INTO[out])
    assert problem.launches[0].kernel.blocked and problem.workspace and is_paired(problem) == target.dots
    got = run(problem, target, x, y, shape, dtype=dtype)
    assert_close(got, exact(a) @ exact(b), np.abs(exact(a)) @ np.abs(exact(b)), k)
    np.testing.assert_array_equal(got, run(problem, target, x, y, shape, dtype=dtype, backwards=True))


@EVERY_TARGET
@pytest.mark.usefixtures("copies_cost_nothing")
def test_nan_and_infinity_stay_in_their_rows_and_columns(target):
    a, b = floats(6, 5), floats(5, 20)
    a[1, 4], a[2, 0], b[3, 7] = np.inf, np.nan, -np.inf
    a, b = to_bits(a), to_bits(b)
    problem, x, y, shape = plan_matmul(a, b, target, storage=INTO["float32"])
    got = run(problem, target, x, y, shape)
    with np.errstate(invalid="ignore"):
        want = exact(a) @ exact(b)
    for test in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(test(got), test(want))


@EVERY_TARGET
@pytest.mark.parametrize("m, n", [(1, 1), (5, 20)])
@pytest.mark.usefixtures("copies_cost_nothing")
def test_what_lies_behind_an_odd_k_does_not_count(target, m, n):
    a, b = floats(m, 8), floats(n, 8)
    a[:, 7] = b[:, 7] = np.nan
    a, b = to_bits(a)[:, :7], to_bits(b)[:, :7].T
    want, size = exact(a) @ exact(b), np.abs(exact(a)) @ np.abs(exact(b))
    problem, x, y, shape = plan_matmul(a, b, target, storage=INTO["float32"])
    assert_close(run(problem, target, x, y, shape), want, size, 7)
    (got,) = run_op(Product(), a, b, dtypes={0: "bfloat16", 1: "bfloat16"}, target=target)
    assert_close(got, want, size, 7)


def test_a_layout_in_pairs_is_a_view_only_of_neighbours():
    panels = matmul_schedule.pack_columns((), 2, 16, 16, 0, 2)
    assert panels.is_view((1, 2)) and not panels.is_view((32, 2)) and not panels.is_view((1, 1))


@EVERY_TARGET
def test_the_kernel_uses_the_instruction(target):
    problem, *_ = plan_matmul(bits(64, 128), bits(128, 96), target, storage=INTO["bfloat16"])
    code = assembly(emit(problem.launches[0].kernel, target), target)
    assert ("vdpbf16ps" in code) == (target.dots and not target.amx) and ("tdpbf16ps" in code) == target.amx
    assert ("vcvtneps2bf16" in code) == target.dots


@EVERY_TARGET
@pytest.mark.usefixtures("copies_cost_nothing")
def test_results_are_rounded_to_nearest_even(target):
    a, b = np.abs(floats(9, 6)), np.abs(floats(6, 70))
    a[0], b[:2] = (1, 2**-8, 0, 0, 0, 0), [1 + np.arange(70) * 2**-7, np.ones(70)]  # ties
    a[1], a[2, 1], a[3, 2] = 3e38, np.inf, np.nan  # overflows when it is rounded, or added
    a, b = to_bits(a), to_bits(b)
    got = {}
    for dtype, kind in (("float32", np.float32), ("bfloat16", np.uint16)):
        problem, x, y, shape = plan_matmul(a, b, target, storage=INTO[dtype])
        got[dtype] = run(problem, target, x, y, shape, kind)
    nan = np.isnan(got["float32"])
    np.testing.assert_array_equal(got["bfloat16"][~nan], to_bits(got["float32"])[~nan])
    assert nan[3].all() and np.isnan(from_bits(got["bfloat16"][nan])).all()


@EVERY_TARGET
def test_pairs_are_used_where_they_pay(target):
    def paired(a: np.ndarray, b: np.ndarray, storage: Storage = INTO["bfloat16"]) -> bool:
        return is_paired(plan_matmul(a, b, target, storage=storage)[0])

    assert paired(bits(64, 512), bits(512, 512)) == target.dots
    assert paired(bits(512, 64).T, bits(512, 512)) == target.dots
    assert paired(bits(1, 512), bits(512, 512).T) == target.dots  # B is copied in any case
    assert not paired(bits(1, 512), bits(512, 512))  # each element is used once
    assert not paired(bits(4, 4), bits(4, 4))
    assert not paired(bits(64, 512), floats(512, 512), Storage("bfloat16", "float32", "float32"))


def test_an_operand_whose_pairs_lie_in_memory_is_used_as_it_is():
    x, w, g = bits(1024, 512), bits(2048, 512), bits(1024, 2048)
    forms = ((x, w.T), (g, w), (g.T, x))  # forward, gradient by data, by weight
    copied = [plan_matmul(a, b, WIDEST, storage=INTO["bfloat16"])[0].a is not None for a, b in forms]
    assert copied == [False, False, WIDEST.dots]


@EVERY_TARGET
@pytest.mark.parametrize("k, turned", [(6, False), (257, False), (1600, False), (1602, True)])
@pytest.mark.usefixtures("copies_cost_nothing")
def test_rows_of_a_that_lie_side_by_side_stay_so_in_pairs(target, k, turned):
    """But for a k so long that it would be cut where it has a stride, and for AMX, which wants the pairs of a row side by side."""
    turned = turned or target.amx
    for batch in ((), (3,)):
        problem = check_matmul(bits(*batch, k, 40).swapaxes(-1, -2), bits(*batch, k, 33), target)
        words, kernel = -(-k // 2), problem.launches[0].kernel
        copy = problem.a and (problem.a.shape, kernel.a_steps == "1", kernel.blocked)
        assert copy == (((*batch, *((40, words) if turned else (words, 40))), turned, False) if target.dots else None)


def test_work_counts_both_products_of_a_pair():
    problem, *_ = plan_matmul(bits(64, 512), bits(512, 96), WIDEST, storage=INTO["bfloat16"])
    assert problem.work == 2 * 64 * 512 * 96


# -- convolutions ------------------------------------------------------------------------------------------------------

SHAPES = [
    ConvShape(1, 2, (1, 1), 2, (1, 1)),
    ConvShape(2, 4, (9, 47), 20, (2, 3)),
    ConvShape(3, 16, (7, 7), 33, (3, 3), padding=(1, 1)),
    ConvShape(2, 5, (11, 10), 4, (3, 2), stride=(3, 2), padding=(2, 0)),
    ConvShape(2, 18, (7, 9), 20, (1, 1), stride=(2, 3), groups=2),
    ConvShape(2, 20, (9, 7), 22, (3, 3), stride=(2, 2), padding=(1, 1)),
    ConvShape(2, 32, (8, 9), 40, (3, 3), padding=(2, 2), dilation=(2, 2), groups=2),
    ConvShape(2, 18, (9, 8), 18, (3, 3), padding=(1, 1), groups=18),
    ConvShape(2, 3, (15, 17), 8, (7, 7), stride=(2, 2), padding=(3, 3)),
    ConvShape(0, 2, (5, 4), 4, (1, 1)),
    ConvShape(2, 4, (6, 19), 4, (3, 3), padding=(1, 1), groups=2),
    ConvShape(2, 2, (9, 8), 5, (3, 1)),
    ConvShape(3, 2, (9, 18), 5, (1, 3), dilation=(1, 2)),
    volume(2, 16, (4, 5, 6), 20, (3, 2, 3), (1, 2, 1), (1, 0, 1), (1, 1, 2), groups=2),
]


@EVERY_TARGET
@pytest.mark.parametrize("out", ["float32", "bfloat16"])
@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "padded copy"])
@pytest.mark.parametrize("s", SHAPES, ids=str)
def test_convolution(target, s, in_place, out):
    x, w, dy = bits(s.n, s.ic, *s.size), bits(s.oc, s.ic_group, *s.kernel), bits(s.n, s.oc, *s.out)
    wanted = reference(*(exact(t) for t in (x, w, dy)), s)
    sizes = reference(*(np.abs(exact(t)) for t in (x, w, dy)), s)
    depths = s.ic_group * s.taps, s.oc_group * s.taps, s.n * prod(s.out)
    problems = [form(s, unit_of(target), INTO[out], in_place) for form in (conv_forward, conv_by_data, conv_by_weight)]
    dtype = np.float32 if out == "float32" else np.uint16
    for problem, a, b, want, size, k in zip(problems, (x, dy, x), (w, w, dy), wanted, sizes, depths, strict=True):
        assert_close(run(problem, target, a, b, want.shape, dtype), want, size, k)


@EVERY_TARGET
def test_convolutions_take_two_channels_at_a_time(target):
    unit, storage = unit_of(target), INTO["bfloat16"]
    even = ConvShape(2, 16, (9, 9), 32, (3, 3), padding=(1, 1))
    assert all(is_paired(form(even, unit, storage)) == target.dots for form in (conv_forward, conv_by_data))
    # for AMX the last channel of an odd number gets a partner
    assert is_paired(conv_forward(ConvShape(2, 17, (9, 9), 32, (3, 3)), unit, storage)) == target.amx
    assert is_paired(conv_by_data(ConvShape(2, 16, (9, 9), 33, (3, 3)), unit, storage)) == target.amx
    in_place = conv_forward(even, unit, storage).a
    assert in_place is not None and in_place.is_view((16 * 81, 1, 16 * 9, 16))


@EVERY_TARGET
@pytest.mark.parametrize(
    "s",
    [
        ConvShape(2, 17, (9, 8), 33, (3, 3), padding=(1, 1)),
        ConvShape(5, 17, (9, 8), 20, (3, 3), stride=(2, 1), padding=(1, 2)),
        ConvShape(3, 40, (9, 8), 40, (1, 1), stride=(2, 2)),
        ConvShape(3, 40, (7, 8), 20, (3, 2), groups=2),
        ConvShape(3, 16, (70, 67), 17, (3, 3), padding=(1, 1)),
    ],
    ids=str,
)
def test_gradients_by_weight_take_two_images_at_a_time(target, s):
    x, dy = bits(s.n, s.ic, *s.size), bits(s.n, s.oc, *s.out)
    none = np.zeros((s.oc, s.ic_group, *s.kernel))
    (_, _, want), (_, _, size) = (reference(f(exact(x)), none, f(exact(dy)), s) for f in (np.asarray, np.abs))
    for in_place in (True, False):
        problem = conv_by_weight(s, unit_of(target), INTO["bfloat16"], in_place)
        assert is_paired(problem) == target.dots
        got = run(problem, target, x, dy, want.shape, np.uint16)
        assert_close(got, want, size, s.n * prod(s.out))
        np.testing.assert_array_equal(got, run(problem, target, x, dy, want.shape, np.uint16, backwards=True))
    op, dtypes = ConvolutionBackwardFilter(s.stride, s.padding, s.dilation, s.groups, s.kernel), ("bfloat16",) * 2
    (got,) = run_op(op, x, dy, dtypes=dict(enumerate(dtypes)), target=target)
    assert_close(got, want, size, s.n * prod(s.out))
    assert not is_paired(conv_by_weight(s._replace(n=1), unit_of(target), INTO["bfloat16"]))


# -- whole plans, whose kernels also copy operands into their layouts -----------------------------------------------------


@EVERY_TARGET
@pytest.mark.parametrize("m, k, n", [(33, 64, 96), (64, 96, 48), (40, 41, 96), (48, 33, 49), (1, 64, 70), (17, 128, 1)])
@pytest.mark.parametrize("a_transposed, b_transposed", [*product((False, True), repeat=2)])
@pytest.mark.usefixtures("copies_cost_nothing")
def test_plans_of_matmul(target, m, k, n, a_transposed, b_transposed):
    a, b = bits(*((k, m) if a_transposed else (m, k))), bits(*((n, k) if b_transposed else (k, n)))
    left, right = (exact(x.T if turned else x) for x, turned in ((a, a_transposed), (b, b_transposed)))
    op, dtypes = Product(a_transposed, b_transposed), {0: "bfloat16", 1: "bfloat16"}
    (got,) = run_op(op, a, b, dtypes=dtypes, target=target)
    assert_close(got, left @ right, np.abs(left) @ np.abs(right), k)


@EVERY_TARGET
@pytest.mark.usefixtures("copies_cost_nothing")
def test_plans_of_slices_and_batches(target):
    whole, other = bits(3, 41, 67), bits(3, 51, 34)
    for columns in (slice(0, 34), slice(1, 35), slice(0, 67, 2), slice(33, None, -1)):
        a = whole[:, :, columns]
        (got,) = run_op(Product(), a, other.swapaxes(1, 2), dtypes={0: "bfloat16", 1: "bfloat16"}, target=target)
        left, right = exact(a), exact(other).swapaxes(1, 2)
        assert_close(got, left @ right, np.abs(left) @ np.abs(right), 34)


@EVERY_TARGET
@pytest.mark.parametrize("oc", [32, 33])
@pytest.mark.parametrize("channels_last", [False, True])
def test_plans_of_convolution(target, oc, channels_last):
    s = ConvShape(2, 16, (8, 9), oc, (3, 3), stride=(1, 2), padding=(1, 1))
    x, w, none = bits(s.n, s.ic, *s.size), bits(s.oc, s.ic, 3, 3), np.zeros((s.n, s.oc, *s.out))
    want, size = (reference(f(exact(x)), f(exact(w)), none, s)[0] for f in (np.asarray, np.abs))
    if channels_last:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        assert elements(x) != contiguous(x.shape)
    op = Conv2d(s.stride, s.padding, s.dilation, 1, False)
    (got,) = run_op(op, x, w, dtypes={0: "bfloat16", 1: "bfloat16"}, target=target)
    assert_close(got, want, size, 9 * s.ic)
