"""Kernels on the double: what they compute, and that each fault of a kernel is found in every order of the threads."""

from __future__ import annotations

import numpy as np
import pytest

from .driver import CudaError, ptx
from .library import double

ORDERS = [0, 1, 2, 3]
ILLEGAL_ADDRESS, MISALIGNED, LAUNCH_FAILED = 700, 716, 719

# Each thread: %r0 its number, %d0 the place of its element in buffer 0.
MY_ELEMENT = """
mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mad.lo.s32 %r0, %r1, %r2, %r0;
mul.wide.u32 %d1, %r0, 4; add.s64 %d0, %b0, %d1; add.s64 %d2, %b1, %d1;
"""
BARRIER = "bar.sync 0;"
# Buffer 1 gets the elements of buffer 0, in each block from the last to the first, twice: through shared memory.
REVERSE = """
mov.u32 %r4, %tid.x; sub.s32 %r5, %r2, %r4; sub.s32 %r5, %r5, 1;
ld.global.f32 %f0, [%d0];
mul.wide.u32 %d4, %r4, 4; mov.u64 %d5, room; add.s64 %d6, %d5, %d4;
mul.wide.u32 %d7, %r5, 4; add.s64 %d8, %d5, %d7;
st.shared.f32 [%d6], %f0; {first}
ld.shared.f32 %f1, [%d8]; {second}
add.f32 %f1, %f1, %f1;
st.shared.f32 [%d6], %f1; bar.sync 0;
ld.shared.f32 %f2, [%d8];
st.global.f32 [%d2], %f2;
"""
ROOM = ".shared .align 4 .b8 room[1024];"


def reverse(first: str = BARRIER, second: str = BARRIER) -> str:
    return ptx(MY_ELEMENT + REVERSE.format(first=first, second=second), outside=ROOM)


def run(device, text, block, count, grid=1, params=(0,), shared=0):
    x = np.arange(count, dtype="float32")
    buffers = [device.put(x), device.alloc(4 * count)]
    device.launch(device.function(text), block, buffers, params, grid, shared)
    return x, device.get(buffers[1], count)


def fails(code: int, device, *args, **options) -> str:
    """The one problem that a kernel gives."""
    with pytest.raises(CudaError) as caught:
        run(device, *args, **options)
    (problem,) = double().problems()
    assert caught.value.code == code
    return problem


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("block", [1, 31, 32, 33, 96, 256])
def test_threads_of_a_block_share_memory(device, order, block):
    with double().order(order):
        x, got = run(device, reverse(), block, 3 * block, grid=3)
    assert np.array_equal(got, 2 * x)


@pytest.mark.parametrize("order", ORDERS)
def test_a_missing_first_barrier_is_a_race(faulty, order):
    with double().order(order):
        problem = fails(LAUNCH_FAILED, faulty, reverse(first=""), 64, 64)
    assert "race on byte" in problem and "line" in problem and "shared.f32" in problem


@pytest.mark.parametrize("order", ORDERS)
def test_a_missing_second_barrier_is_a_race(faulty, order):
    with double().order(order):
        assert "race on byte" in fails(LAUNCH_FAILED, faulty, reverse(second=""), 64, 64)


def test_races_may_be_looked_for_in_the_first_launches_only(device):
    text = reverse(second="")
    with double().races(2):
        for launch in [(text, 64, 64), (text, 64, 64, 1, (7,)), (text, 32, 64, 2)]:
            for _ in range(2):
                assert "race on byte" in fails(LAUNCH_FAILED, device, *launch)
                double().forget()
            run(device, *launch)  # elsewhere in memory
    assert "race on byte" in fails(LAUNCH_FAILED, device, text, 64, 64)
    double().forget()


def test_neighbouring_bytes_are_no_race(device):
    text = ptx(
        MY_ELEMENT + "cvt.u64.u32 %d4, %r0; mov.u64 %d5, room; add.s64 %d5, %d5, %d4; st.shared.u8 [%d5], %r0;"
        "bar.sync 0; ld.shared.u8 %r5, [%d5]; cvt.rn.f32.u32 %f0, %r5; st.global.f32 [%d2], %f0;",
        outside=ROOM,
    )
    x, got = run(device, text, 64, 64)
    assert np.array_equal(got, x)


@pytest.mark.parametrize("order", ORDERS)
def test_shuffles_exchange_within_warps(device, order):
    body = "ld.global.f32 %f0, [%d0];"
    for distance in (16, 8, 4, 2, 1):
        body += f"mov.b32 %r5, %f0; shfl.sync.bfly.b32 %r6, %r5, {distance}, 31, -1; mov.b32 %f1, %r6;"
        body += "add.f32 %f0, %f0, %f1;"
    with double().order(order):
        x, got = run(device, ptx(MY_ELEMENT + body + "st.global.f32 [%d2], %f0;"), 64, 64)
    assert np.array_equal(got, np.repeat(x.reshape(2, 32).sum(1), 32))


@pytest.mark.parametrize(
    "mode, operands, want",
    [
        ("up", "3, 0", lambda i: i - 3 if i >= 3 else i),
        ("down", "5, 31", lambda i: i + 5 if i + 5 < 32 else i),
        ("bfly", "6, 31", lambda i: i ^ 6),
        ("idx", "7, 31", lambda i: 7),
        ("down", "1, 0x181f", lambda i: i + 1 if i % 8 < 7 else i),  # within segments of 8
        ("idx", "2, 0x1c1f", lambda i: i // 4 * 4 + 2),
    ],
)
def test_every_shuffle(device, mode, operands, want):
    body = f"shfl.sync.{mode}.b32 %r6|%p1, %r0, {operands}, -1; cvt.rn.f32.u32 %f0, %r6; st.global.f32 [%d2], %f0;"
    _, got = run(device, ptx(MY_ELEMENT + body), 32, 32)
    assert got.tolist() == [want(i) for i in range(32)]


def test_votes(device):
    body = "setp.lt.u32 %p1, %r0, 5; vote.sync.ballot.b32 %r5, %p1, -1; vote.sync.any.pred %p2, %p1, -1;"
    body += "vote.sync.all.pred %p3, %p1, -1; @%p2 add.u32 %r5, %r5, 100; @%p3 add.u32 %r5, %r5, 1000;"
    _, got = run(device, ptx(MY_ELEMENT + body + "cvt.rn.f32.u32 %f0, %r5; st.global.f32 [%d2], %f0;"), 32, 32)
    assert set(got) == {131}


@pytest.mark.parametrize("order", ORDERS)
def test_threads_that_miss_a_barrier(faulty, order):
    """One returns before it, or one half takes another barrier."""
    with double().order(order):
        problem = fails(
            LAUNCH_FAILED, faulty, ptx(MY_ELEMENT + "setp.eq.u32 %p1, %r0, 3; @%p1 ret; bar.sync 0;"), 64, 64
        )
    assert "63 wait at a barrier, 0 at an incomplete shuffle, 1 have ended" in problem


def test_different_barriers_in_one_warp(faulty):
    body = "setp.lt.u32 %p1, %r0, 16; @%p1 bra low;\nbar.sync 0; bra done;\nlow:\nbar.sync 0;\ndone:\n"
    assert "different barriers" in fails(LAUNCH_FAILED, faulty, ptx(MY_ELEMENT + body), 64, 64)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "before, why",
    [
        ("setp.eq.u32 %p1, %r0, 3; @%p1 ret;", "lane 3 of its mask 0xffffffff has ended"),
        ("setp.eq.u32 %p1, %r0, 3; @%p1 bra other;", "cannot go on|has ended"),
    ],
)
def test_lanes_that_miss_a_shuffle(faulty, order, before, why):
    body = f"{before}\nshfl.sync.bfly.b32 %r6, %r0, 1, 31, -1;\nother:\nbar.sync 0;\n"
    with double().order(order):
        problem = fails(LAUNCH_FAILED, faulty, ptx(MY_ELEMENT + body), 64, 64)
    assert any(w in problem for w in why.split("|"))


def test_a_block_that_is_no_whole_warp_cannot_shuffle_with_all_lanes(faulty):
    body = "shfl.sync.bfly.b32 %r6, %r0, 1, 31, -1;"
    assert "lane 16 of its mask 0xffffffff is not in the block" in fails(
        LAUNCH_FAILED, faulty, ptx(MY_ELEMENT + body), 16, 16
    )


def test_warp_barriers_order_a_warp_alone(faulty):
    """Each thread gives to the one 8 further on: in its warp, or in the next."""
    body = (
        MY_ELEMENT
        + """
    add.u32 %r5, %r4, %r0; and.b32 %r5, %r0, 31; mov.u64 %d5, room; add.s64 %d6, %d5, %d1; st.shared.u32 [%d6], %r0;
    bar.warp.sync -1;
    add.u32 %r6, %r0, {}; and.b32 %r6, %r6, {}; mul.wide.u32 %d7, %r6, 4; add.s64 %d7, %d5, %d7;
    ld.shared.u32 %r7, [%d7]; cvt.rn.f32.u32 %f0, %r7; st.global.f32 [%d2], %f0;
    """
    )
    _, got = run(faulty, ptx(body.format(8, 31), outside=ROOM), 32, 32)
    assert got.tolist() == [(i + 8) % 32 for i in range(32)] and not double().problems()
    assert "race on byte" in fails(LAUNCH_FAILED, faulty, ptx(body.format(8, 63), outside=ROOM), 64, 64)


@pytest.mark.parametrize("order", ORDERS)
def test_a_word_and_a_byte_of_it_are_a_race(faulty, order):
    body = MY_ELEMENT + "mov.u64 %d5, room; setp.eq.u32 %p1, %r0, {}; setp.eq.u32 %p2, %r0, 5; {}"
    for thread in (0, 40, 63):
        text = ptx(body.format(thread, "@%p1 st.shared.u32 [%d5], %r0; @%p2 st.shared.u8 [%d5+2], 1;"), outside=ROOM)
        with double().order(order):
            assert "race on byte" in fails(LAUNCH_FAILED, faulty, text, 64, 64)
        double().forget()


@pytest.mark.parametrize("order", ORDERS)
def test_races_on_global_memory(faulty, order):
    """Of two blocks, or of two threads of a block; but not if a barrier of the block or an atomic operation orders them."""
    shift = MY_ELEMENT + "{} shr.u32 %r5, %r0, {}; mul.wide.u32 %d4, %r5, 4; add.s64 %d5, %b1, %d4; {}"
    write = "st.global.f32 [%d5], 0f3F800000;"
    for before, by, access, grid, why in [
        ("", 1, "cvt.rn.f32.u32 %f5, %r0; st.global.f32 [%d5], %f5;", 1, "of block 0 writes something else to it"),
        ("", 1, write, 2, None),  # all write the same
        ("st.global.f32 [%d2], 0f00000000;", 0, "ld.global.f32 %f0, [%b1];", 1, "of block 0"),
        ("ld.global.f32 %f0, [%b1];", 0, write, 2, "reads it"),
        ("st.global.f32 [%d2], 0f00000000; bar.sync 0;", 0, "ld.global.f32 %f0, [%b1];", 1, None),
        ("st.global.f32 [%d2], 0f00000000;", 0, "ld.global.u8 %r6, [%b1+2];", 1, "race on 0x"),  # part of a word
        ("ld.global.u8 %r6, [%b1+2];", 0, write, 1, "race on 0x"),
        ("", 9, "red.global.add.f32 [%d5], 0f3F800000;", 2, None),
        ("red.global.add.f32 [%b1], 0f3F800000;", 0, "ld.global.f32 %f0, [%b1];", 2, "updates it"),
    ]:
        text = ptx(shift.format(before, by, access))
        with double().order(order):
            if why:
                assert why in fails(LAUNCH_FAILED, faulty, text, 64, 64 * grid, grid=grid)
            else:
                run(faulty, text, 64, 64 * grid, grid=grid)
        double().forget()


# -- addresses -------------------------------------------------------------------------------------------------------------
COPY = MY_ELEMENT + "ld.global.f32 %f0, [%d0{read}]; st.global.f32 [%d2{write}], %f0;"


@pytest.mark.parametrize(
    "read, write, why",
    [
        ("+4", "", "reads 4 bytes at 0x"),
        ("", "+4", "writes 4 bytes at 0x"),
        ("+-4", "", "reads 4 bytes at 0x"),
        ("", "+-4", "writes 4 bytes at 0x"),
    ],
)
def test_out_of_bounds_by_one(faulty, read, write, why):
    text = ptx(COPY.format(read=read, write=write))
    assert why in fails(ILLEGAL_ADDRESS, faulty, text, 50, 50)


def test_the_byte_behind_the_last_belongs_to_nobody(faulty):
    body = MY_ELEMENT + "ld.global.u8 %r5, [%b0+63];"
    fails(ILLEGAL_ADDRESS, faulty, ptx(body.replace("63", "199") + "ld.global.u8 %r5, [%b0+200];"), 1, 50)
    assert "1 bytes behind the last of an allocation of 200 bytes of device 0" in double().problems()[0]


def test_a_misaligned_access(faulty):
    assert "no multiple of 4" in fails(MISALIGNED, faulty, ptx(COPY.format(read="+2", write="")), 8, 50)
    double().forget()
    vector = ptx(MY_ELEMENT + "ld.global.v2.f32 {%f0, %f1}, [%d0]; st.global.f32 [%d2], %f0;")
    assert "no multiple of 8" in fails(MISALIGNED, faulty, vector, 8, 50)


def test_memory_of_the_host_and_null(faulty):
    array = np.zeros(8, "float32")
    for address, why in ((array.ctypes.data, "pageable memory of the host"), (0, "a null pointer")):
        faulty.launch(faulty.function(ptx(COPY.format(read="", write=""))), 8, [address, faulty.alloc(32)], [0])
        with pytest.raises(CudaError):
            faulty.wait()
        assert why in double().problems()[0]
        double().forget()


def test_shared_and_local_memory_have_an_end(faulty):
    for body, where in [
        ("mov.u64 %d5, room; st.shared.u8 [%d5+1024], %r0;", "1024 of the 1024 bytes of shared memory"),
        (".local .align 8 .b8 own[16]; mov.u64 %d5, own; ld.local.u32 %r5, [%d5+16];", "16 of the 16 bytes of local"),
    ]:
        assert where in fails(ILLEGAL_ADDRESS, faulty, ptx(MY_ELEMENT + body, outside=ROOM), 1, 8)
        double().forget()


def test_generic_addresses_reach_every_space(device):
    body = """
    .local .align 8 .b8 own[16];
    mov.u64 %d5, room; cvta.shared.u64 %d6, %d5; st.u32 [%d6+4], 7; ld.shared.u32 %r5, [%d5+4];
    mov.u64 %d7, own; cvta.local.u64 %d8, %d7; st.u32 [%d8+8], 5; ld.local.u32 %r6, [%d7+8];
    cvta.to.shared.u64 %d9, %d6; ld.shared.u32 %r7, [%d9+4];
    cvta.to.global.u64 %d10, %d2; add.u32 %r5, %r5, %r6; add.u32 %r5, %r5, %r7;
    cvt.rn.f32.u32 %f0, %r5; st.f32 [%d10], %f0;
    """
    _, got = run(device, ptx(MY_ELEMENT + body, outside=ROOM), 1, 1)
    assert got == 19


def test_dynamic_shared_memory_lies_behind_the_static(device):
    outside = ROOM + " .extern .shared .align 16 .b8 more[];"
    body = "mov.u64 %d5, more; st.shared.u32 [%d5+12], 3; cvt.rn.f32.u64 %f0, %d5; st.global.f32 [%d2], %f0;"
    _, got = run(device, ptx(MY_ELEMENT + body, outside=outside), 1, 1, shared=16)
    assert got == 1024


def test_blocks_and_grids_of_three_dimensions(device):
    body = """
    mov.u32 %r0, %ctaid.z;
    mov.u32 %r1, %nctaid.y; mov.u32 %r2, %ctaid.y; mad.lo.s32 %r0, %r0, %r1, %r2;
    mov.u32 %r1, %nctaid.x; mov.u32 %r2, %ctaid.x; mad.lo.s32 %r0, %r0, %r1, %r2;
    mov.u32 %r1, %ntid.z; mov.u32 %r2, %tid.z; mad.lo.s32 %r0, %r0, %r1, %r2;
    mov.u32 %r1, %ntid.y; mov.u32 %r2, %tid.y; mad.lo.s32 %r0, %r0, %r1, %r2;
    mov.u32 %r1, %ntid.x; mov.u32 %r2, %tid.x; mad.lo.s32 %r0, %r0, %r1, %r2;
    mul.wide.u32 %d1, %r0, 4; add.s64 %d2, %b1, %d1; cvt.rn.f32.u32 %f0, %r0; st.global.f32 [%d2], %f0;
    """
    x, got = run(device, ptx(body), (2, 3, 4), 24 * 30, grid=(2, 3, 5))
    assert np.array_equal(got, x)


def test_atomics(device):
    body = """
    mov.u64 %d5, room; setp.ne.u32 %p1, %r0, 0; @%p1 bra on; st.shared.u32 [%d5], 0;
    on:
    bar.sync 0; atom.shared.add.u32 %r5, [%d5], 1; red.global.add.f32 [%b1], 0f3F800000; bar.sync 0;
    ld.shared.u32 %r6, [%d5]; cvt.rn.f32.u32 %f0, %r6;
    setp.eq.u32 %p2, %r0, 1; @%p2 st.global.f32 [%d2], %f0;
    """
    buffers = [device.alloc(256), device.put(np.zeros(64, "float32"))]
    device.launch(device.function(ptx(MY_ELEMENT + body, outside=ROOM)), 64, buffers, [0])
    got = device.get(buffers[1], 64)
    assert got[:3].tolist() == [64, 64, 0]


def test_a_trap(faulty):
    assert fails(LAUNCH_FAILED, faulty, ptx(MY_ELEMENT + "\ntrap;"), 1, 8).endswith("`trap;`: trap")
