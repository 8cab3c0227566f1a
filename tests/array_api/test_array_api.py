"""The namespace of the array API standard: each function next to NumPy's of the same name, which follows the standard too."""

from __future__ import annotations

import array_api_compat
import numpy as np
import pytest
from array_api_rows import CASES, LINALG, SQUARE, A, I, check, given

import tengen
import tengen.array_api as xp
from tengen import Tensor
from tengen.autodiff import GradManager


@pytest.mark.parametrize("name, arguments, options", CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)])
def test_functions(name, arguments, options):
    want = getattr(np, name)(*arguments, **options)
    got = getattr(xp, name)(*map(given, arguments), **{key: given(value) for key, value in options.items()})
    check(got, tuple(want) if isinstance(want, tuple) else want)


@pytest.mark.parametrize("name, arguments, options", LINALG, ids=[f"{i}-{case[0]}" for i, case in enumerate(LINALG)])
def test_linear_algebra(name, arguments, options):
    want = getattr(np.linalg, name)(*arguments, **options)
    check(getattr(xp.linalg, name)(*map(given, arguments), **options), tuple(want) if isinstance(want, tuple) else want)


def test_descending_keeps_the_order_of_equals():
    x = Tensor([1, 3, 2, 3, 1])
    assert xp.argsort(x, descending=True).tolist() == [1, 3, 2, 0, 4]
    assert xp.sort(x, descending=True).tolist() == [3, 3, 2, 1, 1]


def test_creation():
    assert xp.asarray(A).dtype == np.float64
    assert xp.asarray([1.5]).dtype == np.float32 and xp.asarray([1]).dtype == np.int32
    assert xp.asarray([Tensor([1.0]), Tensor([2.0])]).shape == (2, 1)
    assert xp.asarray(Tensor([1.0]), dtype=xp.float64).dtype == xp.float64
    x = Tensor([1.0])
    assert xp.asarray(x) is x and xp.asarray(x, copy=True) is not x
    for name, arguments, options in (
        ("arange", (5,), {}), ("arange", (1.0, 2.0, 0.25), {}), ("linspace", (0, 1, 5), {}), ("linspace", (0, 1, 4), {"endpoint": False}),
        ("eye", (3,), {}), ("eye", (2, 3), {"k": 1}), ("zeros", ((2, 0),), {}), ("ones", (2,), {}), ("full", ((2,), 7), {}), ("full", ((), 2.5), {}),
    ):  # fmt: skip
        want = getattr(np, name)(*arguments, **options)
        got = getattr(xp, name)(*arguments, **options)
        assert (got.shape, got.dtype.name) == (want.shape, {"float64": "float32", "int64": "int32"}[want.dtype.name])
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)
    assert xp.zeros_like(xp.asarray(I)).dtype == xp.int32 and xp.full_like(x, 2).tolist() == [2.0]
    assert xp.empty((2, 3)).shape == xp.empty_like(xp.ones((2, 3))).shape == (2, 3)
    assert [grid.shape for grid in xp.meshgrid(xp.arange(2), xp.arange(3), indexing="ij")] == [(2, 3), (2, 3)]
    assert xp.from_dlpack(A.astype(np.float32)).shape == (3, 4)
    assert (xp.pi, xp.newaxis, xp.inf) == (np.pi, None, np.inf)


def test_dtypes():
    assert xp.isdtype(xp.float32, "real floating") and xp.isdtype(Tensor([1]).dtype, ("bool", "integral"))
    assert not xp.isdtype(xp.uint8, "signed integer") and xp.isdtype(np.int8, xp.int8)
    with pytest.raises(ValueError, match="kind of dtypes"):
        xp.isdtype(xp.float32, "real")
    assert (
        xp.result_type(xp.int8, xp.uint8) == xp.int16 and xp.result_type(Tensor([1.0]), 2.5, xp.float64) == xp.float64
    )
    assert xp.can_cast(xp.int8, xp.int32) and not xp.can_cast(xp.float64, xp.float32)
    assert xp.finfo(xp.float64).eps == np.finfo(np.float64).eps and xp.iinfo(xp.int16).max == 32767
    assert xp.finfo(Tensor([1.0])).dtype == xp.float32
    info = xp.__array_namespace_info__()
    assert info.default_dtypes()["real floating"] == xp.float32
    assert set(info.dtypes(kind="unsigned integer")) == {"uint8", "uint16"}
    assert set(info.dtypes()) >= {"bool", "int64", "float64"}
    assert info.default_device() in info.devices() and info.capabilities()["boolean indexing"]
    assert xp.astype(Tensor([1.5]), xp.int32).tolist() == [1]


def test_what_the_tensor_says():
    x = Tensor(SQUARE)
    assert x.__array_namespace__() is xp and x.__array_namespace__(api_version="2022.12") is xp
    with pytest.raises(ValueError, match=r"2023\.12"):
        x.__array_namespace__(api_version="2030.01")
    np.testing.assert_array_equal(x.mT.numpy(), x.numpy().swapaxes(1, 2))
    with pytest.raises(AttributeError, match="mT"):
        Tensor([1.0]).mT  # noqa: B018
    assert str(x.to_device("cpu1").device) == "cpu1:0"


def test_array_api_compat_finds_it():
    x = Tensor([1.0])
    assert array_api_compat.is_array_api_obj(x)
    assert array_api_compat.array_namespace(x, Tensor([2])) is xp
    assert array_api_compat.device(x) == x.device and array_api_compat.size(x) == 1
    assert array_api_compat.to_device(x, "cpu1").device != x.device


def test_all_names_are_there():
    assert [name for name in xp.__all__ if not hasattr(xp, name)] == []
    assert [name for name in xp.linalg.__all__ if not hasattr(xp.linalg, name)] == []
    standard = set(dir(np)) & set(xp.__all__)
    assert len(standard) > 140


def test_gradients_go_through():
    x = Tensor(np.abs(A) + 0.5, dtype="float64")
    for function in (
        lambda x: xp.std(x, axis=1), lambda x: xp.clip(x, 0.6, 1.5), lambda x: xp.sort(x, axis=0)[0], lambda x: xp.linalg.vector_norm(x),
        lambda x: xp.tensordot(x, x, axes=((0, 1), (0, 1))), lambda x: xp.hypot(x, 2 * x), lambda x: xp.log2(x),
    ):  # fmt: skip
        manager = GradManager().attach([x])
        with manager:
            manager.backward(xp.sum(function(x)))
        step, got = 1e-6, x.grad.numpy()
        for place in ((0, 0), (2, 3)):
            moved = []
            for sign in (1, -1):
                other = x.numpy().copy()
                other[place] += sign * step
                moved.append(float(xp.sum(function(Tensor(other, dtype="float64")))))
            assert abs(got[place] - (moved[0] - moved[1]) / (2 * step)) < 1e-5
        x.grad = None


def test_errors():
    with pytest.raises(ValueError, match="needs an axis"):
        xp.cumulative_sum(Tensor(A))
    with pytest.raises(ValueError, match="needs an axis"):
        xp.take(Tensor(A), Tensor([0]))
    with pytest.raises(ValueError, match="not all of size 1"):
        xp.squeeze(Tensor(A), 0)
    with pytest.raises(ValueError, match="copy=False"):
        xp.asarray([1, 2], copy=False)
    assert tengen.array_api is xp
