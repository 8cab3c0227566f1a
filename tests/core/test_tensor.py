"""Tensor and Parameter as users hold them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from tengen import Parameter, Tensor, UsageWarning
from tengen.autodiff import GradManager
from tengen.base.dtype import bfloat16
from tengen.base.errors import DeviceError

DTYPES = ["float16", "bfloat16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"]


@pytest.mark.parametrize(
    "data,text",
    [
        ([1.0, 2.0, 3.0], "Tensor([1. 2. 3.], device=xpux:0)"),
        (-1.0, "Tensor(-1.0, device=xpux:0)"),
        (1.23456789, "Tensor(1.2345679, device=xpux:0)"),
        ([1, 2], "Tensor([1 2], dtype=int32, device=xpux:0)"),
        ([True, False], "Tensor([ True False], dtype=bool, device=xpux:0)"),
        (np.float16([1, 2.5]), "Tensor([1.  2.5], dtype=float16, device=xpux:0)"),
        ([[0.29761234, 0.5], [1, 2]], "Tensor([[0.2976 0.5   ]\n [1.     2.    ]], device=xpux:0)"),
        (np.zeros((0, 3), np.float32), "Tensor([], device=xpux:0)"),
        (np.arange(3000), "Tensor([   0    1    2 ... 2997 2998 2999], dtype=int32, device=xpux:0)"),
    ],
)
def test_printing(data, text):
    assert str(Tensor(data)) == repr(Tensor(data)) == text


def test_parameter_prints_its_name():
    assert str(Parameter([1.0, 2.0])) == "Parameter([1. 2.], device=xpux:0)"


@pytest.mark.parametrize(
    "data,dtype",
    [(1, "int32"), (1.5, "float32"), (True, "bool"), ([1, 2.5], "float32"), ([], "float32"), (np.arange(3), "int32"), (np.zeros(2), "float32"),
     (np.uint8([1]), "uint8"), (np.float16([1]), "float16"), (np.int16([1]), "int16")],
)  # fmt: skip
def test_dtype_of_data(data, dtype):
    assert Tensor(data).dtype == np.dtype(dtype).type


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_round_trip(dtype):
    x = Tensor([0, 1, 1], dtype=dtype)
    assert x.dtype == (bfloat16 if dtype == "bfloat16" else np.dtype(dtype).type)
    assert x.dtype == dtype and x.dtype.name == dtype
    np.testing.assert_array_equal(x.numpy().astype(np.float64), [0, 1, 1])
    np.testing.assert_array_equal(x.astype("float32").numpy(), [0, 1, 1])
    again = pickle.loads(pickle.dumps(x))
    assert again.dtype == x.dtype
    np.testing.assert_array_equal(again.numpy(), x.numpy())


def test_bfloat16_rounds_to_nearest_even():
    x = np.array([1.00390625, 1.01171875, 3.4e38, np.inf, -np.inf, 1e-40], np.float32)
    np.testing.assert_array_equal(Tensor(x, dtype="bfloat16").numpy(), Tensor(x).astype("bfloat16").numpy())
    np.testing.assert_array_equal(Tensor(x[:2], dtype="bfloat16").numpy(), [1.0, 1.015625])
    assert np.isnan(Tensor(np.nan, dtype="bfloat16").numpy())


def test_shape_and_numbers():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    assert (x.shape, x.ndim, x.size, len(x)) == ((2, 2), 2, 4, 2)
    assert x.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert (Tensor(2.5).item(), x.item(3), float(Tensor(2)), int(Tensor(2.9)), bool(Tensor(0.0))) == (
        2.5,
        4.0,
        2.0,
        2,
        False,
    )
    assert [row.tolist() for row in x] == x.tolist()
    assert x.T.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert 3.0 in x and 9.0 not in x
    assert [10, 20][Tensor(1)] == 20
    np.testing.assert_array_equal(np.asarray(x), x.numpy())


@pytest.mark.parametrize("call", [lambda x: x.item(), bool, float, len, lambda x: [0][x]])
def test_what_needs_one_element(call):
    x = Tensor([1.0, 2.0]) if call is not len else Tensor(1.0)
    with pytest.raises((ValueError, TypeError)):
        call(x)


def test_numpy_is_read_only():
    x = Tensor([1.0, 2.0])
    array = x.numpy()
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 9
    x += 1  # the array keeps the value that it was taken from
    assert array.tolist() == [1.0, 2.0]
    assert np.array(x).flags.writeable
    source = np.array([1.0, 2.0], np.float32)
    y = Tensor(source)
    source[0] = 9
    assert y.tolist() == [1.0, 2.0]


def test_numpy_leaves_operators_to_tensors():
    x = Tensor([1.0, 2.0])
    for y in (
        np.float32(2) * x,
        np.array([2.0, 2.0], np.float32) * x,
        x * np.array([2.0, 2.0], np.float32),
        x * [2, 2],
    ):
        assert isinstance(y, Tensor)
        assert y.tolist() == [2.0, 4.0]


def test_in_place_operators_keep_the_handle():
    x = Tensor([1.0, 2.0])
    same, value = x, x.detach()
    x += 1
    x *= 2
    assert same is x
    assert x.tolist() == [4.0, 6.0]
    assert value.tolist() == [1.0, 2.0]


def test_set_value_and_zero():
    x = Parameter([1.0, 2.0])
    other = x.detach()
    x.set_value(np.array([5.0, 6.0]))
    assert x.tolist() == [5.0, 6.0]
    assert x.dtype == np.float32
    x.reset_zero()
    assert x.tolist() == [0.0, 0.0]
    assert other.tolist() == [1.0, 2.0]


def test_copies():
    x = Parameter([1.0, 2.0], name="w")
    for y in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(y) is Parameter and y.name == "w"
        y[0] = 7.0
        assert x.tolist() == [1.0, 2.0]


def test_identity():
    x, y = Tensor([1.0]), Tensor([1.0])
    assert {x: 1, y: 2}[x] == 1
    x.anything = 3
    assert x.anything == 3


def test_devices():
    x = Tensor([1.0])
    assert str(x.device) == "xpux:0"
    y = x.to("cpu0")
    assert str(y.device) == "cpu0:0"
    assert (x + y).tolist() == [2.0]
    with pytest.raises(DeviceError, match=r"gpu7.*xpux"):
        x.to("gpu7")
    with pytest.raises(ValueError, match="not a device"):
        Tensor([1.0], device="abc")


def test_what_goes_where_it_is_becomes_another_tensor():
    """As if it were copied there: neither sees what is written into the other, and the gradient comes back."""
    x = Parameter([1.0, 2.0])
    y, z = x.to(x.device), x.to(str(x.device))
    gm = GradManager().attach(x)
    with gm:
        gm.backward((x.to(x.device) * 3.0).sum())
    x[0] = 5.0
    z[1] = 7.0
    assert [x.tolist(), y.tolist(), z.tolist()] == [[5.0, 2.0], [1.0, 2.0], [1.0, 7.0]]
    assert x.grad.tolist() == [3.0, 3.0] and type(y) is Tensor


@pytest.mark.parametrize(
    "call,error,text",
    [
        (lambda: Tensor("x"), TypeError, "Tensor: data cannot be 'x'"),
        (lambda: Tensor([[1, 2], [3]]), ValueError, "equal lengths"),
        (lambda: Tensor(np.uint32([1])), TypeError, None),
        (lambda: Tensor([1.0, 2.0]) + Tensor([1.0, 2.0, 3.0]), ValueError, r"add: shapes \(2,\) and \(3,\)"),
        (lambda: Tensor([[1.0, 2.0]]) @ Tensor([[1.0, 2.0]]), ValueError, "matmul: shapes"),
        (lambda: Tensor([1.0]).reshape(3), ValueError, "reshape"),
        (lambda: Tensor([1.0]) + None, TypeError, "unsupported"),
        (lambda: Tensor([1.0]) + "a", TypeError, "unsupported"),
        (lambda: Tensor([1.0]).sum(1), ValueError, "sum: axis 1 is out of range"),
        (lambda: Tensor([1.0]) & Tensor([1.0]), TypeError, "and works on bool and integers"),
        (lambda: Tensor(np.zeros((0, 2), np.float32)).max(0), ValueError, "max over axis 0"),
    ],
)
def test_errors_name_the_op(call, error, text):
    if text is None:
        assert call().tolist() == [1]
        return
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize(
    "data, text, stored",
    [
        (
            np.array([1, 2**40, -3]),
            '1099511627776 does not fit int32, .* so it becomes 0; give dtype="int64"',
            [1, 0, -3],
        ),
        (np.array([[-(2**31) - 1]]), "-2147483649 does not fit int32, .* becomes 2147483647", [[2**31 - 1]]),
        (np.uint32(2**31), "2147483648 does not fit int32", -(2**31)),
        (np.array([2**32 - 1], np.uint32), "4294967295 does not fit int32", [-1]),
        (np.array([2**63 + 1], np.uint64), '9223372036854775809 does not fit .* give dtype="float64"', [1]),
        (np.array([1, 2**40], ">i8"), "1099511627776", [1, 0]),
        (np.arange(4)[::-2] * 2**31, "6442450944", [-(2**31), -(2**31)]),
        ([1, 2**31], "2147483648", [1, -(2**31)]),
        (2**31, "2147483648", -(2**31)),
    ],
)
def test_integers_that_do_not_fit_int32_warn(data, text, stored):
    with pytest.warns(UsageWarning, match=text) as shown:
        made = Tensor(data)
    assert (shown[0].filename, len(shown)) == (__file__, 1)
    assert (made.dtype, made.tolist()) == (np.int32, stored)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.uint32, ">i8"])
def test_integers_that_fit_do_not_warn(dtype):
    for most in ([0, 2**31 - 1], [], [[5]], 7):
        assert Tensor(np.array(most, dtype)).tolist() == most
    if np.dtype(dtype).kind == "i":
        assert Tensor(np.array([-(2**31), -1], dtype)).tolist() == [-(2**31), -1]
    assert Tensor(np.array([2**31], dtype), dtype="int64").tolist() == [2**31]
    assert Tensor(np.array([2**31], dtype), dtype="int32").tolist() == [-(2**31)], "as it was asked for"
