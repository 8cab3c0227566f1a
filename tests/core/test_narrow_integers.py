"""Python's ints that a dtype does not hold are refused, as operators do; arrays wrap, as in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import tengen.functional as F
from tengen import Parameter, Tensor
from tengen.jit import trace


@pytest.mark.parametrize(
    ("data", "dtype", "message"),
    [
        ([1000], "int8", "tensor: 1000 does not fit int8, which holds -128 to 127"),
        (-1, "uint8", "tensor: -1 does not fit uint8, which holds 0 to 255"),
        ([[1, 2], [3, 40000]], "int16", "tensor: 40000 does not fit int16"),
        ((0, 2**31), "int32", "tensor: 2147483648 does not fit int32"),
        (2**63, "int64", "tensor: 9223372036854775808 does not fit int64"),
        (2**70, None, "tensor: 1180591620717411303424 does not fit int64, which holds -9223372036854775808 to"),
        ([1, -(2**70)], None, "tensor: -1180591620717411303424 does not fit int64"),
        ([0, 2**70], "int32", "tensor: 1180591620717411303424 does not fit int32"),
    ],
)
@pytest.mark.parametrize("kind", [Tensor, Parameter])
def test_ints_that_do_not_fit(kind, data, dtype, message):
    with pytest.raises(OverflowError) as caught:
        kind(data, dtype=dtype)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        ([-128, 127], "int8"),
        ([0, 255], "uint8"),
        ([-(2**31), 2**31 - 1], "int32"),
        ([-(2**63), 2**63 - 1], "int64"),
        ([], "int8"),
        (True, "uint8"),
    ],
)
def test_the_limits_fit(data, dtype):
    made = Tensor(data, dtype=dtype)
    assert made.dtype == dtype
    np.testing.assert_array_equal(made.numpy(), np.array(data, dtype))


def test_arrays_wrap_and_floats_hold_large_ints():
    assert Tensor(np.array([1000]), dtype="int8").tolist() == [-24]
    assert Tensor(np.int64(1000), dtype="int8").item() == -24
    assert Tensor([2**70, 1], dtype="float64").tolist() == [2.0**70, 1.0]
    assert Tensor(2**70, dtype="float32").item() == 2.0**70
    assert Tensor([2**70, 2.5]).tolist() == [2.0**70, 2.5]


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**70])
def test_numbers_beyond_64_bits_beside_tensors(number):
    """NumPy 2 and the reference: a float takes any, an integer none."""
    x = Tensor([1.0, -2.0])
    for made in (x * number, number * x, F.mul(x, number)):
        np.testing.assert_array_equal(made.numpy(), np.array([1.0, -2.0], np.float32) * np.float32(number))
    np.testing.assert_array_equal((Tensor([1.0], dtype="float64") + number).numpy(), [1.0 + float(number)])
    traced = trace(lambda x: x * number)
    for _ in range(2):
        np.testing.assert_array_equal(traced(x).numpy(), (x * number).numpy())
    for dtype in ("int32", "int64", "bool"):
        with pytest.raises(
            OverflowError, match=f"add: {number} does not fit int64, which holds -9223372036854775808 to"
        ):
            Tensor([1, 0], dtype=dtype) + number
    y = Tensor([1])
    with pytest.raises(OverflowError, match=f"sub: {number} does not fit int64"):
        y -= number
    assert y.tolist() == [1]
    with pytest.raises(OverflowError):
        x * 10**400


def test_a_message_does_not_show_thousands_of_digits():
    with pytest.raises(OverflowError, match="tensor: an int of 16610 bits does not fit int64"):
        Tensor(10**5000)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
@pytest.mark.parametrize("shape, axis", [((2, 3), 0), ((3, 40), 1), ((5, 7, 9), (0, 2)), ((70000,), 0)])
def test_sums_and_products_wrap_before_what_a_kernel_makes_of_them(dtype, shape, axis):
    """They are computed in 32 bits, and stay in the kernel where it goes on with them."""
    limits = np.iinfo(dtype)
    array = np.random.default_rng(0).integers(limits.max // 2, limits.max, shape) | 1
    for function, meaning in ((F.sum, np.sum), (F.prod, np.prod)):
        wanted = meaning(array, axis=axis, keepdims=True).astype(dtype)
        for keepdims in (True, False):
            for makes in (lambda x: x * 0.5, lambda x: x > 3, lambda x: x // 2, lambda x: x.astype("int32") + 1):
                found = trace(lambda x, f=function, k=keepdims, m=makes: m(f(x, axis, k)))(Tensor(array, dtype=dtype))
                truth = wanted.astype(np.int64)
                truth = {"bool": truth > 3, "float32": truth * 0.5, dtype: truth // 2, "int32": truth + 1}[
                    found.dtype.name
                ]
                np.testing.assert_array_equal(found.numpy().reshape(truth.shape), truth)
    along = axis if isinstance(axis, int) else axis[0]
    sums = trace(lambda x: F.cumsum(x, along).astype("int32"))(Tensor(array, dtype=dtype))
    np.testing.assert_array_equal(sums.numpy(), np.cumsum(array, along).astype(dtype).astype(np.int32))
