"""A GPU that is not there: kernels and Plans run on the test double of its driver, from their PTX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np
from double.driver import Device, cu
from double.library import double

from tengen.compiler.kernels.device import DeviceGrid, DeviceKernel
from tengen.compiler.kernels.target import DeviceTarget

GPU = DeviceTarget("nvidia", (9, 0))
FREE_SHARED = 48 << 10  # more than that a kernel must ask for, by
DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


@cache
def device() -> Device:
    return Device()


@contextmanager
def uploaded(arrays: Sequence[np.ndarray]) -> Iterator[list[int]]:
    """The addresses of contiguous arrays on the device. What is there in the end comes back, and nothing went wrong: no
    access out of bounds, no race."""
    gpu = device()
    held = [gpu.put(array) if array.size else gpu.alloc(8) for array in arrays]
    try:
        yield held
        for array, address in zip(arrays, held, strict=True):
            gpu.down(array, address)
        gpu.wait()
    finally:
        problems = double().problems()
        double().forget()  # also that the device has failed
        for address in held:
            gpu.free(address)
        assert not problems, "\n".join(problems)


def launch(kernel: DeviceKernel, grid: DeviceGrid, addresses: Sequence[int]) -> None:
    """Run a kernel on memory of the device, when somebody waits for it."""
    if grid.grid[0]:
        gpu = device()
        function = gpu.function(kernel.ptx, kernel.name)
        if grid.shared > FREE_SHARED:
            cu("cuFuncSetAttribute", function, DYNAMIC_SHARED, grid.shared)
        if grid.from_memory(len(addresses)):
            arrays = [gpu.put(np.array(words, np.int64)) for words in (addresses, grid.params)]
            gpu.launch(function, grid.block, arrays[:1], arrays[1:], grid.grid, grid.shared)
            gpu.wait()
            for array in arrays:
                gpu.free(array)
        else:
            gpu.launch(function, grid.block, addresses, grid.params, grid.grid, grid.shared)
