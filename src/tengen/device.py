"""Devices: which there are, which is the default, and what memory is in use."""

from __future__ import annotations

import os
from typing import NamedTuple

from . import _rt
from .base import config
from .base.device import Device, get_default_device, gpu_count, require, set_default_device
from .base.errors import DeviceError

__all__ = [
    "coalesce_free_memory",
    "get_allocated_memory",
    "get_cuda_compute_capability",
    "get_cuda_device_property",
    "get_cuda_driver_version",
    "get_cuda_version",
    "get_cudnn_version",
    "get_default_device",
    "get_device_count",
    "get_max_allocated_memory",
    "get_max_reserved_memory",
    "get_mem_status_bytes",
    "get_reserved_memory",
    "get_tensorrt_version",
    "is_atlas_available",
    "is_cambricon_available",
    "is_cuda_available",
    "is_rocm_available",
    "reset_max_memory_stats",
    "set_default_device",
    "set_prealloc_config",
    "synchronize",
    "what_is_xpu",
]


def get_device_count(device_type: str) -> int:
    """How many devices this process can use of "cpu" (cores), "gpu", "rocm", or "xpu" (GPUs, or cores without one)."""
    kinds = ("cpu", "gpu", "rocm", "xpu")
    if device_type not in kinds:
        raise ValueError(f"a kind of device must be one of {', '.join(kinds)}, got {device_type!r}")
    kind = what_is_xpu() if device_type == "xpu" else device_type
    if kind == "cpu":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return gpu_count() if kind == "gpu" else 0


def what_is_xpu() -> str:
    """The kind of device behind "xpux": "cpu" or "gpu"."""
    return "gpu" if config.get("xpu") == "gpu" and gpu_count() else "cpu"


def is_cuda_available() -> bool:
    """Whether there is an NVIDIA GPU that tengen can use."""
    return gpu_count() > 0


def is_rocm_available() -> bool:
    """Whether there is an AMD GPU that tengen can use: it supports none."""
    return False


def is_cambricon_available() -> bool:
    """Whether there is a Cambricon device that tengen can use: it supports none."""
    return False


def is_atlas_available() -> bool:
    """Whether there is an Atlas device that tengen can use: it supports none."""
    return False


class CudaDeviceProperty(NamedTuple):
    """What a GPU is: its name, its compute capability `major.minor`, bytes of memory, and multiprocessors."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int


def get_cuda_compute_capability(device: int) -> int:
    """The compute capability of a GPU, 86 for 8.6. Raises DeviceError if it does not exist."""
    found = get_cuda_device_property(device)
    return 10 * found.major + found.minor


def get_cuda_device_property(device: int) -> CudaDeviceProperty:
    """Name, memory and so on of a GPU. Raises DeviceError if it does not exist."""
    if not isinstance(device, int) or not 0 <= device < gpu_count():
        raise DeviceError(f"there is no GPU {device}: tengen can use {gpu_count()} here")
    found = _rt.device_properties(f"gpu{device}")
    return CudaDeviceProperty(
        found["name"], found["major"], found["minor"], found["total_memory"], found["multi_processor_count"]
    )


def get_cuda_version() -> int:
    """The version of CUDA that tengen uses, 12040 for 12.4; 0: none. It is the driver's, as tengen needs nothing else."""
    return _rt.driver_version()


def get_cuda_driver_version() -> int:
    """The version of CUDA that the driver supports, 12040 for 12.4; 0: there is no driver."""
    return _rt.driver_version()


def get_cudnn_version() -> int:
    """The version of cuDNN that tengen uses; 0: none."""
    return 0


def get_tensorrt_version() -> int:
    """The version of TensorRT that tengen uses; 0: none."""
    return 0


def _memory(device: str | Device | None) -> _rt.MemoryStats:
    """The numbers of the allocator of a device; all CPUs share one. Raises DeviceError for a device that is not there."""
    return _rt.memory_stats(require(device).physical)


def get_allocated_memory(device: str | Device | None = None) -> int:
    """Bytes that tensors on `device` (or the default) occupy."""
    return _memory(device)["live"]


def get_max_allocated_memory(device: str | Device | None = None) -> int:
    """The most bytes that tensors occupied since `reset_max_memory_stats`."""
    return _memory(device)["peak"]


def get_reserved_memory(device: str | Device | None = None) -> int:
    """Bytes obtained from the system: for tensors, and kept for the next ones."""
    return _memory(device)["reserved"]


def get_max_reserved_memory(device: str | Device | None = None) -> int:
    """The most bytes obtained from the system: as many as now, unless `coalesce_free_memory` gave some back."""
    return max(get_reserved_memory(device), get_max_allocated_memory(device))


def reset_max_memory_stats(device: str | Device | None = None) -> None:
    """Let the maxima start again from what is in use now."""
    _rt.reset_peak(require(device).physical)


def coalesce_free_memory() -> None:
    """Give memory that is kept for the next tensors back to the system, and to the drivers of GPUs."""
    _rt.release_cached()


def get_mem_status_bytes(device: str | Device | None = None) -> tuple[int, int]:
    """(all, free) bytes of memory of a GPU, or of the machine that a CPU is in."""
    place = require(device)
    if place.memory != "cpu":
        return _rt.device_memory(place.physical)
    page = os.sysconf("SC_PAGE_SIZE")
    return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")


def synchronize(device: str | Device | None = None) -> None:
    """Wait until `device` (or the default) has done all that it was given. Raises what has failed there meanwhile.

    On a CPU an operation has ended when its call returns.
    """
    _rt.synchronize(require(device).physical)


def set_prealloc_config(
    alignment: int = 1, min_req: int = 32 * 1024 * 1024, max_overhead: int = 0, growth_factor: float = 2.0
) -> None:
    """Checked, but without effect: this tuned how memory of a GPU is set aside."""
    if alignment < 1 or min_req < 0 or max_overhead < 0 or growth_factor < 1:
        raise ValueError(
            "alignment must be at least 1, min_req and max_overhead at least 0, growth_factor at least 1; got "
            f"{alignment}, {min_req}, {max_overhead}, {growth_factor}"
        )
