"""The ops of `megengine.core.ops.builtin`; tests/reference/programs/{compat,ops}.txt compare what most of them give with MegEngine."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

import tengen.compat.megengine  # noqa: F401 - so that there is a megengine
from tengen import Tensor
from tengen import functional as F
from tengen.autodiff import GradManager
from tengen.compat.megengine.own.core.ops.lowering import REFUSED, RULES
from tengen.jit import trace

apply = import_module("megengine.core._imperative_rt.core2").apply
builtin = import_module("megengine.core.ops.builtin")

X = np.random.default_rng(0).normal(size=(2, 3, 5, 6)).astype("float32")


def test_every_op_has_a_rule():
    ops = {name for name in builtin.__all__ if isinstance(getattr(builtin, name), type)}
    assert len(ops) == 120 + 1
    assert ops - {"OpDef"} == set(RULES)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_runs_in_the_library_of_others_says_so(name):
    with pytest.raises(RuntimeError, match=rf"^{name} .*tengen"):
        apply(getattr(builtin, name)(), Tensor(1.0))


def test_a_mirrored_kernel():
    """By name, convolution mirrors the kernel; MegEngine takes no notice of the parameter."""
    w = np.random.default_rng(1).normal(size=(4, 3, 2, 3)).astype("float32")
    (found,) = apply(builtin.Convolution(mode="convolution", pad_h=1, stride_w=2), Tensor(X), Tensor(w))
    expected = F.conv2d(Tensor(X), Tensor(np.ascontiguousarray(w[:, :, ::-1, ::-1])), stride=(1, 2), padding=(1, 0))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["Convolution", "Pooling", "AdaptivePooling", "Resize", "GroupNorm", "ROIAlign"])
def test_a_layout_of_memory_that_there_is_not(name):
    op = getattr(builtin, name)(format="nchw44")
    inputs = [Tensor(X)] * 2 if name in ("Convolution", "ROIAlign") else [Tensor(X)]
    inputs += [Tensor([2, 2], dtype="int32")] * (name in ("AdaptivePooling", "Resize"))
    with pytest.raises(
        ValueError,
        match=r"Format\.NCHW44 is an order of bytes that .*; give NCHW or NHWC$|format must be .*NCHW|format is .*NCHW",
    ):
        apply(op, *inputs)


def test_an_input_that_cannot_have_had_this_result():
    op = builtin.ConvolutionBackwardData(stride_h=2)
    with pytest.raises(ValueError, match=r"a result of shape .* is not that of an input of shape \(1, 1, 13, 6\)"):
        apply(op, F.ones((1, 1, 3, 3)), F.ones((1, 1, 5, 4)), Tensor([1, 1, 13, 6], dtype="int32"))


def test_each_image_has_a_kernel():
    w = np.random.default_rng(1).normal(size=(2, 4, 3, 2, 3)).astype("float32")
    bias = np.arange(4, dtype="float32").reshape(1, 4, 1, 1)
    (found,) = apply(builtin.BatchConvBias(nonlineMode="relu"), Tensor(X), Tensor(w), Tensor(bias))
    rows = [F.conv2d(Tensor(x[None]), Tensor(k)).numpy() for x, k in zip(X, w, strict=True)]
    np.testing.assert_allclose(found.numpy(), np.maximum(np.concatenate(rows) + bias, 0), rtol=1e-5, atol=1e-5)
    grouped = np.random.default_rng(2).normal(size=(2, 3, 2, 1, 2, 3)).astype("float32")
    (found,) = apply(builtin.BatchConvBias(sparse="group"), Tensor(X), Tensor(grouped))
    rows = [F.conv2d(Tensor(x[None]), Tensor(k), groups=3).numpy() for x, k in zip(X, grouped, strict=True)]
    np.testing.assert_allclose(found.numpy(), np.concatenate(rows), rtol=1e-5, atol=1e-5)


def test_what_is_added_comes_before_the_activation():
    w, z = np.ones((3, 3, 1, 1), "float32"), np.full((2, 3, 5, 6), -1.0, "float32")
    (found,) = apply(builtin.ConvBias(nonlineMode="relu"), Tensor(X), Tensor(w), F.zeros((1, 3, 1, 1)), Tensor(z))
    expected = np.maximum(np.repeat(X.sum(1, keepdims=True), 3, 1) - 1, 0)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_values_that_should_be_equal():
    x = Tensor([1.0, 200.0])
    assert apply(builtin.AssertEqual(), x, x * 1.00001)[0].tolist() == [1.0, 200.0]
    with pytest.raises(AssertionError, match=r"^AssertEqual: values differ by 0\.5 of their size"):
        apply(builtin.AssertEqual(), x, x * 2)
    with pytest.raises(AssertionError):
        apply(builtin.AssertEqual(), x, x * float("nan"))


def test_parameters_in_one_tensor():
    """With room between them, as for alignment."""
    offsets = [0, 2, 4, 10]
    parts = [Tensor([1.0, 2.0]), F.arange(6).reshape(3, 2)]
    (packed,) = apply(builtin.ParamPackConcat(offsets=offsets), *parts, Tensor(offsets, dtype="int32"))
    assert packed.tolist() == [1, 2, 0, 0, 0, 1, 2, 3, 4, 5]
    found = apply(builtin.ParamPackSplit(offsets=offsets, shapes=[[2], [3, 2]]), packed)
    assert [x.tolist() for x in found] == [x.tolist() for x in parts]


def test_generators_of_random_numbers_by_their_number():
    from megengine.core._imperative_rt import ops

    def draw(handle):
        return apply(builtin.UniformRNG(handle=handle), Tensor([3], dtype="int32"))[0].tolist()

    first, second, other = (ops.new_rng_handle("cpu0", seed) for seed in (5, 5, 6))
    assert draw(first) == draw(second) != draw(other)
    ops.set_global_rng_seed(5)
    assert ops.get_global_rng_seed() == 5
    assert (
        draw(0)
        == apply(builtin.UniformRNG(handle=ops.new_rng_handle("cpu0", 5)), Tensor([3], dtype="int32"))[0].tolist()
    )
    ops.delete_rng_handle(first)
    with pytest.raises(ValueError, match="there is no generator of random numbers"):
        draw(first)


def test_attention_that_drops_something():
    x = Tensor(np.ones((1, 2, 4), "float32"))
    op = builtin.MultiHeadAttn(num_heads=2, embeding_size=4, k_size=4, v_size=4, attn_prob=0.5, out_prob=0.5)
    made = apply(op, x, x, x)
    assert [y.shape for y in made] == [(1, 2, 4), (2, 2, 2), (0,), (0,)]
    assert set(made[1].numpy().ravel()) <= {0.0, 1.0}
    op.training = False
    assert set(apply(op, x, x, x)[1].numpy().ravel()) == {0.5}


def test_the_gradient_of_a_gradient_by_data():
    """It is linear in the weight and in what comes back, whose gradients follow."""
    regions = Tensor(np.random.default_rng(3).integers(0, 2, (2, 5, 6)), dtype="int32")
    w, dy, z = (
        Tensor(np.random.default_rng(n).normal(size=shape), dtype="float32")
        for n, shape in enumerate(((1, 4, 3, 3, 3), (2, 4, 5, 6), X.shape))
    )
    op = builtin.RegionRestrictedConvolutionBackwardData(pad_h=1, pad_w=1, sparse="group")
    forward = builtin.RegionRestrictedConvolution(pad_h=1, pad_w=1, sparse="group")
    with GradManager().attach([w, dy]) as manager:
        manager.backward((apply(op, w, dy, regions, regions)[0] * z).sum())
    found = w.grad.numpy(), dy.grad.numpy()
    w.grad = dy.grad = None
    with GradManager().attach([w, dy]) as manager:
        manager.backward((apply(forward, z, w, regions, regions)[0] * dy).sum())
    for one, other in zip(found, (w.grad, dy.grad), strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=1e-4)


def test_ops_in_a_trace():
    op = builtin.IncrMeshIndexing(items=[(1, False, False, False, True)])
    norm = builtin.BatchNorm(param_dim="dim_1c11")
    ones, zeros = F.ones((1, 3, 1, 1)), F.zeros((1, 3, 1, 1))

    def step(x):
        y = apply(op, x, F.ones((2, 2, 5, 6)), Tensor([2, 2], dtype="int32"))[0]
        return apply(norm, y, ones, zeros)[-1]

    expected = X.copy()
    expected[:, 2] += 2
    expected -= expected.mean((0, 2, 3), keepdims=True)
    expected /= np.sqrt((expected**2).mean((0, 2, 3), keepdims=True) + 1e-4)
    traced = trace(symbolic=True)(step)
    for run in (step, traced, traced):
        np.testing.assert_allclose(run(Tensor(X)).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mistake", [
    (lambda: builtin.Elemwise("add", mode="add"), "got mode by place and by name"),
    (lambda: builtin.Convolution(sparse="dens"), r"sparse must be one of DENSE, GROUP, got 'dens'"),
    (lambda: builtin.Convolution(stride=2), r"'stride' is not a parameter of Convolution: mode, pad_h"),
    (lambda: builtin.Dot(1), "Dot takes 0 parameters, got 1"),
    (lambda: builtin.Argmax(axis="x"), "axis must be int, got 'x'"),
])  # fmt: skip
def test_mistakes_in_parameters(mistake):
    make, said = mistake
    with pytest.raises(TypeError, match=said):
        make()
