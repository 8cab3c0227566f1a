"""The memory of a GPU: what statistics say, what is used again, and what happens when there is none left."""

from __future__ import annotations

import numpy as np
import pytest

import tengen
from tengen import _rt, device

MiB = 1 << 20


def on(place, size):
    return tengen.tensor(np.zeros(size, np.uint8), device=place)


@pytest.fixture(autouse=True)
def little_kept():
    device.coalesce_free_memory()


def test_statistics_are_those_of_the_device():
    before, host = device.get_allocated_memory("gpu0"), device.get_allocated_memory("cpu0")
    other = device.get_allocated_memory("gpu1")
    x = on("gpu0", 3 * MiB)
    assert device.get_allocated_memory("gpu0") - before == 3 * MiB
    assert device.get_allocated_memory("gpu1") == other
    assert device.get_allocated_memory("cpu0") - host < MiB
    assert device.get_reserved_memory("gpu0") >= device.get_max_allocated_memory("gpu0") >= before + 3 * MiB
    del x
    assert device.get_allocated_memory("gpu0") == before
    device.reset_max_memory_stats("gpu0")
    assert device.get_max_allocated_memory("gpu0") == before


def test_memory_is_used_again(double):
    kept = on("gpu0", 1)
    before = double.count("allocations"), device.get_reserved_memory("gpu0")
    for size in (1, 300, 5000, 70_000, MiB, 3 * MiB, 40 * MiB) * 5:
        on("gpu0", size)
    assert double.count("allocations") <= before[0] + 1
    del kept
    device.coalesce_free_memory()
    assert device.get_reserved_memory("gpu0") < before[1] + 64 * MiB


def test_neighbours_do_not_share_memory():
    sizes = np.random.default_rng(1).integers(1, 3 * MiB, 40)
    values = [tengen.tensor(np.full(n, i, np.uint8), device="gpu0") for i, n in enumerate(sizes)]
    values[::3] = [tengen.tensor(np.full(n, i, np.uint8), device="gpu0") for i, n in list(enumerate(sizes))[::3]]
    for i, x in enumerate(values):
        assert (x.numpy() == i).all()
    assert all(x._data_ptr() % 256 == 0 for x in values)


def test_free_memory_goes_back_to_the_driver(double):
    x = on("gpu0", 200 * MiB)
    total, free = device.get_mem_status_bytes("gpu0")
    del x
    assert device.get_mem_status_bytes("gpu0") == (total, free)
    device.coalesce_free_memory()
    assert device.get_mem_status_bytes("gpu0")[1] >= free + 200 * MiB


@pytest.fixture
def small(double):
    """gpu1 has 100 MiB besides what is in use."""
    on("gpu1", 1)
    device.coalesce_free_memory()
    whole = device.get_mem_status_bytes("gpu1")[0]
    double.set_memory(1, double.used_memory(1) + 100 * MiB)
    yield
    double.set_memory(1, whole)


def test_out_of_memory_says_how_much_and_what_is_live(small):
    held = [on("gpu1", size * MiB) for size in (60, 90)]
    with pytest.raises(MemoryError, match=r"out of memory on gpu1: a tensor of uint8 and shape \(62914560,\) needs "):
        on("gpu1", 60 * MiB)
    here = tengen.tensor(np.zeros(60 * MiB, np.uint8), device="cpu0")
    with pytest.raises(MemoryError) as caught:
        here.to("gpu1")
    for part in (
        "Copy: out of memory on gpu1: it needs 60.0 MiB",
        "Tensors hold 150.",
        "1 × uint8 (94371840,) (90.0 MiB)",
        "; gpu1 has ",
        " MiB are free. Let go of what is not needed",
    ):
        assert part in str(caught.value)
    del held
    assert here.to("gpu1").numpy().sum() == 0


def test_what_is_kept_is_given_back_before_memory_is_out(small):
    for size in (70, 50, 90, 30):  # in MiB; no two of them fit together
        assert on("gpu1", size * MiB).numpy().size == size * MiB


def test_a_region_may_be_smaller_than_usual(small):
    x = on("gpu1", 60 * MiB)
    y = on("gpu1", 30 * MiB)
    assert x.numpy().size + y.numpy().size == 90 * MiB


def test_an_error_of_the_driver_has_its_name(double):
    device.coalesce_free_memory()
    double.fail("cuMemAlloc_v2", 1, 999)
    with pytest.raises(RuntimeError, match=r"gpu0: cuMemAlloc failed with CUDA_ERROR_UNKNOWN"):
        on("gpu0", 300 * MiB)
    assert on("gpu0", 300 * MiB).shape == (300 * MiB,)


def test_nothing_stays_on_the_device_for_nothing(double):
    counts = _rt.memory_counts("gpu0")
    device.get_allocated_memory("gpu0")
    device.get_cuda_device_property(0)
    assert _rt.memory_counts("gpu0") == counts
