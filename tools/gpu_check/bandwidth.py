"""Bytes that maps and reductions of rows read and write in a second, next to those of a copy by the driver."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tengen.functional as F
from tengen.jit import trace

from .measure import begin, seconds, values, wait
from .table import Options, Say

MAPS, ROWS = 0.85, 0.70  # of a copy
BYTES = {"float32": 4, "bfloat16": 2}


class Case(NamedTuple):
    """What to call with a tensor. passes: how often the tensor's bytes are read and written, at least. least: of a copy."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    call: Callable[[Any], Any]
    passes: float
    least: float


def cases(small: bool) -> Iterator[Case]:
    count = 1 << (12 if small else 28)
    for dtype in BYTES:
        yield Case("add of a number", (count,), dtype, lambda x: x + 1, 2, MAPS)
        yield Case("add", (count,), dtype, lambda x: x + x, 2, MAPS)
        yield Case("gelu", (count,), dtype, F.gelu, 2, MAPS)
    yield Case("cast to bfloat16", (count,), "float32", lambda x: x.astype("bfloat16"), 1.5, MAPS)
    shapes = [(16, 64)] if small else [(65536, 1024), (4096, 32768), (128, 1 << 20)]
    for shape in shapes:
        for dtype in BYTES:
            yield Case("sum of rows", shape, dtype, lambda x: F.sum(x, 1), 1, ROWS)
            yield Case("softmax", shape, dtype, lambda x: F.softmax(x, 1), 2, ROWS)
            yield Case("layer_norm", shape, dtype, lambda x: F.layer_norm(x, x.shape[1:], False), 2, ROWS)
        yield Case("sum of columns", shape, "float32", lambda x: F.sum(x, 0), 1, ROWS)


def copied(small: bool) -> float:
    """Bytes a second, read and written, of a copy on the device by the driver."""
    driver = ctypes.CDLL(os.environ.get("TENGEN_CUDA_LIBRARY") or "libcuda.so.1")
    size = 1 << (14 if small else 30)
    x, y = (values((size // 4,)) for _ in range(2))
    wait()

    def copy() -> None:
        to, source = (ctypes.c_uint64(t._data_ptr()) for t in (y, x))
        code = driver.cuMemcpyDtoDAsync_v2(to, source, ctypes.c_size_t(size), None)
        assert code == 0, f"cuMemcpyDtoDAsync gave {code}"

    def end() -> None:
        assert driver.cuCtxSynchronize() == 0

    return 2 * size / seconds(copy, end, small)


def bandwidth(options: Options, say: Say) -> None:
    """The bandwidth of a copy, and the share of it that each case has."""
    begin()
    most = copied(options.small)
    say(case="copy", value=most / 1e12, unit="TB/s")
    for case in cases(options.small):
        x, call = values(case.shape, case.dtype), trace(case.call, without_host=True)
        moved = case.passes * x.size * BYTES[case.dtype]
        speed = moved / seconds(lambda x=x, call=call: call(x), wait, options.small)
        name = f"{case.name} {case.dtype} {'x'.join(map(str, case.shape))}"
        say(
            case=name,
            value=speed / 1e12,
            unit="TB/s",
            share=speed / most,
            **options.judged(speed / most, least=case.least),
        )
