"""Memory, threads, processes."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from toy_compiler import ADD, TILE, TWICE, Tensor, Toy

from tengen import _rt as rt


def test_statistics_follow_live_memory() -> None:
    before = rt.memory_stats()["live"]
    tensors = [Tensor(np.ones(n)) for n in (1, 100, 10_000, 1_000_000)]
    held = rt.memory_stats()["live"] - before
    wanted = 4 * 1_010_101
    assert wanted <= held <= 1.3 * wanted + 1000
    rt.reset_peak()
    del tensors
    after = rt.memory_stats()
    assert after["live"] == before
    assert after["peak"] - before == held
    assert after["reserved"] >= after["peak"]


def test_large_blocks_are_reused_and_given_back() -> None:
    rt.release_cached()
    base = rt.memory_stats()["reserved"]
    a = Tensor(np.ones(1 << 20))
    place, reserved = a._data_ptr(), rt.memory_stats()["reserved"]
    assert reserved > base
    del a
    assert rt.memory_stats()["reserved"] == reserved
    a = Tensor(np.ones(1 << 20))
    assert a._data_ptr() == place
    del a
    rt.release_cached()
    assert rt.memory_stats()["reserved"] == base


def test_free_neighbours_become_one_block_and_a_block_is_cut_from_what_is_free() -> None:
    rt.release_cached()
    tensors = [Tensor(np.full(1 << 20, i)) for i in range(12)]  # 4 MiB each
    kept = tensors[5]
    before = rt.memory_stats()["reserved"], rt.memory_counts()["mappings"]
    for order in ([0, 2, 1], [11, 9, 10, 8]):
        for i in order:
            tensors[i] = None
    whole = [Tensor(np.full(11 << 18, 77)), Tensor(np.full(15 << 18, 88))]  # 11 and 15 MiB
    parts = [Tensor(np.full(1 << 18, 99))]
    assert (rt.memory_stats()["reserved"], rt.memory_counts()["mappings"]) == before
    assert (kept._array() == 5).all() and (tensors[7]._array() == 7).all()
    assert (whole[0]._array() == 77).all() and (whole[1]._array() == 88).all() and (parts[0]._array() == 99).all()


@pytest.mark.parametrize("bytes", [0, 1, 63, 64, 960, 961, 1024, 1500, 65_000, 900_000, 917_441, 1 << 20, 3 << 20])
def test_blocks_are_aligned_and_apart(bytes: int) -> None:
    tensors = [Tensor(np.full(bytes, i), "uint8") for i in range(9)]
    for i, tensor in enumerate(tensors):
        assert tensor._data_ptr() % 64 == 0
        assert (tensor._array() == i).all()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("sizes", [(10, 3), (5 * TILE + 1, 9 * TILE, 7), (1, 3 * TILE, 0, 40 * TILE, 2 * TILE + 5)])
def test_joined_launches_run_each_tile_once(toy: Toy, sizes: tuple[int, ...], threads: int) -> None:
    """y += x for several y in one go: a tile that ran twice, or not at all, would show."""
    descs, count = [rt.Descriptor("float32", (n,)) for n in sizes], len(sizes)
    doubled = [toy.launch("add", (i, i, count + i), desc) for i, desc in enumerate(descs)]
    more = [toy.launch("add", (count + i, i, count + i), desc, joined=i > 0) for i, desc in enumerate(descs)]
    outputs = tuple((count + i, 0, desc) for i, desc in enumerate(descs))
    plan = rt.Plan(count, tuple(4 * n for n in sizes), doubled + more, outputs)
    rt.set_hooks(compile=lambda op, descs: plan)
    arrays = [np.arange(n) for n in sizes]
    before = rt.get_num_threads()
    rt.set_num_threads(threads)
    try:
        got = rt.apply(object(), *map(Tensor, arrays))
    finally:
        rt.set_num_threads(before)
    for x, y in zip(arrays, got, strict=True):
        np.testing.assert_array_equal(y._array(), 3 * x)


def test_a_thread_has_the_same_part_of_every_launch(toy: Toy) -> None:
    """The first tiles are the caller's, those from the middle on a worker's; of two sides each takes one, and small launches are as one."""
    done = dict[int, list[tuple[int, int, int]]]()
    both = threading.Barrier(2, timeout=30)

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    def note(buffers: int, params: int, begin: int, end: int) -> None:
        both.wait()  # so none is done before the other, and helps it
        number = ctypes.cast(params, ctypes.POINTER(ctypes.c_int64))[0]
        done.setdefault(threading.get_ident(), []).append((number, begin, end))

    def run(*launches: tuple[int, bool, bool]) -> tuple[list[tuple[int, int, int]], ...]:
        done.clear()
        address = ctypes.cast(note, ctypes.c_void_p).value
        steps = [rt.Launch(address, (), (i,), n, 10**9, -1, *how) for i, (n, *how) in enumerate(launches)]
        plan = rt.Plan(1, (), steps, ((0, 0, rt.Descriptor("float32", (1,))),), work=10**9, keep=note)
        rt.set_hooks(compile=lambda op, descs: plan)
        rt.apply(object(), Tensor([1.0]))
        parts = [_spans(part) for part in (done.pop(threading.get_ident()), *done.values())]
        return tuple(parts)

    rt.set_num_threads(2)
    for _ in range(3):
        assert run((1000, False, False)) == ([(0, 0, 500)], [(0, 500, 1000)])
    launches = (32, False, False), (20, True, False), (16, True, False), (16, True, True)
    assert run(*launches) == ([(0, 0, 16), (1, 0, 10), (2, 0, 16)], [(0, 16, 32), (1, 10, 20), (3, 0, 16)])
    small = [(1, i > 0, False) for i in range(4)]
    assert run(*small, (8, True, False)) == ([(0, 0, 1), (2, 0, 1), (4, 0, 4)], [(1, 0, 1), (3, 0, 1), (4, 4, 8)])


def _spans(parts: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Neighbouring tiles of a launch, put together."""
    found: list[tuple[int, int, int]] = []
    for number, begin, end in parts:
        if found and found[-1][::2] == (number, begin):
            begin = found.pop()[1]
        found.append((number, begin, end))
    return found


def test_a_side_belongs_to_the_launch_before(toy: Toy) -> None:
    with pytest.raises(ValueError, match="not joined"):
        rt.Launch(toy.kernels["add"], (), (), 1, 1, joined=False, side=True)


def test_changing_shapes_do_not_grow_the_cache_without_bound(toy: Toy) -> None:
    rt.release_cached()
    base = rt.memory_stats()["reserved"]
    desc = rt.Descriptor("float32", (1,))
    for megabytes in range(64, 1024, 16):  # virtual memory only: nothing is written
        rt.plan_cache_clear()
        rt.set_hooks(compile=lambda op, descs, m=megabytes: rt.Plan(1, (m << 20,), (), ((0, 0, desc),)))
        rt.apply(ADD, Tensor([1.0]))
    assert rt.memory_stats()["reserved"] - base < 1 << 31
    rt.release_cached()


def test_impossible_allocation_raises_memory_error(toy: Toy) -> None:
    desc = rt.Descriptor("float32", (1,))
    rt.set_hooks(compile=lambda op, descs: rt.Plan(1, (1 << 56,), (), ((0, 0, desc),)))
    live = rt.memory_stats()["live"]
    with pytest.raises(MemoryError):
        rt.apply(ADD, Tensor([1.0]))
    assert rt.memory_stats()["live"] == live


def big() -> Tensor:
    return Tensor(np.arange(40 * 1000 * TILE + 7) % 1000)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_every_tile_is_done_once(toy: Toy, threads: int) -> None:
    rt.set_num_threads(threads)
    assert rt.get_num_threads() == threads
    x = big()
    for _ in range(3):
        np.testing.assert_array_equal(rt.apply(TWICE, x)._array(), 4 * x._array())


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("bytes", [150_001, 3 << 16, (3 << 16) + 1, (40 << 16) - 1])
def test_large_arrays_are_copied_whole(bytes: int, threads: int) -> None:
    """They are copied in pieces of 65,536 bytes, on all cores."""
    rt.set_num_threads(threads)
    x = np.arange(bytes + 1).astype("uint8")[1:]
    y = Tensor(x, "uint8")
    np.testing.assert_array_equal(y._array(), x)


def test_many_short_launches_on_the_pool(toy: Toy) -> None:
    rt.set_num_threads(4)
    x = Tensor(np.arange(40_000) % 100)
    for _ in range(500):
        y = x + x
        assert y._array()[-1] == 2 * x._array()[-1]
    np.testing.assert_array_equal(y._array(), 2 * x._array())


def test_concurrent_python_threads(toy: Toy) -> None:
    rt.set_num_threads(2)

    def work(seed: int) -> bool:
        large, small = big(), Tensor(np.full(50 + seed, float(seed)))
        for _ in range(10):
            if not np.array_equal(rt.apply(TWICE, large)._array(), 4 * large._array()):
                return False
            for _ in range(50):
                if not ((small + small)._array() == 2 * seed).all():
                    return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))


def test_the_gil_is_free_during_long_plans(toy: Toy) -> None:
    """Two plans whose steps wait for each other can only end if both run at once."""
    flags = (ctypes.c_int64 * 2)()

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    def meet(buffers: int, params: int, begin: int, end: int) -> None:
        me = ctypes.cast(params, ctypes.POINTER(ctypes.c_int64))[0]
        flags[me] = 1
        while not flags[1 - me]:
            pass

    address = ctypes.cast(meet, ctypes.c_void_p).value
    desc = rt.Descriptor("float32", (1,))
    x = Tensor([1.0])
    numbers = iter(range(2))

    def compile(op: object, descs: object) -> rt.Plan:
        return rt.Plan(1, (), (rt.Launch(address, (), (next(numbers),), 1, 1),), ((0, 0, desc),), work=10**9, keep=meet)

    rt.set_hooks(compile=compile)
    threads = [threading.Thread(target=rt.apply, args=(op, x)) for op in (ADD, TWICE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_pool(toy: Toy) -> None:
    rt.set_num_threads(3)
    x = big()
    rt.apply(TWICE, x)
    child = os.fork()
    if child == 0:
        right = np.array_equal(rt.apply(TWICE, x)._array(), 4 * x._array())
        os._exit(0 if right and rt.get_num_threads() == 3 else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(rt.apply(TWICE, x)._array(), 4 * x._array())


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )


def test_number_of_threads_from_the_environment() -> None:
    code = "from tengen import _rt; print(_rt.get_num_threads())"
    assert run_python(code, TENGEN_NUM_THREADS="5").stdout == "5\n"
    wrong = run_python(code, TENGEN_NUM_THREADS="many")
    assert wrong.returncode != 0
    assert "TENGEN_NUM_THREADS" in wrong.stderr


def test_affinity_limits_the_threads() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from tengen import _rt; print(_rt.get_num_threads())"
    environment = {k: v for k, v in os.environ.items() if k != "TENGEN_NUM_THREADS"}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert out.stdout == "1\n"


def test_wrong_number_of_threads() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        rt.set_num_threads(0)


def test_the_process_ends_quietly_with_live_objects() -> None:
    code = """
import numpy as np
from tengen import _rt as rt
kept = rt.Tensor(); kept._assign(np.ones(3, "f"), "float32", "cpu0")
desc = rt.Descriptor("float32", (3,))
rt.set_hooks(compile=lambda op, descs: rt.Plan(1, (), (rt.Host(lambda i, o: None, (), ()),), ((0, 0, desc),)))
rt.set_operator("nb_negative", "op")
-kept
tape = rt.Tape(); tape.watch(kept)
"""
    ended = run_python(code)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
