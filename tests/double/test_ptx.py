"""Instructions of PTX next to NumPy, with the ends of their types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from .driver import ptx

rng = np.random.default_rng(0)
TYPES = {1: "u8", 2: "b16", 4: "b32", 8: "b64"}


def compute(device, line: str, out: str, *arrays: np.ndarray) -> np.ndarray:
    """One thread for each element: `line` makes %z of %x0, %x1, …, which hold the elements of the arrays."""
    n, registers, body = len(arrays[0]), "", "mov.u32 %r0, %tid.x; cvt.u64.u32 %d0, %r0;"
    buffers = [device.put(a) for a in arrays]
    for i, a in enumerate(arrays):
        kind = TYPES[a.itemsize]
        registers += f".reg .{'b16' if kind == 'u8' else kind} %x{i};"
        body += f"mad.lo.s64 %d1, %d0, {a.itemsize}, %b{i}; ld.global.{kind} %x{i}, [%d1];"
    size = np.dtype(out).itemsize
    kind = TYPES[size]
    registers += f".reg .{'b16' if kind == 'u8' else kind} %z;"
    body += f"\n{line}\nmad.lo.s64 %d1, %d0, {size}, %b{len(arrays)}; st.global.{kind} [%d1], %z;"
    buffers.append(device.alloc(n * size))
    device.launch(device.function(ptx(body, registers, len(buffers))), n, buffers, [0])
    return device.get(buffers[-1], n, out)


def every(dtype: str) -> np.ndarray:
    """Numbers with the ends of their type among them."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        few = [0.0, -0.0, 1.0, -1.5, 2.5, -2.5, 0.5, 3.7, 1e4, -1e4, np.inf, -np.inf, np.nan, 1e-7, 6e4, -65519]
        return np.array(few, dtype=kind)
    limits = np.iinfo(kind)
    few = [0, 1, 2, 3, 7, 31, 32, 33, limits.max, limits.max - 1, limits.min, limits.min + 1]
    drawn = rng.integers(limits.min, limits.max, 20, dtype=kind, endpoint=True)
    return np.concatenate([np.array(few, dtype=kind), drawn])


def pairs(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    x = every(dtype)
    return np.repeat(x, len(x)).copy(), np.tile(x, len(x)).copy()


def wide(x: np.ndarray) -> list[int]:
    return [int(v) for v in x]


def wrapped(values: list[int], dtype: str) -> np.ndarray:
    bits = 8 * np.dtype(dtype).itemsize
    return np.array([v & (1 << bits) - 1 for v in values], f"uint{bits}").view(dtype)


def shifted_right(a: int, b: int) -> int:
    return a >> min(b & 0xFFFFFFFF, 200)


DTYPES = {"u16": "uint16", "s16": "int16", "u32": "uint32", "s32": "int32", "u64": "uint64", "s64": "int64"}
DTYPES |= {"b16": "uint16", "b32": "uint32", "b64": "uint64", "f16": "float16", "f32": "float32", "f64": "float64"}


def towards_zero(a: int, b: int) -> int:
    return -1 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


INTEGERS: list[tuple[str, Callable[[int, int], int]]] = [
    *((f"add.{t}", lambda a, b: a + b) for t in ("u16", "s32", "u64")),
    *((f"sub.{t}", lambda a, b: a - b) for t in ("s16", "u32", "s64")),
    *((f"mul.lo.{t}", lambda a, b: a * b) for t in ("s16", "u32", "s64")),
    ("mul.hi.u32", lambda a, b: a * b >> 32),
    ("mul.hi.s32", lambda a, b: a * b >> 32),
    ("mul.hi.u64", lambda a, b: a * b >> 64),
    ("mul.hi.s64", lambda a, b: a * b >> 64),
    *((f"div.{t}", towards_zero) for t in ("u16", "s32", "u32", "s64", "u64")),
    *((f"rem.{t}", lambda a, b: a - towards_zero(a, b) * b if b else a) for t in ("s16", "s32", "u32", "s64", "u64")),
    *((f"min.{t}", min) for t in ("u16", "s16", "u32", "s32", "s64")),
    *((f"max.{t}", max) for t in ("u16", "s16", "u32", "s32", "u64")),
    *((f"and.{t}", lambda a, b: a & b) for t in ("b16", "b32", "b64")),
    *((f"or.{t}", lambda a, b: a | b) for t in ("b16", "b32", "b64")),
    *((f"xor.{t}", lambda a, b: a ^ b) for t in ("b16", "b32", "b64")),
]


@pytest.mark.parametrize("op, function", INTEGERS, ids=[op for op, _ in INTEGERS])
def test_integers(device, op, function):
    dtype = DTYPES[op.split(".")[-1]]
    a, b = pairs(dtype)
    a, b = a[:1000], b[:1000]
    got = compute(device, f"{op} %z, %x0, %x1;", dtype, a, b)
    assert np.array_equal(got, wrapped([function(x, y) for x, y in zip(wide(a), wide(b), strict=True)], dtype))


@pytest.mark.parametrize(
    "op, function",
    [
        ("not.b32", lambda a: ~a),
        ("neg.s32", lambda a: -a),
        ("abs.s64", abs),
        ("popc.b32", lambda a: a.bit_count()),
        ("clz.b32", lambda a: 32 - a.bit_length()),
        ("brev.b32", lambda a: int(f"{a:032b}"[::-1], 2)),
        ("cnot.b32", lambda a: int(a == 0)),
        ("bfe.u32", lambda a: a >> 5 & 0x7F),
        ("bfe.s32", lambda a: ((a >> 5 & 0x7F) ^ 0x40) - 0x40),
    ],
)
def test_integers_alone(device, op, function):
    dtype = DTYPES[op.split(".")[-1]]
    a = every(dtype)
    got = compute(device, f"{op} %z, %x0{', 5, 7' if 'bfe' in op else ''};", dtype, a)
    assert np.array_equal(got, wrapped([function(x) for x in wide(a)], dtype))


SHIFTS = [
    ("shl.b32", lambda a, b: a << min(b, 64)),
    ("shl.b64", lambda a, b: a << min(b, 128)),
    ("shr.u32", shifted_right),
    ("shr.s32", shifted_right),
    ("shr.s64", shifted_right),
    ("shr.u16", shifted_right),
    ("shl.b16", lambda a, b: a << min(b, 64)),
]


def test_counts_are_of_32_bits(device):
    x = every("uint64")
    for op, function in (("popc", int.bit_count), ("clz", lambda v: 64 - v.bit_length())):
        assert compute(device, f"{op}.b64 %z, %x0;", "uint32", x).tolist() == [function(v) for v in wide(x)]


@pytest.mark.parametrize("op, function", SHIFTS, ids=[op for op, _ in SHIFTS])
def test_shifts(device, op, function):
    """By more than the width, nothing is left, or the sign."""
    dtype = DTYPES[op.split(".")[-1]]
    a = np.repeat(every(dtype), 6)
    b = np.tile(np.array([0, 1, 15, 31, 33, 0xFFFFFFFF], "uint32"), len(a) // 6)
    got = compute(device, f"{op} %z, %x0, %x1;", dtype, a, b)
    assert np.array_equal(got, wrapped([function(x, y) for x, y in zip(wide(a), wide(b), strict=True)], dtype))


THREE = [
    ("mad.lo.s32", "%x0, %x1, %x2", lambda a, b, c: a * b + c),
    ("shf.l.wrap.b32", "%x0, %x1, %x2", lambda a, b, c: (b << 32 | a) << (c & 31) >> 32),
    ("shf.r.wrap.b32", "%x0, %x1, %x2", lambda a, b, c: (b << 32 | a) >> (c & 31)),
    ("shf.r.clamp.b32", "%x0, %x1, %x2", lambda a, b, c: (b << 32 | a) >> min(c, 32)),
    ("lop3.b32", "%x0, %x1, %x2, 0x96", lambda a, b, c: a ^ b ^ c),
    ("lop3.b32", "%x0, %x1, %x2, 0xd8", lambda a, b, c: (a & ~c) | (b & c)),
    ("bfi.b32", "%x0, %x1, 3, 9", lambda a, b, c: (b & ~(0x1FF << 3)) | (a & 0x1FF) << 3),
    ("prmt.b32", "%x0, %x1, 0x3715", lambda a, b, c: permuted(a, b, 0x3715)),
    ("prmt.b32", "%x0, %x1, %x2", lambda a, b, c: permuted(a, b, c)),
]


def permuted(a: int, b: int, selector: int) -> int:
    octets, result = (b << 32 | a).to_bytes(8, "little"), 0
    for i in range(4):
        byte = octets[selector >> 4 * i & 7]
        if selector >> 4 * i & 8:
            byte = 255 * (byte >> 7)
        result |= byte << 8 * i
    return result


@pytest.mark.parametrize("op, operands, function", THREE, ids=[f"{op} {x}" for op, x, _ in THREE])
def test_integers_of_three(device, op, operands, function):
    a, b, c = (rng.permutation(np.tile(every("uint32"), 5)) for _ in range(3))
    got = compute(device, f"{op} %z, {operands};", "uint32", a, b, c)
    want = [function(x, y, z) for x, y, z in zip(wide(a), wide(b), wide(c), strict=True)]
    assert np.array_equal(got, wrapped(want, "uint32"))


@pytest.mark.parametrize("kind", ["s16", "u16", "s32", "u32"])
def test_wide_products(device, kind):
    dtype, double_width = DTYPES[kind], DTYPES[kind].replace("32", "64").replace("16", "32")
    a, b = pairs(dtype)
    a, b = a[:1000], b[:1000]
    c = np.arange(len(a)).astype(double_width)
    for line, more in ((f"mul.wide.{kind} %z, %x0, %x1;", 0), (f"mad.wide.{kind} %z, %x0, %x1, %x2;", 1)):
        got = compute(device, line, double_width, a, b, c)
        want = [x * y + more * z for x, y, z in zip(wide(a), wide(b), wide(c), strict=True)]
        assert np.array_equal(got, wrapped(want, double_width))


# -- floats ------------------------------------------------------------------------------------------------------------------

FLOATS: list[tuple[str, Callable[..., Any]]] = [
    *((f"add.rn.{t}", np.add) for t in ("f16", "f32", "f64")),
    *((f"sub.rn.{t}", np.subtract) for t in ("f16", "f32")),
    *((f"mul.rn.{t}", np.multiply) for t in ("f16", "f32", "f64")),
    *((f"div.rn.{t}", np.divide) for t in ("f32", "f64")),
    *((f"min.{t}", np.fmin) for t in ("f32", "f64")),
    *((f"max.{t}", np.fmax) for t in ("f16", "f32")),
    *((f"min.NaN.{t}", np.minimum) for t in ("f32",)),
    *((f"max.NaN.{t}", np.maximum) for t in ("f16", "f32")),
    ("copysign.f32", lambda a, b: np.copysign(b, a)),
]


@pytest.mark.parametrize("op, function", FLOATS, ids=[op for op, _ in FLOATS])
def test_floats(device, op, function):
    dtype = DTYPES[op.split(".")[-1]]
    a, b = pairs(dtype)
    with np.errstate(all="ignore"):
        want = function(a, b).astype(dtype)
    same(compute(device, f"{op} %z, %x0, %x1;", dtype, a, b), want)


def same(got: np.ndarray, want: np.ndarray) -> None:
    """Equal bits, but for NaN."""
    assert np.array_equal(np.isnan(got), np.isnan(want))
    assert np.array_equal(np.where(np.isnan(got), 0, got), np.where(np.isnan(want), 0, want))


def test_the_lesser_zero_is_negative(device):
    """NumPy does not say which zero is the least; PTX does."""
    a, b = np.array([0.0, -0.0], "float32"), np.array([-0.0, 0.0], "float32")
    assert np.signbit(compute(device, "min.f32 %z, %x0, %x1;", "float32", a, b)).all()
    assert not np.signbit(compute(device, "max.f32 %z, %x0, %x1;", "float32", a, b)).any()


@pytest.mark.parametrize(
    "op, function",
    [
        ("neg.f32", np.negative),
        ("abs.f64", np.abs),
        ("abs.f16", np.abs),
        ("sqrt.rn.f32", np.sqrt),
        ("sqrt.rn.f64", np.sqrt),
        ("rcp.rn.f32", np.reciprocal),
        ("cvt.rni.f32.f32", np.rint),
        ("cvt.rmi.f32.f32", np.floor),
        ("cvt.rpi.f64.f64", np.ceil),
        ("cvt.rzi.f32.f32", np.trunc),
    ],
)
def test_floats_alone(device, op, function):
    dtype = DTYPES[op.split(".")[-1]]
    a = every(dtype)
    with np.errstate(all="ignore"):
        same(compute(device, f"{op} %z, %x0;", dtype, a), function(a))


def test_a_fused_product_is_rounded_once(device):
    a = rng.standard_normal(500).astype("float32")
    b, c = rng.standard_normal((2, 500)).astype("float32")
    got = compute(device, "fma.rn.f32 %z, %x0, %x1, %x2;", "float32", a, b, c)
    assert np.array_equal(got, (a.astype("f8") * b + c).astype("f4"))
    apart = compute(device, "mul.rn.f32 %f0, %x0, %x1; add.rn.f32 %z, %f0, %x2;", "float32", a, b, c)
    assert np.array_equal(apart, a * b + c) and not np.array_equal(apart, got)


def bfloat(x: np.ndarray) -> np.ndarray:
    """Bits of bfloat16, to nearest even."""
    bits = x.astype("float32").view("uint32").astype("uint64")
    return np.where(np.isnan(x), 0x7FFF, (bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("uint16")


def test_sixteen_bits(device):
    drawn = rng.integers(0, 1 << 32, 500, dtype="uint32").view("float32")
    x = np.concatenate([every("float32"), drawn, np.array([1e-40, -3e-39, 3.3895314e38], "float32")])
    with np.errstate(all="ignore"):
        half = x.astype("float16")
    as_bits = compute(device, "cvt.rn.bf16.f32 %z, %x0;", "uint16", x)
    assert np.array_equal(as_bits, bfloat(x))
    same(compute(device, "cvt.rn.f16.f32 %z, %x0;", "float16", x), half)
    same(compute(device, "cvt.f32.f16 %z, %x0;", "float32", half), half.astype("float32"))
    same(compute(device, "cvt.f32.bf16 %z, %x0;", "float32", as_bits), (as_bits.astype("uint32") << 16).view("float32"))
    both = compute(device, "cvt.rn.bf16x2.f32 %z, %x0, %x1;", "uint32", x, x[::-1].copy())
    assert np.array_equal(both, bfloat(x).astype("uint32") << 16 | bfloat(x[::-1]))
    both = compute(device, "cvt.rn.f16x2.f32 %z, %x0, %x1;", "uint32", np.ones(4, "f4"), np.full(4, 2, "f4"))
    assert set(both) == {0x3C004000}
    pair = compute(device, "add.rn.f16x2 %z, %x0, %x1;", "uint32", both, both)
    assert set(pair) == {0x40004400}
    pair = compute(device, ".reg .b16 %h<2>; mov.b32 {%h0, %h1}, %x0; mov.b32 %z, {%h1, %h0};", "uint32", both)
    assert set(pair) == {0x40003C00}


def test_sixteen_bits_are_rounded_once(device):
    """Half way between two numbers of 16 bits, and a little more than a float can say."""
    half = np.array([1 + 2**-11, 1 + 3 * 2**-11, 2**-25, 65520.0])
    x = np.concatenate([half * (1 + s * 2**-40) for s in (-1, 0, 1)] + [-half, every("float64")])
    with np.errstate(all="ignore"):
        same(compute(device, "cvt.rn.f16.f64 %z, %x0;", "float16", x), x.astype("float16"))
    brain = np.array([1 + 2**-8, 1 + 3 * 2**-8])
    x = np.concatenate([brain * (1 + s * 2**-40) for s in (-1, 0, 1)])
    got = compute(device, "cvt.rn.bf16.f64 %z, %x0;", "uint16", x)
    assert got.tolist() == [0x3F80, 0x3F81, 0x3F80, 0x3F82, 0x3F81, 0x3F82]
    # 1 + 2⁻¹⁰ (1 + 2⁻¹⁰) 2⁻¹ is just more than half way; a float would say that it is half way
    a = np.array([1 + 2.0**-10], "float16")
    got = compute(device, "fma.rn.f16 %z, %x0, %x1, %x2;", "float16", a, np.array([2**-11], "f2"), np.array([1], "f2"))
    assert got.tolist() == [1 + 2**-10]


@pytest.mark.parametrize("source", ["f16", "f32", "f64"])
@pytest.mark.parametrize("to", ["s8", "s32", "u32", "s64", "u64"])
def test_floats_to_integers(device, source, to):
    """The nearest number of the type; NaN is 0, or the highest bit where 64 bits take part."""
    with np.errstate(over="ignore"):
        large = np.array([3e9, -3e9, 1e19, 2147483647.5]).astype(DTYPES[source])
    x = np.concatenate([every(DTYPES[source]), large])
    dtype = {"s8": "int8", "u8": "uint8", **DTYPES}[to]
    limits, nan = np.iinfo(dtype), 1 << 63 if to[1:] == "64" else 1 << 31 if source == "f64" and to[1:] == "32" else 0
    got = compute(device, f"cvt.rzi.{to}.{source} %z, %x0;", "int32" if to == "s8" else dtype, x)
    want = []
    for v in x.astype("f8"):
        if np.isnan(v):
            want.append(nan if not (source == "f64" and to == "s8") else -128)
        elif np.isinf(v):
            want.append(limits.max if v > 0 else limits.min)
        else:
            want.append(min(max(int(v), limits.min), limits.max))
    assert np.array_equal(got, wrapped(want, str(got.dtype)))


@pytest.mark.parametrize("to", ["f16", "f32", "f64"])
@pytest.mark.parametrize("source", ["s32", "u32", "s64", "u64"])
def test_integers_to_floats(device, to, source):
    x = every(DTYPES[source])
    with np.errstate(all="ignore"):
        want = x.astype(DTYPES[to]) if to != "f16" else np.array([float(v) for v in wide(x)]).astype("float16")
    same(compute(device, f"cvt.rn.{to}.{source} %z, %x0;", DTYPES[to], x), want)


@pytest.mark.parametrize("kind", ["s32", "u32", "f32", "f64", "u64"])
@pytest.mark.parametrize("condition", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons(device, kind, condition):
    a, b = pairs(DTYPES[kind])
    a, b = a[:1000], b[:1000]
    function = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater}.get(
        condition, np.greater_equal
    )
    want = function(a, b) & ~(np.isnan(a) | np.isnan(b)) if kind[0] == "f" else function(a, b)
    got = compute(device, f"setp.{condition}.{kind} %p1, %x0, %x1; selp.b32 %z, 1, 0, %p1;", "uint32", a, b)
    assert np.array_equal(got, want)


def test_comparisons_that_hold_for_nan_and_that_are_joined(device):
    a, b = pairs("float32")
    unordered = np.isnan(a) | np.isnan(b)
    line = "setp.{} %p1, %x0, %x1{}; selp.b32 %z, 1, 0, %p1;"
    for condition, want in (("ltu.f32", (a < b) | unordered), ("neu.f32", a != b), ("nan.f32", unordered)):
        assert np.array_equal(compute(device, line.format(condition, ""), "uint32", a, b), want)
    joined = "setp.gt.f32 %p2, %x0, 0f00000000; " + line.format("lt.or.f32", ", !%p2")
    assert np.array_equal(compute(device, joined, "uint32", a, b), (a < b) | ~(a > 0))
    both = "setp.lt.f32 %p1|%p3, %x0, %x1; selp.b32 %z, 1, 0, %p3;"
    assert np.array_equal(compute(device, both, "uint32", a, b), ~(a < b))


def test_branches_by_a_table(device):
    body = """
    $table: .branchtargets $one, $two, $three;
    brx.idx %x0, $table;
    $one: mov.u32 %z, 10; bra.uni $end;
    $two: mov.u32 %z, 20; bra.uni $end;
    $three: mov.u32 %z, 30;
    $end:
    """
    got = compute(device, body, "uint32", np.array([2, 0, 1, 1], "uint32"))
    assert got.tolist() == [30, 10, 20, 20]
