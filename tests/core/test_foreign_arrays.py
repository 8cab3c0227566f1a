"""NumPy arrays of every kind at every door through which they come."""

from __future__ import annotations

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import Tensor

NUMBERS = np.arange(12).reshape(3, 4) % 5


def unaligned(array: np.ndarray) -> np.ndarray:
    """A copy from an odd address."""
    made = np.ndarray(array.shape, array.dtype, np.zeros(array.nbytes + 1, np.uint8), 1)
    made[...] = array
    return made


def swapped(array: np.ndarray) -> np.ndarray:
    """With the bytes of each number the other way round."""
    return array.astype(array.dtype.newbyteorder())


def read_only(array: np.ndarray) -> np.ndarray:
    made = array.copy()
    made.setflags(write=False)
    return made


def field(array: np.ndarray) -> np.ndarray:
    """Inside of records whose size is no multiple of that of a number."""
    made = np.zeros(array.shape, [("other", "i1"), ("number", array.dtype)])
    made["number"] = array
    return made["number"]


class Subclass(np.ndarray):
    pass


KINDS = {
    "unaligned": unaligned,
    "swapped": swapped,
    "swapped and unaligned": lambda a: unaligned(swapped(a)),
    "read only": read_only,
    "reversed": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    "stepped": lambda a: np.repeat(a, 2, 1)[:, ::2],
    "transposed": np.asfortranarray,
    "stretched": lambda a: np.broadcast_to(a[:1], a.shape),
    "a field": field,
    "a subclass": lambda a: a.view(Subclass),
    "empty": lambda a: a[:0, ::-1],
}
DTYPES = [
    "float32",
    "float64",
    "float16",
    "longdouble",
    "int32",
    "int64",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "uint32",
    "bool",
]


def assigned(array: np.ndarray) -> Tensor:
    made = F.zeros(array.shape)
    made[...] = array
    return made


def given(array: np.ndarray) -> Tensor:
    made = F.zeros(array.shape)
    made.set_value(array)
    return made


DOORS = {
    "tensor": Tensor,
    "tensor of a dtype": lambda a: Tensor(a, dtype="float64"),
    "bfloat16": lambda a: Tensor(a, dtype="bfloat16").astype("float32"),
    "parameter": tengen.Parameter,
    "operand": lambda a: F.zeros(a.shape) + a,
    "left operand": lambda a: a + F.zeros(a.shape),
    "assignment": assigned,
    "set_value": given,
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_arrive(kind, door):
    for dtype in DTYPES:
        array = KINDS[kind](NUMBERS.astype(dtype))
        found = DOORS[door](array).numpy()
        assert found.shape == array.shape, dtype
        np.testing.assert_array_equal(found.astype(np.float64), np.asarray(array).astype(np.float64), err_msg=dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_indices_arrive(kind):
    values = np.arange(5.0, dtype=np.float32)
    for dtype in ("int32", "int64", "int8", "uint8", "int16", "uint16"):
        index = KINDS[kind](NUMBERS.astype(dtype))
        np.testing.assert_array_equal(Tensor(values)[index].numpy(), values[np.asarray(index)], err_msg=dtype)
    if kind != "empty":
        mask = np.asarray(KINDS[kind](NUMBERS > 2))
        np.testing.assert_array_equal(Tensor(NUMBERS)[mask].numpy(), NUMBERS[mask])


@pytest.mark.parametrize(
    "array",
    [np.zeros(3, [("a", "f4")]), np.array(["a"]), np.array([None, 1]), np.zeros(3, "M8[D]"), np.zeros(3, "V4")],
    ids=lambda array: str(array.dtype),
)  # fmt: skip
def test_what_holds_no_numbers_is_refused(array):
    with pytest.raises(
        TypeError, match=r"Tensor: data cannot be ndarray of dtype .* give a Tensor, an array, or numbers"
    ):
        Tensor(array)
    with pytest.raises(TypeError):
        F.zeros(array.shape) + array
    with pytest.raises(TypeError):
        assigned(array)
    with pytest.raises(IndexError):
        F.zeros(3)[array]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: F.cos(None), "cos: x cannot be None"),
        (lambda x: F.softmax(None), "softmax: inp cannot be None"),
        (lambda x: F.softmax("text"), "softmax: inp cannot be 'text'"),
        (lambda x: F.add(x, None), "add: y cannot be None"),
        (lambda x: F.concat([x, "text"]), r"concat: inps\[1\] cannot be 'text'"),
        (lambda x: F.meshgrid(x, None), r"meshgrid: inputs\[1\] cannot be None"),
        (lambda x: F.conv2d(None, x), "conv2d: inp cannot be None"),
        (lambda x: F.conv2d(x, None), "conv2d: weight cannot be None"),
        (lambda x: F.relu(M.ReLU()), "relu: x cannot be a ReLU"),
        (lambda x: M.Linear(1, 1)(None), "Linear: x cannot be None"),
        (lambda x: M.LSTM(2, 2)(None), "LSTM: input cannot be None"),
        (lambda x: M.BatchNorm2d(2)(None), "BatchNorm2d: inp cannot be None"),
        (lambda x: x.set_value(None), "set_value: value cannot be None"),
        (lambda x: Tensor(None), "Tensor: data cannot be None"),
        (lambda x: Tensor([None, 1]), "Tensor: data cannot be list of dtype object"),
    ],
)
def test_what_is_no_tensor_is_refused_by_function_and_argument(call, message):
    with pytest.raises(TypeError, match=message + ".*; give a Tensor, an array, or numbers"):
        call(Tensor([1.0]))
