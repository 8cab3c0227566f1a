"""Values on a GPU: how they get there and back, and what users see of them."""

from __future__ import annotations

import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen.autodiff import GradManager
from tengen.base.errors import DeviceError

numbers = np.random.default_rng(0)
DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64", "complex64")


def sample(dtype, shape):
    return (numbers.integers(0, 2, shape) if dtype == "bool" else numbers.integers(0, 100, shape)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5, 7), (1 << 20,)])
def test_there_and_back(dtype, shape):
    array = sample(dtype, shape)
    x = tengen.tensor(array, dtype=dtype, device="gpu0")
    assert (str(x.device), x.shape, x.dtype) == ("gpu0:0", shape, array.dtype)
    np.testing.assert_array_equal(x.numpy(), array)
    back = x.to("cpu0")
    assert str(back.device) == "cpu0:0"
    np.testing.assert_array_equal(back.numpy(), array)
    np.testing.assert_array_equal(back.to("gpu0").numpy(), array)


@pytest.mark.parametrize("dtype", ["bfloat16", "qint8(0.5)", "quint8(0.25,128)"])
def test_dtypes_that_numpy_lacks(dtype):
    kind = "float32" if dtype == "bfloat16" else dtype.partition("(")[0].removeprefix("q")
    x = tengen.tensor(np.arange(6).reshape(2, 3).astype(kind), dtype=dtype)
    there = x.to("gpu0")
    assert there.dtype == x.dtype
    np.testing.assert_array_equal(there.numpy(), x.numpy())
    np.testing.assert_array_equal(there.to("cpu0").numpy(), x.numpy())


VIEWS = {
    "transposed": lambda x: x.transpose(2, 0, 1),
    "backwards": lambda x: x[::-1, :, ::-1],
    "a step": lambda x: x[:, ::2],
    "a column": lambda x: x[:, :, 1],
    "broadcast": lambda x: F.broadcast_to(x[:, :1], (4, 6, 5)),
    "one": lambda x: x[1, 2, 3],
    "none": lambda x: x[2:2],
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "complex64"])
def test_views_go_as_they_lie(view, dtype):
    x = tengen.tensor(sample(dtype, (4, 6, 5)), dtype=dtype)
    seen = VIEWS[view](x)
    there = seen.to("gpu0")
    np.testing.assert_array_equal(there.numpy(), seen.numpy())
    np.testing.assert_array_equal(there.to("cpu0").numpy(), seen.numpy())
    np.testing.assert_array_equal(there.to("gpu1").numpy(), seen.numpy())


def test_what_goes_in_is_a_copy():
    array = np.ones(1000, np.float32)
    x = tengen.tensor(array, device="gpu0")
    y = tengen.tensor(array)
    there = y.to("gpu0")
    array[:] = 2
    y += 1
    assert x.numpy().max() == there.numpy().max() == 1


def test_more_than_the_staging_memory_holds():
    array = numbers.integers(0, 255, (21 << 20) + 13).astype(np.uint8)
    x = tengen.tensor(array, device="gpu0")
    small = [tengen.tensor(array[i : i + 100], device="gpu0") for i in range(50)]
    np.testing.assert_array_equal(x.numpy(), array)
    for i, y in enumerate(small):
        np.testing.assert_array_equal(y.numpy(), array[i : i + 100])


def test_what_users_see():
    x = tengen.tensor([[1.0, 2.0], [3.0, 4.0]], device="gpu0")
    assert repr(x) == "Tensor([[1. 2.]\n [3. 4.]], device=gpu0:0)"
    assert str(tengen.tensor(2.5, device="gpux")) == "Tensor(2.5, device=gpux:0)"
    assert x.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert x.item(1, 0) == 3.0
    assert bool(tengen.tensor(1, device="gpu0"))
    assert int(tengen.tensor(7, device="gpu1")) == 7
    assert f"{tengen.tensor(0.125, device='gpu0'):.2f}" == "0.12"
    np.testing.assert_array_equal(np.asarray(x), [[1, 2], [3, 4]])
    assert not x.numpy().flags.writeable


def test_a_copy_of_a_handle_shares_the_value():
    x = tengen.tensor([1.0, 2.0], device="gpu0")
    before = tengen.device.get_allocated_memory("gpu0")
    assert x.detach().tolist() == x._alias().tolist() == [1.0, 2.0]
    assert tengen.device.get_allocated_memory("gpu0") == before


def test_new_values_of_a_handle_stay_on_its_device():
    x = tengen.tensor([1.0, 2.0], device="gpu0")
    x.set_value(np.float32([3, 4, 5]))
    assert (x.tolist(), str(x.device)) == ([3, 4, 5], "gpu0:0")
    x.set_value(tengen.tensor([6.0]))
    assert (x.tolist(), str(x.device)) == ([6], "gpu0:0")
    x[...] = tengen.tensor([7.0, 8.0])
    assert (x.tolist(), str(x.device)) == ([7, 8], "gpu0:0")


def test_inputs_on_different_devices_are_named():
    x, y = tengen.tensor([1.0], device="gpu0"), tengen.tensor([1.0], device="cpu0")
    with pytest.raises(
        RuntimeError,
        match=r"add: the inputs are on different devices, gpu0:0 and cpu0:0; use \.to\(.gpu0:0.\) for what is not there",
    ):
        x + y
    with pytest.raises(RuntimeError, match="gpu0:0 and gpu1:0"):
        x * x.to("gpu1")
    with pytest.raises(RuntimeError, match=r"different devices, gpu0:0 and xpux:0 \(cpu0\)"):
        F.concat([x, tengen.tensor([1.0])])
    with pytest.raises(
        RuntimeError, match=r"Linear: the inputs are on different devices, gpu0:0 and xpux:0 \(cpu0\); use"
    ):
        M.Linear(1, 2)(x.reshape(1, 1))
    with pytest.raises(DeviceError, match=r"gpu7:0 was asked for.*it can use 2 here"):
        x.to("gpu7")
    with pytest.raises(DeviceError, match="gpu2"):
        tengen.tensor([1.0], device="gpu2")


def test_arrays_go_to_where_the_other_operand_is():
    x, numbers = tengen.tensor([1.0, 2.0, 3.0], device="gpu1"), np.float32([1, 2, 3])
    for y in (
        x + numbers,
        numbers * x,
        x[[0, 2]],
        x[numbers > 1],
        x[np.array([1])],
        F.pow(x, numbers),
        x > [1.0, 2.0, 3.0],
    ):
        assert str(y.device) == "gpu1:0"
    x[[0, 1]] = numbers[:2] + 5
    x += numbers
    assert (x.tolist(), str(x.device)) == ([7, 9, 6], "gpu1:0")


def test_gradients_go_back_to_where_the_value_was():
    p = tengen.Parameter(np.float32([1, 2, 3]), device="cpu0")
    with GradManager().attach([p]) as gm:
        loss = (p.to("gpu0").to("gpu1").to("cpu1") ** 2).sum()
        gm.backward(loss)
    assert (p.grad.tolist(), str(p.grad.device)) == ([2, 4, 6], "cpu0:0")


def test_second_gradients_across_devices():
    p = tengen.Parameter(np.float32([1, 2, 3]))
    outer, inner = GradManager().attach([p]), GradManager().attach([p])
    with outer:
        with inner:
            inner.backward((p.to("gpu0").to("cpu0") ** 3).sum())
        first = p.grad
        p.grad = None
        outer.backward(first.sum())
    assert p.grad.tolist() == [6, 12, 18]


def test_saved_on_one_device_and_loaded_on_another(tmp_path):
    x = tengen.tensor(np.arange(6, dtype=np.float32).reshape(2, 3), device="gpu1")
    tengen.save({"x": x, "y": tengen.Parameter([1.0])}, tmp_path / "file")
    assert str(tengen.load(tmp_path / "file")["x"].device) == "gpu1:0"
    for place in ("cpu0", "gpu0"):
        found = tengen.load(tmp_path / "file", map_location=place)
        assert str(found["x"].device) == f"{place}:0"
        np.testing.assert_array_equal(found["x"].numpy(), x.numpy())
    found = tengen.load(tmp_path / "file", map_location={"xpux": "gpu0"})
    assert (str(found["y"].device), found["y"].tolist()) == ("gpu0:0", [1])


def test_pickled():
    x = tengen.tensor([1.0, 2.0], device="gpu1")
    found = pickle.load(io.BytesIO(pickle.dumps(x)))
    assert (str(found.device), found.tolist()) == ("gpu1:0", [1, 2])


def test_several_threads():
    arrays = [numbers.integers(0, 255, (3 << 20) + i).astype(np.uint8) for i in range(4)]

    def there_and_back(array):
        x = tengen.tensor(array, device="gpu0")
        return all((x.to("gpu1").to("gpu0").numpy() == array).all() for _ in range(3))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(there_and_back, arrays * 2))
