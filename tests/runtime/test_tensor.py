"""The handle: values in and out, attributes, identity, garbage collection."""

from __future__ import annotations

import gc
import math
import pickle
import weakref

import numpy as np
import pytest
from toy_compiler import FLIP, VIEW, Parameter, Tensor, Toy

from tengen import _rt as rt

DTYPES = "bool uint8 int8 uint16 int16 int32 int64 float16 float32 float64".split()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,), (2, 0, 3)])
def test_assign_and_array_round_trip(dtype: str, shape: tuple[int, ...]) -> None:
    data = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    tensor = Tensor(data, dtype)
    assert tensor.desc is rt.Descriptor(dtype, shape)
    assert (tensor.shape, tensor.ndim, tensor.size) == (shape, len(shape), data.size)
    array = tensor._array()
    assert array.dtype == data.dtype
    np.testing.assert_array_equal(array, data)
    if data.size:
        data.fill(not data.flat[-1])
        assert not np.array_equal(array, data), "the value must be a copy"


def test_bfloat16_travels_as_uint16() -> None:
    tensor = rt.Tensor()
    tensor._assign(np.array([0x3F80, 0x4000], "uint16"), "bfloat16", "cpu0")
    assert tensor.desc.dtype == "bfloat16"
    assert tensor._array().tolist() == [0x3F80, 0x4000]


def test_array_is_read_only_and_keeps_the_memory() -> None:
    tensor = Tensor(np.ones(1000))
    array = tensor._array()
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 5
    with pytest.raises(ValueError):
        array.flags.writeable = True
    del tensor
    Tensor(np.zeros(1000))  # would take the memory if it were free
    assert array.sum() == 1000


@pytest.mark.parametrize("shape, order", [((3, 4), (1, 0)), ((2, 3, 4), (2, 0, 1)), ((2, 1, 4), (1, 2, 0))])
def test_assigned_dims_may_lie_in_another_order(shape: tuple[int, ...], order: tuple[int, ...]) -> None:
    array = np.arange(math.prod(shape), dtype="float32").reshape(shape)
    tensor = rt.Tensor()
    tensor._assign(array, "float32", "cpu0", order=order)
    np.testing.assert_array_equal(tensor._array(), array.transpose(order))
    assert tensor._array().strides == array.transpose(order).strides


@pytest.mark.parametrize("order", [(0,), (0, 0), (0, 2), (0, 1, 1)])
def test_an_order_names_each_dim_once(order: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="each of them once"):
        rt.Tensor()._assign(np.ones((3, 4), "f"), "float32", "cpu0", order=order)


def test_assign_refuses_what_it_would_misread() -> None:
    tensor = rt.Tensor()
    with pytest.raises(TypeError, match=r"float32.*format 'd'"):
        tensor._assign(np.ones(3), "float32", "cpu0")
    with pytest.raises(TypeError, match="format '>f'"):
        tensor._assign(np.ones(3, ">f4"), "float32", "cpu0")
    with pytest.raises(ValueError, match="contiguous"):
        tensor._assign(np.ones((3, 4), "f").T, "float32", "cpu0")
    with pytest.raises(ValueError, match="no driver for device 'tpu0'"):
        tensor._assign(np.ones(3, "f"), "float32", "tpu0")


def test_an_empty_handle_says_so(toy: Toy) -> None:
    for use in (
        lambda t: t.shape,
        lambda t: t._array(),
        lambda t: t + 1.0,
        lambda t: t._detach(),
        lambda t: t._data_ptr(),
    ):
        with pytest.raises(RuntimeError, match="no value"):
            use(Tensor.__new__(Tensor))


def test_reset_changes_the_value_not_the_handle() -> None:
    a, b = Tensor([1.0]), Tensor([2.0, 3.0])
    identity = hash(a)
    a._reset(b)
    assert a._array().tolist() == [2, 3]
    assert a._data_ptr() == b._data_ptr()
    assert hash(a) == identity


def test_attributes_weak_references_and_hashing(toy: Toy) -> None:
    a = Tensor([1.0])
    a.note = "kept"
    assert vars(a) == {"note": "kept"}
    assert len({a, a, Tensor([1.0])}) == 2
    watcher = weakref.ref(a)
    del a
    assert watcher() is None


def test_a_cycle_through_grad_and_attributes_is_collected() -> None:
    a, b = Tensor([1.0]), Tensor([1.0])
    a.grad, b.other = b, a
    watcher = weakref.ref(a)
    del a, b
    gc.collect()
    assert watcher() is None


def test_grad_holds_any_object() -> None:
    a = Tensor([1.0])
    assert a.grad is None
    a.grad = "anything"
    assert a.grad == "anything"
    a.grad = None
    assert a.grad is None


class Pickled(Tensor):
    def __reduce__(self) -> tuple[object, ...]:
        return Pickled, (np.array(self._array()),), vars(self)


def test_pickle_through_python() -> None:
    a = Pickled([1.0, 2.0])
    a.note = 3
    b = pickle.loads(pickle.dumps(a))
    assert b._array().tolist() == [1, 2]
    assert b.note == 3


def test_views_share_memory(toy: Toy) -> None:
    a = Tensor(np.arange(6).reshape(2, 3))
    t = rt.apply(VIEW, a)
    assert t._data_ptr() == a._data_ptr()
    np.testing.assert_array_equal(t._array(), a._array().T)
    f = rt.apply(FLIP, Tensor([1.0, 2.0, 3.0]))
    assert f._array().tolist() == [3, 2, 1]
    assert rt.apply(FLIP, f)._array().tolist() == [1, 2, 3]


def test_detach_shares_the_value(toy: Toy) -> None:
    a = Parameter([1.0])
    tape = rt.Tape()
    tape.watch(a)
    b = a._detach()
    assert a._is_watched()
    assert not b._is_watched()
    assert type(b) is Tensor
    assert b._data_ptr() == a._data_ptr()


def test_dlpack_both_ways() -> None:
    data = np.arange(12, dtype="float32").reshape(3, 4)
    imported = rt.Tensor._from_dlpack(data[::-1, ::2].__dlpack__())
    assert imported.desc.strides == (-4, 2)
    np.testing.assert_array_equal(imported._array(), data[::-1, ::2])
    data[2, 0] = 99
    assert imported._array()[0, 0] == 99, "memory is shared"

    exported = np.from_dlpack(_Exporter(imported))
    del imported
    np.testing.assert_array_equal(exported, data[::-1, ::2])
    del exported
    gc.collect()


class _Exporter:
    """What tengen.Tensor offers to np.from_dlpack."""

    def __init__(self, tensor: rt.Tensor):
        self.tensor = tensor

    def __dlpack__(self, **options: object) -> object:
        return self.tensor._to_dlpack(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def test_tensor_class_must_derive_from_tensor() -> None:
    with pytest.raises(TypeError, match="subclass"):
        rt.set_tensor_class(int)
