"""Tensor cores on the double: products, matrices out of shared memory, asynchronous copies into it."""

from __future__ import annotations

import numpy as np
import pytest

from .driver import CudaError, ptx
from .library import double

rng = np.random.default_rng(0)
LAUNCH_FAILED = 719
ROOM = ".shared .align 16 .b8 room[2048];"


def bfloat(x: np.ndarray) -> np.ndarray:
    return (x.astype("float32").view("uint32") >> 16).astype("uint16")


def value(bits: np.ndarray) -> np.ndarray:
    return (bits.astype("uint32") << 16).view("float32").astype("float64")


def fragments(array: np.ndarray, words: int, rows: bool) -> np.ndarray:
    """What each lane holds of A (rows: word i has row g + 8 (i % 2)) or of B (transposed: word i has column g)."""
    per_word = 4 // array.itemsize
    found = np.zeros((32, words, per_word), array.dtype)
    for lane in range(32):
        g, t = divmod(lane, 4)
        for i in range(words):
            row, start = (g + 8 * (i % 2), i // 2) if rows else (g, i)
            at = per_word * t + 4 * per_word * start
            found[lane, i] = array[row, at : at + per_word]
    return np.ascontiguousarray(found).view("uint32").reshape(32, words)


def product(device, kind: str, k: int, a: np.ndarray, b: np.ndarray, c: np.ndarray, sums: str) -> np.ndarray:
    """One warp: the fragments come from memory as they are laid out in lanes, and the sums go back so."""
    b_words = k * a.itemsize // 16
    a_words = 2 * b_words
    lanes = np.concatenate([fragments(a, a_words, True), fragments(np.ascontiguousarray(b.T), b_words, False)], 1)
    rows = np.array([[lane // 4 + 8 * (i // 2) for i in range(4)] for lane in range(32)])
    columns = np.array([[2 * (lane % 4) + i % 2 for i in range(4)] for lane in range(32)])
    lanes = np.ascontiguousarray(np.concatenate([lanes, c[rows, columns].view("uint32")], 1))
    words = lanes.shape[1]
    names = [f"%w{i}" for i in range(words)]
    body = f"mov.u32 %r0, %tid.x; mul.wide.u32 %d1, %r0, {4 * words}; add.s64 %d0, %b0, %d1;"
    body += "".join(f"ld.global.b32 {w}, [%d0+{4 * i}];" for i, w in enumerate(names))
    groups = [names[:a_words], names[a_words : a_words + b_words], names[-4:]]
    listed = ", ".join("{" + ", ".join(g) + "}" for g in groups)
    body += f"\nmma.sync.aligned.m16n8k{k}.row.col.{sums}.{kind}.{kind}.{sums} {{%r1, %r2, %r3, %r4}}, {listed};\n"
    body += "mul.wide.u32 %d1, %r0, 16; add.s64 %d0, %b1, %d1; st.global.v4.b32 [%d0], {%r1, %r2, %r3, %r4};"
    buffers = [device.put(lanes), device.alloc(512)]
    device.launch(device.function(ptx(body, f".reg .b32 %w<{words}>;")), 32, buffers, [0])
    result = np.zeros((16, 8), c.dtype)
    result[rows, columns] = device.get(buffers[1], (32, 4), str(c.dtype))
    return result


@pytest.mark.parametrize("kind, k", [("bf16", 8), ("bf16", 16), ("f16", 8), ("f16", 16), ("tf32", 4), ("tf32", 8)])
def test_products_of_floats(device, kind, k):
    a, b = rng.standard_normal((16, k)).astype("f4"), rng.standard_normal((k, 8)).astype("f4")
    c = rng.standard_normal((16, 8)).astype("f4")
    if kind == "bf16":
        a, b = bfloat(a), bfloat(b)
        want = value(a) @ value(b) + c
    elif kind == "f16":
        a, b = a.astype("f2"), b.astype("f2")
        want = a.astype("f8") @ b.astype("f8") + c
    else:
        cut = [(x.view("u4") & ~np.uint32(0x1FFF)).view("f4").astype("f8") for x in (a, b)]
        want = cut[0] @ cut[1] + c
    assert np.allclose(product(device, kind, k, a, b, c, "f32"), want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind, k", [("s8", 16), ("s8", 32), ("u8", 32)])
def test_products_of_integers(device, kind, k):
    dtype = {"s8": "int8", "u8": "uint8"}[kind]
    a, b = (rng.integers(np.iinfo(dtype).min, 128, s).astype(dtype) for s in ((16, k), (k, 8)))
    c = rng.integers(-1000, 1000, (16, 8)).astype("int32")
    want = a.astype("int32") @ b.astype("int32") + c
    assert np.array_equal(product(device, kind, k, a, b, c, "s32"), want)


def test_products_of_bytes(device):
    """Four of a word at once."""
    words = [rng.integers(0, 1 << 32, 100, dtype="uint32") for _ in range(2)]
    buffers, n = [device.put(w) for w in words], 100
    buffers.append(device.put(np.arange(n, dtype="int32")))
    body = "mov.u32 %r0, %tid.x; mul.wide.u32 %d1, %r0, 4; add.s64 %d2, %b0, %d1; add.s64 %d3, %b1, %d1;"
    body += "add.s64 %d4, %b2, %d1; ld.global.b32 %r1, [%d2]; ld.global.b32 %r2, [%d3]; ld.global.b32 %r3, [%d4];"
    body += "dp4a.s32.u32 %r4, %r1, %r2, %r3; st.global.b32 [%d4], %r4;"
    device.launch(device.function(ptx(body, buffers=3)), n, buffers, [0])
    signed, unsigned = (w.view(t).reshape(n, 4).astype("int32") for w, t in zip(words, ("int8", "uint8"), strict=True))
    assert np.array_equal(device.get(buffers[2], n, "int32"), (signed * unsigned).sum(1) + np.arange(n))


def test_floats_are_shortened_to_the_nearest(device):
    x = np.array([1, 1 + 2**-11, 1 + 2**-11 - 2**-20, -1 - 3 * 2**-11, 3.3e38, np.inf, np.nan, 1e-40], "float32")
    body = "mov.u32 %r0, %tid.x; mul.wide.u32 %d1, %r0, 4; add.s64 %d2, %b0, %d1; ld.global.f32 %f0, [%d2];"
    body += "cvt.rna.tf32.f32 %r1, %f0; st.global.b32 [%d2], %r1;"
    a = device.put(x)
    device.launch(device.function(ptx(body)), len(x), [a, a], [0])
    got = device.get(a, len(x))
    assert got[:4].tolist() == [1, 1 + 2**-10, 1, -1 - 2 * 2**-10]
    assert got[5] == np.inf and np.isnan(got[6])
    assert np.all(got.view("uint32")[[0, 1, 2, 3, 4, 7]] & 0x1FFF == 0)


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_matrices_from_shared_memory(device, count, transposed):
    x = np.arange(32 * 8, dtype="uint16").reshape(4, 8, 8)
    names = ", ".join(f"%r{i}" for i in range(1, count + 1))
    body = f"""
    mov.u32 %r0, %tid.x; mul.wide.u32 %d1, %r0, 16; add.s64 %d0, %b0, %d1; mov.u64 %d5, room; add.s64 %d6, %d5, %d1;
    ld.global.v4.b32 {{%r5, %r6, %r7, %r8}}, [%d0]; st.shared.v4.b32 [%d6], {{%r5, %r6, %r7, %r8}}; bar.sync 0;
    ldmatrix.sync.aligned.m8n8.x{count}{".trans" if transposed else ""}.shared.b16 {{{names}}}, [%d6];
    mul.wide.u32 %d1, %r0, {4 * count}; add.s64 %d2, %b1, %d1;
    """ + "".join(f"st.global.b32 [%d2+{4 * i}], %r{i + 1};" for i in range(count))
    buffers = [device.put(x), device.alloc(128 * count)]
    device.launch(device.function(ptx(body, outside=ROOM)), 32, buffers, [0])
    got = device.get(buffers[1], (32, count, 2), "uint16")
    for lane in range(32):
        row, at = lane // 4, lane % 4 * 2
        for m in range(count):
            matrix = x[m].T if transposed else x[m]
            assert got[lane, m].tolist() == matrix[row, at : at + 2].tolist()


# Each thread copies its 16 bytes, and reads those of the next thread.
COPY = """
mov.u32 %r0, %tid.x; mul.wide.u32 %d1, %r0, 16; add.s64 %d0, %b0, %d1; add.s64 %d2, %b1, %d1;
mov.u64 %d5, room; add.s64 %d6, %d5, %d1; add.u32 %r1, %r0, 1; and.b32 %r1, %r1, 63; mul.wide.u32 %d7, %r1, 16;
add.s64 %d7, %d5, %d7; cvt.u32.u64 %r2, %n0;
cp.async.cg.shared.global [%d6], [%d0], 16{given};
{commit}
{wait}
{barrier}
ld.shared.v4.b32 {{%r5, %r6, %r7, %r8}}, [%d7]; st.global.v4.b32 [%d2], {{%r5, %r6, %r7, %r8}};
"""
USUAL = {"given": "", "commit": "cp.async.commit_group;", "wait": "cp.async.wait_group 0;", "barrier": "bar.sync 0;"}


def copies(device, **changes: str) -> np.ndarray:
    text = ptx(COPY.format(**USUAL | changes), outside=ROOM)
    buffers = [device.put(np.arange(256, dtype="uint32")), device.alloc(1024)]
    device.launch(device.function(text), 64, buffers, [8])
    return device.get(buffers[1], (64, 4), "uint32")


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_asynchronous_copies(device, order):
    want = np.roll(np.arange(256, dtype="uint32").reshape(64, 4), -1, 0)
    with double().order(order):
        assert np.array_equal(copies(device), want)
        assert np.array_equal(copies(device, commit="", wait="cp.async.wait_all;"), want)


def test_what_a_copy_is_not_given_is_zero(device):
    want = np.roll(np.arange(256, dtype="uint32").reshape(64, 4), -1, 0)
    want[:, 2:] = 0
    assert np.array_equal(copies(device, given=", %r2"), want)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "fault",
    [
        {"wait": ""},
        {"wait": "cp.async.wait_group 1;"},
        {"commit": ""},  # not in any group
        {"barrier": ""},
        {"wait": "bar.sync 0;", "barrier": "cp.async.wait_group 0;"},  # each thread waits for its own copies alone
    ],
)
def test_a_copy_that_nobody_waited_for(faulty, order, fault):
    with double().order(order), pytest.raises(CudaError, match="LAUNCH_FAILED"):
        copies(faulty, **fault)
    assert "cp.async of thread" in double().problems()[0] or "race on byte" in double().problems()[0]


def test_a_copy_out_of_bounds(faulty):
    with pytest.raises(CudaError, match="ILLEGAL_ADDRESS"):
        text = ptx(COPY.format(**USUAL), outside=ROOM)
        faulty.launch(faulty.function(text), 64, [faulty.alloc(1023), faulty.alloc(1024)], [16])
        faulty.wait()
    assert "reads 16 bytes" in double().problems()[0] and "over its end" in double().problems()[0]
