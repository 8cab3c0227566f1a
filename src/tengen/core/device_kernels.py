"""Kernels of GPUs as their driver runs them. It compiles their text for the very GPU, which takes longer than all before, so what it
makes is kept on disk beside the text, for this GPU's kind and this driver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from threading import Thread
from typing import TYPE_CHECKING

from .. import _rt
from ..compiler import backend
from ..compiler.backend import target

if TYPE_CHECKING:
    from ..compiler.kernels.device import DeviceKernel
    from ..compiler.kernels.target import DeviceTarget


@cache
def target_of(gpu: str) -> DeviceTarget:
    """What kernels for this GPU depend on."""
    found = _rt.device_properties(gpu)
    return target.DeviceTarget("nvidia", (found["major"], found["minor"]))


_functions: dict[tuple[str, DeviceKernel], int] = {}


def functions_on(gpu: str, kernels: Sequence[DeviceKernel]) -> Mapping[DeviceKernel, int]:
    """What launches of these kernels need on this GPU. Raises RuntimeError if the driver refuses one of them."""
    missing = [kernel for kernel in dict.fromkeys(kernels) if (gpu, kernel) not in _functions]
    kept = {kernel: backend.cache.read(_entry(gpu, kernel)) for kernel in missing}
    for kernel, code in kept.items():
        if code is not None:
            try:
                _functions[gpu, kernel] = _rt.load_kernel(gpu, code, kernel.name)
            except RuntimeError:  # made by another driver of the same version
                kept[kernel] = None
    _assemble(gpu, [kernel for kernel, code in kept.items() if code is None])
    return {kernel: _functions[gpu, kernel] for kernel in kernels}


def _assemble(gpu: str, kernels: Sequence[DeviceKernel]) -> None:
    """Have the driver compile kernels, on all cores."""
    waiting, cores = iter(kernels), backend.threads() if backend.threads else 1
    failures: list[BaseException] = []
    others = [Thread(target=_work, args=(gpu, waiting, failures)) for _ in range(min(cores, len(kernels)) - 1)]
    for thread in others:
        thread.start()
    _work(gpu, waiting, failures)
    for thread in others:
        thread.join()
    if failures:
        raise failures[0]


def _work(gpu: str, waiting: Iterator[DeviceKernel], failures: list[BaseException]) -> None:
    try:
        for kernel in waiting:
            _functions[gpu, kernel] = _compiled(gpu, kernel)
    except BaseException as error:
        failures.append(error)


def _compiled(gpu: str, kernel: DeviceKernel) -> int:
    try:
        code = _rt.assemble_kernel(gpu, kernel.ptx)
        function = _rt.load_kernel(gpu, code, kernel.name)
    except RuntimeError:  # what is wrong with a text is said best where it is loaded
        return _rt.load_kernel(gpu, kernel.ptx, kernel.name)
    backend.cache.write(_entry(gpu, kernel), code)
    return function


def _entry(gpu: str, kernel: DeviceKernel) -> str:
    """Where the kernel is kept as this GPU's driver made it."""
    return backend.cache.entry_name(f"driver {_rt.driver_version()} {kernel.ptx}", target_of(gpu), "")
