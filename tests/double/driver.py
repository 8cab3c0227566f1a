"""The driver's functions for the double's own tests, with as little as possible around them."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import addressof, byref, c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p
from typing import Any

import numpy as np

from .library import double


class CudaError(RuntimeError):
    """A call failed. `code` is the driver's."""

    def __init__(self, function: str, code: int):
        name = c_char_p()
        double().driver.cuGetErrorName(code, byref(name))
        super().__init__(f"{function}: {(name.value or b'?').decode()}")
        self.code = code


def cu(function: str, *args: Any) -> None:
    code = getattr(double().driver, function)(*args)
    if code:
        raise CudaError(function, code)


def made(function: str, *args: Any) -> c_void_p:
    """The handle that a function of the driver gives in its first argument."""
    handle = c_void_p()
    cu(function, byref(handle), *args)
    return handle


class Device:
    """A device, made current, and a stream that does not wait for the legacy stream."""

    def __init__(self, number: int = 0):
        cu("cuInit", 0)
        device = c_int()
        cu("cuDeviceGet", byref(device), number)
        self.context = made("cuDevicePrimaryCtxRetain", device)
        self.use()
        self.stream = made("cuStreamCreate", 1)

    def use(self) -> None:
        cu("cuCtxSetCurrent", self.context)

    def close(self) -> None:
        cu("cuStreamDestroy_v2", self.stream)

    def alloc(self, size: int) -> int:
        address = c_uint64()
        cu("cuMemAlloc_v2", byref(address), c_size_t(size))
        return address.value

    def free(self, address: int) -> None:
        cu("cuMemFree_v2", c_uint64(address))

    def up(self, address: int, array: np.ndarray) -> None:
        cu("cuMemcpyHtoDAsync_v2", c_uint64(address), pointer(array), c_size_t(array.nbytes), self.stream)

    def down(self, array: np.ndarray, address: int) -> None:
        cu("cuMemcpyDtoHAsync_v2", pointer(array), c_uint64(address), c_size_t(array.nbytes), self.stream)

    def put(self, array: np.ndarray) -> int:
        """Memory with the content of an array, which has arrived."""
        address = self.alloc(array.nbytes)
        self.up(address, array)
        self.wait()
        return address

    def get(self, address: int, shape: int | tuple[int, ...], dtype: str = "float32") -> np.ndarray:
        array = np.zeros(shape, dtype)
        self.down(array, address)
        self.wait()
        return array

    def wait(self) -> None:
        cu("cuStreamSynchronize", self.stream)

    def function(self, ptx: str, name: str = "kernel") -> c_void_p:
        return made("cuModuleGetFunction", made("cuModuleLoadData", ptx.encode()), name.encode())

    def launch(
        self,
        function: c_void_p,
        block: int | tuple[int, int, int],
        buffers: Sequence[int],
        params: Sequence[int] = (),
        grid: int | tuple[int, int, int] = 1,
        shared: int = 0,
    ) -> None:
        """A kernel that takes addresses and numbers, each group as one parameter."""
        first, second = (c_uint64 * max(len(buffers), 1))(*buffers), (c_int64 * max(len(params), 1))(*params)
        both = (c_void_p * 2)(addressof(first), addressof(second))
        sizes = [(x, 1, 1) if isinstance(x, int) else x for x in (grid, block)]
        cu("cuLaunchKernel", function, *sizes[0], *sizes[1], shared, self.stream, both, None)


def pointer(array: np.ndarray) -> c_void_p:
    return array.ctypes.data_as(c_void_p)


def ptx(
    body: str, registers: str = "", buffers: int = 2, params: int = 1, outside: str = "", from_memory: bool = False
) -> str:
    """A module with one `kernel`: `buffers` addresses in %b0, %b1, …, `params` numbers in %n0, %n1, …; registers
    %r<20> (32 bits), %d<20> (64 bits), %f<20> (float), %p<10> (predicates) are declared. from_memory: it is given where
    addresses and numbers are."""
    counts = {"buffers": buffers, "params": params}
    sizes = {name: 8 if from_memory else 8 * max(count, 1) for name, count in counts.items()}
    loads = []
    for name, count in counts.items():
        start = name
        if from_memory:
            start = f"%{name}"
            loads += [f".reg .b64 {start};", f"ld.param.u64 {start}, [{name}];"]
        kind = "global" if from_memory else "param"
        loads += [f"ld.{kind}.u64 %{name[0].replace('p', 'n')}{i}, [{start}+{8 * i}];" for i in range(count)]
    return "\n".join(
        [
            f".version 8.0\n.target sm_90\n.address_size 64\n{outside}",
            f".visible .entry kernel(.param .align 8 .b8 buffers[{sizes['buffers']}],",
            f"    .param .align 8 .b8 params[{sizes['params']}]) .maxntid 1024 {{",
            ".reg .b32 %r<20>; .reg .b64 %d<20>; .reg .f32 %f<20>; .reg .pred %p<10>;",
            f".reg .b64 %b<{buffers + 1}>; .reg .b64 %n<{params + 1}>; {registers}",
            *loads,
            body,
            "ret; }",
        ]
    )
