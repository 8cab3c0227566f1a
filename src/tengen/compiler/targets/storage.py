"""How numbers lie in memory: conversions between storage dtypes and the kinds that kernels compute with."""

from __future__ import annotations

from llvmlite import ir

from ..kernels.dtypes import KINDS
from .vector import BFLOAT, Vec, llvm_type


def decode(dtype: str, raw: Vec, half: bool) -> Vec:
    """The number that the bits `raw` stand for in `dtype`. half: the machine has instructions for float16 conversions."""
    if dtype in ("bool", "weak_bool"):
        return raw.ne(0)
    if dtype == "bfloat16":
        return raw.to("i32", unsigned=True).shl(16).bitcast("f32")
    if dtype == "float16":
        return raw.bitcast("f16").to("f32") if half else _half_to_single(raw)
    return raw.to(KINDS[dtype][1], unsigned=dtype in ("uint8", "uint16"))


def encode(dtype: str, value: Vec, half: bool, flushes: bool = False) -> Vec:
    """The bits of `value` in `dtype`: floats round to nearest even, integers keep their low bits.

    flushes: subnormal numbers count as 0, as they do in the machine's own instruction for bfloat16.
    """
    memory, compute = KINDS[dtype]
    value = value.to(compute)
    if dtype == "bfloat16":
        return _rounded_by_instruction(value) if flushes else _single_to_bfloat(value)
    if dtype == "float16":
        return value.to("f16").bitcast("i16") if half else _single_to_half(value)
    return value.to(memory)


def wrap(dtype: str, value: Vec) -> Vec:
    """An i32 value wrapped to the range of a narrow integer dtype, as storing and loading it would."""
    bits = 8 if dtype.endswith("8") else 16
    if dtype.startswith("u"):
        return value & ((1 << bits) - 1)
    return value.shl(32 - bits).ashr(32 - bits)


def rounded_to_odd(value: Vec) -> Vec:
    """An f64 value, or an integer, as f32. If it is not exact, the neighbour whose last bit is set is taken (rounding
    to odd).

    Narrowing the result further then gives the same as rounding the value once. Narrowing the nearest f32 might not: it
    may be a tie where the value was none (Boldo and Melquiond 2008). A value too large or too small for f32 is so for
    narrower floats too, and stays infinite or 0.
    """
    if value.kind == "i64":  # a value that f64 cannot hold exactly has its last bits in one
        far = value.to("f64").abs() >= 2.0**53
        value = far.where((value.ashr(11) | (value & 2047).ne(0).to("i64")).shl(11), value)
    value = value.to("f64")
    nearest = value.to("f32")
    bits, size, wanted = nearest.bitcast("i32"), nearest.to("f64").abs(), value.abs()
    short = (size < wanted) & nearest.ne(0.0)
    beyond = (size > wanted) & nearest.abs().ne(float("inf"))
    return short.where(bits | 1, beyond.where((bits - 1) | 1, bits)).bitcast("f32")


def _single_to_bfloat(value: Vec) -> Vec:
    bits = value.bitcast("i32")
    rounded = (bits + 0x7FFF + (bits.lshr(16) & 1)).lshr(16)
    # Rounding could carry a nan into infinity; setting the quiet bit keeps it one.
    return value.is_nan().where(bits.lshr(16) | 0x40, rounded).to("i16")


def _rounded_by_instruction(value: Vec) -> Vec:
    """`store` for bfloat16 by vcvtneps2bf16, one instruction instead of ten, on a machine that has it."""
    rounded = value.builder.fptrunc(value.value, BFLOAT if value.lanes == 1 else ir.VectorType(BFLOAT, value.lanes))
    return value.like(value.builder.bitcast(rounded, llvm_type("i16", value.lanes)), "i16")


def _half_to_single(raw: Vec) -> Vec:
    """Move exponent and mantissa up into place; the multiplication corrects the bias, also of subnormal numbers."""
    bits = raw.to("i32", unsigned=True)
    magnitude = (bits & 0x7FFF).shl(13)
    scaled = (magnitude.bitcast("f32") * 2.0**112).bitcast("i32")
    special = (magnitude < (0x7C00 << 13)).where(scaled, scaled | 0x7F800000)
    return (special | (bits & 0x8000).shl(16)).bitcast("f32")


def _single_to_half(value: Vec) -> Vec:
    bits = value.bitcast("i32")
    magnitude = bits & 0x7FFFFFFF
    # Subnormal: adding this number makes the addition round at the right bit.
    magic = value.const(0.5)
    small = (magnitude.bitcast("f32") + magic).bitcast("i32") - magic.bitcast("i32")
    normal = (magnitude - ((127 - 15) << 23) + 0xFFF + (magnitude.lshr(13) & 1)).lshr(13)
    special = (magnitude > 0x7F800000).where(value.const(0x7E00, "i32"), 0x7C00)
    result = (magnitude < ((127 - 14) << 23)).where(small, (magnitude < ((127 + 16) << 23)).where(normal, special))
    return (result | bits.lshr(16) & 0x8000).to("i16")
