"""A weight that is converted to 16 bits is packed in one step of what it was, and kept beside it."""

from __future__ import annotations

import ctypes
import gc

import numpy as np
import pytest
from contraction_harness import from_bits, materialise, to_bits
from plans import run_plan

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import _rt, config
from tengen.amp import autocast
from tengen.autodiff import GradManager
from tengen.compiler import compile_program
from tengen.compiler.cache import compile_kernels
from tengen.compiler.program import Builder, Type, build
from tengen.compiler.schedule.contractions import lower as relayout
from tengen.compiler.schedule.contractions.problem import Relayout
from tengen.compiler.schedule.driver import Scheduler
from tengen.compiler.targets import host
from tengen.compiler.view import View, contiguous
from tengen.core.ops.conv import Conv2d
from tengen.core.ops.elemwise import cast
from tengen.core.ops.linalg import Linear, MatMul, Product
from tengen.core.ops.precision import Converted
from tengen.core.ops.shape import Transpose

RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def lowered(op, *arrays, target=None):
    """The steps of an op on float32 arrays, and the Scheduler that has made them."""
    views = [View(a.shape, tuple(s // 4 for s in a.strides)) for a in arrays]
    made = Scheduler(build(op, [Type("float32", a.shape) for a in arrays]), views, target or host.host_target())
    made.lower()
    made.place()
    return made


def names(made):
    return [step.name for step in made.steps]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("op", "shapes"), [
    (Linear(False), [(5, 40), (200, 40)]), (Product(), [(16, 100), (100, 200)]),
    (Conv2d((1, 1), (0, 0), (1, 1), 1, False), [(2, 16, 8, 8), (32, 16, 3, 3)]),
], ids=["linear", "matmul", "conv2d"])  # fmt: skip
def test_the_weight_is_converted_where_it_is_packed(op, shapes, dtype):
    x, w = (floats(*s) for s in shapes)
    made = lowered(Converted(op, dtype), x, w)
    packed = next(step for step in made.steps if step.name.endswith("layout of b"))
    assert {b for b, _ in packed.reads} == {1}
    copied = any(step.name.endswith("layout of a") for step in made.steps)
    assert names(made).count("TypeCvt") == (not copied)  # of x, which is converted where it is copied, too
    assert made.layouts == {packed.skip_for: 1}
    views = [View(a.shape, contiguous(a.shape).strides) for a in (x, w)]
    plan = compile_program(build(Converted(op, dtype), [Type("float32", a.shape) for a in (x, w)]), views)
    (found,) = run_plan(plan, [x, w])
    found = from_bits(found) if dtype == "bfloat16" else found
    want = run_wide(op, *(rounded(a, dtype) for a in (x, w)))
    np.testing.assert_allclose(found.astype(np.float64), want, rtol=2.0**-8, atol=2.0**-8)


def rounded(array, dtype):
    return from_bits(to_bits(array)) if dtype == "bfloat16" else array.astype(np.float16).astype(np.float32)


def run_wide(op, *arrays):
    views = [View(a.shape, contiguous(a.shape).strides) for a in arrays]
    plan = compile_program(build(op, [Type("float64", a.shape) for a in arrays]), views)
    return run_plan(plan, [a.astype(np.float64) for a in arrays])[0]


def test_a_conversion_that_others_read_stays():
    x, w = floats(5, 40), floats(40, 200)

    class Both(Converted):
        def expand(self, *inputs):
            a, b = (cast(v, "bfloat16") for v in inputs)
            return [Product()(a, b), b]

    made = lowered(Both(Product(), "bfloat16"), x, w)
    assert names(made).count("TypeCvt") == 2
    views = [View(a.shape, contiguous(a.shape).strides) for a in (x, w)]
    plan = compile_program(build(Both(Product(), "bfloat16"), [Type("float32", a.shape) for a in (x, w)]), views)
    _, b = run_plan(plan, [x, w])
    np.testing.assert_array_equal(b, to_bits(w))


@pytest.mark.parametrize("how", ["transposed", "reversed", "part"])
def test_weights_that_lie_otherwise(how):
    whole = floats(64, 90)
    w = {"transposed": whole.T, "reversed": whole[::-1, ::-1], "part": whole[3:40, 5:70]}[how]
    x = floats(7, w.shape[0])
    views = [View(a.shape, tuple(s // 4 for s in a.strides)) for a in (x, w)]
    program = build(Converted(Product(), "bfloat16"), [Type("float32", a.shape) for a in (x, w)])
    (found,) = run_plan(compile_program(program, views), [x, w])
    want = rounded(x, "bfloat16").astype(np.float64) @ rounded(w, "bfloat16")
    np.testing.assert_allclose(from_bits(found), want, rtol=2.0**-8, atol=2.0**-8)


def test_a_conversion_that_is_read_as_it_lies_is_kept():
    """The weights are the rows of the product, so nothing packs them."""
    target = host.host_target()._replace(name="avx512bf16", lanes=16, dots=True)
    made = lowered(Converted(Linear(False), "bfloat16"), floats(64, 512), floats(1024, 512), target=target)
    kept = [step for step in made.steps if step.skip_for in made.layouts]
    assert [(s.name, [b for b, _ in s.reads]) for s in kept] == [("TypeCvt", [1])]
    assert list(made.layouts.values()) == [1]


def test_a_result_is_never_kept():
    """It is given away, so whoever gets it may change it."""

    class Both(Converted):
        def expand(self, *inputs):
            a, b = (cast(v, "bfloat16") for v in inputs)
            return [Product(False, True)(a, b), b]

    target = host.host_target()._replace(name="avx512bf16", lanes=16, dots=True)
    made = lowered(Both(Product(), "bfloat16"), floats(64, 512), floats(1024, 512), target=target)
    assert made.layouts == {} and names(made).count("TypeCvt") == 1  # a is converted where it is packed


SPECIAL = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1.0, 3.3895e38, -3.4e38, 1e-40, -1e-45, 1.00390625, 1.01171875, 1.003906250001],
    np.float32,
)  # fmt: skip


def test_words_of_pairs_are_those_of_rounded_elements(monkeypatch):
    """The packing of machines that multiply pairs, on any machine: made for them, run alone."""
    w = floats(30, 48)
    w.ravel()[: SPECIAL.size] = SPECIAL
    w.ravel()[100:110] = np.array([0x7FFFFFFF, 0x7F800001, 0x3F808000, 0x3F818000], np.uint32).view(np.float32)[
        [0, 1, 2, 3, 2, 3, 0, 1, 2, 3]
    ]
    target = host.host_target()
    seen: list[Relayout] = []
    copy = relayout._copy
    monkeypatch.setattr(relayout, "_copy", lambda *args: (seen.append(args[3]), copy(*args))[1])
    made = lowered(Converted(Product(), "bfloat16"), floats(64, 30), w, target=target._replace(dots=True))
    packed = next(step for step in made.steps if step.name == "matmul: layout of b")
    layout = seen[-1]
    assert layout.along is not None and {b for b, _ in packed.reads} == {1}
    (address,) = compile_kernels([packed.source], target)
    found = np.zeros(layout.shape, np.uint32)
    given = {1: w.ctypes.data, packed.skip_for: found.ctypes.data}
    pointers = (ctypes.c_void_p * len(packed.buffers))(*(given[b] + at for b, at in packed.buffers))
    params = (ctypes.c_int64 * max(len(packed.params), 1))(*packed.params)
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(address)
    kernel(pointers, params, 0, packed.tiles)
    bits = w.view(np.uint32)
    quiet = ((bits >> 16) | 0x40).astype(np.uint16)  # a NaN must not be rounded to another number
    expected = materialise(layout, np.where(np.isnan(w), quiet, to_bits(w)))
    np.testing.assert_array_equal(found.ravel(), expected.ravel())


# -- kept --------------------------------------------------------------------------------------------------------


def live():
    gc.collect()
    return _rt.memory_stats()["live"]


@pytest.fixture(autouse=True)
def bfloat16():
    with config.override(autocast="bfloat16"):
        yield


@pytest.mark.parametrize(("m", "k", "n"), [(4, 40, 200), (64, 512, 1024)], ids=["packed", "as it lies"])
def test_the_copy_is_kept_and_never_outlives_the_values(m, k, n):
    x, values = tengen.tensor(floats(m, k)), floats(n, k)
    w = tengen.Parameter(values)

    def product(w):
        with autocast():
            return F.linear(x, w).numpy()

    before = live()
    first = product(w)
    assert live() == before
    for _ in range(3):
        np.testing.assert_array_equal(product(w), first)
    assert live() >= before + values.nbytes // 2  # in bfloat16
    kept = live()
    product(w)
    assert live() == kept
    w += 1
    changed = rounded(x.numpy(), "bfloat16").astype(np.float64) @ rounded(values + 1, "bfloat16").T
    for _ in range(3):
        np.testing.assert_allclose(product(w), changed, rtol=2.0**-7, atol=0.2)
    own = F.linear(x, w).numpy()  # and float32 has its own
    np.testing.assert_allclose(own, x.numpy().astype(np.float64) @ (values + 1).T, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(product(w), changed, rtol=2.0**-7, atol=0.2)
    del w, own
    assert live() <= before - values.nbytes


@pytest.mark.parametrize("without_host", [None, False, True])
def test_training_updates_what_is_packed(without_host):
    """Each step must see the weights of the one before: with float64 truth of rounded operands."""
    values, data = floats(3, 8), floats(5, 8)
    fc = M.Linear(8, 3, bias=False)
    fc.weight[...] = values
    gm = GradManager().attach(fc.parameters())
    opt = tengen.optimizer.SGD(fc.parameters(), lr=0.25)

    def step(x):
        with autocast(), gm:
            y = fc(x)
            gm.backward(y.astype("float32").sum())
        opt.step().clear_grad()
        return y

    run = step if without_host is None else tengen.jit.trace(step, without_host=without_host)
    weight = values.astype(np.float64)
    for _ in range(4):
        y = run(tengen.tensor(data))
        want = rounded(data, "bfloat16").astype(np.float64) @ rounded(weight.astype(np.float32), "bfloat16").T
        np.testing.assert_allclose(y.numpy(), want, rtol=2.0**-7, atol=2.0**-6)
        gradient = rounded(rounded(data, "bfloat16").astype(np.float64).sum(0).astype(np.float32), "bfloat16")
        weight = weight - 0.25 * gradient
        np.testing.assert_allclose(fc.weight.numpy(), weight * np.ones((3, 1)), rtol=2.0**-7, atol=2.0**-6)
        weight = fc.weight.numpy().astype(np.float64)


@pytest.mark.parametrize("updates", [False, True])
def test_the_packed_copy_of_a_weight_is_kept_unless_the_program_updates_it(updates):
    builder = Builder()
    w, x = builder.input(Type("float32", (256, 256))), builder.input(Type("float32", (64, 256)))
    y = MatMul()(x, w)
    plan = compile_program(builder.finish([w - 0.1 * MatMul()(Transpose((1, 0))(x), y) if updates else y, y]))
    assert [(number, plan.steps[step].name) for _, number, step in plan.layouts] == (
        [] if updates else [(0, "matmul: layout of b")]
    )
