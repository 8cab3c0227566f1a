"""The namespace of the array API standard: each function next to NumPy's of the same name, which follows the standard too."""

from __future__ import annotations

import array_api_compat
import numpy as np
import pytest

import tengen
import tengen.array_api as xp
from tengen import Tensor
from tengen.autodiff import GradManager

RNG = np.random.default_rng(0)
A = RNG.normal(size=(3, 4))
B = RNG.normal(size=(3, 4)) + 0.1
V = np.array([3.0, -1.0, 2.0, -1.0, 0.0, 3.0])
SQUARE = RNG.normal(size=(2, 3, 3))
SYMMETRIC = SQUARE @ SQUARE.swapaxes(-1, -2) + np.eye(3)
I = np.array([[3, -2, 5], [0, 7, -6]], np.int32)  # noqa: E741
J = np.array([[2, 3, 1], [4, 2, 5]], np.int32)
MASK = np.array([[True, False, True, False]] * 3)
U8 = np.array([200, 100], np.uint8)

ONE = "abs ceil floor negative round sign square positive real trunc isfinite isnan isinf signbit exp sin cos tan tanh sinh cosh".split()
ONE += "atan asinh expm1 exp2 reciprocal".split()
TWO = "add subtract multiply divide remainder floor_divide equal not_equal less less_equal greater greater_equal maximum minimum".split()
TWO += "atan2 logaddexp copysign hypot".split()
WHOLE = (
    "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift pow add remainder floor_divide".split()
)

CASES = [
    *((name, (A,), {}) for name in ONE),
    *((name, (np.abs(A) + 1,), {}) for name in "log log1p log2 log10 sqrt acosh".split()),
    *((name, (A / 5,), {}) for name in "acos asin atanh".split()),
    *((name, (A, B), {}) for name in TWO),
    *((name, (I, J), {}) for name in WHOLE),
    *((name, (I,), {}) for name in "abs negative sign square bitwise_invert trunc".split()),
    *((name, (MASK, ~MASK), {}) for name in "logical_and logical_or logical_xor".split()),
    ("logical_not", (MASK,), {}),
    ("pow", (np.abs(A), B), {}),
    ("nextafter", (A, B), {}),
    ("clip", (A,), {"min": -0.5, "max": 0.5}),
    ("clip", (A,), {"max": B}),
    ("clip", (I,), {"min": 1}),
    *((name, (A,), {"axis": axis, "keepdims": keepdims}) for name in "sum prod mean max min var std".split()
      for axis, keepdims in ((None, False), (0, True), ((0, 1), False), (-1, False))),
    ("var", (A,), {"axis": 1, "correction": 1}),
    ("sum", (U8,), {}),
    ("sum", (MASK,), {"axis": 0}),
    *((name, (MASK,), {"axis": axis}) for name in ("all", "any") for axis in (None, 0, 1)),
    ("cumulative_sum", (A,), {"axis": 1}),
    ("cumulative_sum", (V,), {"include_initial": True}),
    ("cumulative_prod", (A,), {"axis": 0}),
    ("diff", (A,), {}),
    ("diff", (A,), {"axis": 0, "n": 2}),
    *((name, (A,), {"axis": axis}) for name in ("argmax", "argmin", "count_nonzero") for axis in (None, 0, 1)),
    *((name, (V,), {}) for name in ("argsort", "sort", "unique_values", "nonzero", "unique_all", "unique_counts", "unique_inverse")),
    ("sort", (A,), {"axis": 0}),
    ("searchsorted", (np.sort(V), np.array([0.0, 2.5])), {"side": "right"}),
    ("take", (A, np.array([2, 0])), {"axis": 1}),
    ("take", (V, np.array([[2, 0]])), {}),
    ("take_along_axis", (A, np.argsort(A, axis=1)), {"axis": 1}),
    ("where", (MASK, A, B), {}),
    ("reshape", (A, (2, 6)), {}),
    ("permute_dims", (SQUARE, (2, 0, 1)), {}),
    ("moveaxis", (SQUARE, 0, -1), {}),
    ("moveaxis", (SQUARE, (0, 1), (1, 2)), {}),
    ("expand_dims", (A,), {"axis": -1}),
    ("squeeze", (A[None], 0), {}),
    ("flip", (A,), {}),
    ("flip", (A,), {"axis": 1}),
    ("roll", (A, 1), {}),
    ("roll", (A, (1, 2)), {"axis": (0, 1)}),
    ("repeat", (A, 2), {"axis": 0}),
    ("repeat", (A, np.array([1, 0, 2])), {"axis": 0}),
    ("tile", (A, (2, 1, 2)), {}),
    ("tile", (A, (2,)), {}),
    ("broadcast_to", (A, (2, 3, 4)), {}),
    ("tril", (SQUARE,), {"k": 1}),
    ("triu", (SQUARE,), {"k": -1}),
    ("unstack", (A,), {"axis": 1}),
    ("matmul", (A, B.T), {}),
    ("matrix_transpose", (SQUARE,), {}),
    ("vecdot", (A, B), {}),
    ("tensordot", (SQUARE, SQUARE), {"axes": ((1, 0), (2, 0))}),
    ("tensordot", (A, B.T), {"axes": 1}),
    ("tensordot", (V, V), {"axes": 0}),
]  # fmt: skip
LINALG = [
    *((name, (SQUARE,), {}) for name in "det inv pinv qr svd svdvals slogdet matrix_rank diagonal trace matrix_norm".split()),
    *((name, (SYMMETRIC,), {}) for name in "cholesky eigh eigvalsh".split()),
    ("cholesky", (SYMMETRIC,), {"upper": True}),
    ("solve", (SQUARE, SQUARE[..., :1]), {}),
    ("diagonal", (SQUARE,), {"offset": 1}),
    ("matrix_power", (SQUARE, 3), {}),
    ("cross", (A[:, :3], B[:, :3]), {}),
    ("outer", (V, V), {}),
    *(("vector_norm", (A,), {"axis": 1, "ord": order}) for order in (0, 1, 2, 3, np.inf, -np.inf)),
    ("vector_norm", (A,), {}),
    ("matrix_norm", (SQUARE,), {"ord": "nuc"}),
]  # fmt: skip
# NumPy's dtypes of results, where tengen's default is another.
SHORTER = {"int64": "int32", "uint64": "int32"}


def given(value):
    return Tensor(value, dtype=value.dtype) if isinstance(value, np.ndarray) else value


def check(got, want):
    if isinstance(want, tuple):
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            check(a, b)
        return
    assert isinstance(got, Tensor)
    want = np.asarray(want)
    assert got.dtype.name == SHORTER.get(want.dtype.name, want.dtype.name)
    assert got.shape == want.shape
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-12)


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
