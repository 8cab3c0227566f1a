"""What the environment says of GPUs, in processes of their own: the driver, the default device, waiting, forks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from double.library import library

TESTS = Path(__file__).resolve().parent.parent


def run(code, **environment):
    """What the code prints, or the last line of its error. It finds `tengen`, and a double unless told otherwise."""
    begin = f"import sys; sys.path.insert(0, {str(TESTS)!r})\nfrom double.library import double\ndouble()\n"
    done = subprocess.run(
        [sys.executable, "-c", begin + "import tengen\n" + code],
        env=os.environ | {"TENGEN_CUDA_LIBRARY": library()} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()[-1]


ASK = "print(tengen.get_device_count('gpu'), tengen.is_cuda_available(), tengen.device.what_is_xpu(), tengen.tensor([1.0]).device.physical)"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "2 True cpu cpu0"),
        ({"TENGEN_XPU": "gpu"}, "2 True gpu gpu0"),
        ({"TENGEN_XPU": "gpu", "DOUBLE_DEVICES": "0"}, "0 False cpu cpu0"),
        ({"MGE_DEFAULT_DEVICE": "gpu1"}, "2 True cpu gpu1"),
        ({"TENGEN_DEFAULT_DEVICE": "gpux"}, "2 True cpu gpu0"),
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
    code = "tengen.tensor([1.0])\ntry: tengen.config.xpu = 'gpu'\nexcept RuntimeError as error: print(error)"
    assert run(code) == "what xpux stands for cannot change any more: tensors are on xpux:0"


def test_an_error_at_once():
    code = "x = tengen.tensor([1.0], device='gpu0')\ntry: x[tengen.tensor([3], device='gpu0')]\nexcept IndexError: print('at once')"
    assert run(code, TENGEN_SYNC="1") == "at once"


def test_asking_opens_nothing():
    code = "tengen.device.get_cuda_device_property(0); tengen.tensor([1.0]); print(double().count('streams'), double().count('allocations'))"
    assert run(code) == "0 0"


FORKED = """
import os
x = tengen.tensor([1.0], device='gpu0')
child = os.fork()
if not child:
    try: x.numpy()
    except RuntimeError as error: print(error, flush=True)
    print(tengen.tensor([2.0]).tolist(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_forked_child_is_told_to_be_spawned():
    before = run(FORKED.replace("    print(tengen", "    os._exit(0)\n    print(tengen"))
    assert before.startswith("gpu0 cannot be used in this process: it was forked from one that had used a GPU already")
    assert run(FORKED) == "[2.0]"
