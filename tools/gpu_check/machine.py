"""What there is to check, and to check it with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import tengen

from .measure import torch_on_gpu
from .sanitizer import find_sanitizer
from .table import Options, Say


def machine(options: Options, say: Say) -> None:
    """Raises DeviceError if there is no GPU that tengen can use, and says why."""
    say(case="tengen", value=tengen.__version__)
    say(case="Python", value=platform.python_version())
    say(case="packages", value={name: found for name in ("numpy", "llvmlite", "torch") if (found := _version(name))})
    say(case="cores", value=len(os.sched_getaffinity(0)))
    say(case="driver", value=tengen.device.get_cuda_driver_version())
    x = tengen.tensor([1.0, 2.0], device="gpu0") + 1
    say(case="a sum on gpu0", value=x.tolist(), ok=x.tolist() == [2.0, 3.0])
    for number in range(tengen.get_device_count("gpu")):
        found = tengen.device.get_cuda_device_property(number)
        say(case=f"gpu{number}", value=found._asdict())
    say(case="xpux", value=tengen.device.what_is_xpu())
    say(case="compute-sanitizer", value=find_sanitizer() or "not found")
    say(case="PyTorch with CUDA", value=torch_on_gpu() is not None)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
