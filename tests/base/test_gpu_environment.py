"""What the environment says of GPUs, in processes of their own: the driver, the default device, waiting."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from double.library import library
from programs_on_gpu import printed

TESTS = Path(__file__).resolve().parent.parent


def run(code, **environment):
    """What the code prints, or the last line of its error. It finds `tengen`, and a double unless told otherwise."""
    return printed("from double.library import double\ndouble()\nimport tengen\n" + code, **environment)


ASK = "print(tengen.get_device_count('gpu'), tengen.is_cuda_available(), tengen.device.what_is_xpu(), tengen.tensor([1.0]).device.physical)"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "2 True gpu gpu0"),
        ({"TENGEN_XPU": "cpu"}, "2 True cpu cpu0"),
        ({"DOUBLE_DEVICES": "0"}, "0 False cpu cpu0"),
        ({"MGE_DEFAULT_DEVICE": "gpu1"}, "2 True gpu gpu1"),
        ({"MGE_DEFAULT_DEVICE": "cpux"}, "2 True gpu cpu0"),
        ({"TENGEN_DEFAULT_DEVICE": "gpux"}, "2 True gpu gpu0"),
    ],
)
def test_what_there_is(environment, said):
    assert run(ASK, **environment) == said


def test_a_library_that_is_no_driver():
    assert "TENGEN_CUDA_LIBRARY: /nowhere" in run(ASK, TENGEN_CUDA_LIBRARY="/nowhere")
    assert "is no CUDA driver that tengen can use: it has no cuInit" in run(ASK, TENGEN_CUDA_LIBRARY="libm.so.6")


def test_a_default_device_that_is_not_there():
    assert run(ASK, MGE_DEFAULT_DEVICE="gpu2").startswith(
        "tengen.base.errors.DeviceError: device gpu2:0 was asked for, but tengen finds no such GPU (it can use 2 here)"
    )
    assert run(ASK, MGE_DEFAULT_DEVICE="gpux", DOUBLE_DEVICES="0").startswith(
        "tengen.base.errors.DeviceError: device gpux:0 was asked for, but tengen finds no such GPU (it can use 0 here)"
    )


def test_what_xpux_is_cannot_change_under_tensors():
    code = "tengen.tensor([1.0])\ntry: tengen.config.xpu = 'cpu'\nexcept RuntimeError as error: print(error)"
    assert run(code) == "what xpux stands for cannot change any more: tensors are on xpux:0"


def test_an_error_at_once():
    code = "x = tengen.tensor([1.0], device='gpu0')\ntry: x[tengen.tensor([3], device='gpu0')]\nexcept IndexError: print('at once')"
    assert run(code, TENGEN_SYNC="1") == "at once"


def test_asking_opens_nothing():
    code = "tengen.device.get_cuda_device_property(0); tengen.tensor([1.0], device='cpu0')"
    code += "; print(double().count('streams'), double().count('allocations'))"
    assert run(code) == "0 0"


LOADED = """
import tengen, tengen.distributed, tengen.data, tengen.jit, tengen.models
x = tengen.tensor([1.0], device="cpu0") + 1
tengen.set_default_device("xpux")
def loaded(): return "libcuda-double" in open("/proc/self/maps").read()
print(loaded(), tengen.get_default_device(), tengen.tensor([1.0]).device.physical, loaded())
"""


def test_the_driver_is_loaded_when_somebody_asks_for_a_gpu():
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        env=os.environ | {"TENGEN_CUDA_LIBRARY": library()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False xpux gpu0 True\n"


def test_what_xpux_is_may_change_until_a_tensor_is_there():
    assert (
        run("tengen.config.xpu = 'cpu'; x = tengen.tensor([1.0]); print(x.device, x.device.physical)") == "xpux:0 cpu0"
    )


UNUSABLE = """
import warnings
{before}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    x = tengen.tensor([1.0]) + tengen.tensor([2.0])
print(*[w.message for w in said], sep="; ")
print(x.tolist(), x.device, x.device.physical)
try: x.to("gpu0")
except tengen.base.errors.DeviceError as error: print(error)
"""


def said(before, **environment):
    """The lines of the program above."""
    begin = f"import sys; sys.path.insert(0, {str(TESTS)!r})\nimport tengen\n"
    environment = {"TENGEN_CUDA_LIBRARY": library()} | environment
    done = subprocess.run(
        [sys.executable, "-c", begin + UNUSABLE.format(before=before)],
        env={name: value for name, value in (os.environ | environment).items() if value},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_driver_that_does_not_work_is_said_once():
    warning, result, error = said("from double.library import double\ndouble().fail('cuInit', 1, 803)")
    fault = "the CUDA driver cannot be used: cuInit failed with CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"
    assert (
        warning.startswith(fault) and "So xpux, the default device, is the CPU" in warning and warning.count(";") == 1
    )
    assert result == "[3.0] xpux:0 cpu0"
    assert f"gpu0:0 was asked for, but tengen finds no such GPU (it can use 0 here): {fault}" in error


def test_an_old_driver_is_said_once(tmp_path):
    (tmp_path / "libcuda.so.1").symlink_to(library("-DcuGraphLaunch=nothing", "-DDRIVER_VERSION=11020"))
    warning, result, error = said("", LD_LIBRARY_PATH=str(tmp_path), TENGEN_CUDA_LIBRARY="")
    fault = "libcuda.so.1 is no CUDA driver that tengen can use: it has no cuGraphLaunch; "
    fault += "it is that of CUDA 11.2, and tengen needs that of 11.4 or later"
    assert warning.startswith(fault) and result == "[3.0] xpux:0 cpu0" and fault in error


def test_an_old_gpu_is_said_once():
    warning, result = said("", TENGEN_CUDA_LIBRARY=library("-DCAPABILITY_MAJOR=6"))
    assert warning.startswith(
        "gpu0 (test double 0) has compute capability 6.0, and tengen makes kernels for 7.5 and later"
    )
    assert result == "[3.0] xpux:0 cpu0"


def test_no_gpu_is_nothing_to_warn_of():
    assert said("", DOUBLE_DEVICES="0")[:2] == ["", "[3.0] xpux:0 cpu0"]
    assert said("", TENGEN_CUDA_LIBRARY="", CUDA_VISIBLE_DEVICES="")[1] == "[3.0] xpux:0 cpu0"


def test_what_info_says():
    main = "from tengen.__main__ import main; main(['info'])"
    assert run(main) == "driver      CUDA 13.0; xpux is gpu0"
    assert run(main, TENGEN_XPU="cpu") == "driver      CUDA 13.0; xpux is the CPU"
    assert run(main, DOUBLE_DEVICES="0") == "GPU         none: tengen computes on the CPU"
