"""Names of devices and the default device."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys

import pytest

import tengen
from tengen.base import device as devices
from tengen.base.errors import DeviceError


@pytest.fixture(autouse=True)
def default_device():
    before = devices.get_default_device()
    yield
    devices.set_default_device(before)


@pytest.mark.parametrize(
    ("name", "printed", "physical"),
    [
        ("xpux", "xpux:0", "cpu0"),
        ("cpux", "cpux:0", "cpu0"),
        ("cpu0", "cpu0:0", "cpu0"),
        ("cpu1", "cpu1:0", "cpu1"),
        ("cpu0:1", "cpu0:1", "cpu0"),
        ("xpu0", "xpu0:0", "cpu0"),
        ("gpu2", "gpu2:0", "gpu2"),
        ("gpux", "gpux:0", "gpu0"),
    ],
)
def test_names(name, printed, physical):
    device = devices.parse(name)
    assert str(device) == repr(device) == devices.canonical(name) == printed
    assert device.physical == physical
    assert device is devices.parse(printed)
    assert device == name
    assert device == printed
    assert device != "cpu7"
    assert pickle.loads(pickle.dumps(device)) is device
    assert copy.deepcopy(device) is device


@pytest.mark.parametrize("name", ["", "cpu", "gpu", "foo", "CPU0", "cpu-1", "cpu0:", "cpu0:x", "xpuxx", " cpu0"])
def test_what_is_no_name(name):
    with pytest.raises(ValueError, match="devices are named xpux, cpux, cpu0"):
        devices.parse(name)


def test_a_device_is_given_by_name():
    with pytest.raises(TypeError, match="by its name"):
        devices.parse(0)


@pytest.mark.parametrize("name", ["gpu7", "gpu7:1"])
def test_a_gpu_that_is_not_there_says_so_and_what_to_do(name):
    with pytest.raises(DeviceError, match=f"{devices.canonical(name)} was asked for, but .*use 'xpux'.*'cpu0'"):
        devices.require(name)
    with pytest.raises(DeviceError):
        tengen.tensor([1.0], device=name)


def test_default_device():
    assert devices.get_default_device() == "xpux"
    devices.set_default_device("cpu1")
    assert devices.get_default_device() == "cpu1"
    assert str(devices.require()) == "cpu1:0"
    assert str(tengen.tensor([1.0]).device) == "cpu1:0"


def test_a_bad_default_device_changes_nothing():
    with pytest.raises(DeviceError):
        devices.set_default_device("gpu7")
    with pytest.raises(ValueError, match="devices are named"):
        devices.set_default_device("nope")
    assert devices.get_default_device() == "xpux"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"MGE_DEFAULT_DEVICE": "cpu1"}, "cpu1:0"),
        ({"TENGEN_DEFAULT_DEVICE": "cpu2", "MGE_DEFAULT_DEVICE": "cpu1"}, "cpu2:0"),
        ({"MGE_DEFAULT_DEVICE": "gpu7"}, "DeviceError: device gpu7:0 was asked for"),
        ({"MGE_DEFAULT_DEVICE": "nope"}, "ValueError: 'nope' is not a device"),
    ],
)
def test_default_device_from_the_environment(variables, expected):
    code = "import tengen; print(tengen.tensor([1.0]).device)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert expected in (done.stderr if "Error" in expected else done.stdout), done


def test_what_the_machine_has():
    assert tengen.get_device_count("gpu") == 0
    assert tengen.get_device_count("cpu") == tengen.get_device_count("xpu") >= 1
    assert tengen.is_cuda_available() is False
    with pytest.raises(ValueError, match="one of cpu, gpu, rocm, xpu"):
        tengen.get_device_count("tpu")
    with pytest.raises(DeviceError, match="no GPU 0"):
        tengen.get_cuda_compute_capability(0)
    everything, free = tengen.get_mem_status_bytes()
    assert 0 < free <= everything


def test_memory_statistics_follow_what_is_alive():
    before = tengen.get_allocated_memory()
    tengen.reset_max_memory_stats()
    x = tengen.functional.zeros((1024, 1024))
    assert tengen.get_allocated_memory() - before >= 4 << 20
    del x
    assert tengen.get_allocated_memory() - before < 4 << 20
    assert tengen.get_max_allocated_memory() - before >= 4 << 20
    assert tengen.get_max_reserved_memory() >= tengen.get_reserved_memory() >= tengen.get_allocated_memory()
