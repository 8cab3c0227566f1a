"""Values of a GPU and other libraries: DLPack, Python functions, and ops that run on the CPU."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import tengen
import tengen.functional as F
from tengen import _rt
from tengen._rt import apply
from tengen.autodiff import GradManager
from tengen.base.errors import NoKernelError
from tengen.base.usage import UsageWarning
from tengen.compiler.orders import Sort
from tengen.core import build
from tengen.core.build import Around, watching
from tengen.core.ops.elemwise import Elemwise
from tengen.utils.dlpack import from_dlpack, to_dlpack

X = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)


@pytest.mark.parametrize("place", ["gpu0", "gpu1"])
def test_dlpack_shares_the_memory(place):
    x = tengen.tensor(X, device=place)
    number = int(place[-1])
    assert x.__dlpack_device__() == (2, number)
    for shared in (from_dlpack(to_dlpack(x)), from_dlpack(x), from_dlpack((x.T[::2]).T).T):
        assert str(shared.device) == f"{place}:0"
    shared = from_dlpack(x)
    assert shared._data_ptr() == x._data_ptr()
    np.testing.assert_array_equal(shared.numpy(), X)
    np.testing.assert_array_equal((shared * 2).numpy(), 2 * X)
    del x
    np.testing.assert_array_equal(shared.numpy(), X)


def test_what_is_written_after_the_export_is_seen():
    x = tengen.tensor(X, device="gpu0")
    y = x * 2
    np.testing.assert_array_equal(from_dlpack(y).numpy(), 2 * X)
    with pytest.raises(BufferError, match=r"only to the GPU where it is, DLPack device \(2, 0\)"):
        x.__dlpack__(dl_device=(1, 0))


@pytest.fixture
def no_sort(monkeypatch):
    """As if GPUs had no kernels that sort."""
    obtain = build.obtain_plan

    def obtain_plan(program, views, name, target=None):
        if target is not None and any(isinstance(node.op, Sort) for node in program.nodes):
            raise NoKernelError(f"{name} has no kernel for {target.name} yet")
        return obtain(program, views, name, target)

    monkeypatch.setattr(build, "obtain_plan", obtain_plan)
    _rt.plan_cache_clear()
    yield
    _rt.plan_cache_clear()


@pytest.mark.usefixtures("no_sort")
def test_ops_without_kernels_run_on_the_cpu():
    x = tengen.tensor(X, device="gpu0")
    with pytest.warns(UsageWarning, match="topk has no kernel for sm_90 yet: it runs on the CPU"):
        y, places = F.sort(x)
    assert str(y.device) == str(places.device) == "gpu0:0"
    np.testing.assert_array_equal(y.numpy(), np.sort(X))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once for each Plan
        F.sort(x)


@pytest.mark.filterwarnings("ignore::tengen.base.usage.UsageWarning")
@pytest.mark.parametrize("kernels", ["of the GPU", "of the CPU"])
def test_sorts_of_the_gpu_and_of_the_cpu_for_it(request, kernels):
    if kernels == "of the CPU":
        request.getfixturevalue("no_sort")
    x = tengen.Parameter(X, device="gpu0")
    values, places = F.sort(x)
    np.testing.assert_array_equal(values.numpy(), np.sort(X))
    np.testing.assert_array_equal(places.numpy(), np.argsort(X, kind="stable"))
    np.testing.assert_array_equal(x[x > 0].numpy(), X[X > 0])
    half = tengen.tensor(X, dtype="bfloat16", device="gpu0")
    np.testing.assert_allclose(F.sort(half)[0].numpy(), np.sort(X), rtol=0.01)
    with GradManager().attach([x]) as gm:
        gm.backward((F.sort(x)[0] * F.arange(8, device="gpu0")).sum())
    np.testing.assert_array_equal(x.grad.numpy(), np.argsort(np.argsort(X)))

    @tengen.jit.trace(symbolic=True)
    def step(x):
        return F.relu(F.sort(2 * x)[0]) + 1

    for scale in (1, 2):
        made = step(tengen.tensor(scale * X, device="gpu0"))
        np.testing.assert_allclose(made.numpy(), np.maximum(2 * scale * np.sort(X), 0) + 1, rtol=1e-6)


def test_a_fault_of_planning_is_no_lack_of_a_kernel(monkeypatch):
    """It is an error, and nothing runs on the CPU in its place."""

    def faulty(*_):
        raise NotImplementedError("a method that a class should have")

    monkeypatch.setattr(build, "obtain_plan", faulty)
    with pytest.raises(NotImplementedError, match="a method that a class should have"):
        F.sin(tengen.tensor(X[:3, :7], device="gpu0"))


@pytest.mark.filterwarnings("ignore::tengen.base.usage.UsageWarning")
def test_the_cpu_computes_what_has_no_inputs():
    """Such an op names the GPU, or runs on the default device."""
    assert sorted(tengen.random.RNG(seed=1, device="gpu1").permutation(5).tolist()) == [0, 1, 2, 3, 4]
    before = tengen.get_default_device()
    try:
        tengen.set_default_device("gpu0")
        made = tengen.random.permutation(5)
        assert str(made.device) == "gpu0:0" and sorted(made.tolist()) == [0, 1, 2, 3, 4]
        assert apply(Elemwise("ERFC"), 2.0).item() == pytest.approx(math.erfc(2.0))
        made = tengen.jit.trace(symbolic=True)(lambda: F.sort(3 - F.arange(3))[0] + 1)()
        assert str(made.device) == "gpu0:0" and made.tolist() == [2, 3, 4]
    finally:
        tengen.set_default_device(before)


def test_a_python_function_of_a_plan():
    x = tengen.tensor(X, device="gpu0")
    found = F.svd(F.exp(x))[1]
    np.testing.assert_allclose(found.numpy(), np.linalg.svd(np.exp(X))[1], rtol=1e-4)


def test_a_traced_function_that_uses_two_devices():
    @tengen.jit.trace
    def step(x, y):
        return (x * 2).to("gpu0") + y

    for scale in (1, 2, 3):
        made = step(tengen.tensor(scale * X, device="cpu0"), tengen.tensor(X, device="gpu0"))
        assert str(made.device) == "gpu0:0"
        np.testing.assert_allclose(made.numpy(), (2 * scale + 1) * X, rtol=1e-6)


def test_a_failure_belongs_to_the_plan_whose_python_steps_wait():
    """What Python reads inside a Plan waits for the GPU. The Plan's status word stays its own meanwhile."""
    x, outside = tengen.tensor(X, device="gpu0"), tengen.tensor([0, 8], device="gpu0")
    with watching(lambda *_: Around(lambda xs: None, lambda ys: None)):
        with pytest.raises(IndexError, match="indexing"):
            x[outside, outside].numpy()
        np.testing.assert_array_equal(F.topk(x, 3)[0].numpy(), np.sort(X)[:, :4:-1])


def test_a_step_of_python_may_run_more_plans_than_there_are_words():
    x = tengen.tensor(X, device="gpu0")
    first, outside = (tengen.tensor([[place]] * 6, device="gpu0") for place in (0, 8))
    seen = []

    def inside(_):
        seen.append([F.gather(x, 1, first) for _ in range(300)])

    with watching(lambda op, *_: Around(lambda xs: None, inside) if op.name == "indexing" else None):
        x[first, first].numpy()
        with pytest.raises(IndexError, match="indexing"):
            x[outside, first].numpy()
    for made in seen:
        np.testing.assert_array_equal(made[-1].numpy(), X[:, :1])
