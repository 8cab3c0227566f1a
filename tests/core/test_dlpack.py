"""DLPack, both ways: what is shared, what is copied, what is refused, and who frees the memory."""

from __future__ import annotations

import ctypes
import gc
import weakref

import numpy as np
import pytest

import tengen
import tengen.functional as F
from tengen import Tensor
from tengen.utils.dlpack import from_dlpack, to_dlpack

DTYPES = "bool uint8 int8 uint16 int16 int32 int64 float16 float32 float64 complex64".split()


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_there_and_back(dtype):
    source = np.array([[1, 0, 2], [0, 1, 1]], dtype)
    x = from_dlpack(source)
    assert x.dtype.name == dtype
    assert x._data_ptr() == address(source)
    back = np.from_dlpack(x)
    assert back.dtype == source.dtype
    assert address(back) == address(source)
    np.testing.assert_array_equal(back, source)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), ()])
def test_shapes_without_elements_and_without_dims(shape):
    x = from_dlpack(np.ones(shape, np.float32))
    assert (x + 1).numpy().shape == x.numpy().shape == shape
    np.testing.assert_array_equal(np.from_dlpack(F.ones(shape)), np.ones(shape))


def test_strides_are_shared():
    source = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for view in (source.transpose(2, 0, 1), source[::-1, :, 1::2], source[1, ::-2]):
        x = from_dlpack(view)
        assert x._data_ptr() == address(view)
        np.testing.assert_array_equal((x * 2).numpy(), view * 2)
        np.testing.assert_array_equal(np.from_dlpack(x), view)


def test_memory_that_is_read_only():
    source = np.arange(3, dtype=np.float32)
    source.flags.writeable = False
    assert from_dlpack(source).tolist() == [0.0, 1.0, 2.0]
    rows = np.broadcast_to(source, (4, 3))
    assert from_dlpack(rows)._data_ptr() == address(source)
    assert F.sum(from_dlpack(rows)).item() == 12.0


def test_writing_to_what_was_imported_leaves_the_producer_as_it_was():
    source = np.zeros(3, np.float32)
    x = from_dlpack(source)
    x[0] = 5.0
    x += 1.0
    assert x.tolist() == [6.0, 1.0, 1.0]
    assert source.tolist() == [0.0, 0.0, 0.0]


class Producer:
    """Exports as somebody else does, with a given signature."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return 1, 0


class Unversioned(Producer):
    def __dlpack__(self, stream=None):
        return self.array.__dlpack__(stream=stream)


class Refusing(Producer):
    def __dlpack__(self, stream=None, max_version=None):
        raise BufferError("use detach() first")


def test_producers_of_either_protocol():
    assert from_dlpack(Unversioned(np.float32([1, 2]))).tolist() == [1.0, 2.0]
    with pytest.raises(BufferError, match="use detach"):
        from_dlpack(Refusing(None))


def test_a_capsule_is_taken_once():
    x = Tensor([1.0, 2.0])
    for capsule in (to_dlpack(x), x.__dlpack__(max_version=(1, 0))):
        assert from_dlpack(capsule).tolist() == [1.0, 2.0]
        with pytest.raises(ValueError, match="taken already"):
            from_dlpack(capsule)


@pytest.mark.parametrize("value", [3, "text", None, [1.0], object()])
def test_what_is_no_tensor(value):
    with pytest.raises(TypeError, match=rf"DLPack capsule .* got {type(value).__name__}"):
        from_dlpack(value)


@pytest.mark.parametrize("dtype", ["uint32", "uint64", "complex128"])
def test_dtypes_that_tensors_lack(dtype):
    with pytest.raises(TypeError, match="no tensor dtype"):
        from_dlpack(np.zeros(2, dtype))


# -- the options of __dlpack__ ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bool"])
def test_a_copy_is_one(dtype):
    x = Tensor([[1.0, 0.0], [1.0, 1.0]], dtype=dtype).T
    copied, shared = from_dlpack(x.__dlpack__(copy=True)), from_dlpack(x.__dlpack__(copy=False))
    assert copied.dtype == shared.dtype == x.dtype
    assert copied._data_ptr() != x._data_ptr() == shared._data_ptr()
    assert copied.tolist() == x.tolist()


def test_versions_and_devices():
    x = Tensor([1.0])
    assert '"dltensor"' in repr(x.__dlpack__())
    assert '"dltensor"' in repr(x.__dlpack__(max_version=(0, 8)))
    assert '"dltensor_versioned"' in repr(x.__dlpack__(max_version=(1, 0)))
    assert x.__dlpack_device__() == (1, 0)
    np.testing.assert_array_equal(np.from_dlpack(x, device="cpu"), [1.0])
    x.__dlpack__(stream=-1, dl_device=(1, 0))
    with pytest.raises(BufferError, match="device"):
        x.__dlpack__(dl_device=(2, 0))
    with pytest.raises(TypeError, match="unexpected"):
        x.__dlpack__(strem=None)


def test_a_view_that_runs_backwards_is_exported_as_a_copy():
    """Other frameworks have no negative strides, and PyTorch ends the process when it meets one."""
    x = Tensor([1.0, 2.0, 3.0])[::-1]
    assert from_dlpack(x.__dlpack__()).desc.strides == (1,)
    assert np.from_dlpack(x).tolist() == [3.0, 2.0, 1.0]
    with pytest.raises(BufferError, match="only be exported as a copy"):
        x.__dlpack__(copy=False)


# -- lifetimes -------------------------------------------------------------------------------------------------


def test_either_side_may_go_first():
    source = np.arange(1000, dtype=np.float32)
    gone = weakref.ref(source)
    x = from_dlpack(source)
    del source
    gc.collect()
    assert gone() is not None
    part = x[10:12]
    del x
    assert part.tolist() == [10.0, 11.0]
    del part
    gc.collect()
    assert gone() is None

    exported = np.from_dlpack(F.arange(1000) + 1)
    gc.collect()
    assert (F.zeros(1000) + 7).numpy().sum() == 7000
    assert exported.sum() == 500500


class DLTensor(ctypes.Structure):
    _fields_ = [
        *(("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32)),
        *(("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)),
        *(("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64))),
        *(("byte_offset", ctypes.c_uint64), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)),
    ]


DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class HandMade:
    """A capsule without a framework behind it; counts how often its deleter is called."""

    def __init__(self, values, offset=0, device=1, lanes=1):
        self.deleted = 0
        self._values = (ctypes.c_float * len(values))(*values)
        self._shape = (ctypes.c_int64 * 1)(len(values) - offset)
        self._delete = DELETER(self._count)
        pointer = ctypes.cast(self._delete, ctypes.c_void_p)
        self._tensor = DLTensor(
            *(ctypes.addressof(self._values), device, 0, 1, 2, 32, lanes, self._shape, None, 4 * offset),
            *(None, pointer),
        )
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        self.capsule = new(ctypes.addressof(self._tensor), b"dltensor", None)

    def _count(self, _):
        self.deleted += 1


def test_the_deleter_is_called_once_when_the_last_view_is_gone():
    made = HandMade([1.0, 2.0, 3.0], offset=1)  # without strides, and with an offset
    x = from_dlpack(made.capsule)
    assert x.tolist() == [2.0, 3.0]
    part = x[1:]
    array = part.numpy()
    del x, part
    gc.collect()
    assert made.deleted == 0
    assert array.tolist() == [3.0]
    del array
    gc.collect()
    assert made.deleted == 1
    del made.capsule


def test_a_refused_capsule_is_freed_by_its_owner_alone():
    for made in (HandMade([1.0], device=2), HandMade([1.0], lanes=4)):
        with pytest.raises((TypeError, ValueError), match=r"device|dtype"):
            from_dlpack(made.capsule)
        gc.collect()
        assert made.deleted <= 1


def test_inside_a_trace():
    source = np.float32([1, 2])
    double = tengen.jit.trace(lambda x: x * 2 + from_dlpack(source))
    for _ in range(3):
        assert double(Tensor([1.0, 1.0])).tolist() == [3.0, 4.0]
    export = tengen.jit.trace(lambda x: Tensor(np.from_dlpack(x * 2)) + 1)
    for _ in range(3):
        assert export(Tensor([1.0, 1.0])).tolist() == [3.0, 3.0]
