"""The driver's functions as a runtime uses them, and that each fault of a runtime is found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint64, c_void_p, create_string_buffer
from pathlib import Path

import numpy as np
import pytest

from .driver import CudaError, Device, cu, made, pointer, ptx
from .library import double

TESTS = Path(__file__).resolve().parent.parent
OUT_OF_MEMORY, NOT_READY, ILLEGAL_ADDRESS, LAUNCH_FAILED = 2, 600, 700, 719
# buffer 1 [i] = buffer 0 [i] + number
ADD = ptx("""
mov.u32 %r0, %tid.x; mul.wide.u32 %d1, %r0, 4; add.s64 %d0, %b0, %d1; add.s64 %d2, %b1, %d1;
ld.global.f32 %f0, [%d0]; cvt.rn.f32.s64 %f1, %n0; add.f32 %f0, %f0, %f1; st.global.f32 [%d2], %f0;
""")


def code_of(function, *args) -> int:
    return getattr(double().driver, function)(*args)


def script(body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program with the double in a process of its own."""
    start = "from double.driver import *\nfrom double.library import double\nfrom ctypes import *\n"
    environment = {**os.environ, "PYTHONPATH": str(TESTS), **environment}
    command = [sys.executable, "-c", start + textwrap.dedent(body)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


# -- waiting -----------------------------------------------------------------------------------------------------------------


def test_nothing_runs_until_somebody_waits(device):
    x, y = np.arange(8, dtype="float32"), np.zeros(8, "float32")
    a, b = device.alloc(32), device.alloc(32)
    before = double().count("operations")
    device.up(a, x)
    device.launch(device.function(ADD), 8, [a, b], [5])
    device.down(y, b)
    assert double().count("operations") == before
    assert y.view(np.uint8).tolist() == [0x5A] * 32  # not what was there, and not the result
    device.wait()
    assert y.tolist() == (x + 5).tolist()


def test_new_memory_is_poisoned(device):
    assert set(device.get(device.alloc(100), 100, "uint8")) == {0xA5}


def test_streams_wait_for_events_only(device):
    other = Device()
    a, y = device.alloc(32), np.zeros(8, "float32")
    device.up(a, np.arange(8, dtype="float32"))
    other.down(y, a)  # a fault of the program: nothing orders the two
    other.wait()
    assert y.view(np.uint8).tolist() == [0xA5] * 32
    event = made("cuEventCreate", 2)
    cu("cuEventRecord", event, device.stream)
    cu("cuStreamWaitEvent", other.stream, event, 0)
    other.down(y, a)
    other.wait()
    assert y.tolist() == list(range(8))
    cu("cuEventDestroy_v2", event)
    other.close()


def test_the_other_streams_may_be_quick_too(device):
    """One stream reads what the other overwrites, a fault of the program: hidden as long as the other is slow."""
    other, f, x = Device(), device.function(ADD), np.arange(8, dtype="float32")
    a, b = device.put(x), device.alloc(32)

    def read_while_overwritten() -> list[float]:
        device.launch(f, 8, [a, b], [1])
        cu("cuMemsetD8Async", c_uint64(a), 0, c_size_t(32), other.stream)
        got = device.get(b, 8)
        other.wait()
        return got.tolist()

    assert read_while_overwritten() == (x + 1).tolist()
    device.up(a, x)
    device.wait()
    with double().others_first():
        assert read_while_overwritten() == [1] * 8
    other.close()


def test_an_event_is_what_was_recorded_last(device):
    event = made("cuEventCreate", 0)
    assert code_of("cuEventQuery", event) == 0  # never recorded
    a, x = device.alloc(32), np.arange(8, dtype="float32")
    cu("cuEventRecord", event, device.stream)
    device.up(a, x)
    cu("cuEventRecord", event, device.stream)
    device.up(a, x)
    copies = double().count("copies")
    cu("cuEventSynchronize", event)
    assert double().count("copies") == copies + 1
    later, elapsed = made("cuEventCreate", 0), c_float()
    cu("cuEventRecord", later, device.stream)
    assert code_of("cuEventElapsedTime", byref(elapsed), event, later) == NOT_READY
    device.wait()
    cu("cuEventElapsedTime", byref(elapsed), event, later)
    assert elapsed.value > 0


def test_who_asks_often_enough_gets_an_answer(device):
    event, a, x = made("cuEventCreate", 2), device.alloc(32), np.arange(8, dtype="float32")
    for _ in range(3):
        device.up(a, x)
    cu("cuEventRecord", event, device.stream)
    answers = [code_of("cuEventQuery", event) for _ in range(5)]
    assert answers == [NOT_READY] * 4 + [0]
    device.up(a, x)
    assert [code_of("cuStreamQuery", device.stream) for _ in range(2)] == [NOT_READY, 0]


def test_a_fast_device(device):
    event, a, x, y = made("cuEventCreate", 2), device.alloc(32), np.arange(8, dtype="float32"), np.zeros(8, "float32")
    device.up(a, x)
    device.down(y, a)
    cu("cuEventRecord", event, device.stream)
    waits = double().count("waits")
    double().run(0)
    assert code_of("cuEventQuery", event) == 0 and double().count("waits") == waits
    np.testing.assert_array_equal(x, y)


def test_the_legacy_stream_waits_for_blocking_streams_alone(device):
    blocking, a, y = made("cuStreamCreate", 0), device.alloc(32), np.zeros(8, "float32")
    x = np.arange(8, dtype="float32")
    for stream, arrives in ((device.stream, False), (blocking, True)):
        cu("cuMemcpyHtoDAsync_v2", c_uint64(a), pointer(x), c_size_t(32), stream)
        cu("cuMemcpyDtoH_v2", pointer(y), c_uint64(a), c_size_t(32))
        assert (y.tolist() == x.tolist()) is arrives
    device.wait()
    cu("cuStreamDestroy_v2", blocking)


def test_a_destroyed_stream_does_what_it_was_asked(device):
    other, a, x = Device(), device.alloc(32), np.arange(8, dtype="float32")
    other.up(a, x)
    other.close()
    assert code_of("cuStreamSynchronize", other.stream) == 400
    cu("cuCtxSynchronize")
    assert device.get(a, 8).tolist() == x.tolist()


def test_memory_can_be_filled(device):
    a = device.alloc(32)
    cu("cuMemsetD32Async", c_uint64(a), 0x01020304, c_size_t(8), device.stream)
    cu("cuMemsetD8Async", c_uint64(a + 4), 7, c_size_t(3), device.stream)
    cu("cuMemsetD16Async", c_uint64(a + 8), 0x0506, c_size_t(1), device.stream)
    assert device.get(a, 12, "uint8").tolist() == [4, 3, 2, 1, 7, 7, 7, 1, 6, 5, 2, 1]


def test_copies_may_follow_each_other_through_memory_of_the_host(device):
    """Out of an array, into it, and out again, in one stream, without waiting."""
    x, a, b = np.arange(8, dtype="float32"), device.put(np.ones(8, "float32")), device.alloc(32)
    device.up(b, x)
    device.down(x, a)
    device.up(a, x)
    device.wait()
    assert device.get(b, 8).tolist() == list(range(8)) and device.get(a, 8).tolist() == [1] * 8


# -- faults of a runtime -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("touch", ["string_at(a, 4)", "memset(a, 0, 4)"])
def test_the_host_cannot_touch_device_memory(touch):
    body = f"""
    import faulthandler; faulthandler.disable()
    d = Device(); a = d.alloc(64)
    d.launch(d.function(ptx('')), 1, [a, a], [1])
    {touch}
    """
    done = script(body)
    assert done.returncode == -signal.SIGSEGV
    assert "the host touches 0x" in done.stderr and "0 bytes into an allocation of 64 bytes of device 0" in done.stderr


def test_a_process_can_be_ended_by_the_signal_of_a_fault():
    done = script("import os, signal; Device(); os.kill(os.getpid(), signal.SIGSEGV); print('alive')")
    assert done.returncode == -signal.SIGSEGV and not done.stdout


def test_the_host_may_not_change_what_a_copy_reads(faulty):
    x = np.arange(8, dtype="float32")
    faulty.up(faulty.alloc(32), x)
    x[3] = 0
    faulty.wait()
    (problem,) = double().problems()
    assert "32 bytes of the host" in problem and "changed after the call" in problem


def test_a_copy_from_freed_pinned_memory(faulty):
    a, host = faulty.alloc(4096), c_void_p()
    cu("cuMemHostAlloc", byref(host), c_size_t(4096), 0)
    cu("cuMemcpyHtoDAsync_v2", c_uint64(a), host, c_size_t(4096), faulty.stream)
    cu("cuMemFreeHost", host)
    assert code_of("cuStreamSynchronize", faulty.stream) == ILLEGAL_ADDRESS
    assert "was freed before the copy had run" in double().problems()[0]


def test_a_copy_from_unmapped_memory():
    done = script("""
    import mmap
    d = Device(); a = d.alloc(1 << 20); m = mmap.mmap(-1, 1 << 20)
    view = (c_char * (1 << 20)).from_buffer(m)
    cu("cuMemcpyHtoDAsync_v2", c_uint64(a), byref(view), c_size_t(1 << 20), d.stream)
    del view
    m.close()
    print(double().driver.cuStreamSynchronize(d.stream), double().problems())
    """)
    assert done.stdout.startswith("700 ['cuMemcpyHtoDAsync_v2: its source, memory of the host, was freed"), done.stderr


def test_the_host_cannot_read_pinned_memory_that_it_freed():
    body = """
    import faulthandler; faulthandler.disable()
    d = Device(); p = c_void_p(); cu("cuMemHostAlloc", byref(p), c_size_t(64), 0); cu("cuMemFreeHost", p)
    string_at(p.value, 4)
    """
    done = script(body)
    assert done.returncode == -signal.SIGSEGV and "freed allocation of 64 bytes of pinned memory" in done.stderr


def test_a_kernel_uses_memory_after_it_was_freed(faulty):
    a, b = faulty.alloc(32), faulty.alloc(32)
    f = faulty.function(ADD)
    faulty.free(a)
    faulty.launch(f, 8, [a, b], [1])
    assert code_of("cuStreamSynchronize", faulty.stream) == ILLEGAL_ADDRESS
    assert "0 bytes into a freed allocation of 32 bytes of device 0" in double().problems()[0]


def test_memory_is_freed_in_the_order_of_its_stream(faulty):
    address, y = c_uint64(), np.zeros(8, "float32")
    cu("cuMemAllocAsync", byref(address), c_size_t(32), faulty.stream)
    used = double().used_memory(0)
    faulty.up(address.value, np.ones(8, "float32"))
    faulty.down(y, address.value)
    cu("cuMemFreeAsync", address, faulty.stream)
    assert double().used_memory(0) == used
    faulty.wait()
    assert double().used_memory(0) < used and y.tolist() == [1] * 8 and not double().problems()
    assert code_of("cuMemcpyDtoHAsync_v2", pointer(y), address, c_size_t(32), faulty.stream) == 1
    assert "freed allocation" in double().problems()[0]


def test_addresses_are_not_used_twice(device):
    seen = set()
    for _ in range(5):
        a = device.alloc(100)
        device.free(a)
        seen.add(a)
    assert len(seen) == 5


@pytest.mark.parametrize("twice", [True, False])
def test_what_is_not_allocated_cannot_be_freed(faulty, twice):
    a = faulty.alloc(100)
    if twice:
        faulty.free(a)
    assert code_of("cuMemFree_v2", c_uint64(a if twice else a + 4)) == 1
    assert "cuMemFree_v2 of 0x" in double().problems()[0]


def test_copies_know_which_side_is_which(faulty):
    x, a = np.zeros(8, "float32"), faulty.alloc(32)
    here, there, size = pointer(x), c_uint64(a), c_size_t(32)
    assert code_of("cuMemcpyHtoDAsync_v2", there, c_void_p(a), size, faulty.stream) == 1
    assert code_of("cuMemcpyDtoHAsync_v2", here, c_uint64(x.ctypes.data), size, faulty.stream) == 1
    assert code_of("cuMemcpyHtoDAsync_v2", there, here, c_size_t(33), faulty.stream) == 1
    assert len(double().problems()) == 3
    double().forget()
    cu("cuMemcpyAsync", there, here, size, faulty.stream)
    cu("cuMemcpyAsync", here, there, size, faulty.stream)
    faulty.wait()
    assert not double().problems()


def test_handles_are_of_no_use_after_their_end(device):
    event, module = made("cuEventCreate", 0), made("cuModuleLoadData", ADD.encode())
    f = made("cuModuleGetFunction", module, b"kernel")
    cu("cuEventDestroy_v2", event)
    cu("cuModuleUnload", module)
    assert code_of("cuEventRecord", event, device.stream) == 400
    with pytest.raises(CudaError, match="INVALID_HANDLE"):
        device.launch(f, 8, [0, 0], [0])
    assert code_of("cuModuleGetFunction", byref(c_void_p()), made("cuModuleLoadData", ADD.encode()), b"no") == 500


def test_small_allocations_give_their_pages_back(device):
    """In a process that makes and frees many of them."""
    import resource

    kept = [device.alloc(600) for _ in range(50)]
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20000):
        device.free(device.alloc(600))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start < 8000  # KiB; the allocations are 20 MiB apart
    assert all(set(device.get(a, 600, "uint8")) == {0xA5} for a in kept[::10])


# -- two devices ---------------------------------------------------------------------------------------------------------------


def test_each_device_has_its_own(faulty):
    """Memory, functions and streams of one device are of no use on the other."""
    second = Device(1)
    a, f = second.alloc(32), second.function(ADD)
    faulty.use()
    b, g = faulty.alloc(32), faulty.function(ADD)
    with pytest.raises(CudaError, match="INVALID_HANDLE"):
        faulty.launch(f, 8, [b, b], [1])
    assert "function `kernel` of device 1, stream of device 0, current device 0" in double().problems()[0]
    double().forget()
    faulty.launch(g, 8, [a, b], [1])
    assert code_of("cuStreamSynchronize", faulty.stream) == ILLEGAL_ADDRESS
    assert "device 0 reads 4 bytes at 0x" in double().problems()[0] and "of device 1" in double().problems()[0]
    second.use()
    assert code_of("cuStreamSynchronize", second.stream) == 0  # the other device is well
    second.close()


def test_devices_exchange(device):
    second = Device(1)
    b, f = second.alloc(32), second.function(ADD)
    device.use()
    a = device.put(np.arange(8, dtype="float32"))
    size = c_size_t(32)
    second.use()
    cu("cuMemcpyDtoDAsync_v2", c_uint64(b), c_uint64(a), size, second.stream)
    assert second.get(b, 8).tolist() == list(range(8))
    cu("cuMemcpyPeerAsync", c_uint64(a), device.context, c_uint64(b), second.context, size, second.stream)
    second.launch(f, 8, [b, b], [1])
    cu("cuCtxEnablePeerAccess", device.context, 0)
    second.launch(f, 8, [a, b], [2])
    assert second.get(b, 8).tolist() == list(range(2, 10))
    double().driver.double_forbid_peers()
    second.close()


def test_the_current_context_belongs_to_the_thread(device):
    import threading

    found = []
    thread = threading.Thread(target=lambda: found.append(code_of("cuMemAlloc_v2", byref(c_uint64()), c_size_t(8))))
    thread.start()
    thread.join()
    assert found == [201]  # no current context
    popped, number = c_void_p(), c_int()
    cu("cuCtxPushCurrent_v2", made("cuDevicePrimaryCtxRetain", 1))
    cu("cuCtxGetDevice", byref(number))
    assert number.value == 1
    cu("cuCtxPopCurrent_v2", byref(popped))
    cu("cuDevicePrimaryCtxRelease_v2", 1)
    cu("cuCtxGetDevice", byref(number))
    assert number.value == 0


def test_what_a_device_says_of_itself(device):
    value, name = c_int(), c_char_p()
    for attribute, want in ((1, 1024), (10, 32), (16, 132), (75, 9), (76, 0), (97, 227 << 10)):
        cu("cuDeviceGetAttribute", byref(value), attribute, 0)
        assert value.value == want
    bus, text, blocks, one, two = c_int(), create_string_buffer(40), c_int(), c_uint64(), c_size_t()
    cu("cuDeviceGetAttribute", byref(bus), 33, 1)
    cu("cuDeviceGetPCIBusId", text, 40, 1)
    assert text.value == b"0000:02:00.0" and bus.value == 2
    cu("cuDeviceGetUuid_v2", text, 1)
    cu("cuDeviceGetName", text, 40, 1)
    assert text.value == b"test double 1"
    cu("cuDeviceCanAccessPeer", byref(value), 0, 1)
    assert value.value == 1
    cu("cuOccupancyMaxActiveBlocksPerMultiprocessor", byref(blocks), device.function(ADD), 256, c_size_t(100 << 10))
    assert blocks.value == 2
    a = device.alloc(100)
    cu("cuMemGetAddressRange_v2", byref(one), byref(two), c_uint64(a + 7))
    assert (one.value, two.value) == (a, 100)
    cu("cuPointerGetAttribute", byref(value), 9, c_uint64(a))
    assert value.value == 0
    cu("cuGetErrorName", ILLEGAL_ADDRESS, byref(name))
    assert name.value == b"CUDA_ERROR_ILLEGAL_ADDRESS"
    assert code_of("cuGetErrorName", 12345, byref(name)) == 1
    assert code_of("cuDeviceGet", byref(value), 2) == 101


# -- failures on demand --------------------------------------------------------------------------------------------------------


def test_memory_runs_out(faulty):
    double().fail("cuMemAlloc_v2", 3)
    faulty.alloc(8), faulty.alloc(8)
    with pytest.raises(CudaError, match="OUT_OF_MEMORY"):
        faulty.alloc(8)
    faulty.alloc(8)


def test_a_device_has_so_much_memory(device):
    used = double().used_memory(0)
    double().set_memory(0, used + 1024)
    try:
        a = device.alloc(512)
        with pytest.raises(CudaError, match="OUT_OF_MEMORY"):
            device.alloc(513)
        device.free(a)
        available, total = c_size_t(), c_size_t()
        cu("cuMemGetInfo_v2", byref(available), byref(total))
        assert (available.value, total.value) == (1024, used + 1024)
        device.free(device.alloc(1024))
    finally:
        double().set_memory(0, 8 << 30)


def test_a_launch_fails_when_it_runs_and_the_device_stays_lost(faulty):
    a, f = faulty.alloc(32), faulty.function(ADD)
    double().fail("kernel", 2, LAUNCH_FAILED)
    faulty.launch(f, 8, [a, a], [1])
    faulty.launch(f, 8, [a, a], [1])
    y = np.zeros(8, "float32")
    faulty.down(y, a)
    assert code_of("cuStreamSynchronize", faulty.stream) == LAUNCH_FAILED
    assert y.view(np.uint8).tolist() == [0x5A] * 32
    assert code_of("cuMemAlloc_v2", byref(c_uint64()), c_size_t(8)) == LAUNCH_FAILED
    assert not double().problems()  # the program did nothing wrong


def test_a_device_is_lost(faulty):
    double().lose(0, 999)
    with pytest.raises(CudaError, match="UNKNOWN"):
        faulty.alloc(8)
    with pytest.raises(CudaError, match="UNKNOWN"):
        faulty.wait()


def test_a_launch_that_no_device_accepts(faulty):
    a, f = faulty.alloc(32), faulty.function(ADD)
    for block, grid, shared in ((1025, 1, 0), (0, 1, 0), (1, 0, 0), (1, 1, (48 << 10) + 1), (1, (1, 65536, 1), 0)):
        with pytest.raises(CudaError, match="INVALID_VALUE"):
            faulty.launch(f, block, [a, a], [1], grid, shared)
    assert len(double().problems()) == 5
    cu("cuFuncSetAttribute", f, 8, 100 << 10)
    faulty.launch(f, 1, [a, a], [1], 1, 100 << 10)
    faulty.wait()


def test_a_block_for_which_there_may_be_no_registers(faulty):
    """A kernel that says nothing of its threads may need 255 registers each; 256 threads have as many."""
    text = ptx("")
    faulty.launch(faulty.function(text), 1024, [0, 0], [0])
    silent = faulty.function(text.replace(".maxntid 1024", ""))
    faulty.launch(silent, 256, [0, 0], [0])
    with pytest.raises(CudaError, match="INVALID_VALUE"):
        faulty.launch(silent, 257, [0, 0], [0])
    assert "without one, more than any kernel has registers for" in double().problems()[-1]
    faulty.wait()


def test_machines_without_a_gpu_and_children():
    done = script("print(double().driver.cuInit(0))", DOUBLE_DEVICES="0")
    assert done.stdout == "100\n", done.stderr
    done = script("""
    import os
    d = Device()
    child = os.fork()
    if child == 0:
        os._exit(double().driver.cuInit(0) + 10 * double().driver.cuStreamSynchronize(d.stream))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """)
    assert done.stdout == "33\n", done.stderr


def test_a_driver_that_lacks_a_function():
    """As an older one does. The flag gives the function another name."""
    done = script("""
    from double.library import library
    old = CDLL(library("-DcuGraphLaunch=no_cuGraphLaunch"))
    print(old.cuInit(0), hasattr(old, "cuGraphLaunch"), hasattr(old, "cuLaunchKernel"))
    """)
    assert done.stdout == "0 False True\n", done.stderr


def test_processors_without_a_switch_of_stacks_in_assembly():
    """The threads of a block by ucontext, as on processors that fibers.c does not know."""
    done = script("""
    import double.library, double.driver, numpy as np
    other = double.library.Double(double.library.library("-DDOUBLE_UCONTEXT"))
    double.library.double = double.driver.double = lambda: other
    body = "mov.u32 %r0, %tid.x; shfl.sync.idx.b32 %r1, %r0, 3, 31, -1; bar.sync 0; atom.global.add.u32 %r2, [%b0], %r1;"
    d = Device(); a = d.put(np.zeros(1, "uint32"))
    d.launch(d.function(ptx(body)), 64, [a, a], [0], grid=3)
    print(d.get(a, 1, "uint32")[0])  # 3 blocks with 32 times 3 and 32 times 35
    d.launch(d.function(ptx("mov.u32 %r0, %tid.x; setp.eq.u32 %p0, %r0, 5; @%p0 ret; bar.sync 0;")), 64, [a, a], [0])
    print(other.driver.cuStreamSynchronize(d.stream), other.problems()[0])
    """)
    assert done.stdout.startswith("3648\n719 kernel `kernel`"), done.stderr


def test_nothing_works_before_cuinit():
    done = script("print(double().driver.cuDeviceGetCount(byref(c_int())), double().driver.cuCtxSynchronize())")
    assert done.stdout == "3 3\n", done.stderr


def test_threads_of_the_host_may_call_at_once(device):
    from concurrent.futures import ThreadPoolExecutor

    def work(number: int) -> list[float]:
        own = Device()
        x = np.full(8, number, "float32")
        a, f = own.put(x), own.function(ADD)
        for _ in range(20):
            own.launch(f, 8, [a, a], [1])
        got = own.get(a, 8)
        own.close()
        return got.tolist()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(8))) == [[n + 20.0] * 8 for n in range(8)]
