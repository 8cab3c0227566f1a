"""Functions of the array API standard with arguments, for NumPy's functions of the same names and for tengen's."""

from __future__ import annotations

import numpy as np

from tengen import Tensor

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


def given(value, device=None):
    return Tensor(value, dtype=value.dtype, device=device) if isinstance(value, np.ndarray) else value


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
