"""Graphs on the double: what is captured runs later and again; what may not be captured is refused."""

from __future__ import annotations

from ctypes import byref, c_int, c_size_t, c_uint64

import numpy as np
import pytest

from .driver import CudaError, Device, cu, made, pointer, ptx
from .library import double

UNSUPPORTED, INVALIDATED, MERGE, UNMATCHED, UNJOINED, CAPTURED_EVENT = 900, 901, 902, 903, 904, 907
# buffer 1 [i] = buffer 0 [i] * number
TIMES = ptx("""
mov.u32 %r0, %tid.x; mul.wide.u32 %d1, %r0, 4; add.s64 %d0, %b0, %d1; add.s64 %d2, %b1, %d1;
ld.global.f32 %f0, [%d0]; cvt.rn.f32.s64 %f1, %n0; mul.f32 %f0, %f0, %f1; st.global.f32 [%d2], %f0;
""")


def code_of(function, *args) -> int:
    return getattr(double().driver, function)(*args)


def begin(device) -> None:
    cu("cuStreamBeginCapture_v2", device.stream, 0)


def end(device):
    """The executable graph of what was captured."""
    graph = made_by_capture(device)
    executable = made("cuGraphInstantiateWithFlags", graph, c_uint64(0))
    cu("cuGraphDestroy", graph)
    return executable


def made_by_capture(device):
    from ctypes import c_void_p

    graph = c_void_p()
    cu("cuStreamEndCapture", device.stream, byref(graph))
    return graph


def test_a_graph_does_again_what_was_captured(device):
    f, x, y = device.function(TIMES), np.arange(8, dtype="float32"), np.zeros(8, "float32")
    a, b = device.alloc(32), device.alloc(32)
    graphs = double().count("graphs")
    begin(device)
    device.up(a, x)
    device.launch(f, 8, [a, b], [3])
    device.launch(f, 8, [b, b], [2])
    device.down(y, b)
    status = c_int()
    cu("cuStreamIsCapturing", device.stream, byref(status))
    assert status.value == 1
    executable = end(device)
    device.wait()
    assert y.tolist() == [0] * 8  # capturing is not running
    for first in (0, 5):
        x[:] = np.arange(first, first + 8)
        cu("cuGraphLaunch", executable, device.stream)
        assert y.view(np.uint8).tolist() == [0x5A] * 32
        device.wait()
        assert y.tolist() == (6 * x).tolist()
    cu("cuGraphExecDestroy", executable)
    assert double().count("graphs") == graphs
    assert code_of("cuGraphLaunch", executable, device.stream) == 1


def test_arguments_are_those_of_the_capture(device):
    """What a later launch of the function gets is no concern of the graph."""
    f, a, b = device.function(TIMES), device.put(np.ones(8, "float32")), device.alloc(32)
    begin(device)
    device.launch(f, 8, [a, b], [3])
    executable = end(device)
    device.launch(f, 8, [a, b], [7])
    cu("cuGraphLaunch", executable, device.stream)
    assert device.get(b, 8).tolist() == [3] * 8


def test_another_stream_joins_the_capture(device):
    other, f = Device(), device.function(TIMES)
    a, b, c = device.put(np.ones(8, "float32")), device.alloc(32), device.alloc(32)
    fork, join = made("cuEventCreate", 2), made("cuEventCreate", 2)
    begin(device)
    device.launch(f, 8, [a, b], [3])
    cu("cuEventRecord", fork, device.stream)
    cu("cuStreamWaitEvent", other.stream, fork, 0)
    other.launch(f, 8, [b, c], [2])
    cu("cuEventRecord", join, other.stream)
    cu("cuStreamWaitEvent", device.stream, join, 0)
    executable = end(device)
    other.wait()
    cu("cuGraphLaunch", executable, device.stream)
    assert device.get(c, 8).tolist() == [6] * 8
    assert code_of("cuEventSynchronize", fork) == CAPTURED_EVENT
    other.close()


@pytest.mark.parametrize("late", [False, True])
def test_events_order_the_streams_of_a_graph(device, late):
    """The other stream must wait for the kernel whose result it reads: an event that is recorded too early is a fault."""
    other, f = Device(), device.function(TIMES)
    a, b, c = device.put(np.ones(8, "float32")), device.put(np.zeros(8, "float32")), device.alloc(32)
    fork, join = made("cuEventCreate", 2), made("cuEventCreate", 2)
    begin(device)
    if not late:
        cu("cuEventRecord", fork, device.stream)
    device.launch(f, 8, [a, b], [3])
    if late:
        cu("cuEventRecord", fork, device.stream)
    cu("cuStreamWaitEvent", other.stream, fork, 0)
    other.launch(f, 8, [b, c], [2])
    cu("cuEventRecord", join, other.stream)
    cu("cuStreamWaitEvent", device.stream, join, 0)
    executable = end(device)
    with double().others_first():
        for _ in range(2):
            cu("cuMemsetD8Async", c_uint64(b), 0, c_size_t(32), device.stream)
            cu("cuGraphLaunch", executable, device.stream)
        assert device.get(c, 8).tolist() == [6 if late else 0] * 8
    other.close()


def test_who_joined_must_come_back(device):
    other, f, a = Device(), device.function(TIMES), device.put(np.ones(8, "float32"))
    fork = made("cuEventCreate", 2)
    begin(device)
    cu("cuEventRecord", fork, device.stream)
    cu("cuStreamWaitEvent", other.stream, fork, 0)
    other.launch(f, 8, [a, a], [2])
    with pytest.raises(CudaError, match="UNJOINED"):
        made_by_capture(device)
    other.wait()
    other.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda d: cu("cuStreamSynchronize", d.stream),
        lambda d: cu("cuStreamQuery", d.stream),
        lambda d: cu("cuCtxSynchronize"),
        lambda d: d.alloc(8),
        lambda d: d.free(d.kept),
        lambda d: cu("cuMemcpyDtoH_v2", pointer(np.zeros(2, "float32")), c_uint64(d.kept), c_size_t(8)),
    ],
)
def test_what_may_not_be_captured_breaks_the_capture(device, call):
    device.kept = device.alloc(8)
    begin(device)
    with pytest.raises(CudaError, match="CAPTURE_UNSUPPORTED"):
        call(device)
    with pytest.raises(CudaError, match="CAPTURE_INVALIDATED"):
        made_by_capture(device)
    device.free(device.kept)  # all is well again


def test_a_graph_uses_memory_that_was_freed(faulty):
    f, a = faulty.function(TIMES), faulty.alloc(32)
    begin(faulty)
    faulty.launch(f, 8, [a, a], [3])
    executable = end(faulty)
    faulty.free(a)
    cu("cuGraphLaunch", executable, faulty.stream)
    with pytest.raises(CudaError, match="ILLEGAL_ADDRESS"):
        faulty.wait()
    assert "freed allocation of 32 bytes" in double().problems()[0]
